/*
 * vhost_user: the back-end's table of requests, and what a request is answered with.
 * docs/interop/vhost-user.rst, "Communication" and "VHOST_USER_PROTOCOL_F_REPLY_ACK".
 */
#include <string.h>

#include "backend-priv.h"

/* ---- requests too small for a file ----------------------------------------------- */

static bool nothing(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                    VdsVhostUserMessage *reply, GError **error)
{
    return true;
}

static bool get_queue_num(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error)
{
    reply->u.u64 = backend->queue_num;
    return true;
}

/* virtio 1.2, 5.1.4: what a driver may be told. */
static bool set_mtu(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                    VdsVhostUserMessage *reply, GError **error)
{
    enum { MIN_MTU = 68, MAX_MTU = 65535 };

    if (message->u.u64 < MIN_MTU || message->u.u64 > MAX_MTU) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1",
                                   "NET_SET_MTU", "has %" PRIu64 ", expected %d to %d",
                                   message->u.u64, MIN_MTU, MAX_MTU);
    }
    backend->has_mtu = true;
    return vds_virtio_driver_set_mtu(backend->device, (uint16_t)message->u.u64, error);
}

/* The address as it lies in memory: six of the eight bytes. */
static bool send_rarp(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                      VdsVhostUserMessage *reply, GError **error)
{
    uint8_t mac[VDS_MAC_BYTES];

    memcpy(mac, &message->u.u64, sizeof(mac));
    if (mac[0] & 1) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1", "SEND_RARP",
                                   "has the address of a group");
    }
    return vds_virtio_driver_announce(backend->device, mac, error);
}

/* Nobody waits for an answer of the front-end. */
static bool channel_message(void *user, VdsVhostUserMessage *message, GError **error)
{
    return true;
}

static void channel_closed(void *user, const GError *why)
{
    VdsVhostUserBackend *backend = user;

    if (why) {
        vds_backend_refuse(backend, why);
    }
    g_clear_pointer(&backend->channel, vds_vhost_user_link_free);
}

static bool set_channel(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                        VdsVhostUserMessage *reply, GError **error)
{
    static const VdsVhostUserLinkOps ops = {channel_message, channel_closed};

    if (vds_fd_kind(message->fds[0]) != VDS_FD_SOCKET) {
        g_autofree char *name = vds_fd_describe(message->fds[0]);

        return vds_vhost_user_fail(
            error, VDS_VHOST_USER_ERROR_FDS, "V3", "SET_BACKEND_REQ_FD",
            "comes with '%.*s', expected a socket", vds_name_len(name), name);
    }
    vds_vhost_user_link_free(backend->channel);
    backend->channel = vds_vhost_user_link_new(
        backend->context, vds_vhost_user_message_steal_fd(message, 0),
        VDS_VHOST_USER_BACKEND, true, &ops, backend);
    vds_vhost_user_link_set_closer(backend->channel, backend->closer);
    return true;
}

/* ---- the table ------------------------------------------------------------------- */

static const VdsBackendHandler handlers[VDS_VHOST_USER_REQUEST_COUNT] = {
    [VDS_VHOST_USER_GET_FEATURES] = vds_backend_get_features,
    [VDS_VHOST_USER_SET_FEATURES] = vds_backend_set_features,
    [VDS_VHOST_USER_SET_OWNER] = nothing,
    [VDS_VHOST_USER_RESET_OWNER] = vds_backend_reset_owner,
    [VDS_VHOST_USER_SET_MEM_TABLE] = vds_backend_set_mem_table,
    [VDS_VHOST_USER_SET_LOG_BASE] = vds_backend_set_log,
    [VDS_VHOST_USER_SET_LOG_FD] = vds_backend_set_log_fd,
    [VDS_VHOST_USER_SET_VRING_NUM] = vds_backend_set_num,
    [VDS_VHOST_USER_SET_VRING_ADDR] = vds_backend_set_address,
    [VDS_VHOST_USER_SET_VRING_BASE] = vds_backend_set_base,
    [VDS_VHOST_USER_GET_VRING_BASE] = vds_backend_get_base,
    [VDS_VHOST_USER_SET_VRING_KICK] = vds_backend_set_kick,
    [VDS_VHOST_USER_SET_VRING_CALL] = vds_backend_set_call,
    [VDS_VHOST_USER_SET_VRING_ERR] = vds_backend_set_err,
    [VDS_VHOST_USER_GET_PROTOCOL_FEATURES] = vds_backend_get_protocol,
    [VDS_VHOST_USER_SET_PROTOCOL_FEATURES] = vds_backend_set_protocol,
    [VDS_VHOST_USER_GET_QUEUE_NUM] = get_queue_num,
    [VDS_VHOST_USER_SET_VRING_ENABLE] = vds_backend_set_enable,
    [VDS_VHOST_USER_SEND_RARP] = send_rarp,
    [VDS_VHOST_USER_NET_SET_MTU] = set_mtu,
    [VDS_VHOST_USER_SET_BACKEND_REQ_FD] = set_channel,
    [VDS_VHOST_USER_GET_CONFIG] = vds_backend_get_config,
    [VDS_VHOST_USER_SET_CONFIG] = vds_backend_set_config,
    [VDS_VHOST_USER_GET_INFLIGHT_FD] = vds_backend_get_inflight,
    [VDS_VHOST_USER_SET_INFLIGHT_FD] = vds_backend_set_inflight,
    [VDS_VHOST_USER_RESET_DEVICE] = vds_backend_reset_device,
    [VDS_VHOST_USER_GET_MAX_MEM_SLOTS] = vds_backend_get_slots,
    [VDS_VHOST_USER_ADD_MEM_REG] = vds_backend_add_region,
    [VDS_VHOST_USER_REM_MEM_REG] = vds_backend_remove_region,
    [VDS_VHOST_USER_SET_STATUS] = vds_backend_set_status,
    [VDS_VHOST_USER_GET_STATUS] = vds_backend_get_status,
    [VDS_VHOST_USER_SET_DEVICE_STATE_FD] = vds_backend_set_state_fd,
    [VDS_VHOST_USER_CHECK_DEVICE_STATE] = vds_backend_check_state,
};

uint64_t vds_vhost_user_backend_protocol_features(void)
{
    static const unsigned bits[] = {
        VDS_VHOST_USER_P_MQ,           VDS_VHOST_USER_P_LOG_SHMFD,
        VDS_VHOST_USER_P_RARP,         VDS_VHOST_USER_P_REPLY_ACK,
        VDS_VHOST_USER_P_NET_MTU,      VDS_VHOST_USER_P_BACKEND_REQ,
        VDS_VHOST_USER_P_CONFIG,       VDS_VHOST_USER_P_INFLIGHT_SHMFD,
        VDS_VHOST_USER_P_RESET_DEVICE, VDS_VHOST_USER_P_CONFIGURE_MEM_SLOTS,
        VDS_VHOST_USER_P_STATUS,       VDS_VHOST_USER_P_DEVICE_STATE,
    };
    uint64_t features = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        features |= UINT64_C(1) << bits[i];
    }
    return features;
}

/* ---- checks that need more than the message -------------------------------------- */

static bool check_feature(const VdsVhostUserBackend *backend,
                          const VdsVhostUserMessage *message, GError **error)
{
    const VdsVhostUserKind *kind =
        vds_vhost_user_kind(VDS_VHOST_USER_MAIN, message->request);

    if (!handlers[message->request]) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_FEATURE, "V2", kind->name,
                                   "belongs to a feature that was not offered");
    }
    if (kind->feature >= 0 && !vds_backend_has(backend, (unsigned)kind->feature)) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_FEATURE, "V2", kind->name,
                                   "needs protocol feature %d, which was not negotiated",
                                   kind->feature);
    }
    return true;
}

/* V4: the number stands in eight bits of a u64, or in 32 of their own. */
static bool check_ring(const VdsVhostUserBackend *backend,
                       const VdsVhostUserMessage *message, GError **error)
{
    const VdsVhostUserKind *kind =
        vds_vhost_user_kind(VDS_VHOST_USER_MAIN, message->request);
    bool narrow = kind->request == VDS_VHOST_USER_LAYOUT_U64;
    uint32_t n =
        narrow ? message->u.u64 & VDS_VHOST_USER_RING_MASK : message->u.ring.index;

    if (kind->ring && narrow &&
        message->u.u64 & ~(uint64_t)(VDS_VHOST_USER_RING_MASK | VDS_VHOST_USER_NO_FD)) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V4", kind->name,
                                   "has reserved bits in 0x%" PRIx64, message->u.u64);
    }
    if (kind->ring && n >= backend->n_rings) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_RING, "V4", kind->name,
                                   "names ring %" PRIu32 " of %u", n, backend->n_rings);
    }
    return true;
}

/* ---- answers --------------------------------------------------------------------- */

static bool wants_ack(const VdsVhostUserBackend *backend,
                      const VdsVhostUserMessage *message)
{
    return vds_vhost_user_needs_reply(message) &&
           vds_backend_has(backend, VDS_VHOST_USER_P_REPLY_ACK);
}

static bool send_ack(VdsVhostUserBackend *backend, const VdsVhostUserMessage *message,
                     uint64_t value, GError **error)
{
    VdsVhostUserMessage ack;

    vds_vhost_user_message_init_ack(&ack, message, value);
    return vds_vhost_user_link_send(backend->link, &ack, error);
}

static bool answer(VdsVhostUserBackend *backend, const VdsVhostUserMessage *message,
                   VdsVhostUserMessage *reply, GError **error)
{
    if (backend->stop) {
        return true; /* when the ring has stopped */
    }
    if (vds_vhost_user_kind(VDS_VHOST_USER_MAIN, message->request)->replies) {
        return vds_vhost_user_link_send(backend->link, reply, error);
    }
    /* SET_LOG_BASE is answered since there is LOG_SHMFD, and what stands there is read by
     * nobody: an error ends the connection. */
    if (wants_ack(backend, message) || message->request == VDS_VHOST_USER_SET_LOG_BASE) {
        return send_ack(backend, message, 0, error);
    }
    return true;
}

/* Addresses and sizes of rings are the guest's words, which a front-end passes on as they
 * are: they break the device, and its VMM keeps the connection. */
static bool is_of_guest(const GError *why)
{
    return g_error_matches(why, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_RING);
}

/* What cannot be done ends the connection, unless the front-end asked how it went or the
 * guest is at fault. */
static bool refuse(VdsVhostUserBackend *backend, const VdsVhostUserMessage *message,
                   GError *why, GError **error)
{
    bool replies = vds_vhost_user_kind(VDS_VHOST_USER_MAIN, message->request)->replies;
    bool acks = !replies && wants_ack(backend, message);

    if (!acks && (replies || !is_of_guest(why))) {
        g_propagate_error(error, why);
        return false;
    }
    vds_backend_refuse(backend, why);
    g_error_free(why);
    return !acks || send_ack(backend, message, 1, error);
}

bool vds_backend_message(void *user, VdsVhostUserMessage *message, GError **error)
{
    VdsVhostUserBackend *backend = user;
    g_auto(VdsVhostUserMessage) reply;
    GError *why = NULL;

    backend->messages++;
    vds_vhost_user_message_init_reply(&reply, message);
    if (!check_feature(backend, message, error)) {
        return false;
    }
    if (!check_ring(backend, message, &why) ||
        !handlers[message->request](backend, message, &reply, &why)) {
        return refuse(backend, message, why, error);
    }
    vds_backend_hint_message(backend);
    return answer(backend, message, &reply, error);
}
