/*
 * tests: a driver at the door of any device of a machine: guest RAM, rings for all its
 * queues, buffers cut into pieces as a test wants them.
 */
#pragma once

#include <poll.h>
#include <string.h>

#include "vds/devices.h"
#include "vds/machine.h"

enum { DOOR_QUEUES = 16, DOOR_RAM = 8 << 20, DOOR_PIECES = 64, DOOR_PATIENCE_MS = 20000 };

typedef struct {
    VdsMachine *machine;
    VdsGuestRam *ram;
    VdsVirtioDevice *device;
    const char *path;
    uint64_t features; /* accepted of what is offered */
    VdsDriverRing *rings[DOOR_QUEUES];
    bool config_changed; /* an interrupt said so */
} Door;

#define DOOR_BIT(n) (UINT64_C(1) << (n))
#define DOOR_SPLIT (~DOOR_BIT(VDS_F_RING_PACKED))
#define DOOR_PACKED (~UINT64_C(0))

/* "virtio-rng-pci,id=r": the word without a value is the driver's. */
static inline VdsProps *door_props(const char *text)
{
    VdsProps *props = vds_props_new();
    g_auto(GStrv) pairs = g_strsplit(text, ",", 0);

    for (char **pair = pairs; *pair; pair++) {
        char *value = strchr(*pair, '=');

        if (value) {
            *value++ = '\0';
        }
        vds_props_set_string(props, value ? *pair : "driver", value ? value : *pair);
    }
    return props;
}

static inline bool door_plug(Door *door, const char *device, GError **error)
{
    g_autoptr(VdsProps) props = door_props(device);

    return vds_machine_device_add(door->machine, props, error);
}

static inline void door_back(Door *door, const char *kind, const char *text)
{
    g_autoptr(VdsProps) props = door_props(text);

    g_assert_true(vds_machine_backend_add(door->machine, kind, props, NULL));
}

static inline void door_init(Door *door)
{
    VdsGuestRamConfig config = {.kind = VDS_GUEST_RAM_MEMFD, .size = DOOR_RAM};

    *door = (Door){.machine = vds_machine_new("pc", vds_device_classes)};
    door->ram = vds_guest_ram_new(&config, NULL);
    g_assert_nonnull(door->ram);
    g_assert_true(vds_machine_cont(door->machine, NULL));
}

static inline void door_drop_rings(Door *door)
{
    for (unsigned i = 0; i < DOOR_QUEUES; i++) {
        g_clear_pointer(&door->rings[i], vds_driver_ring_free);
    }
}

static inline void door_clear(Door *door)
{
    vds_machine_free(door->machine);
    door_drop_rings(door);
    vds_guest_ram_free(door->ram);
}

static inline uint64_t door_alloc(Door *door, uint64_t bytes)
{
    uint64_t gpa;

    g_assert_true(vds_guest_ram_alloc(door->ram, bytes, 4096, &gpa, NULL));
    return gpa;
}

static inline void door_poke(Door *door, uint64_t gpa, const void *bytes, size_t len)
{
    g_assert_true(
        vds_guest_map_write(vds_guest_ram_get_map(door->ram), gpa, bytes, len, NULL));
}

static inline void door_peek(Door *door, uint64_t gpa, void *bytes, size_t len)
{
    g_assert_true(
        vds_guest_map_read(vds_guest_ram_get_map(door->ram), gpa, bytes, len, NULL));
}

/* ---- from reset to DRIVER_OK ----------------------------------------------------------
 */

static inline void door_queue(Door *door, unsigned n)
{
    uint32_t num = vds_virtio_driver_get_queue_size(door->device, n);
    VdsQueueSetup setup = {.num = num};
    VdsQueueState state = {.num = num,
                           .packed = (door->features >> VDS_F_RING_PACKED) & 1,
                           .event_idx = (door->features >> VDS_F_RING_EVENT_IDX) & 1,
                           .map = vds_guest_ram_get_map(door->ram)};

    setup.desc = state.desc = door_alloc(door, 16 * num);
    setup.avail = state.avail = door_alloc(door, 6 + 2 * num);
    setup.used = state.used = door_alloc(door, 6 + 8 * num);
    vds_driver_ring_free(door->rings[n]);
    door->rings[n] = vds_driver_ring_new(&state, 0, NULL, NULL);
    g_assert_nonnull(door->rings[n]);
    g_assert_true(vds_virtio_driver_set_queue(door->device, n, &setup, NULL));
    g_assert_true(vds_virtio_driver_enable_queue(door->device, n, NULL));
}

/* `mask`: of the features that are offered; all queues are set up. */
static inline void door_start(Door *door, uint64_t mask)
{
    VdsFeatures features = vds_virtio_driver_get_features(door->device);

    features.word[0] &=
        mask & ~DOOR_BIT(VDS_F_BAD_FEATURE) & ~DOOR_BIT(VDS_F_ACCESS_PLATFORM);
    door->features = features.word[0];
    vds_virtio_driver_set_map(door->device, vds_guest_ram_get_map(door->ram));
    g_assert_true(vds_virtio_driver_set_status(door->device, 1, NULL));
    g_assert_true(vds_virtio_driver_set_status(door->device, 3, NULL));
    g_assert_true(vds_virtio_driver_set_features(door->device, &features, NULL));
    g_assert_true(vds_virtio_driver_set_status(door->device, 11, NULL));
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        if (vds_virtio_driver_get_queue_size(door->device, n) > 0) {
            door_queue(door, n);
        }
    }
    g_assert_true(vds_virtio_driver_set_status(door->device, 15, NULL));
}

/* Finds the device at /machine/peripheral/ID. */
static inline void door_find(Door *door, const char *id)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s/virtio-backend", id);

    door->device = vds_machine_find(door->machine, path, &door->path);
    g_assert_nonnull(door->device);
}

/* ---- requests -------------------------------------------------------------------------
 */

/* Buffers of `n_out` then `n_in` bytes, one after another at gpa, cut into spans of at
 * most `piece` bytes (0: uncut). */
static inline void door_add(Door *door, unsigned n, uint64_t gpa, uint32_t n_out,
                            uint32_t n_in, uint32_t piece, void *token)
{
    VdsSpan spans[DOOR_PIECES];
    VdsBuffer buffer = {.spans = spans, .token = token};
    uint32_t lens[] = {n_out, n_in}, *counts[] = {&buffer.n_out, &buffer.n_in};
    bool added = false;

    for (unsigned way = 0; way < 2; way++) {
        while (lens[way] > 0) {
            uint32_t len = piece > 0 ? MIN(piece, lens[way]) : lens[way];

            g_assert_true(buffer.n_out + buffer.n_in < DOOR_PIECES);
            spans[buffer.n_out + buffer.n_in] = (VdsSpan){gpa, len};
            (*counts[way])++;
            gpa += len;
            lens[way] -= len;
        }
    }
    g_assert_true(vds_driver_ring_add(door->rings[n], &buffer, &added, NULL));
    g_assert_true(added);
}

static inline void door_kick(Door *door, unsigned n)
{
    bool kick = false;

    g_assert_true(vds_driver_ring_should_kick(door->rings[n], &kick, NULL));
    if (kick) {
        vds_virtio_driver_kick(door->device, n);
    }
}

/* Sends bytes; token: gpa. */
static inline uint64_t door_send(Door *door, unsigned n, const void *bytes, uint32_t len,
                                 uint32_t piece)
{
    uint64_t gpa = door_alloc(door, MAX(len, 1));

    door_poke(door, gpa, bytes, len);
    door_add(door, n, gpa, len, 0, piece, GSIZE_TO_POINTER(gpa));
    door_kick(door, n);
    return gpa;
}

/* Offers room; token: gpa. */
static inline uint64_t door_post(Door *door, unsigned n, uint32_t len, uint32_t piece)
{
    uint64_t gpa = door_alloc(door, len);

    door_add(door, n, gpa, 0, len, piece, GSIZE_TO_POINTER(gpa));
    door_kick(door, n);
    return gpa;
}

static inline void door_interrupted(unsigned n, void *user)
{
    if (n == VDS_INTERRUPT_CONFIG) {
        ((Door *)user)->config_changed = true;
    }
}

/* The token of the next used buffer; 0: none in that time. */
static inline uint64_t door_used_in(Door *door, unsigned n, uint32_t *written,
                                    int timeout_ms)
{
    gint64 end = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;

    for (;;) {
        struct pollfd wait = {.fd = vds_virtio_driver_get_interrupt_fd(door->device),
                              .events = POLLIN};
        gint64 left = (end - g_get_monotonic_time() + 999) / 1000;
        VdsUsed used;

        g_assert_true(vds_driver_ring_get_used(door->rings[n], &used, NULL));
        if (used.token) {
            *written = used.written;
            return GPOINTER_TO_SIZE(used.token);
        }
        if (left <= 0 || poll(&wait, 1, (int)left) != 1) {
            return 0;
        }
        vds_virtio_driver_take_interrupts(door->device, door_interrupted, door);
    }
}

static inline uint64_t door_used(Door *door, unsigned n, uint32_t *written)
{
    return door_used_in(door, n, written, DOOR_PATIENCE_MS);
}

/* All kicks so far were seen, and what was posted was run. */
static inline void door_round(void *user)
{
}

static inline void door_settle(Door *door)
{
    for (int i = 0; i < 4; i++) {
        vds_io_thread_call(vds_virtio_device_get_io_thread(door->device), door_round,
                           NULL);
    }
}

static inline VdsQueueState door_state(Door *door, unsigned n)
{
    VdsQueueState state;

    g_assert_true(vds_virtio_device_get_queue(door->device, n, &state));
    return state;
}

static inline bool door_is_broken(Door *door)
{
    g_autofree char *reason = vds_virtio_device_get_broken_reason(door->device);

    return reason != NULL;
}

static inline void door_reset(Door *door)
{
    g_assert_true(vds_virtio_driver_set_status(door->device, 0, NULL));
    door_drop_rings(door);
}

/* ---- stopping a queue, as a vhost-user front-end does ---------------------------------
 */

typedef struct {
    bool told;
    uint32_t base;
} DoorStop;

static inline void door_stopped(unsigned n, uint32_t base, void *user)
{
    *(DoorStop *)user = (DoorStop){true, base};
}

/* Stops queue n of a split ring, waits until it has, and goes on there as another device
 * would.  Returns the base; -1: it never stopped. */
static inline int door_stop(Door *door, unsigned n, bool go_on)
{
    g_autoptr(VdsMailbox) box = vds_mailbox_new(NULL);
    VdsQueueState state = door_state(door, n);
    VdsQueueSetup setup = {.num = state.num,
                           .desc = state.desc,
                           .avail = state.avail,
                           .used = state.used,
                           .has_base = true};
    DoorStop stop = {false, 0};

    vds_virtio_driver_stop_queue(door->device, n, box, door_stopped, &stop);
    for (int i = 0; i < DOOR_PATIENCE_MS && !stop.told; i++) {
        vds_mailbox_run(box);
        g_usleep(1000);
    }
    if (!stop.told) {
        return -1;
    }
    setup.avail_base = (uint16_t)stop.base;
    setup.used_base = door_state(door, n).used_idx;
    if (go_on) {
        g_assert_true(vds_virtio_driver_set_queue(door->device, n, &setup, NULL));
        g_assert_true(vds_virtio_driver_enable_queue(door->device, n, NULL));
    }
    return (int)stop.base;
}
