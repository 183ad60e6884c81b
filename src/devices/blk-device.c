/*
 * devices: virtio-blk at work (virtio 1.2, 5.2): requests out of the queues, through the
 * disk, back into the queues.  All of it on the device's I/O thread, which never waits
 * for the disk.  Refuses to know descriptors and files.
 *
 * A request is in one place at a time: free, ready (to go on), or with the engine.  A
 * reset takes the VdsIo from those that are with the engine; no new request starts before
 * the last of these is back, so that what an earlier driver wrote cannot overtake what
 * the next one writes.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "blk-priv.h"

/* Bytes served from memory before the other devices of the thread have their turn. */
enum { TURN_BYTES = 8 * 1024 * 1024, BATCH = 32 };

struct VdsBlk {
    VdsVirtioDevice *device;
    VdsBlkDisk *disk;
    VdsIoThread *thread; /* borrowed: the device's */
    char *serial;
    unsigned n_queues;
    bool writeback; /* after a reset */
    VdsBlkRules rules;

    const VdsBlkEngineOps *ops; /* (nullable) FILE, from start to reset */
    VdsBlkEngine *engine;
    VdsIoWatch *watch;

    bool active;
    bool hungry;             /* a queue may have more than there was room for */
    size_t turn;             /* bytes left of TURN_BYTES */
    unsigned n_in_engine;    /* ops */
    unsigned n_lost;         /* of these: whose queue was reset */
    VdsVirtQueue *dirty;     /* (nullable) has completions to flush */
    VdsBlkRequest *requests; /* (nullable) VDS_BLK_DEPTH, with the first driver */
    VdsBlkRequest *free;
    unsigned n_free;
    VdsBlkRequest *ready, **ready_end;
};

const VdsBlkEngineOps *const vds_blk_engines[] = {
#ifdef VDS_HAVE_LIBURING
    &vds_blk_uring,
#endif
    &vds_blk_pool,
    NULL,
};

/* ---- where requests are
 * ----------------------------------------------------------------
 */

static void request_free(VdsBlkRequest *request)
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

static void ready_push(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    request->next = NULL;
    *blk->ready_end = request;
    blk->ready_end = &request->next;
}

static void flush_dirty(VdsBlk *blk)
{
    if (blk->dirty) {
        vds_virt_queue_flush(blk->dirty);
        blk->dirty = NULL;
    }
}

/* One flush for neighbours of the same queue. */
static void request_finish(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;
    VdsIo *io = request->io;

    if (blk->dirty != io->queue) {
        flush_dirty(blk);
        blk->dirty = io->queue;
    }
    vds_virt_queue_complete(io->queue, io, vds_blk_request_end(request));
    request_free(request);
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
    ready_push(request);
    kick_for(request);
    return true;
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

static void request_advance(VdsBlkRequest *request)
{
    if (!(request->blk->disk->kind == VDS_BLK_FILE ? advance_there(request)
                                                   : advance_here(request))) {
        request_finish(request);
    }
}

static void request_begin(VdsBlk *blk, VdsIo *io)
{
    VdsBlkRequest *request = request_take(blk, io);
    const char *wrong = vds_blk_request_begin(request, &blk->rules);

    if (wrong) {
        request->status = VDS_BLK_S_IOERR;
        vds_virtio_device_break(blk->device, "%s, in queue %u", wrong,
                                vds_virt_queue_get_index(io->queue));
    }
    request_advance(request);
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

static void op_done(VdsBlkRequest *request)
{
    VdsBlk *blk = request->blk;

    request->in_engine = false;
    blk->n_in_engine--;
    if (!request->io) {
        blk->n_lost--;
        blk->hungry = true;
        request_free(request);
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
        request_advance(request);
    } else {
        ready_push(request); /* what the driver sees stands still */
        kick_for(request);   /* unless its queue is to stop */
    }
}

/* ---- queues
 * ----------------------------------------------------------------------------
 */

/* Those of one queue, or all (NULL), as far as the turn goes. */
static void ready_serve(VdsBlk *blk, const VdsVirtQueue *queue)
{
    VdsBlkRequest *request = blk->ready, *next;

    blk->ready = NULL;
    blk->ready_end = &blk->ready;
    for (; request; request = next) {
        next = request->next;
        if ((queue && request->io->queue != queue) || blk->turn < VDS_BLK_CHUNK) {
            ready_push(request);
        } else {
            request_advance(request);
        }
    }
}

static void queue_serve(VdsBlk *blk, VdsVirtQueue *queue)
{
    VdsIo *ios[BATCH];
    size_t n, room;

    do {
        room = MIN(blk->n_free, BATCH);
        if (room == 0 || blk->n_lost > 0 || blk->ready) {
            blk->hungry = true;
            return;
        }
        n = vds_virt_queue_pop(queue, ios, room);
        for (size_t i = 0; i < n; i++) {
            request_begin(blk, ios[i]);
        }
    } while (n == room);
}

/* Queues that were left waiting. */
static void feed(VdsBlk *blk)
{
    if (!blk->hungry || !blk->active) {
        return;
    }
    blk->hungry = false;
    for (unsigned i = 0; i < blk->n_queues; i++) {
        VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(blk->device, i);

        if (queue) {
            queue_serve(blk, queue);
        }
    }
}

static void turn_end(VdsBlk *blk)
{
    if (blk->engine) {
        blk->ops->kick(blk->engine);
    }
    flush_dirty(blk);
}

static void blk_handle(void *instance, VdsVirtQueue *queue)
{
    VdsBlk *blk = instance;

    blk->turn = TURN_BYTES;
    ready_serve(blk, NULL);
    queue_serve(blk, queue);
    feed(blk);
    turn_end(blk);
}

/* ---- the engine's life ----------------------------------------------------------------
 */

static void on_engine(uint32_t events, void *user)
{
    VdsBlk *blk = user;
    eventfd_t count;
    VdsBlkOp *op;

    (void)eventfd_read(blk->ops->get_fd(blk->engine), &count);
    while ((op = blk->ops->reap(blk->engine, false))) {
        op_done((VdsBlkRequest *)op);
    }
    feed(blk);
    turn_end(blk);
}

static bool engine_open(VdsBlk *blk, const VdsBlkEngineOps *ops)
{
    blk->engine = ops->create(blk->disk->fd, VDS_BLK_DEPTH);
    if (!blk->engine) {
        return false;
    }
    blk->ops = ops;
    blk->watch = vds_io_watch_new(blk->thread, ops->get_fd(blk->engine), EPOLLIN,
                                  on_engine, blk, NULL);
    if (!blk->watch) {
        ops->destroy(g_steal_pointer(&blk->engine));
    }
    return blk->watch != NULL;
}

static bool is_wanted(const VdsBlk *blk, const VdsBlkEngineOps *ops)
{
    return !blk->disk->aio || strcmp(blk->disk->aio, ops->name) == 0;
}

static bool disk_open(VdsBlk *blk)
{
    if (blk->disk->kind != VDS_BLK_FILE || blk->engine) {
        return vds_blk_disk_open(blk->disk);
    }
    for (size_t i = 0; vds_blk_engines[i]; i++) {
        if (is_wanted(blk, vds_blk_engines[i]) && engine_open(blk, vds_blk_engines[i])) {
            return true;
        }
    }
    return false;
}

/* No op is under way. */
static void engine_close(VdsBlk *blk)
{
    if (blk->engine) {
        vds_io_watch_free(g_steal_pointer(&blk->watch));
        blk->ops->destroy(g_steal_pointer(&blk->engine));
    }
}

/* ---- the device's life ----------------------------------------------------------------
 */

static void requests_make(VdsBlk *blk)
{
    if (blk->requests) {
        return;
    }
    blk->requests = g_new0(VdsBlkRequest, VDS_BLK_DEPTH);
    for (unsigned i = 0; i < VDS_BLK_DEPTH; i++) {
        blk->requests[i].blk = blk;
        request_free(&blk->requests[i]);
    }
}

/* Whether a driver may change it or not, it decides: FLUSH without CONFIG_WCE means that
 * there is a cache (virtio 1.2, 5.2.6.2). */
static bool wants_writeback(const VdsBlk *blk)
{
    uint8_t byte;

    if (!vds_features_has(&blk->rules.features, VDS_BLK_F_CONFIG_WCE)) {
        return vds_features_has(&blk->rules.features, VDS_BLK_F_FLUSH);
    }
    vds_virtio_device_get_config(blk->device, VDS_BLK_CONFIG_WRITEBACK, &byte, 1);
    return byte != 0;
}

static void blk_start(void *instance)
{
    VdsBlk *blk = instance;

    if (!disk_open(blk)) {
        vds_virtio_device_break(blk->device, "no %s for the disk",
                                blk->disk->kind == VDS_BLK_MEMORY ? "memory" : "engine");
        return;
    }
    requests_make(blk);
    blk->rules.features = vds_virtio_device_get_features(blk->device);
    blk->rules.writeback = wants_writeback(blk);
    blk->active = true;
    blk->turn = TURN_BYTES;
    ready_serve(blk, NULL);
    turn_end(blk);
}

/* The disk goes on with what it has: that is private bytes and a file. */
static void blk_stop(void *instance)
{
    VdsBlk *blk = instance;

    blk->active = false;
}

/* Gives up the requests of one queue, or of all (NULL). */
static void requests_drop(VdsBlk *blk, const VdsVirtQueue *queue)
{
    VdsBlkRequest *ready = blk->ready;

    blk->ready = NULL;
    blk->ready_end = &blk->ready;
    for (VdsBlkRequest *next; ready; ready = next) {
        next = ready->next;
        if (queue && ready->io->queue != queue) {
            ready_push(ready);
        }
        /* The others are found below. */
    }
    for (unsigned i = 0; blk->requests && i < VDS_BLK_DEPTH; i++) {
        VdsBlkRequest *request = &blk->requests[i];

        if (!request->used || !request->io || (queue && request->io->queue != queue)) {
            continue;
        }
        vds_virt_queue_drop(request->io->queue, request->io);
        request->io = NULL;
        if (request->in_engine) {
            blk->n_lost++;
        } else {
            request_free(request);
        }
    }
}

static void blk_queue_reset(void *instance, VdsVirtQueue *queue)
{
    requests_drop(instance, queue);
}

/* What was begun is brought to its end, also while all else stands still: the driver
 * itself waits for it. */
static void blk_queue_stop(void *instance, VdsVirtQueue *queue)
{
    VdsBlk *blk = instance;

    blk->turn = TURN_BYTES;
    ready_serve(blk, blk->active ? NULL : queue);
    feed(blk);
    turn_end(blk);
}

static void blk_reset(void *instance)
{
    VdsBlk *blk = instance;
    uint8_t writeback = blk->writeback;

    requests_drop(blk, NULL);
    blk->dirty = NULL;
    blk->hungry = false;
    vds_virtio_device_set_config(blk->device, VDS_BLK_CONFIG_WRITEBACK, &writeback, 1);
    if (blk->n_in_engine == 0) {
        engine_close(blk);
    }
}

static void blk_config_written(void *instance, unsigned offset, unsigned len)
{
    VdsBlk *blk = instance;

    blk->rules.writeback = wants_writeback(blk);
}

static void watch_free(void *user)
{
    vds_io_watch_free(user);
}

/* Off the I/O thread, so here it is this thread that waits for the disk. */
static void engine_drain(VdsBlk *blk)
{
    vds_io_thread_call(blk->thread, watch_free, g_steal_pointer(&blk->watch));
    blk->ops->kick(blk->engine);
    while (blk->n_in_engine > 0) {
        VdsBlkRequest *request = (VdsBlkRequest *)blk->ops->reap(blk->engine, true);

        blk->n_in_engine--;
        request_free(request);
    }
    blk->ops->destroy(g_steal_pointer(&blk->engine));
}

static void blk_free(void *instance)
{
    VdsBlk *blk = instance;

    if (blk->engine) {
        engine_drain(blk);
    }
    for (unsigned i = 0; blk->requests && i < VDS_BLK_DEPTH; i++) {
        g_free(blk->requests[i].buffer);
    }
    g_free(blk->requests);
    vds_blk_disk_free(blk->disk);
    g_free(blk->serial);
    g_free(blk);
}

static const VdsConfigRange writable[] = {{VDS_BLK_CONFIG_WRITEBACK, 1}, {0, 0}};

const VdsDeviceOps vds_blk_ops = {
    .start = blk_start,
    .handle = blk_handle,
    .stop = blk_stop,
    .reset = blk_reset,
    .queue_reset = blk_queue_reset,
    .queue_stop = blk_queue_stop,
    .config_written = blk_config_written,
    .free = blk_free,
    .config_writable = writable,
};

VdsBlk *vds_blk_new(const VdsBlkConfig *config)
{
    VdsBlk *blk = g_new0(VdsBlk, 1);

    blk->disk = config->disk;
    blk->thread = config->io_thread;
    blk->serial = g_strdup(config->serial);
    blk->n_queues = config->n_queues;
    blk->writeback = config->writeback;
    blk->ready_end = &blk->ready;
    blk->rules = (VdsBlkRules){
        .disk = blk->disk,
        .serial = blk->serial,
        .block_bytes = config->block_bytes,
        .max_discard_sectors = config->max_discard_sectors,
        .max_zero_sectors = config->max_zero_sectors,
    };
    return blk;
}

VdsVirtioDevice **vds_blk_device(VdsBlk *blk)
{
    return &blk->device;
}
