/*
 * cmds: the context of the handlers, and the machine's news as QMP events.
 */
#include "cmds-priv.h"

G_DEFINE_QUARK(vds - cmds - error - quark, vds_cmds_error)

static void on_resumed(void *user)
{
    qapi_event_resume(((VdsCmds *)user)->sink);
}

static void on_stopped(void *user)
{
    qapi_event_stop(((VdsCmds *)user)->sink);
}

static void on_reset(void *user)
{
    qapi_event_reset(((VdsCmds *)user)->sink, false,
                     QAPI_SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
}

static void on_powerdown(void *user)
{
    qapi_event_powerdown(((VdsCmds *)user)->sink);
}

static void on_powered_off(void *user)
{
    const VdsCmdsHost *host = ((VdsCmds *)user)->host;

    host->end(host->user, VDS_SHUTDOWN_GUEST);
}

typedef struct {
    VdsCmds *cmds;
    char *id; /* (nullable) */
    char *path;
} DeletedNews;

static void deleted_news_free(void *data)
{
    DeletedNews *news = data;

    g_free(news->id);
    g_free(news->path);
    g_free(news);
}

static void emit_deleted(void *data)
{
    const DeletedNews *news = data;

    qapi_event_device_deleted(news->cmds->sink, news->id, news->path);
}

/* After the reply that says it, and as long after it as a guest is quick: libvirt 11 goes
 * to sleep for five seconds when the event comes before it waits for it. */
static void on_device_deleted(void *user, const char *id, const char *path)
{
    enum { GUEST_MS = 25 };
    VdsCmds *cmds = user;
    DeletedNews *news = g_new(DeletedNews, 1);

    *news = (DeletedNews){cmds, g_strdup(id), g_strdup(path)};
    if (cmds->host->later) {
        cmds->host->later(cmds->host->user, GUEST_MS, emit_deleted, news,
                          deleted_news_free);
    } else {
        emit_deleted(news);
        deleted_news_free(news);
    }
}

static void on_balloon_changed(void *user, uint32_t pages)
{
    vds_cmds_balloon_changed(user, pages);
}

static void on_port_changed(void *user, const char *id, bool open)
{
    qapi_event_vserport_change(((VdsCmds *)user)->sink, id, open);
}

VdsCmds *vds_cmds_new(VdsMachine *machine, const VdsCmdsHost *host,
                      const VdsEventSink *sink)
{
    VdsCmds *cmds = g_new0(VdsCmds, 1);
    const VdsMachineListener listener = {
        .resumed = on_resumed,
        .stopped = on_stopped,
        .reset = on_reset,
        .powerdown = on_powerdown,
        .powered_off = on_powered_off,
        .device_deleted = on_device_deleted,
        .balloon_changed = on_balloon_changed,
        .port_changed = on_port_changed,
        .user = cmds,
    };

    cmds->machine = machine;
    cmds->host = host;
    cmds->sink = sink;
    cmds->hmp_arena = vds_arena_new();
    cmds->throttled = g_hash_table_new(g_str_hash, g_str_equal);
    vds_machine_set_listener(machine, &listener);
    return cmds;
}

void vds_cmds_free(VdsCmds *cmds)
{
    if (cmds) {
        vds_machine_set_listener(cmds->machine, NULL);
        vds_arena_free(cmds->hmp_arena);
        vds_throttle_free(cmds);
        g_free(cmds);
    }
}

void vds_cmds_emit_shutdown(VdsCmds *cmds, VdsShutdownCause cause)
{
    static const QapiShutdownCause reasons[] = {
        [VDS_SHUTDOWN_QMP_QUIT] = QAPI_SHUTDOWN_CAUSE_HOST_QMP_QUIT,
        [VDS_SHUTDOWN_SIGNAL] = QAPI_SHUTDOWN_CAUSE_HOST_SIGNAL,
        [VDS_SHUTDOWN_RESET] = QAPI_SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET,
        [VDS_SHUTDOWN_GUEST] = QAPI_SHUTDOWN_CAUSE_GUEST_SHUTDOWN,
    };

    qapi_event_shutdown(cmds->sink, cause == VDS_SHUTDOWN_GUEST, reasons[cause]);
}

const VdsQapiDispatch vds_cmds_dispatch = {qapi_commands, QAPI_N_COMMANDS};
