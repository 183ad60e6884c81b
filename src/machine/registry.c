/*
 * machine: the registry of virtio devices, newest first, and the devices that a row puts
 * at paths of its own.
 */
#include <string.h>

#include "machine-priv.h"

/* A recorded path comes from a stranger's file. */
enum { MAX_PATH_BYTES = 4096, MAX_PATH_DEPTH = 64 };

VdsEntry *vds_registry_add(VdsMachine *machine, VdsDevice *owner, VdsNode *node,
                           VdsVirtioDevice *virtio)
{
    VdsEntry *entry = g_new0(VdsEntry, 1);

    *entry = (VdsEntry){
        .next = machine->entries,
        .owner_next = owner->entries,
        .owner = owner,
        .virtio = virtio,
        .machine = machine,
        .node = node,
        .path = vds_node_path(node),
    };
    if (entry->next) {
        entry->next->prev = entry;
    }
    machine->entries = entry;
    machine->n_entries++;
    g_hash_table_insert(machine->by_path, entry->path, entry);
    g_hash_table_insert(machine->by_virtio, virtio, entry);
    if (node != owner->node) {
        node->object = entry;
        node->ops = &vds_qom_backend_ops;
    }
    owner->entries = entry;
    vds_faults_watch(entry);
    vds_virtio_device_set_running(virtio, vds_machine_is_running(machine));
    return entry;
}

char *vds_registry_remove(VdsMachine *machine, VdsEntry *entry)
{
    char *path = entry->path;

    *(entry->prev ? &entry->prev->next : &machine->entries) = entry->next;
    if (entry->next) {
        entry->next->prev = entry->prev;
    }
    machine->n_entries--;
    g_hash_table_remove(machine->by_path, path);
    g_hash_table_remove(machine->by_virtio, entry->virtio);
    vds_virtio_device_free(entry->virtio);
    vds_faults_forget(entry);
    g_free(entry);
    return path;
}

/* ---- put ----------------------------------------------------------------------------
 */

static bool put_refuse(const char *path, const char *why, GError **error)
{
    g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_DUPLICATE_PATH,
                "path '%.*s' %s", vds_name_len(path), path, why);
    return false;
}

/* /objects and /chardevs: their names are given by clients, and none may be there twice.
 */
static bool is_of_parts(const VdsMachine *machine, const char *top)
{
    VdsNode *node = vds_tree_child(machine->tree, vds_tree_root(machine->tree), top);

    return node && !node->goes_empty && node->ops != &vds_qom_machine_ops;
}

/* Checks before anything is made, so that a refusal leaves nothing behind. */
static bool put_check(const VdsMachine *machine, const char *path, char **parts,
                      GError **error)
{
    VdsNode *node = vds_tree_root(machine->tree);
    unsigned depth = g_strv_length(parts);

    if (path[0] != '/' || depth < 2 || depth > MAX_PATH_DEPTH ||
        strlen(path) > MAX_PATH_BYTES || is_of_parts(machine, parts[1])) {
        return put_refuse(path, "is not one a device can have", error);
    }
    for (unsigned i = 1; i < depth; i++) {
        if (parts[i][0] == '\0') {
            return put_refuse(path, "is not one a device can have", error);
        }
        node = node ? vds_tree_child(machine->tree, node, parts[i]) : NULL;
        if (node && node->ops && node->ops != &vds_qom_machine_ops) {
            return put_refuse(
                path, i + 1 == depth ? "exists already" : "lies in a device", error);
        }
    }
    return node ? put_refuse(path, "exists already", error) : true;
}

bool vds_registry_put(const VdsDeviceHost *host, const char *path,
                      VdsVirtioDevice *virtio, GError **error)
{
    VdsMachine *machine = host->machine;
    g_auto(GStrv) parts = g_strsplit(path, "/", 0);
    g_autoptr(VdsVirtioDevice) owned = virtio;
    VdsNode *node = vds_tree_root(machine->tree);

    if (!put_check(machine, path, parts, error)) {
        return false;
    }
    for (char **part = parts + 1; *part; part++) {
        VdsNode *child = vds_tree_child(machine->tree, node, *part);

        if (!child) {
            child = vds_tree_add(machine->tree, node, *part,
                                 part[1] ? "container" : "virtio-device");
            child->goes_empty = part[1] != NULL;
        }
        node = child;
    }
    vds_registry_add(machine, host->device, node, g_steal_pointer(&owned));
    return true;
}

void vds_registry_prune(VdsMachine *machine, VdsNode *node)
{
    while (node->goes_empty && !node->first) {
        VdsNode *parent = node->parent;

        vds_tree_remove(machine->tree, node);
        node = parent;
    }
}

/* ---- queries ------------------------------------------------------------------------
 */

void vds_machine_foreach(const VdsMachine *machine, VdsMachineDeviceFunc func, void *user)
{
    for (const VdsEntry *entry = machine->entries; entry; entry = entry->next) {
        func(entry->path, entry->virtio, user);
    }
}

size_t vds_machine_count(const VdsMachine *machine)
{
    return machine->n_entries;
}

const char *vds_machine_get_path(const VdsMachine *machine, const VdsVirtioDevice *device,
                                 const char **id)
{
    const VdsEntry *entry = g_hash_table_lookup(machine->by_virtio, device);

    if (!entry) {
        return NULL;
    }
    *id = entry->owner->has_id ? entry->owner->node->name : NULL;
    return entry->path;
}

/* The entry that a node stands for: its own, or the first of a device that is its own
 * virtio device (virtio-mmio). */
static const VdsEntry *node_entry(const VdsNode *node)
{
    const VdsDevice *device;

    if (node->ops == &vds_qom_backend_ops) {
        return node->object;
    }
    if (node->ops != &vds_qom_device_ops) {
        return NULL;
    }
    device = node->object;
    return device->entries && device->entries->node == node ? device->entries : NULL;
}

VdsVirtioDevice *vds_machine_find(const VdsMachine *machine, const char *path,
                                  const char **canonical)
{
    const VdsEntry *entry = g_hash_table_lookup(machine->by_path, path);

    if (!entry) {
        bool ambiguous;
        const VdsNode *node = vds_tree_resolve(machine->tree, path, &ambiguous);

        entry = node ? node_entry(node) : NULL;
    }
    if (!entry) {
        return NULL;
    }
    if (canonical) {
        *canonical = entry->path;
    }
    return entry->virtio;
}
