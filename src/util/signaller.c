/*
 * util: VdsSignaller, which signals eventfds of others and waits for none of them.
 *
 * Whether a descriptor blocks is a property of what both sides have open: the other one
 * may fill its counter, make it blocking, and a write() of ours sleeps until it pleases.
 * What the kernel signals itself never does: an asynchronous operation (io_submit(2))
 * that is over at once, and whose end is told there.  Refuses to know what the signals
 * mean.
 */
#include <errno.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vds/util.h"

enum { DEPTH = 128 }; /* signals, before what is over is taken out */

struct VdsSignaller {
    pthread_mutex_t lock;  /* of the opening */
    atomic_bool opened;    /* or it was tried */
    aio_context_t context; /* 0: there is none */
    int ready_fd;          /* always readable: to wait for that is over at once */
};

VdsSignaller *vds_signaller_new(void)
{
    VdsSignaller *signaller = g_new0(VdsSignaller, 1);

    pthread_mutex_init(&signaller->lock, NULL);
    signaller->ready_fd = -1;
    return signaller;
}

void vds_signaller_free(VdsSignaller *signaller)
{
    if (!signaller) {
        return;
    }
    if (signaller->context != 0) {
        syscall(SYS_io_destroy, signaller->context);
    }
    vds_fd_close(&signaller->ready_fd);
    pthread_mutex_destroy(&signaller->lock);
    g_free(signaller);
}

/* Costs two pages, so not before the first signal. */
static void open_context(VdsSignaller *signaller)
{
    VDS_LOCK_SCOPE(&signaller->lock);

    if (atomic_load_explicit(&signaller->opened, memory_order_relaxed)) {
        return;
    }
    signaller->ready_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signaller->ready_fd < 0 ||
        syscall(SYS_io_setup, DEPTH, &signaller->context) != 0) {
        signaller->context = 0;
    }
    atomic_store_explicit(&signaller->opened, true, memory_order_release);
}

/* false: the descriptor is no eventfd. */
static bool signal_by_kernel(const VdsSignaller *signaller, int fd)
{
    struct iocb operation = {
        .aio_lio_opcode = IOCB_CMD_POLL,
        .aio_fildes = (uint32_t)signaller->ready_fd,
        .aio_buf = POLLIN,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)fd,
    };
    struct iocb *operations[] = {&operation};
    struct io_event over[DEPTH];

    while (syscall(SYS_io_submit, signaller->context, 1, operations) != 1) {
        struct timespec at_once = {0, 0};

        if (errno != EAGAIN || syscall(SYS_io_getevents, signaller->context, 0, DEPTH,
                                       over, &at_once) <= 0) {
            return false;
        }
    }
    return true;
}

/* Where there are no asynchronous operations: as well as may be. */
static void signal_by_write(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    uint64_t one = 1;

    if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT)) {
        (void)!write(fd, &one, sizeof(one));
    }
}

void vds_signaller_signal(VdsSignaller *signaller, int fd)
{
    uint64_t one = 1;
    struct iovec part = {&one, sizeof(one)};

    if (!atomic_load_explicit(&signaller->opened, memory_order_acquire)) {
        open_context(signaller);
    }
    if (signaller->context == 0) {
        signal_by_write(fd);
    } else if (!signal_by_kernel(signaller, fd)) {
        (void)!pwritev2(fd, &part, 1, -1, RWF_NOWAIT);
    }
}

ssize_t vds_read_now(int fd, void *bytes, size_t len)
{
    struct iovec part = {bytes, len};
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    ssize_t n = preadv2(fd, &part, 1, -1, RWF_NOWAIT);

    if (n >= 0 || errno != EOPNOTSUPP) {
        return n;
    }
    if (poll(&ready, 1, 0) == 1) {
        return read(fd, bytes, len);
    }
    errno = EAGAIN;
    return -1;
}
