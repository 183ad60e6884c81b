/*
 * main: what happens to devices and at sockets, as lines of the log and as events.  Main
 * loop.  Refuses to know how either is written.
 */
#include "main-priv.h"
#include "vds/cmds.h"
#include "vds/vhost_user.h"

/* What a line begins with: the id, or the path of a device without one. */
static const char *name_of(const char *id, const char *path)
{
    return id ? id : path;
}

/* Lines of one device and kind have a limit of their own. */
static char *source_of(const char *name, const char *what)
{
    return g_strdup_printf("%s: %s", name, what);
}

/* ---- devices that break ------------------------------------------------------------ */

void vds_main_watch_fault(const VdsMachineFault *news, void *user)
{
    const VdsMainWatch *watch = user;
    const char *name = name_of(news->id, news->path);
    g_autofree char *source = source_of(name, "faults");
    g_autofree char *times = news->fault->n > 1
                                 ? g_strdup_printf(" (%u times)", news->fault->n)
                                 : g_strdup("");

    vds_main_log(watch->log, VDS_MAIN_LOG_ERROR, source, "%s: the device is broken%s: %s",
                 name, times, news->fault->reason);
    if (*watch->cmds) {
        vds_cmds_emit_fault(*watch->cmds, news,
                            vds_main_drivers_serve(*watch->drivers, news->device));
    }
}

/* ---- front-ends -------------------------------------------------------------------- */

typedef struct {
    const char *what; /* the source of its lines */
    VdsMainLogLevel level;
    char *(*text)(const VdsVhostUserNews *news); /* (transfer full) */
} NewsRow;

/* " (pid 12)", or nothing.  (transfer full) */
static char *peer_of(const VdsVhostUserNews *news)
{
    return news->peer_pid > 0 ? g_strdup_printf(" (pid %d)", news->peer_pid)
                              : g_strdup("");
}

static char *connected_text(const VdsVhostUserNews *news)
{
    g_autofree char *peer = peer_of(news);

    return g_strdup_printf("front-end %" PRIu64 "%s connected at '%s'", news->connection,
                           peer, news->path);
}

static char *left_text(const VdsVhostUserNews *news)
{
    return news->text[0]
               ? g_strdup_printf("front-end %" PRIu64 " was disconnected: %s",
                                 news->connection, news->text)
               : g_strdup_printf("front-end %" PRIu64 " left", news->connection);
}

static char *refused_text(const VdsVhostUserNews *news)
{
    return g_strdup_printf("a message of front-end %" PRIu64 " was refused: %s",
                           news->connection, news->text);
}

static char *waits_text(const VdsVhostUserNews *news)
{
    g_autofree char *peer = peer_of(news);

    return g_strdup_printf(
        "another front-end%s waits at '%s' until front-end %" PRIu64 " leaves; %u wait%s",
        peer, news->path, news->connection, news->waiting, news->waiting == 1 ? "s" : "");
}

static char *hint_text(const VdsVhostUserNews *news)
{
    return g_strdup_printf("front-end %" PRIu64 " at '%s': %s", news->connection,
                           news->path, news->text);
}

static char *paused_text(const VdsVhostUserNews *news)
{
    return g_strdup_printf("accepting front-ends at '%s' pauses for 1 s: %s", news->path,
                           news->text);
}

static const NewsRow news_rows[] = {
    [VDS_VHOST_USER_CONNECTED] = {"connections", VDS_MAIN_LOG_INFO, connected_text},
    [VDS_VHOST_USER_LEFT] = {"connections", VDS_MAIN_LOG_INFO, left_text},
    [VDS_VHOST_USER_REFUSED] = {"refusals", VDS_MAIN_LOG_WARNING, refused_text},
    [VDS_VHOST_USER_WAITS] = {"waiting front-ends", VDS_MAIN_LOG_WARNING, waits_text},
    [VDS_VHOST_USER_HINT] = {"hints", VDS_MAIN_LOG_WARNING, hint_text},
    [VDS_VHOST_USER_PAUSED] = {"pauses", VDS_MAIN_LOG_WARNING, paused_text},
};

static void emit_front_end(const VdsMainWatch *watch, const VdsVhostUserNews *news,
                           const char *id, const char *path)
{
    const VdsCmdsFrontEnd front_end = {
        .id = id,
        .path = path,
        .socket = news->path,
        .connection = news->connection,
        .connected = news->kind == VDS_VHOST_USER_CONNECTED,
        .reason = news->text && news->text[0] ? news->text : NULL,
    };

    if (*watch->cmds && (front_end.connected || news->kind == VDS_VHOST_USER_LEFT)) {
        vds_cmds_emit_front_end(*watch->cmds, &front_end);
    }
}

void vds_main_watch_front_end(const VdsVhostUserNews *news, void *user)
{
    const VdsMainWatch *watch = user;
    const NewsRow *row = &news_rows[news->kind];
    g_autofree char *source = NULL, *text = NULL;
    const char *id = NULL;
    const char *path = vds_machine_get_path(*watch->machine, news->device, &id);

    if (!path || *watch->ending) {
        return;
    }
    source = source_of(name_of(id, path), row->what);
    text = row->text(news);
    vds_main_log(watch->log,
                 news->text && news->text[0] ? VDS_MAIN_LOG_WARNING : row->level, source,
                 "%s: %s", name_of(id, path), text);
    emit_front_end(watch, news, id, path);
}

/* ---- monitors ---------------------------------------------------------------------- */

void vds_main_watch_monitor(const char *name, const char *text, void *user)
{
    const VdsMainWatch *watch = user;
    g_autofree char *source = source_of(name, "pauses");

    vds_main_log(watch->log, VDS_MAIN_LOG_WARNING, source, "monitor %s: %s", name, text);
}
