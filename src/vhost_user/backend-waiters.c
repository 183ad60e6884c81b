/*
 * vhost_user: front-ends that connected while another one is served.  They are accepted,
 * so that they can be counted and reported, and not read from.  One that leaves is
 * forgotten.
 */
#include <glib-unix.h>

#include "backend-priv.h"

typedef struct {
    VdsVhostUserBackend *backend;
    int fd; /* owned */
    GSource *gone;
    GList link; /* in backend->waiters */
} VdsBackendWaiter;

/* Its descriptor.  (transfer full) */
static int waiter_remove(VdsBackendWaiter *waiter)
{
    int fd = waiter->fd;

    g_queue_unlink(&waiter->backend->waiters, &waiter->link);
    g_source_destroy(waiter->gone);
    g_source_unref(waiter->gone);
    g_free(waiter);
    return fd;
}

static gboolean waiter_gone(gint fd, GIOCondition events, gpointer user)
{
    VdsBackendWaiter *waiter = user;
    VdsVhostUserBackend *backend = waiter->backend;
    int waiting_fd = waiter_remove(waiter);

    vds_fd_close(&waiting_fd);
    vds_backend_listen(backend);
    return G_SOURCE_REMOVE;
}

void vds_backend_waiter_add(VdsVhostUserBackend *backend, int fd)
{
    VdsBackendWaiter *waiter = g_new0(VdsBackendWaiter, 1);

    *waiter = (VdsBackendWaiter){.backend = backend, .fd = fd};
    waiter->link.data = waiter;
    waiter->gone = g_unix_fd_source_new(fd, G_IO_HUP | G_IO_ERR);
    g_source_set_callback(waiter->gone, G_SOURCE_FUNC(waiter_gone), waiter, NULL);
    g_source_attach(waiter->gone, backend->context);
    g_queue_push_tail_link(&backend->waiters, &waiter->link);
    vds_backend_report_peer(backend, VDS_VHOST_USER_WAITS, fd);
}

int vds_backend_waiter_take(VdsVhostUserBackend *backend)
{
    VdsBackendWaiter *waiter = g_queue_peek_head(&backend->waiters);

    return waiter ? waiter_remove(waiter) : -1;
}

void vds_backend_waiters_clear(VdsVhostUserBackend *backend)
{
    int fd;

    while ((fd = vds_backend_waiter_take(backend)) >= 0) {
        vds_fd_close(&fd);
    }
}

unsigned vds_vhost_user_backend_count_waiting(const VdsVhostUserBackend *backend)
{
    return backend->waiters.length;
}
