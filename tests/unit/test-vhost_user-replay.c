/*
 * vhost_user: what QEMU 7.2 and DPDK 22.11 said to other people's back-ends
 * (tests/golden/vhost-user): each message there and back through the codec; and each
 * conversation with our back-end, every request answered as it was then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <json-glib/json-glib.h>

#include "vhost-front.h"

/* ---- a recorded message ------------------------------------------------------------ */

static uint64_t number(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node) {
        return 0;
    }
    if (json_node_get_value_type(node) == G_TYPE_STRING) {
        return g_ascii_strtoull(json_node_get_string(node), NULL, 0);
    }
    return (uint64_t)json_node_get_int(node);
}

static VdsVhostUserRegion region_from(JsonObject *object)
{
    return (VdsVhostUserRegion){.gpa = number(object, "gpa"),
                                .len = number(object, "size"),
                                .uva = number(object, "uaddr"),
                                .offset = number(object, "off")};
}

static void read_u64(JsonObject *object, VdsVhostUserMessage *message)
{
    message->u.u64 =
        json_object_has_member(object, "index")
            ? number(object, "index") |
                  (json_object_get_boolean_member(object, "nofd") ? VDS_VHOST_USER_NO_FD
                                                                  : 0)
            : number(object, "u64");
}

static void read_ring(JsonObject *object, VdsVhostUserMessage *message)
{
    message->u.ring.index = (uint32_t)number(object, "index");
    message->u.ring.num = (uint32_t)number(object, "num");
}

static void read_address(JsonObject *object, VdsVhostUserMessage *message)
{
    message->u.address = (VdsVhostUserRingAddress){
        .index = (uint32_t)number(object, "index"),
        .flags = (uint32_t)number(object, "addr_flags"),
        .desc = number(object, "desc"),
        .used = number(object, "used"),
        .avail = number(object, "avail"),
        .log = number(object, "log"),
    };
}

static void read_memory(JsonObject *object, VdsVhostUserMessage *message)
{
    JsonArray *regions = json_object_get_array_member(object, "regions");

    message->u.memory.n = json_array_get_length(regions);
    for (guint i = 0; i < message->u.memory.n; i++) {
        message->u.memory.regions[i] =
            region_from(json_array_get_object_element(regions, i));
    }
}

static void read_region(JsonObject *object, VdsVhostUserMessage *message)
{
    message->u.region.region =
        region_from(json_object_get_object_member(object, "region"));
}

static void read_config(JsonObject *object, VdsVhostUserMessage *message)
{
    const char *hex = json_object_get_string_member(object, "payload");

    message->u.config.offset = (uint32_t)number(object, "offset");
    message->u.config.size = (uint32_t)number(object, "size");
    message->u.config.flags = (uint32_t)number(object, "cfg_flags");
    for (unsigned i = 0; i < message->u.config.size; i++) {
        message->u.config.bytes[i] = (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 |
                                               g_ascii_xdigit_value(hex[2 * i + 1]));
    }
}

static void read_nothing(JsonObject *object, VdsVhostUserMessage *message)
{
}

static void (*const readers[VDS_VHOST_USER_LAYOUT_COUNT])(JsonObject *,
                                                          VdsVhostUserMessage *) = {
    [VDS_VHOST_USER_LAYOUT_NONE] = read_nothing,
    [VDS_VHOST_USER_LAYOUT_U64] = read_u64,
    [VDS_VHOST_USER_LAYOUT_RING] = read_ring,
    [VDS_VHOST_USER_LAYOUT_ADDRESS] = read_address,
    [VDS_VHOST_USER_LAYOUT_MEMORY] = read_memory,
    [VDS_VHOST_USER_LAYOUT_REGION] = read_region,
    [VDS_VHOST_USER_LAYOUT_CONFIG] = read_config,
};

/* Without its descriptors: *n_fds says how many there were. */
static void message_from(JsonObject *object, VdsVhostUserMessage *message,
                         unsigned *n_fds)
{
    uint32_t request = (uint32_t)number(object, "request");
    const VdsVhostUserKind *kind = vds_vhost_user_kind(VDS_VHOST_USER_MAIN, request);

    assert_non_null(kind);
    assert_string_equal(kind->name, json_object_get_string_member(object, "name"));
    vds_vhost_user_message_init(message, request);
    message->flags = (uint32_t)number(object, "flags");
    *n_fds = (unsigned)number(object, "nfds");
    if (!vds_vhost_user_is_reply(message)) {
        readers[kind->request](object, message);
    } else if (kind->replies) {
        readers[kind->reply](object, message);
    } else {
        uint64_t value = number(object, "u64");

        vds_vhost_user_message_init_ack(message, message, value);
    }
}

typedef void (*RecordFunc)(JsonObject *object, void *user);

/* Calls func for each message of the file; returns how many there were. */
static unsigned each_message(const char *name, RecordFunc func, void *user)
{
    g_autofree char *path = g_build_filename(VDS_TEST_VHOST_USER, name, NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned n = 0;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i] && *lines[i]; i++) {
        g_autoptr(JsonNode) node = json_from_string(lines[i], NULL);
        JsonObject *object = json_node_get_object(node);

        if (json_object_has_member(object, "dir")) {
            func(object, user);
            n++;
        }
    }
    return n;
}

static const char *const files[] = {"blk.jsonl",
                                    "fs.jsonl",
                                    "net-1q.jsonl",
                                    "net-2q.jsonl",
                                    "virtio-user-split.jsonl",
                                    "virtio-user-packed.jsonl"};

/* ---- the codec --------------------------------------------------------------------- */

static void code(JsonObject *object, void *user)
{
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    g_auto(VdsVhostUserMessage) message;
    g_auto(VdsVhostUserMessage) again;
    VdsVhostUserStep step = VDS_VHOST_USER_MORE;
    VdsVhostUserDecoder decoder;
    unsigned n_fds;
    size_t len, done = 0;

    message_from(object, &message, &n_fds);
    while (n_fds-- > 0) {
        vds_vhost_user_message_add_fd(&message, eventfd(0, EFD_CLOEXEC));
    }
    len = vds_vhost_user_message_pack(VDS_VHOST_USER_MAIN, &message, bytes, NULL);
    assert_true(len > 0);
    vds_vhost_user_decoder_init(&decoder, VDS_VHOST_USER_MAIN,
                                vds_vhost_user_is_reply(&message));
    while (step == VDS_VHOST_USER_MORE) {
        uint8_t *to;
        size_t n = vds_vhost_user_decoder_want(&decoder, &to);

        memcpy(to, bytes + done, n);
        step = vds_vhost_user_decoder_push(&decoder, n, message.fds,
                                           done ? 0 : message.n_fds, NULL);
        done += n;
    }
    assert_int_equal(step, VDS_VHOST_USER_MESSAGE);
    assert_int_equal(done, len);
    message.n_fds = 0;
    vds_vhost_user_decoder_take(&decoder, &again);
    assert_memory_equal(&again.u, &message.u, message.size);
    assert_int_equal(again.flags, message.flags);
}

static void test_codec(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        assert_true(each_message(files[i], code, NULL) > 20);
    }
}

/* ---- our back-end -------------------------------------------------------------------
 */

enum { RINGS = 4 };

/* A device that can everything that anybody negotiated, and does nothing. */
static void handle(void *instance, VdsVirtQueue *queue)
{
}

static const VdsDeviceOps idle_ops = {.handle = handle};

typedef struct {
    VdsIoThread *thread;
    VdsVirtioDevice *device;
    VdsMailbox *mailbox;
    VdsVhostUserBackend *backend;
    char *folder, *path;
    Front front;
    int channel; /* our end of the back-end channel; -1 */
    guint watch; /* of the mailbox */
    unsigned asked, answered, starts;
} Replay;

static void replay_init(Replay *replay)
{
    static const uint16_t sizes[RINGS] = {256, 256, 256, 256};
    static const uint8_t config[64] = {0};

    *replay = (Replay){.channel = -1};
    replay->thread = vds_io_thread_new("replay");
    replay->device = vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = 2,
        .host_features = {{UINT64_MAX, 0}},
        .queue_sizes = sizes,
        .n_queues = RINGS,
        .use_started = true,
        .ops = &idle_ops,
        .io_thread = replay->thread,
        .config = config,
        .config_len_bytes = sizeof(config),
    });
    vds_virtio_device_set_running(replay->device, true);
    replay->mailbox = vds_mailbox_new(NULL);
    replay->watch = front_watch(replay->mailbox);
    replay->folder = g_dir_make_tmp("vds-XXXXXX", NULL);
    replay->path = g_build_filename(replay->folder, "s", NULL);
    replay->backend = vds_vhost_user_backend_new(
        &(VdsVhostUserBackendConfig){
            .path = replay->path, .server = true, .mailbox = replay->mailbox},
        replay->device, NULL);
    assert_non_null(replay->backend);
    front_connect(&replay->front, replay->path);
}

static void replay_clear(Replay *replay)
{
    vds_vhost_user_backend_free(replay->backend);
    front_leave(&replay->front);
    vds_fd_close(&replay->channel);
    vds_virtio_device_free(replay->device);
    g_source_remove(replay->watch);
    vds_mailbox_free(replay->mailbox);
    vds_io_thread_unref(replay->thread);
    assert_int_equal(rmdir(replay->folder), 0); /* the socket's file is gone */
    g_free(replay->path);
    g_free(replay->folder);
}

static int memory_fd(uint64_t len)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    return fd;
}

static void add_fds(Replay *replay, VdsVhostUserMessage *message, unsigned n)
{
    int pair[2];

    switch (message->request) {
    case VDS_VHOST_USER_SET_MEM_TABLE:
        for (unsigned i = 0; i < n; i++) {
            vds_vhost_user_message_add_fd(message,
                                          memory_fd(message->u.memory.regions[i].len));
        }
        return;
    case VDS_VHOST_USER_ADD_MEM_REG:
        vds_vhost_user_message_add_fd(message, memory_fd(message->u.region.region.len));
        return;
    case VDS_VHOST_USER_SET_BACKEND_REQ_FD:
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        vds_fd_close(&replay->channel);
        replay->channel = pair[0];
        vds_vhost_user_message_add_fd(message, pair[1]);
        return;
    default:
        for (unsigned i = 0; i < n; i++) {
            vds_vhost_user_message_add_fd(message, eventfd(0, EFD_CLOEXEC));
        }
    }
}

/* Others offered more of the protocol. */
static void narrow(VdsVhostUserMessage *message)
{
    if (message->request == VDS_VHOST_USER_SET_PROTOCOL_FEATURES) {
        message->u.u64 &= vds_vhost_user_backend_protocol_features();
    }
}

/* What everybody answers alike. */
static bool is_told_by_all(uint32_t request)
{
    return request != VDS_VHOST_USER_GET_FEATURES &&
           request != VDS_VHOST_USER_GET_PROTOCOL_FEATURES &&
           request != VDS_VHOST_USER_GET_QUEUE_NUM &&
           request != VDS_VHOST_USER_GET_MAX_MEM_SLOTS &&
           request != VDS_VHOST_USER_GET_CONFIG &&
           request != VDS_VHOST_USER_GET_VRING_BASE; /* theirs had moved */
}

static void play(JsonObject *object, void *user)
{
    Replay *replay = user;
    VdsVhostUserMessage message, reply;
    unsigned n_fds;

    message_from(object, &message, &n_fds);
    if (vds_vhost_user_is_reply(&message)) {
        assert_int_equal(front_hear(&replay->front, &reply), FRONT_REPLY);
        assert_int_equal(reply.request, message.request);
        assert_int_equal(reply.flags, message.flags);
        if (is_told_by_all(message.request)) {
            assert_int_equal(reply.size, 8);
            assert_int_equal(reply.u.u64, message.u.u64);
        }
        replay->answered++;
        return;
    }
    narrow(&message);
    add_fds(replay, &message, n_fds);
    front_send(&replay->front, &message);
    replay->asked++;
    replay->starts += message.request == VDS_VHOST_USER_SET_VRING_KICK;
}

/* At the end the guest's rings have run, and are left. */
static void test_backend(void **state)
{
    unsigned before = count_descriptors();

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        VdsDeviceState seen;
        Replay replay;

        replay_init(&replay);
        each_message(files[i], play, &replay);
        front_turn();
        assert_true(vds_vhost_user_backend_is_connected(replay.backend));
        assert_null(vds_vhost_user_backend_get_refusal(replay.backend));
        assert_int_equal(vds_vhost_user_backend_get_messages(replay.backend),
                         replay.asked);
        assert_true(replay.starts >= 2 && replay.answered > 5);
        vds_virtio_device_get_state(replay.device, &seen);
        assert_false(seen.broken);
        replay_clear(&replay);
    }
    assert_int_equal(count_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec),
        cmocka_unit_test(test_backend),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
