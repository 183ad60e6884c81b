/*
 * tests: a vhost-user front-end over the codec, one message at a time, in the process of
 * the back-end: whoever waits here turns the main loop.  Includes cmocka's asserts.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "send-fds.h"
#include "vds/vhost_user.h"

typedef struct {
    int fd;
    VdsVhostUserDecoder decoder;
} Front;

enum { FRONT_WAIT_US = 5 * 1000 * 1000 };

static inline void front_take(Front *front, int fd)
{
    front->fd = fd;
    vds_vhost_user_decoder_init(&front->decoder, VDS_VHOST_USER_MAIN, true);
}

static inline void front_connect(Front *front, const char *path)
{
    int fd = vds_unix_connect(path, NULL);

    assert_true(fd >= 0);
    front_take(front, fd);
}

static inline void front_leave(Front *front)
{
    vds_vhost_user_decoder_clear(&front->decoder);
    vds_fd_close(&front->fd);
}

/* Bytes with descriptors, which stay the caller's. */
static inline void front_send_bytes(Front *front, const void *bytes, size_t len,
                                    const int *fds, size_t n_fds)
{
    assert_true(send_with_fds(front->fd, bytes, len, fds, n_fds, 0));
}

/* Takes the message's descriptors. */
static inline void front_send(Front *front, VdsVhostUserMessage *message)
{
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    size_t len = vds_vhost_user_message_pack(VDS_VHOST_USER_MAIN, message, bytes, NULL);

    assert_true(len > 0);
    front_send_bytes(front, bytes, len, message->fds, message->n_fds);
    vds_vhost_user_message_clear(message);
}

typedef enum { FRONT_NOTHING, FRONT_REPLY, FRONT_CLOSED } FrontHeard;

static inline FrontHeard front_try(Front *front, VdsVhostUserMessage *reply)
{
    for (;;) {
        union {
            struct cmsghdr header;
            char room[CMSG_SPACE(sizeof(int))];
        } control;
        uint8_t *to;
        size_t want = vds_vhost_user_decoder_want(&front->decoder, &to);
        struct iovec part = {to, want};
        struct msghdr header = {.msg_iov = &part,
                                .msg_iovlen = 1,
                                .msg_control = &control,
                                .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(front->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        int fd = -1;

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return FRONT_NOTHING;
        }
        if (n <= 0) {
            return FRONT_CLOSED;
        }
        if (header.msg_controllen > 0) {
            memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(fd));
        }
        switch (
            vds_vhost_user_decoder_push(&front->decoder, (size_t)n, &fd, fd >= 0, NULL)) {
        case VDS_VHOST_USER_MESSAGE:
            vds_vhost_user_decoder_take(&front->decoder, reply);
            return FRONT_REPLY;
        case VDS_VHOST_USER_MORE:
            break;
        default:
            fail_msg("a reply that is none");
        }
    }
}

static inline FrontHeard front_hear(Front *front, VdsVhostUserMessage *reply)
{
    gint64 end = g_get_monotonic_time() + FRONT_WAIT_US;

    while (g_get_monotonic_time() < end) {
        FrontHeard heard = front_try(front, reply);

        if (heard != FRONT_NOTHING) {
            return heard;
        }
        if (!g_main_context_iteration(NULL, FALSE)) {
            g_usleep(200);
        }
    }
    return FRONT_NOTHING;
}

static inline gboolean front_run_mailbox(gint fd, GIOCondition events, gpointer box)
{
    vds_mailbox_run(box);
    return G_SOURCE_CONTINUE;
}

/* As main does it; returns the source's id. */
static inline guint front_watch(VdsMailbox *box)
{
    return g_unix_fd_add(vds_mailbox_get_fd(box), G_IO_IN, front_run_mailbox, box);
}

/* The loop, until it has had nothing to do for a while, or something all the time. */
static inline void front_turn(void)
{
    for (int round = 0, idle = 0; round < 200 && idle < 3; round++) {
        idle = g_main_context_iteration(NULL, FALSE) ? 0 : idle + 1;
        if (idle > 0) {
            g_usleep(1000);
        }
    }
}

/* One that must be answered; the reply's u64. */
static inline uint64_t front_ask(Front *front, VdsVhostUserMessage *message)
{
    uint32_t request = message->request;
    VdsVhostUserMessage reply;

    front_send(front, message);
    assert_int_equal(front_hear(front, &reply), FRONT_REPLY);
    assert_int_equal(reply.request, request);
    assert_int_equal(reply.n_fds, 0);
    return reply.u.u64;
}

static inline uint64_t front_get(Front *front, uint32_t request)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, request);
    return front_ask(front, &message);
}

static inline void front_set(Front *front, uint32_t request, uint64_t value)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, request);
    message.u.u64 = value;
    front_send(front, &message);
}

/* ... and asks how it went. */
static inline uint64_t front_set_acked(Front *front, uint32_t request, uint64_t value)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, request);
    message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    message.u.u64 = value;
    return front_ask(front, &message);
}

static inline void front_ring(Front *front, uint32_t request, uint32_t index,
                              uint32_t num)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, request);
    message.u.ring = (VdsVhostUserRingState){index, num};
    front_send(front, &message);
}

/* fd is (transfer full); -1 says that there is none. */
static inline void front_ring_fd(Front *front, uint32_t request, uint32_t index, int fd)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, request);
    message.u.u64 = index | (fd < 0 ? VDS_VHOST_USER_NO_FD : 0);
    vds_vhost_user_message_add_fd(&message, fd);
    front_send(front, &message);
}

static inline uint32_t front_base(Front *front, uint32_t index)
{
    VdsVhostUserMessage message, reply;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_GET_VRING_BASE);
    message.u.ring.index = index;
    front_send(front, &message);
    assert_int_equal(front_hear(front, &reply), FRONT_REPLY);
    assert_int_equal(reply.u.ring.index, index);
    return reply.u.ring.num;
}

static inline void front_expect_closed(Front *front)
{
    VdsVhostUserMessage reply;

    assert_int_equal(front_hear(front, &reply), FRONT_CLOSED);
}

static inline unsigned count_descriptors(void)
{
    DIR *dir;
    unsigned n = 0;

    front_turn(); /* the loop has one, too */
    dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}
