/*
 * vhost_user: what a back-end reports of its socket, and hints when a peer that is
 * connected sends nothing, or no memory.  The only timer is the one until a hint is due.
 * Refuses to know who reads it.
 */
#include <sys/socket.h>

#include "backend-priv.h"

enum { PATIENCE_MS = 2000 };

void vds_backend_report(const VdsVhostUserBackend *backend, VdsVhostUserNewsKind kind,
                        const char *text)
{
    const VdsVhostUserNews news = {
        .kind = kind,
        .device = backend->device,
        .path = backend->path,
        .connection = backend->connections,
        .waiting = backend->waiters.length,
        .text = text,
    };

    if (backend->news) {
        backend->news(&news, backend->news_user);
    }
}

void vds_backend_report_peer(const VdsVhostUserBackend *backend,
                             VdsVhostUserNewsKind kind, int fd)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    VdsVhostUserNews news = {
        .kind = kind,
        .device = backend->device,
        .path = backend->path,
        .connection = backend->connections,
        .waiting = backend->waiters.length,
    };

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
        news.peer_pid = peer.pid;
    }
    if (backend->news) {
        backend->news(&news, backend->news_user);
    }
}

/* ---- hints ----------------------------------------------------------------------- */

static bool is_silent(const VdsVhostUserBackend *backend)
{
    return backend->messages == backend->before;
}

/* Front-ends negotiate features when their guest starts its driver, and tell of memory
 * next; QEMU gives up in between when the memory cannot be shared. */
static bool lacks_memory(const VdsVhostUserBackend *backend)
{
    return backend->has_features && !backend->map;
}

/* A ring that nobody has ever used, as far as this process sees.  A kick follows the
 * buffer that it is for, so there is no race. */
static bool is_untouched(const VdsQueueState *queue)
{
    uint64_t gpa = queue->packed ? queue->desc + 14 : queue->avail + 2;
    uint16_t word; /* flags of the first slot, or avail.idx */

    return queue->map && queue->last_avail_idx == 0 && queue->used_idx == 0 &&
           vds_guest_map_read_u16(queue->map, gpa, &word, 1, NULL) && word == 0;
}

/* Its driver kicked, and nothing was ever in the ring: the driver writes to memory of its
 * own. */
static bool is_kicked_in_vain(const VdsVhostUserBackend *backend, unsigned n)
{
    VdsQueueState queue = {0};

    return vds_virtio_driver_count_vain_kicks(backend->device, n) > 0 &&
           vds_virtio_device_get_queue(backend->device, n, &queue) &&
           is_untouched(&queue);
}

/* (transfer full) (nullable) */
static char *vain_hint(const VdsVhostUserBackend *backend)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (backend->rings[i].phase == VDS_RING_SERVED && is_kicked_in_vain(backend, i)) {
            return g_strdup_printf(
                "queue %u was kicked (%u) and holds no buffer: is the guest's memory "
                "shared (share=on)?",
                i, vds_virtio_driver_count_vain_kicks(backend->device, i));
        }
    }
    return NULL;
}

static int64_t waited_s(int64_t since_us)
{
    return (g_get_monotonic_time() - since_us) / G_USEC_PER_SEC;
}

char *vds_vhost_user_backend_get_hint(const VdsVhostUserBackend *backend)
{
    const int64_t patience_s = PATIENCE_MS / 1000;
    char *vain;

    if (backend->link && is_silent(backend) &&
        waited_s(backend->begun_us) >= patience_s) {
        return g_strdup_printf("connected for %" PRId64 " s, and no message arrived: is "
                               "the peer a back-end, too?",
                               waited_s(backend->begun_us));
    }
    if (backend->link && lacks_memory(backend) &&
        waited_s(backend->features_us) >= patience_s) {
        return g_strdup_printf("no memory was told for %" PRId64 " s after SET_FEATURES: "
                               "is the guest's memory shared (share=on)?",
                               waited_s(backend->features_us));
    }
    vain = backend->link ? vain_hint(backend) : NULL;
    return vain ? vain : g_strdup("");
}

void vds_backend_hint_end(VdsVhostUserBackend *backend)
{
    if (backend->patience) {
        g_source_destroy(backend->patience);
        g_clear_pointer(&backend->patience, g_source_unref);
    }
}

static gboolean hint_due(gpointer user)
{
    VdsVhostUserBackend *backend = user;
    g_autofree char *hint = vds_vhost_user_backend_get_hint(backend);

    vds_backend_hint_end(backend);
    if (hint[0]) {
        vds_backend_report(backend, VDS_VHOST_USER_HINT, hint);
    }
    return G_SOURCE_REMOVE;
}

static void hint_wait(VdsVhostUserBackend *backend)
{
    vds_backend_hint_end(backend);
    backend->patience = g_timeout_source_new(PATIENCE_MS);
    g_source_set_callback(backend->patience, hint_due, backend, NULL);
    g_source_attach(backend->patience, backend->context);
}

void vds_backend_hint_begin(VdsVhostUserBackend *backend)
{
    backend->before = backend->messages;
    backend->begun_us = g_get_monotonic_time();
    backend->features_us = 0;
    hint_wait(backend);
}

/* The first message, or the memory, came in time. */
void vds_backend_hint_message(VdsVhostUserBackend *backend)
{
    bool lacks = lacks_memory(backend);

    if (backend->features_us == 0 && lacks) {
        backend->features_us = g_get_monotonic_time();
        hint_wait(backend);
    } else if (backend->messages == backend->before + 1) {
        vds_backend_hint_end(backend);
    }
}

/* A ring is served: soon its driver will have used it. */
void vds_backend_hint_ring(VdsVhostUserBackend *backend)
{
    hint_wait(backend);
}
