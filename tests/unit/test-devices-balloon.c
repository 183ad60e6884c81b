/*
 * devices: what virtio-balloon does with the pages a driver names, and with what no
 * driver would name (virtio 1.2, 5.5).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "door.h"

enum { INFLATE, DEFLATE, STATISTICS, REPORTING, PAGE = 4096 };

#define BALLOON "virtio-balloon-pci,id=b,free-page-reporting=on,packed=on"
static const uint64_t masks[] = {DOOR_SPLIT, DOOR_PACKED};

static void fixture_init(Door *door, const char *device, uint64_t mask)
{
    door_init(door);
    assert_true(door_plug(door, device, NULL));
    door_find(door, "b");
    door_start(door, mask);
}

/* Sends page frames and waits until they were seen. */
static void send_frames(Door *door, unsigned queue, const uint32_t *frames, uint32_t n,
                        uint32_t piece)
{
    uint32_t written = 1;
    uint64_t gpa = door_send(door, queue, frames, n * 4, piece);

    assert_int_equal(door_used(door, queue, &written), gpa);
    assert_int_equal(written, 0);
}

/* Pages marked with their number, from a run of `n`. */
static uint32_t mark(Door *door, uint32_t n)
{
    uint32_t first = (uint32_t)(door_alloc(door, (uint64_t)n * PAGE) / PAGE);

    for (uint32_t i = 0; i < n; i++) {
        char bytes[PAGE];

        memset(bytes, 'a' + (int)(i % 26), sizeof(bytes));
        door_poke(door, (uint64_t)(first + i) * PAGE, bytes, sizeof(bytes));
    }
    return first;
}

/* "a.c": the second page is zeroes. */
static void assert_marks(Door *door, uint32_t first, const char *marks)
{
    for (uint32_t i = 0; marks[i]; i++) {
        uint8_t bytes[PAGE];

        door_peek(door, (uint64_t)(first + i) * PAGE, bytes, sizeof(bytes));
        for (size_t k = 0; k < sizeof(bytes); k++) {
            assert_int_equal(bytes[k], marks[i] == '.' ? 0 : marks[i]);
        }
    }
}

static int64_t blocks(Door *door)
{
    struct stat info;

    assert_int_equal(fstat(vds_guest_ram_get_fd(door->ram), &info), 0);
    return info.st_blocks;
}

/* In any order, cut anywhere, named twice: those, and no others. */
static void test_inflate(void **state)
{
    static const struct {
        uint32_t frames[4], n, piece;
        const char *after;
    } rows[] = {
        {{0}, 1, 0, ".bcdef"},          {{1, 2, 3}, 3, 0, "a...ef"},
        {{3, 2, 1}, 3, 0, "a...ef"},    {{5, 0}, 2, 1, ".bcde."},
        {{2, 2, 2}, 3, 3, "ab.def"},    {{4, 1, 5, 0}, 4, 5, "..cd.."},
        {{1, 3, 2, 4}, 4, 7, "a....f"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows) * G_N_ELEMENTS(masks); i++) {
        const uint32_t n = rows[i / 2].n;
        uint32_t frames[4], first;
        Door door;

        fixture_init(&door, BALLOON, masks[i % 2]);
        first = mark(&door, 6);
        for (uint32_t k = 0; k < n; k++) {
            frames[k] = GUINT32_TO_LE(first + rows[i / 2].frames[k]);
        }
        send_frames(&door, INFLATE, frames, n, rows[i / 2].piece);
        assert_marks(&door, first, rows[i / 2].after);
        send_frames(&door, DEFLATE, frames, n, rows[i / 2].piece);
        assert_marks(&door, first, rows[i / 2].after);
        assert_false(door_is_broken(&door));
        door_clear(&door);
    }
}

/* Pages that were given cost nothing. */
static void test_gives_back(void **state)
{
    enum { MANY = 256, BLOCKS = PAGE / 512 };
    uint32_t frames[MANY], first;
    int64_t before;
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    first = mark(&door, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        frames[i] = GUINT32_TO_LE(first + (i * 7 + 3) % MANY);
    }
    before = blocks(&door);
    send_frames(&door, INFLATE, frames, MANY, 0);
    assert_true(before - blocks(&door) > (MANY - 8) * BLOCKS); /* rings and the request */
    door_clear(&door);
}

/* What is no memory is passed over; its neighbours in the request are not. */
static void test_absurd_frames(void **state)
{
    static const uint32_t absurd[] = {UINT32_MAX, UINT32_MAX - 1, DOOR_RAM / PAGE,
                                      1u << 31, 1u << 20};
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    for (size_t i = 0; i < G_N_ELEMENTS(absurd); i++) {
        uint32_t first = mark(&door, 3);
        uint32_t frames[] = {GUINT32_TO_LE(absurd[i]), GUINT32_TO_LE(first + 1),
                             GUINT32_TO_LE(absurd[i] + 1), GUINT32_TO_LE(absurd[i])};

        send_frames(&door, INFLATE, frames, 4, 0);
        send_frames(&door, DEFLATE, frames, 4, 0);
        if (absurd[i] != UINT32_MAX) { /* else the third is page 0 */
            assert_marks(&door, first, "a.c");
        }
    }
    assert_false(door_is_broken(&door));
    door_clear(&door);
}

/* The last page of RAM, and the one behind it in one run. */
static void test_end_of_memory(void **state)
{
    const uint32_t last = DOOR_RAM / PAGE - 1;
    const uint32_t frames[] = {GUINT32_TO_LE(last), GUINT32_TO_LE(last + 1)};
    char byte = 'x';
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    door_poke(&door, DOOR_RAM - 1, &byte, 1);
    send_frames(&door, INFLATE, frames, 2, 0);
    door_peek(&door, DOOR_RAM - 1, &byte, 1);
    assert_int_equal(byte, 0);
    door_clear(&door);
}

/* Requests that hold no whole page frame, or room where there should be frames. */
static void test_odd_lengths(void **state)
{
    static const uint32_t lens[] = {1, 3, 5, 7};
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    for (unsigned queue = INFLATE; queue <= DEFLATE; queue++) {
        for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
            uint32_t first = mark(&door, 2), written = 1;
            uint32_t frames[] = {GUINT32_TO_LE(first), GUINT32_TO_LE(first + 1)};
            uint64_t gpa = door_send(&door, queue, frames, lens[i], 2);

            assert_int_equal(door_used(&door, queue, &written), gpa);
            assert_marks(&door, first, queue == INFLATE && lens[i] >= 4 ? ".b" : "ab");
            gpa = door_post(&door, queue, lens[i], 0);
            assert_int_equal(door_used(&door, queue, &written), gpa);
            assert_int_equal(written, 0);
        }
    }
    assert_false(door_is_broken(&door));
    door_clear(&door);
}

/* More frames than any driver sends: a part is done, and the request comes back. */
static void test_many_frames(void **state)
{
    enum { MANY = 70000 };
    g_autofree uint32_t *frames = g_new(uint32_t, MANY);
    uint32_t first;
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    first = mark(&door, 3);
    for (uint32_t i = 0; i < MANY; i++) {
        frames[i] = GUINT32_TO_LE(UINT32_MAX);
    }
    frames[0] = GUINT32_TO_LE(first);
    frames[65535] = GUINT32_TO_LE(first + 1);
    frames[65536] = GUINT32_TO_LE(first + 2);
    send_frames(&door, INFLATE, frames, MANY, 0);
    assert_marks(&door, first, "..c");
    door_clear(&door);
}

/* ---- statistics ---- */

static void assert_kept(Door *door, unsigned inuse, uint16_t last)
{
    VdsQueueState now;

    door_settle(door);
    now = door_state(door, STATISTICS);
    assert_int_equal(now.inuse, inuse);
    assert_int_equal(now.last_avail_idx, last);
}

/* The one buffer is kept, over stop and cont (the recorded guest); a second sends the
 * first back; a reset forgets it. */
static void test_statistics(void **state)
{
    static const uint8_t report[] = {4, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    uint64_t gpa[2];
    uint32_t written;
    Door door;

    for (size_t i = 0; i < G_N_ELEMENTS(masks); i++) {
        fixture_init(&door, BALLOON, masks[i]);
        gpa[0] = door_send(&door, STATISTICS, report, sizeof(report), 0);
        assert_kept(&door, 1, 1);
        vds_machine_stop(door.machine);
        assert_true(vds_machine_cont(door.machine, NULL));
        assert_kept(&door, 1, 1);
        gpa[1] = door_send(&door, STATISTICS, report, sizeof(report), 0);
        assert_int_equal(door_used(&door, STATISTICS, &written), gpa[0]);
        assert_kept(&door, 1, 2);
        assert_int_not_equal(gpa[0], gpa[1]);
        door_reset(&door);
        door_start(&door, masks[1 - i]);
        assert_kept(&door, 0, 0);
        door_send(&door, STATISTICS, report, sizeof(report), 0);
        assert_kept(&door, 1, 1);
        if (i == 0) { /* RING_RESET takes the queue's alone */
            assert_true(vds_virtio_driver_reset_queue(door.device, STATISTICS, NULL));
            door_queue(&door, STATISTICS);
            assert_kept(&door, 0, 0);
        }
        assert_true(vds_machine_device_del(door.machine, "b", NULL));
        door_clear(&door);
    }
}

/* The buffer goes back into the ring with its queue, and is the next device's. */
static void test_statistics_queue_stops(void **state)
{
    static const uint8_t report[] = {4, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    door_send(&door, STATISTICS, report, sizeof(report), 0);
    assert_kept(&door, 1, 1);
    assert_int_equal(door_stop(&door, STATISTICS, false), 0);
    assert_kept(&door, 0, 0);
    assert_int_equal(door_stop(&door, STATISTICS, true), 0);
    assert_kept(&door, 1, 1);
    door_clear(&door);
}

/* A member of guest-stats as text; NULL: "last-update". */
static char *stat_of(Door *door, const char *name)
{
    const VdsProp *found;
    VdsProp value;
    char *text;

    assert_true(vds_machine_qom_get(door->machine, "/machine/peripheral/b", "guest-stats",
                                    &value, NULL));
    found = vds_props_find(value.u.members, name ? "stats" : "last-update");
    found = name ? vds_props_find(found->u.members, name) : found;
    text = g_strdup(found->text);
    vds_prop_clear(&value);
    return text;
}

static void assert_stat(Door *door, const char *name, const char *text)
{
    g_autofree char *found = stat_of(door, name);

    assert_string_equal(found, text);
}

/* All ones is "not known": before the first report, what a report leaves out, and what it
 * breaks off in. */
static void test_statistics_are_shown(void **state)
{
    static const uint8_t first[] = {4,    0, 1, 2, 0, 0, 0, 0,    0, 0, 0xff,
                                    0xff, 9, 9, 9, 9, 9, 9, 9,    9, 1, 0,
                                    0,    0, 0, 0, 0, 0, 0, 0x80, 9, 0, 7};
    static const uint8_t second[] = {9, 0, 5, 0, 0, 0, 0, 0, 0, 0};
    const char *unknown = "18446744073709551615";
    g_autofree char *now = NULL;
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    assert_stat(&door, "stat-free-memory", unknown);
    assert_stat(&door, NULL, "0");
    door_send(&door, STATISTICS, first, sizeof(first), 3);
    assert_kept(&door, 1, 1);
    assert_stat(&door, "stat-free-memory", "513");
    assert_stat(&door, "stat-swap-out", "9223372036854775808");
    assert_stat(&door, "stat-htlb-pgfail", unknown);
    now = stat_of(&door, NULL);
    assert_string_not_equal(now, "0");
    door_send(&door, STATISTICS, second, sizeof(second), 0);
    assert_kept(&door, 1, 2);
    assert_stat(&door, "stat-free-memory", unknown);
    assert_stat(&door, "stat-htlb-pgfail", "5");
    door_clear(&door);
}

static bool set_interval(Door *door, int64_t seconds, GError **error)
{
    const VdsProp value = {.kind = VDS_PROP_INT, .u.integer = seconds};

    return vds_machine_qom_set(door->machine, "/machine/peripheral/b/virtio-backend",
                               "guest-stats-polling-interval", &value, error);
}

/* With an interval the buffer comes back at once, and again; without a driver it waits
 * for one; while the machine stands still nobody is asked. */
static void test_statistics_are_asked_for(void **state)
{
    static const uint8_t report[] = {4, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t written = 1;
    uint64_t gpa;
    Door door;

    door_init(&door);
    assert_true(door_plug(&door, BALLOON, NULL));
    door_find(&door, "b");
    assert_true(set_interval(&door, 1, NULL));
    door_start(&door, DOOR_SPLIT);
    for (unsigned i = 0; i < 2; i++) {
        gpa = door_send(&door, STATISTICS, report, sizeof(report), 0);
        assert_int_equal(door_used(&door, STATISTICS, &written), gpa);
        assert_int_equal(written, 0);
    }
    assert_true(set_interval(&door, 0, NULL));
    gpa = door_send(&door, STATISTICS, report, sizeof(report), 0);
    assert_kept(&door, 1, 3);
    vds_machine_stop(door.machine);
    assert_true(set_interval(&door, 1, NULL));
    g_usleep(1200000);
    assert_kept(&door, 1, 3);
    assert_true(vds_machine_cont(door.machine, NULL));
    assert_int_equal(door_used(&door, STATISTICS, &written), gpa);
    door_clear(&door);
}

static void test_interval_refused(void **state)
{
    static const struct {
        VdsProp value;
        const char *message;
    } rows[] = {
        {{.kind = VDS_PROP_INT, .u.integer = -1},
         "timer value must be greater than zero"},
        {{.kind = VDS_PROP_INT, .u.integer = 1ll << 32}, "timer value is too big"},
        {{.kind = VDS_PROP_UINT, .u.uinteger = UINT64_MAX}, "timer value is too big"},
        {{.kind = VDS_PROP_BOOL, .u.boolean = true},
         "Invalid parameter type for 'guest-stats-polling-interval', expected: integer"},
    };
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_false(vds_machine_qom_set(door.machine, "/machine/peripheral/b",
                                         "guest-stats-polling-interval", &rows[i].value,
                                         &error));
        assert_string_equal(error->message, rows[i].message);
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY));
    }
    door_clear(&door);
}

/* ---- free pages ---- */

/* The buffers are the pages; their edges need not be. */
static void test_reporting(void **state)
{
    uint32_t first, written = 1;
    char bytes[3];
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    first = mark(&door, 6);
    door_add(&door, REPORTING, (uint64_t)(first + 1) * PAGE, 0, 4 * PAGE, 2 * PAGE,
             &door);
    door_kick(&door, REPORTING);
    assert_int_equal(door_used(&door, REPORTING, &written), GPOINTER_TO_SIZE(&door));
    assert_int_equal(written, 0);
    assert_marks(&door, first, "a....f");
    door_add(&door, REPORTING, (uint64_t)first * PAGE + 1, 0, 1, 0, &door);
    door_kick(&door, REPORTING);
    assert_int_equal(door_used(&door, REPORTING, &written), GPOINTER_TO_SIZE(&door));
    door_peek(&door, (uint64_t)first * PAGE, bytes, sizeof(bytes));
    assert_memory_equal(bytes, "a\0a", 3);
    assert_int_equal(written, 0);
    door_clear(&door);
}

/* A guest that poisons its free pages finds the poison there. */
static void test_poisoned(void **state)
{
    static const uint32_t poison = 0x61;
    uint32_t first, written;
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    first = mark(&door, 1);
    assert_true(vds_virtio_driver_write_config(door.device, 12, &poison, 4, NULL));
    door_add(&door, REPORTING, (uint64_t)first * PAGE, 0, PAGE, 0, &door);
    door_kick(&door, REPORTING);
    assert_int_equal(door_used(&door, REPORTING, &written), GPOINTER_TO_SIZE(&door));
    assert_marks(&door, first, "a");
    door_clear(&door);
}

/* With free-page-hint that queue comes first: its pages stay as they are. */
static void test_hints(void **state)
{
    uint32_t first, written;
    Door door;

    door_init(&door);
    door_back(&door, "object", "qom-type=iothread,id=io0");
    assert_true(door_plug(&door, BALLOON ",free-page-hint=on,iothread=io0", NULL));
    door_find(&door, "b");
    door_start(&door, DOOR_SPLIT);
    first = mark(&door, 2);
    for (unsigned queue = 3; queue <= 4; queue++) {
        door_add(&door, queue, (uint64_t)(first + queue - 3) * PAGE, 0, PAGE, 0, &door);
        door_kick(&door, queue);
        assert_int_equal(door_used(&door, queue, &written), GPOINTER_TO_SIZE(&door));
    }
    assert_marks(&door, first, "a.");
    door_clear(&door);
}

/* ---- configuration ---- */

/* It ends where the features let it (5.5.4); only the driver's words can be written. */
static void test_config(void **state)
{
    static const struct {
        const char *device;
        unsigned len;
    } rows[] = {
        {"virtio-balloon-pci,id=b", 16},
        {"virtio-balloon-pci,id=b,page-poison=off", 8},
        {"virtio-balloon-pci,id=b,page-poison=off,qemu-4-0-config-size=on", 16},
        {"virtio-balloon-pci,id=b,page-poison=off,free-page-hint=on,iothread=io0", 12},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        static const struct {
            unsigned offset;
            bool writable;
        } words[] = {{0, false}, {4, true}, {8, false}, {12, true}};
        g_autoptr(GError) error = NULL;
        uint32_t word = 0;
        Door door;

        door_init(&door);
        door_back(&door, "object", "qom-type=iothread,id=io0");
        assert_true(door_plug(&door, rows[i].device, NULL));
        door_find(&door, "b");
        door_start(&door, DOOR_SPLIT);
        for (size_t k = 0; k < G_N_ELEMENTS(words); k++) {
            bool there = words[k].offset < rows[i].len;

            assert_int_equal(vds_virtio_driver_read_config(door.device, words[k].offset,
                                                           &word, 4, NULL, NULL),
                             there);
            assert_int_equal(vds_virtio_driver_write_config(door.device, words[k].offset,
                                                            &word, 4, NULL),
                             there && words[k].writable);
        }
        assert_false(vds_virtio_driver_write_config(door.device, 2, &word, 4, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_CONFIG));
        door_clear(&door);
    }
}

/* ---- news ---- */

typedef struct {
    unsigned n;
    uint32_t pages;
    gint64 at;
} News;

static void on_changed(void *user, uint32_t pages)
{
    News *news = user;

    news->n++;
    news->pages = pages;
    news->at = g_get_monotonic_time();
}

static void write_actual(Door *door, uint32_t pages)
{
    pages = GUINT32_TO_LE(pages);
    assert_true(vds_virtio_driver_write_config(door->device, 4, &pages, 4, NULL));
}

static void wait_news(VdsMailbox *mailbox, const News *news, unsigned n)
{
    while (news->n < n) {
        struct pollfd wait = {.fd = vds_mailbox_get_fd(mailbox), .events = POLLIN};

        assert_int_equal(poll(&wait, 1, DOOR_PATIENCE_MS), 1);
        vds_mailbox_run(mailbox);
    }
}

/* The first at once, those within a second as one, the same number never. */
static void test_news(void **state)
{
    News news = {0};
    const VdsMachineListener listener = {.balloon_changed = on_changed, .user = &news};
    VdsMailbox *mailbox;
    gint64 first;
    Door door;

    door_init(&door);
    mailbox = vds_machine_open_mailbox(door.machine, NULL);
    assert_non_null(mailbox);
    vds_machine_set_listener(door.machine, &listener);
    assert_true(door_plug(&door, BALLOON, NULL));
    door_find(&door, "b");
    door_start(&door, DOOR_SPLIT);
    write_actual(&door, 0);
    for (uint32_t pages = 1; pages <= 9; pages++) {
        write_actual(&door, pages);
    }
    wait_news(mailbox, &news, 1);
    assert_int_equal(news.pages, 1);
    first = news.at;
    wait_news(mailbox, &news, 2);
    assert_int_equal(news.pages, 9);
    assert_true(news.at - first >= 900 * G_TIME_SPAN_MILLISECOND);
    write_actual(&door, 9);
    write_actual(&door, 10);
    assert_true(vds_machine_device_del(door.machine, "b", NULL));
    vds_mailbox_run(mailbox);
    assert_int_equal(news.n, 2); /* who is gone tells nothing */
    door_clear(&door);
}

/* The host asks: the driver is interrupted and reads it. */
static void test_target(void **state)
{
    static const uint32_t target = GUINT32_TO_LE(123);
    uint32_t read = 0, written;
    uint8_t before, after;
    Door door;

    fixture_init(&door, BALLOON, DOOR_SPLIT);
    assert_true(vds_virtio_driver_read_config(door.device, 0, &read, 4, &before, NULL));
    assert_int_equal(read, 0);
    vds_virtio_device_set_config(door.device, 0, &target, sizeof(target));
    door_used_in(&door, INFLATE, &written, 50);
    assert_true(door.config_changed);
    assert_true(vds_virtio_driver_read_config(door.device, 0, &read, 4, &after, NULL));
    assert_int_equal(GUINT32_FROM_LE(read), 123);
    assert_int_not_equal(before, after);
    door_clear(&door);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inflate),
        cmocka_unit_test(test_gives_back),
        cmocka_unit_test(test_absurd_frames),
        cmocka_unit_test(test_end_of_memory),
        cmocka_unit_test(test_odd_lengths),
        cmocka_unit_test(test_many_frames),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_statistics_queue_stops),
        cmocka_unit_test(test_statistics_are_shown),
        cmocka_unit_test(test_statistics_are_asked_for),
        cmocka_unit_test(test_interval_refused),
        cmocka_unit_test(test_reporting),
        cmocka_unit_test(test_poisoned),
        cmocka_unit_test(test_hints),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_news),
        cmocka_unit_test(test_target),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
