/*
 * main: -daemonize.
 *
 *     the process that was started   waits on a pipe, exits with the daemon's verdict
 *       +- one in between            leads the new session, forks, is gone
 *            +- the daemon           leads none, so that no terminal can become its own
 *
 * Standard error stays the starter's until the daemon is ready: faults are seen where the
 * command was given.  The working directory stays, too: a relative path means the same in
 * a later device_add, and at the end, when files are removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "main-priv.h"

static bool fail(GError **error, const char *what)
{
    int cause = errno;

    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(cause),
                "-daemonize: %s: %s", what, g_strerror(cause));
    return false;
}

/* _exit(), here and below: what the process holds is the daemon's to clean up. */
static G_NORETURN void wait_for_verdict(pid_t between, int fd)
{
    char verdict;
    ssize_t n;

    while (waitpid(between, NULL, 0) < 0 && errno == EINTR) {
    }
    do {
        n = read(fd, &verdict, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

bool vds_main_daemon_start(int *ready_fd, GError **error)
{
    VDS_AUTO_FD verdict_fd = -1;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return fail(error, "cannot make a pipe");
    }
    verdict_fd = ends[0];
    *ready_fd = ends[1];
    pid = fork();
    if (pid > 0) {
        vds_fd_close(ready_fd); /* else the daemon's end is never seen */
        wait_for_verdict(pid, verdict_fd);
    }
    if (pid < 0 || setsid() < 0) {
        return fail(error, "cannot start a session");
    }
    pid = fork();
    if (pid > 0) {
        _exit(EXIT_SUCCESS);
    }
    return pid == 0 || fail(error, "cannot start a process");
}

bool vds_main_daemon_ready(int *ready_fd)
{
    VDS_AUTO_FD null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int last_fd = vds_main_stderr_is_journal() ? STDOUT_FILENO : STDERR_FILENO;
    bool told;

    for (int fd = STDIN_FILENO; null_fd >= 0 && fd <= last_fd; fd++) {
        dup2(null_fd, fd);
    }
    told = write(*ready_fd, "", 1) == 1;
    vds_fd_close(ready_fd);
    return told;
}
