/*
 * devices: bytes of virtio-serial to and from sockets: peers that come, go, are deaf or
 * end in the middle (virtio 1.2, 5.3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "serial-door.h"

/* ---- sockets ---- */

/* Nobody, somebody, nobody, somebody else: the driver is told, and bytes go both ways
 * while there is somebody. */
static void test_clients_come_and_go(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, SERVER, PORT);
    door_start(door, DOOR_SPLIT);
    open_port(door, false);
    assert_heard(door, "");
    transmit(door, OUT1, "nobody hears this", 0);
    door_post(door, IN1, 64, 0);
    for (int i = 0; i < 2; i++) {
        VDS_AUTO_FD fd = dial(&fixture);
        VDS_AUTO_FD other = dial(&fixture); /* waits for its turn */

        assert_heard(door, "OPEN 1=1");
        transmit(door, OUT1, "hello", 2);
        assert_received(fd, "hello");
        assert_int_equal(write(fd, "answer", 6), 6);
        assert_got(door, IN1, "answer");
        door_post(door, IN1, 64, 7);
        vds_fd_close(&other);
        vds_fd_close(&fd);
        assert_heard(door, "OPEN 1=0");
        offer_control(door, 6);
        assert_heard(door, "OPEN 1=1"); /* the other's turn: it left already */
        assert_heard(door, "OPEN 1=0");
    }
    fixture_clear(&fixture);
}

/* Longer than a buffer, into buffers of odd sizes: all of it, in order. */
static void test_input_fills_buffers(void **state)
{
    static const uint32_t sizes[] = {1, 2, 5, 3, 64};
    static const char text[] = "abcdefghijklmnop";
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, SERVER, PORT);
    door_start(door, DOOR_PACKED);
    open_port(door, false);
    {
        VDS_AUTO_FD fd = dial(&fixture);

        assert_heard(door, "OPEN 1=1");
        assert_int_equal(write(fd, text, 16), 16);
        for (size_t i = 0, at = 0; i < G_N_ELEMENTS(sizes); i++) {
            g_autofree char *part = g_strndup(text + at, MIN(sizes[i], 16 - at));

            door_post(door, IN1, sizes[i], 2);
            assert_got(door, IN1, part);
            at += strlen(part);
        }
    }
    fixture_clear(&fixture);
}

/* Readable buffers where there should be room: given back, and no byte is lost. */
static void test_input_without_room(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;
    uint32_t written = 1;

    fixture_init(&fixture, SERVER, PORT);
    door_start(door, DOOR_SPLIT);
    open_port(door, false);
    {
        VDS_AUTO_FD fd = dial(&fixture);
        uint64_t gpa;

        assert_heard(door, "OPEN 1=1");
        assert_int_equal(write(fd, "kept", 4), 4);
        gpa = door_send(door, IN1, "not yours", 9, 0);
        assert_int_equal(door_used(door, IN1, &written), gpa);
        assert_int_equal(written, 0);
        door_post(door, IN1, 64, 0);
        assert_got(door, IN1, "kept");
    }
    fixture_clear(&fixture);
}

/* A port that no program has open gets nothing; what was sent meanwhile waits outside,
 * also when the sender has gone. */
static void test_guest_closed(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;
    uint32_t written;

    fixture_init(&fixture, SERVER, PORT);
    door_start(door, DOOR_SPLIT);
    open_port(door, false);
    say(door, 1, PORT_OPEN, 0);
    door_post(door, IN1, 64, 0);
    {
        VDS_AUTO_FD fd = dial(&fixture);

        assert_heard(door, "OPEN 1=1");
        assert_int_equal(write(fd, "patience", 8), 8);
    }
    assert_int_equal(door_used_in(door, IN1, &written, QUIET_MS), 0);
    say(door, 1, PORT_OPEN, 1);
    assert_got(door, IN1, "patience");
    door_post(door, IN1, 64, 0);
    assert_heard(door, "OPEN 1=0");
    fixture_clear(&fixture);
}

/* Sends 64 KiB requests until the socket takes no more; their number, the last of which
 * waits. */
static unsigned fill_socket(Door *door, uint64_t *gpa)
{
    enum { LEN = 65536 };
    uint32_t written;
    unsigned n = 0;

    *gpa = door_alloc(door, LEN);
    for (unsigned i = 0; i < LEN; i++) {
        uint8_t byte = (uint8_t)(i * 31 >> 3);

        door_poke(door, *gpa + i, &byte, 1);
    }
    do {
        assert_true(n < 100);
        door_add(door, OUT1, *gpa, LEN, 0, 4099, gpa);
        door_kick(door, OUT1);
        n++;
    } while (door_used_in(door, OUT1, &written, 300) != 0);
    return n;
}

/* A client that does not read holds up its port alone: one request is in flight, and
 * those behind it are not looked at.  Once it reads, all comes, in order. */
static void test_deaf_client(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;
    uint32_t written;
    uint64_t gpa;
    unsigned n;

    fixture_init(&fixture, SERVER, PORT);
    assert_true(door_plug(door, "virtserialport,nr=2", NULL));
    door_start(door, DOOR_SPLIT);
    open_port(door, false);
    {
        VDS_AUTO_FD fd = dial(&fixture);

        assert_heard(door, "ADD 2=1");
        assert_heard(door, "OPEN 1=1");
        n = fill_socket(door, &gpa);
        door_add(door, OUT1, gpa, 16, 0, 0, &gpa);
        door_kick(door, OUT1);
        door_settle(door);
        assert_int_equal(door_state(door, OUT1).inuse, 1);
        assert_int_equal(door_state(door, OUT1).last_avail_idx, n);
        transmit(door, 7, "another port", 0);
        vds_machine_stop(door->machine);
        assert_int_equal(door_state(door, OUT1).inuse, 1);
        assert_true(vds_machine_cont(door->machine, NULL));
        for (uint64_t at = 0; at < (uint64_t)n * 65536 + 16;) {
            uint8_t bytes[4096];
            ssize_t got = read(fd, bytes, sizeof(bytes));

            assert_true(got > 0);
            for (ssize_t i = 0; i < got; i++, at++) {
                assert_int_equal(bytes[i], (uint8_t)(at % 65536 * 31 >> 3));
            }
        }
        assert_int_equal(door_used(door, OUT1, &written), GPOINTER_TO_SIZE(&gpa));
        assert_int_equal(door_used(door, OUT1, &written), GPOINTER_TO_SIZE(&gpa));
        assert_int_equal(door_state(door, OUT1).inuse, 0);
    }
    fixture_clear(&fixture);
}

/* A queue stops with a request of which the client has read a part: what is left goes its
 * way, and nothing goes twice. */
static void test_stops_while_sending(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;
    uint32_t written;
    uint64_t gpa;
    unsigned n;

    fixture_init(&fixture, SERVER, PORT);
    door_start(door, DOOR_SPLIT);
    open_port(door, false);
    {
        VDS_AUTO_FD fd = dial(&fixture);

        assert_heard(door, "OPEN 1=1");
        n = fill_socket(door, &gpa);
        assert_int_equal(door_stop(door, OUT1, false), n);
        assert_int_equal(door_state(door, OUT1).inuse, 0);
        assert_int_equal(door_used(door, OUT1, &written), GPOINTER_TO_SIZE(&gpa));
        door_add(door, OUT1, gpa, 65536, 0, 0, &gpa);
        assert_int_equal(door_stop(door, OUT1, true), n);
        for (uint64_t at = 0; at < (uint64_t)(n + 1) * 65536;) {
            uint8_t bytes[4096];
            ssize_t got = read(fd, bytes, sizeof(bytes));

            assert_true(got > 0);
            for (ssize_t i = 0; i < got; i++, at++) {
                assert_int_equal(bytes[i], (uint8_t)(at % 65536 * 31 >> 3));
            }
        }
        assert_int_equal(door_used(door, OUT1, &written), GPOINTER_TO_SIZE(&gpa));
    }
    fixture_clear(&fixture);
}

typedef void (*EndFunc)(Door *door);

static void end_reset(Door *door)
{
    door_reset(door);
    door_start(door, DOOR_PACKED);
    assert_int_equal(door_state(door, OUT1).inuse, 0);
    open_port(door, true);
}

static void end_queue_reset(Door *door)
{
    assert_true(vds_virtio_driver_reset_queue(door->device, OUT1, NULL));
    door_queue(door, OUT1);
    assert_int_equal(door_state(door, OUT1).inuse, 0);
}

static void end_port(Door *door)
{
    assert_true(vds_machine_device_del(door->machine, "p", NULL));
    offer_control(door, 4);
    assert_int_equal(door_state(door, OUT1).inuse, 0);
}

static void end_device(Door *door)
{
    assert_true(vds_machine_device_del(door->machine, "s", NULL));
}

static void end_machine(Door *door)
{
}

/* A request that waits for a client is in nobody's way. */
static void test_ends_while_sending(void **state)
{
    static const EndFunc ends[] = {end_reset, end_queue_reset, end_port, end_device,
                                   end_machine};

    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        Fixture fixture;
        Door *door = &fixture.door;
        uint64_t gpa;

        fixture_init(&fixture, SERVER, PORT);
        door_start(door, DOOR_SPLIT);
        open_port(door, false);
        {
            VDS_AUTO_FD fd = dial(&fixture);

            assert_true(fd >= 0);
            assert_heard(door, "OPEN 1=1");
            fill_socket(door, &gpa);
            assert_int_equal(door_state(door, OUT1).inuse, 1);
            ends[i](door);
        }
        fixture_clear(&fixture);
    }
}

/* The client leaves: what waited for it comes back, as nobody takes it any more. */
static void test_client_leaves_while_sending(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;
    uint32_t written;
    uint64_t gpa;

    fixture_init(&fixture, SERVER, PORT);
    door_start(door, DOOR_SPLIT);
    open_port(door, false);
    {
        VDS_AUTO_FD fd = dial(&fixture);

        assert_true(fd >= 0);
        assert_heard(door, "OPEN 1=1");
        fill_socket(door, &gpa);
    }
    assert_int_equal(door_used(door, OUT1, &written), GPOINTER_TO_SIZE(&gpa));
    assert_heard(door, "OPEN 1=0");
    fixture_clear(&fixture);
}

/* A client: connects to who listens; with reconnect= also to who will. */
static void test_connects(void **state)
{
    static const char *const rows[] = {
        "backend=socket,id=c0,path=%s",
        "backend=socket,id=c0,path=%s,reconnect=1",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        VDS_AUTO_FD listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_autoptr(GError) error = NULL;
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, rows[i], NULL);
        g_strlcpy(address.sun_path, fixture.path, sizeof(address.sun_path));
        if (i == 0) { /* nobody listens yet */
            assert_false(door_plug(door, PORT, &error));
            assert_true(
                g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND));
            assert_true(g_str_has_prefix(error->message, "Failed to connect to '"));
        } else {
            assert_true(door_plug(door, PORT, NULL));
        }
        assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(listener, 1), 0);
        if (i == 0) {
            assert_true(door_plug(door, PORT, NULL));
        }
        door_start(door, DOOR_SPLIT);
        open_port(door, i == 0);
        for (size_t round = 0; round <= i; round++) {
            VDS_AUTO_FD fd = accept(listener, NULL, NULL);

            assert_true(fd >= 0);
            if (i == 1) {
                assert_heard(door, "OPEN 1=1");
            }
            transmit(door, OUT1, "caller", 0);
            assert_received(fd, "caller");
            vds_fd_close(&fd);
            assert_heard(door, "OPEN 1=0");
        }
        fixture_clear(&fixture);
    }
}

static void test_tcp(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    VDS_AUTO_FD listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(address);
    g_autofree char *chardev = NULL;
    Fixture fixture;
    Door *door = &fixture.door;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    chardev = g_strdup_printf("backend=socket,id=c0,host=127.0.0.1,port=%u",
                              ntohs(address.sin_port));
    fixture_init(&fixture, chardev, PORT);
    {
        VDS_AUTO_FD fd = accept(listener, NULL, NULL);

        door_start(door, DOOR_SPLIT);
        open_port(door, false);
        assert_heard(door, "OPEN 1=1");
        transmit(door, OUT1, "over TCP", 0);
        assert_received(fd, "over TCP");
        door_post(door, IN1, 64, 0);
        assert_int_equal(write(fd, "and back", 8), 8);
        assert_got(door, IN1, "and back");
    }
    fixture_clear(&fixture);
}

/* An inherited socket: one that listens, and one that is connected. */
static void test_inherited(void **state)
{
    for (int listens = 0; listens <= 1; listens++) {
        g_autofree char *chardev = NULL;
        int fds[2];
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, NULL, NULL);
        if (listens) {
            struct sockaddr_un address = {.sun_family = AF_UNIX};

            g_strlcpy(address.sun_path, fixture.path, sizeof(address.sun_path));
            fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            assert_int_equal(bind(fds[0], (struct sockaddr *)&address, sizeof(address)),
                             0);
            assert_int_equal(listen(fds[0], 1), 0);
            fds[1] = dial(&fixture);
        } else {
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        }
        chardev = g_strdup_printf("backend=socket,id=c0,fd=%d", fds[0]);
        back_at(&fixture, chardev);
        assert_true(door_plug(door, PORT, NULL));
        door_start(door, DOOR_SPLIT);
        open_port(door, !listens);
        if (listens) {
            assert_heard(door, "OPEN 1=1");
        }
        transmit(door, OUT1, "heir", 0);
        assert_received(fds[1], "heir");
        vds_fd_close(&fds[0]);
        vds_fd_close(&fds[1]);
        fixture_clear(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_come_and_go),
        cmocka_unit_test(test_input_fills_buffers),
        cmocka_unit_test(test_input_without_room),
        cmocka_unit_test(test_guest_closed),
        cmocka_unit_test(test_deaf_client),
        cmocka_unit_test(test_stops_while_sending),
        cmocka_unit_test(test_ends_while_sending),
        cmocka_unit_test(test_client_leaves_while_sending),
        cmocka_unit_test(test_connects),
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_inherited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
