/*
 * cmds: a recorded-queue file's types to model structs.
 *
 * The file comes from a stranger's bug report: it is read through the schema by the same
 * parser as the wire, its page files are copied whole at load (so that nobody can change
 * or cut them later), and whatever contradicts itself is refused in one line that names
 * file and member.  Format: docs/replay.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "record-priv.h"

/* Far beyond any real recording: the rings and tables of 1,024 queues are 50 MiB.  A
 * region costs a mapping, of which a process has some 65,000. */
static const uint64_t max_file_bytes = 32 << 20;
static const uint64_t max_pages_bytes = UINT64_C(256) << 20;
static const size_t max_regions = 8192;
static const VdsJsonLimits file_limits = {
    .max_bytes = 32 << 20, .max_tokens = 4 << 20, .max_depth = 16};

#define refuse(error, ...)                                                               \
    g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_RECORD, __VA_ARGS__)

/* ---- files ------------------------------------------------------------------------- */

/* A regular file's whole content, or `len` bytes from `offset`, appended to a buffer. */
static bool read_all(int fd, const char *name, uint64_t offset, uint64_t len, VdsBuf *to,
                     GError **error)
{
    uint8_t *at = vds_buf_reserve(to, len);

    while (len > 0) {
        ssize_t n = pread(fd, at, len, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            refuse(error, "%s: cannot read: %s", name,
                   n < 0 ? g_strerror(errno) : "it became shorter meanwhile");
            return false;
        }
        at += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
        vds_buf_commit(to, (size_t)n);
    }
    return true;
}

/* Takes fd; regular files only.  -1 */
static int take_regular(int fd, const char *path, uint64_t *size, GError **error)
{
    VDS_AUTO_FD owned = fd;
    struct stat info;

    if (fd < 0 || fstat(fd, &info) < 0) {
        refuse(error, "%s: cannot open: %s", path, g_strerror(errno));
        return -1;
    }
    if (!S_ISREG(info.st_mode)) {
        refuse(error, "%s: cannot open: not a regular file", path);
        return -1;
    }
    *size = (uint64_t)info.st_size;
    return vds_fd_steal(&owned);
}

/* Opens without waiting (a FIFO would). */
static int open_regular(const char *path, uint64_t *size, GError **error)
{
    return take_regular(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), path,
                        size, error);
}

/* The kernel itself keeps to the folder while it follows the name, so that a link that
 * changes meanwhile leads nowhere else (openat2(2)). */
static int open_beneath(const char *folder, const char *name)
{
    const struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    VDS_AUTO_FD at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

    return at < 0 ? -1 : (int)syscall(SYS_openat2, at, name, &how, sizeof(how));
}

/* The page file `name` beside the recording; it may not lie outside that folder, neither
 * by its name nor through a link. */
static int open_pages(const char *recording, const char *name, uint64_t *size,
                      GError **error)
{
    g_autofree char *folder = g_path_get_dirname(recording);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    int fd;

    if (g_path_is_absolute(name) || *name == '\0') {
        refuse(error, "%s: file '%.*s' is not a relative name", recording,
               vds_name_len(name), name);
        return -1;
    }
    fd = open_beneath(folder, name);
    if (fd < 0 && errno == EXDEV) {
        refuse(error, "%s: file '%.*s' is outside the recording's folder", recording,
               vds_name_len(name), name);
    } else if (fd < 0) {
        refuse(error, "%s: cannot open file '%.*s': %s", recording, vds_name_len(name),
               name, g_strerror(errno));
    } else {
        fd = take_regular(fd, path, size, error);
        if (fd < 0) {
            g_prefix_error(error, "%s: file ", recording);
        }
    }
    return fd;
}

/* ---- memories ---------------------------------------------------------------------- */

/* Appends one region's bytes and says where they went. */
static bool copy_region(const char *recording, const QapiSnapshotRegion *region,
                        VdsBuf *pages, VdsGuestRegion *to, GError **error)
{
    VDS_AUTO_FD fd = -1;
    uint64_t size = 0, end;

    fd = open_pages(recording, region->file, &size, error);
    if (fd < 0) {
        return false;
    }
    if (__builtin_add_overflow(region->offset, region->len, &end) || end > size) {
        refuse(error,
               "%s: file '%.*s' is too short: a region needs %" PRIu64
               " bytes from offset "
               "%" PRIu64 ", the file has %" PRIu64,
               recording, vds_name_len(region->file), region->file, region->len,
               region->offset, size);
        return false;
    }
    *to = (VdsGuestRegion){
        .gpa = region->gpa, .len = region->len, .fd = -1, .offset = vds_buf_len(pages)};
    if (!read_all(fd, region->file, region->offset, region->len, pages, error)) {
        g_prefix_error(error, "%s: file ", recording);
        return false;
    }
    return true;
}

/* A sealed memory file that nobody else can reach. */
static int pages_to_memfd(const VdsBuf *pages, GError **error)
{
    VDS_AUTO_FD fd = memfd_create("recorded pages", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t done = 0;

    while (fd >= 0 && done < vds_buf_len(pages)) {
        ssize_t n = write(fd, vds_buf_bytes(pages) + done, vds_buf_len(pages) - done);

        if (n < 0 && errno != EINTR) {
            vds_fd_close(&fd);
        } else if (n > 0) {
            done += (size_t)n;
        }
    }
    if (fd < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
        refuse(error, "cannot make memory for recorded pages: %s", g_strerror(errno));
        return -1;
    }
    return vds_fd_steal(&fd);
}

static VdsGuestMap *load_memory(const char *recording, const QapiSnapshotMemory *memory,
                                GError **error)
{
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, memory->regions.n);
    g_auto(VdsBuf) pages = {0};
    VDS_AUTO_FD fd = -1;
    VdsGuestMap *map;

    for (size_t i = 0; i < memory->regions.n; i++) {
        if (!copy_region(recording, &memory->regions.items[i], &pages, &regions[i],
                         error)) {
            return NULL;
        }
    }
    fd = pages_to_memfd(&pages, error);
    if (fd < 0) {
        return NULL;
    }
    for (size_t i = 0; i < memory->regions.n; i++) {
        regions[i].fd = fd;
    }
    map = vds_guest_map_new(regions, memory->regions.n, error);
    if (!map) {
        g_prefix_error(error, "%s: memory '%.*s': ", recording, vds_name_len(memory->id),
                       memory->id);
    }
    return map;
}

/* Over all memories together, before a byte is read. */
static bool check_extent(const char *recording, const QapiVirtioSnapshot *snapshot,
                         GError **error)
{
    uint64_t left = max_pages_bytes;
    size_t n = 0;

    for (size_t i = 0; i < snapshot->memories.n; i++) {
        const QapiSnapshotRegionList *regions = &snapshot->memories.items[i].regions;

        n += regions->n;
        if (n > max_regions) {
            refuse(error, "%s: more than %zu regions", recording, max_regions);
            return false;
        }
        for (size_t k = 0; k < regions->n; k++) {
            if (regions->items[k].len > left) {
                refuse(error, "%s: regions hold more than %" PRIu64 " bytes", recording,
                       max_pages_bytes);
                return false;
            }
            left -= regions->items[k].len;
        }
    }
    return true;
}

static void unref_map(void *map)
{
    vds_guest_map_unref(map);
}

/* Memory id -> map.  (transfer full) */
static GHashTable *load_memories(const char *recording,
                                 const QapiVirtioSnapshot *snapshot, GError **error)
{
    g_autoptr(GHashTable) maps =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, unref_map);

    for (size_t i = 0; i < snapshot->memories.n; i++) {
        const QapiSnapshotMemory *memory = &snapshot->memories.items[i];
        VdsGuestMap *map;

        if (g_hash_table_contains(maps, memory->id)) {
            refuse(error, "%s: memory '%.*s' is there twice", recording,
                   vds_name_len(memory->id), memory->id);
            return NULL;
        }
        map = load_memory(recording, memory, error);
        if (!map) {
            return NULL;
        }
        g_hash_table_insert(maps, (char *)memory->id, map);
    }
    return g_steal_pointer(&maps);
}

/* ---- devices ----------------------------------------------------------------------- */

static const VdsEndian endians[] = {
    [QAPI_SNAPSHOT_ENDIAN_LITTLE] = VDS_ENDIAN_LITTLE,
    [QAPI_SNAPSHOT_ENDIAN_BIG] = VDS_ENDIAN_BIG,
    [QAPI_SNAPSHOT_ENDIAN_UNKNOWN] = VDS_ENDIAN_UNKNOWN,
};

static VdsVhostState vhost_state(const QapiSnapshotVhost *vhost)
{
    return (VdsVhostState){
        .n_mem_sections = vhost->n_mem_sections,
        .n_tmp_sections = vhost->n_tmp_sections,
        .nvqs = vhost->nvqs,
        .vq_index = vhost->vq_index,
        .features.word[0] = vhost->features,
        .acked_features.word[0] = vhost->acked_features,
        .backend_features.word[0] = vhost->backend_features,
        .protocol_features = vhost->protocol_features,
        .max_queues = vhost->max_queues,
        .backend_cap = vhost->backend_cap,
        .log_enabled = vhost->log_enabled,
        .log_size = vhost->log_size,
    };
}

static VdsDeviceState device_state(const QapiSnapshotDevice *device)
{
    return (VdsDeviceState){
        .device_id = device->device_id,
        .endian = endians[device->device_endian],
        .guest_features.word = {device->guest_features, device->guest_features_2},
        .host_features.word = {device->host_features, device->host_features_2},
        .backend_features.word = {device->backend_features},
        .status = device->status,
        .isr = device->isr,
        .queue_sel = device->queue_sel,
        .vm_running = device->vm_running,
        .broken = device->broken,
        .disabled = device->disabled,
        .use_started = device->use_started,
        .started = device->started,
        .start_on_kick = device->start_on_kick,
        .disable_legacy_check = device->disable_legacy_check,
        .use_guest_notifier_mask = device->use_guest_notifier_mask,
        .bus_name = device->bus_name,
        .vhost_started = device->vhost != NULL,
        .vhost = device->vhost ? vhost_state(device->vhost) : (VdsVhostState){0},
    };
}

static VdsQueueState queue_state(const QapiSnapshotQueue *queue, VdsGuestMap *map)
{
    const QapiSnapshotVhostQueue *vhost = queue->vhost;

    return (VdsQueueState){
        .num = queue->num,
        .num_default = queue->num_default,
        .align = queue->align,
        .desc = queue->desc,
        .avail = queue->avail,
        .used = queue->used,
        .has_last_avail = queue->has_last_avail_idx,
        .last_avail_idx = queue->last_avail_idx,
        .has_shadow_avail = queue->has_shadow_avail_idx,
        .shadow_avail_idx = queue->shadow_avail_idx,
        .used_idx = queue->used_idx,
        .has_wraps = queue->has_last_avail_wrap && queue->has_used_wrap,
        .last_avail_wrap = queue->last_avail_wrap,
        .used_wrap = queue->used_wrap,
        .inuse = queue->inuse,
        .signalled_used = queue->signalled_used,
        .signalled_used_valid = queue->signalled_used_valid,
        .has_vhost = vhost != NULL,
        .vhost = vhost ? (VdsVhostQueue){vhost->kick, vhost->call, vhost->desc,
                                         vhost->avail, vhost->used}
                       : (VdsVhostQueue){0},
        .source = VDS_INDEX_RECORDED,
        .map = map,
    };
}

static VdsVirtioDevice *load_device(const char *recording,
                                    const QapiSnapshotDevice *device, GHashTable *maps,
                                    GError **error)
{
    VdsGuestMap *map = g_hash_table_lookup(maps, device->memory);
    g_autofree VdsQueueState *queues = g_new0(VdsQueueState, device->queues.n);
    VdsDeviceState state = device_state(device);
    VdsVirtioDevice *loaded;

    if (!map) {
        refuse(error, "%s: device '%.*s': memory '%.*s' is not in the file", recording,
               vds_name_len(device->path), device->path, vds_name_len(device->memory),
               device->memory);
        return NULL;
    }
    for (size_t i = 0; i < device->queues.n; i++) {
        queues[i] = queue_state(&device->queues.items[i], map);
    }
    loaded = vds_virtio_device_new_recorded(&state, queues, device->queues.n, error);
    if (!loaded) {
        g_prefix_error(error, "%s: device '%.*s': ", recording,
                       vds_name_len(device->path), device->path);
    }
    return loaded;
}

/* ---- the file ---------------------------------------------------------------------- */

static const QapiVirtioSnapshot *parse_snapshot(const char *recording, VdsJsonTape *tape,
                                                VdsArena *arena, GError **error)
{
    QapiVirtioSnapshot *snapshot = vds_arena_alloc(arena, sizeof(*snapshot));

    if (!vds_qapi_parse(&qapi_type_VirtioSnapshot, vds_json_tape_root(tape), arena,
                        snapshot, error)) {
        g_prefix_error(error, "%s: ", recording);
        return NULL;
    }
    if (strcmp(snapshot->format, "vds-snapshot") != 0) {
        refuse(error, "%s: 'format' is '%.*s', expected 'vds-snapshot'", recording,
               vds_name_len(snapshot->format), snapshot->format);
        return NULL;
    }
    if (snapshot->version != 1) {
        refuse(error, "%s: 'version' is %" PRId64 ", expected 1", recording,
               (int64_t)snapshot->version);
        return NULL;
    }
    return snapshot;
}

static VdsJsonTape *read_tape(const char *recording, GError **error)
{
    g_auto(VdsBuf) text = {0};
    VDS_AUTO_FD fd = -1;
    uint64_t size = 0;
    VdsJsonTape *tape;

    fd = open_regular(recording, &size, error);
    if (fd < 0) {
        return NULL;
    }
    if (size > max_file_bytes) {
        refuse(error, "%s: %" PRIu64 " bytes, expected at most %" PRIu64, recording, size,
               max_file_bytes);
        return NULL;
    }
    if (!read_all(fd, recording, 0, size, &text, error)) {
        return NULL;
    }
    tape = vds_json_parse_text((const char *)vds_buf_bytes(&text), vds_buf_len(&text),
                               &file_limits, error);
    if (!tape) {
        g_prefix_error(error, "%s: ", recording);
    }
    return tape;
}

bool vds_record_load(const char *recording, VdsRecordDeviceFunc func, void *user,
                     GError **error)
{
    g_autoptr(VdsArena) arena = vds_arena_new();
    g_autoptr(VdsJsonTape) tape = read_tape(recording, error);
    g_autoptr(GHashTable) maps = NULL;
    const QapiVirtioSnapshot *snapshot;

    if (!tape) {
        return false;
    }
    snapshot = parse_snapshot(recording, tape, arena, error);
    if (!snapshot) {
        return false;
    }
    maps = check_extent(recording, snapshot, error)
               ? load_memories(recording, snapshot, error)
               : NULL;
    if (!maps) {
        return false;
    }
    /* Newest first in the file: put the oldest first, so that the order is kept. */
    for (size_t i = snapshot->devices.n; i-- > 0;) {
        const QapiSnapshotDevice *device = &snapshot->devices.items[i];
        VdsVirtioDevice *loaded = load_device(recording, device, maps, error);

        if (!loaded) {
            return false;
        }
        if (!func(device->path, loaded, user, error)) {
            g_prefix_error(error, "%s: ", recording);
            return false;
        }
    }
    return true;
}
