/*
 * vring: the device's side of a split ring (virtio 1.2, 2.7).
 *
 * Reads avail and the descriptor table, writes used.  num is a power of two (C1), so
 * that a free-running index is masked.
 */
#include "device-loop.h"

static uint32_t slot_of(const VdsVring *ring, uint16_t idx)
{
    return idx & (ring->num - 1);
}

/* avail.idx is read only when all it said before was taken, as QEMU does. */
static inline bool split_has_available(VdsVring *ring, bool *available, GError **fault)
{
    uint16_t idx = 0;

    if (ring->shadow_avail == ring->last_avail) {
        /* Acquire: pairs with the driver's release of idx; the entry and its
         * descriptors are seen after it. */
        if (!vds_guest_area_load_u16_acquire(&ring->areas.avail, SPLIT_IDX, &idx,
                                             fault)) {
            return false;
        }
        /* The driver knows of what was published alone: what is in use, pushed or not,
         * is not its to give again (CVE-2016-5403).  So inuse never exceeds num. */
        if ((uint16_t)(idx - ring->last_avail) > ring->num - ring->inuse) {
            return vds_vring_fault(fault, VDS_RULE_S4,
                                   "avail.idx went from %u to %u, a ring of %" PRIu32
                                   " descriptors, %" PRIu32 " in use",
                                   ring->last_avail, idx, ring->num, ring->inuse);
        }
        ring->shadow_avail = idx;
    }
    *available = ring->shadow_avail != ring->last_avail;
    return true;
}

/* ---- chains ---- */

typedef struct {
    const VdsGuestArea *area;
    uint32_t n;
    bool is_table;
} Table;

static bool check_next(const Table *table, const VdsDesc *desc, GError **fault)
{
    if (desc->next >= table->n) {
        return vds_vring_fault(fault, VDS_RULE_S2,
                               "next %u is outside the %s of %" PRIu32, desc->next,
                               table->is_table ? "table" : "ring", table->n);
    }
    return true;
}

static inline bool read_desc(const Table *table, uint32_t i, VdsDesc *desc,
                             GError **fault)
{
    uint64_t words[2];

    if (!vds_area_read_desc(table->area, i, words, fault)) {
        return false;
    }
    *desc = (VdsDesc){.addr = words[0],
                      .len = (uint32_t)words[1],
                      .flags = (uint16_t)(words[1] >> 32),
                      .next = (uint16_t)(words[1] >> 48)};
    return true;
}

/* From entry i on, which *last holds.  *last is where it ended: at the end, or at a
 * reference to a table (direct chains only). */
static bool follow(const Walk *walk, const Table *table, uint32_t i, VdsDesc *last,
                   GError **fault)
{
    for (uint32_t count = 0; count < table->n; count++) {
        if (count > 0 && !read_desc(table, i, last, fault)) {
            return false;
        }
        if (last->flags & VDS_DESC_F_INDIRECT) {
            return !table->is_table ||
                   vds_vring_fault(fault, VDS_RULE_I2,
                                   "entry %" PRIu32 " of a table is a table", i);
        }
        if (!vds_walk_add(walk, last, i, fault)) {
            return false;
        }
        if (!(last->flags & VDS_DESC_F_NEXT)) {
            return true;
        }
        if (!check_next(table, last, fault)) {
            return false;
        }
        i = last->next;
    }
    return vds_vring_fault(fault, VDS_RULE_S3,
                           "chain goes on after all %" PRIu32 " descriptors of the %s",
                           table->n, table->is_table ? "table" : "ring");
}

/* The table that ends a chain (2.7.5.3.2: any number of direct descriptors before). */
static bool follow_table(const Walk *walk, const VdsDesc *desc, GError **fault)
{
    VdsGuestArea area;
    Table table = {.area = &area, .is_table = true};
    VdsDesc last;

    if (desc->flags & VDS_DESC_F_NEXT) {
        return vds_vring_fault(fault, VDS_RULE_I4,
                               "flags 0x%x: INDIRECT together with NEXT", desc->flags);
    }
    return vds_walk_table(walk, desc, &area, &table.n, fault) &&
           vds_walk_end(&area,
                        read_desc(&table, 0, &last, fault) &&
                            follow(walk, &table, 0, &last, fault),
                        fault);
}

/* A chain of more than one, or a table; not inlined: most are one descriptor. */
G_NO_INLINE static bool follow_all(const Walk *walk, const Table *table, uint16_t head,
                                   VdsDesc first, GError **fault)
{
    return follow(walk, table, head, &first, fault) &&
           (!(first.flags & VDS_DESC_F_INDIRECT) || follow_table(walk, &first, fault));
}

static inline bool check_head(const VdsVring *ring, uint16_t head, GError **fault)
{
    if (head >= ring->num) {
        return vds_vring_fault(fault, VDS_RULE_S1,
                               "head %u is outside the ring of %" PRIu32, head,
                               ring->num);
    }
    if (ring->outstanding[head]) {
        return vds_vring_fault(fault, VDS_RULE_S6,
                               "head %u is available again before it was used", head);
    }
    return true;
}

G_ALWAYS_INLINE static inline bool collect(VdsVring *ring, Request *request,
                                           uint16_t head, GError **fault)
{
    const Table table = {.area = &ring->areas.desc, .n = ring->num};
    const Walk walk = {ring, request, MAX(ring->num, VDS_VRING_CHAIN_MAX)};
    VdsDesc first;

    if (!check_head(ring, head, fault) || !read_desc(&table, head, &first, fault)) {
        return false;
    }
    if (G_LIKELY(!(first.flags & (VDS_DESC_F_NEXT | VDS_DESC_F_INDIRECT)))
            ? !vds_walk_add(&walk, &first, head, fault)
            : !follow_all(&walk, &table, head, first, fault)) {
        return false;
    }
    request->pub.id = head;
    request->pub.slots = 1;
    return true;
}

G_ALWAYS_INLINE static inline bool split_take(VdsVring *ring, Request *request,
                                              GError **fault)
{
    uint16_t head = 0;

    if (!vds_guest_area_load_u16(
            &ring->areas.avail,
            SPLIT_RING + UINT64_C(2) * slot_of(ring, ring->last_avail), &head, fault) ||
        !collect(ring, request, head, fault)) {
        return false;
    }
    ring->last_avail++;
    ring->inuse++;
    return true;
}

static void split_put_back(VdsVring *ring, const Request *request)
{
    ring->last_avail--;
    ring->inuse--;
}

/* ---- used ---- */

G_ALWAYS_INLINE static inline bool split_push(VdsVring *ring, const Request *request,
                                              GError **fault)
{
    uint32_t slot = slot_of(ring, (uint16_t)(ring->used_idx + ring->unpublished));
    uint64_t offset = SPLIT_RING + (uint64_t)SPLIT_USED_ELEM * slot;

    if (!vds_guest_area_store_u32(&ring->areas.used, offset, request->pub.id, fault) ||
        !vds_guest_area_store_u32(&ring->areas.used, offset + 4, request->pub.written,
                                  fault)) {
        return false;
    }
    vds_vring_wrote_used(ring, offset, SPLIT_USED_ELEM);
    ring->unpublished++;
    return true;
}

static bool split_publish(VdsVring *ring, GError **fault)
{
    uint16_t old = ring->used_idx, now = (uint16_t)(old + ring->unpublished);

    /* Release: pairs with the driver's acquire of idx; the entries and what was written
     * into the buffers are seen with it. */
    if (!vds_guest_area_store_u16_release(&ring->areas.used, SPLIT_IDX, now, fault)) {
        return false;
    }
    vds_vring_wrote_used(ring, SPLIT_IDX, sizeof(now));
    ring->used_idx = now;
    ring->inuse -= ring->unpublished;
    ring->unpublished = 0;
    /* After half the index space the comparison with the event would be ambiguous. */
    if ((int16_t)(now - ring->signalled_used) < (uint16_t)(now - old)) {
        ring->signalled_used_valid = false;
    }
    return true;
}

/* virtio 1.2, 6.3 (legacy): an interrupt when the device has run out of buffers, also for
 * a driver that suppressed it. */
static bool ran_empty(const VdsVring *ring, bool *empty, GError **fault)
{
    uint16_t avail = 0;

    *empty = false;
    if (G_LIKELY(!ring->notify_on_empty) || ring->inuse > 0) {
        return true;
    }
    if (!vds_guest_area_load_u16(&ring->areas.avail, SPLIT_IDX, &avail, fault)) {
        return false;
    }
    *empty = avail == ring->last_avail;
    return true;
}

static bool split_should_interrupt(VdsVring *ring, bool *interrupt, GError **fault)
{
    uint16_t word = 0, old = ring->signalled_used;
    bool valid = ring->signalled_used_valid, empty;

    if (!ran_empty(ring, &empty, fault)) {
        return false;
    }
    if (!ring->event_idx) {
        if (!vds_guest_area_load_u16(&ring->areas.avail, SPLIT_FLAGS, &word, fault)) {
            return false;
        }
        *interrupt = empty || !(word & SPLIT_NO_INTERRUPT);
        return true;
    }
    if (!vds_guest_area_load_u16(&ring->areas.avail, split_used_event(ring->num), &word,
                                 fault)) {
        return false;
    }
    ring->signalled_used = ring->used_idx;
    ring->signalled_used_valid = true;
    *interrupt = empty || !valid || split_event_passed(word, ring->used_idx, old);
    return true;
}

static bool store_used(VdsVring *ring, uint64_t offset, uint16_t word, GError **fault)
{
    bool ok = vds_guest_area_store_u16(&ring->areas.used, offset, word, fault);

    vds_vring_wrote_used(ring, offset, sizeof(word));
    return ok;
}

static bool split_arm(VdsVring *ring, GError **fault)
{
    if (!ring->event_idx) {
        return store_used(ring, SPLIT_FLAGS, 0, fault);
    }
    return store_used(ring, split_avail_event(ring->num), ring->last_avail, fault);
}

/* With EVENT_IDX flags stay 0 (2.7.7.1); the event left behind spares the kicks. */
static bool split_disarm(VdsVring *ring, GError **fault)
{
    return ring->event_idx || store_used(ring, SPLIT_FLAGS, SPLIT_NO_NOTIFY, fault);
}

/* ---- batches ---- */

static bool split_take_some(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                            GError **fault)
{
    return requests_take(ring, split_has_available, split_take, requests, max, n, fault);
}

static bool split_push_some(VdsVring *ring, VdsRequest *const *requests, size_t n,
                            GError **fault)
{
    return requests_push(ring, split_push, requests, n, fault);
}

const VdsVringOps vds_vring_split_ops = {
    .has_available = split_has_available,
    .take_some = split_take_some,
    .put_back = split_put_back,
    .take_again = collect,
    .push_some = split_push_some,
    .publish = split_publish,
    .should_interrupt = split_should_interrupt,
    .arm = split_arm,
    .disarm = split_disarm,
};
