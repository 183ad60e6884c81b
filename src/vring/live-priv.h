/*
 * vring: what live rings share: their setup, the words of descriptors, event windows.
 *
 * Errors inside the room are faults or guestmem's; a public function turns the latter
 * into R6 on its way out (vds_vring_result).
 */
#pragma once

#include <stdatomic.h>

#include "vring-priv.h"

/* ---- faults ---- */

bool vds_vring_fault(GError **fault, VdsRule rule, const char *format, ...)
    G_GNUC_PRINTF(3, 4); /* always false */
/* ---- setup, the same for both sides ---- */

/* The three areas, checked: C1 to C4, R6 to R8. */
typedef struct {
    VdsGuestArea desc, avail, used;
} VdsRingAreas;

bool vds_ring_areas_init(VdsRingAreas *areas, const VdsQueueState *setup, GError **fault);

/* A public function's result: R6 for whatever memory could not be reached, and also where
 * all went well or ill on zeroes that stood for it. */
bool vds_vring_result(const VdsRingAreas *areas, bool ok, GError **fault);

static inline bool vds_ring_areas_are_whole(const VdsRingAreas *areas)
{
    return vds_guest_area_is_whole(&areas->desc) &&
           vds_guest_area_is_whole(&areas->avail) &&
           vds_guest_area_is_whole(&areas->used);
}

/* ---- layout ---- */

enum {
    SPLIT_FLAGS = 0, /* of avail and of used, le16 each */
    SPLIT_IDX = 2,
    SPLIT_RING = 4,
    SPLIT_USED_ELEM = 8, /* le32 id, le32 len */
    EVENT_OFF_WRAP = 0,  /* packed event areas, le16 each */
    EVENT_FLAGS = 2,
};

enum { SPLIT_NO_INTERRUPT = 1, SPLIT_NO_NOTIFY = 1 };
enum { PACKED_ENABLE = 0, PACKED_DISABLE = 1, PACKED_DESC = 2, PACKED_RESERVED = 3 };

static inline uint64_t split_used_event(uint32_t num)
{
    return SPLIT_RING + UINT64_C(2) * num;
}

static inline uint64_t split_avail_event(uint32_t num)
{
    return SPLIT_RING + (uint64_t)SPLIT_USED_ELEM * num;
}

/* The second word of a descriptor. */
static inline uint64_t split_word(uint32_t len, unsigned flags, unsigned next)
{
    return len | (uint64_t)flags << 32 | (uint64_t)next << 48;
}

static inline uint64_t packed_word(uint32_t len, unsigned id, unsigned flags)
{
    return len | (uint64_t)id << 32 | (uint64_t)flags << 48;
}

/* AVAIL and USED of a slot that the driver made available, or the device used. */
static inline unsigned packed_avail_flags(bool wrap)
{
    return wrap ? VDS_DESC_F_AVAIL : VDS_DESC_F_USED;
}

static inline unsigned packed_used_flags(bool wrap)
{
    return wrap ? VDS_DESC_F_AVAIL | VDS_DESC_F_USED : 0;
}

static inline unsigned packed_state(uint64_t word1)
{
    return (unsigned)(word1 >> 48) & (VDS_DESC_F_AVAIL | VDS_DESC_F_USED);
}

/* Moves a position by n <= num slots. */
static inline void packed_advance(uint32_t num, uint32_t n, uint16_t *slot, bool *wrap)
{
    uint32_t next = *slot + n;

    if (next >= num) {
        next -= num;
        *wrap = !*wrap;
    }
    *slot = (uint16_t)next;
}

/* ---- event windows ---- */

/* Did an index that moved from `old` to `now` pass `event`?  (virtio 1.2, 2.7.10) */
static inline bool split_event_passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* A slot and its wrap counter as a point on a circle of two laps. */
static inline uint32_t packed_point(uint32_t num, uint32_t slot, bool wrap)
{
    return wrap ? slot : slot + num;
}

/* Did a position that moved by `moved` <= num slots to `now` pass the event?
 * (2.8.10) */
static inline bool packed_event_passed(uint32_t num, uint32_t event, uint32_t now,
                                       uint32_t moved)
{
    return (now + 4 * num - event - 1) % (2 * num) < moved;
}

/* A side's progress since it last asked whether to tell the other. */
typedef struct {
    uint32_t num;
    bool event_idx;
    uint32_t moved; /* slots, capped at num */
    uint16_t slot;  /* where it is now */
    bool wrap;
} PackedMove;

/* Does the other side's event area ask to be told?  P5 to P7. */
bool vds_packed_wants_event(const VdsGuestArea *area, const PackedMove *move,
                            bool *wanted, GError **fault);
/* Asks the other side to tell when it passes (slot, wrap), with event_idx, or whenever.
 */
bool vds_packed_ask_event(const VdsGuestArea *area, bool event_idx, uint16_t slot,
                          bool wrap, GError **fault);
bool vds_packed_ask_none(const VdsGuestArea *area, GError **fault);
