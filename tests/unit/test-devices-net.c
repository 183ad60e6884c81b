/*
 * devices: virtio-net and its driver (virtio 1.2, 5.1): frames of all sizes through a
 * loop; merged buffers; the filter and every command; what is dropped and what breaks the
 * device.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "net-door.h"

/* ---- frames
 * ----------------------------------------------------------------------------
 */

static void test_loop_gives_back_what_is_sent(void **state)
{
    static const struct {
        uint32_t len, send_piece, buffer, buffer_piece;
        unsigned n_buffers;
    } rows[] = {
        {1, 0, BUFFER, 0, 1},
        {14, 1, BUFFER, 0, 1},
        {60, 5, BUFFER, 300, 1},
        {BUFFER - HEADER, 0, BUFFER, 0, 1},
        {BUFFER - HEADER + 1, 100, BUFFER, 0, 2},
        {9000, 0, BUFFER, 1000, 5},
        {65550, 0, 4096, 0, 17},
        {60, 0, HEADER, 1, 6},
        {60, 7, 13, 0, 6},
    };
    static uint8_t out[ROOM], in[ROOM];

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(rows); i++) {
        uint32_t len = rows[i / 2].len;
        uint8_t header[HEADER];
        Net net;

        net_open(&net, "type=loop,id=b", "", formats[i % 2]);
        post_buffers(&net, RX, rows[i / 2].n_buffers, rows[i / 2].buffer,
                     rows[i / 2].buffer_piece);
        fill(out, len, (uint32_t)i);
        send_on(&net, TX, NULL, out, len, rows[i / 2].send_piece);
        assert_int_equal(receive_in(&net, RX, header, in, DOOR_PATIENCE_MS), len);
        assert_int_equal(header[10], rows[i / 2].n_buffers);
        assert_memory_equal(in, out, len);
        net_close(&net);
    }
}

/* Frames wait for buffers, in order; more than there is room for are dropped. */
static void test_frames_wait_for_buffers(void **state)
{
    enum { SENT = INBOX + 20 };
    uint8_t frame[60] = {0}, in[BUFFER];
    Net net;

    net_open(&net, "type=loop,id=b", "", DOOR_SPLIT);
    for (unsigned i = 0; i < SENT; i++) {
        frame[20] = (uint8_t)i;
        frame[21] = (uint8_t)(i >> 8);
        send_frame(&net, frame, sizeof(frame));
    }
    for (unsigned i = 0; i < INBOX; i++) {
        post_buffers(&net, RX, 1, 128, 0);
        assert_int_equal(receive(&net, in), sizeof(frame));
        assert_int_equal(in[20] + 256 * in[21], i);
    }
    post_buffers(&net, RX, 1, 128, 0);
    assert_true(is_quiet(&net));
    assert_int_equal(count(&net, "tx-packets"), SENT);
    assert_int_equal(count(&net, "rx-packets"), INBOX);
    assert_int_equal(count(&net, "dropped"), SENT - INBOX);
    net_close(&net);
}

/* Buffers that are not enough are the device's until there are more. */
static void test_merged_buffers_wait_for_more(void **state)
{
    static uint8_t out[3000], in[ROOM];

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Net net;

        net_open(&net, "type=loop,id=b", "", formats[i]);
        fill(out, sizeof(out), 1);
        post_buffers(&net, RX, 2, 1024, 0);
        send_frame(&net, out, sizeof(out));
        door_settle(&net.door);
        assert_int_equal(door_state(&net.door, RX).inuse, 2);
        post_buffers(&net, RX, 1, 1024, 0);
        assert_int_equal(receive(&net, in), sizeof(out));
        assert_memory_equal(in, out, sizeof(out));

        post_buffers(&net, RX, 2, 1024, 0);
        send_frame(&net, out, sizeof(out));
        door_settle(&net.door);
        door_reset(&net.door);
        door_start(&net.door, formats[i]);
        assert_int_equal(door_state(&net.door, RX).inuse, 0);
        post_buffers(&net, RX, 1, 128, 0);
        assert_true(is_quiet(&net)); /* what was sent before is gone */
        send_frame(&net, out, 60);
        assert_int_equal(receive(&net, in), 60);
        net_close(&net);
    }
}

/* They go back into the ring when the queue stops, and the frame goes on waiting. */
static void test_a_queue_stops_with_held_buffers(void **state)
{
    static uint8_t out[3000], in[ROOM];
    Net net;

    net_open(&net, "type=loop,id=b", "", DOOR_SPLIT);
    fill(out, sizeof(out), 1);
    post_buffers(&net, RX, 2, 1024, 0);
    send_frame(&net, out, sizeof(out));
    door_settle(&net.door);
    assert_int_equal(door_state(&net.door, RX).inuse, 2);
    assert_int_equal(door_stop(&net.door, RX, false), 0);
    assert_int_equal(door_state(&net.door, RX).inuse, 0);
    assert_int_equal(door_stop(&net.door, RX, true), 0);
    post_buffers(&net, RX, 1, 1024, 0);
    assert_int_equal(receive(&net, in), sizeof(out));
    assert_memory_equal(in, out, sizeof(out));
    net_close(&net);
}

/* Without MRG_RXBUF a frame has one buffer, or none at all. */
static void test_one_buffer_a_frame(void **state)
{
    static uint8_t out[3000], in[ROOM];
    uint8_t header[HEADER];
    Net net;

    net_open(&net, "type=loop,id=b", "", DOOR_SPLIT & ~DOOR_BIT(F_MRG_RXBUF));
    fill(out, sizeof(out), 1);
    post_buffers(&net, RX, 3, 1024, 0);
    send_frame(&net, out, 1024 - HEADER + 1);
    send_frame(&net, out, 1024 - HEADER);
    assert_int_equal(receive_in(&net, RX, header, in, DOOR_PATIENCE_MS), 1024 - HEADER);
    assert_memory_equal(in, out, 1024 - HEADER);
    assert_int_equal(header[10], 1);
    assert_true(is_quiet(&net));
    net_close(&net);
}

/* ---- headers
 * ---------------------------------------------------------------------------- */

/* Flags, kind of packet, where the checksum goes: passed on to who can take it, else the
 * frame is lost; never changed. */
static void test_headers_fit_their_receiver(void **state)
{
    static const struct {
        const char *what;
        uint8_t header[HEADER];
        uint64_t without; /* features */
        bool arrives;
        bool plain; /* its header does not */
    } rows[] = {
        {"a checksum to make", {1, 0, 0, 0, 0, 0, 34, 0, 16}, 0, true, false},
        {"one for who makes none",
         {1, 0, 0, 0, 0, 0, 34, 0, 16},
         DOOR_BIT(F_GUEST_CSUM) | DOOR_BIT(7) | DOOR_BIT(8) | DOOR_BIT(9) | DOOR_BIT(10) |
             DOOR_BIT(54) | DOOR_BIT(55),
         false,
         false},
        {"from who may not ask for it",
         {1, 0, 0, 0, 0, 0, 34, 0, 16},
         DOOR_BIT(F_CSUM) | DOOR_BIT(11) | DOOR_BIT(12) | DOOR_BIT(13) | DOOR_BIT(14) |
             DOOR_BIT(56),
         true,
         true},
        {"a checksum at the end", {1, 0, 0, 0, 0, 0, 82, 0, 16}, 0, true, false},
        {"one behind the end", {1, 0, 0, 0, 0, 0, 83, 0, 16}, 0, false, false},
        {"one far behind it", {1, 0, 0, 0, 0, 0, 255, 255, 255, 255}, 0, false, false},
        {"TCP over IPv4", {1, 1, 54, 0, 20, 0, 34, 0, 16}, 0, true, false},
        {"to who takes none",
         {1, 1, 54, 0, 20, 0, 34, 0, 16},
         DOOR_BIT(F_GUEST_TSO4),
         false,
         false},
        {"with ECN", {1, 0x81, 54, 0, 20, 0, 34, 0, 16}, 0, true, false},
        {"an unknown kind", {0, 9}, 0, false, false},
    };
    uint8_t frame[100], in[BUFFER], header[HEADER];

    fill(frame, sizeof(frame), 3);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Net net;

        print_message("# %s\n", rows[i].what);
        net_open(&net, "type=loop,id=b", "", DOOR_SPLIT & ~rows[i].without);
        post_buffers(&net, RX, 2, BUFFER, 0);
        send_on(&net, TX, rows[i].header, frame, sizeof(frame), 0);
        send_on(&net, TX, NULL, frame, 60, 0);
        assert_int_equal(receive_in(&net, RX, header, in, DOOR_PATIENCE_MS),
                         rows[i].arrives ? 100 : 60);
        if (rows[i].arrives) {
            static const uint8_t zeroes[10];

            assert_memory_equal(header, rows[i].plain ? zeroes : rows[i].header, 10);
        }
        net_close(&net);
    }
}

/* ---- commands
 * -------------------------------------------------------------------------- */

#define BYTES(...)                                                                       \
    sizeof((const uint8_t[]){__VA_ARGS__}),                                              \
    {                                                                                    \
        __VA_ARGS__                                                                      \
    }

static void test_commands(void **state)
{
    static const struct {
        const char *what;
        uint32_t len;
        uint8_t bytes[32];
        uint8_t ack;
    } rows[] = {
        {"promiscuous off", BYTES(0, 0, 0), 0},
        {"promiscuous on", BYTES(0, 0, 1), 0},
        {"neither on nor off", BYTES(0, 0, 2), 1},
        {"without its byte", BYTES(0, 0), 1},
        {"with one too many", BYTES(0, 0, 1, 1), 1},
        {"all multicast", BYTES(0, 1, 0), 0},
        {"no broadcast", BYTES(0, 5, 0), 0},
        {"an unknown mode", BYTES(0, 6, 0), 1},
        {"an empty table", BYTES(1, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0},
        {"one and one",
         BYTES(1, 0, 1, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 3, 1, 1, 1, 1, 1), 0},
        {"a table cut short", BYTES(1, 0, 1, 0, 0, 0, 2, 1, 1), 1},
        {"half a table", BYTES(1, 0, 0, 0, 0, 0), 1},
        {"a count that wraps", BYTES(1, 0, 255, 255, 255, 255, 0, 0, 0, 0), 1},
        {"junk behind it", BYTES(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7), 1},
        {"an address", BYTES(1, 1, 2, 3, 4, 5, 6, 7), 0},
        {"half of one", BYTES(1, 1, 2, 3, 4), 1},
        {"a VLAN", BYTES(2, 0, 5, 0), 0},
        {"the last VLAN", BYTES(2, 1, 255, 15), 0},
        {"no VLAN", BYTES(2, 0, 0, 16), 1},
        {"no announcement to see", BYTES(3, 0), 1},
        {"pairs without MQ", BYTES(4, 0, 1, 0), 1},
        {"no offloads", BYTES(5, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0},
        {"checksums", BYTES(5, 0, 2, 0, 0, 0, 0, 0, 0, 0), 0},
        {"what is no offload", BYTES(5, 0, 1, 0, 0, 0, 0, 0, 0, 0), 1},
        {"an unknown class", BYTES(77, 0, 0), 1},
    };
    static const uint32_t pieces[] = {0, 1, 3};

    for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
        Net net;

        net_open(&net, "type=loop,id=b", "", formats[i % 2]);
        for (size_t j = 0; j < G_N_ELEMENTS(rows); j++) {
            print_message("# %s\n", rows[j].what);
            assert_int_equal(command(&net, CTRL, rows[j].bytes, rows[j].len, pieces[i]),
                             rows[j].ack);
        }
        net_close(&net);
    }
}

static void test_commands_need_their_features(void **state)
{
    static const struct {
        unsigned feature;
        uint32_t len;
        uint8_t bytes[10];
    } rows[] = {
        {18, BYTES(0, 0, 1)},    {18, BYTES(1, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
        {20, BYTES(0, 2, 1)},    {23, BYTES(1, 1, 2, 3, 4, 5, 6, 7)},
        {19, BYTES(2, 0, 5, 0)}, {2, BYTES(5, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Net net;

        net_open(&net, "type=loop,id=b", "", DOOR_SPLIT & ~DOOR_BIT(rows[i].feature));
        assert_int_equal(command(&net, CTRL, rows[i].bytes, rows[i].len, 0), 1);
        net_close(&net);
        net_open(&net, "type=loop,id=b", "", DOOR_SPLIT);
        assert_int_equal(command(&net, CTRL, rows[i].bytes, rows[i].len, 0), 0);
        net_close(&net);
    }
}

static void must(Net *net, uint32_t len, const uint8_t *bytes)
{
    assert_int_equal(command(net, CTRL, bytes, len, 0), 0);
}
#define MUST(net, ...)                                                                   \
    must(net, sizeof((const uint8_t[]){__VA_ARGS__}), (const uint8_t[]){__VA_ARGS__})

/* 5.1.6.5.1: which frames a driver gets, after the commands above it in the table. */
static void test_filter(void **state)
{
    enum { OWN = 0x56, TABLE = 0x77, OTHER = 0x99 };
    static const struct {
        const char *what;
        uint8_t command[3]; /* class RX: command, value; class 0xff: nothing */
        uint8_t to[6];
        bool arrives;
    } rows[] = {
        {"at first all", {0xff}, {0x52, 0x54, 0, 0x12, 0x34, OTHER}, true},
        {"own", {0, 0, 0}, {0x52, 0x54, 0, 0x12, 0x34, OWN}, true},
        {"in the table", {0xff}, {0x52, 0x54, 0, 0x12, 0x34, TABLE}, true},
        {"somebody else's", {0xff}, {0x52, 0x54, 0, 0x12, 0x34, OTHER}, false},
        {"broadcast", {0xff}, {255, 255, 255, 255, 255, 255}, true},
        {"group in the table", {0xff}, {1, 0, 0x5e, 0, 0, 1}, true},
        {"another group", {0xff}, {1, 0, 0x5e, 0, 0, 2}, false},
        {"all groups", {0, 1, 1}, {1, 0, 0x5e, 0, 0, 2}, true},
        {"no group", {0, 3, 1}, {1, 0, 0x5e, 0, 0, 1}, false},
        {"broadcast is none", {0xff}, {255, 255, 255, 255, 255, 255}, true},
        {"no broadcast", {0, 5, 1}, {255, 255, 255, 255, 255, 255}, false},
        {"all unicast", {0, 2, 1}, {0x52, 0x54, 0, 0x12, 0x34, OTHER}, true},
        {"no unicast", {0, 4, 1}, {0x52, 0x54, 0, 0x12, 0x34, OWN}, false},
        {"all again", {0, 0, 1}, {1, 0, 0x5e, 0, 0, 2}, true},
    };
    uint8_t frame[60] = {0}, in[BUFFER];
    Net net;

    net_open(&net, "type=loop,id=b", ",mac=52:54:00:12:34:56", DOOR_SPLIT);
    MUST(&net, 1, 0, 1, 0, 0, 0, 0x52, 0x54, 0, 0x12, 0x34, TABLE, 1, 0, 0, 0, 1, 0, 0x5e,
         0, 0, 1);
    post_buffers(&net, RX, 20, BUFFER, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        print_message("# %s\n", rows[i].what);
        if (rows[i].command[0] != 0xff) {
            must(&net, 3, rows[i].command);
        }
        memcpy(frame, rows[i].to, 6);
        send_frame(&net, frame, sizeof(frame));
        if (rows[i].arrives) {
            assert_int_equal(receive(&net, in), sizeof(frame));
            assert_memory_equal(in, frame, sizeof(frame));
        } else {
            assert_true(is_quiet(&net));
        }
    }
    net_close(&net);
}

static void test_vlans(void **state)
{
    uint8_t frame[60] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 0, 0,
                         0,    0,    0, 0,    0x81, 0,    0, 5};
    uint8_t in[BUFFER];
    Net net;

    net_open(&net, "type=loop,id=b", ",mac=52:54:00:12:34:56", DOOR_SPLIT);
    post_buffers(&net, RX, 4, BUFFER, 0);
    MUST(&net, 0, 0, 0);
    send_frame(&net, frame, sizeof(frame));
    assert_true(is_quiet(&net));
    MUST(&net, 2, 0, 5, 0);
    send_frame(&net, frame, sizeof(frame));
    assert_int_equal(receive(&net, in), sizeof(frame));
    MUST(&net, 2, 1, 5, 0);
    send_frame(&net, frame, sizeof(frame));
    assert_true(is_quiet(&net));
    frame[12] = 8; /* no tag */
    send_frame(&net, frame, sizeof(frame));
    assert_int_equal(receive(&net, in), sizeof(frame));
    net_close(&net);
}

/* More addresses than there is room for stand for all. */
static void test_a_table_that_overflows(void **state)
{
    uint8_t bytes[2 + 4 + 65 * 6 + 4] = {1, 0, 65};
    uint8_t frame[60] = {0x52}, in[BUFFER];
    Net net;

    net_open(&net, "type=loop,id=b", "", DOOR_SPLIT);
    post_buffers(&net, RX, 1, BUFFER, 0);
    MUST(&net, 0, 0, 0);
    must(&net, sizeof(bytes), bytes);
    send_frame(&net, frame, sizeof(frame));
    assert_int_equal(receive(&net, in), sizeof(frame));
    net_close(&net);
}

static void test_the_address_is_in_the_config(void **state)
{
    static const uint8_t first[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
    uint8_t mac[6];
    Net net;

    net_open(&net, "type=loop,id=b", "", DOOR_SPLIT);
    assert_true(
        vds_virtio_driver_read_config(net.door.device, 0, mac, sizeof(mac), NULL, NULL));
    assert_memory_equal(mac, first, sizeof(mac));
    MUST(&net, 1, 1, 2, 3, 4, 5, 6, 7);
    assert_true(
        vds_virtio_driver_read_config(net.door.device, 0, mac, sizeof(mac), NULL, NULL));
    assert_memory_equal(mac, ((uint8_t[]){2, 3, 4, 5, 6, 7}), sizeof(mac));
    door_reset(&net.door);
    assert_true(
        vds_virtio_driver_read_config(net.door.device, 0, mac, sizeof(mac), NULL, NULL));
    assert_memory_equal(mac, first, sizeof(mac));
    net_close(&net);
}

/* ---- pairs of queues
 * ---------------------------------------------------------------------
 */

static void test_pairs(void **state)
{
    enum { PAIRS = 3, CONTROL = 2 * PAIRS };
    uint8_t frame[60], in[BUFFER], header[HEADER], pairs[2];
    Net net;

    net_open(&net, "type=loop,id=b,queues=3", ",mq=on", DOOR_SPLIT);
    assert_true(vds_virtio_driver_read_config(net.door.device, 8, pairs, 2, NULL, NULL));
    assert_int_equal(pairs[0], PAIRS);
    assert_int_equal(vds_virtio_driver_get_queue_size(net.door.device, CONTROL), 64);
    for (unsigned i = 0; i < PAIRS; i++) {
        post_buffers(&net, 2 * i, 2, BUFFER, 0);
    }
    fill(frame, sizeof(frame), 1);
    send_on(&net, 2 * 1 + 1, NULL, frame, sizeof(frame), 0); /* one pair so far */
    assert_int_equal(receive_in(&net, 0, header, in, DOOR_PATIENCE_MS), 60);
    assert_int_equal(command(&net, CONTROL, (uint8_t[]){4, 0, 0, 0}, 4, 0), 1);
    assert_int_equal(command(&net, CONTROL, (uint8_t[]){4, 0, PAIRS + 1, 0}, 4, 0), 1);
    assert_int_equal(command(&net, CONTROL, (uint8_t[]){4, 0, PAIRS, 0}, 4, 0), 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        fill(frame, sizeof(frame), i);
        send_on(&net, 2 * i + 1, NULL, frame, sizeof(frame), 0);
        assert_int_equal(receive_in(&net, 2 * i, header, in, DOOR_PATIENCE_MS), 60);
        assert_memory_equal(in, frame, sizeof(frame));
    }
    door_reset(&net.door);
    door_start(&net.door, DOOR_SPLIT & ~DOOR_BIT(F_MQ)); /* the control queue moves */
    assert_int_equal(vds_virtio_driver_get_queue_size(net.door.device, CTRL), 64);
    assert_int_equal(vds_virtio_driver_get_queue_size(net.door.device, 3), 0);
    MUST(&net, 0, 0, 1);
    post_buffers(&net, RX, 1, BUFFER, 0);
    send_frame(&net, frame, sizeof(frame));
    assert_int_equal(receive(&net, in), sizeof(frame));
    net_close(&net);
}

/* ---- other peers
 * ------------------------------------------------------------------------ */

/* A driver that keeps the control queue to itself enables and disables queues: of three
 * pairs, the next enabled one takes a frame, and none at all loses it. */
static void test_pairs_of_a_front_end(void **state)
{
    static const struct {
        unsigned disable; /* one more receive queue */
        unsigned arrives; /* where a frame of pair 1 does; 8: nowhere */
    } rows[] = {{6, 2}, {2, 4}, {4, 0}, {0, 8}};
    uint8_t frame[60] = {7}, header[HEADER], in[BUFFER];
    Net net;

    net_open(&net, "type=loop,id=b,queues=4", ",vhost-user=/s", DOOR_SPLIT);
    assert_int_equal(vds_virtio_driver_get_queue_size(net.door.device, 7), 256);
    assert_int_equal(vds_virtio_driver_get_queue_size(net.door.device, 8), 0);
    assert_true(net.door.features & DOOR_BIT(F_MQ));
    assert_false(net.door.features & DOOR_BIT(F_CTRL_RX));
    for (unsigned queue = 0; queue < 8; queue += 2) {
        post_buffers(&net, queue, 4, BUFFER, 0);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_true(
            vds_virtio_driver_disable_queue(net.door.device, rows[i].disable, NULL));
        send_on(&net, 3, NULL, frame, sizeof(frame), 0);
        door_settle(&net.door);
        for (unsigned queue = 0; queue < 8; queue += 2) {
            assert_int_equal(
                receive_in(&net, queue, header, in, queue == rows[i].arrives ? 1000 : 0),
                queue == rows[i].arrives ? sizeof(frame) : 0);
        }
    }
    net_close(&net);
}

/* Frames that arrive while a device is stopped are there when it goes on. */
static void test_stops(void **state)
{
    uint8_t frame[60] = {0}, in[BUFFER];
    Net net;

    net_open(&net, "type=loop,id=b", "", DOOR_SPLIT);
    send_frame(&net, frame, sizeof(frame));
    MUST(&net, 0, 0, 0); /* what commands set survives */
    vds_machine_stop(net.door.machine);
    post_buffers(&net, RX, 3, BUFFER, 0);
    assert_true(is_quiet(&net));
    assert_true(vds_machine_cont(net.door.machine, NULL));
    send_frame(&net, frame, sizeof(frame)); /* to nobody: not promiscuous any more */
    frame[0] = frame[1] = frame[2] = frame[3] = frame[4] = frame[5] = 255;
    send_frame(&net, frame, sizeof(frame));
    assert_int_equal(receive(&net, in), sizeof(frame));
    assert_int_equal(in[0], 255);
    net_close(&net);
}

/* ---- what breaks the device
 * --------------------------------------------------------------
 */

static void test_hostile_requests(void **state)
{
    static const struct {
        unsigned queue;
        uint32_t n_out, n_in;
        const char *reason;
    } rows[] = {
        {TX, 11, 0, "5.1.6.2: a header of 11 bytes, expected 12, in queue 1"},
        {TX, 0, 100, "5.1.6.2: a header of 0 bytes, expected 12, in queue 1"},
        {RX, 100, 0,
         "5.1.6.3.1: a receive buffer of 0 bytes, expected at least 12, in queue 0"},
        {RX, 0, 11,
         "5.1.6.3.1: a receive buffer of 11 bytes, expected at least 12, in queue 0"},
        {CTRL, 1, 1, "5.1.6.5: a command of less than 2 bytes, in queue 2"},
        {CTRL, 0, 1, "5.1.6.5: a command of less than 2 bytes, in queue 2"},
        {CTRL, 3, 0, "5.1.6.5: a command without room for its answer, in queue 2"},
    };
    uint8_t frame[60] = {0}, nothing[HEADER + 60] = {0}, in[BUFFER];

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *reason = NULL;
        Net net;

        net_open(&net, "type=loop,id=b", "", formats[i % 2]);
        door_add(&net.door, rows[i].queue, net.gpa + 4096, rows[i].n_out, rows[i].n_in, 0,
                 &net);
        door_kick(&net.door, rows[i].queue);
        if (rows[i].queue == RX) {
            door_send(&net.door, TX, nothing, sizeof(nothing), 0);
        }
        door_settle(&net.door);
        reason = vds_virtio_device_get_broken_reason(net.door.device);
        assert_string_equal(reason, rows[i].reason);
        door_reset(&net.door);
        door_start(&net.door, formats[i % 2]);
        post_buffers(&net, RX, 1, BUFFER, 0);
        send_frame(&net, frame, sizeof(frame));
        assert_int_equal(receive(&net, in), sizeof(frame));
        net_close(&net);
    }
}

/* FEATURES_OK is refused for a set that contradicts itself (5.1.3.1). */
static void test_features_that_need_others(void **state)
{
    static const uint64_t missing[] = {DOOR_BIT(F_GUEST_CSUM), DOOR_BIT(F_CSUM),
                                       DOOR_BIT(17)};

    for (size_t i = 0; i < G_N_ELEMENTS(missing); i++) {
        g_autoptr(GError) error = NULL;
        VdsFeatures features;
        Door door;

        door_init(&door);
        door_back(&door, "netdev", "type=loop,id=b");
        assert_true(door_plug(&door, "virtio-net-pci,id=n,netdev=b", NULL));
        door_find(&door, "n");
        features = vds_virtio_driver_get_features(door.device);
        features.word[0] &= ~missing[i] & ~DOOR_BIT(VDS_F_BAD_FEATURE);
        assert_true(vds_virtio_driver_set_status(door.device, 3, NULL));
        assert_true(vds_virtio_driver_set_features(door.device, &features, NULL));
        assert_false(vds_virtio_driver_set_status(door.device, 11, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_FEATURES));
        door_clear(&door);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_gives_back_what_is_sent),
        cmocka_unit_test(test_frames_wait_for_buffers),
        cmocka_unit_test(test_merged_buffers_wait_for_more),
        cmocka_unit_test(test_a_queue_stops_with_held_buffers),
        cmocka_unit_test(test_one_buffer_a_frame),
        cmocka_unit_test(test_headers_fit_their_receiver),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_commands_need_their_features),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_vlans),
        cmocka_unit_test(test_a_table_that_overflows),
        cmocka_unit_test(test_the_address_is_in_the_config),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_pairs_of_a_front_end),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_hostile_requests),
        cmocka_unit_test(test_features_that_need_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
