/*
 * monitor: one listening socket.
 *
 * Owns when connections are accepted.  At the session limit they wait in the backlog
 * until a session ends.  When accept() finds no descriptor the listener pauses, until a
 * session ends or a second has passed: the only timer of this room, gone with the pause.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "monitor-priv.h"

enum { ACCEPTS_A_TURN = 16 };

struct VdsMonitorListener {
    GSource source; /* first: GLib's source functions get this */
    GList link;     /* in monitor->listeners */
    VdsMonitor *monitor;
    int fd;
    gpointer tag;
    const char *label; /* (nullable) */
    VdsMonitorMode mode;
    bool pretty;
    bool waiting; /* for the first client */
    bool paused;  /* out of descriptors */
    unsigned group;
    unsigned n_sessions;
    char *path; /* (nullable) ours to remove */
    struct stat identity;
};

static void listener_settle(VdsMonitorListener *listener)
{
    bool open = !listener->paused && listener->n_sessions < VDS_MONITOR_MAX_SESSIONS;

    g_source_modify_unix_fd(&listener->source, listener->tag, open ? G_IO_IN : 0);
    g_source_set_ready_time(&listener->source, listener->paused ? g_get_monotonic_time() +
                                                                      VDS_MONITOR_RETRY_US
                                                                : -1);
}

static void listener_first_client(VdsMonitorListener *listener)
{
    for (GList *link = listener->monitor->listeners.head; link; link = link->next) {
        VdsMonitorListener *other = link->data;

        if (other->group == listener->group) {
            other->waiting = false;
        }
    }
}

static void listener_serve(VdsMonitorListener *listener, int fd)
{
    const VdsMonitorStream stream = vds_monitor_stream_from_socket(fd);
    const int on = 1;

    /* A reply is one write: there is nothing to gather.  UNIX sockets refuse this. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    listener->n_sessions++;
    listener_first_client(listener);
    vds_monitor_session_open(listener->monitor, &stream,
                             &(VdsMonitorSessionConfig){.label = listener->label,
                                                        .mode = listener->mode,
                                                        .pretty = listener->pretty,
                                                        .listener = listener});
}

static void listener_report(const VdsMonitorListener *listener, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

static void listener_report(const VdsMonitorListener *listener, const char *format, ...)
{
    const VdsMonitor *monitor = listener->monitor;
    const char *name = listener->label ? listener->label : listener->path;
    g_autofree char *text = NULL;
    va_list args;

    if (monitor->news) {
        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        monitor->news(name ? name : "?", text, monitor->news_user);
    }
}

/* True when there may be more to accept. */
static bool listener_accept(VdsMonitorListener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0) {
        listener_serve(listener, fd);
        if (listener->n_sessions < VDS_MONITOR_MAX_SESSIONS) {
            return true;
        }
        listener_report(listener, "%u clients are connected, others wait",
                        listener->n_sessions);
        return false;
    }
    if (errno == EINTR || errno == ECONNABORTED) {
        return true;
    }
    if (errno != EAGAIN) {
        listener->paused = true;
        listener_report(listener, "accepting clients pauses for 1 s: %s",
                        g_strerror(errno));
    }
    return false;
}

static gboolean listener_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    VdsMonitorListener *listener = (VdsMonitorListener *)source;
    bool was_paused = listener->paused;
    int left = ACCEPTS_A_TURN;

    listener->paused = false;
    while (left > 0 && listener_accept(listener)) {
        left--;
    }
    if (was_paused || listener->paused ||
        listener->n_sessions >= VDS_MONITOR_MAX_SESSIONS) {
        listener_settle(listener);
    }
    return G_SOURCE_CONTINUE;
}

static void listener_finalize(GSource *source)
{
    g_free(((VdsMonitorListener *)source)->path);
}

static GSourceFuncs listener_funcs = {
    .dispatch = listener_dispatch,
    .finalize = listener_finalize,
};

void vds_monitor_listener_open(VdsMonitor *monitor, int fd,
                               const VdsMonitorListenerConfig *config)
{
    GSource *source = g_source_new(&listener_funcs, sizeof(VdsMonitorListener));
    VdsMonitorListener *listener = (VdsMonitorListener *)source;

    listener->monitor = monitor;
    listener->fd = fd;
    listener->label = config->label;
    listener->mode = config->mode;
    listener->pretty = config->pretty;
    listener->waiting = config->wait;
    listener->group = config->group;
    listener->path = g_strdup(config->path);
    if (config->identity) {
        listener->identity = *config->identity;
    }
    listener->link.data = listener;
    g_queue_push_tail_link(&monitor->listeners, &listener->link);
    g_source_set_static_name(source, "monitor listener");
    listener->tag = g_source_add_unix_fd(source, fd, G_IO_IN);
    g_source_attach(source, monitor->context);
}

void vds_monitor_listener_close(VdsMonitorListener *listener)
{
    g_queue_unlink(&listener->monitor->listeners, &listener->link);
    g_source_destroy(&listener->source);
    if (listener->path) {
        vds_monitor_unix_unlink(listener->path, &listener->identity);
    }
    vds_fd_close(&listener->fd);
    g_source_unref(&listener->source);
}

bool vds_monitor_listener_is_waiting(const VdsMonitorListener *listener)
{
    return listener->waiting;
}

void vds_monitor_listener_session_ended(VdsMonitorListener *listener, bool own)
{
    bool was_full = listener->n_sessions >= VDS_MONITOR_MAX_SESSIONS;

    listener->n_sessions -= own;
    if (listener->paused || (own && was_full)) {
        listener->paused = false;
        listener_settle(listener);
    }
}
