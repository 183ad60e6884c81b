/*
 * virtio: the driver's door, what a transport's registers are: status, features, config
 * space, run of interrupts.  Queues have their own file.  Refuses to know transports.
 * virtio 1.2, 2.1 to 2.5, 3.1.
 */
#include <string.h>

#include "device-priv.h"

/* What a call carries to the I/O thread and back. */
typedef struct {
    VdsVirtioDevice *device;
    uint8_t status;
    VdsFeatures features;
    unsigned offset, len;
    const void *bytes;
    GError **error;
    bool ok;
} Call;

/* ---- status -------------------------------------------------------------------------
 */

uint8_t vds_virtio_driver_get_status(const VdsVirtioDevice *device)
{
    uint8_t status;

    vds_device_lock(device);
    status = device->state.status;
    vds_device_unlock(device);
    return status;
}

static void set_status_word(VdsVirtioDevice *device, uint8_t status)
{
    VdsDeviceState *state = &device->state;

    vds_device_lock(device);
    if ((status & ~state->status & VDS_STATUS_DRIVER_OK)) {
        state->started = state->use_started;
        state->start_on_kick = false;
    }
    /* NEEDS_RESET may have come meanwhile, and only a reset takes it away. */
    state->status = status | (state->status & VDS_STATUS_NEEDS_RESET);
    vds_device_unlock(device);
}

/* (nullable) why the features that the driver wrote cannot be. */
static char *features_refusal(VdsVirtioDevice *device)
{
    g_autoptr(GError) why = NULL;
    VdsFeatures asked, offered;
    char *refusal;

    vds_device_lock(device);
    asked = device->asked;
    offered = device->state.host_features;
    vds_device_unlock(device);
    refusal = vds_features_refusal(&offered, &asked);
    if (!refusal && device->ops && device->ops->validate &&
        !device->ops->validate(device->instance, &asked, &why)) {
        refusal = g_strdup(why->message);
    }
    return refusal;
}

static void status_task(void *user)
{
    Call *call = user;
    VdsVirtioDevice *device = call->device;
    VdsFeatures features = vds_virtio_device_get_features(device);
    uint8_t from = vds_virtio_driver_get_status(device);
    g_autofree char *refusal = NULL;

    refusal = vds_status_refusal(from, call->status,
                                 vds_features_has(&features, VDS_F_VERSION_1));
    if (refusal) {
        vds_device_refuse(device, call->error, VDS_VIRTIO_ERROR_STATUS, "%s", refusal);
        return;
    }
    if (call->status & ~from & VDS_STATUS_FEATURES_OK) {
        refusal = features_refusal(device);
    }
    if (refusal) {
        call->status &= (uint8_t)~VDS_STATUS_FEATURES_OK;
        vds_device_refuse(device, call->error, VDS_VIRTIO_ERROR_FEATURES, "%s", refusal);
    }
    set_status_word(device, call->status);
    vds_device_settle(device);
    call->ok = !refusal;
}

bool vds_virtio_driver_set_status(VdsVirtioDevice *device, uint8_t status, GError **error)
{
    Call call = {.device = device, .status = status, .error = error};

    if (status == 0) {
        vds_virtio_device_reset(device);
        return true;
    }
    return vds_device_enter(device, status_task, &call, error) && call.ok;
}

typedef struct {
    VdsVirtioDevice *device;
    bool on;
} BusMasterCall;

static void bus_master_task(void *user)
{
    const BusMasterCall *call = user;
    VdsVirtioDevice *device = call->device;

    vds_device_lock(device);
    device->state.disabled = !call->on;
    if (!call->on) {
        device->state.status &= (uint8_t)~VDS_STATUS_DRIVER_OK;
        device->state.started = false;
    }
    vds_device_unlock(device);
    vds_device_settle(device);
}

void vds_virtio_driver_set_bus_master(VdsVirtioDevice *device, bool on)
{
    BusMasterCall call = {device, on};

    /* Without its thread the device cannot be started either. */
    (void)vds_device_enter(device, bus_master_task, &call, NULL);
}

/* ---- features -----------------------------------------------------------------------
 */

VdsFeatures vds_virtio_driver_get_features(const VdsVirtioDevice *device)
{
    return device->state.host_features; /* constant */
}

static void features_task(void *user)
{
    Call *call = user;
    VdsVirtioDevice *device = call->device;
    VdsDeviceState *state = &device->state;
    VdsFeatures accepted;

    if (vds_virtio_driver_get_status(device) & VDS_STATUS_FEATURES_OK) {
        vds_device_refuse(device, call->error, VDS_VIRTIO_ERROR_STATUS,
                          "features written after FEATURES_OK");
        return;
    }
    vds_device_lock(device);
    device->asked = call->features;
    for (size_t i = 0; i < G_N_ELEMENTS(accepted.word); i++) {
        accepted.word[i] = call->features.word[i] & state->host_features.word[i];
    }
    state->guest_features = accepted;
    /* As QEMU: a legacy driver's first kick counts as DRIVER_OK. */
    if (!vds_features_has(&accepted, VDS_F_VERSION_1) && !state->started) {
        state->start_on_kick = true;
    }
    vds_device_unlock(device);
    if (device->ops && device->ops->set_features) {
        device->ops->set_features(device->instance, &accepted);
    }
    call->ok = true;
}

bool vds_virtio_driver_set_features(VdsVirtioDevice *device, const VdsFeatures *features,
                                    GError **error)
{
    Call call = {.device = device, .features = *features, .error = error};

    return vds_device_enter(device, features_task, &call, error) && call.ok;
}

/* ---- config space -------------------------------------------------------------------
 */

static bool is_inside(const VdsVirtioDevice *device, unsigned offset, unsigned len)
{
    return offset <= device->config_len && len <= device->config_len - offset;
}

unsigned vds_virtio_driver_get_config_len(const VdsVirtioDevice *device)
{
    return device->config_len;
}

bool vds_virtio_driver_read_config(const VdsVirtioDevice *device, unsigned offset,
                                   void *to, unsigned len, uint8_t *generation,
                                   GError **error)
{
    if (!is_inside(device, offset, len)) {
        return vds_device_refuse((VdsVirtioDevice *)device, error,
                                 VDS_VIRTIO_ERROR_CONFIG,
                                 "config space: %u bytes at %u are read, it has %u", len,
                                 offset, device->config_len);
    }
    vds_device_lock(device);
    memcpy(to, device->config + offset, len);
    if (generation) {
        *generation = device->generation;
    }
    vds_device_unlock(device);
    return true;
}

static bool is_writable(const VdsVirtioDevice *device, unsigned offset, unsigned len)
{
    const VdsConfigRange *range = device->ops ? device->ops->config_writable : NULL;

    for (; range && range->len > 0; range++) {
        if (offset >= range->offset && offset + len <= range->offset + range->len) {
            return true;
        }
    }
    return false;
}

static void config_task(void *user)
{
    Call *call = user;
    VdsVirtioDevice *device = call->device;

    vds_device_lock(device);
    memcpy(device->config + call->offset, call->bytes, call->len);
    vds_device_unlock(device);
    if (device->ops->config_written) {
        device->ops->config_written(device->instance, call->offset, call->len);
    }
}

bool vds_virtio_driver_write_config(VdsVirtioDevice *device, unsigned offset,
                                    const void *from, unsigned len, GError **error)
{
    Call call = {.device = device, .offset = offset, .len = len, .bytes = from};

    if (len == 0 || !is_inside(device, offset, len) ||
        !is_writable(device, offset, len)) {
        return vds_device_refuse(device, error, VDS_VIRTIO_ERROR_CONFIG,
                                 "config space: %u bytes at %u cannot be written", len,
                                 offset);
    }
    return vds_device_enter(device, config_task, &call, error);
}

/* ---- interrupts ---------------------------------------------------------------------
 */

int vds_virtio_driver_get_interrupt_fd(const VdsVirtioDevice *device)
{
    VdsDoorbell *bell = atomic_load_explicit(&device->interrupts, memory_order_acquire);

    return bell ? vds_doorbell_get_fd(bell) : -1;
}

unsigned vds_virtio_driver_take_interrupts(VdsVirtioDevice *device, VdsInterruptFunc func,
                                           void *user)
{
    VdsDoorbell *bell = atomic_load_explicit(&device->interrupts, memory_order_acquire);

    return bell ? vds_doorbell_take(bell, func, user) : 0;
}

uint8_t vds_virtio_driver_take_isr(VdsVirtioDevice *device)
{
    return atomic_exchange_explicit(&device->isr, 0, memory_order_relaxed);
}
