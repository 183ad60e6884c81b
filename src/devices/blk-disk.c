/*
 * devices: what a disk's bytes are kept in: a file (its engines do the work), memory of
 * this process, or nothing.  QEMU's -blockdev drivers file, host_device, raw and null-co.
 * Refuses to know requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "blk-priv.h"

enum {
    MAX_LAYERS = 8,   /* of raw over raw: what ends a circle */
    PATIENCE_MS = 50, /* that a file system has to open or close a file */
};

#define MEMORY_BYTES (UINT64_C(64) << 20)
#define NULL_BYTES (UINT64_C(1) << 30) /* null-co's default in QEMU */

/* A node of the block layer, or the part of one behind "file.". */
typedef struct {
    const VdsDeviceHost *host;
    const VdsProps *props;
    const char *prefix;
} Node;

#define refuse(error, ...)                                                               \
    vds_refuse(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND, __VA_ARGS__)

static const VdsProp *node_find(const Node *node, const char *key)
{
    g_autofree char *name = g_strconcat(node->prefix, key, NULL);

    return vds_props_find(node->props, name);
}

static const char *node_text(const Node *node, const char *key)
{
    const VdsProp *prop = node_find(node, key);

    return prop && prop->kind == VDS_PROP_STRING ? prop->text : NULL;
}

static bool node_bool(const Node *node, const char *key, bool *value, GError **error)
{
    const VdsProp *prop = node_find(node, key);

    return !prop || vds_prop_get_bool(prop, value, error);
}

/* ---- drivers ----------------------------------------------------------------------- */

static bool open_null(const Node *node, VdsBlkDisk *disk, GError **error)
{
    const VdsProp *size = node_find(node, "size");
    const VdsProp *latency = node_find(node, "latency-ns");

    disk->kind = VDS_BLK_NULL;
    disk->size_bytes = NULL_BYTES;
    return (!latency ||
            vds_prop_get_uint(latency, 0, INT64_MAX, &disk->latency_ns, error)) &&
           node_bool(node, "read-zeroes", &disk->zeroes, error) &&
           (!size || vds_prop_get_size(size, 1, &disk->size_bytes, error));
}

/* A file's size, to the next sector; a device's by seeking. */
static bool measure(const char *path, VdsBlkDisk *disk, GError **error)
{
    struct stat info;
    bool known = fstat(disk->fd, &info) == 0;
    off_t end;

    if (known && !S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
        return refuse(error, "'%.*s' is neither a file nor a disk", vds_name_len(path),
                      path);
    }
    end = known ? lseek(disk->fd, 0, SEEK_END) : -1;
    if (end < 0) {
        return refuse(error, "Could not get the size of '%.*s': %s", vds_name_len(path),
                      path, g_strerror(errno));
    }
    disk->size_bytes = (uint64_t)end;
    return true;
}

/* A file in memory has nothing to wait for; of others the system says what it has there.
 */
static VdsBlkAtOnce find_at_once(int fd, const struct statfs *fs)
{
    char byte;
    const struct iovec iov = {&byte, 1};

    if (fs && (fs->f_type == TMPFS_MAGIC || fs->f_type == RAMFS_MAGIC)) {
        return VDS_BLK_AT_ONCE_ALL;
    }
    if (fcntl(fd, F_GETFL) & O_DIRECT) {
        return VDS_BLK_AT_ONCE_NOTHING; /* each read is the disk's */
    }
    return preadv2(fd, &iov, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN
               ? VDS_BLK_AT_ONCE_CACHED
               : VDS_BLK_AT_ONCE_NOTHING;
}

/* io_uring polls a file that can be polled before it works on it, and a file system in
 * user space answers a poll as it likes: there threads do the work unless io_uring was
 * asked for.  fs NULL: it does not say what it is, which is the same. */
static void look_at_system(VdsBlkDisk *disk)
{
    struct statfs about;
    const struct statfs *fs = fstatfs(disk->fd, &about) == 0 ? &about : NULL;

    disk->at_once = find_at_once(disk->fd, fs);
    if (!disk->aio && (!fs || fs->f_type == FUSE_SUPER_MAGIC)) {
        disk->aio = vds_blk_pool.name;
    }
}

/* Linux's older interface is not here: native is the best there is. */
static bool choose_aio(const Node *node, VdsBlkDisk *disk, GError **error)
{
    static const struct {
        const char *word, *engine; /* NULL: any */
    } rows[] = {{"threads", "threads"}, {"io_uring", "io_uring"}, {"native", NULL}};
    const char *aio = node_text(node, "aio");

    disk->aio = NULL;
    for (size_t i = 0; aio && i < G_N_ELEMENTS(rows); i++) {
        if (strcmp(rows[i].word, aio) == 0) {
            disk->aio = rows[i].engine;
            return true;
        }
    }
    return !aio || refuse(error, "Parameter 'aio' does not accept value '%.*s'",
                          vds_name_len(aio), aio);
}

/* All that asks the file system, on a thread of its own, since it may not answer. */
typedef struct {
    char *path;
    VdsBlkDisk disk;
    const char *format; /* (nullable) other than raw */
    GError *error;      /* (nullable) */
} Opening;

static void opening_free(void *user)
{
    Opening *opening = user;

    vds_fd_close(&opening->disk.fd);
    g_clear_error(&opening->error);
    g_free(opening->path);
    g_free(opening);
}

/* O_NONBLOCK lets the open of a FIFO return; of io_uring it would ask the same. */
static void opening_run(void *user)
{
    Opening *opening = user;
    VdsBlkDisk *disk = &opening->disk;
    int mode = disk->read_only ? O_RDONLY : O_RDWR;

    disk->fd = open(opening->path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (disk->fd < 0) {
        refuse(&opening->error, "Could not open '%.*s': %s", vds_name_len(opening->path),
               opening->path, g_strerror(errno));
        return;
    }
    if (measure(opening->path, disk, &opening->error)) {
        (void)fcntl(disk->fd, F_SETFL, fcntl(disk->fd, F_GETFL) & ~O_NONBLOCK);
        look_at_system(disk);
        opening->format = vds_blk_probe(disk->fd, disk->size_bytes);
    }
}

/* *format (nullable): what the file holds. */
static bool open_patiently(const Node *node, const char *path, VdsBlkDisk *disk,
                           const char **format, GError **error)
{
    Opening *opening = g_new0(Opening, 1);
    const VdsPatienceTask task = {path, opening_run, opening, opening_free};
    bool opened;

    *opening = (Opening){.path = g_strdup(path), .disk = *disk};
    if (!vds_patience_run(node->host->patience, &task, PATIENCE_MS)) {
        return refuse(error, "Could not open '%.*s': its file system does not answer",
                      vds_name_len(path), path);
    }
    opened = opening->error == NULL;
    if (opened) {
        *disk = opening->disk;
        *format = opening->format;
        opening->disk.fd = -1;
        disk->patience = vds_patience_ref(node->host->patience);
    } else {
        g_propagate_error(error, g_steal_pointer(&opening->error));
    }
    opening_free(opening);
    return opened;
}

static bool open_path(const Node *node, const char *path, VdsBlkDisk *disk,
                      const char **format, GError **error)
{
    const char *discard = node_text(node, "discard");

    disk->kind = VDS_BLK_FILE;
    disk->unmap =
        discard && (strcmp(discard, "unmap") == 0 || strcmp(discard, "on") == 0);
    return choose_aio(node, disk, error) &&
           open_patiently(node, path, disk, format, error);
}

static bool open_file(const Node *node, VdsBlkDisk *disk, GError **error)
{
    const char *path = node_text(node, "filename");
    const char *format;

    if (!path) {
        return refuse(error, "Parameter 'filename' is missing");
    }
    return open_path(node, path, disk, &format, error);
}

static bool open_node(const Node *node, unsigned layer, VdsBlkDisk *disk, GError **error);

/* ---- limits ------------------------------------------------------------------------ */

static void *group_create(const char *name)
{
    return vds_blk_throttle_new();
}

static void group_destroy(void *throttle)
{
    vds_blk_throttle_free(throttle);
}

/* Disks of a group share its limits, which are those of the last one that has any. */
static VdsBlkThrottle *find_group(const VdsDeviceHost *host, const char *id)
{
    g_autofree char *name = g_strconcat("throttle-group/", id, NULL);

    return host->share(host, name, group_create, group_destroy);
}

/* Of -drive: its own limits, or those of throttling.group. */
static bool limit_drive(const Node *node, VdsBlkDisk *disk, GError **error)
{
    const char *group = node_text(node, "throttling.group");
    bool given;

    disk->owns_throttle = !group;
    disk->throttle = group ? find_group(node->host, group) : vds_blk_throttle_new();
    if (!vds_blk_throttle_set(disk->throttle, node->props, &given, error)) {
        return false;
    }
    if (!given && !group) {
        vds_blk_throttle_free(g_steal_pointer(&disk->throttle));
    }
    return true;
}

/* -blockdev throttle: one limit a disk, that of the node nearest to it. */
static bool limit_node(const Node *node, VdsBlkDisk *disk, GError **error)
{
    const char *id = node_text(node, "throttle-group");
    const VdsProps *group =
        id ? node->host->find_backend(node->host, "object", id) : NULL;
    bool given;

    if (!group ||
        g_strcmp0(vds_props_get_string(group, "qom-type"), "throttle-group") != 0) {
        return id ? refuse(error, "Throttle group '%.*s' does not exist",
                           vds_name_len(id), id)
                  : refuse(error, "Parameter 'throttle-group' is missing");
    }
    if (disk->throttle) {
        return refuse(error, "A throttle node below another is not supported");
    }
    disk->throttle = find_group(node->host, id);
    return vds_blk_throttle_set(disk->throttle, group, &given, error);
}

/* raw is another node as it is; `file` names that one or stands for it. */
static bool open_raw(const Node *node, unsigned layer, VdsBlkDisk *disk, GError **error)
{
    g_autofree char *prefix = g_strconcat(node->prefix, "file.", NULL);
    const char *name = node_text(node, "file");
    Node file = {node->host, node->props, prefix};

    if (!name) {
        return node_text(&file, "driver") ? open_node(&file, layer + 1, disk, error)
                                          : open_file(node, disk, error);
    }
    file.prefix = "";
    file.props = node->host->find_backend(node->host, "blockdev", name);
    if (!file.props) {
        return refuse(error, "Cannot find device='' nor node-name='%.*s'",
                      vds_name_len(name), name);
    }
    return open_node(&file, layer + 1, disk, error);
}

static bool open_node(const Node *node, unsigned layer, VdsBlkDisk *disk, GError **error)
{
    const char *driver = node_text(node, "driver");
    bool read_only = false;

    if (layer > MAX_LAYERS) {
        return refuse(error, "more than %d block nodes on each other", MAX_LAYERS);
    }
    if (!node_bool(node, "read-only", &read_only, error)) {
        return false;
    }
    disk->read_only |= read_only;
    if (strcmp(driver, "null-co") == 0 || strcmp(driver, "null-aio") == 0) {
        return open_null(node, disk, error);
    }
    if (strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0) {
        return open_file(node, disk, error);
    }
    if (strcmp(driver, "raw") == 0) {
        return open_raw(node, layer, disk, error);
    }
    if (strcmp(driver, "throttle") == 0) {
        return limit_node(node, disk, error) && open_raw(node, layer, disk, error);
    }
    return refuse(error, "Unknown driver '%.*s'", vds_name_len(driver), driver);
}

/* A disk would be written to, whatever else was asked for: no overlay is made here. */
static bool check_snapshot(const Node *node, GError **error)
{
    bool snapshot = false;

    if (!node_bool(node, "snapshot", &snapshot, error)) {
        return false;
    }
    return !snapshot || refuse(error, "'snapshot=on' is not supported: writes go to the "
                                      "image itself, and 'readonly=on' refuses them");
}

/* Without format= the file says what it is, as in QEMU: an image of another format than
 * raw is refused, since a guest that sees its container destroys it. */
static bool check_format(const Node *node, const char *path, const char *format,
                         GError **error)
{
    return !format || node_text(node, "format") ||
           refuse(error,
                  "'%.*s' is an image of format '%s', which is not supported; "
                  "'format=raw' makes a disk of the bytes of the file itself",
                  vds_name_len(path), path, format);
}

/* -drive: file=PATH and the older words. */
static bool open_drive(const Node *node, VdsBlkDisk *disk, GError **error)
{
    const char *format = node_text(node, "format");
    const char *path = node_text(node, "file");
    const char *found;

    if (!node_bool(node, "readonly", &disk->read_only, error) ||
        !node_bool(node, "read-only", &disk->read_only, error)) {
        return false;
    }
    if (format && strcmp(format, "raw") != 0) {
        return refuse(error, "Unknown driver '%.*s'", vds_name_len(format), format);
    }
    if (!limit_drive(node, disk, error)) {
        return false;
    }
    if (!path) {
        disk->kind = VDS_BLK_MEMORY;
        disk->size_bytes = MEMORY_BYTES;
        return true;
    }
    if (strncmp(path, "null-co://", strlen("null-co://")) == 0) {
        return open_null(node, disk, error);
    }
    return open_path(node, path, disk, &found, error) &&
           check_format(node, path, found, error);
}

static bool open_any(const Node *node, VdsBlkDisk *disk, GError **error)
{
    return check_snapshot(node, error) &&
           (node_text(node, "driver") ? open_node(node, 0, disk, error)
                                      : open_drive(node, disk, error));
}

VdsBlkDisk *vds_blk_disk_new(const VdsDeviceHost *host, const VdsProps *props,
                             GError **error)
{
    g_autoptr(VdsBlkDisk) disk = g_new0(VdsBlkDisk, 1);
    Node node = {host, props, ""};

    *disk = (VdsBlkDisk){.kind = VDS_BLK_MEMORY, .size_bytes = MEMORY_BYTES, .fd = -1};
    if (props && !open_any(&node, disk, error)) {
        return NULL;
    }
    /* What the last sector lacks reads as zeroes. */
    disk->size_bytes = MIN(disk->size_bytes, VDS_BLK_MAX_BYTES - VDS_BLK_SECTOR);
    disk->size_bytes =
        (disk->size_bytes + VDS_BLK_SECTOR - 1) / VDS_BLK_SECTOR * VDS_BLK_SECTOR;
    return g_steal_pointer(&disk);
}

static void close_task(void *user)
{
    close(GPOINTER_TO_INT(user));
}

/* A file system may be asked to write what it has, and need not answer. */
static void disk_close(VdsBlkDisk *disk)
{
    const VdsPatienceTask task = {NULL, close_task, GINT_TO_POINTER(disk->fd), NULL};

    if (disk->fd >= 0) {
        vds_patience_run(disk->patience, &task, PATIENCE_MS);
        disk->fd = -1;
    }
    vds_patience_unref(disk->patience);
}

void vds_blk_disk_free(VdsBlkDisk *disk)
{
    if (!disk) {
        return;
    }
    if (disk->memory) {
        munmap(disk->memory, disk->size_bytes);
    }
    disk_close(disk);
    if (disk->owns_throttle) {
        vds_blk_throttle_free(disk->throttle);
    }
    g_free(disk);
}

/* ---- memory ------------------------------------------------------------------------ */

/* Private pages: untouched ones cost nothing, and no descriptor is held. */
bool vds_blk_disk_open(VdsBlkDisk *disk)
{
    void *memory;

    if (disk->kind != VDS_BLK_MEMORY || disk->memory) {
        return true;
    }
    memory = mmap(NULL, disk->size_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    disk->memory = memory == MAP_FAILED ? NULL : memory;
    return disk->memory != NULL;
}

/* Whole pages go back to the system, and are zeroes when they return. */
static void memory_punch(uint8_t *start, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t head = (page - (uintptr_t)start % page) % page;
    size_t pages = len > head ? (len - head) / page * page : 0;

    if (pages == 0 || madvise(start + head, pages, MADV_DONTNEED) != 0) {
        memset(start, 0, len);
        return;
    }
    memset(start, 0, head);
    memset(start + head + pages, 0, len - head - pages);
}

static bool memory_serve(uint8_t *at, VdsBlkOpKind kind, size_t len, VdsIo *io)
{
    switch (kind) {
    case VDS_BLK_READ:
        return vds_stream_write(&io->in, at, len) == len;
    case VDS_BLK_WRITE:
        return vds_stream_read(&io->out, at, len) == len;
    case VDS_BLK_ZERO:
        memset(at, 0, len);
        return true;
    case VDS_BLK_DISCARD:
    case VDS_BLK_PUNCH:
        memory_punch(at, len);
        return true;
    case VDS_BLK_FLUSH:
        break;
    }
    return true;
}

bool vds_blk_disk_serve(const VdsBlkDisk *disk, VdsBlkOpKind kind, uint64_t offset,
                        size_t len, VdsIo *io)
{
    if (disk->kind == VDS_BLK_MEMORY) {
        return memory_serve(disk->memory + offset, kind, len, io);
    }
    if (kind != VDS_BLK_READ) {
        return true;
    }
    return (disk->zeroes ? vds_stream_fill(&io->in, 0, len)
                         : vds_stream_skip(&io->in, len)) == len;
}

size_t vds_blk_disk_serve_at_once(const VdsBlkDisk *disk, VdsBlkOpKind kind,
                                  uint64_t offset, size_t len, VdsIo *io)
{
    bool all = disk->at_once == VDS_BLK_AT_ONCE_ALL;
    const VdsGuestFile file = {disk->fd, offset, all ? 0 : RWF_NOWAIT};

    if (kind == VDS_BLK_READ && disk->at_once != VDS_BLK_AT_ONCE_NOTHING) {
        return vds_stream_read_file(&io->in, &file, len);
    }
    return kind == VDS_BLK_WRITE && all ? vds_stream_write_file(&io->out, &file, len) : 0;
}

int vds_blk_fallocate_mode(VdsBlkOpKind kind)
{
    return FALLOC_FL_KEEP_SIZE |
           (kind == VDS_BLK_ZERO ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
}
