/*
 * json: what the room shares within itself: the tape's layout, UTF-8, string decoding
 * and the set of keys.
 */
#pragma once

#include "vds/json.h"

/* ---- UTF-8 ------------------------------------------------------------------------ */

bool vds_json_is_character(uint32_t code);
/* One sequence of `len` > 0 bytes: the code point, or -1.  *span: bytes it takes, broken
 * or not. */
int32_t vds_json_utf8_decode(const uint8_t *text, size_t len, size_t *span);
size_t vds_json_utf8_encode(uint32_t code, uint8_t out[4]);

/* ---- scanning ---------------------------------------------------------------------- */

/* A byte of 0x80 in each lane where `word` has the byte `value`.  Lanes above a hit may
 * hit falsely, so only the lowest hit (or none) is meant. */
static inline uint64_t vds_json_lanes_equal(uint64_t word, uint8_t value)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t diff = word ^ (ones * value);

    return (diff - ones) & ~diff & (ones << 7);
}

/* Likewise for bytes below `value`, which is at most 0x80. */
static inline uint64_t vds_json_lanes_below(uint64_t word, uint8_t value)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);

    return (word - ones * value) & ~word & (ones << 7);
}

/* Likewise for bytes of 0x80 and up (exact in every lane). */
static inline uint64_t vds_json_lanes_high(uint64_t word)
{
    return word & UINT64_C(0x8080808080808080);
}

static inline uint64_t vds_json_load8(const uint8_t *bytes)
{
    uint64_t word;

    __builtin_memcpy(&word, bytes, sizeof(word));
    return GUINT64_FROM_LE(word); /* the lowest lane is the first byte */
}

/* ---- tape -------------------------------------------------------------------------- */

typedef struct {
    uint8_t kind;   /* VdsJsonKind */
    uint8_t expect; /* containers still open: what may come next (the parser's state) */
    uint32_t next;  /* one past this value's last token; objects still open: last key */
    union {
        int64_t integer;
        uint64_t uinteger;
        double number;
        struct {
            uint32_t offset, len; /* into text; a zero byte follows */
        } string;
        struct {
            uint32_t count, parent; /* parent: VDS_JSON_NO_TOKEN at the root */
        } container;
    } u;
} VdsJsonToken;

#define VDS_JSON_NO_TOKEN UINT32_MAX

struct VdsJsonTape {
    VdsJsonToken *tokens;
    uint32_t n_tokens, cap_tokens;
    uint8_t *text;
    size_t text_len, text_cap;
};

/* Empties it; buffers that one large message made large are given back. */
void vds_json_tape_reset(VdsJsonTape *tape);
void vds_json_tape_clear(VdsJsonTape *tape);
/* Appends a token of this kind, complete but for its value. */
VdsJsonToken *vds_json_tape_push(VdsJsonTape *tape, VdsJsonKind kind);
/* Room for n bytes of text; commit by advancing text_len. */
uint8_t *vds_json_tape_reserve_text(VdsJsonTape *tape, size_t n);

/* ---- strings ----------------------------------------------------------------------- */

/* Decodes a quoted string token, quotes included, and pushes it.  On a bad escape or bad
 * UTF-8 nothing is pushed, and *why (transfer full) is the error's text. */
bool vds_json_tape_push_string(VdsJsonTape *tape, const uint8_t *quoted, size_t len,
                               char **why);

/* ---- keys -------------------------------------------------------------------------- */

/* The keys of one message's larger objects, so that finding a duplicate is not quadratic.
 * Small objects are searched as they are. */
typedef struct {
    uint64_t seed; /* strangers choose the keys */
    struct {
        uint32_t object, key; /* token numbers; key 0 (never a key): free */
    } * slots;
    uint32_t n_slots, n_used; /* n_slots: 0 or a power of two */
} VdsJsonKeys;

void vds_json_keys_init(VdsJsonKeys *keys);
void vds_json_keys_reset(VdsJsonKeys *keys);
void vds_json_keys_clear(VdsJsonKeys *keys);
/* Has the object, whose earlier members are on the tape, a member of this key already?
 * If not, the key is one of its members from now on. */
bool vds_json_keys_is_duplicate(VdsJsonKeys *keys, const VdsJsonTape *tape,
                                uint32_t object, uint32_t key);
