/*
 * guest: devices that come, run, stand still, are reset and go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "guest-fixture.h"

enum { RAM = 16 << 20, DRIVEN = 15, DRIVEN_LEGACY = 7 };

static const uint16_t kinds[] = {TOY_NET,     TOY_BLK,  TOY_SERIAL, TOY_RNG,
                                 TOY_BALLOON, TOY_SCSI, TOY_VSOCK};

static void resume(GuestFixture *fixture)
{
    assert_true(vds_guest_resume(fixture->guest, NULL));
}

static void test_nothing_before_resume(void **state)
{
    GuestFixture fixture;
    Toy *toy;

    guest_fixture_init(&fixture, RAM);
    toy = guest_fixture_plug(&fixture, TOY_RNG, OFFER_MODERN, 0);
    usleep(10000);
    assert_int_equal(toy_state(toy).status, 0);
    resume(&fixture);
    assert_true(EVENTUALLY(toy_state(toy).status == DRIVEN));
    guest_fixture_unplug(&fixture, toy);
    guest_fixture_clear(&fixture);
}

/* Found by a running guest; idle afterwards with everything as it was before. */
static void test_every_kind_comes_and_goes(void **state)
{
    GuestFixture fixture;

    guest_fixture_init(&fixture, RAM);
    resume(&fixture);
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        Toy *toy = guest_fixture_plug(&fixture, kinds[i], OFFER_MODERN, 0);

        assert_true(EVENTUALLY(toy_state(toy).status == DRIVEN));
        assert_true(toy_state(toy).started);
        assert_true(vds_guest_ram_get_allocated(fixture.ram) > 0);
        assert_int_equal(vds_guest_get_errors(fixture.guest, toy->device), 0);
        vds_guest_unplug(fixture.guest, toy->device);
        assert_int_equal(toy_state(toy).status, 0);
        assert_int_equal(vds_guest_ram_get_allocated(fixture.ram), 0);
        toy_free(toy);
    }
    guest_fixture_clear(&fixture);
}

/* All that a driver of Linux 6.1 knows, of a device that offers everything. */
static void test_features(void **state)
{
    static const struct {
        uint16_t device_id;
        uint64_t offered, taken;
    } rows[] = {
        {TOY_RNG, OFFER_MODERN, TAKEN_MODERN},
        {TOY_RNG, OFFER_MODERN | OFFER_BIT(VDS_F_RING_PACKED),
         TAKEN_MODERN | OFFER_BIT(VDS_F_RING_PACKED)},
        {TOY_RNG, OFFER_MODERN & ~OFFER_BIT(VDS_F_RING_EVENT_IDX),
         TAKEN_MODERN & ~OFFER_BIT(VDS_F_RING_EVENT_IDX)},
        {TOY_RNG, OFFER_MODERN & ~OFFER_BIT(VDS_F_RING_INDIRECT_DESC),
         TAKEN_MODERN & ~OFFER_BIT(VDS_F_RING_INDIRECT_DESC)},
        /* free page reporting and deflation on demand, no page poison */
        {TOY_BALLOON, OFFER_MODERN | 0x16,
         (TAKEN_MODERN & ~OFFER_BIT(VDS_F_RING_INDIRECT_DESC)) | 0x6},
        /* SCSI commands are no longer known, barriers neither */
        {TOY_BLK, OFFER_MODERN | 0x6ef7, TAKEN_MODERN | 0x6e76},
        /* the generic segmentation of old and extra receive modes */
        {TOY_NET, OFFER_MODERN | 0xbfffef, TAKEN_MODERN | 0xafffaf},
        {TOY_SERIAL, OFFER_MODERN | 0x7, TAKEN_MODERN | 0x3},
    };
    GuestFixture fixture;

    guest_fixture_init(&fixture, RAM);
    resume(&fixture);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Toy *toy = guest_fixture_plug(&fixture, rows[i].device_id, rows[i].offered, 0);

        assert_true(EVENTUALLY(toy_state(toy).status & 8));
        assert_int_equal(toy_state(toy).guest_features.word[0] & ~toy->kind->features,
                         rows[i].taken & ~toy->kind->features);
        guest_fixture_unplug(&fixture, toy);
    }
    guest_fixture_clear(&fixture);
}

static void test_legacy(void **state)
{
    GuestFixture fixture;
    VdsQueueState queue;
    Toy *toy;

    guest_fixture_init(&fixture, RAM);
    resume(&fixture);
    toy = guest_fixture_plug(&fixture, TOY_BLK,
                             OFFER_MODERN & ~OFFER_BIT(VDS_F_VERSION_1), 200);
    assert_true(EVENTUALLY(toy_state(toy).status == DRIVEN_LEGACY));
    assert_int_equal(toy_state(toy).guest_features.word[0] >> 32, 0);
    queue = toy_queue(toy, 0);
    assert_int_equal(queue.avail - queue.desc, 4096);
    assert_int_equal(queue.used - queue.desc, 8192);
    assert_true(EVENTUALLY(vds_guest_get_requests(fixture.guest, toy->device) > 10));
    assert_int_equal(vds_guest_get_errors(fixture.guest, toy->device), 0);
    guest_fixture_unplug(&fixture, toy);
    guest_fixture_clear(&fixture);
}

/* As with a Linux that has no driver for it. */
static void test_undriven(void **state)
{
    GuestFixture fixture;
    Toy *toy;

    guest_fixture_init(&fixture, RAM);
    toy = guest_fixture_plug(&fixture, 99, OFFER_MODERN, 100);
    resume(&fixture);
    assert_true(EVENTUALLY(toy_state(toy).status == VDS_STATUS_ACKNOWLEDGE));
    usleep(10000);
    assert_int_equal(toy_state(toy).status, VDS_STATUS_ACKNOWLEDGE);
    assert_int_equal(vds_guest_get_errors(fixture.guest, toy->device), 0);
    guest_fixture_unplug(&fixture, toy);
    guest_fixture_clear(&fixture);
}

static void test_pause_and_resume(void **state)
{
    GuestFixture fixture;
    uint64_t before;
    Toy *toy;

    guest_fixture_init(&fixture, RAM);
    toy = guest_fixture_plug(&fixture, TOY_RNG, OFFER_MODERN, 1000);
    resume(&fixture);
    for (int i = 0; i < 20; i++) {
        before = vds_guest_get_requests(fixture.guest, toy->device);
        assert_true(
            EVENTUALLY(vds_guest_get_requests(fixture.guest, toy->device) > before + 2));
        vds_guest_pause(fixture.guest);
        before = vds_guest_get_requests(fixture.guest, toy->device);
        usleep(5000);
        assert_int_equal(vds_guest_get_requests(fixture.guest, toy->device), before);
        resume(&fixture);
    }
    assert_int_equal(vds_guest_get_errors(fixture.guest, toy->device), 0);
    guest_fixture_unplug(&fixture, toy);
    guest_fixture_clear(&fixture);
}

static void test_reset(void **state)
{
    GuestFixture fixture;
    uint64_t before;
    Toy *toys[G_N_ELEMENTS(kinds)];

    guest_fixture_init(&fixture, RAM);
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        toys[i] = guest_fixture_plug(&fixture, kinds[i], OFFER_MODERN, 1000);
    }
    for (int round = 0; round < 10; round++) {
        resume(&fixture);
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
            before = vds_guest_get_requests(fixture.guest, toys[i]->device);
            assert_true(EVENTUALLY(
                vds_guest_get_requests(fixture.guest, toys[i]->device) > before));
        }
        vds_guest_reset(fixture.guest);
        assert_int_equal(vds_guest_ram_get_allocated(fixture.ram), 0);
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
            assert_int_equal(toy_state(toys[i]).status, 0);
            assert_int_equal(vds_guest_get_errors(fixture.guest, toys[i]->device), 0);
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        guest_fixture_unplug(&fixture, toys[i]);
    }
    guest_fixture_clear(&fixture);
}

/* The first that does not fit fails and says why; the one before goes on. */
static void test_too_little_memory(void **state)
{
    GuestFixture fixture;
    g_autofree char *text = NULL;
    Toy *rng, *net;

    guest_fixture_init(&fixture, 64 << 10);
    rng = guest_fixture_plug(&fixture, TOY_RNG, OFFER_MODERN, 1000);
    resume(&fixture);
    assert_true(EVENTUALLY(toy_state(rng).status == DRIVEN));
    net = guest_fixture_plug(&fixture, TOY_NET, OFFER_MODERN, 0);
    assert_true(EVENTUALLY(toy_state(net).status & VDS_STATUS_FAILED));
    assert_int_equal(vds_guest_get_errors(fixture.guest, net->device), 1);
    text = vds_guest_get_last_error(fixture.guest, net->device);
    assert_non_null(text);
    assert_true(g_str_has_prefix(text, "no room for queue 0 in guest RAM: "));
    assert_true(EVENTUALLY(vds_guest_get_requests(fixture.guest, rng->device) > 10));
    assert_int_equal(vds_guest_get_errors(fixture.guest, rng->device), 0);
    guest_fixture_unplug(&fixture, net);
    guest_fixture_unplug(&fixture, rng);
    assert_int_equal(vds_guest_ram_get_allocated(fixture.ram), 0);
    guest_fixture_clear(&fixture);
}

/* Linux leaves a device that needs a reset as it is: so does the guest, until a reset. */
static void test_broken_device(void **state)
{
    GuestFixture fixture;
    uint64_t before;
    Toy *toy;

    guest_fixture_init(&fixture, RAM);
    toy = guest_fixture_plug(&fixture, TOY_RNG, OFFER_MODERN, 1000);
    resume(&fixture);
    assert_true(EVENTUALLY(vds_guest_get_requests(fixture.guest, toy->device) > 2));
    vds_virtio_device_break(toy->device, "S1: a test says so");
    assert_true(EVENTUALLY(vds_guest_get_errors(fixture.guest, toy->device) == 1));
    assert_true(toy_state(toy).status & VDS_STATUS_NEEDS_RESET);
    assert_true(toy_state(toy).broken);
    vds_guest_reset(fixture.guest);
    assert_false(toy_state(toy).broken);
    before = vds_guest_get_requests(fixture.guest, toy->device);
    resume(&fixture);
    assert_true(
        EVENTUALLY(vds_guest_get_requests(fixture.guest, toy->device) > before + 2));
    assert_int_equal(vds_guest_get_errors(fixture.guest, toy->device), 1);
    guest_fixture_unplug(&fixture, toy);
    guest_fixture_clear(&fixture);
}

/* Devices that never answer do not keep the guest from letting go. */
static void test_silent_devices(void **state)
{
    GuestFixture fixture;

    guest_fixture_init(&fixture, RAM);
    resume(&fixture);
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        Toy *toy = toy_new(fixture.thread, kinds[i], OFFER_MODERN);
        VdsGuestDeviceConfig config = {VDS_WORKLOAD_LIGHT, 1000, true};

        atomic_store(&toy->silent, true);
        vds_guest_plug(fixture.guest, toy->device, &config);
        assert_true(EVENTUALLY(toy_state(toy).status == DRIVEN));
        usleep(20000);
        guest_fixture_unplug(&fixture, toy);
        assert_int_equal(vds_guest_ram_get_allocated(fixture.ram), 0);
    }
    guest_fixture_clear(&fixture);
}

/* Devices that answer anything cost nobody but themselves: they are let go, their memory
 * comes back, and their neighbour works on. */
static void test_devices_that_answer_anything(void **state)
{
    enum { ROUNDS = 20 };
    GuestFixture fixture;
    uint64_t errors = 0, allocated;
    Toy *busy;

    guest_fixture_init(&fixture, RAM);
    resume(&fixture);
    busy = guest_fixture_plug(&fixture, TOY_BLK, OFFER_MODERN, 5000);
    assert_true(EVENTUALLY(vds_guest_get_requests(fixture.guest, busy->device) > 20));
    allocated = vds_guest_ram_get_allocated(fixture.ram);
    for (uint32_t i = 0; i < ROUNDS * G_N_ELEMENTS(kinds); i++) {
        Toy *toy = toy_new_wild(fixture.thread, kinds[i % G_N_ELEMENTS(kinds)],
                                OFFER_MODERN | (i % 3 ? 0 : OFFER_BIT(VDS_F_RING_PACKED)),
                                i + 1);
        VdsGuestDeviceConfig config = {VDS_WORKLOAD_LIGHT, 100000, false};

        vds_guest_plug(fixture.guest, toy->device, &config);
        usleep(4000);
        errors += vds_guest_get_errors(fixture.guest, toy->device);
        guest_fixture_unplug(&fixture, toy);
        assert_int_equal(vds_guest_ram_get_allocated(fixture.ram), allocated);
    }
    assert_true(errors > ROUNDS);
    assert_int_equal(vds_guest_get_errors(fixture.guest, busy->device), 0);
    guest_fixture_unplug(&fixture, busy);
    guest_fixture_clear(&fixture);
}

static void test_hot_plug_under_load(void **state)
{
    GuestFixture fixture;
    Toy *busy;

    guest_fixture_init(&fixture, RAM);
    resume(&fixture);
    busy = guest_fixture_plug(&fixture, TOY_BLK, OFFER_MODERN, 5000);
    for (int i = 0; i < 40; i++) {
        uint16_t id = kinds[i % G_N_ELEMENTS(kinds)];
        Toy *toy = guest_fixture_plug(&fixture, id, OFFER_MODERN, 5000);

        usleep((useconds_t)(i % 4) * 1000);
        assert_int_equal(vds_guest_get_errors(fixture.guest, toy->device), 0);
        guest_fixture_unplug(&fixture, toy);
    }
    assert_true(EVENTUALLY(vds_guest_get_requests(fixture.guest, busy->device) > 20));
    assert_int_equal(vds_guest_get_errors(fixture.guest, busy->device), 0);
    guest_fixture_unplug(&fixture, busy);
    guest_fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_before_resume),
        cmocka_unit_test(test_every_kind_comes_and_goes),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_undriven),
        cmocka_unit_test(test_pause_and_resume),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_too_little_memory),
        cmocka_unit_test(test_broken_device),
        cmocka_unit_test(test_silent_devices),
        cmocka_unit_test(test_devices_that_answer_anything),
        cmocka_unit_test(test_hot_plug_under_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
