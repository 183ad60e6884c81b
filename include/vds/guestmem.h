/*
 * guestmem: guest-physical memory as an immutable, reference-counted map of regions.
 *
 * Translation, bounds, and reads that survive a region cut short by its owner (SIGBUS).
 * Knows nothing of rings.  Everything read is copied into a local once; no pointer into
 * guest memory leaves this room.
 */
#pragma once

#include "vds/util.h"

#define VDS_GUESTMEM_ERROR (vds_guestmem_error_quark())
GQuark vds_guestmem_error_quark(void);
typedef enum {
    VDS_GUESTMEM_ERROR_OVERLAP,  /* two regions share an address */
    VDS_GUESTMEM_ERROR_OVERFLOW, /* gpa + len or offset + len wraps, or len is 0 */
    VDS_GUESTMEM_ERROR_SHORT,    /* the file ends before offset + len */
    VDS_GUESTMEM_ERROR_MAP,      /* mmap failed, with the system's word */
    VDS_GUESTMEM_ERROR_UNMAPPED, /* an access outside every region */
    VDS_GUESTMEM_ERROR_VANISHED, /* the owner cut the region short (SIGBUS) */
} VdsGuestmemError;

/* `uva` is the front-end's own address of the region's start (vhost-user); 0 elsewhere.
 */
typedef struct {
    uint64_t gpa;
    uint64_t len; /* bytes, not 0 */
    int fd; /* borrowed: duplicated by no one, mapped at once; -1: anonymous zeroes */
    uint64_t offset; /* of the region's start in fd; need not be page-aligned */
    uint64_t uva;
} VdsGuestRegion;

typedef struct VdsGuestMap VdsGuestMap;

/* Maps the regions read-only and shared.  Any order; they may touch but not overlap. */
VdsGuestMap *vds_guest_map_new(const VdsGuestRegion *regions, size_t n, GError **error);
/* The same over caller-owned bytes (tests, fuzzers): hva[i] backs regions[i]. */
VdsGuestMap *vds_guest_map_new_from_memory(const VdsGuestRegion *regions, size_t n,
                                           void *const *hva, GError **error);
VdsGuestMap *vds_guest_map_ref(VdsGuestMap *map); /* atomic count; NULL gives NULL */
void vds_guest_map_unref(VdsGuestMap *map);       /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsGuestMap, vds_guest_map_unref)

size_t vds_guest_map_count(const VdsGuestMap *map);
/* By gpa; fd is -1, the map keeps no number.  (nullable) */
const VdsGuestRegion *vds_guest_map_nth(const VdsGuestMap *map, size_t n);

/* true if all of [gpa, gpa + len) is mapped; an end beyond 2^64 is not.  Touching regions
 * count as one; nothing (len 0) is mapped everywhere. */
bool vds_guest_map_has(const VdsGuestMap *map, uint64_t gpa, uint64_t len);

/* Copies `len` bytes, split at region borders.  UNMAPPED before the first byte is
 * copied if any is outside. */
bool vds_guest_map_read(const VdsGuestMap *map, uint64_t gpa, void *to, size_t len,
                        GError **error);
/* n little-endian words, into host order.  Every byte is read once; a word that one
 * region holds and that is aligned in the host is one relaxed atomic load.  UNMAPPED or
 * VANISHED as above, and the content of `to` is then undefined. */
bool vds_guest_map_read_u16(const VdsGuestMap *map, uint64_t gpa, uint16_t *to, size_t n,
                            GError **error);
bool vds_guest_map_read_u64(const VdsGuestMap *map, uint64_t gpa, uint64_t *to, size_t n,
                            GError **error);
