/*
 * vring: one chain out of guest memory: the checks that both formats have in common, and
 * what both read alike.
 *
 * Owns the order of the checks, which is that of QEMU's answers.  Refuses to know what a
 * descriptor's buffer holds.
 */
#include "vring-priv.h"

void vds_chain_free(VdsChain *chain)
{
    if (chain) {
        g_free(chain->descs);
        g_free(chain);
    }
}

void vds_chain_append(VdsChain *chain, size_t *cap, const VdsDesc *desc)
{
    if (chain->n == *cap) {
        *cap = *cap ? *cap * 2 : 8;
        chain->descs = g_renew(VdsDesc, chain->descs, *cap);
    }
    chain->descs[chain->n++] = *desc;
}

bool vds_ring_read_u16(const VdsQueueState *queue, uint64_t gpa, uint16_t *to, size_t n,
                       GError **error)
{
    if (!vds_guest_map_read_u16(queue->map, gpa, to, n, error)) {
        return false;
    }
    for (size_t i = 0; i < n && queue->big_endian; i++) {
        to[i] = GUINT16_SWAP_LE_BE(to[i]);
    }
    return true;
}

bool vds_indirect_check(const VdsQueueState *queue, const VdsDesc *head, uint32_t *n,
                        GError **error)
{
    *n = head->len / VDS_DESC_SIZE;
    if (*n == 0) {
        g_set_error(error, VDS_VRING_ERROR, VDS_VRING_ERROR_INDIRECT_LEN,
                    "Indirect table of %" PRIu32 " bytes is shorter than a descriptor"
                    " of %u",
                    head->len, VDS_DESC_SIZE);
        return false;
    }
    if (*n > VDS_INDIRECT_MAX) {
        g_set_error(error, VDS_VRING_ERROR, VDS_VRING_ERROR_INDIRECT_LEN,
                    "Indirect table of %" PRIu32 " descriptors is longer than %u", *n,
                    VDS_INDIRECT_MAX);
        return false;
    }
    if (!vds_guest_map_has(queue->map, head->addr, head->len)) {
        g_set_error(error, VDS_VRING_ERROR, VDS_VRING_ERROR_INDIRECT,
                    "Cannot map indirect buffer");
        return false;
    }
    return true;
}

/* The three areas in the order in which QEMU misses them. */
static bool queue_is_mapped(const VdsQueueState *queue, GError **error)
{
    const struct {
        uint64_t gpa, size;
        int code;
        const char *text;
    } areas[] = {
        {queue->desc, vds_queue_desc_size(queue), VDS_VRING_ERROR_DESC_RING,
         "Cannot map descriptor ring"},
        {queue->avail, vds_queue_avail_size(queue), VDS_VRING_ERROR_AVAIL_RING,
         "Cannot map avail ring"},
        {queue->used, vds_queue_used_size(queue), VDS_VRING_ERROR_USED_RING,
         "Cannot map used ring"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(areas); i++) {
        if (!queue->map || !vds_guest_map_has(queue->map, areas[i].gpa, areas[i].size)) {
            g_set_error_literal(error, VDS_VRING_ERROR, areas[i].code, areas[i].text);
            return false;
        }
    }
    return true;
}

VdsChain *vds_chain_read(const VdsQueueState *queue, bool has_index, uint16_t index,
                         GError **error)
{
    g_autoptr(VdsChain) chain = NULL;
    uint16_t position = has_index               ? index
                        : queue->has_last_avail ? queue->last_avail_idx
                                                : 0;

    if (queue->desc == 0) {
        g_set_error_literal(error, VDS_VRING_ERROR, VDS_VRING_ERROR_NO_RING,
                            "Region caches not initialized");
        return NULL;
    }
    if (queue->num == 0 || queue->num > VDS_VRING_MAX_NUM) {
        g_set_error(error, VDS_VRING_ERROR, VDS_VRING_ERROR_NUM,
                    "Ring of %" PRIu32 " descriptors is not one of 1 to %d", queue->num,
                    VDS_VRING_MAX_NUM);
        return NULL;
    }
    if (!queue_is_mapped(queue, error)) {
        return NULL;
    }
    chain = g_new0(VdsChain, 1);
    chain->packed = queue->packed;
    chain->slot = (uint16_t)(position % queue->num);
    if (!vds_ring_ops(queue)->read_chain(queue, chain->slot, chain, error)) {
        return NULL;
    }
    return g_steal_pointer(&chain);
}
