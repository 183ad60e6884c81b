/*
 * json: the lexer, from bytes to lexemes.  Knows lexical grammar, no nesting.
 */
#pragma once

#include "vds/json.h"

typedef enum {
    VDS_JSON_LEX_OPEN_OBJECT,
    VDS_JSON_LEX_CLOSE_OBJECT,
    VDS_JSON_LEX_OPEN_ARRAY,
    VDS_JSON_LEX_CLOSE_ARRAY,
    VDS_JSON_LEX_COLON,
    VDS_JSON_LEX_COMMA,
    VDS_JSON_LEX_STRING, /* quotes included, not decoded */
    VDS_JSON_LEX_INTEGER,
    VDS_JSON_LEX_FLOAT,
    VDS_JSON_LEX_WORD,     /* [a-z]+ */
    VDS_JSON_LEX_STRAY,    /* no token: what was read of it, the bad byte included */
    VDS_JSON_LEX_TOO_LONG, /* the token exceeds what the message may still take */
    VDS_JSON_LEX_NONE,     /* the input is used up */
} VdsJsonLexType;

typedef struct {
    VdsJsonLexType type;
    const uint8_t *text; /* valid until the next call; NULL for NONE and TOO_LONG */
    size_t len;
    bool newline;    /* a line ended between the lexeme before and this one */
    bool line_start; /* it is the first thing on its line, not even indented */
} VdsJsonLexeme;

typedef struct {
    uint8_t state;
    bool newline, line_start; /* for the lexeme that comes next */
    bool carry_done;          /* the carried token was handed out */
    VdsBuf carry;             /* the start of a token that an earlier piece began */
} VdsJsonLexer;

void vds_json_lexer_init(VdsJsonLexer *lexer);
void vds_json_lexer_clear(VdsJsonLexer *lexer);
/* Reads up to the end of one lexeme; *used bytes are done with.  A token longer than
 * max_len is not one.  After STRAY and TOO_LONG the lexer skips by itself to where a
 * token may start again. */
VdsJsonLexeme vds_json_lexer_next(VdsJsonLexer *lexer, const uint8_t *bytes, size_t len,
                                  size_t max_len, size_t *used);
/* The end of the input is the end of a token, too. */
VdsJsonLexeme vds_json_lexer_finish(VdsJsonLexer *lexer);
