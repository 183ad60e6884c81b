/*
 * vring: the split and the packed virtqueue (virtio 1.2, 2.7 and 2.8).
 *
 * For now what a query needs: the state of a queue as a plain struct and one chain of
 * descriptors read from guest memory, bounded and each word once, whatever is in there.
 * Knows no device, no feature word and no JSON.
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
