/*
 * vhost_user: the back-end's view of the front-end's memory: regions come as a table or
 * one by one, also while rings run; and the log of what is written to it.  Refuses to
 * know what lies there. docs/interop/vhost-user.rst: SET_MEM_TABLE, ADD_MEM_REG,
 * REM_MEM_REG, SET_LOG_BASE, SET_LOG_FD; rules V5, V7, C6.
 */
#include <errno.h>
#include <fcntl.h>

#include "backend-priv.h"

static bool is_geometry(const GError *why)
{
    return why->code == VDS_GUESTMEM_ERROR_OVERLAP ||
           why->code == VDS_GUESTMEM_ERROR_SHORT ||
           why->code == VDS_GUESTMEM_ERROR_NO_REGION;
}

/* V5: guestmem checks sums and the file's length; its word is the answer. */
static bool unfit(GError **error, const char *name, const GError *why)
{
    g_set_error(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_MEMORY, "%s: %s: %s",
                is_geometry(why) ? "C6" : "V5", name, why->message);
    return false;
}

static VdsGuestRegion region_of(const VdsVhostUserBackend *backend,
                                const VdsVhostUserRegion *region, int fd)
{
    return (VdsGuestRegion){.gpa = region->gpa,
                            .len = region->len,
                            .uva = region->uva,
                            .offset = region->offset,
                            .fd = fd,
                            .share = backend->share};
}

/* The user addresses are the only names that rings have. */
static bool check_uva(const VdsVhostUserRegion *region, const char *name, GError **error)
{
    if (region->len > UINT64_MAX - region->uva) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V5", name,
                                   "has a region at user address 0x%" PRIx64
                                   ", length 0x%" PRIx64 ", that ends beyond 2^64",
                                   region->uva, region->len);
    }
    return true;
}

/* (transfer full); the map itself where nothing is logged */
static VdsGuestMap *map_with_log(VdsGuestMap *map, VdsDirtyLog *log, uint64_t features,
                                 GError **error)
{
    g_autoptr(GError) why = NULL;
    VdsGuestMap *logged;

    if (!log || !((features >> VDS_VHOST_F_LOG_ALL) & 1)) {
        return vds_guest_map_ref(map);
    }
    logged = vds_guest_map_with_log(map, log, &why);
    if (!logged) {
        vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V7", "SET_LOG_BASE",
                            "is too short: %s", why->message);
    }
    return logged;
}

static bool move_device(VdsVhostUserBackend *backend, VdsGuestMap *map, VdsDirtyLog *log,
                        uint64_t features, GError **error)
{
    g_autoptr(VdsGuestMap) logged = map_with_log(map, log, features, error);
    g_autofree VdsQueueSetup *places = g_new0(VdsQueueSetup, backend->n_rings);

    return logged && vds_backend_place_rings(backend, map, places, error) &&
           vds_virtio_driver_move(backend->device, logged, places, backend->n_rings,
                                  error);
}

bool vds_backend_use_memory(VdsVhostUserBackend *backend, VdsGuestMap *map,
                            VdsDirtyLog *log, uint64_t features, GError **error)
{
    if (map && !move_device(backend, map, log, features, error)) {
        return false;
    }
    if (map != backend->map) {
        vds_guest_map_unref(backend->map);
        backend->map = vds_guest_map_ref(map);
    }
    if (log != backend->log) {
        vds_dirty_log_unref(backend->log);
        backend->log = vds_dirty_log_ref(log);
    }
    backend->features = features;
    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (vds_ring_is_started(&backend->rings[i])) {
            vds_ring_show(backend, i);
        }
    }
    vds_backend_show(backend);
    return true;
}

static bool use_map(VdsVhostUserBackend *backend, VdsGuestMap *map, GError **error)
{
    return vds_backend_use_memory(backend, map, backend->log, backend->features, error) &&
           vds_backend_settle_rings(backend, error);
}

/* ---- what is told more than once ---- */

static VdsBackendRepeat *find_repeat(const VdsVhostUserBackend *backend,
                                     const VdsVhostUserRegion *told)
{
    for (guint i = 0; i < backend->repeats->len; i++) {
        VdsBackendRepeat *repeat = &g_array_index(backend->repeats, VdsBackendRepeat, i);

        if (repeat->gpa == told->gpa && repeat->len == told->len &&
            repeat->uva == told->uva) {
            return repeat;
        }
    }
    return NULL;
}

/* One address of the front-end's is one piece of memory, whatever descriptor comes. */
static bool is_mapped(const VdsVhostUserBackend *backend, const VdsVhostUserRegion *told)
{
    size_t n = backend->map ? vds_guest_map_count(backend->map) : 0;

    for (size_t i = 0; i < n; i++) {
        const VdsGuestRegion *region = vds_guest_map_nth(backend->map, i);

        if (region->gpa == told->gpa && region->len == told->len &&
            region->uva == told->uva && region->offset == told->offset) {
            return true;
        }
    }
    return false;
}

static bool add_repeat(VdsVhostUserBackend *backend, const VdsVhostUserRegion *told,
                       GError **error)
{
    VdsBackendRepeat *repeat = find_repeat(backend, told);
    const VdsBackendRepeat first = {told->gpa, told->len, told->uva, 1};

    if (!repeat) {
        g_array_append_val(backend->repeats, first);
    } else if (repeat->n == backend->n_rings) {
        return vds_vhost_user_fail(
            error, VDS_VHOST_USER_ERROR_MEMORY, "C6", "ADD_MEM_REG",
            "has the region at 0x%" PRIx64 " again, after %u repeats for %u rings",
            repeat->gpa, repeat->n, backend->n_rings);
    } else {
        repeat->n++;
    }
    return true;
}

/* false: this is the last time. */
static bool drop_repeat(VdsVhostUserBackend *backend, const VdsVhostUserRegion *told)
{
    VdsBackendRepeat *repeat = find_repeat(backend, told);

    if (!repeat) {
        return false;
    }
    if (--repeat->n == 0) {
        g_array_remove_index_fast(
            backend->repeats,
            (guint)(repeat - &g_array_index(backend->repeats, VdsBackendRepeat, 0)));
    }
    return true;
}

/* ---- messages ---- */

bool vds_backend_set_mem_table(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                               VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserMemory *memory = &message->u.memory;
    VdsGuestRegion regions[VDS_VHOST_USER_MAX_REGIONS];
    g_autoptr(GError) why = NULL;
    g_autoptr(VdsGuestMap) map = NULL;

    for (uint32_t i = 0; i < memory->n; i++) {
        if (!check_uva(&memory->regions[i], "SET_MEM_TABLE", error)) {
            return false;
        }
        regions[i] = region_of(backend, &memory->regions[i], message->fds[i]);
    }
    map = vds_guest_map_new_writable(regions, memory->n, &why);
    if (!map) {
        return unfit(error, "SET_MEM_TABLE", why);
    }
    if (!vds_backend_use_memory(backend, map, backend->log, backend->features, error)) {
        return false;
    }
    g_array_set_size(backend->repeats, 0);
    return vds_backend_settle_rings(backend, error);
}

bool vds_backend_add_region(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRegion *told = &message->u.region.region;
    const VdsGuestRegion region = region_of(backend, told, message->fds[0]);
    g_autoptr(GError) why = NULL;
    g_autoptr(VdsGuestMap) map = NULL;

    if (!check_uva(told, "ADD_MEM_REG", error)) {
        return false;
    }
    if (is_mapped(backend, told)) {
        return add_repeat(backend, told, error);
    }
    if (backend->map && vds_guest_map_count(backend->map) >= VDS_BACKEND_MAX_SLOTS) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V5",
                                   "ADD_MEM_REG", "comes when all %d slots are taken",
                                   VDS_BACKEND_MAX_SLOTS);
    }
    map = vds_guest_map_with(backend->map, &region, &why);
    if (!map) {
        return unfit(error, "ADD_MEM_REG", why);
    }
    return use_map(backend, map, error);
}

bool vds_backend_remove_region(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                               VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRegion *told = &message->u.region.region;
    const VdsGuestRegion region = region_of(backend, told, -1);
    g_autoptr(GError) why = NULL;
    g_autoptr(VdsGuestMap) map = NULL;

    if (!backend->map) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "C6",
                                   "REM_MEM_REG", "comes while there is no region");
    }
    if (drop_repeat(backend, told)) {
        return true;
    }
    map = vds_guest_map_without(backend->map, &region, &why);
    if (!map) {
        return unfit(error, "REM_MEM_REG", why);
    }
    return use_map(backend, map, error);
}

bool vds_backend_get_slots(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                           VdsVhostUserMessage *reply, GError **error)
{
    reply->u.u64 = VDS_BACKEND_MAX_SLOTS;
    return true;
}

/* ---- the log --------------------------------------------------------------------- */

/* The messages may come in either order. */
static bool use_log_fd(VdsVhostUserBackend *backend, VdsDirtyLog *log, GError **error)
{
    int fd;

    if (!log || backend->log_fd < 0) {
        return true;
    }
    fd = fcntl(backend->log_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V7", "SET_LOG_FD",
                                   "cannot be used: %s", g_strerror(errno));
    }
    vds_dirty_log_set_call_fd(log, fd);
    return true;
}

bool vds_backend_set_log(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                         VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserLog *told = &message->u.log;
    const VdsGuestRegion where = {.len = told->size,
                                  .fd = message->n_fds > 0 ? message->fds[0] : -1,
                                  .offset = told->offset,
                                  .share = backend->share};
    g_autoptr(GError) why = NULL;
    g_autoptr(VdsDirtyLog) log = NULL;

    if (message->n_fds == 0 || !vds_backend_has(backend, VDS_VHOST_USER_P_LOG_SHMFD)) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_FEATURE, "V7",
                                   "SET_LOG_BASE", "needs LOG_SHMFD and a descriptor");
    }
    log = vds_dirty_log_new(&where, &why);
    if (!log) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V7",
                                   "SET_LOG_BASE", "cannot be used: %s", why->message);
    }
    return use_log_fd(backend, log, error) &&
           vds_backend_use_memory(backend, backend->map, log, backend->features, error);
}

bool vds_backend_set_log_fd(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    int flags = fcntl(message->fds[0], F_GETFL);

    if (flags < 0 || fcntl(message->fds[0], F_SETFL, flags | O_NONBLOCK) != 0) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V7", "SET_LOG_FD",
                                   "cannot be used: %s", g_strerror(errno));
    }
    vds_fd_close(&backend->log_fd);
    backend->log_fd = vds_vhost_user_message_steal_fd(message, 0);
    return use_log_fd(backend, backend->log, error);
}
