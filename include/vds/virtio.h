/*
 * virtio: what every virtio device has: status, features, queues, the vhost side; and
 * the tables that name bits and device ids.  Knows no transport's registers, no path and
 * no request format.
 */
#pragma once

#include "vds/vring.h"

#define VDS_VIRTIO_ERROR (vds_virtio_error_quark())
GQuark vds_virtio_error_quark(void);
typedef enum {
    VDS_VIRTIO_ERROR_PROPERTY, /* a property of a device is unknown or out of range */
    VDS_VIRTIO_ERROR_BACKEND,  /* what a device is to be wired to is missing or unfit */
    VDS_VIRTIO_ERROR_STATE,    /* a recorded state that contradicts itself */
} VdsVirtioError;

#define VDS_VIRTIO_MAX_QUEUES 1024 /* as QEMU counts */

/* Feature bits 0..63 and 64..127. */
typedef struct {
    uint64_t word[2];
} VdsFeatures;

enum { /* the bits the core itself acts on (virtio 1.2, 6) */
       VDS_F_RING_INDIRECT_DESC = 28,
       VDS_F_RING_EVENT_IDX = 29,
       VDS_F_VERSION_1 = 32,
       VDS_F_RING_PACKED = 34,
};

static inline bool vds_features_has(const VdsFeatures *features, unsigned bit)
{
    return (features->word[bit / 64] >> (bit % 64)) & 1;
}

typedef enum { VDS_ENDIAN_LITTLE, VDS_ENDIAN_BIG, VDS_ENDIAN_UNKNOWN } VdsEndian;

/* ---- state ----------------------------------------------------------------------------
 */

/* The vhost device behind a virtio device, as VhostStatus shows it. */
typedef struct {
    int64_t n_mem_sections, n_tmp_sections;
    uint32_t nvqs;
    int64_t vq_index;
    VdsFeatures features, acked_features, backend_features;
    uint64_t protocol_features;
    uint64_t max_queues, backend_cap;
    bool log_enabled;
    uint64_t log_size;
} VdsVhostState;

/* What x-query-virtio-status needs, plain and O(1) to copy. */
typedef struct {
    uint16_t device_id;
    VdsEndian endian;
    VdsFeatures guest_features, host_features, backend_features;
    uint32_t num_vqs; /* queues from 0 up to the first whose size is 0 */
    uint8_t status, isr;
    uint16_t queue_sel;
    bool vm_running, broken, disabled;
    bool use_started, started, start_on_kick;
    bool disable_legacy_check, use_guest_notifier_mask;
    const char *bus_name; /* borrowed from the device; "" when it has no bus */
    bool vhost_started;   /* then `vhost` counts */
    VdsVhostState vhost;
} VdsDeviceState;

typedef struct VdsVirtioDevice VdsVirtioDevice;

/* Reads of one moment; both never touch guest memory and never wait. */
void vds_virtio_device_get_state(const VdsVirtioDevice *device, VdsDeviceState *state);
/* false: no such queue (n >= 1024, or its size is 0).  state->map is borrowed. */
bool vds_virtio_device_get_queue(const VdsVirtioDevice *device, unsigned n,
                                 VdsQueueState *state);
uint16_t vds_virtio_device_get_id(const VdsVirtioDevice *device);
/* A recorded device does not follow the machine's run state or its resets. */
bool vds_virtio_device_is_recorded(const VdsVirtioDevice *device);

/* ---- a device from a recording ----------------------------------------------------- */

/* Copies everything and takes references to the maps; `packed`, `event_idx` and
 * `big_endian` of the queues are derived from the features here.  num_vqs is derived from
 * the queues. */
VdsVirtioDevice *vds_virtio_device_new_recorded(const VdsDeviceState *state,
                                                const VdsQueueState *queues,
                                                size_t n_queues, GError **error);
void vds_virtio_device_free(VdsVirtioDevice *device); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsVirtioDevice, vds_virtio_device_free)

/* ---- names (from qapi/features.json) --------------------------------------------------
 */

/* The name that goes with a device id: "virtio-net"; an id nobody named is
 * "virtio-device-N" in a string of the table's lifetime. */
const char *vds_virtio_id_name(uint16_t device_id);

/* Decoded words, in QEMU's order of emission; strings are constants. */
typedef struct {
    const char *transports[64];
    unsigned n_transports;
    const char *dev_features[64];
    unsigned n_dev_features;
    uint64_t unknown; /* bits below 64 that have no name for this device */
} VdsFeatureNames;
void vds_virtio_features_decode(uint16_t device_id, const VdsFeatures *features,
                                VdsFeatureNames *names);

typedef struct {
    const char *names[64];
    unsigned n;
    uint64_t unknown;
} VdsBitNames;
void vds_virtio_status_decode(uint8_t status, VdsBitNames *names);
void vds_virtio_protocols_decode(uint64_t protocol_features, VdsBitNames *names);
/* used, avail, indirect, write, next; other bits are dropped, unknown stays 0. */
void vds_virtio_desc_flags_decode(uint16_t flags, VdsBitNames *names);
