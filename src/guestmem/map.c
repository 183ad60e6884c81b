/*
 * guestmem: the map, guest-physical addresses to host memory.
 *
 * Owns the regions, their order and every bound; immutable once made, so that a
 * reference is all a reader needs.  Refuses to know what the bytes mean, and who reads
 * them.
 */
#include "vds/guestmem.h"

#include "map-priv.h"
#include "sigbus-priv.h"

/* ---- construction ---- */

static int compare_gpa(const void *a, const void *b)
{
    const MapRegion *left = a, *right = b;

    return (left->config.gpa > right->config.gpa) -
           (left->config.gpa < right->config.gpa);
}

static int compare_uva(const void *a, const void *b)
{
    const MapRegion *left = *(MapRegion *const *)a, *right = *(MapRegion *const *)b;

    return (left->config.uva > right->config.uva) -
           (left->config.uva < right->config.uva);
}

/* A front-end's address names one byte; most maps know no such addresses. */
static bool uvas_are_apart(const VdsGuestMap *map, GError **error)
{
    g_autofree const MapRegion **by_uva = NULL;
    size_t n = 0;

    for (size_t i = 0; i < map->n; i++) {
        n += map->regions[i].config.uva != 0;
    }
    if (n < 2) {
        return true;
    }
    by_uva = g_new(const MapRegion *, n);
    n = 0;
    for (size_t i = 0; i < map->n; i++) {
        if (map->regions[i].config.uva != 0) {
            by_uva[n++] = &map->regions[i];
        }
    }
    qsort(by_uva, n, sizeof(by_uva[0]), compare_uva);
    for (size_t i = 1; i < n; i++) {
        const VdsGuestRegion *one = &by_uva[i - 1]->config, *next = &by_uva[i]->config;

        if (next->uva - one->uva < one->len) {
            g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERLAP,
                        "memory region at user address 0x%" PRIx64 ", length 0x%" PRIx64
                        ", overlaps the one at 0x%" PRIx64,
                        one->uva, one->len, next->uva);
            return false;
        }
    }
    return true;
}

/* Sorts, refuses overlaps and finds where each run of touching regions ends. */
static bool map_arrange(VdsGuestMap *map, GError **error)
{
    qsort(map->regions, map->n, sizeof(map->regions[0]), compare_gpa);
    for (size_t i = map->n; i-- > 0;) {
        MapRegion *region = &map->regions[i];
        const MapRegion *next = i + 1 < map->n ? region + 1 : NULL;

        if (next && next->config.gpa <= region->last) {
            g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERLAP,
                        "memory region at 0x%" PRIx64 ", length 0x%" PRIx64
                        ", overlaps the one at 0x%" PRIx64,
                        region->config.gpa, region->config.len, next->config.gpa);
            return false;
        }
        region->span_last =
            next && next->config.gpa == region->last + 1 ? next->span_last : region->last;
    }
    return uvas_are_apart(map, error);
}

static VdsGuestMap *map_alloc(size_t n)
{
    VdsGuestMap *map = NULL;

    g_assert(n <= (SIZE_MAX - sizeof(*map)) / sizeof(map->regions[0]));
    map = g_malloc0(sizeof(*map) + n * sizeof(map->regions[0]));
    atomic_init(&map->refs, 1);
    map->n = n;
    return map;
}

VdsGuestMap *vds_guest_map_new_mode(const VdsGuestRegion *regions, size_t n,
                                    VdsMapMode mode, GError **error)
{
    g_autoptr(VdsGuestMap) map = map_alloc(n);

    vds_sigbus_install();
    map->mode = mode;
    for (size_t i = 0; i < n; i++) {
        if (!vds_region_init(&map->regions[i], &regions[i], error) ||
            !vds_region_map(&map->regions[i], &regions[i], mode, error)) {
            return NULL;
        }
    }
    return map_arrange(map, error) ? g_steal_pointer(&map) : NULL;
}

VdsGuestMap *vds_guest_map_new(const VdsGuestRegion *regions, size_t n, GError **error)
{
    return vds_guest_map_new_mode(regions, n, VDS_MAP_READ_ONLY, error);
}

VdsGuestMap *vds_guest_map_new_writable(const VdsGuestRegion *regions, size_t n,
                                        GError **error)
{
    return vds_guest_map_new_mode(regions, n, VDS_MAP_WRITABLE, error);
}

VdsGuestMap *vds_guest_map_new_from_memory(const VdsGuestRegion *regions, size_t n,
                                           void *const *hva, GError **error)
{
    g_autoptr(VdsGuestMap) map = map_alloc(n);

    map->mode = VDS_MAP_WRITABLE;
    for (size_t i = 0; i < n; i++) {
        if (!vds_region_init(&map->regions[i], &regions[i], error)) {
            return NULL;
        }
        map->regions[i].hva = hva[i];
    }
    return map_arrange(map, error) ? g_steal_pointer(&map) : NULL;
}

/* Regions are sorted: the last one ends highest. */
static bool log_reaches(const VdsGuestMap *map, GError **error)
{
    return !map->log || map->n == 0 ||
           vds_dirty_log_reaches(map->log, map->regions[map->n - 1].last, error);
}

VdsGuestMap *vds_guest_map_with(const VdsGuestMap *map, const VdsGuestRegion *region,
                                GError **error)
{
    size_t n = map ? map->n : 0;
    g_autoptr(VdsGuestMap) more = map_alloc(n + 1);

    vds_sigbus_install();
    more->mode = map ? map->mode : VDS_MAP_WRITABLE;
    more->log = vds_dirty_log_ref(map ? map->log : NULL);
    for (size_t i = 0; i < n; i++) {
        more->regions[i] = vds_region_share(&map->regions[i]);
    }
    if (!vds_region_init(&more->regions[n], region, error) ||
        !vds_region_map(&more->regions[n], region, more->mode, error)) {
        return NULL;
    }
    return map_arrange(more, error) && log_reaches(more, error) ? g_steal_pointer(&more)
                                                                : NULL;
}

bool vds_guest_map_is_logged(const VdsGuestMap *map)
{
    return map->log != NULL;
}

VdsGuestMap *vds_guest_map_with_log(const VdsGuestMap *map, VdsDirtyLog *log,
                                    GError **error)
{
    g_autoptr(VdsGuestMap) logged = map_alloc(map->n);

    logged->mode = map->mode;
    logged->log = vds_dirty_log_ref(log);
    for (size_t i = 0; i < map->n; i++) {
        logged->regions[i] = vds_region_share(&map->regions[i]);
    }
    return log_reaches(logged, error) ? g_steal_pointer(&logged) : NULL;
}

VdsGuestMap *vds_guest_map_without(const VdsGuestMap *map, const VdsGuestRegion *region,
                                   GError **error)
{
    g_autoptr(VdsGuestMap) fewer = map_alloc(map->n);
    size_t n = 0;

    fewer->mode = map->mode;
    fewer->log = vds_dirty_log_ref(map->log);
    for (size_t i = 0; i < map->n; i++) {
        const VdsGuestRegion *config = &map->regions[i].config;

        if (config->gpa != region->gpa || config->len != region->len ||
            config->uva != region->uva) {
            fewer->regions[n++] = vds_region_share(&map->regions[i]);
        }
    }
    fewer->n = n;
    if (n == map->n) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_NO_REGION,
                    "no memory region at 0x%" PRIx64 ", length 0x%" PRIx64
                    ", user address 0x%" PRIx64,
                    region->gpa, region->len, region->uva);
        return NULL;
    }
    return map_arrange(fewer, error) ? g_steal_pointer(&fewer) : NULL;
}

VdsGuestMap *vds_guest_map_ref(VdsGuestMap *map)
{
    if (map) {
        atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    }
    return map;
}

void vds_guest_map_unref(VdsGuestMap *map)
{
    /* acq_rel: every reader's last use is before the end, by whoever is last. */
    if (!map || atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (size_t i = 0; i < map->n; i++) {
        vds_region_clear(&map->regions[i]);
    }
    vds_dirty_log_unref(map->log);
    g_free(map);
}

bool vds_guest_map_is_writable(const VdsGuestMap *map)
{
    return map->mode != VDS_MAP_READ_ONLY;
}

size_t vds_guest_map_count(const VdsGuestMap *map)
{
    return map->n;
}

const VdsGuestRegion *vds_guest_map_nth(const VdsGuestMap *map, size_t n)
{
    return n < map->n ? &map->regions[n].config : NULL;
}

static const VdsGuestRegion *find_uva(const VdsGuestMap *map, uint64_t uva)
{
    for (size_t i = 0; i < map->n; i++) {
        const VdsGuestRegion *region = &map->regions[i].config;

        if (region->uva != 0 && uva >= region->uva && uva - region->uva < region->len) {
            return region;
        }
    }
    return NULL;
}

bool vds_guest_map_uva_to_gpa(const VdsGuestMap *map, uint64_t uva, uint64_t len,
                              uint64_t *gpa)
{
    const VdsGuestRegion *region = find_uva(map, uva);
    uint64_t start, at;

    if (!region) {
        return false;
    }
    start = at = region->gpa + (uva - region->uva);
    /* A range may go on in a region that touches in both address spaces. */
    while (len > region->len - (uva - region->uva)) {
        uint64_t part = region->len - (uva - region->uva);

        len -= part;
        uva += part;
        at += part;
        region = find_uva(map, uva);
        if (!region || region->gpa + (uva - region->uva) != at) {
            return false;
        }
    }
    *gpa = start;
    return true;
}
