/*
 * vhost_user: VdsVhostUserBackend, its socket and its connections, one after the other.
 * Refuses to know what is said on them.
 */
#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>

#include "backend-priv.h"

enum {
    PAUSE_MS = 1000, /* when there are no descriptors left */
};

static void backend_wait(VdsVhostUserBackend *backend);

/* ---- for people ------------------------------------------------------------------ */

static void note_refusal(VdsVhostUserBackend *backend, const GError *why)
{
    g_free(backend->refusal);
    backend->refusal = g_strdup(why->message);
}

void vds_backend_refuse(VdsVhostUserBackend *backend, const GError *why)
{
    note_refusal(backend, why);
    vds_backend_report(backend, VDS_VHOST_USER_REFUSED, why->message);
}

bool vds_vhost_user_backend_is_connected(const VdsVhostUserBackend *backend)
{
    return backend->link != NULL;
}

const char *vds_vhost_user_backend_get_reason(const VdsVhostUserBackend *backend)
{
    return backend->reason;
}

const char *vds_vhost_user_backend_get_refusal(const VdsVhostUserBackend *backend)
{
    return backend->refusal;
}

uint64_t vds_vhost_user_backend_get_connections(const VdsVhostUserBackend *backend)
{
    return backend->connections;
}

uint64_t vds_vhost_user_backend_get_messages(const VdsVhostUserBackend *backend)
{
    return backend->messages;
}

/* ---- a connection ends ----------------------------------------------------------- */

static void clear_source(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_clear_pointer(source, g_source_unref);
    }
}

/* The device stands still at once: what it had under way is done again by whoever comes
 * next, or never.  Its words stay for queries. */
static void backend_leave(VdsVhostUserBackend *backend, const char *reason)
{
    if (!backend->link) {
        return;
    }
    if (backend->stop) {
        backend->stop->backend = NULL;
        backend->stop = NULL;
    }
    vds_backend_forget_rings(backend);
    clear_source(&backend->polling);
    vds_backend_forget_state(backend);
    g_clear_pointer(&backend->link, vds_vhost_user_link_free);
    g_clear_pointer(&backend->channel, vds_vhost_user_link_free);
    /* The device keeps the memory that its last words are about; the next front-end's
     * share is not diminished by it. */
    g_clear_pointer(&backend->share, vds_guest_share_unref);
    g_clear_pointer(&backend->map, vds_guest_map_unref);
    g_array_set_size(backend->repeats, 0);
    g_clear_pointer(&backend->log, vds_dirty_log_unref);
    vds_fd_close(&backend->log_fd);
    vds_backend_forget_inflight(backend);
    backend->protocol = 0;
    backend->features = 0;
    backend->has_features = false;
    backend->config_changed = false;
    if (backend->has_mtu) {
        (void)vds_virtio_driver_set_mtu(backend->device, 0, NULL);
        backend->has_mtu = false;
    }
    backend->status = 0;
    vds_backend_hint_end(backend);
    g_free(backend->reason);
    backend->reason = g_strdup(reason);
    vds_backend_report(backend, VDS_VHOST_USER_LEFT, backend->reason);
}

static void link_closed(void *user, const GError *why)
{
    VdsVhostUserBackend *backend = user;

    if (why) {
        note_refusal(backend, why);
    }
    backend_leave(backend, why ? why->message : "");
    backend_wait(backend);
}

void vds_vhost_user_backend_drop(VdsVhostUserBackend *backend, const char *reason)
{
    if (backend->link) {
        backend_leave(backend, reason);
        backend_wait(backend);
    }
}

/* ---- a connection begins --------------------------------------------------------- */

static void backend_open(VdsVhostUserBackend *backend, int fd)
{
    static const VdsVhostUserLinkOps ops = {vds_backend_message, link_closed};

    backend->connections++;
    backend->share = backend->quota ? vds_guest_share_new(backend->quota) : NULL;
    vds_backend_hint_begin(backend);
    vds_backend_report_peer(backend, VDS_VHOST_USER_CONNECTED, fd);
    backend->link = vds_vhost_user_link_new(backend->context, fd, VDS_VHOST_USER_MAIN,
                                            false, &ops, backend);
    vds_vhost_user_link_set_closer(backend->link, backend->closer);
}

static void backend_sleep(VdsVhostUserBackend *backend, unsigned ms, GSourceFunc func)
{
    clear_source(&backend->waiting);
    backend->waiting = g_timeout_source_new(ms);
    g_source_set_callback(backend->waiting, func, backend, NULL);
    g_source_attach(backend->waiting, backend->context);
}

static gboolean listen_again(gpointer user)
{
    VdsVhostUserBackend *backend = user;

    clear_source(&backend->waiting);
    vds_backend_listen(backend);
    return G_SOURCE_REMOVE;
}

static gboolean accept_one(gint listen_fd, GIOCondition events, gpointer user)
{
    VdsVhostUserBackend *backend = user;
    int fd;

    if (backend->link && vds_vhost_user_link_is_hung_up(backend->link)) {
        return G_SOURCE_CONTINUE; /* one that takes its place does not wait */
    }
    if (vds_closer_is_full(backend->closer)) {
        vds_backend_report(backend, VDS_VHOST_USER_PAUSED,
                           "files that front-ends sent cannot be closed");
        backend_sleep(backend, PAUSE_MS, listen_again);
        return G_SOURCE_CONTINUE;
    }
    fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0 && (backend->link || backend->waiters.length > 0)) {
        vds_backend_waiter_add(backend, fd);
        vds_backend_listen(backend);
    } else if (fd >= 0) {
        backend_open(backend, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        vds_backend_report(backend, VDS_VHOST_USER_PAUSED, g_strerror(errno));
        backend_sleep(backend, PAUSE_MS, listen_again);
    }
    return G_SOURCE_CONTINUE;
}

/* A pause goes on unless enough front-ends wait. */
void vds_backend_listen(VdsVhostUserBackend *backend)
{
    bool full = backend->waiters.length >= VDS_VHOST_USER_MAX_WAITING;

    if (full) {
        clear_source(&backend->waiting);
    } else if (!full && !backend->waiting) {
        backend->waiting = g_unix_fd_source_new(backend->listen_fd, G_IO_IN);
        g_source_set_callback(backend->waiting, G_SOURCE_FUNC(accept_one), backend, NULL);
        g_source_attach(backend->waiting, backend->context);
    }
}

static gboolean connect_again(gpointer user)
{
    VdsVhostUserBackend *backend = user;
    g_autoptr(GError) why = NULL;
    int fd = vds_unix_connect(backend->path, &why);

    if (fd >= 0) {
        clear_source(&backend->waiting);
        backend_open(backend, fd);
        return G_SOURCE_REMOVE;
    }
    g_free(backend->reason);
    backend->reason = g_strdup(why->message);
    return G_SOURCE_CONTINUE;
}

static gboolean serve_next(gpointer user)
{
    VdsVhostUserBackend *backend = user;
    int fd = backend->link ? -1 : vds_backend_waiter_take(backend);

    clear_source(&backend->next);
    if (fd >= 0) {
        backend_open(backend, fd);
        vds_backend_listen(backend);
    }
    return G_SOURCE_REMOVE;
}

/* Not at once: the last connection's link may still be on the stack. */
static void serve_next_later(VdsVhostUserBackend *backend)
{
    if (backend->waiters.length > 0 && !backend->next) {
        backend->next = g_idle_source_new();
        g_source_set_priority(backend->next, G_PRIORITY_DEFAULT);
        g_source_set_callback(backend->next, serve_next, backend, NULL);
        g_source_attach(backend->next, backend->context);
    }
}

/* For the next connection. */
static void backend_wait(VdsVhostUserBackend *backend)
{
    if (backend->server) {
        vds_backend_listen(backend);
        serve_next_later(backend);
    } else if (backend->reconnect_s > 0) {
        backend_sleep(backend, backend->reconnect_s * 1000, connect_again);
    }
}

static bool backend_start(VdsVhostUserBackend *backend, GError **error)
{
    g_autoptr(GError) why = NULL;
    int fd;

    if (backend->server) {
        backend->listen_fd = vds_unix_listen(backend->path, &backend->identity, error);
        if (backend->listen_fd < 0) {
            return false;
        }
        backend_wait(backend);
        return true;
    }
    fd = vds_unix_connect(backend->path, &why);
    if (fd >= 0) {
        backend_open(backend, fd);
        return true;
    }
    if (backend->reconnect_s == 0 || why->code == VDS_UTIL_ERROR_ADDRESS) {
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    }
    backend->reason = g_strdup(why->message);
    backend_wait(backend);
    return true;
}

/* ---- life ------------------------------------------------------------------------ */

static unsigned count_rings(const VdsVirtioDevice *device)
{
    unsigned n = 0;

    while (n < VDS_BACKEND_MAX_RINGS && vds_virtio_driver_get_queue_size(device, n) > 0) {
        n++;
    }
    return n;
}

/* What the device has, but for what its front-end would have to translate, and QEMU's own
 * word for a broken driver. */
static uint64_t offered_features(const VdsVirtioDevice *device)
{
    VdsFeatures features = vds_virtio_driver_get_features(device);

    vds_features_set(&features, VDS_F_ACCESS_PLATFORM, false);
    vds_features_set(&features, VDS_VHOST_F_LOG_ALL, true);
    vds_features_set(&features, VDS_VHOST_USER_F_PROTOCOL_FEATURES, true);
    return features.word[0];
}

VdsVhostUserBackend *vds_vhost_user_backend_new(const VdsVhostUserBackendConfig *config,
                                                VdsVirtioDevice *device, GError **error)
{
    g_autoptr(VdsVhostUserBackend) backend = g_new0(VdsVhostUserBackend, 1);

    backend->device = device;
    backend->mailbox = config->mailbox;
    backend->context = config->context;
    backend->quota = config->quota ? vds_guest_quota_ref(config->quota) : NULL;
    backend->path = g_strdup(config->path);
    backend->server = config->server;
    backend->reconnect_s = config->reconnect_s;
    backend->listen_fd = -1;
    backend->state_fd = -1;
    backend->log_fd = -1;
    backend->closer = vds_closer_new();
    backend->repeats = g_array_new(false, false, sizeof(VdsBackendRepeat));
    backend->news = config->news;
    backend->news_user = config->news_user;
    g_queue_init(&backend->waiters);
    backend->n_rings = config->n_rings ? MIN(config->n_rings, VDS_BACKEND_MAX_RINGS)
                                       : count_rings(device);
    backend->queue_num = backend->n_rings / MAX(config->rings_a_queue, 1);
    backend->offered_protocol =
        vds_vhost_user_backend_protocol_features() & ~config->protocol_features;
    backend->offered = offered_features(device);
    backend->rings = g_new0(VdsBackendRing, backend->n_rings);
    vds_backend_init_rings(backend);
    return backend_start(backend, error) ? g_steal_pointer(&backend) : NULL;
}

void vds_vhost_user_backend_free(VdsVhostUserBackend *backend)
{
    if (!backend) {
        return;
    }
    backend_leave(backend, "");
    vds_backend_waiters_clear(backend);
    clear_source(&backend->next);
    clear_source(&backend->waiting);
    clear_source(&backend->interrupts);
    if (backend->listen_fd >= 0) {
        vds_unix_unlink(backend->path, &backend->identity);
    }
    vds_fd_close(&backend->listen_fd);
    g_free(backend->rings);
    g_array_unref(backend->repeats);
    vds_guest_quota_unref(backend->quota);
    vds_closer_free(backend->closer);
    g_free(backend->path);
    g_free(backend->reason);
    g_free(backend->refusal);
    g_free(backend);
}
