/*
 * machine: qom-list and qom-get: what each sort of object shows of itself.  Children and
 * "type" are every object's; the rest is in the ops of its node.
 */
#include <string.h>

#include "machine-priv.h"

static void show_path(VdsProp *value, const VdsNode *node)
{
    vds_prop_show_string(value, node ? vds_node_path(node) : NULL);
}

/* ---- devices ------------------------------------------------------------------------
 */

/* Realized or gone: there is nothing between. */
static const char *const device_flags[] = {"realized", "hotplugged", "hotpluggable"};

static void list_common(VdsQomListFunc func, void *user)
{
    func("parent_bus", "link<bus>", user);
    for (size_t i = 0; i < G_N_ELEMENTS(device_flags); i++) {
        func(device_flags[i], "bool", user);
    }
}

static bool get_common(const VdsDevice *device, const VdsNode *bus, const char *name,
                       VdsProp *value)
{
    if (strcmp(name, "parent_bus") == 0) {
        show_path(value, bus);
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(device_flags); i++) {
        if (strcmp(name, device_flags[i]) == 0) {
            vds_prop_show_bool(value, i != 1 || device->hotplugged);
            return true;
        }
    }
    return false;
}

typedef struct {
    VdsQomListFunc func;
    void *user;
    bool only_backend;
} ListWalk;

static void list_property(const VdsProperty *property, bool backend, void *user)
{
    const ListWalk *walk = user;

    if (backend || !walk->only_backend) {
        walk->func(property->name,
                   property->type_name ? property->type_name : property->type->name,
                   walk->user);
    }
}

static const VdsEntry *own_entry(const VdsDevice *device)
{
    const VdsEntry *entry = device->entries;

    return entry && (entry->node == device->node || entry->node->parent == device->node)
               ? entry
               : NULL;
}

static bool reading_get(const VdsDevice *device, const VdsDeviceReading *row,
                        VdsProp *value)
{
    return device->instance && row->get(device->instance, value);
}

/* What the device was given, or tells in any case, comes first. */
static bool is_told(const VdsDevice *device, const char *name)
{
    const VdsEntry *entry = own_entry(device);
    bool backend;

    return vds_device_type_find_property(device->type, name, &backend) ||
           (entry && vds_live_has(entry, name));
}

static void readings_list(const VdsDevice *device, VdsQomListFunc func, void *user)
{
    const VdsDeviceReading *row = device->class->readings;

    for (; row && row->name; row++) {
        VdsProp value = {0};

        if (!is_told(device, row->name) && reading_get(device, row, &value)) {
            func(row->name, row->type, user);
        }
        vds_prop_clear(&value);
    }
}

/* (nullable) */
static const VdsDeviceReading *reading_find(const VdsDevice *device, const char *name)
{
    const VdsDeviceReading *row = device->class->readings;

    while (row && row->name && strcmp(row->name, name) != 0) {
        row++;
    }
    return row && row->name ? row : NULL;
}

static bool readings_get(const VdsDevice *device, const char *name, VdsProp *value)
{
    const VdsDeviceReading *row = reading_find(device, name);

    return row && reading_get(device, row, value);
}

static bool readings_set(const VdsDevice *device, const char *name, const VdsProp *value,
                         bool *known, GError **error)
{
    const VdsDeviceReading *row = reading_find(device, name);

    *known = row && row->set && device->instance;
    return *known && row->set(device->instance, value, error);
}

static void device_list(const VdsNode *node, VdsQomListFunc func, void *user)
{
    const VdsDevice *device = node->object;
    const VdsEntry *entry = own_entry(device);
    ListWalk walk = {func, user, false};

    list_common(func, user);
    vds_device_type_foreach_property(device->type, list_property, &walk);
    readings_list(device, func, user);
    if (entry && entry->node == node) {
        vds_live_list(entry, func, user);
    }
}

static bool device_get(const VdsNode *node, const char *name, VdsProp *value)
{
    const VdsDevice *device = node->object;
    const VdsEntry *entry = own_entry(device);
    const VdsProperty *property;
    bool backend;

    if (get_common(device, device->bus ? device->bus->node : NULL, name, value)) {
        return true;
    }
    if (entry && entry->node == node && vds_live_get(entry, name, value)) {
        return true;
    }
    if (readings_get(device, name, value)) {
        return true;
    }
    property = vds_device_type_find_property(device->type, name, &backend);
    if (property) {
        vds_property_set_show(device->properties, property, value);
    }
    return property != NULL;
}

static bool device_set(const VdsNode *node, const char *name, const VdsProp *value,
                       bool *known, GError **error)
{
    return readings_set(node->object, name, value, known, error);
}

/* The virtio device below a PCI one, or one that was put somewhere. */
static void backend_list(const VdsNode *node, VdsQomListFunc func, void *user)
{
    const VdsEntry *entry = node->object;
    ListWalk walk = {func, user, true};

    list_common(func, user);
    if (entry == own_entry(entry->owner)) {
        vds_device_type_foreach_property(entry->owner->type, list_property, &walk);
        readings_list(entry->owner, func, user);
    }
    vds_live_list(entry, func, user);
}

static bool backend_get(const VdsNode *node, const char *name, VdsProp *value)
{
    const VdsEntry *entry = node->object;
    const VdsDevice *owner = entry->owner;
    const VdsProperty *property = NULL;
    bool backend = false;

    if (get_common(owner, NULL, name, value)) {
        return true;
    }
    if (vds_live_get(entry, name, value)) {
        return true;
    }
    if (entry == own_entry(owner)) {
        if (readings_get(owner, name, value)) {
            return true;
        }
        property = vds_device_type_find_property(owner->type, name, &backend);
    }
    if (!property || !backend) {
        return false;
    }
    vds_property_set_show(owner->properties, property, value);
    return true;
}

static bool backend_set(const VdsNode *node, const char *name, const VdsProp *value,
                        bool *known, GError **error)
{
    const VdsEntry *entry = node->object;

    return entry == own_entry(entry->owner) &&
           readings_set(entry->owner, name, value, known, error);
}

const VdsNodeOps vds_qom_device_ops = {device_list, device_get, device_set};
const VdsNodeOps vds_qom_backend_ops = {backend_list, backend_get, backend_set};

/* ---- buses and parts ------------------------------------------------------------------
 */

static void bus_list(const VdsNode *node, VdsQomListFunc func, void *user)
{
    const VdsBus *bus = node->object;
    unsigned n = 0;

    func("realized", "bool", user);
    for (const VdsDevice *device = bus->devices; device; device = device->bus_next) {
        g_autofree char *name = g_strdup_printf("child[%u]", n++);
        g_autofree char *type = g_strdup_printf("link<%s>", device->type->name);

        func(name, type, user);
    }
}

static bool bus_get(const VdsNode *node, const char *name, VdsProp *value)
{
    const VdsBus *bus = node->object;
    const VdsDevice *device = bus->devices;
    uint64_t n;

    if (strcmp(name, "realized") == 0) {
        vds_prop_show_bool(value, true);
        return true;
    }
    if (!g_str_has_prefix(name, "child[") || !g_str_has_suffix(name, "]")) {
        return false;
    }
    for (n = g_ascii_strtoull(name + 6, NULL, 10); device && n > 0; n--) {
        device = device->bus_next;
    }
    if (device) {
        show_path(value, device->node);
    }
    return device != NULL;
}

const VdsNodeOps vds_qom_bus_ops = {bus_list, bus_get, NULL};

/* As it was given; guest RAM also says where it is. */
static const char map_path[] = "map-path";

static void part_list(const VdsNode *node, VdsQomListFunc func, void *user)
{
    const VdsPart *part = node->object;
    g_autofree char *path = vds_part_map_path(part);

    for (unsigned i = 0; i < vds_props_count(part->props); i++) {
        func(vds_props_nth(part->props, i)->name, "str", user);
    }
    if (path) {
        func(map_path, "str", user);
    }
}

static bool part_get(const VdsNode *node, const char *name, VdsProp *value)
{
    const VdsPart *part = node->object;
    const VdsProp *prop = vds_props_find(part->props, name);
    g_autofree char *path = vds_part_map_path(part);

    if (prop) {
        vds_prop_show_string(value, g_strdup(prop->text));
    } else if (path && strcmp(name, map_path) == 0) {
        vds_prop_show_string(value, g_strdup(path));
    } else {
        return false;
    }
    return true;
}

const VdsNodeOps vds_qom_part_ops = {part_list, part_get, NULL};

/* ---- the machine ----------------------------------------------------------------------
 */

static void machine_list(const VdsNode *node, VdsQomListFunc func, void *user)
{
    func("memory-backend", "link<memory-backend>", user);
}

static bool machine_get(const VdsNode *node, const char *name, VdsProp *value)
{
    const VdsMachine *machine = node->object;

    if (strcmp(name, "memory-backend") != 0) {
        return false;
    }
    vds_prop_show_string(
        value,
        machine->ram_part ? g_strdup_printf("/objects/%s", machine->ram_part->id) : NULL);
    return true;
}

const VdsNodeOps vds_qom_machine_ops = {machine_list, machine_get, NULL};

/* ---- the two commands -------------------------------------------------------------- */

static const VdsNode *resolve(const VdsMachine *machine, const char *path, GError **error)
{
    bool ambiguous;
    const VdsNode *node = vds_tree_resolve(machine->tree, path, &ambiguous);

    if (ambiguous) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_AMBIGUOUS,
                    "Path '%.*s' is ambiguous", vds_name_len(path), path);
        return NULL;
    }
    if (!node) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_OBJECT,
                    "Device '%.*s' not found", vds_name_len(path), path);
    }
    return node;
}

bool vds_machine_qom_list(const VdsMachine *machine, const char *path,
                          VdsQomListFunc func, void *user, GError **error)
{
    const VdsNode *node = resolve(machine, path, error);

    if (!node) {
        return false;
    }
    func("type", "string", user);
    if (node->ops) {
        node->ops->list(node, func, user);
    }
    for (const VdsNode *child = node->first; child; child = child->next) {
        g_autofree char *type = g_strdup_printf("child<%s>", child->type);

        func(child->name, type, user);
    }
    return true;
}

static bool no_property(const VdsNode *node, const char *property, GError **error)
{
    return vds_refuse(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_PROPERTY,
                      "Property '%s.%.*s' not found", node->type, vds_name_len(property),
                      property);
}

bool vds_machine_qom_get(const VdsMachine *machine, const char *path,
                         const char *property, VdsProp *value, GError **error)
{
    const VdsNode *node = resolve(machine, path, error);
    const VdsNode *child;

    if (!node) {
        return false;
    }
    *value = (VdsProp){.name = g_strdup(property)};
    child = vds_tree_child(machine->tree, node, property);
    if (strcmp(property, "type") == 0) {
        vds_prop_show_string(value, g_strdup(node->type));
    } else if (child) {
        show_path(value, child);
    } else if (!node->ops || !node->ops->get(node, property, value)) {
        vds_prop_clear(value);
        return no_property(node, property, error);
    }
    return true;
}

static bool is_there(const VdsMachine *machine, const VdsNode *node, const char *property)
{
    g_autofree char *path = vds_node_path(node);
    VdsProp value;
    bool there = vds_machine_qom_get(machine, path, property, &value, NULL);

    if (there) {
        vds_prop_clear(&value);
    }
    return there;
}

bool vds_machine_qom_set(VdsMachine *machine, const char *path, const char *property,
                         const VdsProp *value, GError **error)
{
    const VdsNode *node = resolve(machine, path, error);
    bool known = false, set = false;

    if (!node) {
        return false;
    }
    if (node->ops && node->ops->set) {
        set = node->ops->set(node, property, value, &known, error);
    }
    if (known) {
        return set;
    }
    if (!is_there(machine, node, property)) {
        return no_property(node, property, error);
    }
    return vds_refuse(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_STATE,
                      "Property '%s.%.*s' is not writable", node->type,
                      vds_name_len(property), property);
}
