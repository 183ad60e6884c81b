/*
 * vring: the driver's side of a packed ring (virtio 1.2, 2.8.21 and 2.8.22).
 */
#include "driver-priv.h"

/* A list's slot; its first one's flags make the list available. */
static bool write_slot(const VdsDriverRing *ring, uint16_t slot, uint64_t addr,
                       uint64_t word1, GError **fault)
{
    uint64_t offset = UINT64_C(16) * slot;

    return vds_guest_area_store_u64(&ring->areas.desc, offset, addr, fault) &&
           vds_guest_area_store_u64(&ring->areas.desc, offset + 8, word1, fault);
}

static bool expose(VdsDriverRing *ring, uint64_t addr, uint64_t word1, uint16_t n,
                   GError **fault)
{
    uint64_t offset = UINT64_C(16) * ring->avail_idx;

    /* Release: pairs with the device's acquire of the flags; the rest of the list and
     * this slot's address are seen with them. */
    if (!vds_guest_area_store_u64(&ring->areas.desc, offset, addr, fault) ||
        !vds_guest_area_store_u64_release(&ring->areas.desc, offset + 8, word1, fault)) {
        return false;
    }
    packed_advance(ring->num, n, &ring->avail_idx, &ring->avail_wrap);
    ring->added = MIN(ring->added + n, ring->num + 1);
    return true;
}

static bool add_table(VdsDriverRing *ring, const VdsBuffer *buffer, uint16_t id,
                      GError **fault)
{
    uint64_t first = (uint64_t)id * ring->table_entries;
    uint32_t n = buffer_spans(buffer);

    for (uint32_t i = 0; i < n; i++) {
        uint64_t offset = 16 * (first + i);

        if (!vds_guest_area_store_u64(&ring->tables, offset, buffer->spans[i].gpa,
                                      fault) ||
            !vds_guest_area_store_u64(
                &ring->tables, offset + 8,
                packed_word(buffer->spans[i].len, 0, buffer_flags(buffer, i)), fault)) {
            return false;
        }
    }
    return expose(ring, ring->tables.gpa + 16 * first,
                  packed_word(16 * n, id,
                              VDS_DESC_F_INDIRECT | packed_avail_flags(ring->avail_wrap)),
                  1, fault);
}

/* From the second on, then the first. */
static bool add_direct(VdsDriverRing *ring, const VdsBuffer *buffer, uint16_t id,
                       GError **fault)
{
    uint32_t n = buffer_spans(buffer);
    unsigned first_flags = buffer_flags(buffer, 0) |
                           packed_avail_flags(ring->avail_wrap) |
                           (n > 1 ? VDS_DESC_F_NEXT : 0);
    uint16_t slot = ring->avail_idx;
    bool wrap = ring->avail_wrap;

    for (uint32_t i = 1; i < n; i++) {
        unsigned flags = buffer_flags(buffer, i) | (i + 1 < n ? VDS_DESC_F_NEXT : 0);

        packed_advance(ring->num, 1, &slot, &wrap);
        if (!write_slot(
                ring, slot, buffer->spans[i].gpa,
                packed_word(buffer->spans[i].len, id, flags | packed_avail_flags(wrap)),
                fault)) {
            return false;
        }
    }
    return expose(ring, buffer->spans[0].gpa,
                  packed_word(buffer->spans[0].len, id, first_flags), (uint16_t)n, fault);
}

/* Ids come from the free list, slots in the ring's order. */
static bool packed_add(VdsDriverRing *ring, const VdsBuffer *buffer, bool table,
                       uint16_t *id, GError **fault)
{
    *id = vds_driver_take_free(ring);
    return (table ? add_table : add_direct)(ring, buffer, *id, fault);
}

static bool packed_has_used(VdsDriverRing *ring, bool *used, GError **fault)
{
    /* Acquire: pairs with the device's release of the flags. */
    if (!vds_guest_area_load_u64_acquire(&ring->areas.desc,
                                         UINT64_C(16) * ring->last_used + 8,
                                         &ring->used_word1, fault)) {
        return false;
    }
    *used = ring->n_pending > 0 &&
            packed_state(ring->used_word1) == packed_used_flags(ring->used_wrap);
    return true;
}

/* Nothing but the id tells how many an entry stands for (2.8.8). */
static bool packed_read_used(VdsDriverRing *ring, uint16_t *id, uint32_t *len,
                             uint32_t *most, GError **fault)
{
    *id = (uint16_t)(ring->used_word1 >> 32);
    *len = (uint32_t)ring->used_word1;
    *most = ring->n_pending;
    if (*id >= ring->num) {
        return vds_vring_fault(fault, VDS_RULE_P2,
                               "used buffer id %u is outside the ring of %" PRIu32, *id,
                               ring->num);
    }
    return true;
}

static void packed_recycle(VdsDriverRing *ring, uint16_t id, bool used)
{
    uint32_t slots = ring->states[id].slots;

    vds_driver_give_free(ring, id);
    if (used) {
        packed_advance(ring->num, slots, &ring->last_used, &ring->used_wrap);
    }
}

static bool packed_should_kick(VdsDriverRing *ring, bool *kick, GError **fault)
{
    uint32_t added = ring->added;
    const PackedMove move = {ring->num, ring->event_idx, added, ring->avail_idx,
                             ring->avail_wrap};

    ring->added = 0;
    if (added > ring->num) { /* the device took some meanwhile: a lap tells no more */
        *kick = true;
        return true;
    }
    return vds_packed_wants_event(&ring->areas.used, &move, kick, fault);
}

static bool packed_arm(VdsDriverRing *ring, GError **fault)
{
    return vds_packed_ask_event(&ring->areas.avail, ring->event_idx, ring->last_used,
                                ring->used_wrap, fault);
}

static bool packed_disarm(VdsDriverRing *ring, GError **fault)
{
    return vds_packed_ask_none(&ring->areas.avail, fault);
}

const VdsDriverOps vds_driver_packed_ops = {
    .add = packed_add,
    .has_used = packed_has_used,
    .read_used = packed_read_used,
    .recycle = packed_recycle,
    .should_kick = packed_should_kick,
    .arm = packed_arm,
    .disarm = packed_disarm,
};
