/*
 * cmds: block nodes, and the disks that are wired to them.
 */
#include <string.h>

#include "cmds-priv.h"

static QapiBlockDeviceInfo node_info(VdsArena *arena, const VdsBlockNode *node)
{
    return (QapiBlockDeviceInfo){
        .file = vds_arena_strdup(arena, node->filename),
        .node_name = node->is_drive ? NULL : vds_arena_strdup(arena, node->id),
        .ro = node->read_only,
        .drv = vds_arena_strdup(arena, node->driver),
        .detect_zeroes = QAPI_BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF,
        .image = {.filename = vds_arena_strdup(arena, node->filename),
                  .format = vds_arena_strdup(arena, node->driver),
                  .virtual_size = (int64_t)MIN(node->size_bytes, INT64_MAX),
                  .has_actual_size = node->has_file,
                  .actual_size = (int64_t)MIN(node->allocated_bytes, INT64_MAX)},
        .cache = {.writeback = true},
    };
}

static void add_node(const VdsBlockNode *node, void *user)
{
    VdsCollector *list = user;
    QapiBlockDeviceInfo info = node_info(list->arena, node);

    if (!node->is_drive) {
        g_array_prepend_val(list->items, info); /* newest first */
    }
}

QapiBlockDeviceInfoList *qmp_query_named_block_nodes(VdsCmds *ctx, VdsArena *arena,
                                                     bool has_flat, bool flat,
                                                     GError **error)
{
    QapiBlockDeviceInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    VdsCollector list = vds_collector_new(arena, sizeof(QapiBlockDeviceInfo));

    vds_machine_foreach_block_node(ctx->machine, add_node, &list);
    reply->items = vds_collector_finish(&list, &reply->n);
    return reply;
}

/* ---- disks ------------------------------------------------------------------------- */

typedef struct {
    VdsCollector list;
    VdsMachine *machine;
} DiskWalk;

/* Of a virtio disk on PCI the virtio device below, as clients know it from QEMU. */
static const char *device_path(const DiskWalk *walk, const char *user)
{
    VdsArena *arena = walk->list.arena;
    char *below = vds_arena_printf(arena, "%s/virtio-backend", user);

    return vds_machine_find(walk->machine, below, NULL) ? below
                                                        : vds_arena_strdup(arena, user);
}

static void add_disk(const VdsBlockNode *node, void *user)
{
    DiskWalk *walk = user;
    VdsArena *arena = walk->list.arena;
    QapiBlockInfo info = {.device = "", .type = "unknown"};

    if (!node->user && !node->is_drive) {
        return;
    }
    info.device = node->is_drive ? vds_arena_strdup(arena, node->id) : "";
    info.qdev = node->user ? device_path(walk, node->user) : NULL;
    info.inserted = node_info(arena, node);
    g_array_append_val(walk->list.items, info);
}

QapiBlockInfoList *qmp_query_block(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiBlockInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    DiskWalk walk = {vds_collector_new(arena, sizeof(QapiBlockInfo)), ctx->machine};

    vds_machine_foreach_block_node(ctx->machine, add_disk, &walk);
    reply->items = vds_collector_finish(&walk.list, &reply->n);
    return reply;
}
