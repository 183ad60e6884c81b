/*
 * A few pages of guest memory with a ring in them, for the tests of vring and inspect.
 *
 * The same bytes behind two maps: one region, and the hostile double in which every byte
 * is a region of its own.
 */
#pragma once

#include <string.h>

#include "vds/vring.h"

enum {
    RING_GPA = 0x100000,
    RING_DESC = RING_GPA,
    RING_AVAIL = RING_GPA + 0x1000,
    RING_USED = RING_GPA + 0x2000,
    RING_TABLE = RING_GPA + 0x3000, /* 256 entries of an indirect table */
    RING_BYTES = 0x4000,
    RING_END = RING_GPA + RING_BYTES,
};

typedef struct {
    uint8_t bytes[RING_BYTES];
    bool big_endian;
} RingMemory;

static inline void ring_put(RingMemory *memory, uint64_t gpa, uint64_t value, unsigned n)
{
    g_assert(gpa >= RING_GPA && gpa + n <= RING_END);
    for (unsigned i = 0; i < n; i++) {
        unsigned shift = 8 * (memory->big_endian ? n - 1 - i : i);

        memory->bytes[gpa - RING_GPA + i] = (uint8_t)(value >> shift);
    }
}

static inline void ring_put_split(RingMemory *memory, uint64_t gpa, const VdsDesc *desc)
{
    ring_put(memory, gpa, desc->addr, 8);
    ring_put(memory, gpa + 8, desc->len, 4);
    ring_put(memory, gpa + 12, desc->flags, 2);
    ring_put(memory, gpa + 14, desc->next, 2);
}

static inline void ring_put_packed(RingMemory *memory, uint64_t gpa, const VdsDesc *desc)
{
    ring_put(memory, gpa, desc->addr, 8);
    ring_put(memory, gpa + 8, desc->len, 4);
    ring_put(memory, gpa + 12, desc->next, 2);
    ring_put(memory, gpa + 14, desc->flags, 2);
}

/* [gpa, gpa + len) of the memory, as one region or byte by byte. */
static inline VdsGuestMap *ring_map_part(RingMemory *memory, uint64_t gpa, size_t len,
                                         bool scattered)
{
    size_t n = scattered ? len : 1;
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, n);
    g_autofree void **hva = g_new0(void *, n);

    for (size_t i = 0; i < n; i++) {
        regions[i] = (VdsGuestRegion){.gpa = gpa + i, .len = len / n, .fd = -1};
        hva[i] = memory->bytes + (gpa - RING_GPA) + i;
    }
    return vds_guest_map_new_from_memory(regions, n, hva, NULL);
}

static inline VdsGuestMap *ring_map(RingMemory *memory, bool scattered)
{
    return ring_map_part(memory, RING_GPA, RING_BYTES, scattered);
}

static inline VdsQueueState ring_queue(const RingMemory *memory, VdsGuestMap *map,
                                       uint32_t num)
{
    return (VdsQueueState){.big_endian = memory->big_endian,
                           .num = num,
                           .desc = RING_DESC,
                           .avail = RING_AVAIL,
                           .used = RING_USED,
                           .map = map};
}
