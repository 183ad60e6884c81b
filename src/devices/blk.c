/*
 * devices: virtio-blk (virtio 1.2, 5.2): request queues, as many as num-queues.
 */
#include <string.h>

#include "blk-priv.h"

enum {
    QUEUE_MAX = 1024,
    AUTO_QUEUES = 65535,
    MAX_BLOCK_BYTES = 2 << 20,
    SERVED_QUEUES = 16,
    SERVED_QUEUE_SIZE = 128,
};

static const VdsProperty properties[] = {
    VDS_ROW_UNSET("serial", str),
    VDS_ROW_UNSET("bootindex", int32),
    VDS_ROW_FEATURE("config-wce", VDS_BLK_F_CONFIG_WCE, true),
    VDS_ROW_BOOL("scsi", false),
    VDS_ROW_BOOL("request-merging", true),
    VDS_ROW_NUMBER("num-queues", uint16, AUTO_QUEUES),
    VDS_ROW_NUMBER("queue-size", uint16, 256),
    VDS_ROW_BOOL("seg-max-adjust", true),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_FEATURE("discard", VDS_BLK_F_DISCARD, true),
    VDS_ROW_BOOL("report-discard-granularity", true),
    VDS_ROW_FEATURE("write-zeroes", VDS_BLK_F_WRITE_ZEROES, true),
    VDS_ROW_NUMBER("max-discard-sectors", uint32, 4194303),
    VDS_ROW_NUMBER("max-write-zeroes-sectors", uint32, 4194303),
    VDS_ROW_BOOL("x-enable-wce-if-config-wce", true),
    VDS_ROW_END,
};

static bool queues_check(uint64_t n, uint64_t size, GError **error)
{
    if (n == 0) {
        return vds_kind_refuse(error, "num-queues property must be larger than 0");
    }
    if (n > VDS_VIRTIO_MAX_QUEUES) {
        return vds_kind_refuse(error, "num-queues property (%u) must be at most %d",
                               (unsigned)n, VDS_VIRTIO_MAX_QUEUES);
    }
    if (size <= 2) {
        return vds_kind_refuse(error, "invalid queue-size property (%u), must be > 2",
                               (unsigned)size);
    }
    if ((size & (size - 1)) != 0 || size > QUEUE_MAX) {
        return vds_kind_refuse(error,
                               "invalid queue-size property (%u), must be a power of 2 "
                               "(max %d)",
                               (unsigned)size, QUEUE_MAX);
    }
    return true;
}

/* A device that is legacy only takes SCSI commands and fixes the layout of requests. */
static bool offer_scsi(const VdsPropertySet *set, VdsFeatures *features, GError **error)
{
    if (!vds_features_has(features, VDS_F_VERSION_1)) {
        vds_features_set(features, VDS_F_ANY_LAYOUT, false);
        vds_features_set(features, VDS_BLK_F_SCSI, true);
        return true;
    }
    if (vds_property_set_get_bool(set, "scsi")) {
        return vds_kind_refuse(error, "Please set scsi=off for virtio-blk devices in "
                                      "order to use virtio 1.0");
    }
    return true;
}

static bool offers_flush(const VdsPropertySet *set)
{
    return vds_property_set_get_uint(set, "write-cache") != VDS_BLK_OFF ||
           (vds_property_set_get_bool(set, "config-wce") &&
            vds_property_set_get_bool(set, "x-enable-wce-if-config-wce"));
}

/* 0 is a sector; QEMU's words for the rest. */
static bool block_size(const VdsPropertySet *set, const char *name, uint32_t *bytes,
                       GError **error)
{
    uint64_t size = vds_property_set_get_uint(set, name);

    size = size == 0 ? VDS_BLK_SECTOR : size;
    if (size < VDS_BLK_SECTOR || size > MAX_BLOCK_BYTES || (size & (size - 1)) != 0) {
        return vds_kind_refuse(error,
                               "Property '%s' doesn't take value '%" PRIu64
                               "', it must be a power of 2 between %d and %d",
                               name, size, VDS_BLK_SECTOR, MAX_BLOCK_BYTES);
    }
    *bytes = (uint32_t)size;
    return true;
}

bool vds_blk_block_sizes(const VdsPropertySet *set, VdsBlkShape *shape, GError **error)
{
    if (!block_size(set, "logical_block_size", &shape->block_bytes, error) ||
        !block_size(set, "physical_block_size", &shape->physical_bytes, error)) {
        return false;
    }
    if (!vds_property_set_has(set, "physical_block_size")) {
        shape->physical_bytes = MAX(shape->physical_bytes, shape->block_bytes);
    }
    if (shape->block_bytes > shape->physical_bytes) {
        return vds_kind_refuse(error,
                               "logical_block_size > physical_block_size not supported");
    }
    return true;
}

/* The size of its queues is the front-end's; unless told otherwise, that of QEMU's is
 * what the number of segments in a request is for. */
static unsigned assumed_queue_size(const VdsDeviceArgs *args, const VdsKindPlan *plan)
{
    return vds_kind_is_served(args) &&
                   !vds_property_set_has(args->properties, "queue-size")
               ? SERVED_QUEUE_SIZE
               : plan->sizes[0];
}

/* The request path, over the disk it is wired to. */
static bool equip(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const VdsPropertySet *set = args->properties;
    VdsBlkShape shape = {.n_queues = to->n_queues,
                         .queue_size = assumed_queue_size(args, to)};
    g_autoptr(VdsBlkDisk) disk = NULL;
    VdsBlk *blk;

    if (!vds_blk_block_sizes(set, &shape, error)) {
        return false;
    }
    disk =
        vds_blk_disk_new(args->host, vds_kind_backend(args, "blockdev", "drive"), error);
    if (!disk) {
        return false;
    }
    vds_features_set(&to->features, VDS_BLK_F_RO, disk->read_only);
    shape.size_bytes = disk->size_bytes;
    vds_blk_config_fill(to->config, &shape, &to->features, set);
    to->config_len_bytes = VDS_BLK_CONFIG_BYTES;
    blk = vds_blk_new(&(VdsBlkConfig){
        .protocol = &vds_blk_protocol,
        .disk = g_steal_pointer(&disk),
        .io_thread = vds_kind_io_thread(args),
        .serial = vds_property_set_get_text(set, "serial"),
        .n_queues = to->n_queues,
        .block_bytes = shape.block_bytes,
        .max_discard_sectors =
            (uint32_t)vds_property_set_get_uint(set, "max-discard-sectors"),
        .max_zero_sectors =
            (uint32_t)vds_property_set_get_uint(set, "max-write-zeroes-sectors"),
        .writeback = to->config[VDS_BLK_CONFIG_WRITEBACK] != 0,
    });
    to->ops = &vds_blk_ops;
    to->instance = blk;
    to->device = vds_blk_device(blk);
    return true;
}

/* Without a drive QEMU refuses; here the disk is memory of this process. */
static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const VdsPropertySet *set = args->properties;
    uint64_t n = vds_property_set_get_uint(set, "num-queues");
    uint64_t size = vds_property_set_get_uint(set, "queue-size");

    /* Automatic means one a processor; this machine counts one, and a front-end refuses a
     * back-end that has fewer queues than its guest has processors. */
    if (n == AUTO_QUEUES) {
        n = vds_kind_is_served(args) ? SERVED_QUEUES : 1;
    }
    if (!queues_check(n, size, error) || !offer_scsi(set, &to->features, error)) {
        return false;
    }
    vds_features_set(&to->features, VDS_BLK_F_FLUSH, offers_flush(set));
    vds_features_set(&to->features, VDS_BLK_F_MQ, n > 1);
    vds_kind_add_queues(to, (unsigned)n, (unsigned)size);
    return equip(args, to, error);
}

static const VdsKind kind = {
    .device_id = 2,
    .features = 1 << VDS_BLK_F_SEG_MAX | 1 << VDS_BLK_F_GEOMETRY |
                1 << VDS_BLK_F_BLK_SIZE | 1 << VDS_BLK_F_TOPOLOGY,
    .plan = plan,
};

static const VdsProperty *const tables[] = {vds_virtio_properties, vds_disk_properties,
                                            vds_disk_geometry, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-blk", "virtio-blk", "virtio-blk-device", tables,
                           vds_pci_auto_properties, vds_pci_class_properties),
    VDS_TYPE_DEVICE("virtio-blk-device", "virtio-device", tables),
    VDS_TYPE_END,
};

static bool settle(void *instance, VdsTaskFunc done, void *user)
{
    return vds_blk_settle(instance, done, user);
}

const VdsDeviceClass vds_blk_class = {.types = types,
                                      .data = &kind,
                                      .realize = vds_kind_realize,
                                      .settle = settle,
                                      .readings = vds_blk_readings,
                                      .category = VDS_CATEGORY_STORAGE};
