/*
 * vring: the region that remembers requests in flight, as far as the two formats have it
 * in common: its shape, its memory, and what of it a ring has to do again.
 *
 * It is the front-end's, so nothing in it is believed; what was written is not read back.
 * vhost-user: GET_INFLIGHT_FD, SET_INFLIGHT_FD, inflight I/O tracking.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "device-priv.h"

enum { QUEUE_ALIGN = 64 };

struct VdsInflight {
    atomic_uint refs;
    VdsInflightShape shape;
    uint64_t queue_len; /* bytes */
    VdsGuestMap *map;   /* of the region, from 0 */
};

/* ---- the region ---- */

static const VdsTrackerOps *ops_of(bool packed)
{
    return packed ? &vds_tracker_packed_ops : &vds_tracker_split_ops;
}

static uint64_t queue_len(const VdsInflightShape *shape)
{
    const VdsTrackerOps *ops = ops_of(shape->packed);
    uint64_t len = ops->header + ops->entry * shape->queue_size;

    return (len + QUEUE_ALIGN - 1) / QUEUE_ALIGN * QUEUE_ALIGN;
}

bool vds_tracker_fault(GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDS_VRING_ERROR, VDS_VRING_ERROR_INFLIGHT, "V8: %s", text);
    return false;
}

bool vds_inflight_get_len(const VdsInflightShape *shape, uint64_t *len, GError **error)
{
    if (shape->n_queues == 0 || shape->queue_size == 0 ||
        shape->queue_size > VDS_VRING_MAX_NUM) {
        return vds_tracker_fault(error, "%u queues of %u in flight: expected 1 to %d",
                                 shape->n_queues, shape->queue_size, VDS_VRING_MAX_NUM);
    }
    *len = queue_len(shape) * shape->n_queues;
    return true;
}

int vds_inflight_create(const VdsInflightShape *shape, GError **error)
{
    VDS_AUTO_FD fd = -1;
    uint64_t len = 0;

    if (!vds_inflight_get_len(shape, &len, error)) {
        return -1;
    }
    fd = memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)len) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_MAP,
                    "memory for requests in flight: %s", g_strerror(errno));
        return -1;
    }
    return vds_fd_steal(&fd);
}

VdsInflight *vds_inflight_new(const VdsInflightShape *shape, const VdsGuestRegion *where,
                              GError **error)
{
    const VdsGuestRegion region = {.len = where->len,
                                   .fd = where->fd,
                                   .offset = where->offset,
                                   .share = where->share};
    g_autoptr(VdsGuestMap) map = NULL;
    VdsInflight *inflight;
    uint64_t needed = 0;

    if (!vds_inflight_get_len(shape, &needed, error)) {
        return NULL;
    }
    if (where->len < needed) {
        vds_tracker_fault(error,
                          "%u queues of %u in flight need %" PRIu64
                          " bytes, and there are %" PRIu64,
                          shape->n_queues, shape->queue_size, needed, where->len);
        return NULL;
    }
    if (where->offset % 8 != 0) {
        vds_tracker_fault(error, "requests in flight at offset %" PRIu64, where->offset);
        return NULL;
    }
    map = vds_guest_map_new_writable(&region, 1, error);
    if (!map) {
        return NULL;
    }
    inflight = g_new0(VdsInflight, 1);
    atomic_init(&inflight->refs, 1);
    inflight->shape = *shape;
    inflight->queue_len = queue_len(shape);
    inflight->map = g_steal_pointer(&map);
    return inflight;
}

VdsInflight *vds_inflight_ref(VdsInflight *inflight)
{
    if (inflight) {
        atomic_fetch_add_explicit(&inflight->refs, 1, memory_order_relaxed);
    }
    return inflight;
}

void vds_inflight_unref(VdsInflight *inflight)
{
    if (inflight &&
        atomic_fetch_sub_explicit(&inflight->refs, 1, memory_order_acq_rel) == 1) {
        vds_guest_map_unref(inflight->map);
        g_free(inflight);
    }
}

/* ---- words: what cannot be had any more reads as 0, and is nobody's but the front-end's
 * loss ---- */

uint16_t vds_tracker_get16(const VdsTracker *tracker, uint64_t offset)
{
    uint16_t word = 0;

    vds_guest_area_load_u16(&tracker->area, offset, &word, NULL);
    return word;
}

uint64_t vds_tracker_get64(const VdsTracker *tracker, uint64_t offset)
{
    uint64_t word = 0;

    vds_guest_area_load_u64(&tracker->area, offset, &word, NULL);
    return word;
}

/* Releases, as are the ring's own: none overtakes another. */
void vds_tracker_put16(const VdsTracker *tracker, uint64_t offset, uint16_t word)
{
    vds_guest_area_store_u16_release(&tracker->area, offset, word, NULL);
}

void vds_tracker_put32(const VdsTracker *tracker, uint64_t offset, uint32_t word)
{
    vds_guest_area_store_u32_release(&tracker->area, offset, word, NULL);
}

void vds_tracker_put64(const VdsTracker *tracker, uint64_t offset, uint64_t word)
{
    vds_guest_area_store_u64_release(&tracker->area, offset, word, NULL);
}

/* ---- a ring's part ---- */

void vds_tracker_add(VdsTracker *tracker, const InFlight *request)
{
    tracker->again[tracker->n_again++] = *request;
    tracker->counter = MAX(tracker->counter, request->counter + 1);
}

const InFlight *vds_tracker_peek(const VdsTracker *tracker)
{
    return tracker && tracker->n_taken < tracker->n_again
               ? &tracker->again[tracker->n_taken]
               : NULL;
}

static int compare_counter(const void *a, const void *b)
{
    const InFlight *left = a, *right = b;

    return (left->counter > right->counter) - (left->counter < right->counter);
}

void vds_tracker_free(VdsTracker *tracker)
{
    if (tracker) {
        vds_inflight_unref(tracker->inflight);
        g_free(tracker->again);
        g_free(tracker->batch);
        g_free(tracker->next);
        g_free(tracker->last);
        g_free(tracker->descs);
        g_free(tracker);
    }
}

static VdsTracker *tracker_new(const VdsVring *ring, VdsInflight *inflight)
{
    VdsTracker *tracker = g_new0(VdsTracker, 1);
    uint32_t n = inflight->shape.queue_size;

    tracker->ops = ops_of(inflight->shape.packed);
    tracker->inflight = vds_inflight_ref(inflight);
    tracker->n_entries = n;
    tracker->again = g_new(InFlight, n);
    tracker->batch = g_new(uint16_t, ring->num);
    if (inflight->shape.packed) {
        tracker->next = g_new(uint16_t, n);
        tracker->last = g_new(uint16_t, n);
        tracker->descs = g_new(VdsDesc, ring->num);
    }
    return tracker;
}

static bool recover(VdsVring *ring, GError **error)
{
    VdsTracker *tracker = ring->tracker;
    uint16_t version = vds_tracker_get16(tracker, TRACK_VERSION);
    uint16_t desc_num = vds_tracker_get16(tracker, TRACK_DESC_NUM);

    if (version == 0) { /* nobody was here before */
        tracker->ops->init(ring);
        vds_tracker_put16(tracker, TRACK_DESC_NUM, (uint16_t)tracker->n_entries);
        vds_tracker_put16(tracker, TRACK_VERSION, TRACK_VERSION_1);
        return true;
    }
    if (version != TRACK_VERSION_1 || desc_num != tracker->n_entries) {
        return vds_tracker_fault(error,
                                 "requests in flight of version %u, in queues of %u:"
                                 " expected version 1, and %" PRIu32,
                                 version, desc_num, tracker->n_entries);
    }
    if (!tracker->ops->recover(ring, error)) {
        return false;
    }
    qsort(tracker->again, tracker->n_again, sizeof(tracker->again[0]), compare_counter);
    return true;
}

bool vds_vring_set_inflight(VdsVring *ring, VdsInflight *inflight, unsigned n,
                            GError **error)
{
    const VdsInflightShape *shape = &inflight->shape;

    g_assert(!ring->tracker && ring->inuse == 0);
    if (n >= shape->n_queues || ring->num > shape->queue_size ||
        shape->packed != (ring->ops == &vds_vring_packed_ops)) {
        return vds_tracker_fault(error,
                                 "queue %u, a %s ring of %" PRIu32
                                 ", and room for %u queues of %u in flight, %s",
                                 n, shape->packed ? "split" : "packed", ring->num,
                                 shape->n_queues, shape->queue_size,
                                 shape->packed ? "packed" : "split");
    }
    ring->tracker = tracker_new(ring, inflight);
    if (!vds_guest_area_init(&ring->tracker->area, inflight->map, n * inflight->queue_len,
                             inflight->queue_len, 8, error) ||
        !recover(ring, error)) {
        g_clear_pointer(&ring->tracker, vds_tracker_free);
        return false;
    }
    return true;
}
