/*
 * virtio: the device itself: made and freed, and what it tells of itself and of its
 * queues at any time.  Refuses to know transports, paths and kinds.
 * virtio 1.2, 2.1 (status), 2.6 (virtqueues).
 */
#include <string.h>

#include "device-priv.h"

/* The legacy layout's alignment; QEMU shows it for modern devices as well. */
enum { RING_ALIGN = 4096 };

VdsVirtioDevice *vds_device_alloc(size_t n_queues)
{
    VdsVirtioDevice *device =
        g_malloc0(sizeof(VdsVirtioDevice) + n_queues * sizeof(uint16_t));

    device->n_queues = (uint32_t)n_queues;
    pthread_mutex_init(&device->lock, NULL);
    return device;
}

void vds_device_count_queues(VdsVirtioDevice *device)
{
    uint32_t n = 0;

    while (n < device->n_queues && device->sizes[n] != 0) {
        n++;
    }
    device->state.num_vqs = n;
}

VdsVirtioDevice *vds_virtio_device_new(const VdsVirtioConfig *config)
{
    VdsVirtioDevice *device;

    g_assert(config->n_queues <= VDS_VIRTIO_MAX_QUEUES);
    g_assert(config->config_len_bytes <= VDS_VIRTIO_MAX_CONFIG);
    g_assert(!config->ops || config->io_thread);
    device = vds_device_alloc(config->n_queues);
    for (unsigned i = 0; i < config->n_queues; i++) {
        device->sizes[i] = config->queue_sizes[i];
    }
    device->state = (VdsDeviceState){
        .device_id = config->device_id,
        .endian = VDS_ENDIAN_LITTLE,
        .host_features = config->host_features,
        .use_started = config->use_started,
        .disable_legacy_check = config->disable_legacy_check,
        .use_guest_notifier_mask = true,
        .bus_name = g_strdup(config->bus_name ? config->bus_name : ""),
    };
    vds_device_count_queues(device);
    if (config->ops) {
        device->ops = config->ops;
        device->instance = config->instance;
        device->thread = vds_io_thread_ref(config->io_thread);
    }
    device->config_len = config->config_len_bytes;
    device->config = g_memdup2(config->config, config->config_len_bytes);
    return device;
}

static void free_queues(VdsVirtioDevice *device)
{
    for (uint32_t i = 0; i < device->n_queues; i++) {
        if (device->recorded_queues) {
            vds_guest_map_unref(device->recorded_queues[i].map);
        }
        if (device->queues) {
            vds_queue_free(device->queues[i]);
        }
    }
    g_free(device->recorded_queues);
    g_free(device->queues);
}

void vds_virtio_device_free(VdsVirtioDevice *device)
{
    if (!device) {
        return;
    }
    vds_device_close(device);
    if (device->ops && device->ops->free) {
        device->ops->free(device->instance);
    }
    free_queues(device);
    vds_doorbell_free(atomic_load_explicit(&device->kicks, memory_order_relaxed));
    vds_doorbell_free(atomic_load_explicit(&device->interrupts, memory_order_relaxed));
    vds_guest_map_unref(device->map);
    vds_inflight_unref(device->inflight);
    vds_io_thread_unref(device->thread);
    pthread_mutex_destroy(&device->lock);
    g_free(device->broken_reason);
    g_free(device->last_refusal);
    g_free(device->fault.reason);
    g_free(device->config);
    g_free((char *)device->state.bus_name);
    g_free(device);
}

/* ---- queries -------------------------------------------------------------------- */

void vds_virtio_device_get_state(const VdsVirtioDevice *device, VdsDeviceState *state)
{
    vds_device_lock(device);
    *state = device->state;
    vds_device_unlock(device);
    if (!device->recorded) {
        state->isr = (uint8_t)atomic_load_explicit(&device->isr, memory_order_relaxed);
    }
}

/* Before any driver.  Both wrap counters start at 1 (virtio 1.2, 2.8.1). */
static VdsQueueState idle_queue(const VdsVirtioDevice *device, unsigned n)
{
    const VdsFeatures *features = &device->state.guest_features;

    return (VdsQueueState){
        .packed = vds_features_has(features, VDS_F_RING_PACKED),
        .event_idx = vds_features_has(features, VDS_F_RING_EVENT_IDX),
        .num = device->sizes[n],
        .num_default = device->sizes[n],
        .align = RING_ALIGN,
        .has_last_avail = true,
        .has_shadow_avail = true,
        .has_wraps = true,
        .last_avail_wrap = true,
        .used_wrap = true,
        .source = VDS_INDEX_OWNED,
    };
}

/* As QEMU shows a vhost device at work: whoever is the device knows the position, and
 * nobody that of a queue which is not among its own. */
static void show_as_vhost(VdsQueueState *state)
{
    state->has_shadow_avail = false;
    state->has_last_avail = state->has_last_avail && state->has_vhost;
}

static bool read_queue(const VdsVirtioDevice *device, unsigned n, bool any_size,
                       VdsQueueState *state)
{
    bool found;

    vds_device_lock(device);
    found = n < device->n_queues && (any_size || device->sizes[n] != 0);
    if (found && device->recorded) {
        *state = device->recorded_queues[n];
    } else if (found) {
        *state = idle_queue(device, n);
        if (device->queues && device->queues[n]) {
            vds_queue_get_state(device->queues[n], state);
        }
        if (device->state.vhost_started) {
            show_as_vhost(state);
        }
    }
    vds_device_unlock(device);
    return found;
}

bool vds_virtio_device_get_queue(const VdsVirtioDevice *device, unsigned n,
                                 VdsQueueState *state)
{
    return read_queue(device, n, false, state);
}

bool vds_virtio_device_get_vhost_queue(const VdsVirtioDevice *device, unsigned n,
                                       VdsQueueState *state)
{
    return read_queue(device, n, true, state) && state->has_vhost;
}

uint16_t vds_virtio_device_get_id(const VdsVirtioDevice *device)
{
    return device->state.device_id; /* constant */
}

bool vds_virtio_device_is_recorded(const VdsVirtioDevice *device)
{
    return device->recorded;
}

static char *copy_text(const VdsVirtioDevice *device, char *const *text)
{
    char *copy;

    vds_device_lock(device);
    copy = g_strdup(*text);
    vds_device_unlock(device);
    return copy;
}

char *vds_virtio_device_get_broken_reason(const VdsVirtioDevice *device)
{
    return copy_text(device, &device->broken_reason);
}

char *vds_virtio_device_get_last_refusal(const VdsVirtioDevice *device)
{
    return copy_text(device, &device->last_refusal);
}

/* ---- for the device's own part ------------------------------------------------------
 */

VdsVirtQueue *vds_virtio_device_get_virt_queue(VdsVirtioDevice *device, unsigned n)
{
    return device->queues && n < device->n_queues ? device->queues[n] : NULL;
}

VdsFeatures vds_virtio_device_get_features(const VdsVirtioDevice *device)
{
    VdsFeatures features;

    vds_device_lock(device);
    features = device->state.guest_features;
    vds_device_unlock(device);
    return features;
}

bool vds_virtio_device_has_feature(const VdsVirtioDevice *device, unsigned bit)
{
    VdsFeatures features = vds_virtio_device_get_features(device);

    return vds_features_has(&features, bit);
}

void vds_virtio_device_set_queue_size(VdsVirtioDevice *device, unsigned n, uint16_t size)
{
    g_assert(n < device->n_queues);
    vds_device_lock(device);
    device->sizes[n] = size;
    vds_device_count_queues(device);
    vds_device_unlock(device);
}

bool vds_virtio_device_is_active(const VdsVirtioDevice *device)
{
    return device->active;
}

VdsIoThread *vds_virtio_device_get_io_thread(const VdsVirtioDevice *device)
{
    return device->thread;
}

void vds_virtio_device_get_config(const VdsVirtioDevice *device, unsigned offset,
                                  void *to, unsigned len)
{
    g_assert(offset <= device->config_len && len <= device->config_len - offset);
    vds_device_lock(device);
    memcpy(to, device->config + offset, len);
    vds_device_unlock(device);
}

void vds_virtio_device_count_torn(VdsVirtioDevice *device)
{
    device->torn++;
}

uint64_t vds_virtio_device_get_torn_count(const VdsVirtioDevice *device)
{
    return device->torn;
}
