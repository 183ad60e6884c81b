/*
 * vring: a chain of a packed ring (virtio 1.2, 2.8).
 *
 * The three areas: descriptor ring, driver event area, device event area.  Whether a
 * slot is available or used decides nothing here: in a used one `len` is what the device
 * wrote and the rest what was left, and so it is shown.
 */
#include <stdatomic.h>

#include "vring-priv.h"

enum { EVENT_SIZE = 4, EVENT_OFF_WRAP = 0, EVENT_FLAGS = 1 }; /* le16 each, 2.8.14 */

static uint32_t packed_event_size(const VdsQueueState *queue)
{
    return EVENT_SIZE;
}

/* struct pvirtq_desc { le64 addr; le32 len; le16 id; le16 flags; } */
VdsDesc vds_packed_desc(const VdsQueueState *queue, uint64_t word0, uint64_t word1)
{
    VdsDesc desc = {.addr = word0,
                    .len = (uint32_t)word1,
                    .next = (uint16_t)(word1 >> 32),
                    .flags = (uint16_t)(word1 >> 48)};

    if (queue->big_endian) {
        desc.addr = GUINT64_SWAP_LE_BE(desc.addr);
        desc.len = GUINT32_SWAP_LE_BE(desc.len);
        desc.next = GUINT16_SWAP_LE_BE(desc.next);
        desc.flags = GUINT16_SWAP_LE_BE(desc.flags);
    }
    return desc;
}

/* Flags first: they are what the driver stores last (2.8.21, its barrier pairs with the
 * fence), so an address seen after them is theirs. */
static bool read_slot(const VdsQueueState *queue, uint32_t slot, VdsDesc *desc,
                      GError **error)
{
    uint64_t gpa = queue->desc + (uint64_t)VDS_DESC_SIZE * slot;
    uint64_t word0 = 0, word1 = 0;

    if (!vds_guest_map_read_u64(queue->map, gpa + 8, &word1, 1, error)) {
        return false;
    }
    atomic_thread_fence(memory_order_acquire);
    if (!vds_guest_map_read_u64(queue->map, gpa, &word0, 1, error)) {
        return false;
    }
    *desc = vds_packed_desc(queue, word0, word1);
    return true;
}

/* Consecutive slots while NEXT, at most all of them.  The buffer id that counts is the
 * one in the last (2.8.6). */
static bool read_direct(const VdsQueueState *queue, VdsChain *chain, GError **error)
{
    uint32_t slot = chain->slot;
    VdsDesc desc = chain->head;
    size_t cap = 0;

    for (;;) {
        vds_chain_append(chain, &cap, &desc);
        chain->id = desc.next;
        if (!(desc.flags & VDS_DESC_F_NEXT) || chain->n >= queue->num) {
            return true;
        }
        slot = slot + 1 == queue->num ? 0 : slot + 1;
        if (!read_slot(queue, slot, &desc, error)) {
            return false;
        }
    }
}

/* All entries of the table, in order: NEXT means nothing in it (2.8.7). */
static bool read_indirect(const VdsQueueState *queue, VdsChain *chain, GError **error)
{
    g_autofree uint64_t *words = NULL;
    uint32_t n = 0;

    chain->id = chain->head.next;
    if (!vds_indirect_check(queue, &chain->head, &n, error)) {
        return false;
    }
    words = g_new(uint64_t, 2 * (size_t)n);
    if (!vds_guest_map_read_u64(queue->map, chain->head.addr, words, 2 * (size_t)n,
                                error)) {
        return false;
    }
    chain->descs = g_new(VdsDesc, n);
    chain->n = n;
    for (uint32_t i = 0; i < n; i++) {
        chain->descs[i] = vds_packed_desc(queue, words[2 * i], words[2 * i + 1]);
    }
    return true;
}

static bool packed_read_chain(const VdsQueueState *queue, uint16_t slot, VdsChain *chain,
                              GError **error)
{
    uint16_t driver[2], device[2];

    if (!vds_ring_read_u16(queue, queue->avail, driver, 2, error) ||
        !vds_ring_read_u16(queue, queue->used, device, 2, error) ||
        !read_slot(queue, slot, &chain->head, error)) {
        return false;
    }
    chain->avail_flags = driver[EVENT_FLAGS];
    chain->avail_idx = driver[EVENT_OFF_WRAP];
    chain->used_flags = device[EVENT_FLAGS];
    chain->used_idx = device[EVENT_OFF_WRAP];
    chain->indirect = chain->head.flags & VDS_DESC_F_INDIRECT;
    return chain->indirect ? read_indirect(queue, chain, error)
                           : read_direct(queue, chain, error);
}

const VdsRingOps vds_packed_ops = {
    .avail_size = packed_event_size,
    .used_size = packed_event_size,
    .read_chain = packed_read_chain,
};
