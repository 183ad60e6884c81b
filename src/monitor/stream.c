/*
 * monitor: the descriptors of one connection, and how the kinds that are no sockets are
 * opened: standard input and output, a new pseudo terminal, a file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>

#include "monitor-priv.h"

static const VdsMonitorStream closed_stream = {
    .in = -1, .out = -1, .keep = -1, .in_flags = -1, .out_flags = -1};

static bool fail(GError **error, const char *what)
{
    int code = errno;

    g_set_error(error, VDS_MONITOR_ERROR, VDS_MONITOR_ERROR_SOCKET, "%s: %s", what,
                g_strerror(code));
    return false;
}

static bool set_nonblocking(int fd, int flags)
{
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

VdsMonitorStream vds_monitor_stream_from_socket(int fd)
{
    VdsMonitorStream stream = closed_stream;

    stream.in = stream.out = fd;
    stream.is_socket = true; /* and MSG_DONTWAIT makes each call non-blocking */
    return stream;
}

bool vds_monitor_stream_open_stdio(VdsMonitorStream *stream, GError **error)
{
    VDS_AUTO_FD in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    VDS_AUTO_FD out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);

    *stream = closed_stream;
    if (in < 0 || out < 0) {
        return fail(error, "Cannot use standard input and output");
    }
    /* Both are read before either is changed: a terminal is one description. */
    stream->in_flags = fcntl(in, F_GETFL);
    stream->out_flags = fcntl(out, F_GETFL);
    if (!set_nonblocking(in, stream->in_flags) ||
        !set_nonblocking(out, stream->out_flags)) {
        return fail(error, "Cannot make standard input and output non-blocking");
    }
    stream->in = vds_fd_steal(&in);
    stream->out = vds_fd_steal(&out);
    return true;
}

/* Bytes pass a pty as they are: no echo, no line editing, no CR for LF. */
static bool make_raw(int fd)
{
    struct termios mode;

    if (tcgetattr(fd, &mode) != 0) {
        return false;
    }
    cfmakeraw(&mode);
    return tcsetattr(fd, TCSANOW, &mode) == 0;
}

bool vds_monitor_stream_open_pty(VdsMonitorStream *stream, char **name, GError **error)
{
    VDS_AUTO_FD ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    VDS_AUTO_FD theirs = -1;
    char path[64];

    *stream = closed_stream;
    if (ours < 0 || grantpt(ours) != 0 || unlockpt(ours) != 0 ||
        ptsname_r(ours, path, sizeof(path)) != 0) {
        return fail(error, "Cannot make a pseudo terminal");
    }
    theirs = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (theirs < 0 || !make_raw(theirs)) {
        return fail(error, "Cannot prepare the pseudo terminal");
    }
    stream->in = stream->out = vds_fd_steal(&ours);
    stream->keep = vds_fd_steal(&theirs);
    *name = g_strdup(path);
    return true;
}

bool vds_monitor_stream_open_file(VdsMonitorStream *stream, const char *path,
                                  GError **error)
{
    *stream = closed_stream;
    stream->out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666);
    if (stream->out < 0) {
        g_autofree char *what = g_strdup_printf("Cannot open '%s'", path);

        return fail(error, what);
    }
    return true;
}

/* ---- reading ----------------------------------------------------------------------- */

int vds_monitor_fds_take(VdsMonitorFds *fds)
{
    int first = fds->n > 0 ? fds->fds[0] : -1;

    if (fds->n > 0) {
        fds->n--;
        memmove(fds->fds, fds->fds + 1, fds->n * sizeof(int));
    }
    return first;
}

void vds_monitor_fds_clear(VdsMonitorFds *fds)
{
    for (unsigned i = 0; i < fds->n; i++) {
        vds_closer_close(fds->closer, &fds->fds[i]);
    }
    fds->n = 0;
}

static void fds_note(VdsMonitorFds *fds, struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            vds_monitor_fds_clear(fds);
            fds->n = (unsigned)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds->fds, CMSG_DATA(part), fds->n * sizeof(int));
        }
    }
}

/* What does not fit into `control` the kernel closes. */
static ssize_t socket_read(int fd, void *to, size_t len, VdsMonitorFds *fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * VDS_MONITOR_MAX_FDS)];
    } control;
    struct iovec bytes = {to, len};
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (got >= 0 && message.msg_controllen > 0) {
        fds_note(fds, &message);
    }
    return got;
}

ssize_t vds_monitor_stream_read(const VdsMonitorStream *stream, void *to, size_t len,
                                VdsMonitorFds *fds)
{
    return stream->is_socket ? socket_read(stream->in, to, len, fds)
                             : read(stream->in, to, len);
}

void vds_monitor_stream_close(VdsMonitorStream *stream)
{
    if (stream->in_flags >= 0) {
        fcntl(stream->in, F_SETFL, stream->in_flags);
    }
    if (stream->out_flags >= 0) {
        fcntl(stream->out, F_SETFL, stream->out_flags);
    }
    if (stream->in != stream->out) {
        vds_fd_close(&stream->in);
    }
    vds_fd_close(&stream->out);
    vds_fd_close(&stream->keep);
    *stream = closed_stream;
}
