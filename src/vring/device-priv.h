/*
 * vring: the device's side of a ring, as its two formats see it.
 */
#pragma once

#include "live-priv.h"

/* A request and what the ring keeps of it.  Recycled: spans keep their room. */
typedef struct Request {
    VdsRequest pub;              /* first: the caller's pointer */
    VdsVring *ring;              /* whose outstanding it is */
    struct Request *next, *prev; /* in the pool (next), or by age */
    VdsSpan *spans;
    uint32_t cap;
    uint32_t written;
    bool done; /* pushed; in order it may still wait for an older one */
} Request;

typedef struct {
    /* Is there a request at last_avail?  Acquires what the driver stored before. */
    bool (*has_available)(VdsVring *ring, bool *available, GError **fault);
    /* Reads it, has_available() just said so, into an emptied request and moves on. */
    bool (*take)(VdsVring *ring, Request *request, GError **fault);
    void (*put_back)(VdsVring *ring, const Request *request); /* the last one taken */
    bool (*push)(VdsVring *ring, const Request *request, GError **fault);
    bool (*publish)(VdsVring *ring, GError **fault);
    bool (*should_interrupt)(VdsVring *ring, bool *interrupt, GError **fault);
    /* Asks for a kick at last_avail, or for none. */
    bool (*arm)(VdsVring *ring, GError **fault);
    bool (*disarm)(VdsVring *ring, GError **fault);
} VdsVringOps;

struct VdsVring {
    const VdsVringOps *ops;
    VdsGuestMap *map; /* owned */
    VdsRingAreas areas;
    uint32_t num;
    bool event_idx, indirect, in_order;
    bool log;         /* mark what is written here */
    uint64_t log_gpa; /* of the used area, for the log */
    bool notify;      /* kicks are wanted */
    bool armed;       /* and the driver was told to kick for last_avail */

    uint16_t last_avail, shadow_avail;
    bool avail_wrap;     /* packed */
    uint64_t head_word1; /* packed: of last_avail, as has_available() read it */

    uint16_t used_idx;    /* published */
    bool used_wrap;       /* packed */
    uint32_t unpublished; /* used entries pushed since; packed: slots */
    uint64_t first_word1; /* packed: what makes the first of them visible */

    uint32_t inuse; /* popped and not published: requests; packed: slots */
    uint16_t signalled_used;
    bool signalled_used_valid;
    uint32_t moved; /* packed: slots published since the driver's event was looked at */

    Request **outstanding; /* [num] by id; NULL: not with the device */
    Request *pool;         /* emptied ones */
    Request *oldest, *youngest;
};

/* For the log: bytes of the used area, or a slot of a packed ring, were written. */
static inline void vds_vring_wrote_used(const VdsVring *ring, uint64_t offset,
                                        uint64_t len)
{
    if (G_UNLIKELY(ring->log)) {
        vds_guest_map_mark(ring->map, ring->log_gpa + offset, len);
    }
}

static inline void vds_vring_wrote_slot(const VdsVring *ring, uint16_t slot)
{
    if (G_UNLIKELY(ring->log)) {
        vds_guest_map_mark(ring->map, ring->areas.desc.gpa + UINT64_C(16) * slot + 8, 8);
    }
}

extern const VdsVringOps vds_vring_split_ops;
extern const VdsVringOps vds_vring_packed_ops;

/* What a chain is collected with. */
typedef struct {
    VdsVring *ring;
    Request *request;
    uint32_t limit; /* descriptors */
} Walk;

/* Appends a descriptor's buffer: S9 to S13, I6.  `where` names it in a message. */
bool vds_walk_add(const Walk *walk, const VdsDesc *desc, uint32_t i, GError **fault);
/* The table that a descriptor refers to: I1, I3, I5.  *n is its length. */
bool vds_walk_table(const Walk *walk, const VdsDesc *desc, VdsGuestArea *table,
                    uint32_t *n, GError **fault);
/* Behind the last entry of it: R6 if it vanished, whatever its zeroes looked like. */
bool vds_walk_end(const VdsGuestArea *table, bool ok, GError **fault);
/* Descriptor i of an area, each word read once. */
bool vds_area_read_desc(const VdsGuestArea *area, uint32_t i, uint64_t words[2],
                        GError **fault);
