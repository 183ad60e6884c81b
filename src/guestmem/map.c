/*
 * guestmem: the map, guest-physical addresses to host memory.
 *
 * Owns the mappings, their order and every bound; immutable once made, so that a
 * reference is all a reader needs.  Refuses to know what the bytes mean, and who reads
 * them.
 */
#include "vds/guestmem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "map-priv.h"
#include "sigbus-priv.h"

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

/* What offsets and lengths of its mappings are multiples of.  *huge: pages may run out
 * at the first touch, whatever the seals say. */
static uint64_t page_of(int fd, bool *huge)
{
    struct statfs fs;

    *huge = fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
    return *huge ? (uint64_t)fs.f_bsize : (uint64_t)sysconf(_SC_PAGESIZE);
}

static VdsReclaim reclaim_of(bool anonymous, VdsMapMode mode)
{
    if (mode == VDS_MAP_COPY_ON_WRITE) {
        return VDS_RECLAIM_NOTHING; /* DONTNEED would show the file again */
    }
    return anonymous ? VDS_RECLAIM_DONTNEED : VDS_RECLAIM_REMOVE;
}

static bool region_map(MapRegion *region, const VdsGuestRegion *config, VdsMapMode mode,
                       GError **error)
{
    bool anonymous = config->fd < 0, huge = false;
    bool private = anonymous || mode == VDS_MAP_COPY_ON_WRITE;
    uint64_t page = page_of(config->fd, &huge);
    uint64_t delta = anonymous ? 0 : config->offset % page;
    uint64_t size = 0;
    void *base = MAP_FAILED;

    if (!anonymous && !file_is_long_enough(config, error)) {
        return false;
    }
    errno = ENOMEM;
    if (config->len <= SIZE_MAX - delta - page) {
        size = (config->len + delta + page - 1) / page * page;
        base = mmap(NULL, (size_t)size,
                    mode == VDS_MAP_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE,
                    (private ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE |
                        (anonymous ? MAP_ANONYMOUS : 0),
                    config->fd, anonymous ? 0 : (off_t)(config->offset - delta));
    }
    if (base == MAP_FAILED) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_MAP,
                    "memory region at 0x%" PRIx64 ", length 0x%" PRIx64 ": %s",
                    config->gpa, config->len, g_strerror(errno));
        return false;
    }
    region->base = base;
    region->base_len = (size_t)size;
    region->hva = (uint8_t *)base + delta;
    region->guarded = !anonymous && (huge || can_shrink(config->fd));
    region->reclaim = reclaim_of(anonymous, mode);
    region->page = page;
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

VdsGuestMap *vds_guest_map_new_mode(const VdsGuestRegion *regions, size_t n,
                                    VdsMapMode mode, GError **error)
{
    g_autoptr(VdsGuestMap) map = map_alloc(n);

    vds_sigbus_install();
    map->writable = mode != VDS_MAP_READ_ONLY;
    for (size_t i = 0; i < n; i++) {
        if (!region_init(&map->regions[i], &regions[i], error) ||
            !region_map(&map->regions[i], &regions[i], mode, error)) {
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

    map->writable = true;
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

bool vds_guest_map_is_writable(const VdsGuestMap *map)
{
    return map->writable;
}

size_t vds_guest_map_count(const VdsGuestMap *map)
{
    return map->n;
}

const VdsGuestRegion *vds_guest_map_nth(const VdsGuestMap *map, size_t n)
{
    return n < map->n ? &map->regions[n].config : NULL;
}
