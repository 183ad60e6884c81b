/*
 * devices: virtio-scsi (virtio 1.2, 5.6), which brings a SCSI bus, and the disks that
 * are plugged into one; these are no virtio devices.  The first disk of a bus is behind
 * the adapter; others, and drives of compact discs, are names with properties.
 */
#include <string.h>

#include "scsi-priv.h"

/* ---- the adapter
 * ----------------------------------------------------------------------- */

enum {
    FIXED_QUEUES = VDS_SCSI_FIXED_QUEUES,
    QUEUE_MAX = 1024,
    SERVED_QUEUES = 16, /* as of virtio-blk */
    OLD_SEG_MAX = 128 - 2,
    MAX_TARGET = 255,
    MAX_LUN = 16383,
};

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

static void put(uint8_t *config, unsigned offset, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        config[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

/* virtio 1.2, 5.6.4, with the values that QEMU 7.2 shows. */
static void config_fill(const VdsPropertySet *set, unsigned n_queues, unsigned queue_size,
                        uint8_t *config)
{
    bool adjust = vds_property_set_get_bool(set, "seg_max_adjust");

    put(config, 0, n_queues, 4);
    put(config, 4, adjust && queue_size > 2 ? queue_size - 2 : OLD_SEG_MAX, 4);
    put(config, 8, vds_property_set_get_uint(set, "max_sectors"), 4);
    put(config, 12, vds_property_set_get_uint(set, "cmd_per_lun"), 4);
    put(config, 16, 16, 4); /* bytes of an event */
    put(config, VDS_SCSI_CONFIG_SENSE, 96, 4);
    put(config, VDS_SCSI_CONFIG_CDB, 32, 4);
    put(config, 30, MAX_TARGET, 2);
    put(config, 32, MAX_LUN, 4);
}

static void equip(const VdsDeviceArgs *args, VdsKindPlan *to, unsigned n_queues)
{
    VdsScsi *scsi = vds_scsi_new(vds_kind_io_thread(args), n_queues);

    config_fill(args->properties, n_queues, to->sizes[0], to->config);
    to->config_len_bytes = VDS_SCSI_CONFIG_BYTES;
    to->ops = &vds_scsi_ops;
    to->instance = scsi;
    to->device = vds_scsi_device(scsi);
}

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    uint64_t n = vds_property_set_get_uint(args->properties, "num_queues");
    uint64_t size = vds_property_set_get_uint(args->properties, "virtqueue_size");

    if (n == UINT32_MAX) {
        n = vds_kind_is_served(args) ? SERVED_QUEUES : 1;
    }
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
    equip(args, to, (unsigned)n);
    return true;
}

static void bring(const VdsDeviceArgs *args, const VdsKindPlan *plan,
                  VdsDeviceParts *parts)
{
    parts->bus_data = plan->instance;
}

static const VdsKind kind = {
    .device_id = 8, .bus_type = "SCSI", .plan = plan, .bring = bring};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-scsi", "virtio-scsi", "virtio-scsi-device", tables,
                           vds_pci_auto_properties),
    VDS_TYPE_ABSTRACT("virtio-scsi-common", "virtio-device"),
    VDS_TYPE_DEVICE("virtio-scsi-device", "virtio-scsi-common", tables),
    VDS_TYPE_END,
};

static bool settle(void *instance, VdsTaskFunc done, void *user)
{
    return vds_blk_settle(instance, done, user);
}

const VdsDeviceClass vds_scsi_class = {.types = types,
                                       .data = &kind,
                                       .realize = vds_kind_realize,
                                       .settle = settle,
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

void vds_scsi_unit_free(VdsScsiUnit *unit)
{
    if (unit) {
        g_free(unit->vendor);
        g_free(unit->product);
        g_free(unit->version);
        g_free(unit->serial);
        g_free(unit->device_id);
        g_free(unit);
    }
}

static char *text_or(const VdsPropertySet *set, const char *name, const char *fallback)
{
    const char *text = vds_property_set_get_text(set, name);

    return g_strdup(text ? text : fallback);
}

static uint32_t bytes_of(const VdsPropertySet *set, const char *name)
{
    return (uint32_t)MIN(vds_property_set_get_uint(set, name), UINT32_MAX);
}

/* Without an address it is the first. */
static bool read_address(const VdsPropertySet *set, VdsScsiUnit *unit, GError **error)
{
    uint64_t target = vds_property_set_get_uint(set, "scsi-id");
    uint64_t lun = vds_property_set_get_uint(set, "lun");

    target = target == UINT32_MAX ? 0 : target;
    lun = lun == UINT32_MAX ? 0 : lun;
    if (vds_property_set_get_uint(set, "channel") != 0 || target > MAX_TARGET ||
        lun > MAX_LUN) {
        return vds_kind_refuse(error, "bad scsi channel or id: %u, %u, lun %u",
                               (unsigned)vds_property_set_get_uint(set, "channel"),
                               (unsigned)target, (unsigned)lun);
    }
    unit->target = (uint8_t)target;
    unit->lun = (uint16_t)lun;
    return true;
}

/* Not yet sized. */
static VdsScsiUnit *unit_new(const VdsPropertySet *set)
{
    VdsScsiUnit *unit = g_new0(VdsScsiUnit, 1);

    *unit = (VdsScsiUnit){
        .vendor = text_or(set, "vendor", "VDS"),
        .product = text_or(set, "product", "virtual disk"),
        .version = text_or(set, "ver", "1"),
        .serial = text_or(set, "serial", NULL),
        .device_id = text_or(set, "device_id", NULL),
        .wwn = vds_property_set_get_uint(set, "wwn"),
        .rotation_rate = (uint16_t)vds_property_set_get_uint(set, "rotation_rate"),
        .removable = vds_property_set_get_bool(set, "removable"),
        .fua = vds_property_set_get_bool(set, "dpofua"),
        .writeback = vds_property_set_get_uint(set, "write-cache") != VDS_BLK_OFF,
        .min_io_bytes = bytes_of(set, "min_io_size"),
        .opt_io_bytes = bytes_of(set, "opt_io_size"),
        .max_io_bytes = bytes_of(set, "max_io_size"),
        .max_unmap_bytes = bytes_of(set, "max_unmap_size"),
    };
    return unit;
}

static bool attach(const VdsDeviceArgs *args, VdsScsi *scsi, GError **error)
{
    const VdsPropertySet *set = args->properties;
    g_autoptr(VdsScsiUnit) unit = unit_new(set);
    g_autoptr(VdsBlkDisk) disk = NULL;
    VdsBlkShape shape = {0};

    if (!read_address(set, unit, error) || !vds_blk_block_sizes(set, &shape, error)) {
        return false;
    }
    unit->block_bytes = shape.block_bytes;
    unit->physical_bytes = shape.physical_bytes;
    disk =
        vds_blk_disk_new(args->host, vds_kind_backend(args, "blockdev", "drive"), error);
    if (!disk) {
        return false;
    }
    if (disk->size_bytes < unit->block_bytes) {
        return vds_kind_refuse(error, "a disk of %" PRIu64 " bytes has no block",
                               disk->size_bytes);
    }
    if (!vds_scsi_attach(scsi, unit, disk, error)) {
        return false;
    }
    unit = NULL;
    disk = NULL;
    return true;
}

static bool disk_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error)
{
    VdsScsi *scsi = args->bus_data;

    if (args->type->form == &cd_form) {
        return true;
    }
    if (!vds_property_set_get_text(args->properties, "drive")) {
        return vds_kind_refuse(error, "drive property not set");
    }
    if (scsi && !vds_scsi_has_unit(scsi)) {
        if (!attach(args, scsi, error)) {
            return false;
        }
        parts->instance = scsi;
    }
    return true;
}

/* instance: the adapter that has this very disk. */
static void disk_unrealize(void *instance, void *bus_data)
{
    if (instance) {
        vds_scsi_detach(instance);
    }
}

static bool disk_settle(void *instance, VdsTaskFunc done, void *user)
{
    return !instance || vds_scsi_settle(instance, done, user);
}

/* Of the disk that is behind an adapter. */
static bool get_stats(void *instance, VdsProp *value)
{
    return instance && vds_blk_readings[0].get(instance, value);
}

static const VdsDeviceReading disk_readings[] = {
    {"stats", "BlockDeviceStats", get_stats, NULL},
    {NULL, NULL, NULL, NULL},
};

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
    .types = disk_types,
    .realize = disk_realize,
    .unrealize = disk_unrealize,
    .settle = disk_settle,
    .readings = disk_readings,
    .category = VDS_CATEGORY_STORAGE,
};
