/*
 * devices: virtio-scsi (virtio 1.2, 5.6), which brings a SCSI bus, and the disks that
 * are plugged into one; these are no virtio devices.
 */
#include "kind-priv.h"

/* ---- the adapter
 * ----------------------------------------------------------------------- */

/* The control queue and the event queue come before the request queues. */
enum { FIXED_QUEUES = 2, QUEUE_MAX = 1024 };

static const VdsProperty properties[] = {
    VDS_ROW_NUMBER("num_queues", uint32, UINT32_MAX),
    VDS_ROW_NUMBER("virtqueue_size", uint32, 256),
    VDS_ROW_BOOL("seg_max_adjust", true),
    VDS_ROW_NUMBER("max_sectors", uint32, 65535),
    VDS_ROW_NUMBER("cmd_per_lun", uint32, 128),
    VDS_ROW_FEATURE("hotplug", 1, true),
    VDS_ROW_FEATURE("param_change", 2, true),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    uint64_t n = vds_property_set_get_uint(args->properties, "num_queues");
    uint64_t size = vds_property_set_get_uint(args->properties, "virtqueue_size");

    n = n == UINT32_MAX ? 1 : n;
    if (n == 0 || n > VDS_VIRTIO_MAX_QUEUES - FIXED_QUEUES) {
        return vds_kind_refuse(error,
                               "Invalid number of queues (= %u), must be a positive "
                               "integer less than %d.",
                               (unsigned)n, VDS_VIRTIO_MAX_QUEUES - FIXED_QUEUES);
    }
    if (size == 0 || size > QUEUE_MAX) {
        return vds_kind_refuse(error, "Invalid virtqueue_size (= %u), must be 1 to %d",
                               (unsigned)size, QUEUE_MAX);
    }
    vds_kind_add_queues(to, FIXED_QUEUES + (unsigned)n, (unsigned)size);
    return true;
}

static const VdsKind kind = {.device_id = 8, .bus_type = "SCSI", .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-scsi", "virtio-scsi", "virtio-scsi-device", tables,
                           vds_pci_auto_properties),
    VDS_TYPE_ABSTRACT("virtio-scsi-common", "virtio-device"),
    VDS_TYPE_DEVICE("virtio-scsi-device", "virtio-scsi-common", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_scsi_class = {.types = types,
                                       .data = &kind,
                                       .realize = vds_kind_realize,
                                       .category = VDS_CATEGORY_STORAGE};

/* ---- its disks
 * -------------------------------------------------------------------------- */

static const VdsProperty disk_properties[] = {
    VDS_ROW_NUMBER("channel", uint32, 0),
    VDS_ROW_NUMBER("scsi-id", uint32, UINT32_MAX),
    VDS_ROW_NUMBER("lun", uint32, UINT32_MAX),
    VDS_ROW_UNSET("ver", str),
    VDS_ROW_UNSET("serial", str),
    VDS_ROW_UNSET("vendor", str),
    VDS_ROW_UNSET("product", str),
    VDS_ROW_UNSET("device_id", str),
    VDS_ROW_NUMBER("wwn", uint64, 0),
    VDS_ROW_NUMBER("port_wwn", uint64, 0),
    VDS_ROW_NUMBER("port_index", uint16, 0),
    VDS_ROW_NUMBER("max_io_size", uint64, INT32_MAX),
    VDS_ROW_NUMBER("scsi_version", int32, 5),
    VDS_ROW_BOOL("quirk_mode_page_vendor_specific_apple", false),
    VDS_ROW_UNSET("bootindex", int32),
    VDS_ROW_END,
};

static const VdsProperty hd_properties[] = {
    VDS_ROW_BOOL("removable", false),
    VDS_ROW_BOOL("dpofua", false),
    VDS_ROW_NUMBER("max_unmap_size", uint64, 1073741824),
    VDS_ROW_NUMBER("rotation_rate", uint16, 0),
    VDS_ROW_END,
};

static const VdsProperty cd_properties[] = {
    VDS_ROW_BOOL("quirk_mode_page_apple_vendor", false),
    VDS_ROW_BOOL("quirk_mode_sense_rom_use_dbd", false),
    VDS_ROW_BOOL("quirk_mode_page_truncated", false),
    VDS_ROW_END,
};

/* Only a compact disc drive may be empty: VdsDeviceType.form. */
static const struct {
    bool empty;
} hd_form = {false}, cd_form = {true};

static bool disk_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error)
{
    if (args->type->form != &cd_form &&
        !vds_property_set_get_text(args->properties, "drive")) {
        return vds_kind_refuse(error, "drive property not set");
    }
    return true;
}

static const VdsDeviceType disk_types[] = {
    VDS_TYPE_ABSTRACT("scsi-device", "device"),
    VDS_TYPE_ABSTRACT("scsi-disk-base", "scsi-device"),
    {.name = "scsi-hd",
     .parent = "scsi-disk-base",
     .bus_type = "SCSI",
     .own = VDS_TABLES(vds_disk_properties, vds_disk_geometry, disk_properties,
                       hd_properties),
     .form = &hd_form,
     .description = "virtual SCSI disk"},
    {.name = "scsi-cd",
     .parent = "scsi-disk-base",
     .bus_type = "SCSI",
     .own = VDS_TABLES(vds_disk_properties, disk_properties, cd_properties),
     .form = &cd_form,
     .description = "virtual SCSI CD-ROM"},
    VDS_TYPE_END,
};

const VdsDeviceClass vds_scsi_disk_class = {
    .types = disk_types, .realize = disk_realize, .category = VDS_CATEGORY_STORAGE};
