/*
 * devices: virtio-net, frames of the peer into receive buffers (virtio 1.2, 5.1.6.3 and
 * 5.1.6.4).  On the device's I/O thread.  Buffers that are not enough for the frame that
 * waits are held until more come.  Refuses to know what the peer is.
 */
#include <string.h>

#include "net-priv.h"

enum {
    MAX_BUFFERS = 1024, /* of one frame */
    SMALL_BYTES = 512,
};

static void held_push(VdsNetHeld *held, VdsIo *io)
{
    if (held->n == held->room) {
        held->room = held->room ? 2 * held->room : 4;
        held->ios = g_renew(VdsIo *, held->ios, held->room);
    }
    held->ios[held->n++] = io;
    held->bytes += vds_stream_left(&io->in);
}

static void held_shift(VdsNetHeld *held, unsigned n)
{
    held->n -= n;
    memmove(held->ios, held->ios + n, held->n * sizeof(held->ios[0]));
    held->bytes = 0;
    for (unsigned i = 0; i < held->n; i++) {
        held->bytes += vds_stream_left(&held->ios[i]->in);
    }
}

/* Takes one more buffer out of the ring; false: there is none that could be used. */
static bool held_more(VdsNet *net, VdsNetHeld *held, VdsVirtQueue *queue)
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

static Room make_room(VdsNet *net, VdsNetHeld *held, VdsVirtQueue *queue, uint64_t bytes)
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

static unsigned count_buffers(const VdsNetHeld *held, uint64_t bytes)
{
    uint64_t have = 0;
    unsigned n = 0;

    while (have < bytes) {
        have += vds_stream_left(&held->ios[n++]->in);
    }
    return n;
}

/* One buffer is enough, and a copy costs less than a second access to guest memory. */
static void put_small(VdsNet *net, VdsIo *io, const uint8_t *header,
                      const VdsNetFrame *frame)
{
    uint8_t bytes[VDS_NET_HEADER_MAX + SMALL_BYTES];

    memcpy(bytes, header, net->header_bytes);
    memcpy(bytes + net->header_bytes, frame->bytes, frame->len);
    vds_stream_write(&io->in, bytes, net->header_bytes + frame->len);
}

/* Into as many buffers as it takes, which make_room() has seen to. */
static void put_frame(VdsNet *net, VdsNetHeld *held, VdsVirtQueue *queue,
                      const VdsNetFrame *frame, const VdsNetHash *hash)
{
    unsigned n = count_buffers(held, net->header_bytes + frame->len);
    uint8_t header[VDS_NET_HEADER_MAX];
    size_t at = 0;

    vds_net_header_fill(&net->state.offloads, frame, hash, n, header);
    if (n == 1 && frame->len <= SMALL_BYTES) {
        put_small(net, held->ios[0], header, frame);
        at = frame->len;
    } else {
        vds_stream_write(&held->ios[0]->in, header, net->header_bytes);
    }
    for (unsigned i = 0; i < n; i++) {
        VdsIo *io = held->ios[i];

        if (at < frame->len) {
            at += vds_stream_write(&io->in, frame->bytes + at, frame->len - at);
        }
        vds_virt_queue_complete(queue, io, vds_stream_done(&io->in));
    }
    held_shift(held, n);
    held->dirty = true;
    vds_net_count(&net->received);
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
    if (!vds_net_link_is_up(net)) {
        vds_net_count_drop(net);
        return true;
    }
    hash = vds_net_rss_hash(net->state.rss, frame->bytes, frame->len);
    queue = choose_queue(net, frame->pair, &hash);
    if (!queue || !vds_net_header_fits(&net->state.offloads, frame) ||
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

void vds_net_held_drop(VdsNetHeld *held)
{
    for (unsigned i = 0; i < held->n; i++) {
        vds_virt_queue_drop(held->ios[i]->queue, held->ios[i]);
    }
    g_clear_pointer(&held->ios, g_free);
    *held = (VdsNetHeld){0};
}

void vds_net_held_return(VdsNetHeld *held, VdsVirtQueue *queue)
{
    while (held->n > 0) {
        vds_virt_queue_unpop(queue, held->ios[--held->n]);
    }
    g_clear_pointer(&held->ios, g_free);
    *held = (VdsNetHeld){0};
}
