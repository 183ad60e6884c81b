/*
 * vhost_user: what a front-end says of one ring: SET_VRING_* and GET_VRING_BASE; and the
 * descriptors that come along.  What follows from it is for backend-rings.c to say.
 * docs/interop/vhost-user.rst; rules C1, C8, V1.
 */
#include <string.h>

#include "backend-priv.h"

/* C8: a started ring is what it is. */
static bool check_still(const VdsVhostUserBackend *backend,
                        const VdsVhostUserRingState *state, const char *what,
                        uint32_t now, GError **error)
{
    return state->num == now || !vds_ring_is_started(&backend->rings[state->index]) ||
           vds_ring_fail(error, VDS_VHOST_USER_ERROR_STATE, "C8", state->index,
                         "is given %s %" PRIu32 " while it runs with %" PRIu32, what,
                         state->num, now);
}

bool vds_backend_set_num(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                         VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRingState *state = &message->u.ring;
    VdsBackendRing *ring = &backend->rings[state->index];

    if (state->num == 0 || state->num > VDS_VRING_MAX_NUM) {
        return vds_ring_fail(error, VDS_VHOST_USER_ERROR_RING, "C1", state->index,
                             "has size %" PRIu32 ", expected 1 to %d", state->num,
                             VDS_VRING_MAX_NUM);
    }
    if (!check_still(backend, state, "size", ring->num, error)) {
        return false;
    }
    ring->num = state->num;
    return vds_ring_settle(backend, state->index, error);
}

/* A ring that runs may get other addresses: memory moved, or its writes are logged. */
bool vds_backend_set_address(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                             VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRingAddress *address = &message->u.address;
    VdsBackendRing *ring = &backend->rings[address->index];
    VdsVhostUserRingAddress before = ring->address;

    ring->address = *address;
    ring->has_address = true;
    if (!vds_ring_is_started(ring)) {
        return vds_ring_settle(backend, address->index, error);
    }
    if (memcmp(&before, address, sizeof(before)) != 0 &&
        !vds_ring_move(backend, address->index, error)) {
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

    if (!check_still(backend, state, "base", ring->base, error)) {
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
    vds_ring_let_go(backend, n);
    vds_ring_show(backend, n);
    (void)send_base(backend, n, NULL);
    vds_vhost_user_link_set_paused(backend->link, false);
}

bool vds_backend_get_base(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error)
{
    unsigned n = message->u.ring.index;
    VdsBackendRing *ring = &backend->rings[n];

    if (!vds_ring_is_started(ring)) {
        reply->u.ring = (VdsVhostUserRingState){n, ring->base};
        vds_ring_let_go(backend, n);
        return true;
    }
    vds_ring_hold(ring);
    backend->stop = g_new(VdsBackendStop, 1);
    *backend->stop = (VdsBackendStop){backend};
    vds_vhost_user_link_set_paused(backend->link, true);
    vds_virtio_driver_stop_queue(backend->device, n, backend->mailbox, stopped,
                                 backend->stop);
    return true;
}

static bool use_new_fds(VdsVhostUserBackend *backend, unsigned n, GError **error)
{
    if (!vds_ring_hand_over(backend, n, error)) {
        return false;
    }
    vds_ring_show(backend, n);
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
    return vds_ring_is_started(ring) ? use_new_fds(backend, n, error)
                                     : vds_ring_settle(backend, n, error);
}

static void signal_once(const VdsVhostUserBackend *backend, int fd)
{
    vds_io_thread_signal(vds_virtio_device_get_io_thread(backend->device), fd);
}

/* The front-end looks at the descriptor before when it sends the new one, and not again:
 * what the device signalled there until it had this one is told once more, and only then.
 */
bool vds_backend_set_call(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error)
{
    unsigned n = message->u.u64 & VDS_VHOST_USER_RING_MASK;
    VdsBackendRing *ring = &backend->rings[n];

    vds_fd_close(&ring->call_fd);
    ring->call_fd = vds_vhost_user_message_steal_fd(message, 0);
    ring->shown.call = ring->call_fd;
    ring->new_call = true;
    if (!vds_ring_is_started(ring)) {
        return true;
    }
    if (!use_new_fds(backend, n, error)) {
        return false;
    }
    if (ring->shown.call >= 0) {
        signal_once(backend,
                    (int)ring->shown.call); /* the device's, which keeps it until told */
    }
    return true;
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
            signal_once(backend, backend->rings[i].err_fd);
        }
    }
}

bool vds_backend_set_enable(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserRingState *state = &message->u.ring;

    if (state->num > 1) {
        return vds_ring_fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1", state->index,
                             "is enabled by %" PRIu32 ", expected 0 or 1", state->num);
    }
    return vds_backend_ring_event(backend, state->index,
                                  state->num ? VDS_RING_ENABLE : VDS_RING_DISABLE, error);
}
