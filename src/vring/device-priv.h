/*
 * vring: the device's side of a ring, as its two formats see it.
 */
#pragma once

#include "live-priv.h"

typedef struct VdsTracker VdsTracker;

/* A request and what the ring keeps of it.  Recycled: spans keep their room. */
typedef struct Request {
    VdsRequest pub;              /* first: the caller's pointer */
    VdsVring *ring;              /* whose outstanding it is */
    struct Request *next, *prev; /* in the pool (next), or by age (in order) */
    VdsSpan *spans;
    uint32_t cap;
    bool done;       /* pushed; in order it may still wait for an older one */
    uint16_t behind; /* last_avail when it had been popped */
    bool again;      /* it was in flight when another device ended */
    uint16_t entry;  /* in the region for requests in flight */
} Request;

/* A format's steps.  Is there a request at last_avail?  Acquires what the driver stored
 * before. */
typedef bool (*HasAvailableFunc)(VdsVring *ring, bool *available, GError **fault);
/* Reads it, it was just said to be there, into an emptied request and moves on. */
typedef bool (*TakeFunc)(VdsVring *ring, Request *request, GError **fault);
/* Writes its used entry, which the driver sees with the batch. */
typedef bool (*PushFunc)(VdsVring *ring, const Request *request, GError **fault);

typedef struct {
    HasAvailableFunc has_available;
    /* Appends to requests[*n] what is available, until there are max. */
    bool (*take_some)(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                      GError **fault);
    void (*put_back)(VdsVring *ring, const Request *request); /* the last one taken */
    /* Makes the request of an entry of the region for requests in flight; last_avail and
     * inuse count it already. */
    bool (*take_again)(VdsVring *ring, Request *request, uint16_t entry, GError **fault);
    bool (*push_some)(VdsVring *ring, VdsRequest *const *requests, size_t n,
                      GError **fault);
    bool (*publish)(VdsVring *ring, GError **fault);
    bool (*should_interrupt)(VdsVring *ring, bool *interrupt, GError **fault);
    /* Asks for a kick at last_avail, or for none. */
    bool (*arm)(VdsVring *ring, GError **fault);
    bool (*disarm)(VdsVring *ring, GError **fault);
} VdsVringOps;

struct VdsVring {
    const VdsVringOps *ops;
    VdsGuestMap *map; /* owned */
    VdsGuestWindow window;
    VdsRingAreas areas;
    uint32_t num;
    bool event_idx, indirect, in_order;
    bool log;         /* mark what is written here */
    bool tells;       /* the map's log has somebody to tell, perhaps */
    uint64_t log_gpa; /* of the used area, for the log */
    bool notify;      /* kicks are wanted */
    bool armed;       /* and the driver was told to kick for last_avail */

    uint16_t last_avail, shadow_avail;
    bool avail_wrap;     /* packed */
    uint64_t head_word1; /* packed: of last_avail, as has_available() read it */

    uint16_t used_idx;    /* published */
    bool used_wrap;       /* packed */
    uint32_t unpublished; /* used entries pushed since; packed: slots */
    bool untold;          /* some were shown, and the driver not asked about them */
    uint64_t first_word1; /* packed: what makes the first of them visible */

    uint32_t inuse; /* popped and not published: requests; packed: slots */
    uint16_t signalled_used;
    bool signalled_used_valid;
    uint32_t moved; /* packed: slots published since the driver's event was looked at */

    VdsTracker *tracker;        /* (nullable) owned: of requests in flight */
    bool notify_on_empty;       /* split */
    Request **outstanding;      /* [n_ids] by id; NULL: not with the device */
    uint32_t n_ids;             /* num, or all that a packed ring's 16 bits can name */
    size_t extra;               /* bytes behind each request */
    Request *pool;              /* ones to be used again */
    uint32_t n_spans;           /* room for them, of all requests */
    bool was_full;              /* a pop came back short for want of it */
    Request *oldest, *youngest; /* in order */
};

/* A packed ring's driver names buffers as it likes: makes room for every id. */
void vds_vring_widen_ids(VdsVring *ring);

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

/* Bytes of one request. */
#define VDS_REQUEST_MAX (UINT64_C(1) << 32)

/* Room for spans, of one ring: with so much of it nothing more is popped until requests
 * come back, and those that come back keep theirs while it is less than the other.  A
 * chain may have 32768 spans of a byte, and QEMU's longest chain 1024. */
enum { VDS_VRING_SPANS_MAX = 128 * 1024, VDS_VRING_SPANS_KEEP = 64 * 1024 };

static inline bool vds_vring_is_full(VdsVring *ring)
{
    if (G_LIKELY(ring->n_spans < VDS_VRING_SPANS_MAX)) {
        return false;
    }
    ring->was_full = true;
    return true;
}

void vds_walk_grow(Request *request);
/* Gives its spans back. */
void vds_request_shrink(Request *request);
/* Which of S9 to S13 and I6 a descriptor breaks, one of them; false. */
bool vds_walk_refuse(const Walk *walk, const VdsDesc *desc, uint32_t i, GError **fault);

/* Appends a descriptor's buffer.  `i` names it in a message. */
static inline bool vds_walk_add(const Walk *walk, const VdsDesc *desc, uint32_t i,
                                GError **fault)
{
    VdsRequest *request = &walk->request->pub;
    bool writable = desc->flags & VDS_DESC_F_WRITE;
    uint32_t n = request->n_out + request->n_in;

    if (G_UNLIKELY(desc->len == 0 || (!writable && request->n_in > 0) ||
                   !vds_guest_window_has(&walk->ring->window, desc->addr, desc->len) ||
                   request->out_bytes + request->in_bytes + desc->len > VDS_REQUEST_MAX ||
                   n >= walk->limit)) {
        return vds_walk_refuse(walk, desc, i, fault);
    }
    if (G_UNLIKELY(n == walk->request->cap)) {
        vds_walk_grow(walk->request);
    }
    walk->request->spans[n] = (VdsSpan){desc->addr, desc->len};
    *(writable ? &request->n_in : &request->n_out) += 1;
    *(writable ? &request->in_bytes : &request->out_bytes) += desc->len;
    return true;
}
/* The table that a descriptor refers to: I1, I3, I5.  *n is its length. */
bool vds_walk_table(const Walk *walk, const VdsDesc *desc, VdsGuestArea *table,
                    uint32_t *n, GError **fault);
/* Behind the last entry of it: R6 if it vanished, whatever its zeroes looked like. */
bool vds_walk_end(const VdsGuestArea *table, bool ok, GError **fault);
/* Descriptor i of an area, each word read once. */
static inline bool vds_area_read_desc(const VdsGuestArea *area, uint32_t i,
                                      uint64_t words[2], GError **fault)
{
    uint64_t offset = UINT64_C(16) * i;

    return vds_guest_area_load_u64(area, offset, &words[0], fault) &&
           vds_guest_area_load_u64(area, offset + 8, &words[1], fault);
}

/* ---- requests in flight (vhost-user: inflight I/O tracking) ---- */

/* What one format writes into its queue's part of the region, and in which order. */
typedef struct {
    uint64_t header, entry; /* bytes */
    void (*init)(VdsVring *ring);
    /* Commits or rolls back what the last device was about; lists what is in flight, and
     * moves the ring behind it. */
    bool (*recover)(VdsVring *ring, GError **error);
    void (*take)(VdsVring *ring, Request *request);
    void (*put_back)(VdsVring *ring, const Request *request);
    /* Around what makes a batch of used entries visible. */
    void (*before)(VdsVring *ring);
    void (*after)(VdsVring *ring);
} VdsTrackerOps;

typedef struct {
    uint64_t counter; /* the order in which they came */
    uint16_t entry, slots;
} InFlight;

struct VdsTracker {
    const VdsTrackerOps *ops;
    VdsInflight *inflight; /* owned */
    VdsGuestArea area;     /* the queue's part */
    uint32_t n_entries;
    uint64_t counter; /* of the next request */
    InFlight *again;  /* [n_again] those from n_taken on are to be popped */
    uint32_t n_again, n_taken;
    uint16_t *batch; /* [n_batch] entries that were pushed and not published */
    uint32_t n_batch;
    uint16_t last_batch_head; /* split */
    /* Packed; nothing of it is read back from the region. */
    uint16_t *next, *last; /* [n_entries] of a free or a request's list; of its head */
    uint16_t free_head;
    VdsDesc *descs; /* [num] of the list that was read last */
};

enum {
    TRACK_VERSION = 8, /* offsets of both formats' headers; le16 each */
    TRACK_DESC_NUM = 10,
    TRACK_VERSION_1 = 1,
};

extern const VdsTrackerOps vds_tracker_split_ops;
extern const VdsTrackerOps vds_tracker_packed_ops;

void vds_tracker_free(VdsTracker *tracker); /* NULL is fine */
/* Words of the region, each in the order of the program for whoever comes after us. */
uint16_t vds_tracker_get16(const VdsTracker *tracker, uint64_t offset);
uint64_t vds_tracker_get64(const VdsTracker *tracker, uint64_t offset);
void vds_tracker_put16(const VdsTracker *tracker, uint64_t offset, uint16_t word);
void vds_tracker_put32(const VdsTracker *tracker, uint64_t offset, uint32_t word);
void vds_tracker_put64(const VdsTracker *tracker, uint64_t offset, uint64_t word);
bool vds_tracker_fault(GError **error, const char *format, ...)
    G_GNUC_PRINTF(2, 3); /* V8; always false */
/* To the list of what is in flight. */
void vds_tracker_add(VdsTracker *tracker, const InFlight *request);
/* The next request that was in flight, or NULL. */
const InFlight *vds_tracker_peek(const VdsTracker *tracker /* (nullable) */);
/* A copy; entry < n_entries. */
VdsDesc vds_tracker_packed_desc(const VdsTracker *tracker, uint16_t entry);
/* A list of a packed ring as it is read. */
static inline void vds_tracker_note(const VdsVring *ring, uint32_t count,
                                    const VdsDesc *desc)
{
    if (G_UNLIKELY(ring->tracker)) {
        ring->tracker->descs[count] = *desc;
    }
}
