/*
 * json: bytes to tokens, and values to bytes.  Knows nothing of QMP, files or sockets.
 *
 * Input is pushed in pieces of any size.  The lexer frames messages by balanced
 * brackets, checks grammar, UTF-8 and limits as it goes, and leaves each whole message
 * as a flat tape of tokens; no tree is built.  RFC 8259 plus QEMU's extensions
 * (single-quoted strings, \'); errors and recovery follow QEMU's JSON parser.
 */
#pragma once

#include "vds/util.h"

#define VDS_JSON_ERROR (vds_json_error_quark())
GQuark vds_json_error_quark(void);
typedef enum {
    VDS_JSON_ERROR_SYNTAX,  /* "JSON parse error, ..." */
    VDS_JSON_ERROR_SIZE,    /* "JSON token size limit exceeded" */
    VDS_JSON_ERROR_TOKENS,  /* "JSON token count limit exceeded" */
    VDS_JSON_ERROR_NESTING, /* "JSON nesting depth limit exceeded" */
} VdsJsonError;

/* ---- tape ----------------------------------------------------------------------- */

typedef enum {
    VDS_JSON_OBJECT, /* its members follow: key (STRING), value, key, value, ... */
    VDS_JSON_ARRAY,  /* its elements follow */
    VDS_JSON_STRING,
    VDS_JSON_INT,    /* fits int64 */
    VDS_JSON_UINT,   /* above INT64_MAX, fits uint64 */
    VDS_JSON_NUMBER, /* a fraction, an exponent, or an integer beyond 64 bits; what no
                        double can hold is the largest one, with its sign */
    VDS_JSON_TRUE,
    VDS_JSON_FALSE,
    VDS_JSON_NULL,
} VdsJsonKind;

typedef struct VdsJsonTape VdsJsonTape;

/* A value is a place on a tape: cheap to copy, valid as long as the tape is. */
typedef struct {
    const VdsJsonTape *tape; /* NULL: no value */
    uint32_t at;             /* token number */
} VdsJsonValue;

#define VDS_JSON_NONE ((VdsJsonValue){NULL, 0})

static inline bool vds_json_value_is_present(VdsJsonValue value)
{
    return value.tape != NULL;
}

VdsJsonKind vds_json_value_kind(VdsJsonValue value);
/* STRING only.  Decoded UTF-8, NUL-terminated, may hold NULs: len counts bytes
 * (NULL: not wanted).  U+0000 is stored as one zero byte. */
const char *vds_json_value_string(VdsJsonValue value, size_t *len);
int64_t vds_json_value_int(VdsJsonValue value);    /* INT only */
uint64_t vds_json_value_uint(VdsJsonValue value);  /* UINT only */
double vds_json_value_number(VdsJsonValue value);  /* INT, UINT or NUMBER */
uint32_t vds_json_value_count(VdsJsonValue value); /* members or elements */
VdsJsonValue vds_json_object_find(VdsJsonValue object,
                                  const char *key); /* NONE if absent */

/* Walks an object or array in the order sent:
 *   VdsJsonIter iter = vds_json_iter(value);
 *   while (vds_json_iter_next(&iter)) ... iter.key (objects) ... iter.value ... */
typedef struct {
    VdsJsonValue key; /* objects only */
    VdsJsonValue value;
    uint32_t next, left;
    bool object;
} VdsJsonIter;

VdsJsonIter vds_json_iter(VdsJsonValue container);
bool vds_json_iter_next(VdsJsonIter *iter);

/* ---- parser --------------------------------------------------------------------- */

typedef struct {
    size_t max_bytes;    /* of one message */
    uint32_t max_tokens; /* of one message */
    uint32_t max_depth;  /* open brackets; 1024 in QEMU */
} VdsJsonLimits;

extern const VdsJsonLimits vds_json_wire_limits; /* 1 MiB, 65,536 tokens, 1024 deep */

typedef struct VdsJsonParser VdsJsonParser;

VdsJsonParser *vds_json_parser_new(const VdsJsonLimits *limits);
void vds_json_parser_free(VdsJsonParser *parser); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsJsonParser, vds_json_parser_free)

typedef enum {
    VDS_JSON_MORE,    /* all bytes taken, no message complete */
    VDS_JSON_MESSAGE, /* one value complete: vds_json_parser_message() */
    VDS_JSON_BAD,     /* one error; the parser resynchronises by itself */
} VdsJsonFeed;

/* Takes bytes until the first message or error; *used says how many were taken, so call
 * again with the rest.  After an error the input is skipped as QEMU skips it, and what
 * the skipped rest would draw as further errors is bounded: one run of bad input yields
 * at most two (parser.c says where a run ends).  An error's text is cut at 1 KiB and need
 * not be UTF-8: it quotes the input.  (error: set exactly for VDS_JSON_BAD) */
VdsJsonFeed vds_json_parser_feed(VdsJsonParser *parser, const void *bytes, size_t len,
                                 size_t *used, GError **error);
/* End of input: completes a top-level number or keyword, or reports what is unfinished
 * ("JSON parse error, premature EOI").  MORE: nothing was pending. */
VdsJsonFeed vds_json_parser_finish(VdsJsonParser *parser, GError **error);

/* The value just completed; valid until the next feed, finish or free. */
VdsJsonValue vds_json_parser_message(const VdsJsonParser *parser);

/* Parses exactly one value from a complete text (trailing white space allowed) into a
 * tape of its own.  (transfer full) */
VdsJsonTape *vds_json_parse_text(const char *text, size_t len,
                                 const VdsJsonLimits *limits, GError **error);
void vds_json_tape_free(VdsJsonTape *tape); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsJsonTape, vds_json_tape_free)
VdsJsonValue vds_json_tape_root(const VdsJsonTape *tape);

/* ---- writer ----------------------------------------------------------------------- */

/* Appends JSON to a buffer: ASCII only, \uXXXX upper case, ", " and ": " between, or
 * indented by four when pretty; an empty container is open, newline, close when pretty.
 * Newlines are CR LF.  Doubles are %.17g; infinities are clamped to the largest double,
 * NaN is null.  What is no UTF-8 becomes U+FFFD.  Lives on the stack. */
typedef struct {
    VdsBuf *out;
    bool pretty;
    bool first; /* nothing in the innermost container yet */
    bool keyed; /* a key was written; its value follows */
    uint32_t depth;
} VdsJsonWriter;

void vds_json_writer_init(VdsJsonWriter *writer, VdsBuf *out, bool pretty);
void vds_json_write_object_begin(VdsJsonWriter *writer);
void vds_json_write_object_end(VdsJsonWriter *writer);
void vds_json_write_array_begin(VdsJsonWriter *writer);
void vds_json_write_array_end(VdsJsonWriter *writer);
void vds_json_write_key(VdsJsonWriter *writer, const char *key);
void vds_json_write_string(VdsJsonWriter *writer, const char *text); /* UTF-8 */
void vds_json_write_string_len(VdsJsonWriter *writer, const char *text, size_t len);
void vds_json_write_int(VdsJsonWriter *writer, int64_t value);
void vds_json_write_uint(VdsJsonWriter *writer, uint64_t value);
void vds_json_write_number(VdsJsonWriter *writer, double value);
void vds_json_write_bool(VdsJsonWriter *writer, bool value);
void vds_json_write_null(VdsJsonWriter *writer);
void vds_json_write_value(VdsJsonWriter *writer,
                          VdsJsonValue value);      /* echo from a tape */
void vds_json_write_newline(VdsJsonWriter *writer); /* CR LF after a message */

/* Sets `props` from an object, nested values flattened with dotted names.  False, with a
 * part of it set, if it is more than a property set can be: nested deeper than 16, a name
 * longer than 1,024 bytes, or more than 1,024 values. */
bool vds_json_to_props(VdsJsonValue object, VdsProps *props) G_GNUC_WARN_UNUSED_RESULT;
/* The same for one value, under `name`. */
bool vds_json_to_prop(VdsJsonValue value, const char *name,
                      VdsProps *props) G_GNUC_WARN_UNUSED_RESULT;
