/*
 * devices: virtio-net tells its network where an address is now, for a driver that moved
 * with it and does not say so itself.  On the device's I/O thread.  vhost-user:
 * SEND_RARP; RFC 903.
 */
#include <string.h>

#include "net-priv.h"

enum {
    FRAME_BYTES = 60, /* the least of Ethernet's */
    SOURCE = 6,
    SENDER = 22,
    TARGET = 32,
};

/* A reverse request about oneself, to everybody: bridges learn from its source. */
static const uint8_t request[FRAME_BYTES] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* to */
    0,    0,    0,    0,    0,    0,    /* from: SOURCE */
    0x80, 0x35,                         /* RARP */
    0,    1,    8,    0,    6,    4,    /* Ethernet, IPv4 */
    0,    3,                            /* reverse request; SENDER and TARGET follow */
};

static void send_request(VdsNet *net, const uint8_t *mac)
{
    static const unsigned places[] = {SOURCE, SENDER, TARGET};
    VdsNetPeer *peer = net->state.peer;
    uint8_t bytes[FRAME_BYTES];
    const VdsNetFrame frame = {.len = FRAME_BYTES, .bytes = bytes};

    memcpy(bytes, request, FRAME_BYTES);
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        memcpy(bytes + places[i], mac, VDS_NET_MAC_BYTES);
    }
    peer->ops->send(peer, &frame, 1);
    if (peer->ops->send_end) {
        peer->ops->send_end(peer);
    }
    vds_net_receive_end(net);
}

void vds_net_announce_late(VdsNet *net)
{
    if (net->announces) {
        net->announces = false;
        vds_net_announce(net, net->announced);
    }
}

void vds_net_announce(void *instance, const uint8_t *mac)
{
    VdsNet *net = instance;

    if (!net->active) {
        net->announces = true;
        memcpy(net->announced, mac, VDS_NET_MAC_BYTES);
    } else if (vds_net_link_is_up(net)) {
        send_request(net, mac);
    } else {
        vds_net_count_drops(net, 1);
    }
}
