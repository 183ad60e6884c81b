/*
 * machine: buses: where devices are plugged in, by name or by type.  A PCI bus here has
 * no slots: any number of devices fits.
 */
#include <string.h>

#include "machine-priv.h"

/* Types that may stand for another: a PCI device goes on a PCI Express bus. */
static const struct {
    const char *type, *parent;
} bus_parents[] = {
    {"PCIE", "PCI"},
    {"virtio-mmio-bus", "virtio-bus"},
};

/* The root PCI bus goes by the name and type of QEMU's machine of that name; where there
 * is no such machine, by either name, the newest being the default. */
typedef struct {
    const char *name, *type;
} Root;

static const struct {
    const char *machine; /* prefix of the type; the first row that fits */
    Root roots[2];
} families[] = {
    {"pc-q35", {{"pcie.0", "PCIE"}}},
    {"pc", {{"pci.0", "PCI"}}},
    {"", {{"pci.0", "PCIE"}, {"pcie.0", "PCIE"}}},
};

void vds_bus_create_roots(VdsMachine *machine)
{
    VdsNode *parent = machine->anonymous->parent;
    VdsNode *mmio = vds_tree_add(machine->tree, parent, "mmio", "container");
    VdsNode *pci = vds_tree_add(machine->tree, parent, "pci", "container");
    size_t family = 0;

    while (!g_str_has_prefix(machine->type, families[family].machine)) {
        family++; /* the last fits all */
    }
    vds_bus_add(machine, mmio, "virtio-mmio-bus", "virtio-mmio-bus.0");
    for (size_t i = 0; i < 2 && families[family].roots[i].name; i++) {
        vds_bus_add(machine, pci, families[family].roots[i].type,
                    families[family].roots[i].name);
    }
}

void vds_bus_remove_roots(VdsMachine *machine)
{
    g_autoptr(GList) types = g_hash_table_get_keys(machine->buses);

    for (GList *type = types; type; type = type->next) {
        VdsBus *bus;

        while ((bus = g_hash_table_lookup(machine->buses, type->data))) {
            vds_bus_remove(machine, bus);
        }
    }
}

VdsBus *vds_bus_add(VdsMachine *machine, VdsNode *parent, const char *type,
                    const char *name)
{
    VdsBus *bus = g_new0(VdsBus, 1);

    bus->type = type;
    bus->node = vds_tree_add(machine->tree, parent, name, type);
    bus->node->ops = &vds_qom_bus_ops;
    bus->node->object = bus;
    bus->name = bus->node->name;
    bus->next = g_hash_table_lookup(machine->buses, type);
    if (bus->next) {
        bus->next->prev = bus;
    }
    g_hash_table_insert(machine->buses, (char *)type, bus);
    return bus;
}

void vds_bus_remove(VdsMachine *machine, VdsBus *bus)
{
    if (!bus) {
        return;
    }
    g_assert(!bus->devices);
    if (bus->prev) {
        bus->prev->next = bus->next;
    } else {
        g_hash_table_insert(machine->buses, (char *)bus->type, bus->next);
    }
    if (bus->next) {
        bus->next->prev = bus->prev;
    }
    if (bus->data_free) {
        bus->data_free(bus->data);
    }
    vds_tree_remove(machine->tree, bus->node);
    g_free(bus);
}

char *vds_bus_auto_name(VdsMachine *machine, const char *type)
{
    unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(machine->bus_numbers, type));
    g_autofree char *lower = g_ascii_strdown(type, -1);

    g_hash_table_insert(machine->bus_numbers, (char *)type, GUINT_TO_POINTER(n + 1));
    return g_strdup_printf("%s.%u", lower, n);
}

static bool bus_is_a(const VdsBus *bus, const char *wanted)
{
    if (strcmp(bus->type, wanted) == 0) {
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bus_parents); i++) {
        if (strcmp(bus->type, bus_parents[i].type) == 0 &&
            strcmp(wanted, bus_parents[i].parent) == 0) {
            return true;
        }
    }
    return false;
}

static VdsBus *find_by_name(const VdsMachine *machine, const char *name)
{
    VdsNode *node = vds_tree_named(machine->tree, name);

    while (node && node->ops != &vds_qom_bus_ops) {
        node = node->same_next;
    }
    return node ? node->object : NULL;
}

/* The machine's own bus of that very type, else the newest. */
static VdsBus *prefer_root(const VdsMachine *machine, const char *type)
{
    VdsBus *newest = g_hash_table_lookup(machine->buses, type);

    for (VdsBus *bus = newest; bus; bus = bus->next) {
        if (!bus->owner) {
            return bus;
        }
    }
    return newest;
}

/* As QEMU, which looks from the root down: the machine's own, if only of a type that may
 * stand for it, else the newest. */
static VdsBus *find_by_type(const VdsMachine *machine, const char *type)
{
    VdsBus *bus = prefer_root(machine, type);

    for (size_t i = 0; (!bus || bus->owner) && i < G_N_ELEMENTS(bus_parents); i++) {
        if (strcmp(bus_parents[i].parent, type) == 0) {
            VdsBus *other = prefer_root(machine, bus_parents[i].type);

            bus = other && (!bus || !other->owner) ? other : bus;
        }
    }
    return bus;
}

#define refuse(error, ...)                                                               \
    vds_refuse(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_BUS, __VA_ARGS__)

bool vds_bus_choose(const VdsMachine *machine, const VdsDeviceType *type,
                    const char *name, VdsBus **bus, GError **error)
{
    *bus = NULL;
    if (name) {
        *bus = find_by_name(machine, name);
        if (!*bus) {
            return refuse(error, "Bus '%.*s' not found", vds_name_len(name), name);
        }
        if (!type->bus_type || !bus_is_a(*bus, type->bus_type)) {
            return refuse(error, "Device '%s' can't go on %s bus", type->name,
                          (*bus)->type);
        }
    } else if (type->bus_type) {
        *bus = find_by_type(machine, type->bus_type);
        if (!*bus) {
            return refuse(error, "No '%s' bus found for device '%s'", type->bus_type,
                          type->name);
        }
    }
    return true;
}

void vds_bus_plug(VdsBus *bus, VdsDevice *device)
{
    device->bus = bus;
    device->bus_next = bus->devices;
    if (device->bus_next) {
        device->bus_next->bus_prev = device;
    }
    bus->devices = device;
}

void vds_bus_unplug(VdsDevice *device)
{
    VdsBus *bus = device->bus;

    if (!bus) {
        return;
    }
    *(device->bus_prev ? &device->bus_prev->bus_next : &bus->devices) = device->bus_next;
    if (device->bus_next) {
        device->bus_next->bus_prev = device->bus_prev;
    }
    device->bus = NULL;
}
