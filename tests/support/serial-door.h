/*
 * tests: a driver of virtio-serial: its control queues in words, and one port with a
 * chardev behind it.  Includes cmocka's asserts.
 */
#pragma once

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

static inline void say_bytes(Door *door, const void *bytes, uint32_t len, uint32_t piece)
{
    uint32_t written = 1;
    uint64_t gpa = door_send(door, CONTROL_OUT, bytes, len, piece);

    assert_int_equal(door_used(door, CONTROL_OUT, &written), gpa);
    assert_int_equal(written, 0);
}

static inline void say(Door *door, uint32_t id, uint16_t event, uint16_t value)
{
    const Message message = {GUINT32_TO_LE(id), GUINT16_TO_LE(event),
                             GUINT16_TO_LE(value)};

    say_bytes(door, &message, sizeof(message), 3);
}

/* "PORT_ADD 1 = 1 name", or "" if nothing is said. */
static inline char *hear_in(Door *door, int timeout_ms)
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

static inline void assert_heard(Door *door, const char *expected)
{
    g_autofree char *heard = hear_in(door, expected[0] ? DOOR_PATIENCE_MS : QUIET_MS);

    assert_string_equal(heard, expected);
}

static inline void offer_control(Door *door, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        door_post(door, CONTROL_IN, 32, i == 1 ? 5 : 0);
    }
}

/* ---- fixtures ---- */

/* %s in the text is the folder's path. */
static inline void back_at(Fixture *fixture, const char *format)
{
    g_auto(GStrv) parts = g_strsplit(format, "%s", 2);
    g_autofree char *text = g_strconcat(parts[0], parts[1] ? fixture->path : "",
                                        parts[1] ? parts[1] : "", NULL);

    door_back(&fixture->door, "chardev", text);
}

static inline void fixture_init(Fixture *fixture, const char *chardev, const char *port)
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

static inline void fixture_clear(Fixture *fixture)
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
static inline void open_port(Door *door, bool connected)
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

static inline int dial(const Fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = 20};

    g_strlcpy(address.sun_path, fixture->path, sizeof(address.sun_path));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static inline void assert_received(int fd, const char *text)
{
    char bytes[256] = "";

    for (size_t done = 0; done < strlen(text);) {
        ssize_t n = read(fd, bytes + done, strlen(text) - done);

        assert_true(n > 0);
        done += (size_t)n;
    }
    assert_string_equal(bytes, text);
}

static inline void assert_got(Door *door, unsigned queue, const char *text)
{
    char bytes[256] = "";
    uint32_t written = 0;
    uint64_t gpa = door_used(door, queue, &written);

    assert_int_not_equal(gpa, 0);
    assert_int_equal(written, strlen(text));
    door_peek(door, gpa, bytes, written);
    assert_string_equal(bytes, text);
}

static inline void transmit(Door *door, unsigned queue, const char *text, uint32_t piece)
{
    uint32_t written = 1;
    uint64_t gpa = door_send(door, queue, text, (uint32_t)strlen(text), piece);

    assert_int_equal(door_used(door, queue, &written), gpa);
    assert_int_equal(written, 0);
}
