/*
 * vhost_user: a device's own state on its way through a migration.  What these devices
 * are is in their rings, their config space and their status, which the front-end moves:
 * what is saved is empty, and only that can be loaded.  Waits for nobody.
 * docs/interop/vhost-user.rst, "Migrating back-end state".
 */
#include <errno.h>
#include <fcntl.h>

#include "backend-priv.h"

enum {
    FAILED = 1, /* of the reply's bits 0 to 7 */
    PHASE_STOPPED = 0,
};

void vds_backend_forget_state(VdsVhostUserBackend *backend)
{
    vds_fd_close(&backend->state_fd);
    backend->saved = false;
}

static bool make_non_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* The end of the file is the end of the state: to save nothing is to close. */
bool vds_backend_set_state_fd(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserTransfer *transfer = &message->u.transfer;

    vds_backend_forget_state(backend);
    reply->u.u64 = VDS_VHOST_USER_NO_FD;
    if (transfer->direction > VDS_VHOST_USER_STATE_LOAD ||
        transfer->phase != PHASE_STOPPED || vds_backend_is_started(backend) ||
        !make_non_blocking(message->fds[0])) {
        reply->u.u64 |= FAILED;
        return true;
    }
    if (transfer->direction == VDS_VHOST_USER_STATE_LOAD) {
        backend->state_fd = vds_vhost_user_message_steal_fd(message, 0);
    } else {
        backend->saved = true;
    }
    return true;
}

/* Asked once everything is written: what is not there now never will be. */
static bool is_empty(int fd)
{
    char byte;

    return fd >= 0 && vds_read_now(fd, &byte, sizeof(byte)) == 0;
}

bool vds_backend_check_state(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                             VdsVhostUserMessage *reply, GError **error)
{
    reply->u.u64 = backend->saved || is_empty(backend->state_fd) ? 0 : FAILED;
    vds_backend_forget_state(backend);
    return true;
}
