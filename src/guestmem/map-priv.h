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
