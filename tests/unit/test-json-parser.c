/*
 * json: bytes to messages and errors.  The expected texts are QEMU's; rows marked with
 * their recording's title are from a QMP session with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "json-events.h"

#define BYTES(text) (text), sizeof(text) - 1
#define ERROR(text) "E JSON parse error, " text "\n"
#define STRAY(text) ERROR("stray '" text "'")
#define VALUE ERROR("expecting value")

typedef struct {
    const char *name;
    const char *input;
    size_t len;
    const char *events;
} Row;

/* As recorded, each answered alike by QEMU 7.2. */
static const Row recorded[] = {
    {"single quotes", BYTES("{'execute':'query-name','id':'it'}\n"),
     "M {\"execute\": \"query-name\", \"id\": \"it\"}\n"},
    {"double in single", BYTES("{'id':'a\"b'}\n"), "M {\"id\": \"a\\\"b\"}\n"},
    {"escaped apostrophe", BYTES("{\"id\":\"a\\'b\"}\n"), "M {\"id\": \"a'b\"}\n"},
    {"bad escape", BYTES("{\"id\":\"a\\qb\"}\n"),
     ERROR("invalid escape sequence in string")},
    {"bad \\u", BYTES("{\"id\":\"\\u12\"}\n"),
     ERROR("\\u12\" is not a valid Unicode character")},
    {"lone surrogate", BYTES("{\"id\":\"\\ud800\"}\n"),
     ERROR("\\ud800 is not a valid Unicode character")},
    {"bad UTF-8", BYTES("{\"id\":\"\x80\"}\n"),
     ERROR("invalid UTF-8 sequence in string")},
    {"overlong NUL", BYTES("{\"id\":\"\xc0\x80\"}\n"), "M {\"id\": \"\\u0000\"}\n"},
    {"raw newline", BYTES("{\"id\":\"a\nb\"}\n"), STRAY("\"a\n") VALUE},
    {"raw tab", BYTES("{\"id\":\"a\tb\"}\n"), STRAY("\"a\t") VALUE},
    {"raw DEL",
     BYTES("{\"id\":\"a\x7f"
           "b\"}\n"),
     "M {\"id\": \"a\\u007Fb\"}\n"},
    {"unquoted key", BYTES("{execute:\"query-name\"}\n"),
     ERROR("invalid keyword 'execute'")},
    {"missing colon", BYTES("{\"execute\" \"query-name\"}\n"),
     ERROR("missing : in object pair")},
    {"missing comma", BYTES("{\"execute\":\"query-name\" \"id\":1}\n"),
     ERROR("expected separator in dict")},
    {"trailing comma in object", BYTES("{\"execute\":\"query-name\",}\n"), VALUE},
    {"trailing comma in list", BYTES("{\"id\":[1,]}\n"), VALUE},
    {"leading comma in list", BYTES("{\"id\":[,1]}\n"), VALUE},
    {"duplicate key", BYTES("{\"id\":1,\"id\":2}\n"), ERROR("duplicate key")},
    {"True", BYTES("{\"id\":True}\n"), STRAY("T") VALUE},
    {"nul", BYTES("{\"id\":nul}\n"), ERROR("invalid keyword 'nul'")},
    {"NaN", BYTES("{\"id\":NaN}\n"), STRAY("N") VALUE},
    {"leading zero", BYTES("{\"id\":01}\n"), STRAY("01") VALUE},
    {"plus sign", BYTES("{\"id\":+1}\n"), STRAY("+") VALUE},
    {"bare minus", BYTES("{\"id\":-}\n"), STRAY("-}")},
    {"no fraction", BYTES("{\"id\":1.}\n"), STRAY("1.}")},
    {"no integer", BYTES("{\"id\":.5}\n"), STRAY(".") VALUE},
    {"hex", BYTES("{\"id\":0x10}\n"), ERROR("expected separator in dict")},
    {"interpolation", BYTES("{\"id\":%d}\n"), STRAY("%") VALUE},
    {"comment", BYTES("/* c */{\"execute\":\"query-name\"}\n"),
     STRAY("/") "M {\"execute\": \"query-name\"}\n"},
    {"stray }", BYTES("}\n"), VALUE},
    {"stray ]", BYTES("]\n"), VALUE},
    {"mismatched ]", BYTES("{\"execute\":\"query-name\"]\n"),
     ERROR("expected separator in dict")},
    {"mismatched [}", BYTES("[}\n"), VALUE},
    {"missing value", BYTES("{\"execute\":}\n"), VALUE},
    {"garbage", BYTES("garbage\n"), ERROR("invalid keyword 'garbage'")},
    {"HTTP", BYTES("GET / HTTP/1.0\r\n\r\n"), STRAY("G")},
    {"control byte", BYTES("\x01\n"), STRAY("\x01")},
    {"NUL byte", BYTES("\0\n"), STRAY("")},
    {"byte 80", BYTES("\x80\n"), STRAY("\x80")},
    {"byte FF", BYTES("\xff"), STRAY("\xff")},
    {"truncated object, request, flush, request",
     BYTES("{\"execute\":\"query-name\",\n{\"id\":99}\n\xff{\"id\":99}\n"),
     STRAY("\xff") "M {\"id\": 99}\n"},
    {"truncated string, flush", BYTES("{\"execute\":\"quer\xff"), STRAY("\"quer\xff")},
    {"FF before a request", BYTES("\xff{\"id\":1}\n"), STRAY("\xff") "M {\"id\": 1}\n"},
    {"FF and a space", BYTES("\xff {\"id\":1}\n"), STRAY("\xff") "M {\"id\": 1}\n"},
    {"byte FE", BYTES("\xfe\n"), STRAY("\xfe")},
    {"BOM", BYTES("\xef\xbb\xbf{\"id\":1}\n"), STRAY("\xef") "M {\"id\": 1}\n"},
    {"top-level scalars", BYTES("[] 42 \"hi\"\nnull\n"),
     "M []\nM 42\nM \"hi\"\nM null\n"},
};

static const Row grammar[] = {
    {"nothing", BYTES(" \t\r\n"), ""},
    {"no white space", BYTES("{}[]{\"a\":1}{}"), "M {}\nM []\nM {\"a\": 1}\nM {}\n"},
    {"nested", BYTES("{\"a\":[{},[],[[1],{\"b\":{}}]],\"c\":null}"),
     "M {\"a\": [{}, [], [[1], {\"b\": {}}]], \"c\": null}\n"},
    {"words", BYTES("[true,false,null]"), "M [true, false, null]\n"},
    {"all escapes", BYTES("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\uDE00\""),
     "M \"\\\"\\\\/\\b\\f\\n\\r\\t\\u00E9\\u20AC\\uD83D\\uDE00\"\n"},
    {"UTF-8", BYTES("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),
     "M \"\\u00E9\\u20AC\\uD83D\\uDE00\"\n"},
    {"surrogate halves", BYTES("\"\\ud83d\\u0041\" \"\\ude00\""),
     ERROR("\\ud83d is not a valid Unicode character")
         ERROR("\\ude00 is not a valid Unicode character")},
    {"noncharacters", BYTES("\"\\uffff\"\n\"\\uFDD0\"\n\"\xef\xbf\xbe\"\n"),
     ERROR("\\uffff is not a valid Unicode character")
         ERROR("\\uFDD0 is not a valid Unicode character")
             ERROR("invalid UTF-8 sequence in string")},
    {"bad UTF-8",
     BYTES("\"\xc3\"\n\"\xc1\xbf\"\n\"\xed\xa0\x80\"\n\"\xf4\x90\x80\x80\"\n\"\xf8\x88"
           "\x80\x80\x80\"\n"),
     ERROR("invalid UTF-8 sequence in string") ERROR("invalid UTF-8 sequence in string")
         ERROR("invalid UTF-8 sequence in string")
             ERROR("invalid UTF-8 sequence in string")
                 ERROR("invalid UTF-8 sequence in string")},
    {"integers",
     BYTES("[0,-0,9223372036854775807,9223372036854775808,18446744073709551615,"
           "-9223372036854775808]"),
     "M [0, 0, 9223372036854775807, 9223372036854775808, 18446744073709551615, "
     "-9223372036854775808]\n"},
    {"beyond 64 bits", BYTES("[18446744073709551616,-9223372036854775809]"),
     "M [1.8446744073709552e+19, -9.2233720368547758e+18]\n"},
    {"doubles", BYTES("[0.1,1e3,-2.5E-3,1.0,-0.0,0e1,5e-324]"),
     "M [0.10000000000000001, 1000, -0.0025000000000000001, 1, -0, 0, "
     "4.9406564584124654e-324]\n"},
    {"out of range", BYTES("[1E400,-1e400,1e-400]"),
     "M [1.7976931348623157e+308, -1.7976931348623157e+308, 0]\n"},
    {"bad numbers", BYTES("1.e5\n1e \n1e+ \n-a\n00\n"),
     STRAY("1.e") STRAY("1e ") STRAY("1e+ ") STRAY("-a") STRAY("00")},
    {"numbers end where they must", BYTES("[1-2]"), ERROR("expected separator in list")},
    {"key is no string", BYTES("{1:2}\n{[]:1}\n{{}:1}\n{null:1}\n"),
     ERROR("key is not a string in object") ERROR("key is not a string in object")
         ERROR("key is not a string in object") ERROR("key is not a string in object")},
    {"a fault in a key comes first", BYTES("{[1 2]:1}"),
     ERROR("expected separator in list")},
    {"the first fault is told", BYTES("{\"a\":nul,\"b\":[1 2],,,\"c\"}"),
     ERROR("invalid keyword 'nul'")},
    {"a duplicate is found behind its value", BYTES("{\"a\":1,\"a\":nul}"),
     ERROR("invalid keyword 'nul'")},
    {"duplicates nested",
     BYTES("{\"a\":{\"b\":1},\"b\":{\"b\":1,\"a\":1}}{\"x\":{\"b\":1,"
           "\"c\":2,\"b\":3}}"),
     "M {\"a\": {\"b\": 1}, \"b\": {\"b\": 1, \"a\": 1}}\n" ERROR("duplicate key")},
    {"keys that differ behind a NUL", BYTES("{\"a\\u0000b\":1,\"a\\u0000c\":2,\"a\":3}"),
     "M {\"a\\u0000b\": 1, \"a\\u0000c\": 2, \"a\": 3}\n"},
    {"crossed brackets end where each kind balances", BYTES("[{]}\n"), VALUE},
    {"premature end", BYTES("{\"a\":[1"), ERROR("premature EOI")},
    {"end in a string", BYTES("{\"a\":\"b"), STRAY("\"b")},
    {"end behind a fault", BYTES("{\"a\" 1"), ERROR("missing : in object pair")},
    {"end completes a number", BYTES("12"), "M 12\n"},
    {"end completes a word", BYTES("tru"), ERROR("invalid keyword 'tru'")},
};

/* What QEMU answers without a bound. */
static const Row runs[] = {
    {"closers on a line", BYTES("]]]]]]}}}}\n"), VALUE VALUE},
    {"closers on lines are requests of their own", BYTES("]\n]\n]\n"), VALUE VALUE VALUE},
    {"the rest of one message",
     BYTES("{\"a\": True, \"b\": 1, \"c\": [1, 2], \"d\": {\"e\": 5}, \"f\": no}\n{}"),
     STRAY("T") VALUE "M {\"e\": 5}\nM {}\n"},
    {"the same, printed over lines",
     BYTES("{\n  \"a\": True,\n  \"b\": 1,\n  \"c\": [\n    1\n  ],\n  \"d\": X\n}\n]\n"),
     STRAY("T") VALUE VALUE},
    {"a request behind it, on the line", BYTES("{\"a\":True}{\"a\":True}{\"b\":1}"),
     STRAY("T") VALUE STRAY("T") VALUE "M {\"b\": 1}\n"},
    {"never closed: the next line starts anew",
     BYTES("{\"a\":True\n{\"a\":True\n{\"a\":True\n{\"b\":1}\n"),
     STRAY("T") STRAY("T") STRAY("T") "M {\"b\": 1}\n"},
    {"never closed, and lines that start nothing",
     BYTES("{\"a\":True\n1\n2\n3\nfour\n{}\nfour\n"),
     STRAY("T") "M 1\nM {}\n" ERROR("invalid keyword 'four'")},
    /* (What follows a stray is skipped, even a line.) */
    {"closers that a stray took along are paid",
     BYTES("{\"a\":-}\nhelp\nquit\nexit\n{\"execute: foo}\nhelp\nquit\nexit\n"),
     STRAY("-}") ERROR("invalid keyword 'help'") ERROR("invalid keyword 'quit'")
         ERROR("invalid keyword 'exit'") STRAY("\"execute: foo}\n")
             ERROR("invalid keyword 'quit'") ERROR("invalid keyword 'exit'")},
    {"words on a line", BYTES("hello big wide world\nhello\n"),
     ERROR("invalid keyword 'hello'") ERROR("invalid keyword 'big'")
         ERROR("invalid keyword 'hello'")},
    {"scalars where nothing went wrong", BYTES("1 2 3 [4] 5\n"),
     "M 1\nM 2\nM 3\nM [4]\nM 5\n"},
    {"scalars behind an error", BYTES("] 2 3 [4] {} 5\n"), VALUE "M 2\nM {}\nM 5\n"},
    {"FF, FF, FF", BYTES("\xff\xff\xff\xff{}\xff{}"),
     STRAY("\xff") STRAY("\xff") "M {}\n" STRAY("\xff") "M {}\n"},
    {"FF forgives debts", BYTES("{\"a\":True ]]]]]]\xffgarbage\n"),
     STRAY("T") VALUE STRAY("\xff")},
    {"control characters", BYTES("\x01\x02\x03\x04\x05\n{}"),
     STRAY("\x01") STRAY("\x02") "M {}\n"},
    {"a mismatch leaves the rest to pay", BYTES("{\"a\":{\"b\":{\"c\":1]}}}}}\n{}"),
     ERROR("expected separator in dict") VALUE "M {}\n"},
};

static size_t piece_of(size_t left, void *user)
{
    return MIN(left, *(size_t *)user);
}

static void check_rows(const Row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t piece = 1; piece <= rows[i].len; piece++) {
            g_autofree char *title = g_strdup_printf("%s, by %zu", rows[i].name, piece);
            GString *events = json_events(rows[i].input, rows[i].len,
                                          &vds_json_wire_limits, piece_of, &piece);

            if (strcmp(events->str, rows[i].events) != 0) {
                print_error("%s\n", title);
                assert_string_equal(events->str, rows[i].events);
            }
            g_string_free(events, TRUE);
        }
    }
}

static void test_recorded(void **state)
{
    check_rows(recorded, G_N_ELEMENTS(recorded));
}

static void test_grammar(void **state)
{
    check_rows(grammar, G_N_ELEMENTS(grammar));
}

static void test_runs_are_bounded(void **state)
{
    check_rows(runs, G_N_ELEMENTS(runs));
}

/* A recorded row, followed by a request: the request is answered. */
static void test_recovery(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(recorded); i++) {
        g_autoptr(GString) input = g_string_new_len(recorded[i].input, recorded[i].len);
        g_autofree char *expected =
            g_strconcat(recorded[i].events, "M {\"id\": 9}\n", NULL);
        GString *events;

        g_string_append(input, "{\"id\":9}\n");
        events = json_events(input->str, input->len, &vds_json_wire_limits,
                             json_piece_all, NULL);
        assert_string_equal(events->str, expected);
        g_string_free(events, TRUE);
    }
}

/* ---- limits
 * ---------------------------------------------------------------------------- */

static void append_n(GString *text, const char *what, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_string_append(text, what);
    }
}

static void check_generated(const GString *input, const VdsJsonLimits *limits,
                            const char *expected)
{
    size_t piece = 1;
    GString *whole = json_events(input->str, input->len, limits, json_piece_all, NULL);
    GString *bytes = json_events(input->str, input->len, limits, piece_of, &piece);

    assert_string_equal(whole->str, expected);
    assert_string_equal(bytes->str, expected);
    g_string_free(whole, TRUE);
    g_string_free(bytes, TRUE);
}

static void check_nesting(size_t depth, const char *between, const char *expected)
{
    g_autoptr(GString) input = g_string_new("{\"id\":");

    append_n(input, "[", depth);
    for (size_t i = 0; i < depth; i++) {
        g_string_append(input, "]");
        g_string_append(input, between);
    }
    g_string_append(input, "}\n{}\n");
    check_generated(input, &vds_json_wire_limits, expected);
}

static void test_nesting(void **state)
{
    g_autoptr(GString) deep = g_string_new("M {\"id\": ");
    const char *refused = "E JSON nesting depth limit exceeded\n" VALUE "M {}\n";

    append_n(deep, "[", 1023);
    append_n(deep, "]", 1023);
    g_string_append(deep, "}\nM {}\n");
    check_nesting(1023, "", deep->str);
    check_nesting(1024, "", refused);
    check_nesting(1024, "\n", refused);
    check_nesting(1024, " \r\n  ", refused);
    check_nesting(3000, "",
                  "E JSON nesting depth limit exceeded\n"
                  "E JSON nesting depth limit exceeded\nM {}\n");
}

/* QEMU: one error, until the flush. */
static void test_open_brackets_only(void **state)
{
    g_autoptr(GString) input = g_string_new(NULL);

    append_n(input, "[", 2000);
    g_string_append(input, "\xff{}");
    check_generated(input, &vds_json_wire_limits,
                    "E JSON nesting depth limit exceeded\n" STRAY("\xff") "M {}\n");
}

static void test_size(void **state)
{
    static const VdsJsonLimits small = {
        .max_bytes = 20, .max_tokens = 100, .max_depth = 9};
    static const Row rows[] = {
        {"fits", BYTES("\"123456789012345678\""), "M \"123456789012345678\"\n"},
        {"white space is free", BYTES("[          1      ,        2      ]"),
         "M [1, 2]\n"},
        {"string", BYTES("\"1234567890123456789\"\n{}"),
         "E JSON token size limit exceeded\nM {}\n"},
        {"number", BYTES("[12345678901234567890]\n{}"),
         "E JSON token size limit exceeded\n" VALUE "M {}\n"},
        {"sum", BYTES("[\"12345\",\"12345\",\"12345\",1,2,3]\n{}"),
         "E JSON token size limit exceeded\n" VALUE "M {}\n"},
        {"escape at the border", BYTES("\"123456789012345678\\\"\"\n{}"),
         "E JSON token size limit exceeded\nM {}\n"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GString) input = g_string_new_len(rows[i].input, rows[i].len);

        check_generated(input, &small, rows[i].events);
    }
}

static void test_tokens(void **state)
{
    static const VdsJsonLimits small = {.max_bytes = 99, .max_tokens = 7, .max_depth = 9};
    g_autoptr(GString) fits = g_string_new("[1,2,3]");
    g_autoptr(GString) not = g_string_new("[1,2,3,4,5,6]\n{}");

    check_generated(fits, &small, "M [1, 2, 3]\n");
    check_generated(not, &small, "E JSON token count limit exceeded\n" VALUE "M {}\n");
}

static void test_error_codes(void **state)
{
    static const VdsJsonLimits small = {.max_bytes = 9, .max_tokens = 4, .max_depth = 2};
    static const struct {
        const char *input;
        VdsJsonError code;
    } rows[] = {
        {"{]", VDS_JSON_ERROR_SYNTAX},           {"\x01", VDS_JSON_ERROR_SYNTAX},
        {"\"1234567890\"", VDS_JSON_ERROR_SIZE}, {"[1,2,3]", VDS_JSON_ERROR_TOKENS},
        {"[[[", VDS_JSON_ERROR_NESTING},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsJsonParser) parser = vds_json_parser_new(&small);
        g_autoptr(GError) error = NULL;
        size_t used;

        assert_int_equal(vds_json_parser_feed(parser, rows[i].input,
                                              strlen(rows[i].input), &used, &error),
                         VDS_JSON_BAD);
        assert_true(g_error_matches(error, VDS_JSON_ERROR, (int)rows[i].code));
    }
}

/* A long text in an error is cut; what was read of it is not lost on the parser. */
static void test_long_texts_are_cut(void **state)
{
    static const char *const rows[][2] = {{"\"", "\n"}, {"", "\n"}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsJsonParser) parser = vds_json_parser_new(&vds_json_wire_limits);
        g_autoptr(GString) input = g_string_new(rows[i][0]);
        g_autoptr(GError) error = NULL;
        size_t used;

        append_n(input, "x", 5000);
        g_string_append(input, rows[i][1]);
        assert_int_equal(
            vds_json_parser_feed(parser, input->str, input->len, &used, &error),
            VDS_JSON_BAD);
        assert_int_equal(strlen(error->message), strlen("JSON parse error, ") + 1023);
    }
}

/* Duplicates among many keys, and no duplicate among many more. */
static void test_many_keys(void **state)
{
    for (int n = 14; n < 2000; n = n < 20 ? n + 1 : n * 3) {
        for (int same = -1; same < n; same += 1 + n / 7) {
            g_autoptr(GString) input = g_string_new("{\"o\":{\"k0\":0},");
            g_autoptr(GString) expected = g_string_new("M {\"o\": {\"k0\": 0}, ");
            GString *events;

            for (int i = 0; i < n; i++) {
                g_string_append_printf(input, "\"k%d\":[%d],", i, i);
                g_string_append_printf(expected, "\"k%d\": [%d], ", i, i);
            }
            g_string_append_printf(input, "\"k%d\":1}", same);
            g_string_append_printf(expected, "\"k%d\": 1}\n", same);
            events = json_events(input->str, input->len, &vds_json_wire_limits,
                                 json_piece_all, NULL);
            assert_string_equal(events->str,
                                same < 0 ? expected->str : ERROR("duplicate key"));
            g_string_free(events, TRUE);
        }
    }
}

/* ---- complete texts
 * ---------------------------------------------------------------------- */

static void test_parse_text(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        const char *message; /* NULL: well */
    } rows[] = {
        {BYTES("{\"a\": [1, 2]} \r\n\t"), NULL},
        {BYTES("12"), NULL},
        {BYTES(""), "Expecting a JSON value"},
        {BYTES("  "), "Expecting a JSON value"},
        {BYTES("{} {}"), "Expecting at most one JSON value"},
        {BYTES("{}\0"), "Expecting at most one JSON value"},
        {BYTES("{\"a\""), "JSON parse error, premature EOI"},
        {BYTES("{\"a\":01}"), "JSON parse error, stray '01'"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsJsonTape) tape =
            vds_json_parse_text(rows[i].text, rows[i].len, &vds_json_wire_limits, &error);

        if (rows[i].message) {
            assert_null(tape);
            assert_true(g_error_matches(error, VDS_JSON_ERROR, VDS_JSON_ERROR_SYNTAX));
            assert_string_equal(error->message, rows[i].message);
        } else {
            assert_non_null(tape);
            assert_true(vds_json_value_is_present(vds_json_tape_root(tape)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_runs_are_bounded),
        cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_open_brackets_only),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_error_codes),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_parse_text),
    };

    return cmocka_run_group_tests_name("json-parser", tests, NULL, NULL);
}
