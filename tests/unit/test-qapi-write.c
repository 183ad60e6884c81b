/*
 * qapi: `any` results from json-glib nodes, absent values, and the command table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <json-glib/json-glib.h>
#include <string.h>

#include "qapi-sample.h"

static char *written(const VdsQapiType *type, const void *object)
{
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    vds_qapi_write(type, object, &writer);
    return g_strndup((const char *)vds_buf_bytes(&out), vds_buf_len(&out));
}

static void test_nodes(void **state)
{
    static const char *const rows[] = {
        "null",
        "[]",
        "{}",
        "-9223372036854775808",
        "1.5",
        "\"a\\\"b\\u00E9\"",
        "[true, false, null, {\"z\": 1, \"a\": [2, {}]}]",
        "{\"enabled\": true, \"list\": [[1], [], [2, 3]]}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(JsonNode) node = json_from_string(rows[i], NULL);
        VdsQapiAny any = {.node = node};
        g_autofree char *text = written(&sample_any, &any);

        assert_string_equal(text, rows[i]);
    }
}

/* Of unsigned numbers that json-glib has no type for. */
static void test_large_doubles(void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {9223372036854775808.0, "9223372036854775808"},
        {18446744073709551615.0, "18446744073709551615"}, /* rounded up to 2^64 */
        {36893488147419103232.0, "3.6893488147419103e+19"},
        {-18446744073709551616.0, "-1.8446744073709552e+19"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(JsonNode) node =
            json_node_init_double(json_node_alloc(), rows[i].value);
        VdsQapiAny any = {.node = node};
        g_autofree char *text = written(&sample_any, &any);

        assert_string_equal(text, rows[i].text);
    }
}

/* A node that is nested without an end in sight costs neither stack nor output. */
static void test_deep_node(void **state)
{
    JsonNode *node = json_node_init_int(json_node_alloc(), 1);
    g_autofree char *text = NULL;

    for (int i = 0; i < 1000; i++) {
        JsonArray *array = json_array_new();

        json_array_add_element(array, node);
        node = json_node_init_array(json_node_alloc(), array);
        json_array_unref(array);
    }
    text = written(&sample_any, &(VdsQapiAny){.node = node});
    assert_int_equal(strlen(text), 64 + strlen("null") + 64);
    assert_non_null(strstr(text, "[null]"));
    json_node_unref(node);
}

static void test_what_is_not_there(void **state)
{
    const Sample sample = {0};
    g_autofree char *any = written(&sample_any, &(VdsQapiAny){.node = NULL});
    g_autofree char *all = written(&sample_type, &sample);

    assert_string_equal(any, "null");
    /* Only the required member, though its handler left it out. */
    assert_string_equal(all, "{\"path\": \"\"}");
}

static void test_dispatch(void **state)
{
    static const VdsQapiCommand commands[] = {
        {.name = "cont"},
        {.name = "query-commands"},
        {.name = "query-status"},
        {.name = "query-version"},
        {.name = "quit"},
        {.name = "x-query-virtio"},
        {.name = "x-query-virtio-status"},
    };
    static const char *const absent[] = {
        "", "a", "con", "contt", "quer", "x-query-virtio-", "zzz", "Quit"};

    for (size_t n = 0; n <= G_N_ELEMENTS(commands); n++) {
        const VdsQapiDispatch dispatch = {commands, n};

        for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
            const char *name = commands[i].name;
            const VdsQapiCommand *found =
                vds_qapi_dispatch_find(&dispatch, name, strlen(name));

            assert_ptr_equal(found, i < n ? &commands[i] : NULL);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(absent); i++) {
            assert_null(vds_qapi_dispatch_find(&dispatch, absent[i], strlen(absent[i])));
        }
        assert_null(vds_qapi_dispatch_find(&dispatch, "quit\0", 5));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes),     cmocka_unit_test(test_large_doubles),
        cmocka_unit_test(test_deep_node), cmocka_unit_test(test_what_is_not_there),
        cmocka_unit_test(test_dispatch),
    };

    return cmocka_run_group_tests_name("qapi-write", tests, NULL, NULL);
}
