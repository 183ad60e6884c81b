/*
 * guestmem: loads and stores through a map.
 *
 * Owns the search for a region, the split at borders, and the choice between plain and
 * guarded access.  Refuses to know how a region came to be mapped.
 */
#include "vds/guestmem.h"

#include <string.h>
#include <sys/mman.h>

#include "map-priv.h"
#include "sigbus-priv.h"

bool vds_guest_map_has(const VdsGuestMap *map, uint64_t gpa, uint64_t len)
{
    return len == 0 || map_find_span(map, gpa, len) != NULL;
}

static void set_unmapped(const VdsGuestMap *map, uint64_t gpa, uint64_t len,
                         GError **error)
{
    const MapRegion *region = map_find(map, gpa);

    if (!region) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_UNMAPPED,
                    "guest memory at 0x%" PRIx64 ", length %" PRIu64
                    ": nothing is mapped there",
                    gpa, len);
        return;
    }
    g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_UNMAPPED,
                "guest memory at 0x%" PRIx64 ", length %" PRIu64
                ": mapped up to 0x%" PRIx64 " only",
                gpa, len, region->span_last);
}

static bool set_vanished(const MapRegion *region, uint64_t gpa, uint64_t len,
                         GError **error)
{
    g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED,
                "guest memory at 0x%" PRIx64 ", length %" PRIu64
                ": the file behind the region at 0x%" PRIx64 " was cut short",
                gpa, len, region->config.gpa);
    return false;
}

/* The region of the first byte if all of it may be written. */
static const MapRegion *map_find_writable(const VdsGuestMap *map, uint64_t gpa,
                                          uint64_t len, GError **error)
{
    const MapRegion *region = map_find_span(map, gpa, len);

    if (!region) {
        set_unmapped(map, gpa, len, error);
        return NULL;
    }
    if (map->mode == VDS_MAP_READ_ONLY) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_READ_ONLY,
                    "guest memory at 0x%" PRIx64 ", length %" PRIu64
                    ": mapped for reading only",
                    gpa, len);
        return NULL;
    }
    return region;
}

/* Out of one region, and nothing changes, whatever becomes of the file. */
static bool region_look(const MapRegion *region, void *to, const uint8_t *from,
                        size_t len)
{
    if (region->guarded) {
        return vds_guarded_load(to, from, len) && is_whole(region, from, len);
    }
    vds_relaxed_load(to, from, len);
    return true;
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
        size_t piece = piece_in(region, at, left);

        if (!region_look(region, bytes, region->hva + (at - region->config.gpa), piece)) {
            return set_vanished(region, gpa, len, error);
        }
        bytes += piece;
        at += piece;
        left -= piece;
    }
    return true;
}

/* Into [at, at + len) of one region. */
static bool region_write(const MapRegion *region, uint64_t at, const void *from,
                         size_t len)
{
    uint8_t *to = region->hva + (at - region->config.gpa);

    if (region->guarded) {
        return vds_guarded_store(to, from, len) && is_whole(region, to, len);
    }
    vds_relaxed_store(to, from, len);
    return true;
}

static bool map_write(const VdsGuestMap *map, uint64_t gpa, const void *from, size_t len,
                      GError **error)
{
    const MapRegion *region = NULL;
    const uint8_t *bytes = from;
    uint64_t at = gpa;

    if (len == 0) {
        return true;
    }
    region = map_find_writable(map, gpa, len, error);
    if (!region) {
        return false;
    }
    for (size_t left = len; left > 0; region++) {
        size_t piece = piece_in(region, at, left);

        if (!region_write(region, at, bytes, piece)) {
            return set_vanished(region, gpa, len, error);
        }
        bytes += piece;
        at += piece;
        left -= piece;
    }
    return true;
}

void vds_guest_map_mark(const VdsGuestMap *map, uint64_t gpa, uint64_t len)
{
    if (map->log && len > 0) {
        vds_dirty_log_mark(map->log, gpa, len);
    }
}

void vds_guest_map_tell_log(const VdsGuestMap *map)
{
    if (map->log) {
        vds_dirty_log_tell(map->log);
    }
}

bool vds_guest_map_write(const VdsGuestMap *map, uint64_t gpa, const void *from,
                         size_t len, GError **error)
{
    bool ok = map_write(map, gpa, from, len, error);

    vds_guest_map_mark(map, gpa, ok ? len : 0);
    return ok;
}

/* ---- giving back ---- */

static bool region_zero(const MapRegion *region, uint64_t at, uint64_t len)
{
    static const uint8_t zeroes[4096];

    while (len > 0) {
        size_t piece = (size_t)MIN(len, sizeof(zeroes));

        if (!region_write(region, at, zeroes, piece)) {
            return false;
        }
        at += piece;
        len -= piece;
    }
    return true;
}

/* Whole pages are taken out of the mapping where the system can, the rest is written. */
static bool region_discard(const MapRegion *region, uint64_t at, uint64_t len)
{
    static const int advice[] = {
        [VDS_RECLAIM_DONTNEED] = MADV_DONTNEED, [VDS_RECLAIM_REMOVE] = MADV_REMOVE};
    uintptr_t start = (uintptr_t)region->hva + (uintptr_t)(at - region->config.gpa);
    uintptr_t page = region->page, before = 0, whole = 0;

    if (region->reclaim == VDS_RECLAIM_NOTHING) {
        return region_zero(region, at, len);
    }
    before = (page - start % page) % page;
    whole = len > before ? (len - before) / page * page : 0;
    if (whole == 0 ||
        madvise((void *)(start + before), whole, advice[region->reclaim]) != 0) {
        return region_zero(region, at, len);
    }
    return region_zero(region, at, before) &&
           region_zero(region, at + before + whole, len - before - whole);
}

static bool map_discard(const VdsGuestMap *map, uint64_t gpa, uint64_t len,
                        GError **error)
{
    const MapRegion *region = NULL;
    uint64_t at = gpa;

    if (len == 0) {
        return true;
    }
    region = map_find_writable(map, gpa, len, error);
    if (!region) {
        return false;
    }
    for (uint64_t left = len; left > 0; region++) {
        size_t piece = piece_in(region, at, left);

        if (!region_discard(region, at, piece)) {
            return set_vanished(region, gpa, len, error);
        }
        at += piece;
        left -= piece;
    }
    return true;
}

bool vds_guest_map_discard(const VdsGuestMap *map, uint64_t gpa, uint64_t len,
                           GError **error)
{
    bool ok = map_discard(map, gpa, len, error);

    vds_guest_map_mark(map, gpa, ok ? len : 0);
    return ok;
}

/* ---- words ---- */

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

/* ---- areas ---- */

bool vds_guest_area_init(VdsGuestArea *area, const VdsGuestMap *map, uint64_t gpa,
                         uint64_t len, unsigned align, GError **error)
{
    const MapRegion *region = map_find_writable(map, gpa, MAX(len, 1), error);
    uint8_t *hva = NULL;

    if (!region) {
        return false;
    }
    hva = region->hva + (gpa - region->config.gpa);
    *area = (VdsGuestArea){.map = map, .gpa = gpa, .len = len};
    if (len > 0 && len - 1 <= region->last - gpa && (uintptr_t)hva % align == 0 &&
        (!region->guarded || region->mapping->watched)) {
        area->direct = hva;
        area->gone = region->guarded ? &region->mapping->range.gone : NULL;
    }
    return true;
}

bool vds_guest_area_check(const VdsGuestArea *area, GError **error)
{
    return vds_guest_area_is_whole(area) ||
           set_vanished(map_find(area->map, area->gpa), area->gpa, area->len, error);
}

bool vds_guest_area_load(const VdsGuestArea *area, uint64_t offset, void *to, size_t len,
                         GError **error)
{
    if (!vds_guest_map_read(area->map, area->gpa + offset, to, len, error)) {
        return false;
    }
    /* Makes every load of an area an acquire: who is slow already need not choose. */
    atomic_thread_fence(memory_order_acquire);
    return true;
}

bool vds_guest_area_store(const VdsGuestArea *area, uint64_t offset, const void *from,
                          size_t len, GError **error)
{
    atomic_thread_fence(memory_order_release);
    return map_write(area->map, area->gpa + offset, from, len, error);
}
