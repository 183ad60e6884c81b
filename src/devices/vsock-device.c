/*
 * devices: virtio-vsock at work (virtio 1.2, 5.10): packets out of the transmit queue to
 * another device of this process or to sockets of the host, and what waits for the driver
 * into its receive queue.  All of it on the device's I/O thread.  Refuses to know what
 * connections are: packets that nobody takes are answered with RST (5.10.6.3).
 *
 * The event queue is there; what it is for (the transport lost its connections behind the
 * driver's back) does not happen here.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "vsock-priv.h"

enum { RX, TX, EVENT };
enum {
    BATCH = 32,
    TURN = 256, /* packets to the driver before the other devices' turn */
};

struct VdsVsock {
    VdsVirtioDevice *device;
    uint64_t cid;
    VdsVsockHub *hub;
    VdsVsockPort *port;
    VdsVsockHost *host;   /* (nullable) */
    VdsIoWatch *watch;    /* (nullable) of the port, from start to stop */
    VdsVsockPacket *held; /* (nullable) out of the port, delivered in part */
    uint8_t *payload;     /* (nullable) VDS_VSOCK_MAX_PAYLOAD bytes */
    _Atomic uint64_t drops;
};

static void count_drop(VdsVsock *vsock)
{
    atomic_fetch_add_explicit(&vsock->drops, 1, memory_order_relaxed);
}

uint64_t vds_vsock_get_drops(const VdsVsock *vsock)
{
    return atomic_load_explicit(&vsock->drops, memory_order_relaxed);
}

/* ---- to the driver
 * ---------------------------------------------------------------------
 */

/* As much of the packet as the buffer takes: a stream is cut anywhere, and the marks of a
 * message stand in its last piece. */
static uint64_t put_packet(VdsVsockPacket *packet, VdsIo *io)
{
    uint64_t room = vds_stream_left(&io->in) - VDS_VSOCK_HEADER_BYTES;
    VdsVsockHeader header = packet->header;
    uint8_t bytes[VDS_VSOCK_HEADER_BYTES];

    header.len = (uint32_t)MIN(room, packet->header.len - packet->at);
    if (packet->at + header.len < packet->header.len) {
        header.flags &= ~(uint32_t)VDS_VSOCK_SEQ_ENDS;
    }
    vds_vsock_header_write(&header, bytes);
    vds_stream_write(&io->in, bytes, sizeof(bytes));
    vds_stream_write(&io->in, packet->bytes + packet->at, header.len);
    packet->at += header.len;
    return vds_stream_done(&io->in);
}

static bool fits(VdsVsock *vsock, const VdsVsockPacket *packet, const VdsIo *io)
{
    unsigned need = VDS_VSOCK_HEADER_BYTES + (packet->header.len > 0 ? 1u : 0u);
    uint64_t room = vds_stream_left(&io->in);

    if (room >= need) {
        return true;
    }
    vds_virt_queue_break(io->queue,
                         "5.10.6.1: a receive buffer of %" PRIu64
                         " bytes, expected at least %u",
                         room, need);
    return false;
}

/* false: nothing waits, or there is no buffer. */
static bool deliver_one(VdsVsock *vsock, VdsVirtQueue *queue)
{
    uint64_t written = 0;
    VdsIo *io;

    if (!vsock->held && !(vsock->held = vds_vsock_port_shift(vsock->port))) {
        return false;
    }
    io = vds_virt_queue_pop_one(queue);
    if (!io) {
        return false;
    }
    if (fits(vsock, vsock->held, io)) {
        written = put_packet(vsock->held, io);
        if (vsock->held->at == vsock->held->header.len) {
            g_clear_pointer(&vsock->held, g_free);
        }
    }
    vds_virt_queue_complete(queue, io, written);
    return written > 0;
}

static void deliver(VdsVsock *vsock)
{
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(vsock->device, RX);
    unsigned n = 0;

    while (queue && n < TURN && deliver_one(vsock, queue)) {
        n++;
    }
    if (queue && n > 0) {
        vds_virt_queue_flush(queue);
    }
    if (n == TURN) {
        (void)eventfd_write(vds_vsock_port_get_fd(vsock->port), 1);
    }
    if (vsock->host && n > 0 && !vds_vsock_port_is_busy(vsock->port)) {
        vds_vsock_host_wake(vsock->host);
    }
}

static void on_port(uint32_t events, void *user)
{
    VdsVsock *vsock = user;
    eventfd_t count;

    (void)eventfd_read(vds_vsock_port_get_fd(vsock->port), &count);
    deliver(vsock);
}

/* ---- from the driver ------------------------------------------------------------------
 */

static void reset_connection(VdsVsock *vsock, const VdsVsockHeader *header)
{
    VdsVsockHeader answer = vds_vsock_header_answer(header, VDS_VSOCK_RST);

    if (header->op != VDS_VSOCK_RST) {
        vds_vsock_hub_send(vsock->hub, vds_vsock_packet_new(&answer, NULL));
    }
}

static bool is_known(const VdsVsockHeader *header)
{
    return header->op >= VDS_VSOCK_REQUEST && header->op <= VDS_VSOCK_CREDIT_REQUEST &&
           (header->type == VDS_VSOCK_STREAM || header->type == VDS_VSOCK_SEQPACKET);
}

/* By its destination.  A packet in another's name is dropped: an answer would go to that
 * other one. */
static void route(VdsVsock *vsock, const VdsVsockHeader *header)
{
    if (header->src_cid != vsock->cid) {
        count_drop(vsock);
    } else if (header->dst_cid == VDS_VSOCK_HOST_CID && vsock->host &&
               header->type == VDS_VSOCK_STREAM) {
        vds_vsock_host_take(vsock->host, header, vsock->payload);
    } else if (!is_known(header) || header->dst_cid == vsock->cid) {
        reset_connection(vsock, header);
    } else if (!vds_vsock_hub_send(vsock->hub,
                                   vds_vsock_packet_new(header, vsock->payload))) {
        reset_connection(vsock, header);
    }
}

static void transmit(VdsVsock *vsock, VdsIo *io)
{
    uint8_t bytes[VDS_VSOCK_HEADER_BYTES];
    size_t n = vds_stream_read(&io->out, bytes, sizeof(bytes));
    VdsVsockHeader header;

    if (n < sizeof(bytes)) {
        vds_virt_queue_break(io->queue, "5.10.6: a header of %zu bytes, expected %d", n,
                             VDS_VSOCK_HEADER_BYTES);
        return;
    }
    vds_vsock_header_read(&header, bytes);
    if (header.len > VDS_VSOCK_MAX_PAYLOAD || header.len > vds_stream_left(&io->out)) {
        vds_virt_queue_break(
            io->queue,
            "5.10.6: a packet of %u bytes in a buffer of %" PRIu64 " (at most %d)",
            header.len, vds_stream_left(&io->out), VDS_VSOCK_MAX_PAYLOAD);
        return;
    }
    if (vds_stream_read(&io->out, vsock->payload, header.len) == header.len) {
        route(vsock, &header);
    }
}

static void handle_transmit(VdsVsock *vsock, VdsVirtQueue *queue)
{
    VdsIo *ios[BATCH];
    size_t n;

    do {
        n = vds_virt_queue_pop(queue, ios, BATCH);
        for (size_t i = 0; i < n; i++) {
            transmit(vsock, ios[i]);
            vds_virt_queue_complete(queue, ios[i], 0);
        }
    } while (n == BATCH);
    deliver(vsock); /* what was answered at once */
}

static void vsock_handle(void *instance, VdsVirtQueue *queue)
{
    VdsVsock *vsock = instance;
    unsigned index = vds_virt_queue_get_index(queue);

    if (!vsock->watch) {
        return;
    }
    if (index == TX) {
        handle_transmit(vsock, queue);
    } else if (index == RX) {
        deliver(vsock);
    }
}

/* ---- life
 * ------------------------------------------------------------------------------
 */

/* Kicks of the receive queue matter while a packet waits for a buffer. */
static void calm(VdsVsock *vsock)
{
    static const unsigned queues[] = {RX, EVENT};

    for (size_t i = 0; i < G_N_ELEMENTS(queues); i++) {
        VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(vsock->device, queues[i]);

        if (queue) {
            vds_virt_queue_set_eager(queue, false);
        }
    }
}

static bool start(VdsVsock *vsock, GError **error)
{
    VdsIoThread *thread = vds_virtio_device_get_io_thread(vsock->device);

    if (!vds_vsock_port_open(vsock->port, error) ||
        (vsock->host && !vds_vsock_host_start(vsock->host, thread, error))) {
        return false;
    }
    vsock->watch = vds_io_watch_new(thread, vds_vsock_port_get_fd(vsock->port), EPOLLIN,
                                    on_port, vsock, error);
    return vsock->watch != NULL;
}

static void vsock_start(void *instance)
{
    VdsVsock *vsock = instance;
    g_autoptr(GError) error = NULL;

    if (!vsock->payload) {
        vsock->payload = g_malloc(VDS_VSOCK_MAX_PAYLOAD);
    }
    calm(vsock);
    if (!start(vsock, &error)) {
        vds_virtio_device_break(vsock->device, "no sockets: %s", error->message);
    }
}

/* What arrives meanwhile waits. */
static void vsock_stop(void *instance)
{
    VdsVsock *vsock = instance;

    vds_io_watch_free(g_steal_pointer(&vsock->watch));
    if (vsock->host) {
        vds_vsock_host_stop(vsock->host);
    }
}

static void vsock_reset(void *instance)
{
    VdsVsock *vsock = instance;

    if (vsock->host) {
        vds_vsock_host_reset(vsock->host);
    }
    vds_vsock_port_close(vsock->port);
    g_clear_pointer(&vsock->held, g_free);
    g_clear_pointer(&vsock->payload, g_free);
}

static void vsock_free(void *instance)
{
    VdsVsock *vsock = instance;

    vds_vsock_host_free(vsock->host);
    vds_vsock_port_free(vsock->port);
    g_free(vsock->held);
    g_free(vsock->payload);
    g_free(vsock);
}

const VdsDeviceOps vds_vsock_ops = {
    .start = vsock_start,
    .handle = vsock_handle,
    .stop = vsock_stop,
    .reset = vsock_reset,
    .free = vsock_free,
};

VdsVsock *vds_vsock_new(const VdsVsockConfig *config)
{
    VdsVsock *vsock = g_new0(VdsVsock, 1);

    vsock->cid = config->cid;
    vsock->hub = config->hub;
    vsock->port = config->port;
    vsock->host = config->host;
    return vsock;
}

VdsVirtioDevice **vds_vsock_device(VdsVsock *vsock)
{
    return &vsock->device;
}
