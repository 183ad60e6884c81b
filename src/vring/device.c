/*
 * vring: the device's side, as far as the two formats have it in common.
 *
 * Refuses to know where a format keeps its indices in memory.
 */
#include "device-loop.h"

/* ---- requests ---- */

void vds_request_free(VdsRequest *request)
{
    Request *own = (Request *)request;

    if (own) {
        g_free(own->spans);
        g_free(own);
    }
}

/* ---- collecting a chain ---- */

void vds_walk_grow(Request *request)
{
    uint32_t cap = MAX(8, request->cap * 2);

    request->ring->n_spans += cap - request->cap;
    request->cap = cap;
    request->spans = g_renew(VdsSpan, request->spans, request->cap);
    request->pub.spans = request->spans;
}

void vds_request_shrink(Request *request)
{
    request->ring->n_spans -= request->cap;
    request->cap = 0;
    g_clear_pointer(&request->spans, g_free);
    request->pub.spans = NULL;
}

bool vds_walk_refuse(const Walk *walk, const VdsDesc *desc, uint32_t i, GError **fault)
{
    const VdsRequest *request = &walk->request->pub;

    if (desc->len == 0) {
        return vds_vring_fault(fault, VDS_RULE_S10, "descriptor %" PRIu32 " has length 0",
                               i);
    }
    if (!(desc->flags & VDS_DESC_F_WRITE) && request->n_in > 0) {
        return vds_vring_fault(fault, VDS_RULE_S9,
                               "descriptor %" PRIu32 " is readable and follows %" PRIu32
                               " writable",
                               i, request->n_in);
    }
    if (desc->len - 1 > UINT64_MAX - desc->addr) {
        return vds_vring_fault(fault, VDS_RULE_S11,
                               "descriptor %" PRIu32 ": buffer at 0x%" PRIx64
                               ", length %" PRIu32 ", ends beyond 2^64",
                               i, desc->addr, desc->len);
    }
    if (!vds_guest_map_has(walk->ring->map, desc->addr, desc->len)) {
        return vds_vring_fault(fault, VDS_RULE_S12,
                               "descriptor %" PRIu32 ": buffer at 0x%" PRIx64
                               ", length %" PRIu32 ", is not mapped",
                               i, desc->addr, desc->len);
    }
    if (request->out_bytes + request->in_bytes + desc->len > VDS_REQUEST_MAX) {
        return vds_vring_fault(fault, VDS_RULE_S13,
                               "descriptor %" PRIu32 " makes it %" PRIu64
                               " bytes, over 2^32",
                               i, request->out_bytes + request->in_bytes + desc->len);
    }
    return vds_vring_fault(fault, VDS_RULE_I6,
                           "chain has more than %" PRIu32 " descriptors", walk->limit);
}

bool vds_walk_table(const Walk *walk, const VdsDesc *desc, VdsGuestArea *table,
                    uint32_t *n, GError **fault)
{
    VdsVring *ring = walk->ring;

    if (!ring->indirect) {
        return vds_vring_fault(fault, VDS_RULE_I1,
                               "an indirect table, and VIRTIO_F_INDIRECT_DESC was not"
                               " negotiated");
    }
    *n = desc->len / VDS_DESC_SIZE;
    if (*n == 0 || desc->len % VDS_DESC_SIZE != 0 || *n > VDS_INDIRECT_MAX) {
        return vds_vring_fault(fault, VDS_RULE_I3,
                               "indirect table of %" PRIu32
                               " bytes is not 1 to %u descriptors of %u",
                               desc->len, VDS_INDIRECT_MAX, VDS_DESC_SIZE);
    }
    if (!vds_guest_window_area(&ring->window, table, desc->addr, desc->len, 8)) {
        return vds_vring_fault(fault, VDS_RULE_I5,
                               "indirect table at 0x%" PRIx64 ", length %" PRIu32
                               ", is not mapped",
                               desc->addr, desc->len);
    }
    return true;
}

bool vds_walk_end(const VdsGuestArea *table, bool ok, GError **fault)
{
    if (G_LIKELY(vds_guest_area_is_whole(table))) {
        return ok;
    }
    if (fault) {
        g_clear_error(fault);
    }
    return vds_guest_area_check(table, fault);
}

/* ---- the ring ---- */

void vds_vring_set_extra(VdsVring *ring, size_t bytes)
{
    g_assert(!ring->pool);
    ring->extra = bytes;
}

VdsVring *vds_vring_new(const VdsQueueState *setup, unsigned flags, GError **fault)
{
    g_autoptr(VdsVring) ring = g_new0(VdsVring, 1);

    if (!vds_vring_result(&ring->areas, vds_ring_areas_init(&ring->areas, setup, fault),
                          fault)) {
        return NULL;
    }
    ring->ops = setup->packed ? &vds_vring_packed_ops : &vds_vring_split_ops;
    ring->map = vds_guest_map_ref(setup->map);
    vds_guest_window_init(&ring->window, ring->map);
    ring->tells = vds_guest_map_is_logged(setup->map);
    ring->num = setup->num;
    ring->event_idx = setup->event_idx;
    ring->indirect = flags & VDS_VRING_INDIRECT;
    ring->in_order = flags & VDS_VRING_IN_ORDER;
    ring->notify_on_empty = !setup->packed && (flags & VDS_VRING_NOTIFY_ON_EMPTY);
    ring->notify = true;
    if (setup->has_last_avail) {
        ring->last_avail = ring->shadow_avail = setup->last_avail_idx;
        ring->used_idx = setup->used_idx;
    }
    ring->avail_wrap = !setup->has_wraps || setup->last_avail_wrap;
    ring->used_wrap = !setup->has_wraps || setup->used_wrap;
    if (setup->packed && (ring->last_avail >= ring->num || ring->used_idx >= ring->num)) {
        vds_vring_fault(fault, VDS_RULE_P4,
                        "positions %u and %u are outside the ring of %" PRIu32,
                        ring->last_avail, ring->used_idx, ring->num);
        return NULL;
    }
    ring->n_ids = ring->num;
    ring->outstanding = g_new0(Request *, ring->n_ids);
    return g_steal_pointer(&ring);
}

void vds_vring_widen_ids(VdsVring *ring)
{
    const uint32_t all = UINT16_MAX + 1;

    ring->outstanding = g_renew(Request *, ring->outstanding, all);
    memset(ring->outstanding + ring->n_ids, 0,
           (all - ring->n_ids) * sizeof(*ring->outstanding));
    ring->n_ids = all;
}

void vds_vring_abandon(VdsVring *ring)
{
    for (uint32_t id = 0; id < ring->n_ids; id++) {
        Request *request = ring->outstanding[id];

        ring->outstanding[id] = NULL;
        if (request && request->done) {
            vds_request_free(&request->pub);
        }
    }
    ring->oldest = ring->youngest = NULL;
    ring->n_spans = 0; /* those that the device still has are no longer the ring's */
    ring->was_full = false;
    for (const Request *request = ring->pool; request; request = request->next) {
        ring->n_spans += request->cap;
    }
}

void vds_vring_free(VdsVring *ring)
{
    if (!ring) {
        return;
    }
    vds_vring_abandon(ring);
    for (Request *request = ring->pool, *next; request; request = next) {
        next = request->next;
        vds_request_free(&request->pub);
    }
    vds_guest_map_unref(ring->map);
    vds_tracker_free(ring->tracker);
    g_free(ring->outstanding);
    g_free(ring);
}

/* Once a batch, behind what made it visible: buffers and words of the ring were marked.
 */
static void tell_log(const VdsVring *ring)
{
    if (G_UNLIKELY(ring->tells)) {
        vds_guest_map_tell_log(ring->map);
    }
}

/* Tells the driver to kick for last_avail, if it was not told yet. */
static bool arm(VdsVring *ring, GError **fault)
{
    if (ring->armed) {
        return true;
    }
    if (!ring->ops->arm(ring, fault)) {
        return false;
    }
    /* Pairs with the fence in vds_driver_ring_should_kick(): either the driver sees what
     * we ask for, or we see what it made available. */
    atomic_thread_fence(memory_order_seq_cst);
    ring->armed = true;
    tell_log(ring);
    return true;
}

/* What was in flight when another device ended comes first. */
static bool take_again(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                       GError **fault)
{
    const InFlight *known;

    while (*n < max && !vds_vring_is_full(ring) &&
           (known = vds_tracker_peek(ring->tracker))) {
        Request *request = request_new(ring);

        if (!ring->ops->take_again(ring, request, known->entry, fault)) {
            request_recycle(ring, request);
            return false;
        }
        request->again = true;
        request->entry = known->entry;
        ring->tracker->n_taken++;
        request_enlist(ring, request);
        requests[(*n)++] = &request->pub;
    }
    return true;
}

static bool take_some(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                      GError **fault)
{
    size_t before = *n;
    bool ok = ring->ops->take_some(ring, requests, max, n, fault);

    /* Without EVENT_IDX to be told is no matter of where. */
    ring->armed = ring->armed && (*n == before || !ring->event_idx);
    return ok;
}

/* An empty ring is armed and looked at once more. */
static bool pop_some(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                     GError **fault)
{
    if ((ring->tracker && !take_again(ring, requests, max, n, fault)) ||
        !take_some(ring, requests, max, n, fault)) {
        return false;
    }
    return *n == max || !ring->notify || ring->armed ||
           (arm(ring, fault) && take_some(ring, requests, max, n, fault));
}

bool vds_vring_pop_some(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                        GError **fault)
{
    bool ok;

    *n = 0;
    ok = pop_some(ring, requests, max, n, fault);
    if (G_UNLIKELY(!vds_ring_areas_are_whole(&ring->areas))) {
        /* What was read before the memory vanished, or out of the zeroes there, is no
         * request. */
        while (*n > 0) {
            vds_vring_unpop(ring, requests[--*n]);
        }
    }
    return vds_vring_result(&ring->areas, ok, fault);
}

bool vds_vring_pop(VdsVring *ring, VdsRequest **request, GError **fault)
{
    size_t n = 0;
    bool ok = vds_vring_pop_some(ring, request, 1, &n, fault);

    if (n == 0) {
        *request = NULL;
    }
    return ok;
}

static void put_back(VdsVring *ring, const Request *request)
{
    if (request->again) {
        ring->tracker->n_taken--;
        return;
    }
    ring->ops->put_back(ring, request);
    if (ring->tracker) {
        ring->tracker->ops->put_back(ring, request);
    }
}

void vds_vring_unpop(VdsVring *ring, VdsRequest *request)
{
    Request *own = (Request *)request;

    g_assert(own->ring == ring && ring->outstanding[request->id] == own && !own->done);
    g_assert(own->behind == ring->last_avail); /* nothing was popped behind it */
    request_delist(ring, own);
    put_back(ring, own);
    ring->armed = ring->armed && !ring->event_idx;
    request_recycle(ring, own);
}

/* Those that no older one keeps back. */
static bool push_in_order(VdsVring *ring, GError **fault)
{
    while (ring->oldest && ring->oldest->done) {
        VdsRequest *oldest = &ring->oldest->pub;

        if (!ring->ops->push_some(ring, &oldest, 1, fault)) {
            return false;
        }
    }
    return true;
}

bool vds_vring_push_some(VdsVring *ring, VdsRequest *const *requests, size_t n,
                         GError **fault)
{
    bool ok;

    for (size_t i = 0; i < n; i++) {
        Request *own = (Request *)requests[i];

        g_assert(own->ring == ring && !own->done &&
                 ring->outstanding[own->pub.id] == own);
        g_assert(own->pub.written <= own->pub.in_bytes);
        own->done = true;
        if (G_UNLIKELY(ring->in_order) && ring->n_spans > VDS_VRING_SPANS_KEEP) {
            vds_request_shrink(own); /* it may wait for an older one */
        }
    }
    ok = G_UNLIKELY(ring->in_order) ? push_in_order(ring, fault)
                                    : ring->ops->push_some(ring, requests, n, fault);
    /* Memory that vanished is asked for when the batch is published. */
    return G_LIKELY(ok) || vds_vring_result(&ring->areas, false, fault);
}

bool vds_vring_take_room(VdsVring *ring)
{
    if (G_LIKELY(!ring->was_full) || ring->n_spans >= VDS_VRING_SPANS_MAX) {
        return false;
    }
    ring->was_full = false;
    return true;
}

bool vds_vring_push(VdsVring *ring, VdsRequest *request, uint32_t written, GError **fault)
{
    request->written = written;
    return vds_vring_push_some(ring, &request, 1, fault);
}

/* What is in flight is known at every instruction in between. */
static bool publish(VdsVring *ring, GError **fault)
{
    VdsTracker *tracker = ring->tracker;

    if (G_LIKELY(!tracker)) {
        return ring->ops->publish(ring, fault);
    }
    tracker->ops->before(ring);
    if (!ring->ops->publish(ring, fault)) {
        return false;
    }
    tracker->ops->after(ring);
    tracker->n_batch = 0;
    return true;
}

bool vds_vring_notify(VdsVring *ring, bool *interrupt, GError **fault)
{
    bool wanted = false;

    *interrupt = false;
    if (ring->unpublished > 0 && !publish(ring, fault)) {
        return vds_vring_result(&ring->areas, false, fault);
    }
    ring->untold = false;
    tell_log(ring);
    /* Pairs with the fence in vds_driver_ring_get_used(): either we see what the driver
     * asks for, or it sees what we used. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!vds_vring_result(&ring->areas, ring->ops->should_interrupt(ring, &wanted, fault),
                          fault)) {
        return false;
    }
    *interrupt = wanted;
    return true;
}

bool vds_vring_show(VdsVring *ring, GError **fault)
{
    if (ring->unpublished == 0) {
        return true;
    }
    ring->untold = true;
    return vds_vring_result(&ring->areas, publish(ring, fault), fault);
}

bool vds_vring_publish(VdsVring *ring, bool *interrupt, GError **fault)
{
    *interrupt = false;
    return (ring->unpublished == 0 && !ring->untold) ||
           vds_vring_notify(ring, interrupt, fault);
}

bool vds_vring_set_notify(VdsVring *ring, bool enable, bool *more, GError **fault)
{
    bool available = false;

    ring->notify = enable;
    if (!enable) {
        ring->armed = false;
        return vds_vring_result(&ring->areas, ring->ops->disarm(ring, fault), fault);
    }
    if (!vds_vring_result(&ring->areas,
                          arm(ring, fault) &&
                              ring->ops->has_available(ring, &available, fault),
                          fault)) {
        return false;
    }
    if (more) {
        *more =
            !vds_vring_is_full(ring) && (available || vds_tracker_peek(ring->tracker));
    }
    return true;
}

bool vds_vring_has_available(VdsVring *ring, bool *available, GError **fault)
{
    bool ok = ring->ops->has_available(ring, available, fault);

    *available =
        (*available || vds_tracker_peek(ring->tracker)) && !vds_vring_is_full(ring);
    return vds_vring_result(&ring->areas, ok, fault);
}

static bool find_areas(const VdsVring *ring, const VdsQueueState *to, VdsRingAreas *areas,
                       GError **fault)
{
    VdsQueueState setup = {0};

    vds_vring_get_state(ring, &setup);
    setup.desc = to->desc;
    setup.avail = to->avail;
    setup.used = to->used;
    setup.map = to->map;
    return vds_vring_result(areas, vds_ring_areas_init(areas, &setup, fault), fault);
}

bool vds_vring_fits(const VdsVring *ring, const VdsQueueState *to, GError **fault)
{
    VdsRingAreas areas = {0};

    return find_areas(ring, to, &areas, fault);
}

bool vds_vring_move(VdsVring *ring, const VdsQueueState *to, GError **fault)
{
    VdsRingAreas areas = {0};

    if (!find_areas(ring, to, &areas, fault)) {
        return false;
    }
    ring->areas = areas;
    ring->armed = false; /* what was asked for may stand elsewhere */
    vds_guest_map_ref(to->map);
    vds_guest_map_unref(ring->map);
    ring->map = to->map;
    vds_guest_window_init(&ring->window, ring->map);
    ring->tells = vds_guest_map_is_logged(to->map);
    return true;
}

void vds_vring_set_log(VdsVring *ring, bool on, uint64_t gpa)
{
    ring->log = on;
    ring->log_gpa = gpa;
}

void vds_vring_get_state(const VdsVring *ring, VdsQueueState *state)
{
    state->packed = ring->ops == &vds_vring_packed_ops;
    state->big_endian = false;
    state->event_idx = ring->event_idx;
    state->num = ring->num;
    state->desc = ring->areas.desc.gpa;
    state->avail = ring->areas.avail.gpa;
    state->used = ring->areas.used.gpa;
    state->has_last_avail = state->has_shadow_avail = true;
    state->last_avail_idx = ring->last_avail;
    state->shadow_avail_idx = ring->shadow_avail;
    state->used_idx = ring->used_idx;
    state->has_wraps = state->packed;
    state->last_avail_wrap = ring->avail_wrap;
    state->used_wrap = ring->used_wrap;
    state->inuse = ring->inuse;
    state->signalled_used = ring->signalled_used;
    state->signalled_used_valid = ring->signalled_used_valid;
    state->map = ring->map;
}
