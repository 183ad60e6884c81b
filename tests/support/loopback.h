/*
 * tests: a device that sends back what it gets, and a driver for it: RAM, an I/O thread
 * and one driver ring a queue.
 */
#pragma once

#include <poll.h>
#include <stdatomic.h>
#include <string.h>

#include "vds/virtio.h"

enum { LOOP_QUEUES = 2, LOOP_NUM = 8, LOOP_BYTES = 256, LOOP_PARKED = 64 };

#define LOOP_BIT(n) (UINT64_C(1) << (n))
#define LOOP_OFFERED                                                                     \
    (LOOP_BIT(0) | LOOP_BIT(1) | LOOP_BIT(VDS_F_RING_INDIRECT_DESC) |                    \
     LOOP_BIT(VDS_F_RING_EVENT_IDX) | LOOP_BIT(VDS_F_BAD_FEATURE) |                      \
     LOOP_BIT(VDS_F_VERSION_1) | LOOP_BIT(VDS_F_RING_PACKED) |                           \
     LOOP_BIT(VDS_F_IN_ORDER) | LOOP_BIT(VDS_F_RING_RESET))
#define LOOP_SPLIT LOOP_BIT(VDS_F_VERSION_1)
#define LOOP_SPLIT_EVENT (LOOP_SPLIT | LOOP_BIT(VDS_F_RING_EVENT_IDX))
#define LOOP_PACKED (LOOP_SPLIT | LOOP_BIT(VDS_F_RING_PACKED))
#define LOOP_PACKED_EVENT (LOOP_PACKED | LOOP_BIT(VDS_F_RING_EVENT_IDX))

/* What a test knows of its device; the counters are read after a call to the door. */
typedef struct {
    VdsVirtioDevice *device;
    unsigned starts, stops, resets, queue_resets, queue_stops, config_writes, failures;
    atomic_uint handles; /* read at any time */
    atomic_bool park;    /* set at any time: keep requests instead of answering */
    bool puts_back;      /* what is parked, when its queue stops */
    VdsIo *parked[LOOP_PARKED];
    unsigned n_parked;
    uint64_t left_after_reset; /* of the streams of what was parked */
    atomic_uint freed;
} Loopback;

static inline void loop_answer(VdsIo *io)
{
    uint8_t bytes[LOOP_BYTES];
    size_t n = vds_stream_read(&io->out, bytes, sizeof(bytes));

    vds_virt_queue_complete(io->queue, io, vds_stream_write(&io->in, bytes, n));
}

static inline void loop_handle(void *instance, VdsVirtQueue *queue)
{
    Loopback *loop = instance;
    VdsIo *ios[4];
    size_t n;

    loop->handles++;
    while ((n = vds_virt_queue_pop(queue, ios, G_N_ELEMENTS(ios))) > 0) {
        for (size_t i = 0; i < n; i++) {
            if (loop->park && loop->n_parked < LOOP_PARKED) {
                loop->parked[loop->n_parked++] = ios[i];
            } else {
                loop_answer(ios[i]);
            }
        }
    }
}

static inline bool loop_validate(void *instance, const VdsFeatures *features,
                                 GError **error)
{
    if (vds_features_has(features, 0) && !vds_features_has(features, 1)) {
        g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_FEATURES,
                            "feature bit 0 without bit 1");
        return false;
    }
    return true;
}

/* Bit 1 brings the second queue. */
static inline void loop_set_features(void *instance, const VdsFeatures *features)
{
    Loopback *loop = instance;

    vds_virtio_device_set_queue_size(loop->device, 1,
                                     vds_features_has(features, 1) ? LOOP_NUM : 0);
}

static inline void loop_start(void *instance)
{
    ((Loopback *)instance)->starts++;
}

static inline void loop_stop(void *instance)
{
    ((Loopback *)instance)->stops++;
}

static inline void loop_answer_parked_task(void *user)
{
    Loopback *loop = user;

    for (unsigned i = 0; i < loop->n_parked; i++) {
        loop_answer(loop->parked[i]);
    }
    if (loop->n_parked > 0) {
        vds_virt_queue_flush(vds_virtio_device_get_virt_queue(loop->device, 0));
    }
    loop->n_parked = 0;
}

static inline void loop_answer_parked(Loopback *loop)
{
    vds_io_thread_call(vds_virtio_device_get_io_thread(loop->device),
                       loop_answer_parked_task, loop);
}

static inline void loop_drop_parked(Loopback *loop)
{
    loop->left_after_reset = 0;
    for (unsigned i = 0; i < loop->n_parked; i++) {
        VdsIo *io = loop->parked[i];

        loop->left_after_reset += vds_stream_left(&io->in) + vds_stream_left(&io->out);
        vds_virt_queue_drop(io->queue, io);
    }
    loop->n_parked = 0;
}

static inline void loop_reset(void *instance)
{
    Loopback *loop = instance;

    loop->resets++;
    loop_drop_parked(loop);
    vds_virtio_device_set_queue_size(loop->device, 1, 0);
}

static inline void loop_queue_reset(void *instance, VdsVirtQueue *queue)
{
    ((Loopback *)instance)->queue_resets++;
    loop_drop_parked(instance);
}

static inline void loop_queue_stop(void *instance, VdsVirtQueue *queue)
{
    Loopback *loop = instance;

    loop->queue_stops++;
    while (loop->puts_back && loop->n_parked > 0) {
        vds_virt_queue_unpop(queue, loop->parked[--loop->n_parked]);
    }
}

static inline void loop_config_written(void *instance, unsigned offset, unsigned len)
{
    ((Loopback *)instance)->config_writes += offset * 10 + len;
}

static inline void loop_free(void *instance)
{
    atomic_fetch_add(&((Loopback *)instance)->freed, 1);
}

static const VdsConfigRange loop_writable[] = {{4, 2}, {0}};

static const VdsDeviceOps loop_ops = {
    .set_features = loop_set_features,
    .validate = loop_validate,
    .start = loop_start,
    .handle = loop_handle,
    .stop = loop_stop,
    .reset = loop_reset,
    .queue_reset = loop_queue_reset,
    .queue_stop = loop_queue_stop,
    .config_written = loop_config_written,
    .free = loop_free,
    .config_writable = loop_writable,
};

static inline void loop_init(Loopback *loop, VdsIoThread *thread, const VdsDeviceOps *ops)
{
    static const uint16_t sizes[LOOP_QUEUES] = {LOOP_NUM, 0};

    *loop = (Loopback){0};
    loop->device = vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = 4,
        .host_features = {{LOOP_OFFERED, 0}},
        .queue_sizes = sizes,
        .n_queues = G_N_ELEMENTS(sizes),
        .use_started = true,
        .ops = ops,
        .instance = loop,
        .io_thread = thread,
        .config = "01234567",
        .config_len_bytes = 8,
    });
    vds_virtio_device_set_running(loop->device, true);
}

/* ---- the driver ---- */

typedef struct {
    VdsVirtioDevice *device;
    VdsGuestRam *ram;
    uint64_t features;
    uint64_t rings, buffers; /* gpa of a page each */
    VdsQueueSetup setup;
    VdsDriverRing *ring; /* of queue 0 */
} LoopDriver;

static inline bool driver_features(LoopDriver *driver, uint64_t features)
{
    VdsFeatures asked = {{features, 0}};

    driver->features = features;
    return vds_virtio_driver_set_status(driver->device, 1, NULL) &&
           vds_virtio_driver_set_status(driver->device, 3, NULL) &&
           vds_virtio_driver_set_features(driver->device, &asked, NULL) &&
           vds_virtio_driver_set_status(driver->device, 11, NULL);
}

/* Room for a ring and its buffers; the ring is made when it is used. */
static inline void driver_init(LoopDriver *driver, VdsVirtioDevice *device,
                               VdsGuestRam *ram)
{
    *driver = (LoopDriver){.device = device, .ram = ram};
    g_assert_true(vds_guest_ram_alloc(ram, 4096, 4096, &driver->rings, NULL));
    g_assert_true(vds_guest_ram_alloc(ram, LOOP_NUM * 2 * LOOP_BYTES, 4096,
                                      &driver->buffers, NULL));
    vds_virtio_driver_set_map(device, vds_guest_ram_get_map(ram));
    driver->setup = (VdsQueueSetup){.num = LOOP_NUM,
                                    .desc = driver->rings,
                                    .avail = driver->rings + 1024,
                                    .used = driver->rings + 2048};
}

static inline bool driver_queue(LoopDriver *driver)
{
    VdsQueueState state = {
        .packed = (driver->features >> VDS_F_RING_PACKED) & 1,
        .event_idx = (driver->features >> VDS_F_RING_EVENT_IDX) & 1,
        .num = driver->setup.num,
        .desc = driver->setup.desc,
        .avail = driver->setup.avail,
        .used = driver->setup.used,
        .map = vds_guest_ram_get_map(driver->ram),
    };

    vds_driver_ring_free(driver->ring);
    driver->ring = vds_driver_ring_new(
        &state, driver->features & LOOP_BIT(VDS_F_IN_ORDER) ? VDS_VRING_IN_ORDER : 0,
        NULL, NULL);
    return driver->ring &&
           vds_virtio_driver_set_queue(driver->device, 0, &driver->setup, NULL) &&
           vds_virtio_driver_enable_queue(driver->device, 0, NULL);
}

/* As Linux does it. */
static inline bool driver_start(LoopDriver *driver, uint64_t features)
{
    return driver_features(driver, features) && driver_queue(driver) &&
           vds_virtio_driver_set_status(driver->device, 15, NULL);
}

static inline void driver_clear(LoopDriver *driver)
{
    vds_driver_ring_free(driver->ring);
}

/* Slot n's buffers: what is sent, and where the answer comes. */
static inline uint64_t driver_out(const LoopDriver *driver, unsigned n)
{
    return driver->buffers + n * 2 * LOOP_BYTES;
}

static inline uint64_t driver_in(const LoopDriver *driver, unsigned n)
{
    return driver_out(driver, n) + LOOP_BYTES;
}

/* token: n + 1.  Two spans each way where the request is long enough. */
static inline bool driver_send(LoopDriver *driver, unsigned n, const char *text)
{
    uint32_t len = (uint32_t)strlen(text), half = len > 1 ? len / 2 : 0;
    uint64_t out = driver_out(driver, n), in = driver_in(driver, n);
    VdsSpan spans[4];
    unsigned i = 0;
    bool added;

    g_assert_true(
        vds_guest_map_write(vds_guest_ram_get_map(driver->ram), out, text, len, NULL));
    if (half > 0) {
        spans[i++] = (VdsSpan){out, half};
    }
    spans[i++] = (VdsSpan){out + half, len - half};
    if (half > 0) {
        spans[i++] = (VdsSpan){in, half};
    }
    spans[i++] = (VdsSpan){in + half, len - half};
    return vds_driver_ring_add(driver->ring,
                               &(VdsBuffer){.spans = spans,
                                            .n_out = i / 2,
                                            .n_in = i / 2,
                                            .token = GUINT_TO_POINTER(n + 1)},
                               &added, NULL) &&
           added;
}

static inline void driver_kick(LoopDriver *driver)
{
    bool kick = true;

    g_assert_true(vds_driver_ring_should_kick(driver->ring, &kick, NULL));
    if (kick) {
        vds_virtio_driver_kick(driver->device, 0);
    }
}

/* The kicks so far were seen: each round of the I/O thread's loop takes them all. */
static inline void loop_round(void *user)
{
}

static inline void driver_settle(LoopDriver *driver)
{
    VdsIoThread *thread = vds_virtio_device_get_io_thread(driver->device);

    for (int i = 0; i < 3; i++) {
        vds_io_thread_call(thread, loop_round, NULL);
    }
}

static inline void ignore_interrupt(unsigned n, void *user)
{
}

/* The next used buffer's token, waiting for an interrupt if need be; 0: none came. */
static inline unsigned driver_wait(LoopDriver *driver, uint32_t *written, int timeout_ms)
{
    for (;;) {
        struct pollfd wait = {.fd = vds_virtio_driver_get_interrupt_fd(driver->device),
                              .events = POLLIN};
        VdsUsed used;

        g_assert_true(vds_driver_ring_get_used(driver->ring, &used, NULL));
        if (used.token) {
            *written = used.written;
            return GPOINTER_TO_UINT(used.token);
        }
        if (poll(&wait, 1, timeout_ms) != 1) {
            return 0;
        }
        vds_virtio_driver_take_interrupts(driver->device, ignore_interrupt, NULL);
    }
}

static inline bool driver_got(const LoopDriver *driver, unsigned n, const char *text)
{
    char bytes[LOOP_BYTES];

    return vds_guest_map_read(vds_guest_ram_get_map(driver->ram), driver_in(driver, n),
                              bytes, strlen(text), NULL) &&
           memcmp(bytes, text, strlen(text)) == 0;
}
