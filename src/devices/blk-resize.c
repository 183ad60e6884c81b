/*
 * devices: a disk that grows under its driver, who is told (virtio 1.2, 5.2.5).  It does
 * not shrink: requests behind the new end may be under way.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "blk-priv.h"

enum { CAPACITY = 0 }; /* in the configuration space: sectors (virtio 1.2, 5.2.4) */

uint64_t vds_blk_get_size(const VdsBlk *blk)
{
    uint64_t sectors;

    vds_virtio_device_get_config(blk->device, CAPACITY, &sectors, sizeof(sectors));
    return GUINT64_FROM_LE(sectors) * VDS_BLK_SECTOR;
}

typedef struct {
    VdsBlk *blk;
    uint64_t bytes;
    bool done;
    GError **error;
} Growth;

static bool fail(GError **error, const char *why)
{
    return vds_refuse(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                      "Failed to resize the disk: %s", why);
}

/* A file becomes as long as it is to be; a disk of the host must be that long already. */
static bool grow_file(const VdsBlkDisk *disk, uint64_t bytes, GError **error)
{
    struct stat info;
    off_t end = lseek(disk->fd, 0, SEEK_END);

    if (end < 0 || fstat(disk->fd, &info) != 0) {
        return fail(error, g_strerror(errno));
    }
    if ((uint64_t)end >= bytes) {
        return true;
    }
    if (!S_ISREG(info.st_mode)) {
        return fail(error, "the host's disk is smaller");
    }
    return ftruncate(disk->fd, (off_t)bytes) == 0 || fail(error, g_strerror(errno));
}

static bool check(const VdsBlkDisk *disk, uint64_t bytes, GError **error)
{
    if (disk->kind == VDS_BLK_MEMORY) {
        return fail(error, "it is memory");
    }
    if (disk->read_only) {
        return fail(error, "it is read-only");
    }
    if (bytes % VDS_BLK_SECTOR != 0 || bytes > VDS_BLK_MAX_BYTES) {
        return fail(error, "the size must be a number of sectors");
    }
    return bytes >= disk->size_bytes || fail(error, "it cannot shrink");
}

/* On the I/O thread, where requests are held against the size. */
static void grow(void *user)
{
    Growth *growth = user;
    VdsBlkDisk *disk = growth->blk->disk;
    uint64_t sectors = GUINT64_TO_LE(growth->bytes / VDS_BLK_SECTOR);

    growth->done =
        check(disk, growth->bytes, growth->error) &&
        (disk->kind != VDS_BLK_FILE || grow_file(disk, growth->bytes, growth->error));
    if (growth->done && disk->size_bytes != growth->bytes) {
        disk->size_bytes = growth->bytes;
        vds_virtio_device_set_config(growth->blk->device, CAPACITY, &sectors,
                                     sizeof(sectors));
    }
}

bool vds_blk_grow(VdsBlk *blk, uint64_t bytes, GError **error)
{
    Growth growth = {blk, bytes, false, error};

    if (!vds_io_thread_start(blk->thread, error)) {
        return false;
    }
    vds_io_thread_call(blk->thread, grow, &growth);
    return growth.done;
}
