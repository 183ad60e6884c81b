/*
 * tests: a guest with RAM, an I/O thread, and toy devices for it.
 */
#pragma once

#include <unistd.h>

#include "toy-guest.h"

#define OFFER_BIT(n) (UINT64_C(1) << (n))
/* What QEMU offers of the transport's bits, and what Linux takes of these. */
#define OFFER_MODERN                                                                     \
    (OFFER_BIT(VDS_F_NOTIFY_ON_EMPTY) | OFFER_BIT(VDS_F_ANY_LAYOUT) |                    \
     OFFER_BIT(VDS_F_RING_INDIRECT_DESC) | OFFER_BIT(VDS_F_RING_EVENT_IDX) |             \
     OFFER_BIT(VDS_F_BAD_FEATURE) | OFFER_BIT(VDS_F_VERSION_1) |                         \
     OFFER_BIT(VDS_F_RING_RESET))
#define TAKEN_MODERN                                                                     \
    (OFFER_BIT(VDS_F_RING_INDIRECT_DESC) | OFFER_BIT(VDS_F_RING_EVENT_IDX) |             \
     OFFER_BIT(VDS_F_VERSION_1) | OFFER_BIT(VDS_F_RING_RESET))

typedef struct {
    VdsGuestRam *ram;
    VdsIoThread *thread;
    VdsGuest *guest;
} GuestFixture;

static inline void guest_fixture_init(GuestFixture *fixture, uint64_t ram_bytes)
{
    VdsGuestRamConfig config = {.kind = VDS_GUEST_RAM_PRIVATE, .size = ram_bytes};

    fixture->ram = vds_guest_ram_new(&config, NULL);
    g_assert_nonnull(fixture->ram);
    fixture->thread = vds_io_thread_new("toys");
    fixture->guest = vds_guest_new(fixture->ram);
}

static inline void guest_fixture_clear(GuestFixture *fixture)
{
    vds_guest_free(fixture->guest);
    vds_io_thread_unref(fixture->thread);
    vds_guest_ram_free(fixture->ram);
}

static inline Toy *guest_fixture_plug(GuestFixture *fixture, uint16_t device_id,
                                      uint64_t offered, uint32_t rate)
{
    Toy *toy = toy_new(fixture->thread, device_id, offered);
    VdsGuestDeviceConfig config = {
        .workload = rate ? VDS_WORKLOAD_LIGHT : VDS_WORKLOAD_IDLE, .rate = rate};

    vds_guest_plug(fixture->guest, toy->device, &config);
    return toy;
}

static inline void guest_fixture_unplug(GuestFixture *fixture, Toy *toy)
{
    vds_guest_unplug(fixture->guest, toy->device);
    toy_free(toy);
}

/* Waits until the expression holds; false after five seconds. */
#define EVENTUALLY(condition)                                                            \
    ({                                                                                   \
        int eventually_ms = 5000;                                                        \
        while (!(condition) && eventually_ms-- > 0) {                                    \
            usleep(1000);                                                                \
        }                                                                                \
        (condition);                                                                     \
    })

static inline VdsDeviceState toy_state(const Toy *toy)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(toy->device, &state);
    return state;
}

static inline VdsQueueState toy_queue(const Toy *toy, unsigned n)
{
    VdsQueueState state = {0};

    vds_virtio_device_get_queue(toy->device, n, &state);
    return state;
}
