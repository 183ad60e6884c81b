/*
 * devices: virtio-vsock between a driver and sockets of the host (virtio 1.2, 5.10):
 * connections from both sides, credit, shutdown, and what becomes of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vsock-door.h"

static void test_driver_connects(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Sock sock = {0};
        Header header;
        int fd;

        sock_open(&sock, i ? ",vhost-user=/s" : "", formats[i]);
        sock_post(&sock, 8, BUFFER);
        fd = open_to_host(&sock, 0);
        sock_send(&sock, (Header){.op = RW, .len = 5}, "hello");
        host_expect(fd, "hello", 5);
        assert_int_equal(send(fd, "world!", 6, 0), 6);
        header = sock_next(&sock);
        assert_int_equal(header.op, RW);
        assert_int_equal(header.len, 6);
        assert_int_equal(header.fwd_cnt, 5);
        assert_memory_equal(sock.bytes, "world!", 6);
        sock_send(&sock, (Header){.op = SHUTDOWN, .flags = BOTH}, NULL);
        host_expect_end(fd);
        assert_next(&sock, RST, 0);
        sock_send(&sock, (Header){.op = RW, .len = 1}, "x"); /* it is forgotten */
        assert_next(&sock, RST, 0);
        close(fd);
        sock_close(&sock);
    }
}

static void test_host_connects(void **state)
{
    g_autofree char *ok = NULL;
    Sock sock = {0};
    Header header;
    int fd;

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 8, BUFFER);
    fd = host_connect(&sock, "CONNECT 7\nearly");
    header = sock_next(&sock);
    assert_int_equal(header.op, REQUEST);
    assert_int_equal(header.dst_port, 7);
    assert_true(header.src_port >= 1 << 30);
    assert_true(is_quiet(&sock)); /* nothing before the driver agrees */
    sock_send(&sock, (Header){.op = RESPONSE, .src_port = 7, .dst_port = header.src_port},
              NULL);
    ok = g_strdup_printf("OK %u\n", header.src_port);
    host_expect(fd, ok, strlen(ok));
    header = sock_next(&sock);
    assert_int_equal(header.op, RW);
    assert_memory_equal(sock.bytes, "early", 5);
    close(fd);
    header = sock_next(&sock);
    assert_int_equal(header.op, SHUTDOWN);
    assert_int_equal(header.flags, BOTH);
    sock_send(&sock, (Header){.op = RST, .src_port = 7, .dst_port = header.src_port},
              NULL);
    assert_true(is_quiet(&sock));
    sock_close(&sock);
}

static void test_greetings_that_are_none(void **state)
{
    static const char *const greetings[] = {
        "HELO 7\n",
        "CONNECT\n",
        "CONNECT x\n",
        "CONNECT 7 \n",
        "CONNECT -1\n",
        "CONNECT 4294967295\n",
        "CONNECT 0x7\n",
        "CONNECT 99999999999999999999999999\n",
        "\n",
        "CONNECT 0000000000000000000000000000000000007\n",
    };
    Sock sock = {0};

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 4, BUFFER);
    for (size_t i = 0; i < G_N_ELEMENTS(greetings); i++) {
        int fd = host_connect(&sock, greetings[i]);
        char byte;

        assert_true(recv(fd, &byte, 1, 0) <= 0); /* closed, or reset over what was left */
        close(fd);
    }
    assert_true(is_quiet(&sock));
    sock_close(&sock);
}

/* Refused by the driver: the host's end is closed without a word. */
static void test_driver_refuses(void **state)
{
    Sock sock = {0};
    Header header;
    int fd;

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 4, BUFFER);
    fd = host_connect(&sock, "CONNECT 7\n");
    header = sock_next(&sock);
    sock_send(&sock, (Header){.op = RST, .src_port = 7, .dst_port = header.src_port},
              NULL);
    host_expect_end(fd);
    close(fd);
    sock_close(&sock);
}

/* Half-closed ends: what the other one sends still arrives. */
static void test_half_closed(void **state)
{
    Sock sock = {0};
    int fd;

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 8, BUFFER);
    fd = open_to_host(&sock, 0);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_next(&sock, SHUTDOWN, NO_SEND);
    sock_send(&sock, (Header){.op = RW, .len = 3}, "abc");
    sock_send(&sock, (Header){.op = SHUTDOWN, .flags = NO_SEND}, NULL);
    host_expect(fd, "abc", 3);
    host_expect_end(fd);
    sock_send(&sock, (Header){.op = SHUTDOWN, .flags = NO_RECEIVE}, NULL);
    assert_next(&sock, RST, 0);
    close(fd);
    sock_close(&sock);
}

/* The driver may send what fits into the window, and hears when there is room again. */
static void test_credit_of_the_driver(void **state)
{
    g_autofree uint8_t *chunk = g_malloc0(MAX_BYTES);
    g_autofree uint8_t *all = g_malloc(4 * WINDOW);
    size_t n_sent = 0, n_read = 0;
    Sock sock = {0};
    Header header;
    int fd;

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 32, BUFFER);
    fd = open_to_host(&sock, 0);
    /* The socket itself takes some; then the window is full, and more breaks the rule. */
    do {
        sock_send(&sock, (Header){.op = RW, .len = MAX_BYTES}, chunk);
        n_sent += MAX_BYTES;
        sock_send(&sock, (Header){.op = CREDIT_REQUEST}, NULL);
        header = sock_next(&sock);
        assert_int_equal(header.op, CREDIT_UPDATE);
        assert_int_equal(header.buf_alloc, WINDOW);
        assert_true(n_sent - header.fwd_cnt <= WINDOW);
    } while (n_sent - header.fwd_cnt <= WINDOW - MAX_BYTES);
    while (n_read < n_sent) {
        ssize_t n = recv(fd, all, 4 * WINDOW, 0);

        assert_true(n > 0);
        n_read += (size_t)n;
    }
    header = sock_next(&sock); /* unasked */
    assert_int_equal(header.op, CREDIT_UPDATE);
    assert_true(header.fwd_cnt > n_sent - WINDOW);
    close(fd);
    sock_close(&sock);
}

static void test_credit_that_is_overdrawn(void **state)
{
    g_autofree uint8_t *chunk = g_malloc0(MAX_BYTES);
    Sock sock = {0};
    Header header = {0};
    int fd;

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 32, BUFFER);
    fd = open_to_host(&sock, 0);
    for (unsigned i = 0; i < 32 && header.op != RST; i++) { /* the socket takes some */
        sock_send(&sock, (Header){.op = RW, .len = MAX_BYTES}, chunk);
        header = sock_next_in(&sock, 0);
    }
    assert_int_equal(header.op, RST);
    close(fd);
    sock_close(&sock);
}

/* No more than the driver has room for; it is asked for more. */
static void test_credit_of_the_host(void **state)
{
    uint8_t bytes[100] = {0};
    Sock sock = {0};
    Header header;
    int fd;

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 8, BUFFER);
    fd = open_to_host(&sock, 64);
    assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    header = sock_next(&sock);
    assert_int_equal(header.len, 64);
    assert_next(&sock, CREDIT_REQUEST, 0);
    assert_true(is_quiet(&sock));
    sock_send(&sock, (Header){.op = CREDIT_UPDATE, .buf_alloc = 64, .fwd_cnt = 10}, NULL);
    header = sock_next(&sock);
    assert_int_equal(header.len, 10);
    assert_next(&sock, CREDIT_REQUEST, 0);
    sock_send(&sock, (Header){.op = CREDIT_UPDATE, .buf_alloc = 32, .fwd_cnt = 20}, NULL);
    assert_true(is_quiet(&sock)); /* the window shrank below what is under way */
    sock_send(&sock, (Header){.op = CREDIT_UPDATE, .buf_alloc = 64, .fwd_cnt = 74}, NULL);
    header = sock_next(&sock);
    assert_int_equal(header.len, 26);
    close(fd);
    sock_close(&sock);
}
/* ---- life ---- */

static void test_a_cid_is_one_devices(void **state)
{
    g_autoptr(GError) error = NULL;
    Door door;

    door_init(&door);
    assert_true(door_plug(&door, "vhost-vsock-pci,id=a,guest-cid=9", NULL));
    assert_false(door_plug(&door, "vhost-vsock-pci,id=b,guest-cid=9", &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY));
    assert_true(vds_machine_device_del(door.machine, "a", NULL));
    assert_true(door_plug(&door, "vhost-vsock-pci,id=b,guest-cid=9", NULL));
    door_clear(&door);
}

static void test_the_config_has_the_cid(void **state)
{
    uint8_t cid[8], expected[8] = {CID};
    Sock sock = {0};

    sock_open(&sock, "", DOOR_SPLIT);
    assert_true(vds_virtio_driver_read_config(sock.door.device, 0, cid, 8, NULL, NULL));
    assert_memory_equal(cid, expected, 8);
    sock_close(&sock);
}

/* A stopped machine moves nothing, and loses nothing; a reset ends every connection. */
static void test_stop_and_reset(void **state)
{
    Sock sock = {0};
    Header header;
    int fd;

    sock_open(&sock, "", DOOR_SPLIT);
    sock_post(&sock, 8, BUFFER);
    fd = open_to_host(&sock, 0);
    vds_machine_stop(sock.door.machine);
    assert_int_equal(send(fd, "late", 4, 0), 4);
    assert_true(is_quiet(&sock));
    assert_true(vds_machine_cont(sock.door.machine, NULL));
    header = sock_next(&sock);
    assert_int_equal(header.op, RW);
    assert_memory_equal(sock.bytes, "late", 4);
    door_reset(&sock.door);
    host_expect_end(fd);
    close(fd);
    door_start(&sock.door, DOOR_SPLIT);
    sock_post(&sock, 8, BUFFER);
    close(open_to_host(&sock, 0));
    assert_next(&sock, SHUTDOWN, BOTH);
    sock_close(&sock);
}

/* More than may be: the rest waits in the backlog, and has its turn. */
static void test_many_connections(void **state)
{
    enum { MANY = 1024, MORE = 20 };
    Sock sock = {0};
    int fds[MANY + MORE];
    Header header;

    sock_open(&sock, "", DOOR_SPLIT);
    for (unsigned i = 0; i < MANY; i++) {
        fds[i] = host_connect(&sock, "CON");
    }
    for (unsigned i = MANY; i < MANY + MORE; i++) {
        fds[i] = host_connect(&sock, "CONNECT 7\n");
    }
    sock_post(&sock, MORE, BUFFER);
    assert_true(is_quiet(&sock));
    for (unsigned i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    for (unsigned i = MANY; i < MANY + MORE; i++) {
        header = sock_next(&sock);
        assert_int_equal(header.op, REQUEST);
        close(fds[i]);
    }
    sock_close(&sock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_driver_connects),
        cmocka_unit_test(test_host_connects),
        cmocka_unit_test(test_greetings_that_are_none),
        cmocka_unit_test(test_driver_refuses),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_credit_of_the_driver),
        cmocka_unit_test(test_credit_that_is_overdrawn),
        cmocka_unit_test(test_credit_of_the_host),
        cmocka_unit_test(test_a_cid_is_one_devices),
        cmocka_unit_test(test_the_config_has_the_cid),
        cmocka_unit_test(test_stop_and_reset),
        cmocka_unit_test(test_many_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
