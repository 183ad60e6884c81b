/*
 * devices: virtio-blk at work (virtio 1.2, 5.2): requests out of the queues, in turns;
 * start, stop, reset.  All of it on the device's I/O thread, which never waits for the
 * disk.  Refuses to know descriptors, files, and a request's way (blk-work.c).
 *
 * A request is in one place at a time: free, ready (to go on), with the engine, or done,
 * which lasts to the end of the turn at most.  A reset takes the VdsIo from those that
 * are with the engine; no new request starts before the last of these is back, so that
 * what an earlier driver wrote cannot overtake what the next one writes.
 */
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "blk-priv.h"

/* Bytes served from memory before the other devices of the thread have their turn. */
enum {
    TURN_BYTES = 8 * 1024 * 1024,
    REQUEST_COST = 4 * 1024, /* bytes in it: of one that moves none */
};

const VdsBlkEngineOps *const vds_blk_engines[] = {
#ifdef VDS_HAVE_LIBURING
    &vds_blk_uring,
#endif
    &vds_blk_pool,
    NULL,
};

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
            vds_blk_work_wait(request);
        } else {
            vds_blk_work_advance(request);
        }
    }
}

static void queue_serve(VdsBlk *blk, VdsVirtQueue *queue)
{
    VdsIo *ios[VDS_BLK_BATCH];
    size_t n, room;

    do {
        room = MIN(blk->n_free, VDS_BLK_BATCH);
        if (room == 0 || blk->n_lost > 0 || blk->ready) {
            blk->hungry = true;
            return;
        }
        if (blk->turn < VDS_BLK_CHUNK) { /* nor do those that other queues feed on */
            vds_virt_queue_ask_turn(queue);
            return;
        }
        n = vds_virt_queue_pop(queue, ios, room);
        blk->turn -= MIN(blk->turn, n * REQUEST_COST);
        for (size_t i = 0; i < n; i++) {
            vds_blk_work_begin(blk, ios[i]);
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
        VdsVirtQueue *queue =
            vds_virtio_device_get_virt_queue(blk->device, blk->first_queue + i);

        if (queue) {
            queue_serve(blk, queue);
        }
    }
}

void vds_blk_feed(VdsBlk *blk)
{
    blk->hungry = true;
    feed(blk);
}

static void turn_begin(VdsBlk *blk)
{
    blk->turn = TURN_BYTES;
    blk->now_ns = vds_blk_stats_now();
    blk->told_ns = 0;
}

static void turn_end(VdsBlk *blk)
{
    if (blk->active) {
        vds_blk_hold_serve(blk);
    }
    if (blk->protocol->finished) {
        blk->protocol->finished(blk);
    }
    if (blk->engine) {
        blk->ops->kick(blk->engine);
    }
    vds_blk_work_flush(blk);
}

void vds_blk_turn(VdsBlk *blk, void (*work)(VdsBlk *blk))
{
    turn_begin(blk);
    work(blk);
    feed(blk);
    turn_end(blk);
}

static void blk_handle(void *instance, VdsVirtQueue *queue)
{
    VdsBlk *blk = instance;

    turn_begin(blk);
    ready_serve(blk, NULL);
    if (vds_virt_queue_get_index(queue) < blk->first_queue) {
        blk->protocol->handle(blk, queue);
    } else {
        queue_serve(blk, queue);
    }
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
    turn_begin(blk);
    while ((op = blk->ops->reap(blk->engine))) {
        vds_blk_work_returned((VdsBlkRequest *)op);
    }
    feed(blk);
    turn_end(blk);
    vds_blk_note_settled(blk);
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
    if (!blk->disk || blk->engine) {
        return true;
    }
    if (blk->disk->kind != VDS_BLK_FILE) {
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
    blk->done = g_renew(VdsBlkRequest *, blk->done, VDS_BLK_BATCH);
    for (unsigned i = 0; i < VDS_BLK_DEPTH; i++) {
        blk->requests[i].blk = blk;
        vds_blk_work_free(&blk->requests[i]);
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

static void set_writeback(VdsBlk *blk, uint8_t writeback)
{
    vds_virtio_device_set_config(blk->device, VDS_BLK_CONFIG_WRITEBACK, &writeback, 1);
}

/* FLUSH and CONFIG_WCE without the other decide what writeback begins with (virtio 1.2,
 * 5.2.5.2).  Features that are written again leave what the driver chose since. */
static void blk_set_features(void *instance, const VdsFeatures *features)
{
    VdsBlk *blk = instance;
    bool flush = vds_features_has(features, VDS_BLK_F_FLUSH);
    bool config_wce = vds_features_has(features, VDS_BLK_F_CONFIG_WCE);
    unsigned bits = (unsigned)flush | (unsigned)config_wce << 1;

    if (bits == blk->cache_bits) {
        return;
    }
    blk->cache_bits = bits;
    set_writeback(blk, flush == config_wce ? blk->writeback : flush);
}

void vds_blk_start(VdsBlk *blk)
{
    if (!disk_open(blk)) {
        vds_virtio_device_break(blk->device, "no %s for the disk",
                                blk->disk->kind == VDS_BLK_MEMORY ? "memory" : "engine");
        return;
    }
    requests_make(blk);
    blk->active = true;
    turn_begin(blk);
    ready_serve(blk, NULL);
    turn_end(blk);
}

static void blk_start(void *instance)
{
    VdsBlk *blk = instance;

    blk->rules.features = vds_virtio_device_get_features(blk->device);
    blk->rules.writeback = wants_writeback(blk);
    vds_blk_start(blk);
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
    VdsBlkRequest *ready;

    vds_blk_hold_release(blk, queue);
    ready = blk->ready;
    blk->ready = NULL;
    blk->ready_end = &blk->ready;
    for (VdsBlkRequest *next; ready; ready = next) {
        next = ready->next;
        if (queue && ready->io->queue != queue) {
            vds_blk_work_wait(ready);
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
            vds_blk_work_free(request);
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

    turn_begin(blk);
    vds_blk_hold_release(blk, queue); /* limits and latency are no reason to wait now */
    ready_serve(blk, blk->active ? NULL : queue);
    feed(blk);
    turn_end(blk);
}

void vds_blk_reset(VdsBlk *blk)
{
    requests_drop(blk, NULL);
    blk->hungry = false;
    if (blk->n_in_engine == 0) {
        engine_close(blk);
    }
}

static void blk_reset(void *instance)
{
    VdsBlk *blk = instance;

    blk->cache_bits = 0;
    set_writeback(blk, blk->writeback);
    vds_blk_reset(blk);
}

/* ---- a disk that comes and goes ------------------------------------------------------
 */

bool vds_blk_attach(VdsBlk *blk, VdsBlkDisk *disk)
{
    g_assert(!blk->disk);
    blk->disk = disk;
    blk->rules.disk = disk;
    if (blk->active && !disk_open(blk)) {
        blk->disk = NULL;
        blk->rules.disk = NULL;
        return false;
    }
    return true;
}

/* The disk is given up with what it has: its driver gets no answer to that. */
static void disk_abandon(VdsBlk *blk)
{
    requests_drop(blk, NULL);
    vds_io_watch_free(g_steal_pointer(&blk->watch));
    vds_blk_abandon(blk, g_steal_pointer(&blk->disk));
    requests_make(blk);
}

VdsBlkDisk *vds_blk_detach(VdsBlk *blk)
{
    VdsBlkDisk *disk;

    vds_blk_work_flush(blk);
    if (blk->n_in_engine > 0) {
        disk_abandon(blk);
    }
    disk = blk->disk;
    engine_close(blk);
    vds_blk_hold_release(blk, NULL);
    for (unsigned i = 0; blk->requests && i < VDS_BLK_DEPTH; i++) {
        VdsBlkRequest *request = &blk->requests[i];

        request->status = VDS_BLK_S_IOERR; /* of those that wait for their turn */
        request->left = 0;
    }
    blk->disk = NULL;
    blk->rules.disk = NULL;
    turn_begin(blk);
    if (blk->active) {
        ready_serve(blk, NULL);
        feed(blk); /* what waited for those that are back */
        turn_end(blk);
    }
    return disk;
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

static void blk_free(void *instance)
{
    VdsBlk *blk = instance;

    vds_blk_hold_clear(blk);
    if (blk->engine) {
        vds_io_thread_call(blk->thread, watch_free, g_steal_pointer(&blk->watch));
        vds_blk_abandon(blk, g_steal_pointer(&blk->disk));
    }
    for (unsigned i = 0; blk->requests && i < VDS_BLK_DEPTH; i++) {
        g_free(blk->requests[i].buffer);
    }
    g_free(blk->requests);
    g_free(blk->done);
    vds_blk_disk_free(blk->disk);
    vds_blk_histograms_free(blk->stats.histograms);
    g_free(blk->serial);
    g_free(blk);
}

static const VdsConfigRange writable[] = {{VDS_BLK_CONFIG_WRITEBACK, 1}, {0, 0}};

const VdsDeviceOps vds_blk_ops = {
    .set_features = blk_set_features,
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

void vds_blk_init(VdsBlk *blk, const VdsBlkConfig *config)
{
    blk->protocol = config->protocol;
    blk->first_queue = config->first_queue;
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
}

VdsBlk *vds_blk_new(const VdsBlkConfig *config)
{
    VdsBlk *blk = g_new0(VdsBlk, 1);

    vds_blk_init(blk, config);
    return blk;
}

VdsVirtioDevice **vds_blk_device(VdsBlk *blk)
{
    return &blk->device;
}
