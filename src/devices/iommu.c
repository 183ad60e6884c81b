/*
 * devices: virtio-iommu (virtio 1.2, 5.13): request and event queue.
 */
#include <string.h>

#include "kind-priv.h"

enum {
    F_INPUT_RANGE = 0,
    F_DOMAIN_RANGE = 1,
    F_MAP_UNMAP = 2,
    F_PROBE = 4,
    F_MMIO = 5,
    F_BYPASS_CONFIG = 6,
};

static const VdsProperty properties[] = {
    {.name = "primary-bus",
     .type = &vds_property_str,
     .type_name = "link<PCI>",
     .unset = true},
    VDS_ROW_BOOL("boot-bypass", true),
    VDS_ROW_END,
};

static const VdsProperty pci_properties[] = {
    VDS_ROW_NUMBER("len-reserved-regions", uint32, 0),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    if (!args->type->backend_type) {
        return vds_kind_refuse(error, "VIRTIO-IOMMU is not attached to any PCI bus!");
    }
    vds_kind_add_queues(to, 2, 256);
    return true;
}

static const VdsKind kind = {
    .device_id = 23,
    .modern = true,
    .features = 1 << F_INPUT_RANGE | 1 << F_DOMAIN_RANGE | 1 << F_MAP_UNMAP |
                1 << F_PROBE | 1 << F_MMIO | 1 << F_BYPASS_CONFIG,
    .plan = plan,
};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_PCI("virtio-iommu", "virtio-iommu-pci-base-type", "virtio-pci",
                  "virtio-iommu", "virtio-iommu-device", tables, pci_properties,
                  vds_pci_class_properties),
    VDS_TYPE_DEVICE("virtio-iommu-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_iommu_class = {.types = types,
                                        .data = &kind,
                                        .realize = vds_kind_realize,
                                        .category = VDS_CATEGORY_MISC};
