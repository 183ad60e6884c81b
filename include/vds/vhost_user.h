/*
 * vhost_user: the vhost-user protocol (QEMU's docs/interop/vhost-user.rst).
 *
 * The codec: every message of both channels as a row, checked and copied; it does no I/O
 * and knows no device.  The back-end: a device of ours driven by a front-end's messages.
 * Refuses to know what a request on a ring means, and QMP.
 */
#pragma once

#include "vds/virtio.h"

#define VDS_VHOST_USER_ERROR (vds_vhost_user_error_quark())
GQuark vds_vhost_user_error_quark(void);
/* The message begins with the rule's id where there is one: "V3: SET_MEM_TABLE with ...".
 */
typedef enum {
    VDS_VHOST_USER_ERROR_HEADER,  /* V2: version, reply flag, reserved bits */
    VDS_VHOST_USER_ERROR_UNKNOWN, /* V2: no message has that number */
    VDS_VHOST_USER_ERROR_SIZE,    /* V1: the payload is too short or too long */
    VDS_VHOST_USER_ERROR_FDS, /* V3: too few or too many descriptors; V12: amid a message
                               */
    VDS_VHOST_USER_ERROR_PAYLOAD, /* a field that can have no such value */
    VDS_VHOST_USER_ERROR_FEATURE, /* needs a protocol feature that was not negotiated */
    VDS_VHOST_USER_ERROR_RING, /* V4: no such ring; C1, C2: a size or address no ring has
                                */
    VDS_VHOST_USER_ERROR_MEMORY,  /* V5, C6: a region or log that cannot be mapped */
    VDS_VHOST_USER_ERROR_STATE,   /* not now: C7, C8 */
    VDS_VHOST_USER_ERROR_REFUSED, /* the device does not want that */
    VDS_VHOST_USER_ERROR_CLOSED,  /* V12: the peer left in the middle of a message */
    VDS_VHOST_USER_ERROR_SYSTEM,  /* a socket or descriptor could not be had */
} VdsVhostUserError;

/* ---- numbers of the protocol ----------------------------------------------------- */

enum {
    VDS_VHOST_USER_VERSION = 1,
    VDS_VHOST_USER_FLAG_VERSION_MASK = 3,
    VDS_VHOST_USER_FLAG_REPLY = 1 << 2,
    VDS_VHOST_USER_FLAG_NEED_REPLY = 1 << 3,
};

/* Feature bits of vhost itself, beside the device's. */
enum { VDS_VHOST_F_LOG_ALL = 26, VDS_VHOST_USER_F_PROTOCOL_FEATURES = 30 };

enum { /* protocol features, as bit numbers */
       VDS_VHOST_USER_P_MQ,
       VDS_VHOST_USER_P_LOG_SHMFD,
       VDS_VHOST_USER_P_RARP,
       VDS_VHOST_USER_P_REPLY_ACK,
       VDS_VHOST_USER_P_NET_MTU,
       VDS_VHOST_USER_P_BACKEND_REQ,
       VDS_VHOST_USER_P_CROSS_ENDIAN,
       VDS_VHOST_USER_P_CRYPTO_SESSION,
       VDS_VHOST_USER_P_PAGEFAULT,
       VDS_VHOST_USER_P_CONFIG,
       VDS_VHOST_USER_P_BACKEND_SEND_FD,
       VDS_VHOST_USER_P_HOST_NOTIFIER,
       VDS_VHOST_USER_P_INFLIGHT_SHMFD,
       VDS_VHOST_USER_P_RESET_DEVICE,
       VDS_VHOST_USER_P_INBAND_NOTIFICATIONS,
       VDS_VHOST_USER_P_CONFIGURE_MEM_SLOTS,
       VDS_VHOST_USER_P_STATUS,
       VDS_VHOST_USER_P_XEN_MMAP,
       VDS_VHOST_USER_P_SHARED_OBJECT,
       VDS_VHOST_USER_P_DEVICE_STATE,
       VDS_VHOST_USER_P_SHMEM,
       VDS_VHOST_USER_P_COUNT,
};

typedef enum { /* requests of the front-end, on the main channel */
               VDS_VHOST_USER_GET_FEATURES = 1,
               VDS_VHOST_USER_SET_FEATURES,
               VDS_VHOST_USER_SET_OWNER,
               VDS_VHOST_USER_RESET_OWNER,
               VDS_VHOST_USER_SET_MEM_TABLE,
               VDS_VHOST_USER_SET_LOG_BASE,
               VDS_VHOST_USER_SET_LOG_FD,
               VDS_VHOST_USER_SET_VRING_NUM,
               VDS_VHOST_USER_SET_VRING_ADDR,
               VDS_VHOST_USER_SET_VRING_BASE,
               VDS_VHOST_USER_GET_VRING_BASE,
               VDS_VHOST_USER_SET_VRING_KICK,
               VDS_VHOST_USER_SET_VRING_CALL,
               VDS_VHOST_USER_SET_VRING_ERR,
               VDS_VHOST_USER_GET_PROTOCOL_FEATURES,
               VDS_VHOST_USER_SET_PROTOCOL_FEATURES,
               VDS_VHOST_USER_GET_QUEUE_NUM,
               VDS_VHOST_USER_SET_VRING_ENABLE,
               VDS_VHOST_USER_SEND_RARP,
               VDS_VHOST_USER_NET_SET_MTU,
               VDS_VHOST_USER_SET_BACKEND_REQ_FD,
               VDS_VHOST_USER_IOTLB_MSG,
               VDS_VHOST_USER_SET_VRING_ENDIAN,
               VDS_VHOST_USER_GET_CONFIG,
               VDS_VHOST_USER_SET_CONFIG,
               VDS_VHOST_USER_CREATE_CRYPTO_SESSION,
               VDS_VHOST_USER_CLOSE_CRYPTO_SESSION,
               VDS_VHOST_USER_POSTCOPY_ADVISE,
               VDS_VHOST_USER_POSTCOPY_LISTEN,
               VDS_VHOST_USER_POSTCOPY_END,
               VDS_VHOST_USER_GET_INFLIGHT_FD,
               VDS_VHOST_USER_SET_INFLIGHT_FD,
               VDS_VHOST_USER_GPU_SET_SOCKET,
               VDS_VHOST_USER_RESET_DEVICE,
               VDS_VHOST_USER_VRING_KICK,
               VDS_VHOST_USER_GET_MAX_MEM_SLOTS,
               VDS_VHOST_USER_ADD_MEM_REG,
               VDS_VHOST_USER_REM_MEM_REG,
               VDS_VHOST_USER_SET_STATUS,
               VDS_VHOST_USER_GET_STATUS,
               VDS_VHOST_USER_GET_SHARED_OBJECT,
               VDS_VHOST_USER_SET_DEVICE_STATE_FD,
               VDS_VHOST_USER_CHECK_DEVICE_STATE,
               VDS_VHOST_USER_GET_SHMEM_CONFIG,
               VDS_VHOST_USER_REQUEST_COUNT,
} VdsVhostUserRequest;

typedef enum { /* requests of the back-end, on the socket that SET_BACKEND_REQ_FD gave */
               VDS_VHOST_USER_BACKEND_IOTLB_MSG = 1,
               VDS_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
               VDS_VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG,
               VDS_VHOST_USER_BACKEND_VRING_CALL,
               VDS_VHOST_USER_BACKEND_VRING_ERR,
               VDS_VHOST_USER_BACKEND_SHARED_OBJECT_ADD,
               VDS_VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE,
               VDS_VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP,
               VDS_VHOST_USER_BACKEND_SHMEM_MAP,
               VDS_VHOST_USER_BACKEND_SHMEM_UNMAP,
               VDS_VHOST_USER_BACKEND_REQUEST_COUNT,
} VdsVhostUserBackendRequest;

/* ---- payloads -------------------------------------------------------------------- */

/* As on the wire, all in the machine's byte order: no field is out of line. */

enum {
    VDS_VHOST_USER_MAX_FDS = 8,
    VDS_VHOST_USER_MAX_REGIONS = 8, /* of one SET_MEM_TABLE */
    VDS_VHOST_USER_MAX_CONFIG = 256,
    VDS_VHOST_USER_MAX_SHMEM = 256,
    VDS_VHOST_USER_HEADER_BYTES = 12,
    VDS_VHOST_USER_MAX_PAYLOAD = 4096,
};

/* u64 of SET_VRING_KICK, CALL and ERR: bits 0..7 the ring, bit 8 "no descriptor"; bit 8
 * also in the reply of SET_DEVICE_STATE_FD. */
#define VDS_VHOST_USER_RING_MASK 0xffu
#define VDS_VHOST_USER_NO_FD 0x100u

typedef struct {
    uint32_t index, num;
} VdsVhostUserRingState;

enum { VDS_VHOST_USER_RING_F_LOG = 0 }; /* bit of flags */
typedef struct {
    uint32_t index, flags;
    uint64_t desc, used, avail; /* the front-end's addresses */
    uint64_t log;               /* guest-physical, of the used ring */
} VdsVhostUserRingAddress;

typedef struct {
    uint64_t gpa, len, uva, offset;
} VdsVhostUserRegion;

typedef struct {
    uint32_t n, padding;
    VdsVhostUserRegion regions[VDS_VHOST_USER_MAX_REGIONS];
} VdsVhostUserMemory;

typedef struct {
    uint64_t padding;
    VdsVhostUserRegion region;
} VdsVhostUserOneRegion;

typedef struct {
    uint64_t size, offset; /* without LOG_SHMFD: an address of no use, and nothing */
} VdsVhostUserLog;

typedef struct {
    uint64_t iova, size, uva;
    uint8_t permission, type, padding[6];
} VdsVhostUserIotlb;

enum { VDS_VHOST_USER_CONFIG_WRITABLE = 0, VDS_VHOST_USER_CONFIG_MIGRATION = 1 };
typedef struct {
    uint32_t offset, size, flags;
    uint8_t bytes[VDS_VHOST_USER_MAX_CONFIG];
} VdsVhostUserConfigSpace;

typedef struct {
    uint64_t ring, size, offset;
} VdsVhostUserArea;

typedef struct {
    uint64_t size, offset;
    uint16_t n_queues, queue_size, padding[2]; /* the padding need not be sent */
} VdsVhostUserInflight;

typedef struct {
    uint8_t uuid[16];
} VdsVhostUserShared;

enum { VDS_VHOST_USER_STATE_SAVE = 0, VDS_VHOST_USER_STATE_LOAD = 1 };
typedef struct {
    uint32_t direction, phase; /* phase 0: all rings are stopped */
} VdsVhostUserTransfer;

typedef struct {
    uint32_t n, padding;
    uint64_t sizes[VDS_VHOST_USER_MAX_SHMEM];
} VdsVhostUserShmemConfig;

typedef struct {
    uint8_t shmid, padding[7];
    uint64_t fd_offset, shm_offset, len, flags;
} VdsVhostUserMmap;

typedef union {
    uint64_t u64;
    VdsVhostUserRingState ring;
    VdsVhostUserRingAddress address;
    VdsVhostUserMemory memory;
    VdsVhostUserOneRegion region;
    VdsVhostUserLog log;
    VdsVhostUserIotlb iotlb;
    VdsVhostUserConfigSpace config;
    VdsVhostUserArea area;
    VdsVhostUserInflight inflight;
    VdsVhostUserShared shared;
    VdsVhostUserTransfer transfer;
    VdsVhostUserShmemConfig shmem;
    VdsVhostUserMmap mmap;
    uint8_t
        bytes[VDS_VHOST_USER_MAX_PAYLOAD]; /* crypto sessions, passed on as they are */
} VdsVhostUserPayload;

/* ---- messages -------------------------------------------------------------------- */

/* Who asks on it: the front-end on the main channel, the back-end on the other. */
typedef enum {
    VDS_VHOST_USER_MAIN,
    VDS_VHOST_USER_BACKEND,
} VdsVhostUserChannel;

/* One message with the descriptors it owns; unused ones are -1. */
typedef struct {
    uint32_t request, flags;
    uint32_t size; /* bytes of u; _pack() fills it in */
    VdsVhostUserPayload u;
    int fds[VDS_VHOST_USER_MAX_FDS];
    unsigned n_fds;
} VdsVhostUserMessage;

static inline bool vds_vhost_user_is_reply(const VdsVhostUserMessage *message)
{
    return (message->flags & VDS_VHOST_USER_FLAG_REPLY) != 0;
}

static inline bool vds_vhost_user_needs_reply(const VdsVhostUserMessage *message)
{
    return (message->flags & VDS_VHOST_USER_FLAG_NEED_REPLY) != 0;
}

/* An empty one: version and no more in its flags, payload all zeroes, no descriptor. */
void vds_vhost_user_message_init(VdsVhostUserMessage *message, uint32_t request);
/* The reply to it: the same request, with the reply flag. */
void vds_vhost_user_message_init_reply(VdsVhostUserMessage *reply,
                                       const VdsVhostUserMessage *message);
/* The plain reply of REPLY_ACK: 0 is success. */
void vds_vhost_user_message_init_ack(VdsVhostUserMessage *reply,
                                     const VdsVhostUserMessage *message, uint64_t value);
/* Closes what it owns. */
void vds_vhost_user_message_clear(VdsVhostUserMessage *message);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VdsVhostUserMessage, vds_vhost_user_message_clear)
/* (transfer full); -1 when there is no such descriptor. */
int vds_vhost_user_message_steal_fd(VdsVhostUserMessage *message, unsigned n);
/* fd is (transfer full), -1 is nothing; n_fds must be below the limit. */
void vds_vhost_user_message_add_fd(VdsVhostUserMessage *message, int fd);

/* ---- the table ------------------------------------------------------------------- */

typedef enum {
    VDS_VHOST_USER_LAYOUT_NONE,
    VDS_VHOST_USER_LAYOUT_U64,
    VDS_VHOST_USER_LAYOUT_RING,
    VDS_VHOST_USER_LAYOUT_ADDRESS,
    VDS_VHOST_USER_LAYOUT_MEMORY,
    VDS_VHOST_USER_LAYOUT_REGION,
    VDS_VHOST_USER_LAYOUT_LOG,
    VDS_VHOST_USER_LAYOUT_IOTLB,
    VDS_VHOST_USER_LAYOUT_CONFIG,
    VDS_VHOST_USER_LAYOUT_AREA,
    VDS_VHOST_USER_LAYOUT_INFLIGHT,
    VDS_VHOST_USER_LAYOUT_SHARED,
    VDS_VHOST_USER_LAYOUT_TRANSFER,
    VDS_VHOST_USER_LAYOUT_SHMEM,
    VDS_VHOST_USER_LAYOUT_MMAP,
    VDS_VHOST_USER_LAYOUT_OPAQUE,
    VDS_VHOST_USER_LAYOUT_COUNT,
} VdsVhostUserLayout;

/* How many descriptors come with it. */
typedef enum {
    VDS_VHOST_USER_FDS_NONE,
    VDS_VHOST_USER_FDS_ONE,
    VDS_VHOST_USER_FDS_OPTIONAL, /* one or none */
    VDS_VHOST_USER_FDS_REGIONS,  /* one a region */
    VDS_VHOST_USER_FDS_FLAG,     /* none with NO_FD in the u64, else one */
} VdsVhostUserFds;

/* A message: name as the specification has it, without VHOST_USER_. */
typedef struct {
    const char *name;
    VdsVhostUserLayout request, reply;
    VdsVhostUserFds fds, reply_fds;
    bool replies;   /* has an answer of its own, whatever NEED_REPLY says */
    bool ack_too;   /* ... or, instead, the plain u64 of REPLY_ACK */
    bool ring;      /* its payload begins with the number of a ring */
    int8_t feature; /* the protocol feature it needs, or -1 */
} VdsVhostUserKind;

/* (nullable) no message has that number */
const VdsVhostUserKind *vds_vhost_user_kind(VdsVhostUserChannel channel,
                                            uint32_t request);
/* For messages to people: the name, or "request 99" in `room`. */
const char *vds_vhost_user_name(VdsVhostUserChannel channel, uint32_t request,
                                char room[24]);

/* Is it a message of this channel, request or reply as its flags say?  HEADER, UNKNOWN,
 * SIZE, PAYLOAD, FDS. */
bool vds_vhost_user_message_check(VdsVhostUserChannel channel,
                                  const VdsVhostUserMessage *message, GError **error);
/* Fills in message->size, checks, and writes header and payload for one sendmsg() with
 * message->fds; returns how many bytes, or 0 with an error of the above. */
size_t vds_vhost_user_message_pack(
    VdsVhostUserChannel channel, VdsVhostUserMessage *message,
    uint8_t to[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD], GError **error);

/* ---- VdsVhostUserDecoder: a stream of bytes and descriptors ---------------------- */

/* One way of a channel: requests, or replies.  Plain; bytes go straight to where they
 * belong:
 *
 *     while (...) {
 *         len = vds_vhost_user_decoder_want(&decoder, &to);
 *         n = recvmsg(at most len bytes to `to`, and fds);
 *         switch (vds_vhost_user_decoder_push(&decoder, n, fds, n_fds, &error)) ...
 *     }
 *
 * It never wants bytes of two messages, so what arrives with the first byte of one is
 * that one's. */
typedef struct {
    VdsVhostUserChannel channel;
    bool replies;
    uint8_t header[VDS_VHOST_USER_HEADER_BYTES];
    size_t have;                 /* bytes of header and payload */
    VdsVhostUserMessage message; /* under way */
} VdsVhostUserDecoder;

typedef enum {
    VDS_VHOST_USER_MORE,    /* it wants more bytes */
    VDS_VHOST_USER_MESSAGE, /* a whole message: take it before the next push */
    VDS_VHOST_USER_WRONG,   /* the stream is of no more use */
} VdsVhostUserStep;

void vds_vhost_user_decoder_init(VdsVhostUserDecoder *decoder,
                                 VdsVhostUserChannel channel, bool replies);
void vds_vhost_user_decoder_clear(VdsVhostUserDecoder *decoder); /* closes */
/* Where the next bytes go, and how many at most; never 0. */
size_t vds_vhost_user_decoder_want(VdsVhostUserDecoder *decoder, uint8_t **to);
/* n bytes were put there; the descriptors (transfer full, all of them, also on error)
 * arrived with the first of these.  On error as _check(). */
VdsVhostUserStep vds_vhost_user_decoder_push(VdsVhostUserDecoder *decoder, size_t n,
                                             const int *fds, size_t n_fds,
                                             GError **error);
/* After MESSAGE: hands it over; the decoder is ready for the next one. */
void vds_vhost_user_decoder_take(VdsVhostUserDecoder *decoder,
                                 VdsVhostUserMessage *message);
/* At the end of the stream: CLOSED if it ends amid a message. */
bool vds_vhost_user_decoder_finish(const VdsVhostUserDecoder *decoder, GError **error);

/* ---- VdsVhostUserBackend: a device of ours, driven by a front-end ---------------- */

/* One front-end at a time: others that connect wait, in their order, until it leaves.  A
 * few are accepted, so that they can be counted; the rest stay in the socket's backlog.
 * Whatever a front-end does wrong ends its connection at most; the device lives and takes
 * the next one.  All on the main loop; the device's driver is this, and nobody else. */
typedef struct VdsVhostUserBackend VdsVhostUserBackend;

/* What happens at the socket, and `text`: */
typedef enum {
    VDS_VHOST_USER_CONNECTED, /* a front-end connected; NULL */
    VDS_VHOST_USER_LEFT,      /* it is gone; why it was disconnected, or "" */
    VDS_VHOST_USER_REFUSED,   /* a message was refused, and the connection goes on; why */
    VDS_VHOST_USER_WAITS,     /* another front-end waits; NULL */
    VDS_VHOST_USER_HINT,      /* 2 s passed, and something is missing; the hint */
    VDS_VHOST_USER_PAUSED,    /* accepting failed, and pauses for 1 s; why */
} VdsVhostUserNewsKind;

typedef struct {
    VdsVhostUserNewsKind kind;
    VdsVirtioDevice *device;
    const char *path;    /* of the socket */
    uint64_t connection; /* the number of the last connection, from 1 */
    unsigned waiting;    /* front-ends */
    int peer_pid;        /* CONNECTED, WAITS: the process, 0 when the system has none */
    const char *text;    /* (nullable) */
} VdsVhostUserNews;

/* Called on the main loop; it must not use the back-end, nor free it. */
typedef void (*VdsVhostUserNewsFunc)(const VdsVhostUserNews *news, void *user);

enum { VDS_VHOST_USER_MAX_WAITING = 8 }; /* front-ends that are accepted and wait */

typedef struct {
    const char *path;
    bool server;          /* listen (0600; a stale file is replaced), or connect */
    unsigned reconnect_s; /* client: how long after a connection failed or ended the next
                             one is tried; 0: once */
    unsigned n_rings;     /* that the front-end may use; 0: all of the device */
    unsigned rings_a_queue;     /* as GET_QUEUE_NUM counts (net: 2); 0: 1 */
    uint64_t protocol_features; /* to take away from those offered */
    VdsMailbox
        *mailbox; /* borrowed; run by the main loop, and until the device is gone */
    GMainContext *context; /* (nullable) */
    VdsGuestQuota *quota;  /* (nullable) of what front-ends have mapped; all share it */
    VdsVhostUserNewsFunc news; /* (nullable) */
    void *news_user;
} VdsVhostUserBackendConfig;

/* What every back-end here can offer, as bits. */
uint64_t vds_vhost_user_backend_protocol_features(void);

/* `device` is borrowed and outlives the back-end; it must have ops.  SYSTEM, or what the
 * socket says (VDS_UTIL_ERROR). */
VdsVhostUserBackend *vds_vhost_user_backend_new(const VdsVhostUserBackendConfig *config,
                                                VdsVirtioDevice *device, GError **error);
/* NULL is fine.  The front-end is left, the socket file removed; the device stands still
 * and shows what was last. */
void vds_vhost_user_backend_free(VdsVhostUserBackend *backend);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsVhostUserBackend, vds_vhost_user_backend_free)

/* Leaves the front-end, for a reason that people read. */
void vds_vhost_user_backend_drop(VdsVhostUserBackend *backend, const char *reason);

/* For people.  The last connection's end, "" while it ended well; and the last message
 * that was refused, over all connections.  (transfer none) (nullable) */
bool vds_vhost_user_backend_is_connected(const VdsVhostUserBackend *backend);
const char *vds_vhost_user_backend_get_reason(const VdsVhostUserBackend *backend);
const char *vds_vhost_user_backend_get_refusal(const VdsVhostUserBackend *backend);
uint64_t vds_vhost_user_backend_get_connections(const VdsVhostUserBackend *backend);
/* How many front-ends wait, VDS_VHOST_USER_MAX_WAITING at most. */
unsigned vds_vhost_user_backend_count_waiting(const VdsVhostUserBackend *backend);
/* What the connected peer has not sent for 2 s, and the likely reason: no message at all,
 * no guest memory after SET_FEATURES, or no buffer in a ring that is kicked.  "" when
 * nothing is missing.  (transfer full) */
char *vds_vhost_user_backend_get_hint(const VdsVhostUserBackend *backend);
uint64_t vds_vhost_user_backend_get_messages(const VdsVhostUserBackend *backend);
