/*
 * json: the lexer, a table of states over classes of bytes (RFC 8259, 2, 3, 6 and 7).
 *
 * What it calls a token, what it quotes of a bad one and where it starts again are what
 * QEMU's lexer does: any run of small letters is a word, any escape a pair of bytes (both
 * are judged later), and a byte that fits nowhere ends the token it is in, itself
 * included.  Then everything is skipped up to a structural character, a control
 * character other than tab, or FE or FF, which are no part of UTF-8.
 */
#include "lexer-priv.h"
#include "json-priv.h"

typedef enum {
    START, /* white space, between tokens */
    SKIP,  /* after a stray */
    DOUBLE,
    DOUBLE_ESCAPE,
    SINGLE,
    SINGLE_ESCAPE,
    MINUS,
    ZERO,
    DIGITS,
    POINT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGITS,
    WORD,
    N_STATES,
} State;

typedef enum {
    C_OTHER, /* 20..FD, where nothing else fits */
    C_CONTROL,
    C_FLUSH, /* FE, FF */
    C_TAB,
    C_LINE, /* LF, CR */
    C_SPACE,
    C_QUOTE,
    C_APOSTROPHE,
    C_BACKSLASH,
    C_LBRACE,
    C_RBRACE,
    C_LBRACKET,
    C_RBRACKET,
    C_COLON,
    C_COMMA,
    C_MINUS,
    C_PLUS,
    C_DOT,
    C_ZERO,
    C_DIGIT, /* 1..9 */
    C_BIG_E,
    C_SMALL_E,
    C_LETTER, /* a..z */
    N_CLASSES,
} Class;

static const uint8_t classes[256] = {
    [0x00 ... 0x08] = C_CONTROL,
    ['\t'] = C_TAB,
    ['\n'] = C_LINE,
    [0x0b ... 0x0c] = C_CONTROL,
    ['\r'] = C_LINE,
    [0x0e ... 0x1f] = C_CONTROL,
    [' '] = C_SPACE,
    ['"'] = C_QUOTE,
    ['\''] = C_APOSTROPHE,
    ['\\'] = C_BACKSLASH,
    ['{'] = C_LBRACE,
    ['}'] = C_RBRACE,
    ['['] = C_LBRACKET,
    [']'] = C_RBRACKET,
    [':'] = C_COLON,
    [','] = C_COMMA,
    ['-'] = C_MINUS,
    ['+'] = C_PLUS,
    ['.'] = C_DOT,
    ['0'] = C_ZERO,
    ['1' ... '9'] = C_DIGIT,
    ['E'] = C_BIG_E,
    ['a' ... 'd'] = C_LETTER,
    ['e'] = C_SMALL_E,
    ['f' ... 'z'] = C_LETTER,
    [0xfe ... 0xff] = C_FLUSH,
};

/* A step is a state, or the end of a token of a type; LOOK: this byte is not part of it.
 */
#define LOOK 0x80
#define END(type) (0x40 | (type))
#define STEP_IS_END(step) ((step)&0x40)
#define STEP_TYPE(step) ((VdsJsonLexType)((step)&0x3f))

#define STRAY END(VDS_JSON_LEX_STRAY)
/* Bytes that may stand in a string, less those that mean something there. */
#define IN_STRING(step)                                                                  \
    [C_CONTROL] = STRAY, [C_TAB] = STRAY, [C_LINE] = STRAY, [C_FLUSH] = STRAY,           \
    [C_OTHER] = (step), [C_SPACE] = (step), [C_LBRACE... C_LETTER] = (step)
#define STRAY_BUT(first, last)                                                           \
    [0 ...(first) - 1] = STRAY, [(last) + 1 ... N_CLASSES - 1] = STRAY
#define ENDS_BEFORE(step, first, last)                                                   \
    [0 ...(first) - 1] = (step) | LOOK, [(last) + 1 ... N_CLASSES - 1] = (step) | LOOK

static const uint8_t steps[N_STATES][N_CLASSES] = {
    [START] =
        {
            [C_OTHER] = STRAY,
            [C_CONTROL] = STRAY,
            [C_FLUSH] = STRAY,
            [C_TAB] = START,
            [C_LINE] = START,
            [C_SPACE] = START,
            [C_QUOTE] = DOUBLE,
            [C_APOSTROPHE] = SINGLE,
            [C_BACKSLASH] = STRAY,
            [C_LBRACE] = END(VDS_JSON_LEX_OPEN_OBJECT),
            [C_RBRACE] = END(VDS_JSON_LEX_CLOSE_OBJECT),
            [C_LBRACKET] = END(VDS_JSON_LEX_OPEN_ARRAY),
            [C_RBRACKET] = END(VDS_JSON_LEX_CLOSE_ARRAY),
            [C_COLON] = END(VDS_JSON_LEX_COLON),
            [C_COMMA] = END(VDS_JSON_LEX_COMMA),
            [C_MINUS] = MINUS,
            [C_PLUS] = STRAY,
            [C_DOT] = STRAY,
            [C_ZERO] = ZERO,
            [C_DIGIT] = DIGITS,
            [C_BIG_E] = STRAY,
            [C_SMALL_E] = WORD,
            [C_LETTER] = WORD,
        },
    [SKIP] =
        {
            [C_OTHER] = SKIP,
            [C_CONTROL] = START | LOOK,
            [C_FLUSH] = START | LOOK,
            [C_TAB] = SKIP,
            [C_LINE] = START | LOOK,
            [C_SPACE... C_BACKSLASH] = SKIP,
            [C_LBRACE... C_COMMA] = START | LOOK,
            [C_MINUS... C_LETTER] = SKIP,
        },
    [DOUBLE] = {IN_STRING(DOUBLE), [C_QUOTE] = END(VDS_JSON_LEX_STRING),
                [C_APOSTROPHE] = DOUBLE, [C_BACKSLASH] = DOUBLE_ESCAPE},
    [DOUBLE_ESCAPE] = {IN_STRING(DOUBLE), [C_QUOTE... C_BACKSLASH] = DOUBLE},
    [SINGLE] = {IN_STRING(SINGLE), [C_QUOTE] = SINGLE,
                [C_APOSTROPHE] = END(VDS_JSON_LEX_STRING), [C_BACKSLASH] = SINGLE_ESCAPE},
    [SINGLE_ESCAPE] = {IN_STRING(SINGLE), [C_QUOTE... C_BACKSLASH] = SINGLE},
    [MINUS] = {STRAY_BUT(C_ZERO, C_DIGIT), [C_ZERO] = ZERO, [C_DIGIT] = DIGITS},
    [ZERO] = {ENDS_BEFORE(END(VDS_JSON_LEX_INTEGER), C_DOT, C_SMALL_E), [C_DOT] = POINT,
              [C_ZERO... C_DIGIT] = STRAY, [C_BIG_E... C_SMALL_E] = EXPONENT},
    [DIGITS] = {ENDS_BEFORE(END(VDS_JSON_LEX_INTEGER), C_DOT, C_SMALL_E), [C_DOT] = POINT,
                [C_ZERO... C_DIGIT] = DIGITS, [C_BIG_E... C_SMALL_E] = EXPONENT},
    [POINT] = {STRAY_BUT(C_ZERO, C_DIGIT), [C_ZERO... C_DIGIT] = FRACTION},
    [FRACTION] = {ENDS_BEFORE(END(VDS_JSON_LEX_FLOAT), C_ZERO, C_SMALL_E),
                  [C_ZERO... C_DIGIT] = FRACTION, [C_BIG_E... C_SMALL_E] = EXPONENT},
    [EXPONENT] = {[0 ... C_COMMA] = STRAY,
                  [C_MINUS... C_PLUS] = EXPONENT_SIGN,
                  [C_DOT] = STRAY,
                  [C_ZERO... C_DIGIT] = EXPONENT_DIGITS,
                  [C_BIG_E... C_LETTER] = STRAY},
    [EXPONENT_SIGN] = {STRAY_BUT(C_ZERO, C_DIGIT), [C_ZERO... C_DIGIT] = EXPONENT_DIGITS},
    [EXPONENT_DIGITS] = {ENDS_BEFORE(END(VDS_JSON_LEX_FLOAT), C_ZERO, C_DIGIT),
                         [C_ZERO... C_DIGIT] = EXPONENT_DIGITS},
    [WORD] = {[0 ... C_BIG_E] = END(VDS_JSON_LEX_WORD) | LOOK,
              [C_SMALL_E... C_LETTER] = WORD},
};

void vds_json_lexer_init(VdsJsonLexer *lexer)
{
    *lexer = (VdsJsonLexer){.state = START, .line_start = true};
}

void vds_json_lexer_clear(VdsJsonLexer *lexer)
{
    vds_buf_clear(&lexer->carry);
}

/* Steps over what cannot end or bend a string, eight bytes at a time. */
static size_t skip_plain(const uint8_t *bytes, size_t at, size_t len, uint8_t quote)
{
    while (len - at >= 8) {
        uint64_t word = vds_json_load8(bytes + at);
        uint64_t hits = vds_json_lanes_below(word, 0x20) |
                        vds_json_lanes_equal(word, quote) |
                        vds_json_lanes_equal(word, '\\') | vds_json_lanes_high(word);

        if (hits) {
            return at + (size_t)__builtin_ctzll(hits) / 8;
        }
        at += 8;
    }
    return at;
}

static VdsJsonLexeme lexer_emit(VdsJsonLexer *lexer, VdsJsonLexType type,
                                const uint8_t *text, size_t len)
{
    VdsJsonLexeme lexeme = {type, text, len, lexer->newline, lexer->line_start};

    if (vds_buf_len(&lexer->carry) > 0) {
        vds_buf_append(&lexer->carry, text, len);
        lexeme.text = vds_buf_bytes(&lexer->carry);
        lexeme.len = vds_buf_len(&lexer->carry);
        lexer->carry_done = true;
    }
    lexer->state = type == VDS_JSON_LEX_STRAY ? SKIP : START;
    /* A string that a line's end cut off has that end in it. */
    lexer->newline = lexer->line_start =
        type == VDS_JSON_LEX_STRAY && lexeme.text[lexeme.len - 1] == '\n';
    return lexeme;
}

static VdsJsonLexeme lexer_too_long(VdsJsonLexer *lexer)
{
    VdsJsonLexeme lexeme = {VDS_JSON_LEX_TOO_LONG, NULL, 0, lexer->newline,
                            lexer->line_start};

    lexer->state = SKIP;
    lexer->carry_done = true;
    lexer->newline = lexer->line_start = false;
    return lexeme;
}

/* What most lexemes are, between two of them and within one piece: a structural character
 * or a string without a backslash, at most some spaces before it.  The same as what the
 * table makes of them, in fewer steps.  Else NONE, and nothing was taken. */
static VdsJsonLexeme lexer_next_simple(VdsJsonLexer *lexer, const uint8_t *bytes,
                                       size_t len, size_t max_len, size_t *used)
{
    size_t at = 0, end;
    uint8_t step;

    while (at < len && bytes[at] == ' ') {
        at++;
    }
    if (at == len || max_len == 0) {
        return (VdsJsonLexeme){.type = VDS_JSON_LEX_NONE};
    }
    step = steps[START][classes[bytes[at]]];
    end = at + 1;
    if (step == DOUBLE) {
        end = skip_plain(bytes, end, MAX(end, MIN(len, at + max_len)), '"');
        if (end >= len || bytes[end++] != '"' || end - at > max_len) {
            return (VdsJsonLexeme){.type = VDS_JSON_LEX_NONE};
        }
        step = END(VDS_JSON_LEX_STRING);
    } else if (!STEP_IS_END(step) || step == STRAY) {
        return (VdsJsonLexeme){.type = VDS_JSON_LEX_NONE};
    }
    lexer->line_start &= at == 0;
    *used = end;
    return lexer_emit(lexer, STEP_TYPE(step), bytes + at, end - at);
}

VdsJsonLexeme vds_json_lexer_next(VdsJsonLexer *lexer, const uint8_t *bytes, size_t len,
                                  size_t max_len, size_t *used)
{
    size_t start = 0, at = 0, carried;

    if (lexer->carry_done) {
        vds_buf_consume(&lexer->carry, vds_buf_len(&lexer->carry));
        lexer->carry_done = false;
    }
    if (lexer->state == START) {
        VdsJsonLexeme lexeme = lexer_next_simple(lexer, bytes, len, max_len, used);

        if (lexeme.type != VDS_JSON_LEX_NONE) {
            return lexeme;
        }
    }

    carried = vds_buf_len(&lexer->carry);
    while (at < len) {
        uint8_t step = steps[lexer->state][classes[bytes[at]]];

        at += !(step & LOOK);
        if (carried + (at - start) > max_len && lexer->state != SKIP &&
            (step & ~LOOK) != START) {
            *used = at;
            return lexer_too_long(lexer);
        }
        if (STEP_IS_END(step)) {
            *used = at;
            return lexer_emit(lexer, STEP_TYPE(step & ~LOOK), bytes + start, at - start);
        }
        lexer->state = step & (uint8_t)~LOOK;
        if (lexer->state <= SKIP) {
            if (!(step & LOOK)) {
                lexer->line_start = bytes[at - 1] == '\n';
                lexer->newline |= lexer->line_start;
            }
            start = at;
        } else if (lexer->state == DOUBLE || lexer->state == SINGLE) {
            size_t most = MIN(len, start + (max_len - carried));

            at =
                skip_plain(bytes, at, MAX(at, most), lexer->state == DOUBLE ? '"' : '\'');
        }
    }
    vds_buf_append(&lexer->carry, bytes + start, at - start);
    *used = len;
    return (VdsJsonLexeme){.type = VDS_JSON_LEX_NONE};
}

VdsJsonLexeme vds_json_lexer_finish(VdsJsonLexer *lexer)
{
    /* What any byte that continues nothing would make of it. */
    uint8_t step = steps[lexer->state][C_CONTROL];
    static const uint8_t nothing[1];
    VdsJsonLexeme lexeme;

    if (lexer->state == START || lexer->state == SKIP) {
        lexer->state = START;
        return (VdsJsonLexeme){.type = VDS_JSON_LEX_NONE};
    }
    lexeme = lexer_emit(lexer, STEP_TYPE(step & ~LOOK), nothing, 0);
    lexer->state = START;
    return lexeme;
}
