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

static void held_reserve(VdsNetHeld *held, unsigned more)
{
    if (held->n + more > held->room) {
        held->room = MAX(held->n + more, 2 * held->room);
        held->ios = g_renew(VdsIo *, held->ios, held->room);
    }
}

/* Takes up to `want` more buffers out of the ring; false: there is none that could be
 * used. */
static bool held_more(VdsNet *net, VdsNetHeld *held, VdsVirtQueue *queue, unsigned want)
{
    unsigned got;
    bool fit = true;

    held_reserve(held, want);
    got = (unsigned)vds_virt_queue_pop(queue, held->ios + held->n, want);
    for (unsigned i = 0; i < got; i++) {
        uint64_t bytes = vds_stream_left(&held->ios[held->n++]->in);

        held->bytes += bytes;
        if (bytes < net->header_bytes) {
            vds_virt_queue_break(queue,
                                 "5.1.6.3.1: a receive buffer of %" PRIu64
                                 " bytes, expected at least %u",
                                 bytes, net->header_bytes);
            fit = false;
        }
    }
    return got > 0 && fit;
}

typedef enum { ROOM, NO_ROOM, NEVER } Room;

/* In empty buffers, for a frame with `more` others behind it. */
static Room make_room(VdsNet *net, VdsNetHeld *held, VdsVirtQueue *queue, uint64_t bytes,
                      unsigned more)
{
    for (;;) {
        unsigned empty = held->n - held->used;

        if (empty > 0 &&
            bytes <= (net->merges ? held->bytes
                                  : vds_stream_left(&held->ios[held->used]->in))) {
            return ROOM;
        }
        if (empty > 0 && (!net->merges || empty >= MAX_BUFFERS)) {
            return NEVER;
        }
        if (!held_more(net, held, queue, MIN(more + 1, MAX_BUFFERS - empty))) {
            return NO_ROOM;
        }
    }
}

/* Behind the header in `bytes`. */
static void put_pieces(VdsNet *net, VdsIo *const *ios, unsigned n, const uint8_t *bytes,
                       const VdsNetFrame *frame)
{
    size_t at = 0;

    vds_stream_write(&ios[0]->in, bytes, net->header_bytes);
    for (unsigned i = 0; i < n && at < frame->len; i++) {
        at += vds_stream_write(&ios[i]->in, frame->bytes + at, frame->len - at);
    }
}

/* Into as many buffers as it takes, which make_room() has seen to. */
static void put_frame(VdsNet *net, VdsNetHeld *held, const VdsNetFrame *frame,
                      const VdsNetHash *hash)
{
    VdsIo *const *ios = held->ios + held->used;
    size_t len = net->header_bytes + frame->len;
    uint64_t have = vds_stream_left(&ios[0]->in);
    uint8_t bytes[VDS_NET_HEADER_MAX + SMALL_BYTES];
    unsigned n = 1;

    while (have < len) {
        have += vds_stream_left(&ios[n++]->in);
    }
    vds_net_header_fill(&net->state.offloads, frame, hash, n, bytes);
    if (n == 1 && frame->len <= SMALL_BYTES) {
        /* A copy costs less than a second access to guest memory. */
        memcpy(bytes + net->header_bytes, frame->bytes, frame->len);
        vds_stream_write(&ios[0]->in, bytes, len);
    } else {
        put_pieces(net, ios, n, bytes, frame);
    }
    held->used += n;
    held->bytes -= have;
}

/* Gives back those with frames in them; the empty ones wait on with a frame that is
 * larger than they are, or else go back into the ring. */
static void held_settle(VdsNetHeld *held, VdsVirtQueue *queue, bool waits)
{
    if (held->used > 0) {
        vds_virt_queue_complete_all(queue, held->ios, held->used);
        held->dirty = true;
        held->n -= held->used;
        memmove(held->ios, held->ios + held->used, held->n * sizeof(held->ios[0]));
        held->used = 0;
    }
    while (!waits && held->n > 0) {
        held->bytes -= vds_stream_left(&held->ios[--held->n]->in);
        vds_virt_queue_unpop(queue, held->ios[held->n]);
    }
}

/* A frame that came in, and where it belongs. */
typedef struct {
    const VdsNetFrame *frame;
    VdsVirtQueue *queue; /* (nullable) nobody wants it */
    VdsNetHash hash;
} Arrival;

/* n of them for one queue.  How many are done with; fewer than n: no room. */
static unsigned place(VdsNet *net, const Arrival *arrivals, unsigned n)
{
    VdsVirtQueue *queue = arrivals[0].queue;
    VdsNetHeld *held = &net->held[vds_virt_queue_get_index(queue) / 2];
    unsigned i, received = 0;
    Room room = ROOM;

    for (i = 0; i < n; i++) {
        const VdsNetFrame *frame = arrivals[i].frame;

        room = make_room(net, held, queue, net->header_bytes + frame->len, n - i - 1);
        if (room == NO_ROOM) {
            break;
        }
        if (room == ROOM) {
            put_frame(net, held, frame, &arrivals[i].hash);
            received++;
        }
    }
    held_settle(held, queue, room == NO_ROOM);
    vds_net_count(&net->received, received);
    if (i > received) {
        vds_net_count_drops(net, i - received);
    }
    return i;
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

static Arrival judge(const VdsNet *net, const VdsNetFrame *frame)
{
    const VdsNetState *state = &net->state;
    Arrival arrival = {.frame = frame};

    arrival.hash = vds_net_rss_hash(state->rss, frame->bytes, frame->len);
    if (vds_net_header_fits(&state->offloads, frame) &&
        vds_net_header_fits_mtu(state->mtu, frame) &&
        vds_net_filter_accepts(state->filter, frame->bytes, frame->len)) {
        arrival.queue = choose_queue(net, frame->pair, &arrival.hash);
    }
    return arrival;
}

/* How many from the first on go the same way. */
static unsigned count_run(const Arrival *arrivals, unsigned n)
{
    unsigned run = 1;

    while (run < n && arrivals[run].queue == arrivals[0].queue) {
        run++;
    }
    return run;
}

unsigned vds_net_receive(VdsNet *net, const VdsNetFrame *frames, unsigned n)
{
    Arrival arrivals[VDS_NET_BURST];
    unsigned done = 0, run, placed;

    g_assert(n <= VDS_NET_BURST);
    if (!net->active) {
        return 0;
    }
    if (!vds_net_link_is_up(net)) {
        vds_net_count_drops(net, n);
        return n;
    }
    for (unsigned i = 0; i < n; i++) {
        arrivals[i] = judge(net, &frames[i]);
    }
    for (run = placed = 0; done < n && placed == run; done += placed) {
        run = count_run(arrivals + done, n - done);
        placed = arrivals[done].queue ? place(net, arrivals + done, run)
                                      : run; /* as if they had never been sent */
    }
    return done;
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
