/*
 * util: descriptors that came from another process.  Says what one is without asking its
 * file system, and closes it without waiting: whoever serves a file (FUSE, NFS) decides
 * how long fstat(), poll() and even close(), which flushes, take.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "vds/util.h"

/* ---- what it is ------------------------------------------------------------ */

char *vds_fd_describe(int fd)
{
    char link[64], name[PATH_MAX];
    ssize_t len;

    g_snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, name, sizeof(name));
    return len < 0 ? g_strdup("") : g_strndup(name, (size_t)len);
}

static bool is_socket(int fd)
{
    int type;
    socklen_t len = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

/* A path never begins like this: it begins with a slash. */
static bool is_eventfd(int fd)
{
    g_autofree char *name = vds_fd_describe(fd);

    return strcmp(name, "anon_inode:[eventfd]") == 0;
}

/* Each question is answered by the kernel's own code for that kind of file; files of a
 * file system that somebody serves answer none of them. */
VdsFdKind vds_fd_kind(int fd)
{
    if (fcntl(fd, F_GET_SEALS) >= 0) {
        return VDS_FD_MEMORY;
    }
    if (is_socket(fd)) {
        return VDS_FD_SOCKET;
    }
    if (fcntl(fd, F_GETPIPE_SZ) >= 0) {
        return VDS_FD_PIPE;
    }
    return is_eventfd(fd) ? VDS_FD_EVENTFD : VDS_FD_FILE;
}

/* The driver of tun and tap names the interface there. */
bool vds_fd_is_tap(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fdinfo/%d", fd);
    g_autofree char *info = NULL;

    return g_file_get_contents(path, &info, NULL, NULL) && strstr(info, "\niff:\t");
}

/* ---- to be closed ---------------------------------------------------------- */

enum {
    MAX_THREADS = 16,
    STACK_BYTES = 256 << 10, /* sanitizers need more than the least */
};

struct VdsCloser {
    pthread_mutex_t lock; /* of all below */
    unsigned refs;        /* its owner's, and one a thread */
    unsigned n_threads;
    GArray *waiting; /* descriptors that no thread has taken yet */
};

VdsCloser *vds_closer_new(void)
{
    VdsCloser *closer = g_new0(VdsCloser, 1);

    pthread_mutex_init(&closer->lock, NULL);
    closer->refs = 1;
    closer->waiting = g_array_new(FALSE, FALSE, sizeof(int));
    return closer;
}

static void closer_unref(VdsCloser *closer)
{
    bool last;

    pthread_mutex_lock(&closer->lock);
    last = --closer->refs == 0;
    pthread_mutex_unlock(&closer->lock);
    if (last) {
        pthread_mutex_destroy(&closer->lock);
        g_array_unref(closer->waiting);
        g_free(closer);
    }
}

void vds_closer_free(VdsCloser *closer)
{
    if (closer) {
        closer_unref(closer);
    }
}

/* -1: none waits; then the thread counts as ended. */
static int closer_next(VdsCloser *closer)
{
    VDS_LOCK_SCOPE(&closer->lock);
    int fd = -1;

    if (closer->waiting->len > 0) {
        fd = g_array_index(closer->waiting, int, closer->waiting->len - 1);
        g_array_set_size(closer->waiting, closer->waiting->len - 1);
    } else {
        closer->n_threads--;
    }
    return fd;
}

static void *closer_main(void *user)
{
    VdsCloser *closer = user;
    int fd;

    while ((fd = closer_next(closer)) >= 0) {
        close(fd);
    }
    closer_unref(closer);
    return NULL;
}

/* With the lock held.  Where there can be no thread, the next one to end takes it. */
static void closer_start(VdsCloser *closer)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;

    if (closer->n_threads == MAX_THREADS) {
        return;
    }
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, &attributes, closer_main, closer) == 0) {
        closer->n_threads++;
        closer->refs++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void vds_closer_close(VdsCloser *closer, int *fd)
{
    int taken = vds_fd_steal(fd);

    if (taken < 0) {
        return;
    }
    if (!closer || vds_fd_kind(taken) != VDS_FD_FILE) {
        close(taken);
        return;
    }
    pthread_mutex_lock(&closer->lock);
    g_array_append_val(closer->waiting, taken);
    closer_start(closer);
    pthread_mutex_unlock(&closer->lock);
}

bool vds_closer_is_full(VdsCloser *closer)
{
    VDS_LOCK_SCOPE(&closer->lock);

    return closer->n_threads == MAX_THREADS;
}
