/*
 * guest: what each driver says and does, idle and under load, and that it notices a
 * device that lies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "guest-fixture.h"

enum { RAM = 16 << 20, DRIVEN = 15 };

static const uint16_t kinds[] = {TOY_NET,     TOY_BLK,  TOY_SERIAL, TOY_RNG,
                                 TOY_BALLOON, TOY_SCSI, TOY_VSOCK};

static const uint64_t rings[] = {
    OFFER_MODERN,
    OFFER_MODERN & ~OFFER_BIT(VDS_F_RING_EVENT_IDX),
    OFFER_MODERN & ~OFFER_BIT(VDS_F_RING_INDIRECT_DESC),
    OFFER_MODERN | OFFER_BIT(VDS_F_RING_PACKED),
    (OFFER_MODERN | OFFER_BIT(VDS_F_RING_PACKED)) & ~OFFER_BIT(VDS_F_RING_EVENT_IDX),
};

/* ---- idle -------------------------------------------------------------------------- */

/* What Linux leaves in each queue: how many buffers went through, how many wait. */
static void test_idle(void **state)
{
    static const struct {
        uint16_t device_id;
        unsigned queue;
        uint16_t used, waiting, num;
    } rows[] = {
        {TOY_NET, 0, 0, 256, 256},   {TOY_NET, 1, 0, 0, 256},
        {TOY_NET, 2, 9, 0, 64},      {TOY_BLK, 0, 3, 0, 256},
        {TOY_RNG, 0, 1, 0, 8},       {TOY_SERIAL, 0, 0, 128, 128},
        {TOY_SERIAL, 1, 0, 0, 128},  {TOY_SERIAL, 2, 4, 32, 32},
        {TOY_SERIAL, 3, 4, 0, 32},   {TOY_SERIAL, 4, 0, 128, 128},
        {TOY_BALLOON, 0, 0, 0, 128}, {TOY_BALLOON, 1, 0, 0, 128},
        {TOY_BALLOON, 2, 0, 1, 128}, {TOY_SCSI, 0, 0, 0, 64},
        {TOY_SCSI, 1, 0, 8, 64},     {TOY_SCSI, 2, 11, 0, 256},
        {TOY_VSOCK, 0, 0, 128, 128}, {TOY_VSOCK, 1, 0, 0, 128},
        {TOY_VSOCK, 2, 0, 8, 128},
    };
    GuestFixture fixture;

    guest_fixture_init(&fixture, RAM);
    assert_true(vds_guest_resume(fixture.guest, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Toy *toy = guest_fixture_plug(&fixture, rows[i].device_id, OFFER_MODERN, 0);
        VdsQueueState queue;
        uint16_t avail;

        assert_true(EVENTUALLY(toy_state(toy).status == DRIVEN));
        assert_true(EVENTUALLY(toy_queue(toy, rows[i].queue).used_idx == rows[i].used));
        usleep(5000);
        queue = toy_queue(toy, rows[i].queue);
        assert_int_equal(queue.used_idx, rows[i].used);
        assert_int_equal(queue.num, rows[i].num);
        assert_true(vds_guest_map_read_u16(vds_guest_ram_get_map(fixture.ram),
                                           queue.avail + 2, &avail, 1, NULL));
        assert_int_equal((uint16_t)(avail - queue.used_idx), rows[i].waiting);
        assert_int_equal(vds_guest_get_errors(fixture.guest, toy->device), 0);
        guest_fixture_unplug(&fixture, toy);
    }
    guest_fixture_clear(&fixture);
}

/* ---- under load -------------------------------------------------------------------- */

static void test_load_is_good(void **state)
{
    GuestFixture fixture;
    g_autofree char *text = NULL;

    guest_fixture_init(&fixture, RAM);
    assert_true(vds_guest_resume(fixture.guest, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(kinds) * G_N_ELEMENTS(rings); i++) {
        Toy *toy =
            guest_fixture_plug(&fixture, kinds[i % G_N_ELEMENTS(kinds)],
                               rings[i / G_N_ELEMENTS(kinds)], VDS_GUEST_MAX_RATE / 50);

        assert_true(
            EVENTUALLY(vds_guest_get_requests(fixture.guest, toy->device) >= 600));
        text = vds_guest_get_last_error(fixture.guest, toy->device);
        assert_null(text);
        guest_fixture_unplug(&fixture, toy);
    }
    guest_fixture_clear(&fixture);
}

static bool last_error_is(GuestFixture *fixture, const Toy *toy, const char *prefix)
{
    g_autofree char *text = vds_guest_get_last_error(fixture->guest, toy->device);

    return text && g_str_has_prefix(text, prefix);
}

static void test_lies_are_counted(void **state)
{
    static const struct {
        uint16_t device_id;
        const char *error; /* how it begins */
    } rows[] = {
        {TOY_NET, "frame "},
        {TOY_BLK, "sector "},
        {TOY_SERIAL, "control message "},
        {TOY_RNG, "entropy is all 0x00"},
        {TOY_SCSI, "sector "},
        {TOY_VSOCK, "byte "},
    };
    GuestFixture fixture;

    guest_fixture_init(&fixture, RAM);
    assert_true(vds_guest_resume(fixture.guest, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Toy *toy = toy_new(fixture.thread, rows[i].device_id, OFFER_MODERN);
        VdsGuestDeviceConfig config = {VDS_WORKLOAD_LIGHT, 2000, false};

        atomic_store(&toy->lie, true);
        vds_guest_plug(fixture.guest, toy->device, &config);
        assert_true(EVENTUALLY(last_error_is(&fixture, toy, rows[i].error)));
        assert_true(vds_guest_get_errors(fixture.guest, toy->device) > 0);
        guest_fixture_unplug(&fixture, toy);
    }
    guest_fixture_clear(&fixture);
}

/* A serial device whose ports can be written to: the console at once, the other after
 * both ends opened it. */
static void test_lines(void **state)
{
    GuestFixture fixture;
    Toy *toy;

    guest_fixture_init(&fixture, RAM);
    assert_true(vds_guest_resume(fixture.guest, NULL));
    toy = guest_fixture_plug(&fixture, TOY_SERIAL, OFFER_MODERN, 1000);
    assert_true(EVENTUALLY(toy_queue(toy, 1).used_idx > 5));
    assert_true(EVENTUALLY(toy_queue(toy, 5).used_idx > 5));
    assert_true(atomic_load(&toy->lines) > 10);
    guest_fixture_unplug(&fixture, toy);
    guest_fixture_clear(&fixture);
}

/* The device asks for a size, and gets it; asks for less, and gets that. */
static void test_balloon_follows(void **state)
{
    static const uint32_t sizes[] = {700, 3, 0, 256};
    GuestFixture fixture;
    uint64_t empty;
    Toy *toy;

    guest_fixture_init(&fixture, RAM);
    assert_true(vds_guest_resume(fixture.guest, NULL));
    toy = guest_fixture_plug(&fixture, TOY_BALLOON, OFFER_MODERN, 0);
    assert_true(EVENTUALLY(toy_state(toy).status == DRIVEN));
    vds_guest_pause(fixture.guest); /* it is set up */
    assert_true(vds_guest_resume(fixture.guest, NULL));
    empty = vds_guest_ram_get_allocated(fixture.ram);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uint32_t wanted = GUINT32_TO_LE(sizes[i]), actual = UINT32_MAX;

        vds_virtio_device_set_config(toy->device, 0, &wanted, sizeof(wanted));
        assert_true(EVENTUALLY(
            (vds_virtio_device_get_config(toy->device, 4, &actual, sizeof(actual)),
             actual == wanted)));
        assert_int_equal(vds_guest_ram_get_allocated(fixture.ram),
                         empty + 4096 * (uint64_t)sizes[i]);
    }
    guest_fixture_unplug(&fixture, toy);
    assert_int_equal(vds_guest_ram_get_allocated(fixture.ram), 0);
    guest_fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_load_is_good),
        cmocka_unit_test(test_lies_are_counted),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_balloon_follows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
