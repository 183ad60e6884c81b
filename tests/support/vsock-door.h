/*
 * tests: a driver of virtio-vsock that says any packet, another of the same process, and
 * the host's side of its sockets.  Includes cmocka's asserts.
 */
#pragma once

#include <errno.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "door.h"
#include "vsock-packet.h"

enum { BUFFER = 4096, MAX_BYTES = 64 * 1024, CID = 3, PORT = 1234, QUIET_MS = 30 };

typedef struct {
    Door door;
    char *folder, *path; /* (nullable) of the sockets */
    uint8_t bytes[MAX_BYTES];
} Sock;

static inline void sock_post(Sock *sock, unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++) {
        door_post(&sock->door, RX, len, 0);
    }
}

static inline void sock_open(Sock *sock, const char *more, uint64_t features)
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

static inline void sock_close(Sock *sock)
{
    door_clear(&sock->door);
    assert_false(g_file_test(sock->path, G_FILE_TEST_EXISTS));
    assert_int_equal(g_rmdir(sock->folder), 0);
    g_free(sock->path);
    g_free(sock->folder);
}

static inline void sock_send_raw(Sock *sock, const void *bytes, uint32_t len)
{
    uint32_t written;

    door_send(&sock->door, TX, bytes, len, len > 4096 ? 4096 : 30);
    assert_int_not_equal(door_used(&sock->door, TX, &written), 0);
    assert_int_equal(written, 0);
}

/* A packet of CID, from port 99, unless the header says otherwise. */
static inline void sock_send(Sock *sock, Header header, const void *payload)
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
static inline Header sock_next_in(Sock *sock, int timeout_ms)
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

static inline Header sock_next(Sock *sock)
{
    return sock_next_in(sock, DOOR_PATIENCE_MS);
}

static inline void assert_next(Sock *sock, uint16_t op, uint32_t flags)
{
    Header header = sock_next(sock);

    assert_int_equal(header.op, op);
    assert_int_equal(header.flags, flags);
    assert_int_equal(header.len, 0);
}

static inline bool is_quiet(Sock *sock)
{
    return sock_next_in(sock, QUIET_MS).op == 0;
}

/* ---- the host's side ---- */

static inline int make_socket(const char *path, struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    g_strlcpy(address->sun_path, path, sizeof(address->sun_path));
    return fd;
}

static inline int host_listen(Sock *sock, unsigned port)
{
    g_autofree char *path = g_strdup_printf("%s_%u", sock->path, port);
    struct sockaddr_un address;
    int fd = make_socket(path, &address);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static inline void host_unlisten(Sock *sock, int fd, unsigned port)
{
    g_autofree char *path = g_strdup_printf("%s_%u", sock->path, port);

    close(fd);
    g_unlink(path);
}

static inline int host_connect(Sock *sock, const char *greeting)
{
    struct sockaddr_un address;
    int fd = make_socket(sock->path, &address);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, greeting, strlen(greeting), MSG_NOSIGNAL),
                     (ssize_t)strlen(greeting));
    return fd;
}

static inline void host_expect(int fd, const void *bytes, size_t len)
{
    uint8_t found[4096];

    assert_true(len <= sizeof(found));
    assert_int_equal(recv(fd, found, len, MSG_WAITALL), (ssize_t)len);
    assert_memory_equal(found, bytes, len);
}

static inline void host_expect_end(int fd)
{
    char byte;

    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* The driver connects to the host; returns the host's end. */
static inline int open_to_host(Sock *sock, uint32_t buf_alloc)
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
