/*
 * virtio: a device whose I/O thread looks for requests instead of being kicked: its
 * enabled queues, one after another.  Refuses to know for how long.
 * virtio 1.2, 2.7.10 and 2.8.14: while we look the driver is told that kicks are spared.
 */
#include "device-priv.h"

static void begin(void *user)
{
    VdsVirtioDevice *device = user;

    device->polling = true;
}

static bool look(void *user)
{
    VdsVirtioDevice *device = user;
    bool found = false;

    vds_turn_begin(&device->turn);
    for (unsigned i = 0; device->active && i < device->n_queues; i++) {
        if (device->queues[i]) {
            found |= vds_queue_look(device->queues[i]);
        }
    }
    return found;
}

static bool end(void *user)
{
    VdsVirtioDevice *device = user;
    bool found = false;

    device->polling = false;
    vds_turn_begin(&device->turn);
    for (unsigned i = 0; device->queues && i < device->n_queues; i++) {
        if (device->queues[i]) {
            found |= vds_queue_ask_for_kicks(device->queues[i]);
        }
    }
    return found;
}

const VdsIoPollOps vds_device_poll_ops = {.begin = begin, .look = look, .end = end};
