/*
 * guestmem: the page allocator, first fit over sorted free runs.
 *
 * A guest takes a few runs for each queue and gives them back at a reset, so the runs are
 * few and the search is short; neighbours are joined when one comes back.
 */
#include "pages-priv.h"

typedef struct {
    int64_t start; /* the key of `taken` */
    uint64_t n;
} Run;

struct VdsPages {
    GArray *free;      /* Run, by start, no two touch */
    GHashTable *taken; /* start -> Run */
    uint64_t taken_pages;
};

VdsPages *vds_pages_new(uint64_t first, uint64_t n)
{
    VdsPages *pages = g_new0(VdsPages, 1);
    const Run all = {(int64_t)first, n};

    pages->free = g_array_new(FALSE, FALSE, sizeof(Run));
    pages->taken = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    if (n > 0) {
        g_array_append_val(pages->free, all);
    }
    return pages;
}

void vds_pages_free(VdsPages *pages)
{
    if (pages) {
        g_array_unref(pages->free);
        g_hash_table_unref(pages->taken);
        g_free(pages);
    }
}

/* Cuts [start, start + n) out of free run i, which holds it. */
static void cut(VdsPages *pages, guint i, uint64_t start, uint64_t n)
{
    Run *run = &g_array_index(pages->free, Run, i);
    uint64_t before = start - (uint64_t)run->start;
    const Run after = {(int64_t)(start + n), run->n - before - n};

    if (before > 0) {
        run->n = before;
        if (after.n > 0) {
            g_array_insert_val(pages->free, i + 1, after);
        }
    } else if (after.n > 0) {
        *run = after;
    } else {
        g_array_remove_index(pages->free, i);
    }
}

bool vds_pages_take(VdsPages *pages, uint64_t n, uint64_t align, uint64_t *start)
{
    for (guint i = 0; i < pages->free->len; i++) {
        const Run *run = &g_array_index(pages->free, Run, i);
        uint64_t first = (uint64_t)run->start;
        uint64_t before = (align - first % align) % align;

        if (before <= run->n && n <= run->n - before) {
            Run *taken = g_new(Run, 1);

            *taken = (Run){(int64_t)(first + before), n};
            cut(pages, i, first + before, n);
            g_hash_table_add(pages->taken, taken);
            pages->taken_pages += n;
            *start = (uint64_t)taken->start;
            return true;
        }
    }
    return false;
}

/* The first free run behind `start`. */
static guint find_after(const VdsPages *pages, int64_t start)
{
    guint low = 0, high = pages->free->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;

        if (g_array_index(pages->free, Run, middle).start < start) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Joins free run i with the next when they touch. */
static void join(VdsPages *pages, guint i)
{
    Run *run = &g_array_index(pages->free, Run, i);

    if (i + 1 < pages->free->len && run->start + (int64_t)run->n == run[1].start) {
        run->n += run[1].n;
        g_array_remove_index(pages->free, i + 1);
    }
}

uint64_t vds_pages_give(VdsPages *pages, uint64_t start)
{
    const int64_t key = (int64_t)start;
    const Run *taken = g_hash_table_lookup(pages->taken, &key);
    Run run;
    guint i = 0;

    if (!taken) {
        return 0;
    }
    run = *taken;
    g_hash_table_remove(pages->taken, &key);
    pages->taken_pages -= run.n;
    i = find_after(pages, key);
    g_array_insert_val(pages->free, i, run);
    join(pages, i);
    if (i > 0) {
        join(pages, i - 1);
    }
    return run.n;
}

uint64_t vds_pages_get_taken(const VdsPages *pages)
{
    return pages->taken_pages;
}
