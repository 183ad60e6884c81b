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

enum { PATIENCE_MS = 50 };

static bool fail(GError **error, const char *why)
{
    return vds_refuse(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                      "Failed to resize the disk: %s", why);
}

/* On a thread of its own: the file system may not answer. */
typedef struct {
    int fd; /* owned */
    uint64_t bytes;
    GError *error; /* (nullable) */
} Growth;

static void growth_free(void *user)
{
    Growth *growth = user;

    vds_fd_close(&growth->fd);
    g_clear_error(&growth->error);
    g_free(growth);
}

/* A file becomes as long as it is to be; a disk of the host must be that long already. */
static bool grow_file(int fd, uint64_t bytes, GError **error)
{
    struct stat info;
    off_t end = lseek(fd, 0, SEEK_END);

    if (end < 0 || fstat(fd, &info) != 0) {
        return fail(error, g_strerror(errno));
    }
    if ((uint64_t)end >= bytes) {
        return true;
    }
    if (!S_ISREG(info.st_mode)) {
        return fail(error, "the host's disk is smaller");
    }
    return ftruncate(fd, (off_t)bytes) == 0 || fail(error, g_strerror(errno));
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

static void growth_run(void *user)
{
    Growth *growth = user;

    grow_file(growth->fd, growth->bytes, &growth->error);
}

static bool grow_patiently(const VdsBlkDisk *disk, uint64_t bytes, GError **error)
{
    Growth *growth = g_new0(Growth, 1);
    const VdsPatienceTask task = {NULL, growth_run, growth, growth_free};
    bool done;

    *growth = (Growth){.fd = dup(disk->fd), .bytes = bytes};
    if (!vds_patience_run(disk->patience, &task, PATIENCE_MS)) {
        return fail(error, "its file system does not answer");
    }
    done = growth->error == NULL;
    if (!done) {
        g_propagate_error(error, g_steal_pointer(&growth->error));
    }
    growth_free(growth);
    return done;
}

typedef struct {
    VdsBlk *blk;
    uint64_t bytes;
} Size;

/* On the I/O thread, where requests are held against the size. */
static void set_size(void *user)
{
    Size *size = user;
    VdsBlkDisk *disk = size->blk->disk;
    uint64_t sectors = GUINT64_TO_LE(size->bytes / VDS_BLK_SECTOR);

    if (disk->size_bytes != size->bytes) {
        disk->size_bytes = size->bytes;
        vds_virtio_device_set_config(size->blk->device, CAPACITY, &sectors,
                                     sizeof(sectors));
    }
}

/* Sizes change on the main loop's behalf alone, so they are read here. */
bool vds_blk_grow(VdsBlk *blk, uint64_t bytes, GError **error)
{
    const VdsBlkDisk *disk = blk->disk;
    Size size = {blk, bytes};

    if (!check(disk, bytes, error) ||
        (disk->kind == VDS_BLK_FILE && !grow_patiently(disk, bytes, error)) ||
        !vds_io_thread_start(blk->thread, error)) {
        return false;
    }
    vds_io_thread_call(blk->thread, set_size, &size);
    return true;
}
