/*
 * devices: what a virtio-net device is wired to: nothing, QEMU's user network (which is
 * not connected here), or a loop that gives back what is sent; and packets that wait.
 * Hubs and taps have files of their own.
 */
#include <string.h>

#include "net-priv.h"

/* ---- packets ------------------------------------------------------------------------
 */

struct VdsNetPacket {
    atomic_uint refs;
    VdsNetFrame frame; /* bytes: behind this struct */
    uint8_t bytes[];
};

VdsNetPacket *vds_net_packet_new(const VdsNetFrame *frame)
{
    VdsNetPacket *packet = g_malloc(sizeof(VdsNetPacket) + frame->len);

    atomic_init(&packet->refs, 1);
    packet->frame = *frame;
    packet->frame.bytes = packet->bytes;
    memcpy(packet->bytes, frame->bytes, frame->len);
    return packet;
}

VdsNetPacket *vds_net_packet_ref(VdsNetPacket *packet)
{
    atomic_fetch_add_explicit(&packet->refs, 1, memory_order_relaxed);
    return packet;
}

void vds_net_packet_unref(VdsNetPacket *packet)
{
    /* Release: pairs with the acquire of whoever is the last. */
    if (packet &&
        atomic_fetch_sub_explicit(&packet->refs, 1, memory_order_acq_rel) == 1) {
        g_free(packet);
    }
}

VdsNetFrame vds_net_packet_frame(const VdsNetPacket *packet)
{
    return packet->frame;
}

bool vds_net_inbox_push(VdsNetInbox *inbox, VdsNetPacket *packet)
{
    if (inbox->n == VDS_NET_INBOX) {
        vds_net_packet_unref(packet);
        return false;
    }
    inbox->packets[(inbox->first + inbox->n++) % VDS_NET_INBOX] = packet;
    return true;
}

VdsNetPacket *vds_net_inbox_shift(VdsNetInbox *inbox)
{
    VdsNetPacket *packet = NULL;

    if (inbox->n > 0) {
        packet = inbox->packets[inbox->first];
        inbox->first = (inbox->first + 1) % VDS_NET_INBOX;
        inbox->n--;
    }
    return packet;
}

void vds_net_inbox_clear(VdsNetInbox *inbox)
{
    while (inbox->n > 0) {
        vds_net_packet_unref(vds_net_inbox_shift(inbox));
    }
}

/* ---- nothing ------------------------------------------------------------------------
 */

static void drop(VdsNetPeer *peer, const VdsNetFrame *frames, unsigned n)
{
}

static void plain_destroy(VdsNetPeer *peer)
{
    g_free(peer);
}

static const VdsNetPeerOps nothing = {.send = drop, .destroy = plain_destroy};
static const VdsNetPeerOps user = {
    .name = "user", .send = drop, .destroy = plain_destroy};

/* ---- loop
 * ------------------------------------------------------------------------------
 */

typedef struct {
    VdsNetPeer peer; /* first */
    VdsNetInbox inbox;
    VdsNetPacket *next; /* (nullable) out of the inbox, not yet delivered */
} Loop;

static void loop_poll(VdsNetPeer *peer)
{
    Loop *loop = (Loop *)peer;

    while (loop->next || (loop->next = vds_net_inbox_shift(&loop->inbox))) {
        VdsNetFrame frame = vds_net_packet_frame(loop->next);

        if (vds_net_receive(peer->net, &frame, 1) == 0) {
            break;
        }
        g_clear_pointer(&loop->next, vds_net_packet_unref);
    }
    vds_net_receive_end(peer->net);
}

/* At once if there is room, else in turn. */
static void loop_send(VdsNetPeer *peer, const VdsNetFrame *frames, unsigned n)
{
    Loop *loop = (Loop *)peer;
    unsigned done = 0;

    if (!loop->next && loop->inbox.n == 0) {
        done = vds_net_receive(peer->net, frames, n);
    }
    for (; done < n; done++) {
        if (!vds_net_inbox_push(&loop->inbox, vds_net_packet_new(&frames[done]))) {
            vds_net_count_drops(peer->net, 1);
        }
    }
}

static void loop_reset(VdsNetPeer *peer)
{
    Loop *loop = (Loop *)peer;

    g_clear_pointer(&loop->next, vds_net_packet_unref);
    vds_net_inbox_clear(&loop->inbox);
}

static void loop_destroy(VdsNetPeer *peer)
{
    loop_reset(peer);
    g_free(peer);
}

static const VdsNetPeerOps loop_ops = {
    .name = "loop",
    .connected = true,
    .takes_header = true,
    .reset = loop_reset,
    .send = loop_send,
    .poll = loop_poll,
    .destroy = loop_destroy,
};

static VdsNetPeer *loop_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                            GError **error)
{
    Loop *loop = g_new0(Loop, 1);

    loop->peer.ops = &loop_ops;
    return &loop->peer;
}

static VdsNetPeer *user_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                            GError **error)
{
    VdsNetPeer *peer = g_new0(VdsNetPeer, 1);

    peer->ops = &user;
    return peer;
}

static VdsNetPeer *nothing_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                               GError **error)
{
    VdsNetPeer *peer = g_new0(VdsNetPeer, 1);

    peer->ops = &nothing;
    return peer;
}

/* ---- which one ------------------------------------------------------------------------
 */

typedef VdsNetPeer *(*PeerFunc)(const VdsDeviceArgs *args, const VdsProps *netdev,
                                GError **error);

static const struct {
    const char *type;
    PeerFunc create;
} types[] = {
    {"user", user_new},
    {"loop", loop_new},
    {"hubport", vds_net_hub_new},
    {"tap", vds_net_tap_new},
};

static PeerFunc find_create(const VdsProps *netdev, GError **error)
{
    const char *type = netdev ? vds_props_get_string(netdev, "type") : NULL;

    if (!netdev) {
        return nothing_new;
    }
    for (size_t i = 0; type && i < G_N_ELEMENTS(types); i++) {
        if (strcmp(types[i].type, type) == 0) {
            return types[i].create;
        }
    }
    g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                "network backend '%.*s' is not compiled into this binary",
                type ? vds_name_len(type) : 0, type ? type : "");
    return NULL;
}

VdsNetPeer *vds_net_peer_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                             GError **error)
{
    PeerFunc create = find_create(netdev, error);
    VdsNetPeer *peer = create ? create(args, netdev, error) : NULL;

    if (peer) {
        peer->thread = vds_kind_io_thread(args);
    }
    return peer;
}

void vds_net_peer_free(VdsNetPeer *peer)
{
    if (peer) {
        peer->ops->destroy(peer);
    }
}
