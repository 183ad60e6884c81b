/*
 * devices: disk I/O by a few threads of the device's own, for kernels without io_uring.
 * A worker touches an op's private bytes and the file, nothing else of the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include "blk-priv.h"

enum { MAX_WORKERS = 4 };

typedef struct {
    VdsBlkOp *first, **end;
} OpList;

struct VdsBlkEngine {
    int fd;   /* the file's; borrowed */
    int done; /* eventfd */
    unsigned n_workers;
    pthread_t workers[MAX_WORKERS];
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wanted;
    OpList to_do, ready;
    unsigned n_idle, n_waiting; /* workers, and ops in to_do */
    bool ending;
};

static void list_init(OpList *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_push(OpList *list, VdsBlkOp *op)
{
    op->next = NULL;
    *list->end = op;
    list->end = &op->next;
}

static VdsBlkOp *list_shift(OpList *list)
{
    VdsBlkOp *op = list->first;

    if (op) {
        list->first = op->next;
        if (!list->first) {
            list->end = &list->first;
        }
    }
    return op;
}

/* ---- on a worker --------------------------------------------------------------------
 */

static int64_t op_run(int fd, const VdsBlkOp *op)
{
    switch (op->kind) {
    case VDS_BLK_READ:
        return pread(fd, op->data, op->len, (off_t)op->offset);
    case VDS_BLK_WRITE:
        return pwrite(fd, op->data, op->len, (off_t)op->offset);
    case VDS_BLK_FLUSH:
        return fdatasync(fd);
    case VDS_BLK_DISCARD:
    case VDS_BLK_PUNCH:
    case VDS_BLK_ZERO:
        break;
    }
    return fallocate(fd, vds_blk_fallocate_mode(op->kind), (off_t)op->offset,
                     (off_t)op->len);
}

/* With the lock held.  (nullable) at the end */
static VdsBlkOp *wait_for_work(VdsBlkEngine *pool)
{
    while (!pool->to_do.first && !pool->ending) {
        pool->n_idle++;
        pthread_cond_wait(&pool->wanted, &pool->lock);
        pool->n_idle--;
    }
    if (pool->to_do.first) {
        pool->n_waiting--;
    }
    return list_shift(&pool->to_do);
}

static void *work(void *user)
{
    VdsBlkEngine *pool = user;
    VdsBlkOp *op;
    bool first;

    pthread_mutex_lock(&pool->lock);
    while ((op = wait_for_work(pool))) {
        pthread_mutex_unlock(&pool->lock);
        op->result = op_run(pool->fd, op);
        op->result = op->result < 0 ? -errno : op->result;
        pthread_mutex_lock(&pool->lock);
        first = !pool->ready.first;
        list_push(&pool->ready, op);
        if (first) {                            /* the others are found with it */
            (void)eventfd_write(pool->done, 1); /* under the lock: destroy waits for it */
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* ---- on the caller's thread ---------------------------------------------------------
 */

static void pool_destroy(VdsBlkEngine *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_workers; i++) {
        pthread_join(pool->workers[i], NULL);
    }
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->lock);
    vds_fd_close(&pool->done);
    g_free(pool);
}

/* Signals are the main thread's business.  false: the system has no thread to give. */
static bool start_worker(VdsBlkEngine *pool)
{
    sigset_t all, before;
    bool started;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    started = pthread_create(&pool->workers[pool->n_workers], NULL, work, pool) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool->n_workers += started;
    return started;
}

/* One worker at once, so that a pool that exists can work; more with the load. */
static VdsBlkEngine *pool_create(int fd, unsigned depth)
{
    VdsBlkEngine *pool = g_new0(VdsBlkEngine, 1);

    pool->fd = fd;
    pool->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    list_init(&pool->to_do);
    list_init(&pool->ready);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    if (pool->done < 0 || !start_worker(pool)) {
        pool_destroy(pool);
        return NULL;
    }
    return pool;
}

static int pool_get_fd(const VdsBlkEngine *pool)
{
    return pool->done;
}

static void pool_submit(VdsBlkEngine *pool, VdsBlkOp *op)
{
    bool more;

    pthread_mutex_lock(&pool->lock);
    list_push(&pool->to_do, op);
    pool->n_waiting++;
    more = pool->n_waiting > pool->n_idle && pool->n_workers < MAX_WORKERS;
    pthread_cond_signal(&pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    if (more) {
        start_worker(pool); /* or the ones that are there do it */
    }
}

static void pool_kick(VdsBlkEngine *pool)
{
}

static VdsBlkOp *pool_reap(VdsBlkEngine *pool)
{
    VDS_LOCK_SCOPE(&pool->lock);

    return list_shift(&pool->ready);
}

const VdsBlkEngineOps vds_blk_pool = {"threads", pool_create, pool_get_fd, pool_submit,
                                      pool_kick, pool_reap,   pool_destroy};
