/*
 * devices: the request path of virtio-balloon: pages that the driver gives are given back
 * to the system, and come back when it touches them.  virtio 1.2, 5.5.6.
 *
 * A page frame outside the guest's memory is passed over, as in QEMU: a balloon gives, so
 * ignoring costs nobody anything.  Everything here runs on the device's I/O thread.
 *
 * A page costs a system call, and a request may name gigabytes: one that is not done at
 * the end of a turn goes on in the next.
 */
#include <string.h>

#include "balloon-priv.h"
#include "teller-priv.h"

enum {
    PAGE_SHIFT = 12, /* of a balloon, whatever the guest's pages are */
    FRAMES = 256,    /* read at a time, between two looks at the clock */
    /* Of one request: 256 MiB of pages.  Drivers send 256; what is beyond stays the
     * guest's. */
    MAX_FRAMES = 64 * 1024,
    MAX_RUN = 4096,                /* frames given back by one call: 16 MiB */
    MAX_REPORT = 16 * 1024 * 1024, /* bytes likewise */
    MAX_QUEUES = 5,
};

struct VdsBalloon {
    VdsVirtioDevice *device;
    VdsBalloonConfig config;
    VdsBalloonStats *stats;
    VdsTeller teller;         /* of what the driver says it gave */
    VdsIo *begun[MAX_QUEUES]; /* (nullable) goes on in the queue's next turn */
};

/* ---- pages ------------------------------------------------------------------------- */

/* Page frames that touch, in either direction, are given back at once. */
typedef struct {
    uint32_t first;
    uint64_t n;
} Run;

static void run_discard(VdsVirtQueue *queue, Run *run)
{
    if (run->n > 0) {
        vds_virt_queue_discard(queue, (uint64_t)run->first << PAGE_SHIFT,
                               run->n << PAGE_SHIFT);
        run->n = 0;
    }
}

static bool run_takes(Run *run, uint32_t frame)
{
    if (run->n == MAX_RUN) {
        return false;
    }
    if (run->n > 0 && frame == run->first + run->n) {
        run->n++;
        return true;
    }
    if (run->n > 0 && (uint64_t)frame + 1 == run->first) {
        run->first = frame;
        run->n++;
        return true;
    }
    return false;
}

/* One bad frame must not take its neighbours along. */
static void give_frame(VdsVirtQueue *queue, Run *run, uint32_t frame)
{
    if (vds_virt_queue_has_memory(queue, (uint64_t)frame << PAGE_SHIFT,
                                  1 << PAGE_SHIFT) &&
        !run_takes(run, frame)) {
        run_discard(queue, run);
        *run = (Run){frame, 1};
    }
}

static bool inflate(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io)
{
    uint32_t frames[FRAMES];
    Run run = {0, 0};
    bool more;

    do {
        size_t n = vds_stream_read(&io->out, frames, sizeof(frames)) / sizeof(frames[0]);

        for (size_t i = 0; i < n; i++) {
            give_frame(queue, &run, GUINT32_FROM_LE(frames[i]));
        }
        more = n == FRAMES && vds_stream_done(&io->out) < MAX_FRAMES * sizeof(frames[0]);
    } while (more && !vds_virt_queue_is_turn_over(queue));
    run_discard(queue, &run);
    return !more;
}

/* Deflated pages are zeroes until they are written; hints matter to migration only. */
static bool acknowledge(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io)
{
    return true;
}

/* A guest that fills its free pages with something expects to find it there. */
static bool is_poisoned(const VdsBalloon *balloon)
{
    uint32_t value;

    if (!vds_virtio_device_has_feature(balloon->device, VDS_BALLOON_F_PAGE_POISON)) {
        return false;
    }
    vds_virtio_device_get_config(balloon->device, VDS_BALLOON_POISON, &value,
                                 sizeof(value));
    return value != 0;
}

/* The buffers are the free pages themselves (5.5.6.7). */
static bool report(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io)
{
    bool more = !is_poisoned(balloon);

    while (more) {
        more = vds_stream_discard(&io->in, MAX_REPORT) == MAX_REPORT;
        if (more && vds_virt_queue_is_turn_over(queue)) {
            return false;
        }
    }
    return true;
}

/* ---- news -------------------------------------------------------------------------- */

static uint32_t get_actual(const VdsBalloon *balloon)
{
    uint32_t pages;

    vds_virtio_device_get_config(balloon->device, VDS_BALLOON_ACTUAL, &pages,
                                 sizeof(pages));
    return GUINT32_FROM_LE(pages);
}

static void balloon_config_written(void *instance, unsigned offset, unsigned len)
{
    VdsBalloon *balloon = instance;

    vds_teller_set(&balloon->teller, vds_balloon_get_thread(balloon),
                   get_actual(balloon));
}

/* ---- what the device asks of us ---------------------------------------------------- */

/* false: it goes on in the next turn. */
typedef bool (*QueueFunc)(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io);

enum { STATISTICS = 2 }; /* a queue */

/* The optional queues follow in the order of their features (5.5.2). */
static QueueFunc queue_func(const VdsBalloon *balloon, unsigned index)
{
    static const QueueFunc fixed[] = {inflate, acknowledge};

    if (index < G_N_ELEMENTS(fixed)) {
        return fixed[index];
    }
    return index == STATISTICS + 1 && balloon->config.hint ? acknowledge : report;
}

static void statistics(VdsBalloon *balloon, VdsVirtQueue *queue)
{
    VdsIo *io;

    while ((io = vds_virt_queue_pop_one(queue)) != NULL) {
        vds_balloon_stats_take(balloon->stats, queue, io);
    }
}

static void balloon_handle(void *instance, VdsVirtQueue *queue)
{
    VdsBalloon *balloon = instance;
    unsigned index = vds_virt_queue_get_index(queue);
    QueueFunc func = queue_func(balloon, index);
    VdsIo *io;

    if (index == STATISTICS) {
        statistics(balloon, queue);
        return;
    }
    while ((io = balloon->begun[index] ? g_steal_pointer(&balloon->begun[index])
                                       : vds_virt_queue_pop_one(queue)) != NULL) {
        if (!func(balloon, queue, io)) {
            balloon->begun[index] = io;
            return;
        }
        vds_virt_queue_complete(queue, io, 0);
    }
}

static void begun_drop(VdsBalloon *balloon, VdsIo **begun)
{
    if (*begun) {
        vds_virt_queue_drop((*begun)->queue, *begun);
        *begun = NULL;
    }
}

static void balloon_queue_reset(void *instance, VdsVirtQueue *queue)
{
    VdsBalloon *balloon = instance;

    begun_drop(balloon, &balloon->begun[vds_virt_queue_get_index(queue)]);
    vds_balloon_stats_drop(balloon->stats, queue);
}

/* Pages may be given twice, so the next device begins with what was begun. */
static void balloon_queue_stop(void *instance, VdsVirtQueue *queue)
{
    VdsBalloon *balloon = instance;
    VdsIo **begun = &balloon->begun[vds_virt_queue_get_index(queue)];

    if (*begun) {
        vds_virt_queue_unpop(queue, g_steal_pointer(begun));
    }
    vds_balloon_stats_return(balloon->stats, queue);
}

static void balloon_start(void *instance)
{
    VdsBalloon *balloon = instance;

    vds_balloon_stats_start(balloon->stats,
                            vds_virtio_device_get_io_thread(balloon->device));
}

static void balloon_stop(void *instance)
{
    vds_balloon_stats_stop(((VdsBalloon *)instance)->stats);
}

/* The driver's word is gone with the driver: QEMU says 0 after a reset, without an event.
 */
static void balloon_reset(void *instance)
{
    static const uint32_t none = 0;
    VdsBalloon *balloon = instance;

    for (unsigned i = 0; i < MAX_QUEUES; i++) {
        begun_drop(balloon, &balloon->begun[i]);
    }
    vds_balloon_stats_stop(balloon->stats);
    vds_balloon_stats_drop(balloon->stats, NULL);
    vds_teller_reset(&balloon->teller, 0);
    vds_virtio_device_set_config(balloon->device, VDS_BALLOON_ACTUAL, &none,
                                 sizeof(none));
}

static void balloon_free(void *instance)
{
    VdsBalloon *balloon = instance;

    vds_balloon_stats_free(balloon->stats);
    g_free(balloon);
}

static const VdsConfigRange writable[] = {
    {VDS_BALLOON_ACTUAL, 4},
    {VDS_BALLOON_POISON, 4},
    {0, 0},
};

const VdsDeviceOps vds_balloon_ops = {
    .start = balloon_start,
    .handle = balloon_handle,
    .stop = balloon_stop,
    .reset = balloon_reset,
    .queue_reset = balloon_queue_reset,
    .queue_stop = balloon_queue_stop,
    .config_written = balloon_config_written,
    .free = balloon_free,
    .config_writable = writable,
};

VdsBalloon *vds_balloon_new(const VdsBalloonConfig *config)
{
    VdsBalloon *balloon = g_new0(VdsBalloon, 1);

    balloon->config = *config;
    balloon->teller = (VdsTeller){.tell = config->changed, .user = config->user};
    balloon->stats = vds_balloon_stats_new();
    return balloon;
}

VdsVirtioDevice **vds_balloon_device(VdsBalloon *balloon)
{
    return &balloon->device;
}

VdsBalloonStats *vds_balloon_get_stats(VdsBalloon *balloon)
{
    return balloon->stats;
}

VdsIoThread *vds_balloon_get_thread(const VdsBalloon *balloon)
{
    return vds_virtio_device_get_io_thread(balloon->device);
}
