/*
 * devices: what virtio-serial says on its control queues, and how bytes go between a
 * driver and each kind of chardev (virtio 1.2, 5.3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "door.h"

enum { CONTROL_IN = 2, CONTROL_OUT = 3, IN1 = 4, OUT1 = 5, QUIET_MS = 60 };
enum {
    DEVICE_READY,
    PORT_ADD,
    PORT_REMOVE,
    PORT_READY,
    CONSOLE_PORT,
    RESIZE,
    PORT_OPEN,
    PORT_NAME,
};

typedef struct {
    uint32_t id;
    uint16_t event, value;
} Message;

typedef struct {
    Door door;
    char *folder, *path; /* for a file or a socket */
} Fixture;

/* ---- the control queues ---- */

static void say_bytes(Door *door, const void *bytes, uint32_t len, uint32_t piece)
{
    uint32_t written = 1;
    uint64_t gpa = door_send(door, CONTROL_OUT, bytes, len, piece);

    assert_int_equal(door_used(door, CONTROL_OUT, &written), gpa);
    assert_int_equal(written, 0);
}

static void say(Door *door, uint32_t id, uint16_t event, uint16_t value)
{
    const Message message = {GUINT32_TO_LE(id), GUINT16_TO_LE(event),
                             GUINT16_TO_LE(value)};

    say_bytes(door, &message, sizeof(message), 3);
}

/* "PORT_ADD 1 = 1 name", or "" if nothing is said. */
static char *hear_in(Door *door, int timeout_ms)
{
    static const char *const names[] = {"READY?",  "ADD",    "REMOVE", "PORT_READY?",
                                        "CONSOLE", "RESIZE", "OPEN",   "NAME"};
    uint32_t written = 0;
    uint64_t gpa = door_used_in(door, CONTROL_IN, &written, timeout_ms);
    char name[64] = "";
    Message message;

    if (gpa == 0) {
        return g_strdup("");
    }
    assert_in_range(written, sizeof(message), sizeof(message) + sizeof(name) - 1);
    door_peek(door, gpa, &message, sizeof(message));
    door_peek(door, gpa + sizeof(message), name, written - sizeof(message));
    assert_true(GUINT16_FROM_LE(message.event) < G_N_ELEMENTS(names));
    return g_strdup_printf("%s %u=%u%s%s", names[GUINT16_FROM_LE(message.event)],
                           GUINT32_FROM_LE(message.id), GUINT16_FROM_LE(message.value),
                           *name ? " " : "", name);
}

static void assert_heard(Door *door, const char *expected)
{
    g_autofree char *heard = hear_in(door, expected[0] ? DOOR_PATIENCE_MS : QUIET_MS);

    assert_string_equal(heard, expected);
}

static void offer_control(Door *door, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        door_post(door, CONTROL_IN, 32, i == 1 ? 5 : 0);
    }
}

/* ---- fixtures ---- */

/* %s in the text is the folder's path. */
static void back_at(Fixture *fixture, const char *format)
{
    g_auto(GStrv) parts = g_strsplit(format, "%s", 2);
    g_autofree char *text = g_strconcat(parts[0], parts[1] ? fixture->path : "",
                                        parts[1] ? parts[1] : "", NULL);

    door_back(&fixture->door, "chardev", text);
}

static void fixture_init(Fixture *fixture, const char *chardev, const char *port)
{
    fixture->folder = g_dir_make_tmp("vds-serial-XXXXXX", NULL);
    fixture->path = g_build_filename(fixture->folder, "c", NULL);
    door_init(&fixture->door);
    if (chardev) {
        back_at(fixture, chardev);
    }
    assert_true(
        door_plug(&fixture->door, "virtio-serial-pci,id=s,max_ports=4,packed=on", NULL));
    if (port) {
        assert_true(door_plug(&fixture->door, port, NULL));
    }
    door_find(&fixture->door, "s");
}

static void fixture_clear(Fixture *fixture)
{
    door_clear(&fixture->door);
    g_remove(fixture->path);
    assert_int_equal(g_rmdir(fixture->folder), 0);
    g_free(fixture->path);
    g_free(fixture->folder);
}

#define PORT "virtserialport,id=p,nr=1,chardev=c0"
#define SERVER "backend=socket,id=c0,server=on,wait=off,path=%s"

/* As Linux greets one port that is there, and a program opens it. */
static void open_port(Door *door, bool connected)
{
    offer_control(door, 8);
    say(door, UINT32_MAX, DEVICE_READY, 1);
    assert_heard(door, "ADD 1=1");
    say(door, 1, PORT_READY, 1);
    if (connected) {
        assert_heard(door, "OPEN 1=1");
    }
    say(door, 1, PORT_OPEN, 1);
}

static int dial(const Fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = 20};

    g_strlcpy(address.sun_path, fixture->path, sizeof(address.sun_path));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static void assert_received(int fd, const char *text)
{
    char bytes[256] = "";

    for (size_t done = 0; done < strlen(text);) {
        ssize_t n = read(fd, bytes + done, strlen(text) - done);

        assert_true(n > 0);
        done += (size_t)n;
    }
    assert_string_equal(bytes, text);
}

static void assert_got(Door *door, unsigned queue, const char *text)
{
    char bytes[256] = "";
    uint32_t written = 0;
    uint64_t gpa = door_used(door, queue, &written);

    assert_int_not_equal(gpa, 0);
    assert_int_equal(written, strlen(text));
    door_peek(door, gpa, bytes, written);
    assert_string_equal(bytes, text);
}

static void transmit(Door *door, unsigned queue, const char *text, uint32_t piece)
{
    uint32_t written = 1;
    uint64_t gpa = door_send(door, queue, text, (uint32_t)strlen(text), piece);

    assert_int_equal(door_used(door, queue, &written), gpa);
    assert_int_equal(written, 0);
}

/* ---- what is said ---- */

/* The recorded order: ports, then what each is once the driver has it. */
static void test_greeting(void **state)
{
    static const uint64_t masks[] = {DOOR_SPLIT, DOOR_PACKED};

    for (size_t i = 0; i < G_N_ELEMENTS(masks); i++) {
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, "backend=null,id=c0", "virtconsole,chardev=c0");
        back_at(&fixture, "backend=null,id=c1");
        assert_true(door_plug(door, "virtserialport,chardev=c1,name=org.a", NULL));
        assert_true(door_plug(door, "virtserialport,nr=3", NULL));
        door_start(door, masks[i]);
        offer_control(door, 16);
        assert_heard(door, ""); /* not before it is ready */
        say(door, UINT32_MAX, DEVICE_READY, 1);
        assert_heard(door, "ADD 0=1");
        assert_heard(door, "ADD 1=1");
        assert_heard(door, "ADD 3=1");
        say(door, 0, PORT_READY, 1);
        assert_heard(door, "CONSOLE 0=1");
        assert_heard(door, "OPEN 0=1");
        say(door, 1, PORT_READY, 1);
        assert_heard(door, "NAME 1=1 org.a");
        assert_heard(door, "OPEN 1=1");
        say(door, 3, PORT_READY, 1);
        assert_heard(door, ""); /* nobody is there */
        assert_false(door_is_broken(door));
        fixture_clear(&fixture);
    }
}

/* Buffers that come late and one by one: nothing is lost, order is kept. */
static void test_late_buffers(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", "virtconsole,chardev=c0,name=n");
    door_start(door, DOOR_SPLIT);
    say(door, 0, DEVICE_READY, 1);
    say(door, 0, PORT_READY, 1);
    say(door, 0, PORT_READY, 1); /* again changes nothing that still waits */
    for (const char *const *expected =
             (const char *const[]){"ADD 0=1", "CONSOLE 0=1", "NAME 0=1 n", "OPEN 0=1", "",
                                   NULL};
         *expected; expected++) {
        offer_control(door, 1);
        assert_heard(door, *expected);
    }
    fixture_clear(&fixture);
}

/* Messages that no driver sends: passed over, and the next good one is heard. */
static void test_absurd_messages(void **state)
{
    static const Message absurd[] = {
        {0, DEVICE_READY, 0}, {1, PORT_READY, 0},        {2, PORT_READY, 1},
        {3, PORT_OPEN, 1},    {4, PORT_READY, 1},        {5, PORT_OPEN, 1},
        {511, PORT_OPEN, 1},  {1u << 31, PORT_READY, 1}, {UINT32_MAX, PORT_OPEN, 1},
        {1, PORT_ADD, 1},     {1, PORT_REMOVE, 1},       {1, CONSOLE_PORT, 1},
        {1, RESIZE, 1},       {1, PORT_NAME, 1},         {1, 8, 1},
        {1, UINT16_MAX, 1},
    };
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(door, DOOR_SPLIT);
    offer_control(door, 4);
    for (size_t i = 0; i < G_N_ELEMENTS(absurd); i++) {
        say(door, absurd[i].id, absurd[i].event, absurd[i].value);
    }
    for (uint32_t len = 1; len < sizeof(Message); len++) {
        static const Message ready = {0, DEVICE_READY, 0x0101};

        say_bytes(door, &ready, len, 0);
    }
    assert_heard(door, "");
    say_bytes(door, "\0\0\0\0\0\0\1\0and what nobody asked for", 33,
              2); /* DEVICE_READY */
    assert_heard(door, "ADD 1=1");
    assert_false(door_is_broken(door));
    fixture_clear(&fixture);
}

/* Room where a message should be: given back empty. */
static void test_message_without_bytes(void **state)
{
    Fixture fixture;
    uint32_t written = 1;
    uint64_t gpa;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(&fixture.door, DOOR_SPLIT);
    gpa = door_post(&fixture.door, CONTROL_OUT, 8, 0);
    assert_int_equal(door_used(&fixture.door, CONTROL_OUT, &written), gpa);
    assert_int_equal(written, 0);
    fixture_clear(&fixture);
}

/* A buffer that holds no message is a fault of the driver; a name is cut to what fits. */
static void test_small_buffers(void **state)
{
    static const struct {
        uint32_t len;
        bool sends; /* instead of leaving room */
        const char *reason;
    } rows[] = {
        {7, false, "control buffer of 7 bytes, expected 8"},
        {1, false, "control buffer of 1 bytes, expected 8"},
        {8, true, "control buffer of 0 bytes, expected 8"},
        {8, false, NULL},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *reason = NULL;
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, "backend=null,id=c0", PORT ",name=org.long.name");
        door_start(door, DOOR_SPLIT);
        if (rows[i].sends) {
            door_send(door, CONTROL_IN, "01234567", 8, 0);
        } else {
            door_post(door, CONTROL_IN, rows[i].len, 0);
        }
        door_send(door, CONTROL_OUT, "\0\0\0\0\0\0\1\0", 8, 0);
        door_settle(door);
        reason = vds_virtio_device_get_broken_reason(door->device);
        assert_true(g_strcmp0(reason, rows[i].reason) == 0);
        if (!reason) {
            uint32_t written;

            assert_int_not_equal(door_used(door, CONTROL_OUT, &written), 0);
            assert_heard(door, "ADD 1=1");
            say(door, 1, PORT_READY, 1);
            door_post(door, CONTROL_IN, 12, 0);
            assert_heard(door, "NAME 1=1 org.");
        }
        fixture_clear(&fixture);
    }
}

/* ---- bytes to the outside ---- */

static void test_file(void **state)
{
    g_autofree char *text = NULL;
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=file,id=c0,path=%s", PORT);
    door_start(door, DOOR_PACKED);
    open_port(door, true);
    transmit(door, OUT1, "one, ", 0);
    transmit(door, OUT1, "two, ", 1);
    transmit(door, OUT1, "three", 2);
    assert_true(g_file_get_contents(fixture.path, &text, NULL, NULL));
    assert_string_equal(text, "one, two, three");
    fixture_clear(&fixture);
}

/* append=on keeps what was there, its absence does not. */
static void test_file_append(void **state)
{
    static const char *const rows[][2] = {
        {"backend=file,id=c0,path=%s,append=on", "oldnew"},
        {"backend=file,id=c0,path=%s", "new"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = NULL;
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, rows[i][0], NULL);
        assert_true(g_file_set_contents(fixture.path, "old", -1, NULL));
        assert_true(door_plug(door, PORT, NULL));
        door_start(door, DOOR_SPLIT);
        open_port(door, true);
        transmit(door, OUT1, "new", 0);
        assert_true(g_file_get_contents(fixture.path, &text, NULL, NULL));
        assert_string_equal(text, rows[i][1]);
        fixture_clear(&fixture);
    }
}

/* What goes out is also in the log, wherever it goes. */
static void test_log(void **state)
{
    static const char *const rows[][2] = {
        {"backend=null,id=c0,logfile=%s,logappend=on", "oldnew"},
        {"backend=pty,id=c0,logfile=%s", "new"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = NULL;
        Fixture fixture;
        Door *door = &fixture.door;

        fixture_init(&fixture, rows[i][0], NULL);
        assert_true(g_file_set_contents(fixture.path, "old", -1, NULL));
        assert_true(door_plug(door, PORT, NULL));
        door_start(door, DOOR_SPLIT);
        open_port(door, true);
        transmit(door, OUT1, "new", 0);
        assert_true(g_file_get_contents(fixture.path, &text, NULL, NULL));
        assert_string_equal(text, rows[i][1]);
        fixture_clear(&fixture);
    }
}

/* A descriptor that was inherited stands for the path, which need not be there. */
static void test_inherited_files(void **state)
{
    static const char *const keys[] = {"backend=file,id=c0,path",
                                       "backend=null,id=c0,logfile"};

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        VDS_AUTO_FD fd = memfd_create("log", MFD_CLOEXEC);
        g_autofree char *chardev = NULL;
        char text[8] = "";
        Fixture fixture;
        Door *door = &fixture.door;

        chardev = g_strdup_printf("%s=/dev/fdset/0,%s-fd=%d", keys[i],
                                  strrchr(keys[i], ',') + 1, fd);
        fixture_init(&fixture, chardev, PORT);
        door_start(door, DOOR_SPLIT);
        open_port(door, true);
        transmit(door, OUT1, "kept", 0);
        assert_int_equal(pread(fd, text, sizeof(text), 0), 4);
        assert_string_equal(text, "kept");
        fixture_clear(&fixture);
    }
}

/* Ports without chardev, ids without port, and null: everything is taken, nothing kept.
 */
static void test_nowhere(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    assert_true(door_plug(door, "virtserialport,nr=2", NULL));
    assert_true(door_plug(door, "virtconsole,nr=0", NULL));
    door_start(door, DOOR_SPLIT);
    for (unsigned queue = 1; queue <= 9; queue += queue == 1 ? 4 : 2) {
        uint32_t written = 1;
        uint64_t gpa;

        transmit(door, queue, "lost", 3);
        gpa = door_post(door, queue, 16, 0); /* room, where bytes should be */
        assert_int_equal(door_used(door, queue, &written), gpa);
        assert_int_equal(written, 0);
    }
    fixture_clear(&fixture);
}

/* More than one turn: 3 MiB into nothing, in one request. */
static void test_long_request(void **state)
{
    Fixture fixture;
    uint32_t written = 1;
    uint64_t gpa;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(&fixture.door, DOOR_SPLIT);
    open_port(&fixture.door, true);
    gpa = door_alloc(&fixture.door, 3 << 20);
    door_add(&fixture.door, OUT1, gpa, 3 << 20, 0, 0, &fixture);
    door_kick(&fixture.door, OUT1);
    assert_int_equal(door_used(&fixture.door, OUT1, &written),
                     GPOINTER_TO_SIZE(&fixture));
    fixture_clear(&fixture);
}

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

/* ---- the rest ---- */

static void test_pty(void **state)
{
    VdsProp value = {0};
    Fixture fixture;
    Door *door = &fixture.door;
    int far;

    fixture_init(&fixture, "backend=pty,id=c0", PORT);
    assert_true(
        vds_machine_qom_get(door->machine, "/machine/peripheral/p", "pty", &value, NULL));
    door_start(door, DOOR_SPLIT);
    open_port(door, true);
    door_post(door, IN1, 64, 0);
    for (int i = 0; i < 2; i++) { /* two visitors, one after the other */
        far = open(value.text, O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(far >= 0);
        transmit(door, OUT1, "raw\n\x03", 0);
        assert_received(far, "raw\n\x03");
        assert_int_equal(write(far, "\x04typed\r", 7), 7);
        assert_got(door, IN1, "\x04typed\r");
        door_post(door, IN1, 64, 0);
        close(far);
    }
    vds_prop_clear(&value);
    fixture_clear(&fixture);
}

/* Without MULTIPORT there is port 0 alone, open from the start (5.3.5). */
static void test_single_port(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, SERVER, "virtconsole,chardev=c0");
    door_start(door, DOOR_SPLIT & ~DOOR_BIT(1));
    transmit(door, 1, "nobody", 0);
    door_post(door, 0, 16, 0);
    offer_control(door, 2);
    say(door, 0, DEVICE_READY, 1);
    {
        VDS_AUTO_FD fd = dial(&fixture);

        assert_int_equal(write(fd, "keys", 4), 4);
        assert_got(door, 0, "keys");
        transmit(door, 1, "screen", 0);
        assert_received(fd, "screen");
    }
    assert_heard(door, "");
    fixture_clear(&fixture);
}

/* A byte at any time, with no queue, even before the driver is there (5.3.6.1). */
static void test_emergency_write(void **state)
{
    const uint32_t words[] = {GUINT32_TO_LE('o'), GUINT32_TO_LE(0xffffff00u | 'k')};
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    uint32_t max_ports;
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=file,id=c0,path=%s", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) { /* no console: lost */
        assert_true(vds_virtio_driver_write_config(door->device, 8, &words[i], 4, NULL));
    }
    assert_true(door_plug(door, "virtconsole,chardev=c0", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        assert_true(vds_virtio_driver_write_config(door->device, 8, &words[i], 4, NULL));
    }
    assert_true(g_file_get_contents(fixture.path, &text, NULL, NULL));
    assert_string_equal(text, "ok");
    assert_true(
        vds_virtio_driver_read_config(door->device, 4, &max_ports, 4, NULL, NULL));
    assert_int_equal(GUINT32_FROM_LE(max_ports), 4);
    assert_false(vds_virtio_driver_write_config(door->device, 4, &max_ports, 4, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_CONFIG));
    fixture_clear(&fixture);
}

/* Ports come and go under a driver; one that came and went between two looks was never
 * there, and an id that is used again is first taken away. */
static void test_hot_plug(void **state)
{
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, "backend=null,id=c0", PORT);
    door_start(door, DOOR_SPLIT);
    open_port(door, true);
    offer_control(door, 8);
    assert_true(door_plug(door, "virtserialport,id=q,nr=2,name=q", NULL));
    assert_heard(door, "ADD 2=1");
    say(door, 2, PORT_READY, 1);
    assert_heard(door, "NAME 2=1 q");
    assert_true(vds_machine_device_del(door->machine, "q", NULL));
    assert_heard(door, "REMOVE 2=1");
    transmit(door, 7, "to whom it may concern", 0);
    say(door, 2, PORT_OPEN, 1); /* too late */

    vds_machine_stop(door->machine); /* nothing can be said meanwhile */
    assert_true(door_plug(door, "virtserialport,id=q,nr=2", NULL));
    assert_true(vds_machine_device_del(door->machine, "q", NULL));
    assert_true(vds_machine_device_del(door->machine, "p", NULL));
    assert_true(door_plug(door, PORT, NULL));
    assert_true(vds_machine_cont(door->machine, NULL));
    assert_heard(door, "REMOVE 1=1");
    assert_heard(door, "ADD 1=1");
    assert_heard(door, "");
    fixture_clear(&fixture);
}

static void test_refused(void **state)
{
    static const struct {
        const char *chardev, *start;
    } rows[] = {
        {"backend=file,id=c0,path=/nonesuch/file", "Could not open '/nonesuch/file': "},
        {"backend=socket,id=c0,server=on,path=/nonesuch/socket",
         "Failed to bind socket to '/nonesuch/socket': "},
        {"backend=socket,id=c0,path=/nonesuch/socket",
         "Failed to connect to '/nonesuch/socket': "},
        {"backend=socket,id=c0", "a socket needs one of 'path', 'host' and 'fd'"},
        {"backend=socket,id=c0,fd=999", "no socket at descriptor '999': "},
        {"backend=udp,id=c0", "a port cannot be wired to chardev kind 'udp'"},
        {"backend=socket,id=c0,host=::bad::,port=1",
         "address resolution failed for '::bad:::1': "},
        {"backend=socket,id=c0,server=on,path=/"
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678"
         "90123456789012345678901234567890",
         "UNIX socket path '/0123"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        Fixture fixture;

        fixture_init(&fixture, rows[i].chardev, NULL);
        assert_false(door_plug(&fixture.door, PORT, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND));
        assert_true(g_str_has_prefix(error->message, rows[i].start));
        assert_true(door_plug(&fixture.door, "virtserialport,nr=1", NULL));
        fixture_clear(&fixture);
    }
}

/* A path in use stays in use; one that a dead server left is taken; no file is touched.
 */
static void test_socket_paths(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VDS_AUTO_FD dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, SERVER, NULL);
    back_at(&fixture, "backend=socket,id=c1,server=on,path=%s");
    assert_true(g_file_set_contents(fixture.path, "precious", -1, NULL));
    assert_false(door_plug(door, PORT, NULL));
    assert_true(g_file_test(fixture.path, G_FILE_TEST_IS_REGULAR));
    g_remove(fixture.path);

    g_strlcpy(address.sun_path, fixture.path, sizeof(address.sun_path));
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    vds_fd_close(&dead);
    assert_true(door_plug(door, PORT, NULL));
    assert_false(door_plug(door, "virtserialport,nr=2,chardev=c1", NULL));
    assert_true(vds_machine_device_del(door->machine, "p", NULL));
    assert_false(g_file_test(fixture.path, G_FILE_TEST_EXISTS));
    assert_true(door_plug(door, "virtserialport,nr=2,chardev=c1", NULL));
    fixture_clear(&fixture);
}

/* ---- who is told ---- */

static void on_port_changed(void *user, const char *id, bool open)
{
    g_string_append_printf(user, "%s=%d ", id, open);
}

static void wait_told(VdsMailbox *mailbox, const GString *told, const char *expected)
{
    while (told->len < strlen(expected)) {
        struct pollfd wait = {.fd = vds_mailbox_get_fd(mailbox), .events = POLLIN};

        assert_int_equal(poll(&wait, 1, DOOR_PATIENCE_MS), 1);
        vds_mailbox_run(mailbox);
    }
    assert_string_equal(told->str, expected);
}

/* What is opened is told at once, what follows within a second as one; a reset closes; a
 * port without id, or one that stays as it is, is nobody's news. */
static void test_told(void **state)
{
    g_autoptr(GString) told = g_string_new(NULL);
    const VdsMachineListener listener = {.port_changed = on_port_changed, .user = told};
    VdsMailbox *mailbox;
    Fixture fixture;
    Door *door = &fixture.door;

    fixture_init(&fixture, NULL, NULL);
    mailbox = vds_machine_open_mailbox(door->machine, NULL);
    assert_non_null(mailbox);
    vds_machine_set_listener(door->machine, &listener);
    assert_true(door_plug(door, "virtserialport,id=p,nr=1", NULL));
    assert_true(door_plug(door, "virtserialport,nr=2", NULL));
    door_start(door, DOOR_SPLIT);
    offer_control(door, 8);
    say(door, UINT32_MAX, DEVICE_READY, 1);
    say(door, 2, PORT_OPEN, 1);
    say(door, 1, PORT_OPEN, 0);
    say(door, 1, PORT_OPEN, 1);
    for (unsigned i = 0; i < 4; i++) {
        say(door, 1, PORT_OPEN, i % 2 == 1);
    }
    wait_told(mailbox, told, "p=1 ");
    door_reset(door);
    wait_told(mailbox, told, "p=1 p=0 ");
    assert_true(vds_machine_device_del(door->machine, "p", NULL));
    vds_mailbox_run(mailbox);
    assert_string_equal(told->str, "p=1 p=0 ");
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_late_buffers),
        cmocka_unit_test(test_absurd_messages),
        cmocka_unit_test(test_message_without_bytes),
        cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_append),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_inherited_files),
        cmocka_unit_test(test_nowhere),
        cmocka_unit_test(test_long_request),
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
        cmocka_unit_test(test_pty),
        cmocka_unit_test(test_single_port),
        cmocka_unit_test(test_emergency_write),
        cmocka_unit_test(test_hot_plug),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_socket_paths),
        cmocka_unit_test(test_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
