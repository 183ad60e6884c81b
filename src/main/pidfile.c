/*
 * main: the pidfile.  Its lock, not its presence, says that the process lives, so that a
 * file left by a crash is in nobody's way.
 */
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <sys/stat.h>

#include "main-priv.h"

struct VdsMainPidfile {
    char *path;
    int fd; /* holds the lock */
};

static bool fail(GError **error, const char *what)
{
    int cause = errno;

    g_set_error(error, G_IO_ERROR, (int)g_io_error_from_errno(cause),
                "cannot create PID file: %s: %s", what, g_strerror(cause));
    return false;
}

static bool is_same_file(int fd, const char *path)
{
    struct stat held, there;

    return fstat(fd, &held) == 0 && lstat(path, &there) == 0 &&
           held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

/* A lock of the open file, not of the process: closing another descriptor of the same
 * file does not drop it.  *fd stays -1 when the file was replaced meanwhile. */
static bool open_locked(const char *path, int *fd, GError **error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    VDS_AUTO_FD opened = open(path, O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (opened < 0) {
        return fail(error, "cannot open it");
    }
    if (fcntl(opened, F_OFD_SETLK, &lock) != 0) {
        return fail(error, "cannot lock it");
    }
    if (is_same_file(opened, path)) {
        *fd = vds_fd_steal(&opened);
    }
    return true;
}

VdsMainPidfile *vds_main_pidfile_new(const char *path, GError **error)
{
    g_autoptr(VdsMainPidfile) pidfile = NULL;
    VDS_AUTO_FD fd = -1;

    while (fd < 0) {
        if (!open_locked(path, &fd, error)) {
            return NULL;
        }
    }
    pidfile = g_new0(VdsMainPidfile, 1);
    pidfile->path = g_strdup(path);
    pidfile->fd = vds_fd_steal(&fd);
    if (ftruncate(pidfile->fd, 0) != 0 || dprintf(pidfile->fd, "%d\n", getpid()) < 0) {
        fail(error, "cannot write it");
        return NULL;
    }
    return g_steal_pointer(&pidfile);
}

void vds_main_pidfile_free(VdsMainPidfile *pidfile)
{
    if (pidfile) {
        if (is_same_file(pidfile->fd, pidfile->path)) {
            unlink(pidfile->path);
        }
        vds_fd_close(&pidfile->fd);
        g_free(pidfile->path);
        g_free(pidfile);
    }
}
