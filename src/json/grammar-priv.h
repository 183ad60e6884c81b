/*
 * json: the grammar's contract with the parser.
 */
#pragma once

#include "json-priv.h"
#include "lexer-priv.h"

typedef struct {
    VdsJsonTape tape;
    VdsJsonKeys keys;
    uint32_t innermost; /* open container, or VDS_JSON_NO_TOKEN */
    bool is_bad;        /* nothing more is judged */
    bool quiet;         /* nobody will ask why; kept by the parser */
    GError *fault;      /* (nullable) why it is bad, unless quiet */
} VdsJsonGrammar;

void vds_json_grammar_init(VdsJsonGrammar *grammar);
void vds_json_grammar_clear(VdsJsonGrammar *grammar);
void vds_json_grammar_reset(VdsJsonGrammar *grammar);
/* One lexeme up to WORD; not to be called once the message is_bad. */
void vds_json_grammar_take(VdsJsonGrammar *grammar, const VdsJsonLexeme *lexeme);
/* The message ends here, and is not whole. */
void vds_json_grammar_finish(VdsJsonGrammar *grammar);

/* "JSON parse error, " and the three pieces, cut to what QEMU would print. */
GError *vds_json_syntax_error_new(const char *before, const uint8_t *quoted, size_t len,
                                  const char *after);
