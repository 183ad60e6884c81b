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
    VDS_VIRTIO_ERROR_PROPERTY,  /* a property of a device is unknown or out of range */
    VDS_VIRTIO_ERROR_BACKEND,   /* what a device is to be wired to is missing or unfit */
    VDS_VIRTIO_ERROR_NO_OBJECT, /* a link names no object (QMP class DeviceNotFound) */
    VDS_VIRTIO_ERROR_STATE,     /* a recorded state that contradicts itself */
} VdsVirtioError;

#define VDS_VIRTIO_MAX_QUEUES 1024 /* as QEMU counts */

/* Feature bits 0..63 and 64..127. */
typedef struct {
    uint64_t word[2];
} VdsFeatures;

enum { /* the bits the core itself acts on (virtio 1.2, 6) */
       VDS_F_NOTIFY_ON_EMPTY = 24,
       VDS_F_ANY_LAYOUT = 27,
       VDS_F_RING_INDIRECT_DESC = 28,
       VDS_F_RING_EVENT_IDX = 29,
       VDS_F_BAD_FEATURE = 30, /* QEMU's: set by virtio-pci, no driver acknowledges it */
       VDS_F_VERSION_1 = 32,
       VDS_F_ACCESS_PLATFORM = 33,
       VDS_F_RING_PACKED = 34,
       VDS_F_RING_RESET = 40,
};

static inline bool vds_features_has(const VdsFeatures *features, unsigned bit)
{
    return (features->word[bit / 64] >> (bit % 64)) & 1;
}

static inline void vds_features_set(VdsFeatures *features, unsigned bit, bool on)
{
    uint64_t mask = UINT64_C(1) << (bit % 64);

    features->word[bit / 64] =
        on ? features->word[bit / 64] | mask : features->word[bit / 64] & ~mask;
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

/* ---- a device of this process ------------------------------------------------------ */

/* What a device is before any driver found it.  A plain value; new() copies all of it. */
typedef struct {
    uint16_t device_id;
    VdsFeatures host_features;
    const uint16_t *queue_sizes; /* one a queue; 0 leaves a gap */
    unsigned n_queues;           /* at most VDS_VIRTIO_MAX_QUEUES */
    const char *bus_name;        /* (nullable) of its child bus */
    bool use_started;
    bool disable_legacy_check;
} VdsVirtioConfig;

/* Status 0, no ring set up.  An idle device costs a few hundred bytes and no
 * descriptor: the state of a queue is made when a driver first touches one. */
VdsVirtioDevice *vds_virtio_device_new(const VdsVirtioConfig *config);
/* The machine's run state, and a reset as by the driver (virtio 1.2, 2.4).  Recorded
 * devices keep what was recorded. */
void vds_virtio_device_set_running(VdsVirtioDevice *device, bool running);
void vds_virtio_device_reset(VdsVirtioDevice *device);

/* ---- typed properties ----------------------------------------------------------------
 */

typedef struct VdsProperty VdsProperty;
typedef struct VdsPropertySet VdsPropertySet;
typedef struct VdsDeviceHost VdsDeviceHost;

typedef struct {
    uint64_t number; /* also bool, a word's position, and int as two's complement */
    char *text;      /* (nullable) owned by the set */
} VdsPropertyValue;

/* What parsing a value may need beside the value. */
typedef struct {
    const char *owner; /* the type that QEMU names in errors */
    const VdsDeviceHost *host;
} VdsPropertyContext;

/* How values of one type are read and shown. */
typedef struct {
    const char *name; /* QEMU's word; a row's type_name goes before it */
    /* text is never NULL; *value is zeroed */
    bool (*parse)(const VdsProperty *property, const VdsPropertyContext *context,
                  const char *text, VdsPropertyValue *value, GError **error);
    void (*show)(const VdsProperty *property, const VdsPropertyValue *value,
                 VdsProp *to); /* to->name is set by the caller */
    uint64_t min, max;
    const char *const *words; /* enumerations, NULL-terminated */
} VdsPropertyType;

extern const VdsPropertyType vds_property_bool, vds_property_uint16, vds_property_uint32,
    vds_property_uint64, vds_property_int32, vds_property_int64, vds_property_size,
    vds_property_str, vds_property_mac, vds_property_pci_address,
    vds_property_on_off_auto, vds_property_on_error;
/* These name a part that must exist: the row's `backend` says of what kind; an exclusive
 * one refuses a second user. */
extern const VdsPropertyType vds_property_backend, vds_property_chardev,
    vds_property_link;

/* A row of a table; a row without name ends it. */
struct VdsProperty {
    const char *name;
    const VdsPropertyType *type;
    const char *type_name;     /* (nullable) as shown: "link<rng-backend>" */
    const char *description;   /* (nullable) */
    uint64_t fallback;         /* the default's number */
    const char *fallback_text; /* (nullable) the default's text */
    bool unset;                /* no default is shown */
    bool feature;              /* a boolean that offers feature bit `bit` */
    uint8_t bit;
    const char *backend; /* "netdev", "chardev", "object", ... */
    bool exclusive;      /* one user at a time */
};

/* ---- device kinds ---------------------------------------------------------------------
 */

/* A row of the table of kinds is one VdsDeviceClass: the type names by which it can be
 * asked for, with their properties, and one function that makes a device.  A row need not
 * be a virtio device: ports, bridges and devices that bring others are rows, too. */
typedef struct VdsDeviceClass VdsDeviceClass;

/* What the machine does for a row while one of its devices is made. */
struct VdsDeviceHost {
    void *machine;
    void *device; /* the one being made */
    /* (nullable) the properties that -netdev, -object, ... were given */
    const VdsProps *(*find_backend)(const VdsDeviceHost *host, const char *kind,
                                    const char *id);
    /* The part is this device's until it goes; false when it is another's already. */
    bool (*claim_backend)(const VdsDeviceHost *host, const char *kind, const char *id);
    /* Puts one more device (transfer full, also on error) at an absolute path that is
     * free; it goes with this one.  The last one put is listed first. */
    bool (*put)(const VdsDeviceHost *host, const char *path, VdsVirtioDevice *device,
                GError **error);
    /* What devices of one machine share by name: made with the first that asks, and freed
     * behind the last device of the machine.  Borrowed. */
    void *(*share)(const VdsDeviceHost *host, const char *name,
                   void *(*create)(const char *name), GDestroyNotify destroy);
};

/* One name by which a row is asked for, or an abstract parent in QOM's type tree. */
typedef struct {
    const char *name;
    const char *parent;
    const char *alias;             /* (nullable) taken by -device as well */
    bool abstract;                 /* listed as a type, never made */
    const char *bus_type;          /* (nullable) type of the bus it needs; NULL: none */
    const char *backend_type;      /* (nullable) the virtio device is a child node of this
                                      type, "virtio-backend"; NULL: it is the node itself */
    const VdsProperty *const *own; /* (nullable) NULL-terminated tables */
    const VdsProperty *const *backend; /* (nullable) those of the virtio device; shown on
                                          the node above it as well */
    const void *form;                  /* the row's own: how this name differs */
} VdsDeviceType;

typedef struct {
    const VdsDeviceClass *class;
    const VdsDeviceType *type;
    const char *id;   /* (nullable) */
    const char *path; /* of the node to be */
    const VdsPropertySet *properties;
    const VdsDeviceHost *host;
    void *bus_data; /* (nullable) of the bus it is plugged into: its owner's */
} VdsDeviceArgs;

/* What a row made.  Everything is (transfer full) on success and untouched on error. */
typedef struct {
    VdsVirtioDevice *virtio; /* (nullable) */
    const char *bus_type;    /* (nullable) it brings a bus of this type */
    char *bus_name;          /* (nullable) */
    void *bus_data;          /* (nullable) handed to what is plugged in */
    GDestroyNotify bus_free; /* of bus_data */
    void *instance;          /* (nullable) the row's own */
} VdsDeviceParts;

struct VdsDeviceClass {
    const VdsDeviceType *types; /* a row without name ends it */
    const void *data;           /* the row's own constants */
    bool (*realize)(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error);
    /* (nullable) before the bus it is plugged into goes */
    void (*unrealize)(void *instance, void *bus_data);
    /* (nullable) a property known only at run time; false: not one of these */
    bool (*get)(void *instance, const char *name, VdsProp *value);
};

/* Calls func for each property of the type: its own, then its backend's. */
typedef void (*VdsDevicePropertyFunc)(const VdsProperty *property, bool backend,
                                      void *user);
void vds_device_type_foreach_property(const VdsDeviceType *type,
                                      VdsDevicePropertyFunc func, void *user);
/* (nullable) */
const VdsProperty *vds_device_type_find_property(const VdsDeviceType *type,
                                                 const char *name, bool *backend);

/* The values given for a device of this type; `driver`, `id` and `bus` are skipped, as
 * the machine reads these.  PROPERTY, BACKEND or NO_OBJECT with QEMU's text.
 * (transfer full) */
VdsPropertySet *vds_property_set_new(const VdsDeviceType *type, const VdsProps *props,
                                     const VdsDeviceHost *host, GError **error);
void vds_property_set_free(VdsPropertySet *set); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsPropertySet, vds_property_set_free)

/* The value given, else the default.  The type must have a property of that name. */
bool vds_property_set_get_bool(const VdsPropertySet *set, const char *name);
uint64_t vds_property_set_get_uint(const VdsPropertySet *set, const char *name);
const char *vds_property_set_get_text(const VdsPropertySet *set,
                                      const char *name);                /* (nullable) */
bool vds_property_set_has(const VdsPropertySet *set, const char *name); /* was given */
/* The feature bits of all boolean feature rows that are on. */
VdsFeatures vds_property_set_features(const VdsPropertySet *set);
/* As qom-get shows it: everything but the name; the caller clears. */
void vds_property_set_show(const VdsPropertySet *set, const VdsProperty *property,
                           VdsProp *value);

/* ---- names (from qapi/features.json) --------------------------------------------------
 */

/* The name that goes with a device id: "virtio-net"; "virtio-device" for every id that
 * nobody named (the id itself stands beside the name in every reply).  A constant. */
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
