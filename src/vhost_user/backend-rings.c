/*
 * vhost_user: the back-end's rings: what the front-end told of each, the specification's
 * ring states, and when a ring of the device begins and ends.  Refuses to know what is on
 * a ring.  docs/interop/vhost-user.rst, "Ring states"; SET_VRING_*, GET_VRING_BASE.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include "backend-priv.h"

enum {
    WRAP_BIT = 1 << 15, /* P10: of a packed ring's position */
    USED_SHIFT = 16,
    USED_IDX_OFFSET = 2, /* in a split ring's used area (virtio 1.2, 2.7.8) */
};

static bool fail(GError **error, VdsVhostUserError code, const char *rule, unsigned n,
                 const char *why)
{
    g_set_error(error, VDS_VHOST_USER_ERROR, (int)code, "%s: ring %u %s", rule, n, why);
    return false;
}

static bool is_started(const VdsBackendRing *ring)
{
    return ring->phase == VDS_RING_STARTED || ring->phase == VDS_RING_SERVED;
}

bool vds_backend_is_started(const VdsVhostUserBackend *backend)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (is_started(&backend->rings[i])) {
            return true;
        }
    }
    return false;
}

/* ---- where a ring lies ----------------------------------------------------------- */

typedef struct {
    const char *name;
    uint64_t uva, len;
    uint64_t *gpa;
} Area;

static bool translate(const VdsVhostUserBackend *backend, unsigned n, const Area *area,
                      GError **error)
{
    if (backend->map &&
        vds_guest_map_uva_to_gpa(backend->map, area->uva, area->len, area->gpa)) {
        return true;
    }
    g_set_error(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_RING,
                "C3: ring %u: %s area at 0x%" PRIx64 ", length %" PRIu64
                ", is not in the front-end's memory",
                n, area->name, area->uva, area->len);
    return false;
}

static VdsQueueState ring_shape(const VdsVhostUserBackend *backend,
                                const VdsBackendRing *ring)
{
    return (VdsQueueState){
        .packed = (backend->features >> VDS_F_RING_PACKED) & 1,
        .event_idx = (backend->features >> VDS_F_RING_EVENT_IDX) & 1,
        .num = ring->num,
    };
}

/* Rings are named by the front-end's addresses, everything else by the guest's. */
static bool ring_place(const VdsVhostUserBackend *backend, unsigned n,
                       VdsQueueSetup *setup, GError **error)
{
    const VdsBackendRing *ring = &backend->rings[n];
    const VdsQueueState shape = ring_shape(backend, ring);
    const Area areas[] = {
        {"descriptor", ring->address.desc, vds_queue_desc_size(&shape), &setup->desc},
        {shape.packed ? "driver event" : "avail", ring->address.avail,
         vds_queue_avail_size(&shape), &setup->avail},
        {shape.packed ? "device event" : "used", ring->address.used,
         vds_queue_used_size(&shape), &setup->used},
    };

    setup->num = ring->num;
    for (size_t i = 0; i < G_N_ELEMENTS(areas); i++) {
        if (!translate(backend, n, &areas[i], error)) {
            return false;
        }
    }
    return true;
}

/* P10.  Some front-ends leave the used half out: then nothing is under way. */
static bool packed_base(const VdsBackendRing *ring, unsigned n, VdsQueueSetup *setup,
                        GError **error)
{
    uint32_t avail = ring->base & UINT16_MAX;
    uint32_t used = ring->base >> USED_SHIFT ? ring->base >> USED_SHIFT : avail;

    setup->avail_base = (uint16_t)(avail & ~(uint32_t)WRAP_BIT);
    setup->avail_wrap = (avail & WRAP_BIT) != 0;
    setup->used_base = (uint16_t)(used & ~(uint32_t)WRAP_BIT);
    setup->used_wrap = (used & WRAP_BIT) != 0;
    return (setup->avail_base < ring->num && setup->used_base < ring->num) ||
           fail(error, VDS_VHOST_USER_ERROR_RING, "P10", n,
                "has a base outside the ring");
}

/* What was used before lies in the ring itself. */
static bool split_base(const VdsVhostUserBackend *backend, const VdsBackendRing *ring,
                       VdsQueueSetup *setup, GError **error)
{
    uint16_t used;

    if (!vds_guest_map_read_u16(backend->map, setup->used + USED_IDX_OFFSET, &used, 1,
                                error)) {
        return false;
    }
    setup->avail_base = (uint16_t)ring->base;
    setup->used_base = used;
    return true;
}

static bool ring_setup(const VdsVhostUserBackend *backend, unsigned n,
                       VdsQueueSetup *setup, GError **error)
{
    const VdsBackendRing *ring = &backend->rings[n];

    *setup = (VdsQueueSetup){.has_base = true};
    return ring_place(backend, n, setup, error) &&
           (ring_shape(backend, ring).packed ? packed_base(ring, n, setup, error)
                                             : split_base(backend, ring, setup, error));
}

/* ---- the states ------------------------------------------------------------------ */

static void ring_show(VdsVhostUserBackend *backend, unsigned n)
{
    VdsBackendRing *ring = &backend->rings[n];

    ring->shown.desc = ring->address.desc;
    ring->shown.avail = ring->address.avail;
    ring->shown.used = ring->address.used;
    vds_virtio_driver_set_vhost_queue(backend->device, n, &ring->shown);
}

/* What came since is the device's from here on. */
static bool hand_over(VdsVhostUserBackend *backend, unsigned n, GError **error)
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

    if (!ring_setup(backend, n, &setup, error) ||
        !vds_backend_device_start(backend, error) ||
        !vds_virtio_driver_set_queue(backend->device, n, &setup, error) ||
        !hand_over(backend, n, error)) {
        return false;
    }
    backend->rings[n].held = true;
    ring_show(backend, n);
    return true;
}

static bool serve(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    if (!vds_virtio_driver_enable_queue(backend->device, n, error)) {
        return false;
    }
    vds_backend_watch_device(backend);
    return true;
}

static bool set_up_and_serve(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    return set_up(backend, n, error) && serve(backend, n, error);
}

static bool unserve(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    return vds_virtio_driver_disable_queue(backend->device, n, error);
}

/* The front-end has to give a new kick descriptor before it starts again. */
static void ring_let_go(VdsVhostUserBackend *backend, unsigned n)
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
    ring_let_go(backend, n);
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
        [VDS_RING_START] = {VDS_RING_STARTED, set_up},
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

/* It starts with the message that was still missing, in whatever order they come. */
static bool ring_settle(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    VdsBackendRing *ring = &backend->rings[n];

    if (is_started(ring) || !ring->kicked || !ring->has_address || ring->num == 0 ||
        !backend->map || !backend->has_features) {
        return true;
    }
    if (!vds_backend_ring_event(backend, n, VDS_RING_START, error)) {
        ring->kicked = false; /* not again with the next message */
        return false;
    }
    vds_backend_show(backend);
    return true;
}

bool vds_backend_settle_rings(VdsVhostUserBackend *backend, GError **error)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (!ring_settle(backend, i, error)) {
            return false;
        }
    }
    return true;
}

static bool ring_move(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    VdsQueueSetup setup = {0};

    if (!ring_place(backend, n, &setup, error) ||
        !vds_virtio_driver_move_queue(backend->device, n, &setup, error)) {
        return false;
    }
    ring_show(backend, n);
    return true;
}

bool vds_backend_move_rings(VdsVhostUserBackend *backend, GError **error)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        VdsQueueSetup setup = {0};
        VdsQueueState now = {0};

        if (!is_started(&backend->rings[i])) {
            continue;
        }
        if (!ring_place(backend, i, &setup, error)) {
            return false;
        }
        vds_virtio_device_get_queue(backend->device, i, &now);
        if ((now.desc != setup.desc || now.avail != setup.avail ||
             now.used != setup.used) &&
            now.desc != 0 && !ring_move(backend, i, error)) {
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

/* ---- messages -------------------------------------------------------------------- */

/* C8: a started ring is what it is. */
static bool check_still(const VdsVhostUserBackend *backend, unsigned n, bool same,
                        GError **error)
{
    return same || !is_started(&backend->rings[n]) ||
           fail(error, VDS_VHOST_USER_ERROR_STATE, "C8", n, "is changed while it runs");
}

bool vds_backend_set_num(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                         VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRingState *state = &message->u.ring;
    VdsBackendRing *ring = &backend->rings[state->index];

    if (state->num == 0 || state->num > VDS_VRING_MAX_NUM) {
        return fail(error, VDS_VHOST_USER_ERROR_RING, "C1", state->index,
                    "gets a size that no ring has");
    }
    if (!check_still(backend, state->index, state->num == ring->num, error)) {
        return false;
    }
    ring->num = state->num;
    return ring_settle(backend, state->index, error);
}

/* A ring that runs may get other addresses: memory moved, or its writes are logged. */
bool vds_backend_set_address(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                             VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRingAddress *address = &message->u.address;
    VdsBackendRing *ring = &backend->rings[address->index];
    VdsVhostUserRingAddress before = ring->address;

    if ((address->desc | address->avail | address->used) & 1) {
        return fail(error, VDS_VHOST_USER_ERROR_RING, "C2", address->index,
                    "gets an odd address");
    }
    ring->address = *address;
    ring->has_address = true;
    if (!is_started(ring)) {
        return ring_settle(backend, address->index, error);
    }
    if ((before.desc != address->desc || before.avail != address->avail ||
         before.used != address->used) &&
        !ring_move(backend, address->index, error)) {
        ring->address = before;
        return false;
    }
    return true;
}

bool vds_backend_set_base(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRingState *state = &message->u.ring;
    VdsBackendRing *ring = &backend->rings[state->index];

    if (!check_still(backend, state->index, state->num == ring->base, error)) {
        return false;
    }
    ring->base = state->num;
    return true;
}

static bool send_base(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    VdsVhostUserMessage reply;

    vds_vhost_user_message_init(&reply, VDS_VHOST_USER_GET_VRING_BASE);
    reply.flags |= VDS_VHOST_USER_FLAG_REPLY;
    reply.u.ring = (VdsVhostUserRingState){n, backend->rings[n].base};
    return vds_vhost_user_link_send(backend->link, &reply, error);
}

/* The last request is back, and has been seen by the driver. */
static void stopped(unsigned n, uint32_t base, void *user)
{
    VdsBackendStop *stop = user;
    VdsVhostUserBackend *backend = stop->backend;

    g_free(stop);
    if (!backend) {
        return;
    }
    backend->stop = NULL;
    backend->rings[n].base = base;
    ring_let_go(backend, n);
    ring_show(backend, n);
    (void)send_base(backend, n, NULL);
    vds_vhost_user_link_set_paused(backend->link, false);
}

bool vds_backend_get_base(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error)
{
    unsigned n = message->u.ring.index;
    VdsBackendRing *ring = &backend->rings[n];

    if (!is_started(ring)) {
        reply->u.ring = (VdsVhostUserRingState){n, ring->base};
        ring_let_go(backend, n);
        return true;
    }
    ring->phase = moves[ring->phase][VDS_RING_STOP].to;
    backend->stop = g_new(VdsBackendStop, 1);
    *backend->stop = (VdsBackendStop){backend};
    vds_vhost_user_link_set_paused(backend->link, true);
    vds_virtio_driver_stop_queue(backend->device, n, backend->mailbox, stopped,
                                 backend->stop);
    return true;
}

static bool use_new_fds(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    if (!hand_over(backend, n, error)) {
        return false;
    }
    ring_show(backend, n);
    return true;
}

bool vds_backend_set_kick(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error)
{
    unsigned n = message->u.u64 & VDS_VHOST_USER_RING_MASK;
    VdsBackendRing *ring = &backend->rings[n];

    vds_fd_close(&ring->kick_fd);
    ring->kick_fd = vds_vhost_user_message_steal_fd(message, 0);
    ring->shown.kick = ring->kick_fd;
    ring->new_kick = true;
    ring->kicked = true;
    vds_backend_poll(backend);
    return is_started(ring) ? use_new_fds(backend, n, error)
                            : ring_settle(backend, n, error);
}

/* What was signalled on the descriptor before may have been overlooked. */
static void signal_once(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0) {
        (void)eventfd_write(fd, 1);
    }
}

bool vds_backend_set_call(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error)
{
    unsigned n = message->u.u64 & VDS_VHOST_USER_RING_MASK;
    VdsBackendRing *ring = &backend->rings[n];

    vds_fd_close(&ring->call_fd);
    ring->call_fd = vds_vhost_user_message_steal_fd(message, 0);
    ring->shown.call = ring->call_fd;
    ring->new_call = true;
    if (!is_started(ring)) {
        return true;
    }
    if (ring->call_fd >= 0) {
        signal_once(ring->call_fd);
    }
    return use_new_fds(backend, n, error);
}

bool vds_backend_set_err(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                         VdsVhostUserMessage *reply, GError **error)
{
    VdsBackendRing *ring = &backend->rings[message->u.u64 & VDS_VHOST_USER_RING_MASK];

    vds_fd_close(&ring->err_fd);
    ring->err_fd = vds_vhost_user_message_steal_fd(message, 0);
    return true;
}

void vds_backend_signal_errors(VdsVhostUserBackend *backend)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        if (backend->rings[i].err_fd >= 0) {
            signal_once(backend->rings[i].err_fd);
        }
    }
}

bool vds_backend_set_enable(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRingState *state = &message->u.ring;

    if (state->num > 1) {
        return fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1", state->index,
                    "is enabled by a number other than 0 and 1");
    }
    return vds_backend_ring_event(backend, state->index,
                                  state->num ? VDS_RING_ENABLE : VDS_RING_DISABLE, error);
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
