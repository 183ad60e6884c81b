/*
 * vring: the split and the packed virtqueue (virtio 1.2, 2.7 and 2.8).
 *
 * What a query needs: the state of a queue as a plain struct and one chain of
 * descriptors read from guest memory, bounded and each word once, whatever is in there.
 * And live rings, the device's side and the driver's, which believe nothing that the
 * other side wrote.  Knows no device, no feature word and no JSON.
 */
#pragma once

#include "vds/guestmem.h"

#define VDS_VRING_ERROR (vds_vring_error_quark())
GQuark vds_vring_error_quark(void);
typedef enum {
    VDS_VRING_ERROR_NO_RING,      /* Region caches not initialized */
    VDS_VRING_ERROR_DESC_RING,    /* Cannot map descriptor ring */
    VDS_VRING_ERROR_AVAIL_RING,   /* Cannot map avail ring */
    VDS_VRING_ERROR_USED_RING,    /* Cannot map used ring */
    VDS_VRING_ERROR_INDIRECT,     /* Cannot map indirect buffer */
    VDS_VRING_ERROR_HEAD,         /* S1: head beyond the ring, both numbers in the text */
    VDS_VRING_ERROR_INDIRECT_LEN, /* I3: shorter than one descriptor, or over 65,536 of
                                     them */
    VDS_VRING_ERROR_NUM,          /* C1: a ring size of 0 or over VDS_VRING_MAX_NUM */
    VDS_VRING_ERROR_INFLIGHT,     /* V8: a region for requests in flight that is none */
} VdsVringError;

#define VDS_VRING_MAX_NUM 32768 /* virtio 1.2, 2.7 and 2.8 */

/* Descriptor flags of both formats (virtio 1.2, 2.7.5 and 2.8.1). */
enum {
    VDS_DESC_F_NEXT = 1,
    VDS_DESC_F_WRITE = 2,
    VDS_DESC_F_INDIRECT = 4,
    VDS_DESC_F_AVAIL = 1 << 7, /* packed */
    VDS_DESC_F_USED = 1 << 15, /* packed */
};

/* Where the indices come from; a QOM property, not part of a reply. */
typedef enum {
    VDS_INDEX_OWNED,    /* this process is the device */
    VDS_INDEX_RECORDED, /* a file */
    VDS_INDEX_INFERRED, /* watched: the best guess from the ring's memory */
} VdsIndexSource;

/* The vhost side of a queue: what a back-end was told. */
typedef struct {
    int64_t kick, call;         /* descriptors, as they were recorded or are held */
    uint64_t desc, avail, used; /* in the front-end's address space */
} VdsVhostQueue;

/* The device's private words of one queue.  Plain and O(1) to copy; whoever keeps one
 * beyond the call holds a reference to the map. */
typedef struct {
    bool packed;
    bool big_endian; /* legacy guests of big-endian machines (virtio 1.2, 2.4.3) */
    bool event_idx;  /* VIRTIO_F_EVENT_IDX was negotiated */
    uint32_t num, num_default, align;
    uint64_t desc, avail, used; /* gpa; 0: not set up.  Packed: descriptor ring, driver
                                   and device event areas */
    bool has_last_avail, has_shadow_avail;
    uint16_t last_avail_idx, shadow_avail_idx, used_idx;
    bool has_wraps; /* packed: the two below are known */
    bool last_avail_wrap, used_wrap;
    uint32_t inuse;
    uint16_t signalled_used;
    bool signalled_used_valid;
    bool has_vhost; /* inside the vhost device's range */
    VdsVhostQueue vhost;
    VdsIndexSource source;
    VdsGuestMap *map; /* (nullable) borrowed unless said otherwise */
} VdsQueueState;

/* One descriptor as it is in the ring, in host byte order. */
typedef struct {
    uint64_t addr;
    uint32_t len;
    uint16_t flags; /* all 16 bits */
    uint16_t next;  /* split: next; packed: id */
} VdsDesc;

/* One chain with the ring's flag and event words, each read once.
 * Split: slot is the position in the avail ring, id the head descriptor found there.
 * Packed: slot is the position in the descriptor ring, id that of the chain's last
 * direct descriptor; the flag and index words are those of the event areas (flags and
 * off_wrap, virtio 1.2, 2.8.10). */
typedef struct {
    bool packed;
    uint16_t slot;
    uint16_t id;
    uint16_t avail_flags, avail_idx;
    uint16_t used_flags, used_idx;
    bool indirect; /* descs is the indirect table's content */
    VdsDesc head;  /* the first direct descriptor, also when indirect */
    size_t n;
    VdsDesc *descs; /* in chain order */
} VdsChain;

void vds_chain_free(VdsChain *chain); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsChain, vds_chain_free)

/* Reads the chain at `index` modulo num (has_index false: last_avail_idx, 0 if unknown).
 * Never asks whether the slot is available.  Bounded by num, or by the indirect table:
 * split follows next and stops after len/16 entries, packed takes all len/16.
 * Errors are those above, in their order (NUM after NO_RING), and what reading memory
 * may run into (VDS_GUESTMEM_ERROR_VANISHED).  (transfer full) */
VdsChain *vds_chain_read(const VdsQueueState *queue, bool has_index, uint16_t index,
                         GError **error);

/* Sizes of the three areas in bytes (virtio 1.2, 2.7 and 2.8.10); num at most
 * VDS_VRING_MAX_NUM. */
uint32_t vds_queue_desc_size(const VdsQueueState *queue);
uint32_t vds_queue_avail_size(const VdsQueueState *queue);
uint32_t vds_queue_used_size(const VdsQueueState *queue);

/* ---- rules --------------------------------------------------------------------------
 */

/* What the two sides of a ring may not do to each other, by stable ids: C configuration,
 * S split (and what holds for both formats), I indirect tables, P packed, R reading. */
typedef enum {
    VDS_RULE_C1,
    VDS_RULE_C2,
    VDS_RULE_C3,
    VDS_RULE_C4,
    VDS_RULE_C5,
    VDS_RULE_S1,
    VDS_RULE_S2,
    VDS_RULE_S3,
    VDS_RULE_S4,
    VDS_RULE_S5,
    VDS_RULE_S6,
    VDS_RULE_S7,
    VDS_RULE_S8,
    VDS_RULE_S9,
    VDS_RULE_S10,
    VDS_RULE_S11,
    VDS_RULE_S12,
    VDS_RULE_S13,
    VDS_RULE_S14,
    VDS_RULE_S15,
    VDS_RULE_S16,
    VDS_RULE_S17,
    VDS_RULE_I1,
    VDS_RULE_I2,
    VDS_RULE_I3,
    VDS_RULE_I4,
    VDS_RULE_I5,
    VDS_RULE_I6,
    VDS_RULE_P1,
    VDS_RULE_P2,
    VDS_RULE_P3,
    VDS_RULE_P4,
    VDS_RULE_P5,
    VDS_RULE_P6,
    VDS_RULE_P7,
    VDS_RULE_P8,
    VDS_RULE_P9,
    VDS_RULE_R6,
    VDS_RULE_R7,
    VDS_RULE_R8,
    VDS_RULE_COUNT
} VdsRule;

typedef enum {
    VDS_RULE_BY_DEVICE = 1 << 0, /* the device's side faults */
    VDS_RULE_BY_DRIVER = 1 << 1, /* the driver's side faults */
} VdsRuleSides;

typedef struct {
    const char *id;   /* "S1" */
    const char *text; /* what is wrong */
    unsigned refused; /* VdsRuleSides; 0: allowed */
    const char
        *why; /* (nullable) why it is allowed, or refused without being forbidden */
} VdsRuleInfo;

const VdsRuleInfo *vds_rule_info(VdsRule rule); /* rule < VDS_RULE_COUNT */

/* A fault: the other side broke a rule.  The code is the VdsRule and the message begins
 * with its id: "S1: head 999 is outside the ring of 8". */
#define VDS_VRING_FAULT (vds_vring_fault_quark())
GQuark vds_vring_fault_quark(void);

/* ---- live rings ---------------------------------------------------------------------
 */

/* Both sides are plain objects without a lock: the caller serialises calls on one object;
 * the two sides of a ring need nothing but the ring.  Little-endian only.  The map must
 * be writable and is referenced.  After a fault the object answers as before it; whether
 * to go on is the caller's to decide. */

enum {
    VDS_VRING_INDIRECT = 1 << 0, /* VIRTIO_F_INDIRECT_DESC was negotiated */
    VDS_VRING_IN_ORDER = 1 << 1, /* VIRTIO_F_IN_ORDER was */
    VDS_VRING_NOTIFY_ON_EMPTY = 1
                                << 2, /* VIRTIO_F_NOTIFY_ON_EMPTY was; split rings only */
};

/* Spans of one request; a table longer than the ring is allowed up to here (I6). */
#define VDS_VRING_CHAIN_MAX 1024

/* A piece of guest memory; may cross regions that touch. */
typedef struct {
    uint64_t gpa;
    uint32_t len; /* not 0 */
} VdsSpan;

/* A driver's buffer as the device got it. */
typedef struct {
    uint16_t id;                  /* split: the head; packed: the buffer id */
    uint16_t slots;               /* of the ring that it holds; split: 1 */
    uint32_t n_out, n_in;         /* spans that the device reads, and writes */
    const VdsSpan *spans;         /* n_out, then n_in; each was mapped at the pop */
    uint64_t out_bytes, in_bytes; /* together at most 2^32 */
    uint32_t written;             /* the caller's word, for vds_vring_push_some() */
    void *extra;                  /* the caller's: see vds_vring_set_extra() */
} VdsRequest;

/* Only for those that vds_vring_free() left to the caller.  NULL is fine. */
void vds_request_free(VdsRequest *request);

/* -- the device's side -- */

typedef struct VdsVring VdsVring;

/* From setup: map, desc, avail, used, num, packed, event_idx; to go on where a ring was
 * stopped last_avail_idx and used_idx (if has_last_avail), and the wraps (if has_wraps;
 * both true otherwise).  Faults C1 to C4, R6 to R8. */
VdsVring *vds_vring_new(const VdsQueueState *setup, unsigned flags, GError **fault);
/* Before the first pop: each request has room for so many bytes of the caller's own,
 * aligned as a pointer is, and undefined after a pop. */
void vds_vring_set_extra(VdsVring *ring, size_t bytes);
/* NULL is fine.  Requests that were popped and not pushed stay the caller's. */
void vds_vring_free(VdsVring *ring);
/* The same for requests; the ring is there to be looked at, and for nothing else. */
void vds_vring_abandon(VdsVring *ring);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsVring, vds_vring_free)

/* The next available request; *request NULL (and true) when there is none.  It is the
 * caller's until pushed or unpopped.  A fault moves nothing.  While notification is
 * enabled, NULL also means: the driver will kick for the next one. */
bool vds_vring_pop(VdsVring *ring, VdsRequest **request, GError **fault);
/* The same for up to max of them: *n, also with a fault, which is the next one's; but R6
 * is of all, and then there are none. */
bool vds_vring_pop_some(VdsVring *ring, VdsRequest **requests, size_t max, size_t *n,
                        GError **fault);
/* Requests whose spans take too much room make a ring say that nothing is available,
 * until some come back.  true, once: there is room again, and something may be there for
 * which no kick comes. */
bool vds_vring_take_room(VdsVring *ring);
/* Puts back the one that was popped last. */
void vds_vring_unpop(VdsVring *ring, VdsRequest *request);
/* Writes the used entry; the driver sees it from the next publish on.  written is at most
 * request->in_bytes.  The request is consumed, also by a fault (R6). */
bool vds_vring_push(VdsVring *ring, VdsRequest *request, uint32_t written,
                    GError **fault);
/* The same for n of them, each with what its `written` says. */
bool vds_vring_push_some(VdsVring *ring, VdsRequest *const *requests, size_t n,
                         GError **fault);
/* Shows the driver all that was pushed, at once.  *interrupt: it wants to be told.
 * Faults P5 to P7, R6. */
bool vds_vring_publish(VdsVring *ring, bool *interrupt, GError **fault);
/* The same without the question: the next publish asks it, for these as well. */
bool vds_vring_show(VdsVring *ring, GError **fault);
/* As publish, and asks the driver even if nothing was pushed: an interrupt too many, as
 * some of QEMU's devices send and their drivers know. */
bool vds_vring_notify(VdsVring *ring, bool *interrupt, GError **fault);
/* Asks for kicks, or spares them (a hint); starts enabled.  *more (nullable): something
 * is available already, and no kick need come for it. */
bool vds_vring_set_notify(VdsVring *ring, bool enable, bool *more, GError **fault);
bool vds_vring_has_available(VdsVring *ring, bool *available, GError **fault); /* S4 */
/* Could the ring lie in setup's map, at its desc, avail and used?  Faults C2 to C4, R6,
 * R8.
 */
bool vds_vring_fits(const VdsVring *ring, const VdsQueueState *setup, GError **fault);
/* Goes on in setup's map, at its desc, avail and used; indices and requests stay.  Faults
 * C2 to C4, R6, R8: then nothing changed. */
bool vds_vring_move(VdsVring *ring, const VdsQueueState *setup, GError **fault);
/* On: what is written to the used area is marked in the map's log as if the area began at
 * gpa (vhost-user: VHOST_VRING_F_LOG); a packed ring's descriptors where they are. */
void vds_vring_set_log(VdsVring *ring, bool on, uint64_t gpa);
/* Fills in what a ring knows: all but num_default, align, the vhost part and source.  The
 * map is borrowed.  `inuse` counts requests (split) or slots (packed), as QEMU does. */
void vds_vring_get_state(const VdsVring *ring, VdsQueueState *state);

/* -- requests that outlive the process -- */

/* Memory that a front-end keeps for its back-ends, one after another: which requests a
 * device has (vhost-user: GET_INFLIGHT_FD).  It is written in an order in which a
 * back-end may die at any instruction: the next one begins with what was not given back,
 * in the order in which it came, and gives nothing back twice. */
typedef struct VdsInflight VdsInflight;

typedef struct {
    bool packed;
    uint16_t n_queues, queue_size; /* not 0; at most VDS_VRING_MAX_NUM */
} VdsInflightShape;

/* Bytes that the queues of such a shape have.  V8. */
bool vds_inflight_get_len(const VdsInflightShape *shape, uint64_t *len, GError **error);
/* A descriptor (transfer full) of that many zeroes; -1: V8, or MAP. */
int vds_inflight_create(const VdsInflightShape *shape, GError **error);
/* What a front-end sends: `where` it lies, gpa and uva do not count.  V8, or an error of
 * VDS_GUESTMEM_ERROR. */
VdsInflight *vds_inflight_new(const VdsInflightShape *shape, const VdsGuestRegion *where,
                              GError **error);
VdsInflight *vds_inflight_ref(VdsInflight *inflight); /* atomic count; NULL gives NULL */
void vds_inflight_unref(VdsInflight *inflight);       /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsInflight, vds_inflight_unref)

/* For a ring that has just been made: queue n of the region (referenced) says where it
 * goes on, unless nobody has used it yet.  What was in flight is popped first.  V8. */
bool vds_vring_set_inflight(VdsVring *ring, VdsInflight *inflight, unsigned n,
                            GError **error);

/* -- the driver's side: one piece for guests, tests, fuzzers and benchmarks -- */

typedef struct VdsDriverRing VdsDriverRing;

/* Room for indirect tables in guest memory: one of `entries` descriptors of 16 bytes for
 * each of the ring's num. */
typedef struct {
    uint64_t gpa;
    uint32_t entries;
} VdsDriverTables;

/* Zeroes the three areas.  tables (nullable): without them every buffer is direct.
 * Faults as vds_vring_new(). */
VdsDriverRing *vds_driver_ring_new(const VdsQueueState *setup, unsigned flags,
                                   const VdsDriverTables *tables, GError **fault);
void vds_driver_ring_free(VdsDriverRing *ring); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsDriverRing, vds_driver_ring_free)

typedef struct {
    const VdsSpan *spans; /* n_out that the device reads, then n_in that it writes */
    uint32_t n_out, n_in; /* together not 0 */
    void *token;          /* not NULL: comes back when the buffer is used */
} VdsBuffer;

typedef struct {
    void *token;      /* NULL: none */
    uint32_t written; /* by the device's word; at most what it may write (S8) */
} VdsUsed;

uint32_t vds_driver_ring_get_free(const VdsDriverRing *ring);    /* descriptors */
uint32_t vds_driver_ring_get_pending(const VdsDriverRing *ring); /* buffers not back */

/* Makes a buffer available, visible at once.  As in Linux more than one span goes into a
 * table when there is one that is long enough.  *added false (and true): no room. */
bool vds_driver_ring_add(VdsDriverRing *ring, const VdsBuffer *buffer, bool *added,
                         GError **fault);
/* Once after one or more adds: does the device want a kick?  P5 to P7, R6. */
bool vds_driver_ring_should_kick(VdsDriverRing *ring, bool *kick, GError **fault);
/* The next used buffer; used->token NULL (and true) when there is none.  While interrupts
 * are enabled, NULL also means: one will come for the next.  Faults S5, S7, S8, P2, P9,
 * R6: the device lied. */
bool vds_driver_ring_get_used(VdsDriverRing *ring, VdsUsed *used, GError **fault);
/* Asks for interrupts, or spares them (a hint); starts enabled.  *more (nullable):
 * something is used already. */
bool vds_driver_ring_set_interrupts(VdsDriverRing *ring, bool enable, bool *more,
                                    GError **fault);
/* After the device was reset: the token of a buffer that it still had; NULL: none left.
 */
void *vds_driver_ring_take_back(VdsDriverRing *ring);
