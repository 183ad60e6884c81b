/*
 * machine: how a device comes and goes: driver, bus, id, properties, realize, in QEMU's
 * order of checks.  One property set, one call, whatever asked for it.
 */
#include <string.h>

#include "machine-priv.h"

#define refuse(error, code, ...) vds_refuse(error, VDS_MACHINE_ERROR, code, __VA_ARGS__)

/* ---- what rows may ask ----------------------------------------------------------------
 */

/* It cannot go while the device is there. */
static void use_part(VdsDevice *device, VdsPart *part)
{
    if (!g_slist_find(device->parts, part)) {
        device->parts = g_slist_prepend(device->parts, part);
        part->n_users++;
    }
}

static void release_parts(VdsDevice *device)
{
    for (GSList *item = device->parts; item; item = item->next) {
        VdsPart *part = item->data;

        part->n_users--;
        if (part->user == device) {
            part->user = NULL;
        }
    }
    g_slist_free(g_steal_pointer(&device->parts));
}

static const VdsProps *host_find_backend(const VdsDeviceHost *host, const char *kind,
                                         const char *id)
{
    VdsPart *part = vds_part_find(host->machine, kind, id);

    if (!part) {
        return NULL;
    }
    use_part(host->device, part);
    return part->props;
}

static bool host_claim_backend(const VdsDeviceHost *host, const char *kind,
                               const char *id)
{
    VdsPart *part = vds_part_find(host->machine, kind, id);
    VdsDevice *device = host->device;

    if (!part || (part->user && part->user != device)) {
        return false;
    }
    part->user = device;
    use_part(device, part);
    return true;
}

/* ---- going ------------------------------------------------------------------------- */

static void tell_deleted(const VdsMachine *machine, const char *id, const char *path)
{
    if (machine->listener.device_deleted) {
        machine->listener.device_deleted(machine->listener.user, id, path);
    }
}

static void entry_destroy(VdsMachine *machine, VdsEntry *entry)
{
    VdsNode *node = entry->node;
    VdsNode *parent = node->parent;
    bool own_node = node != entry->owner->node;
    g_autofree char *path = vds_registry_remove(machine, entry);

    if (own_node) {
        vds_tree_remove(machine->tree, node);
        vds_registry_prune(machine, parent);
        tell_deleted(machine, NULL, path);
    }
}

/* The driver lets go; what is plugged into it goes, then its virtio devices, then itself.
 */
void vds_device_destroy(VdsMachine *machine, VdsDevice *device)
{
    const VdsMachineGuest *guest = &machine->guest;
    g_autofree char *path = NULL, *id = NULL;

    machine->leaving = g_slist_remove(machine->leaving, device);
    if (device->plugged && guest->unplug) {
        guest->unplug(guest->user, device->plugged);
    }
    while (device->brought && device->brought->devices) {
        vds_device_destroy(machine, device->brought->devices);
    }
    if (device->realized && device->class->unrealize) {
        device->class->unrealize(device->instance,
                                 device->bus ? device->bus->data : NULL);
    }
    vds_bus_unplug(device);
    vds_bus_remove(machine, g_steal_pointer(&device->brought));
    while (device->entries) {
        VdsEntry *entry = device->entries;

        device->entries = entry->owner_next;
        entry_destroy(machine, entry);
    }
    release_parts(device);
    path = vds_node_path(device->node);
    id = device->has_id ? g_strdup(device->node->name) : NULL;
    vds_tree_remove(machine->tree, device->node);
    vds_property_set_free(device->properties);
    g_free(device);
    tell_deleted(machine, id, path);
}

bool vds_machine_device_del(VdsMachine *machine, const char *id_or_path, GError **error)
{
    const VdsNode *node =
        vds_tree_resolve_at(machine->tree, machine->peripheral, id_or_path);

    if (!node) {
        return refuse(error, VDS_MACHINE_ERROR_NO_DEVICE, "Device '%.*s' not found",
                      vds_name_len(id_or_path), id_or_path);
    }
    if (node->ops == &vds_qom_backend_ops) {
        return refuse(error, VDS_MACHINE_ERROR_NOT_HOTPLUGGABLE,
                      "Bus 'virtio-bus' does not support hotplugging");
    }
    if (node->ops != &vds_qom_device_ops) {
        return refuse(error, VDS_MACHINE_ERROR_NOT_HOTPLUGGABLE,
                      "%.*s is not a hotpluggable device", vds_name_len(id_or_path),
                      id_or_path);
    }
    if (vds_device_is_leaving(machine, node->object)) {
        return refuse(error, VDS_MACHINE_ERROR_IN_USE,
                      "Device %.*s is already in the process of unplug",
                      vds_name_len(id_or_path), id_or_path);
    }
    vds_device_leave(machine, node->object);
    return true;
}

/* ---- coming ------------------------------------------------------------------------ */

static const VdsDriver *choose_driver(const VdsMachine *machine, const VdsProps *props,
                                      GError **error)
{
    const VdsProp *prop = vds_props_find(props, "driver");
    const VdsDriver *driver = prop ? vds_driver_find(machine, prop->text) : NULL;

    if (!prop) {
        refuse(error, VDS_MACHINE_ERROR_MISSING, "Parameter 'driver' is missing");
        return NULL;
    }
    if (!driver) {
        refuse(error, VDS_MACHINE_ERROR_NO_DRIVER,
               "'%.*s' is not a valid device model name", vds_name_len(prop->text),
               prop->text);
        return NULL;
    }
    if (driver->type->abstract) {
        refuse(error, VDS_MACHINE_ERROR_ABSTRACT,
               "Parameter 'driver' expects a non-abstract device type");
        return NULL;
    }
    return driver;
}

static bool id_is_free(const VdsMachine *machine, const char *id, GError **error)
{
    if (vds_tree_child(machine->tree, machine->peripheral, id)) {
        return refuse(error, VDS_MACHINE_ERROR_DUPLICATE_ID, "Duplicate device ID '%.*s'",
                      vds_name_len(id), id);
    }
    return true;
}

/* Numbered over all devices without id, failed ones included, as QEMU does; a recording
 * may have brought a path with such a number. */
static char *anonymous_name(VdsMachine *machine)
{
    for (;;) {
        g_autofree char *name = g_strdup_printf("device[%u]", machine->n_anonymous++);

        if (!vds_tree_child(machine->tree, machine->anonymous, name)) {
            return g_steal_pointer(&name);
        }
    }
}

static VdsNode *add_node(VdsMachine *machine, VdsDevice *device, const char *id)
{
    g_autofree char *name = NULL;
    VdsNode *node;

    if (id) {
        node = vds_tree_add(machine->tree, machine->peripheral, id, device->type->name);
    } else {
        name = anonymous_name(machine);
        node = vds_tree_add(machine->tree, machine->anonymous, name, device->type->name);
    }
    node->ops = &vds_qom_device_ops;
    node->object = device;
    return node;
}

static void take_parts(VdsMachine *machine, VdsDevice *device, VdsDeviceParts *parts)
{
    VdsNode *node = device->node;

    device->instance = parts->instance;
    if (parts->virtio) {
        if (device->type->backend_type) {
            node = vds_tree_add(machine->tree, node, "virtio-backend",
                                device->type->backend_type);
        }
        vds_registry_add(machine, device, node, parts->virtio);
    }
    if (parts->bus_type) {
        g_autofree char *name = parts->bus_name;

        if (!name) {
            name = vds_bus_auto_name(machine, parts->bus_type);
        }
        device->brought = vds_bus_add(machine, node, parts->bus_type, name);
        device->brought->owner = device;
        device->brought->data = parts->bus_data;
        device->brought->data_free = parts->bus_free;
    }
}

static bool find_driver(VdsMachine *machine, VdsDevice *device, VdsVirtioDevice *virtio,
                        GError **error)
{
    const VdsMachineGuest *guest = &machine->guest;

    if (virtio && guest->plug) {
        if (!guest->plug(guest->user, virtio, device->type, device->properties, error)) {
            return false;
        }
        device->plugged = virtio;
    }
    return true;
}

/* Undoes what was made so far, with no event. */
static void abandon(VdsMachine *machine, VdsDevice *device)
{
    VdsMachineListener listener = machine->listener;

    machine->listener = (VdsMachineListener){0};
    vds_device_destroy(machine, device);
    machine->listener = listener;
}

static bool device_realize(VdsMachine *machine, VdsDevice *device, VdsBus *bus,
                           const VdsProps *props, GError **error)
{
    VdsDeviceHost host = {
        .machine = machine,
        .device = device,
        .patience = machine->patience,
        .find_backend = host_find_backend,
        .claim_backend = host_claim_backend,
        .put = vds_registry_put,
        .balloon_changed = vds_news_balloon_changed,
        .port_changed = vds_news_port_changed,
        .share = vds_shared_get,
    };
    g_autofree char *path = vds_node_path(device->node);
    VdsDeviceArgs args = {
        .class = device->class,
        .type = device->type,
        .id = device->has_id ? device->node->name : NULL,
        .path = path,
        .host = &host,
        .bus_data = bus ? bus->data : NULL,
    };
    VdsDeviceParts parts = {0};

    device->properties = vds_property_set_new(device->type, props, &host, error);
    args.properties = device->properties;
    if (!device->properties || !device->class->realize(&args, &parts, error)) {
        return false;
    }
    if (bus) {
        vds_bus_plug(bus, device);
    }
    device->realized = true;
    take_parts(machine, device, &parts);
    return find_driver(machine, device, parts.virtio, error);
}

bool vds_machine_device_add(VdsMachine *machine, const VdsProps *props, GError **error)
{
    const VdsProp *bus_prop = vds_props_find(props, "bus");
    const VdsProp *id_prop = vds_props_find(props, "id");
    const VdsDriver *driver;
    VdsDevice *device;
    VdsBus *bus;

    if (id_prop && !vds_id_is_well_formed(id_prop->text)) {
        return refuse(error, VDS_MACHINE_ERROR_BAD_ID,
                      "Parameter 'id' expects an identifier");
    }
    driver = choose_driver(machine, props, error);
    if (!driver ||
        !vds_bus_choose(machine, driver->type, bus_prop ? bus_prop->text : NULL, &bus,
                        error) ||
        (id_prop && !id_is_free(machine, id_prop->text, error))) {
        return false;
    }
    device = g_new0(VdsDevice, 1);
    device->class = driver->class;
    device->type = driver->type;
    device->has_id = id_prop != NULL;
    device->hotplugged = machine->run_state != VDS_RUN_PRELAUNCH;
    device->node = add_node(machine, device, id_prop ? id_prop->text : NULL);
    if (!device_realize(machine, device, bus, props, error)) {
        abandon(machine, device);
        return false;
    }
    return true;
}
