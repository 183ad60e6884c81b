/*
 * devices: virtio-net between a driver and what it is wired to (virtio 1.2, 5.1): frames
 * of all sizes through a loop, a hub and a tap; merged buffers; the filter and every
 * command; what is dropped and what breaks the device.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "door.h"

enum {
    RX = 0,
    TX = 1,
    CTRL = 2,
    HEADER = 12,
    BUFFER = 2048,
    ROOM = 128 * 1024,
    INBOX = 256,
    F_CSUM = 0,
    F_GUEST_CSUM = 1,
    F_GUEST_TSO4 = 7,
    F_MRG_RXBUF = 15,
    F_CTRL_RX = 18,
    F_CTRL_VLAN = 19,
    F_MQ = 22,
    QUIET_MS = 30,
};

typedef struct {
    Door door;
    uint64_t gpa; /* ROOM bytes for what is sent */
} Net;

static void net_open(Net *net, const char *netdev, const char *more, uint64_t features)
{
    g_autofree char *device = g_strdup_printf("virtio-net-pci,id=n,packed=on%s%s",
                                              netdev ? ",netdev=b" : "", more);

    *net = (Net){0};
    door_init(&net->door);
    net->gpa = door_alloc(&net->door, ROOM);
    if (netdev) {
        door_back(&net->door, "netdev", netdev);
    }
    assert_true(door_plug(&net->door, device, NULL));
    door_find(&net->door, "n");
    door_start(&net->door, features);
}

static void net_close(Net *net)
{
    door_clear(&net->door);
}

static void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        bytes[i] = (uint8_t)(seed >> 16);
    }
}

/* Waits until the frame is out of the transmit queue. */
static void send_on(Net *net, unsigned queue, const uint8_t header[HEADER],
                    const uint8_t *frame, uint32_t len, uint32_t piece)
{
    static const uint8_t plain[HEADER];
    uint32_t written;

    door_poke(&net->door, net->gpa, header ? header : plain, HEADER);
    door_poke(&net->door, net->gpa + HEADER, frame, len);
    door_add(&net->door, queue, net->gpa, HEADER + len, 0, piece, net);
    door_kick(&net->door, queue);
    assert_int_not_equal(door_used(&net->door, queue, &written), 0);
    assert_int_equal(written, 0);
}

static void send_frame(Net *net, const uint8_t *frame, uint32_t len)
{
    send_on(net, TX, NULL, frame, len, 0);
}

static void post_buffers(Net *net, unsigned queue, unsigned n, uint32_t len,
                         uint32_t piece)
{
    for (unsigned i = 0; i < n; i++) {
        door_post(&net->door, queue, len, piece);
    }
}

/* One frame out of as many buffers as its header says; its length, 0: none came. */
static size_t receive_in(Net *net, unsigned queue, uint8_t header[HEADER], uint8_t *frame,
                         int timeout_ms)
{
    size_t len = 0;
    unsigned n = 1;

    for (unsigned i = 0; i < n; i++) {
        uint32_t written;
        uint64_t gpa = door_used_in(&net->door, queue, &written, timeout_ms);

        if (gpa == 0) {
            assert_int_equal(i, 0);
            return 0;
        }
        if (i == 0) {
            assert_true(written >= HEADER);
            door_peek(&net->door, gpa, header, HEADER);
            n = header[10] + 256u * header[11];
            gpa += HEADER;
            written -= HEADER;
        }
        door_peek(&net->door, gpa, frame + len, written);
        len += written;
    }
    return len;
}

static size_t receive(Net *net, uint8_t *frame)
{
    uint8_t header[HEADER];

    return receive_in(net, RX, header, frame, DOOR_PATIENCE_MS);
}

static bool is_quiet(Net *net)
{
    uint8_t header[HEADER], frame[ROOM];

    return receive_in(net, RX, header, frame, QUIET_MS) == 0;
}

/* ---- frames
 * ----------------------------------------------------------------------------
 */

static const uint64_t formats[] = {DOOR_SPLIT, DOOR_PACKED};

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

static int64_t count(const Net *net, const char *name)
{
    VdsProp value = {0};
    int64_t n;

    assert_true(vds_machine_qom_get(net->door.machine, "/machine/peripheral/n", name,
                                    &value, NULL));
    assert_int_equal(value.kind, VDS_PROP_INT);
    n = value.u.integer;
    vds_prop_clear(&value);
    return n;
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

static uint8_t command(Net *net, unsigned queue, const uint8_t *bytes, uint32_t len,
                       uint32_t piece)
{
    uint8_t ack = 0xaa;
    uint32_t written;

    door_poke(&net->door, net->gpa, bytes, len);
    door_poke(&net->door, net->gpa + len, &ack, 1);
    door_add(&net->door, queue, net->gpa, len, 1, piece, net);
    door_kick(&net->door, queue);
    assert_int_not_equal(door_used(&net->door, queue, &written), 0);
    assert_int_equal(written, 1);
    door_peek(&net->door, net->gpa + len, &ack, 1);
    return ack;
}

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

static bool is_connected(Net *net)
{
    VdsProp value = {0};

    assert_true(vds_machine_qom_get(net->door.machine, net->door.path, "connected",
                                    &value, NULL));
    assert_int_equal(value.kind, VDS_PROP_BOOL);
    vds_prop_clear(&value);
    return value.u.boolean;
}

static void test_who_is_connected(void **state)
{
    static const struct {
        const char *netdev; /* (nullable) */
        bool connected;
    } rows[] = {
        {NULL, false},
        {"type=user,id=b", false},
        {"type=loop,id=b", true},
        {"type=hubport,id=b,hubid=0", true},
    };
    uint8_t frame[60] = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Net net;

        net_open(&net, rows[i].netdev, "", DOOR_SPLIT);
        assert_int_equal(is_connected(&net), rows[i].connected);
        send_frame(&net, frame, sizeof(frame)); /* which comes back sent */
        net_close(&net);
    }
}

static void test_unfit_netdevs(void **state)
{
    static const struct {
        const char *netdev;
        GQuark (*domain)(void);
        int code;
    } rows[] = {
        {"type=socket,id=b", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=hubport,id=b", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=hubport,id=b,hubid=x", vds_util_error_quark, VDS_UTIL_ERROR_VALUE},
        {"type=tap,id=b,fd=987654", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fds=", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fds=987654:987655", vds_virtio_error_quark,
         VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fd=3,fds=4", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fd=0", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=loop,id=b,queues=0", vds_util_error_quark, VDS_UTIL_ERROR_VALUE},
        {"type=user,id=b,queues=2", vds_virtio_error_quark, VDS_VIRTIO_ERROR_PROPERTY},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        Door door;

        print_message("# %s\n", rows[i].netdev);
        door_init(&door);
        door_back(&door, "netdev", rows[i].netdev);
        assert_false(door_plug(&door, "virtio-net-pci,id=n,netdev=b", &error));
        assert_true(g_error_matches(error, rows[i].domain(), rows[i].code));
        door_clear(&door);
    }
}

enum { PORTS = 3 };

static void hub_open(Net nets[PORTS], unsigned threads)
{
    door_init(&nets[0].door);
    for (unsigned i = 0; i < threads; i++) {
        g_autofree char *thread = g_strdup_printf("qom-type=iothread,id=t%u", i);

        door_back(&nets[0].door, "object", thread);
    }
    for (unsigned i = 0; i < PORTS; i++) {
        g_autofree char *netdev = g_strdup_printf("type=hubport,hubid=7,id=b%u", i);
        g_autofree char *id = g_strdup_printf("n%u", i);
        g_autofree char *device = g_strdup_printf(
            "virtio-net-pci,id=n%u,netdev=b%u,iothread=t%u", i, i, i % threads);

        door_back(&nets[0].door, "netdev", netdev);
        assert_true(door_plug(&nets[0].door, device, NULL));
        nets[i].door = (Door){.machine = nets[0].door.machine, .ram = nets[0].door.ram};
        nets[i].gpa = door_alloc(&nets[i].door, ROOM);
        door_find(&nets[i].door, id);
        door_start(&nets[i].door, formats[i % 2]);
    }
}

/* Three devices on so many threads; what one sends, both others receive. */
static void check_hub(unsigned threads)
{
    enum { FRAMES = 500 };
    Net nets[PORTS] = {0};
    uint8_t frame[60] = {0}, in[BUFFER];

    hub_open(nets, threads);
    assert_int_equal(vds_virtio_device_get_io_thread(nets[0].door.device) ==
                         vds_virtio_device_get_io_thread(nets[1].door.device),
                     threads == 1);
    for (unsigned n = 0; n < FRAMES; n++) {
        unsigned from = n % PORTS;

        for (unsigned i = 0; i < PORTS; i++) {
            if (i != from) {
                uint64_t gpa = nets[i].gpa + 4096; /* not the one that sends lie in */

                door_add(&nets[i].door, RX, gpa, 0, 128, 0, GSIZE_TO_POINTER(gpa));
                door_kick(&nets[i].door, RX);
            }
        }
        fill(frame, sizeof(frame), n);
        send_frame(&nets[from], frame, sizeof(frame));
        for (unsigned i = 0; i < PORTS; i++) {
            if (i != from) {
                assert_int_equal(receive(&nets[i], in), sizeof(frame));
                assert_memory_equal(in, frame, sizeof(frame));
            }
        }
    }
    assert_true(vds_machine_device_del(nets[0].door.machine, "n1", NULL));
    send_frame(&nets[0], frame, sizeof(frame));
    for (unsigned i = 1; i < PORTS; i++) {
        door_drop_rings(&nets[i].door);
    }
    door_clear(&nets[0].door);
}

static void test_hub(void **state)
{
    for (unsigned threads = 1; threads <= PORTS; threads++) {
        check_hub(threads);
    }
}

/* Without buffers frames wait, in order, and go before those that come later. */
static void test_a_hub_without_room(void **state)
{
    enum { WAITING = 100, FRAMES = 200 };

    for (unsigned threads = 1; threads <= 2; threads++) {
        Net nets[PORTS] = {0};
        uint8_t frame[60] = {0}, in[BUFFER];

        hub_open(nets, threads);
        for (unsigned n = 0; n < FRAMES; n++) {
            fill(frame, sizeof(frame), n);
            send_frame(&nets[0], frame, sizeof(frame));
            if (n >= WAITING) {
                uint64_t gpa = nets[1].gpa + 4096;

                door_add(&nets[1].door, RX, gpa, 0, 128, 0, GSIZE_TO_POINTER(gpa));
                door_kick(&nets[1].door, RX);
                assert_int_equal(receive(&nets[1], in), sizeof(frame));
                fill(frame, sizeof(frame), n - WAITING);
                assert_memory_equal(in, frame, sizeof(frame));
            }
        }
        for (unsigned i = 1; i < PORTS; i++) {
            door_drop_rings(&nets[i].door);
        }
        door_clear(&nets[0].door);
    }
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

/* ---- tap
 * -------------------------------------------------------------------------------- */

static bool interface_up(int sock, const char *name)
{
    struct ifreq request = {0};

    g_strlcpy(request.ifr_name, name, IFNAMSIZ);
    request.ifr_flags = IFF_UP;
    return ioctl(sock, SIOCSIFFLAGS, &request) == 0;
}

static int interface_index(int sock, const char *name)
{
    struct ifreq request = {0};

    g_strlcpy(request.ifr_name, name, IFNAMSIZ);
    return ioctl(sock, SIOCGIFINDEX, &request) == 0 ? request.ifr_ifindex : -1;
}

/* The kernel talks on a new interface, too (IPv6): only our kind of frame counts. */
enum { OUR_TYPE = 0x88b5 };

static bool is_ours(const uint8_t *frame, size_t len)
{
    return len >= 60 && frame[12] == OUR_TYPE >> 8 && frame[13] == (OUR_TYPE & 0xff);
}

enum { MAX_TAPS = 2 };

/* As libvirt opens them, and hands them over. */
static unsigned open_taps(int fds[MAX_TAPS], unsigned n)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    g_strlcpy(request.ifr_name, "vdstest0", IFNAMSIZ);
    request.ifr_flags |= n > 1 ? IFF_MULTI_QUEUE : 0;
    for (unsigned i = 0; i < n; i++) {
        fds[i] = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        if (fds[i] < 0 || ioctl(fds[i], TUNSETIFF, &request) != 0) {
            vds_fd_close(&fds[i]);
            return i;
        }
    }
    return n;
}

static void try_tap(const char *netdev, unsigned n_inherited)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL)};
    uint8_t frame[60] = {255, 255, 255, 255, 255, 255, 2, 2, 2, 2, 2, 2}, in[BUFFER];
    g_autoptr(GError) error = NULL;
    Net net = {0};
    g_autofree char *text = NULL;
    int fds[MAX_TAPS] = {-1, -1};
    size_t len;
    int sock = -1;

    /* A network of our own, where nobody is disturbed. */
    if (unshare(CLONE_NEWNET) != 0 ||
        (sock = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) < 0) {
        print_message("# no network namespace: %s\n", strerror(errno));
        skip();
    }
    frame[12] = OUR_TYPE >> 8;
    frame[13] = OUR_TYPE & 0xff;
    door_init(&net.door);
    net.gpa = door_alloc(&net.door, ROOM);
    n_inherited -= open_taps(fds, n_inherited);
    text = g_strdup_printf("type=tap,id=b,%s", netdev);
    for (char *at; (at = strchr(text, '@'));) { /* "@0": a descriptor's number */
        g_autofree char *rest = g_strdup(at + 2);
        g_autofree char *before = g_strndup(text, (gsize)(at - text));

        int fd = fds[at[1] - '0'];

        g_free(text);
        text = g_strdup_printf("%s%d%s", before, fd, rest);
    }
    door_back(&net.door, "netdev", text);
    if (n_inherited > 0 ||
        !door_plug(&net.door, "virtio-net-pci,id=n,netdev=b", &error)) {
        print_message("# no tap: %s\n", error ? error->message : "not opened");
        close(sock);
        door_clear(&net.door);
        skip();
    }
    door_find(&net.door, "n");
    door_start(&net.door, DOOR_SPLIT);
    assert_true(interface_up(sock, "vdstest0"));
    address.sll_ifindex = interface_index(sock, "vdstest0");
    assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(sock, frame, sizeof(frame), 0), sizeof(frame));
    do {
        post_buffers(&net, RX, 1, BUFFER, 0);
        len = receive(&net, in);
    } while (len > 0 && !is_ours(in, len));
    assert_int_equal(len, sizeof(frame));
    assert_memory_equal(in, frame, sizeof(frame));
    frame[20] = 77;
    send_frame(&net, frame, sizeof(frame));
    do {
        ssize_t n = recv(sock, in, sizeof(in), 0);

        len = n < 0 ? 0 : (size_t)n;
    } while (len > 0 && !(is_ours(in, len) && in[20] == 77));
    assert_int_equal(len, sizeof(frame));
    assert_memory_equal(in, frame, sizeof(frame));
    close(sock);
    net_close(&net);
    for (unsigned i = 0; i < MAX_TAPS; i++) {
        vds_fd_close(&fds[i]);
    }
}

static void test_tap(void **state)
{
    try_tap("ifname=vdstest0,script=no", 0);
}

/* libvirt's: it made the interface, and where there is a vhost-net it opened that, too.
 */
static void test_inherited_tap(void **state)
{
    try_tap("fd=@0,vhost=on,vhostfd=99", 1);
}

static void test_inherited_queues(void **state)
{
    try_tap("fds=@0:@1,vhost=on,vhostfds=98:99", 2);
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
        {TX, 11, 0, "5.1.6.2: a header of less than 12 bytes in queue 1"},
        {TX, 0, 100, "5.1.6.2: a header of less than 12 bytes in queue 1"},
        {RX, 100, 0, "5.1.6.3.1: a receive buffer of 0 bytes in queue 0"},
        {RX, 0, 11, "5.1.6.3.1: a receive buffer of 11 bytes in queue 0"},
        {CTRL, 1, 1, "5.1.6.5: a command of less than 2 bytes"},
        {CTRL, 0, 1, "5.1.6.5: a command of less than 2 bytes"},
        {CTRL, 3, 0, "5.1.6.5: a command without room for its answer"},
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
        cmocka_unit_test(test_who_is_connected),
        cmocka_unit_test(test_unfit_netdevs),
        cmocka_unit_test(test_hub),
        cmocka_unit_test(test_a_hub_without_room),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_hostile_requests),
        cmocka_unit_test(test_features_that_need_others),
        cmocka_unit_test(test_tap),
        cmocka_unit_test(test_inherited_tap),
        cmocka_unit_test(test_inherited_queues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
