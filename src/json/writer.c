/*
 * json: values to bytes (RFC 8259), in QEMU's spelling: ASCII only, \uXXXX in upper case
 * with surrogate pairs, what is no UTF-8 as U+FFFD, doubles as %.17g.
 *
 * Knows where a comma belongs, not whether the caller nests rightly.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json-priv.h"

void vds_json_writer_init(VdsJsonWriter *writer, VdsBuf *out, bool pretty)
{
    *writer = (VdsJsonWriter){.out = out, .pretty = pretty, .first = true};
}

/* Room for n bytes more: a call only when the buffer has to grow. */
static inline uint8_t *writer_room(const VdsJsonWriter *writer, size_t n)
{
    VdsBuf *out = writer->out;

    return out->cap - out->end >= n ? out->data + out->end : vds_buf_reserve(out, n);
}

static inline void write_raw(VdsJsonWriter *writer, const char *text, size_t len)
{
    memcpy(writer_room(writer, len), text, len);
    vds_buf_commit(writer->out, len);
}

static void write_line_break(VdsJsonWriter *writer)
{
    size_t indent = (size_t)writer->depth * 4;
    uint8_t *out = writer_room(writer, indent + 2);

    out[0] = '\r';
    out[1] = '\n';
    memset(out + 2, ' ', indent);
    vds_buf_commit(writer->out, indent + 2);
}

/* What separates the next key, element or value from what is there. */
static inline void write_separator(VdsJsonWriter *writer)
{
    if (writer->keyed) {
        writer->keyed = false;
        return;
    }
    if (!writer->first) {
        uint8_t *out = writer_room(writer, 2);

        out[0] = ',';
        out[1] = ' ';
        vds_buf_commit(writer->out, writer->pretty ? 1 : 2);
    }
    writer->first = false;
    if (writer->pretty && writer->depth > 0) {
        write_line_break(writer);
    }
}

static inline void write_scalar(VdsJsonWriter *writer, const char *text, size_t len)
{
    write_separator(writer);
    write_raw(writer, text, len);
}

static void write_open(VdsJsonWriter *writer, char bracket)
{
    write_scalar(writer, &bracket, 1);
    writer->depth++;
    writer->first = true;
}

static void write_close(VdsJsonWriter *writer, char bracket)
{
    writer->depth--;
    writer->first = false;
    if (writer->pretty) {
        write_line_break(writer);
    }
    write_raw(writer, &bracket, 1);
    if (writer->depth == 0) {
        writer->first = true; /* messages do not separate messages */
    }
}

void vds_json_write_object_begin(VdsJsonWriter *writer)
{
    write_open(writer, '{');
}

void vds_json_write_object_end(VdsJsonWriter *writer)
{
    write_close(writer, '}');
}

void vds_json_write_array_begin(VdsJsonWriter *writer)
{
    write_open(writer, '[');
}

void vds_json_write_array_end(VdsJsonWriter *writer)
{
    write_close(writer, ']');
}

void vds_json_write_newline(VdsJsonWriter *writer)
{
    write_raw(writer, "\r\n", 2);
    writer->first = true;
}

/* ---- strings -------------------------------------------------------------------------
 */

typedef int8_t Block __attribute__((vector_size(16)));

/* Not zero in the lanes of bytes that need an escape; those beyond ASCII are negative. */
static inline Block block_special(Block block)
{
    return (block < 0x20) | (block == '"') | (block == '\\') | (block == 0x7f);
}

static inline bool block_is_zero(Block block)
{
    uint64_t words[2];

    memcpy(words, &block, sizeof(words));
    return (words[0] | words[1]) == 0;
}

static inline bool is_plain(uint8_t byte)
{
    return (uint8_t)(byte - 0x20) < 0x7f - 0x20 && byte != '"' && byte != '\\';
}

/* Copies len >= 16 bytes; the last block overlaps the one before. */
static bool copy_blocks(uint8_t *out, const uint8_t *text, size_t len)
{
    Block special = {0}, block;

    for (size_t at = 0; at < len; at += sizeof(block)) {
        at = MIN(at, len - sizeof(block));
        memcpy(&block, text + at, sizeof(block));
        memcpy(out + at, &block, sizeof(block));
        special |= block_special(block);
    }
    return block_is_zero(special);
}

/* Copies a text and says whether it could be: false if something in it needs an escape.
 * Most are names and short, so their first and last bytes are taken as words that
 * overlap. */
static bool copy_plain(uint8_t *out, const uint8_t *text, size_t len)
{
    Block block;

    if (len >= sizeof(block)) {
        return copy_blocks(out, text, len);
    }
    if (len >= 8) {
        uint64_t words[2];

        memcpy(&words[0], text, 8);
        memcpy(&words[1], text + len - 8, 8);
        memcpy(out, &words[0], 8);
        memcpy(out + len - 8, &words[1], 8);
        memcpy(&block, words, sizeof(block));
        return block_is_zero(block_special(block));
    }
    if (len >= 4) {
        uint32_t words[4];

        memcpy(&words[0], text, 4);
        memcpy(&words[1], text + len - 4, 4);
        memcpy(out, &words[0], 4);
        memcpy(out + len - 4, &words[1], 4);
        words[2] = words[3] = words[0];
        memcpy(&block, words, sizeof(block));
        return block_is_zero(block_special(block));
    }
    for (size_t at = 0; at < len; at++) {
        if (!is_plain(text[at])) {
            return false;
        }
        out[at] = text[at];
    }
    return true;
}

/* How many bytes may be copied as they are. */
static size_t plain_run(const uint8_t *text, size_t len)
{
    size_t at = 0;

    while (at < len && is_plain(text[at])) {
        at++;
    }
    return at;
}

/* "\uXXXX": six bytes. */
static uint8_t *put_unicode(uint8_t *out, uint32_t unit)
{
    static const char digits[] = "0123456789ABCDEF";

    *out++ = '\\';
    *out++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4) {
        *out++ = (uint8_t)digits[unit >> shift & 0xf];
    }
    return out;
}

/* One character that cannot stand as it is; returns the bytes it took. */
static size_t write_escaped(VdsJsonWriter *writer, const uint8_t *text, size_t len)
{
    static const char letters[128] = {
        ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
        ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't',
    };
    uint8_t *out = writer_room(writer, 12), *end = out;
    size_t span = 1;
    int32_t code;
    uint32_t point;

    if (*text < 0x80 && letters[*text]) {
        *end++ = '\\';
        *end++ = (uint8_t)letters[*text];
    } else {
        code = vds_json_utf8_decode(text, len, &span);
        point = code < 0 ? 0xfffd : (uint32_t)code;
        if (point > 0xffff) {
            end = put_unicode(end, 0xd800 | (point - 0x10000) >> 10);
            point = 0xdc00 | (point & 0x3ff);
        }
        end = put_unicode(end, point);
    }
    vds_buf_commit(writer->out, (size_t)(end - out));
    return span;
}

static void write_escaping(VdsJsonWriter *writer, const uint8_t *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t run = plain_run(text + at, len - at);

        write_raw(writer, (const char *)text + at, run);
        at += run;
        if (at < len) {
            at += write_escaped(writer, text + at, len - at);
        }
    }
}

/* The text in quotes, and `tail_len` bytes behind it. */
static inline void write_quoted(VdsJsonWriter *writer, const char *text, size_t len,
                                const char *tail, size_t tail_len)
{
    uint8_t *out = writer_room(writer, len + 2 + tail_len);

    out[0] = '"';
    if (copy_plain(out + 1, (const uint8_t *)text, len)) {
        vds_buf_commit(writer->out, len + 1);
        out += len + 1;
    } else {
        vds_buf_commit(writer->out, 1);
        write_escaping(writer, (const uint8_t *)text, len);
        out = writer_room(writer, 1 + tail_len);
    }
    out[0] = '"';
    memcpy(out + 1, tail, tail_len);
    vds_buf_commit(writer->out, 1 + tail_len);
}

void vds_json_write_string_len(VdsJsonWriter *writer, const char *text, size_t len)
{
    write_separator(writer);
    write_quoted(writer, text, len, "", 0);
}

void vds_json_write_string(VdsJsonWriter *writer, const char *text)
{
    vds_json_write_string_len(writer, text, strlen(text));
}

static void write_key_len(VdsJsonWriter *writer, const char *key, size_t len)
{
    write_separator(writer);
    write_quoted(writer, key, len, ": ", 2);
    writer->keyed = true;
}

void vds_json_write_key(VdsJsonWriter *writer, const char *key)
{
    write_key_len(writer, key, strlen(key));
}

/* ---- numbers and words
 * ------------------------------------------------------------------ */

static void write_decimal(VdsJsonWriter *writer, uint64_t value, bool negative)
{
    char digits[21], *at = digits + sizeof(digits);

    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    if (negative) {
        *--at = '-';
    }
    write_scalar(writer, at, (size_t)(digits + sizeof(digits) - at));
}

void vds_json_write_int(VdsJsonWriter *writer, int64_t value)
{
    write_decimal(writer, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0);
}

void vds_json_write_uint(VdsJsonWriter *writer, uint64_t value)
{
    write_decimal(writer, value, false);
}

void vds_json_write_number(VdsJsonWriter *writer, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    if (isnan(value)) {
        vds_json_write_null(writer);
        return;
    }
    if (isinf(value)) {
        value = copysign(DBL_MAX, value);
    }
    g_ascii_formatd(text, sizeof(text), "%.17g", value); /* whatever the locale */
    write_scalar(writer, text, strlen(text));
}

void vds_json_write_bool(VdsJsonWriter *writer, bool value)
{
    if (value) {
        write_scalar(writer, "true", 4);
    } else {
        write_scalar(writer, "false", 5);
    }
}

void vds_json_write_null(VdsJsonWriter *writer)
{
    write_scalar(writer, "null", 4);
}

/* ---- echo
 * ------------------------------------------------------------------------------- */

static void write_token_scalar(VdsJsonWriter *writer, const VdsJsonTape *tape,
                               const VdsJsonToken *token)
{
    switch ((VdsJsonKind)token->kind) {
    case VDS_JSON_STRING:
        vds_json_write_string_len(writer, (char *)tape->text + token->u.string.offset,
                                  token->u.string.len);
        break;
    case VDS_JSON_INT:
        vds_json_write_int(writer, token->u.integer);
        break;
    case VDS_JSON_UINT:
        vds_json_write_uint(writer, token->u.uinteger);
        break;
    case VDS_JSON_NUMBER:
        vds_json_write_number(writer, token->u.number);
        break;
    case VDS_JSON_TRUE:
    case VDS_JSON_FALSE:
        vds_json_write_bool(writer, token->kind == VDS_JSON_TRUE);
        break;
    case VDS_JSON_NULL:
        vds_json_write_null(writer);
        break;
    case VDS_JSON_OBJECT:
    case VDS_JSON_ARRAY:
        g_assert_not_reached(); /* not a scalar */
    }
}

static bool token_is_container(const VdsJsonToken *token)
{
    return token->kind == VDS_JSON_OBJECT || token->kind == VDS_JSON_ARRAY;
}

void vds_json_write_value(VdsJsonWriter *writer, VdsJsonValue value)
{
    const VdsJsonTape *tape = value.tape;
    const VdsJsonToken *tokens = tape->tokens;
    const uint32_t end = tokens[value.at].next;
    uint32_t inside = VDS_JSON_NO_TOKEN; /* the container that `at` is in */
    bool is_key = false;

    for (uint32_t at = value.at; at < end;) {
        const VdsJsonToken *token = &tokens[at++];

        if (is_key) {
            write_key_len(writer, (char *)tape->text + token->u.string.offset,
                          token->u.string.len);
            is_key = false;
            continue;
        }
        if (token_is_container(token)) {
            write_open(writer, token->kind == VDS_JSON_OBJECT ? '{' : '[');
            inside = (uint32_t)(token - tokens);
        } else {
            write_token_scalar(writer, tape, token);
        }
        while (inside != VDS_JSON_NO_TOKEN && at == tokens[inside].next) {
            write_close(writer, tokens[inside].kind == VDS_JSON_OBJECT ? '}' : ']');
            inside = inside == value.at ? VDS_JSON_NO_TOKEN
                                        : tokens[inside].u.container.parent;
        }
        is_key = inside != VDS_JSON_NO_TOKEN && tokens[inside].kind == VDS_JSON_OBJECT;
    }
}
