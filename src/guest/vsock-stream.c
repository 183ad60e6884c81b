/*
 * guest: virtio sockets above their packets: port 7 gives back what it gets, and the
 * workload talks to that port of its neighbours and of the host, and checks what comes
 * back.  Streams only, as if nobody listened for anything else.  Refuses to know rings.
 * virtio 1.2, 5.10.6.3 (credit), 5.10.6.5 and 5.10.6.6 (opening, data, closing).
 */
#include <string.h>

#include "vsock-priv.h"

enum {
    WINDOW = VDS_GUEST_VSOCK_WINDOW,
    PIECE = 256,           /* bytes of one packet of the workload's */
    UNDER_WAY = 16 * 1024, /* of these at most */
    WHOLE = 256 * 1024,    /* bytes; then another connection */
    PATIENCE = 1000,       /* ticks without an answer */
    FIRST_PORT = 1024,
    HOST_CID = 2,
    PAYLOAD = 4096,
};

typedef enum {
    ASKED,  /* our REQUEST is on its way */
    OPEN,   /* both directions, or ours at least */
    ENDING, /* the other end has no more; ours ends when all is sent */
    SHUT,   /* nothing any more: their RST is the end */
} Phase;

struct VdsGuestStream {
    VdsGuestStream *next;
    Phase phase;
    bool asks; /* the workload's; else an echo */
    uint64_t cid;
    uint32_t port, own_port;
    /* Credit: all of these count bytes, modulo 2^32. */
    uint32_t peer_alloc, peer_taken, sent;
    uint32_t received, taken, told;
    bool owes_response, owes_credit, owes_end, owes_reset;
    unsigned waited; /* ticks */
    uint8_t bytes[]; /* an echo's: those of [taken, received) at their place in WINDOW */
};

/* ---- the list --------------------------------------------------------------------- */

static VdsGuestStream *find(const VdsGuestVsock *vsock, const VdsGuestVsockHeader *header)
{
    VdsGuestStream *stream = vsock->streams;

    while (stream &&
           (stream->cid != header->src_cid || stream->port != header->src_port ||
            stream->own_port != header->dst_port)) {
        stream = stream->next;
    }
    return stream;
}

static void remove_stream(VdsGuestVsock *vsock, VdsGuestStream *stream)
{
    VdsGuestStream **at = &vsock->streams;

    while (*at != stream) {
        at = &(*at)->next;
    }
    *at = stream->next;
    vsock->n_streams--;
    if (vsock->asking == stream) {
        vsock->asking = NULL;
    }
    g_free(stream);
}

/* Who waits for the other end's last word is the first to go. */
static bool make_room(VdsGuestVsock *vsock)
{
    if (vsock->n_streams < VDS_GUEST_VSOCK_CONNECTIONS) {
        return true;
    }
    for (VdsGuestStream *stream = vsock->streams; stream; stream = stream->next) {
        if (stream->phase == SHUT) {
            remove_stream(vsock, stream);
            return true;
        }
    }
    return false;
}

/* (nullable) there are too many */
static VdsGuestStream *add_stream(VdsGuestVsock *vsock, bool asks)
{
    VdsGuestStream *stream;

    if (!make_room(vsock)) {
        return NULL;
    }
    stream = g_malloc0(sizeof(*stream) + (asks ? 0 : WINDOW));
    stream->asks = asks;
    stream->next = vsock->streams;
    vsock->streams = stream;
    vsock->n_streams++;
    return stream;
}

void vds_guest_vsock_forget(VdsGuestVsock *vsock)
{
    while (vsock->streams) {
        remove_stream(vsock, vsock->streams);
    }
}

/* ---- sending ---------------------------------------------------------------------- */

static bool send_packet(VdsGuestDevice *device, VdsGuestStream *stream,
                        VdsGuestVsockOp op, uint32_t flags, const uint8_t *data,
                        uint32_t len)
{
    const VdsGuestVsock *vsock = device->state;
    const VdsGuestVsockHeader header = {
        .src_cid = vsock->cid,
        .dst_cid = stream->cid,
        .src_port = stream->own_port,
        .dst_port = stream->port,
        .len = len,
        .type = VDS_GUEST_VSOCK_STREAM,
        .op = (uint16_t)op,
        .flags = flags,
        .buf_alloc = WINDOW,
        .fwd_cnt = stream->taken,
    };

    if (!vds_guest_vsock_send(device, &header, data)) {
        return false;
    }
    stream->told = stream->taken;
    stream->owes_credit = false;
    return true;
}

static bool send_word(VdsGuestDevice *device, VdsGuestStream *stream, VdsGuestVsockOp op)
{
    return send_packet(device, stream, op, 0, NULL, 0);
}

/* Never more than was given, whatever the other end says it took. */
static uint32_t get_credit(const VdsGuestStream *stream)
{
    uint32_t under_way = stream->sent - stream->peer_taken;

    return under_way < stream->peer_alloc ? stream->peer_alloc - under_way : 0;
}

static bool send_echo(VdsGuestDevice *device, VdsGuestStream *stream)
{
    uint32_t at = stream->taken % WINDOW;
    uint32_t n = MIN(MIN(stream->received - stream->taken, WINDOW - at),
                     MIN(get_credit(stream), PAYLOAD));

    stream->taken += n;
    if (send_packet(device, stream, VDS_GUEST_VSOCK_RW, 0, stream->bytes + at, n)) {
        stream->sent += n;
        vds_guest_device_count(device);
        return true;
    }
    stream->taken -= n;
    return false;
}

static bool has_data(const VdsGuestStream *stream)
{
    return !stream->asks && stream->received != stream->taken;
}

/* One packet, if there is anything to say.  *gone: the stream is no more. */
static bool say(VdsGuestDevice *device, VdsGuestStream *stream, bool *gone)
{
    *gone = false;
    if (stream->owes_reset) {
        *gone = send_word(device, stream, VDS_GUEST_VSOCK_RST);
        if (*gone) {
            remove_stream(device->state, stream);
        }
        return *gone;
    }
    if (stream->owes_response) {
        stream->owes_response = !send_word(device, stream, VDS_GUEST_VSOCK_RESPONSE);
        return !stream->owes_response;
    }
    if (has_data(stream) && stream->phase != SHUT && get_credit(stream) > 0) {
        return send_echo(device, stream);
    }
    if (stream->owes_end || (stream->phase == ENDING && !has_data(stream))) {
        stream->owes_end = !send_packet(device, stream, VDS_GUEST_VSOCK_SHUTDOWN,
                                        VDS_GUEST_VSOCK_NOTHING, NULL, 0);
        stream->phase = stream->owes_end ? stream->phase : SHUT;
        return !stream->owes_end;
    }
    return stream->owes_credit &&
           send_word(device, stream, VDS_GUEST_VSOCK_CREDIT_UPDATE);
}

void vds_guest_vsock_pump(VdsGuestDevice *device)
{
    const VdsGuestVsock *vsock = device->state;
    VdsGuestStream *next;

    for (VdsGuestStream *stream = vsock->streams; stream; stream = next) {
        bool gone = false;

        next = stream->next;
        while (!gone && say(device, stream, &gone)) {
            /* there may be more */
        }
    }
}

/* ---- receiving -------------------------------------------------------------------- */

static uint8_t pattern_byte(uint32_t port, uint32_t at)
{
    return (uint8_t)((port * 7 + at * 31) ^ at >> 8);
}

static void check_echo(VdsGuestDevice *device, VdsGuestStream *stream,
                       const uint8_t *data, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        uint8_t expected = pattern_byte(stream->own_port, stream->received + i);

        if (data[i] != expected) {
            vds_guest_device_error(device,
                                   "byte %u of a stream: found %02x, sent was %02x",
                                   stream->received + i, data[i], expected);
            stream->owes_reset = true;
            return;
        }
    }
    stream->taken += len;
    if (stream->taken - stream->told > WINDOW / 2) {
        stream->owes_credit = true;
    }
    vds_guest_device_count(device);
}

static void keep(VdsGuestStream *stream, const uint8_t *data, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        stream->bytes[(stream->received + i) % WINDOW] = data[i];
    }
}

/* More than was sent cannot come back; more than fits must not come. */
static void take_data(VdsGuestDevice *device, VdsGuestStream *stream,
                      const VdsGuestVsockHeader *header, const uint8_t *data)
{
    uint32_t most = stream->asks ? stream->sent - stream->received
                                 : WINDOW - (stream->received - stream->taken);

    if (stream->phase != OPEN || header->len > most) {
        if (stream->phase != SHUT) {
            vds_guest_device_error(device, "%u bytes from port %u, which may send %u",
                                   header->len, stream->port,
                                   stream->phase == OPEN ? most : 0);
            stream->owes_reset = true;
        }
        return;
    }
    if (stream->asks) {
        check_echo(device, stream, data, header->len);
    } else {
        keep(stream, data, header->len);
    }
    stream->received += header->len;
}

static void take_response(VdsGuestDevice *device, VdsGuestStream *stream,
                          const VdsGuestVsockHeader *header, const uint8_t *data)
{
    if (stream->phase != ASKED) {
        stream->owes_reset = true;
        return;
    }
    stream->phase = OPEN;
    vds_guest_device_count(device);
}

/* To a REQUEST it is an answer like any other. */
static void take_reset(VdsGuestDevice *device, VdsGuestStream *stream,
                       const VdsGuestVsockHeader *header, const uint8_t *data)
{
    if (stream->phase == ASKED || stream->phase == SHUT) {
        vds_guest_device_count(device);
    }
    remove_stream(device->state, stream);
}

static void take_shutdown(VdsGuestDevice *device, VdsGuestStream *stream,
                          const VdsGuestVsockHeader *header, const uint8_t *data)
{
    if (stream->asks || stream->phase == SHUT ||
        (header->flags & VDS_GUEST_VSOCK_NO_RECEIVE)) {
        stream->owes_reset = true; /* nothing could be sent any more */
    } else if (header->flags & VDS_GUEST_VSOCK_NO_SEND) {
        stream->phase = ENDING;
    }
}

static void take_credit(VdsGuestDevice *device, VdsGuestStream *stream,
                        const VdsGuestVsockHeader *header, const uint8_t *data)
{
    stream->owes_credit =
        stream->owes_credit || header->op == VDS_GUEST_VSOCK_CREDIT_REQUEST;
}

static void take_again(VdsGuestDevice *device, VdsGuestStream *stream,
                       const VdsGuestVsockHeader *header, const uint8_t *data)
{
    stream->owes_reset = true; /* a REQUEST for what is there already */
}

typedef void (*TakeFunc)(VdsGuestDevice *device, VdsGuestStream *stream,
                         const VdsGuestVsockHeader *header, const uint8_t *data);

static const TakeFunc takes[VDS_GUEST_VSOCK_OPS] = {
    [VDS_GUEST_VSOCK_REQUEST] = take_again,
    [VDS_GUEST_VSOCK_RESPONSE] = take_response,
    [VDS_GUEST_VSOCK_RST] = take_reset,
    [VDS_GUEST_VSOCK_SHUTDOWN] = take_shutdown,
    [VDS_GUEST_VSOCK_RW] = take_data,
    [VDS_GUEST_VSOCK_CREDIT_UPDATE] = take_credit,
    [VDS_GUEST_VSOCK_CREDIT_REQUEST] = take_credit,
};

/* (nullable) nobody listens there */
static VdsGuestStream *accept_stream(VdsGuestVsock *vsock,
                                     const VdsGuestVsockHeader *header)
{
    VdsGuestStream *stream = NULL;

    if (header->op == VDS_GUEST_VSOCK_REQUEST &&
        header->dst_port == VDS_GUEST_VSOCK_ECHO) {
        stream = add_stream(vsock, false);
    }
    if (stream) {
        stream->cid = header->src_cid;
        stream->port = header->src_port;
        stream->own_port = header->dst_port;
        stream->phase = OPEN;
        stream->owes_response = true;
    }
    return stream;
}

static void refuse(VdsGuestDevice *device, const VdsGuestVsockHeader *header)
{
    VdsGuestVsockHeader answer = vds_guest_vsock_answer(header, VDS_GUEST_VSOCK_RST);

    if (header->op != VDS_GUEST_VSOCK_RST) {
        vds_guest_vsock_send(device, &answer, NULL);
    }
}

void vds_guest_vsock_take(VdsGuestDevice *device, const VdsGuestVsockHeader *header,
                          const uint8_t *data)
{
    VdsGuestVsock *vsock = device->state;
    VdsGuestStream *stream = NULL;
    bool known = header->type == VDS_GUEST_VSOCK_STREAM &&
                 header->op < VDS_GUEST_VSOCK_OPS && takes[header->op];

    if (known) {
        stream = find(vsock, header);
    }
    if (stream) {
        stream->waited = 0;
        stream->peer_alloc = header->buf_alloc;
        stream->peer_taken = header->fwd_cnt;
        takes[header->op](device, stream, header, data);
    } else if (known && (stream = accept_stream(vsock, header))) {
        stream->peer_alloc = header->buf_alloc;
        stream->peer_taken = header->fwd_cnt;
    } else {
        refuse(device, header);
    }
}

/* ---- the workload ------------------------------------------------------------------ */

/* This guest's other sockets, then the host, each in turn. */
static uint64_t choose_peer(VdsGuestDevice *device)
{
    VdsGuestVsock *vsock = device->state;
    unsigned n = 0;

    for (const VdsGuestDevice *other = vds_guest_get_devices(device->guest); other;
         other = other->next) {
        if (other != device && other->driver == device->driver &&
            other->life == VDS_GUEST_DRIVEN && n++ == vsock->next_peer) {
            vsock->next_peer++;
            return ((const VdsGuestVsock *)other->state)->cid;
        }
    }
    vsock->next_peer = 0;
    return HOST_CID;
}

static void begin(VdsGuestDevice *device)
{
    VdsGuestVsock *vsock = device->state;
    VdsGuestStream *stream = add_stream(vsock, true);

    if (!stream) {
        return;
    }
    vsock->asking = stream;
    stream->cid = choose_peer(device);
    stream->port = VDS_GUEST_VSOCK_ECHO;
    stream->own_port = FIRST_PORT + vsock->next_port++ % (UINT32_MAX / 2);
    stream->phase = ASKED;
    if (!send_word(device, stream, VDS_GUEST_VSOCK_REQUEST)) {
        remove_stream(vsock, stream);
    }
}

static void send_piece(VdsGuestDevice *device, VdsGuestStream *stream)
{
    uint32_t n = MIN(PIECE, get_credit(stream));
    uint8_t data[PIECE];

    if (stream->sent - stream->received + n > UNDER_WAY || n == 0) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        data[i] = pattern_byte(stream->own_port, stream->sent + i);
    }
    if (send_packet(device, stream, VDS_GUEST_VSOCK_RW, 0, data, n)) {
        stream->sent += n;
    }
}

void vds_guest_vsock_ask(VdsGuestDevice *device)
{
    VdsGuestVsock *vsock = device->state;
    VdsGuestStream *stream = vsock->asking;

    if (device->queues[1]->n_free < 2) {
        return; /* the last one is for answers */
    }
    if (!stream) {
        begin(device);
    } else if (stream->waited++ >= PATIENCE) {
        stream->owes_reset = true; /* nobody is there any more */
    } else if (stream->phase == OPEN && stream->sent < WHOLE) {
        send_piece(device, stream);
    } else if (stream->phase == OPEN && stream->received == stream->sent) {
        stream->owes_end = true;
    }
    vds_guest_vsock_pump(device);
}
