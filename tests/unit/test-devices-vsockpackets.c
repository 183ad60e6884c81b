/*
 * devices: packets of virtio-vsock (virtio 1.2, 5.10.6): RST for what is unknown, those
 * that lie, and those between two drivers of the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vsock-door.h"

/* ---- what is unknown, and what lies ---- */

static void test_unknown(void **state)
{
    static const Header rows[] = {
        {.op = REQUEST},                        /* nobody listens */
        {.op = RESPONSE},                       /* of nothing */
        {.op = RW},                             /* no such connection */
        {.op = SHUTDOWN, .flags = BOTH},        /* the same */
        {.op = CREDIT_UPDATE},                  /* the same */
        {.op = 0},                              /* no operation */
        {.op = 8},                              /* no operation */
        {.op = UINT16_MAX},                     /* no operation */
        {.op = REQUEST, .type = 3},             /* no type */
        {.op = REQUEST, .type = SEQPACKET},     /* none with the host */
        {.op = REQUEST, .dst_cid = CID},        /* itself */
        {.op = REQUEST, .dst_cid = 77},         /* nobody */
        {.op = REQUEST, .dst_cid = UINT64_MAX}, /* nobody */
    };
    Sock sock = {0};

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 32, BUFFER);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Header header;

        sock_send(&sock, rows[i], NULL);
        header = sock_next(&sock);
        assert_int_equal(header.op, RST);
        assert_int_equal(header.dst_port, 99);
        assert_int_equal(header.src_port, PORT);
        assert_true(header.src_cid == (rows[i].dst_cid ? rows[i].dst_cid : HOST));
    }
    sock_send(&sock, (Header){.op = RST}, NULL);                   /* never answered */
    sock_send(&sock, (Header){.op = REQUEST, .src_cid = 4}, NULL); /* in another's name */
    assert_true(is_quiet(&sock));
    assert_false(door_is_broken(&sock.door));
    sock_close(&sock);
}

/* An operation that is none, or not now, ends the connection on both sides. */
static void test_nonsense_in_a_connection(void **state)
{
    static const uint16_t ops[] = {0, REQUEST, RESPONSE, 8, UINT16_MAX};

    for (size_t i = 0; i < G_N_ELEMENTS(ops); i++) {
        Sock sock = {0};
        int fd;

        sock_open(&sock, "", DOOR_SPLIT);
        sock_post(&sock, 8, BUFFER);
        fd = open_to_host(&sock, 0);
        sock_send(&sock, (Header){.op = ops[i]}, NULL);
        assert_next(&sock, RST, 0);
        host_expect_end(fd);
        close(fd);
        sock_close(&sock);
    }
}

static void test_lies(void **state)
{
    static const struct {
        uint32_t len;      /* of the buffer */
        uint32_t says;     /* the header */
        uint32_t receives; /* bytes of a receive buffer; 0: not reached */
        const char *reason;
    } rows[] = {
        {43, 0, 0, "5.10.6: a header of 43 bytes, expected 44, in queue 1"},
        {44, 1, 0,
         "5.10.6: a packet of 1 bytes in a buffer of 0 (at most 65536), in queue 1"},
        {60, 65537, 0,
         "5.10.6: a packet of 65537 bytes in a buffer of 16 (at most 65536), in queue 1"},
        {44, 0, 43,
         "5.10.6.1: a receive buffer of 43 bytes, expected at least 44, in queue 0"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Header header = {CID, HOST, 99, PORT, rows[i].says, STREAM, REQUEST, 0, 0, 0};
        g_autofree char *reason = NULL;
        uint8_t bytes[64] = {0};
        Sock sock = {0};

        sock_open(&sock, "", formats[i % 2]);
        memcpy(bytes, &header, HEADER);
        if (rows[i].receives > 0) {
            sock_post(&sock, 1, rows[i].receives);
        }
        door_send(&sock.door, TX, bytes, rows[i].len, 0);
        door_settle(&sock.door);
        reason = vds_virtio_device_get_broken_reason(sock.door.device);
        assert_string_equal(reason, rows[i].reason);
        door_reset(&sock.door);
        door_start(&sock.door, formats[i % 2]);
        sock_post(&sock, 1, BUFFER);
        sock_send(&sock, (Header){.op = REQUEST}, NULL);
        assert_next(&sock, RST, 0);
        sock_close(&sock);
    }
}

/* ---- two drivers of one process ---- */

static void pair_open(Sock pair[2], uint64_t features)
{
    door_init(&pair[0].door);
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *thread = g_strdup_printf("qom-type=iothread,id=t%u", i);
        g_autofree char *id = g_strdup_printf("v%u", i);
        g_autofree char *device = g_strdup_printf(
            "vhost-vsock-pci,id=v%u,guest-cid=%u,iothread=t%u", i, CID + i, i);

        door_back(&pair[0].door, "object", thread);
        assert_true(door_plug(&pair[0].door, device, NULL));
        pair[i].door = (Door){.machine = pair[0].door.machine, .ram = pair[0].door.ram};
        door_find(&pair[i].door, id);
        door_start(&pair[i].door, features);
    }
}

static void pair_close(Sock pair[2])
{
    door_drop_rings(&pair[1].door);
    door_clear(&pair[0].door);
}

static void test_two_drivers(void **state)
{
    enum { ROUNDS = 300 };
    Sock pair[2] = {0};
    Header header;

    pair_open(pair, DOOR_SPLIT);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned from = i % 2, to = 1 - from;

        sock_post(&pair[to], 1, 256);
        sock_send(
            &pair[from],
            (Header){.src_cid = CID + from, .dst_cid = CID + to, .op = RW, .len = 4}, &i);
        header = sock_next(&pair[to]);
        assert_int_equal(header.src_cid, CID + from);
        assert_int_equal(header.op, RW); /* whose connection it is, its driver knows */
        assert_memory_equal(pair[to].bytes, &i, 4);
    }
    door_reset(&pair[1].door);
    sock_post(&pair[0], 1, 256);
    sock_send(&pair[0], (Header){.dst_cid = CID + 1, .op = RW}, NULL);
    assert_next(&pair[0], RST, 0); /* there is no driver any more */
    pair_close(pair);
}

/* A message is cut to the buffers that are there; its marks stand in the last piece. */
static void test_messages_are_cut(void **state)
{
    enum { ROOM = 64, PAYLOAD = ROOM - HEADER, LEN = 50, EOM = 1 };
    Sock pair[2] = {0};
    uint8_t message[LEN];
    uint32_t at = 0;

    for (unsigned i = 0; i < LEN; i++) {
        message[i] = (uint8_t)i;
    }
    pair_open(pair, DOOR_SPLIT);
    sock_send(
        &pair[0],
        (Header){
            .dst_cid = CID + 1, .type = SEQPACKET, .op = RW, .flags = EOM, .len = LEN},
        message);
    while (at < LEN) {
        Header header;

        sock_post(&pair[1], 1, ROOM);
        header = sock_next(&pair[1]);
        assert_int_equal(header.len, MIN(PAYLOAD, LEN - at));
        assert_memory_equal(pair[1].bytes, message + at, header.len);
        at += header.len;
        assert_int_equal(header.flags, at == LEN ? EOM : 0);
        assert_int_equal(header.type, SEQPACKET);
    }
    pair_close(pair);
}

/* One that takes nothing costs the other its connections, and this process no more than
 * a bounded number of bytes. */
static void test_a_deaf_driver(void **state)
{
    g_autofree uint8_t *chunk = g_malloc0(MAX_BYTES);
    Sock pair[2] = {0};
    Header header = {0};
    unsigned n = 0;

    pair_open(pair, DOOR_SPLIT);
    sock_post(&pair[0], 1, 256);
    while (header.op == 0 && n++ < 1000) {
        uint32_t written;

        if (n == 1) {
            sock_send(&pair[0], (Header){.dst_cid = CID + 1, .op = RW, .len = MAX_BYTES},
                      chunk);
        } else { /* the same buffer again: there is not that much guest memory */
            Header again = {CID, CID + 1, 99, PORT, MAX_BYTES, STREAM, RW, 0, WINDOW, 0};
            static uint64_t gpa;

            if (n == 2) {
                gpa = door_alloc(&pair[0].door, HEADER + MAX_BYTES);
                door_poke(&pair[0].door, gpa, &again, HEADER);
            }
            door_add(&pair[0].door, TX, gpa, HEADER + MAX_BYTES, 0, 0, &pair);
            door_kick(&pair[0].door, TX);
            assert_int_not_equal(door_used(&pair[0].door, TX, &written), 0);
        }
        header = sock_next_in(&pair[0], 0);
    }
    assert_int_equal(header.op, RST);
    assert_in_range(n, 100, 200);
    pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_nonsense_in_a_connection),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_two_drivers),
        cmocka_unit_test(test_messages_are_cut),
        cmocka_unit_test(test_a_deaf_driver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
