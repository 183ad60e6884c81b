/*
 * json: has this object that key already?  (RFC 8259, 4: names SHOULD be unique; QEMU
 * refuses duplicates.)
 */
#include <string.h>

#include "json-priv.h"

enum {
    SEARCHED_AS_IS = 16, /* members of an object that has no slots */
    FIRST_SLOTS = 64,
    KEEP_SLOTS = 1024,
};

void vds_json_keys_init(VdsJsonKeys *keys)
{
    *keys = (VdsJsonKeys){0};
    keys->seed = (uint64_t)g_random_int() << 32 | g_random_int();
}

void vds_json_keys_clear(VdsJsonKeys *keys)
{
    g_clear_pointer(&keys->slots, g_free);
    keys->n_slots = keys->n_used = 0;
}

void vds_json_keys_reset(VdsJsonKeys *keys)
{
    if (keys->n_slots > KEEP_SLOTS) {
        vds_json_keys_clear(keys);
    } else if (keys->n_used > 0) {
        memset(keys->slots, 0, keys->n_slots * sizeof(*keys->slots));
        keys->n_used = 0;
    }
}

static bool keys_equal(const VdsJsonTape *tape, uint32_t a, uint32_t b)
{
    const VdsJsonToken *x = &tape->tokens[a], *y = &tape->tokens[b];

    return x->u.string.len == y->u.string.len &&
           memcmp(tape->text + x->u.string.offset, tape->text + y->u.string.offset,
                  x->u.string.len) == 0;
}

/* A product's two halves folded, eight bytes at a time: with a secret seed, nobody picks
 * keys that collide. */
static uint64_t hash_mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t keys_hash(const VdsJsonKeys *keys, const VdsJsonTape *tape,
                          uint32_t object, uint32_t key)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    const VdsJsonToken *token = &tape->tokens[key];
    const uint8_t *text = tape->text + token->u.string.offset;
    uint64_t hash = hash_mix(keys->seed ^ object, odd ^ token->u.string.len);

    for (size_t left = token->u.string.len; left > 0;) {
        size_t n = MIN(left, sizeof(uint64_t));
        uint64_t word = 0;

        memcpy(&word, text, n);
        hash = hash_mix(hash ^ word, keys->seed ^ odd);
        text += n;
        left -= n;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

/* The slot of an equal key, or the free one where it belongs. */
static uint32_t keys_slot(const VdsJsonKeys *keys, const VdsJsonTape *tape,
                          uint32_t object, uint32_t key)
{
    uint32_t mask = keys->n_slots - 1;
    uint32_t at = keys_hash(keys, tape, object, key) & mask;

    while (keys->slots[at].key != 0 && !(keys->slots[at].object == object &&
                                         keys_equal(tape, keys->slots[at].key, key))) {
        at = (at + 1) & mask;
    }
    return at;
}

static void keys_grow(VdsJsonKeys *keys, const VdsJsonTape *tape)
{
    VdsJsonKeys grown = *keys;

    grown.n_slots = MAX(keys->n_slots * 2, (uint32_t)FIRST_SLOTS);
    grown.slots = g_malloc0_n(grown.n_slots, sizeof(*grown.slots));
    for (uint32_t i = 0; i < keys->n_slots; i++) {
        if (keys->slots[i].key != 0) {
            uint32_t at =
                keys_slot(&grown, tape, keys->slots[i].object, keys->slots[i].key);

            grown.slots[at] = keys->slots[i];
        }
    }
    g_free(keys->slots);
    *keys = grown;
}

/* Returns false if an equal one is there. */
static bool keys_add(VdsJsonKeys *keys, const VdsJsonTape *tape, uint32_t object,
                     uint32_t key)
{
    uint32_t at;

    if (keys->n_used >= keys->n_slots / 2) {
        keys_grow(keys, tape);
    }
    at = keys_slot(keys, tape, object, key);
    if (keys->slots[at].key != 0) {
        return false;
    }
    keys->slots[at].object = object;
    keys->slots[at].key = key;
    keys->n_used++;
    return true;
}

bool vds_json_keys_is_duplicate(VdsJsonKeys *keys, const VdsJsonTape *tape,
                                uint32_t object, uint32_t key)
{
    uint32_t count = tape->tokens[object].u.container.count;
    uint32_t at = object + 1;

    if (count > SEARCHED_AS_IS) {
        return !keys_add(keys, tape, object, key);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (keys_equal(tape, at, key)) {
            return true;
        }
        if (count == SEARCHED_AS_IS) {
            keys_add(keys, tape, object, at); /* from the next member on, by slot */
        }
        at = tape->tokens[at + 1].next;
    }
    if (count == SEARCHED_AS_IS) {
        keys_add(keys, tape, object, key);
    }
    return false;
}
