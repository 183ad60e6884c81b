/*
 * virtio: a device that a driver uses: what the queries show at each step, as QEMU moves
 * it, and what becomes of drivers that do wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "live-fixture.h"

/* ---- a good driver ---- */

/* Addresses show when the queue is enabled, its size at once; `started` with DRIVER_OK
 * (the recorded experiments with QEMU 7.2). */
static void test_steps(void **state)
{
    Fixture fixture;
    LoopDriver *driver = &fixture.driver;

    fixture_init(&fixture, &loop_ops);
    driver->setup.num = 4;
    assert_true(driver_features(driver, LOOP_SPLIT));
    assert_true(state_of(&fixture).guest_features.word[0] == LOOP_SPLIT);
    assert_true(vds_virtio_driver_set_queue(fixture.device, 0, &driver->setup, NULL));
    assert_int_equal(queue_of(&fixture).num, 4);
    assert_int_equal(queue_of(&fixture).num_default, LOOP_NUM);
    assert_true(queue_of(&fixture).desc == 0);
    assert_true(driver_queue(driver));
    assert_true(queue_of(&fixture).desc == driver->setup.desc);
    assert_true(queue_of(&fixture).avail == driver->setup.avail);
    assert_true(queue_of(&fixture).used == driver->setup.used);
    assert_true(queue_of(&fixture).map == vds_guest_ram_get_map(fixture.ram));
    assert_int_equal(fixture.loop.starts, 0);
    assert_false(state_of(&fixture).started);
    vds_virtio_driver_select_queue(fixture.device, 7);
    assert_true(vds_virtio_driver_set_status(fixture.device, 15, NULL));
    assert_true(state_of(&fixture).started);
    assert_int_equal(state_of(&fixture).queue_sel, 7);
    assert_int_equal(fixture.loop.starts, 1);
    ping(&fixture, "first");

    assert_true(vds_virtio_driver_set_status(fixture.device, 0x8f, NULL));
    assert_true(state_of(&fixture).started); /* FAILED alone stops nothing */
    vds_virtio_device_reset(fixture.device);
    assert_int_equal(fixture.loop.stops, 1);
    assert_int_equal(fixture.loop.resets, 1);
    assert_int_equal(queue_of(&fixture).num, LOOP_NUM);
    assert_true(queue_of(&fixture).desc == 0 && queue_of(&fixture).used_idx == 0);
    assert_false(state_of(&fixture).started);
    assert_int_equal(state_of(&fixture).status + state_of(&fixture).isr +
                         state_of(&fixture).queue_sel,
                     0);
    fixture_clear(&fixture);
}

static void test_requests_of_each_format(void **state)
{
    static const struct {
        uint64_t features;
        bool signalled; /* moves with EVENT_IDX only */
    } rows[] = {
        {LOOP_SPLIT, false},
        {LOOP_SPLIT_EVENT, true},
        {LOOP_PACKED, false},
        {LOOP_PACKED_EVENT, true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        bool packed = (rows[i].features >> VDS_F_RING_PACKED) & 1;
        VdsQueueState queue;
        Fixture fixture;

        fixture_init(&fixture, &loop_ops);
        assert_true(driver_start(&fixture.driver, rows[i].features));
        for (unsigned k = 0; k < 21; k++) {
            g_autofree char *text = g_strdup_printf("request %u of %zu", k, i);

            ping(&fixture, text);
        }
        driver_settle(&fixture.driver);
        queue = queue_of(&fixture);
        assert_int_equal(queue.packed, packed);
        assert_int_equal(queue.inuse, 0);
        assert_true(queue.has_last_avail && queue.has_shadow_avail);
        assert_int_equal(queue.source, VDS_INDEX_OWNED);
        assert_int_equal(queue.align, 4096);
        if (!packed) {
            assert_int_equal(queue.last_avail_idx, 21);
            assert_int_equal(queue.shadow_avail_idx, 21);
            assert_int_equal(queue.used_idx, 21);
            assert_int_equal(queue.signalled_used, rows[i].signalled ? 21 : 0);
            assert_int_equal(queue.signalled_used_valid, rows[i].signalled);
        } else {
            assert_int_equal(queue.last_avail_idx, queue.used_idx);
            assert_int_equal(queue.last_avail_wrap, queue.used_wrap);
        }
        assert_int_equal(vds_virtio_driver_take_isr(fixture.device), 1);
        assert_int_equal(state_of(&fixture).isr, 0);
        assert_reason(&fixture, NULL);
        fixture_clear(&fixture);
    }
}

/* Popped and not pushed: inuse, and the words of one moment agree. */
static void test_inuse(void **state)
{
    Fixture fixture;
    VdsQueueState queue;

    fixture_init(&fixture, &loop_ops);
    fixture.loop.park = true;
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_true(driver_send(&fixture.driver, 0, "a"));
    assert_true(driver_send(&fixture.driver, 1, "b"));
    driver_kick(&fixture.driver);
    driver_settle(&fixture.driver);
    queue = queue_of(&fixture);
    assert_int_equal(queue.inuse, 2);
    assert_int_equal(queue.last_avail_idx, 2);
    assert_int_equal(queue.used_idx, 0);
    /* a reset makes what was popped void */
    vds_virtio_device_reset(fixture.device);
    assert_int_equal(fixture.loop.n_parked, 0);
    assert_true(fixture.loop.left_after_reset == 0);
    assert_int_equal(queue_of(&fixture).inuse, 0);
    fixture.loop.park = false;
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    ping(&fixture, "after the reset");
    fixture_clear(&fixture);
}

static void test_run_state(void **state)
{
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT_EVENT));
    ping(&fixture, "one");
    vds_virtio_device_set_running(fixture.device, false);
    assert_int_equal(fixture.loop.stops, 1);
    assert_false(state_of(&fixture).vm_running);
    assert_true(state_of(&fixture).started);
    assert_true(driver_send(&fixture.driver, 0, "two"));
    vds_virtio_driver_kick(fixture.device, 0);
    driver_settle(&fixture.driver);
    assert_int_equal(queue_of(&fixture).last_avail_idx, 1); /* frozen */
    vds_virtio_device_set_running(fixture.device, true);
    assert_answered(&fixture, 0, "two"); /* without another kick */
    assert_int_equal(fixture.loop.starts, 2);
    vds_virtio_device_set_running(fixture.device, true);
    assert_int_equal(fixture.loop.starts, 2);
    fixture_clear(&fixture);
}

static void test_queue_reset(void **state)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    fixture.loop.park = true;
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT | LOOP_BIT(VDS_F_RING_RESET)));
    assert_true(driver_send(&fixture.driver, 0, "never answered"));
    driver_kick(&fixture.driver);
    driver_settle(&fixture.driver);
    assert_int_equal(queue_of(&fixture).inuse, 1);
    assert_true(vds_virtio_driver_reset_queue(fixture.device, 0, NULL));
    assert_int_equal(fixture.loop.queue_resets, 1);
    assert_true(fixture.loop.left_after_reset == 0);
    assert_true(queue_of(&fixture).desc == 0 && queue_of(&fixture).inuse == 0);
    assert_int_equal(state_of(&fixture).status, 15);
    fixture.loop.park = false;
    assert_true(driver_queue(&fixture.driver));
    ping(&fixture, "answered");

    vds_virtio_device_reset(fixture.device);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_false(vds_virtio_driver_reset_queue(fixture.device, 0, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_QUEUE));
    fixture_clear(&fixture);
}

/* Disabled: indices and addresses stay, and it goes on where it was. */
static void test_disabled_queue_goes_on(void **state)
{
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    assert_true(driver_start(&fixture.driver, LOOP_PACKED));
    ping(&fixture, "one");
    assert_true(vds_virtio_driver_disable_queue(fixture.device, 0, NULL));
    assert_true(driver_send(&fixture.driver, 0, "two"));
    vds_virtio_driver_kick(fixture.device, 0);
    driver_settle(&fixture.driver);
    assert_true(queue_of(&fixture).desc == fixture.driver.setup.desc);
    assert_int_equal(queue_of(&fixture).inuse, 0);
    assert_true(vds_virtio_driver_enable_queue(fixture.device, 0, NULL));
    assert_answered(&fixture, 0, "two");
    fixture_clear(&fixture);
}

/* Each call of handle sees a ring's worth at most, and the next one the rest. */
static void test_handle_has_a_budget(void **state)
{
    static const struct {
        unsigned n, handles;
    } rows[] = {{1, 1}, {LOOP_NUM - 1, 1}, {LOOP_NUM, 2}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Fixture fixture;
        bool added;

        fixture_init(&fixture, &loop_ops);
        assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
        driver_settle(&fixture.driver);
        fixture.loop.handles = 0;
        for (unsigned k = 0; k < rows[i].n; k++) {
            VdsBuffer buffer = {.spans = &(VdsSpan){driver_in(&fixture.driver, k), 4},
                                .n_in = 1,
                                .token = &fixture};

            assert_true(vds_driver_ring_add(fixture.driver.ring, &buffer, &added, NULL));
            assert_true(added);
        }
        driver_kick(&fixture.driver);
        driver_settle(&fixture.driver);
        assert_int_equal(queue_of(&fixture).used_idx, rows[i].n);
        assert_int_equal(fixture.loop.handles, rows[i].handles);
        fixture_clear(&fixture);
    }
}

/* A request of these takes as long as a turn. */
static void slow_handle(void *instance, VdsVirtQueue *queue)
{
    Loopback *loop = instance;
    VdsIo *io;

    loop->handles++;
    while ((io = vds_virt_queue_pop_one(queue)) != NULL) {
        g_usleep(2500);
        loop_answer(io);
    }
}

static void add_empty(Fixture *fixture, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        VdsBuffer buffer = {.spans = &(VdsSpan){driver_in(&fixture->driver, k), 4},
                            .n_in = 1,
                            .token = fixture};
        bool added;

        assert_true(vds_driver_ring_add(fixture->driver.ring, &buffer, &added, NULL));
        assert_true(added);
    }
}

/* A turn ends by time, too: the clock counts from the second pop on. */
static void test_turns_end_by_time(void **state)
{
    VdsDeviceOps ops = loop_ops;
    Fixture fixture;

    ops.handle = slow_handle;
    fixture_init(&fixture, &ops);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    driver_settle(&fixture.driver);
    fixture.loop.handles = 0;
    add_empty(&fixture, 6);
    driver_kick(&fixture.driver);
    for (unsigned i = 0; i < 1000 && queue_of(&fixture).used_idx < 6; i++) {
        g_usleep(1000);
    }
    assert_int_equal(queue_of(&fixture).used_idx, 6);
    assert_true(fixture.loop.handles >= 3);
    fixture_clear(&fixture);
}

/* ---- streams, unpop, eagerness ---- */

/* cmocka's assertions belong to the main thread. */
static void check(Loopback *loop, bool ok)
{
    loop->failures += !ok;
}

static void stream_handle(void *instance, VdsVirtQueue *queue)
{
    Loopback *loop = instance;
    VdsIo *io = vds_virt_queue_pop_one(queue), *again;
    char bytes[16] = "";

    if (!io) {
        return;
    }
    loop->handles++;
    check(loop, vds_stream_left(&io->out) == 10 && vds_stream_left(&io->in) == 10);
    check(loop, vds_stream_read(&io->out, bytes, 3) == 3);
    check(loop, memcmp(bytes, "012", 3) == 0);
    check(loop, vds_stream_skip(&io->out, 4) == 4);
    check(loop, vds_stream_done(&io->out) == 7);
    check(loop, vds_stream_read(&io->out, bytes, 16) == 3);
    check(loop, memcmp(bytes, "789", 3) == 0);
    check(loop, vds_stream_left(&io->out) == 0);
    vds_stream_seek(&io->out, 4);
    check(loop, vds_stream_read(&io->out, bytes, 2) == 2);
    check(loop, memcmp(bytes, "45", 2) == 0);
    vds_stream_seek(&io->out, 99);
    check(loop, vds_stream_left(&io->out) == 0);

    vds_virt_queue_unpop(queue, io);
    check(loop, vds_virt_queue_has_more(queue));
    check(loop, vds_virt_queue_pop(queue, &again, 1) == 1);
    check(loop, !vds_virt_queue_has_more(queue));
    check(loop, vds_stream_left(&again->out) == 10);
    check(loop, vds_stream_fill(&again->in, 'f', 4) == 4);
    check(loop, vds_stream_write(&again->in, "wr", 2) == 2);
    check(loop, vds_stream_fill(&again->in, 'e', 1 << 20) == 4);
    vds_virt_queue_complete(queue, again, 10);
}

static void test_streams(void **state)
{
    VdsDeviceOps ops = loop_ops;
    uint32_t written = 0;
    Fixture fixture;

    ops.handle = stream_handle;
    fixture_init(&fixture, &ops);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_true(driver_send(&fixture.driver, 0, "0123456789"));
    driver_kick(&fixture.driver);
    assert_int_equal(driver_wait(&fixture.driver, &written, 5000), 1);
    assert_int_equal(written, 10);
    assert_true(driver_got(&fixture.driver, 0, "ffffwreeee"));
    assert_int_equal(fixture.loop.handles, 1);
    assert_int_equal(fixture.loop.failures, 0);
    fixture_clear(&fixture);
}

/* A receive queue: kicks are spared until it runs dry. */
static void lazy_start(void *instance)
{
    Loopback *loop = instance;

    vds_virt_queue_set_eager(vds_virtio_device_get_virt_queue(loop->device, 0), false);
}

static void lazy_handle(void *instance, VdsVirtQueue *queue)
{
    ((Loopback *)instance)->handles++;
}

static void pop_one_task(void *user)
{
    Loopback *loop = user;
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(loop->device, 0);
    VdsIo *io = vds_virt_queue_pop_one(queue);

    if (io) {
        loop_answer(io);
        vds_virt_queue_flush(queue);
    }
}

static void test_lazy_queue(void **state)
{
    VdsDeviceOps ops = loop_ops;
    Fixture fixture;
    bool kick;

    ops.start = lazy_start;
    ops.handle = lazy_handle;
    fixture_init(&fixture, &ops);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_true(driver_send(&fixture.driver, 0, "a"));
    assert_true(vds_driver_ring_should_kick(fixture.driver.ring, &kick, NULL));
    assert_false(kick);
    vds_io_thread_call(fixture.thread, pop_one_task, &fixture.loop);
    assert_answered(&fixture, 0, "a");
    vds_io_thread_call(fixture.thread, pop_one_task, &fixture.loop); /* dry */
    assert_true(driver_send(&fixture.driver, 0, "b"));
    assert_true(vds_driver_ring_should_kick(fixture.driver.ring, &kick, NULL));
    assert_true(kick);
    vds_io_thread_call(fixture.thread, pop_one_task, &fixture.loop);
    assert_answered(&fixture, 0, "b");
    assert_true(driver_send(&fixture.driver, 0, "c"));
    assert_true(vds_driver_ring_should_kick(fixture.driver.ring, &kick, NULL));
    assert_false(kick);
    fixture_clear(&fixture);
}

/* What is shown is there for a driver that looks; the one that waits hears of it later.
 */
static void show_task(void *user)
{
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(((Loopback *)user)->device, 0);

    loop_answer(vds_virt_queue_pop_one(queue));
    vds_virt_queue_show(queue);
}

static void flush_task(void *user)
{
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(((Loopback *)user)->device, 0);

    ((Loopback *)user)->handles = vds_virt_queue_flush(queue);
}

static void test_show(void **state)
{
    VdsDeviceOps ops = loop_ops;
    Fixture fixture;
    VdsUsed used;

    ops.handle = lazy_handle;
    fixture_init(&fixture, &ops);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_true(driver_send(&fixture.driver, 0, "a"));
    vds_io_thread_call(fixture.thread, show_task, &fixture.loop);
    assert_int_equal(
        vds_virtio_driver_take_interrupts(fixture.device, ignore_interrupt, NULL), 0);
    vds_io_thread_call(fixture.thread, flush_task, &fixture.loop);
    assert_int_equal(fixture.loop.handles, true); /* it interrupted */
    assert_int_equal(
        vds_virtio_driver_take_interrupts(fixture.device, ignore_interrupt, NULL), 1);

    assert_true(vds_driver_ring_get_used(fixture.driver.ring, &used, NULL) && used.token);
    assert_true(driver_send(&fixture.driver, 0, "b"));
    vds_io_thread_call(fixture.thread, show_task, &fixture.loop);
    assert_true(vds_driver_ring_get_used(fixture.driver.ring, &used, NULL) && used.token);
    vds_io_thread_call(fixture.thread, flush_task, &fixture.loop);
    vds_io_thread_call(fixture.thread, flush_task, &fixture.loop);
    assert_int_equal(fixture.loop.handles, false); /* there is nothing to tell */
    fixture_clear(&fixture);
}

/* ---- drivers that do wrong ---- */

static void note_interrupt(unsigned n, void *user)
{
    *(unsigned *)user |= n == VDS_INTERRUPT_CONFIG ? 2 : 1;
}

static void count_fault(void *user)
{
    atomic_fetch_add((atomic_uint *)user, 1);
}

/* A device that breaks again and again is reported once, until the report is taken: then
 * with the last reason, its queue and how often.  A reset loses nothing of that. */
static void test_faults_are_counted(void **state)
{
    VdsVirtioFault fault = {0};
    atomic_uint reports = 0;
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    vds_virtio_device_set_fault_func(fixture.device, count_fault, &reports);
    vds_virtio_device_take_fault(fixture.device, &fault);
    assert_int_equal(fault.n, 0);
    assert_null(fault.reason);
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
        vds_virt_queue_break(vds_virtio_device_get_virt_queue(fixture.device, 0),
                             "S1: test %u", i);
        vds_virtio_device_break(fixture.device, "not the first");
        vds_virtio_device_reset(fixture.device);
    }
    assert_int_equal(reports, 1);
    vds_virtio_device_take_fault(fixture.device, &fault);
    assert_int_equal(fault.n, 1000);
    assert_int_equal(fault.queue, 0);
    assert_string_equal(fault.reason, "S1: test 999, in queue 0");
    g_free(fault.reason);
    vds_virtio_device_break(fixture.device, "no queue's");
    assert_int_equal(reports, 2);
    vds_virtio_device_take_fault(fixture.device, &fault);
    assert_int_equal(fault.queue, -1);
    assert_string_equal(fault.reason, "no queue's");
    g_free(fault.reason);
    fixture_clear(&fixture);
}

/* As QEMU's recorded experiment: avail idx moved by 100 in a ring of 8. */
static void test_broken_alone(void **state)
{
    static const uint16_t jump = 100;
    Fixture broken, other;
    unsigned interrupts = 0;

    fixture_init(&broken, &loop_ops);
    fixture_init(&other, &loop_ops);
    assert_true(driver_start(&broken.driver, LOOP_SPLIT));
    assert_true(driver_start(&other.driver, LOOP_SPLIT));
    assert_true(vds_guest_map_write(vds_guest_ram_get_map(broken.ram),
                                    broken.driver.setup.avail + 2, &jump, 2, NULL));
    vds_virtio_driver_kick(broken.device, 0);
    driver_settle(&broken.driver);

    assert_true(state_of(&broken).broken && state_of(&broken).started);
    assert_int_equal(state_of(&broken).status, 15 | VDS_STATUS_NEEDS_RESET);
    assert_int_equal(state_of(&broken).isr, 3);
    assert_int_equal(queue_of(&broken).last_avail_idx, 0);
    assert_reason(&broken, "S4:");
    assert_reason(&broken,
                  "S4: avail.idx went from 0 to 100, a ring of 8 descriptors, 0 in "
                  "use, in queue 0");
    assert_int_equal(broken.loop.stops, 1);
    vds_virtio_driver_take_interrupts(broken.device, note_interrupt, &interrupts);
    assert_int_equal(interrupts, 2);
    /* a driver that has not read it yet does not write it away */
    assert_true(vds_virtio_driver_set_status(broken.device, 0x8f, NULL));
    assert_int_equal(vds_virtio_driver_get_status(broken.device), 0xcf);

    ping(&other, "not my fault");
    assert_reason(&other, NULL);
    vds_virtio_device_reset(broken.device);
    assert_reason(&broken, NULL);
    assert_false(state_of(&broken).broken);
    assert_true(driver_start(&broken.driver, LOOP_SPLIT));
    ping(&broken, "again");
    fixture_clear(&broken);
    fixture_clear(&other);
}

static void break_task(void *user)
{
    Loopback *loop = user;

    vds_virtio_device_break(loop->device, "the header has %d bytes", 3);
    vds_virtio_device_break(loop->device, "a second reason");
}

/* A legacy driver knows neither the bit nor the interrupt. */
static void test_broken_by_the_device(void **state)
{
    static const struct {
        uint64_t features;
        uint8_t ready, status, isr;
    } rows[] = {{LOOP_SPLIT, 15, 0x4f, 3}, {LOOP_BIT(1), 7, 7, 0}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsFeatures features = {{rows[i].features, 0}};
        Fixture fixture;

        fixture_init(&fixture, &loop_ops);
        assert_true(vds_virtio_driver_set_features(fixture.device, &features, NULL));
        assert_true(vds_virtio_driver_set_status(
            fixture.device, rows[i].ready & ~VDS_STATUS_DRIVER_OK, NULL));
        assert_true(vds_virtio_driver_set_status(fixture.device, rows[i].ready, NULL));
        vds_io_thread_call(fixture.thread, break_task, &fixture.loop);
        driver_settle(&fixture.driver);
        assert_true(state_of(&fixture).broken);
        assert_reason(&fixture, "the header has 3 bytes");
        assert_int_equal(state_of(&fixture).status, rows[i].status);
        assert_int_equal(state_of(&fixture).isr, rows[i].isr);
        assert_int_equal(fixture.loop.stops, 1);
        fixture_clear(&fixture);
    }
}

static void test_queue_refusals(void **state)
{
    static const struct {
        unsigned n;
        uint32_t num;
        const char *refusal;
    } rows[] = {
        {1, 8, "queue 1 is not there"},
        {1024, 8, "queue 1024 is not there"},
        {70000, 8, "queue 70000 is not there"},
        {0, 0, "queue 0 has size 0, expected 1 to 32768"},
        {0, 32769, "queue 0 has size 32769, expected 1 to 32768"},
    };
    g_autoptr(GError) early = NULL, bare = NULL, twice = NULL;
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsQueueSetup setup = {.num = rows[i].num};
        g_autoptr(GError) error = NULL;

        assert_false(
            vds_virtio_driver_set_queue(fixture.device, rows[i].n, &setup, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_QUEUE));
        assert_non_null(strstr(error->message, rows[i].refusal));
    }
    fixture.driver.features = LOOP_SPLIT;
    assert_true(vds_virtio_driver_set_features(fixture.device,
                                               &(VdsFeatures){{LOOP_SPLIT, 0}}, NULL));
    assert_true(
        vds_virtio_driver_set_queue(fixture.device, 0, &fixture.driver.setup, NULL));
    assert_false(vds_virtio_driver_enable_queue(fixture.device, 0, &early));
    assert_non_null(strstr(early->message, "before FEATURES_OK"));
    vds_virtio_device_reset(fixture.device);
    assert_true(driver_features(&fixture.driver, LOOP_SPLIT));
    assert_false(vds_virtio_driver_enable_queue(fixture.device, 0, &bare));
    assert_non_null(strstr(bare->message, "without addresses"));
    assert_true(driver_queue(&fixture.driver));
    assert_false(
        vds_virtio_driver_set_queue(fixture.device, 0, &fixture.driver.setup, &twice));
    assert_non_null(strstr(twice->message, "while it is enabled"));
    fixture_clear(&fixture);
}

/* A ring that cannot be is shown all the same, and breaks the device. */
static void test_impossible_ring(void **state)
{
    static const struct {
        uint32_t num;
        uint64_t desc;
        const char *rule;
    } rows[] = {
        {7, 0, "C1"},                        /* no power of two */
        {8, 4, "C2"},                        /* not aligned */
        {8, UINT64_C(1) << 40, "C3"},        /* not mapped */
        {8, UINT64_MAX - 4095 - 4096, "C3"}, /* wraps */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        VdsQueueSetup setup;
        Fixture fixture;

        fixture_init(&fixture, &loop_ops);
        setup = fixture.driver.setup;
        setup.num = rows[i].num;
        setup.desc += rows[i].desc;
        assert_true(driver_features(&fixture.driver, LOOP_SPLIT));
        assert_true(vds_virtio_driver_set_queue(fixture.device, 0, &setup, NULL));
        assert_false(vds_virtio_driver_enable_queue(fixture.device, 0, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_RING));
        assert_reason(&fixture, rows[i].rule);
        assert_true(queue_of(&fixture).desc == setup.desc);
        assert_int_equal(queue_of(&fixture).num, setup.num);
        assert_int_equal(state_of(&fixture).status, 11 | VDS_STATUS_NEEDS_RESET);
        assert_int_equal(state_of(&fixture).isr, 0); /* before DRIVER_OK nobody is told */
        assert_false(vds_virtio_driver_enable_queue(fixture.device, 0, NULL));
        fixture_clear(&fixture);
    }
}

/* QEMU: a legacy driver's first kick counts as DRIVER_OK. */
static void test_start_on_kick(void **state)
{
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    fixture.driver.features = LOOP_BIT(1);
    assert_true(vds_virtio_driver_set_status(fixture.device, 3, NULL));
    assert_true(vds_virtio_driver_set_features(fixture.device,
                                               &(VdsFeatures){{LOOP_BIT(1), 0}}, NULL));
    assert_true(state_of(&fixture).start_on_kick);
    assert_true(driver_queue(&fixture.driver));
    assert_false(state_of(&fixture).started);
    ping(&fixture, "early");
    assert_true(state_of(&fixture).started);
    assert_false(state_of(&fixture).start_on_kick);
    assert_int_equal(state_of(&fixture).status, 3);
    fixture_clear(&fixture);
}

static void test_bus_master(void **state)
{
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    vds_virtio_driver_set_bus_master(fixture.device, false);
    assert_true(state_of(&fixture).disabled);
    assert_false(state_of(&fixture).started);
    assert_int_equal(state_of(&fixture).status, 11);
    assert_int_equal(fixture.loop.stops, 1);
    vds_virtio_driver_set_bus_master(fixture.device, true);
    assert_false(state_of(&fixture).disabled);
    assert_true(vds_virtio_driver_set_status(fixture.device, 15, NULL));
    ping(&fixture, "on the bus");
    fixture_clear(&fixture);
}

/* ---- config space ---- */

static void test_config_space(void **state)
{
    g_autoptr(GError) outside = NULL, fixed = NULL;
    uint8_t bytes[8], before = 0, after = 0;
    unsigned interrupts = 0;
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    assert_true(
        vds_virtio_driver_read_config(fixture.device, 0, bytes, 8, &before, NULL));
    assert_memory_equal(bytes, "01234567", 8);
    assert_false(
        vds_virtio_driver_read_config(fixture.device, 4, bytes, 5, NULL, &outside));
    assert_true(g_error_matches(outside, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_CONFIG));
    assert_false(
        vds_virtio_driver_write_config(fixture.device, 3, "ab", 2, &fixed)); /* 4, 5 */
    assert_true(g_error_matches(fixed, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_CONFIG));
    assert_false(vds_virtio_driver_write_config(fixture.device, UINT_MAX, "a", 2, NULL));
    assert_true(vds_virtio_driver_write_config(fixture.device, 4, "ab", 2, NULL));
    assert_int_equal(fixture.loop.config_writes, 42);
    vds_virtio_device_get_config(fixture.device, 2, bytes, 4);
    assert_memory_equal(bytes, "23ab", 4);

    vds_virtio_device_set_config(fixture.device, 0, "X", 1); /* nobody to be told yet */
    assert_int_equal(state_of(&fixture).isr, 0);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    vds_virtio_device_set_config(fixture.device, 0, "Y", 1);
    assert_int_equal(state_of(&fixture).isr, 3);
    vds_virtio_driver_take_interrupts(fixture.device, note_interrupt, &interrupts);
    assert_int_equal(interrupts, 2);
    assert_true(vds_virtio_driver_read_config(fixture.device, 0, bytes, 1, &after, NULL));
    assert_int_equal(after, before + 1);
    vds_virtio_device_set_config(fixture.device, 0, "Y", 1); /* no change */
    assert_int_equal(
        vds_virtio_driver_take_interrupts(fixture.device, note_interrupt, &interrupts),
        0);
    fixture_clear(&fixture);
}

/* ---- descriptors ---- */

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static void test_descriptors(void **state)
{
    unsigned idle, none = count_fds();
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    idle = count_fds();
    vds_virtio_device_reset(fixture.device);
    vds_virtio_device_set_running(fixture.device, false);
    vds_virtio_device_set_running(fixture.device, true);
    vds_virtio_driver_kick(fixture.device, 0); /* before there is a doorbell */
    assert_int_equal(count_fds(), idle);
    assert_int_equal(vds_virtio_driver_get_interrupt_fd(fixture.device), -1);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_true(count_fds() > idle);
    assert_true(vds_virtio_driver_get_interrupt_fd(fixture.device) >= 0);
    vds_virtio_device_reset(fixture.device);
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    vds_virtio_driver_kick(fixture.device, 4711);
    fixture_clear(&fixture);
    assert_int_equal(count_fds(), none);
}

static void test_descriptors_from_elsewhere(void **state)
{
    unsigned none = count_fds();
    int kick = eventfd(0, 0), call = eventfd(0, 0), pipe_fds[2];
    g_autoptr(GError) error = NULL;
    eventfd_t count;
    Fixture fixture;

    fixture_init(&fixture, &loop_ops);
    assert_true(vds_virtio_driver_set_kick_fd(fixture.device, 0, dup(kick), NULL));
    assert_true(vds_virtio_driver_set_call_fd(fixture.device, 0, dup(call), NULL));
    assert_true(driver_start(&fixture.driver, LOOP_SPLIT));
    assert_true(driver_send(&fixture.driver, 0, "from elsewhere"));
    eventfd_write(kick, 1);
    assert_true(poll(&(struct pollfd){.fd = call, .events = POLLIN}, 1, 5000) == 1);
    assert_int_equal(eventfd_read(call, &count), 0);
    assert_answered(&fixture, 0, "from elsewhere");
    assert_int_equal(
        vds_virtio_driver_take_interrupts(fixture.device, ignore_interrupt, NULL), 0);

    assert_false(vds_virtio_driver_set_kick_fd(fixture.device, 1, dup(kick), &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_QUEUE));
    /* a pipe at its end is not readable for ever */
    assert_int_equal(pipe(pipe_fds), 0);
    close(pipe_fds[1]);
    assert_true(vds_virtio_driver_set_kick_fd(fixture.device, 0, pipe_fds[0], NULL));
    driver_settle(&fixture.driver);
    assert_true(vds_virtio_driver_set_kick_fd(fixture.device, 0, -1, NULL));
    assert_true(vds_virtio_driver_set_call_fd(fixture.device, 0, -1, NULL));
    ping(&fixture, "by our own");
    fixture_clear(&fixture);
    close(kick);
    close(call);
    assert_int_equal(count_fds(), none);
}

/* No further descriptor for this process, until it is allowed again. */
static struct rlimit forbid_descriptors(void)
{
    int next = dup(0);
    struct rlimit before, now;

    getrlimit(RLIMIT_NOFILE, &before);
    now = (struct rlimit){(rlim_t)next, before.rlim_max};
    close(next);
    setrlimit(RLIMIT_NOFILE, &now);
    return before;
}

static void test_no_descriptor_to_be_had(void **state)
{
    g_autoptr(GError) thread = NULL, queue = NULL;
    struct rlimit before;
    Fixture fixture;
    bool ok;

    fixture_init(&fixture, &loop_ops);
    before = forbid_descriptors();
    ok = vds_virtio_driver_set_status(fixture.device, 1, &thread);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_false(ok);
    assert_true(g_error_matches(thread, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_SYSTEM));
    assert_int_equal(state_of(&fixture).status, 0);

    assert_true(driver_features(&fixture.driver, LOOP_SPLIT));
    assert_true(
        vds_virtio_driver_set_queue(fixture.device, 0, &fixture.driver.setup, NULL));
    before = forbid_descriptors();
    ok = vds_virtio_driver_enable_queue(fixture.device, 0, &queue);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_false(ok);
    assert_true(g_error_matches(queue, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_SYSTEM));
    assert_reason(&fixture, NULL); /* nobody's fault */
    assert_true(driver_queue(&fixture.driver));
    assert_true(vds_virtio_driver_set_status(fixture.device, 15, NULL));
    ping(&fixture, "later");
    fixture_clear(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_requests_of_each_format),
        cmocka_unit_test(test_inuse),
        cmocka_unit_test(test_run_state),
        cmocka_unit_test(test_queue_reset),
        cmocka_unit_test(test_disabled_queue_goes_on),
        cmocka_unit_test(test_handle_has_a_budget),
        cmocka_unit_test(test_turns_end_by_time),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_lazy_queue),
        cmocka_unit_test(test_show),
        cmocka_unit_test(test_broken_alone),
        cmocka_unit_test(test_faults_are_counted),
        cmocka_unit_test(test_broken_by_the_device),
        cmocka_unit_test(test_queue_refusals),
        cmocka_unit_test(test_impossible_ring),
        cmocka_unit_test(test_start_on_kick),
        cmocka_unit_test(test_bus_master),
        cmocka_unit_test(test_config_space),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_descriptors_from_elsewhere),
        cmocka_unit_test(test_no_descriptor_to_be_had),
    };

    return cmocka_run_group_tests_name("virtio-live", tests, NULL, NULL);
}
