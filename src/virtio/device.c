/*
 * virtio: the device itself: its state, its queues, and what both are before a driver
 * comes or after it was recorded.  Refuses to know transports, paths and kinds.
 * virtio 1.2, 2.1 (status), 2.2 (features), 2.4 (reset), 2.6 (virtqueues).
 */
#include <string.h>

#include "vds/virtio.h"

/* The legacy layout's alignment; QEMU shows it for modern devices as well. */
enum { RING_ALIGN = 4096 };

struct VdsVirtioDevice {
    VdsDeviceState state; /* bus_name is owned */
    bool recorded;
    uint32_t n_queues;
    VdsQueueState *queues; /* (nullable) n_queues of them, each with a reference to its
                              map; NULL while no driver touched one */
    uint16_t sizes[];      /* of each queue before a driver chose */
};

static VdsVirtioDevice *device_alloc(size_t n_queues)
{
    VdsVirtioDevice *device =
        g_malloc0(sizeof(VdsVirtioDevice) + n_queues * sizeof(uint16_t));

    device->n_queues = (uint32_t)n_queues;
    return device;
}

static uint32_t count_queues(const VdsVirtioDevice *device)
{
    uint32_t n = 0;

    while (n < device->n_queues && device->sizes[n] != 0) {
        n++;
    }
    return n;
}

VdsVirtioDevice *vds_virtio_device_new(const VdsVirtioConfig *config)
{
    VdsVirtioDevice *device;

    g_assert(config->n_queues <= VDS_VIRTIO_MAX_QUEUES);
    device = device_alloc(config->n_queues);
    for (unsigned i = 0; i < config->n_queues; i++) {
        device->sizes[i] = config->queue_sizes[i];
    }
    device->state = (VdsDeviceState){
        .device_id = config->device_id,
        .endian = VDS_ENDIAN_LITTLE,
        .host_features = config->host_features,
        .num_vqs = count_queues(device),
        .use_started = config->use_started,
        .disable_legacy_check = config->disable_legacy_check,
        .use_guest_notifier_mask = true,
        .bus_name = g_strdup(config->bus_name ? config->bus_name : ""),
    };
    return device;
}

void vds_virtio_device_free(VdsVirtioDevice *device)
{
    if (!device) {
        return;
    }
    for (uint32_t i = 0; device->queues && i < device->n_queues; i++) {
        vds_guest_map_unref(device->queues[i].map);
    }
    g_free(device->queues);
    g_free((char *)device->state.bus_name);
    g_free(device);
}

/* ---- recorded ------------------------------------------------------------------- */

static bool recorded_queue_check(const VdsDeviceState *state, const VdsQueueState *queue,
                                 size_t n, GError **error)
{
    const VdsVhostState *vhost = &state->vhost;
    bool in_vhost = state->vhost_started && vhost->vq_index >= 0 &&
                    n >= (uint64_t)vhost->vq_index &&
                    n - (uint64_t)vhost->vq_index < vhost->nvqs;

    if (queue->num > VDS_VRING_MAX_NUM || queue->num_default > VDS_VRING_MAX_NUM) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_STATE,
                    "queue %zu has %u entries (default %u), expected at most %d", n,
                    queue->num, queue->num_default, VDS_VRING_MAX_NUM);
        return false;
    }
    if (queue->has_vhost != in_vhost) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_STATE,
                    "queue %zu %s the vhost device's range, yet its vhost part is %s", n,
                    in_vhost ? "lies in" : "lies outside",
                    queue->has_vhost ? "there" : "missing");
        return false;
    }
    return true;
}

/* A ring's layout follows from what was negotiated (virtio 1.2, 2.8 and 2.7.10); its
 * byte order is the guest's only without VERSION_1 (2.4.3). */
static void queue_derive(const VdsDeviceState *state, VdsQueueState *queue)
{
    const VdsFeatures *guest = &state->guest_features;

    queue->packed = vds_features_has(guest, VDS_F_RING_PACKED);
    queue->event_idx = vds_features_has(guest, VDS_F_RING_EVENT_IDX);
    queue->big_endian =
        state->endian == VDS_ENDIAN_BIG && !vds_features_has(guest, VDS_F_VERSION_1);
}

VdsVirtioDevice *vds_virtio_device_new_recorded(const VdsDeviceState *state,
                                                const VdsQueueState *queues,
                                                size_t n_queues, GError **error)
{
    VdsVirtioDevice *device;

    if (n_queues > VDS_VIRTIO_MAX_QUEUES) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_STATE,
                    "a device of %zu queues, expected at most %d", n_queues,
                    VDS_VIRTIO_MAX_QUEUES);
        return NULL;
    }
    for (size_t i = 0; i < n_queues; i++) {
        if (!recorded_queue_check(state, &queues[i], i, error)) {
            return NULL;
        }
    }
    device = device_alloc(n_queues);
    device->recorded = true;
    device->queues = g_new0(VdsQueueState, n_queues);
    device->state = *state;
    device->state.bus_name = g_strdup(state->bus_name ? state->bus_name : "");
    for (size_t i = 0; i < n_queues; i++) {
        device->queues[i] = queues[i];
        device->queues[i].map = vds_guest_map_ref(queues[i].map);
        device->sizes[i] = (uint16_t)queues[i].num;
        queue_derive(state, &device->queues[i]);
    }
    device->state.num_vqs = count_queues(device);
    return device;
}

/* ---- queries -------------------------------------------------------------------- */

void vds_virtio_device_get_state(const VdsVirtioDevice *device, VdsDeviceState *state)
{
    *state = device->state;
}

bool vds_virtio_device_get_queue(const VdsVirtioDevice *device, unsigned n,
                                 VdsQueueState *state)
{
    if (n >= device->n_queues || device->sizes[n] == 0) {
        return false;
    }
    if (device->queues) {
        *state = device->queues[n];
        return true;
    }
    *state = (VdsQueueState){
        .num = device->sizes[n],
        .num_default = device->sizes[n],
        .align = RING_ALIGN,
        .has_last_avail = true,
        .has_shadow_avail = true,
        .has_wraps = true, /* both counters start at 1 (virtio 1.2, 2.8.1) */
        .last_avail_wrap = true,
        .used_wrap = true,
        .source = VDS_INDEX_OWNED,
    };
    return true;
}

uint16_t vds_virtio_device_get_id(const VdsVirtioDevice *device)
{
    return device->state.device_id;
}

bool vds_virtio_device_is_recorded(const VdsVirtioDevice *device)
{
    return device->recorded;
}

/* ---- life ----------------------------------------------------------------------- */

void vds_virtio_device_set_running(VdsVirtioDevice *device, bool running)
{
    if (!device->recorded) {
        device->state.vm_running = running;
    }
}

void vds_virtio_device_reset(VdsVirtioDevice *device)
{
    VdsDeviceState *state = &device->state;

    if (device->recorded) {
        return;
    }
    state->guest_features = (VdsFeatures){{0}};
    state->status = 0;
    state->isr = 0;
    state->queue_sel = 0;
    state->broken = false;
    state->started = false;
    state->disabled = false;
}
