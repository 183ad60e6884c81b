/*
 * monitor: what the files of this room share.
 */
#pragma once

#include <sys/stat.h>

#include "vds/monitor.h"

enum {
    VDS_MONITOR_SCRATCH_BYTES = 64 * 1024,   /* of one read */
    VDS_MONITOR_TURN_REQUESTS = 8,           /* a session answers before others' turn */
    VDS_MONITOR_OUT_LIMIT = 1024 * 1024,     /* pending output that stops reading */
    VDS_MONITOR_EVENT_LIMIT = 1024 * 1024,   /* events pending on top of that */
    VDS_MONITOR_MAX_SESSIONS = 256,          /* a listener */
    VDS_MONITOR_LINE_BYTES = 4096,           /* of a human's line */
    VDS_MONITOR_RETRY_US = G_USEC_PER_SEC,   /* after accept() found no descriptor */
    VDS_MONITOR_CONNECT_TIMEOUT_SECONDS = 10 /* start-up only */
};

typedef struct VdsMonitorListener VdsMonitorListener;
typedef struct VdsMonitorSession VdsMonitorSession;

struct VdsMonitor {
    GMainContext *context;
    const VdsQmpServer *server;
    const VdsMonitorHuman *human;
    VdsMonitorSession *turn; /* (nullable) whose requests are being answered */
    GQueue sessions;         /* VdsMonitorSession, linked by themselves */
    GQueue listeners;        /* VdsMonitorListener, linked by themselves */
    uint8_t *scratch;        /* one for all reads: nothing stays in it between turns */
    unsigned next_group;     /* of listeners that one vds_monitor_add() opened */
    bool has_stdio;
    VdsCloser *closer;       /* for files that clients send */
    VdsMonitorNewsFunc news; /* (nullable) */
    void *news_user;
};

/* ---- protocol: what is spoken on a connection (human.c, session.c) -------------------
 */

typedef struct {
    void *(*open)(const VdsMonitor *monitor, VdsBuf *out, bool pretty);
    void (*free)(void *core);
    size_t (*feed)(void *core, const void *bytes, size_t len, unsigned max_requests,
                   size_t out_limit);
    void (*finish)(void *core);
    /* (nullable) false: this peer gets no events */
    bool (*event)(void *core, const VdsQapiEvent *event, const void *data,
                  int64_t time_us);
} VdsMonitorProtocol;

extern const VdsMonitorProtocol vds_monitor_human_protocol;

/* ---- stream.c: descriptors of one connection ------------------------------------------
 */

typedef struct {
    int in;   /* -1: output only */
    int out;  /* the same as `in` but for stdio */
    int keep; /* a pty's other end, held so that it never hangs up; or -1 */
    bool is_socket;
    int in_flags, out_flags; /* what stdio had before, given back at close; or -1 */
} VdsMonitorStream;

/* Descriptors that came along, not yet taken: those of the last message that had any. */
enum { VDS_MONITOR_MAX_FDS = 16 };
typedef struct {
    int fds[VDS_MONITOR_MAX_FDS];
    unsigned n;
    VdsCloser *closer; /* (nullable) not owned: closes those that nobody takes */
} VdsMonitorFds;

int vds_monitor_fds_take(VdsMonitorFds *fds); /* the first; -1: none */
void vds_monitor_fds_clear(VdsMonitorFds *fds);
/* As read(), not waiting; of a socket's messages also the descriptors. */
ssize_t vds_monitor_stream_read(const VdsMonitorStream *stream, void *to, size_t len,
                                VdsMonitorFds *fds);

VdsMonitorStream vds_monitor_stream_from_socket(int fd);
bool vds_monitor_stream_open_stdio(VdsMonitorStream *stream, GError **error);
bool vds_monitor_stream_open_pty(VdsMonitorStream *stream, char **name, GError **error);
bool vds_monitor_stream_open_file(VdsMonitorStream *stream, const char *path,
                                  GError **error);
void vds_monitor_stream_close(VdsMonitorStream *stream);

/* ---- unix.c, tcp.c: sockets
 * ------------------------------------------------------------ */

/* Return a descriptor, or -1 with the error set. */
int vds_monitor_unix_listen(const char *path, struct stat *identity, GError **error);
int vds_monitor_unix_connect(const char *path, GError **error);
/* Removes the socket file if it is still the one that `identity` tells. */
void vds_monitor_unix_unlink(const char *path, const struct stat *identity);

/* Appends a listening descriptor for each address of the host (int, at least one). */
bool vds_monitor_tcp_listen(const char *host, const char *port, GArray *fds,
                            GError **error);
int vds_monitor_tcp_connect(const char *host, const char *port, GError **error);
char *vds_monitor_tcp_describe(int fd); /* (transfer full) "tcp:127.0.0.1:4444" */

/* ---- listener.c
 * ------------------------------------------------------------------------ */

typedef struct {
    const char *label; /* (nullable) */
    VdsMonitorMode mode;
    bool pretty;
    bool wait;
    unsigned group;
    const char *path;            /* (nullable) a socket file to remove at the end */
    const struct stat *identity; /* with path */
} VdsMonitorListenerConfig;

/* Takes the descriptor. */
void vds_monitor_listener_open(VdsMonitor *monitor, int fd,
                               const VdsMonitorListenerConfig *config);
void vds_monitor_listener_close(VdsMonitorListener *listener);
bool vds_monitor_listener_is_waiting(const VdsMonitorListener *listener);
/* A session ended: `own` is whether it came from here; a descriptor is free again. */
void vds_monitor_listener_session_ended(VdsMonitorListener *listener, bool own);

/* ---- session.c
 * ------------------------------------------------------------------------- */

typedef struct {
    const char *label; /* (nullable) outlives the session */
    VdsMonitorMode mode;
    bool pretty;
    VdsMonitorListener *listener; /* (nullable) is told when the session ends */
} VdsMonitorSessionConfig;

/* Takes the stream. */
void vds_monitor_session_open(VdsMonitor *monitor, const VdsMonitorStream *stream,
                              const VdsMonitorSessionConfig *config);
int vds_monitor_session_take_fd(VdsMonitorSession *session); /* -1: none */
const char *vds_monitor_session_get_label(const VdsMonitorSession *session);
void vds_monitor_session_close(VdsMonitorSession *session);
void vds_monitor_session_event(VdsMonitorSession *session, const VdsQapiEvent *event,
                               const void *data, int64_t time_us);
/* Sends what the peer takes now; returns the descriptor to wait for, -1: all is sent. */
int vds_monitor_session_flush(VdsMonitorSession *session);

/* ---- monitor.c
 * ------------------------------------------------------------------------- */

void vds_monitor_session_ended(VdsMonitor *monitor, VdsMonitorListener *listener);
