/*
 * vhost_user: the back-end's device as a whole: features, status, config space, reset,
 * and what queries see of its front-end.  Refuses to know device kinds.
 * docs/interop/vhost-user.rst; virtio 1.2, 3.1.1.
 *
 * A front-end need not say what the driver's status is.  Without SET_STATUS, SET_FEATURES
 * stands for ACKNOWLEDGE, DRIVER and (with VERSION_1) FEATURES_OK, and the first ring
 * that starts for DRIVER_OK.  With it, too, these steps are taken then at the latest:
 * front-ends set single bits in any order.
 */
#include <glib-unix.h>
#include <string.h>

#include "backend-priv.h"

enum {
    BEGUN = VDS_STATUS_ACKNOWLEDGE | VDS_STATUS_DRIVER,
    LOG_WORD = 8, /* bytes; QEMU counts a log in these */
};

#define PROTOCOL_BITS                                                                    \
    (UINT64_C(1) << VDS_VHOST_USER_F_PROTOCOL_FEATURES | UINT64_C(1)                     \
                                                             << VDS_VHOST_F_LOG_ALL)

/* ---- features -------------------------------------------------------------------- */

bool vds_backend_get_features(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    reply->u.u64 = backend->offered;
    return true;
}

/* A life of the device begins. */
static bool device_begin(VdsVhostUserBackend *backend, uint64_t features, GError **error)
{
    VdsVirtioDevice *device = backend->device;
    const VdsFeatures wanted = {{features & ~PROTOCOL_BITS, 0}};

    vds_virtio_device_reset(device);
    backend->lived = false;
    backend->has_features = false;
    if (!vds_virtio_driver_set_status(device, VDS_STATUS_ACKNOWLEDGE, error) ||
        !vds_virtio_driver_set_status(device, BEGUN, error) ||
        !vds_virtio_driver_set_features(device, &wanted, error)) {
        return false;
    }
    return !vds_features_has(&wanted, VDS_F_VERSION_1) ||
           vds_virtio_driver_set_status(device, BEGUN | VDS_STATUS_FEATURES_OK, error);
}

/* Without the protocol bit, rings need no SET_VRING_ENABLE. */
static bool enable_rings(VdsVhostUserBackend *backend, GError **error)
{
    bool told = (backend->features >> VDS_VHOST_USER_F_PROTOCOL_FEATURES) & 1;

    for (unsigned i = 0; !told && i < backend->n_rings; i++) {
        if (!vds_backend_ring_event(backend, i, VDS_RING_ENABLE, error)) {
            return false;
        }
    }
    return vds_backend_settle_rings(backend, error);
}

bool vds_backend_set_features(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    uint64_t features = message->u.u64, extra = features & ~backend->offered;
    bool same =
        backend->has_features && ((features ^ backend->features) & ~PROTOCOL_BITS) == 0;
    bool started = vds_backend_is_started(backend);

    if (extra) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_FEATURE, "",
                                   "SET_FEATURES",
                                   "has 0x%" PRIx64 ", which was not offered", extra);
    }
    if (started && !same) { /* the log may be turned on and off (V11) */
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_STATE, "C8",
                                   "SET_FEATURES",
                                   "changes 0x%" PRIx64 " while rings run",
                                   (features ^ backend->features) & ~PROTOCOL_BITS);
    }
    if (!started && (!same || backend->lived) &&
        !device_begin(backend, features, error)) {
        return false;
    }
    if (!vds_backend_use_memory(backend, backend->map, backend->log, features, error)) {
        return false;
    }
    backend->has_features = true;
    return enable_rings(backend, error);
}

bool vds_backend_get_protocol(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    reply->u.u64 = backend->offered_protocol;
    return true;
}

bool vds_backend_set_protocol(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    uint64_t extra = message->u.u64 & ~backend->offered_protocol;

    if (extra) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_FEATURE, "",
                                   "SET_PROTOCOL_FEATURES",
                                   "has 0x%" PRIx64 ", which was not offered", extra);
    }
    backend->protocol = message->u.u64;
    return true;
}

/* ---- status ---------------------------------------------------------------------- */

bool vds_backend_device_start(VdsVhostUserBackend *backend, GError **error)
{
    uint8_t status = vds_virtio_driver_get_status(backend->device);

    backend->lived = true;
    return (status & VDS_STATUS_DRIVER_OK) ||
           vds_virtio_driver_set_status(
               backend->device,
               (uint8_t)((status & ~VDS_STATUS_NEEDS_RESET) | VDS_STATUS_DRIVER_OK),
               error);
}

/* What the front-end said, and what only the device can say. */
bool vds_backend_get_status(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    uint8_t status = vds_virtio_driver_get_status(backend->device);

    reply->u.u64 = backend->status | (status & VDS_STATUS_NEEDS_RESET);
    return true;
}

static void stop_all(VdsVhostUserBackend *backend, bool disable)
{
    for (unsigned i = 0; i < backend->n_rings; i++) {
        (void)vds_backend_ring_event(backend, i, VDS_RING_STOP, NULL);
        if (disable) {
            (void)vds_backend_ring_event(backend, i, VDS_RING_DISABLE, NULL);
        }
    }
}

/* The driver's reset; the connection and its memory stay. */
static void device_end(VdsVhostUserBackend *backend)
{
    vds_virtio_device_reset(backend->device);
    backend->lived = false;
    backend->has_features = false;
    backend->status = 0;
    vds_backend_show(backend);
}

bool vds_backend_set_status(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    uint64_t status = message->u.u64;

    if (status > UINT8_MAX) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1",
                                   "SET_STATUS", "has 0x%" PRIx64 ", which is no status",
                                   status);
    }
    if (status == 0) {
        stop_all(backend, false);
        device_end(backend);
        return true;
    }
    backend->status = (uint8_t)status & (uint8_t)~VDS_STATUS_NEEDS_RESET;
    return !(status & VDS_STATUS_DRIVER_OK) || !backend->has_features ||
           vds_backend_device_start(backend, error);
}

bool vds_backend_reset_owner(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                             VdsVhostUserMessage *reply, GError **error)
{
    stop_all(backend, true);
    return true;
}

bool vds_backend_reset_device(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error)
{
    stop_all(backend, true);
    vds_backend_forget_inflight(backend);
    device_end(backend);
    return true;
}

/* ---- config space ---------------------------------------------------------------- */

static bool is_in_config_space(const VdsVhostUserConfigSpace *asked, GError **error)
{
    return (asked->offset <= VDS_VHOST_USER_MAX_CONFIG &&
            asked->size <= VDS_VHOST_USER_MAX_CONFIG - asked->offset) ||
           vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1", "GET_CONFIG",
                               "reads %" PRIu32 " bytes at %" PRIu32
                               " of a config space of at most %d",
                               asked->size, asked->offset, VDS_VHOST_USER_MAX_CONFIG);
}

/* Front-ends read a structure of their own version, which may be longer than the space:
 * bytes beyond it are zero.  An error is an answer without a payload. */
bool vds_backend_get_config(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserConfigSpace *asked = &message->u.config;
    unsigned len = vds_virtio_driver_get_config_len(backend->device);
    unsigned have = asked->offset < len ? MIN(asked->size, len - asked->offset) : 0;
    g_autoptr(GError) why = NULL;

    if (!is_in_config_space(asked, &why) ||
        !vds_virtio_driver_read_config(backend->device, MIN(asked->offset, len),
                                       reply->u.config.bytes, have, NULL, &why)) {
        vds_backend_refuse(backend, why);
        return true;
    }
    reply->u.config.offset = asked->offset;
    reply->u.config.size = asked->size;
    reply->u.config.flags = asked->flags;
    return true;
}

/* At the end of a migration the front-end writes back what it read from the other side:
 * what is there already is fine. */
static bool is_the_same(VdsVhostUserBackend *backend,
                        const VdsVhostUserConfigSpace *config)
{
    uint8_t bytes[VDS_VHOST_USER_MAX_CONFIG];

    return vds_virtio_driver_read_config(backend->device, config->offset, bytes,
                                         config->size, NULL, NULL) &&
           memcmp(bytes, config->bytes, config->size) == 0;
}

bool vds_backend_set_config(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error)
{
    const VdsVhostUserConfigSpace *config = &message->u.config;

    if (config->flags > VDS_VHOST_USER_CONFIG_MIGRATION) {
        return vds_vhost_user_fail(
            error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1", "SET_CONFIG",
            "has flags 0x%" PRIx32 ", which nobody defined", config->flags);
    }
    return (config->flags == VDS_VHOST_USER_CONFIG_MIGRATION &&
            is_the_same(backend, config)) ||
           vds_virtio_driver_write_config(backend->device, config->offset, config->bytes,
                                          config->size, error);
}

/* ---- what the device tells ------------------------------------------------------- */

/* A front-end that has not read the last one will read the newest bytes anyway.  While
 * all rings are stopped the device is suspended and sends no message. */
static void send_config_change(VdsVhostUserBackend *backend)
{
    VdsVhostUserMessage message;

    backend->config_changed = !vds_backend_is_started(backend);
    if (backend->config_changed || !backend->channel ||
        !vds_backend_has(backend, VDS_VHOST_USER_P_CONFIG) ||
        vds_vhost_user_link_get_pending(backend->channel) > 0) {
        return;
    }
    vds_vhost_user_message_init(&message, VDS_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    (void)vds_vhost_user_link_send(backend->channel, &message, NULL);
}

void vds_backend_resume_messages(VdsVhostUserBackend *backend)
{
    if (backend->config_changed) {
        send_config_change(backend);
    }
}

/* Rings without a call descriptor come here, too: their driver looks by itself. */
static void interrupted(unsigned n, void *user)
{
    VdsVhostUserBackend *backend = user;

    if (n != VDS_INTERRUPT_CONFIG) {
        return;
    }
    if (vds_virtio_driver_get_status(backend->device) & VDS_STATUS_NEEDS_RESET) {
        vds_backend_signal_errors(backend);
    }
    send_config_change(backend);
}

static gboolean take_interrupts(gint fd, GIOCondition events, gpointer user)
{
    VdsVhostUserBackend *backend = user;

    vds_virtio_driver_take_interrupts(backend->device, interrupted, backend);
    return G_SOURCE_CONTINUE;
}

void vds_backend_watch_device(VdsVhostUserBackend *backend)
{
    int fd = vds_virtio_driver_get_interrupt_fd(backend->device);

    if (backend->interrupts || fd < 0) {
        return;
    }
    backend->interrupts = g_unix_fd_source_new(fd, G_IO_IN);
    g_source_set_callback(backend->interrupts, G_SOURCE_FUNC(take_interrupts), backend,
                          NULL);
    g_source_attach(backend->interrupts, backend->context);
}

/* ---- what queries see ------------------------------------------------------------ */

void vds_backend_show(VdsVhostUserBackend *backend)
{
    const uint64_t protocol_bit = UINT64_C(1) << VDS_VHOST_USER_F_PROTOCOL_FEATURES;
    uint64_t regions = backend->map ? vds_guest_map_count(backend->map) : 0;
    const VdsVhostState state = {
        .n_mem_sections = (int64_t)regions,
        .n_tmp_sections = (int64_t)regions,
        .nvqs = backend->n_rings,
        .features = {{backend->offered, 0}},
        .acked_features = {{backend->features & ~PROTOCOL_BITS, 0}},
        .backend_features = {{backend->features & protocol_bit, 0}},
        .protocol_features = backend->protocol,
        .max_queues = backend->queue_num,
        .log_enabled = (backend->features >> VDS_VHOST_F_LOG_ALL) & 1,
        .log_size = backend->log ? vds_dirty_log_get_len(backend->log) / LOG_WORD : 0,
    };

    vds_virtio_driver_set_vhost_state(backend->device, backend->lived ? &state : NULL);
}
