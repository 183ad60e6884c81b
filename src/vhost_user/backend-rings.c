/*
 * vhost_user: the back-end's rings: the specification's states, and when a ring of the
 * device begins and ends.  Refuses to know messages, and what is on a ring.
 * docs/interop/vhost-user.rst, "Ring states".
 */
#include "backend-priv.h"

bool vds_ring_fail(GError **error, VdsVhostUserError code, const char *rule, unsigned n,
                   const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list args;

    va_start(args, format);
    why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDS_VHOST_USER_ERROR, (int)code, "%s: ring %u %s", rule, n, why);
    return false;
}

bool vds_ring_is_started(const VdsBackendRing *ring)
{
    return ring->phase == VDS_RING_STARTED || ring->phase == VDS_RING_SERVED;
}

bool vds_backend_is_started(const VdsVhostUserBackend *backend)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (vds_ring_is_started(&backend->rings[i])) {
            return true;
        }
    }
    return false;
}

/* ---- the states ------------------------------------------------------------------ */

void vds_ring_show(VdsVhostUserBackend *backend, unsigned n)
{
    VdsBackendRing *ring = &backend->rings[n];

    ring->shown.desc = ring->address.desc;
    ring->shown.avail = ring->address.avail;
    ring->shown.used = ring->address.used;
    vds_virtio_driver_set_vhost_queue(backend->device, n, &ring->shown);
}

/* What came since is the device's from here on. */
bool vds_ring_hand_over(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    VdsBackendRing *ring = &backend->rings[n];

    if (ring->new_call) {
        ring->new_call = false;
        if (!vds_virtio_driver_set_call_fd(backend->device, n,
                                           vds_fd_steal(&ring->call_fd), error)) {
            return false;
        }
    }
    if (ring->new_kick) {
        ring->new_kick = false;
        return vds_virtio_driver_set_kick_fd(backend->device, n,
                                             vds_fd_steal(&ring->kick_fd), error);
    }
    return true;
}

static bool set_up(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    VdsQueueSetup setup;

    if (!vds_ring_setup(backend, n, &setup, error) ||
        !vds_backend_device_start(backend, error) ||
        !vds_virtio_driver_set_queue(backend->device, n, &setup, error) ||
        !vds_ring_hand_over(backend, n, error)) {
        return false;
    }
    backend->rings[n].held = true;
    vds_ring_show(backend, n);
    return true;
}

static bool serve(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    if (!vds_virtio_driver_enable_queue(backend->device, n, error)) {
        return false;
    }
    vds_backend_watch_device(backend);
    vds_backend_hint_ring(backend);
    return true;
}

/* A started ring that is disabled is served without side effects, where its device can.
 */
static bool idle(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    return vds_virtio_driver_discard_queue(backend->device, n, error);
}

static bool set_up_and_idle(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    return set_up(backend, n, error) && idle(backend, n, error);
}

static bool set_up_and_serve(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    return set_up(backend, n, error) && serve(backend, n, error);
}

static bool unserve(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    return vds_virtio_driver_disable_queue(backend->device, n, error) &&
           idle(backend, n, error);
}

/* The front-end has to give a new kick descriptor before it starts again. */
void vds_ring_let_go(VdsVhostUserBackend *backend, unsigned n)
{
    VdsBackendRing *ring = &backend->rings[n];

    ring->kicked = false;
    ring->new_kick = false;
    ring->shown.kick = -1;
    vds_fd_close(&ring->kick_fd);
    vds_backend_poll(backend);
    if (ring->held) {
        (void)vds_virtio_driver_set_kick_fd(backend->device, n, -1, NULL);
    }
}

static bool halt(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    vds_virtio_driver_abandon_queue(backend->device, n);
    vds_ring_let_go(backend, n);
    return true;
}

typedef struct {
    VdsRingPhase to;
    bool (*act)(VdsVhostUserBackend *backend, unsigned n,
                GError **error); /* (nullable) */
} Move;

static const Move moves[VDS_RING_PHASES][VDS_RING_EVENTS] = {
    /* clang-format off */
    [VDS_RING_STOPPED] = {
        [VDS_RING_START] = {VDS_RING_STARTED, set_up_and_idle},
        [VDS_RING_ENABLE] = {VDS_RING_READY, NULL},
        [VDS_RING_DISABLE] = {VDS_RING_STOPPED, NULL},
        [VDS_RING_STOP] = {VDS_RING_STOPPED, NULL},
    },
    [VDS_RING_READY] = {
        [VDS_RING_START] = {VDS_RING_SERVED, set_up_and_serve},
        [VDS_RING_ENABLE] = {VDS_RING_READY, NULL},
        [VDS_RING_DISABLE] = {VDS_RING_STOPPED, NULL},
        [VDS_RING_STOP] = {VDS_RING_READY, NULL},
    },
    [VDS_RING_STARTED] = {
        [VDS_RING_START] = {VDS_RING_STARTED, NULL},
        [VDS_RING_ENABLE] = {VDS_RING_SERVED, serve},
        [VDS_RING_DISABLE] = {VDS_RING_STARTED, NULL},
        [VDS_RING_STOP] = {VDS_RING_STOPPED, halt},
    },
    [VDS_RING_SERVED] = {
        [VDS_RING_START] = {VDS_RING_SERVED, NULL},
        [VDS_RING_ENABLE] = {VDS_RING_SERVED, NULL},
        [VDS_RING_DISABLE] = {VDS_RING_STARTED, unserve},
        [VDS_RING_STOP] = {VDS_RING_READY, halt},
    },
    /* clang-format on */
};

bool vds_backend_ring_event(VdsVhostUserBackend *backend, unsigned n, VdsRingEvent event,
                            GError **error)
{
    VdsBackendRing *ring = &backend->rings[n];
    const Move *move = &moves[ring->phase][event];

    if (move->act && !move->act(backend, n, error)) {
        return false;
    }
    ring->phase = move->to;
    return true;
}

void vds_ring_hold(VdsBackendRing *ring)
{
    ring->phase = moves[ring->phase][VDS_RING_STOP].to;
}

static bool lacks_only_memory(const VdsVhostUserBackend *backend,
                              const VdsBackendRing *ring)
{
    return !vds_ring_is_started(ring) && ring->kicked && ring->has_address &&
           ring->num > 0 && backend->has_features;
}

/* It starts with the message that was still missing, in whatever order they come. */
bool vds_ring_settle(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    VdsBackendRing *ring = &backend->rings[n];

    if (!backend->map || !lacks_only_memory(backend, ring)) {
        return true;
    }
    if (!vds_backend_ring_event(backend, n, VDS_RING_START, error)) {
        ring->kicked = false; /* not again with the next message */
        return false;
    }
    vds_backend_show(backend);
    vds_backend_resume_messages(backend);
    return true;
}

bool vds_backend_settle_rings(VdsVhostUserBackend *backend, GError **error)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (!vds_ring_settle(backend, i, error)) {
            return false;
        }
    }
    return true;
}

bool vds_ring_move(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    VdsQueueSetup setup = {0};

    if (!vds_ring_place(backend, backend->map, n, &setup, error) ||
        !vds_virtio_driver_move_queue(backend->device, n, &setup, error)) {
        return false;
    }
    vds_ring_show(backend, n);
    return true;
}

bool vds_backend_place_rings(const VdsVhostUserBackend *backend, const VdsGuestMap *map,
                             VdsQueueSetup *places, GError **error)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        const VdsBackendRing *ring = &backend->rings[i];

        if ((vds_ring_is_started(ring) || lacks_only_memory(backend, ring)) &&
            !vds_ring_place(backend, map, i, &places[i], error)) {
            return false;
        }
    }
    return true;
}

void vds_backend_init_rings(VdsVhostUserBackend *backend)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        backend->rings[i] = (VdsBackendRing){.kick_fd = -1,
                                             .call_fd = -1,
                                             .err_fd = -1,
                                             .shown = {.kick = -1, .call = -1}};
    }
}

void vds_backend_forget_rings(VdsVhostUserBackend *backend)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        VdsBackendRing *ring = &backend->rings[i];

        if (ring->held) {
            vds_virtio_driver_abandon_queue(backend->device, i);
            (void)vds_virtio_driver_set_kick_fd(backend->device, i, -1, NULL);
            (void)vds_virtio_driver_set_call_fd(backend->device, i, -1, NULL);
        }
        vds_fd_close(&ring->kick_fd);
        vds_fd_close(&ring->call_fd);
        vds_fd_close(&ring->err_fd);
    }
    vds_backend_init_rings(backend);
}

/* ---- rings without a kick descriptor --------------------------------------------- */

enum { POLL_MS = 1 };

static bool is_polled(const VdsBackendRing *ring)
{
    return ring->kicked && ring->shown.kick < 0;
}

static gboolean poll_rings(gpointer user)
{
    VdsVhostUserBackend *backend = user;

    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (is_polled(&backend->rings[i])) {
            vds_virtio_driver_kick(backend->device, i);
        }
    }
    return G_SOURCE_CONTINUE;
}

void vds_backend_poll(VdsVhostUserBackend *backend)
{
    bool any = false;

    for (unsigned i = 0; i < backend->n_rings; i++) {
        any = any || is_polled(&backend->rings[i]);
    }
    if (any && !backend->polling) {
        backend->polling = g_timeout_source_new(POLL_MS);
        g_source_set_callback(backend->polling, poll_rings, backend, NULL);
        g_source_attach(backend->polling, backend->context);
    } else if (!any && backend->polling) {
        g_source_destroy(backend->polling);
        g_clear_pointer(&backend->polling, g_source_unref);
    }
}
