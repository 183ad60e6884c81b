/*
 * virtio: a queue that stops: no request is begun any more, those under way are waited
 * for, and then whoever asked is told where another device goes on.  Refuses to know why
 * it stops.  vhost-user: GET_VRING_BASE.
 */
#include "device-priv.h"

/* Who waits; and then what is posted to tell them. */
struct VdsQueueStop {
    VdsQueueStop *next;
    VdsMailbox *box;
    VdsQueueStoppedFunc done;
    void *user;
    unsigned n;
    uint32_t base;
};

static void tell_task(void *user)
{
    VdsQueueStop *stop = user;

    stop->done(stop->n, stop->base, stop->user);
    g_free(stop);
}

/* The queue's: of its ring, or where one would begin.  P10: a packed ring's has both
 * positions with their wrap counters. */
static uint32_t get_base(const VdsVirtioDevice *device, unsigned n)
{
    VdsQueueState state = {0};

    if (!vds_virtio_device_get_queue(device, n, &state)) {
        return 0;
    }
    if (!state.packed) {
        return state.last_avail_idx;
    }
    return state.last_avail_idx | (uint32_t)state.last_avail_wrap << 15 |
           (uint32_t)state.used_idx << 16 | (uint32_t)state.used_wrap << 31;
}

void vds_queue_end_stops(VdsVirtQueue *queue)
{
    VdsQueueStop *stop = g_steal_pointer(&queue->stops);
    uint32_t base = stop ? get_base(queue->device, queue->index) : 0;

    pthread_mutex_lock(&queue->lock);
    queue->draining = false;
    pthread_mutex_unlock(&queue->lock);
    while (stop) {
        VdsQueueStop *next = stop->next;

        stop->base = base;
        vds_mailbox_post(stop->box, tell_task, stop);
        stop = next;
    }
}

static uint32_t count_out(VdsVirtQueue *queue)
{
    VDS_LOCK_SCOPE(&queue->lock);

    return queue->ring ? queue->out : 0;
}

void vds_queue_drain(VdsVirtQueue *queue)
{
    const VdsDeviceOps *ops = queue->device->ops;

    if (!queue->stops) {
        return;
    }
    if (ops->queue_stop && count_out(queue) > 0) {
        ops->queue_stop(queue->device->instance, queue);
    }
    if (count_out(queue) == 0) {
        vds_virt_queue_flush(queue);
        vds_queue_end_stops(queue);
    }
}

typedef struct {
    VdsQueueCall call;
    VdsQueueStop *stop; /* until somebody else has it */
} StopCall;

static void stop_task(void *user)
{
    StopCall *call = user;
    VdsVirtQueue *queue = vds_queue_touch(&call->call);

    if (!queue) {
        return;
    }
    vds_device_lock(queue->device);
    queue->enabled = false;
    queue->discards = false;
    vds_device_unlock(queue->device);
    pthread_mutex_lock(&queue->lock);
    queue->draining = true;
    pthread_mutex_unlock(&queue->lock);
    call->stop->next = queue->stops;
    queue->stops = g_steal_pointer(&call->stop);
    vds_queue_drain(queue);
}

void vds_virtio_driver_stop_queue(VdsVirtioDevice *device, unsigned n, VdsMailbox *box,
                                  VdsQueueStoppedFunc done, void *user)
{
    StopCall call = {{.device = device, .n = n}, g_new0(VdsQueueStop, 1)};

    *call.stop = (VdsQueueStop){.box = box, .done = done, .user = user, .n = n};
    (void)vds_device_enter(device, stop_task, &call, NULL);
    if (call.stop) { /* there is no such queue, or no thread: nothing is under way */
        vds_mailbox_post(box, tell_task, call.stop);
    }
}
