/*
 * devices: disks that are taken away while they work.  Nobody waits for a disk: who takes
 * one away is called when it has given everything back, and what a disk still has when
 * the process ends is left to a thread of its own.  Refuses to know requests.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "blk-priv.h"

/* What a disk is given to finish when its device is freed with work under way. */
enum { PATIENCE_MS = 500 };

/* ---- being called ------------------------------------------------------------------ */

typedef struct {
    VdsBlk *blk;
    VdsTaskFunc done;
    void *user;
    bool settled;
} Settle;

static void settle_task(void *user)
{
    Settle *settle = user;
    VdsBlk *blk = settle->blk;

    settle->settled = blk->n_in_engine == 0;
    blk->settled = settle->settled ? NULL : settle->done;
    blk->settled_user = settle->user;
}

bool vds_blk_settle(VdsBlk *blk, VdsTaskFunc done, void *user)
{
    Settle settle = {blk, done, user, true};

    if (vds_io_thread_get_id(blk->thread) != 0) {
        vds_io_thread_call(blk->thread, settle_task, &settle);
    }
    return settle.settled;
}

void vds_blk_note_settled(VdsBlk *blk)
{
    VdsTaskFunc done = blk->settled;

    if (done && blk->n_in_engine == 0) {
        blk->settled = NULL;
        done(blk->settled_user);
    }
}

/* ---- being left alone -------------------------------------------------------------- */

/* An engine with everything that it may still touch. */
typedef struct {
    const VdsBlkEngineOps *ops;
    VdsBlkEngine *engine;
    unsigned n; /* ops under way */
    VdsBlkRequest *requests;
    VdsBlkDisk *disk; /* (nullable) its descriptor */
} Orphan;

static void orphan_clear(Orphan *orphan)
{
    orphan->ops->destroy(orphan->engine);
    for (unsigned i = 0; i < VDS_BLK_DEPTH; i++) {
        g_free(orphan->requests[i].buffer);
    }
    g_free(orphan->requests);
    vds_blk_disk_free(orphan->disk);
}

/* timeout_ms -1: for as long as it takes.  false: not in that time. */
static bool orphan_drain(Orphan *orphan, int timeout_ms)
{
    struct pollfd done = {orphan->ops->get_fd(orphan->engine), POLLIN, 0};
    int64_t until = g_get_monotonic_time() + timeout_ms * G_GINT64_CONSTANT(1000);

    for (;;) {
        int64_t left_ms = (until - g_get_monotonic_time()) / 1000;
        eventfd_t count;

        orphan->ops->kick(orphan->engine);
        while (orphan->n > 0 && orphan->ops->reap(orphan->engine)) {
            orphan->n--;
        }
        if (orphan->n == 0) {
            return true;
        }
        if (timeout_ms >= 0 && left_ms <= 0) {
            return false;
        }
        poll(&done, 1, timeout_ms < 0 ? -1 : (int)left_ms);
        (void)eventfd_read(done.fd, &count);
    }
}

static void *orphan_main(void *user)
{
    Orphan *orphan = user;

    orphan_drain(orphan, -1);
    orphan_clear(orphan);
    g_free(orphan);
    return NULL;
}

void vds_blk_abandon(VdsBlk *blk, VdsBlkDisk *disk)
{
    Orphan orphan = {blk->ops, g_steal_pointer(&blk->engine), blk->n_in_engine,
                     g_steal_pointer(&blk->requests), disk};
    pthread_t thread;

    blk->n_in_engine = blk->n_lost = 0;
    blk->free = NULL;
    blk->n_free = 0;
    if (orphan_drain(&orphan, PATIENCE_MS)) {
        orphan_clear(&orphan);
        return;
    }
    /* Without a thread it is all left as it is: the kernel may still write there. */
    if (pthread_create(&thread, NULL, orphan_main, g_memdup2(&orphan, sizeof(orphan))) ==
        0) {
        pthread_detach(thread);
    }
}
