/*
 * virtio: what the driver's door has for a vhost-user front-end: memory that changes
 * while queues run, rings that move, what queries show of that side, and that it moved
 * here.  Refuses to know messages and sockets.  vhost-user: SET_MEM_TABLE, ADD_MEM_REG,
 * SET_VRING_ADDR, SEND_RARP.
 */
#include "device-priv.h"

/* ---- other memory ---------------------------------------------------------------- */

static VdsQueueState placed(const VdsQueueSetup *setup, VdsGuestMap *map)
{
    return (VdsQueueState){
        .desc = setup->desc, .avail = setup->avail, .used = setup->used, .map = map};
}

/* A ring that is not mapped any more goes. */
static bool move_or_drop(VdsVirtQueue *queue, VdsGuestMap *map, GError **fault)
{
    const VdsQueueState to = placed(&queue->setup, map);

    if (map && vds_queue_move(queue, &to, fault)) {
        return true;
    }
    vds_queue_replace(queue, NULL, NULL);
    return false;
}

typedef struct {
    VdsVirtioDevice *device;
    VdsGuestMap *map;
    const VdsQueueSetup *rings;
    unsigned n_rings;
    GError **error;
    bool ok;
} MapCall;

static void map_task(void *user)
{
    const MapCall *call = user;
    VdsVirtioDevice *device = call->device;

    for (unsigned i = 0; device->queues && i < device->n_queues; i++) {
        VdsVirtQueue *queue = device->queues[i];
        g_autoptr(GError) fault = NULL;

        if (!queue || !queue->ring) {
            continue;
        }
        if (move_or_drop(queue, call->map, &fault)) {
            vds_queue_dispatch(queue); /* its event words stand elsewhere */
        } else if (queue->enabled) {
            vds_virt_queue_break(queue, "%s",
                                 fault ? fault->message : "C3: no memory is mapped");
        }
    }
}

static VdsGuestMap *swap_map(VdsVirtioDevice *device, VdsGuestMap *map)
{
    VdsGuestMap *before;

    vds_device_lock(device);
    before = device->map;
    device->map = vds_guest_map_ref(map);
    vds_device_unlock(device);
    return before;
}

/* The map before goes last: until then it may be a query's, on this thread. */
void vds_virtio_driver_set_map(VdsVirtioDevice *device, VdsGuestMap *map)
{
    MapCall call = {.device = device, .map = map};
    g_autoptr(VdsGuestMap) before = swap_map(device, map);

    if (atomic_load_explicit(&device->entered, memory_order_acquire) && map != before) {
        vds_io_thread_call(device->thread, map_task, &call);
    }
}

/* ---- other memory, all rings or none ---- */

/* (nullable) it may go */
static const VdsQueueSetup *find_told(const MapCall *call, unsigned n)
{
    return n < call->n_rings && call->rings[n].num > 0 ? &call->rings[n] : NULL;
}

static bool all_fit(MapCall *call)
{
    VdsVirtioDevice *device = call->device;

    for (unsigned i = 0; device->queues && i < device->n_queues; i++) {
        VdsVirtQueue *queue = device->queues[i];
        const VdsQueueSetup *told = find_told(call, i);
        g_autoptr(GError) fault = NULL;
        VdsQueueState to;

        if (!told || !queue || !queue->ring) {
            continue;
        }
        to = placed(told, call->map);
        if (!vds_queue_fits(queue, &to, &fault)) {
            return vds_device_refuse(device, call->error, VDS_VIRTIO_ERROR_QUEUE,
                                     "%s, in queue %u", fault->message, i);
        }
    }
    return true;
}

static void use_addresses(VdsVirtQueue *queue, const VdsQueueSetup *setup)
{
    vds_device_lock(queue->device);
    queue->setup.desc = setup->desc;
    queue->setup.avail = setup->avail;
    queue->setup.used = setup->used;
    queue->setup.log = setup->log;
    queue->setup.log_used = setup->log_used;
    vds_device_unlock(queue->device);
}

static void move_all_task(void *user)
{
    MapCall *call = user;
    VdsVirtioDevice *device = call->device;

    call->ok = all_fit(call);
    for (unsigned i = 0; call->ok && device->queues && i < device->n_queues; i++) {
        const VdsQueueSetup *told = find_told(call, i);

        if (device->queues[i] && told) {
            use_addresses(device->queues[i], told);
        }
    }
    if (call->ok) {
        map_task(call);
    }
}

bool vds_virtio_driver_move(VdsVirtioDevice *device, VdsGuestMap *map,
                            const VdsQueueSetup *rings, unsigned n_rings, GError **error)
{
    MapCall call = {device, map, rings, n_rings, error, true};

    if (atomic_load_explicit(&device->entered, memory_order_acquire)) {
        vds_io_thread_call(device->thread, move_all_task, &call);
    }
    if (call.ok) {
        vds_guest_map_unref(swap_map(device, map));
    }
    return call.ok;
}

void vds_virtio_driver_set_inflight(VdsVirtioDevice *device, VdsInflight *inflight)
{
    VdsInflight *before;

    vds_device_lock(device);
    before = device->inflight;
    device->inflight = vds_inflight_ref(inflight);
    vds_device_unlock(device);
    vds_inflight_unref(before);
}

static void move_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtQueue *queue = vds_queue_touch(call);
    g_autoptr(GError) fault = NULL;
    VdsQueueState to;

    if (!queue) {
        return;
    }
    if (!queue->ring) {
        vds_queue_refuse(call, "is moved without a ring");
        return;
    }
    to = placed(call->setup, call->device->map);
    if (!vds_queue_fits(queue, &to, &fault)) {
        vds_queue_refuse_ring(call, fault);
        return;
    }
    use_addresses(queue, call->setup);
    call->ok = vds_queue_move(queue, &to, &fault);
    if (!call->ok) {
        vds_queue_refuse_ring(call, fault);
        return;
    }
    vds_queue_dispatch(queue); /* what was asked of the driver stands elsewhere */
}

bool vds_virtio_driver_move_queue(VdsVirtioDevice *device, unsigned n,
                                  const VdsQueueSetup *setup, GError **error)
{
    VdsQueueCall call = {.device = device, .n = n, .setup = setup, .error = error};

    return vds_queue_enter(&call, move_task);
}

/* ---- a driver that is gone ------------------------------------------------------- */

static void abandon_task(void *user)
{
    VdsQueueCall *call = user;
    VdsVirtQueue *queue = vds_queue_touch(call);

    if (!queue) {
        return;
    }
    vds_device_lock(call->device);
    queue->enabled = false;
    queue->discards = false;
    vds_device_unlock(call->device);
    vds_queue_void(queue);
}

void vds_virtio_driver_abandon_queue(VdsVirtioDevice *device, unsigned n)
{
    VdsQueueCall call = {.device = device, .n = n};

    if (atomic_load_explicit(&device->entered, memory_order_acquire)) {
        vds_io_thread_call(device->thread, abandon_task, &call);
    }
}

/* ---- a vhost-user front-end ------------------------------------------------------ */

void vds_virtio_driver_set_vhost_state(VdsVirtioDevice *device,
                                       const VdsVhostState *state)
{
    vds_device_lock(device);
    device->state.vhost_started = state != NULL;
    if (state) {
        device->state.vhost = *state;
    }
    vds_device_unlock(device);
}

typedef struct {
    VdsQueueCall call;
    const VdsVhostQueue *vhost;
} VhostCall;

static void vhost_task(void *user)
{
    VhostCall *call = user;
    VdsVirtQueue *queue = vds_queue_touch(&call->call);

    if (queue) {
        vds_device_lock(call->call.device);
        queue->has_vhost = call->vhost != NULL;
        queue->vhost = call->vhost ? *call->vhost : (VdsVhostQueue){0};
        vds_device_unlock(call->call.device);
    }
}

void vds_virtio_driver_set_vhost_queue(VdsVirtioDevice *device, unsigned n,
                                       const VdsVhostQueue *vhost)
{
    VhostCall call = {{.device = device, .n = n}, vhost};

    /* Without its thread the device has no queues to speak of. */
    (void)vds_device_enter(device, vhost_task, &call, NULL);
}

/* ---- a driver that moved here ---------------------------------------------------- */

typedef struct {
    VdsVirtioDevice *device;
    const uint8_t *mac;
} AnnounceCall;

static void announce_task(void *user)
{
    const AnnounceCall *call = user;

    call->device->ops->announce(call->device->instance, call->mac);
}

bool vds_virtio_driver_announce(VdsVirtioDevice *device, const uint8_t mac[VDS_MAC_BYTES],
                                GError **error)
{
    AnnounceCall call = {device, mac};

    if (!device->ops || !device->ops->announce) {
        return vds_device_refuse(device, error, VDS_VIRTIO_ERROR_QUEUE,
                                 "there is no network to be told of an address");
    }
    return vds_device_enter(device, announce_task, &call, error);
}

typedef struct {
    VdsVirtioDevice *device;
    uint16_t mtu;
} MtuCall;

static void mtu_task(void *user)
{
    const MtuCall *call = user;

    call->device->ops->set_mtu(call->device->instance, call->mtu);
}

bool vds_virtio_driver_set_mtu(VdsVirtioDevice *device, uint16_t mtu, GError **error)
{
    MtuCall call = {device, mtu};

    if (!device->ops || !device->ops->set_mtu) {
        return vds_device_refuse(device, error, VDS_VIRTIO_ERROR_QUEUE,
                                 "MTU %u is for no network device", mtu);
    }
    return vds_device_enter(device, mtu_task, &call, error);
}
