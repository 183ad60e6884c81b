/*
 * devices: requests that are held before the disk sees them, for as long as its limits or
 * its latency ask: out of their queue and in use.  On the device's I/O thread.  Refuses
 * to know limits.
 */
#include "blk-priv.h"

static void list_push(VdsBlk *blk, VdsBlkHold list, VdsBlkRequest *request)
{
    VdsBlkRequest **end = &blk->held[list];

    while (*end) {
        end = &(*end)->next;
    }
    request->next = NULL;
    *end = request;
    blk->n_held++;
}

static VdsBlkRequest *list_shift(VdsBlk *blk, VdsBlkHold list)
{
    VdsBlkRequest *request = blk->held[list];

    blk->held[list] = request->next;
    blk->n_held--;
    return request;
}

static uint64_t throttle_pass(const VdsBlkRequest *request)
{
    const VdsBlk *blk = request->blk;

    return vds_blk_throttle_pass(blk->disk->throttle,
                                 request->count != VDS_BLK_COUNT_READ, request->left,
                                 blk->now_ns);
}

/* Behind the limits.  true: it is still held. */
static bool hold_late(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    if (blk->disk->latency_ns == 0) {
        return false;
    }
    request->due_ns = blk->now_ns + blk->disk->latency_ns;
    list_push(blk, VDS_BLK_HOLD_LATE, request);
    return true;
}

/* Those of one side, as far as limits allow; returns when the next may go, 0: none is
 * left. */
static uint64_t serve_side(VdsBlk *blk, VdsBlkHold side)
{
    while (blk->held[side]) {
        uint64_t wait_ns = throttle_pass(blk->held[side]);
        VdsBlkRequest *request;

        if (wait_ns > 0) {
            return wait_ns;
        }
        request = list_shift(blk, side);
        if (!hold_late(request)) {
            vds_blk_work_advance(request);
        }
    }
    return 0;
}

static uint64_t serve_late(VdsBlk *blk)
{
    while (blk->held[VDS_BLK_HOLD_LATE]) {
        uint64_t due_ns = blk->held[VDS_BLK_HOLD_LATE]->due_ns;

        if (due_ns > blk->now_ns) {
            return due_ns - blk->now_ns;
        }
        vds_blk_work_advance(list_shift(blk, VDS_BLK_HOLD_LATE));
    }
    return 0;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

static void hold_fired(void *user)
{
    VdsBlk *blk = user;

    if (blk->active) {
        vds_blk_turn(blk, vds_blk_hold_serve);
    }
}

void vds_blk_hold_serve(VdsBlk *blk)
{
    uint64_t next_ns;

    if (blk->n_held == 0 || !blk->disk) {
        return;
    }
    next_ns =
        sooner(serve_side(blk, VDS_BLK_HOLD_READ), serve_side(blk, VDS_BLK_HOLD_WRITE));
    next_ns = sooner(next_ns, serve_late(blk));
    if (blk->hungry && blk->n_free > 0) {
        next_ns = 1; /* there is room for what waits in the queues */
    }
    if (!blk->hold_timer) {
        blk->hold_timer = vds_io_timer_new(blk->thread, hold_fired, blk, NULL);
    }
    if (!blk->hold_timer) {
        vds_blk_hold_release(blk, NULL); /* without a timer nobody would come for them */
    } else if (next_ns > 0) {
        vds_io_timer_set(blk->hold_timer, next_ns, 0);
    }
}

bool vds_blk_hold(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;
    const VdsBlkDisk *disk = blk->disk;
    bool moves =
        request->count != VDS_BLK_COUNT_NOT && request->count != VDS_BLK_COUNT_FLUSH;

    if (!disk || request->status != VDS_BLK_S_OK || request->count == VDS_BLK_COUNT_NOT) {
        return false;
    }
    if (disk->throttle && moves) {
        VdsBlkHold side =
            request->count == VDS_BLK_COUNT_READ ? VDS_BLK_HOLD_READ : VDS_BLK_HOLD_WRITE;

        if (blk->held[side] || throttle_pass(request) > 0) {
            list_push(blk, side, request);
            return true;
        }
    }
    return hold_late(request);
}

void vds_blk_hold_release(VdsBlk *blk, const VdsVirtQueue *queue)
{
    for (unsigned list = 0; list < VDS_BLK_HOLDS; list++) {
        VdsBlkRequest *request = blk->held[list], *next;

        blk->held[list] = NULL;
        for (; request; request = next) {
            next = request->next;
            blk->n_held--;
            if (queue && request->io->queue != queue) {
                list_push(blk, list, request);
            } else {
                vds_blk_work_wait(request);
            }
        }
    }
}

static void free_task(void *user)
{
    vds_io_timer_free(user);
}

void vds_blk_hold_clear(VdsBlk *blk)
{
    if (blk->hold_timer) {
        vds_io_thread_call(blk->thread, free_task, g_steal_pointer(&blk->hold_timer));
    }
}
