/*
 * monitor: the set of listeners and sessions, and how each kind of address is opened.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "monitor-priv.h"

VdsMonitor *vds_monitor_new(GMainContext *context, const VdsQmpServer *server,
                            const VdsMonitorHuman *human)
{
    VdsMonitor *monitor = g_new0(VdsMonitor, 1);

    monitor->context = g_main_context_ref(context ? context : g_main_context_default());
    monitor->server = server;
    monitor->human = human;
    monitor->scratch = g_malloc(VDS_MONITOR_SCRATCH_BYTES);
    monitor->closer = vds_closer_new();
    return monitor;
}

void vds_monitor_free(VdsMonitor *monitor)
{
    if (!monitor) {
        return;
    }
    while (monitor->sessions.head) {
        vds_monitor_session_close(monitor->sessions.head->data);
    }
    while (monitor->listeners.head) {
        vds_monitor_listener_close(monitor->listeners.head->data);
    }
    g_main_context_unref(monitor->context);
    vds_closer_free(monitor->closer);
    g_free(monitor->scratch);
    g_free(monitor);
}

/* ---- addresses
 * --------------------------------------------------------------------------- */

/* Each opens a server or a client; the address in words goes to *address. */
typedef bool (*OpenFunc)(VdsMonitor *monitor, const VdsMonitorConfig *config,
                         char **address, GError **error);

static void serve_stream(VdsMonitor *monitor, const VdsMonitorStream *stream,
                         const VdsMonitorConfig *config)
{
    vds_monitor_session_open(monitor, stream,
                             &(VdsMonitorSessionConfig){.label = config->label,
                                                        .mode = config->mode,
                                                        .pretty = config->pretty});
}

static void serve_socket(VdsMonitor *monitor, int fd, const VdsMonitorConfig *config)
{
    const VdsMonitorStream stream = vds_monitor_stream_from_socket(fd);

    serve_stream(monitor, &stream, config);
}

static VdsMonitorListenerConfig listener_config(VdsMonitor *monitor,
                                                const VdsMonitorConfig *config)
{
    return (VdsMonitorListenerConfig){.label = config->label,
                                      .mode = config->mode,
                                      .pretty = config->pretty,
                                      .wait = config->wait,
                                      .group = monitor->next_group++};
}

static bool open_unix(VdsMonitor *monitor, const VdsMonitorConfig *config, char **address,
                      GError **error)
{
    VdsMonitorListenerConfig listener;
    struct stat identity;
    int fd = config->server ? vds_monitor_unix_listen(config->path, &identity, error)
                            : vds_monitor_unix_connect(config->path, error);

    if (fd < 0) {
        return false;
    }
    *address = g_strdup_printf("unix:%s", config->path);
    if (!config->server) {
        serve_socket(monitor, fd, config);
        return true;
    }
    listener = listener_config(monitor, config);
    listener.path = config->path;
    listener.identity = &identity;
    vds_monitor_listener_open(monitor, fd, &listener);
    return true;
}

static bool open_tcp_server(VdsMonitor *monitor, const VdsMonitorConfig *config,
                            char **address, GError **error)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    VdsMonitorListenerConfig listener;

    if (!vds_monitor_tcp_listen(config->host, config->port, fds, error)) {
        return false;
    }
    *address = vds_monitor_tcp_describe(g_array_index(fds, int, 0));
    listener = listener_config(monitor, config);
    for (guint i = 0; i < fds->len; i++) {
        vds_monitor_listener_open(monitor, g_array_index(fds, int, i), &listener);
    }
    return true;
}

static bool open_tcp(VdsMonitor *monitor, const VdsMonitorConfig *config, char **address,
                     GError **error)
{
    int fd;

    if (config->server) {
        return open_tcp_server(monitor, config, address, error);
    }
    fd = vds_monitor_tcp_connect(config->host, config->port, error);
    if (fd < 0) {
        return false;
    }
    *address = g_strdup_printf("tcp:%s:%s", config->host, config->port);
    serve_socket(monitor, fd, config);
    return true;
}

/* An inherited socket must be what the options say it is. */
static bool check_socket(const VdsMonitorConfig *config, GError **error)
{
    int type = 0, flags;
    socklen_t len = sizeof(type);
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    bool ok = getsockopt(config->fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;

    if (ok && type != SOCK_STREAM) {
        errno = EPROTOTYPE;
        ok = false;
    } else if (ok && config->server) {
        /* A bound socket that does not listen yet may be handed over, too; the flag is
         * for accept(), which has no other way not to wait. */
        flags = fcntl(config->fd, F_GETFL);
        ok = listen(config->fd, SOMAXCONN) == 0 &&
             fcntl(config->fd, F_SETFL, flags | O_NONBLOCK) == 0;
    } else if (ok) {
        ok = getpeername(config->fd, (struct sockaddr *)&peer, &peer_len) == 0;
    }
    if (!ok || fcntl(config->fd, F_SETFD, FD_CLOEXEC) != 0) {
        int number = errno;

        g_set_error(error, VDS_MONITOR_ERROR, VDS_MONITOR_ERROR_SOCKET,
                    "Descriptor %d is no %s socket: %s", config->fd,
                    config->server ? "listening" : "connected", g_strerror(number));
        return false;
    }
    return true;
}

static bool open_fd(VdsMonitor *monitor, const VdsMonitorConfig *config, char **address,
                    GError **error)
{
    VdsMonitorListenerConfig listener;

    if (!check_socket(config, error)) {
        return false;
    }
    *address = g_strdup_printf("fd:%d", config->fd);
    if (config->server) {
        listener = listener_config(monitor, config);
        vds_monitor_listener_open(monitor, config->fd, &listener);
    } else {
        serve_socket(monitor, config->fd, config);
    }
    return true;
}

static bool open_stdio(VdsMonitor *monitor, const VdsMonitorConfig *config,
                       char **address, GError **error)
{
    VdsMonitorStream stream;

    if (monitor->has_stdio) {
        g_set_error(error, VDS_MONITOR_ERROR, VDS_MONITOR_ERROR_IN_USE,
                    "Standard input and output serve one monitor only");
        return false;
    }
    if (!vds_monitor_stream_open_stdio(&stream, error)) {
        return false;
    }
    monitor->has_stdio = true;
    *address = g_strdup("stdio");
    serve_stream(monitor, &stream, config);
    return true;
}

static bool open_pty(VdsMonitor *monitor, const VdsMonitorConfig *config, char **address,
                     GError **error)
{
    VdsMonitorStream stream;

    if (!vds_monitor_stream_open_pty(&stream, address, error)) {
        return false;
    }
    serve_stream(monitor, &stream, config);
    return true;
}

static bool open_file(VdsMonitor *monitor, const VdsMonitorConfig *config, char **address,
                      GError **error)
{
    VdsMonitorStream stream;

    if (!vds_monitor_stream_open_file(&stream, config->path, error)) {
        return false;
    }
    *address = g_strdup_printf("file:%s", config->path);
    serve_stream(monitor, &stream, config);
    return true;
}

static bool open_null(VdsMonitor *monitor, const VdsMonitorConfig *config, char **address,
                      GError **error)
{
    *address = g_strdup("null"); /* nobody is ever there */
    return true;
}

static const OpenFunc openers[] = {
    [VDS_MONITOR_UNIX] = open_unix, [VDS_MONITOR_TCP] = open_tcp,
    [VDS_MONITOR_FD] = open_fd,     [VDS_MONITOR_STDIO] = open_stdio,
    [VDS_MONITOR_PTY] = open_pty,   [VDS_MONITOR_FILE] = open_file,
    [VDS_MONITOR_NULL] = open_null,
};

bool vds_monitor_add(VdsMonitor *monitor, const VdsMonitorConfig *config, GError **error)
{
    g_autofree char *address = NULL;

    if (!openers[config->transport](monitor, config, &address, error)) {
        return false;
    }
    if (config->address) {
        *config->address = g_steal_pointer(&address);
    }
    return true;
}

/* ---- all of them
 * -------------------------------------------------------------------------- */

bool vds_monitor_is_waiting(const VdsMonitor *monitor)
{
    for (GList *link = monitor->listeners.head; link; link = link->next) {
        if (vds_monitor_listener_is_waiting(link->data)) {
            return true;
        }
    }
    return false;
}

void vds_monitor_emit(VdsMonitor *monitor, const VdsQapiEvent *event, const void *data)
{
    int64_t now = g_get_real_time();

    for (GList *link = monitor->sessions.head; link; link = link->next) {
        vds_monitor_session_event(link->data, event, data, now);
    }
}

int vds_monitor_take_fd(VdsMonitor *monitor)
{
    return monitor->turn ? vds_monitor_session_take_fd(monitor->turn) : -1;
}

bool vds_monitor_is_connected(const VdsMonitor *monitor, const char *label)
{
    for (const GList *link = monitor->sessions.head; link; link = link->next) {
        if (g_strcmp0(vds_monitor_session_get_label(link->data), label) == 0) {
            return true;
        }
    }
    return false;
}

void vds_monitor_set_news(VdsMonitor *monitor, VdsMonitorNewsFunc news, void *user)
{
    monitor->news = news;
    monitor->news_user = user;
}

unsigned vds_monitor_count_sessions(const VdsMonitor *monitor)
{
    return monitor->sessions.length;
}

void vds_monitor_session_ended(VdsMonitor *monitor, VdsMonitorListener *listener)
{
    for (GList *link = monitor->listeners.head; link; link = link->next) {
        vds_monitor_listener_session_ended(link->data, link->data == listener);
    }
}

void vds_monitor_flush(VdsMonitor *monitor, unsigned timeout_ms)
{
    int64_t end = g_get_monotonic_time() + (int64_t)timeout_ms * 1000;

    for (;;) {
        g_autoptr(GArray) waits = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
        int64_t left = end - g_get_monotonic_time();

        for (GList *link = monitor->sessions.head; link; link = link->next) {
            struct pollfd wait = {vds_monitor_session_flush(link->data), POLLOUT, 0};

            if (wait.fd >= 0) {
                g_array_append_val(waits, wait);
            }
        }
        if (waits->len == 0 || left <= 0) {
            return;
        }
        poll((struct pollfd *)waits->data, waits->len, (int)((left + 999) / 1000));
    }
}
