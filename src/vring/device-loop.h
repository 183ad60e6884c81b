/*
 * vring: what happens to each request on its way through the device's side: recycled,
 * known by id while it is out, and kept by age where requests go back in order.
 *
 * Inline, so that each format's steps become one loop over a batch.  Refuses to know the
 * formats.
 */
#pragma once

#include "device-priv.h"

/* ---- recycling ---- */

static inline Request *request_new(VdsVring *ring)
{
    Request *request = ring->pool;

    if (G_UNLIKELY(!request)) {
        request = g_malloc0(sizeof(Request) + ring->extra);
        request->ring = ring;
        request->pub.extra = request + 1;
        return request;
    }
    ring->pool = request->next;
    request->pub = (VdsRequest){.extra = request->pub.extra, .spans = request->spans};
    request->next = request->prev = NULL;
    request->done = request->again = false;
    return request;
}

static inline void request_recycle(VdsVring *ring, Request *request)
{
    if (G_UNLIKELY(ring->n_spans > VDS_VRING_SPANS_KEEP)) {
        vds_request_shrink(request);
    }
    request->next = ring->pool;
    ring->pool = request;
}

/* By id, and by age where they go back in that order. */
static inline void request_enlist(VdsVring *ring, Request *request)
{
    ring->outstanding[request->pub.id] = request;
    request->behind = ring->last_avail;
    if (G_UNLIKELY(ring->in_order)) {
        request->prev = ring->youngest;
        *(ring->youngest ? &ring->youngest->next : &ring->oldest) = request;
        ring->youngest = request;
    }
}

static inline void request_delist(VdsVring *ring, Request *request)
{
    ring->outstanding[request->pub.id] = NULL;
    if (G_UNLIKELY(ring->in_order)) {
        *(request->prev ? &request->prev->next : &ring->oldest) = request->next;
        *(request->next ? &request->next->prev : &ring->youngest) = request->prev;
    }
}

/* ---- loops ---- */

/* Appends to requests[*n] what is available, until there are max. */
static inline bool requests_take(VdsVring *ring, HasAvailableFunc has_available,
                                 TakeFunc take, VdsRequest **requests, size_t max,
                                 size_t *n, GError **fault)
{
    bool available = false;

    while (*n < max) {
        Request *request;

        if (vds_vring_is_full(ring)) {
            return true;
        }
        if (!has_available(ring, &available, fault)) {
            return false;
        }
        if (!available) {
            return true;
        }
        request = request_new(ring);
        if (G_UNLIKELY(!take(ring, request, fault))) {
            request_recycle(ring, request);
            return false;
        }
        if (G_UNLIKELY(ring->tracker)) {
            ring->tracker->ops->take(ring, request);
        }
        request_enlist(ring, request);
        requests[(*n)++] = &request->pub;
    }
    return true;
}

/* Writes a used entry and recycles the request, whatever became of it. */
static inline bool request_push(VdsVring *ring, PushFunc push, Request *request,
                                GError **fault)
{
    bool ok = push(ring, request, fault);

    if (G_UNLIKELY(ring->tracker) && ok) {
        ring->tracker->batch[ring->tracker->n_batch++] = request->entry;
    }
    request_delist(ring, request);
    request_recycle(ring, request);
    return ok;
}

/* All of them; the first fault is the one that is told. */
static inline bool requests_push(VdsVring *ring, PushFunc push,
                                 VdsRequest *const *requests, size_t n, GError **fault)
{
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        ok = request_push(ring, push, (Request *)requests[i], ok ? fault : NULL) && ok;
    }
    return ok;
}
