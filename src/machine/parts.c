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
};

static const VdsPartKind kinds[] = {
    {"netdev", "netdev", "id", "Duplicate ID '%.*s' for netdev", NULL, NULL},
    {"blockdev", "block", "node-name", "Duplicate nodes with node-name='%.*s'", NULL,
     NULL},
    {"drive", "block", "id", "Duplicate ID '%.*s' for drive", NULL, NULL},
    {"chardev", "chardev", "id", "Duplicate ID '%.*s' for chardev", "chardevs",
     "backend"},
    {"fsdev", "fsdev", "id", "Duplicate ID '%.*s' for fsdev", NULL, NULL},
    {"object", "object", "id",
     "attempt to add duplicate property '%.*s' to object (type 'container')", "objects",
     "qom-type"},
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

    g_free(part->id);
    vds_props_free(part->props);
    g_free(part);
}

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

static void part_add_node(VdsMachine *machine, VdsPart *part)
{
    const VdsPartKind *kind = part->kind;
    const char *type = vds_props_get_string(part->props, kind->type_key);
    VdsNode *root = vds_tree_root(machine->tree);
    VdsNode *node;

    node =
        vds_tree_add(machine->tree, vds_tree_child(machine->tree, root, kind->container),
                     part->id, type ? type : kind->name);
    node->ops = &vds_qom_part_ops;
    node->object = part;
}

static bool is_io_thread(const VdsPart *part)
{
    return strcmp(part->kind->name, "object") == 0 &&
           g_strcmp0(vds_props_get_string(part->props, "qom-type"), "iothread") == 0;
}

bool vds_machine_backend_add(VdsMachine *machine, const char *kind, const VdsProps *props,
                             GError **error)
{
    const VdsPartKind *row = kind_find(kind);
    const char *id = row ? vds_props_get_string(props, row->key) : NULL;
    VdsPart *part;

    if (!id) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_MISSING,
                    "Parameter '%s' is missing", row ? row->key : "id");
        return false;
    }
    if (vds_part_find(machine, kind, id)) {
        g_autofree char *text = g_strdup_printf(row->duplicate, vds_name_len(id), id);

        g_set_error_literal(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_DUPLICATE_ID,
                            text);
        return false;
    }
    part = g_new0(VdsPart, 1);
    part->kind = row;
    part->id = g_strdup(id);
    part->props = vds_props_copy(props);
    part->machine = machine;
    part->link.data = part;
    if (is_io_thread(part) && !vds_io_thread_part_start(machine, id, error)) {
        part_free(part);
        return false;
    }
    g_hash_table_add(machine->parts, part);
    g_queue_push_tail_link(&machine->part_order, &part->link);
    if (row->container) {
        part_add_node(machine, part);
    }
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
