/*
 * vring: the sizes of a queue's three areas, and the choice of its format.
 *
 * Knows no memory.  virtio 1.2, 2.7 and 2.8.
 */
#include "vring-priv.h"

const VdsRingOps *vds_ring_ops(const VdsQueueState *queue)
{
    return queue->packed ? &vds_packed_ops : &vds_split_ops;
}

uint32_t vds_queue_desc_size(const VdsQueueState *queue)
{
    return VDS_DESC_SIZE * queue->num;
}

uint32_t vds_queue_avail_size(const VdsQueueState *queue)
{
    return vds_ring_ops(queue)->avail_size(queue);
}

uint32_t vds_queue_used_size(const VdsQueueState *queue)
{
    return vds_ring_ops(queue)->used_size(queue);
}
