/*
 * vhost_user: memory that the front-end keeps for its back-ends, in which a device notes
 * what it has in flight.  Refuses to know how.
 * docs/interop/vhost-user.rst, "Inflight I/O tracking"; rule V8.
 */
#include <string.h>

#include "backend-priv.h"

static bool unfit(GError **error, const char *name, const GError *why)
{
    bool has_rule = g_str_has_prefix(why->message, "V8: ");

    return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V8", name, "%s",
                               why->message + (has_rule ? strlen("V8: ") : 0));
}

static bool check_shape(const VdsVhostUserBackend *backend,
                        const VdsVhostUserInflight *told, const char *name,
                        VdsInflightShape *shape, GError **error)
{
    *shape = (VdsInflightShape){
        .packed = (backend->features >> VDS_F_RING_PACKED) & 1,
        .n_queues = told->n_queues,
        .queue_size = told->queue_size,
    };
    if (told->n_queues == 0 || told->n_queues > backend->n_rings ||
        told->queue_size == 0 || told->queue_size > VDS_VRING_MAX_NUM) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_MEMORY, "V8", name,
                                   "is for %u rings of %u, expected at most %u of %u",
                                   told->n_queues, told->queue_size, backend->n_rings,
                                   (unsigned)VDS_VRING_MAX_NUM);
    }
    return true;
}

/* For rings that start from now on. */
static bool use_region(VdsVhostUserBackend *backend, const VdsInflightShape *shape,
                       const VdsVhostUserInflight *told, const char *name, int fd,
                       GError **error)
{
    const VdsGuestRegion where = {
        .len = told->size, .fd = fd, .offset = told->offset, .share = backend->share};
    g_autoptr(GError) why = NULL;
    g_autoptr(VdsInflight) inflight = vds_inflight_new(shape, &where, &why);

    if (!inflight) {
        return unfit(error, name, why);
    }
    vds_virtio_driver_set_inflight(backend->device, inflight);
    backend->has_inflight = true;
    return true;
}

/* A new one, all zeroes.  The front-end sends it back before it is needed; one that does
 * not gets the use of it all the same. */
bool vds_backend_get_inflight(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserInflight *told = &message->u.inflight;
    g_autoptr(GError) why = NULL;
    VdsInflightShape shape;
    VDS_AUTO_FD fd = -1;

    if (!check_shape(backend, told, "GET_INFLIGHT_FD", &shape, error)) {
        return false;
    }
    reply->u.inflight = (VdsVhostUserInflight){.n_queues = told->n_queues,
                                               .queue_size = told->queue_size};
    fd = vds_inflight_create(&shape, &why);
    if (fd < 0 || !vds_inflight_get_len(&shape, &reply->u.inflight.size, &why)) {
        return unfit(error, "GET_INFLIGHT_FD", why);
    }
    if (!use_region(backend, &shape, &reply->u.inflight, "GET_INFLIGHT_FD", fd, error)) {
        return false;
    }
    vds_vhost_user_message_add_fd(reply, vds_fd_steal(&fd));
    return true;
}

bool vds_backend_set_inflight(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserInflight *told = &message->u.inflight;
    VdsInflightShape shape;

    return check_shape(backend, told, "SET_INFLIGHT_FD", &shape, error) &&
           use_region(backend, &shape, told, "SET_INFLIGHT_FD", message->fds[0], error);
}

void vds_backend_forget_inflight(VdsVhostUserBackend *backend)
{
    if (backend->has_inflight) {
        backend->has_inflight = false;
        vds_virtio_driver_set_inflight(backend->device, NULL);
    }
}
