/*
 * devices: what a disk was asked for, counted as QEMU counts it (BlockDeviceStats).
 */
#include <time.h>

#include "blk-priv.h"

uint64_t vds_blk_stats_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* One thread counts: no need of a locked instruction for each request. */
static void add(_Atomic uint64_t *count, uint64_t more)
{
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed);

    atomic_store_explicit(count, before + more, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

void vds_blk_stats_begin(VdsBlkRequest *request)
{
    VdsBlkStats *stats = &request->blk->stats;

    if (request->count == VDS_BLK_COUNT_NOT) {
        return;
    }
    request->counted_invalid = request->status != VDS_BLK_S_OK;
    if (request->counted_invalid) {
        add(&stats->kinds[request->count].invalid, 1);
        return;
    }
    request->begun_ns = request->blk->now_ns;
    request->bytes = request->left;
    if (request->count == VDS_BLK_COUNT_WRITE &&
        request->offset + request->bytes > get(&stats->write_end)) {
        atomic_store_explicit(&stats->write_end, request->offset + request->bytes,
                              memory_order_relaxed);
    }
}

void vds_blk_stats_end(const VdsBlkRequest *request)
{
    VdsBlkStats *stats = &request->blk->stats;

    if (request->count == VDS_BLK_COUNT_NOT || request->counted_invalid) {
        return;
    }
    add(&stats->kinds[request->count].total_ns, request->blk->now_ns - request->begun_ns);
    if (stats->histograms[request->count]) {
        vds_blk_histogram_count(stats->histograms[request->count],
                                request->blk->now_ns - request->begun_ns);
    }
    if (request->status == VDS_BLK_S_OK) {
        add(&stats->kinds[request->count].operations, 1);
        add(&stats->kinds[request->count].bytes, request->bytes);
    } else {
        add(&stats->kinds[request->count].failed, 1);
    }
}

/* ---- shown ------------------------------------------------------------------------- */

static void show(VdsProps *props, const char *format, const char *kind,
                 const _Atomic uint64_t *count) G_GNUC_PRINTF(2, 0);

static void show(VdsProps *props, const char *format, const char *kind,
                 const _Atomic uint64_t *count)
{
    g_autofree char *name = g_strdup_printf(format, kind);

    vds_props_set_int(props, name, (int64_t)MIN(get(count), INT64_MAX));
}

static bool get_stats(void *instance, VdsProp *value)
{
    static const char *const names[VDS_BLK_COUNT_KINDS] = {"rd", "wr", "flush", "unmap"};
    VdsBlkStats *stats = &((VdsBlk *)instance)->stats;
    VdsProps *props = vds_props_new();

    for (unsigned i = 0; i < VDS_BLK_COUNT_KINDS; i++) {
        show(props, "%s_operations", names[i], &stats->kinds[i].operations);
        show(props, "%s_total_time_ns", names[i], &stats->kinds[i].total_ns);
        show(props, "failed_%s_operations", names[i], &stats->kinds[i].failed);
        show(props, "invalid_%s_operations", names[i], &stats->kinds[i].invalid);
        if (i != VDS_BLK_COUNT_FLUSH) {
            show(props, "%s_bytes", names[i], &stats->kinds[i].bytes);
        }
    }
    show(props, "%s_highest_offset", names[VDS_BLK_COUNT_WRITE], &stats->write_end);
    vds_prop_show_object(value, props);
    return true;
}

static bool get_histograms(void *instance, VdsProp *value)
{
    vds_prop_show_string(value,
                         vds_blk_histograms_show(((VdsBlk *)instance)->stats.histograms));
    return true;
}

static bool set_histograms(void *instance, const VdsProp *value, GError **error)
{
    return vds_blk_histograms_set(instance, value->text ? value->text : "", error);
}

static bool get_capacity(void *instance, VdsProp *value)
{
    vds_prop_show_uint(value, vds_blk_get_size(instance));
    return true;
}

static bool set_capacity(void *instance, const VdsProp *value, GError **error)
{
    uint64_t bytes;

    return vds_prop_get_size(value, 1, &bytes, error) &&
           vds_blk_grow(instance, bytes, error);
}

const VdsDeviceReading vds_blk_readings[] = {
    {"capacity", "size", get_capacity, set_capacity},
    {"stats", "BlockDeviceStats", get_stats, NULL},
    {"latency-histograms", "string", get_histograms, set_histograms},
    {NULL, NULL, NULL, NULL},
};
