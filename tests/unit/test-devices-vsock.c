/*
 * devices: virtio-vsock between a driver, another driver of the process and sockets of
 * the host (virtio 1.2, 5.10): connections from both sides, credit, shutdown, RST for
 * what is unknown, and packets that lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "door.h"

enum { RX, TX, EVENT, HEADER = 44, BUFFER = 4096, MAX_BYTES = 64 * 1024 };
enum { CID = 3, HOST = 2, PORT = 1234, WINDOW = 256 * 1024, QUIET_MS = 30 };
enum { STREAM = 1, SEQPACKET = 2 };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { NO_RECEIVE = 1, NO_SEND = 2, BOTH = 3 };

typedef struct {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed)) Header;
G_STATIC_ASSERT(sizeof(Header) == HEADER && G_BYTE_ORDER == G_LITTLE_ENDIAN);

typedef struct {
    Door door;
    char *folder, *path; /* (nullable) of the sockets */
    uint8_t bytes[MAX_BYTES];
} Sock;

static void sock_post(Sock *sock, unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++) {
        door_post(&sock->door, RX, len, 0);
    }
}

static void sock_open(Sock *sock, const char *more, uint64_t features)
{
    g_autofree char *device = NULL;

    sock->folder = g_dir_make_tmp("vds-vsock-XXXXXX", NULL);
    assert_non_null(sock->folder);
    sock->path = g_build_filename(sock->folder, "v", NULL);
    device = g_strdup_printf("vhost-vsock-pci,id=v,guest-cid=%d,uds-path=%s%s", CID,
                             sock->path, more);
    door_init(&sock->door);
    assert_true(door_plug(&sock->door, device, NULL));
    door_find(&sock->door, "v");
    door_start(&sock->door, features);
}

static void sock_close(Sock *sock)
{
    door_clear(&sock->door);
    assert_false(g_file_test(sock->path, G_FILE_TEST_EXISTS));
    assert_int_equal(g_rmdir(sock->folder), 0);
    g_free(sock->path);
    g_free(sock->folder);
}

static void sock_send_raw(Sock *sock, const void *bytes, uint32_t len)
{
    uint32_t written;

    door_send(&sock->door, TX, bytes, len, len > 4096 ? 4096 : 30);
    assert_int_not_equal(door_used(&sock->door, TX, &written), 0);
    assert_int_equal(written, 0);
}

/* A packet of CID, from port 99, unless the header says otherwise. */
static void sock_send(Sock *sock, Header header, const void *payload)
{
    g_autofree uint8_t *bytes = g_malloc(HEADER + header.len);

    header.src_cid = header.src_cid ? header.src_cid : CID;
    header.dst_cid = header.dst_cid ? header.dst_cid : HOST;
    header.src_port = header.src_port ? header.src_port : 99;
    header.dst_port = header.dst_port ? header.dst_port : PORT;
    header.type = header.type ? header.type : STREAM;
    header.buf_alloc = header.buf_alloc ? header.buf_alloc : WINDOW;
    memcpy(bytes, &header, HEADER);
    if (payload) {
        memcpy(bytes + HEADER, payload, header.len);
    }
    sock_send_raw(sock, bytes, HEADER + header.len);
}

/* The next packet for the driver; its payload is in sock->bytes.  Operation 0: none came.
 */
static Header sock_next_in(Sock *sock, int timeout_ms)
{
    Header header = {0};
    uint32_t written;
    uint64_t gpa = door_used_in(&sock->door, RX, &written, timeout_ms);

    if (gpa != 0) {
        assert_true(written >= HEADER);
        door_peek(&sock->door, gpa, &header, HEADER);
        assert_int_equal(written, HEADER + header.len);
        door_peek(&sock->door, gpa + HEADER, sock->bytes, header.len);
    }
    return header;
}

static Header sock_next(Sock *sock)
{
    return sock_next_in(sock, DOOR_PATIENCE_MS);
}

static void assert_next(Sock *sock, uint16_t op, uint32_t flags)
{
    Header header = sock_next(sock);

    assert_int_equal(header.op, op);
    assert_int_equal(header.flags, flags);
    assert_int_equal(header.len, 0);
}

static bool is_quiet(Sock *sock)
{
    return sock_next_in(sock, QUIET_MS).op == 0;
}

/* ---- the host's side
 * -------------------------------------------------------------------
 */

static int make_socket(const char *path, struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    g_strlcpy(address->sun_path, path, sizeof(address->sun_path));
    return fd;
}

static int host_listen(Sock *sock, unsigned port)
{
    g_autofree char *path = g_strdup_printf("%s_%u", sock->path, port);
    struct sockaddr_un address;
    int fd = make_socket(path, &address);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void host_unlisten(Sock *sock, int fd, unsigned port)
{
    g_autofree char *path = g_strdup_printf("%s_%u", sock->path, port);

    close(fd);
    g_unlink(path);
}

static int host_connect(Sock *sock, const char *greeting)
{
    struct sockaddr_un address;
    int fd = make_socket(sock->path, &address);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, greeting, strlen(greeting), MSG_NOSIGNAL),
                     (ssize_t)strlen(greeting));
    return fd;
}

static void host_expect(int fd, const void *bytes, size_t len)
{
    uint8_t found[4096];

    assert_true(len <= sizeof(found));
    assert_int_equal(recv(fd, found, len, MSG_WAITALL), (ssize_t)len);
    assert_memory_equal(found, bytes, len);
}

static void host_expect_end(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* The driver connects to the host; returns the host's end. */
static int open_to_host(Sock *sock, uint32_t buf_alloc)
{
    int listener = host_listen(sock, PORT), fd;
    Header header;

    sock_send(sock, (Header){.op = REQUEST, .buf_alloc = buf_alloc}, NULL);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    host_unlisten(sock, listener, PORT);
    header = sock_next(sock);
    assert_int_equal(header.op, RESPONSE);
    assert_int_equal(header.src_cid, HOST);
    assert_int_equal(header.dst_cid, CID);
    assert_int_equal(header.src_port, PORT);
    assert_int_equal(header.dst_port, 99);
    assert_int_equal(header.type, STREAM);
    assert_int_equal(header.buf_alloc, WINDOW);
    return fd;
}

static const uint64_t formats[] = {DOOR_SPLIT, DOOR_PACKED};

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

/* ---- what is unknown, and what lies
 * -----------------------------------------------------
 */

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
        {43, 0, 0, "5.10.6: a header of less than 44 bytes"},
        {44, 1, 0, "5.10.6: a packet of 1 bytes in a buffer of 0 (at most 65536)"},
        {60, 65537, 0,
         "5.10.6: a packet of 65537 bytes in a buffer of 16 (at most 65536)"},
        {44, 0, 43, "5.10.6.1: a receive buffer of 43 bytes"},
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

/* ---- two drivers of one process
 * ---------------------------------------------------------
 */

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

/* ---- life
 * --------------------------------------------------------------------------------
 */

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
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_nonsense_in_a_connection),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_two_drivers),
        cmocka_unit_test(test_messages_are_cut),
        cmocka_unit_test(test_a_deaf_driver),
        cmocka_unit_test(test_a_cid_is_one_devices),
        cmocka_unit_test(test_the_config_has_the_cid),
        cmocka_unit_test(test_stop_and_reset),
        cmocka_unit_test(test_many_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
