/*
 * machine: the parts that devices are wired to (-netdev, -blockdev, -chardev, -object,
 * -fsdev): known by kind and id, used by at most one device where that matters.  Refuses
 * to know what they do.
 */
#include <string.h>

#include "machine-priv.h"

typedef struct VdsPartKind VdsPartKind;

struct VdsPartKind {
    const char *name;
    const char *space;     /* ids of one space are distinct */
    const char *key;       /* the property that holds the id */
    const char *duplicate; /* how a second one is refused, %.*s being the id */
    const char *container; /* (nullable) it has a node there */
    const char *type_key;  /* the property that names the node's type */
    /* How its removal is refused; (nullable) where it cannot be asked for. */
    const char *missing, *busy;
    VdsMachineError missing_code;
};

static const VdsPartKind kinds[] = {
    {.name = "netdev",
     .space = "netdev",
     .key = "id",
     .duplicate = "Duplicate ID '%.*s' for netdev",
     .missing = "Device '%.*s' not found",
     .busy = "Device '%.*s' is in use",
     .missing_code = VDS_MACHINE_ERROR_NO_DEVICE},
    {.name = "blockdev",
     .space = "block",
     .key = "node-name",
     .duplicate = "Duplicate nodes with node-name='%.*s'",
     .missing = "Failed to find node with node-name='%.*s'",
     .busy = "Node %.*s is in use",
     .missing_code = VDS_MACHINE_ERROR_NO_PART},
    {.name = "drive",
     .space = "block",
     .key = "id",
     .duplicate = "Duplicate ID '%.*s' for drive"},
    {.name = "chardev",
     .space = "chardev",
     .key = "id",
     .duplicate = "Duplicate ID '%.*s' for chardev",
     .container = "chardevs",
     .type_key = "backend",
     .missing = "Chardev '%.*s' not found",
     .busy = "Chardev '%.*s' is busy",
     .missing_code = VDS_MACHINE_ERROR_NO_PART},
    {.name = "fsdev",
     .space = "fsdev",
     .key = "id",
     .duplicate = "Duplicate ID '%.*s' for fsdev"},
    {.name = "object",
     .space = "object",
     .key = "id",
     .duplicate = "attempt to add duplicate property '%.*s' to object (type 'container')",
     .container = "objects",
     .type_key = "qom-type",
     .missing = "object '%.*s' not found",
     .busy = "object '%.*s' is in use, can not be deleted",
     .missing_code = VDS_MACHINE_ERROR_NO_PART},
};

static const VdsPartKind *kind_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

static guint part_hash(gconstpointer key)
{
    const VdsPart *part = key;

    return g_str_hash(part->kind->space) * 31u ^ g_str_hash(part->id);
}

static gboolean part_equal(gconstpointer a, gconstpointer b)
{
    const VdsPart *one = a, *other = b;

    return strcmp(one->kind->space, other->kind->space) == 0 &&
           strcmp(one->id, other->id) == 0;
}

static void part_free(void *data)
{
    VdsPart *part = data;

    for (guint i = 0; part->fds && i < part->fds->len; i++) {
        vds_closer_close(part->machine->closer, &g_array_index(part->fds, int, i));
    }
    g_clear_pointer(&part->fds, g_array_unref);
    g_free(part->id);
    vds_props_free(part->props);
    g_free(part);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsPart, part_free)

GHashTable *vds_parts_new(void)
{
    return g_hash_table_new_full(part_hash, part_equal, part_free, NULL);
}

const char *vds_part_get_kind(const VdsPart *part)
{
    return part->kind->name;
}

VdsPart *vds_part_find(const VdsMachine *machine, const char *kind, const char *id)
{
    VdsPart key = {.kind = kind_find(kind), .id = (char *)id};

    return key.kind ? g_hash_table_lookup(machine->parts, &key) : NULL;
}

static VdsNode *part_container(const VdsMachine *machine, const VdsPart *part)
{
    return vds_tree_child(machine->tree, vds_tree_root(machine->tree),
                          part->kind->container);
}

static bool is_io_thread(const VdsPart *part)
{
    return strcmp(part->kind->name, "object") == 0 &&
           g_strcmp0(vds_props_get_string(part->props, "qom-type"), "iothread") == 0;
}

static void part_add_node(VdsMachine *machine, VdsPart *part)
{
    const VdsPartKind *kind = part->kind;
    const char *type = vds_props_get_string(part->props, kind->type_key);
    VdsNode *node = vds_tree_add(machine->tree, part_container(machine, part), part->id,
                                 type ? type : kind->name);

    node->ops = is_io_thread(part) ? &vds_qom_io_thread_ops : &vds_qom_part_ops;
    node->object = part;
    part->node = node;
}

static VdsPart *part_new(const VdsMachine *machine, const VdsPartKind *kind,
                         const char *id, const VdsProps *props)
{
    VdsPart *part = g_new0(VdsPart, 1);

    part->kind = kind;
    part->id = g_strdup(id);
    part->props = vds_props_copy(props);
    part->machine = machine;
    part->link.data = part;
    return part;
}

static void part_add(VdsMachine *machine, VdsPart *part)
{
    g_hash_table_add(machine->parts, part);
    g_queue_push_tail_link(&machine->part_order, &part->link);
    if (part->kind->container) {
        part_add_node(machine, part);
    }
}

/* A recording's device may have taken the name. */
static bool part_is_free(const VdsMachine *machine, const VdsPart *part)
{
    return !part->kind->container ||
           !vds_tree_child(machine->tree, part_container(machine, part), part->id);
}

static bool backend_add(VdsMachine *machine, const char *kind, const VdsProps *props,
                        bool is_clients, GError **error)
{
    const VdsPartKind *row = kind_find(kind);
    const char *id = row ? vds_props_get_string(props, row->key) : NULL;
    g_autoptr(VdsPart) part = NULL;

    if (!id) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_MISSING,
                    "Parameter '%s' is missing", row ? row->key : "id");
        return false;
    }
    part = part_new(machine, row, id, props);
    part->is_clients = is_clients;
    if (vds_part_find(machine, kind, id) || !part_is_free(machine, part)) {
        g_autofree char *text = g_strdup_printf(row->duplicate, vds_name_len(id), id);

        g_set_error_literal(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_DUPLICATE_ID,
                            text);
        return false;
    }
    if (!vds_part_take_fds(machine, part, error) ||
        (is_io_thread(part) && !vds_io_thread_part_start(machine, id, props, error))) {
        return false;
    }
    part_add(machine, g_steal_pointer(&part));
    return true;
}

bool vds_machine_backend_add(VdsMachine *machine, const char *kind, const VdsProps *props,
                             GError **error)
{
    return backend_add(machine, kind, props, false, error);
}

bool vds_machine_backend_plug(VdsMachine *machine, const char *kind,
                              const VdsProps *props, GError **error)
{
    return vds_machine_check_keys(kind, props, error) &&
           backend_add(machine, kind, props, true, error);
}

/* A raw node is the one below as it is. */
static bool is_below_another(const VdsMachine *machine, const VdsPart *part)
{
    for (const GList *link = machine->part_order.head; link; link = link->next) {
        const VdsPart *other = link->data;

        if (other->kind == part->kind && strcmp(part->kind->space, "block") == 0 &&
            g_strcmp0(vds_props_get_string(other->props, "file"), part->id) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_busy(const VdsMachine *machine, const VdsPart *part)
{
    return part->n_users > 0 || machine->ram_part == part ||
           is_below_another(machine, part);
}

static bool del_refuse(VdsMachineError code, const char *format, const char *id,
                       GError **error)
{
    g_autofree char *text = g_strdup_printf(format, vds_name_len(id), id);

    g_set_error_literal(error, VDS_MACHINE_ERROR, (int)code, text);
    return false;
}

bool vds_machine_backend_del(VdsMachine *machine, const char *kind, const char *id,
                             GError **error)
{
    const VdsPartKind *row = kind_find(kind);
    VdsPart *part = vds_part_find(machine, kind, id);

    if (!part || part->kind != row) {
        return del_refuse(row->missing_code, row->missing, id, error);
    }
    if (is_busy(machine, part)) {
        return del_refuse(VDS_MACHINE_ERROR_IN_USE, row->busy, id, error);
    }
    if (is_io_thread(part)) {
        vds_io_thread_part_stop(machine, id);
    }
    if (part->node) {
        vds_tree_remove(machine->tree, part->node);
    }
    g_queue_unlink(&machine->part_order, &part->link);
    g_hash_table_remove(machine->parts, part);
    return true;
}

bool vds_machine_has_backend(const VdsMachine *machine, const char *kind, const char *id)
{
    return vds_part_find(machine, kind, id) != NULL;
}

void vds_machine_foreach_backend(const VdsMachine *machine, const char *kind,
                                 VdsBackendFunc func, void *user)
{
    for (const GList *link = machine->part_order.head; link; link = link->next) {
        const VdsPart *part = link->data;
        g_autofree char *path = part->user ? vds_node_path(part->user->node) : NULL;

        if (strcmp(part->kind->name, kind) == 0) {
            func(&(VdsBackendInfo){part->id, part->props, path}, user);
        }
    }
}
