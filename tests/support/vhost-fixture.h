/*
 * tests: the loopback device behind a vhost-user back-end, and a front-end in the same
 * process with memory and a driver ring of its own.
 */
#pragma once

#include "loopback.h"
#include "vhost-front.h"

enum { SERVED_RAM = 1 << 20 };
#define SERVED_UVA UINT64_C(0x7f0000000000)

typedef struct {
    VdsIoThread *thread;
    Loopback loop;
    VdsVirtioDevice *device;
    VdsMailbox *mailbox;
    guint watch; /* of the mailbox */
    VdsVhostUserBackend *backend;
    char *folder, *path;

    Front front;
    VdsGuestRam *ram;
    uint64_t features; /* of the ring's */
    VdsDriverRing *ring;
    int kick, call; /* ours, -1; the back-end has duplicates */
} Served;

enum { DESC = 0x1000, AVAIL = 0x1400, USED = 0x1800, BUFFERS = 0x2000 };

static inline void served_init(Served *served)
{
    const VdsGuestRamConfig ram = {.kind = VDS_GUEST_RAM_MEMFD, .size = SERVED_RAM};

    *served = (Served){.kick = -1, .call = -1, .front = {.fd = -1}};
    served->thread = vds_io_thread_new("served");
    loop_init(&served->loop, served->thread, &loop_ops);
    served->device = served->loop.device;
    served->mailbox = vds_mailbox_new(NULL);
    served->watch = front_watch(served->mailbox);
    served->folder = g_dir_make_tmp("vds-XXXXXX", NULL);
    served->path = g_build_filename(served->folder, "s", NULL);
    served->ram = vds_guest_ram_new(&ram, NULL);
    assert_non_null(served->ram);
    served->backend = vds_vhost_user_backend_new(
        &(VdsVhostUserBackendConfig){.path = served->path,
                                     .server = true,
                                     .n_rings = LOOP_QUEUES,
                                     .mailbox = served->mailbox},
        served->device, NULL);
    assert_non_null(served->backend);
}

static inline void served_clear(Served *served)
{
    vds_vhost_user_backend_free(served->backend);
    front_leave(&served->front);
    vds_fd_close(&served->kick);
    vds_fd_close(&served->call);
    vds_driver_ring_free(served->ring);
    front_turn(); /* stops that nobody waits for any more */
    vds_virtio_device_free(served->device);
    g_source_remove(served->watch);
    vds_mailbox_free(served->mailbox);
    vds_io_thread_unref(served->thread);
    vds_guest_ram_free(served->ram);
    assert_int_equal(rmdir(served->folder), 0);
    g_free(served->path);
    g_free(served->folder);
}

/* ---- a front-end's steps ----------------------------------------------------------- */

#define SERVED_PROTOCOL                                                                  \
    (LOOP_BIT(VDS_VHOST_USER_P_REPLY_ACK) | LOOP_BIT(VDS_VHOST_USER_P_CONFIG) |          \
     LOOP_BIT(VDS_VHOST_USER_P_STATUS) | LOOP_BIT(VDS_VHOST_USER_P_MQ) |                 \
     LOOP_BIT(VDS_VHOST_USER_P_RESET_DEVICE) | LOOP_BIT(VDS_VHOST_USER_P_BACKEND_REQ) |  \
     LOOP_BIT(VDS_VHOST_USER_P_CONFIGURE_MEM_SLOTS) |                                    \
     LOOP_BIT(VDS_VHOST_USER_P_LOG_SHMFD) | LOOP_BIT(VDS_VHOST_USER_P_INFLIGHT_SHMFD) |  \
     LOOP_BIT(VDS_VHOST_USER_P_DEVICE_STATE))
#define SERVED_PROTOCOL_BIT LOOP_BIT(VDS_VHOST_USER_F_PROTOCOL_FEATURES)

static inline void served_greet(Served *served)
{
    front_connect(&served->front, served->path);
    assert_true(front_get(&served->front, VDS_VHOST_USER_GET_FEATURES) &
                SERVED_PROTOCOL_BIT);
    front_set(&served->front, VDS_VHOST_USER_SET_PROTOCOL_FEATURES, SERVED_PROTOCOL);
}

static inline void served_features(Served *served, uint64_t features)
{
    served->features = features;
    front_set(&served->front, VDS_VHOST_USER_SET_FEATURES, features);
}

/* 0: it was accepted */
static inline uint64_t served_memory(Served *served)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_MEM_TABLE);
    message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    message.u.memory.n = 1;
    message.u.memory.regions[0] = (VdsVhostUserRegion){0, SERVED_RAM, SERVED_UVA, 0};
    vds_vhost_user_message_add_fd(&message, dup(vds_guest_ram_get_fd(served->ram)));
    return front_ask(&served->front, &message);
}

static inline void served_address(Served *served, uint32_t n)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_VRING_ADDR);
    message.u.address = (VdsVhostUserRingAddress){.index = n,
                                                  .desc = SERVED_UVA + DESC,
                                                  .avail = SERVED_UVA + AVAIL,
                                                  .used = SERVED_UVA + USED};
    front_send(&served->front, &message);
}

static inline void served_call(Served *served)
{
    vds_fd_close(&served->call);
    served->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    front_ring_fd(&served->front, VDS_VHOST_USER_SET_VRING_CALL, 0, dup(served->call));
}

static inline void served_kick_fd(Served *served)
{
    vds_fd_close(&served->kick);
    served->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    front_ring_fd(&served->front, VDS_VHOST_USER_SET_VRING_KICK, 0, dup(served->kick));
}

static inline uint32_t first_base(uint64_t features)
{
    return (features >> VDS_F_RING_PACKED) & 1 ? 0x80008000 : 0;
}

/* The driver's end, new or where the one before left off. */
static inline void served_ring(Served *served)
{
    const VdsQueueState state = {
        .packed = (served->features >> VDS_F_RING_PACKED) & 1,
        .event_idx = (served->features >> VDS_F_RING_EVENT_IDX) & 1,
        .num = LOOP_NUM,
        .desc = DESC,
        .avail = AVAIL,
        .used = USED,
        .map = vds_guest_ram_get_map(served->ram),
    };

    vds_driver_ring_free(served->ring);
    served->ring = vds_driver_ring_new(
        &state, served->features & LOOP_BIT(VDS_F_IN_ORDER) ? VDS_VRING_IN_ORDER : 0,
        NULL, NULL);
    assert_non_null(served->ring);
}

/* All but ENABLE, in QEMU's order. */
static inline void served_set_up(Served *served, uint32_t base)
{
    front_ring(&served->front, VDS_VHOST_USER_SET_VRING_NUM, 0, LOOP_NUM);
    front_ring(&served->front, VDS_VHOST_USER_SET_VRING_BASE, 0, base);
    served_address(served, 0);
    served_call(served);
    served_kick_fd(served);
}

static inline void served_enable(Served *served, unsigned on)
{
    front_ring(&served->front, VDS_VHOST_USER_SET_VRING_ENABLE, 0, on);
}

static inline void served_start(Served *served, uint64_t features)
{
    served_greet(served);
    served_features(served, features | SERVED_PROTOCOL_BIT);
    assert_int_equal(served_memory(served), 0);
    served_ring(served);
    served_set_up(served, first_base(features));
    served_enable(served, 1);
}

/* ---- requests ---------------------------------------------------------------------- */

static inline uint64_t served_out(unsigned n)
{
    return BUFFERS + (uint64_t)n * 2 * LOOP_BYTES;
}

static inline void served_send(Served *served, unsigned n, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    const VdsSpan spans[] = {{served_out(n), len}, {served_out(n) + LOOP_BYTES, len}};
    const VdsBuffer buffer = {
        .spans = spans, .n_out = 1, .n_in = 1, .token = GUINT_TO_POINTER(n + 1)};
    bool added = false;

    assert_true(vds_guest_map_write(vds_guest_ram_get_map(served->ram), served_out(n),
                                    text, len, NULL));
    assert_true(vds_driver_ring_add(served->ring, &buffer, &added, NULL) && added);
}

static inline bool served_waits(const Served *served, unsigned n)
{
    VdsQueueState state = {0};

    for (int i = 0; i < 5000 && state.inuse < n; i++) {
        front_turn();
        vds_virtio_device_get_queue(served->device, 0, &state);
    }
    return state.inuse >= n;
}

static inline void served_kick(Served *served)
{
    bool kick;

    assert_true(vds_driver_ring_should_kick(served->ring, &kick, NULL));
    if (kick) {
        assert_int_equal(eventfd_write(served->kick, 1), 0);
    }
}

/* true: the answer to n came within `ms`. */
static inline bool served_hears(Served *served, unsigned n, const char *text, unsigned ms)
{
    gint64 end = g_get_monotonic_time() + (gint64)ms * 1000;
    char bytes[LOOP_BYTES] = {0};

    while (g_get_monotonic_time() < end) {
        VdsUsed used = {0};

        assert_true(vds_driver_ring_get_used(served->ring, &used, NULL));
        if (used.token) {
            assert_int_equal(GPOINTER_TO_UINT(used.token), n + 1);
            assert_int_equal(used.written, strlen(text));
            assert_true(vds_guest_map_read(vds_guest_ram_get_map(served->ram),
                                           served_out(n) + LOOP_BYTES, bytes,
                                           used.written, NULL));
            assert_memory_equal(bytes, text, used.written);
            return true;
        }
        if (!g_main_context_iteration(NULL, FALSE)) {
            g_usleep(200);
        }
    }
    return false;
}

static inline void served_ping(Served *served, const char *text)
{
    served_send(served, 0, text);
    served_kick(served);
    assert_true(served_hears(served, 0, text, 5000));
}

static inline VdsDeviceState served_device(const Served *served)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(served->device, &state);
    return state;
}

static inline VdsQueueState served_queue(const Served *served)
{
    VdsQueueState state = {0};

    assert_true(vds_virtio_device_get_queue(served->device, 0, &state));
    return state;
}

static inline void assert_refused(const Served *served, const char *rule)
{
    const char *refusal = vds_vhost_user_backend_get_refusal(served->backend);

    assert_non_null(refusal);
    if (!g_str_has_prefix(refusal, rule)) {
        fail_msg("refused with '%s', not by %s", refusal, rule);
    }
}
