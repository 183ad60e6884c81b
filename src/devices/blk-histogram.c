/*
 * devices: how long a disk's requests took, counted in bins that a client chose
 * (QEMU: block-latency-histogram-set).  Bin n holds what took boundaries[n - 1] up to,
 * but not including, boundaries[n] nanoseconds.  As text, for a property:
 * "rd=10,50:3,0,1;wr=7:0,2", boundaries and then, when read, what was counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blk-priv.h"

enum { MAX_BOUNDARIES = 256 };

/* The boundaries are constant; the device's thread counts, any thread reads. */
struct VdsBlkHistogram {
    unsigned n; /* boundaries; there is a bin more */
    uint64_t boundaries[MAX_BOUNDARIES];
    _Atomic uint64_t bins[MAX_BOUNDARIES + 1];
};

static const char *const names[VDS_BLK_COUNT_KINDS] = {"rd", "wr", "flush", "unmap"};

void vds_blk_histogram_count(VdsBlkHistogram *histogram, uint64_t ns)
{
    unsigned low = 0, high = histogram->n;
    uint64_t count;

    while (low < high) { /* the first boundary above ns */
        unsigned middle = (low + high) / 2;

        if (histogram->boundaries[middle] <= ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    count = atomic_load_explicit(&histogram->bins[low], memory_order_relaxed);
    atomic_store_explicit(&histogram->bins[low], count + 1, memory_order_relaxed);
}

/* ---- read ------------------------------------------------------------------ */

static void show(GString *text, const char *name, VdsBlkHistogram *histogram)
{
    g_string_append_printf(text, "%s%s=", text->len > 0 ? ";" : "", name);
    for (unsigned i = 0; i < histogram->n; i++) {
        g_string_append_printf(text, "%s%" PRIu64, i > 0 ? "," : "",
                               histogram->boundaries[i]);
    }
    for (unsigned i = 0; i <= histogram->n; i++) {
        g_string_append_printf(
            text, "%c%" PRIu64, i > 0 ? ',' : ':',
            atomic_load_explicit(&histogram->bins[i], memory_order_relaxed));
    }
}

char *vds_blk_histograms_show(VdsBlkHistogram *const *histograms)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < VDS_BLK_COUNT_KINDS; i++) {
        if (histograms[i]) {
            show(text, names[i], histograms[i]);
        }
    }
    return g_string_free(text, FALSE);
}

/* ---- set ------------------------------------------------------------------- */

static bool fail(GError **error, const char *name)
{
    g_set_error(
        error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY,
        "set %s boundaries fail: expected 1 to %d numbers of nanoseconds, each above "
        "the one before, the first above 0",
        name, MAX_BOUNDARIES);
    return false;
}

static bool parse_boundaries(VdsBlkHistogram *histogram, const char *text)
{
    uint64_t before = 0;
    char *end = (char *)text;

    do {
        const char *at = end + (histogram->n > 0); /* behind the comma */
        uint64_t value;

        errno = 0;
        value = g_ascii_isdigit(*at) ? g_ascii_strtoull(at, &end, 10) : 0;
        if (value <= before || errno != 0 || histogram->n == MAX_BOUNDARIES) {
            return false;
        }
        histogram->boundaries[histogram->n++] = before = value;
    } while (*end == ',');
    return *end == '\0';
}

/* "wr=7,9"; no numbers: the histogram goes.  (nullable) *histogram (transfer full) */
static bool parse_one(const char *text, unsigned *kind, VdsBlkHistogram **histogram,
                      GError **error)
{
    g_autofree VdsBlkHistogram *made = NULL;

    for (*kind = 0; *kind < VDS_BLK_COUNT_KINDS; (*kind)++) {
        size_t len = strlen(names[*kind]);

        if (strncmp(text, names[*kind], len) != 0 || text[len] != '=') {
            continue;
        }
        if (text[len + 1] != '\0') {
            made = g_new0(VdsBlkHistogram, 1);
            if (!parse_boundaries(made, text + len + 1)) {
                return fail(error, names[*kind]);
            }
        }
        *histogram = g_steal_pointer(&made);
        return true;
    }
    return fail(error, text);
}

typedef struct {
    VdsBlk *blk;
    bool told[VDS_BLK_COUNT_KINDS];
    VdsBlkHistogram *made[VDS_BLK_COUNT_KINDS]; /* (nullable) owned; then those before */
} Change;

static void change_clear(Change *change)
{
    for (unsigned i = 0; i < VDS_BLK_COUNT_KINDS; i++) {
        g_clear_pointer(&change->made[i], g_free);
    }
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Change, change_clear)

/* On the I/O thread, which counts. */
static void change_task(void *user)
{
    Change *change = user;

    for (unsigned i = 0; i < VDS_BLK_COUNT_KINDS; i++) {
        if (change->told[i]) {
            VdsBlkHistogram *before = change->blk->stats.histograms[i];

            change->blk->stats.histograms[i] = change->made[i];
            change->made[i] = before;
        }
    }
}

bool vds_blk_histograms_set(VdsBlk *blk, const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ";", -1);
    g_auto(Change) change = {.blk = blk};

    for (char **part = parts; *part; part++) {
        VdsBlkHistogram *made = NULL;
        unsigned kind;

        if (!parse_one(*part, &kind, &made, error)) {
            return false;
        }
        g_free(change.made[kind]);
        change.made[kind] = made;
        change.told[kind] = true;
    }
    if (!vds_io_thread_start(blk->thread, error)) {
        return false;
    }
    vds_io_thread_call(blk->thread, change_task, &change);
    return true;
}

void vds_blk_histograms_free(VdsBlkHistogram **histograms)
{
    for (unsigned i = 0; i < VDS_BLK_COUNT_KINDS; i++) {
        g_clear_pointer(&histograms[i], g_free);
    }
}
