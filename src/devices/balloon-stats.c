/*
 * devices: virtio-balloon's statistics: what the guest says of its memory, and how often
 * it is asked.  virtio 1.2, 5.5.6.3 and 5.5.6.4.  Refuses to know pages.
 *
 * The driver sends a buffer of numbers, which is its device's until newer ones are
 * wanted: to be given back is to be asked.
 */
#include "balloon-priv.h"

enum {
    STAT_BYTES = 10, /* a 16-bit tag and a 64-bit value */
    MAX_STATS = 256, /* looked at in one buffer; there are ten tags */
};

#define NS_PER_S UINT64_C(1000000000)

/* By tag; the names are QEMU's. */
static const char *const names[] = {
    "stat-swap-in",          "stat-swap-out",    "stat-major-faults",
    "stat-minor-faults",     "stat-free-memory", "stat-total-memory",
    "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc",
    "stat-htlb-pgfail",
};

struct VdsBalloonStats {
    pthread_mutex_t lock; /* of the next three */
    uint64_t values[G_N_ELEMENTS(names)];
    int64_t updated_s;
    uint32_t interval_s;

    /* The I/O thread's. */
    VdsIoThread *thread; /* (nullable) borrowed: from start to stop */
    VdsIoTimer *timer;   /* (nullable) likewise, once an interval is set */
    VdsIo *waiting;      /* (nullable) */
    VdsVirtQueue *from;  /* its queue */
};

/* ---- asking
 * ---------------------------------------------------------------------------- */

static void ask(void *user);

/* 0: now. */
static void ask_after(VdsBalloonStats *stats, uint32_t seconds)
{
    if (stats->thread && !stats->timer) { /* none: then it is not asked */
        stats->timer = vds_io_timer_new(stats->thread, ask, stats, NULL);
    }
    if (stats->timer) {
        vds_io_timer_set(stats->timer, seconds > 0 ? seconds * NS_PER_S : 1, 0);
    }
}

/* A driver that has no buffer with us is asked again later. */
static void ask(void *user)
{
    VdsBalloonStats *stats = user;
    uint32_t interval_s = vds_balloon_stats_get_interval(stats);

    if (stats->waiting) {
        vds_virt_queue_complete(stats->from, g_steal_pointer(&stats->waiting), 0);
        vds_virt_queue_flush(stats->from);
    } else if (interval_s > 0) {
        ask_after(stats, interval_s);
    }
}

void vds_balloon_stats_start(VdsBalloonStats *stats, VdsIoThread *thread)
{
    uint32_t interval_s = vds_balloon_stats_get_interval(stats);

    stats->thread = thread;
    if (interval_s > 0) {
        ask_after(stats, interval_s);
    }
}

void vds_balloon_stats_stop(VdsBalloonStats *stats)
{
    vds_io_timer_free(g_steal_pointer(&stats->timer));
    stats->thread = NULL;
}

/* ---- what the driver sends
 * --------------------------------------------------------------- */

static uint64_t get_le(const uint8_t *bytes, unsigned n)
{
    uint64_t value = 0;

    while (n-- > 0) {
        value = value << 8 | bytes[n];
    }
    return value;
}

/* A driver that knows fewer than the one before leaves the others unknown. */
static void values_forget(VdsBalloonStats *stats)
{
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        stats->values[i] = UINT64_MAX;
    }
}

static void values_read(VdsBalloonStats *stats, VdsIo *io)
{
    VDS_LOCK_SCOPE(&stats->lock);
    uint8_t bytes[STAT_BYTES];

    values_forget(stats);
    for (unsigned i = 0; i < MAX_STATS; i++) {
        uint64_t tag;

        if (vds_stream_read(&io->out, bytes, sizeof(bytes)) < sizeof(bytes)) {
            break;
        }
        tag = get_le(bytes, 2);
        if (tag < G_N_ELEMENTS(names)) {
            stats->values[tag] = get_le(bytes + 2, 8);
        }
    }
    stats->updated_s = g_get_real_time() / G_USEC_PER_SEC;
}

/* A driver has one buffer for them; one that sends another gets the first back. */
void vds_balloon_stats_take(VdsBalloonStats *stats, VdsVirtQueue *queue, VdsIo *io)
{
    uint32_t interval_s = vds_balloon_stats_get_interval(stats);

    values_read(stats, io);
    if (stats->waiting) {
        vds_virt_queue_complete(queue, stats->waiting, 0);
    }
    stats->waiting = io;
    stats->from = queue;
    if (interval_s > 0) {
        ask_after(stats, interval_s);
    }
}

void vds_balloon_stats_drop(VdsBalloonStats *stats, const VdsVirtQueue *queue)
{
    if (stats->waiting && (!queue || queue == stats->from)) {
        vds_virt_queue_drop(stats->from, g_steal_pointer(&stats->waiting));
    }
}

/* The buffer is posted before anybody asks, so its next device finds it again. */
void vds_balloon_stats_return(VdsBalloonStats *stats, VdsVirtQueue *queue)
{
    if (stats->waiting && stats->from == queue) {
        vds_virt_queue_unpop(queue, g_steal_pointer(&stats->waiting));
    }
}

/* ---- what the main loop sees
 * ------------------------------------------------------------- */

void vds_balloon_stats_show(VdsBalloonStats *stats, VdsProp *value)
{
    VdsProps *all = vds_props_new(), *members = vds_props_new();

    pthread_mutex_lock(&stats->lock);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        vds_props_set_uint(members, names[i], stats->values[i]);
    }
    vds_props_set_object(all, "stats", members);
    vds_props_set_int(all, "last-update", stats->updated_s);
    pthread_mutex_unlock(&stats->lock);
    vds_prop_show_object(value, all);
}

uint32_t vds_balloon_stats_get_interval(VdsBalloonStats *stats)
{
    VDS_LOCK_SCOPE(&stats->lock);

    return stats->interval_s;
}

/* Without a driver it waits for one. */
static void interval_changed(void *user)
{
    VdsBalloonStats *stats = user;

    if (vds_balloon_stats_get_interval(stats) == 0) {
        vds_io_timer_free(g_steal_pointer(&stats->timer));
    } else if (stats->thread && !stats->timer) {
        ask_after(stats, 0);
    }
}

bool vds_balloon_stats_set_interval(VdsBalloonStats *stats, VdsIoThread *thread,
                                    uint32_t seconds, GError **error)
{
    if (!vds_io_thread_start(thread, error)) {
        return false;
    }
    pthread_mutex_lock(&stats->lock);
    stats->interval_s = seconds;
    pthread_mutex_unlock(&stats->lock);
    vds_io_thread_call(thread, interval_changed, stats);
    return true;
}

VdsBalloonStats *vds_balloon_stats_new(void)
{
    VdsBalloonStats *stats = g_new0(VdsBalloonStats, 1);

    pthread_mutex_init(&stats->lock, NULL);
    values_forget(stats);
    return stats;
}

void vds_balloon_stats_free(VdsBalloonStats *stats)
{
    pthread_mutex_destroy(&stats->lock);
    g_free(stats);
}
