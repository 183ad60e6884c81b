/*
 * vhost_user: the table of messages, one row each.  Owns what the specification's list of
 * message types says; refuses to know what anybody does with them.
 * docs/interop/vhost-user.rst, "Front-end message types" and "Back-end message types".
 */
#include "vhost_user-priv.h"

#define P(name) VDS_VHOST_USER_P_##name
#define LAYOUT(name) VDS_VHOST_USER_LAYOUT_##name
#define FDS(how) VDS_VHOST_USER_FDS_##how

static const VdsVhostUserKind main_kinds[VDS_VHOST_USER_REQUEST_COUNT] = {
    /* clang-format off */
    [VDS_VHOST_USER_GET_FEATURES] = {
        .name = "GET_FEATURES", .reply = LAYOUT(U64), .replies = true, .feature = -1},
    [VDS_VHOST_USER_SET_FEATURES] = {
        .name = "SET_FEATURES", .request = LAYOUT(U64), .feature = -1},
    [VDS_VHOST_USER_SET_OWNER] = {
        .name = "SET_OWNER", .feature = -1},
    [VDS_VHOST_USER_RESET_OWNER] = {
        .name = "RESET_OWNER", .feature = -1},
    [VDS_VHOST_USER_SET_MEM_TABLE] = {
        .name = "SET_MEM_TABLE", .request = LAYOUT(MEMORY), .reply = LAYOUT(MEMORY),
        .ack_too = true, .fds = FDS(REGIONS), .feature = -1},
    [VDS_VHOST_USER_SET_LOG_BASE] = {
        .name = "SET_LOG_BASE", .request = LAYOUT(LOG), .reply = LAYOUT(U64),
        .fds = FDS(OPTIONAL), .feature = -1},
    [VDS_VHOST_USER_SET_LOG_FD] = {
        .name = "SET_LOG_FD", .fds = FDS(ONE), .feature = -1},
    [VDS_VHOST_USER_SET_VRING_NUM] = {
        .name = "SET_VRING_NUM", .request = LAYOUT(RING), .ring = true, .feature = -1},
    [VDS_VHOST_USER_SET_VRING_ADDR] = {
        .name = "SET_VRING_ADDR", .request = LAYOUT(ADDRESS), .ring = true,
        .feature = -1},
    [VDS_VHOST_USER_SET_VRING_BASE] = {
        .name = "SET_VRING_BASE", .request = LAYOUT(RING), .ring = true, .feature = -1},
    [VDS_VHOST_USER_GET_VRING_BASE] = {
        .name = "GET_VRING_BASE", .request = LAYOUT(RING), .reply = LAYOUT(RING),
        .replies = true, .ring = true, .feature = -1},
    [VDS_VHOST_USER_SET_VRING_KICK] = {
        .name = "SET_VRING_KICK", .request = LAYOUT(U64), .fds = FDS(FLAG),
        .ring = true, .feature = -1},
    [VDS_VHOST_USER_SET_VRING_CALL] = {
        .name = "SET_VRING_CALL", .request = LAYOUT(U64), .fds = FDS(FLAG),
        .ring = true, .feature = -1},
    [VDS_VHOST_USER_SET_VRING_ERR] = {
        .name = "SET_VRING_ERR", .request = LAYOUT(U64), .fds = FDS(FLAG),
        .ring = true, .feature = -1},
    [VDS_VHOST_USER_GET_PROTOCOL_FEATURES] = {
        .name = "GET_PROTOCOL_FEATURES", .reply = LAYOUT(U64), .replies = true,
        .feature = -1},
    [VDS_VHOST_USER_SET_PROTOCOL_FEATURES] = {
        .name = "SET_PROTOCOL_FEATURES", .request = LAYOUT(U64), .feature = -1},
    [VDS_VHOST_USER_GET_QUEUE_NUM] = {
        .name = "GET_QUEUE_NUM", .reply = LAYOUT(U64), .replies = true,
        .feature = P(MQ)},
    [VDS_VHOST_USER_SET_VRING_ENABLE] = {
        .name = "SET_VRING_ENABLE", .request = LAYOUT(RING), .ring = true,
        .feature = -1},
    [VDS_VHOST_USER_SEND_RARP] = {
        .name = "SEND_RARP", .request = LAYOUT(U64), .feature = P(RARP)},
    [VDS_VHOST_USER_NET_SET_MTU] = {
        .name = "NET_SET_MTU", .request = LAYOUT(U64), .feature = P(NET_MTU)},
    [VDS_VHOST_USER_SET_BACKEND_REQ_FD] = {
        .name = "SET_BACKEND_REQ_FD", .fds = FDS(ONE), .feature = P(BACKEND_REQ)},
    [VDS_VHOST_USER_IOTLB_MSG] = {
        .name = "IOTLB_MSG", .request = LAYOUT(IOTLB), .reply = LAYOUT(U64),
        .replies = true, .feature = -1},
    [VDS_VHOST_USER_SET_VRING_ENDIAN] = {
        .name = "SET_VRING_ENDIAN", .request = LAYOUT(RING), .ring = true,
        .feature = P(CROSS_ENDIAN)},
    [VDS_VHOST_USER_GET_CONFIG] = {
        .name = "GET_CONFIG", .request = LAYOUT(CONFIG), .reply = LAYOUT(CONFIG),
        .replies = true, .feature = P(CONFIG)},
    [VDS_VHOST_USER_SET_CONFIG] = {
        .name = "SET_CONFIG", .request = LAYOUT(CONFIG), .feature = P(CONFIG)},
    [VDS_VHOST_USER_CREATE_CRYPTO_SESSION] = {
        .name = "CREATE_CRYPTO_SESSION", .request = LAYOUT(OPAQUE),
        .reply = LAYOUT(OPAQUE), .replies = true, .feature = P(CRYPTO_SESSION)},
    [VDS_VHOST_USER_CLOSE_CRYPTO_SESSION] = {
        .name = "CLOSE_CRYPTO_SESSION", .request = LAYOUT(U64),
        .feature = P(CRYPTO_SESSION)},
    [VDS_VHOST_USER_POSTCOPY_ADVISE] = {
        .name = "POSTCOPY_ADVISE", .reply = LAYOUT(NONE), .ack_too = true,
        .reply_fds = FDS(OPTIONAL), .replies = true, .feature = P(PAGEFAULT)},
    [VDS_VHOST_USER_POSTCOPY_LISTEN] = {
        .name = "POSTCOPY_LISTEN", .feature = P(PAGEFAULT)},
    [VDS_VHOST_USER_POSTCOPY_END] = {
        .name = "POSTCOPY_END", .reply = LAYOUT(U64), .replies = true,
        .feature = P(PAGEFAULT)},
    [VDS_VHOST_USER_GET_INFLIGHT_FD] = {
        .name = "GET_INFLIGHT_FD", .request = LAYOUT(INFLIGHT),
        .reply = LAYOUT(INFLIGHT), .reply_fds = FDS(OPTIONAL), .replies = true,
        .feature = P(INFLIGHT_SHMFD)},
    [VDS_VHOST_USER_SET_INFLIGHT_FD] = {
        .name = "SET_INFLIGHT_FD", .request = LAYOUT(INFLIGHT), .fds = FDS(ONE),
        .feature = P(INFLIGHT_SHMFD)},
    [VDS_VHOST_USER_GPU_SET_SOCKET] = {
        .name = "GPU_SET_SOCKET", .fds = FDS(ONE), .feature = -1},
    [VDS_VHOST_USER_RESET_DEVICE] = {
        .name = "RESET_DEVICE", .feature = P(RESET_DEVICE)},
    [VDS_VHOST_USER_VRING_KICK] = {
        .name = "VRING_KICK", .request = LAYOUT(RING), .ring = true,
        .feature = P(INBAND_NOTIFICATIONS)},
    [VDS_VHOST_USER_GET_MAX_MEM_SLOTS] = {
        .name = "GET_MAX_MEM_SLOTS", .reply = LAYOUT(U64), .replies = true,
        .feature = P(CONFIGURE_MEM_SLOTS)},
    [VDS_VHOST_USER_ADD_MEM_REG] = {
        .name = "ADD_MEM_REG", .request = LAYOUT(REGION), .reply = LAYOUT(REGION),
        .ack_too = true, .fds = FDS(ONE), .feature = P(CONFIGURE_MEM_SLOTS)},
    [VDS_VHOST_USER_REM_MEM_REG] = { /* a descriptor is to be closed unused */
        .name = "REM_MEM_REG", .request = LAYOUT(REGION), .fds = FDS(OPTIONAL),
        .feature = P(CONFIGURE_MEM_SLOTS)},
    [VDS_VHOST_USER_SET_STATUS] = {
        .name = "SET_STATUS", .request = LAYOUT(U64), .feature = P(STATUS)},
    [VDS_VHOST_USER_GET_STATUS] = {
        .name = "GET_STATUS", .reply = LAYOUT(U64), .replies = true,
        .feature = P(STATUS)},
    [VDS_VHOST_USER_GET_SHARED_OBJECT] = {
        .name = "GET_SHARED_OBJECT", .request = LAYOUT(SHARED), .reply = LAYOUT(SHARED),
        .reply_fds = FDS(OPTIONAL), .replies = true, .feature = P(SHARED_OBJECT)},
    [VDS_VHOST_USER_SET_DEVICE_STATE_FD] = {
        .name = "SET_DEVICE_STATE_FD", .request = LAYOUT(TRANSFER),
        .reply = LAYOUT(U64), .fds = FDS(ONE), .reply_fds = FDS(FLAG), .replies = true,
        .feature = P(DEVICE_STATE)},
    [VDS_VHOST_USER_CHECK_DEVICE_STATE] = {
        .name = "CHECK_DEVICE_STATE", .reply = LAYOUT(U64), .replies = true,
        .feature = P(DEVICE_STATE)},
    [VDS_VHOST_USER_GET_SHMEM_CONFIG] = {
        .name = "GET_SHMEM_CONFIG", .reply = LAYOUT(SHMEM), .replies = true,
        .feature = P(SHMEM)},
    /* clang-format on */
};

static const VdsVhostUserKind backend_kinds[VDS_VHOST_USER_BACKEND_REQUEST_COUNT] = {
    /* clang-format off */
    [VDS_VHOST_USER_BACKEND_IOTLB_MSG] = {
        .name = "BACKEND_IOTLB_MSG", .request = LAYOUT(IOTLB), .feature = -1},
    [VDS_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG] = {
        .name = "BACKEND_CONFIG_CHANGE_MSG", .feature = P(CONFIG)},
    [VDS_VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG] = {
        .name = "BACKEND_VRING_HOST_NOTIFIER_MSG", .request = LAYOUT(AREA),
        .fds = FDS(OPTIONAL), .feature = P(HOST_NOTIFIER)},
    [VDS_VHOST_USER_BACKEND_VRING_CALL] = {
        .name = "BACKEND_VRING_CALL", .request = LAYOUT(RING), .ring = true,
        .feature = P(INBAND_NOTIFICATIONS)},
    [VDS_VHOST_USER_BACKEND_VRING_ERR] = {
        .name = "BACKEND_VRING_ERR", .request = LAYOUT(RING), .ring = true,
        .feature = P(INBAND_NOTIFICATIONS)},
    [VDS_VHOST_USER_BACKEND_SHARED_OBJECT_ADD] = {
        .name = "BACKEND_SHARED_OBJECT_ADD", .request = LAYOUT(SHARED),
        .feature = P(SHARED_OBJECT)},
    [VDS_VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE] = {
        .name = "BACKEND_SHARED_OBJECT_REMOVE", .request = LAYOUT(SHARED),
        .feature = P(SHARED_OBJECT)},
    [VDS_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP] = {
        .name = "BACKEND_SHARED_OBJECT_LOOKUP", .request = LAYOUT(SHARED),
        .reply = LAYOUT(U64), .reply_fds = FDS(OPTIONAL), .replies = true,
        .feature = P(SHARED_OBJECT)},
    [VDS_VHOST_USER_BACKEND_SHMEM_MAP] = {
        .name = "BACKEND_SHMEM_MAP", .request = LAYOUT(MMAP), .fds = FDS(ONE),
        .feature = P(SHMEM)},
    [VDS_VHOST_USER_BACKEND_SHMEM_UNMAP] = {
        .name = "BACKEND_SHMEM_UNMAP", .request = LAYOUT(MMAP), .feature = P(SHMEM)},
    /* clang-format on */
};

const VdsVhostUserKind *vds_vhost_user_kind(VdsVhostUserChannel channel, uint32_t request)
{
    const VdsVhostUserKind *kinds =
        channel == VDS_VHOST_USER_MAIN ? main_kinds : backend_kinds;
    uint32_t n = channel == VDS_VHOST_USER_MAIN ? VDS_VHOST_USER_REQUEST_COUNT
                                                : VDS_VHOST_USER_BACKEND_REQUEST_COUNT;

    return request < n && kinds[request].name ? &kinds[request] : NULL;
}

const char *vds_vhost_user_name(VdsVhostUserChannel channel, uint32_t request,
                                char room[24])
{
    const VdsVhostUserKind *kind = vds_vhost_user_kind(channel, request);

    if (kind) {
        return kind->name;
    }
    g_snprintf(room, 24, "request %" PRIu32, request);
    return room;
}
