/*
 * devices: virtio-scsi beside its commands (virtio 1.2, 5.6.6.2 and 5.6.6.3): task
 * management, events, and a disk that comes and goes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "scsi-door.h"

/* ---- control and events ---- */

static uint8_t manage(Scsi *scsi, uint8_t subtype, uint8_t target, uint8_t lun,
                      uint8_t tag)
{
    uint8_t bytes[24] = {0, 0, 0, 0, subtype, 0, 0, 0, 1, target, 0, lun, [16] = tag};
    uint64_t gpa = scsi->gpa + ROOM;
    uint32_t written;
    uint8_t answer;

    door_poke(&scsi->door, gpa, bytes, sizeof(bytes));
    door_add(&scsi->door, CONTROL, gpa, sizeof(bytes), 1, 5, scsi);
    door_kick(&scsi->door, CONTROL);
    assert_int_not_equal(door_used(&scsi->door, CONTROL, &written), 0);
    assert_int_equal(written, 1);
    door_peek(&scsi->door, gpa + sizeof(bytes), &answer, 1);
    return answer;
}

static void test_task_management(void **state)
{
    Scsi scsi;

    scsi_open(&scsi, "", node_null, "", DOOR_SPLIT);
    for (uint8_t subtype = 0; subtype < 10; subtype++) {
        bool known = subtype != 2 && subtype < 8;

        assert_int_equal(manage(&scsi, subtype, 0, 0, 1), known ? COMPLETE : REJECTED);
        assert_int_equal(manage(&scsi, subtype, 9, 0, 1), known ? BAD_TARGET : REJECTED);
        assert_int_equal(manage(&scsi, subtype, 0, 5, 1), !known         ? REJECTED
                                                          : subtype == 4 ? COMPLETE
                                                                         : INCORRECT_LUN);
    }
    scsi_close(&scsi);
}

/* A task that is under way is over before the answer says so. */
static void test_abort_of_a_task_under_way(void **state)
{
    const uint8_t cdb[] = {0x2a, 0, 0, 0, 0, 0, 0, 2, 0}; /* 256 KiB, in chunks */
    enum { LEN = 512 * BLOCK, ROUNDS = 50 };
    g_autofree uint8_t *bytes = g_malloc0(LEN);
    Scsi scsi;

    scsi_open_file(&scsi, ",aio=threads", ",write-cache=off", DOOR_SPLIT);
    for (unsigned i = 0; i < ROUNDS; i++) {
        VdsUsed used;

        post(&scsi, 7, cdb, sizeof(cdb), bytes, LEN, 0);
        assert_int_equal(manage(&scsi, i % 2 ? 0 : 5, 0, 0, 7), COMPLETE);
        assert_true(vds_driver_ring_get_used(scsi.door.rings[REQUESTS], &used, NULL));
        assert_true(GPOINTER_TO_SIZE(used.token) == scsi.gpa);
    }
    scsi_close(&scsi);
}

static void test_notifications(void **state)
{
    uint8_t bytes[16] = {1, [4] = 1, [12] = 255}, answer[5];
    uint32_t written;
    Scsi scsi;

    scsi_open(&scsi, "", node_null, "", DOOR_SPLIT);
    door_poke(&scsi.door, scsi.gpa, bytes, sizeof(bytes));
    door_add(&scsi.door, CONTROL, scsi.gpa, sizeof(bytes), 5, 0, &scsi);
    door_kick(&scsi.door, CONTROL);
    assert_int_not_equal(door_used(&scsi.door, CONTROL, &written), 0);
    door_peek(&scsi.door, scsi.gpa + sizeof(bytes), answer, sizeof(answer));
    assert_memory_equal(answer, "\0\0\0\0\0", 5);
    scsi_close(&scsi);
}

static uint32_t next_event(Scsi *scsi, uint32_t *reason)
{
    uint32_t written;
    uint64_t gpa = door_used(&scsi->door, EVENT, &written);
    uint8_t bytes[16];

    assert_int_not_equal(gpa, 0);
    assert_int_equal(written, sizeof(bytes));
    door_peek(&scsi->door, gpa, bytes, sizeof(bytes));
    *reason = get_le32(bytes + 12);
    return get_le32(bytes);
}

/* A disk comes and goes under a driver, which is told where it has a buffer for it. */
static void test_hot_plug(void **state)
{
    uint32_t reason;
    Scsi scsi;

    scsi_open(&scsi, "", NULL, "", DOOR_SPLIT);
    RUN(&scsi, NULL, 0, 0, 0x00);
    assert_int_equal(scsi.response, BAD_TARGET);
    door_post(&scsi.door, EVENT, 16, 0);
    scsi.file = make_file();
    {
        g_autofree char *node =
            g_strdup_printf("driver=file,node-name=n,filename=%s", scsi.file);

        door_back(&scsi.door, "blockdev", node);
    }
    assert_true(door_plug(&scsi.door, "scsi-hd,id=d,bus=s.0,drive=n", NULL));
    assert_int_equal(next_event(&scsi, &reason), 1);
    assert_int_equal(reason, 1);
    read_and_write(&scsi);
    assert_true(vds_machine_device_del(scsi.door.machine, "d", NULL));
    RUN(&scsi, NULL, 0, 0, 0x00);
    assert_int_equal(scsi.response, BAD_TARGET);
    door_post(&scsi.door, EVENT, 16, 0);
    assert_int_equal(next_event(&scsi, &reason), UINT32_C(1) << 31); /* one was missed */
    assert_true(door_plug(&scsi.door, "scsi-hd,id=d,bus=s.0,drive=n", NULL));
    MUST(&scsi, 0x00);
    scsi_close(&scsi);
}

/* An earlier driver's request is still with the disk, so the next one's wait; and then
 * there is no disk any more: they are answered all the same. */
static void test_unplug_with_requests_that_wait(void **state)
{
    const uint8_t write[] = {0x2a, 0, 0, 0, 0, 0, 0, 2, 0}; /* 256 KiB, to the platter */
    const uint8_t read[] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1};
    enum { LEN = 512 * BLOCK, ROUNDS = 20 };
    g_autofree uint8_t *bytes = g_malloc0(LEN);
    Scsi scsi;

    scsi_open_file(&scsi, ",aio=threads", ",write-cache=off", DOOR_SPLIT);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t abort_all[24] = {0, 0, 0, 0, 5, 0, 0, 0, 1};
        uint64_t task = scsi.gpa + ROOM;
        uint32_t written;

        post(&scsi, 1, write, sizeof(write), bytes, LEN, 0);
        door_settle(&scsi.door);
        door_reset(&scsi.door);
        door_start(&scsi.door, DOOR_SPLIT);
        post(&scsi, 2, read, sizeof(read), NULL, 0, BLOCK);
        door_poke(&scsi.door, task, abort_all, sizeof(abort_all));
        door_add(&scsi.door, CONTROL, task, sizeof(abort_all), 1, 0, &scsi);
        door_kick(&scsi.door, CONTROL);
        door_settle(&scsi.door);
        assert_true(vds_machine_device_del(scsi.door.machine, "d", NULL));
        take(&scsi, 0, BLOCK);
        assert_true(scsi.response == BAD_TARGET || scsi.status == GOOD);
        assert_int_not_equal(door_used(&scsi.door, CONTROL, &written), 0);
        assert_true(
            door_plug(&scsi.door, "scsi-hd,id=d,bus=s.0,drive=n,write-cache=off", NULL));
    }
    scsi_close(&scsi);
}

static void test_bad_disks(void **state)
{
    static const char *const rows[] = {"scsi-id=256", "lun=16384", "channel=1",
                                       "logical_block_size=1000"};
    Scsi scsi;

    scsi_open(&scsi, "", NULL, "", DOOR_SPLIT);
    door_back(&scsi.door, "blockdev", node_null);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strdup_printf("scsi-hd,drive=n,%s", rows[i]);
        g_autoptr(GError) error = NULL;

        assert_false(door_plug(&scsi.door, text, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY));
    }
    assert_true(door_plug(&scsi.door, "scsi-hd,drive=n", NULL));
    scsi_close(&scsi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_task_management),
        cmocka_unit_test(test_abort_of_a_task_under_way),
        cmocka_unit_test(test_notifications),
        cmocka_unit_test(test_hot_plug),
        cmocka_unit_test(test_unplug_with_requests_that_wait),
        cmocka_unit_test(test_bad_disks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
