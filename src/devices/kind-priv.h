/*
 * devices: what the rows of this room share: the forms in which a virtio device is asked
 * for, the macros that spell tables, and the one function that realizes most rows.
 */
#pragma once

#include "vds/devices.h"

/* Bytes of configuration space that a kind may have. */
enum { VDS_KIND_MAX_CONFIG = 64 };

/* What a device offers while it is being planned. */
typedef struct {
    uint16_t device_id;   /* in: the kind's */
    VdsFeatures features; /* in: of the properties and the form; out: offered */
    unsigned n_queues;
    uint16_t sizes[VDS_VIRTIO_MAX_QUEUES];
    /* The request path, if the kind has one. */
    const VdsDeviceOps *ops;  /* (nullable) */
    void *instance;           /* (transfer full) by ops->free, also when realize fails */
    VdsVirtioDevice **device; /* where the instance wants to know its device */
    uint8_t config[VDS_KIND_MAX_CONFIG]; /* little-endian */
    unsigned config_len_bytes;
} VdsKindPlan;

/* The constants of a kind: VdsDeviceClass.data. */
typedef struct {
    uint16_t device_id;
    bool modern;          /* its PCI forms have no legacy interface */
    uint64_t features;    /* always offered */
    const char *bus_type; /* (nullable) of the bus it brings */
    /* Queues and what depends on more than one property; PROPERTY or BACKEND. */
    bool (*plan)(const VdsDeviceArgs *args, VdsKindPlan *plan, GError **error);
    /* (nullable) the data of its bus */
    void (*bring)(const VdsDeviceArgs *args, const VdsKindPlan *plan,
                  VdsDeviceParts *parts);
} VdsKind;

/* VdsDeviceClass.realize of every virtio row: form, plan, device. */
bool vds_kind_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error);

/* The I/O thread a device is to run on: the one that its property "iothread" names, else
 * the machine's.  Borrowed. */
VdsIoThread *vds_kind_io_thread(const VdsDeviceArgs *args);

/* n more queues of this size; 0 is room for queues that come with a feature. */
void vds_kind_add_queues(VdsKindPlan *plan, unsigned n, unsigned size);

/* One phrase, code PROPERTY; returns false. */
#define vds_kind_refuse(error, ...)                                                      \
    vds_refuse(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY, __VA_ARGS__)

/* (nullable) the properties of the part that a property names. */
const VdsProps *vds_kind_backend(const VdsDeviceArgs *args, const char *kind,
                                 const char *property);
/* The object that link property `property` names becomes this device's alone. */
bool vds_kind_claim_link(const VdsDeviceArgs *args, const char *property,
                         const char **id);

/* ---- served: the driver is a vhost-user front-end (kind-served.c) -------------------
 */

bool vds_kind_is_served(const VdsDeviceArgs *args);
/* Checks the properties that are about it, and makes the features those of a back-end;
 * nothing for a device that is not served.  PROPERTY. */
bool vds_kind_serve(const VdsDeviceArgs *args, VdsFeatures *features, GError **error);

/* ---- forms ------------------------------------------------------------------------ */

/* How a virtio device is attached: VdsDeviceType.form. */
typedef struct VdsForm VdsForm;
extern const VdsForm vds_form_pci, vds_form_pci_transitional,
    vds_form_pci_non_transitional, vds_form_mmio;

/* ---- tables of properties ---------------------------------------------------------- */

#define VDS_ROW_BOOL(row_name, on)                                                       \
    {                                                                                    \
        .name = row_name, .type = &vds_property_bool, .description = "on/off",           \
        .fallback = on                                                                   \
    }
#define VDS_ROW_FEATURE(row_name, row_bit, on)                                           \
    {                                                                                    \
        .name = row_name, .type = &vds_property_bool, .description = "on/off",           \
        .fallback = on, .feature = true, .bit = row_bit                                  \
    }
#define VDS_ROW_NUMBER(row_name, kind, number)                                           \
    {                                                                                    \
        .name = row_name, .type = &vds_property_##kind, .fallback = (uint64_t)(number)   \
    }
/* Text, a word or a number that shows no default. */
#define VDS_ROW_UNSET(row_name, kind)                                                    \
    {                                                                                    \
        .name = row_name, .type = &vds_property_##kind, .unset = true                    \
    }
#define VDS_ROW_AUTO(row_name)                                                           \
    {                                                                                    \
        .name = row_name, .type = &vds_property_on_off_auto,                             \
        .description = "on/off/auto"                                                     \
    }
#define VDS_ROW_LINK(row_name, to)                                                       \
    {                                                                                    \
        .name = row_name, .type = &vds_property_link, .type_name = "link<" to ">",       \
        .unset = true, .backend = "object"                                               \
    }
#define VDS_ROW_CHARDEV                                                                  \
    {                                                                                    \
        .name = "chardev", .type = &vds_property_chardev,                                \
        .description = "id of the -chardev it is wired to", .unset = true,               \
        .backend = "chardev", .exclusive = true                                          \
    }
#define VDS_ROW_END                                                                      \
    {                                                                                    \
        .name = NULL                                                                     \
    }

/* Position of "auto" among the words of BlockdevOnError. */
#define VDS_ON_ERROR_AUTO 4

/* Every PCI device's, every virtio-pci device's, every virtio device's. */
extern const VdsProperty vds_pci_device_properties[];
extern const VdsProperty vds_pci_properties[];
extern const VdsProperty vds_pci_mode_properties[];  /* disable-legacy, disable-modern */
extern const VdsProperty vds_pci_auto_properties[];  /* vectors (auto), ioeventfd */
extern const VdsProperty vds_pci_two_properties[];   /* vectors (2), ioeventfd */
extern const VdsProperty vds_pci_class_properties[]; /* class */
extern const VdsProperty vds_virtio_properties[];
/* Of a device with "drive": the drive, block sizes, caching and errors; C, H and S. */
extern const VdsProperty vds_disk_properties[], vds_disk_geometry[];

#define VDS_TABLES(...)                                                                  \
    (const VdsProperty *const[])                                                         \
    {                                                                                    \
        __VA_ARGS__, NULL                                                                \
    }

/* ---- tables of types -----------------------------------------------------------------
 */

/* "X-pci-base" and "X-pci" with the alias; `tables` are the PCI ones beside the common.
 */
#define VDS_TYPES_PCI(kind, base, base_parent, kind_alias, device, device_tables, ...)   \
    {.name = base, .parent = base_parent, .abstract = true},                             \
    {                                                                                    \
        .name = kind "-pci", .parent = base, .alias = kind_alias, .bus_type = "PCI",     \
        .backend_type = device,                                                          \
        .own = VDS_TABLES(vds_pci_device_properties, vds_pci_properties,                 \
                          vds_pci_mode_properties, __VA_ARGS__),                         \
        .backend = device_tables, .form = &vds_form_pci                                  \
    }
/* One more name, without disable-legacy and disable-modern. */
#define VDS_TYPE_PCI_FIXED(full, base, device, device_tables, which, ...)                \
    {                                                                                    \
        .name = full, .parent = base, .bus_type = "PCI", .backend_type = device,         \
        .own = VDS_TABLES(vds_pci_device_properties, vds_pci_properties, __VA_ARGS__),   \
        .backend = device_tables, .form = &vds_form_pci_##which                          \
    }
/* All of QEMU's names of a device that old drivers know. */
#define VDS_TYPES_TRANSITIONAL(kind, kind_alias, device, device_tables, ...)             \
    VDS_TYPES_PCI(kind, kind "-pci-base", "virtio-pci", kind_alias, device,              \
                  device_tables, __VA_ARGS__),                                           \
        VDS_TYPE_PCI_FIXED(kind "-pci-transitional", kind "-pci-base", device,           \
                           device_tables, transitional, __VA_ARGS__),                    \
        VDS_TYPE_PCI_FIXED(kind "-pci-non-transitional", kind "-pci-base", device,       \
                           device_tables, non_transitional, __VA_ARGS__)
/* The virtio device by itself, on virtio-mmio. */
#define VDS_TYPE_DEVICE(device, device_parent, device_tables)                            \
    {                                                                                    \
        .name = device, .parent = device_parent, .bus_type = "virtio-bus",               \
        .own = device_tables, .form = &vds_form_mmio                                     \
    }
#define VDS_TYPE_ABSTRACT(type_name, type_parent)                                        \
    {                                                                                    \
        .name = type_name, .parent = type_parent, .abstract = true                       \
    }
#define VDS_TYPE_END                                                                     \
    {                                                                                    \
        .name = NULL                                                                     \
    }

/* ---- the rows
 * --------------------------------------------------------------------------- */

extern const VdsDeviceClass vds_base_class, vds_bridge_class, vds_isa_serial_class,
    vds_chip_class, vds_net_class, vds_blk_class, vds_scsi_class, vds_scsi_disk_class,
    vds_serial_class, vds_serial_port_class, vds_rng_class, vds_balloon_class,
    vds_9p_class, vds_gpu_class, vds_input_class, vds_crypto_class, vds_iommu_class,
    vds_mem_class, vds_pmem_class, vds_vsock_class, vds_generic_class;
