/*
 * json: modified UTF-8, in which U+0000 may also be the two bytes C0 80.
 *
 * What counts as one broken sequence matters to the output: each becomes one U+FFFD, as
 * in QEMU.  So sequences of up to six bytes are recognised, and refused whole.
 */
#include "json-priv.h"

/* Unicode's code points less the surrogates and the 66 noncharacters. */
bool vds_json_is_character(uint32_t code)
{
    return code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff) &&
           !(code >= 0xfdd0 && code <= 0xfdef) && (code & 0xfffe) != 0xfffe;
}

/* Bytes that a sequence with this first byte claims to have: 1 to 6. */
static unsigned utf8_claim(uint8_t first)
{
    unsigned n = 1;

    if (first >= 0xc0 && first < 0xfe) {
        while (first & (0x80u >> n)) {
            n++;
        }
    }
    return n;
}

int32_t vds_json_utf8_decode(const uint8_t *text, size_t len, size_t *span)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000};
    unsigned claim = utf8_claim(text[0]), i;
    uint32_t code;

    *span = 1;
    if (claim == 1) {
        return text[0] < 0x80 ? text[0] : -1;
    }
    code = text[0] & (0x7fu >> claim);
    for (i = 1; i < claim; i++) {
        if (i >= len || (text[i] & 0xc0) != 0x80) {
            return -1;
        }
        code = code << 6 | (text[i] & 0x3f);
        *span = i + 1;
    }
    if (code < smallest[claim] && !(code == 0 && claim == 2)) {
        return -1; /* longer than need be */
    }
    return vds_json_is_character(code) ? (int32_t)code : -1;
}

size_t vds_json_utf8_encode(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xc0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xe0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (code & 0x3f));
    return 4;
}
