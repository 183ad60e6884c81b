/*
 * devices: the wires that are not sockets, and what all of them have in common: reading,
 * writing, waiting.  Bytes are never kept here: what the other side does not take stays
 * with the driver, and what the driver has no room for stays with the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

#include "serial-socket-priv.h"

bool vds_wire_fail(GError **error, const char *what, const char *name)
{
    int number = errno;

    g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND, "%s '%.*s': %s", what,
                vds_name_len(name), name, g_strerror(number));
    return false;
}

/* ---- kinds ------------------------------------------------------------------------- */

static bool open_null(VdsSerialWire *wire, const VdsProps *props, GError **error)
{
    wire->sink = true;
    return true;
}

enum { OPEN_MS = 50 }; /* its file system may not answer */

/* The file that `key` names; one of a descriptor that was inherited is that descriptor:
 * this process may not be allowed to open it.  -1: none */
static int open_output(const VdsSerialWire *wire, const VdsProps *props, const char *key,
                       bool append, GError **error)
{
    g_autofree char *fd_key = g_strconcat(key, "-fd", NULL);
    const VdsProp *given = vds_props_find(props, fd_key);
    const char *path = vds_props_get_string(props, key);
    const int flags = O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY;
    uint64_t number;
    int fd;

    path = path ? path : "";
    if (!given) {
        fd = vds_patience_open(wire->patience, path,
                               flags | (append ? O_APPEND : O_TRUNC), 0666, OPEN_MS);
    } else if (vds_prop_get_uint(given, 0, INT_MAX, &number, error)) {
        fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);
        if (fd >= 0) {
            g_unix_set_fd_nonblocking(fd, TRUE, NULL);
        }
    } else {
        return -1;
    }
    if (fd < 0) {
        vds_wire_fail(error, "Could not open", path);
    }
    return fd;
}

static bool open_log(VdsSerialWire *wire, const VdsProps *props, GError **error)
{
    const VdsProp *append_prop = vds_props_find(props, "logappend");
    bool append = false;

    if (!vds_props_find(props, "logfile")) {
        return true;
    }
    if (append_prop && !vds_prop_get_bool(append_prop, &append, error)) {
        return false;
    }
    wire->log_fd = open_output(wire, props, "logfile", append, error);
    return wire->log_fd >= 0;
}

static bool open_file(VdsSerialWire *wire, const VdsProps *props, GError **error)
{
    const VdsProp *append_prop = vds_props_find(props, "append");
    bool append = false;

    if (append_prop && !vds_prop_get_bool(append_prop, &append, error)) {
        return false;
    }
    wire->out_fd = open_output(wire, props, "path", append, error);
    return wire->out_fd >= 0;
}

/* A description of our own where the system gives one: O_NONBLOCK must not change what
 * the program that started us sees of its terminal. */
static int open_standard(int fd, int mode)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    struct stat info;

    if (fstat(fd, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode))) {
        int own = open(path, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

        if (own >= 0) {
            return own;
        }
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static bool open_stdio(VdsSerialWire *wire, const VdsProps *props, GError **error)
{
    wire->in_fd = open_standard(STDIN_FILENO, O_RDONLY);
    wire->out_fd = open_standard(STDOUT_FILENO, O_WRONLY);
    return wire->out_fd >= 0 || vds_wire_fail(error, "Could not open", "stdio");
}

/* One that was made before us, or a new one. */
static int pty_master(const VdsProps *props)
{
    const VdsProp *made = vds_props_find(props, "fd");
    uint64_t number;

    return made && vds_prop_get_uint(made, 0, INT_MAX, &number, NULL)
               ? fcntl((int)number, F_DUPFD_CLOEXEC, 0)
               : posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
}

/* We keep the other end open, too: without it a pty has nobody between two visitors, and
 * is readable for ever. */
static bool open_pty(VdsSerialWire *wire, const VdsProps *props, GError **error)
{
    char name[64];
    struct termios raw;

    wire->in_fd = pty_master(props);
    if (wire->in_fd < 0 || grantpt(wire->in_fd) != 0 || unlockpt(wire->in_fd) != 0 ||
        ptsname_r(wire->in_fd, name, sizeof(name)) != 0) {
        return vds_wire_fail(error, "Could not open", "pty");
    }
    wire->far_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    wire->out_fd = fcntl(wire->in_fd, F_DUPFD_CLOEXEC, 0);
    if (wire->far_fd < 0 || wire->out_fd < 0 || tcgetattr(wire->far_fd, &raw) != 0) {
        return vds_wire_fail(error, "Could not open", name);
    }
    cfmakeraw(&raw);
    tcsetattr(wire->far_fd, TCSANOW, &raw);
    wire->name = g_strdup(name);
    return true;
}

static const struct {
    const char *backend;
    bool (*open)(VdsSerialWire *wire, const VdsProps *props, GError **error);
} kinds[] = {
    {"null", open_null},
    {"file", open_file},
    {"stdio", open_stdio},
    {"pty", open_pty},
    {"socket", vds_wire_open_socket},
};

VdsSerialWire *vds_serial_wire_new(const VdsProps *chardev, VdsPatience *patience,
                                   GError **error)
{
    const char *backend = vds_props_get_string(chardev, "backend");
    g_autoptr(VdsSerialWire) wire = g_new0(VdsSerialWire, 1);

    wire->patience = patience;
    wire->in_fd = wire->out_fd = wire->far_fd = wire->listen_fd = wire->log_fd = -1;
    for (size_t i = 0; backend && i < G_N_ELEMENTS(kinds); i++) {
        if (strcmp(backend, kinds[i].backend) == 0) {
            return kinds[i].open(wire, chardev, error) && open_log(wire, chardev, error)
                       ? g_steal_pointer(&wire)
                       : NULL;
        }
    }
    backend = backend ? backend : "";
    g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                "a port cannot be wired to chardev kind '%.*s'", vds_name_len(backend),
                backend);
    return NULL;
}

void vds_serial_wire_free(VdsSerialWire *wire)
{
    if (wire) {
        vds_wire_socket_clear(wire);
        vds_fd_close(&wire->in_fd);
        vds_fd_close(&wire->out_fd);
        vds_fd_close(&wire->far_fd);
        vds_fd_close(&wire->log_fd);
        g_free(wire->name);
        g_free(wire);
    }
}

const char *vds_serial_wire_get_name(const VdsSerialWire *wire)
{
    return wire->name;
}

/* ---- waiting ----------------------------------------------------------------------- */

static void watch_in(VdsSerialWire *wire);

static void on_in(uint32_t events, void *user)
{
    VdsSerialWire *wire = user;
    int unread = 0;

    if (wire->want_in) {
        wire->ops->readable(wire->user);
        return;
    }
    /* Nobody reads, and the other side left: what it said last is kept for who will. */
    if (ioctl(wire->in_fd, FIONREAD, &unread) == 0 && unread > 0) {
        wire->hung_up = true;
        watch_in(wire);
    } else {
        vds_wire_disconnect(wire);
    }
}

/* A socket is watched also when nobody reads: for its end. */
static void watch_in(VdsSerialWire *wire)
{
    bool idle = !wire->want_in && (!wire->is_socket || wire->hung_up);
    uint32_t events = wire->want_in ? EPOLLIN : 0;

    if (!wire->thread || wire->in_fd < 0 || wire->connecting || idle) {
        vds_io_watch_free(g_steal_pointer(&wire->in_watch));
    } else if (wire->in_watch) {
        vds_io_watch_set_events(wire->in_watch, events);
    } else {
        /* A file or /dev/null as standard input: nothing to wait for, nothing to read. */
        wire->in_watch =
            vds_io_watch_new(wire->thread, wire->in_fd, events, on_in, wire, NULL);
    }
}

static void on_out(uint32_t events, void *user)
{
    VdsSerialWire *wire = user;

    if (wire->connecting) {
        vds_wire_connected(wire);
    } else {
        wire->ops->writable(wire->user);
    }
}

/* What cannot be waited for (files) is ready soon. */
static void watch_out(VdsSerialWire *wire)
{
    bool want = wire->want_out || wire->connecting;

    if (!wire->thread || !want || (wire->out_fd < 0 && !wire->sink)) {
        vds_io_watch_free(g_steal_pointer(&wire->out_watch));
        return;
    }
    if (!wire->out_watch && wire->out_fd >= 0) {
        wire->out_watch =
            vds_io_watch_new(wire->thread, wire->out_fd, EPOLLOUT, on_out, wire, NULL);
    }
    if (!wire->out_watch) {
        vds_wire_wake_after(wire, 1);
    }
}

void vds_wire_watch(VdsSerialWire *wire)
{
    watch_in(wire);
    watch_out(wire);
}

static void on_timer(void *user)
{
    VdsSerialWire *wire = user;

    if (wire->left) {
        vds_wire_tell_left(wire);
    } else if (!vds_serial_wire_is_open(wire)) {
        vds_wire_accept_again(wire);
        vds_wire_reconnect(wire);
    } else if (wire->want_out) {
        wire->ops->writable(wire->user);
    }
}

/* Where the start found no descriptor for it, the timer is made here. */
bool vds_wire_wake_after(VdsSerialWire *wire, uint64_t ns)
{
    if (wire->thread && !wire->timer) {
        wire->timer = vds_io_timer_new(wire->thread, on_timer, wire, NULL);
    }
    if (wire->timer) {
        vds_io_timer_set(wire->timer, ns, 0);
    }
    return wire->timer != NULL;
}

void vds_serial_wire_start(VdsSerialWire *wire, VdsIoThread *thread,
                           const VdsSerialWireOps *ops, void *user)
{
    wire->thread = thread;
    wire->ops = ops;
    wire->user = user;
    wire->timer = vds_io_timer_new(thread, on_timer, wire, NULL);
    vds_wire_socket_start(wire);
    vds_wire_watch(wire);
}

void vds_serial_wire_stop(VdsSerialWire *wire)
{
    wire->thread = NULL;
    wire->want_in = wire->want_out = false;
    vds_io_watch_free(g_steal_pointer(&wire->in_watch));
    vds_io_watch_free(g_steal_pointer(&wire->out_watch));
    vds_io_watch_free(g_steal_pointer(&wire->listen_watch));
    vds_io_timer_free(g_steal_pointer(&wire->timer));
}

bool vds_serial_wire_is_open(const VdsSerialWire *wire)
{
    return wire->sink || (wire->out_fd >= 0 && !wire->connecting);
}

void vds_serial_wire_want_in(VdsSerialWire *wire, bool want)
{
    if (want != wire->want_in) {
        wire->want_in = want;
        watch_in(wire);
    }
}

void vds_serial_wire_want_out(VdsSerialWire *wire, bool want)
{
    wire->want_out = want;
    watch_out(wire);
}

/* ---- bytes ------------------------------------------------------------------------- */

size_t vds_serial_wire_read(VdsSerialWire *wire, void *to, size_t len)
{
    ssize_t n;

    if (wire->in_fd < 0 || wire->connecting) {
        return 0;
    }
    do {
        n = read(wire->in_fd, to, len);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        return (size_t)n;
    }
    if (n < 0 && errno == EAGAIN) {
        return 0;
    }
    if (wire->is_socket) {
        vds_wire_disconnect(wire);
    } else { /* the end of standard input; output goes on */
        vds_io_watch_free(g_steal_pointer(&wire->in_watch));
        vds_fd_close(&wire->in_fd);
    }
    return 0;
}

static size_t write_out(VdsSerialWire *wire, const void *from, size_t len)
{
    ssize_t n;

    if (wire->out_fd < 0 || wire->connecting) {
        return len;
    }
    do {
        n = wire->is_socket ? send(wire->out_fd, from, len, MSG_NOSIGNAL)
                            : write(wire->out_fd, from, len);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return (size_t)n;
    }
    if (errno == EAGAIN) {
        return 0;
    }
    if (wire->is_socket) {
        vds_wire_disconnect(wire);
    }
    return len; /* a full disk, a closed pipe: lost, as on any line */
}

/* What was taken is logged, also when nobody was there; a log that does not keep up loses
 * what it has no room for. */
size_t vds_serial_wire_write(VdsSerialWire *wire, const void *from, size_t len)
{
    size_t taken = write_out(wire, from, len);
    ssize_t n;

    if (wire->log_fd >= 0 && taken > 0) {
        do {
            n = write(wire->log_fd, from, taken);
        } while (n < 0 && errno == EINTR);
    }
    return taken;
}
