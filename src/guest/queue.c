/*
 * guest: a queue of the driver's: its place in guest RAM, its buffers, and the loop that
 * takes back what the device is done with.  Knows no kind of device.
 * virtio 1.2, 2.7 (split), 2.8 (packed), 2.7.13 and 2.7.14 (supplying and receiving).
 */
#include "guest-priv.h"

enum {
    PAGE = 4096,
    CACHE_LINE = 64,     /* where Linux puts the used ring of a modern device */
    LEGACY_ALIGN = PAGE, /* where a legacy one must have it (2.7.2) */
};

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

/* ---- memory ----------------------------------------------------------------------- */

static bool allocate(VdsGuestQueue *queue, uint64_t bytes, uint64_t *gpa, GError **error)
{
    if (vds_guest_ram_alloc(vds_guest_get_ram(queue->device->guest), bytes, PAGE, gpa,
                            error)) {
        return true;
    }
    g_prefix_error(error, "no room for queue %u in guest RAM: ", queue->index);
    *gpa = 0;
    return false;
}

static void release(VdsGuestQueue *queue, uint64_t *gpa)
{
    if (*gpa) {
        vds_guest_ram_release(vds_guest_get_ram(queue->device->guest), *gpa);
        *gpa = 0;
    }
}

/* One piece, the used ring where the interface wants it. */
static bool place_split(VdsGuestQueue *queue, const VdsQueueState *shape, GError **error)
{
    bool modern = vds_guest_device_has(queue->device, VDS_F_VERSION_1);
    uint64_t avail = vds_queue_desc_size(shape);
    /* Linux always leaves room for the event words */
    uint64_t used = round_up(avail + 6 + 2 * (uint64_t)queue->num,
                             modern ? CACHE_LINE : LEGACY_ALIGN);
    uint64_t bytes = used + 6 + 8 * (uint64_t)queue->num;

    if (!allocate(queue, bytes, &queue->ring_gpas[0], error)) {
        return false;
    }
    queue->desc = queue->ring_gpas[0];
    queue->avail = queue->desc + avail;
    queue->used = queue->desc + used;
    return true;
}

/* Three pieces: the ring and both event areas. */
static bool place_packed(VdsGuestQueue *queue, const VdsQueueState *shape, GError **error)
{
    const uint64_t bytes[] = {vds_queue_desc_size(shape), vds_queue_avail_size(shape),
                              vds_queue_used_size(shape)};

    for (size_t i = 0; i < G_N_ELEMENTS(bytes); i++) {
        if (!allocate(queue, bytes[i], &queue->ring_gpas[i], error)) {
            return false;
        }
    }
    queue->desc = queue->ring_gpas[0];
    queue->avail = queue->ring_gpas[1];
    queue->used = queue->ring_gpas[2];
    return true;
}

static bool make_ring(VdsGuestQueue *queue, GError **error)
{
    const VdsGuestDevice *device = queue->device;
    bool indirect = vds_guest_device_has(device, VDS_F_RING_INDIRECT_DESC);
    unsigned flags =
        (indirect ? VDS_VRING_INDIRECT : 0) |
        (vds_guest_device_has(device, VDS_F_IN_ORDER) ? VDS_VRING_IN_ORDER : 0);
    uint32_t spans = queue->role->spans;
    VdsQueueState shape = {
        .packed = vds_guest_device_has(device, VDS_F_RING_PACKED),
        .event_idx = vds_guest_device_has(device, VDS_F_RING_EVENT_IDX),
        .num = queue->num,
        .map = vds_guest_device_map(device),
    };
    VdsDriverTables tables = {.entries = spans};

    if (!(shape.packed ? place_packed : place_split)(queue, &shape, error)) {
        return false;
    }
    if (indirect && spans > 1 &&
        !allocate(queue, (uint64_t)queue->num * spans * 16, &queue->tables_gpa, error)) {
        return false;
    }
    shape.desc = queue->desc;
    shape.avail = queue->avail;
    shape.used = queue->used;
    tables.gpa = queue->tables_gpa;
    queue->ring =
        vds_driver_ring_new(&shape, flags, queue->tables_gpa ? &tables : NULL, error);
    return queue->ring != NULL;
}

VdsGuestQueue *vds_guest_queue_new(VdsGuestDevice *device, unsigned index,
                                   const VdsGuestQueueRole *role, GError **error)
{
    VdsGuestQueue *queue = g_new0(VdsGuestQueue, 1);

    queue->device = device;
    queue->index = index;
    queue->role = role;
    queue->num = vds_virtio_driver_get_queue_size(device->virtio, index);
    if (queue->num == 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_QUEUE,
                    "there is no queue %u", index);
    } else if (make_ring(queue, error)) {
        return queue;
    }
    vds_guest_queue_free(queue);
    return NULL;
}

void vds_guest_queue_free(VdsGuestQueue *queue)
{
    if (!queue) {
        return;
    }
    vds_driver_ring_free(queue->ring);
    for (size_t i = 0; i < G_N_ELEMENTS(queue->ring_gpas); i++) {
        release(queue, &queue->ring_gpas[i]);
    }
    release(queue, &queue->tables_gpa);
    release(queue, &queue->slots_gpa);
    g_free(queue->slots);
    g_free(queue);
}

/* ---- buffers ---------------------------------------------------------------------- */

bool vds_guest_queue_allocate(VdsGuestQueue *queue, uint32_t slot_bytes, GError **error)
{
    const VdsGuestQueueRole *role = queue->role;
    uint32_t n = MIN(role->max_slots, queue->num);

    if (queue->slots) {
        return true;
    }
    slot_bytes = slot_bytes ? slot_bytes : role->slot_bytes;
    if (!allocate(queue, (uint64_t)n * slot_bytes, &queue->slots_gpa, error)) {
        return false;
    }
    queue->slots = g_new0(VdsGuestSlot, n);
    queue->slot_bytes = slot_bytes;
    queue->n_slots = n;
    for (uint32_t i = n; i-- > 0;) {
        queue->slots[i].gpa = queue->slots_gpa + (uint64_t)i * slot_bytes;
        vds_guest_queue_give(queue, &queue->slots[i]);
    }
    return true;
}

VdsGuestSlot *vds_guest_queue_take(VdsGuestQueue *queue)
{
    VdsGuestSlot *slot = queue->free;

    if (slot) {
        queue->free = slot->next;
        queue->n_free--;
    }
    return slot;
}

void vds_guest_queue_give(VdsGuestQueue *queue, VdsGuestSlot *slot)
{
    slot->next = queue->free;
    queue->free = slot;
    queue->n_free++;
}

bool vds_guest_queue_post(VdsGuestQueue *queue, VdsGuestSlot *slot, const VdsSpan *spans,
                          uint32_t n_out, uint32_t n_in)
{
    VdsBuffer buffer = {.spans = spans, .n_out = n_out, .n_in = n_in, .token = slot};
    GError *error = NULL;
    bool added = false;

    if (!vds_driver_ring_add(queue->ring, &buffer, &added, &error)) {
        vds_guest_device_fail(queue->device, error);
    }
    if (!added) {
        vds_guest_queue_give(queue, slot);
        return false;
    }
    queue->dirty = true;
    return true;
}

bool vds_guest_queue_post_in(VdsGuestQueue *queue, VdsGuestSlot *slot)
{
    VdsSpan span = {slot->gpa, queue->slot_bytes};

    return vds_guest_queue_post(queue, slot, &span, 0, 1);
}

void vds_guest_queue_fill(VdsGuestQueue *queue)
{
    while (queue->free && vds_guest_queue_post_in(queue, vds_guest_queue_take(queue))) {
    }
}

/* ---- the device's answers -------------------------------------------------------------
 */

static bool set_interrupts(VdsGuestQueue *queue, bool enable, bool *more)
{
    GError *error = NULL;

    *more = false;
    if (!vds_driver_ring_set_interrupts(queue->ring, enable, more, &error)) {
        vds_guest_device_fail(queue->device, error);
        return false;
    }
    return true;
}

/* As Linux: no interrupts while the queue is looked at, then once more after they were
 * asked for again (2.7.14.1).  At most a ring's worth, so that a busy device does not
 * keep the guest from the others. */
bool vds_guest_queue_drain(VdsGuestQueue *queue)
{
    VdsUsed used = {0};
    GError *error = NULL;
    uint32_t n = 0;
    bool more;

    if (!set_interrupts(queue, false, &more)) {
        return false;
    }
    do {
        if (!vds_driver_ring_get_used(queue->ring, &used, &error)) {
            vds_guest_device_fail(queue->device, error);
            return false;
        }
        if (used.token) {
            queue->role->used(queue, used.token, used.written);
            n++;
        }
        if (queue->device->life != VDS_GUEST_DRIVEN) {
            return false; /* the role found it beyond use */
        }
    } while (used.token && n < queue->num);
    if (n > 0 && queue->role->drained) {
        queue->role->drained(queue);
    }
    if (used.token) {
        return true;
    }
    return set_interrupts(queue, true, &more) && more;
}

void vds_guest_queue_kick(VdsGuestQueue *queue)
{
    GError *error = NULL;
    bool kick = false;

    if (!queue->dirty) {
        return;
    }
    queue->dirty = false;
    if (!vds_driver_ring_should_kick(queue->ring, &kick, &error)) {
        vds_guest_device_fail(queue->device, error);
    } else if (kick) {
        vds_virtio_driver_kick(queue->device->virtio, queue->index);
    }
}
