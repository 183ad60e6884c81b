/*
 * virtio: VdsVirtQueue, a ring with its lock, as a device sees it: requests come out and
 * go back in batches; kicks are asked for when they are needed; a fault of the driver
 * breaks the device.  Refuses to know ring formats.  virtio 1.2, 2.6 and 2.7.10.
 */
#include "device-priv.h"

enum { BATCH = 64 };

VdsVirtQueue *vds_queue_new(VdsVirtioDevice *device, unsigned n)
{
    VdsVirtQueue *queue = g_new0(VdsVirtQueue, 1);

    queue->device = device;
    queue->index = n;
    queue->eager = true;
    queue->kick_fd = -1;
    queue->call_fd = -1;
    pthread_mutex_init(&queue->lock, NULL);
    return queue;
}

void vds_queue_free(VdsVirtQueue *queue)
{
    if (!queue) {
        return;
    }
    vds_vring_free(queue->ring);
    vds_fd_close(&queue->kick_fd);
    vds_fd_close(&queue->call_fd);
    pthread_mutex_destroy(&queue->lock);
    g_free(queue);
}

static void set_ring(VdsVirtQueue *queue, VdsVring *ring, VdsGuestMap *map)
{
    VDS_LOCK_SCOPE(&queue->lock);

    vds_vring_free(queue->ring);
    if (ring) {
        vds_vring_set_extra(ring, sizeof(VdsIo));
    }
    queue->ring = ring;
    vds_guest_window_init(&queue->window, map);
    queue->epoch++;
    queue->out = 0;
    queue->notify = true; /* as rings start */
    queue->unpublished = false;
}

void vds_queue_replace(VdsVirtQueue *queue, VdsVring *ring, VdsGuestMap *map)
{
    vds_queue_end_stops(queue);
    set_ring(queue, ring, map);
}

void vds_queue_void(VdsVirtQueue *queue)
{
    vds_queue_end_stops(queue);
    pthread_mutex_lock(&queue->lock);
    if (queue->ring) {
        vds_vring_abandon(queue->ring);
    }
    queue->epoch++;
    queue->out = 0;
    queue->unpublished = false;
    pthread_mutex_unlock(&queue->lock);
}

bool vds_queue_move(VdsVirtQueue *queue, const VdsQueueState *setup, GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);

    if (!vds_vring_move(queue->ring, setup, fault)) {
        return false;
    }
    vds_vring_set_log(queue->ring, queue->setup.log, queue->setup.log_used);
    vds_guest_window_init(&queue->window, setup->map);
    return true;
}

void vds_queue_reset_words(VdsVirtQueue *queue)
{
    queue->num = 0;
    queue->setup = (VdsQueueSetup){0};
    queue->has_setup = false;
    queue->shown = false;
    queue->enabled = false;
}

void vds_queue_get_state(VdsVirtQueue *queue, VdsQueueState *state)
{
    if (queue->num != 0) {
        state->num = queue->num;
    }
    if (queue->shown) {
        state->desc = queue->setup.desc;
        state->avail = queue->setup.avail;
        state->used = queue->setup.used;
    }
    state->has_vhost = queue->has_vhost;
    state->vhost = queue->vhost;
    vds_mutex_lock_soon(&queue->lock); /* held for one batch, and often */
    if (queue->ring) {
        vds_vring_get_state(queue->ring, state);
    }
    pthread_mutex_unlock(&queue->lock);
}

unsigned vds_virt_queue_get_index(const VdsVirtQueue *queue)
{
    return queue->index;
}

bool vds_virt_queue_is_enabled(const VdsVirtQueue *queue)
{
    return queue->enabled;
}

bool vds_virt_queue_has_memory(const VdsVirtQueue *queue, uint64_t gpa, uint64_t len)
{
    return queue->window.map && vds_guest_map_has(queue->window.map, gpa, len);
}

bool vds_virt_queue_discard(VdsVirtQueue *queue, uint64_t gpa, uint64_t len)
{
    return queue->window.map && vds_guest_map_discard(queue->window.map, gpa, len, NULL);
}

/* ---- requests ---------------------------------------------------------------------- */

/* All of these: with the lock held. */

/* In the room that each request has for it. */
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

static bool ring_notify(VdsVirtQueue *queue, bool on, bool *more, GError **fault)
{
    *more = false;
    if (queue->notify == on) {
        return true;
    }
    queue->notify = on;
    return vds_vring_set_notify(queue->ring, on, more, fault);
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
            ring_notify(queue, n < max, &more, fault);
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

static void report(VdsVirtQueue *queue, const GError *fault)
{
    if (fault) {
        vds_device_fault(queue->device, fault->message);
    }
}

static bool is_served(const VdsVirtQueue *queue)
{
    return queue->device->active && queue->enabled &&
           !atomic_load_explicit(&queue->device->broken, memory_order_relaxed);
}

size_t vds_virt_queue_pop(VdsVirtQueue *queue, VdsIo **ios, size_t max)
{
    g_autoptr(GError) fault = NULL;
    size_t n;

    if (queue->in_handle) {
        max = MIN(max, queue->budget);
    }
    if (max == 0 || !is_served(queue)) {
        return 0;
    }
    n = pop_some(queue, ios, max, &fault);
    if (queue->in_handle) {
        queue->budget -= (unsigned)n;
    }
    report(queue, fault);
    return n;
}

bool vds_virt_queue_has_more(VdsVirtQueue *queue)
{
    g_autoptr(GError) fault = NULL;
    bool more = false;

    if (!is_served(queue)) {
        return false;
    }
    pthread_mutex_lock(&queue->lock);
    if (queue->ring) {
        vds_vring_has_available(queue->ring, &more, &fault);
    }
    pthread_mutex_unlock(&queue->lock);
    report(queue, fault);
    return more;
}

void vds_virt_queue_unpop(VdsVirtQueue *queue, VdsIo *io)
{
    VDS_LOCK_SCOPE(&queue->lock);

    if (io->epoch == queue->epoch) {
        vds_vring_unpop(queue->ring, io->request);
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
    report(queue, fault);
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

/* ---- notifications ------------------------------------------------------------------
 */

/* With an eventfd from elsewhere the ISR is elsewhere, too. */
void vds_queue_interrupt(VdsVirtQueue *queue)
{
    VdsVirtioDevice *device = queue->device;
    bool told = false;

    pthread_mutex_lock(&queue->lock);
    if (queue->call_fd >= 0) {
        vds_io_thread_signal(device->thread, queue->call_fd);
        told = true;
    }
    pthread_mutex_unlock(&queue->lock);
    if (!told) {
        atomic_fetch_or_explicit(&device->isr, 1, memory_order_relaxed);
        vds_doorbell_ring(atomic_load_explicit(&device->interrupts, memory_order_acquire),
                          queue->index);
    }
}

/* With the lock held; a broken device's last completions stay unseen. */
static bool publish(VdsVirtQueue *queue, bool anyway, bool *interrupt, GError **fault)
{
    *interrupt = false;
    if (!(queue->unpublished || (anyway && queue->ring)) ||
        atomic_load_explicit(&queue->device->broken, memory_order_relaxed)) {
        return true;
    }
    queue->unpublished = false;
    return (anyway ? vds_vring_notify : vds_vring_publish)(queue->ring, interrupt, fault);
}

static bool flush(VdsVirtQueue *queue, bool anyway)
{
    g_autoptr(GError) fault = NULL;
    bool interrupt;

    pthread_mutex_lock(&queue->lock);
    publish(queue, anyway, &interrupt, &fault);
    pthread_mutex_unlock(&queue->lock);
    if (interrupt) {
        vds_queue_interrupt(queue);
    }
    report(queue, fault);
    return interrupt;
}

bool vds_virt_queue_flush(VdsVirtQueue *queue)
{
    return flush(queue, false);
}

void vds_virt_queue_notify(VdsVirtQueue *queue)
{
    flush(queue, true);
}

void vds_virt_queue_show(VdsVirtQueue *queue)
{
    g_autoptr(GError) fault = NULL;

    pthread_mutex_lock(&queue->lock);
    if (queue->unpublished &&
        !atomic_load_explicit(&queue->device->broken, memory_order_relaxed)) {
        vds_vring_show(queue->ring, &fault);
    }
    pthread_mutex_unlock(&queue->lock);
    report(queue, fault);
}

void vds_virt_queue_set_eager(VdsVirtQueue *queue, bool eager)
{
    queue->eager = eager;
}

/* Are buffers what its device waits for? */
static bool waits(const VdsVirtQueue *queue)
{
    return queue->eager || queue->found_empty;
}

/* Kicks off.  false: there is no ring, or it is at fault. */
static bool dispatch_begin(VdsVirtQueue *queue, GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);
    bool more;

    return queue->ring && ring_notify(queue, false, &more, fault);
}

/* Publishes, and asks for the next kick.  *again: none may come for what is there. */
static bool dispatch_end(VdsVirtQueue *queue, bool *interrupt, bool *again,
                         GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);
    bool more = false;

    *again = queue->budget == 0;
    *interrupt = false;
    if (!queue->ring) {
        return true;
    }
    if (!publish(queue, false, interrupt, fault)) {
        return false;
    }
    if (*again || queue->device->polling || !waits(queue)) {
        return true;
    }
    if (!ring_notify(queue, true, &more, fault)) {
        return false;
    }
    *again = more && queue->found_empty;
    return true;
}

/* One call of handle.  *again: there is more, and no kick will come for it. */
static void dispatch_once(VdsVirtQueue *queue, bool *again)
{
    VdsVirtioDevice *device = queue->device;
    g_autoptr(GError) fault = NULL;
    bool interrupt = false;

    *again = false;
    if (dispatch_begin(queue, &fault)) {
        queue->in_handle = true;
        queue->found_empty = false;
        device->ops->handle(device->instance, queue);
        queue->in_handle = false;
        dispatch_end(queue, &interrupt, again, &fault);
    }
    if (interrupt) {
        vds_queue_interrupt(queue);
    }
    report(queue, fault);
    *again = *again && is_served(queue) && !device->polling;
}

void vds_queue_dispatch(VdsVirtQueue *queue)
{
    bool again;

    vds_queue_drain(queue);
    if (!is_served(queue)) {
        return;
    }
    queue->budget = queue->num; /* then it is the other queues' turn */
    do {
        dispatch_once(queue, &again);
    } while (again && queue->budget > 0);
    if (again) {
        vds_doorbell_ring(
            atomic_load_explicit(&queue->device->kicks, memory_order_relaxed),
            queue->index);
    }
}

bool vds_queue_look(VdsVirtQueue *queue)
{
    if (!is_served(queue) || !waits(queue) || !vds_virt_queue_has_more(queue)) {
        return false;
    }
    vds_queue_dispatch(queue);
    return queue->budget < queue->num;
}

bool vds_queue_ask_for_kicks(VdsVirtQueue *queue)
{
    g_autoptr(GError) fault = NULL;
    bool more = false;

    if (!is_served(queue) || !waits(queue)) {
        return false;
    }
    pthread_mutex_lock(&queue->lock);
    if (queue->ring) {
        ring_notify(queue, true, &more, &fault);
    }
    pthread_mutex_unlock(&queue->lock);
    report(queue, fault);
    if (more && (queue->found_empty || queue->budget == 0)) {
        vds_queue_dispatch(queue);
        return true;
    }
    return false;
}
