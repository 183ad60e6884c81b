/*
 * devices: what stands between the root of PCI and virtio devices in a machine's
 * description: ports and bridges, each a bus that `bus=` can name (QEMU gives it its
 * owner's id), and the host controllers of USB that libvirt adds by itself.  Nothing is
 * behind their registers: there are none.
 */
#include "kind-priv.h"

/* What a type brings: VdsDeviceType.form. */
typedef struct {
    const char *bus_type;
    bool named;   /* the bus has its owner's very name */
    bool chassis; /* must have a number */
} Form;

static const Form port_form = {.bus_type = "PCIE", .named = true};
static const Form bridge_form = {.bus_type = "PCI", .named = true};
static const Form chassis_form = {.bus_type = "PCI", .named = true, .chassis = true};
static const Form usb_form = {.bus_type = "usb-bus"};

/* Positions among the words of PCIELinkSpeed and PCIELinkWidth. */
enum { SPEED_16 = 3, WIDTH_32 = 6 };

/* ---- properties ----------------------------------------------------------------------
 */

static const VdsProperty port_properties[] = {
    VDS_ROW_NUMBER("port", uint8, 0),
    VDS_ROW_NUMBER("aer_log_max", uint16, 8),
    VDS_ROW_END,
};

static const VdsProperty slot_properties[] = {
    VDS_ROW_NUMBER("chassis", uint8, 0),
    VDS_ROW_NUMBER("slot", uint16, 0),
    VDS_ROW_BOOL("hotplug", true),
    VDS_ROW_BOOL("x-native-hotplug", true),
    VDS_ROW_BOOL("power_controller_present", true),
    VDS_ROW_END,
};

static const VdsProperty root_port_properties[] = {
    VDS_ROW_BOOL("disable-acs", false),
    VDS_ROW_END,
};

static const VdsProperty generic_port_properties[] = {
    VDS_ROW_BOOL("x-migrate-msix", true),
    {.name = "x-speed",
     .type = &vds_property_link_speed,
     .description = "2_5/5/8/16",
     .fallback = SPEED_16},
    {.name = "x-width",
     .type = &vds_property_link_width,
     .description = "1/2/4/8/12/16/32",
     .fallback = WIDTH_32},
    VDS_ROW_END,
};

static const VdsProperty reserve_properties[] = {
    VDS_ROW_NUMBER("bus-reserve", uint32, UINT32_MAX),
    VDS_ROW_NUMBER("io-reserve", size, UINT64_MAX),
    VDS_ROW_NUMBER("mem-reserve", size, UINT64_MAX),
    VDS_ROW_NUMBER("pref32-reserve", size, UINT64_MAX),
    VDS_ROW_NUMBER("pref64-reserve", size, UINT64_MAX),
    VDS_ROW_END,
};

static const VdsProperty msi_properties[] = {
    VDS_ROW_AUTO("msi"),
    VDS_ROW_END,
};

static const VdsProperty chassis_properties[] = {
    VDS_ROW_NUMBER("chassis_nr", uint8, 0),
    VDS_ROW_BOOL("shpc", true),
    VDS_ROW_END,
};

static const VdsProperty xhci_properties[] = {
    VDS_ROW_NUMBER("p2", uint32, 4),
    VDS_ROW_NUMBER("p3", uint32, 4),
    VDS_ROW_BOOL("streams", true),
    VDS_ROW_END,
};

static const VdsProperty uhci_properties[] = {
    VDS_ROW_NUMBER("bandwidth", uint32, 1280),
    VDS_ROW_NUMBER("maxframes", uint32, 128),
    VDS_ROW_END,
};

/* ---- realize --------------------------------------------------------------------------
 */

static bool realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error)
{
    const Form *form = args->type->form;

    if (form->chassis && vds_property_set_get_uint(args->properties, "chassis_nr") == 0) {
        return vds_kind_refuse(error, "Bridge chassis not specified. Each bridge is "
                                      "required to be assigned a unique chassis id > 0.");
    }
    parts->bus_type = form->bus_type;
    if (args->id) {
        parts->bus_name =
            form->named ? g_strdup(args->id) : g_strdup_printf("%s.0", args->id);
    }
    return true;
}

#define TYPE(type_name, type_parent, text, type_form, ...)                               \
    {                                                                                    \
        .name = type_name, .parent = type_parent, .bus_type = "PCI",                     \
        .own = VDS_TABLES(vds_pci_device_properties, __VA_ARGS__), .form = &type_form,   \
        .description = text                                                              \
    }

#define TYPE_USB(type_name, type_parent, table)                                          \
    {                                                                                    \
        .name = type_name, .parent = type_parent, .bus_type = "PCI",                     \
        .own = VDS_TABLES(vds_pci_device_properties, table), .form = &usb_form,          \
        .category = VDS_CATEGORY_USB                                                     \
    }

static const VdsDeviceType types[] = {
    VDS_TYPE_ABSTRACT("base-pci-bridge", "pci-device"),
    VDS_TYPE_ABSTRACT("pcie-port", "base-pci-bridge"),
    VDS_TYPE_ABSTRACT("pcie-slot", "pcie-port"),
    VDS_TYPE_ABSTRACT("pcie-root-port-base", "pcie-slot"),
    TYPE("pcie-root-port", "pcie-root-port-base", "PCI Express Root Port", port_form,
         port_properties, slot_properties, root_port_properties, generic_port_properties,
         reserve_properties),
    TYPE("ioh3420", "pcie-root-port-base", "Intel IOH device id 3420 PCIE Root Port",
         port_form, port_properties, slot_properties, root_port_properties),
    TYPE("x3130-upstream", "pcie-port", "TI X3130 Upstream Port of PCI Express Switch",
         port_form, port_properties),
    TYPE("xio3130-downstream", "pcie-slot",
         "TI X3130 Downstream Port of PCI Express Switch", port_form, port_properties,
         slot_properties),
    TYPE("i82801b11-bridge", "base-pci-bridge", NULL, bridge_form, NULL),
    TYPE("pcie-pci-bridge", "base-pci-bridge", NULL, bridge_form, msi_properties),
    TYPE("pci-bridge", "base-pci-bridge", "Standard PCI Bridge", chassis_form,
         chassis_properties, msi_properties, reserve_properties),
    VDS_TYPE_ABSTRACT("pci-xhci", "pci-device"),
    TYPE_USB("qemu-xhci", "pci-xhci", xhci_properties),
    VDS_TYPE_ABSTRACT("pci-uhci-usb", "pci-device"),
    TYPE_USB("piix3-usb-uhci", "pci-uhci-usb", uhci_properties),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_bridge_class = {
    .types = types, .realize = realize, .category = VDS_CATEGORY_BRIDGE};
