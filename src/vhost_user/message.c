/*
 * vhost_user: one message: its header, its payload by layout, the descriptors it owns.
 * Checks what can be checked without knowing who sends it and why: rules V1, V2, V3.
 * docs/interop/vhost-user.rst, "Message Specification".
 */
#include <stddef.h>
#include <string.h>

#include "vhost_user-priv.h"

enum {
    FLAGS_KNOWN = VDS_VHOST_USER_FLAG_VERSION_MASK | VDS_VHOST_USER_FLAG_REPLY |
                  VDS_VHOST_USER_FLAG_NEED_REPLY,
    CONFIG_HEADER = offsetof(VdsVhostUserConfigSpace, bytes),
    MEMORY_HEADER = offsetof(VdsVhostUserMemory, regions),
    SHMEM_HEADER = offsetof(VdsVhostUserShmemConfig, sizes),
};

/* The wire has no padding but what these structs show. */
G_STATIC_ASSERT(sizeof(VdsVhostUserRingState) == 8);
G_STATIC_ASSERT(sizeof(VdsVhostUserRingAddress) == 40);
G_STATIC_ASSERT(sizeof(VdsVhostUserRegion) == 32 && MEMORY_HEADER == 8);
G_STATIC_ASSERT(sizeof(VdsVhostUserOneRegion) == 40);
G_STATIC_ASSERT(sizeof(VdsVhostUserLog) == 16);
G_STATIC_ASSERT(sizeof(VdsVhostUserIotlb) == 32);
G_STATIC_ASSERT(CONFIG_HEADER == 12);
G_STATIC_ASSERT(sizeof(VdsVhostUserArea) == 24);
G_STATIC_ASSERT(sizeof(VdsVhostUserInflight) == 24);
G_STATIC_ASSERT(sizeof(VdsVhostUserShared) == 16);
G_STATIC_ASSERT(sizeof(VdsVhostUserTransfer) == 8);
G_STATIC_ASSERT(sizeof(VdsVhostUserMmap) == 40);
G_STATIC_ASSERT(sizeof(VdsVhostUserPayload) == VDS_VHOST_USER_MAX_PAYLOAD);

bool vds_vhost_user_fail(GError **error, VdsVhostUserError code, const char *rule,
                         const char *name, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDS_VHOST_USER_ERROR, (int)code, "%s%s%s %s", rule,
                *rule ? ": " : "", name, text);
    return false;
}

/* ---- life ------------------------------------------------------------------------ */

void vds_vhost_user_message_init(VdsVhostUserMessage *message, uint32_t request)
{
    *message = (VdsVhostUserMessage){.request = request, .flags = VDS_VHOST_USER_VERSION};
    for (size_t i = 0; i < G_N_ELEMENTS(message->fds); i++) {
        message->fds[i] = -1;
    }
}

void vds_vhost_user_message_init_reply(VdsVhostUserMessage *reply,
                                       const VdsVhostUserMessage *message)
{
    vds_vhost_user_message_init(reply, message->request);
    reply->flags |= VDS_VHOST_USER_FLAG_REPLY;
}

void vds_vhost_user_message_init_ack(VdsVhostUserMessage *reply,
                                     const VdsVhostUserMessage *message, uint64_t value)
{
    vds_vhost_user_message_init_reply(reply, message);
    reply->u.u64 = value;
    reply->size = sizeof(value); /* tells it from a longer reply */
}

void vds_vhost_user_message_clear(VdsVhostUserMessage *message)
{
    for (unsigned i = 0; i < message->n_fds; i++) {
        vds_fd_close(&message->fds[i]);
    }
    message->n_fds = 0;
}

int vds_vhost_user_message_steal_fd(VdsVhostUserMessage *message, unsigned n)
{
    return n < message->n_fds ? vds_fd_steal(&message->fds[n]) : -1;
}

void vds_vhost_user_message_add_fd(VdsVhostUserMessage *message, int fd)
{
    if (fd >= 0) {
        g_assert(message->n_fds < VDS_VHOST_USER_MAX_FDS);
        message->fds[message->n_fds++] = fd;
    }
}

/* ---- layouts --------------------------------------------------------------------- */

/* How long the payload has to be for what it says; reply: an error may be shorter. */
typedef uint32_t (*LengthFunc)(const VdsVhostUserMessage *message);

static uint32_t memory_length(const VdsVhostUserMessage *message)
{
    return MEMORY_HEADER +
           message->u.memory.n * (uint32_t)sizeof(message->u.memory.regions[0]);
}

/* A reply without any payload is an error. */
static uint32_t config_length(const VdsVhostUserMessage *message)
{
    return vds_vhost_user_is_reply(message) && message->u.config.size == 0
               ? 0
               : CONFIG_HEADER + message->u.config.size;
}

static uint32_t log_length(const VdsVhostUserMessage *message)
{
    return message->n_fds > 0 ? sizeof(VdsVhostUserLog) : sizeof(uint64_t);
}

/* Some send as many sizes as there are, some all of them. */
static uint32_t shmem_length(const VdsVhostUserMessage *message)
{
    return message->size == sizeof(VdsVhostUserShmemConfig)
               ? message->size
               : SHMEM_HEADER + message->u.shmem.n * (uint32_t)sizeof(uint64_t);
}

/* With or without the padding at its end. */
static uint32_t inflight_length(const VdsVhostUserMessage *message)
{
    return message->size == offsetof(VdsVhostUserInflight, padding)
               ? message->size
               : (uint32_t)sizeof(VdsVhostUserInflight);
}

static uint32_t opaque_length(const VdsVhostUserMessage *message)
{
    return message->size;
}

/* The count that a payload holds, for those that hold one. */
typedef uint32_t (*CountFunc)(const VdsVhostUserMessage *message);

static uint32_t memory_count(const VdsVhostUserMessage *message)
{
    return message->u.memory.n;
}

static uint32_t config_count(const VdsVhostUserMessage *message)
{
    return message->u.config.size;
}

static uint32_t shmem_count(const VdsVhostUserMessage *message)
{
    return message->u.shmem.n;
}

typedef struct {
    uint32_t min, max; /* bytes, as the header may say */
    LengthFunc length; /* (nullable) min */
    CountFunc count;   /* (nullable) at most max_count */
    uint32_t max_count;
} Layout;

static const Layout layouts[VDS_VHOST_USER_LAYOUT_COUNT] = {
    [VDS_VHOST_USER_LAYOUT_NONE] = {0, 0, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_U64] = {8, 8, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_RING] = {8, 8, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_ADDRESS] = {40, 40, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_MEMORY] = {MEMORY_HEADER, sizeof(VdsVhostUserMemory),
                                      memory_length, memory_count,
                                      VDS_VHOST_USER_MAX_REGIONS},
    [VDS_VHOST_USER_LAYOUT_REGION] = {40, 40, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_LOG] = {8, 16, log_length, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_IOTLB] = {32, 32, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_CONFIG] = {0, sizeof(VdsVhostUserConfigSpace), config_length,
                                      config_count, VDS_VHOST_USER_MAX_CONFIG},
    [VDS_VHOST_USER_LAYOUT_AREA] = {24, 24, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_INFLIGHT] = {20, 24, inflight_length, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_SHARED] = {16, 16, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_TRANSFER] = {8, 8, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_SHMEM] = {SHMEM_HEADER, sizeof(VdsVhostUserShmemConfig),
                                     shmem_length, shmem_count, VDS_VHOST_USER_MAX_SHMEM},
    [VDS_VHOST_USER_LAYOUT_MMAP] = {40, 40, NULL, NULL, 0},
    [VDS_VHOST_USER_LAYOUT_OPAQUE] = {8, VDS_VHOST_USER_MAX_PAYLOAD, opaque_length, NULL,
                                      0},
};

/* Which layout the payload has.  Only a reply's size can tell an acknowledgement (a plain
 * u64, virtio's word for "done") from what else may come. */
static const Layout *find_layout(const VdsVhostUserKind *kind, bool reply, uint32_t size)
{
    VdsVhostUserLayout layout = reply ? kind->reply : kind->request;

    if (reply && (!kind->replies || kind->ack_too) &&
        (size == layouts[VDS_VHOST_USER_LAYOUT_U64].min ||
         layout == VDS_VHOST_USER_LAYOUT_NONE) &&
        !(kind->replies && size == 0)) {
        layout = VDS_VHOST_USER_LAYOUT_U64;
    }
    return &layouts[layout];
}

static uint32_t layout_length(const Layout *layout, const VdsVhostUserMessage *message)
{
    return layout->length ? layout->length(message) : layout->min;
}

/* ---- checks ---------------------------------------------------------------------- */

/* `want`: the direction in which a stream goes. */
static bool check_flags(VdsVhostUserChannel channel, bool want_reply,
                        const VdsVhostUserMessage *message, GError **error)
{
    char room[24];
    const char *name = vds_vhost_user_name(channel, message->request, room);

    if ((message->flags & VDS_VHOST_USER_FLAG_VERSION_MASK) != VDS_VHOST_USER_VERSION) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_HEADER, "V2", name,
                                   "has version %" PRIu32 ", expected %d",
                                   message->flags & VDS_VHOST_USER_FLAG_VERSION_MASK,
                                   VDS_VHOST_USER_VERSION);
    }
    if (message->flags & ~(uint32_t)FLAGS_KNOWN) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_HEADER, "V2", name,
                                   "has reserved flags 0x%" PRIx32,
                                   message->flags & ~(uint32_t)FLAGS_KNOWN);
    }
    if (vds_vhost_user_is_reply(message) != want_reply) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_HEADER, "V2", name,
                                   want_reply ? "is no reply" : "is a reply");
    }
    return true;
}

bool vds_vhost_user_check_header(VdsVhostUserChannel channel, bool reply,
                                 const VdsVhostUserMessage *message, GError **error)
{
    const VdsVhostUserKind *kind = vds_vhost_user_kind(channel, message->request);
    const Layout *layout;
    char room[24];

    if (!check_flags(channel, reply, message, error)) {
        return false;
    }
    if (!kind) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_UNKNOWN, "V2",
                                   vds_vhost_user_name(channel, message->request, room),
                                   "is not known");
    }
    layout = find_layout(kind, reply, message->size);
    if (message->size < layout->min || message->size > layout->max) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_SIZE, "V1", kind->name,
                                   "has %" PRIu32 " bytes, expected %" PRIu32
                                   " to %" PRIu32,
                                   message->size, layout->min, layout->max);
    }
    return true;
}

static bool check_payload(const VdsVhostUserKind *kind,
                          const VdsVhostUserMessage *message, GError **error)
{
    bool reply = vds_vhost_user_is_reply(message);
    const Layout *layout = find_layout(kind, reply, message->size);
    /* Of what is empty nothing can be asked. */
    uint32_t count = layout->count && message->size > 0 ? layout->count(message) : 0;
    uint32_t length;

    if (count > layout->max_count) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_PAYLOAD, "V1", kind->name,
                                   "counts %" PRIu32 ", at most %" PRIu32, count,
                                   layout->max_count);
    }
    length = layout_length(layout, message);
    if (message->size != length) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_SIZE, "V1", kind->name,
                                   "has %" PRIu32 " bytes, expected %" PRIu32,
                                   message->size, length);
    }
    return true;
}

typedef struct {
    unsigned min, max;
} FdRange;

static FdRange fds_of_none(const VdsVhostUserMessage *message)
{
    return (FdRange){0, 0};
}

static FdRange fds_of_one(const VdsVhostUserMessage *message)
{
    return (FdRange){1, 1};
}

static FdRange fds_of_optional(const VdsVhostUserMessage *message)
{
    return (FdRange){0, 1};
}

static FdRange fds_of_regions(const VdsVhostUserMessage *message)
{
    return (FdRange){message->u.memory.n, message->u.memory.n};
}

static FdRange fds_of_flag(const VdsVhostUserMessage *message)
{
    unsigned n = (message->u.u64 & VDS_VHOST_USER_NO_FD) ? 0 : 1;

    return (FdRange){n, n};
}

static bool check_fds(const VdsVhostUserKind *kind, const VdsVhostUserMessage *message,
                      GError **error)
{
    static FdRange (*const ranges[])(const VdsVhostUserMessage *) = {
        [VDS_VHOST_USER_FDS_NONE] = fds_of_none,
        [VDS_VHOST_USER_FDS_ONE] = fds_of_one,
        [VDS_VHOST_USER_FDS_OPTIONAL] = fds_of_optional,
        [VDS_VHOST_USER_FDS_REGIONS] = fds_of_regions,
        [VDS_VHOST_USER_FDS_FLAG] = fds_of_flag,
    };
    bool reply = vds_vhost_user_is_reply(message);
    FdRange range = ranges[reply ? kind->reply_fds : kind->fds](message);

    if (message->n_fds < range.min || message->n_fds > range.max) {
        return vds_vhost_user_fail(error, VDS_VHOST_USER_ERROR_FDS, "V3", kind->name,
                                   "has %u descriptors, expected %u%s", message->n_fds,
                                   range.max, range.min < range.max ? " at most" : "");
    }
    return true;
}

bool vds_vhost_user_message_check(VdsVhostUserChannel channel,
                                  const VdsVhostUserMessage *message, GError **error)
{
    const VdsVhostUserKind *kind = vds_vhost_user_kind(channel, message->request);

    return vds_vhost_user_check_header(channel, vds_vhost_user_is_reply(message), message,
                                       error) &&
           check_payload(kind, message, error) && check_fds(kind, message, error);
}

/* ---- sending --------------------------------------------------------------------- */

size_t vds_vhost_user_message_pack(
    VdsVhostUserChannel channel, VdsVhostUserMessage *message,
    uint8_t to[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD], GError **error)
{
    const VdsVhostUserKind *kind = vds_vhost_user_kind(channel, message->request);
    const uint32_t *header[] = {&message->request, &message->flags, &message->size};
    bool reply = vds_vhost_user_is_reply(message);

    if (kind) {
        message->size = layout_length(find_layout(kind, reply, message->size), message);
    }
    if (!vds_vhost_user_message_check(channel, message, error)) {
        return 0;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(header); i++) {
        memcpy(to + i * sizeof(uint32_t), header[i], sizeof(uint32_t));
    }
    memcpy(to + VDS_VHOST_USER_HEADER_BYTES, &message->u, message->size);
    return VDS_VHOST_USER_HEADER_BYTES + message->size;
}
