/*
 * virtio: a device in motion, on its I/O thread: started and stopped as its state wants
 * it, kicked, broken, reset, taken apart.  Refuses to know who the driver is.
 * virtio 1.2, 2.1.2 (NEEDS_RESET), 2.3 (notifications), 2.4 (reset).
 */
#include <string.h>
#include <sys/epoll.h>

#include "device-priv.h"

bool vds_device_enter(VdsVirtioDevice *device, VdsTaskFunc func, void *user,
                      GError **error)
{
    if (!device->thread) {
        func(user);
        return true;
    }
    if (!atomic_load_explicit(&device->entered, memory_order_acquire)) {
        g_autoptr(GError) why = NULL;

        if (!vds_io_thread_start(device->thread, &why)) {
            return vds_device_refuse(device, error, VDS_VIRTIO_ERROR_SYSTEM, "%s",
                                     why->message);
        }
        atomic_store_explicit(&device->entered, true, memory_order_release);
    }
    vds_io_thread_call(device->thread, func, user);
    return true;
}

bool vds_device_refuse(VdsVirtioDevice *device, GError **error, VdsVirtioError code,
                       const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list args;

    va_start(args, format);
    why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VDS_VIRTIO_ERROR, code, why);
    vds_device_lock(device);
    g_free(device->last_refusal);
    device->last_refusal = g_steal_pointer(&why);
    vds_device_unlock(device);
    return false;
}

/* ---- start and stop -----------------------------------------------------------------
 */

/* As QEMU decides it: use-started off means that the status alone counts. */
static bool wants_service(const VdsVirtioDevice *device)
{
    const VdsDeviceState *state = &device->state;
    bool started =
        state->use_started ? state->started : (state->status & VDS_STATUS_DRIVER_OK) != 0;

    return device->ops && started && state->vm_running && !state->broken &&
           !state->disabled;
}

static void dispatch_all(VdsVirtioDevice *device)
{
    vds_turn_begin(&device->turn);
    for (unsigned i = 0; device->queues && i < device->n_queues; i++) {
        if (device->queues[i]) {
            vds_queue_dispatch(device->queues[i]);
        }
    }
}

void vds_device_settle(VdsVirtioDevice *device)
{
    bool want;

    vds_device_lock(device);
    want = wants_service(device);
    vds_device_unlock(device);
    if (want == device->active) {
        return;
    }
    if (!want) {
        device->active = false;
        if (device->ops->stop) {
            device->ops->stop(device->instance);
        }
        return;
    }
    device->active = true;
    if (device->ops->start) {
        device->ops->start(device->instance);
    }
    dispatch_all(device);
}

static void settle_task(void *user)
{
    vds_device_settle(user);
}

/* ---- kicks --------------------------------------------------------------------------
 */

/* A legacy driver may use a queue before it says DRIVER_OK (virtio 1.2, 3.1.2). */
static void start_on_kick(VdsVirtioDevice *device)
{
    VdsDeviceState *state = &device->state;
    bool start;

    vds_device_lock(device);
    start = state->start_on_kick && !state->started;
    if (start) {
        state->start_on_kick = false;
        state->started = state->use_started;
    }
    vds_device_unlock(device);
    if (start) {
        vds_device_settle(device);
    }
}

static void kicked(unsigned n, void *user)
{
    VdsVirtioDevice *device = user;

    if (!device->active) {
        start_on_kick(device);
    }
    /* A kick while nothing is served is not lost: start looks at every queue. */
    if (device->queues && device->queues[n]) {
        vds_queue_dispatch(device->queues[n]);
    }
}

static void take_kicks(uint32_t events, void *user)
{
    VdsVirtioDevice *device = user;

    vds_turn_begin(&device->turn);
    vds_doorbell_take(atomic_load_explicit(&device->kicks, memory_order_relaxed), kicked,
                      device);
}

bool vds_device_open(VdsVirtioDevice *device, GError **error)
{
    VdsDoorbell *kicks, *interrupts;

    if (device->kick_watch) {
        return true;
    }
    kicks = vds_doorbell_new(device->n_queues, error);
    if (!kicks) {
        return false;
    }
    interrupts = vds_doorbell_new(VDS_INTERRUPT_CONFIG + 1, error);
    if (interrupts) {
        device->kick_watch = vds_io_watch_new(device->thread, vds_doorbell_get_fd(kicks),
                                              EPOLLIN, take_kicks, device, error);
    }
    if (!device->kick_watch) {
        vds_doorbell_free(kicks);
        vds_doorbell_free(interrupts);
        return false;
    }
    device->poll = vds_io_poll_new(device->thread, &vds_device_poll_ops, device);
    atomic_store_explicit(&device->kicks, kicks, memory_order_release);
    atomic_store_explicit(&device->interrupts, interrupts, memory_order_release);
    return true;
}

/* ---- faults -------------------------------------------------------------------------
 */

/* With the lock held.  As QEMU: only after DRIVER_OK, and both bits of isr. */
static bool config_changed(VdsVirtioDevice *device)
{
    if (!(device->state.status & VDS_STATUS_DRIVER_OK)) {
        return false;
    }
    device->generation++;
    atomic_fetch_or_explicit(&device->isr, 3, memory_order_relaxed);
    return true;
}

static void ring_config(VdsVirtioDevice *device)
{
    VdsDoorbell *bell = atomic_load_explicit(&device->interrupts, memory_order_acquire);

    if (bell) {
        vds_doorbell_ring(bell, VDS_INTERRUPT_CONFIG);
    }
}

/* With the lock held.  true: the last ones were taken, so this one is to be reported. */
static bool fault_note(VdsVirtioDevice *device, int queue, const char *reason)
{
    g_free(device->fault.reason);
    device->fault.reason = g_strdup(reason);
    device->fault.queue = queue;
    return device->fault.n++ == 0;
}

void vds_device_fault(VdsVirtioDevice *device, int queue, const char *reason)
{
    VdsDeviceState *state = &device->state;
    bool first, tell = false, report = false;

    vds_device_lock(device);
    first = !state->broken;
    if (first) {
        state->broken = true;
        atomic_store_explicit(&device->broken, true, memory_order_relaxed);
        device->broken_reason = queue == VDS_NO_QUEUE
                                    ? g_strdup(reason)
                                    : g_strdup_printf("%s, in queue %d", reason, queue);
        report = fault_note(device, queue, device->broken_reason);
        if (vds_features_has(&state->guest_features, VDS_F_VERSION_1)) {
            state->status |= VDS_STATUS_NEEDS_RESET;
            tell = config_changed(device);
        }
    }
    vds_device_unlock(device);
    if (tell) {
        ring_config(device);
    }
    if (report && device->fault_func) {
        device->fault_func(device->fault_user);
    }
    /* Not here: this may be in the middle of a callback, or on another thread. */
    if (first && device->thread) {
        vds_io_thread_post(device->thread, settle_task, device);
    }
}

void vds_virtio_device_break(VdsVirtioDevice *device, const char *format, ...)
{
    g_autofree char *reason = NULL;
    va_list args;

    va_start(args, format);
    reason = g_strdup_vprintf(format, args);
    va_end(args);
    vds_device_fault(device, VDS_NO_QUEUE, reason);
}

void vds_virt_queue_break(VdsVirtQueue *queue, const char *format, ...)
{
    g_autofree char *reason = NULL;
    va_list args;

    va_start(args, format);
    reason = g_strdup_vprintf(format, args);
    va_end(args);
    vds_device_fault(queue->device, (int)queue->index, reason);
}

void vds_virtio_device_set_fault_func(VdsVirtioDevice *device, VdsTaskFunc func,
                                      void *user)
{
    device->fault_func = func;
    device->fault_user = user;
}

void vds_virtio_device_take_fault(VdsVirtioDevice *device, VdsVirtioFault *fault)
{
    vds_device_lock(device);
    *fault = device->fault;
    device->fault = (VdsVirtioFault){0};
    vds_device_unlock(device);
}

void vds_virtio_device_set_config(VdsVirtioDevice *device, unsigned offset,
                                  const void *bytes, unsigned len)
{
    bool tell;

    g_assert(offset <= device->config_len && len <= device->config_len - offset);
    vds_device_lock(device);
    tell = memcmp(device->config + offset, bytes, len) != 0;
    memcpy(device->config + offset, bytes, len);
    tell = tell && config_changed(device);
    vds_device_unlock(device);
    if (tell) {
        ring_config(device);
    }
}

/* ---- reset and run state --------------------------------------------------------------
 */

static void reset_words(VdsVirtioDevice *device)
{
    VdsDeviceState *state = &device->state;

    state->guest_features = device->asked = (VdsFeatures){{0}};
    state->status = 0;
    state->queue_sel = 0;
    state->broken = false;
    state->started = false;
    state->start_on_kick = false;
    state->disabled = false;
    g_clear_pointer(&device->broken_reason, g_free);
    atomic_store_explicit(&device->broken, false, memory_order_relaxed);
    atomic_store_explicit(&device->isr, 0, memory_order_relaxed);
    for (unsigned i = 0; device->queues && i < device->n_queues; i++) {
        if (device->queues[i]) {
            vds_queue_reset_words(device->queues[i]);
        }
    }
}

static void reset_task(void *user)
{
    VdsVirtioDevice *device = user;

    if (device->active) {
        device->active = false;
        if (device->ops->stop) {
            device->ops->stop(device->instance);
        }
    }
    for (unsigned i = 0; device->queues && i < device->n_queues; i++) {
        if (device->queues[i]) {
            vds_queue_replace(device->queues[i], NULL, NULL);
        }
    }
    vds_device_lock(device);
    reset_words(device);
    vds_device_unlock(device);
    if (device->ops && device->ops->reset) {
        device->ops->reset(device->instance);
    }
}

void vds_virtio_device_reset(VdsVirtioDevice *device)
{
    if (device->recorded) {
        return;
    }
    if (atomic_load_explicit(&device->entered, memory_order_acquire)) {
        vds_io_thread_call(device->thread, reset_task, device);
    } else {
        vds_device_lock(device);
        reset_words(device); /* the driver may have selected a queue */
        vds_device_unlock(device);
    }
}

void vds_virtio_device_set_running(VdsVirtioDevice *device, bool running)
{
    if (device->recorded) {
        return;
    }
    vds_device_lock(device);
    device->state.vm_running = running;
    vds_device_unlock(device);
    if (atomic_load_explicit(&device->entered, memory_order_acquire)) {
        vds_io_thread_call(device->thread, settle_task, device);
    }
}

/* ---- the end ------------------------------------------------------------------------
 */

static void close_task(void *user)
{
    VdsVirtioDevice *device = user;

    reset_task(device);
    vds_io_watch_free(g_steal_pointer(&device->kick_watch));
    vds_io_poll_free(g_steal_pointer(&device->poll));
    for (unsigned i = 0; device->queues && i < device->n_queues; i++) {
        if (device->queues[i]) {
            vds_io_watch_free(g_steal_pointer(&device->queues[i]->kick_watch));
        }
    }
}

static void nothing(void *user)
{
}

void vds_device_close(VdsVirtioDevice *device)
{
    if (atomic_load_explicit(&device->entered, memory_order_acquire)) {
        g_assert(!vds_io_thread_is_current(device->thread));
        vds_io_thread_call(device->thread, close_task, device);
        /* behind what the device posted while it was taken apart */
        vds_io_thread_call(device->thread, nothing, NULL);
    }
}
