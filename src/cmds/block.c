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
        .bps = (int64_t)node->limits[0],
        .bps_rd = (int64_t)node->limits[1],
        .bps_wr = (int64_t)node->limits[2],
        .iops = (int64_t)node->limits[3],
        .iops_rd = (int64_t)node->limits[4],
        .iops_wr = (int64_t)node->limits[5],
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

/* ---- what they were asked for ------------------------------------------------------ */

/* The device tells under the names that the schema has. */
static QapiBlockDeviceStats device_stats(const DiskWalk *walk, const char *device)
{
    const VdsQapiType *type = &qapi_type_BlockDeviceStats;
    QapiBlockDeviceStats stats = {.account_invalid = true, .account_failed = true};
    VdsProp value = {0};

    if (device && vds_machine_qom_get(walk->machine, device, "stats", &value, NULL)) {
        for (uint32_t i = 0; i < type->n_members; i++) {
            const VdsQapiMember *member = &type->members[i];
            const VdsProp *prop = vds_props_find(value.u.members, member->name);

            if (prop) {
                memcpy((uint8_t *)&stats + member->offset, &prop->u.integer,
                       sizeof(int64_t));
            }
        }
    }
    vds_prop_clear(&value);
    return stats;
}

static void add_disk_stats(const VdsBlockNode *node, void *user)
{
    DiskWalk *walk = user;
    VdsArena *arena = walk->list.arena;
    QapiBlockStats info = {.device = "", .stats = device_stats(walk, node->user)};

    vds_cmds_show_histograms(walk->machine, arena, node->user, &info.stats);
    if (!node->user && !node->is_drive) {
        return;
    }
    if (node->is_drive) {
        info.device = vds_arena_strdup(arena, node->id);
    } else {
        info.node_name = vds_arena_strdup(arena, node->id);
    }
    info.qdev = node->user ? device_path(walk, node->user) : NULL;
    g_array_append_val(walk->list.items, info);
}

/* What is written to a disk is written to every node that it stands on: those of the same
 * file. */
typedef struct {
    const DiskWalk *walk;
    const char *filename;
    int64_t highest;
} FileWalk;

static void note_highest(const VdsBlockNode *node, void *user)
{
    FileWalk *file = user;

    if (node->user && strcmp(node->filename, file->filename) == 0) {
        file->highest =
            MAX(file->highest, device_stats(file->walk, node->user).wr_highest_offset);
    }
}

static void add_node_stats(const VdsBlockNode *node, void *user)
{
    DiskWalk *walk = user;
    FileWalk file = {walk, node->filename, 0};
    QapiBlockStats info = {
        .node_name = vds_arena_strdup(walk->list.arena, node->id),
        .stats = device_stats(walk, NULL),
    };

    if (node->is_drive) {
        return;
    }
    if (node->has_file) {
        vds_machine_foreach_block_node(walk->machine, note_highest, &file);
    }
    info.stats.wr_highest_offset = file.highest;
    g_array_prepend_val(walk->list.items, info);
}

QapiBlockStatsList *qmp_query_blockstats(VdsCmds *ctx, VdsArena *arena,
                                         bool has_query_nodes, bool query_nodes,
                                         GError **error)
{
    QapiBlockStatsList *reply = vds_arena_alloc(arena, sizeof(*reply));
    DiskWalk walk = {vds_collector_new(arena, sizeof(QapiBlockStats)), ctx->machine};
    bool nodes = has_query_nodes && query_nodes;

    vds_machine_foreach_block_node(ctx->machine, nodes ? add_node_stats : add_disk_stats,
                                   &walk);
    reply->items = vds_collector_finish(&walk.list, &reply->n);
    return reply;
}

/* ---- growing ----------------------------------------------------------------------- */

typedef struct {
    const char *name;
    char *filename; /* (nullable) the node was found; what it is made of */
    char *user;     /* (nullable) the disk on it */
} DiskSearch;

static void find_node(const VdsBlockNode *node, void *user)
{
    DiskSearch *search = user;

    if (strcmp(node->id, search->name) == 0) {
        search->filename = g_strdup(node->filename);
        search->user = g_strdup(node->user);
    }
}

/* The disk may stand on another node of the same file. */
static void find_user(const VdsBlockNode *node, void *user)
{
    DiskSearch *search = user;

    if (!search->user && node->has_file &&
        strcmp(node->filename, search->filename) == 0) {
        search->user = g_strdup(node->user);
    }
}

bool qmp_block_resize(VdsCmds *ctx, VdsArena *arena, const char *device,
                      const char *node_name, int64_t size, GError **error)
{
    DiskSearch search = {.name = node_name ? node_name : device ? device : ""};
    g_autofree char *filename = NULL, *user = NULL;
    VdsProp value = {.name = (char *)"size", .kind = VDS_PROP_INT, .u.integer = size};
    g_autofree char *text = g_strdup_printf("%" PRId64, size);

    vds_machine_foreach_block_node(ctx->machine, find_node, &search);
    filename = search.filename;
    if (filename) {
        vds_machine_foreach_block_node(ctx->machine, find_user, &search);
    }
    user = search.user;
    if (!user) {
        g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                    filename ? "No disk is on '%.*s'" : "Cannot find '%.*s'",
                    vds_name_len(search.name), search.name);
        return false;
    }
    if (size < 0) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                            "Parameter 'size' expects a >0 size");
        return false;
    }
    value.text = text;
    return vds_machine_qom_set(ctx->machine, user, "capacity", &value, error);
}
