/*
 * json: string tokens to text (RFC 8259, 7; plus \' and single quotes).
 *
 * The lexer has seen to it that the token ends with the quote it began with and holds no
 * control character and neither FE nor FF.  Escapes and UTF-8 are checked here.
 */
#include <string.h>

#include "json-priv.h"

typedef struct {
    const uint8_t *at, *end; /* end: the closing quote, which is there */
    uint8_t *out;
} Decoder;

/* Copies up to the next backslash or byte beyond ASCII. */
static void copy_plain(Decoder *decoder)
{
    const uint8_t *at = decoder->at;
    size_t n;

    while (decoder->end - at >= 8) {
        uint64_t word = vds_json_load8(at);
        uint64_t hits = vds_json_lanes_equal(word, '\\') | vds_json_lanes_high(word);

        if (hits) {
            at += __builtin_ctzll(hits) / 8;
            break;
        }
        at += 8;
    }
    while (at < decoder->end && *at != '\\' && *at < 0x80) {
        at++;
    }
    n = (size_t)(at - decoder->at);
    memcpy(decoder->out, decoder->at, n);
    decoder->out += n;
    decoder->at = at;
}

/* Four hexadecimal digits, or -1.  A quote is no digit: this never reads beyond it. */
static int32_t hex4(const uint8_t *text)
{
    int32_t value = 0;

    for (int i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value((char)text[i]);

        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

/* At the digits behind \u.  -1: no character. */
static int32_t decode_unicode(Decoder *decoder)
{
    int32_t code = hex4(decoder->at), low;

    decoder->at += code < 0 ? 0 : 4;
    if (code < 0xd800 || code > 0xdbff || decoder->at[0] != '\\' ||
        decoder->at[1] != 'u') {
        return code >= 0 && vds_json_is_character((uint32_t)code) ? code : -1;
    }
    low = hex4(decoder->at + 2);
    if (low < 0xdc00 || low > 0xdfff) {
        return -1;
    }
    code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
    decoder->at += 6;
    return vds_json_is_character((uint32_t)code) ? code : -1;
}

/* At a backslash. */
static bool decode_escape(Decoder *decoder, char **why)
{
    static const uint8_t simple[128] = {
        ['"'] = '"',  ['\''] = '\'', ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
        ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r',  ['t'] = '\t',
    };
    const uint8_t *start = decoder->at;
    uint8_t letter = start[1];
    int32_t code;

    decoder->at += 2;
    if (letter < 0x80 && simple[letter]) {
        *decoder->out++ = simple[letter];
        return true;
    }
    if (letter != 'u') {
        *why = g_strdup("invalid escape sequence in string");
        return false;
    }
    code = decode_unicode(decoder);
    if (code < 0) {
        /* QEMU quotes as much as the escape should have taken, of what the token has. */
        size_t left = (size_t)(decoder->end + 1 - start);
        size_t took = (size_t)(decoder->at - start);

        *why = g_strdup_printf("%.*s is not a valid Unicode character",
                               (int)MIN(left, MAX(took, (size_t)6)), start);
        return false;
    }
    decoder->out += vds_json_utf8_encode((uint32_t)code, decoder->out);
    return true;
}

/* At a byte beyond ASCII. */
static bool decode_utf8(Decoder *decoder, char **why)
{
    size_t span;
    int32_t code =
        vds_json_utf8_decode(decoder->at, (size_t)(decoder->end - decoder->at), &span);

    if (code < 0) {
        *why = g_strdup("invalid UTF-8 sequence in string");
        return false;
    }
    decoder->out += vds_json_utf8_encode((uint32_t)code, decoder->out);
    decoder->at += span;
    return true;
}

bool vds_json_tape_push_string(VdsJsonTape *tape, const uint8_t *quoted, size_t len,
                               char **why)
{
    /* What is decoded is never longer than how it was written; the quotes' two bytes
     * leave room for the zero. */
    uint8_t *text = vds_json_tape_reserve_text(tape, len);
    Decoder decoder = {quoted + 1, quoted + len - 1, text};
    VdsJsonToken *token;

    for (;;) {
        copy_plain(&decoder);
        if (decoder.at == decoder.end) {
            break;
        }
        if (!(*decoder.at == '\\' ? decode_escape : decode_utf8)(&decoder, why)) {
            return false;
        }
    }
    *decoder.out++ = '\0';
    token = vds_json_tape_push(tape, VDS_JSON_STRING);
    token->u.string.offset = (uint32_t)tape->text_len;
    token->u.string.len = (uint32_t)(decoder.out - text - 1);
    tape->text_len += (size_t)(decoder.out - text);
    return true;
}
