/*
 * json: values read off the tape, property sets, and json-glib as a second reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "json-alike.h"

static VdsJsonTape *tape_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    VdsJsonTape *tape =
        vds_json_parse_text(text, strlen(text), &vds_json_wire_limits, &error);

    if (!tape) {
        fail_msg("%s: %s", text, error->message);
    }
    return tape;
}

static void test_values(void **state)
{
    g_autoptr(VdsJsonTape) tape = tape_of(
        "{\"s\": \"a\\u0000b\", \"i\": -5, \"u\": 18446744073709551615, "
        "\"n\": 2.5, \"t\": true, \"f\": false, \"z\": null, \"o\": {\"x\": [1]}, "
        "\"a\": [[], {}, 3], \"\": 4}");
    VdsJsonValue root = vds_json_tape_root(tape);
    VdsJsonValue s = vds_json_object_find(root, "s");
    VdsJsonValue a = vds_json_object_find(root, "a");
    VdsJsonValue u = vds_json_object_find(root, "u");
    size_t len;

    assert_int_equal(vds_json_value_kind(root), VDS_JSON_OBJECT);
    assert_int_equal(vds_json_value_count(root), 10);
    assert_memory_equal(vds_json_value_string(s, &len), "a\0b", 4);
    assert_int_equal(len, 3);
    assert_int_equal(vds_json_value_int(vds_json_object_find(root, "i")), -5);
    assert_true(vds_json_value_number(vds_json_object_find(root, "i")) == -5);
    assert_true(vds_json_value_uint(u) == UINT64_MAX);
    assert_true(vds_json_value_number(u) == 18446744073709551616.0);
    assert_true(vds_json_value_number(vds_json_object_find(root, "n")) == 2.5);
    assert_int_equal(vds_json_value_kind(vds_json_object_find(root, "t")), VDS_JSON_TRUE);
    assert_int_equal(vds_json_value_kind(vds_json_object_find(root, "f")),
                     VDS_JSON_FALSE);
    assert_int_equal(vds_json_value_kind(vds_json_object_find(root, "z")), VDS_JSON_NULL);
    assert_int_equal(vds_json_value_count(a), 3);
    assert_int_equal(vds_json_value_int(vds_json_object_find(root, "")), 4);
    assert_false(vds_json_value_is_present(vds_json_object_find(root, "x")));
    assert_false(vds_json_value_is_present(vds_json_object_find(root, "so")));
}

static void test_iteration(void **state)
{
    static const char *const keys[] = {"b", "a", "c"};
    g_autoptr(VdsJsonTape) tape =
        tape_of("{\"b\":[1,[2,{}],3],\"a\":{\"x\":{}},\"c\":0}");
    VdsJsonIter iter = vds_json_iter(vds_json_tape_root(tape));
    VdsJsonIter inner;
    int64_t sum = 0;
    unsigned n = 0;

    while (vds_json_iter_next(&iter)) {
        assert_string_equal(vds_json_value_string(iter.key, NULL), keys[n++]);
    }
    assert_int_equal(n, 3);
    assert_false(vds_json_iter_next(&iter));
    inner = vds_json_iter(vds_json_object_find(vds_json_tape_root(tape), "b"));
    while (vds_json_iter_next(&inner)) {
        sum += vds_json_value_kind(inner.value) == VDS_JSON_INT
                   ? vds_json_value_int(inner.value)
                   : 10 * vds_json_value_count(inner.value);
    }
    assert_int_equal(sum, 1 + 20 + 3);
}

/* ---- property sets
 * --------------------------------------------------------------------- */

static void test_props(void **state)
{
    static const struct {
        const char *name;
        VdsPropKind kind;
        const char *text;
    } expected[] = {
        {"driver", VDS_PROP_STRING, "virtio-net-pci"},
        {"mq", VDS_PROP_BOOL, "true"},
        {"off", VDS_PROP_BOOL, "false"},
        {"queue-size", VDS_PROP_INT, "256"},
        {"big", VDS_PROP_UINT, "18446744073709551615"},
        {"ratio", VDS_PROP_NUMBER, "0.5"},
        {"none", VDS_PROP_NULL, "null"},
        {"file.driver", VDS_PROP_STRING, "raw"},
        {"file.a.b", VDS_PROP_INT, "1"},
        {"list.0", VDS_PROP_INT, "7"},
        {"list.1.x", VDS_PROP_STRING, "y"},
        {"list.2.0", VDS_PROP_INT, "8"},
    };
    g_autoptr(VdsJsonTape) tape =
        tape_of("{\"driver\": \"virtio-net-pci\", \"mq\": true, \"off\": false, "
                "\"queue-size\": 256, \"big\": 18446744073709551615, \"ratio\": 0.5, "
                "\"none\": null, \"file\": {\"driver\": \"raw\", \"a\": {\"b\": 1}}, "
                "\"list\": [7, {\"x\": \"y\"}, [8]], \"empty\": {}, \"void\": []}");
    g_autoptr(VdsProps) props = vds_props_new();

    assert_true(vds_json_to_props(vds_json_tape_root(tape), props));
    assert_int_equal(vds_props_count(props), G_N_ELEMENTS(expected));
    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        const VdsProp *prop = vds_props_nth(props, i);

        assert_string_equal(prop->name, expected[i].name);
        assert_int_equal(prop->kind, expected[i].kind);
        assert_string_equal(prop->text, expected[i].text);
    }
    assert_true(vds_props_find(props, "big")->u.uinteger == UINT64_MAX);
}

static bool props_accept(const char *text)
{
    g_autoptr(VdsJsonTape) tape = tape_of(text);
    g_autoptr(VdsProps) props = vds_props_new();

    return vds_json_to_props(vds_json_tape_root(tape), props);
}

static char *nested(unsigned depth)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < depth; i++) {
        g_string_append(text, "{\"a\":");
    }
    g_string_append(text, "1");
    for (unsigned i = 0; i < depth; i++) {
        g_string_append(text, "}");
    }
    return g_string_free(text, FALSE);
}

static char *with_values(unsigned n)
{
    GString *text = g_string_new("{");

    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(text, "%s\"k%u\":%u", i > 0 ? "," : "", i, i);
    }
    g_string_append(text, "}");
    return g_string_free(text, FALSE);
}

static char *with_name(unsigned len)
{
    g_autofree char *name = g_strnfill(len - 2, 'n');

    return g_strdup_printf("{\"%s\":{\"x\":1}}", name);
}

static void test_props_are_bounded(void **state)
{
    static const struct {
        char *(*make)(unsigned n);
        unsigned most;
    } rows[] = {{nested, 16}, {with_values, 1024}, {with_name, 1024}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *well = rows[i].make(rows[i].most);
        g_autofree char *over = rows[i].make(rows[i].most + 1);

        assert_true(props_accept(well));
        assert_false(props_accept(over));
    }
}

/* ---- the second reader
 * ------------------------------------------------------------------ */

static void test_json_glib_reads_alike(void **state)
{
    static const char *const rows[] = {
        "{}",
        "[]",
        "null",
        "[true, false, null]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\uDE00\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
        "[0, -0, 1, -1, 9223372036854775807, -9223372036854775808]",
        "[0.1, 1e3, -2.5E-3, 1.0, -0.0, 0e1, 5e-324, 1e-400, 123456789.123456789]",
        "{\"a\": {\"b\": [{\"c\": {}}, [], [[[\"deep\"]]]]}, \"b\": 1, \"\": 2}",
        " \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsJsonTape) tape = tape_of(rows[i]);

        assert_true(json_glib_can_read(vds_json_tape_root(tape)));
        json_check_with_glib(rows[i], strlen(rows[i]), vds_json_tape_root(tape));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_iteration),
        cmocka_unit_test(test_props),
        cmocka_unit_test(test_props_are_bounded),
        cmocka_unit_test(test_json_glib_reads_alike),
    };

    return cmocka_run_group_tests_name("json-tape", tests, NULL, NULL);
}
