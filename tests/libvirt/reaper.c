/*
 * reaper: runs a command, is the parent of every orphan below it, and leaves none behind.
 *
 * libvirt ends an emulator and waits until its process id is gone, which is when its
 * parent has asked for its exit status.  The emulator is an orphan, so that parent is
 * process 1; in a container this may take seconds, or never happen.  Below this program
 * it happens at once.
 *
 * Owns the processes below it and the exit status.  Knows nothing of libvirt.
 *
 * usage: reaper COMMAND [ARGUMENT...]
 * Exit status: the command's; 1 if it ended well but left processes, which are named and
 * killed; 128 + N when signal N ended the command or told us to end.
 */
#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    GRACE_MS = 3000, /* for what is ending already: it may still write a log or a core */
    STEP_MS = 10,
};

static pid_t start(char **argv, const sigset_t *signals)
{
    pid_t pid = fork();

    if (pid == 0) {
        sigprocmask(SIG_UNBLOCK, signals, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[0], argv);
        g_printerr("reaper: %s: %s\n", argv[0], g_strerror(errno));
        _exit(127);
    }
    return pid;
}

/* Takes the exit status of every child that has ended; true if that of @pid is among
 * them. */
static bool reap(pid_t pid, int *status)
{
    bool found = false;
    pid_t ended;
    int how;

    while ((ended = waitpid(-1, &how, WNOHANG)) > 0) {
        if (ended == pid) {
            *status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
            found = true;
        }
    }
    return found;
}

/* Until @pid ends or a signal says that we shall; the exit status. */
static int await(pid_t pid, const sigset_t *signals)
{
    int status = 0;

    for (;;) {
        int signal = sigwaitinfo(signals, NULL);

        if (signal == SIGCHLD && reap(pid, &status)) {
            return status;
        }
        if (signal > 0 && signal != SIGCHLD) {
            return 128 + signal;
        }
    }
}

static bool have_children(void)
{
    int status;

    reap(-1, &status);
    return waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void name_and_kill(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
    g_autofree char *line = NULL;
    gsize len = 0;

    if (g_file_get_contents(path, &line, &len, NULL)) {
        for (gsize i = 0; i + 1 < len; i++) {
            line[i] = line[i] == '\0' ? ' ' : line[i];
        }
    }
    g_printerr("reaper: left behind: %d: %s\n", (int)pid, line ? line : "?");
    kill(pid, SIGKILL);
}

/* Kills children until there are none: when one dies, its own become ours. */
static void kill_children(void)
{
    while (have_children()) {
        g_autofree char *list = NULL;

        if (g_file_get_contents("/proc/thread-self/children", &list, NULL, NULL)) {
            g_auto(GStrv) words = g_strsplit_set(list, " \n", -1);

            for (char **word = words; *word; word++) {
                if (**word) {
                    name_and_kill((pid_t)atoi(*word));
                }
            }
        }
        g_usleep(STEP_MS * 1000);
    }
}

int main(int argc, char **argv)
{
    sigset_t signals;
    int status;

    if (argc < 2) {
        g_printerr("usage: reaper COMMAND [ARGUMENT...]\n");
        return 2;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    status = await(start(argv + 1, &signals), &signals);
    for (int waited = 0; status < 128 && waited < GRACE_MS && have_children();
         waited += STEP_MS) {
        g_usleep(STEP_MS * 1000);
    }
    if (have_children()) {
        status = status ? status : 1;
        kill_children();
    }
    return status;
}
