/*
 * devices: virtio-net at work (virtio 1.2, 5.1): frames out of transmit queues to the
 * peer, commands out of the control queue, start, stop, reset.  All of it on the device's
 * I/O thread.  Refuses to know descriptors, what the peer is, and how it is received
 * from.
 */
#include <string.h>

#include "net-priv.h"

/* Room for one of the largest: many of the usual ones. */
enum { BURST_BYTES = VDS_NET_HEADER_MAX + VDS_NET_MAX_FRAME };

void vds_net_count_drops(VdsNet *net, unsigned n)
{
    atomic_fetch_add_explicit(&net->drops, n, memory_order_relaxed);
}

VdsNetCounts vds_net_get_counts(const VdsNet *net)
{
    return (VdsNetCounts){
        .sent = atomic_load_explicit(&net->sent, memory_order_relaxed),
        .received = atomic_load_explicit(&net->received, memory_order_relaxed),
        .dropped = atomic_load_explicit(&net->drops, memory_order_relaxed),
    };
}

bool vds_net_is_connected(const VdsNet *net)
{
    return net->state.peer->ops->connected;
}

static void handle_receive(VdsNet *net)
{
    const VdsNetPeerOps *ops = net->state.peer->ops;

    if (ops->poll) {
        ops->poll(net->state.peer);
    }
}

/* ---- sending --------------------------------------------------------------------------
 */

/* Copies, so that a frame is what was looked at; in net->burst. */
typedef struct {
    VdsNet *net;
    unsigned pair, n;
    size_t bytes;
    VdsNetFrame frames[VDS_NET_BURST];
} Burst;

static void burst_send(Burst *burst)
{
    VdsNetPeer *peer = burst->net->state.peer;

    if (burst->n > 0) {
        vds_net_count(&burst->net->sent, burst->n);
        peer->ops->send(peer, burst->frames, burst->n);
    }
    burst->n = 0;
    burst->bytes = 0;
}

static void burst_add(Burst *burst, const uint8_t *bytes, size_t len)
{
    VdsNet *net = burst->net;
    VdsNetFrame *frame = &burst->frames[burst->n];

    *frame = (VdsNetFrame){.pair = burst->pair,
                           .len = len - net->header_bytes,
                           .bytes = bytes + net->header_bytes};
    if (net->has_offload) {
        memcpy(frame->header, bytes, VDS_NET_HEADER_BYTES);
    }
    burst->n++;
    burst->bytes += len;
}

static void transmit(Burst *burst, VdsIo *io)
{
    VdsNet *net = burst->net;
    uint64_t asked = vds_stream_left(&io->out);
    uint8_t *bytes;
    size_t len;

    if (burst->bytes + asked > BURST_BYTES) {
        burst_send(burst);
    }
    bytes = net->burst + burst->bytes;
    len = vds_stream_read(&io->out, bytes, BURST_BYTES - burst->bytes);
    if (len < net->header_bytes) {
        vds_virt_queue_break(io->queue, "5.1.6.2: a header of %zu bytes, expected %u",
                             len, net->header_bytes);
    } else if (len < asked || !vds_net_link_is_up(net)) {
        vds_net_count_drops(net, 1);
    } else if (len > net->header_bytes) {
        burst_add(burst, bytes, len);
    }
}

static void discard_transmit(VdsNet *net, VdsVirtQueue *queue)
{
    VdsIo *ios[VDS_NET_BURST];
    size_t n;

    do {
        n = vds_virt_queue_pop(queue, ios, VDS_NET_BURST);
        vds_virt_queue_complete_all(queue, ios, n);
        vds_net_count_drops(net, (unsigned)n);
    } while (n == VDS_NET_BURST);
}

static void handle_transmit(VdsNet *net, VdsVirtQueue *queue)
{
    const VdsNetPeerOps *ops = net->state.peer->ops;
    VdsIo *ios[VDS_NET_BURST];
    Burst burst;
    size_t n;

    burst.net = net;
    burst.pair = vds_virt_queue_get_index(queue) / 2;
    burst.n = 0;
    burst.bytes = 0;
    do {
        n = vds_virt_queue_pop(queue, ios, VDS_NET_BURST);
        for (size_t i = 0; i < n; i++) {
            transmit(&burst, ios[i]);
        }
        burst_send(&burst);
        vds_virt_queue_complete_all(queue, ios, n);
        if (ops->send_end) {
            /* Who forwards what he receives finds room for it where it came from. */
            vds_virt_queue_flush(queue);
            ops->send_end(net->state.peer);
        }
    } while (n == VDS_NET_BURST);
    vds_net_receive_end(net);
}

static void handle_control(VdsNet *net, VdsVirtQueue *queue)
{
    VdsIo *io;

    while ((io = vds_virt_queue_pop_one(queue))) {
        const char *wrong = vds_net_control(&net->state, io);

        if (wrong) {
            vds_virt_queue_break(queue, "%s", wrong);
        }
        vds_virt_queue_complete(queue, io, vds_stream_done(&io->in));
    }
}

static unsigned control_index(const VdsNet *net)
{
    if (net->control_size == 0) {
        return VDS_VIRTIO_MAX_QUEUES; /* no queue's */
    }
    return net->multiqueue ? 2 * net->state.max_pairs : 2;
}

static void net_handle(void *instance, VdsVirtQueue *queue)
{
    VdsNet *net = instance;
    unsigned index = vds_virt_queue_get_index(queue);

    if (index == control_index(net)) {
        handle_control(net, queue);
    } else if (index % 2 == 0) {
        handle_receive(net);
    } else if (vds_virt_queue_is_discarding(queue)) {
        discard_transmit(net, queue);
    } else {
        handle_transmit(net, queue);
    }
}

/* vhost-user, "Ring states": what is sent on a disabled ring is lost. */
static bool net_discards(void *instance, unsigned index)
{
    return index % 2 == 1 && index != control_index(instance);
}

/* ---- life
 * ------------------------------------------------------------------------------ */

/* Without MQ there is one pair, and the control queue follows it (virtio 1.2, 5.1.2). */
static void place_queues(VdsNet *net, bool multiqueue)
{
    VdsVirtioDevice *device = net->state.device;

    if (multiqueue == net->multiqueue || net->n_queues == 3 || net->control_size == 0) {
        return;
    }
    net->multiqueue = multiqueue;
    for (unsigned i = 2; i + 1 < net->n_queues; i++) {
        uint16_t size = i % 2 ? net->tx_size : net->rx_size;

        vds_virtio_device_set_queue_size(device, i, multiqueue ? size : 0);
    }
    vds_virtio_device_set_queue_size(device, net->n_queues - 1,
                                     multiqueue ? net->control_size : 0);
    if (!multiqueue) {
        vds_virtio_device_set_queue_size(device, 2, net->control_size);
    }
}

static void net_set_features(void *instance, const VdsFeatures *features)
{
    place_queues(instance, vds_features_has(features, VDS_NET_F_MQ) ||
                               vds_features_has(features, VDS_NET_F_RSS));
}

/* What one feature needs of another (virtio 1.2, 5.1.3.1). */
static const struct {
    uint8_t feature, needs;
    const char *text;
} dependencies[] = {
    {VDS_NET_F_GUEST_TSO4, VDS_NET_F_GUEST_CSUM, "GUEST_TSO4 without GUEST_CSUM"},
    {VDS_NET_F_GUEST_TSO6, VDS_NET_F_GUEST_CSUM, "GUEST_TSO6 without GUEST_CSUM"},
    {VDS_NET_F_GUEST_UFO, VDS_NET_F_GUEST_CSUM, "GUEST_UFO without GUEST_CSUM"},
    {VDS_NET_F_HOST_TSO4, VDS_NET_F_CSUM, "HOST_TSO4 without CSUM"},
    {VDS_NET_F_HOST_TSO6, VDS_NET_F_CSUM, "HOST_TSO6 without CSUM"},
    {VDS_NET_F_HOST_UFO, VDS_NET_F_CSUM, "HOST_UFO without CSUM"},
    {VDS_NET_F_CTRL_RX, VDS_NET_F_CTRL_VQ, "CTRL_RX without CTRL_VQ"},
    {VDS_NET_F_CTRL_VLAN, VDS_NET_F_CTRL_VQ, "CTRL_VLAN without CTRL_VQ"},
    {VDS_NET_F_GUEST_ANNOUNCE, VDS_NET_F_CTRL_VQ, "GUEST_ANNOUNCE without CTRL_VQ"},
    {VDS_NET_F_MQ, VDS_NET_F_CTRL_VQ, "MQ without CTRL_VQ"},
    {VDS_NET_F_RSS, VDS_NET_F_CTRL_VQ, "RSS without CTRL_VQ"},
    {VDS_NET_F_HASH_REPORT, VDS_NET_F_CTRL_VQ, "HASH_REPORT without CTRL_VQ"},
    {VDS_NET_F_CTRL_MAC_ADDR, VDS_NET_F_CTRL_VQ, "CTRL_MAC_ADDR without CTRL_VQ"},
};

static bool net_validate(void *instance, const VdsFeatures *features, GError **error)
{
    const VdsNet *net = instance;

    for (size_t i = 0; i < G_N_ELEMENTS(dependencies); i++) {
        if (dependencies[i].needs == VDS_NET_F_CTRL_VQ && net->control_size == 0) {
            continue;
        }
        if (vds_features_has(features, dependencies[i].feature) &&
            !vds_features_has(features, dependencies[i].needs)) {
            g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_FEATURES,
                                dependencies[i].text);
            return false;
        }
    }
    return true;
}

/* What the front-end told counts before the config space, which a VMM may have of its
 * own. */
static void take_mtu(VdsNet *net)
{
    VdsNetState *state = &net->state;
    uint16_t mtu = net->told_mtu ? net->told_mtu : net->config_mtu;

    state->mtu = vds_features_has(&state->features, VDS_NET_F_MTU) ? mtu : 0;
}

/* vhost-user: NET_SET_MTU */
static void net_set_mtu(void *instance, uint16_t mtu)
{
    VdsNet *net = instance;

    net->told_mtu = mtu;
    if (net->burst) { /* features are taken */
        take_mtu(net);
    }
}

/* Anew with each DRIVER_OK; after a stop what commands had set goes on. */
static void take_features(VdsNet *net)
{
    VdsNetState *state = &net->state;

    state->features = vds_virtio_device_get_features(state->device);
    state->offloads = vds_net_offloads(&state->features);
    take_mtu(net);
    state->filter = g_new(VdsNetFilter, 1);
    vds_net_filter_reset(state->filter, net->mac);
    state->rss = g_new0(VdsNetRss, 1);
    state->filter->filters_vlans =
        vds_features_has(&state->features, VDS_NET_F_CTRL_VLAN);
    net->header_bytes = vds_net_header_bytes(&state->features);
    net->merges = vds_features_has(&state->features, VDS_NET_F_MRG_RXBUF);
    net->has_offload = vds_features_has(&state->features, VDS_NET_F_CSUM);
    if (state->peer->ops->set_offloads) {
        state->peer->ops->set_offloads(state->peer, &state->offloads);
    }
}

/* Kicks of receive queues matter while a frame waits for a buffer. */
static void calm_receive(VdsNet *net)
{
    for (unsigned i = 0; i < net->state.max_pairs; i++) {
        VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(net->state.device, 2 * i);

        if (queue && 2 * i != control_index(net)) {
            vds_virt_queue_set_eager(queue, false);
        }
    }
}

static void net_start(void *instance)
{
    VdsNet *net = instance;
    VdsNetPeer *peer = net->state.peer;
    g_autoptr(GError) error = NULL;

    if (!net->burst) {
        net->burst = g_malloc(BURST_BYTES);
        take_features(net);
    }
    calm_receive(net);
    if (peer->ops->start && !peer->ops->start(peer, &error)) {
        vds_virtio_device_break(net->state.device, "no network: %s", error->message);
        return;
    }
    net->active = true;
    vds_net_announce_late(net);
}

static void net_stop(void *instance)
{
    VdsNet *net = instance;

    net->active = false;
    if (net->state.peer->ops->stop) {
        net->state.peer->ops->stop(net->state.peer);
    }
}

static void net_queue_reset(void *instance, VdsVirtQueue *queue)
{
    VdsNet *net = instance;
    unsigned index = vds_virt_queue_get_index(queue);

    if (index % 2 == 0 && index != control_index(net)) {
        vds_net_held_drop(&net->held[index / 2]);
    }
}

static void net_queue_stop(void *instance, VdsVirtQueue *queue)
{
    VdsNet *net = instance;
    unsigned index = vds_virt_queue_get_index(queue);

    if (index % 2 == 0 && index != control_index(net)) {
        vds_net_held_return(&net->held[index / 2], queue);
    }
}

static void net_reset(void *instance)
{
    VdsNet *net = instance;
    VdsNetState *state = &net->state;

    for (unsigned i = 0; i < state->max_pairs; i++) {
        vds_net_held_drop(&net->held[i]);
    }
    if (state->peer->ops->reset) {
        state->peer->ops->reset(state->peer);
    }
    net->announces = false;
    g_clear_pointer(&net->burst, g_free);
    state->pairs = 1;
    g_clear_pointer(&state->filter, g_free);
    g_clear_pointer(&state->rss, g_free);
    vds_virtio_device_set_config(state->device, VDS_NET_CONFIG_MAC, net->mac,
                                 sizeof(net->mac));
    place_queues(net, true);
}

static void net_free(void *instance)
{
    VdsNet *net = instance;

    vds_net_peer_free(net->state.peer);
    for (unsigned i = 0; i < net->state.max_pairs; i++) {
        g_free(net->held[i].ios);
    }
    g_free(net->held);
    g_free(net->state.filter);
    g_free(net->state.rss);
    g_free(net->burst);
    g_free(net);
}

const VdsDeviceOps vds_net_ops = {
    .set_features = net_set_features,
    .validate = net_validate,
    .start = net_start,
    .handle = net_handle,
    .stop = net_stop,
    .reset = net_reset,
    .queue_reset = net_queue_reset,
    .queue_stop = net_queue_stop,
    .discards = net_discards,
    .set_mtu = net_set_mtu,
    .announce = vds_net_announce,
    .free = net_free,
};

VdsNet *vds_net_new(const VdsNetConfig *config)
{
    VdsNet *net = g_new0(VdsNet, 1);

    memcpy(net->mac, config->mac, sizeof(net->mac));
    net->n_queues = 2 * config->max_pairs + (config->control_size > 0);
    net->multiqueue = config->max_pairs > 1;
    net->rx_size = config->rx_size;
    net->tx_size = config->tx_size;
    net->control_size = config->control_size;
    net->config_mtu = config->mtu;
    net->held = g_new0(VdsNetHeld, config->max_pairs);
    net->state.peer = config->peer;
    net->state.peer->net = net;
    net->state.pairs = 1;
    net->state.max_pairs = config->max_pairs;
    return net;
}

VdsVirtioDevice **vds_net_device(VdsNet *net)
{
    return &net->state.device;
}
