/*
 * tests: RAM, a thread, the device that sends back what it gets and its driver, for
 * cmocka.
 */
#pragma once

#include "loopback.h"

typedef struct {
    VdsGuestRam *ram;
    VdsIoThread *thread;
    Loopback loop;
    LoopDriver driver;
    VdsVirtioDevice *device;
} Fixture;

static inline void fixture_init_with(Fixture *fixture, const VdsDeviceOps *ops,
                                     const VdsGuestRamConfig *config)
{
    fixture->ram = vds_guest_ram_new(config, NULL);
    fixture->thread = vds_io_thread_new("live");
    assert_non_null(fixture->ram);
    loop_init(&fixture->loop, fixture->thread, ops);
    fixture->device = fixture->loop.device;
    driver_init(&fixture->driver, fixture->device, fixture->ram);
}

static inline void fixture_init(Fixture *fixture, const VdsDeviceOps *ops)
{
    VdsGuestRamConfig config = {.kind = VDS_GUEST_RAM_PRIVATE, .size = 1 << 20};

    fixture_init_with(fixture, ops, &config);
}

static inline void fixture_clear(Fixture *fixture)
{
    vds_virtio_device_free(fixture->device);
    assert_int_equal(atomic_load(&fixture->loop.freed), 1);
    driver_clear(&fixture->driver);
    vds_io_thread_unref(fixture->thread);
    vds_guest_ram_free(fixture->ram);
}

static inline VdsDeviceState state_of(const Fixture *fixture)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(fixture->device, &state);
    return state;
}

static inline VdsQueueState queue_of(const Fixture *fixture)
{
    VdsQueueState state;

    assert_true(vds_virtio_device_get_queue(fixture->device, 0, &state));
    return state;
}

static inline void assert_answered(Fixture *fixture, unsigned n, const char *text)
{
    uint32_t written = 0;

    assert_int_equal(driver_wait(&fixture->driver, &written, 5000), n + 1);
    assert_int_equal(written, strlen(text));
    assert_true(driver_got(&fixture->driver, n, text));
}

/* One request there and back. */
static inline void ping(Fixture *fixture, const char *text)
{
    assert_true(driver_send(&fixture->driver, 0, text));
    driver_kick(&fixture->driver);
    assert_answered(fixture, 0, text);
}

static inline void assert_reason(const Fixture *fixture, const char *start)
{
    g_autofree char *reason = vds_virtio_device_get_broken_reason(fixture->device);

    if (!start) {
        assert_null(reason);
        return;
    }
    assert_non_null(reason);
    assert_true(g_str_has_prefix(reason, start));
}
