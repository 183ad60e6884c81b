/*
 * vring: the driver's side of a split ring (virtio 1.2, 2.7.13 and 2.7.14).
 *
 * Writes avail and the descriptor table, reads used.
 */
#include "driver-priv.h"

static bool write_desc(const VdsGuestArea *area, uint64_t i, const VdsDesc *desc,
                       GError **fault)
{
    return vds_guest_area_store_u64(area, 16 * i, desc->addr, fault) &&
           vds_guest_area_store_u64(
               area, 16 * i + 8, split_word(desc->len, desc->flags, desc->next), fault);
}

/* The buffer's table, whose entries are chained one by one, and its head. */
static bool add_table(VdsDriverRing *ring, const VdsBuffer *buffer, uint16_t head,
                      GError **fault)
{
    uint64_t first = (uint64_t)head * ring->table_entries;
    uint32_t n = buffer_spans(buffer);
    const VdsDesc reference = {.addr = ring->tables.gpa + 16 * first,
                               .len = 16 * n,
                               .flags = VDS_DESC_F_INDIRECT};

    for (uint32_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        const VdsDesc desc = {
            buffer->spans[i].gpa, buffer->spans[i].len,
            (uint16_t)(buffer_flags(buffer, i) | (last ? 0 : VDS_DESC_F_NEXT)),
            (uint16_t)(last ? 0 : i + 1)};

        if (!write_desc(&ring->tables, first + i, &desc, fault)) {
            return false;
        }
    }
    return write_desc(&ring->areas.desc, head, &reference, fault);
}

static bool add_direct(VdsDriverRing *ring, const VdsBuffer *buffer, uint16_t head,
                       GError **fault)
{
    uint32_t n = buffer_spans(buffer);
    uint16_t i = head;

    for (uint32_t k = 0; k < n; k++) {
        bool last = k + 1 == n;
        uint16_t next = last ? 0 : vds_driver_take_free(ring);
        const VdsDesc desc = {
            buffer->spans[k].gpa, buffer->spans[k].len,
            (uint16_t)(buffer_flags(buffer, k) | (last ? 0 : VDS_DESC_F_NEXT)), next};

        if (!write_desc(&ring->areas.desc, i, &desc, fault)) {
            return false;
        }
        /* What was free was linked in this order already. */
        i = next;
    }
    return true;
}

static bool split_add(VdsDriverRing *ring, const VdsBuffer *buffer, bool table,
                      uint16_t *id, GError **fault)
{
    uint16_t head = vds_driver_take_free(ring);
    uint32_t slot = ring->avail_idx & (ring->num - 1);

    if (!(table ? add_table : add_direct)(ring, buffer, head, fault) ||
        !vds_guest_area_store_u16(&ring->areas.avail, SPLIT_RING + UINT64_C(2) * slot,
                                  head, fault)) {
        return false;
    }
    /* Release: pairs with the device's acquire of idx. */
    if (!vds_guest_area_store_u16_release(&ring->areas.avail, SPLIT_IDX,
                                          (uint16_t)(ring->avail_idx + 1), fault)) {
        return false;
    }
    ring->avail_idx++;
    ring->added++;
    *id = head;
    return true;
}

static bool split_has_used(VdsDriverRing *ring, bool *used, GError **fault)
{
    uint16_t idx = 0;

    if (ring->used_shadow == ring->last_used) {
        /* Acquire: pairs with the device's release of idx. */
        if (!vds_guest_area_load_u16_acquire(&ring->areas.used, SPLIT_IDX, &idx, fault)) {
            return false;
        }
        if ((uint16_t)(idx - ring->last_used) > ring->n_pending) {
            return vds_vring_fault(fault, VDS_RULE_S5,
                                   "used.idx went from %u to %u, and %" PRIu32
                                   " buffers were with the device",
                                   ring->last_used, idx, ring->n_pending);
        }
        ring->used_shadow = idx;
    }
    *used = ring->used_shadow != ring->last_used;
    return true;
}

static bool split_read_used(VdsDriverRing *ring, uint16_t *id, uint32_t *len,
                            uint32_t *most, GError **fault)
{
    uint64_t offset =
        SPLIT_RING + (uint64_t)SPLIT_USED_ELEM * (ring->last_used & (ring->num - 1));
    uint32_t word = 0;

    if (!vds_guest_area_load_u32(&ring->areas.used, offset, &word, fault) ||
        !vds_guest_area_load_u32(&ring->areas.used, offset + 4, len, fault)) {
        return false;
    }
    if (word >= ring->num) {
        return vds_vring_fault(fault, VDS_RULE_S7,
                               "used id %" PRIu32 " is outside the ring of %" PRIu32,
                               word, ring->num);
    }
    *id = (uint16_t)word;
    *most = (uint16_t)(ring->used_shadow - ring->last_used);
    return true;
}

static void split_recycle(VdsDriverRing *ring, uint16_t id, bool used)
{
    uint16_t i = id;

    for (uint32_t left = ring->states[id].slots; left > 0; left--) {
        uint16_t next = ring->next[i];

        vds_driver_give_free(ring, i);
        i = next;
    }
    /* An entry that stands for several moves idx by as many (2.7.9). */
    ring->last_used += used;
}

static bool split_should_kick(VdsDriverRing *ring, bool *kick, GError **fault)
{
    uint16_t word = 0, now = ring->avail_idx;
    uint32_t added = ring->added;

    ring->added = 0;
    if (!ring->event_idx) {
        if (!vds_guest_area_load_u16(&ring->areas.used, SPLIT_FLAGS, &word, fault)) {
            return false;
        }
        *kick = !(word & SPLIT_NO_NOTIFY);
        return true;
    }
    if (!vds_guest_area_load_u16(&ring->areas.used, split_avail_event(ring->num), &word,
                                 fault)) {
        return false;
    }
    *kick = added > UINT16_MAX || split_event_passed(word, now, (uint16_t)(now - added));
    return true;
}

static bool split_arm(VdsDriverRing *ring, GError **fault)
{
    if (!ring->event_idx) {
        return vds_guest_area_store_u16(&ring->areas.avail, SPLIT_FLAGS, 0, fault);
    }
    return vds_guest_area_store_u16(&ring->areas.avail, split_used_event(ring->num),
                                    ring->last_used, fault);
}

static bool split_disarm(VdsDriverRing *ring, GError **fault)
{
    return ring->event_idx || vds_guest_area_store_u16(&ring->areas.avail, SPLIT_FLAGS,
                                                       SPLIT_NO_INTERRUPT, fault);
}

const VdsDriverOps vds_driver_split_ops = {
    .add = split_add,
    .has_used = split_has_used,
    .read_used = split_read_used,
    .recycle = split_recycle,
    .should_kick = split_should_kick,
    .arm = split_arm,
    .disarm = split_disarm,
};
