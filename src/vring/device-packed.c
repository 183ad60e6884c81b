/*
 * vring: the device's side of a packed ring (virtio 1.2, 2.8).
 *
 * Reads and writes the one descriptor ring.  Position and wrap counter of what is taken
 * next and of what is used next are the ring's whole state; `inuse` counts slots.
 */
#include "device-loop.h"

static inline VdsDesc desc_of(const uint64_t words[2])
{
    return (VdsDesc){.addr = words[0],
                     .len = (uint32_t)words[1],
                     .next = (uint16_t)(words[1] >> 32),
                     .flags = (uint16_t)(words[1] >> 48)};
}

static inline bool packed_has_available(VdsVring *ring, bool *available, GError **fault)
{
    /* Acquire: pairs with the driver's release of a list's first flags, which it stores
     * last; the list is seen after them. */
    if (!vds_guest_area_load_u64_acquire(&ring->areas.desc,
                                         UINT64_C(16) * ring->last_avail + 8,
                                         &ring->head_word1, fault)) {
        return false;
    }
    *available = packed_state(ring->head_word1) == packed_avail_flags(ring->avail_wrap);
    return true;
}

/* ---- lists ---- */

/* Slot `count` of a list at (slot, wrap).  P4: it must be the driver's to give. */
static inline bool read_slot(const VdsVring *ring, uint32_t count, uint16_t slot,
                             bool wrap, VdsDesc *desc, GError **fault)
{
    uint64_t words[2] = {0, ring->head_word1};
    uint64_t offset = UINT64_C(16) * slot;

    if (ring->inuse + count >= ring->num) {
        return vds_vring_fault(fault, VDS_RULE_P4,
                               "list of more than %" PRIu32 " slots, %" PRIu32
                               " of the ring's %" PRIu32 " are in use",
                               count, ring->inuse, ring->num);
    }
    /* The first word was read already, and is not read again. */
    if (!vds_guest_area_load_u64(&ring->areas.desc, offset, &words[0], fault) ||
        (count > 0 &&
         !vds_guest_area_load_u64(&ring->areas.desc, offset + 8, &words[1], fault))) {
        return false;
    }
    *desc = desc_of(words);
    if (packed_state(words[1]) != packed_avail_flags(wrap)) {
        return vds_vring_fault(fault, VDS_RULE_P4,
                               "slot %u of a list has flags 0x%x: not available", slot,
                               desc->flags);
    }
    return true;
}

/* All entries, in order; flags but WRITE are reserved there, and ignored (2.8.7). */
static bool add_entries(const Walk *walk, const VdsGuestArea *table, uint32_t n,
                        GError **fault)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t words[2];
        VdsDesc entry;

        if (!vds_area_read_desc(table, i, words, fault)) {
            return false;
        }
        entry = desc_of(words);
        if (!vds_walk_add(walk, &entry, i, fault)) {
            return false;
        }
    }
    return true;
}

G_NO_INLINE static bool add_table(const Walk *walk, const VdsDesc *desc, GError **fault)
{
    VdsGuestArea table;
    uint32_t n = 0;

    return vds_walk_table(walk, desc, &table, &n, fault) &&
           vds_walk_end(&table, add_entries(walk, &table, n, fault), fault);
}

static inline bool add_slot(const Walk *walk, const VdsDesc *desc, uint32_t count,
                            uint16_t slot, GError **fault)
{
    if (!(desc->flags & VDS_DESC_F_INDIRECT)) {
        return vds_walk_add(walk, desc, slot, fault);
    }
    if (count > 0 || (desc->flags & VDS_DESC_F_NEXT)) {
        return vds_vring_fault(fault, VDS_RULE_I4,
                               "slot %u, flags 0x%x: INDIRECT in a list linked by NEXT",
                               slot, desc->flags);
    }
    return add_table(walk, desc, fault);
}

/* An id is the driver's own word (2.8): nothing bounds it, and the device gives it back.
 */
static inline bool check_id(VdsVring *ring, uint16_t id, GError **fault)
{
    if (G_UNLIKELY(id >= ring->n_ids)) {
        vds_vring_widen_ids(ring);
    }
    if (ring->outstanding[id]) {
        return vds_vring_fault(fault, VDS_RULE_P3,
                               "buffer id %u is available again before it was used", id);
    }
    return true;
}

G_ALWAYS_INLINE static inline bool packed_take(VdsVring *ring, Request *request,
                                               GError **fault)
{
    const Walk walk = {ring, request, MAX(ring->num, VDS_VRING_CHAIN_MAX)};
    uint16_t slot = ring->last_avail;
    bool wrap = ring->avail_wrap;
    uint32_t count = 0;
    VdsDesc desc;

    do {
        if (!read_slot(ring, count, slot, wrap, &desc, fault) ||
            !add_slot(&walk, &desc, count, slot, fault)) {
            return false;
        }
        vds_tracker_note(ring, count, &desc);
        count++;
        packed_advance(ring->num, 1, &slot, &wrap);
    } while (desc.flags & VDS_DESC_F_NEXT);
    if (!check_id(ring, desc.next, fault)) {
        return false;
    }
    request->pub.id = desc.next;
    request->pub.slots = (uint16_t)count;
    ring->last_avail = ring->shadow_avail = slot;
    ring->avail_wrap = wrap;
    ring->inuse += count;
    return true;
}

/* From the copies: the ring's own slots may have been written over. */
static bool packed_take_again(VdsVring *ring, Request *request, uint16_t entry,
                              GError **fault)
{
    const Walk walk = {ring, request, MAX(ring->num, VDS_VRING_CHAIN_MAX)};
    const InFlight *known = vds_tracker_peek(ring->tracker);
    VdsDesc desc = {0};

    for (uint16_t count = 0; count < known->slots; count++) {
        desc = vds_tracker_packed_desc(ring->tracker, entry);
        if (!add_slot(&walk, &desc, count, entry, fault)) {
            return false;
        }
        entry = ring->tracker->next[entry];
    }
    request->pub.id = desc.next;
    request->pub.slots = known->slots;
    return check_id(ring, desc.next, fault);
}

static void packed_put_back(VdsVring *ring, const Request *request)
{
    /* Forward by the rest of a lap, and a lap back. */
    packed_advance(ring->num, ring->num - request->pub.slots, &ring->last_avail,
                   &ring->avail_wrap);
    ring->avail_wrap = !ring->avail_wrap;
    ring->shadow_avail = ring->last_avail;
    ring->inuse -= request->pub.slots;
}

/* ---- used ---- */

/* The first of a batch is kept back: with it the driver sees all (2.8.9: so that it never
 * sees a part of a request of several buffers). */
G_ALWAYS_INLINE static inline bool packed_push(VdsVring *ring, const Request *request,
                                               GError **fault)
{
    uint16_t slot = ring->used_idx;
    bool wrap = ring->used_wrap;
    uint64_t word1 = 0;

    packed_advance(ring->num, ring->unpublished, &slot, &wrap);
    word1 = packed_word(request->pub.written, request->pub.id,
                        packed_used_flags(wrap) |
                            (request->pub.written ? VDS_DESC_F_WRITE : 0));
    if (ring->unpublished == 0) {
        ring->first_word1 = word1;
    } else if (!vds_guest_area_store_u64(&ring->areas.desc, UINT64_C(16) * slot + 8,
                                         word1, fault)) {
        return false;
    }
    if (ring->unpublished > 0) {
        vds_vring_wrote_slot(ring, slot);
    }
    ring->unpublished += request->pub.slots;
    return true;
}

static bool packed_publish(VdsVring *ring, GError **fault)
{
    /* Release: pairs with the driver's acquire of a used slot's flags; the other slots of
     * the batch and what was written into the buffers are seen with it. */
    if (!vds_guest_area_store_u64_release(&ring->areas.desc,
                                          UINT64_C(16) * ring->used_idx + 8,
                                          ring->first_word1, fault)) {
        return false;
    }
    vds_vring_wrote_slot(ring, ring->used_idx);
    packed_advance(ring->num, ring->unpublished, &ring->used_idx, &ring->used_wrap);
    ring->inuse -= ring->unpublished;
    ring->moved = MIN(ring->moved + ring->unpublished, ring->num);
    ring->unpublished = 0;
    return true;
}

/* signalled_used moves with and without EVENT_IDX, as in QEMU, where it loses its
 * validity at each wrap; ours is exact over the whole circle. */
static bool packed_should_interrupt(VdsVring *ring, bool *interrupt, GError **fault)
{
    const PackedMove move = {ring->num, ring->event_idx, ring->moved, ring->used_idx,
                             ring->used_wrap};

    ring->moved = 0;
    ring->signalled_used = ring->used_idx;
    ring->signalled_used_valid = true;
    return vds_packed_wants_event(&ring->areas.avail, &move, interrupt, fault);
}

static bool packed_arm(VdsVring *ring, GError **fault)
{
    bool ok = vds_packed_ask_event(&ring->areas.used, ring->event_idx, ring->last_avail,
                                   ring->avail_wrap, fault);

    vds_vring_wrote_used(ring, 0, 4);
    return ok;
}

static bool packed_disarm(VdsVring *ring, GError **fault)
{
    bool ok = vds_packed_ask_none(&ring->areas.used, fault);

    vds_vring_wrote_used(ring, EVENT_FLAGS, 2);
    return ok;
}

/* ---- batches ---- */

static bool packed_take_some(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                             GError **fault)
{
    return requests_take(ring, packed_has_available, packed_take, requests, max, n,
                         fault);
}

static bool packed_push_some(VdsVring *ring, VdsRequest *const *requests, size_t n,
                             GError **fault)
{
    return requests_push(ring, packed_push, requests, n, fault);
}

const VdsVringOps vds_vring_packed_ops = {
    .has_available = packed_has_available,
    .take_some = packed_take_some,
    .put_back = packed_put_back,
    .take_again = packed_take_again,
    .push_some = packed_push_some,
    .publish = packed_publish,
    .should_interrupt = packed_should_interrupt,
    .arm = packed_arm,
    .disarm = packed_disarm,
};
