/*
 * json: the grammar of one message (RFC 8259, 2 to 5), lexeme by lexeme onto the tape.
 *
 * The first fault is kept and ends the judging; when it is told is the parser's business.
 * A table says what each lexeme means where; no recursion, since a container on the tape
 * knows the one around it.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "grammar-priv.h"

/* QEMU cuts most of its texts here.  "stray" it does not, but a megabyte of a string that
 * never ended helps nobody. */
enum { MESSAGE_BYTES = 1023 };

/* What may come next in the innermost open container, or at top level. */
typedef enum {
    EXPECT_VALUE,
    EXPECT_FIRST_ELEMENT, /* or ] */
    EXPECT_KEY,           /* any value: that it is a string is checked when it is whole */
    EXPECT_FIRST_KEY,     /* or } */
    EXPECT_COLON,
    EXPECT_DICT_SEPARATOR, /* or } */
    EXPECT_LIST_SEPARATOR, /* or ] */
    N_EXPECTS,
} Expect;

typedef enum {
    DO_VALUE,
    DO_CLOSE,
    DO_COLON,
    DO_COMMA,
    FAIL_VALUE,
    FAIL_COLON,
    FAIL_DICT,
    FAIL_LIST,
} Action;

/* clang-format off */
static const uint8_t actions[N_EXPECTS][VDS_JSON_LEX_WORD + 1] = {
#define VALUES(action)                                                                   \
    [VDS_JSON_LEX_OPEN_OBJECT] = (action), [VDS_JSON_LEX_OPEN_ARRAY] = (action),         \
    [VDS_JSON_LEX_STRING ... VDS_JSON_LEX_WORD] = (action)
#define REST(object_end, array_end, colon, comma)                                        \
    [VDS_JSON_LEX_CLOSE_OBJECT] = (object_end), [VDS_JSON_LEX_CLOSE_ARRAY] = (array_end),\
    [VDS_JSON_LEX_COLON] = (colon), [VDS_JSON_LEX_COMMA] = (comma)
    [EXPECT_VALUE] =
        {VALUES(DO_VALUE), REST(FAIL_VALUE, FAIL_VALUE, FAIL_VALUE, FAIL_VALUE)},
    [EXPECT_FIRST_ELEMENT] =
        {VALUES(DO_VALUE), REST(FAIL_VALUE, DO_CLOSE, FAIL_VALUE, FAIL_VALUE)},
    [EXPECT_KEY] =
        {VALUES(DO_VALUE), REST(FAIL_VALUE, FAIL_VALUE, FAIL_VALUE, FAIL_VALUE)},
    [EXPECT_FIRST_KEY] =
        {VALUES(DO_VALUE), REST(DO_CLOSE, FAIL_VALUE, FAIL_VALUE, FAIL_VALUE)},
    [EXPECT_COLON] =
        {VALUES(FAIL_COLON), REST(FAIL_COLON, FAIL_COLON, DO_COLON, FAIL_COLON)},
    [EXPECT_DICT_SEPARATOR] =
        {VALUES(FAIL_DICT), REST(DO_CLOSE, FAIL_DICT, FAIL_DICT, DO_COMMA)},
    [EXPECT_LIST_SEPARATOR] =
        {VALUES(FAIL_LIST), REST(FAIL_LIST, DO_CLOSE, FAIL_LIST, DO_COMMA)},
#undef VALUES
#undef REST
};
/* clang-format on */

static const char *const failures[] = {
    [FAIL_VALUE] = "expecting value",
    [FAIL_COLON] = "missing : in object pair",
    [FAIL_DICT] = "expected separator in dict",
    [FAIL_LIST] = "expected separator in list",
};

void vds_json_grammar_init(VdsJsonGrammar *grammar)
{
    *grammar = (VdsJsonGrammar){.innermost = VDS_JSON_NO_TOKEN};
    vds_json_keys_init(&grammar->keys);
}

void vds_json_grammar_clear(VdsJsonGrammar *grammar)
{
    vds_json_tape_clear(&grammar->tape);
    vds_json_keys_clear(&grammar->keys);
    g_clear_error(&grammar->fault);
}

void vds_json_grammar_reset(VdsJsonGrammar *grammar)
{
    vds_json_tape_reset(&grammar->tape);
    vds_json_keys_reset(&grammar->keys);
    g_clear_error(&grammar->fault);
    grammar->innermost = VDS_JSON_NO_TOKEN;
    grammar->is_bad = false;
}

/* ---- faults ---------------------------------------------------------------------------
 */

GError *vds_json_syntax_error_new(const char *before, const uint8_t *quoted, size_t len,
                                  const char *after)
{
    g_autoptr(GString) text = g_string_new(before);

    g_string_append_len(text, (const char *)quoted, (gssize)MIN(len, MESSAGE_BYTES));
    g_string_append(text, after);
    g_string_truncate(text, MIN(text->len, (gsize)MESSAGE_BYTES));
    g_string_prepend(text, "JSON parse error, ");
    return g_error_new_literal(VDS_JSON_ERROR, VDS_JSON_ERROR_SYNTAX, text->str);
}

static void grammar_fail_quoting(VdsJsonGrammar *grammar, const char *before,
                                 const uint8_t *quoted, size_t len, const char *after)
{
    grammar->is_bad = true;
    if (!grammar->quiet) {
        grammar->fault = vds_json_syntax_error_new(before, quoted, len, after);
    }
}

static void grammar_fail(VdsJsonGrammar *grammar, const char *why)
{
    grammar_fail_quoting(grammar, why, NULL, 0, "");
}

void vds_json_grammar_finish(VdsJsonGrammar *grammar)
{
    if (!grammar->is_bad) {
        grammar_fail(grammar, "premature EOI");
    }
}

/* ---- values ---------------------------------------------------------------------------
 */

static VdsJsonToken *grammar_innermost(VdsJsonGrammar *grammar)
{
    return &grammar->tape.tokens[grammar->innermost];
}

/* The value at `at` is whole: what does that mean to what it is in? */
static void value_done(VdsJsonGrammar *grammar, uint32_t at)
{
    VdsJsonToken *outer;

    if (grammar->innermost == VDS_JSON_NO_TOKEN) {
        return;
    }
    outer = grammar_innermost(grammar);
    if (outer->kind == VDS_JSON_ARRAY) {
        outer->u.container.count++;
        outer->expect = EXPECT_LIST_SEPARATOR;
    } else if (outer->expect != EXPECT_VALUE) {
        if (grammar->tape.tokens[at].kind != VDS_JSON_STRING) {
            grammar_fail(grammar, "key is not a string in object");
            return;
        }
        outer->next = at;
        outer->expect = EXPECT_COLON;
    } else {
        if (vds_json_keys_is_duplicate(&grammar->keys, &grammar->tape, grammar->innermost,
                                       outer->next)) {
            grammar_fail(grammar, "duplicate key");
            return;
        }
        outer->u.container.count++;
        outer->expect = EXPECT_DICT_SEPARATOR;
    }
}

static void container_open(VdsJsonGrammar *grammar, const VdsJsonLexeme *lexeme)
{
    bool object = lexeme->type == VDS_JSON_LEX_OPEN_OBJECT;
    uint32_t at = grammar->tape.n_tokens;
    VdsJsonToken *token =
        vds_json_tape_push(&grammar->tape, object ? VDS_JSON_OBJECT : VDS_JSON_ARRAY);

    token->expect = object ? EXPECT_FIRST_KEY : EXPECT_FIRST_ELEMENT;
    token->u.container.count = 0;
    token->u.container.parent = grammar->innermost;
    grammar->innermost = at;
}

static void container_close(VdsJsonGrammar *grammar)
{
    uint32_t at = grammar->innermost;
    VdsJsonToken *token = grammar_innermost(grammar);

    token->next = grammar->tape.n_tokens;
    grammar->innermost = token->u.container.parent;
    value_done(grammar, at);
}

static void string_value(VdsJsonGrammar *grammar, const VdsJsonLexeme *lexeme)
{
    g_autofree char *why = NULL;

    if (!vds_json_tape_push_string(&grammar->tape, lexeme->text, lexeme->len, &why)) {
        grammar_fail(grammar, why);
    }
}

/* Decimal digits after an optional sign.  False if it does not fit 64 bits. */
static bool parse_integer(VdsJsonTape *tape, const uint8_t *text, size_t len)
{
    bool negative = text[0] == '-';
    uint64_t value = 0;

    for (size_t i = negative; i < len; i++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) {
            return false;
        }
    }
    if (value <= (uint64_t)INT64_MAX + negative) {
        vds_json_tape_push(tape, VDS_JSON_INT)->u.integer =
            negative ? (int64_t)(0 - value) : (int64_t)value;
        return true;
    }
    if (!negative) {
        vds_json_tape_push(tape, VDS_JSON_UINT)->u.uinteger = value;
    }
    return !negative;
}

static void number_value(VdsJsonGrammar *grammar, const VdsJsonLexeme *lexeme)
{
    VdsJsonTape *tape = &grammar->tape;
    char *text;
    double value;

    if (lexeme->type == VDS_JSON_LEX_INTEGER &&
        parse_integer(tape, lexeme->text, lexeme->len)) {
        return;
    }
    /* A terminated copy, behind the texts, and not kept. */
    text = (char *)vds_json_tape_reserve_text(tape, lexeme->len + 1);
    memcpy(text, lexeme->text, lexeme->len);
    text[lexeme->len] = '\0';
    value = g_ascii_strtod(text, NULL);
    vds_json_tape_push(tape, VDS_JSON_NUMBER)->u.number =
        isinf(value) ? copysign(DBL_MAX, value) : value;
}

static void word_value(VdsJsonGrammar *grammar, const VdsJsonLexeme *lexeme)
{
    static const struct {
        char word[6];
        uint8_t len, kind;
    } words[] = {{"true", 4, VDS_JSON_TRUE},
                 {"false", 5, VDS_JSON_FALSE},
                 {"null", 4, VDS_JSON_NULL}};

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (lexeme->len == words[i].len &&
            memcmp(lexeme->text, words[i].word, lexeme->len) == 0) {
            vds_json_tape_push(&grammar->tape, (VdsJsonKind)words[i].kind);
            return;
        }
    }
    grammar_fail_quoting(grammar, "invalid keyword '", lexeme->text, lexeme->len, "'");
}

static void scalar_value(VdsJsonGrammar *grammar, const VdsJsonLexeme *lexeme)
{
    uint32_t at = grammar->tape.n_tokens;

    if (lexeme->type == VDS_JSON_LEX_STRING) {
        string_value(grammar, lexeme);
    } else if (lexeme->type == VDS_JSON_LEX_WORD) {
        word_value(grammar, lexeme);
    } else {
        number_value(grammar, lexeme);
    }
    if (!grammar->is_bad) {
        value_done(grammar, at);
    }
}

void vds_json_grammar_take(VdsJsonGrammar *grammar, const VdsJsonLexeme *lexeme)
{
    bool nested = grammar->innermost != VDS_JSON_NO_TOKEN;
    VdsJsonToken *outer = nested ? grammar_innermost(grammar) : NULL;
    Action action = (Action)actions[outer ? outer->expect : EXPECT_VALUE][lexeme->type];

    if (action >= FAIL_VALUE) {
        grammar_fail(grammar, failures[action]);
    } else if (action == DO_CLOSE) {
        container_close(grammar);
    } else if (action == DO_COLON) {
        outer->expect = EXPECT_VALUE;
    } else if (action == DO_COMMA) {
        outer->expect = outer->kind == VDS_JSON_OBJECT ? EXPECT_KEY : EXPECT_VALUE;
    } else if (lexeme->type >= VDS_JSON_LEX_STRING) {
        scalar_value(grammar, lexeme);
    } else {
        container_open(grammar, lexeme);
    }
}
