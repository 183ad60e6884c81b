/*
 * vring: the driver's side of a ring, as its two formats see it.
 *
 * What the device could spoil, the driver keeps a copy of: it reads nothing back from the
 * descriptors that it wrote.
 */
#pragma once

#include "live-priv.h"

/* By id: the head (split) or the buffer id (packed). */
typedef struct {
    void *token; /* NULL: not with the device */
    uint64_t in_bytes;
    uint16_t slots;   /* descriptors of the ring that it holds */
    uint16_t younger; /* the id added after it; in order only */
} BufferState;

typedef struct {
    /* Writes the descriptors and makes them available; room is known to be there, and
     * `table` (nullable) to be long enough.  *id is what the device will say. */
    bool (*add)(VdsDriverRing *ring, const VdsBuffer *buffer, bool table, uint16_t *id,
                GError **fault);
    bool (*has_used)(VdsDriverRing *ring, bool *used, GError **fault);
    /* The entry that has_used() found, which stands for at most `most` buffers in order.
     * S7 or P2: id < num after it. */
    bool (*read_used)(VdsDriverRing *ring, uint16_t *id, uint32_t *len, uint32_t *most,
                      GError **fault);
    /* Takes the buffer's descriptors back; `used`: and goes on to the next entry. */
    void (*recycle)(VdsDriverRing *ring, uint16_t id, bool used);
    bool (*should_kick)(VdsDriverRing *ring, bool *kick, GError **fault);
    /* Asks for an interrupt at last_used, or for none. */
    bool (*arm)(VdsDriverRing *ring, GError **fault);
    bool (*disarm)(VdsDriverRing *ring, GError **fault);
} VdsDriverOps;

struct VdsDriverRing {
    const VdsDriverOps *ops;
    VdsGuestMap *map; /* owned */
    VdsRingAreas areas;
    VdsGuestArea tables;
    uint32_t table_entries; /* 0: no tables */
    uint32_t num;
    bool event_idx, in_order;
    bool interrupts; /* are wanted */
    bool armed;      /* and the device was told to interrupt at last_used */

    BufferState *states; /* [num] */
    uint16_t *next;     /* [num]: of a free list, and of a buffer's descriptors (split) */
    uint32_t n_free;    /* descriptors */
    uint32_t n_pending; /* buffers */
    uint32_t n_listed;  /* in the free list: of ids (packed), or as n_free (split) */
    uint16_t free_head, free_tail;
    uint16_t oldest, youngest; /* in order, n_pending > 0 */

    uint16_t avail_idx; /* packed: the next slot */
    bool avail_wrap;
    uint32_t added; /* since the last question for a kick; packed: slots */

    uint16_t last_used, used_shadow; /* split: the idx that was read last */
    bool used_wrap;
    uint64_t used_word1; /* packed: of last_used, as has_used() read it */

    bool in_batch; /* in order: buffers up to batch_id are used */
    uint16_t batch_id;
    uint32_t batch_len;
};

extern const VdsDriverOps vds_driver_split_ops;
extern const VdsDriverOps vds_driver_packed_ops;

/* The free list; one is there. */
uint16_t vds_driver_take_free(VdsDriverRing *ring);
/* In order to the end: so descriptors go round in the ring's order (2.7.5). */
void vds_driver_give_free(VdsDriverRing *ring, uint16_t id);

/* Span i of a buffer; WRITE or 0. */
static inline unsigned buffer_flags(const VdsBuffer *buffer, uint32_t i)
{
    return i < buffer->n_out ? 0 : VDS_DESC_F_WRITE;
}

static inline uint32_t buffer_spans(const VdsBuffer *buffer)
{
    return buffer->n_out + buffer->n_in;
}
