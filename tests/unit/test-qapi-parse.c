/*
 * qapi: arguments from JSON and back.  Errors are QEMU's, word for word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "qapi-sample.h"

static VdsJsonTape *tape_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    VdsJsonTape *tape =
        vds_json_parse_text(text, strlen(text), &vds_json_wire_limits, &error);

    if (error) {
        fail_msg("%s: %s", text, error->message);
    }
    return tape;
}

static char *written(const VdsQapiType *type, const void *object)
{
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    vds_qapi_write(type, object, &writer);
    return g_strndup((const char *)vds_buf_bytes(&out), vds_buf_len(&out));
}

/* What is accepted comes back as it was, but for the order of members. */
static void test_round_trip(void **state)
{
    static const char *const rows[][2] = {
        {"{\"path\": \"p\"}", NULL},
        {"{\"path\": \"\"}", NULL},
        {"{\"path\": \"p\", \"str\": \"\", \"b\": false}", NULL},
        {"{\"path\": \"p\", \"i8\": -128, \"i16\": -32768, \"i32\": -2147483648, "
         "\"i64\": -9223372036854775808, \"u8\": 0, \"u16\": 0, \"u32\": 0, \"u64\": 0}",
         NULL},
        {"{\"path\": \"p\", \"i8\": 127, \"i16\": 32767, \"i32\": 2147483647, "
         "\"i64\": 9223372036854775807, \"u8\": 255, \"u16\": 65535, \"u32\": "
         "4294967295, "
         "\"u64\": 18446744073709551615}",
         NULL},
        {"{\"path\":\"p\",\"u64\":-1}",
         "{\"path\": \"p\", \"u64\": 18446744073709551615}"},
        {"{\"path\": \"p\", \"number\": 1.5, \"null\": null}", NULL},
        {"{\"path\":\"p\",\"number\":18446744073709551615}",
         "{\"path\": \"p\", \"number\": 1.8446744073709552e+19}"},
        {"{\"path\":\"p\",\"number\":-3}", "{\"path\": \"p\", \"number\": -3}"},
        {"{\"path\": \"p\", \"any\": {\"x\": [1, null, {\"y\": \"z\"}]}}", NULL},
        {"{\"path\": \"p\", \"any\": null}", NULL},
        {"{\"path\": \"p\", \"color\": \"blue\", \"colors\": [\"red\", \"blue\"]}", NULL},
        {"{\"path\": \"p\", \"strs\": [], \"u16s\": [1, 2, 65535]}", NULL},
        {"{\"path\": \"p\", \"strs\": [\"a\", \"b\"], \"matrix\": [[1, 2], [], [3]]}",
         NULL},
        {"{\"path\": \"p\", \"shape\": {\"color\": \"red\", \"radius\": 7}}", NULL},
        {"{\"path\":\"p\",\"shape\":{\"radius\":7,\"color\":\"red\",\"title\":\"t\"}}",
         "{\"path\": \"p\", \"shape\": {\"title\": \"t\", \"color\": \"red\", "
         "\"radius\": 7}}"},
        {"{\"path\": \"p\", \"shape\": {\"color\": \"blue\"}}", NULL},
        {"{\"path\": \"p\", \"shape\": {\"color\": \"green\", \"name\": \"n\", "
         "\"children\": []}}",
         NULL},
        {"{\"path\": \"p\", \"either\": \"text\"}", NULL},
        {"{\"path\": \"p\", \"either\": -5}", NULL},
        {"{\"path\": \"p\", \"either\": {\"radius\": 1}}", NULL},
        {"{\"path\": \"p\", \"tree\": {\"name\": \"a\", \"left\": {\"name\": \"b\"}, "
         "\"children\": [{\"name\": \"c\"}, {\"name\": \"d\", \"children\": []}]}}",
         NULL},
        {"{\"tree\":{\"name\":\"a\"},\"path\":\"p\"}",
         "{\"path\": \"p\", \"tree\": {\"name\": \"a\"}}"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsJsonTape) tape = tape_of(rows[i][0]);
        g_autoptr(VdsArena) arena = vds_arena_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        Sample sample = {0};

        if (!vds_qapi_parse(&sample_type, vds_json_tape_root(tape), arena, &sample,
                            &error)) {
            fail_msg("%s: %s", rows[i][0], error->message);
        }
        text = written(&sample_type, &sample);
        assert_string_equal(text, rows[i][1] ? rows[i][1] : rows[i][0]);
    }
}

typedef struct {
    const char *json;
    VdsQapiError code;
    const char *message;
} Refused;

#define MISSING VDS_QAPI_ERROR_MISSING
#define UNEXPECTED VDS_QAPI_ERROR_UNEXPECTED
#define TYPE VDS_QAPI_ERROR_TYPE
#define RANGE VDS_QAPI_ERROR_RANGE
#define VALUE VDS_QAPI_ERROR_VALUE

static void check_refused(const VdsQapiType *type, const Refused *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_autoptr(VdsJsonTape) tape = tape_of(rows[i].json);
        g_autoptr(VdsArena) arena = vds_arena_new();
        g_autoptr(GError) error = NULL;
        void *object = vds_arena_alloc(arena, type->size);

        if (vds_qapi_parse(type, vds_json_tape_root(tape), arena, object, &error)) {
            fail_msg("%s was accepted", rows[i].json);
        }
        assert_string_equal(error->message, rows[i].message);
        assert_true(g_error_matches(error, VDS_QAPI_ERROR, (int)rows[i].code));
    }
}

static void test_members(void **state)
{
    static const Refused rows[] = {
        {"{}", MISSING, "Parameter 'path' is missing"},
        {"{\"x\":1}", MISSING, "Parameter 'path' is missing"},
        {"{\"path\":null}", TYPE, "Invalid parameter type for 'path', expected: string"},
        {"{\"path\":\"p\",\"y\":1,\"x\":2}", UNEXPECTED, "Parameter 'y' is unexpected"},
        {"{\"y\":1,\"path\":\"p\",\"b\":1}", TYPE,
         "Invalid parameter type for 'b', expected: boolean"},
        /* in schema order, not as sent */
        {"{\"b\":1,\"str\":1,\"path\":\"p\"}", TYPE,
         "Invalid parameter type for 'str', expected: string"},
        {"{\"path\":\"p\",\"\":1}", UNEXPECTED, "Parameter '' is unexpected"},
        {"{\"path\":\"p\",\"pat\":1}", UNEXPECTED, "Parameter 'pat' is unexpected"},
        {"{\"path\":\"p\",\"path\\u0000\":1}", UNEXPECTED,
         "Parameter 'path' is unexpected"},
        {"[]", TYPE, "Invalid parameter type for '<anonymous>', expected: object"},
    };

    check_refused(&sample_type, rows, G_N_ELEMENTS(rows));
}

static void test_scalars(void **state)
{
#define P "{\"path\":\"p\","
    static const Refused rows[] = {
        {P "\"u16\":\"1\"}", TYPE, "Parameter 'u16' expects uint64"},
        {P "\"u16\":null}", TYPE, "Parameter 'u16' expects uint64"},
        {P "\"u16\":true}", TYPE, "Parameter 'u16' expects uint64"},
        {P "\"u16\":0.0}", TYPE, "Parameter 'u16' expects uint64"},
        {P "\"u16\":18446744073709551616}", TYPE, "Parameter 'u16' expects uint64"},
        {P "\"u64\":1.0}", TYPE, "Parameter 'u64' expects uint64"},
        {P "\"u16\":65536}", RANGE, "Parameter 'u16' expects uint16_t"},
        {P "\"u16\":-1}", RANGE, "Parameter 'u16' expects uint16_t"},
        {P "\"u16\":18446744073709551615}", RANGE, "Parameter 'u16' expects uint16_t"},
        {P "\"u8\":256}", RANGE, "Parameter 'u8' expects uint8_t"},
        {P "\"u32\":4294967296}", RANGE, "Parameter 'u32' expects uint32_t"},
        {P "\"i8\":128}", RANGE, "Parameter 'i8' expects int8_t"},
        {P "\"i8\":-129}", RANGE, "Parameter 'i8' expects int8_t"},
        {P "\"i16\":32768}", RANGE, "Parameter 'i16' expects int16_t"},
        {P "\"i32\":-2147483649}", RANGE, "Parameter 'i32' expects int32_t"},
        {P "\"i64\":9223372036854775808}", TYPE,
         "Invalid parameter type for 'i64', expected: integer"},
        {P "\"i64\":1.0}", TYPE, "Invalid parameter type for 'i64', expected: integer"},
        {P "\"i8\":\"1\"}", TYPE, "Invalid parameter type for 'i8', expected: integer"},
        {P "\"number\":\"1\"}", TYPE,
         "Invalid parameter type for 'number', expected: number"},
        {P "\"null\":0}", TYPE, "Invalid parameter type for 'null', expected: null"},
        {P "\"b\":\"true\"}", TYPE, "Invalid parameter type for 'b', expected: boolean"},
        {P "\"str\":[]}", TYPE, "Invalid parameter type for 'str', expected: string"},
        {P "\"color\":1}", TYPE, "Invalid parameter type for 'color', expected: string"},
        {P "\"color\":\"pink\"}", VALUE,
         "Parameter 'color' does not accept value 'pink'"},
        {P "\"color\":\"red\\u0000\"}", VALUE,
         "Parameter 'color' does not accept value 'red'"},
        {P "\"color\":\"re\"}", VALUE, "Parameter 'color' does not accept value 're'"},
    };

    check_refused(&sample_type, rows, G_N_ELEMENTS(rows));
}

static void test_nested(void **state)
{
    static const Refused rows[] = {
        {P "\"strs\":\"a\"}", TYPE, "Invalid parameter type for 'strs', expected: array"},
        {P "\"strs\":[\"a\",2]}", TYPE,
         "Invalid parameter type for 'strs[1]', expected: string"},
        {P "\"u16s\":[1,{}]}", TYPE, "Parameter 'u16s[1]' expects uint64"},
        {P "\"u16s\":[65536]}", RANGE, "Parameter 'null' expects uint16_t"},
        {P "\"colors\":[\"red\",\"nope\"]}", VALUE,
         "Parameter 'null' does not accept value 'nope'"},
        {P "\"colors\":[0]}", TYPE,
         "Invalid parameter type for 'colors[0]', expected: string"},
        {P "\"matrix\":[[1],[2,\"3\"]]}", TYPE,
         "Invalid parameter type for 'matrix[1][1]', expected: integer"},
        {P "\"matrix\":[[1],2]}", TYPE,
         "Invalid parameter type for 'matrix[1]', expected: array"},
        {P "\"tree\":[]}", TYPE, "Invalid parameter type for 'tree', expected: object"},
        {P "\"tree\":{}}", MISSING, "Parameter 'tree.name' is missing"},
        {P "\"tree\":{\"name\":\"a\",\"left\":{\"name\":1}}}", TYPE,
         "Invalid parameter type for 'tree.left.name', expected: string"},
        {P "\"tree\":{\"name\":\"a\",\"children\":[{\"name\":\"b\"},{\"name\":2}]}}",
         TYPE, "Invalid parameter type for 'tree.children[1].name', expected: string"},
        {P "\"tree\":{\"name\":\"a\",\"x\":1,\"children\":[{\"name\":\"b\",\"y\":1}]}}",
         UNEXPECTED, "Parameter 'tree.children[0].y' is unexpected"},
        {P "\"shape\":{}}", MISSING, "Parameter 'shape.color' is missing"},
        {P "\"shape\":{\"color\":\"red\"}}", MISSING,
         "Parameter 'shape.radius' is missing"},
        {P "\"shape\":{\"color\":\"blue\",\"radius\":1}}", UNEXPECTED,
         "Parameter 'shape.radius' is unexpected"},
        {P "\"shape\":{\"color\":\"pink\"}}", VALUE,
         "Parameter 'color' does not accept value 'pink'"},
        {P "\"shape\":{\"color\":\"red\",\"radius\":-1}}", RANGE,
         "Parameter 'radius' expects uint32_t"},
        {P "\"either\":null}", TYPE,
         "Invalid parameter type for 'either', expected: Either"},
        {P "\"either\":1.5}", TYPE,
         "Invalid parameter type for 'either', expected: Either"},
        {P "\"either\":9223372036854775808}", TYPE,
         "Invalid parameter type for 'either', expected: integer"},
        {P "\"either\":{\"x\":1}}", MISSING, "Parameter 'either.radius' is missing"},
    };
#undef P

    check_refused(&sample_type, rows, G_N_ELEMENTS(rows));
    check_refused(&sample_int_list_list,
                  (const Refused[]){{"[[1],[null]]", TYPE,
                                     "Invalid parameter type for '[1][0]', expected: "
                                     "integer"}},
                  1);
    check_refused(&sample_color,
                  (const Refused[]){{"\"nope\"", VALUE,
                                     "Parameter 'null' does not accept value 'nope'"}},
                  1);
}

static void test_names_are_cut(void **state)
{
    g_autofree char *long_name = g_strnfill(200, 'n');
    g_autofree char *cut = g_strnfill(VDS_NAME_MAX, 'n');
    g_autofree char *unexpected = g_strdup_printf("{\"path\":\"\",\"%s\":1}", long_name);
    g_autofree char *value =
        g_strdup_printf("{\"path\":\"\",\"color\":\"%s\"}", long_name);
    g_autofree char *unexpected_text =
        g_strdup_printf("Parameter '%s' is unexpected", cut);
    g_autofree char *value_text =
        g_strdup_printf("Parameter 'color' does not accept value '%s'", cut);
    const Refused rows[] = {{unexpected, UNEXPECTED, unexpected_text},
                            {value, VALUE, value_text}};

    check_refused(&sample_type, rows, G_N_ELEMENTS(rows));
}

static void test_no_arguments(void **state)
{
    g_autoptr(VdsArena) arena = vds_arena_new();
    g_autoptr(GError) error = NULL;
    SampleShape shape = {0};
    static const VdsQapiType nothing = {.name = "None", .kind = VDS_QAPI_STRUCT};

    assert_true(vds_qapi_parse(&nothing, VDS_JSON_NONE, arena, &shape, &error));
    assert_false(vds_qapi_parse(&sample_shape, VDS_JSON_NONE, arena, &shape, &error));
    assert_string_equal(error->message, "Parameter 'color' is missing");
    assert_true(g_error_matches(error, VDS_QAPI_ERROR, MISSING));
}

/* As deep as the wire lets it be. */
static void test_deep(void **state)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(VdsArena) arena = vds_arena_new();
    g_autoptr(VdsJsonTape) tape = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *back = NULL;
    SampleTree tree = {0};

    for (int i = 0; i < 1023; i++) {
        g_string_append(text, "{\"name\": \"n\", \"left\": ");
    }
    g_string_append(text, "{\"name\": \"n\"}");
    for (int i = 0; i < 1023; i++) {
        g_string_append_c(text, '}');
    }
    tape = tape_of(text->str);
    assert_true(
        vds_qapi_parse(&sample_tree, vds_json_tape_root(tape), arena, &tree, &error));
    back = written(&sample_tree, &tree);
    assert_string_equal(back, text->str);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_members),
        cmocka_unit_test(test_scalars),       cmocka_unit_test(test_nested),
        cmocka_unit_test(test_names_are_cut), cmocka_unit_test(test_no_arguments),
        cmocka_unit_test(test_deep),
    };

    return cmocka_run_group_tests_name("qapi-parse", tests, NULL, NULL);
}
