/*
 * devices: virtio-serial (virtio 1.2, 5.3), which brings a bus, and the ports that are
 * plugged into it; these are no virtio devices.
 */
#include <string.h>

#include "serial-priv.h"

typedef struct {
    uint32_t max_ports;
    VdsSerial *serial; /* goes after the bus */
    GPtrArray *ports;  /* VdsSerialPort *, by the order they came; owned by the ports'
                          devices */
} Bus;

/* ---- the device
 * ------------------------------------------------------------------------- */

enum { MAX_PORTS = VDS_VIRTIO_MAX_QUEUES / 2 - 1, PORT_QUEUE = 128, CONTROL_QUEUE = 32 };

static const VdsProperty properties[] = {
    VDS_ROW_NUMBER("max_ports", uint32, 31),
    VDS_ROW_FEATURE("emergency-write", VDS_SERIAL_F_EMERG_WRITE, true),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

static void equip(VdsKindPlan *to, uint32_t max_ports)
{
    VdsSerial *serial = vds_serial_new(max_ports);
    uint32_t number = GUINT32_TO_LE(max_ports);

    to->ops = &vds_serial_ops;
    to->instance = serial;
    to->device = vds_serial_device(serial);
    memcpy(to->config + VDS_SERIAL_MAX_PORTS, &number, sizeof(number));
    to->config_len_bytes = vds_features_has(&to->features, VDS_SERIAL_F_EMERG_WRITE)
                               ? VDS_SERIAL_CONFIG_MAX
                               : VDS_SERIAL_EMERG_WRITE;
}

/* Port 0, the control queues, the other ports: two queues each (5.3.2). */
static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    uint64_t ports = vds_property_set_get_uint(args->properties, "max_ports");

    if (ports == 0) {
        return vds_kind_refuse(error, "Maximum number of serial ports not specified");
    }
    if (ports > MAX_PORTS) {
        return vds_kind_refuse(error, "maximum ports supported: %d", MAX_PORTS);
    }
    vds_features_set(&to->features, VDS_SERIAL_F_MULTIPORT, ports > 1);
    vds_kind_add_queues(to, 2, PORT_QUEUE);
    vds_kind_add_queues(to, 2, CONTROL_QUEUE);
    vds_kind_add_queues(to, 2 * ((unsigned)ports - 1), PORT_QUEUE);
    equip(to, (uint32_t)ports);
    return true;
}

static void bus_free(void *data)
{
    Bus *bus = data;

    if (bus->ports) {
        g_ptr_array_unref(bus->ports);
    }
    g_free(bus);
}

static void bring(const VdsDeviceArgs *args, const VdsKindPlan *plan,
                  VdsDeviceParts *parts)
{
    Bus *bus = g_new0(Bus, 1);

    bus->max_ports = (uint32_t)vds_property_set_get_uint(args->properties, "max_ports");
    bus->serial = plan->instance;
    parts->bus_data = bus;
    parts->bus_free = bus_free;
}

static const VdsKind kind = {
    .device_id = 3, .bus_type = "virtio-serial-bus", .plan = plan, .bring = bring};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-serial", "virtio-serial", "virtio-serial-device",
                           tables, vds_pci_two_properties, vds_pci_class_properties),
    VDS_TYPE_DEVICE("virtio-serial-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_serial_class = {.types = types,
                                         .data = &kind,
                                         .realize = vds_kind_realize,
                                         .category = VDS_CATEGORY_INPUT};

/* ---- its ports
 * ---------------------------------------------------------------------------- */

static const VdsProperty port_properties[] = {
    VDS_ROW_NUMBER("nr", uint32, UINT32_MAX),
    VDS_ROW_UNSET("name", str),
    VDS_ROW_CHARDEV,
    VDS_ROW_END,
};

/* VdsDeviceType.form: port 0 is for a console (5.3.4). */
static const struct {
    bool console;
} console_form = {true}, port_form = {false};

static bool bus_has_number(const Bus *bus, uint32_t nr)
{
    for (unsigned i = 0; bus->ports && i < bus->ports->len; i++) {
        if (vds_serial_port_get_nr(g_ptr_array_index(bus->ports, i)) == nr) {
            return true;
        }
    }
    return false;
}

static bool bus_has_name(const Bus *bus, const char *name)
{
    for (unsigned i = 0; bus->ports && i < bus->ports->len; i++) {
        const char *other = vds_serial_port_get_name(g_ptr_array_index(bus->ports, i));

        if (other && strcmp(other, name) == 0) {
            return true;
        }
    }
    return false;
}

static uint32_t bus_free_number(const Bus *bus, bool console)
{
    uint32_t nr = console ? 0 : 1;

    while (bus_has_number(bus, nr)) {
        nr++;
    }
    return nr;
}

static bool port_check(const Bus *bus, const char *name, uint32_t nr, bool given,
                       GError **error)
{
    if (given && bus_has_number(bus, nr)) {
        return vds_kind_refuse(error, "virtio-serial-bus: A port already exists at id %u",
                               nr);
    }
    if (name && bus_has_name(bus, name)) {
        return vds_kind_refuse(error,
                               "virtio-serial-bus: A port already exists by name %.*s",
                               vds_name_len(name), name);
    }
    if (nr >= bus->max_ports) {
        return vds_kind_refuse(
            error, "virtio-serial-bus: Out-of-range port id specified, max. allowed: %u",
            bus->max_ports - 1);
    }
    return true;
}

/* (nullable) without chardev, and on error */
static VdsSerialWire *port_wire(const VdsDeviceArgs *args, GError **error)
{
    const VdsProps *chardev = vds_kind_backend(args, "chardev", "chardev");

    return chardev ? vds_serial_wire_new(chardev, args->host->patience, error) : NULL;
}

static VdsSerialPort *port_add(const VdsDeviceArgs *args, uint32_t nr, bool console,
                               GError **error)
{
    const Bus *bus = args->bus_data;
    g_autoptr(GError) failed = NULL;
    g_autoptr(VdsSerialWire) wire = port_wire(args, &failed);
    VdsSerialPort *port;

    if (failed) {
        g_propagate_error(error, g_steal_pointer(&failed));
        return NULL;
    }
    port = vds_serial_port_new(bus->serial,
                               &(VdsSerialPortConfig){.nr = nr,
                                                      .id = args->id,
                                                      .name = vds_property_set_get_text(
                                                          args->properties, "name"),
                                                      .console = console,
                                                      .wire = wire,
                                                      .changed = args->host->port_changed,
                                                      .user = args->host->machine},
                               error);
    if (port) {
        wire = NULL;
    }
    return port;
}

static bool port_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error)
{
    Bus *bus = args->bus_data;
    const char *name = vds_property_set_get_text(args->properties, "name");
    uint32_t nr = (uint32_t)vds_property_set_get_uint(args->properties, "nr");
    bool console = args->type->form == &console_form;
    bool given = nr != UINT32_MAX;
    VdsSerialPort *port;

    if (given && nr == 0 && !console) {
        return vds_kind_refuse(error, "Port number 0 on virtio-serial devices reserved "
                                      "for virtconsole devices for backward "
                                      "compatibility.");
    }
    if (!given) {
        nr = bus_free_number(bus, console);
    }
    if (!port_check(bus, name, nr, given, error)) {
        return false;
    }
    port = port_add(args, nr, console, error);
    if (!port) {
        return false;
    }
    if (!bus->ports) {
        bus->ports = g_ptr_array_new();
    }
    g_ptr_array_add(bus->ports, port);
    parts->instance = port;
    return true;
}

static void port_unrealize(void *instance, void *bus_data)
{
    Bus *bus = bus_data;

    g_ptr_array_remove(bus->ports, instance);
    vds_serial_port_free(instance);
}

/* ---- what only a port that is there knows -------------------------------------------
 */

static bool get_nr(void *instance, VdsProp *value)
{
    vds_prop_show_uint(value, vds_serial_port_get_nr(instance));
    return true;
}

/* Where the other end of its pty is. */
static bool get_pty(void *instance, VdsProp *value)
{
    const VdsSerialWire *wire = vds_serial_port_get_wire(instance);
    const char *name = wire ? vds_serial_wire_get_name(wire) : NULL;

    if (name) {
        vds_prop_show_string(value, g_strdup(name));
    }
    return name != NULL;
}

static bool get_guest_connected(void *instance, VdsProp *value)
{
    vds_prop_show_bool(value, vds_serial_port_is_guest_open(instance));
    return true;
}

static bool get_host_connected(void *instance, VdsProp *value)
{
    vds_prop_show_bool(value, vds_serial_port_is_host_open(instance));
    return true;
}

static const VdsDeviceReading port_readings[] = {
    {"nr", "uint32", get_nr, NULL}, /* the one it got */
    {"pty", "str", get_pty, NULL},
    {"guest-connected", "bool", get_guest_connected, NULL},
    {"host-connected", "bool", get_host_connected, NULL},
    {NULL, NULL, NULL, NULL},
};

static const VdsDeviceType port_types[] = {
    VDS_TYPE_ABSTRACT("virtio-serial-port", "device"),
    {.name = "virtserialport",
     .parent = "virtio-serial-port",
     .bus_type = "virtio-serial-bus",
     .own = VDS_TABLES(port_properties),
     .form = &port_form},
    {.name = "virtconsole",
     .parent = "virtserialport",
     .bus_type = "virtio-serial-bus",
     .own = VDS_TABLES(port_properties),
     .form = &console_form},
    VDS_TYPE_END,
};

const VdsDeviceClass vds_serial_port_class = {.types = port_types,
                                              .realize = port_realize,
                                              .unrealize = port_unrealize,
                                              .readings = port_readings,
                                              .category = VDS_CATEGORY_INPUT};
