/*
 * guest: the search of virtio-scsi's driver for a disk, and what it does when that comes,
 * goes and says no.  virtio 1.2, 5.6.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "guest-fixture.h"

enum { RAM = 16 << 20, RATE = 5000, REQUESTS = 2, EVENTS = 1 };
enum { TRANSPORT_RESET = 1, PARAM_CHANGE = 3, RESCAN = 1, REMOVED = 2 };
#define MISSED UINT32_C(0x80000000)

typedef struct {
    GuestFixture base;
    Toy *toy;
} Scsi;

static void scsi_init(Scsi *scsi)
{
    guest_fixture_init(&scsi->base, RAM);
    assert_true(vds_guest_resume(scsi->base.guest, NULL));
    scsi->toy = toy_new(scsi->base.thread, TOY_SCSI, OFFER_MODERN);
}

static void scsi_plug(Scsi *scsi, uint32_t rate)
{
    const VdsGuestDeviceConfig config = {
        .workload = rate ? VDS_WORKLOAD_LIGHT : VDS_WORKLOAD_IDLE, .rate = rate};

    vds_guest_plug(scsi->base.guest, scsi->toy->device, &config);
}

static void scsi_clear(Scsi *scsi)
{
    guest_fixture_unplug(&scsi->base, scsi->toy);
    guest_fixture_clear(&scsi->base);
}

static uint16_t asked(const Scsi *scsi)
{
    return toy_queue(scsi->toy, REQUESTS).used_idx;
}

static uint64_t errors(const Scsi *scsi)
{
    return vds_guest_get_errors(scsi->base.guest, scsi->toy->device);
}

typedef struct {
    Toy *toy;
    uint32_t event, target, reason;
    bool sent;
} Event;

static void send_event(void *user)
{
    Event *event = user;
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(event->toy->device, EVENTS);
    VdsIo *io = vds_virt_queue_pop_one(queue);
    uint8_t bytes[16] = {[4] = 1, [5] = (uint8_t)event->target};

    if (io) {
        memcpy(bytes, &event->event, 4);
        memcpy(bytes + 12, &event->reason, 4);
        toy_complete(io, vds_stream_write(&io->in, bytes, sizeof(bytes)));
        vds_virt_queue_flush(queue);
        event->sent = true;
    }
}

static void scsi_tell(Scsi *scsi, uint32_t event, uint32_t reason)
{
    Event told = {scsi->toy, event, TOY_SCSI_TARGET, reason, false};

    vds_io_thread_call(scsi->base.thread, send_event, &told);
    assert_true(told.sent);
}

/* Waits until the driver writes, or until it asks for nothing any more. */
static bool writes_go_on(Scsi *scsi)
{
    unsigned before = atomic_load(&scsi->toy->writes);

    return EVENTUALLY(atomic_load(&scsi->toy->writes) > before + 10);
}

static bool stands_still(Scsi *scsi)
{
    uint16_t before = asked(scsi);

    usleep(20000);
    return asked(scsi) == before;
}

/* ---- the search -------------------------------------------------------------------- */

/* Three targets; a disk costs eight commands more. */
static void test_search(void **state)
{
    static const struct {
        unsigned target, attention;
        uint16_t commands;
    } rows[] = {{0, 0, 3}, {1, 0, 11}, {2, 0, 11}, {1, 2, 13}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Scsi scsi;

        scsi_init(&scsi);
        atomic_store(&scsi.toy->target, rows[i].target);
        atomic_store(&scsi.toy->attention, rows[i].attention);
        scsi_plug(&scsi, 0);
        assert_true(EVENTUALLY(asked(&scsi) == rows[i].commands));
        assert_true(stands_still(&scsi));
        assert_int_equal(errors(&scsi), 0);
        scsi_clear(&scsi);
    }
}

/* One that always has something else to say is given up: INQUIRY, REPORT LUNS, INQUIRY,
 * then TEST UNIT READY four times, and the other two targets. */
static void test_attention_without_end(void **state)
{
    g_autofree char *text = NULL;
    Scsi scsi;

    scsi_init(&scsi);
    atomic_store(&scsi.toy->attention, 1000);
    scsi_plug(&scsi, RATE);
    assert_true(EVENTUALLY(asked(&scsi) == 9));
    assert_true(stands_still(&scsi));
    text = vds_guest_get_last_error(scsi.base.guest, scsi.toy->device);
    assert_string_equal(text,
                        "TEST UNIT READY ended with response 0, status 2, sense key 6");
    assert_int_equal(errors(&scsi), 1);
    scsi_clear(&scsi);
}

/* ---- the disk ---------------------------------------------------------------------- */

static void test_sizes_of_blocks(void **state)
{
    static const unsigned good[] = {512, 1024, 4096};
    static const unsigned bad[] = {1, 520, 8192};
    Scsi scsi;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        scsi_init(&scsi);
        atomic_store(&scsi.toy->block_bytes, good[i]);
        scsi_plug(&scsi, RATE);
        assert_true(
            EVENTUALLY(vds_guest_get_requests(scsi.base.guest, scsi.toy->device) > 300));
        assert_int_equal(errors(&scsi), 0);
        scsi_clear(&scsi);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        scsi_init(&scsi);
        atomic_store(&scsi.toy->block_bytes, bad[i]);
        scsi_plug(&scsi, RATE);
        assert_true(EVENTUALLY(asked(&scsi) == 8));
        assert_true(stands_still(&scsi));
        assert_int_equal(errors(&scsi), 0);
        scsi_clear(&scsi);
    }
}

static void test_protected_disk_is_not_written(void **state)
{
    Scsi scsi;

    scsi_init(&scsi);
    atomic_store(&scsi.toy->protects, true);
    scsi_plug(&scsi, RATE);
    assert_true(
        EVENTUALLY(vds_guest_get_requests(scsi.base.guest, scsi.toy->device) > 300));
    assert_int_equal(atomic_load(&scsi.toy->writes), 0);
    assert_int_equal(errors(&scsi), 0);
    /* it says so too late */
    atomic_store(&scsi.toy->protects, false);
    scsi_tell(&scsi, PARAM_CHANGE, 0);
    assert_true(writes_go_on(&scsi));
    atomic_store(&scsi.toy->protects, true);
    assert_true(EVENTUALLY(errors(&scsi) > 0));
    scsi_clear(&scsi);
}

/* 5.6.6.3: removed, there again, and there while an event was missed. */
static void test_events(void **state)
{
    Scsi scsi;

    scsi_init(&scsi);
    scsi_plug(&scsi, RATE);
    assert_true(writes_go_on(&scsi));
    scsi_tell(&scsi, TRANSPORT_RESET, REMOVED);
    assert_true(EVENTUALLY(stands_still(&scsi)));
    scsi_tell(&scsi, TRANSPORT_RESET, RESCAN);
    assert_true(writes_go_on(&scsi));
    atomic_store(&scsi.toy->target, 0); /* it goes before its event comes */
    usleep(5000);
    scsi_tell(&scsi, TRANSPORT_RESET, REMOVED);
    assert_true(EVENTUALLY(stands_still(&scsi)));
    atomic_store(&scsi.toy->target, 2);
    scsi_tell(&scsi, MISSED, 0);
    assert_true(writes_go_on(&scsi));
    for (int i = 0; i < 20; i++) { /* more than there are buffers, and while it looks */
        scsi_tell(&scsi, i % 2 ? MISSED : PARAM_CHANGE, 0);
        usleep(i * 100);
    }
    assert_true(writes_go_on(&scsi));
    assert_int_equal(errors(&scsi), 0);
    scsi_clear(&scsi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_attention_without_end),
        cmocka_unit_test(test_sizes_of_blocks),
        cmocka_unit_test(test_protected_disk_is_not_written),
        cmocka_unit_test(test_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
