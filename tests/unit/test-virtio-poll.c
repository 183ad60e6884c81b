/*
 * virtio and util: an I/O thread that looks for work before it sleeps: it spares the
 * driver its kicks, loses none, and takes no time while there is nothing to do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "live-fixture.h"

enum { POLL_NS = 2000000, PINGS = 400 };

static const uint64_t formats[] = {LOOP_SPLIT, LOOP_SPLIT_EVENT, LOOP_PACKED,
                                   LOOP_PACKED_EVENT};

/* One request and its answer, waited for without interrupts; true if a kick was asked
 * for. */
static bool spin(Fixture *fixture, unsigned n)
{
    LoopDriver *driver = &fixture->driver;
    gint64 end = g_get_monotonic_time() + 10 * G_TIME_SPAN_SECOND;
    VdsUsed used = {NULL, 0};
    bool kick = false;

    assert_true(driver_send(driver, n % LOOP_NUM / 2, n % 2 ? "odd" : "even"));
    assert_true(vds_driver_ring_should_kick(driver->ring, &kick, NULL));
    if (kick) {
        vds_virtio_driver_kick(driver->device, 0);
    }
    while (!used.token) {
        assert_true(g_get_monotonic_time() < end);
        assert_true(vds_driver_ring_get_used(driver->ring, &used, NULL));
        g_thread_yield();
    }
    assert_true(driver_got(driver, n % LOOP_NUM / 2, n % 2 ? "odd" : "even"));
    return kick;
}

/* ns that the I/O thread has run. */
static uint64_t cpu_ns(const Fixture *fixture)
{
    g_autofree char *path = g_strdup_printf("/proc/self/task/%" PRId64 "/schedstat",
                                            vds_io_thread_get_id(fixture->thread));
    g_autofree char *text = NULL;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoull(text, NULL, 10);
}

static void test_kicks_are_spared(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        unsigned kicks = 0;
        Fixture fixture;

        fixture_init(&fixture, &loop_ops);
        assert_true(driver_start(&fixture.driver, formats[i]));
        for (unsigned n = 0; n < PINGS; n++) {
            kicks += spin(&fixture, n);
        }
        assert_true(kicks > PINGS * 3 / 4); /* the thread sleeps in between */
        vds_io_thread_set_poll(fixture.thread, VDS_POLL_MAX_NS, 100 * POLL_NS);
        assert_true(vds_io_thread_get_poll(fixture.thread, VDS_POLL_MAX_NS) ==
                    100 * POLL_NS);
        kicks = 0;
        for (unsigned n = 0; n < PINGS; n++) {
            kicks += spin(&fixture, n);
        }
        assert_true(kicks < PINGS / 2);
        vds_io_thread_set_poll(fixture.thread, VDS_POLL_MAX_NS, 0);
        for (unsigned n = 0; n < PINGS; n++) {
            spin(&fixture, n);
        }
        fixture_clear(&fixture);
    }
}

/* Short, so that it sleeps and looks by turns: what comes in between is not lost. */
static void test_nothing_is_lost(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Fixture fixture;

        fixture_init(&fixture, &loop_ops);
        vds_io_thread_set_poll(fixture.thread, VDS_POLL_MAX_NS, 20000);
        assert_true(driver_start(&fixture.driver, formats[i]));
        for (unsigned n = 0; n < 10 * PINGS; n++) {
            if (n % 16 == 0) {
                vds_io_thread_set_poll(fixture.thread, VDS_POLL_MAX_NS, n % 48 * 1000);
            }
            if (n % 7 == 0) {
                g_usleep(n % 50);
            }
            spin(&fixture, n);
        }
        fixture_clear(&fixture);
    }
}

static void test_idle_takes_no_time(void **state)
{
    Fixture fixture;
    uint64_t before;
    unsigned kicks = 0;

    fixture_init(&fixture, &loop_ops);
    vds_io_thread_set_poll(fixture.thread, VDS_POLL_MAX_NS, POLL_NS);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT_EVENT));
    for (unsigned n = 0; n < PINGS; n++) {
        spin(&fixture, n);
    }
    g_usleep(50000);
    before = cpu_ns(&fixture);
    g_usleep(300000);
    assert_true(cpu_ns(&fixture) - before < 5000000);
    /* rare work wakes it up, and does not make it look */
    before = cpu_ns(&fixture);
    for (unsigned n = 0; n < 20; n++) {
        g_usleep(10000);
        kicks += spin(&fixture, n);
    }
    assert_true(kicks > 10);
    assert_true(cpu_ns(&fixture) - before < 50000000);
    fixture_clear(&fixture);
}

/* A ring whose requests nobody takes is not work. */
static void nobody_handles(void *instance, VdsVirtQueue *queue)
{
    ((Loopback *)instance)->handles++;
}

static void test_what_is_left_lying_is_no_work(void **state)
{
    VdsDeviceOps ops = loop_ops;
    Fixture fixture;
    uint64_t before;

    ops.handle = nobody_handles;
    fixture_init(&fixture, &ops);
    vds_io_thread_set_poll(fixture.thread, VDS_POLL_MAX_NS, POLL_NS);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_true(driver_send(&fixture.driver, 0, "never"));
    vds_virtio_driver_kick(fixture.device, 0);
    g_usleep(50000);
    before = cpu_ns(&fixture);
    g_usleep(300000);
    assert_true(cpu_ns(&fixture) - before < 20000000);
    driver_settle(&fixture.driver);
    assert_true(fixture.loop.handles > 0);
    fixture_clear(&fixture);
}

/* QEMU's: the time stays while it is long enough, grows while it might be, and is cut
 * when none would be. */
static void test_rule(void **state)
{
    static const struct {
        uint64_t max_ns, grow, shrink, ns, waited_ns, next_ns;
    } rows[] = {
        {32768, 0, 0, 0, 100, 4000},
        {3000, 0, 0, 0, 100, 3000},
        {32768, 0, 0, 4000, 4000, 4000},
        {32768, 0, 0, 4000, 4001, 8000},
        {32768, 3, 0, 4000, 4001, 12000},
        {32768, 1, 0, 4000, 9000, 4000},
        {32768, 0, 0, 32000, 32500, 32768},
        {32768, 0, 0, 32768, 32768, 32768},
        {32768, 0, 0, 32768, 32769, 0},
        {32768, 0, 2, 32768, 32769, 16384},
        {32768, 0, 1, 32768, UINT64_MAX, 32768},
        {32768, 0, INT64_MAX, 32768, 32769, 0},
        {INT64_MAX, INT64_MAX, 0, 4000, 5000, INT64_MAX},
        {0, 0, 2, 4000, 1, 2000},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const uint64_t limits[] = {[VDS_POLL_MAX_NS] = rows[i].max_ns,
                                   [VDS_POLL_GROW] = rows[i].grow,
                                   [VDS_POLL_SHRINK] = rows[i].shrink};

        assert_true(vds_poll_adapt(limits, rows[i].ns, rows[i].waited_ns) ==
                    rows[i].next_ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule),
        cmocka_unit_test(test_kicks_are_spared),
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_idle_takes_no_time),
        cmocka_unit_test(test_what_is_left_lying_is_no_work),
    };

    return cmocka_run_group_tests_name("virtio-poll", tests, NULL, NULL);
}
