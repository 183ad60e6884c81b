/*
 * devices: virtio-generic-pci: a device of any virtio id, with as many queues as asked
 * for.  QEMU has no such name; it stands for ids that have no row of their own.
 */
#include "kind-priv.h"

static const VdsProperty properties[] = {
    VDS_ROW_NUMBER("virtio-id", uint16, 0),
    VDS_ROW_NUMBER("num-queues", uint16, 1),
    VDS_ROW_NUMBER("queue-size", uint16, 256),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    uint64_t id = vds_property_set_get_uint(args->properties, "virtio-id");
    uint64_t n = vds_property_set_get_uint(args->properties, "num-queues");
    uint64_t size = vds_property_set_get_uint(args->properties, "queue-size");

    if (id == 0) {
        return vds_kind_refuse(error, "virtio-id property must be larger than 0");
    }
    if (n > VDS_VIRTIO_MAX_QUEUES) {
        return vds_kind_refuse(error, "num-queues property (%u) must be at most %d",
                               (unsigned)n, VDS_VIRTIO_MAX_QUEUES);
    }
    if (size == 0 || size > VDS_VRING_MAX_NUM || (size & (size - 1)) != 0) {
        return vds_kind_refuse(error,
                               "invalid queue-size property (%u), must be a power of 2 "
                               "(max %d)",
                               (unsigned)size, VDS_VRING_MAX_NUM);
    }
    to->device_id = (uint16_t)id;
    vds_kind_add_queues(to, (unsigned)n, (unsigned)size);
    return true;
}

static const VdsKind kind = {.modern = true, .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_PCI("virtio-generic", "virtio-generic-pci-base", "virtio-pci", NULL,
                  "virtio-generic-device", tables, vds_pci_auto_properties),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_generic_class = {.types = types,
                                          .data = &kind,
                                          .realize = vds_kind_realize,
                                          .category = VDS_CATEGORY_MISC};
