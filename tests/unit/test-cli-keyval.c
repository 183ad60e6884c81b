/*
 * cli: `key=value,...` and JSON objects to property sets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "vds/cli.h"
#include "vds/json.h"

/* "name=text;" for each value in order; a value that is no string has its kind's number
 * behind the name. */
static char *show(const VdsProps *props)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < vds_props_count(props); i++) {
        const VdsProp *prop = vds_props_nth(props, i);

        g_string_append(text, prop->name);
        if (prop->kind != VDS_PROP_STRING) {
            g_string_append_printf(text, "#%d", (int)prop->kind);
        }
        g_string_append_printf(text, "=%s;", prop->text);
    }
    return g_string_free(text, FALSE);
}

static void test_accepted(void **state)
{
    static const struct {
        const char *text, *implied, *expected;
    } rows[] = {
        {"", "driver", ""},
        {"", NULL, ""},
        {"x", "driver", "driver=x;"},
        {"x,id=a", "driver", "driver=x;id=a;"},
        {"id=a,x", "driver", "id=a;x=on;"},
        {"a=1", NULL, "a=1;"},
        {"a=1,", NULL, "a=1;"},
        {"a=", NULL, "a=;"},
        {"a=,b=", NULL, "a=;b=;"},
        {"a=b=c", NULL, "a=b=c;"},
        {"a=1,b=2,a=3", NULL, "a=3;b=2;"},
        {"a=x,,y", NULL, "a=x,y;"},
        {"a=,,", NULL, "a=,;"},
        {"a=,,,,", NULL, "a=,,;"},
        {"a=x,,,b=y", NULL, "a=x,;b=y;"},
        {"a=x,,,,b=y", NULL, "a=x,,b=y;"},
        {"/tmp/a,,b,server=on", "path", "path=/tmp/a,b;server=on;"},
        {",id=a", "driver", "driver=;id=a;"},
        {",,", "driver", "driver=,;"},
        {"server,nowait", NULL, "server=on;wait=off;"},
        {"x,server,nowait", "path", "path=x;server=on;wait=off;"},
        {"nodelay,", NULL, "delay=off;"},
        {"n", NULL, "n=on;"},
        {"nono,no=x", NULL, "no=x;"},
        {"file.driver=raw,file.0.x=1", NULL, "file.driver=raw;file.0.x=1;"},
        {"a= b ,c=d e", NULL, "a= b ;c=d e;"},
        {"a=1, ,", NULL, "a=1; =on;"}, /* a blank is a name */
        {"a={}", NULL, "a={};"},
        {" {}", "driver", "driver= {};"},
        {"name=\xff\xfe", NULL, "name=\xff\xfe;"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsProps) props =
            vds_keyval_parse(rows[i].text, rows[i].implied, &error);
        g_autofree char *found = NULL;

        assert_null(error);
        assert_non_null(props);
        found = show(props);
        assert_string_equal(found, rows[i].expected);
    }
}

static void test_json(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"{}", ""},
        {"{ }\n", ""},
        {"{\"driver\":\"virtio-rng-pci\",\"id\":\"r\"}", "driver=virtio-rng-pci;id=r;"},
        {"{\"a\":true,\"b\":-3,\"c\":18446744073709551615,\"d\":null}",
         "a#1=true;b#2=-3;c#3=18446744073709551615;d#5=null;"},
        {"{\"file\":{\"driver\":\"null-co\"},\"l\":[\"x\",7]}",
         "file.driver=null-co;l.0=x;l.1#2=7;"},
        {"{\"a\":\"x,,y=z\"}", "a=x,,y=z;"},
        {"{'a':'b'}", "a=b;"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsProps) props = vds_keyval_parse(rows[i].text, "driver", &error);
        g_autofree char *found = NULL;

        assert_null(error);
        assert_non_null(props);
        found = show(props);
        assert_string_equal(found, rows[i].expected);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"=", "Invalid parameter ''"},      {"=x", "Invalid parameter ''"},
        {"a=1,=x", "Invalid parameter ''"}, {",a=1", "Invalid parameter ''"},
        {"no", "Invalid parameter 'no'"},   {"a=1,no,b=2", "Invalid parameter 'no'"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsProps) props = vds_keyval_parse(rows[i].text, NULL, &error);

        assert_null(props);
        assert_true(g_error_matches(error, VDS_CLI_ERROR, VDS_CLI_ERROR_SYNTAX));
        assert_string_equal(error->message, rows[i].message);
    }
}

static void test_bad_json(void **state)
{
    static const struct {
        const char *text;
        int code;
    } rows[] = {
        {"{", VDS_JSON_ERROR_SYNTAX},
        {"{\"a\"}", VDS_JSON_ERROR_SYNTAX},
        {"{} x", VDS_JSON_ERROR_SYNTAX},
        {"{\"a\":1,}", VDS_JSON_ERROR_SYNTAX},
        {"{\"a\":0x10}", VDS_JSON_ERROR_SYNTAX},
        {"{,", VDS_JSON_ERROR_SYNTAX},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(vds_keyval_parse(rows[i].text, NULL, &error));
        assert_true(g_error_matches(error, VDS_JSON_ERROR, rows[i].code));
    }
}

/* 1,024 values are taken, one more is not, in either form. */
static void test_size_is_bounded(void **state)
{
    for (unsigned n = 1024; n <= 1025; n++) {
        g_autoptr(GString) list = g_string_new("n0=0");
        g_autoptr(GString) object = g_string_new("{\"n0\":0");

        for (unsigned i = 1; i < n; i++) {
            g_string_append_printf(list, ",n%u=0", i);
            g_string_append_printf(object, ",\"n%u\":0", i);
        }
        g_string_append_c(object, '}');
        for (int form = 0; form < 2; form++) {
            g_autoptr(GError) error = NULL;
            g_autoptr(VdsProps) props =
                vds_keyval_parse(form == 0 ? list->str : object->str, NULL, &error);

            assert_int_equal(props != NULL, n == 1024);
            assert_int_equal(g_error_matches(error, VDS_CLI_ERROR, VDS_CLI_ERROR_SYNTAX),
                             n != 1024);
        }
    }
}

/* A stranger's name is cut in the message, at a character. */
static void test_long_names_are_cut(void **state)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *value = g_strnfill(100000, 'x');
    g_autofree char *id = g_strconcat("id=1", value, NULL);
    const char *const argv[] = {"virtio-debugd", "-chardev", id};

    assert_null(vds_options_parse(G_N_ELEMENTS(argv), argv, &error));
    assert_true(strlen(error->message) < 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),        cmocka_unit_test(test_json),
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_size_is_bounded), cmocka_unit_test(test_long_names_are_cut),
    };

    return cmocka_run_group_tests_name("cli-keyval", tests, NULL, NULL);
}
