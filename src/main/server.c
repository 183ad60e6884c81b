/*
 * main: the server: the rooms put together, run, and taken apart again.
 *
 * Order: pidfile (its lock tells two daemons apart before either does anything), machine,
 * back-ends and devices (they touch nothing outside but sockets for front-ends), then the
 * monitors' sockets.  So a bad option or property leaves nothing behind.
 */
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "main-priv.h"
#include "vds/cmds.h"
#include "vds/devices.h"
#include "vds/machine.h"
#include "vds/monitor.h"

enum {
    FLUSH_MS = 500,            /* how long the end waits for clients that do not read */
    START_PATIENCE_MS = 30000, /* with files of the command line: nobody else waits */
};

#define PACKAGE "virtio-debugd " VDS_VERSION
#define BANNER PACKAGE " monitor - type 'help' for more information"

/* Made in this order, freed in the other; lives in vds_main_serve(). */
typedef struct {
    const VdsOptions *options;
    bool ending; /* asked to end, by a client or a signal */
    int signal_fd;
    int ready_fd; /* -daemonize: who started us waits there; else -1 */
    GMainContext *context;
    GSource *signals;
    VdsMainPidfile *pidfile;
    GPtrArray *classes; /* the rows, NULL-terminated: borrowed by the machine */
    VdsMachine *machine;
    VdsMainLog *log;
    VdsMainWatch watch;
    VdsMainDrivers *drivers;
    GSource *news; /* of its mailbox */
    VdsCmdsHost host;
    VdsEventSink sink;
    VdsCmds *cmds;
    VdsQmpServer qmp;
    VdsMonitorHuman human;
    VdsMonitor *monitor;
} VdsMainServer;

/* ---- what the rooms call ----------------------------------------------------------- */

static void on_event(void *user, const VdsQapiEvent *event, const void *data)
{
    VdsMainServer *server = user;

    if (server->monitor) { /* nobody to tell before there is one, or after */
        vds_monitor_emit(server->monitor, event, data);
    }
}

/* -no-shutdown is about ends that the machine comes to, not about those asked for. */
static bool stays(const VdsMainServer *server, VdsShutdownCause cause)
{
    return server->options->no_shutdown &&
           (cause == VDS_SHUTDOWN_GUEST || cause == VDS_SHUTDOWN_RESET);
}

static void on_end(void *user, VdsShutdownCause cause)
{
    VdsMainServer *server = user;

    if (server->ending) {
        return;
    }
    vds_cmds_emit_shutdown(server->cmds, cause);
    if (stays(server, cause)) {
        vds_machine_shut_down(server->machine);
    } else {
        server->ending = true;
    }
}

typedef struct {
    VdsTaskFunc func;
    void *data;
    GDestroyNotify gone;
} LateTask;

static gboolean on_late(void *user)
{
    const LateTask *task = user;

    task->func(task->data);
    return G_SOURCE_REMOVE;
}

static void late_task_free(void *user)
{
    LateTask *task = user;

    task->gone(task->data);
    g_free(task);
}

static void on_later(void *user, unsigned ms, VdsTaskFunc func, void *data,
                     GDestroyNotify gone)
{
    VdsMainServer *server = user;
    g_autoptr(GSource) source = g_timeout_source_new(ms);
    LateTask *task = g_new(LateTask, 1);

    *task = (LateTask){func, data, gone};
    g_source_set_callback(source, on_late, task, late_task_free);
    g_source_attach(source, server->context);
}

static gboolean on_signal(int fd, GIOCondition condition, void *user)
{
    VdsMainServer *server = user;
    pid_t from = 0;
    int number = vds_main_signals_read(fd, &from);

    if (number != 0) {
        g_autofree char *text =
            g_strdup_printf("terminating on signal %d from pid %d", number, (int)from);

        vds_main_log_always(server->log, text);
        on_end(server, VDS_SHUTDOWN_SIGNAL);
    }
    return G_SOURCE_CONTINUE;
}

static char *on_human_line(void *user, const char *line)
{
    return vds_cmds_hmp(((VdsMainServer *)user)->cmds, line);
}

static VdsQmpError classify(const GError *error)
{
    const struct {
        GQuark domain;
        int code;
    } not_found[] = {
        {VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_DEVICE},
        {VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_OBJECT},
        {VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_CLASS},
        {VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_NO_OBJECT},
        {VDS_CMDS_ERROR, VDS_CMDS_ERROR_NO_DEVICE},
    };

    if (g_error_matches(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_NOT_ACTIVE)) {
        return VDS_QMP_ERROR_DEVICE_NOT_ACTIVE;
    }

    for (size_t i = 0; i < G_N_ELEMENTS(not_found); i++) {
        if (g_error_matches(error, not_found[i].domain, not_found[i].code)) {
            return VDS_QMP_ERROR_DEVICE_NOT_FOUND;
        }
    }
    return VDS_QMP_ERROR_GENERIC;
}

/* ---- start: each step reports its own fault ---------------------------------------- */

static bool report_at(const char *origin, GError *error)
{
    vds_main_report("%s: %s", origin, error->message);
    g_error_free(error);
    return false;
}

static bool start_log(VdsMainServer *server)
{
    const char *path = server->options->log_path;
    GError *error = NULL;

    server->log = vds_main_log_new(path, server->context, &error);
    if (!server->log) {
        g_autofree char *origin = g_strdup_printf("-D %s", path);

        return report_at(origin, error);
    }
    server->watch = (VdsMainWatch){.log = server->log,
                                   .machine = &server->machine,
                                   .drivers = &server->drivers,
                                   .cmds = &server->cmds,
                                   .ending = &server->ending};
    return true;
}

static bool start_process(VdsMainServer *server)
{
    const char *path = server->options->pidfile;
    GError *error = NULL;

    if (path) {
        server->pidfile = vds_main_pidfile_new(path, &error);
        if (!server->pidfile) {
            g_autofree char *origin = g_strdup_printf("-pidfile %s", path);

            return report_at(origin, error);
        }
    }
    server->context = g_main_context_new();
    if (!start_log(server)) {
        return false;
    }
    server->signals = g_unix_fd_source_new(server->signal_fd, G_IO_IN);
    g_source_set_callback(server->signals, G_SOURCE_FUNC(on_signal), server, NULL);
    g_source_attach(server->signals, server->context);
    return true;
}

static bool start_backends(VdsMainServer *server)
{
    const VdsOptions *options = server->options;
    GError *error = NULL;

    for (unsigned i = 0; i < options->backends->len; i++) {
        const VdsBackendOption *backend = g_ptr_array_index(options->backends, i);

        if (!vds_machine_check_keys(backend->kind, backend->props, &error) ||
            !vds_machine_backend_add(server->machine, backend->kind, backend->props,
                                     &error)) {
            return report_at(backend->origin, error);
        }
    }
    return true;
}

static bool start_memory(VdsMainServer *server)
{
    const VdsOptions *options = server->options;
    const VdsMachineMemory memory = {
        .bytes = options->memory_bytes,
        .given = options->memory_given,
        .backend = vds_props_get_string(options->machine_props, "memory-backend"),
    };
    g_autofree char *origin = NULL;
    GError *error = NULL;

    if (vds_machine_set_memory(server->machine, &memory, &error)) {
        return true;
    }
    origin = memory.backend
                 ? g_strdup_printf("-machine memory-backend=%s", memory.backend)
                 : g_strdup("-m");
    return report_at(origin, error);
}

static gboolean on_news(int fd, GIOCondition condition, void *user)
{
    vds_mailbox_run(user);
    return G_SOURCE_CONTINUE;
}

static bool start_news(VdsMainServer *server)
{
    GError *error = NULL;
    VdsMailbox *mailbox = vds_machine_open_mailbox(server->machine, &error);

    if (!mailbox) {
        return report_at("the machine does not start", error);
    }
    server->news = g_unix_fd_source_new(vds_mailbox_get_fd(mailbox), G_IO_IN);
    g_source_set_callback(server->news, G_SOURCE_FUNC(on_news), mailbox, NULL);
    g_source_attach(server->news, server->context);
    return true;
}

/* The words are QEMU's. */
static bool check_machine(const VdsOptions *options)
{
    if (!vds_machine_model_find(options->machine)) {
        vds_main_report("%s: unsupported machine type, 'vds' is the one without a model",
                        options->machine_origin);
        return false;
    }
    return true;
}

static bool start_machine(VdsMainServer *server)
{
    const VdsOptions *options = server->options;
    GError *error = NULL;

    if (!check_machine(options)) {
        return false;
    }
    server->classes = vds_main_classes();
    server->machine = vds_machine_new(
        options->machine, (const VdsDeviceClass *const *)server->classes->pdata);
    vds_machine_set_patience(server->machine, START_PATIENCE_MS);
    if (!start_news(server) || !start_backends(server) || !start_memory(server)) {
        return false;
    }
    server->drivers = vds_main_drivers_start(server->machine, server->context,
                                             vds_main_watch_front_end, &server->watch);
    vds_machine_set_fault_func(server->machine, vds_main_watch_fault, &server->watch);
    for (unsigned i = 0; i < options->devices->len; i++) {
        const VdsDeviceOption *device = g_ptr_array_index(options->devices, i);

        if (!vds_machine_device_add(server->machine, device->props, &error)) {
            return report_at(device->origin, error);
        }
    }
    return true;
}

static void foreach_monitor(void *host, VdsCmdsMonitorFunc func, void *user)
{
    const VdsMainServer *server = host;
    const GPtrArray *mons = server->options->mons;

    for (unsigned i = 0; i < mons->len; i++) {
        const VdsChardev *chardev = ((const VdsMon *)g_ptr_array_index(mons, i))->chardev;

        func(chardev->props, vds_monitor_is_connected(server->monitor, chardev->id),
             user);
    }
}

static int take_fd(void *host)
{
    return vds_monitor_take_fd(((VdsMainServer *)host)->monitor);
}

static void start_cmds(VdsMainServer *server)
{
    server->host = (VdsCmdsHost){
        .name = server->options->name,
        .uuid = server->options->uuid,
        .package = PACKAGE,
        .no_reboot = server->options->no_reboot,
        .kvm_asked = server->options->kvm,
        .take_fd = take_fd,
        .foreach_option = vds_options_foreach,
        .foreach_monitor = foreach_monitor,
        .later = on_later,
        .end = on_end,
        .user = server,
    };
    server->sink = (VdsEventSink){.emit = on_event, .user = server};
    server->cmds = vds_cmds_new(server->machine, &server->host, &server->sink);
    server->qmp = (VdsQmpServer){
        .dispatch = vds_cmds_dispatch,
        .ctx = server->cmds,
        .major = VDS_CMDS_LEVEL_MAJOR,
        .minor = VDS_CMDS_LEVEL_MINOR,
        .micro = VDS_CMDS_LEVEL_MICRO,
        .package = PACKAGE,
        .classify = classify,
    };
    server->human = (VdsMonitorHuman){
        .line = on_human_line,
        .banner = BANNER,
        .user = server,
    };
}

/* What a user could not know otherwise: the pseudo terminal that was made, and why
 * nothing goes on yet. */
static void tell_address(const VdsChardev *chardev, const char *address)
{
    if (chardev->kind == VDS_CHARDEV_PTY) {
        printf("char device redirected to %s (label %s)\n", address, chardev->id);
        fflush(stdout);
    }
    if (chardev->wait) {
        vds_main_report("%s: waiting for connection on: %s", chardev->origin, address);
    }
}

static bool start_monitor(VdsMainServer *server, const VdsMon *mon)
{
    static const VdsMonitorTransport transports[] = {
        [VDS_CHARDEV_SOCKET_UNIX] = VDS_MONITOR_UNIX,
        [VDS_CHARDEV_SOCKET_TCP] = VDS_MONITOR_TCP,
        [VDS_CHARDEV_SOCKET_FD] = VDS_MONITOR_FD,
        [VDS_CHARDEV_STDIO] = VDS_MONITOR_STDIO,
        [VDS_CHARDEV_PTY] = VDS_MONITOR_PTY,
        [VDS_CHARDEV_FILE] = VDS_MONITOR_FILE,
        [VDS_CHARDEV_NULL] = VDS_MONITOR_NULL,
    };
    const VdsChardev *chardev = mon->chardev;
    g_autofree char *address = NULL;
    GError *error = NULL;
    const VdsMonitorConfig config = {
        .label = chardev->id,
        .mode = mon->mode == VDS_MON_CONTROL ? VDS_MONITOR_QMP : VDS_MONITOR_HMP,
        .transport = transports[chardev->kind],
        .path = chardev->path,
        .host = chardev->host,
        .port = chardev->port,
        .fd = chardev->fd,
        .server = chardev->server,
        .wait = chardev->wait,
        .pretty = mon->pretty,
        .address = &address,
    };

    if (!vds_monitor_add(server->monitor, &config, &error)) {
        return report_at(chardev->origin, error);
    }
    tell_address(chardev, address);
    return true;
}

static bool start_monitors(VdsMainServer *server)
{
    const GPtrArray *mons = server->options->mons;

    server->monitor = vds_monitor_new(server->context, &server->qmp, &server->human);
    vds_monitor_set_news(server->monitor, vds_main_watch_monitor, &server->watch);
    for (unsigned i = 0; i < mons->len; i++) {
        if (!start_monitor(server, g_ptr_array_index(mons, i))) {
            return false;
        }
    }
    /* wait=on: the loop turns, so that signals and other clients are served. */
    while (!server->ending && vds_monitor_is_waiting(server->monitor)) {
        g_main_context_iteration(server->context, TRUE);
    }
    return true;
}

static bool start_guest(VdsMainServer *server)
{
    GError *error = NULL;

    if (server->options->paused || server->ending ||
        vds_machine_is_running(server->machine) ||
        vds_machine_cont(server->machine, &error)) {
        return true;
    }
    return report_at("the guest does not start", error);
}

static bool server_start(VdsMainServer *server)
{
    if (!start_process(server) || !start_machine(server)) {
        return false;
    }
    start_cmds(server);
    vds_machine_set_patience(server->machine, 0);
    return start_monitors(server) && start_guest(server) &&
           (server->ready_fd < 0 || vds_main_daemon_ready(&server->ready_fd));
}

/* ---- run and end ------------------------------------------------------------------- */

/* libvirt asks a daemon of machine none what it can do and then ends it, unless it is
 * killed meanwhile: such a daemon is its first clients' alone. */
static bool is_probe(const VdsOptions *options)
{
    return options->daemonize && strcmp(options->machine, "none") == 0;
}

static void server_run(VdsMainServer *server)
{
    bool probe = is_probe(server->options);
    bool seen = false;

    while (!server->ending) {
        unsigned n;

        g_main_context_iteration(server->context, TRUE);
        n = vds_monitor_count_sessions(server->monitor);
        server->ending |= probe && seen && n == 0;
        seen |= n > 0;
    }
    vds_monitor_flush(server->monitor, FLUSH_MS);
}

static void source_clear(GSource **source)
{
    if (*source) {
        g_source_destroy(*source);
        g_source_unref(g_steal_pointer(source));
    }
}

/* Copes with a server that was only half made. */
static void server_clear(VdsMainServer *server)
{
    g_clear_pointer(&server->monitor, vds_monitor_free);
    server->ending = true; /* what is taken apart is no news */
    if (server->machine) {
        vds_machine_set_fault_func(server->machine, NULL, NULL);
    }
    g_clear_pointer(&server->cmds, vds_cmds_free);
    vds_main_drivers_stop(server->machine, server->drivers);
    source_clear(&server->news);
    vds_machine_free(server->machine);
    g_clear_pointer(&server->classes, g_ptr_array_unref);
    source_clear(&server->signals);
    vds_main_log_free(server->log);
    if (server->context) {
        g_main_context_unref(server->context);
    }
    vds_main_pidfile_free(server->pidfile);
    vds_fd_close(&server->ready_fd);
    vds_fd_close(&server->signal_fd);
}

int vds_main_serve(const VdsOptions *options)
{
    VdsMainServer server = {.options = options, .signal_fd = -1, .ready_fd = -1};
    GError *error = NULL;
    bool started;

    if (options->daemonize && !vds_main_daemon_start(&server.ready_fd, &error)) {
        vds_main_report("%s", error->message);
        g_error_free(error);
        return EXIT_FAILURE;
    }
    server.signal_fd = vds_main_signals_open();
    started = server.signal_fd >= 0 && server_start(&server);
    if (started) {
        server_run(&server);
    }
    server_clear(&server);
    return started ? EXIT_SUCCESS : EXIT_FAILURE;
}
