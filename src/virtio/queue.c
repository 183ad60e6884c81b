/*
 * virtio: VdsVirtQueue, a ring with its lock: made, moved, taken away and looked at.
 * Refuses to know ring formats.  virtio 1.2, 2.6.
 */
#include "device-priv.h"

VdsVirtQueue *vds_queue_new(VdsVirtioDevice *device, unsigned n)
{
    VdsVirtQueue *queue = g_new0(VdsVirtQueue, 1);

    queue->device = device;
    queue->index = n;
    queue->eager = true;
    queue->kick_fd = -1;
    queue->call_fd = -1;
    pthread_mutex_init(&queue->lock, NULL);
    return queue;
}

void vds_queue_free(VdsVirtQueue *queue)
{
    if (!queue) {
        return;
    }
    vds_vring_free(queue->ring);
    vds_fd_close(&queue->kick_fd);
    vds_fd_close(&queue->call_fd);
    pthread_mutex_destroy(&queue->lock);
    g_free(queue);
}

static void set_ring(VdsVirtQueue *queue, VdsVring *ring, VdsGuestMap *map)
{
    VDS_LOCK_SCOPE(&queue->lock);

    vds_vring_free(queue->ring);
    if (ring) {
        vds_vring_set_extra(ring, sizeof(VdsIo));
    }
    queue->ring = ring;
    vds_guest_window_init(&queue->window, map);
    queue->epoch++;
    queue->out = 0;
    queue->notify = true; /* as rings start */
    queue->unpublished = false;
}

static void void_requests(VdsVirtQueue *queue)
{
    VDS_LOCK_SCOPE(&queue->lock);

    if (queue->ring) {
        vds_vring_abandon(queue->ring);
    }
    queue->epoch++;
    queue->out = 0;
    queue->unpublished = false;
}

/* What a disk still writes must not come after what the next driver has it write: the
 * device knows at once. */
void vds_queue_void(VdsVirtQueue *queue)
{
    const VdsDeviceOps *ops = queue->device->ops;

    vds_queue_end_stops(queue);
    void_requests(queue);
    if (ops && ops->queue_reset) {
        ops->queue_reset(queue->device->instance, queue);
    }
}

void vds_queue_replace(VdsVirtQueue *queue, VdsVring *ring, VdsGuestMap *map)
{
    if (queue->ring) {
        vds_queue_void(queue);
    }
    vds_queue_end_stops(queue);
    set_ring(queue, ring, map);
}

bool vds_queue_fits(VdsVirtQueue *queue, const VdsQueueState *setup, GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);

    return vds_vring_fits(queue->ring, setup, fault);
}

bool vds_queue_move(VdsVirtQueue *queue, const VdsQueueState *setup, GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);

    if (!vds_vring_move(queue->ring, setup, fault)) {
        return false;
    }
    vds_vring_set_log(queue->ring, queue->setup.log, queue->setup.log_used);
    vds_guest_window_init(&queue->window, setup->map);
    return true;
}

void vds_queue_reset_words(VdsVirtQueue *queue)
{
    queue->num = 0;
    queue->setup = (VdsQueueSetup){0};
    queue->has_setup = false;
    queue->shown = false;
    queue->enabled = false;
    queue->discards = false;
}

/* Where a ring goes on that was set up and not yet enabled. */
static void show_base(const VdsQueueSetup *setup, VdsQueueState *state)
{
    state->last_avail_idx = state->shadow_avail_idx = setup->avail_base;
    state->used_idx = setup->used_base;
    state->last_avail_wrap = setup->avail_wrap;
    state->used_wrap = setup->used_wrap;
}

void vds_queue_get_state(VdsVirtQueue *queue, VdsQueueState *state)
{
    if (queue->num != 0) {
        state->num = queue->num;
    }
    if (queue->shown) {
        state->desc = queue->setup.desc;
        state->avail = queue->setup.avail;
        state->used = queue->setup.used;
        state->map = queue->device->map; /* a refused ring can be looked at, too */
    }
    if (queue->has_setup && queue->setup.has_base) {
        show_base(&queue->setup, state);
    }
    state->has_vhost = queue->has_vhost;
    state->vhost = queue->vhost;
    vds_mutex_visit(&queue->lock, &queue->visitors);
    if (queue->ring) {
        vds_vring_get_state(queue->ring, state);
    }
    vds_mutex_leave(&queue->lock, &queue->visitors);
}

unsigned vds_virt_queue_get_index(const VdsVirtQueue *queue)
{
    return queue->index;
}

bool vds_virt_queue_is_enabled(const VdsVirtQueue *queue)
{
    return queue->enabled;
}

bool vds_virt_queue_is_discarding(const VdsVirtQueue *queue)
{
    return queue->discards;
}

bool vds_virt_queue_has_memory(const VdsVirtQueue *queue, uint64_t gpa, uint64_t len)
{
    return queue->window.map && vds_guest_map_has(queue->window.map, gpa, len);
}

bool vds_virt_queue_discard(VdsVirtQueue *queue, uint64_t gpa, uint64_t len)
{
    return queue->window.map && vds_guest_map_discard(queue->window.map, gpa, len, NULL);
}
