/*
 * guest: a device's life with its driver: found, driven, let go; its interrupts, its
 * workload's clock and its errors.  Knows no kind of device.
 * virtio 1.2, 3.1.1 (initialization), 3.3 (cleanup), 2.1.2 (NEEDS_RESET).
 */
#include <sys/epoll.h>

#include "guest-priv.h"

/* What Linux's transport keeps of the reserved bits; the rest it never acknowledges. */
static const uint64_t transport_features =
    UINT64_C(1) << VDS_F_RING_INDIRECT_DESC | UINT64_C(1) << VDS_F_RING_EVENT_IDX |
    UINT64_C(1) << VDS_F_VERSION_1 | UINT64_C(1) << VDS_F_ACCESS_PLATFORM |
    UINT64_C(1) << VDS_F_RING_PACKED | UINT64_C(1) << VDS_F_IN_ORDER |
    UINT64_C(1) << VDS_F_RING_RESET;

static const VdsGuestDriver *const drivers[] = {
    &vds_guest_net,     &vds_guest_blk,  &vds_guest_rng,   &vds_guest_serial,
    &vds_guest_balloon, &vds_guest_scsi, &vds_guest_vsock,
};

const VdsGuestDriver *vds_guest_driver_find(uint16_t device_id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (drivers[i]->device_id == device_id) {
            return drivers[i];
        }
    }
    return NULL;
}

/* ---- errors ----------------------------------------------------------------------- */

static void note_error(VdsGuestDevice *device, char *text)
{
    VDS_LOCK_SCOPE(vds_guest_get_lock(device->guest));

    g_free(device->last_error);
    device->last_error = text;
    atomic_fetch_add_explicit(&device->errors, 1, memory_order_relaxed);
}

void vds_guest_device_error(VdsGuestDevice *device, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note_error(device, g_strdup_vprintf(format, args));
    va_end(args);
}

/* What cannot be read any more (R6) does not say whether a kick is wanted, and one too
 * many is never wrong (2.7.10): the device finds out for itself, and keeps the reason. */
static void kick_unasked(VdsGuestDevice *device)
{
    for (unsigned i = 0; i < device->n_queues; i++) {
        vds_virtio_driver_kick(device->virtio, i);
    }
}

/* What it holds stays until it is reset: the device may still use it. */
void vds_guest_device_fail(VdsGuestDevice *device, GError *error)
{
    note_error(device, g_strdup(error->message));
    g_error_free(error);
    if (device->life == VDS_GUEST_DRIVEN) {
        kick_unasked(device);
    }
    device->life = VDS_GUEST_IDLE;
    vds_guest_device_set_timer(device, false);
    vds_virtio_driver_set_status(
        device->virtio, vds_virtio_driver_get_status(device->virtio) | VDS_STATUS_FAILED,
        NULL);
}

/* ---- for drivers ------------------------------------------------------------------ */

VdsGuestMap *vds_guest_device_map(const VdsGuestDevice *device)
{
    return vds_guest_ram_get_map(vds_guest_get_ram(device->guest));
}

bool vds_guest_device_read(VdsGuestDevice *device, uint64_t gpa, void *to, size_t len)
{
    GError *error = NULL;

    if (vds_guest_map_read(vds_guest_device_map(device), gpa, to, len, &error)) {
        return true;
    }
    vds_guest_device_fail(device, error);
    return false;
}

bool vds_guest_device_write(VdsGuestDevice *device, uint64_t gpa, const void *from,
                            size_t len)
{
    GError *error = NULL;

    if (vds_guest_map_write(vds_guest_device_map(device), gpa, from, len, &error)) {
        return true;
    }
    vds_guest_device_fail(device, error);
    return false;
}

/* Until two reads belong to one generation (2.5.1); a device that never stands still is
 * taken at its last word. */
bool vds_guest_device_read_config(VdsGuestDevice *device, unsigned offset, void *to,
                                  unsigned len, GError **error)
{
    enum { TRIES = 4 };
    uint8_t before, after;

    for (int i = 0; i < TRIES; i++) {
        if (!vds_virtio_driver_read_config(device->virtio, offset, to, len, &before,
                                           error) ||
            !vds_virtio_driver_read_config(device->virtio, offset, to, len, &after,
                                           error)) {
            return false;
        }
        if (before == after) {
            break;
        }
    }
    return true;
}

bool vds_guest_device_add_queue(VdsGuestDevice *device, const VdsGuestQueueRole *role,
                                GError **error)
{
    VdsGuestQueue *queue = vds_guest_queue_new(device, device->n_queues, role, error);

    if (queue) {
        device->queues = g_renew(VdsGuestQueue *, device->queues, device->n_queues + 1);
        device->queues[device->n_queues++] = queue;
    }
    return queue != NULL;
}

/* ---- interrupts ------------------------------------------------------------------- */

static void on_queue_interrupt(unsigned n, void *user)
{
    VdsGuestDevice *device = user;

    if (n < device->n_queues) {
        device->queues[n]->pending = true;
    } else if (n == VDS_INTERRUPT_CONFIG && device->life == VDS_GUEST_DRIVEN) {
        /* Linux 6.1 leaves a device that needs a reset as it is; so everything stays to
         * be looked at */
        if (vds_virtio_driver_get_status(device->virtio) & VDS_STATUS_NEEDS_RESET) {
            vds_guest_device_error(device, "the device needs a reset");
            device->life = VDS_GUEST_IDLE;
            vds_guest_device_set_timer(device, false);
        } else if (device->driver->config_changed) {
            device->driver->config_changed(device);
        }
    }
}

static void kick_all(VdsGuestDevice *device)
{
    for (unsigned i = 0; i < device->n_queues && device->life == VDS_GUEST_DRIVEN; i++) {
        vds_guest_queue_kick(device->queues[i]);
    }
}

void vds_guest_device_serve(VdsGuestDevice *device)
{
    bool more = false;

    if (device->interrupted) {
        device->interrupted = false;
        vds_io_watch_set_events(device->watch, EPOLLIN);
    }
    if (device->config.reads_isr) {
        vds_virtio_driver_take_isr(device->virtio);
    }
    vds_virtio_driver_take_interrupts(device->virtio, on_queue_interrupt, device);
    for (unsigned i = 0; i < device->n_queues && device->life == VDS_GUEST_DRIVEN; i++) {
        VdsGuestQueue *queue = device->queues[i];

        if (queue->pending) {
            queue->pending = vds_guest_queue_drain(queue);
            more = more || queue->pending;
        }
    }
    kick_all(device);
    if (more) {
        vds_guest_queue_work(device);
    }
}

/* A paused guest takes no interrupt; it looks when it goes on. */
static void on_interrupt(uint32_t events, void *user)
{
    VdsGuestDevice *device = user;

    (void)events;
    if (vds_guest_is_running(device->guest)) {
        vds_guest_device_serve(device);
    } else {
        device->interrupted = true;
        vds_io_watch_set_events(device->watch, 0);
    }
}

/* ---- the workload's clock ------------------------------------------------------------
 */

static void on_tick(void *user)
{
    VdsGuestDevice *device = user;

    for (unsigned i = 0; i < device->per_tick && device->life == VDS_GUEST_DRIVEN; i++) {
        device->driver->tick(device);
    }
    kick_all(device);
}

void vds_guest_device_set_timer(VdsGuestDevice *device, bool on)
{
    enum { TICKS_MAX = 1000, NS_PER_S = 1000000000 };
    uint32_t ticks = MIN(device->config.rate, TICKS_MAX);

    if (!device->timer) {
        return;
    }
    on = on && device->life == VDS_GUEST_DRIVEN;
    device->per_tick = device->config.rate / ticks;
    vds_io_timer_set(device->timer, on ? NS_PER_S / ticks : 0, NS_PER_S / ticks);
}

/* ---- coming and going
 * ------------------------------------------------------------------
 */

static bool negotiate(VdsGuestDevice *device, GError **error)
{
    const VdsGuestDriver *driver = device->driver;
    VdsFeatures offered = vds_virtio_driver_get_features(device->virtio);
    uint64_t known = (driver->features | transport_features) & ~driver->refused;
    uint8_t status = vds_virtio_driver_get_status(device->virtio);

    if (!vds_features_has(&offered, VDS_F_VERSION_1)) {
        known &= UINT32_MAX; /* a legacy interface has one word (4.1.4.8) */
    }
    device->features = (VdsFeatures){{offered.word[0] & known}};
    if (!vds_virtio_driver_set_features(device->virtio, &device->features, error)) {
        return false;
    }
    /* a legacy device has no FEATURES_OK (3.1.2) */
    return !vds_guest_device_has(device, VDS_F_VERSION_1) ||
           vds_virtio_driver_set_status(device->virtio, status | VDS_STATUS_FEATURES_OK,
                                        error);
}

static bool set_up_queues(VdsGuestDevice *device, GError **error)
{
    for (unsigned i = 0; i < device->n_queues; i++) {
        const VdsGuestQueue *queue = device->queues[i];
        const VdsQueueSetup setup = {
            .num = queue->num,
            .desc = queue->desc,
            .avail = queue->avail,
            .used = queue->used,
        };

        vds_virtio_driver_select_queue(device->virtio, (uint16_t)i);
        if (!vds_virtio_driver_set_queue(device->virtio, i, &setup, error)) {
            return false;
        }
    }
    for (unsigned i = 0; i < device->n_queues; i++) {
        vds_virtio_driver_select_queue(device->virtio, (uint16_t)i);
        if (!vds_virtio_driver_enable_queue(device->virtio, i, error)) {
            return false;
        }
    }
    return true;
}

static bool listen(VdsGuestDevice *device, GError **error)
{
    VdsIoThread *thread = vds_guest_get_thread(device->guest);
    int fd = vds_virtio_driver_get_interrupt_fd(device->virtio);

    if (fd >= 0) {
        device->watch =
            vds_io_watch_new(thread, fd, EPOLLIN, on_interrupt, device, error);
        if (!device->watch) {
            return false;
        }
    }
    if (device->config.workload == VDS_WORKLOAD_LIGHT) {
        device->timer = vds_io_timer_new(thread, on_tick, device, error);
        return device->timer != NULL;
    }
    return true;
}

static bool drive(VdsGuestDevice *device, GError **error)
{
    const VdsGuestDriver *driver = device->driver;

    if (!vds_virtio_driver_set_status(
            device->virtio, VDS_STATUS_ACKNOWLEDGE | VDS_STATUS_DRIVER, error) ||
        !negotiate(device, error)) {
        return false;
    }
    device->state = g_malloc0(driver->state_bytes);
    if (!driver->plan(device, error) || !set_up_queues(device, error) ||
        !listen(device, error) ||
        !vds_virtio_driver_set_status(
            device->virtio,
            vds_virtio_driver_get_status(device->virtio) | VDS_STATUS_DRIVER_OK, error)) {
        return false;
    }
    device->life = VDS_GUEST_DRIVEN;
    if (!driver->start(device, error)) {
        return false;
    }
    vds_guest_device_set_timer(device, true);
    kick_all(device);
    return true;
}

/* A device without a driver is left acknowledged, as Linux leaves it; one whose requests
 * this process does not serve is no different. */
void vds_guest_device_probe(VdsGuestDevice *device)
{
    bool served = vds_virtio_device_get_io_thread(device->virtio) != NULL;
    uint16_t id = vds_virtio_device_get_id(device->virtio);
    GError *error = NULL;

    device->driver = served ? vds_guest_driver_find(id) : NULL;
    device->life = VDS_GUEST_IDLE;
    if (!vds_virtio_driver_set_status(device->virtio, 0, &error) ||
        !vds_virtio_driver_set_status(device->virtio, VDS_STATUS_ACKNOWLEDGE, &error) ||
        (device->driver && !drive(device, &error))) {
        vds_guest_device_fail(device, error);
    }
}

/* The reset comes first: afterwards the device touches no memory (2.4.1). */
void vds_guest_device_let_go(VdsGuestDevice *device)
{
    if (device->life == VDS_GUEST_GONE) {
        return;
    }
    device->life = VDS_GUEST_GONE;
    device->interrupted = false;
    vds_io_timer_free(device->timer);
    device->timer = NULL;
    vds_io_watch_free(device->watch);
    device->watch = NULL;
    vds_virtio_driver_set_status(device->virtio, 0, NULL);
    if (device->state && device->driver->clear) {
        device->driver->clear(device);
    }
    g_clear_pointer(&device->state, g_free);
    for (unsigned i = 0; i < device->n_queues; i++) {
        vds_guest_queue_free(device->queues[i]);
    }
    g_clear_pointer(&device->queues, g_free);
    device->n_queues = 0;
}

void vds_guest_device_free(VdsGuestDevice *device)
{
    g_free(device->last_error);
    g_free(device);
}
