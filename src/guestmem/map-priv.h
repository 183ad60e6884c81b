/*
 * guestmem: what the map's two halves share, making it and reaching through it.
 *
 * Guest addresses are inclusive ranges inside: [gpa, last], so that a region may end at
 * 2^64.
 */
#pragma once

#include <stdatomic.h>

#include "vds/guestmem.h"

#include "sigbus-priv.h"

typedef enum {
    VDS_MAP_READ_ONLY,     /* an inspector cannot corrupt by accident (R8) */
    VDS_MAP_WRITABLE,      /* shared with whoever maps the file */
    VDS_MAP_RAM,           /* the same for RAM of our own, which a file may give back */
    VDS_MAP_COPY_ON_WRITE, /* what is written stays here */
} VdsMapMode;

/* How whole pages of a region go back to the system and read as zeroes after. */
typedef enum {
    VDS_RECLAIM_NOTHING,  /* they do not: zeroes are written */
    VDS_RECLAIM_DONTNEED, /* anonymous memory */
    VDS_RECLAIM_REMOVE,   /* a hole in a shared file */
} VdsReclaim;

/* Host memory of one region, shared by all maps that have it. */
typedef struct {
    atomic_uint refs;
    void *base; /* what to unmap */
    size_t len;
    VdsGuestShare *share; /* (nullable) a reference: what `len` counts against */
    bool watched;
    VdsSigbusRange range; /* watched */
} VdsMapping;

typedef struct {
    VdsGuestRegion config; /* as given, fd -1: the number is no longer ours to name */
    uint64_t last;         /* its last address */
    uint64_t span_last;    /* the last address of the touching regions from here on */
    uint8_t *hva;          /* of gpa */
    VdsMapping *mapping;   /* (nullable) a reference; NULL: the memory is borrowed */
    bool guarded;          /* its owner can take pages away; watched if writable */
    VdsReclaim reclaim;
    uint64_t page; /* bytes; 0: borrowed */
} MapRegion;

struct VdsGuestMap {
    atomic_uint refs;
    VdsMapMode mode;
    VdsDirtyLog *log; /* (nullable) a reference */
    size_t n;
    MapRegion regions[]; /* by gpa */
};

/* The region that holds gpa, or NULL. */
static inline const MapRegion *map_find(const VdsGuestMap *map, uint64_t gpa)
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
static inline const MapRegion *map_find_span(const VdsGuestMap *map, uint64_t gpa,
                                             uint64_t len)
{
    const MapRegion *region = map_find(map, gpa);

    return region && len - 1 <= region->span_last - gpa ? region : NULL;
}

/* What vanished under a ring's words stays away, also from copies (and queries). */
static inline bool is_whole(const MapRegion *region, const uint8_t *hva, size_t len)
{
    const VdsMapping *mapping = region->mapping;

    atomic_thread_fence(memory_order_acquire);
    return !mapping->watched || __atomic_load_n(&mapping->range.gone, __ATOMIC_RELAXED) >=
                                    (uintptr_t)hva + len;
}

/* How much of [at, at + left) lies in the region, which holds `at`; left is not 0. */
static inline size_t piece_in(const MapRegion *region, uint64_t at, uint64_t left)
{
    return (size_t)MIN(left - 1, region->last - at) + 1;
}

VdsGuestMap *vds_guest_map_new_mode(const VdsGuestRegion *regions, size_t n,
                                    VdsMapMode mode, GError **error);

/* region.c: checks the region and maps what it names; region is zeroed. */
bool vds_region_init(MapRegion *region, const VdsGuestRegion *config, GError **error);
bool vds_region_map(MapRegion *region, const VdsGuestRegion *config, VdsMapMode mode,
                    GError **error);
/* One more user of the same host memory, and one less. */
MapRegion vds_region_share(const MapRegion *region);
void vds_region_clear(MapRegion *region);

/* log.c */
bool vds_dirty_log_reaches(const VdsDirtyLog *log, uint64_t last_gpa, GError **error);
void vds_dirty_log_mark(VdsDirtyLog *log, uint64_t gpa, uint64_t len); /* len not 0 */
void vds_dirty_log_tell(VdsDirtyLog *log);
