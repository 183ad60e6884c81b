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

static void write_raw(VdsJsonWriter *writer, const char *text, size_t len)
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

static void write_scalar(VdsJsonWriter *writer, const char *text, size_t len)
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

/* Any byte of the sixteen that needs an escape? */
static bool block_has_special(const uint8_t *bytes)
{
    typedef uint8_t Block __attribute__((vector_size(16)));
    Block block;
    uint64_t hits[2];

    memcpy(&block, bytes, sizeof(block));
    block = (Block)((block - 0x20 >= 0x7f - 0x20) | (block == '"') | (block == '\\'));
    memcpy(hits, &block, sizeof(hits));
    return (hits[0] | hits[1]) != 0;
}

static bool word_has_special(const uint8_t *bytes)
{
    uint64_t word = vds_json_load8(bytes);

    return (vds_json_lanes_below(word, 0x20) | vds_json_lanes_equal(word, '"') |
            vds_json_lanes_equal(word, '\\') | vds_json_lanes_equal(word, 0x7f) |
            vds_json_lanes_high(word)) != 0;
}

static bool is_plain(uint8_t byte)
{
    return (uint8_t)(byte - 0x20) < 0x7f - 0x20 && byte != '"' && byte != '\\';
}

/* How many bytes may be copied as they are.  The last block of several overlaps the one
 * before. */
static size_t plain_run(const uint8_t *text, size_t len)
{
    size_t at = 0;

    while (len - at > 16 && !block_has_special(text + at)) {
        at += 16;
    }
    if (len >= 16 && len - at <= 16 && !block_has_special(text + len - 16)) {
        return len;
    }
    if (len < 16 && len >= 8 && !word_has_special(text) &&
        !word_has_special(text + len - 8)) {
        return len;
    }
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

static void write_quoted(VdsJsonWriter *writer, const uint8_t *text, size_t len)
{
    size_t run = plain_run(text, len);
    uint8_t *out = writer_room(writer, run + 2);

    out[0] = '"';
    memcpy(out + 1, text, run);
    out[1 + run] = '"'; /* it will stay where nothing needs escaping */
    vds_buf_commit(writer->out, run + 2);
    if (run == len) {
        return;
    }
    writer->out->end--;
    while (run < len) {
        size_t at = run + write_escaped(writer, text + run, len - run);

        run = at + plain_run(text + at, len - at);
        vds_buf_append(writer->out, text + at, run - at);
    }
    write_raw(writer, "\"", 1);
}

void vds_json_write_string_len(VdsJsonWriter *writer, const char *text, size_t len)
{
    write_separator(writer);
    write_quoted(writer, (const uint8_t *)text, len);
}

void vds_json_write_string(VdsJsonWriter *writer, const char *text)
{
    vds_json_write_string_len(writer, text, strlen(text));
}

static void write_key_len(VdsJsonWriter *writer, const char *key, size_t len)
{
    uint8_t *out;

    vds_json_write_string_len(writer, key, len);
    out = writer_room(writer, 2);
    out[0] = ':';
    out[1] = ' ';
    vds_buf_commit(writer->out, 2);
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
