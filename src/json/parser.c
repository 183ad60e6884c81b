/*
 * json: messages out of lexemes: framing, grammar, limits, and what follows an error.
 *
 * A message ends when its brackets balance, or close one that was never opened; it is
 * judged as it goes, but a fault of grammar is told at its end, as QEMU parses only what
 * is whole.  A lexical error or a limit drops the message at once.  So each message draws
 * at most one error, its first.
 *
 * What is left of a dropped message would draw further ones (QEMU writes 90 KB for a
 * kilobyte of closing brackets).  Here a *run* of bad input yields at most two: the
 * error, and one for what is left.  A run knows how many brackets the dropped messages
 * left open (its debt).  It ends where a new request can be told from the rest of an old
 * one:
 *   - at a '{' once every bracket is paid back;
 *   - at a '{' that starts a line;
 *   - at a line's end, or with a good message, when no debt is left;
 *   - at FE or FF, QEMU's flush, unless the byte before was one, too.
 * Whole objects in it are handed out, as in QEMU; whole numbers, strings, words and
 * arrays only as long as the run may still draw errors, since they are answered by one.
 */
#include <string.h>

#include "grammar-priv.h"

enum { RUN_ERRORS = 2 };

const VdsJsonLimits vds_json_wire_limits = {
    .max_bytes = 1024 * 1024,
    .max_tokens = 65536,
    .max_depth = 1024,
};

struct VdsJsonParser {
    VdsJsonLimits limits;
    VdsJsonLexer lexer;
    VdsJsonGrammar grammar;

    /* The message being read. */
    bool handed_out;          /* it was complete: the next feed starts another */
    uint32_t n_tokens;        /* lexemes: colons and commas count */
    size_t n_bytes;           /* of lexemes */
    int32_t braces, brackets; /* open; below 0: one closed that was never opened */

    /* The run of bad input. */
    unsigned run_errors; /* told so far; 0: no run */
    uint64_t run_debt;   /* brackets that dropped messages left open */
    bool after_flush;    /* the lexeme before was FE or FF */
};

VdsJsonParser *vds_json_parser_new(const VdsJsonLimits *limits)
{
    VdsJsonParser *parser = g_new0(VdsJsonParser, 1);

    parser->limits = *limits;
    parser->limits.max_bytes = MIN(limits->max_bytes, (size_t)INT32_MAX);
    parser->limits.max_tokens = MIN(limits->max_tokens, (uint32_t)INT32_MAX);
    parser->limits.max_depth = MIN(limits->max_depth, (uint32_t)INT32_MAX);
    vds_json_lexer_init(&parser->lexer);
    vds_json_grammar_init(&parser->grammar);
    return parser;
}

void vds_json_parser_free(VdsJsonParser *parser)
{
    if (parser) {
        vds_json_lexer_clear(&parser->lexer);
        vds_json_grammar_clear(&parser->grammar);
        g_free(parser);
    }
}

VdsJsonValue vds_json_parser_message(const VdsJsonParser *parser)
{
    return vds_json_tape_root(&parser->grammar.tape);
}

/* ---- runs of bad input
 * ----------------------------------------------------------------- */

static bool run_may_tell(const VdsJsonParser *parser)
{
    return parser->run_errors < RUN_ERRORS;
}

static void message_reset(VdsJsonParser *parser)
{
    vds_json_grammar_reset(&parser->grammar);
    parser->handed_out = false;
    parser->n_tokens = 0;
    parser->n_bytes = 0;
    parser->braces = parser->brackets = 0;
}

static bool message_is_begun(const VdsJsonParser *parser)
{
    return parser->n_tokens > 0;
}

static void run_end(VdsJsonParser *parser)
{
    parser->run_errors = 0;
    parser->run_debt = 0;
}

/* A message's first lexeme: does it end the run? */
static void run_consider(VdsJsonParser *parser, const VdsJsonLexeme *lexeme)
{
    bool opens = lexeme->type == VDS_JSON_LEX_OPEN_OBJECT;

    if (parser->run_debt == 0 ? opens || lexeme->newline : opens && lexeme->line_start) {
        run_end(parser);
    }
    parser->grammar.quiet = !run_may_tell(parser);
}

/* What a dropped message leaves open is paid back by closers that would else be errors of
 * their own, and by those that went down with a stray. */
static void run_borrow(VdsJsonParser *parser)
{
    parser->run_debt += (uint64_t)MAX(parser->braces, 0);
    parser->run_debt += (uint64_t)MAX(parser->brackets, 0);
}

static void run_pay(VdsJsonParser *parser, const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len && parser->run_debt > 0; i++) {
        parser->run_debt -= text[i] == '}' || text[i] == ']';
    }
}

/* Ends the message with an error, which is taken over (NULL: the run said enough). */
static VdsJsonFeed message_refuse(VdsJsonParser *parser, GError *why, GError **error)
{
    run_borrow(parser);
    if (why) {
        parser->run_errors++;
        g_propagate_error(error, why);
    }
    message_reset(parser);
    return why ? VDS_JSON_BAD : VDS_JSON_MORE;
}

static VdsJsonFeed message_end(VdsJsonParser *parser, GError **error)
{
    if (parser->grammar.is_bad) {
        return message_refuse(parser, g_steal_pointer(&parser->grammar.fault), error);
    }
    if (parser->grammar.tape.tokens[0].kind == VDS_JSON_OBJECT) {
        if (parser->run_debt == 0) {
            run_end(parser);
        }
    } else if (parser->run_errors > 0) {
        if (!run_may_tell(parser)) {
            message_reset(parser);
            return VDS_JSON_MORE;
        }
        parser->run_errors++;
    }
    parser->handed_out = true;
    return VDS_JSON_MESSAGE;
}

static VdsJsonFeed parser_stray(VdsJsonParser *parser, const VdsJsonLexeme *lexeme,
                                GError **error)
{
    bool flush = lexeme->text[lexeme->len - 1] >= 0xfe;
    size_t len = strnlen((const char *)lexeme->text, lexeme->len);
    GError *why = NULL;
    VdsJsonFeed result;

    if (flush) {
        parser->braces = parser->brackets = 0;
        parser->run_debt = 0;
        parser->run_errors = parser->after_flush ? parser->run_errors : 0;
    }
    parser->after_flush = flush;
    if (run_may_tell(parser)) {
        why = vds_json_syntax_error_new("stray '", lexeme->text, len, "'");
    }
    result = message_refuse(parser, why, error);
    run_pay(parser, lexeme->text, lexeme->len);
    return result;
}

static VdsJsonFeed parser_limit(VdsJsonParser *parser, VdsJsonError code,
                                const char *text, GError **error)
{
    GError *why = run_may_tell(parser)
                      ? g_error_new_literal(VDS_JSON_ERROR, (int)code, text)
                      : NULL;

    return message_refuse(parser, why, error);
}

static void count_brackets(VdsJsonParser *parser, VdsJsonLexType type)
{
    parser->braces += (type == VDS_JSON_LEX_OPEN_OBJECT);
    parser->braces -= (type == VDS_JSON_LEX_CLOSE_OBJECT);
    parser->brackets += (type == VDS_JSON_LEX_OPEN_ARRAY);
    parser->brackets -= (type == VDS_JSON_LEX_CLOSE_ARRAY);
}

/* MORE: go on. */
static VdsJsonFeed parser_take(VdsJsonParser *parser, const VdsJsonLexeme *lexeme,
                               GError **error)
{
    if (!message_is_begun(parser)) {
        run_consider(parser, lexeme);
    }
    if (lexeme->type == VDS_JSON_LEX_STRAY) {
        return parser_stray(parser, lexeme, error);
    }
    parser->after_flush = false;
    if (lexeme->type == VDS_JSON_LEX_TOO_LONG) {
        return parser_limit(parser, VDS_JSON_ERROR_SIZE, "JSON token size limit exceeded",
                            error);
    }
    count_brackets(parser, lexeme->type);
    if (++parser->n_tokens > parser->limits.max_tokens) {
        return parser_limit(parser, VDS_JSON_ERROR_TOKENS,
                            "JSON token count limit exceeded", error);
    }
    if (parser->braces + parser->brackets > (int32_t)parser->limits.max_depth) {
        return parser_limit(parser, VDS_JSON_ERROR_NESTING,
                            "JSON nesting depth limit exceeded", error);
    }
    parser->n_bytes += lexeme->len;
    if (!parser->grammar.is_bad) {
        vds_json_grammar_take(&parser->grammar, lexeme);
    }
    if (parser->braces >= 0 && parser->brackets >= 0 &&
        parser->braces + parser->brackets > 0) {
        return VDS_JSON_MORE;
    }
    if (parser->run_debt > 0 && (parser->braces < 0 || parser->brackets < 0)) {
        parser->run_debt--;
    }
    return message_end(parser, error);
}

/* ---- bytes
 * ----------------------------------------------------------------------------- */

VdsJsonFeed vds_json_parser_feed(VdsJsonParser *parser, const void *bytes, size_t len,
                                 size_t *used, GError **error)
{
    *used = 0;
    if (parser->handed_out) {
        message_reset(parser);
    }
    for (;;) {
        size_t took;
        VdsJsonLexeme lexeme = vds_json_lexer_next(
            &parser->lexer, (const uint8_t *)bytes + *used, len - *used,
            parser->limits.max_bytes - parser->n_bytes, &took);
        VdsJsonFeed result;

        *used += took;
        if (lexeme.type == VDS_JSON_LEX_NONE) {
            return VDS_JSON_MORE;
        }
        result = parser_take(parser, &lexeme, error);
        if (result != VDS_JSON_MORE) {
            return result;
        }
    }
}

VdsJsonFeed vds_json_parser_finish(VdsJsonParser *parser, GError **error)
{
    VdsJsonLexeme lexeme;

    if (parser->handed_out) {
        message_reset(parser);
    }
    lexeme = vds_json_lexer_finish(&parser->lexer);
    if (lexeme.type != VDS_JSON_LEX_NONE) {
        VdsJsonFeed result = parser_take(parser, &lexeme, error);

        if (result != VDS_JSON_MORE) {
            return result;
        }
    }
    if (!message_is_begun(parser)) {
        return VDS_JSON_MORE;
    }
    vds_json_grammar_finish(&parser->grammar);
    return message_end(parser, error);
}

/* ---- a complete text
 * -------------------------------------------------------------------- */

VdsJsonTape *vds_json_parse_text(const char *text, size_t len,
                                 const VdsJsonLimits *limits, GError **error)
{
    g_autoptr(VdsJsonParser) parser = vds_json_parser_new(limits);
    g_autofree VdsJsonTape *tape = NULL;
    size_t used;
    VdsJsonFeed result = vds_json_parser_feed(parser, text, len, &used, error);

    if (result == VDS_JSON_MORE) {
        result = vds_json_parser_finish(parser, error);
    }
    if (result == VDS_JSON_BAD) {
        return NULL;
    }
    if (result == VDS_JSON_MORE) {
        g_set_error_literal(error, VDS_JSON_ERROR, VDS_JSON_ERROR_SYNTAX,
                            "Expecting a JSON value");
        return NULL;
    }
    while (used < len && strchr(" \t\r\n", text[used]) && text[used] != '\0') {
        used++;
    }
    if (used < len) {
        g_set_error_literal(error, VDS_JSON_ERROR, VDS_JSON_ERROR_SYNTAX,
                            "Expecting at most one JSON value");
        return NULL;
    }
    tape = g_new(VdsJsonTape, 1);
    *tape = parser->grammar.tape;
    parser->grammar.tape = (VdsJsonTape){0};
    return g_steal_pointer(&tape);
}
