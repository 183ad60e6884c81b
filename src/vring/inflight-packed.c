/*
 * vring: requests in flight of a packed ring: a copy of each descriptor, since used ones
 * are written over them, in lists of entries of which those that are free are one.
 * vhost-user: inflight I/O tracking, packed virtqueue.
 *
 * What is published is noted twice, before and after: the two differ when a device ended
 * in between, and the ring's memory says on which side of it.
 */
#include "device-priv.h"

enum {
    HEADER = 32,
    FREE_HEAD = 12, /* le16, and old_free_head behind it */
    USED = 16,      /* le16 used_idx, le16 old_used_idx, u8 each wrap counter and old */
    ENTRY = 32,
    ENTRY_LIST = 0,    /* u8 inflight, padding, le16 next, le16 last, le16 num */
    ENTRY_NEXT = 2,    /* le16 */
    ENTRY_COUNTER = 8, /* le64 */
    ENTRY_DESC = 16,   /* le16 id, le16 flags, le32 len */
    ENTRY_ADDR = 24,   /* le64 */
};

typedef struct {
    uint16_t idx;
    bool wrap;
} Position;

static uint64_t entry_at(uint16_t entry, unsigned field)
{
    return HEADER + UINT64_C(1) * ENTRY * entry + field;
}

static void put_free(const VdsTracker *tracker, uint16_t head, uint16_t old)
{
    vds_tracker_put32(tracker, FREE_HEAD, head | (uint32_t)old << 16);
}

/* One store: so the two are never half of each. */
static void put_used(const VdsTracker *tracker, Position now, Position old)
{
    vds_tracker_put64(tracker, USED,
                      now.idx | (uint64_t)old.idx << 16 | (uint64_t)now.wrap << 32 |
                          (uint64_t)old.wrap << 40);
}

static Position used_of(const VdsVring *ring)
{
    return (Position){ring->used_idx, ring->used_wrap};
}

/* All entries that `claimed` leaves, in one list. */
static void make_free_list(VdsVring *ring, const bool *claimed)
{
    VdsTracker *tracker = ring->tracker;
    uint16_t head = (uint16_t)tracker->n_entries;

    for (uint32_t i = tracker->n_entries; i-- > 0;) {
        if (!claimed || !claimed[i]) {
            tracker->next[i] = head;
            vds_tracker_put16(tracker, entry_at((uint16_t)i, ENTRY_NEXT), head);
            head = (uint16_t)i;
        }
    }
    tracker->free_head = head;
    put_free(tracker, head, head);
}

static void packed_init(VdsVring *ring)
{
    make_free_list(ring, NULL);
    put_used(ring->tracker, used_of(ring), used_of(ring));
}

/* ---- after another device ---- */

/* Was the slot at that position written over by the device? */
static bool is_used(const VdsVring *ring, Position at)
{
    uint64_t word1 = 0;

    vds_guest_area_load_u64(&ring->areas.desc, UINT64_C(16) * at.idx + 8, &word1, NULL);
    return packed_state(word1) != packed_avail_flags(at.wrap);
}

static bool commit_or_roll_back(VdsVring *ring, uint16_t *free_head, GError **error)
{
    const VdsTracker *tracker = ring->tracker;
    uint64_t used = vds_tracker_get64(tracker, USED);
    Position now = {(uint16_t)used, (used >> 32) & 1};
    Position old = {(uint16_t)(used >> 16), (used >> 40) & 1};

    if (now.idx >= ring->num || old.idx >= ring->num) {
        return vds_tracker_fault(error, "used positions %u and %u in a ring of %" PRIu32,
                                 now.idx, old.idx, ring->num);
    }
    *free_head = vds_tracker_get16(tracker, FREE_HEAD);
    if ((now.idx != old.idx || now.wrap != old.wrap) && !is_used(ring, old)) {
        now = old;
        *free_head = vds_tracker_get16(tracker, FREE_HEAD + 2);
    } else if (now.idx == old.idx && now.wrap == old.wrap) {
        *free_head = vds_tracker_get16(tracker, FREE_HEAD + 2);
    }
    /* The list first: with a position that is settled, it is that of the old head. */
    put_free(tracker, *free_head, *free_head);
    put_used(tracker, now, now);
    ring->used_idx = now.idx;
    ring->used_wrap = now.wrap;
    return true;
}

/* Nothing in the free list is in flight, whatever its flag says. */
static void clear_free(const VdsTracker *tracker, uint16_t entry)
{
    for (uint32_t i = 0; i < tracker->n_entries && entry < tracker->n_entries; i++) {
        vds_tracker_put16(tracker, entry_at(entry, ENTRY_LIST), 0);
        entry = vds_tracker_get16(tracker, entry_at(entry, ENTRY_NEXT));
    }
}

/* The list of a request; each entry belongs to one at most. */
static bool claim(VdsTracker *tracker, uint16_t head, uint16_t n, bool *claimed,
                  GError **error)
{
    uint16_t entry = head;

    for (uint32_t i = 0; i < n; i++) {
        if (entry >= tracker->n_entries || claimed[entry]) {
            return vds_tracker_fault(error, "entry %u of a list from %u on", entry, head);
        }
        claimed[entry] = true;
        tracker->last[head] = entry;
        tracker->next[entry] = vds_tracker_get16(tracker, entry_at(entry, ENTRY_NEXT));
        entry = tracker->next[entry];
    }
    return true;
}

/* Used slots behind the first of a batch are written before it.  What of them was never
 * to be seen must not be come upon behind the batches that follow, by the driver or by
 * who asks whether one of these was published. */
static void unwrite_used(const VdsVring *ring)
{
    Position at = used_of(ring);

    for (uint32_t i = 0; i < ring->inuse; i++) {
        if (is_used(ring, at)) {
            vds_guest_area_store_u64(&ring->areas.desc, UINT64_C(16) * at.idx + 8,
                                     packed_word(0, 0, packed_avail_flags(at.wrap)),
                                     NULL);
            vds_vring_wrote_slot(ring, at.idx);
        }
        packed_advance(ring->num, 1, &at.idx, &at.wrap);
    }
}

static bool packed_recover(VdsVring *ring, GError **error)
{
    VdsTracker *tracker = ring->tracker;
    g_autofree bool *claimed = g_new0(bool, tracker->n_entries);
    uint16_t free_head = 0;

    if (!commit_or_roll_back(ring, &free_head, error)) {
        return false;
    }
    clear_free(tracker, free_head);
    for (uint32_t i = 0; i < tracker->n_entries; i++) {
        uint64_t list = vds_tracker_get64(tracker, entry_at((uint16_t)i, ENTRY_LIST));
        uint16_t n = (uint16_t)(list >> 48);

        if (!(list & 0xff)) {
            continue;
        }
        if (n == 0 || ring->inuse + n > ring->num) {
            return vds_tracker_fault(
                error, "%u slots in flight besides %" PRIu32 " in a ring of %" PRIu32, n,
                ring->inuse, ring->num);
        }
        if (!claim(tracker, (uint16_t)i, n, claimed, error)) {
            return false;
        }
        ring->inuse += n;
        vds_tracker_add(
            tracker,
            &(InFlight){vds_tracker_get64(tracker, entry_at((uint16_t)i, ENTRY_COUNTER)),
                        (uint16_t)i, n});
    }
    make_free_list(ring, claimed);
    unwrite_used(ring);
    ring->last_avail = ring->used_idx;
    ring->avail_wrap = ring->used_wrap;
    packed_advance(ring->num, ring->inuse, &ring->last_avail, &ring->avail_wrap);
    ring->shadow_avail = ring->last_avail;
    return true;
}

VdsDesc vds_tracker_packed_desc(const VdsTracker *tracker, uint16_t entry)
{
    uint64_t word = vds_tracker_get64(tracker, entry_at(entry, ENTRY_DESC));

    return (VdsDesc){.addr = vds_tracker_get64(tracker, entry_at(entry, ENTRY_ADDR)),
                     .len = (uint32_t)(word >> 32),
                     .next = (uint16_t)word,
                     .flags = (uint16_t)(word >> 16)};
}

/* ---- at work ---- */

static void put_list(const VdsTracker *tracker, uint16_t head, uint16_t n)
{
    vds_tracker_put64(tracker, entry_at(head, ENTRY_LIST),
                      UINT64_C(1) | (uint64_t)tracker->next[head] << 16 |
                          (uint64_t)tracker->last[head] << 32 | (uint64_t)n << 48);
}

/* The copies lie in the free list until its head moves: then the request is in flight. */
static void packed_take(VdsVring *ring, Request *request)
{
    VdsTracker *tracker = ring->tracker;
    uint16_t head = tracker->free_head, entry = head;

    for (uint32_t i = 0; i < request->pub.slots; i++) {
        const VdsDesc *desc = &tracker->descs[i];

        vds_tracker_put64(tracker, entry_at(entry, ENTRY_DESC),
                          desc->next | (uint64_t)desc->flags << 16 |
                              (uint64_t)desc->len << 32);
        vds_tracker_put64(tracker, entry_at(entry, ENTRY_ADDR), desc->addr);
        tracker->last[head] = entry;
        entry = tracker->next[entry];
    }
    vds_tracker_put64(tracker, entry_at(head, ENTRY_COUNTER), tracker->counter++);
    put_list(tracker, head, request->pub.slots);
    tracker->free_head = entry;
    put_free(tracker, entry, entry);
    request->entry = head;
}

/* To the head of the free list. */
static void give_entries(VdsTracker *tracker, uint16_t head)
{
    uint16_t last = tracker->last[head];

    tracker->next[last] = tracker->free_head;
    vds_tracker_put16(tracker, entry_at(last, ENTRY_NEXT), tracker->free_head);
    tracker->free_head = head;
}

/* In the free list its flag does not matter, so it goes last. */
static void packed_put_back(VdsVring *ring, const Request *request)
{
    VdsTracker *tracker = ring->tracker;

    give_entries(tracker, request->entry);
    put_free(tracker, tracker->free_head, tracker->free_head);
    vds_tracker_put16(tracker, entry_at(request->entry, ENTRY_LIST), 0);
}

static void packed_before(VdsVring *ring)
{
    VdsTracker *tracker = ring->tracker;
    Position now = used_of(ring);
    uint16_t old = tracker->free_head;

    for (uint32_t i = 0; i < tracker->n_batch; i++) {
        give_entries(tracker, tracker->batch[i]);
    }
    put_free(tracker, tracker->free_head, old);
    packed_advance(ring->num, ring->unpublished, &now.idx, &now.wrap);
    put_used(tracker, now, used_of(ring));
}

static void packed_after(VdsVring *ring)
{
    VdsTracker *tracker = ring->tracker;

    for (uint32_t i = 0; i < tracker->n_batch; i++) {
        vds_tracker_put16(tracker, entry_at(tracker->batch[i], ENTRY_LIST), 0);
    }
    put_free(tracker, tracker->free_head, tracker->free_head);
    put_used(tracker, used_of(ring), used_of(ring));
}

const VdsTrackerOps vds_tracker_packed_ops = {
    .header = HEADER,
    .entry = ENTRY,
    .init = packed_init,
    .recover = packed_recover,
    .take = packed_take,
    .put_back = packed_put_back,
    .before = packed_before,
    .after = packed_after,
};
