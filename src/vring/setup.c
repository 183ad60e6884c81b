/*
 * vring: the setup of a live ring, checked once for both sides, and the packed event
 * areas, which both sides use alike.
 */
#include "live-priv.h"

typedef struct {
    const char *name;
    uint64_t gpa, size;
    unsigned align;
} Area;

enum { N_AREAS = 3 };

/* C1: virtio 1.2, 2.7: a power of two; 2.8: any number. */
static bool check_num(const VdsQueueState *setup, GError **fault)
{
    uint32_t num = setup->num;

    if (num == 0 || num > VDS_VRING_MAX_NUM) {
        return vds_vring_fault(fault, VDS_RULE_C1,
                               "ring of %" PRIu32 " descriptors is not one of 1 to %d",
                               num, VDS_VRING_MAX_NUM);
    }
    if (!setup->packed && (num & (num - 1)) != 0) {
        return vds_vring_fault(
            fault, VDS_RULE_C1,
            "split ring of %" PRIu32 " descriptors: not a power of two", num);
    }
    return true;
}

static bool check_area(const VdsQueueState *setup, const Area *area, GError **fault)
{
    if (area->gpa % area->align != 0) {
        return vds_vring_fault(fault, VDS_RULE_C2,
                               "%s area at 0x%" PRIx64 " is not aligned to %u",
                               area->name, area->gpa, area->align);
    }
    if (!vds_guest_map_has(setup->map, area->gpa, area->size)) {
        return vds_vring_fault(fault, VDS_RULE_C3,
                               "%s area at 0x%" PRIx64 ", length %" PRIu64
                               ", is not mapped",
                               area->name, area->gpa, area->size);
    }
    return true;
}

static bool check_overlap(const Area *a, const Area *b, GError **fault)
{
    if (a->gpa <= b->gpa ? b->gpa - a->gpa < a->size : a->gpa - b->gpa < b->size) {
        return vds_vring_fault(fault, VDS_RULE_C4,
                               "%s area at 0x%" PRIx64 ", length %" PRIu64
                               ", overlaps the %s area at 0x%" PRIx64,
                               a->name, a->gpa, a->size, b->name, b->gpa);
    }
    return true;
}

/* What the direct way needs of the host address is what the rule asks of the guest's,
 * but for the descriptors' 16: two words of 8. */
static bool area_init(VdsGuestArea *to, const VdsQueueState *setup, const Area *area,
                      GError **fault)
{
    return vds_guest_area_init(to, setup->map, area->gpa, area->size, MIN(area->align, 8),
                               fault);
}

bool vds_ring_areas_init(VdsRingAreas *areas, const VdsQueueState *setup, GError **fault)
{
    const bool packed = setup->packed;
    Area all[N_AREAS];

    if (!check_num(setup, fault)) {
        return false;
    }
    all[0] = (Area){"descriptor", setup->desc, vds_queue_desc_size(setup), 16};
    all[1] = (Area){packed ? "driver event" : "avail", setup->avail,
                    vds_queue_avail_size(setup), packed ? 4 : 2};
    all[2] = (Area){packed ? "device event" : "used", setup->used,
                    vds_queue_used_size(setup), 4};
    if (setup->big_endian) {
        return vds_vring_fault(fault, VDS_RULE_R7, "a big-endian ring cannot be live");
    }
    for (unsigned i = 0; i < N_AREAS; i++) {
        if (!check_area(setup, &all[i], fault)) {
            return false;
        }
    }
    for (unsigned i = 0; i < N_AREAS; i++) {
        if (!check_overlap(&all[i], &all[(i + 1) % N_AREAS], fault)) {
            return false;
        }
    }
    if (!vds_guest_map_is_writable(setup->map)) {
        return vds_vring_fault(fault, VDS_RULE_R8,
                               "the memory is mapped for reading only");
    }
    return area_init(&areas->desc, setup, &all[0], fault) &&
           area_init(&areas->avail, setup, &all[1], fault) &&
           area_init(&areas->used, setup, &all[2], fault);
}

/* ---- packed event areas (virtio 1.2, 2.8.10 and 2.8.14) ---- */

bool vds_packed_wants_event(const VdsGuestArea *area, const PackedMove *move,
                            bool *wanted, GError **fault)
{
    uint16_t flags = 0, off_wrap = 0;

    /* Acquire: pairs with the release of the flags below, on the other side, so that
     * off_wrap is the one that belongs to them. */
    if (!vds_guest_area_load_u16_acquire(area, EVENT_FLAGS, &flags, fault) ||
        !vds_guest_area_load_u16(area, EVENT_OFF_WRAP, &off_wrap, fault)) {
        return false;
    }
    flags &= 3; /* the rest is reserved */
    *wanted = flags == PACKED_ENABLE;
    if (flags == PACKED_RESERVED) {
        return vds_vring_fault(fault, VDS_RULE_P6, "event flags are the reserved 3");
    }
    if (flags != PACKED_DESC) {
        return true;
    }
    if (!move->event_idx) {
        return vds_vring_fault(fault, VDS_RULE_P7,
                               "event flags are 2, for one descriptor, and"
                               " VIRTIO_F_EVENT_IDX was not negotiated");
    }
    if ((off_wrap & 0x7fff) >= move->num) {
        return vds_vring_fault(fault, VDS_RULE_P5,
                               "event offset %u is outside the ring of %" PRIu32,
                               off_wrap & 0x7fffu, move->num);
    }
    *wanted = packed_event_passed(
        move->num, packed_point(move->num, off_wrap & 0x7fff, off_wrap >> 15),
        packed_point(move->num, move->slot, move->wrap), move->moved);
    return true;
}

bool vds_packed_ask_event(const VdsGuestArea *area, bool event_idx, uint16_t slot,
                          bool wrap, GError **fault)
{
    if (!event_idx) {
        return vds_guest_area_store_u16(area, EVENT_FLAGS, PACKED_ENABLE, fault);
    }
    return vds_guest_area_store_u16(area, EVENT_OFF_WRAP,
                                    (uint16_t)(slot | (unsigned)wrap << 15), fault) &&
           vds_guest_area_store_u16_release(area, EVENT_FLAGS, PACKED_DESC, fault);
}

bool vds_packed_ask_none(const VdsGuestArea *area, GError **fault)
{
    return vds_guest_area_store_u16(area, EVENT_FLAGS, PACKED_DISABLE, fault);
}
