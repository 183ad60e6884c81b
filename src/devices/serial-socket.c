/*
 * devices: the sockets a port can be wired to: unix and TCP, server and client.  A server
 * has one client at a time; others wait in its backlog, as with QEMU.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "serial-socket-priv.h"

typedef struct addrinfo AddrInfo;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AddrInfo, freeaddrinfo)

enum {
    PAUSE_NS = 1000000000, /* when there are no descriptors left */
    LOOK_UP_MS = 50,
};

/* The in half, and the out half at the place of `spare`.  Takes both descriptors. */
static bool take(VdsSerialWire *wire, int fd, int spare)
{
    const int on = 1;

    if (dup3(fd, spare, O_CLOEXEC) < 0) { /* the limit was lowered just now */
        vds_fd_close(&fd);
        vds_fd_close(&spare);
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* refused by unix */
    wire->hung_up = false;
    wire->in_fd = fd;
    wire->out_fd = spare;
    return true;
}

/* A descriptor for take(), before there is a connection that could be lost for want of
 * one. */
static int make_spare(int any)
{
    return fcntl(any, F_DUPFD_CLOEXEC, 0);
}

/* ---- server ------------------------------------------------------------------------ */

/* Who waits is accepted after a second: descriptors may be back by then. */
static void listen_pause(VdsSerialWire *wire)
{
    if (vds_wire_wake_after(wire, PAUSE_NS)) {
        vds_io_watch_set_events(wire->listen_watch, 0);
    }
}

void vds_wire_accept_again(VdsSerialWire *wire)
{
    if (wire->listen_watch) {
        vds_io_watch_set_events(wire->listen_watch, EPOLLIN);
    }
}

static void on_client(uint32_t events, void *user)
{
    VdsSerialWire *wire = user;
    VDS_AUTO_FD spare = make_spare(wire->listen_fd);
    int fd = spare < 0
                 ? -1
                 : accept4(wire->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            listen_pause(wire);
        }
        return;
    }
    if (take(wire, fd, vds_fd_steal(&spare))) {
        vds_io_watch_set_events(wire->listen_watch, 0);
        vds_wire_watch(wire);
        wire->ops->changed(wire->user);
    }
}

static bool bind_listen(int fd, const struct sockaddr *address, socklen_t len)
{
    return bind(fd, address, len) == 0 && listen(fd, 1) == 0;
}

/* The same rules for the file as for monitors' and vhost-user's. */
static bool listen_unix(VdsSerialWire *wire, const char *path, GError **error)
{
    g_autoptr(GError) why = NULL;

    wire->listen_fd = vds_unix_listen(path, &wire->identity, &why);
    if (wire->listen_fd < 0 && why->code == VDS_UTIL_ERROR_ADDRESS) {
        g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                            why->message);
        return false;
    }
    if (wire->listen_fd < 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                    "Failed to bind socket to '%.*s': %s", vds_name_len(path), path,
                    why->message);
        return false;
    }
    wire->listen_path = g_strdup(path);
    return true;
}

static bool listen_tcp(VdsSerialWire *wire, const AddrInfo *found, const char *name,
                       GError **error)
{
    const int on = 1;

    for (const AddrInfo *address = found; address; address = address->ai_next) {
        VDS_AUTO_FD fd =
            socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0) {
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind_listen(fd, address->ai_addr, address->ai_addrlen)) {
            wire->listen_fd = vds_fd_steal(&fd);
            return true;
        }
    }
    return vds_wire_fail(error, "Failed to bind socket to", name);
}

/* ---- client ------------------------------------------------------------------------ */

static void retry_later(VdsSerialWire *wire)
{
    if (wire->reconnect_ns != 0) {
        vds_wire_wake_after(wire, wire->reconnect_ns);
    }
}

/* false: refused at once, with errno. */
static bool connect_far(VdsSerialWire *wire)
{
    VDS_AUTO_FD fd =
        socket(wire->far.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    VDS_AUTO_FD spare = fd < 0 ? -1 : make_spare(fd);
    bool connecting = false, taken;

    if (spare < 0) {
        return false;
    }
    if (connect(fd, (const struct sockaddr *)&wire->far, wire->far_len) != 0) {
        if (errno != EINPROGRESS) {
            return false;
        }
        connecting = true;
    }
    taken = take(wire, vds_fd_steal(&fd), vds_fd_steal(&spare));
    wire->connecting = taken && connecting;
    return taken;
}

void vds_wire_reconnect(VdsSerialWire *wire)
{
    if (wire->far_len == 0 || wire->reconnect_ns == 0 || wire->out_fd >= 0) {
        return;
    }
    if (!connect_far(wire)) {
        retry_later(wire);
        return;
    }
    vds_wire_watch(wire);
    if (!wire->connecting) {
        wire->ops->changed(wire->user);
    }
}

void vds_wire_connected(VdsSerialWire *wire)
{
    int number = 0;
    socklen_t len = sizeof(number);

    getsockopt(wire->out_fd, SOL_SOCKET, SO_ERROR, &number, &len);
    if (number != 0) {
        vds_wire_disconnect(wire);
        return;
    }
    wire->connecting = false;
    vds_wire_watch(wire);
    wire->ops->changed(wire->user);
}

/* ---- both -------------------------------------------------------------------------- */

void vds_wire_disconnect(VdsSerialWire *wire)
{
    bool was_open = vds_serial_wire_is_open(wire);

    vds_io_watch_free(g_steal_pointer(&wire->in_watch));
    vds_io_watch_free(g_steal_pointer(&wire->out_watch));
    vds_fd_close(&wire->in_fd);
    vds_fd_close(&wire->out_fd);
    wire->connecting = wire->hung_up = false;
    if (was_open) {
        wire->left = true;
        vds_wire_wake_after(wire, 1);
    } else {
        retry_later(wire);
    }
}

void vds_wire_tell_left(VdsSerialWire *wire)
{
    wire->left = false;
    vds_wire_accept_again(wire);
    retry_later(wire);
    wire->ops->changed(wire->user);
}

void vds_wire_socket_start(VdsSerialWire *wire)
{
    uint32_t events = wire->out_fd < 0 && !wire->left ? EPOLLIN : 0;

    if (wire->left) { /* the stop came in between */
        vds_wire_wake_after(wire, 1);
    } else if (wire->is_socket && wire->listen_fd < 0 && wire->out_fd < 0) {
        retry_later(wire);
    }
    if (wire->listen_fd >= 0) {
        wire->listen_watch = vds_io_watch_new(wire->thread, wire->listen_fd, events,
                                              on_client, wire, NULL);
    }
}

void vds_wire_socket_clear(VdsSerialWire *wire)
{
    if (wire->listen_path) {
        vds_unix_unlink(wire->listen_path, &wire->identity);
        g_free(wire->listen_path);
    }
    vds_fd_close(&wire->listen_fd);
}

/* ---- from the options -------------------------------------------------------------- */

static bool get_bool(const VdsProps *props, const char *name, bool *value, GError **error)
{
    const VdsProp *prop = vds_props_find(props, name);

    *value = false;
    return !prop || vds_prop_get_bool(prop, value, error);
}

/* Connecting for the first time; with reconnect= it may fail. */
static bool connect_first(VdsSerialWire *wire, const void *address, size_t len,
                          const char *name, GError **error)
{
    memcpy(&wire->far, address, len);
    wire->far_len = (socklen_t)len;
    return connect_far(wire) || wire->reconnect_ns != 0 ||
           vds_wire_fail(error, "Failed to connect to", name);
}

static bool open_unix(VdsSerialWire *wire, const VdsProps *props, bool server,
                      GError **error)
{
    const char *path = vds_props_get_string(props, "path");
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (server) {
        return listen_unix(wire, path, error);
    }
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return vds_wire_fail(error, "UNIX socket path", path);
    }
    strcpy(address.sun_path, path);
    return connect_first(wire, &address, sizeof(address), path, error);
}

/* Name servers may not answer: on a thread of its own. */
typedef struct {
    char *host, *port; /* (nullable) */
    int flags, code;
    AddrInfo *found; /* (nullable) */
} LookUp;

static void look_up_free(void *user)
{
    LookUp *look_up = user;

    g_clear_pointer(&look_up->found, freeaddrinfo);
    g_free(look_up->host);
    g_free(look_up->port);
    g_free(look_up);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LookUp, look_up_free)

static void look_up_run(void *user)
{
    LookUp *look_up = user;
    const AddrInfo hints = {.ai_flags = look_up->flags, .ai_socktype = SOCK_STREAM};

    look_up->code = getaddrinfo(look_up->host, look_up->port, &hints, &look_up->found);
}

/* A number needs no server and no thread. */
static bool look_up_number(LookUp *look_up)
{
    int flags = look_up->flags;

    look_up->flags |= AI_NUMERICHOST | AI_NUMERICSERV;
    look_up_run(look_up);
    look_up->flags = flags;
    return look_up->code == 0;
}

static bool fail_look_up(GError **error, const char *name, const char *why)
{
    g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                "address resolution failed for '%.*s': %s", vds_name_len(name), name,
                why);
    return false;
}

/* (transfer full) */
static AddrInfo *look_up(VdsSerialWire *wire, LookUp *question, const char *name,
                         GError **error)
{
    g_autoptr(LookUp) own = question;
    const VdsPatienceTask task = {name, look_up_run, own, look_up_free};

    if (!look_up_number(own) && !vds_patience_run(wire->patience, &task, LOOK_UP_MS)) {
        own = NULL; /* the thread's */
        fail_look_up(error, name, "no answer yet");
        return NULL;
    }
    if (own->code != 0) {
        fail_look_up(error, name, gai_strerror(own->code));
        return NULL;
    }
    return g_steal_pointer(&own->found);
}

static bool open_tcp(VdsSerialWire *wire, const VdsProps *props, bool server,
                     GError **error)
{
    const VdsProp *host = vds_props_find(props, "host"),
                  *port = vds_props_find(props, "port");
    g_autofree char *name = g_strdup_printf("%s:%s", host->text, port ? port->text : "");
    LookUp *question = g_new0(LookUp, 1);
    g_autoptr(AddrInfo) found = NULL;

    question->host = host->text[0] ? g_strdup(host->text) : NULL;
    question->port = port ? g_strdup(port->text) : NULL;
    question->flags = server ? AI_PASSIVE : 0;
    found = look_up(wire, question, name, error);
    if (!found) {
        return false;
    }
    return server ? listen_tcp(wire, found, name, error)
                  : connect_first(wire, found->ai_addr, found->ai_addrlen, name, error);
}

/* A descriptor that we were started with; it stays open, for the next port. */
static bool open_fd(VdsSerialWire *wire, const VdsProps *props, bool server,
                    GError **error)
{
    const VdsProp *prop = vds_props_find(props, "fd");
    VDS_AUTO_FD fd = -1, spare = -1;
    int listens = 0;
    socklen_t len = sizeof(listens);
    uint64_t number;

    if (!vds_prop_get_uint(prop, 0, INT_MAX, &number, error)) {
        return false;
    }
    if (vds_fd_kind((int)number) != VDS_FD_SOCKET) {
        errno = ENOTSOCK;
        return vds_wire_fail(error, "no socket at descriptor", prop->text);
    }
    fd = fcntl((int)number, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        return vds_wire_fail(error, "no socket at descriptor", prop->text);
    }
    if (listens) {
        wire->listen_fd = vds_fd_steal(&fd);
        return true;
    }
    spare = make_spare(fd);
    return (spare >= 0 && take(wire, vds_fd_steal(&fd), vds_fd_steal(&spare))) ||
           vds_wire_fail(error, "no room for descriptor", prop->text);
}

static const struct {
    const char *key;
    bool (*open)(VdsSerialWire *wire, const VdsProps *props, bool server, GError **error);
} addresses[] = {{"path", open_unix}, {"host", open_tcp}, {"fd", open_fd}};

bool vds_wire_open_socket(VdsSerialWire *wire, const VdsProps *props, GError **error)
{
    const VdsProp *reconnect = vds_props_find(props, "reconnect");
    uint64_t seconds = 0;
    bool server;

    wire->is_socket = true;
    if (!get_bool(props, "server", &server, error) ||
        (reconnect && !vds_prop_get_uint(reconnect, 0, UINT32_MAX, &seconds, error))) {
        return false;
    }
    wire->reconnect_ns = server ? 0 : seconds * UINT64_C(1000000000);
    for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
        if (vds_props_find(props, addresses[i].key)) {
            return addresses[i].open(wire, props, server, error);
        }
    }
    g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                        "a socket needs one of 'path', 'host' and 'fd'");
    return false;
}
