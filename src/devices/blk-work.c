/*
 * devices: virtio-blk, one request's way through the disk: at once where that is memory,
 * chunk by chunk through the engine where it is a file, and back to its queue.  On the
 * device's I/O thread.  Refuses to know queues' turns, resets and what a request means.
 */
#include <errno.h>
#include <string.h>

#include "blk-priv.h"

/* Between two interrupts of one turn: as long as neither has passed. */
enum { QUIET_NS = 100000, QUIET_REQUESTS = 64 };

/* ---- where requests are
 * ----------------------------------------------------------------
 */

void vds_blk_work_free(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    g_clear_pointer(&request->buffer, g_free);
    request->used = request->in_engine = false;
    request->io = NULL;
    request->next = blk->free;
    blk->free = request;
    blk->n_free++;
}

static VdsBlkRequest *request_take(VdsBlk *blk, VdsIo *io)
{
    VdsBlkRequest *request = blk->free;

    blk->free = request->next;
    blk->n_free--;
    request->used = true;
    request->by_hand = false;
    request->chunk = 0;
    request->io = io;
    return request;
}

void vds_blk_work_wait(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    request->next = NULL;
    *blk->ready_end = request;
    blk->ready_end = &request->next;
}

/* What is done for each request for itself costs more than the request: locks, the clock
 * and the words that the driver looks at are touched once for a few. */
static void batch_give(VdsBlk *blk)
{
    VdsIo *ios[VDS_BLK_BATCH];

    blk->now_ns = vds_blk_stats_now();
    for (unsigned i = 0; i < blk->n_done; i++) {
        VdsBlkRequest *request = blk->done[i];

        ios[i] = request->io;
        vds_blk_stats_end(request);
        vds_blk_work_free(request);
    }
    vds_virt_queue_complete_all(blk->dirty, ios, blk->n_done);
    blk->n_untold += blk->n_done;
    blk->n_done = 0;
}

static void tell(VdsBlk *blk)
{
    if (vds_virt_queue_flush(blk->dirty)) {
        blk->told_ns = blk->now_ns = vds_blk_stats_now();
        blk->n_untold = 0;
    }
}

void vds_blk_work_flush(VdsBlk *blk)
{
    if (!blk->dirty) {
        return;
    }
    if (blk->n_done > 0) {
        batch_give(blk);
    }
    tell(blk);
    blk->dirty = NULL;
}

/* The driver is to work on the first while the next are served: a batch is shown when it
 * is full, not when nothing is left.  An interrupt costs as much as many requests do: who
 * had one a moment ago finds more by itself, or is told at the end of the turn. */
static void batch_show(VdsBlk *blk)
{
    batch_give(blk);
    if (blk->now_ns - blk->told_ns < QUIET_NS && blk->n_untold < QUIET_REQUESTS) {
        vds_virt_queue_show(blk->dirty);
    } else {
        tell(blk);
    }
}

static void request_finish(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    blk->protocol->end(request);
    if (blk->dirty != request->io->queue) {
        vds_blk_work_flush(blk);
        blk->dirty = request->io->queue;
    }
    request->used = false;
    blk->done[blk->n_done++] = request;
    if (blk->n_done == VDS_BLK_BATCH) {
        batch_show(blk);
    }
}

/* ---- through the engine ---------------------------------------------------------------
 */

static bool is_range(VdsBlkOpKind kind)
{
    return kind == VDS_BLK_DISCARD || kind == VDS_BLK_PUNCH || kind == VDS_BLK_ZERO;
}

static void engine_submit(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    request->in_engine = true;
    blk->n_in_engine++;
    blk->ops->submit(blk->engine, &request->op);
}

static void engine_flush(VdsBlkRequest *request)
{
    request->flush = false;
    request->chunk = 0;
    request->op.kind = VDS_BLK_FLUSH;
    request->op.len = 0;
    engine_submit(request);
}

/* Bytes for the next chunk: the driver's, copied before the disk sees them, or zeroes.
 * false: the driver's could not be had. */
static bool fill_buffer(VdsBlkRequest *request)
{
    g_free(request->buffer);
    request->buffer =
        request->by_hand ? g_malloc0(request->chunk) : g_malloc(request->chunk);
    request->op.data = request->buffer;
    return request->kind != VDS_BLK_WRITE ||
           vds_stream_read(&request->io->out, request->buffer, request->chunk) ==
               request->chunk;
}

static bool engine_chunk(VdsBlkRequest *request)
{
    VdsBlkOp *op = &request->op;
    bool whole = is_range(request->kind) && !request->by_hand;

    request->chunk = whole ? request->left : MIN(request->left, VDS_BLK_CHUNK);
    request->moved = 0;
    op->kind = request->by_hand ? VDS_BLK_WRITE : request->kind;
    op->offset = request->offset;
    op->len = request->chunk;
    if (!whole && !fill_buffer(request)) {
        return false;
    }
    engine_submit(request);
    return true;
}

/* ---- one request
 * ------------------------------------------------------------------------
 */

/* Work for memory, up to a turn.  false: the turn is used up. */
static bool serve_here(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    while (request->left > 0) {
        size_t len = (size_t)MIN(request->left, VDS_BLK_CHUNK);

        if (blk->turn < len) {
            return false;
        }
        if (!vds_blk_disk_serve(blk->disk, request->kind, request->offset, len,
                                request->io)) {
            request->status = VDS_BLK_S_IOERR;
            return true;
        }
        blk->turn -= len;
        request->offset += len;
        request->left -= len;
    }
    return true;
}

/* A kick of its queue brings the next turn, or the next step of the queue's stop. */
static void kick_for(const VdsBlkRequest *request)
{
    vds_virtio_driver_kick(request->blk->device,
                           vds_virt_queue_get_index(request->io->queue));
}

/* true: it waits for its next turn. */
static bool advance_here(VdsBlkRequest *request)
{
    if (request->status != VDS_BLK_S_OK || serve_here(request)) {
        return false;
    }
    vds_blk_work_wait(request);
    kick_for(request);
    return true;
}

/* What a file has in memory needs no engine, up to a turn. */
static void serve_at_once(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;
    size_t len = (size_t)MIN(request->left, blk->turn);
    size_t moved = vds_blk_disk_serve_at_once(blk->disk, request->kind, request->offset,
                                              len, request->io);

    blk->turn -= moved;
    request->offset += moved;
    request->left -= moved;
}

/* A chunk is back: on to the driver with it. */
static void take_chunk(VdsBlkRequest *request)
{
    if (request->status != VDS_BLK_S_OK) {
        return;
    }
    if (request->kind == VDS_BLK_READ && request->chunk > 0 &&
        vds_stream_write(&request->io->in, request->buffer, request->chunk) <
            request->chunk) {
        request->status = VDS_BLK_S_IOERR;
    }
    request->offset += request->chunk;
    request->left -= request->chunk;
    request->chunk = 0;
}

/* discard=ignore: a hint that is not taken, as in QEMU. */
static bool is_ignored(const VdsBlkRequest *request)
{
    return request->kind == VDS_BLK_DISCARD && !request->blk->disk->unmap;
}

/* true: the engine has it. */
static bool advance_there(VdsBlkRequest *request)
{
    take_chunk(request);
    if (request->status != VDS_BLK_S_OK || is_ignored(request)) {
        return false;
    }
    if (request->left > 0) {
        serve_at_once(request);
    }
    if (request->left > 0) {
        if (engine_chunk(request)) {
            return true;
        }
        request->status = VDS_BLK_S_IOERR;
    } else if (request->flush) {
        engine_flush(request);
        return true;
    }
    return false;
}

void vds_blk_work_advance(VdsBlkRequest *request)
{
    const VdsBlkDisk *disk = request->blk->disk;
    bool there = disk && disk->kind == VDS_BLK_FILE;

    if (!(there ? advance_there(request) : advance_here(request))) {
        request_finish(request);
    }
}

/* UNMAP is a permission: a file with discard=ignore keeps its room, and zeroes are zeroes
 * (virtio 1.2, 5.2.6.2; SBC-3, 5.49). */
static void keep_room(VdsBlkRequest *request)
{
    const VdsBlkDisk *disk = request->blk->disk;

    if (request->kind == VDS_BLK_PUNCH && disk && disk->kind == VDS_BLK_FILE &&
        !disk->unmap) {
        request->kind = VDS_BLK_ZERO;
    }
}

void vds_blk_work_begin(VdsBlk *blk, VdsIo *io)
{
    VdsBlkRequest *request = request_take(blk, io);
    const char *wrong = blk->protocol->begin(request, &blk->rules);

    if (wrong) {
        request->status = VDS_BLK_S_IOERR;
        vds_virt_queue_break(io->queue, "%s", wrong);
    }
    keep_room(request);
    vds_blk_stats_begin(request);
    if (!vds_blk_hold(request)) {
        vds_blk_work_advance(request);
    }
}

/* ---- what the engine says -------------------------------------------------------------
 */

/* File systems and disks that cannot make holes or zeroes. */
static bool is_unsupported(int64_t result)
{
    return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENOTTY ||
           result == -EINVAL;
}

/* Other ways to the same end.  true: the engine has it again. */
static bool retry(VdsBlkRequest *request)
{
    VdsBlkOp *op = &request->op;

    if (op->result == -EINTR || op->result == -EAGAIN) {
        engine_submit(request);
        return true;
    }
    if (!is_unsupported(op->result) || !is_range(op->kind) ||
        op->kind == VDS_BLK_DISCARD) {
        return false;
    }
    request->by_hand = true;
    return engine_chunk(request);
}

/* Some of a chunk; an end of file reads as zeroes.  true: the rest is under way. */
static bool go_on(VdsBlkRequest *request)
{
    VdsBlkOp *op = &request->op;
    uint64_t moved = (uint64_t)op->result;

    if (op->kind == VDS_BLK_FLUSH || is_range(op->kind) || moved == op->len) {
        return false;
    }
    if (moved == 0) {
        if (op->kind == VDS_BLK_READ) {
            memset(op->data, 0, op->len);
        } else {
            request->status = VDS_BLK_S_IOERR;
        }
        return false;
    }
    op->offset += moved;
    op->data += moved;
    op->len -= moved;
    engine_submit(request);
    return true;
}

void vds_blk_work_returned(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    request->in_engine = false;
    blk->n_in_engine--;
    if (!request->io) {
        blk->n_lost--;
        blk->hungry = true;
        vds_blk_work_free(request);
        return;
    }
    if (request->op.result < 0) {
        if (retry(request)) {
            return;
        }
        if (request->op.kind != VDS_BLK_DISCARD || !is_unsupported(request->op.result)) {
            request->status = VDS_BLK_S_IOERR;
        }
    } else if (go_on(request)) {
        return;
    }
    if (blk->active) {
        vds_blk_work_advance(request);
    } else {
        vds_blk_work_wait(request); /* what the driver sees stands still */
        kick_for(request);          /* unless its queue is to stop */
    }
}
