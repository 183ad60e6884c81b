/*
 * json: the writer.  Layout and escapes are QEMU's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "vds/json.h"

static void assert_written(VdsBuf *out, const char *expected)
{
    g_autofree char *text = g_strndup((const char *)vds_buf_bytes(out), vds_buf_len(out));

    assert_string_equal(text, expected);
    vds_buf_consume(out, vds_buf_len(out));
}

static void write_sample(VdsJsonWriter *writer)
{
    vds_json_write_object_begin(writer);
    vds_json_write_key(writer, "a");
    vds_json_write_array_begin(writer);
    vds_json_write_int(writer, -1);
    vds_json_write_uint(writer, 2);
    vds_json_write_array_begin(writer);
    vds_json_write_array_end(writer);
    vds_json_write_null(writer);
    vds_json_write_array_end(writer);
    vds_json_write_key(writer, "b");
    vds_json_write_object_begin(writer);
    vds_json_write_object_end(writer);
    vds_json_write_key(writer, "c");
    vds_json_write_bool(writer, true);
    vds_json_write_object_end(writer);
    vds_json_write_newline(writer);
}

static void test_plain(void **state)
{
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    write_sample(&writer);
    assert_written(&out, "{\"a\": [-1, 2, [], null], \"b\": {}, \"c\": true}\r\n");
    write_sample(&writer); /* a second message on the same writer */
    assert_written(&out, "{\"a\": [-1, 2, [], null], \"b\": {}, \"c\": true}\r\n");
}

static void test_pretty(void **state)
{
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, true);
    write_sample(&writer);
    assert_written(&out, "{\r\n"
                         "    \"a\": [\r\n"
                         "        -1,\r\n"
                         "        2,\r\n"
                         "        [\r\n"
                         "        ],\r\n"
                         "        null\r\n"
                         "    ],\r\n"
                         "    \"b\": {\r\n"
                         "    },\r\n"
                         "    \"c\": true\r\n"
                         "}\r\n");
}

static void test_every_byte(void **state)
{
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    for (int byte = 0; byte < 256; byte++) {
        g_autofree char *expected = NULL;
        const char *letter = strchr("\"\"\\\\\bb\ff\nn\rr\tt", byte);
        char text[1] = {(char)byte};

        vds_json_write_string_len(&writer, text, 1);
        if (byte != 0 && letter && (byte < 0x20 || byte == '"' || byte == '\\')) {
            expected = g_strdup_printf("\"\\%c\"", letter[1]);
        } else if (byte >= 0x80) {
            expected = g_strdup("\"\\uFFFD\"");
        } else if (byte < 0x20 || byte == 0x7f) {
            expected = g_strdup_printf("\"\\u%04X\"", byte);
        } else {
            expected = g_strdup_printf("\"%c\"", byte);
        }
        assert_written(&out, expected);
        vds_json_write_newline(&writer);
        assert_written(&out, "\r\n");
    }
}

/* What needs an escape, at every place of a text of every length up to 40. */
static void test_escape_anywhere(void **state)
{
    static const char *const rows[][2] = {
        {"\n", "\\n"},           {"\"", "\\\""},      {"\x7f", "\\u007F"},
        {"\xc3\xa9", "\\u00E9"}, {"\xff", "\\uFFFD"},
    };
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    for (size_t i = 0; i < G_N_ELEMENTS(rows) * 41; i++) {
        for (size_t after = 0; after < 20; after++) {
            const char *const *row = rows[i / 41];
            g_autofree char *front = g_strnfill(i % 41, 'a');
            g_autofree char *back = g_strnfill(after, 'z');
            g_autofree char *text = g_strconcat(front, row[0], back, NULL);
            g_autofree char *expected =
                g_strconcat("\"", front, row[1], back, "\"\r\n", NULL);

            vds_json_write_string(&writer, text);
            vds_json_write_newline(&writer);
            assert_written(&out, expected);
        }
    }
}

static void test_utf8(void **state)
{
    static const char *const rows[][2] = {
        {"\xc3\xa9", "\\u00E9"},
        {"\xe2\x82\xac", "\\u20AC"},
        {"\xf0\x9f\x98\x80", "\\uD83D\\uDE00"},
        {"\xf4\x8f\xbf\xbd", "\\uDBFF\\uDFFD"},
        {"\xc0\x80", "\\u0000"},
        /* one broken sequence, one replacement */
        {"\xc1\xbf", "\\uFFFD"},
        {"\xed\xa0\x80", "\\uFFFD"},
        {"\xf4\x90\x80\x80", "\\uFFFD"},
        {"\xf8\x88\x80\x80\x80", "\\uFFFD"},
        {"\xfc\x84\x80\x80\x80\x80", "\\uFFFD"},
        {"\xef\xbf\xbf", "\\uFFFD"},
        {"\xe2\x82", "\\uFFFD"},
        {"\xe2\x82z", "\\uFFFDz"},
        {"\xe2z\x82", "\\uFFFDz\\uFFFD"},
        {"\x80\x80", "\\uFFFD\\uFFFD"},
        {"\xfe\xff", "\\uFFFD\\uFFFD"},
    };
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *expected = g_strconcat("\"", rows[i][1], "\"\r\n", NULL);

        vds_json_write_string(&writer, rows[i][0]);
        vds_json_write_newline(&writer);
        assert_written(&out, expected);
    }
}

static void test_integers(void **state)
{
    static const int64_t ints[] = {0, 1, -1, 9, 10, -10, 65535, INT64_MAX, INT64_MIN};
    static const uint64_t uints[] = {0, 10, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    for (size_t i = 0; i < G_N_ELEMENTS(ints); i++) {
        g_autofree char *expected = g_strdup_printf("%" PRId64 "\r\n", ints[i]);

        vds_json_write_int(&writer, ints[i]);
        vds_json_write_newline(&writer);
        assert_written(&out, expected);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(uints); i++) {
        g_autofree char *expected = g_strdup_printf("%" PRIu64 "\r\n", uints[i]);

        vds_json_write_uint(&writer, uints[i]);
        vds_json_write_newline(&writer);
        assert_written(&out, expected);
    }
}

static void test_doubles(void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0.1, "0.10000000000000001"},
        {1000, "1000"},
        {-0.0, "-0"},
        {1e300, "1.0000000000000001e+300"},
        {INFINITY, "1.7976931348623157e+308"},
        {-INFINITY, "-1.7976931348623157e+308"},
        {NAN, "null"},
    };
    g_auto(VdsBuf) out = {0};
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &out, false);
    vds_json_write_array_begin(&writer);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *expected =
            g_strdup_printf("%s%s", i == 0 ? "[" : ", ", rows[i].text);

        vds_json_write_number(&writer, rows[i].value);
        assert_written(&out, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_pretty),
        cmocka_unit_test(test_every_byte), cmocka_unit_test(test_escape_anywhere),
        cmocka_unit_test(test_utf8),       cmocka_unit_test(test_integers),
        cmocka_unit_test(test_doubles),
    };

    return cmocka_run_group_tests_name("json-writer", tests, NULL, NULL);
}
