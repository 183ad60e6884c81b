/*
 * virtio: requests out of a queue and back into it, in batches.  Refuses to know ring
 * formats, and when a driver is told.  virtio 1.2, 2.6.
 */
#include "queue-priv.h"

enum { BATCH = 64 };

/* With the lock held, as all that pop and push call.  In the room that each request has
 * for it. */
static VdsIo *io_init(VdsVirtQueue *queue, VdsRequest *request)
{
    VdsIo *io = request->extra;

    io->out = (VdsStream){.io = io, .spans = request->spans, .total = request->out_bytes};
    io->in = (VdsStream){
        .io = io, .spans = request->spans + request->n_out, .total = request->in_bytes};
    io->user = NULL;
    io->queue = queue;
    io->request = request;
    io->epoch = queue->epoch;
    return io;
}

/* While handle runs, kicks are off and dispatch asks for the next one; elsewhere a pop
 * that comes back short has made sure that one will come. */
static size_t pop_requests(VdsVirtQueue *queue, VdsRequest **requests, size_t max,
                           GError **fault)
{
    size_t n = 0, got;
    bool more;

    do {
        if (!vds_vring_pop_some(queue->ring, requests + n, max - n, &got, fault)) {
            return n + got;
        }
        n += got;
        queue->found_empty = n < max;
        more = false;
        if (!queue->in_handle && !(n == max && queue->eager)) {
            queue_set_kicks(queue, n < max, &more, fault);
        }
    } while (n < max && more);
    return n;
}

static size_t pop_batch(VdsVirtQueue *queue, VdsIo **ios, size_t max, GError **fault)
{
    VdsRequest *requests[BATCH];
    size_t n = pop_requests(queue, requests, max, fault);

    for (size_t i = 0; i < n; i++) {
        ios[i] = io_init(queue, requests[i]);
    }
    queue->out += (uint32_t)n;
    return n;
}

/* Under load the lock is free for shorter than it takes to tell another processor: once a
 * batch a query that wants it goes first.  One that lost its processor is not waited for
 * again. */
static void let_queries_by(VdsVirtQueue *queue)
{
    if (!queue->had_patience ||
        atomic_load_explicit(&queue->visitors, memory_order_relaxed) == 0) {
        queue->had_patience = !vds_mutex_let_by(&queue->visitors);
    }
}

static size_t pop_some(VdsVirtQueue *queue, VdsIo **ios, size_t max, GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);
    size_t n = 0, got, asked;

    if (!queue->ring) {
        return 0;
    }
    do {
        asked = MIN(max - n, BATCH);
        got = pop_batch(queue, ios + n, asked, fault);
        n += got;
    } while (got == asked && n < max);
    return n;
}

/* How many more this call of handle may have; 0 makes it the other devices' turn.  The
 * clock is read once a pop, and not for the first one of a turn. */
static size_t grant(VdsVirtQueue *queue, size_t max)
{
    VdsTurn *turn = &queue->device->turn;

    if (turn->begun && vds_turn_is_over(turn)) {
        queue->budget = 0;
    }
    turn->begun = true;
    return MIN(max, queue->budget);
}

size_t vds_virt_queue_pop(VdsVirtQueue *queue, VdsIo **ios, size_t max)
{
    g_autoptr(GError) fault = NULL;
    size_t n;

    if (queue->in_handle) {
        max = grant(queue, max);
    }
    if (max == 0 || !queue_is_served(queue)) {
        return 0;
    }
    let_queries_by(queue);
    n = pop_some(queue, ios, max, &fault);
    if (n > 0 &&
        atomic_load_explicit(&queue->kicks, memory_order_relaxed) != VDS_KICKS_FOUND) {
        atomic_store_explicit(&queue->kicks, VDS_KICKS_FOUND, memory_order_relaxed);
    }
    if (queue->in_handle) {
        queue->budget -= (unsigned)n;
    }
    queue_report(queue, fault);
    return n;
}

bool vds_virt_queue_has_more(VdsVirtQueue *queue)
{
    g_autoptr(GError) fault = NULL;
    bool more = false;

    if (!queue_is_served(queue)) {
        return false;
    }
    pthread_mutex_lock(&queue->lock);
    if (queue->ring) {
        vds_vring_has_available(queue->ring, &more, &fault);
    }
    pthread_mutex_unlock(&queue->lock);
    queue_report(queue, fault);
    return more;
}

/* With the lock held: the ring was full, and nobody kicks for what is there. */
static void ask_if_room(VdsVirtQueue *queue)
{
    if (vds_vring_take_room(queue->ring)) {
        vds_virt_queue_ask_turn(queue);
    }
}

void vds_virt_queue_unpop(VdsVirtQueue *queue, VdsIo *io)
{
    VDS_LOCK_SCOPE(&queue->lock);

    if (io->epoch == queue->epoch) {
        vds_vring_unpop(queue->ring, io->request);
        ask_if_room(queue);
        queue->out--;
        queue->found_empty = false;
        queue->budget++;
    } else {
        vds_request_free(io->request);
    }
}

static void drain_task(void *user)
{
    vds_queue_drain(user);
}

/* With the lock held.  What is void is freed. */
static void push_batch(VdsVirtQueue *queue, VdsIo *const *ios, size_t n,
                       const uint64_t *written, GError **fault)
{
    VdsRequest *requests[BATCH];
    unsigned valid = 0;

    for (size_t i = 0; i < n; i++) {
        VdsRequest *request = ios[i]->request;
        uint64_t bytes = written ? written[i] : ios[i]->in.done;

        g_assert(bytes <= ios[i]->in.total);
        if (ios[i]->epoch == queue->epoch) {
            request->written = (uint32_t)bytes;
            requests[valid++] = request;
        } else {
            vds_request_free(request);
        }
    }
    if (valid > 0) {
        queue->unpublished = true;
        queue->out -= valid;
        vds_vring_push_some(queue->ring, requests, valid, *fault ? NULL : fault);
        ask_if_room(queue);
    }
}

/* `written` (nullable): what their streams say. */
static void push_some(VdsVirtQueue *queue, VdsIo *const *ios, size_t n,
                      const uint64_t *written)
{
    g_autoptr(GError) fault = NULL;
    unsigned before;
    bool last;

    pthread_mutex_lock(&queue->lock);
    before = queue->out;
    for (size_t i = 0; i < n; i += BATCH) { /* the first fault is the one that is told */
        push_batch(queue, ios + i, MIN(n - i, BATCH), written ? written + i : NULL,
                   &fault);
    }
    last = queue->out == 0 && before > 0 && queue->draining;
    pthread_mutex_unlock(&queue->lock);
    queue_report(queue, fault);
    if (last) {
        vds_io_thread_post(queue->device->thread, drain_task, queue);
    }
}

void vds_virt_queue_complete(VdsVirtQueue *queue, VdsIo *io, uint64_t written)
{
    push_some(queue, &io, 1, &written);
}

void vds_virt_queue_complete_all(VdsVirtQueue *queue, VdsIo *const *ios, size_t n)
{
    push_some(queue, ios, n, NULL);
}

void vds_virt_queue_drop(VdsVirtQueue *queue, VdsIo *io)
{
    VDS_LOCK_SCOPE(&queue->lock);

    g_assert(io->epoch != queue->epoch);
    vds_request_free(io->request);
}
