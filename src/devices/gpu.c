/*
 * devices: virtio-gpu (virtio 1.2, 5.7), also as virtio-vga: control and cursor queue.
 */
#include "kind-priv.h"

enum { F_EDID = 1, MAX_OUTPUTS = 16 };

static const VdsProperty properties[] = {
    VDS_ROW_NUMBER("max_outputs", uint32, 1),
    VDS_ROW_FEATURE("edid", F_EDID, true),
    VDS_ROW_BOOL("blob", false),
    VDS_ROW_NUMBER("xres", uint32, 1280),
    VDS_ROW_NUMBER("yres", uint32, 800),
    VDS_ROW_NUMBER("max_hostmem", size, 256 << 20),
    VDS_ROW_END,
};

static const VdsProperty pci_properties[] = {
    VDS_ROW_NUMBER("vectors", uint32, 3),
    VDS_ROW_BOOL("ioeventfd", false),
    VDS_ROW_END,
};

static const VdsProperty vga_properties[] = {
    VDS_ROW_UNSET("big-endian-framebuffer", bool),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    if (vds_property_set_get_uint(args->properties, "max_outputs") > MAX_OUTPUTS) {
        return vds_kind_refuse(error, "invalid max_outputs > %d", MAX_OUTPUTS);
    }
    if (vds_property_set_get_bool(args->properties, "blob")) {
        return vds_kind_refuse(error, "cannot enable blob resources without udmabuf");
    }
    vds_kind_add_queues(to, 1, 64);
    vds_kind_add_queues(to, 1, 16);
    return true;
}

static const VdsKind kind = {.device_id = 16, .modern = true, .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPE_ABSTRACT("virtio-gpu-pci-base", "virtio-pci"),
    VDS_TYPES_PCI("virtio-gpu", "virtio-gpu-pci-base-type", "virtio-gpu-pci-base",
                  "virtio-gpu", "virtio-gpu-device", tables, pci_properties),
    VDS_TYPE_ABSTRACT("virtio-vga-base", "virtio-pci"),
    VDS_TYPE_ABSTRACT("virtio-vga-base-type", "virtio-vga-base"),
    {.name = "virtio-vga",
     .parent = "virtio-vga-base-type",
     .bus_type = "PCI",
     .backend_type = "virtio-gpu-device",
     .own = VDS_TABLES(vds_pci_device_properties, vds_pci_properties,
                       vds_pci_mode_properties, pci_properties, vga_properties),
     .backend = tables,
     .form = &vds_form_pci},
    VDS_TYPE_ABSTRACT("virtio-gpu-base", "virtio-device"),
    VDS_TYPE_DEVICE("virtio-gpu-device", "virtio-gpu-base", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_gpu_class = {.types = types,
                                      .data = &kind,
                                      .realize = vds_kind_realize,
                                      .category = VDS_CATEGORY_DISPLAY};
