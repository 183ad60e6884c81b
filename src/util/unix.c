/*
 * util: UNIX sockets: whose a socket file is, and who may use it.
 *
 * A socket file is 0600 from its first moment, replaces a stale one, never a live one and
 * never another kind of file, and is removed only by its owner.  unix(7).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "vds/util.h"

static bool fail(GError **error, const char *what, const char *path)
{
    int number = errno;

    g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM, "%s '%s': %s", what, path,
                g_strerror(number));
    return false;
}

static bool set_address(struct sockaddr_un *address, const char *path, GError **error)
{
    size_t len = strlen(path);

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len == 0 || len >= sizeof(address->sun_path)) {
        g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_ADDRESS,
                    "UNIX socket path '%.*s' has %zu bytes, expected 1 to %zu",
                    vds_name_len(path), path, len, sizeof(address->sun_path) - 1);
        return false;
    }
    memcpy(address->sun_path, path, len);
    return true;
}

static int make_socket(const char *path, int flags, GError **error)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

    if (fd < 0) {
        fail(error, "Cannot make a socket for", path);
    }
    return fd;
}

/* Two processes that start at once must not both find a file stale: the second one would
 * remove the first one's.  The lock is advice among ourselves; after 200 ms it is not
 * worth waiting for. */
static int lock_folder(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (int i = 0; fd >= 0 && i < 100 && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        g_usleep(2000);
    }
    return fd;
}

/* Makes the path free: nothing there, or a socket that nobody serves. */
static bool clear_path(const struct sockaddr_un *address, GError **error)
{
    const char *path = address->sun_path;
    VDS_AUTO_FD probe = -1;
    struct stat found;

    if (lstat(path, &found) != 0) {
        return errno == ENOENT || fail(error, "Cannot use", path);
    }
    if (!S_ISSOCK(found.st_mode)) {
        g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM,
                    "'%s' exists and is no socket", path);
        return false;
    }
    probe = make_socket(path, SOCK_NONBLOCK, error);
    if (probe < 0) {
        return false;
    }
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
        errno == EAGAIN || errno == EPROTOTYPE) {
        g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_IN_USE,
                    "Another process listens on '%s'", path);
        return false;
    }
    if (errno != ECONNREFUSED && errno != ENOENT) {
        return fail(error, "Cannot use", path);
    }
    return unlink(path) == 0 || errno == ENOENT || fail(error, "Cannot replace", path);
}

int vds_unix_listen(const char *path, struct stat *identity, GError **error)
{
    VDS_AUTO_FD fd = -1, lock = -1;
    struct sockaddr_un address;

    if (!set_address(&address, path, error)) {
        return -1;
    }
    lock = lock_folder(path);
    if (!clear_path(&address, error)) {
        return -1;
    }
    fd = make_socket(path, SOCK_NONBLOCK, error);
    if (fd < 0) {
        return -1;
    }
    /* The file takes the socket's own mode: there is no moment at which others may
     * connect, and no umask to change for all threads. */
    if (fchmod(fd, 0600) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        fail(error, "Cannot bind", path);
        return -1;
    }
    if (lstat(path, identity) != 0 || listen(fd, SOMAXCONN) != 0) {
        fail(error, "Cannot listen on", path);
        unlink(path);
        return -1;
    }
    return vds_fd_steal(&fd);
}

int vds_unix_connect(const char *path, GError **error)
{
    VDS_AUTO_FD fd = -1;
    struct sockaddr_un address;

    if (!set_address(&address, path, error)) {
        return -1;
    }
    /* Non-blocking: a server with a full backlog is an error, not a wait. */
    fd = make_socket(path, SOCK_NONBLOCK, error);
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        fail(error, "Cannot connect to", path);
        return -1;
    }
    return vds_fd_steal(&fd);
}

void vds_unix_unlink(const char *path, const struct stat *identity)
{
    struct stat found;

    if (lstat(path, &found) == 0 && found.st_dev == identity->st_dev &&
        found.st_ino == identity->st_ino) {
        unlink(path);
    }
}
