/*
 * devices: virtio-9p (virtio 1.2, 5.22): one queue, a mount tag.
 */
#include <string.h>

#include "kind-priv.h"

enum { F_MOUNT_TAG = 0, TAG_MAX = 31 };

static const VdsProperty properties[] = {
    VDS_ROW_UNSET("mount_tag", str),
    VDS_ROW_UNSET("fsdev", str),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const char *fsdev = vds_property_set_get_text(args->properties, "fsdev");
    const char *tag = vds_property_set_get_text(args->properties, "mount_tag");

    if (!vds_kind_backend(args, "fsdev", "fsdev")) {
        fsdev = fsdev ? fsdev : "NULL";
        return vds_kind_refuse(error,
                               "9pfs device couldn't find fsdev with the id = %.*s",
                               vds_name_len(fsdev), fsdev);
    }
    if (!tag) {
        return vds_kind_refuse(error, "fsdev with id %.*s needs mount_tag arguments",
                               vds_name_len(fsdev), fsdev);
    }
    if (strlen(tag) > TAG_MAX) {
        return vds_kind_refuse(error,
                               "mount tag '%.*s' (%zu bytes) is longer than maximum (%d "
                               "bytes)",
                               vds_name_len(tag), tag, strlen(tag), TAG_MAX);
    }
    vds_kind_add_queues(to, 1, 128);
    return true;
}

static const VdsKind kind = {.device_id = 9, .features = 1 << F_MOUNT_TAG, .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-9p", "virtio-9p", "virtio-9p-device", tables,
                           vds_pci_two_properties),
    VDS_TYPE_DEVICE("virtio-9p-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_9p_class = {.types = types,
                                     .data = &kind,
                                     .realize = vds_kind_realize,
                                     .category = VDS_CATEGORY_STORAGE};
