/*
 * devices: what the PCs' boards have and libvirt's descriptions speak of: a serial port,
 * on which nothing is ever said, and the bridge chips whose settings -global may name.
 * Refuses to know their registers: there are none.
 */
#include "kind-priv.h"
#include "serial-wire-priv.h"

/* ---- the serial port ------------------------------------------------------------------
 */

static const VdsProperty serial_properties[] = {
    VDS_ROW_NUMBER("index", uint32, UINT32_MAX),
    VDS_ROW_NUMBER("iobase", uint32, UINT32_MAX),
    VDS_ROW_NUMBER("irq", uint32, UINT32_MAX),
    VDS_ROW_NUMBER("baudbase", uint32, 115200),
    VDS_ROW_BOOL("wakeup", false),
    VDS_ROW_CHARDEV,
    VDS_ROW_END,
};

/* Who connects meets a line that is up and silent. */
static bool serial_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts,
                           GError **error)
{
    const VdsProps *chardev = vds_kind_backend(args, "chardev", "chardev");

    if (!chardev) {
        return vds_kind_refuse(error, "Can't create serial device, empty char device");
    }
    parts->instance = vds_serial_wire_new(chardev, args->host->patience, error);
    return parts->instance != NULL;
}

static void serial_unrealize(void *instance, void *bus_data)
{
    vds_serial_wire_free(instance);
}

/* Where the other end of its pty is: libvirt's description shows it. */
static bool get_pty(void *instance, VdsProp *value)
{
    const char *name = vds_serial_wire_get_name(instance);

    if (name) {
        vds_prop_show_string(value, g_strdup(name));
    }
    return name != NULL;
}

static const VdsDeviceReading serial_readings[] = {
    {"pty", "str", get_pty, NULL},
    {NULL, NULL, NULL, NULL},
};

static const VdsDeviceType serial_types[] = {
    VDS_TYPE_ABSTRACT("isa-device", "device"),
    {.name = "isa-serial", .parent = "isa-device", .own = VDS_TABLES(serial_properties)},
    VDS_TYPE_END,
};

const VdsDeviceClass vds_isa_serial_class = {.types = serial_types,
                                             .realize = serial_realize,
                                             .unrealize = serial_unrealize,
                                             .readings = serial_readings,
                                             .category = VDS_CATEGORY_INPUT};

/* ---- the bridge chips: part of the board, or of none
 * --------------------------------- */

static const VdsProperty power_properties[] = {
    VDS_ROW_NUMBER("disable_s3", uint8, 0),
    VDS_ROW_NUMBER("disable_s4", uint8, 0),
    VDS_ROW_END,
};

static const VdsProperty watchdog_properties[] = {
    VDS_ROW_BOOL("noreboot", true),
    VDS_ROW_END,
};

static bool chip_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error)
{
    return vds_kind_refuse(error, "Parameter 'driver' expects a pluggable device type");
}

static const VdsDeviceType chip_types[] = {
    {.name = "ICH9-LPC",
     .parent = "pci-device",
     .own = VDS_TABLES(vds_pci_device_properties, power_properties, watchdog_properties)},
    {.name = "PIIX4_PM",
     .parent = "pci-device",
     .own = VDS_TABLES(vds_pci_device_properties, power_properties)},
    VDS_TYPE_END,
};

const VdsDeviceClass vds_chip_class = {
    .types = chip_types, .realize = chip_realize, .category = VDS_CATEGORY_HIDDEN};
