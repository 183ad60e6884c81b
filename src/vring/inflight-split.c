/*
 * vring: requests in flight of a split ring: a counter and a flag by head, and the batch
 * that was published last as a list.  vhost-user: inflight I/O tracking, split virtqueue.
 */
#include "device-priv.h"

enum {
    HEADER = 16,
    LAST_BATCH_HEAD = 12, /* le16 */
    USED_IDX = 14,        /* le16 */
    ENTRY = 16,
    ENTRY_INFLIGHT = 0, /* u8, and padding behind it */
    ENTRY_NEXT = 6,     /* le16 */
    ENTRY_COUNTER = 8,  /* le64 */
};

static uint64_t entry_at(uint16_t head, unsigned field)
{
    return HEADER + UINT64_C(1) * ENTRY * head + field;
}

/* The word in memory counts, whatever the front-end said. */
static uint16_t read_used_idx(const VdsVring *ring)
{
    uint16_t idx = ring->used_idx;

    vds_guest_area_load_u16(&ring->areas.used, SPLIT_IDX, &idx, NULL);
    return idx;
}

static void split_init(VdsVring *ring)
{
    ring->used_idx = read_used_idx(ring);
    vds_tracker_put16(ring->tracker, USED_IDX, ring->used_idx);
}

/* The last batch was published, and perhaps not noted as such. */
static bool finish_batch(const VdsVring *ring, uint16_t n, GError **error)
{
    const VdsTracker *tracker = ring->tracker;
    uint16_t head = vds_tracker_get16(tracker, LAST_BATCH_HEAD);

    for (uint16_t i = 0; i < n; i++) {
        if (head >= tracker->n_entries) {
            return vds_tracker_fault(error, "a batch with head %u", head);
        }
        vds_tracker_put16(tracker, entry_at(head, ENTRY_INFLIGHT), 0);
        head = vds_tracker_get16(tracker, entry_at(head, ENTRY_NEXT));
    }
    return true;
}

/* A ring that has begun anew behind the region's back. */
static void forget_all(const VdsVring *ring)
{
    for (uint32_t head = 0; head < ring->tracker->n_entries; head++) {
        vds_tracker_put16(ring->tracker, entry_at((uint16_t)head, ENTRY_INFLIGHT), 0);
    }
}

static bool split_recover(VdsVring *ring, GError **error)
{
    VdsTracker *tracker = ring->tracker;
    uint16_t used = read_used_idx(ring);
    uint16_t batch = (uint16_t)(used - vds_tracker_get16(tracker, USED_IDX));

    if (batch > ring->num) {
        forget_all(ring);
    } else if (!finish_batch(ring, batch, error)) {
        return false;
    }
    vds_tracker_put16(tracker, USED_IDX, used);
    for (uint16_t head = 0; head < ring->num; head++) {
        if (vds_tracker_get16(tracker, entry_at(head, ENTRY_INFLIGHT)) & 0xff) {
            vds_tracker_add(
                tracker,
                &(InFlight){vds_tracker_get64(tracker, entry_at(head, ENTRY_COUNTER)),
                            head, 1});
        }
    }
    tracker->last_batch_head = vds_tracker_get16(tracker, LAST_BATCH_HEAD);
    ring->used_idx = used;
    ring->last_avail = ring->shadow_avail = (uint16_t)(used + tracker->n_again);
    ring->inuse = tracker->n_again;
    return true;
}

static void split_take(VdsVring *ring, Request *request)
{
    VdsTracker *tracker = ring->tracker;

    request->entry = request->pub.id;
    vds_tracker_put64(tracker, entry_at(request->entry, ENTRY_COUNTER),
                      tracker->counter++);
    vds_tracker_put16(tracker, entry_at(request->entry, ENTRY_INFLIGHT), 1);
}

static void split_put_back(VdsVring *ring, const Request *request)
{
    vds_tracker_put16(ring->tracker, entry_at(request->entry, ENTRY_INFLIGHT), 0);
}

static void split_before(VdsVring *ring)
{
    VdsTracker *tracker = ring->tracker;

    for (uint32_t i = 0; i < tracker->n_batch; i++) {
        vds_tracker_put16(tracker, entry_at(tracker->batch[i], ENTRY_NEXT),
                          tracker->last_batch_head);
        tracker->last_batch_head = tracker->batch[i];
        vds_tracker_put16(tracker, LAST_BATCH_HEAD, tracker->last_batch_head);
    }
}

static void split_after(VdsVring *ring)
{
    VdsTracker *tracker = ring->tracker;

    for (uint32_t i = 0; i < tracker->n_batch; i++) {
        vds_tracker_put16(tracker, entry_at(tracker->batch[i], ENTRY_INFLIGHT), 0);
    }
    vds_tracker_put16(tracker, USED_IDX, ring->used_idx);
}

const VdsTrackerOps vds_tracker_split_ops = {
    .header = HEADER,
    .entry = ENTRY,
    .init = split_init,
    .recover = split_recover,
    .take = split_take,
    .put_back = split_put_back,
    .before = split_before,
    .after = split_after,
};
