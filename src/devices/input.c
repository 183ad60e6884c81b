/*
 * devices: virtio-input (virtio 1.2, 5.8) as keyboard, mouse and tablet: event and status
 * queue.
 */
#include "kind-priv.h"

static const VdsProperty properties[] = {
    VDS_ROW_UNSET("serial", str),
    VDS_ROW_UNSET("display", str),
    VDS_ROW_NUMBER("head", uint32, 0),
    VDS_ROW_END,
};

static const VdsProperty pointer_properties[] = {
    VDS_ROW_BOOL("wheel-axis", true),
    VDS_ROW_END,
};

static const VdsProperty pci_properties[] = {
    VDS_ROW_NUMBER("vectors", uint32, 2),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    vds_kind_add_queues(to, 2, 64);
    return true;
}

static const VdsKind kind = {.device_id = 18, .modern = true, .plan = plan};

static const VdsProperty *const keys[] = {vds_virtio_properties, properties, NULL};
static const VdsProperty *const pointer[] = {vds_virtio_properties, properties,
                                             pointer_properties, NULL};
#define HID(name, tables)                                                                \
    VDS_TYPES_PCI(name, name "-pci-base-type", "virtio-input-hid-pci", name,             \
                  name "-device", tables, pci_properties),                               \
        VDS_TYPE_DEVICE(name "-device", "virtio-input-hid-device", tables)

static const VdsDeviceType types[] = {
    VDS_TYPE_ABSTRACT("virtio-input-pci", "virtio-pci"),
    VDS_TYPE_ABSTRACT("virtio-input-hid-pci", "virtio-input-pci"),
    VDS_TYPE_ABSTRACT("virtio-input-device", "virtio-device"),
    VDS_TYPE_ABSTRACT("virtio-input-hid-device", "virtio-input-device"),
    HID("virtio-keyboard", keys),
    HID("virtio-mouse", pointer),
    HID("virtio-tablet", pointer),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_input_class = {.types = types,
                                        .data = &kind,
                                        .realize = vds_kind_realize,
                                        .category = VDS_CATEGORY_INPUT};
