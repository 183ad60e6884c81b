/*
 * monitor: listeners, connections and back-pressure on GLib's main loop.
 *
 * Turns descriptors into QMP sessions (room qmp) or human sessions (a line-to-text
 * callback).  Knows no command.  Nothing here waits: all descriptors are non-blocking,
 * and an idle monitor has no timer.  The process ignores SIGPIPE.
 */
#pragma once

#include "vds/qmp.h"

#define VDS_MONITOR_ERROR (vds_monitor_error_quark())
GQuark vds_monitor_error_quark(void);
typedef enum {
    VDS_MONITOR_ERROR_ADDRESS, /* cannot be resolved, too long, ... */
    VDS_MONITOR_ERROR_IN_USE,  /* another process listens there */
    VDS_MONITOR_ERROR_SOCKET,  /* any other failure, with the system's word */
} VdsMonitorError;

typedef enum { VDS_MONITOR_QMP, VDS_MONITOR_HMP } VdsMonitorMode;
typedef enum {
    VDS_MONITOR_UNIX,  /* path */
    VDS_MONITOR_TCP,   /* host, port */
    VDS_MONITOR_FD,    /* fd: an inherited listening socket (server) or a connected one */
    VDS_MONITOR_STDIO, /* standard input and output */
    VDS_MONITOR_PTY,   /* a new pseudo terminal */
    VDS_MONITOR_FILE,  /* path: output only */
    VDS_MONITOR_NULL,
} VdsMonitorTransport;

/* One -qmp, -monitor or -mon with its chardev.  Strings are borrowed for the call. */
typedef struct {
    const char *label; /* (nullable) of is_connected; outlives the monitor */
    VdsMonitorMode mode;
    VdsMonitorTransport transport;
    const char *path;
    const char *host, *port;
    int fd;      /* the monitor's once vds_monitor_add() has succeeded */
    bool server; /* false: connect */
    bool wait;   /* server: vds_monitor_is_waiting() until its first client is there */
    bool pretty; /* QMP */
    /* (nullable) (out) (transfer full) what was opened, for a user to read:
     * "unix:/run/q", "tcp:127.0.0.1:4444" with the port that was taken, "/dev/pts/3". Set
     * on success. */
    char **address;
} VdsMonitorConfig;

/* Answers one line of a human session.  (transfer full), newlines as "\n". */
typedef struct {
    char *(*line)(void *user, const char *line);
    const char *banner; /* first line of a human session, without newline */
    void *user;
} VdsMonitorHuman;

typedef struct VdsMonitor VdsMonitor;

/* `server` and `human` are borrowed and outlive the monitor. */
VdsMonitor *vds_monitor_new(GMainContext *context, const VdsQmpServer *server,
                            const VdsMonitorHuman *human);
/* Called on the main loop when a listener stops accepting for a while: no descriptor is
 * left, or it has all the sessions it may have. `name` is its label or path. */
typedef void (*VdsMonitorNewsFunc)(const char *name, const char *text, void *user);
void vds_monitor_set_news(VdsMonitor *monitor, VdsMonitorNewsFunc news, void *user);
/* Closes every listener and session; socket files are removed. */
void vds_monitor_free(VdsMonitor *monitor); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsMonitor, vds_monitor_free)

/* Opens one address.  UNIX servers: mode 0600, a stale socket file is replaced, one that
 * answers is not (IN_USE), and what is no socket is left alone. */
bool vds_monitor_add(VdsMonitor *monitor, const VdsMonitorConfig *config, GError **error);

/* A server with `wait` has not had its first client.  Nothing in this room waits: who
 * starts the process turns the loop until this is false, so that signals are served. */
bool vds_monitor_is_waiting(const VdsMonitor *monitor);

/* To every negotiated session, appended at once, sent when the loop turns.  A client that
 * does not read is cut off once 1 MiB of events waits beyond its pending output. */
void vds_monitor_emit(VdsMonitor *monitor, const VdsQapiEvent *event, const void *data);

/* For the end: sends what is pending, at most `timeout_ms`, taking no more input. */
void vds_monitor_flush(VdsMonitor *monitor, unsigned timeout_ms);

/* For a handler: the first descriptor that came with the requests of the client who is
 * being answered, and that nobody took (SCM_RIGHTS; a message's descriptors replace those
 * of one before).  (transfer full); -1: none. */
int vds_monitor_take_fd(VdsMonitor *monitor);
/* Somebody is at the other end of the monitor of that label. */
bool vds_monitor_is_connected(const VdsMonitor *monitor, const char *label);
unsigned vds_monitor_count_sessions(const VdsMonitor *monitor);
