/*
 * vring: a chain of a split ring (virtio 1.2, 2.7).
 *
 * The three areas: descriptor table; avail = flags, idx, ring[num], used_event; used =
 * flags, idx, {id, len}[num], avail_event.
 */
#include <stdatomic.h>

#include "vring-priv.h"

enum { RING_HEADER = 4 }; /* bytes of flags and idx */

static uint32_t split_avail_size(const VdsQueueState *queue)
{
    return RING_HEADER + 2 * queue->num + (queue->event_idx ? 2 : 0);
}

static uint32_t split_used_size(const VdsQueueState *queue)
{
    return RING_HEADER + 8 * queue->num + (queue->event_idx ? 2 : 0);
}

/* struct virtq_desc { le64 addr; le32 len; le16 flags; le16 next; } */
VdsDesc vds_split_desc(const VdsQueueState *queue, uint64_t word0, uint64_t word1)
{
    VdsDesc desc = {.addr = word0,
                    .len = (uint32_t)word1,
                    .flags = (uint16_t)(word1 >> 32),
                    .next = (uint16_t)(word1 >> 48)};

    if (queue->big_endian) {
        desc.addr = GUINT64_SWAP_LE_BE(desc.addr);
        desc.len = GUINT32_SWAP_LE_BE(desc.len);
        desc.flags = GUINT16_SWAP_LE_BE(desc.flags);
        desc.next = GUINT16_SWAP_LE_BE(desc.next);
    }
    return desc;
}

static bool read_desc(const VdsQueueState *queue, uint64_t table, uint32_t i,
                      VdsDesc *desc, GError **error)
{
    uint64_t words[2];

    if (!vds_guest_map_read_u64(queue->map, table + (uint64_t)VDS_DESC_SIZE * i, words, 2,
                                error)) {
        return false;
    }
    *desc = vds_split_desc(queue, words[0], words[1]);
    return true;
}

/* From `desc`, an entry of the table of n, already read, to the chain's end: no NEXT, a
 * next outside the table (QEMU: shown as far as it goes, no error), or n descriptors,
 * which is where a loop ends. */
static bool follow(const VdsQueueState *queue, uint64_t table, uint32_t n, VdsDesc desc,
                   VdsChain *chain, GError **error)
{
    size_t cap = 0;

    for (;;) {
        vds_chain_append(chain, &cap, &desc);
        if (!(desc.flags & VDS_DESC_F_NEXT) || desc.next >= n || chain->n >= n) {
            return true;
        }
        if (!read_desc(queue, table, desc.next, &desc, error)) {
            return false;
        }
    }
}

static bool read_descs(const VdsQueueState *queue, VdsChain *chain, GError **error)
{
    uint32_t n = 0;
    VdsDesc first;

    if (!read_desc(queue, queue->desc, chain->id, &chain->head, error)) {
        return false;
    }
    /* Only on the head is INDIRECT followed: nested tables and tables later in a chain
     * are forbidden (2.7.5.3.1) and shown as they are. */
    chain->indirect = chain->head.flags & VDS_DESC_F_INDIRECT;
    if (!chain->indirect) {
        return follow(queue, queue->desc, queue->num, chain->head, chain, error);
    }
    return vds_indirect_check(queue, &chain->head, &n, error) &&
           read_desc(queue, chain->head.addr, 0, &first, error) &&
           follow(queue, chain->head.addr, n, first, chain, error);
}

static bool split_read_chain(const VdsQueueState *queue, uint16_t slot, VdsChain *chain,
                             GError **error)
{
    uint16_t avail[2], used[2];

    if (!vds_ring_read_u16(queue, queue->avail, avail, 2, error)) {
        return false;
    }
    /* Pairs with the driver's barrier before it stores idx (2.7.13): what is behind an
     * idx seen here is seen below. */
    atomic_thread_fence(memory_order_acquire);
    if (!vds_ring_read_u16(queue, queue->avail + RING_HEADER + UINT64_C(2) * slot,
                           &chain->id, 1, error)) {
        return false;
    }
    if (chain->id >= queue->num) {
        g_set_error(error, VDS_VRING_ERROR, VDS_VRING_ERROR_HEAD,
                    "Head descriptor %u is outside the ring of %" PRIu32, chain->id,
                    queue->num);
        return false;
    }
    if (!read_descs(queue, chain, error) ||
        !vds_ring_read_u16(queue, queue->used, used, 2, error)) {
        return false;
    }
    chain->avail_flags = avail[0];
    chain->avail_idx = avail[1];
    chain->used_flags = used[0];
    chain->used_idx = used[1];
    return true;
}

const VdsRingOps vds_split_ops = {
    .avail_size = split_avail_size,
    .used_size = split_used_size,
    .read_chain = split_read_chain,
};
