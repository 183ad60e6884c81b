/*
 * main: standard descriptors, limits and signals of the process.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "main-priv.h"

bool vds_main_keep_standard_fds(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    vds_fd_close(&fd);
    return fcntl(STDERR_FILENO, F_GETFD) >= 0;
}

void vds_main_raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int vds_main_signals_open(void)
{
    static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        sigaddset(&set, ends[i]);
    }
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || pthread_sigmask(SIG_BLOCK, &set, NULL)) {
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int vds_main_signals_read(int fd, pid_t *from)
{
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) != sizeof(info)) {
        return 0;
    }
    *from = (pid_t)info.ssi_pid;
    return (int)info.ssi_signo;
}

void vds_main_await_caller(void)
{
    enum { PATIENCE_MS = 1000, HIGHEST_FD = 255 };
    struct pollfd listeners[HIGHEST_FD + 1];
    nfds_t n = 0;

    for (int fd = STDERR_FILENO + 1; fd <= HIGHEST_FD; fd++) {
        int listens = 0;
        socklen_t len = sizeof(listens);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens) {
            listeners[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        }
    }
    if (n > 0) {
        poll(listeners, n, PATIENCE_MS);
    }
}
