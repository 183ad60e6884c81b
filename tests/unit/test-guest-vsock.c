/*
 * guest: virtio-vsock's driver as its peers meet it: the echo, its credit, its ends, and
 * what it does with packets that make no sense.  virtio 1.2, 5.10.6.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "guest-fixture.h"

enum { RAM = 16 << 20, PEER = 9, PORT = 70, ECHO = 7, WINDOW = 16384, DATA = 4096 };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { NO_RECEIVE = 1, NO_SEND = 2, STREAM = 1, SEQPACKET = 2, EVENT_QUEUE = 2 };

/* What the driver sent is looked at while the test waits. */
typedef struct {
    GuestFixture base;
    Toy *toy;
    ToyPacket sent[256];
    unsigned n_sent, seen;
    uint64_t bytes, seen_bytes;
    uint32_t fwd_cnt;
    bool wrong;
} Vsock;

static uint8_t byte_at(uint64_t at)
{
    return (uint8_t)(at * 13 + (at >> 9));
}

static void note(void *user)
{
    Vsock *vsock = user;
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(vsock->toy->device, 1);
    VdsIo *io;

    while ((io = vds_virt_queue_pop_one(queue))) {
        ToyPacket packet = {0};
        uint8_t data[DATA];

        vds_stream_read(&io->out, &packet, TOY_PACKET);
        vds_stream_read(&io->out, data, MIN(packet.len, DATA));
        for (uint32_t i = 0; i < packet.len; i++) {
            vsock->wrong = vsock->wrong || data[i] != byte_at(vsock->bytes++);
        }
        if (vsock->n_sent < G_N_ELEMENTS(vsock->sent)) {
            vsock->sent[vsock->n_sent++] = packet;
        }
        toy_complete(io, 0);
    }
    vds_virt_queue_flush(queue);
}

static void vsock_init(Vsock *vsock)
{
    const VdsGuestDeviceConfig config = {.workload = VDS_WORKLOAD_IDLE};

    *vsock = (Vsock){.seen = 0};
    guest_fixture_init(&vsock->base, RAM);
    assert_true(vds_guest_resume(vsock->base.guest, NULL));
    vsock->toy = toy_new(vsock->base.thread, TOY_VSOCK, OFFER_MODERN);
    atomic_store(&vsock->toy->deaf, true); /* the test takes what is sent */
    vds_guest_plug(vsock->base.guest, vsock->toy->device, &config);
    assert_true(EVENTUALLY(toy_state(vsock->toy).status == 15));
}

static void vsock_clear(Vsock *vsock)
{
    guest_fixture_unplug(&vsock->base, vsock->toy);
    guest_fixture_clear(&vsock->base);
}

static uint64_t errors(const Vsock *vsock)
{
    return vds_guest_get_errors(vsock->base.guest, vsock->toy->device);
}

typedef struct {
    Vsock *vsock;
    ToyPacket packet;
    const void *data;
    uint32_t cut; /* so many bytes of the data are not written */
    bool sent;
} Send;

static void send_one(void *user)
{
    Send *send = user;
    VdsVirtQueue *rx = vds_virtio_device_get_virt_queue(send->vsock->toy->device, 0);
    VdsIo *io = vds_virt_queue_pop_one(rx);

    if (io) {
        vds_stream_write(&io->in, &send->packet, TOY_PACKET);
        vds_stream_write(&io->in, send->data, send->packet.len - send->cut);
        toy_complete(io, vds_stream_done(&io->in));
        vds_virt_queue_flush(rx);
        send->sent = true;
    }
}

static void vsock_send_packet(Vsock *vsock, Send *send)
{
    send->vsock = vsock;
    send->sent = false;
    for (int i = 0; i < 1000 && !send->sent; i++) {
        vds_io_thread_call(vsock->base.thread, send_one, send);
        if (!send->sent) {
            usleep(1000);
        }
    }
    assert_true(send->sent);
}

static ToyPacket a_packet(uint16_t op)
{
    return (ToyPacket){.src_cid = PEER,
                       .dst_cid = TOY_VSOCK_CID,
                       .src_port = PORT,
                       .dst_port = ECHO,
                       .type = STREAM,
                       .op = op,
                       .buf_alloc = 1 << 20};
}

static void vsock_send(Vsock *vsock, uint16_t op, uint32_t flags)
{
    Send send = {.packet = a_packet(op)};

    send.packet.flags = flags;
    send.packet.fwd_cnt = vsock->fwd_cnt;
    vsock_send_packet(vsock, &send);
}

/* `at`: where in the stream. */
static void vsock_send_data(Vsock *vsock, uint64_t at, uint32_t len, uint32_t buf_alloc)
{
    uint8_t data[DATA];
    Send send = {.packet = a_packet(RW), .data = data};

    for (uint32_t i = 0; i < len; i++) {
        data[i] = byte_at(at + i);
    }
    send.packet.len = len;
    send.packet.buf_alloc = buf_alloc;
    send.packet.fwd_cnt = vsock->fwd_cnt;
    vsock_send_packet(vsock, &send);
}

static unsigned count_sent(Vsock *vsock)
{
    vds_io_thread_call(vsock->base.thread, note, vsock);
    return vsock->n_sent;
}

/* The next packet that the driver sends. */
static ToyPacket expect(Vsock *vsock, uint16_t op)
{
    const ToyPacket *packet;

    assert_true(EVENTUALLY(count_sent(vsock) > vsock->seen));
    packet = &vsock->sent[vsock->seen++];
    assert_int_equal(packet->op, op);
    assert_int_equal(packet->src_cid, TOY_VSOCK_CID);
    assert_int_equal(packet->dst_cid, PEER);
    return *packet;
}

static void expect_nothing(Vsock *vsock)
{
    usleep(20000);
    assert_int_equal(count_sent(vsock), vsock->seen);
}

static void vsock_connect(Vsock *vsock)
{
    ToyPacket packet;

    vsock_send(vsock, REQUEST, 0);
    packet = expect(vsock, RESPONSE);
    assert_int_equal(packet.buf_alloc, WINDOW);
    assert_int_equal(packet.dst_port, PORT);
    assert_int_equal(packet.src_port, ECHO);
}

static void vsock_expect_bytes(Vsock *vsock, uint64_t bytes)
{
    while (vsock->seen_bytes < bytes) {
        vsock->seen_bytes += expect(vsock, RW).len;
    }
    assert_int_equal(vsock->seen_bytes, bytes);
    assert_false(vsock->wrong);
}

/* ---- tests ------------------------------------------------------------------------- */

/* Data comes back, more of it than fits at once, and the count of what was taken with it
 * (5.10.6.3). */
static void test_echo(void **state)
{
    enum { PIECES = 24 };
    Vsock vsock;

    vsock_init(&vsock);
    vsock_connect(&vsock);
    for (unsigned i = 0; i < PIECES; i++) {
        vsock_send_data(&vsock, (uint64_t)i * DATA, DATA, 1 << 20);
        vsock_expect_bytes(&vsock, (uint64_t)(i + 1) * DATA);
        assert_int_equal(vsock.sent[vsock.seen - 1].fwd_cnt, (i + 1) * DATA);
    }
    vsock_send(&vsock, CREDIT_REQUEST, 0);
    assert_int_equal(expect(&vsock, CREDIT_UPDATE).fwd_cnt, PIECES * DATA);
    assert_int_equal(errors(&vsock), 0);
    vsock_clear(&vsock);
}

/* 5.10.6.3.1: no more is sent than the peer has room for. */
static void test_credit_of_the_peer(void **state)
{
    Vsock vsock;

    vsock_init(&vsock);
    vsock_connect(&vsock);
    vsock_send_data(&vsock, 0, 1000, 300);
    vsock_expect_bytes(&vsock, 300);
    expect_nothing(&vsock);
    vsock.fwd_cnt = 200;
    vsock_send_data(&vsock, 1000, 0, 300);
    vsock_expect_bytes(&vsock, 500);
    expect_nothing(&vsock);
    vsock.fwd_cnt = 500;
    vsock_send(&vsock, CREDIT_UPDATE, 0); /* a megabyte */
    vsock_expect_bytes(&vsock, 1000);
    vsock_send(&vsock, SHUTDOWN, NO_SEND);
    assert_int_equal(expect(&vsock, SHUTDOWN).flags, NO_SEND | NO_RECEIVE);
    assert_int_equal(errors(&vsock), 0);
    vsock_clear(&vsock);
}

/* ... and a peer that sends more than there is room for is reset. */
static void test_more_than_its_credit(void **state)
{
    Vsock vsock;

    vsock_init(&vsock);
    vsock_connect(&vsock);
    for (unsigned i = 0; i < WINDOW / DATA; i++) {
        vsock_send_data(&vsock, (uint64_t)i * DATA, DATA, 0);
    }
    expect_nothing(&vsock);
    assert_int_equal(errors(&vsock), 0);
    vsock_send_data(&vsock, WINDOW, 1, 0);
    expect(&vsock, RST);
    assert_int_equal(errors(&vsock), 1);
    vsock_clear(&vsock);
}

/* 5.10.6.6: what came before the end is sent back before ours. */
static void test_ends(void **state)
{
    Vsock vsock;

    vsock_init(&vsock);
    vsock_connect(&vsock);
    vsock_send_data(&vsock, 0, 100, 0);
    vsock_send(&vsock, SHUTDOWN, NO_SEND); /* with room for all */
    vsock_expect_bytes(&vsock, 100);
    expect(&vsock, SHUTDOWN);
    vsock_send(&vsock, RST, 0);
    vsock_connect(&vsock);
    vsock_send(&vsock, SHUTDOWN, NO_SEND | NO_RECEIVE);
    expect(&vsock, RST);
    vsock_connect(&vsock);
    vsock_send(&vsock, RST, 0);
    vsock_connect(&vsock);
    vsock_send(&vsock, REQUEST, 0); /* once more */
    expect(&vsock, RST);
    assert_int_equal(errors(&vsock), 0);
    vsock_clear(&vsock);
}

/* 5.10.6.4.1: whom nobody waits for is told so, but for a RST. */
static void test_refusals(void **state)
{
    static const struct {
        uint16_t type, op;
        uint32_t port;
    } rows[] = {{STREAM, REQUEST, 8}, {STREAM, RW, ECHO},        {STREAM, SHUTDOWN, ECHO},
                {STREAM, 0, ECHO},    {STREAM, 99, ECHO},        {STREAM, RESPONSE, ECHO},
                {9, REQUEST, ECHO},   {SEQPACKET, REQUEST, ECHO}};
    Send send = {.packet = a_packet(RST)};
    Vsock vsock;

    vsock_init(&vsock);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Send row = {.packet = a_packet(rows[i].op)};

        row.packet.type = rows[i].type;
        row.packet.dst_port = rows[i].port;
        vsock_send_packet(&vsock, &row);
        assert_int_equal(expect(&vsock, RST).type, rows[i].type);
    }
    vsock_send_packet(&vsock, &send);
    expect_nothing(&vsock);
    assert_int_equal(errors(&vsock), 0);
    vsock_clear(&vsock);
}

/* What no device may do is counted, and nothing comes of it. */
static void test_packets_that_cannot_be(void **state)
{
    static const uint8_t data[DATA];
    Send elsewhere = {.packet = a_packet(REQUEST)};
    Send shorter = {.packet = a_packet(RW), .data = data, .cut = 1};
    Vsock vsock;

    vsock_init(&vsock);
    elsewhere.packet.dst_cid = TOY_VSOCK_CID + 1;
    vsock_send_packet(&vsock, &elsewhere);
    assert_true(EVENTUALLY(errors(&vsock) == 1));
    shorter.packet.len = 10;
    vsock_send_packet(&vsock, &shorter);
    assert_true(EVENTUALLY(errors(&vsock) == 2));
    expect_nothing(&vsock);
    vsock_connect(&vsock);
    vsock_clear(&vsock);
}

/* A bounded number of peers; those that only have to say good-bye make room. */
static void test_many_connections(void **state)
{
    enum { MOST = 32 };
    Vsock vsock;

    vsock_init(&vsock);
    for (uint32_t i = 0; i <= MOST; i++) {
        Send send = {.packet = a_packet(REQUEST)};

        send.packet.src_port = 1000 + i;
        vsock_send_packet(&vsock, &send);
        expect(&vsock, i < MOST ? RESPONSE : RST);
    }
    for (uint32_t i = 0; i < 2; i++) {
        Send end = {.packet = a_packet(SHUTDOWN)}, send = {.packet = a_packet(REQUEST)};

        end.packet.src_port = 1000 + i;
        end.packet.flags = NO_SEND;
        vsock_send_packet(&vsock, &end);
        expect(&vsock, SHUTDOWN);
        send.packet.src_port = 5000 + i;
        vsock_send_packet(&vsock, &send);
        expect(&vsock, RESPONSE);
    }
    assert_int_equal(errors(&vsock), 0);
    vsock_clear(&vsock);
}

static void send_event(void *user)
{
    Toy *toy = user;
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(toy->device, EVENT_QUEUE);
    VdsIo *io = vds_virt_queue_pop_one(queue);
    const uint32_t transport_reset = 0;

    if (io) {
        toy_complete(
            io, vds_stream_write(&io->in, &transport_reset, sizeof(transport_reset)));
        vds_virt_queue_flush(queue);
    }
}

/* 5.10.6.7: connections are gone, and the CID may be another. */
static void test_transport_reset(void **state)
{
    Vsock vsock;

    vsock_init(&vsock);
    for (int i = 0; i < 10; i++) { /* more often than there are buffers */
        vsock_connect(&vsock);
        vds_io_thread_call(vsock.base.thread, send_event, vsock.toy);
        assert_true(EVENTUALLY(toy_queue(vsock.toy, EVENT_QUEUE).used_idx == i + 1));
        usleep(5000);
        vsock_send(&vsock, RW, 0);
        expect(&vsock, RST);
    }
    assert_int_equal(errors(&vsock), 0);
    vsock_clear(&vsock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_credit_of_the_peer),
        cmocka_unit_test(test_more_than_its_credit),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_packets_that_cannot_be),
        cmocka_unit_test(test_many_connections),
        cmocka_unit_test(test_transport_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
