/*
 * virtio: a device from a recording: its state checked and taken over, and never changed.
 * Refuses to know files and paths.
 */
#include "device-priv.h"

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
    device = vds_device_alloc(n_queues);
    device->recorded = true;
    device->recorded_queues = g_new0(VdsQueueState, n_queues);
    device->state = *state;
    device->state.bus_name = g_strdup(state->bus_name ? state->bus_name : "");
    for (size_t i = 0; i < n_queues; i++) {
        device->recorded_queues[i] = queues[i];
        device->recorded_queues[i].map = vds_guest_map_ref(queues[i].map);
        device->sizes[i] = (uint16_t)queues[i].num;
        queue_derive(state, &device->recorded_queues[i]);
    }
    vds_device_count_queues(device);
    return device;
}
