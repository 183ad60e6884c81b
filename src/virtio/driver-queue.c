/*
 * virtio: the driver's door to the queues: selected, set up, enabled, disabled, reset,
 * kicked.  Refuses to know transports and ring formats.  virtio 1.2, 2.6, 4.1.4.3.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include "device-priv.h"

/* The legacy layout's alignment; QEMU shows it for modern devices as well. */
enum { RING_ALIGN = 4096 };

bool vds_queue_enter(VdsQueueCall *call, VdsTaskFunc func)
{
    return vds_device_enter(call->device, func, call, call->error) && call->ok;
}

void vds_queue_refuse(VdsQueueCall *call, const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list args;

    va_start(args, format);
    why = g_strdup_vprintf(format, args);
    va_end(args);
    vds_device_refuse(call->device, call->error, VDS_VIRTIO_ERROR_QUEUE, "queue %u %s",
                      call->n, why);
}

void vds_queue_refuse_ring(VdsQueueCall *call, const GError *fault)
{
    vds_device_fault(call->device, (int)call->n, fault->message);
    vds_device_refuse(call->device, call->error, VDS_VIRTIO_ERROR_RING, "%s, in queue %u",
                      fault->message, call->n);
}

void vds_virtio_driver_select_queue(VdsVirtioDevice *device, uint16_t n)
{
    vds_device_lock(device);
    device->state.queue_sel = n;
    vds_device_unlock(device);
}

uint16_t vds_virtio_driver_get_queue_size(const VdsVirtioDevice *device, unsigned n)
{
    uint16_t size = 0;

    vds_device_lock(device);
    if (n < device->n_queues) {
        size = device->sizes[n];
    }
    vds_device_unlock(device);
    return size;
}

VdsVirtQueue *vds_queue_touch(VdsQueueCall *call)
{
    VdsVirtioDevice *device = call->device;

    if (!device->ops || vds_virtio_driver_get_queue_size(device, call->n) == 0) {
        vds_queue_refuse(call, device->ops ? "is not there"
                                           : "is of a device that serves no queues");
        return NULL;
    }
    vds_device_lock(device);
    if (!device->queues) {
        device->queues = g_new0(VdsVirtQueue *, device->n_queues);
    }
    if (!device->queues[call->n]) {
        device->queues[call->n] = vds_queue_new(device, call->n);
    }
    vds_device_unlock(device);
    return device->queues[call->n];
}

/* ---- set up and enable ---------------------------------------------------------------
 */

static void set_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtioDevice *device = call->device;
    VdsVirtQueue *queue = vds_queue_touch(call);

    if (!queue) {
        return;
    }
    if (queue->enabled || queue->stops) {
        vds_queue_refuse(call, queue->stops ? "is set up while it stops"
                                            : "is set up while it is enabled");
        return;
    }
    if (call->setup->num == 0 || call->setup->num > VDS_VRING_MAX_NUM) {
        vds_queue_refuse(call, "has size %u, expected 1 to %d", call->setup->num,
                         VDS_VRING_MAX_NUM);
        return;
    }
    vds_device_lock(device);
    queue->num = call->setup->num;
    atomic_store_explicit(&queue->kicks, 0, memory_order_relaxed);
    queue->setup = *call->setup;
    queue->has_setup = true;
    queue->shown = false;
    vds_device_unlock(device);
    vds_queue_replace(queue, NULL, NULL);
    call->ok = true;
}

bool vds_virtio_driver_set_queue(VdsVirtioDevice *device, unsigned n,
                                 const VdsQueueSetup *setup, GError **error)
{
    VdsQueueCall call = {.device = device, .n = n, .setup = setup, .error = error};

    return vds_queue_enter(&call, set_task);
}

/* The region may be replaced meanwhile, on the main loop. */
static bool use_inflight(const VdsVirtioDevice *device, VdsVring *ring, unsigned n,
                         GError **error)
{
    g_autoptr(VdsInflight) inflight = NULL;

    vds_device_lock(device);
    inflight = vds_inflight_ref(device->inflight);
    vds_device_unlock(device);
    return !inflight || vds_vring_set_inflight(ring, inflight, n, error);
}

static VdsVring *make_ring(const VdsVirtQueue *queue, GError **fault)
{
    const VdsVirtioDevice *device = queue->device;
    const VdsFeatures *features = &device->state.guest_features;
    const VdsQueueSetup *setup = &queue->setup;
    VdsQueueState state = {
        .packed = vds_features_has(features, VDS_F_RING_PACKED),
        .event_idx = vds_features_has(features, VDS_F_RING_EVENT_IDX),
        .num = queue->num,
        .align = RING_ALIGN,
        .desc = setup->desc,
        .avail = setup->avail,
        .used = setup->used,
        .has_last_avail = setup->has_base,
        .last_avail_idx = setup->avail_base,
        .used_idx = setup->used_base,
        .has_wraps = setup->has_base,
        .last_avail_wrap = setup->avail_wrap,
        .used_wrap = setup->used_wrap,
        .map = device->map,
    };
    unsigned flags =
        (vds_features_has(features, VDS_F_RING_INDIRECT_DESC) ? VDS_VRING_INDIRECT : 0) |
        (vds_features_has(features, VDS_F_IN_ORDER) ? VDS_VRING_IN_ORDER : 0) |
        (vds_features_has(features, VDS_F_NOTIFY_ON_EMPTY) ? VDS_VRING_NOTIFY_ON_EMPTY
                                                           : 0);
    g_autoptr(VdsVring) ring = NULL;

    ring = vds_vring_new(&state, flags, fault);
    if (!ring) {
        return NULL;
    }
    vds_vring_set_log(ring, setup->log, setup->log_used);
    return use_inflight(device, ring, queue->index, fault) ? g_steal_pointer(&ring)
                                                           : NULL;
}

/* A new ring where there is a new setup.  A ring that cannot be is shown, too. */
static bool use_setup(VdsQueueCall *call, VdsVirtQueue *queue)
{
    VdsVirtioDevice *device = call->device;
    g_autoptr(GError) fault = NULL;
    VdsVring *ring = NULL;

    if (!queue->has_setup) {
        return true;
    }
    if (device->map) {
        ring = make_ring(queue, &fault);
    }
    vds_queue_replace(queue, ring, device->map);
    vds_device_lock(device);
    queue->has_setup = false;
    queue->shown = true;
    vds_device_unlock(device);
    if (fault) {
        vds_queue_refuse_ring(call, fault);
    } else if (!ring) {
        vds_queue_refuse(call,
                         "has its descriptors at 0x%" PRIx64 ", and no memory is mapped",
                         queue->setup.desc);
    }
    return ring != NULL;
}

static void queue_set_enabled(VdsVirtQueue *queue, bool enabled, bool discards)
{
    vds_device_lock(queue->device);
    queue->enabled = enabled;
    queue->discards = discards;
    vds_device_unlock(queue->device);
}

static void enable_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtioDevice *device = call->device;
    VdsVirtQueue *queue = vds_queue_touch(call);
    g_autoptr(GError) why = NULL;
    bool settled;

    if (!queue || (queue->enabled && !queue->discards)) {
        call->ok = queue != NULL;
        return;
    }
    if (queue->enabled) { /* from now on what comes counts */
        queue_set_enabled(queue, true, call->discards);
        vds_turn_begin(&device->turn);
        vds_queue_dispatch(queue);
        call->ok = true;
        return;
    }
    if (queue->stops) {
        vds_queue_refuse(call, "is enabled while it stops");
        return;
    }
    settled = (device->state.status & VDS_STATUS_FEATURES_OK) ||
              !vds_virtio_device_has_feature(device, VDS_F_VERSION_1);
    if (!settled || (!queue->has_setup && !queue->ring)) {
        vds_queue_refuse(call, settled ? "is enabled without addresses"
                                       : "is enabled before FEATURES_OK");
        return;
    }
    if (!vds_device_open(device, &why)) {
        vds_device_refuse(device, call->error, VDS_VIRTIO_ERROR_SYSTEM, "queue %u: %s",
                          call->n, why->message);
        return;
    }
    if (!use_setup(call, queue)) {
        return;
    }
    queue_set_enabled(queue, true, call->discards);
    vds_turn_begin(&device->turn);
    vds_queue_dispatch(queue);
    call->ok = true;
}

bool vds_virtio_driver_enable_queue(VdsVirtioDevice *device, unsigned n, GError **error)
{
    VdsQueueCall call = {.device = device, .n = n, .error = error};

    return vds_queue_enter(&call, enable_task);
}

bool vds_virtio_driver_discard_queue(VdsVirtioDevice *device, unsigned n, GError **error)
{
    VdsQueueCall call = {.device = device, .n = n, .discards = true, .error = error};

    return !device->ops || !device->ops->discards ||
           !device->ops->discards(device->instance, n) ||
           vds_queue_enter(&call, enable_task);
}

/* ---- disable and reset ----------------------------------------------------------------
 */

static void disable_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtQueue *queue = vds_queue_touch(call);

    if (queue) {
        queue_set_enabled(queue, false, false);
        call->ok = true;
    }
}

bool vds_virtio_driver_disable_queue(VdsVirtioDevice *device, unsigned n, GError **error)
{
    VdsQueueCall call = {.device = device, .n = n, .error = error};

    return vds_queue_enter(&call, disable_task);
}

static void reset_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtioDevice *device = call->device;
    VdsVirtQueue *queue;

    if (!vds_virtio_device_has_feature(device, VDS_F_RING_RESET)) {
        vds_queue_refuse(call, "is reset without RING_RESET");
        return;
    }
    queue = vds_queue_touch(call);
    if (!queue) {
        return;
    }
    vds_queue_replace(queue, NULL, NULL);
    vds_device_lock(device);
    vds_queue_reset_words(queue);
    vds_device_unlock(device);
    call->ok = true;
}

bool vds_virtio_driver_reset_queue(VdsVirtioDevice *device, unsigned n, GError **error)
{
    VdsQueueCall call = {.device = device, .n = n, .error = error};

    return vds_queue_enter(&call, reset_task);
}

/* ---- kicks and calls ------------------------------------------------------------------
 */

void vds_virtio_driver_kick(VdsVirtioDevice *device, unsigned n)
{
    VdsDoorbell *bell = atomic_load_explicit(&device->kicks, memory_order_acquire);

    if (bell && n < device->n_queues) {
        vds_doorbell_ring(bell, n);
    }
}

static void count_kicks(VdsVirtQueue *queue, uint64_t count)
{
    unsigned before = atomic_load_explicit(&queue->kicks, memory_order_relaxed);

    if (before != VDS_KICKS_FOUND) {
        count = MIN(count, VDS_KICKS_FOUND - 1 - before);
        atomic_store_explicit(&queue->kicks, before + (unsigned)count,
                              memory_order_relaxed);
    }
}

unsigned vds_virtio_driver_count_vain_kicks(const VdsVirtioDevice *device, unsigned n)
{
    unsigned kicks = 0;

    vds_device_lock(device);
    if (device->queues && n < device->n_queues && device->queues[n]) {
        kicks = atomic_load_explicit(&device->queues[n]->kicks, memory_order_relaxed);
    }
    vds_device_unlock(device);
    return kicks == VDS_KICKS_FOUND ? 0 : kicks;
}

/* Somebody else's eventfd.  A descriptor that is at its end, or was never one, is let go:
 * it would be readable for ever. */
static void take_kick(uint32_t events, void *user)
{
    VdsVirtQueue *queue = user;
    uint64_t count;
    ssize_t n = vds_read_now(queue->kick_fd, &count, sizeof(count));

    if (n == sizeof(count)) {
        count_kicks(queue, count);
    }
    if (n == sizeof(count) || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
        vds_turn_begin(&queue->device->turn);
        vds_queue_dispatch(queue);
    } else {
        vds_io_watch_free(g_steal_pointer(&queue->kick_watch));
    }
}

static bool make_non_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static void kick_fd_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtQueue *queue = vds_queue_touch(call);

    if (!queue) {
        return;
    }
    vds_io_watch_free(g_steal_pointer(&queue->kick_watch));
    vds_fd_close(&queue->kick_fd);
    if (call->fd >= 0) {
        if (make_non_blocking(call->fd)) {
            queue->kick_watch = vds_io_watch_new(call->device->thread, call->fd, EPOLLIN,
                                                 take_kick, queue, NULL);
        }
        if (!queue->kick_watch) {
            vds_queue_refuse(call, "gets a kick descriptor that cannot be watched");
            return;
        }
        queue->kick_fd = vds_fd_steal(&call->fd);
    }
    call->ok = true;
}

static void call_fd_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtQueue *queue = vds_queue_touch(call);

    if (!queue) {
        return;
    }
    if (call->fd >= 0 && !make_non_blocking(call->fd)) {
        vds_queue_refuse(call, "has call descriptor %d: %s", call->fd, g_strerror(errno));
        return;
    }
    pthread_mutex_lock(&queue->lock);
    vds_fd_close(&queue->call_fd);
    queue->call_fd = vds_fd_steal(&call->fd);
    pthread_mutex_unlock(&queue->lock);
    call->ok = true;
}

static bool hand_over(VdsVirtioDevice *device, unsigned n, int fd, VdsTaskFunc func,
                      GError **error)
{
    VdsQueueCall call = {.device = device, .n = n, .fd = fd, .error = error};
    bool ok = vds_queue_enter(&call, func);

    vds_fd_close(&call.fd); /* nobody took it */
    return ok;
}

bool vds_virtio_driver_set_kick_fd(VdsVirtioDevice *device, unsigned n, int fd,
                                   GError **error)
{
    return hand_over(device, n, fd, kick_fd_task, error);
}

bool vds_virtio_driver_set_call_fd(VdsVirtioDevice *device, unsigned n, int fd,
                                   GError **error)
{
    return hand_over(device, n, fd, call_fd_task, error);
}
