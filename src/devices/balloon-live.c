/*
 * devices: the request path of virtio-balloon: pages that the driver gives are given back
 * to the system, and come back when it touches them.  virtio 1.2, 5.5.6.
 *
 * A page frame outside the guest's memory is passed over, as in QEMU: a balloon gives, so
 * ignoring costs nobody anything.  Everything here runs on the device's I/O thread.
 */
#include <string.h>

#include "balloon-priv.h"
#include "teller-priv.h"

enum {
    PAGE_SHIFT = 12, /* of a balloon, whatever the guest's pages are */
    FRAMES = 1024,   /* read at a time */
    /* Of one request: 256 MiB of pages.  Drivers send 256; what is beyond stays the
     * guest's. */
    MAX_FRAMES = 64 * FRAMES,
};

struct VdsBalloon {
    VdsVirtioDevice *device;
    VdsBalloonConfig config;
    VdsBalloonStats *stats;
    VdsTeller teller; /* of what the driver says it gave */
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

static void inflate(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io)
{
    uint32_t frames[FRAMES];
    Run run = {0, 0};
    size_t total = 0, n;

    do {
        n = vds_stream_read(&io->out, frames, sizeof(frames)) / sizeof(frames[0]);
        for (size_t i = 0; i < n; i++) {
            uint32_t frame = GUINT32_FROM_LE(frames[i]);

            /* One bad frame must not take its neighbours along. */
            if (!vds_virt_queue_has_memory(queue, (uint64_t)frame << PAGE_SHIFT,
                                           1 << PAGE_SHIFT)) {
                continue;
            }
            if (!run_takes(&run, frame)) {
                run_discard(queue, &run);
                run = (Run){frame, 1};
            }
        }
        total += n;
    } while (n == FRAMES && total < MAX_FRAMES);
    run_discard(queue, &run);
    vds_virt_queue_complete(queue, io, 0);
}

/* Deflated pages are zeroes until they are written; hints matter to migration only. */
static void acknowledge(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io)
{
    vds_virt_queue_complete(queue, io, 0);
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
static void report(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io)
{
    if (!is_poisoned(balloon)) {
        vds_stream_discard(&io->in, vds_stream_left(&io->in));
    }
    vds_virt_queue_complete(queue, io, 0);
}

static void statistics(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io)
{
    vds_balloon_stats_take(balloon->stats, queue, io);
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

typedef void (*QueueFunc)(VdsBalloon *balloon, VdsVirtQueue *queue, VdsIo *io);

/* The optional queues follow in the order of their features (5.5.2). */
static QueueFunc queue_func(const VdsBalloon *balloon, unsigned index)
{
    static const QueueFunc fixed[] = {inflate, acknowledge, statistics};

    if (index < G_N_ELEMENTS(fixed)) {
        return fixed[index];
    }
    return index == G_N_ELEMENTS(fixed) && balloon->config.hint ? acknowledge : report;
}

static void balloon_handle(void *instance, VdsVirtQueue *queue)
{
    QueueFunc func = queue_func(instance, vds_virt_queue_get_index(queue));
    VdsIo *io;

    while ((io = vds_virt_queue_pop_one(queue)) != NULL) {
        func(instance, queue, io);
    }
}

static void balloon_queue_reset(void *instance, VdsVirtQueue *queue)
{
    vds_balloon_stats_drop(((VdsBalloon *)instance)->stats, queue);
}

static void balloon_queue_stop(void *instance, VdsVirtQueue *queue)
{
    vds_balloon_stats_return(((VdsBalloon *)instance)->stats, queue);
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
