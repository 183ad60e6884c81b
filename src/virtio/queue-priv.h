/*
 * virtio: what a queue's requests and its turns share.
 */
#pragma once

#include "device-priv.h"

/* A fault of the driver's breaks the device. */
static inline void queue_report(VdsVirtQueue *queue, const GError *fault)
{
    if (fault) {
        vds_device_fault(queue->device, (int)queue->index, fault->message);
    }
}

/* May the device have its requests? */
static inline bool queue_is_served(const VdsVirtQueue *queue)
{
    return queue->device->active && queue->enabled &&
           !atomic_load_explicit(&queue->device->broken, memory_order_relaxed);
}

/* With the lock held: kicks on or off.  *more: something is available, and no kick need
 * come for it. */
static inline bool queue_set_kicks(VdsVirtQueue *queue, bool on, bool *more,
                                   GError **fault)
{
    *more = false;
    if (queue->notify == on) {
        return true;
    }
    queue->notify = on;
    return vds_vring_set_notify(queue->ring, on, more, fault);
}
