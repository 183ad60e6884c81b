/*
 * vring: what the two ring formats have to offer, and what they share.
 */
#pragma once

#include "vds/vring.h"

#define VDS_DESC_SIZE 16u /* bytes of one descriptor, both formats */
/* An entry's index in a table has 16 bits. */
#define VDS_INDIRECT_MAX 65536u

/* A ring format (virtio 1.2, 2.7: split, 2.8: packed).  Sizes in bytes. */
typedef struct {
    uint32_t (*avail_size)(const VdsQueueState *queue);
    uint32_t (*used_size)(const VdsQueueState *queue);
    /* Fills a zeroed chain; slot < num, and all three areas are known to be mapped. */
    bool (*read_chain)(const VdsQueueState *queue, uint16_t slot, VdsChain *chain,
                       GError **error);
} VdsRingOps;

/* The format of a queue. */
const VdsRingOps *vds_ring_ops(const VdsQueueState *queue);

extern const VdsRingOps vds_split_ops;
extern const VdsRingOps vds_packed_ops;

/* 16-bit words of an area, in host byte order. */
bool vds_ring_read_u16(const VdsQueueState *queue, uint64_t gpa, uint16_t *to, size_t n,
                       GError **error);

/* The fields of a descriptor, from its two words as little-endian loads. */
VdsDesc vds_split_desc(const VdsQueueState *queue, uint64_t word0, uint64_t word1);
VdsDesc vds_packed_desc(const VdsQueueState *queue, uint64_t word0, uint64_t word1);

/* An indirect table's number of entries.  INDIRECT_LEN, INDIRECT. */
bool vds_indirect_check(const VdsQueueState *queue, const VdsDesc *head, uint32_t *n,
                        GError **error);

/* Appends; `cap` is the room in chain->descs, which grows geometrically. */
void vds_chain_append(VdsChain *chain, size_t *cap, const VdsDesc *desc);
