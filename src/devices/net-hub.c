/*
 * devices: -netdev hubport: what one port of a hub sends, all others receive, each on the
 * I/O thread of its device.  Refuses to know addresses: a hub is no switch.
 *
 * A hub is the machine's and outlives its ports.  Its lock guards the list of ports and
 * their inboxes, and is held for a push or a shift.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "net-priv.h"

enum { BATCH = 32 };

typedef struct Port Port;

typedef struct {
    pthread_mutex_t lock;
    Port *ports; /* those of devices that a driver started */
} Hub;

struct Port {
    VdsNetPeer peer; /* first */
    Hub *hub;
    /* Under the hub's lock. */
    Port *next;
    VdsNetInbox inbox;
    int bell; /* eventfd; -1 while it is not in the list */
    /* The I/O thread's own. */
    VdsIoWatch *watch;  /* (nullable) while it is stopped */
    VdsNetPacket *held; /* (nullable) out of the inbox, not yet delivered */
};

static void *hub_create(const char *name)
{
    Hub *hub = g_new0(Hub, 1);

    pthread_mutex_init(&hub->lock, NULL);
    return hub;
}

static void hub_destroy(void *data)
{
    Hub *hub = data;

    pthread_mutex_destroy(&hub->lock);
    g_free(hub);
}

/* ---- sending -------------------------------------------------------------------------
 */

static void port_send(VdsNetPeer *peer, const VdsNetFrame *frame)
{
    Port *self = (Port *)peer;
    VdsNetPacket *packet = vds_net_packet_new(frame);

    pthread_mutex_lock(&self->hub->lock);
    for (Port *port = self->hub->ports; port; port = port->next) {
        if (port == self) {
            continue;
        }
        if (!vds_net_inbox_push(&port->inbox, vds_net_packet_ref(packet))) {
            vds_net_count_drop(port->peer.net);
        } else if (port->inbox.n == 1) {
            (void)eventfd_write(port->bell, 1);
        }
    }
    pthread_mutex_unlock(&self->hub->lock);
    vds_net_packet_unref(packet);
}

/* ---- receiving -----------------------------------------------------------------------
 */

static VdsNetPacket *port_next(Port *port)
{
    VDS_LOCK_SCOPE(&port->hub->lock);

    return vds_net_inbox_shift(&port->inbox);
}

/* false: no room.  A batch, then it is the other devices' turn. */
static bool deliver(Port *port)
{
    for (unsigned i = 0; i < BATCH; i++) {
        VdsNetFrame frame;

        if (!port->held && !(port->held = port_next(port))) {
            return false;
        }
        frame = vds_net_packet_frame(port->held);
        if (!vds_net_receive(port->peer.net, &frame)) {
            return false;
        }
        g_clear_pointer(&port->held, vds_net_packet_unref);
    }
    return true;
}

static void port_poll(VdsNetPeer *peer)
{
    Port *port = (Port *)peer;

    if (port->watch && deliver(port)) {
        (void)eventfd_write(port->bell, 1); /* there may be more */
    }
    vds_net_receive_end(peer->net);
}

static void on_bell(uint32_t events, void *user)
{
    Port *port = user;
    eventfd_t count;

    (void)eventfd_read(port->bell, &count);
    port_poll(&port->peer);
}

/* ---- coming and going
 * ------------------------------------------------------------------ */

/* In the list from the first start to the reset: what arrives while the device is stopped
 * waits as on a slow network. */
static bool port_join(Port *port, GError **error)
{
    int bell;

    if (port->bell >= 0) {
        return true;
    }
    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell < 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_SYSTEM, "eventfd: %s",
                    g_strerror(errno));
        return false;
    }
    VDS_LOCK_SCOPE(&port->hub->lock);
    port->bell = bell;
    port->next = port->hub->ports;
    port->hub->ports = port;
    return true;
}

static void port_leave(Port *port)
{
    VDS_LOCK_SCOPE(&port->hub->lock);

    for (Port **at = &port->hub->ports; *at; at = &(*at)->next) {
        if (*at == port) {
            *at = port->next;
            break;
        }
    }
    vds_net_inbox_clear(&port->inbox);
    vds_fd_close(&port->bell);
}

static bool port_start(VdsNetPeer *peer, GError **error)
{
    Port *port = (Port *)peer;

    if (!port_join(port, error)) {
        return false;
    }
    port->watch =
        vds_io_watch_new(peer->thread, port->bell, EPOLLIN, on_bell, port, error);
    return port->watch != NULL;
}

static void port_stop(VdsNetPeer *peer)
{
    Port *port = (Port *)peer;

    vds_io_watch_free(g_steal_pointer(&port->watch));
}

static void port_reset(VdsNetPeer *peer)
{
    Port *port = (Port *)peer;

    port_leave(port);
    g_clear_pointer(&port->held, vds_net_packet_unref);
}

static void port_destroy(VdsNetPeer *peer)
{
    port_reset(peer);
    g_free(peer);
}

static const VdsNetPeerOps port_ops = {
    .name = "hubport",
    .connected = true,
    .start = port_start,
    .stop = port_stop,
    .reset = port_reset,
    .send = port_send,
    .poll = port_poll,
    .destroy = port_destroy,
};

VdsNetPeer *vds_net_hub_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                            GError **error)
{
    const VdsProp *id = vds_props_find(netdev, "hubid");
    g_autofree char *name = NULL;
    uint64_t number;
    Port *port;

    if (!id) {
        g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                            "Parameter 'hubid' is missing");
        return NULL;
    }
    if (!vds_prop_get_uint(id, 0, INT32_MAX, &number, error)) {
        return NULL;
    }
    name = g_strdup_printf("hub:%" PRIu64, number);
    port = g_new0(Port, 1);
    port->peer.ops = &port_ops;
    port->hub = args->host->share(args->host, name, hub_create, hub_destroy);
    port->bell = -1;
    return &port->peer;
}
