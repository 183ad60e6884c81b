/*
 * guestmem: what the map's two halves share, making it and reaching through it.
 *
 * Guest addresses are inclusive ranges inside: [gpa, last], so that a region may end at
 * 2^64.
 */
#pragma once

#include <stdatomic.h>

#include "vds/guestmem.h"

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

typedef struct {
    VdsGuestRegion config; /* as given, fd -1: the number is no longer ours to name */
    uint64_t last;         /* its last address */
    uint64_t span_last;    /* the last address of the touching regions from here on */
    uint8_t *hva;          /* of gpa */
    void *base;            /* (nullable) what to unmap; NULL: the memory is borrowed */
    size_t base_len;
    bool guarded; /* its owner can take pages away */
    VdsReclaim reclaim;
    uint64_t page; /* bytes; 0: borrowed */
} MapRegion;

struct VdsGuestMap {
    atomic_uint refs;
    bool writable;
    size_t n;
    MapRegion regions[]; /* by gpa */
};

VdsGuestMap *vds_guest_map_new_mode(const VdsGuestRegion *regions, size_t n,
                                    VdsMapMode mode, GError **error);
