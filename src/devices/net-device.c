/*
 * devices: virtio-net at work (virtio 1.2, 5.1): frames out of transmit queues to the
 * peer, frames of the peer into receive queues, commands out of the control queue.  All
 * of it on the device's I/O thread.  Refuses to know descriptors and what the peer is.
 *
 * Receive buffers that are not enough for the frame that waits are held until more come.
 */
#include <stdatomic.h>
#include <string.h>

#include "net-priv.h"

enum {
    BATCH = 32,
    MAX_BUFFERS = 1024, /* of one frame */
    HEADER_LEGACY = VDS_NET_HEADER_BYTES,
    HEADER_MODERN = VDS_NET_HEADER_BYTES + 2, /* num_buffers */
    HEADER_HASH = HEADER_MODERN + 8,          /* hash value, type and padding */
    FLAG_NEEDS_CSUM = 1,
    FLAG_DATA_VALID = 2,
    GSO_ECN = 0x80,
};

/* Receive buffers of one pair that are out of the ring. */
typedef struct {
    VdsIo **ios;
    unsigned n, room;
    uint64_t bytes;
    bool dirty; /* has completions to flush */
} Held;

struct VdsNet {
    VdsNetState state;              /* pairs, filter, features: what commands change */
    uint8_t mac[VDS_NET_MAC_BYTES]; /* after a reset */
    unsigned n_queues;              /* of all pairs, and the control queue */
    uint16_t rx_size, tx_size, control_size;
    bool active;
    bool multiqueue; /* the control queue stands behind all pairs */
    unsigned header_bytes;
    bool merges;      /* MRG_RXBUF */
    bool has_offload; /* the driver may leave checksums to us: CSUM */
    Held *held;       /* max_pairs */
    uint8_t *frame;   /* (nullable) VDS_NET_MAX_FRAME bytes, from the first start */
    _Atomic uint64_t drops;
};

void vds_net_count_drop(VdsNet *net)
{
    atomic_fetch_add_explicit(&net->drops, 1, memory_order_relaxed);
}

uint64_t vds_net_get_drops(const VdsNet *net)
{
    return atomic_load_explicit(&net->drops, memory_order_relaxed);
}

bool vds_net_is_connected(const VdsNet *net)
{
    return net->state.peer->ops->connected;
}

/* ---- headers ------------------------------------------------------------------------
 */

static unsigned get_le16(const uint8_t *bytes)
{
    return (unsigned)(bytes[0] | bytes[1] << 8);
}

/* What each kind of large packet asks of the receiver; either feature will do. */
static const struct {
    uint8_t type, feature, other;
} gso_rules[] = {
    {1, VDS_NET_F_GUEST_TSO4, VDS_NET_F_GUEST_TSO4},
    {3, VDS_NET_F_GUEST_UFO, VDS_NET_F_GUEST_UFO},
    {4, VDS_NET_F_GUEST_TSO6, VDS_NET_F_GUEST_TSO6},
    {5, VDS_NET_F_GUEST_USO4, VDS_NET_F_GUEST_USO6},
};

static bool gso_fits(const VdsFeatures *offloads, unsigned type)
{
    if ((type & GSO_ECN) && !vds_features_has(offloads, VDS_NET_F_GUEST_ECN)) {
        return false;
    }
    type &= ~(unsigned)GSO_ECN;
    for (size_t i = 0; i < G_N_ELEMENTS(gso_rules); i++) {
        if (gso_rules[i].type == type) {
            return vds_features_has(offloads, gso_rules[i].feature) ||
                   vds_features_has(offloads, gso_rules[i].other);
        }
    }
    return type == 0;
}

/* A checksum that is still to be made lies inside the frame; and the receiver can take
 * what the sender left to somebody else. */
static bool header_fits(const VdsNet *net, const VdsNetFrame *frame)
{
    const VdsFeatures *offloads = &net->state.offloads;
    const uint8_t *header = frame->header;

    if ((header[0] & FLAG_NEEDS_CSUM) &&
        (!vds_features_has(offloads, VDS_NET_F_GUEST_CSUM) ||
         get_le16(header + 6) + get_le16(header + 8) + 2 > frame->len)) {
        return false;
    }
    return gso_fits(offloads, header[1]);
}

/* num_buffers is 1 even where buffers are not merged (virtio 1.2, 5.1.6.4.1). */
static void header_fill(const VdsNet *net, const VdsNetFrame *frame,
                        const VdsNetHash *hash, unsigned n_buffers,
                        uint8_t to[HEADER_HASH])
{
    memset(to, 0, HEADER_HASH);
    memcpy(to, frame->header, VDS_NET_HEADER_BYTES);
    if (!vds_features_has(&net->state.offloads, VDS_NET_F_GUEST_CSUM)) {
        to[0] &= (uint8_t)~FLAG_DATA_VALID;
    }
    to[10] = (uint8_t)n_buffers;
    to[11] = (uint8_t)(n_buffers >> 8);
    for (unsigned i = 0; i < 4; i++) {
        to[12 + i] = (uint8_t)(hash->value >> (8 * i));
    }
    to[16] = (uint8_t)hash->report;
}

/* ---- receiving ------------------------------------------------------------------------
 */

static void held_push(Held *held, VdsIo *io)
{
    if (held->n == held->room) {
        held->room = held->room ? 2 * held->room : 4;
        held->ios = g_renew(VdsIo *, held->ios, held->room);
    }
    held->ios[held->n++] = io;
    held->bytes += vds_stream_left(&io->in);
}

static void held_shift(Held *held, unsigned n)
{
    held->n -= n;
    memmove(held->ios, held->ios + n, held->n * sizeof(held->ios[0]));
    held->bytes = 0;
    for (unsigned i = 0; i < held->n; i++) {
        held->bytes += vds_stream_left(&held->ios[i]->in);
    }
}

/* Takes one more buffer out of the ring; false: there is none that could be used. */
static bool held_more(VdsNet *net, Held *held, VdsVirtQueue *queue)
{
    VdsIo *io = vds_virt_queue_pop_one(queue);

    if (!io) {
        return false;
    }
    held_push(held, io);
    if (vds_stream_left(&io->in) == 0 ||
        vds_stream_left(&held->ios[0]->in) < net->header_bytes) {
        vds_virtio_device_break(
            net->state.device,
            "5.1.6.3.2: a receive buffer of %" PRIu64 " bytes in queue %u",
            vds_stream_left(&io->in), vds_virt_queue_get_index(queue));
        return false;
    }
    return true;
}

typedef enum { ROOM, NO_ROOM, NEVER } Room;

static Room make_room(VdsNet *net, Held *held, VdsVirtQueue *queue, uint64_t bytes)
{
    while (held->bytes < bytes) {
        if (held->n > 0 && (!net->merges || held->n == MAX_BUFFERS)) {
            return NEVER;
        }
        if (!held_more(net, held, queue)) {
            return NO_ROOM;
        }
    }
    return ROOM;
}

static unsigned count_buffers(const Held *held, uint64_t bytes)
{
    uint64_t have = 0;
    unsigned n = 0;

    while (have < bytes) {
        have += vds_stream_left(&held->ios[n++]->in);
    }
    return n;
}

/* Into as many buffers as it takes, which make_room() has seen to. */
static void put_frame(VdsNet *net, Held *held, VdsVirtQueue *queue,
                      const VdsNetFrame *frame, const VdsNetHash *hash)
{
    unsigned n = count_buffers(held, net->header_bytes + frame->len);
    uint8_t header[HEADER_HASH];
    size_t at = 0;

    header_fill(net, frame, hash, n, header);
    vds_stream_write(&held->ios[0]->in, header, net->header_bytes);
    for (unsigned i = 0; i < n; i++) {
        VdsIo *io = held->ios[i];

        at += vds_stream_write(&io->in, frame->bytes + at, frame->len - at);
        vds_virt_queue_complete(queue, io, vds_stream_done(&io->in));
    }
    held_shift(held, n);
    held->dirty = true;
}

/* A driver with a control queue says there how many pairs it uses, or which by hash; one
 * that keeps these commands to itself enables and disables queues, and the next enabled
 * one takes the frame.  (nullable) */
static VdsVirtQueue *choose_queue(const VdsNet *net, unsigned pair,
                                  const VdsNetHash *hash)
{
    const VdsNetState *state = &net->state;
    unsigned tries = net->control_size > 0 ? 1 : state->max_pairs;

    if (state->rss->redirects) {
        pair = vds_net_rss_pair(state->rss, hash);
    } else if (net->control_size > 0) {
        pair %= state->pairs;
    }
    for (unsigned i = 0; i < tries; i++) {
        unsigned n = 2 * ((pair + i) % state->max_pairs);
        VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(state->device, n);

        if (queue && vds_virt_queue_is_enabled(queue)) {
            return queue;
        }
    }
    return NULL;
}

bool vds_net_receive(VdsNet *net, const VdsNetFrame *frame)
{
    VdsVirtQueue *queue;
    VdsNetHash hash;
    unsigned pair;
    Room room;

    if (!net->active) {
        return false;
    }
    hash = vds_net_rss_hash(net->state.rss, frame->bytes, frame->len);
    queue = choose_queue(net, frame->pair, &hash);
    if (!queue || !header_fits(net, frame) ||
        !vds_net_filter_accepts(net->state.filter, frame->bytes, frame->len)) {
        return true; /* as if it had never been sent */
    }
    pair = vds_virt_queue_get_index(queue) / 2;
    room = make_room(net, &net->held[pair], queue, net->header_bytes + frame->len);
    if (room == ROOM) {
        put_frame(net, &net->held[pair], queue, frame, &hash);
    } else if (room == NEVER) {
        vds_net_count_drop(net);
    }
    return room != NO_ROOM;
}

void vds_net_receive_end(VdsNet *net)
{
    for (unsigned i = 0; i < net->state.max_pairs; i++) {
        if (net->held[i].dirty) {
            net->held[i].dirty = false;
            vds_virt_queue_flush(
                vds_virtio_device_get_virt_queue(net->state.device, 2 * i));
        }
    }
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

/* false: it breaks the device. */
static bool transmit(VdsNet *net, VdsIo *io, unsigned pair)
{
    uint8_t header[HEADER_HASH];
    VdsNetFrame frame = {.pair = pair, .bytes = net->frame};

    if (vds_stream_read(&io->out, header, net->header_bytes) < net->header_bytes) {
        vds_virtio_device_break(net->state.device,
                                "5.1.6.2: a header of less than %u bytes in queue %u",
                                net->header_bytes, 2 * pair + 1);
        return false;
    }
    if (net->has_offload) {
        memcpy(frame.header, header, VDS_NET_HEADER_BYTES);
    }
    if (vds_stream_left(&io->out) > VDS_NET_MAX_FRAME) {
        vds_net_count_drop(net);
        return true;
    }
    frame.len = vds_stream_read(&io->out, net->frame, VDS_NET_MAX_FRAME);
    if (frame.len > 0) {
        net->state.peer->ops->send(net->state.peer, &frame);
    }
    return true;
}

static void handle_transmit(VdsNet *net, VdsVirtQueue *queue)
{
    unsigned pair = vds_virt_queue_get_index(queue) / 2;
    VdsIo *ios[BATCH];
    size_t n;

    do {
        n = vds_virt_queue_pop(queue, ios, BATCH);
        for (size_t i = 0; i < n; i++) {
            transmit(net, ios[i], pair);
            vds_virt_queue_complete(queue, ios[i], 0);
        }
    } while (n == BATCH);
    vds_net_receive_end(net);
}

static void handle_control(VdsNet *net, VdsVirtQueue *queue)
{
    VdsIo *io;

    while ((io = vds_virt_queue_pop_one(queue))) {
        const char *wrong = vds_net_control(&net->state, io);

        if (wrong) {
            vds_virtio_device_break(net->state.device, "%s", wrong);
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
    } else {
        handle_transmit(net, queue);
    }
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

static unsigned header_bytes(const VdsFeatures *features)
{
    if (vds_features_has(features, VDS_NET_F_HASH_REPORT)) {
        return HEADER_HASH;
    }
    return vds_features_has(features, VDS_F_VERSION_1) ||
                   vds_features_has(features, VDS_NET_F_MRG_RXBUF)
               ? HEADER_MODERN
               : HEADER_LEGACY;
}

/* Anew with each DRIVER_OK; after a stop what commands had set goes on. */
static void take_features(VdsNet *net)
{
    VdsNetState *state = &net->state;

    state->features = vds_virtio_device_get_features(state->device);
    state->offloads = vds_net_offloads(&state->features);
    state->filter = g_new(VdsNetFilter, 1);
    vds_net_filter_reset(state->filter, net->mac);
    state->rss = g_new0(VdsNetRss, 1);
    state->filter->filters_vlans =
        vds_features_has(&state->features, VDS_NET_F_CTRL_VLAN);
    net->header_bytes = header_bytes(&state->features);
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

    if (!net->frame) {
        net->frame = g_malloc(VDS_NET_MAX_FRAME);
        take_features(net);
    }
    calm_receive(net);
    if (peer->ops->start && !peer->ops->start(peer, &error)) {
        vds_virtio_device_break(net->state.device, "no network: %s", error->message);
        return;
    }
    net->active = true;
}

static void net_stop(void *instance)
{
    VdsNet *net = instance;

    net->active = false;
    if (net->state.peer->ops->stop) {
        net->state.peer->ops->stop(net->state.peer);
    }
}

static void held_drop(Held *held)
{
    for (unsigned i = 0; i < held->n; i++) {
        vds_virt_queue_drop(held->ios[i]->queue, held->ios[i]);
    }
    g_clear_pointer(&held->ios, g_free);
    *held = (Held){0};
}

static void net_queue_reset(void *instance, VdsVirtQueue *queue)
{
    VdsNet *net = instance;
    unsigned index = vds_virt_queue_get_index(queue);

    if (index % 2 == 0 && index != control_index(net)) {
        held_drop(&net->held[index / 2]);
    }
}

/* Buffers that no frame has come for. */
static void net_queue_stop(void *instance, VdsVirtQueue *queue)
{
    VdsNet *net = instance;
    unsigned index = vds_virt_queue_get_index(queue);
    Held *held;

    if (index % 2 != 0 || index == control_index(net)) {
        return;
    }
    held = &net->held[index / 2];
    while (held->n > 0) {
        vds_virt_queue_unpop(queue, held->ios[--held->n]);
    }
    g_clear_pointer(&held->ios, g_free);
    *held = (Held){0};
}

static void net_reset(void *instance)
{
    VdsNet *net = instance;
    VdsNetState *state = &net->state;

    for (unsigned i = 0; i < state->max_pairs; i++) {
        held_drop(&net->held[i]);
    }
    if (state->peer->ops->reset) {
        state->peer->ops->reset(state->peer);
    }
    g_clear_pointer(&net->frame, g_free);
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
    g_free(net->frame);
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
    net->held = g_new0(Held, config->max_pairs);
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
