/*
 * cmds: balloon and query-balloon: both are words in the configuration space of the
 * balloon device (virtio 1.2, 5.5.4).
 */
#include "cmds-priv.h"

enum { BALLOON_ID = 5, NUM_PAGES = 0, ACTUAL = 4, PAGE_SHIFT = 12 };

typedef struct {
    VdsVirtioDevice *found;
} Search;

/* Newest first: of several the oldest stays, as the one that QEMU would have. */
static void look(const char *path, VdsVirtioDevice *device, void *user)
{
    Search *search = user;

    if (vds_virtio_device_get_id(device) == BALLOON_ID &&
        !vds_virtio_device_is_recorded(device)) {
        search->found = device;
    }
}

static VdsVirtioDevice *find(const VdsCmds *cmds, GError **error)
{
    Search search = {NULL};

    vds_machine_foreach(cmds->machine, look, &search);
    if (!search.found) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_NOT_ACTIVE,
                            "No balloon device has been activated");
    }
    return search.found;
}

static uint64_t memory_bytes(const VdsCmds *cmds)
{
    const VdsGuestRam *ram = vds_machine_get_ram(cmds->machine);

    return ram ? vds_guest_ram_get_size(ram) : 0;
}

/* A driver may say that it gave more than there is. */
static int64_t left_after(const VdsCmds *cmds, uint32_t pages)
{
    uint64_t given = (uint64_t)pages << PAGE_SHIFT, all = memory_bytes(cmds);

    return given < all ? (int64_t)(all - given) : 0;
}

QapiBalloonInfo *qmp_query_balloon(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiBalloonInfo *info = vds_arena_alloc(arena, sizeof(*info));
    const VdsVirtioDevice *device = find(ctx, error);
    uint32_t pages;

    if (!device) {
        return NULL;
    }
    vds_virtio_device_get_config(device, ACTUAL, &pages, sizeof(pages));
    info->actual = left_after(ctx, GUINT32_FROM_LE(pages));
    return info;
}

bool qmp_balloon(VdsCmds *ctx, VdsArena *arena, int64_t value, GError **error)
{
    VdsVirtioDevice *device = find(ctx, error);
    uint64_t all = memory_bytes(ctx);
    uint32_t pages;

    if (!device) {
        return false;
    }
    if (value <= 0) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                            "Parameter 'target' expects a size");
        return false;
    }
    pages = (uint32_t)MIN((all - MIN((uint64_t)value, all)) >> PAGE_SHIFT, UINT32_MAX);
    pages = GUINT32_TO_LE(pages);
    vds_virtio_device_set_config(device, NUM_PAGES, &pages, sizeof(pages));
    return true;
}

void vds_cmds_balloon_changed(VdsCmds *cmds, uint32_t pages)
{
    qapi_event_balloon_change(cmds->sink, left_after(cmds, pages));
}
