/*
 * devices: what virtio-rng gives a driver, from each source, and what it gives when there
 * is nothing (virtio 1.2, 5.4.6).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include "door.h"

enum { QUIET_MS = 60 };

typedef struct {
    Door door;
    char *folder, *source;
} Fixture;

static void fixture_init(Fixture *fixture, uint64_t mask, const char *device)
{
    fixture->folder = g_dir_make_tmp("vds-rng-XXXXXX", NULL);
    fixture->source = g_build_filename(fixture->folder, "source", NULL);
    door_init(&fixture->door);
    if (strstr(device, "rng=r0")) {
        g_autofree char *object =
            g_strdup_printf("qom-type=rng-random,id=r0,filename=%s", fixture->source);

        door_back(&fixture->door, "object", object);
    }
    if (strstr(device, "pipe")) {
        assert_int_equal(mkfifo(fixture->source, 0600), 0);
        device += strlen("pipe:");
    } else {
        assert_true(g_file_set_contents(fixture->source, "0123456789", -1, NULL));
    }
    assert_true(door_plug(&fixture->door, device, NULL));
    door_find(&fixture->door, "rng");
    door_start(&fixture->door, mask);
}

static void fixture_clear(Fixture *fixture)
{
    door_clear(&fixture->door);
    g_remove(fixture->source);
    g_rmdir(fixture->folder);
    g_free(fixture->source);
    g_free(fixture->folder);
}

static void pipe_write(const Fixture *fixture, const char *text)
{
    VDS_AUTO_FD fd = open(fixture->source, O_WRONLY | O_NONBLOCK);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void assert_bytes(Door *door, uint64_t gpa, const char *text)
{
    char bytes[64] = "";

    door_peek(door, gpa, bytes, strlen(text));
    assert_string_equal(bytes, text);
}

/* Each size, cut each way, in each format of ring: full, at most 64 KiB at a time, and
 * not a byte beside it. */
static void test_kernel(void **state)
{
    static const struct {
        uint32_t len, piece, written;
    } rows[] = {{1, 0, 1},         {64, 0, 64},        {64, 1, 64},
                {63, 5, 63},       {4096, 0, 4096},    {4097, 100000, 4097},
                {65536, 0, 65536}, {200000, 0, 65536}, {200000, 4001, 65536}};
    static const uint64_t masks[] = {DOOR_SPLIT, DOOR_PACKED,
                                     DOOR_SPLIT & ~DOOR_BIT(VDS_F_RING_EVENT_IDX)};
    static const char zeroes[16];

    for (size_t m = 0; m < G_N_ELEMENTS(masks); m++) {
        Fixture fixture;

        fixture_init(&fixture, masks[m], "virtio-rng-pci,id=rng,packed=on");
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
            char bytes[16], after = 1;
            uint64_t gpa;
            uint32_t written;

            if (rows[i].piece > 0 && rows[i].len / rows[i].piece >= 8) {
                continue; /* the ring has eight descriptors */
            }
            gpa = door_post(&fixture.door, 0, rows[i].len, rows[i].piece);
            assert_int_equal(door_used(&fixture.door, 0, &written), gpa);
            assert_int_equal(written, rows[i].written);
            if (written >= 64) {
                door_peek(&fixture.door, gpa + written - 16, bytes, sizeof(bytes));
                assert_memory_not_equal(bytes, zeroes, sizeof(bytes));
            }
            if (written < rows[i].len) {
                door_peek(&fixture.door, gpa + written, &after, 1);
                assert_int_equal(after, 0);
            }
        }
        assert_false(door_is_broken(&fixture.door));
        fixture_clear(&fixture);
    }
}

/* Nothing to write to: given back at once, as it would never be full. */
static void test_no_room(void **state)
{
    Fixture fixture;
    uint32_t written = 1;
    uint64_t gpa;

    fixture_init(&fixture, DOOR_SPLIT, "virtio-rng-pci,id=rng");
    gpa = door_send(&fixture.door, 0, "abc", 3, 0);
    assert_int_equal(door_used(&fixture.door, 0, &written), gpa);
    assert_int_equal(written, 0);
    assert_bytes(&fixture.door, gpa, "abc");
    fixture_clear(&fixture);
}

/* A request that nothing is there for stays in the ring, seen and not taken (as the
 * recorded rng1).  Those behind it need not have been seen. */
static void assert_silent(Door *door, uint16_t last)
{
    VdsQueueState now;
    uint32_t written;

    assert_int_equal(door_used_in(door, 0, &written, QUIET_MS), 0);
    now = door_state(door, 0);
    assert_int_equal(now.inuse, 0);
    assert_int_equal(now.last_avail_idx, last);
    assert_in_range(now.shadow_avail_idx, last + 1, last + 2);
    assert_int_equal(now.used_idx, last);
}

static void test_file_ends(void **state)
{
    Fixture fixture;
    uint32_t written;
    uint64_t gpa;

    fixture_init(&fixture, DOOR_SPLIT, "virtio-rng-pci,id=rng,rng=r0");
    gpa = door_post(&fixture.door, 0, 4, 0);
    assert_int_equal(door_used(&fixture.door, 0, &written), gpa);
    assert_bytes(&fixture.door, gpa, "0123");
    gpa = door_post(&fixture.door, 0, 64, 0);
    assert_int_equal(door_used(&fixture.door, 0, &written), gpa);
    assert_int_equal(written, 6);
    assert_bytes(&fixture.door, gpa, "456789");
    door_post(&fixture.door, 0, 64, 0);
    assert_silent(&fixture.door, 2);
    fixture_clear(&fixture);
}

static void test_pipe_speaks_later(void **state)
{
    Fixture fixture;
    uint32_t written;
    uint64_t gpa[2];

    fixture_init(&fixture, DOOR_SPLIT, "pipe:virtio-rng-pci,id=rng,rng=r0");
    gpa[0] = door_post(&fixture.door, 0, 64, 0);
    gpa[1] = door_post(&fixture.door, 0, 3, 0);
    assert_silent(&fixture.door, 0);
    pipe_write(&fixture, "hello");
    assert_int_equal(door_used(&fixture.door, 0, &written), gpa[0]);
    assert_int_equal(written, 5);
    assert_bytes(&fixture.door, gpa[0], "hello");
    assert_silent(&fixture.door, 1);
    pipe_write(&fixture, "again");
    assert_int_equal(door_used(&fixture.door, 0, &written), gpa[1]);
    assert_bytes(&fixture.door, gpa[1], "aga");
    assert_int_equal(written, 3);
    fixture_clear(&fixture);
}

/* stop freezes; cont goes on with what was there. */
static void test_stop_and_cont(void **state)
{
    Fixture fixture;
    uint32_t written;
    uint64_t gpa;

    fixture_init(&fixture, DOOR_SPLIT, "pipe:virtio-rng-pci,id=rng,rng=r0");
    gpa = door_post(&fixture.door, 0, 64, 0);
    assert_silent(&fixture.door, 0);
    vds_machine_stop(fixture.door.machine);
    {
        VDS_AUTO_FD keep = open(fixture.source, O_RDWR | O_NONBLOCK);

        assert_true(keep >= 0);
        pipe_write(&fixture, "frozen");
        assert_silent(&fixture.door, 0);
        assert_true(vds_machine_cont(fixture.door.machine, NULL));
        assert_int_equal(door_used(&fixture.door, 0, &written), gpa);
    }
    assert_bytes(&fixture.door, gpa, "frozen");
    fixture_clear(&fixture);
}

/* What waited before a reset is answered never; what waits at removal is in nobody's way.
 */
static void test_reset_and_removal(void **state)
{
    Fixture fixture;
    uint32_t written;
    uint64_t gpa;

    fixture_init(&fixture, DOOR_SPLIT, "pipe:virtio-rng-pci,id=rng,rng=r0");
    gpa = door_post(&fixture.door, 0, 64, 0);
    assert_silent(&fixture.door, 0);
    door_reset(&fixture.door);
    door_start(&fixture.door, DOOR_PACKED);
    pipe_write(&fixture, "old?");
    assert_int_equal(door_used_in(&fixture.door, 0, &written, QUIET_MS), 0);
    assert_bytes(&fixture.door, gpa, "");
    gpa = door_post(&fixture.door, 0, 64, 0);
    assert_int_equal(door_used(&fixture.door, 0, &written), gpa);
    assert_bytes(&fixture.door, gpa, "old?");
    door_post(&fixture.door, 0, 64, 0);
    door_settle(&fixture.door);
    assert_true(vds_machine_device_del(fixture.door.machine, "rng", NULL));
    assert_int_equal(open(fixture.source, O_WRONLY | O_NONBLOCK), -1); /* nobody reads */
    fixture_clear(&fixture);
}

/* 100 bytes in 300 ms: the first period's at once, then the next one's. */
static void test_rate(void **state)
{
    Fixture fixture;
    uint32_t written = 0, total = 0;
    gint64 begin;

    fixture_init(&fixture, DOOR_SPLIT, "virtio-rng-pci,id=rng,max-bytes=100,period=300");
    begin = g_get_monotonic_time();
    for (int i = 0; i < 4; i++) {
        door_post(&fixture.door, 0, 64, 0);
    }
    while (total < 100) {
        assert_int_not_equal(door_used(&fixture.door, 0, &written), 0);
        total += written;
    }
    assert_int_equal(total, 100);
    assert_int_not_equal(door_used(&fixture.door, 0, &written), 0);
    assert_true(g_get_monotonic_time() - begin >= 300 * G_TIME_SPAN_MILLISECOND);
    assert_int_equal(written, 64);
    fixture_clear(&fixture);
}

static void test_refused(void **state)
{
    static const struct {
        const char *object;
        const char *message;
    } rows[] = {
        {"qom-type=rng-random,id=r0,filename=/nonesuch",
         "Could not open '/nonesuch': No such file or directory"},
        {"qom-type=rng-egd,id=r0,chardev=c0",
         "'rng-egd' cannot be a source here, only 'rng-random' and 'rng-builtin'"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        Door door;

        door_init(&door);
        door_back(&door, "object", rows[i].object);
        assert_false(door_plug(&door, "virtio-rng-pci,id=rng,rng=r0", &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND));
        assert_string_equal(error->message, rows[i].message);
        door_clear(&door);
    }
}

/* A source that went away between -device and the driver's start. */
static void test_source_gone(void **state)
{
    g_autofree char *reason = NULL;
    Fixture fixture;

    fixture_init(&fixture, DOOR_SPLIT, "virtio-rng-pci,id=rng,rng=r0");
    door_reset(&fixture.door);
    g_remove(fixture.source);
    door_start(&fixture.door, DOOR_SPLIT);
    door_settle(&fixture.door);
    reason = vds_virtio_device_get_broken_reason(fixture.door.device);
    assert_non_null(reason);
    assert_true(g_str_has_prefix(reason, "cannot open '"));
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel),        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_file_ends),     cmocka_unit_test(test_pipe_speaks_later),
        cmocka_unit_test(test_stop_and_cont), cmocka_unit_test(test_reset_and_removal),
        cmocka_unit_test(test_rate),          cmocka_unit_test(test_refused),
        cmocka_unit_test(test_source_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
