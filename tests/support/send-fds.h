/*
 * tests: bytes with descriptors over a Unix socket (unix(7), SCM_RIGHTS).  Asserts
 * nothing, so that unit tests, fuzzers and benchmarks stand on it alike.
 */
#pragma once

#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

enum { SEND_FDS_MAX = 253 }; /* the kernel's SCM_MAX_FD */

/* One sendmsg() with `flags` besides MSG_NOSIGNAL; the descriptors stay the caller's.
 * false: not all of it was taken, or errno says why nothing was. */
static inline bool send_with_fds(int to, const void *bytes, size_t len, const int *fds,
                                 size_t n_fds, int flags)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * SEND_FDS_MAX)];
    } control;
    struct iovec part = {(void *)bytes, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (n_fds > 0) {
        memset(&control, 0, CMSG_SPACE(sizeof(int) * n_fds));
        control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS,
                                          .cmsg_len = CMSG_LEN(sizeof(int) * n_fds)};
        memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
    }
    return sendmsg(to, &message, MSG_NOSIGNAL | flags) == (ssize_t)len;
}
