/*
 * monitor: one connection on the main loop.
 *
 * Owns reading, writing and back-pressure; what the bytes mean is the protocol's.  A turn
 * is: one read, at most eight answers, one write.  While a megabyte of output waits,
 * nothing is read; what was read and not yet answered is kept, and then nothing is read
 * either.  The end of input (a half-closed client) ends the session once all is answered
 * and sent.  A client that takes no reply any more (it sent `quit` and closed) is heard
 * to the end of its input, and its replies are dropped.  Idle sessions have no timer and
 * no buffers.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "monitor-priv.h"

/* One descriptor in the source's poll set. */
typedef struct {
    int fd;
    gpointer tag; /* NULL while nothing is waited for */
    GIOCondition events;
} Watch;

struct VdsMonitorSession {
    GSource source; /* first: GLib's source functions get this */
    GList link;     /* in monitor->sessions */
    VdsMonitor *monitor;
    const char *label;            /* (nullable) */
    VdsMonitorListener *listener; /* (nullable) outlives its sessions */
    const VdsMonitorProtocol *protocol;
    void *core; /* the protocol's; appends to `out` */
    VdsMonitorStream stream;
    Watch in_watch;  /* both directions where they share a descriptor */
    Watch out_watch; /* only where they do not */
    VdsMonitorFds fds;
    VdsBuf in; /* read, not yet answered */
    VdsBuf out;
    size_t late_events; /* bytes of events that came while output was over the limit */
    bool busy;          /* in its turn: what is appended goes out at the end of it */
    bool kicked;        /* gets a turn without waiting for a descriptor */
    bool eof;
    bool deaf; /* nothing can be sent any more: what it asked is done, unanswered */
    bool lost; /* nothing can be sent or received any more */
};

/* ---- protocols ------------------------------------------------------------------------
 */

static void *qmp_open(const VdsMonitor *monitor, VdsBuf *out, bool pretty)
{
    return vds_qmp_session_new(monitor->server, out, pretty);
}

static void qmp_free(void *core)
{
    vds_qmp_session_free(core);
}

static size_t qmp_feed(void *core, const void *bytes, size_t len, unsigned max_requests,
                       size_t out_limit)
{
    return vds_qmp_session_feed(core, bytes, len, max_requests, out_limit);
}

static void qmp_finish(void *core)
{
    vds_qmp_session_finish(core);
}

static bool qmp_event(void *core, const VdsQapiEvent *event, const void *data,
                      int64_t time_us)
{
    return vds_qmp_session_event(core, event, data, time_us);
}

static const VdsMonitorProtocol qmp_protocol = {
    .open = qmp_open,
    .free = qmp_free,
    .feed = qmp_feed,
    .finish = qmp_finish,
    .event = qmp_event,
};

static const VdsMonitorProtocol *const protocols[] = {
    [VDS_MONITOR_QMP] = &qmp_protocol,
    [VDS_MONITOR_HMP] = &vds_monitor_human_protocol,
};

/* ---- waiting
 * ---------------------------------------------------------------------------- */

/* A descriptor without interest leaves the poll set: poll() reports a hang-up even to
 * those who asked for nothing, and would not sleep any more. */
static void session_watch(VdsMonitorSession *session, Watch *watch, GIOCondition events)
{
    GSource *source = &session->source;

    if (watch->events == events || watch->fd < 0) {
        return;
    }
    if (events == 0) {
        g_source_remove_unix_fd(source, g_steal_pointer(&watch->tag));
    } else if (watch->tag) {
        g_source_modify_unix_fd(source, watch->tag, events);
    } else {
        watch->tag = g_source_add_unix_fd(source, watch->fd, events);
    }
    watch->events = events;
}

static void session_kick(VdsMonitorSession *session)
{
    if (!session->kicked) {
        session->kicked = true;
        g_source_set_ready_time(&session->source, 0);
    }
}

/* After a turn: ends the session, or says what it waits for. */
static void session_settle(VdsMonitorSession *session)
{
    size_t pending = vds_buf_len(&session->out);
    bool unanswered = vds_buf_len(&session->in) > 0;
    GIOCondition in = 0, out = pending > 0 ? G_IO_OUT : 0;

    if (session->lost || (session->eof && !unanswered && pending == 0)) {
        vds_monitor_session_close(session);
        return;
    }
    if (pending < VDS_MONITOR_OUT_LIMIT) {
        if (unanswered) {
            session_kick(session);
        } else if (!session->eof) {
            in = G_IO_IN;
        }
    }
    if (session->out_watch.fd < 0) {
        session_watch(session, &session->in_watch, in | out);
    } else {
        session_watch(session, &session->in_watch, in);
        session_watch(session, &session->out_watch, out);
    }
}

/* ---- a turn
 * ----------------------------------------------------------------------------- */

static bool is_transient(ssize_t result)
{
    return result < 0 && (errno == EAGAIN || errno == EINTR);
}

static size_t session_feed(VdsMonitorSession *session, const uint8_t *bytes, size_t len)
{
    size_t taken = session->protocol->feed(
        session->core, bytes, len, VDS_MONITOR_TURN_REQUESTS, VDS_MONITOR_OUT_LIMIT);

    if (session->deaf) {
        vds_buf_clear(&session->out);
    }
    return taken;
}

static void session_read(VdsMonitorSession *session)
{
    uint8_t *scratch = session->monitor->scratch;
    ssize_t got = vds_monitor_stream_read(&session->stream, scratch,
                                          VDS_MONITOR_SCRATCH_BYTES, &session->fds);

    if (got > 0) {
        size_t taken = session_feed(session, scratch, (size_t)got);

        vds_buf_append(&session->in, scratch + taken, (size_t)got - taken);
    } else if (got == 0) {
        session->eof = true;
        session->protocol->finish(session->core);
    } else if (!is_transient(got)) {
        session->lost = true;
    }
}

static void session_answer(VdsMonitorSession *session, bool is_readable)
{
    size_t unanswered = vds_buf_len(&session->in);

    if (unanswered > 0) {
        vds_buf_consume(&session->in,
                        session_feed(session, vds_buf_bytes(&session->in), unanswered));
        if (vds_buf_len(&session->in) == 0) {
            vds_buf_clear(&session->in);
        }
    } else if (is_readable && !session->eof &&
               vds_buf_len(&session->out) < VDS_MONITOR_OUT_LIMIT) {
        session_read(session);
    }
}

static void session_write(VdsMonitorSession *session)
{
    const VdsMonitorStream *stream = &session->stream;
    size_t len = vds_buf_len(&session->out);
    ssize_t sent;

    if (len == 0 || session->deaf) {
        return;
    }
    sent = stream->is_socket ? send(stream->out, vds_buf_bytes(&session->out), len,
                                    MSG_DONTWAIT | MSG_NOSIGNAL)
                             : write(stream->out, vds_buf_bytes(&session->out), len);
    if (sent >= 0) {
        vds_buf_consume(&session->out, (size_t)sent);
    } else if (!is_transient(sent)) {
        session->deaf = true;
        session->lost = stream->in < 0; /* there is nobody to hear, either */
        vds_buf_clear(&session->out);
    }
}

static bool session_is_readable(VdsMonitorSession *session)
{
    gpointer tag = session->in_watch.tag;

    return tag && (g_source_query_unix_fd(&session->source, tag) & ~G_IO_OUT) != 0;
}

static gboolean session_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    VdsMonitorSession *session = (VdsMonitorSession *)source;

    if (session->kicked) {
        session->kicked = false;
        g_source_set_ready_time(source, -1);
    }
    session->busy = true;
    session->monitor->turn = session;
    if (!session->lost) {
        session_answer(session, session_is_readable(session));
        session_write(session);
    }
    session->busy = false;
    session->monitor->turn = NULL;
    session_settle(session);
    return G_SOURCE_CONTINUE;
}

static void session_finalize(GSource *source)
{
    VdsMonitorSession *session = (VdsMonitorSession *)source;

    session->protocol->free(session->core);
    vds_buf_clear(&session->in);
    vds_buf_clear(&session->out);
}

static GSourceFuncs session_funcs = {
    .dispatch = session_dispatch,
    .finalize = session_finalize,
};

/* ---- from outside
 * ------------------------------------------------------------------------ */

void vds_monitor_session_open(VdsMonitor *monitor, const VdsMonitorStream *stream,
                              const VdsMonitorSessionConfig *config)
{
    GSource *source = g_source_new(&session_funcs, sizeof(VdsMonitorSession));
    VdsMonitorSession *session = (VdsMonitorSession *)source;

    session->monitor = monitor;
    session->label = config->label;
    session->listener = config->listener;
    session->stream = *stream;
    session->in_watch.fd = stream->in;
    session->out_watch.fd = stream->out != stream->in ? stream->out : -1;
    session->fds.closer = monitor->closer;
    session->link.data = session;
    g_queue_push_tail_link(&monitor->sessions, &session->link);
    session->protocol = protocols[config->mode];
    session->core = session->protocol->open(monitor, &session->out, config->pretty);
    g_source_set_static_name(source, "monitor session");
    g_source_attach(source, monitor->context);
    /* The greeting leaves now, and not after another turn of the loop. */
    session_write(session);
    session_settle(session);
}

void vds_monitor_session_close(VdsMonitorSession *session)
{
    VdsMonitor *monitor = session->monitor;
    VdsMonitorListener *listener = session->listener;

    g_queue_unlink(&monitor->sessions, &session->link);
    g_source_destroy(&session->source);
    vds_monitor_stream_close(&session->stream);
    vds_monitor_fds_clear(&session->fds);
    g_source_unref(&session->source);
    vds_monitor_session_ended(monitor, listener);
}

void vds_monitor_session_event(VdsMonitorSession *session, const VdsQapiEvent *event,
                               const void *data, int64_t time_us)
{
    size_t before = vds_buf_len(&session->out);

    if (session->lost || session->deaf || !session->protocol->event ||
        !session->protocol->event(session->core, event, data, time_us)) {
        return;
    }
    if (before < VDS_MONITOR_OUT_LIMIT) {
        session->late_events = 0;
    } else {
        session->late_events += vds_buf_len(&session->out) - before;
        session->lost = session->late_events > VDS_MONITOR_EVENT_LIMIT;
    }
    if (!session->busy) {
        session_kick(session);
    }
}

int vds_monitor_session_take_fd(VdsMonitorSession *session)
{
    return vds_monitor_fds_take(&session->fds);
}

const char *vds_monitor_session_get_label(const VdsMonitorSession *session)
{
    return session->label;
}

int vds_monitor_session_flush(VdsMonitorSession *session)
{
    if (!session->lost) {
        session_write(session);
    }
    return session->lost || vds_buf_len(&session->out) == 0 ? -1 : session->stream.out;
}
