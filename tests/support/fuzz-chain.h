/*
 * One chain out of memory that the fuzzer made up, for both ring formats.
 *
 * The input is a header (ChainInput) and then the memory, which starts at a low guest
 * address so that small numbers point into it.  What must hold for any input: the call
 * ends, its result is bounded, an error is one of the room's, and a map of single bytes
 * gives the same as one region.
 */
#pragma once

#include <string.h>

#include "vds/inspect.h"

enum {
    FUZZ_BASE = 0x40,
    FUZZ_SCATTER = 2048, /* no more memory than that byte by byte: a region each */
};

typedef struct {
    uint8_t options; /* bits: big endian, event index, index given, last-avail known,
                        holes in the memory, a high num */
    uint8_t hole;    /* every so many bytes one is not mapped */
    uint16_t num, index, last;
    uint16_t desc, avail, used;
} ChainInput;

static inline VdsGuestMap *fuzz_map_flat(uint8_t *bytes, size_t n)
{
    const VdsGuestRegion region = {.gpa = FUZZ_BASE, .len = n, .fd = -1};
    void *hva = bytes;

    return vds_guest_map_new_from_memory(&region, n > 0, &hva, NULL);
}

/* A region a byte; `hole` > 0 leaves every hole-th out. */
static inline VdsGuestMap *fuzz_map_scattered(uint8_t *bytes, size_t n, size_t hole)
{
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, n + 1);
    g_autofree void **hva = g_new0(void *, n + 1);
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        if (hole == 0 || i % hole != hole - 1) {
            regions[used] = (VdsGuestRegion){.gpa = FUZZ_BASE + i, .len = 1, .fd = -1};
            hva[used++] = bytes + i;
        }
    }
    return vds_guest_map_new_from_memory(regions, used, hva, NULL);
}

static inline VdsChain *fuzz_read(VdsQueueState *queue, VdsGuestMap *map,
                                  const ChainInput *input, GError **error)
{
    VdsChain *chain = NULL;

    queue->map = map;
    chain = vds_chain_read(queue, input->options & 4, input->index, error);
    if (!chain) {
        /* The memory is ours and the rings were found mapped: no error but vring's. */
        g_assert(*error && (*error)->domain == VDS_VRING_ERROR);
        return NULL;
    }
    g_assert(!*error && chain->slot < queue->num && chain->n >= 1);
    g_assert(chain->n <= (chain->indirect ? chain->head.len / 16 : queue->num));
    g_assert(chain->n <= 65536);
    g_assert(queue->packed || chain->id < queue->num);
    g_assert(chain->indirect == ((chain->head.flags & VDS_DESC_F_INDIRECT) != 0));
    g_assert(chain->indirect || !memcmp(&chain->head, &chain->descs[0], sizeof(VdsDesc)));
    return chain;
}

static inline void fuzz_compare(const VdsChain *a, const GError *a_error,
                                const VdsChain *b, const GError *b_error)
{
    g_assert((a == NULL) == (b == NULL));
    if (!a) {
        g_assert(a_error->code == b_error->code);
        g_assert_cmpstr(a_error->message, ==, b_error->message);
        return;
    }
    g_assert(a->slot == b->slot && a->id == b->id && a->n == b->n);
    g_assert(a->avail_flags == b->avail_flags && a->avail_idx == b->avail_idx);
    g_assert(a->used_flags == b->used_flags && a->used_idx == b->used_idx);
    g_assert(memcmp(a->descs, b->descs, a->n * sizeof(VdsDesc)) == 0);
}

static inline void fuzz_chain(const uint8_t *data, size_t size, bool packed)
{
    ChainInput input;
    VdsQueueState queue = {.packed = packed};

    if (size < sizeof(input)) {
        return;
    }
    memcpy(&input, data, sizeof(input));
    size -= sizeof(input);
    g_autofree uint8_t *bytes = g_memdup2(data + sizeof(input), size);

    queue.big_endian = input.options & 1;
    queue.event_idx = input.options & 2;
    queue.has_last_avail = input.options & 8;
    queue.last_avail_idx = input.last;
    queue.num = input.num + (input.options & 32 ? 0x10000u * input.hole : 0);
    queue.desc = input.desc;
    queue.avail = input.avail;
    queue.used = input.used;

    g_autoptr(VdsGuestMap) flat = fuzz_map_flat(bytes, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(VdsChain) chain = fuzz_read(&queue, flat, &input, &error);

    if (size <= FUZZ_SCATTER) {
        g_autoptr(VdsGuestMap) map = fuzz_map_scattered(bytes, size, 0);
        g_autoptr(GError) other_error = NULL;
        g_autoptr(VdsChain) other = fuzz_read(&queue, map, &input, &other_error);

        fuzz_compare(chain, error, other, other_error);
    }
    if (size <= FUZZ_SCATTER && input.options & 16) {
        g_autoptr(VdsGuestMap) map = fuzz_map_scattered(bytes, size, input.hole);
        g_autoptr(GError) other_error = NULL;
        g_autoptr(VdsChain) other = fuzz_read(&queue, map, &input, &other_error);

        /* Holes may hide the chain, never change it. */
        if (other) {
            fuzz_compare(chain, error, other, other_error);
        }
    }
}
