/*
 * guestmem: the map, guest-physical addresses to host memory.
 *
 * Owns the mappings, their order and every bound; immutable once made, so that a
 * reference is all a reader needs.  Refuses to know what the bytes mean.
 * Guest addresses are inclusive ranges inside: [gpa, last], so that a region may end at
 * 2^64.
 */
#include "vds/guestmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sigbus-priv.h"

typedef struct {
    VdsGuestRegion config; /* as given, fd -1: the number is no longer ours to name */
    uint64_t last;         /* its last address */
    uint64_t span_last;    /* the last address of the touching regions from here on */
    const uint8_t *hva;    /* of gpa */
    void *base;            /* (nullable) what to unmap; NULL: the memory is borrowed */
    size_t base_len;
    bool guarded; /* its owner can take pages away */
} MapRegion;

struct VdsGuestMap {
    atomic_uint refs;
    size_t n;
    MapRegion regions[]; /* by gpa */
};

/* ---- construction ---- */

static int compare_gpa(const void *a, const void *b)
{
    const MapRegion *left = a, *right = b;

    return (left->config.gpa > right->config.gpa) -
           (left->config.gpa < right->config.gpa);
}

static bool region_init(MapRegion *region, const VdsGuestRegion *config, GError **error)
{
    region->config = *config;
    region->config.fd = -1;
    if (config->len == 0) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERFLOW,
                    "memory region at 0x%" PRIx64 " has length 0", config->gpa);
        return false;
    }
    if (config->len - 1 > UINT64_MAX - config->gpa) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERFLOW,
                    "memory region at 0x%" PRIx64 ", length 0x%" PRIx64
                    ", ends beyond 2^64",
                    config->gpa, config->len);
        return false;
    }
    region->last = config->gpa + (config->len - 1);
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
    return true;
}

/* A file that ends early would be found by a SIGBUS at the first query; a device's size
 * is not its length, there mmap() itself knows. */
static bool file_is_long_enough(const VdsGuestRegion *config, GError **error)
{
    struct stat st;

    if (config->offset > INT64_MAX || config->len > INT64_MAX - config->offset) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERFLOW,
                    "memory region at 0x%" PRIx64 ": offset 0x%" PRIx64
                    " and length 0x%" PRIx64 " are beyond any file",
                    config->gpa, config->offset, config->len);
        return false;
    }
    if (fstat(config->fd, &st) != 0) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_MAP,
                    "memory region at 0x%" PRIx64 ": %s", config->gpa, g_strerror(errno));
        return false;
    }
    if (S_ISREG(st.st_mode) && config->offset + config->len > (uint64_t)st.st_size) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_SHORT,
                    "memory region at 0x%" PRIx64 ": its file must have %" PRIu64
                    " bytes and has %" PRIu64,
                    config->gpa, config->offset + config->len, (uint64_t)st.st_size);
        return false;
    }
    return true;
}

static bool can_shrink(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals < 0 || !(seals & F_SEAL_SHRINK);
}

static bool region_map(MapRegion *region, const VdsGuestRegion *config, GError **error)
{
    bool anonymous = config->fd < 0;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t delta = anonymous ? 0 : config->offset % page;
    void *base = MAP_FAILED;

    if (!anonymous && !file_is_long_enough(config, error)) {
        return false;
    }
    errno = ENOMEM;
    if (config->len <= SIZE_MAX - delta) {
        base = mmap(NULL, (size_t)(config->len + delta), PROT_READ,
                    anonymous ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED,
                    config->fd, anonymous ? 0 : (off_t)(config->offset - delta));
    }
    if (base == MAP_FAILED) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_MAP,
                    "memory region at 0x%" PRIx64 ", length 0x%" PRIx64 ": %s",
                    config->gpa, config->len, g_strerror(errno));
        return false;
    }
    region->base = base;
    region->base_len = (size_t)(config->len + delta);
    region->hva = (const uint8_t *)base + delta;
    region->guarded = !anonymous && can_shrink(config->fd);
    return true;
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

VdsGuestMap *vds_guest_map_new(const VdsGuestRegion *regions, size_t n, GError **error)
{
    g_autoptr(VdsGuestMap) map = map_alloc(n);

    vds_sigbus_install();
    for (size_t i = 0; i < n; i++) {
        if (!region_init(&map->regions[i], &regions[i], error) ||
            !region_map(&map->regions[i], &regions[i], error)) {
            return NULL;
        }
    }
    return map_arrange(map, error) ? g_steal_pointer(&map) : NULL;
}

VdsGuestMap *vds_guest_map_new_from_memory(const VdsGuestRegion *regions, size_t n,
                                           void *const *hva, GError **error)
{
    g_autoptr(VdsGuestMap) map = map_alloc(n);

    for (size_t i = 0; i < n; i++) {
        if (!region_init(&map->regions[i], &regions[i], error)) {
            return NULL;
        }
        map->regions[i].hva = hva[i];
    }
    return map_arrange(map, error) ? g_steal_pointer(&map) : NULL;
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
    /* acq_rel: every reader's last load is before the unmapping by whoever is last. */
    if (!map || atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (size_t i = 0; i < map->n; i++) {
        if (map->regions[i].base) {
            munmap(map->regions[i].base, map->regions[i].base_len);
        }
    }
    g_free(map);
}

size_t vds_guest_map_count(const VdsGuestMap *map)
{
    return map->n;
}

const VdsGuestRegion *vds_guest_map_nth(const VdsGuestMap *map, size_t n)
{
    return n < map->n ? &map->regions[n].config : NULL;
}

/* ---- access ---- */

/* The region that holds gpa, or NULL. */
static const MapRegion *map_find(const VdsGuestMap *map, uint64_t gpa)
{
    size_t low = 0, high = map->n; /* regions before low end before gpa */

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (map->regions[middle].last < gpa) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < map->n && map->regions[low].config.gpa <= gpa ? &map->regions[low]
                                                               : NULL;
}

/* The region that holds gpa if all of [gpa, gpa + len), len > 0, is mapped. */
static const MapRegion *map_find_span(const VdsGuestMap *map, uint64_t gpa, uint64_t len)
{
    const MapRegion *region = map_find(map, gpa);

    return region && len - 1 <= region->span_last - gpa ? region : NULL;
}

bool vds_guest_map_has(const VdsGuestMap *map, uint64_t gpa, uint64_t len)
{
    return len == 0 || map_find_span(map, gpa, len) != NULL;
}

static void set_unmapped(const VdsGuestMap *map, uint64_t gpa, size_t len, GError **error)
{
    const MapRegion *region = map_find(map, gpa);

    if (!region) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_UNMAPPED,
                    "guest memory at 0x%" PRIx64 ", length %zu: nothing is mapped there",
                    gpa, len);
        return;
    }
    g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_UNMAPPED,
                "guest memory at 0x%" PRIx64 ", length %zu: mapped up to 0x%" PRIx64
                " only",
                gpa, len, region->span_last);
}

bool vds_guest_map_read(const VdsGuestMap *map, uint64_t gpa, void *to, size_t len,
                        GError **error)
{
    const MapRegion *region = NULL;
    uint8_t *bytes = to;
    uint64_t at = gpa;

    if (len == 0) {
        return true;
    }
    region = map_find_span(map, gpa, len);
    if (!region) {
        set_unmapped(map, gpa, len, error);
        return false;
    }
    for (size_t left = len; left > 0; region++) {
        const uint8_t *from = region->hva + (at - region->config.gpa);
        size_t piece = (size_t)MIN(left - 1, region->last - at) + 1;

        if (!region->guarded) {
            vds_relaxed_copy(bytes, from, piece);
        } else if (!vds_guarded_copy(bytes, from, piece)) {
            g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED,
                        "guest memory at 0x%" PRIx64
                        ", length %zu: the file behind the region at 0x%" PRIx64
                        " was cut short",
                        gpa, len, region->config.gpa);
            return false;
        }
        bytes += piece;
        at += piece;
        left -= piece;
    }
    return true;
}

bool vds_guest_map_read_u16(const VdsGuestMap *map, uint64_t gpa, uint16_t *to, size_t n,
                            GError **error)
{
    g_assert(n <= SIZE_MAX / sizeof(*to));
    if (!vds_guest_map_read(map, gpa, to, n * sizeof(*to), error)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        to[i] = GUINT16_FROM_LE(to[i]);
    }
    return true;
}

bool vds_guest_map_read_u64(const VdsGuestMap *map, uint64_t gpa, uint64_t *to, size_t n,
                            GError **error)
{
    g_assert(n <= SIZE_MAX / sizeof(*to));
    if (!vds_guest_map_read(map, gpa, to, n * sizeof(*to), error)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        to[i] = GUINT64_FROM_LE(to[i]);
    }
    return true;
}
