/*
 * devices: -netdev hubport: what one port of a hub sends, all others receive, each on the
 * I/O thread of its device; at once where that is the sender's.  Refuses to know
 * addresses: a hub is no switch.
 *
 * A hub is the machine's and outlives its ports.  Its lock guards the lists of ports and
 * what one thread leaves for another, and is held for a push or a shift.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "net-priv.h"

enum { BATCH = 32 };

typedef struct Port Port;

/* The ports whose devices are on one I/O thread.  That thread changes the list under the
 * hub's lock, and so reads it without. */
typedef struct Side Side;
struct Side {
    Side *next; /* under the lock */
    VdsIoThread *thread;
    Port *ports; /* those of devices that a driver started */
    unsigned n;
};

typedef struct {
    pthread_mutex_t lock;
    Side *sides;         /* one without ports is taken again */
    atomic_uint n_ports; /* of all sides */
} Hub;

struct Port {
    VdsNetPeer peer; /* first */
    Hub *hub;
    Side *side; /* (nullable) while it is in no list */
    Port *next; /* in its side's */
    int bell;   /* eventfd; -1 while it is in no list */
    /* Under the hub's lock. */
    VdsNetInbox far; /* from ports on other threads */
    /* The I/O thread's own. */
    VdsNetInbox near;   /* from ports on this one, when there was no room */
    VdsIoWatch *watch;  /* (nullable) while it is stopped */
    VdsNetPacket *held; /* (nullable) out of an inbox, not yet delivered */
    bool fed;           /* has frames that its driver was not told of */
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

    while (hub->sides) {
        Side *side = hub->sides;

        hub->sides = side->next;
        g_free(side);
    }
    pthread_mutex_destroy(&hub->lock);
    g_free(hub);
}

/* ---- sending -------------------------------------------------------------------------
 */

/* A burst, and its frames for those who have them later, each made for the first of
 * these. */
typedef struct {
    const VdsNetFrame *frames;
    unsigned n;
    VdsNetPacket *packets[VDS_NET_BURST]; /* (nullable) */
} Load;

/* One frame of it. */
static void leave_in(VdsNetInbox *inbox, Port *port, Load *load, unsigned i)
{
    if (!load->packets[i]) {
        load->packets[i] = vds_net_packet_new(&load->frames[i]);
    }
    if (!vds_net_inbox_push(inbox, vds_net_packet_ref(load->packets[i]))) {
        vds_net_count_drops(port->peer.net, 1);
    } else if (inbox->n == 1) {
        (void)eventfd_write(port->bell, 1);
    }
}

/* Straight from the sender's buffer into a receiver's, unless others wait there.  What
 * came from other threads has no order to keep with this. */
static void send_near(Port *self, Load *load)
{
    for (Port *port = self->side->ports; port; port = port->next) {
        unsigned done = 0;

        if (port == self) {
            continue;
        }
        if (port->watch && !port->held && port->near.n == 0) {
            done = vds_net_receive(port->peer.net, load->frames, load->n);
            port->fed = port->fed || done > 0;
        }
        for (; done < load->n; done++) {
            leave_in(&port->near, port, load, done);
        }
    }
}

static void send_far(Port *self, Load *load)
{
    VDS_LOCK_SCOPE(&self->hub->lock);

    for (Side *side = self->hub->sides; side; side = side->next) {
        for (Port *port = side->ports; side != self->side && port; port = port->next) {
            for (unsigned i = 0; i < load->n; i++) {
                leave_in(&port->far, port, load, i);
            }
        }
    }
}

static void port_send(VdsNetPeer *peer, const VdsNetFrame *frames, unsigned n)
{
    Port *self = (Port *)peer;
    Load load = {.frames = frames, .n = n};

    send_near(self, &load);
    if (atomic_load_explicit(&self->hub->n_ports, memory_order_relaxed) > self->side->n) {
        send_far(self, &load);
    }
    for (unsigned i = 0; i < n; i++) {
        vds_net_packet_unref(load.packets[i]);
    }
}

static void port_send_end(VdsNetPeer *peer)
{
    for (Port *port = ((Port *)peer)->side->ports; port; port = port->next) {
        if (port->fed) {
            port->fed = false;
            vds_net_receive_end(port->peer.net);
        }
    }
}

/* ---- receiving -----------------------------------------------------------------------
 */

static VdsNetPacket *port_next(Port *port)
{
    if (port->near.n > 0) {
        return vds_net_inbox_shift(&port->near);
    }
    VDS_LOCK_SCOPE(&port->hub->lock);
    return vds_net_inbox_shift(&port->far);
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
        if (vds_net_receive(port->peer.net, &frame, 1) == 0) {
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

/* With the lock held. */
static Side *take_side(Hub *hub, VdsIoThread *thread)
{
    Side *unused = NULL;

    for (Side *side = hub->sides; side; side = side->next) {
        if (side->n > 0 && side->thread == thread) {
            return side;
        }
        unused = side->n == 0 ? side : unused;
    }
    if (!unused) {
        unused = g_new0(Side, 1);
        unused->next = hub->sides;
        hub->sides = unused;
    }
    unused->thread = thread;
    return unused;
}

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
    port->side = take_side(port->hub, port->peer.thread);
    port->next = port->side->ports;
    port->side->ports = port;
    port->side->n++;
    atomic_fetch_add_explicit(&port->hub->n_ports, 1, memory_order_relaxed);
    return true;
}

static void port_leave(Port *port)
{
    Port **at;

    if (port->bell < 0) {
        return;
    }
    VDS_LOCK_SCOPE(&port->hub->lock);
    for (at = &port->side->ports; *at != port; at = &(*at)->next) {
        /* it is in there */
    }
    *at = port->next;
    port->side->n--;
    port->side = NULL;
    atomic_fetch_sub_explicit(&port->hub->n_ports, 1, memory_order_relaxed);
    vds_net_inbox_clear(&port->near);
    vds_net_inbox_clear(&port->far);
    port->fed = false;
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
    .send_end = port_send_end,
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
