/*
 * guestmem: one region's host memory: what a region must be, and how its file is mapped.
 *
 * Mappings are counted, as maps that differ in another region share them.  Refuses to
 * know other regions.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "map-priv.h"

bool vds_region_init(MapRegion *region, const VdsGuestRegion *config, GError **error)
{
    region->config = *config;
    region->config.fd = -1;
    region->config.share = NULL;
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
    if (config->uva != 0 && config->len - 1 > UINT64_MAX - config->uva) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_OVERFLOW,
                    "memory region at user address 0x%" PRIx64 ", length 0x%" PRIx64
                    ", ends beyond 2^64",
                    config->uva, config->len);
        return false;
    }
    region->last = config->gpa + (config->len - 1);
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

static VdsMapping *mapping_new(void *base, size_t len, VdsGuestShare *share)
{
    VdsMapping *mapping = g_new0(VdsMapping, 1);

    atomic_init(&mapping->refs, 1);
    mapping->base = base;
    mapping->len = len;
    mapping->share = vds_guest_share_ref(share);
    return mapping;
}

static void mapping_watch(VdsMapping *mapping, size_t page, bool huge)
{
    mapping->watched = true;
    mapping->range = (VdsSigbusRange){.start = (uintptr_t)mapping->base,
                                      .end = (uintptr_t)mapping->base + mapping->len,
                                      .page = page,
                                      .page_alone = huge};
    vds_sigbus_watch(&mapping->range);
}

/* MAP_FAILED: the system's word, or what a peer's share says. */
static void *map_file(const VdsGuestRegion *config, size_t size, uint64_t offset,
                      VdsMapMode mode, GError **error)
{
    bool anonymous = config->fd < 0;
    bool private = anonymous || mode == VDS_MAP_COPY_ON_WRITE;
    void *base;

    if (config->share && !vds_guest_share_take(config->share, size, error)) {
        return MAP_FAILED;
    }
    base =
        mmap(NULL, size, mode == VDS_MAP_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE,
             (private ? MAP_PRIVATE : MAP_SHARED) | MAP_NORESERVE |
                 (anonymous ? MAP_ANONYMOUS : 0),
             config->fd, (off_t)offset);
    if (base == MAP_FAILED) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_MAP, "%s",
                    g_strerror(errno));
        if (config->share) {
            vds_guest_share_give_back(config->share, size);
        }
    }
    return base;
}

bool vds_region_map(MapRegion *region, const VdsGuestRegion *config, VdsMapMode mode,
                    GError **error)
{
    bool anonymous = config->fd < 0, huge = false;
    uint64_t page = page_of(config->fd, &huge);
    uint64_t delta = anonymous ? 0 : config->offset % page;
    uint64_t size = 0;
    void *base = MAP_FAILED;

    if (!anonymous && !file_is_long_enough(config, error)) {
        return false;
    }
    if (config->len > SIZE_MAX - delta - page) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_MAP,
                    "memory region at 0x%" PRIx64 ", length 0x%" PRIx64 ": %s",
                    config->gpa, config->len, g_strerror(ENOMEM));
        return false;
    }
    size = (config->len + delta + page - 1) / page * page;
    base = map_file(config, (size_t)size, anonymous ? 0 : config->offset - delta, mode,
                    error);
    if (base == MAP_FAILED) {
        g_prefix_error(error, "memory region at 0x%" PRIx64 ", length 0x%" PRIx64 ": ",
                       config->gpa, config->len);
        return false;
    }
    region->mapping = mapping_new(base, (size_t)size, config->share);
    region->hva = (uint8_t *)base + delta;
    region->guarded = !anonymous && (huge || can_shrink(config->fd));
    region->reclaim = reclaim_of(anonymous, mode);
    region->page = page;
    if (region->guarded && mode == VDS_MAP_WRITABLE) {
        mapping_watch(region->mapping, (size_t)page, huge);
    }
    return true;
}

MapRegion vds_region_share(const MapRegion *region)
{
    if (region->mapping) {
        atomic_fetch_add_explicit(&region->mapping->refs, 1, memory_order_relaxed);
    }
    return *region;
}

void vds_region_clear(MapRegion *region)
{
    VdsMapping *mapping = region->mapping;

    /* acq_rel: every reader's last load is before the unmapping by whoever is last. */
    if (mapping &&
        atomic_fetch_sub_explicit(&mapping->refs, 1, memory_order_acq_rel) == 1) {
        if (mapping->watched) {
            vds_sigbus_unwatch(&mapping->range);
        }
        munmap(mapping->base, mapping->len);
        if (mapping->share) {
            vds_guest_share_give_back(mapping->share, mapping->len);
            vds_guest_share_unref(mapping->share);
        }
        g_free(mapping);
    }
}
