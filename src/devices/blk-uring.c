/*
 * devices: disk I/O by io_uring: one ring a device, submitted once a batch, an eventfd
 * for what is done.  Built where liburing is; used where the kernel allows it.
 */
#include <errno.h>
#include <liburing.h>
#include <sys/eventfd.h>

#include "blk-priv.h"

struct VdsBlkEngine {
    struct io_uring ring;
    int fd;   /* the file's; borrowed */
    int done; /* eventfd */
};

/* In-kernel work that this room needs and that came with Linux 5.6. */
static bool can_do_all(struct io_uring *ring)
{
    static const int codes[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC,
                                IORING_OP_FALLOCATE};
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool all = probe != NULL;

    for (size_t i = 0; all && i < G_N_ELEMENTS(codes); i++) {
        all = io_uring_opcode_supported(probe, codes[i]) != 0;
    }
    if (probe) {
        io_uring_free_probe(probe);
    }
    return all;
}

static VdsBlkEngine *uring_create(int fd, unsigned depth)
{
    g_autofree VdsBlkEngine *engine = g_new0(VdsBlkEngine, 1);

    if (io_uring_queue_init(depth, &engine->ring, 0) < 0) {
        return NULL;
    }
    engine->fd = fd;
    engine->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (engine->done < 0 || !can_do_all(&engine->ring) ||
        io_uring_register_eventfd(&engine->ring, engine->done) < 0) {
        io_uring_queue_exit(&engine->ring);
        vds_fd_close(&engine->done);
        return NULL;
    }
    return g_steal_pointer(&engine);
}

static int uring_get_fd(const VdsBlkEngine *engine)
{
    return engine->done;
}

static void prepare(struct io_uring_sqe *sqe, int fd, const VdsBlkOp *op)
{
    switch (op->kind) {
    case VDS_BLK_READ:
        io_uring_prep_read(sqe, fd, op->data, (unsigned)op->len, op->offset);
        return;
    case VDS_BLK_WRITE:
        io_uring_prep_write(sqe, fd, op->data, (unsigned)op->len, op->offset);
        return;
    case VDS_BLK_FLUSH:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        return;
    case VDS_BLK_DISCARD:
    case VDS_BLK_PUNCH:
    case VDS_BLK_ZERO:
        break;
    }
    io_uring_prep_fallocate(sqe, fd, vds_blk_fallocate_mode(op->kind), (off_t)op->offset,
                            (off_t)op->len);
}

/* The ring has `depth` entries and the device as many requests, so there is one. */
static void uring_submit(VdsBlkEngine *engine, VdsBlkOp *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&engine->ring);

    g_assert(sqe);
    prepare(sqe, engine->fd, op);
    io_uring_sqe_set_data(sqe, op);
}

/* EAGAIN and EBUSY are the kernel being short of something: entries stay in the ring, and
 * the eventfd brings the next turn, in which there is another kick. */
static void uring_kick(VdsBlkEngine *engine)
{
    int n;

    do {
        n = io_uring_submit(&engine->ring);
    } while (n == -EINTR);
    if (n < 0) {
        (void)eventfd_write(engine->done, 1);
    }
}

static VdsBlkOp *uring_reap(VdsBlkEngine *engine)
{
    struct io_uring_cqe *cqe = NULL;
    VdsBlkOp *op;
    int failed;

    do {
        failed = io_uring_peek_cqe(&engine->ring, &cqe);
    } while (failed == -EINTR);
    if (failed || !cqe) {
        return NULL;
    }
    op = io_uring_cqe_get_data(cqe);
    op->result = cqe->res;
    io_uring_cqe_seen(&engine->ring, cqe);
    return op;
}

static void uring_destroy(VdsBlkEngine *engine)
{
    io_uring_queue_exit(&engine->ring);
    vds_fd_close(&engine->done);
    g_free(engine);
}

const VdsBlkEngineOps vds_blk_uring = {
    "io_uring", uring_create, uring_get_fd,  uring_submit,
    uring_kick, uring_reap,   uring_destroy,
};
