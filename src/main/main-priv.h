/*
 * main: what the program's files share.
 */
#pragma once

#include "vds/cli.h"
#include "vds/guest.h"
#include "vds/machine.h"
#include "vds/vhost_user.h"

/* One line on standard error behind the program's name.  Control characters, which a
 * stranger's name may hold, become '?': it stays one line. */
void vds_main_report(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* ---- log.c: one line for each thing that happens ------------------------------------
 */

typedef enum {
    VDS_MAIN_LOG_ERROR,
    VDS_MAIN_LOG_WARNING,
    VDS_MAIN_LOG_INFO
} VdsMainLogLevel;
typedef struct VdsMainLog VdsMainLog;

/* To the file at `path`, with the time, or (NULL) to standard error, with a priority
 * where that is the journal.  The context is borrowed.  VDS_UTIL_ERROR_SYSTEM. */
VdsMainLog *vds_main_log_new(const char *path, GMainContext *context, GError **error);
/* Writes what is queued, for half a second at most.  NULL is fine. */
void vds_main_log_free(VdsMainLog *log);
/* Queues one line and does not wait; in it, control characters are escaped.  A source has
 * ten lines a minute, all sources 300; the others are counted, and a line tells how many
 * when the minute is over. */
void vds_main_log(VdsMainLog *log, VdsMainLogLevel level, const char *source,
                  const char *format, ...) G_GNUC_PRINTF(4, 5);
/* Outside these limits: what no peer can cause. */
void vds_main_log_always(VdsMainLog *log, const char *text);
/* By the environment's JOURNAL_STREAM. */
bool vds_main_stderr_is_journal(void);

/* ---- help.c -------------------------------------------------------------------------
 */

/* Every row of the table of kinds, NULL-terminated.  (transfer full) */
GPtrArray *vds_main_classes(void);
/* The text of -device DRIVER,help, or of -device help when `driver` is "".  (transfer
 * full) */
char *vds_main_device_help(const char *driver, GError **error);

/* ---- process.c: what the process sets up before anything else ---------------------- */

/* Standard descriptors that were closed are opened on /dev/null, so that no socket gets
 * a number that a message is written to. */
bool vds_main_keep_standard_fds(void);
/* Each client and each queue costs descriptors, and nothing here calls select(), which
 * is what the soft limit protects: up to the hard limit, where that is possible. */
void vds_main_raise_fd_limit(void);

/* The signals that end the process, read from a descriptor: no handler runs anywhere,
 * and threads that start later inherit the mask.  SIGPIPE is ignored.  -1 on error. */
int vds_main_signals_open(void);
/* The number of a signal that arrived, and who sent it; 0: none. */
int vds_main_signals_read(int fd, pid_t *from);

/* After a start that failed.  A listening socket that we were given is that of a manager
 * about to connect: libvirt.  Were we gone before, all that it could say is that the
 * connection was refused, and not what we wrote.  So this waits for it, a second at most.
 */
void vds_main_await_caller(void);

/* ---- pidfile.c --------------------------------------------------------------------- */

typedef struct VdsMainPidfile VdsMainPidfile;

/* Makes the file (mode 0600), locks it for as long as it is open and writes this
 * process's id; refuses when another process holds it. */
VdsMainPidfile *vds_main_pidfile_new(const char *path, GError **error);
/* Removes the file if it is still ours.  NULL is fine. */
void vds_main_pidfile_free(VdsMainPidfile *pidfile);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsMainPidfile, vds_main_pidfile_free)

/* ---- daemon.c ---------------------------------------------------------------------- */

/* Leaves the terminal and goes on in a process of its own; before any thread exists.
 * Returns in that process only: the first one waits for vds_main_daemon_ready() and exits
 * 0, or 1 when the daemon ends before.  *ready_fd is for that call. */
bool vds_main_daemon_start(int *ready_fd, GError **error);
/* Everything can be reached: puts the standard descriptors on /dev/null, but for standard
 * error where that is the journal, and lets the first process end.  False when nobody
 * waits for that any more. */
bool vds_main_daemon_ready(int *ready_fd);

/* ---- served.c: devices with a back-end -----------------------------------------------
 */

typedef struct VdsMainServed VdsMainServed;

/* Both are borrowed. */
VdsMainServed *vds_main_served_new(GMainContext *context, VdsMailbox *mailbox,
                                   VdsVhostUserNewsFunc news, void *news_user);
void vds_main_served_free(VdsMainServed *served); /* NULL is fine */
bool vds_main_served_plug(VdsMainServed *served, VdsVirtioDevice *device,
                          const VdsPropertySet *properties, GError **error);
/* false: it was not served. */
bool vds_main_served_unplug(VdsMainServed *served, VdsVirtioDevice *device);
bool vds_main_served_has(const VdsMainServed *served, const VdsVirtioDevice *device);
/* Of a device that is served. */
void vds_main_served_show_connected(const VdsMainServed *served,
                                    const VdsVirtioDevice *device, VdsProp *value);
void vds_main_served_show_connections(const VdsMainServed *served,
                                      const VdsVirtioDevice *device, VdsProp *value);
void vds_main_served_show_messages(const VdsMainServed *served,
                                   const VdsVirtioDevice *device, VdsProp *value);
void vds_main_served_show_reason(const VdsMainServed *served,
                                 const VdsVirtioDevice *device, VdsProp *value);
void vds_main_served_show_refusal(const VdsMainServed *served,
                                  const VdsVirtioDevice *device, VdsProp *value);
void vds_main_served_show_waiting(const VdsMainServed *served,
                                  const VdsVirtioDevice *device, VdsProp *value);
void vds_main_served_show_hint(const VdsMainServed *served, const VdsVirtioDevice *device,
                               VdsProp *value);

/* ---- drivers.c: who drives the devices -----------------------------------------------
 */

typedef struct VdsMainDrivers VdsMainDrivers;

/* The guest in the machine's RAM, and back-ends for front-ends of other processes; told
 * of every device from now on.  The context is borrowed. */
VdsMainDrivers *vds_main_drivers_start(VdsMachine *machine, GMainContext *context,
                                       VdsVhostUserNewsFunc news, void *news_user);
/* Is its driver a front-end? */
bool vds_main_drivers_serve(const VdsMainDrivers *drivers, const VdsVirtioDevice *device);
/* Takes them away, device by device.  NULLs are fine. */
void vds_main_drivers_stop(VdsMachine *machine, VdsMainDrivers *drivers);

/* ---- watch.c: what happens, as lines and events ---------------------------------------
 */

typedef struct {
    VdsMainLog *log;
    VdsMachine *const *machine;
    VdsMainDrivers *const *drivers;
    struct VdsCmds *const *cmds; /* to (nullable): there are no events yet */
    const bool *ending;          /* then nothing is news any more */
} VdsMainWatch;

/* Callbacks; user is a VdsMainWatch. */
void vds_main_watch_fault(const VdsMachineFault *news, void *user);
void vds_main_watch_front_end(const VdsVhostUserNews *news, void *user);
void vds_main_watch_monitor(const char *name, const char *text, void *user);

/* ---- server.c ---------------------------------------------------------------------- */

/* Runs until told to end.  Everything it made is gone when it returns the exit status. */
int vds_main_serve(const VdsOptions *options);
