/*
 * virtio: a driver that is a vhost-user front-end: memory that comes and goes under
 * running queues, rings that move, what queries show of that side.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "live-fixture.h"

enum { RAM = 1 << 20, BORDER = 0x2000 }; /* rings lie before, buffers behind it */

/* The fixture's RAM again, in two regions, as a front-end would send it. */
typedef struct {
    Fixture live;
    VdsGuestRegion rings, buffers;
    VdsGuestMap *map;
} Front;

static void front_init(Front *front, uint64_t features)
{
    VdsGuestRamConfig config = {.kind = VDS_GUEST_RAM_MEMFD, .size = RAM};
    g_autoptr(VdsGuestMap) first = NULL;
    int fd;

    fixture_init_with(&front->live, &loop_ops, &config);
    fd = vds_guest_ram_get_fd(front->live.ram);
    front->rings = (VdsGuestRegion){0, BORDER, fd, 0, 0x10000, NULL};
    front->buffers = (VdsGuestRegion){BORDER, RAM - BORDER, fd, BORDER, 0x800000, NULL};
    first = vds_guest_map_with(NULL, &front->rings, NULL);
    front->map = vds_guest_map_with(first, &front->buffers, NULL);
    assert_non_null(front->map);
    assert_true(front->live.driver.buffers >= BORDER);
    vds_virtio_driver_set_map(front->live.device, front->map);
    assert_true(driver_start(&front->live.driver, features));
}

static void front_clear(Front *front)
{
    fixture_clear(&front->live);
    vds_guest_map_unref(front->map);
}

static void test_queues_move_to_another_map(void **state)
{
    static const uint64_t formats[] = {LOOP_SPLIT, LOOP_SPLIT_EVENT, LOOP_PACKED,
                                       LOOP_PACKED_EVENT};

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        const VdsGuestRegion more = {RAM, 4096, -1, 0, 0x4000000, NULL};
        g_autoptr(VdsGuestMap) other = NULL;
        Front front;

        front_init(&front, formats[i]);
        ping(&front.live, "before");
        front.live.loop.park = true;
        assert_true(driver_send(&front.live.driver, 1, "parked"));
        driver_kick(&front.live.driver);
        driver_settle(&front.live.driver);
        other = vds_guest_map_with(front.map, &more, NULL);
        vds_virtio_driver_set_map(front.live.device, other);
        assert_ptr_equal(queue_of(&front.live).map, other);
        /* what was popped before goes on in it */
        front.live.loop.park = false;
        loop_answer_parked(&front.live.loop);
        assert_answered(&front.live, 1, "parked");
        ping(&front.live, "after");
        assert_reason(&front.live, NULL);
        front_clear(&front);
    }
}

static void test_a_ring_that_is_not_mapped_any_more(void **state)
{
    g_autoptr(VdsGuestMap) rest = NULL;
    Front front;

    front_init(&front, LOOP_SPLIT);
    ping(&front.live, "before");
    rest = vds_guest_map_without(front.map, &front.rings, NULL);
    vds_virtio_driver_set_map(front.live.device, rest);
    assert_reason(&front.live, "C3");
    assert_true(queue_of(&front.live).map == NULL || queue_of(&front.live).map == rest);
    /* as a driver would go on */
    vds_virtio_device_reset(front.live.device);
    vds_virtio_driver_set_map(front.live.device, front.map);
    assert_true(driver_start(&front.live.driver, LOOP_SPLIT));
    ping(&front.live, "anew");
    front_clear(&front);
}

/* A queue that is not enabled just loses its ring. */
static void test_a_stopped_ring_is_not_missed(void **state)
{
    g_autoptr(VdsGuestMap) rest = NULL;
    Front front;

    front_init(&front, LOOP_SPLIT);
    assert_true(vds_virtio_driver_disable_queue(front.live.device, 0, NULL));
    rest = vds_guest_map_without(front.map, &front.rings, NULL);
    vds_virtio_driver_set_map(front.live.device, rest);
    assert_reason(&front.live, NULL);
    assert_false(vds_virtio_driver_enable_queue(front.live.device, 0, NULL));
    vds_virtio_driver_set_map(front.live.device, NULL);
    assert_reason(&front.live, NULL);
    front_clear(&front);
}

static void test_a_buffer_that_is_not_mapped_any_more(void **state)
{
    g_autoptr(VdsGuestMap) rest = NULL;
    Front front;

    front_init(&front, LOOP_SPLIT);
    front.live.loop.park = true;
    assert_true(driver_send(&front.live.driver, 0, "gone"));
    driver_kick(&front.live.driver);
    driver_settle(&front.live.driver);
    rest = vds_guest_map_without(front.map, &front.buffers, NULL);
    vds_virtio_driver_set_map(front.live.device, rest);
    assert_reason(&front.live, NULL);
    loop_answer_parked(&front.live.loop);
    assert_reason(&front.live, "R6");
    front_clear(&front);
}

/* The same ring, its memory behind other addresses as well. */
static void test_a_ring_moves(void **state)
{
    VdsQueueSetup setup;
    g_autoptr(VdsGuestMap) twice = NULL;
    g_autoptr(GError) error = NULL;
    VdsGuestRegion again;
    uint64_t before;
    Front front;

    front_init(&front, LOOP_SPLIT_EVENT);
    ping(&front.live, "before");
    again = front.rings;
    again.gpa = 0x10000000;
    again.uva = 0x40000000;
    twice = vds_guest_map_with(front.map, &again, NULL);
    vds_virtio_driver_set_map(front.live.device, twice);
    setup = front.live.driver.setup;
    setup.desc += again.gpa;
    setup.avail += again.gpa;
    setup.used += again.gpa;
    assert_true(vds_virtio_driver_move_queue(front.live.device, 0, &setup, NULL));
    assert_true(queue_of(&front.live).desc == setup.desc);
    assert_int_equal(queue_of(&front.live).used_idx, 1);
    ping(&front.live, "after");
    /* and once more, with the lower one taken away */
    g_clear_pointer(&twice, vds_guest_map_unref);
    before = setup.used;
    setup.used += 0x1000000;
    assert_false(vds_virtio_driver_move_queue(front.live.device, 0, &setup, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_RING));
    assert_reason(&front.live, "C3");
    assert_true(queue_of(&front.live).used == before); /* the ring is where it was */
    front_clear(&front);
}

/* Other memory and other addresses at once; where a ring that is told does not fit,
 * nothing changes. */
static void test_memory_and_addresses_change_together(void **state)
{
    VdsQueueSetup setup;
    g_autoptr(VdsGuestMap) lower = NULL, other = NULL;
    g_autoptr(GError) error = NULL;
    VdsGuestRegion again;
    VdsQueueState then;
    Front front;

    front_init(&front, LOOP_SPLIT_EVENT);
    ping(&front.live, "before");
    again = front.rings;
    again.gpa = 0x10000000;
    lower = vds_guest_map_without(front.map, &front.rings, NULL);
    other = vds_guest_map_with(lower, &again, NULL);
    setup = front.live.driver.setup;
    then = queue_of(&front.live);
    assert_false(vds_virtio_driver_move(front.live.device, other, &setup, 1, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_QUEUE));
    assert_reason(&front.live, NULL);
    assert_true(queue_of(&front.live).map == then.map);
    assert_true(queue_of(&front.live).desc == then.desc);
    ping(&front.live, "refused");
    setup.desc += again.gpa;
    setup.avail += again.gpa;
    setup.used += again.gpa;
    assert_true(vds_virtio_driver_move(front.live.device, other, &setup, 1, NULL));
    assert_true(queue_of(&front.live).desc == setup.desc);
    assert_int_equal(queue_of(&front.live).used_idx, 2);
    ping(&front.live, "moved");
    front_clear(&front);
}

/* Whoever drops a ring tells the device: it keeps nothing that was popped from it. */
static void test_the_device_drops_the_requests_of_a_ring_that_goes(void **state)
{
    g_autoptr(VdsGuestMap) rest = NULL;
    Front front;

    front_init(&front, LOOP_SPLIT);
    front.live.loop.park = true;
    assert_true(driver_send(&front.live.driver, 1, "parked"));
    driver_kick(&front.live.driver);
    driver_settle(&front.live.driver);
    assert_int_equal(front.live.loop.n_parked, 1);
    assert_true(vds_virtio_driver_disable_queue(front.live.device, 0, NULL));
    rest = vds_guest_map_without(front.map, &front.rings, NULL);
    vds_virtio_driver_set_map(front.live.device, rest);
    assert_int_equal(front.live.loop.n_parked, 0);
    assert_reason(&front.live, NULL);
    front_clear(&front);
}

/* ---- the dirty log ---- */

/* Turned on and off while requests come and go, as a migration does it that fails. */
static void test_log_while_running(void **state)
{
    enum { LOG_BYTES = RAM / VDS_DIRTY_PAGE / 8 };
    VDS_AUTO_FD fd = memfd_create("test-log", MFD_CLOEXEC);
    g_autoptr(VdsDirtyLog) log = NULL;
    g_autoptr(VdsGuestMap) logged = NULL;
    uint8_t bits[LOG_BYTES], expected[LOG_BYTES] = {0};
    VdsQueueSetup setup;
    Front front;

    assert_int_equal(ftruncate(fd, LOG_BYTES), 0);
    log = vds_dirty_log_new(&(VdsGuestRegion){.fd = fd, .offset = 0, .len = LOG_BYTES},
                            NULL);
    front_init(&front, LOOP_SPLIT_EVENT);
    setup = front.live.driver.setup;
    setup.log = true;
    setup.log_used = setup.used;
    logged = vds_guest_map_with_log(front.map, log, NULL);
    for (unsigned round = 0; round < 4; round++) {
        ping(&front.live, "before");
        assert_int_equal(pread(fd, bits, LOG_BYTES, 0), LOG_BYTES);
        assert_memory_equal(bits, expected, LOG_BYTES);
        vds_virtio_driver_set_map(front.live.device, logged);
        assert_true(vds_virtio_driver_move_queue(front.live.device, 0, &setup, NULL));
        ping(&front.live, "during");
        vds_virtio_driver_set_map(front.live.device, front.map);
        /* a page of rings, the first of buffers */
        expected[0] = (uint8_t)(1u << (front.live.driver.rings / VDS_DIRTY_PAGE) |
                                1u << (front.live.driver.buffers / VDS_DIRTY_PAGE));
        assert_int_equal(pread(fd, bits, LOG_BYTES, 0), LOG_BYTES);
        assert_memory_equal(bits, expected, LOG_BYTES);
    }
    front_clear(&front);
}

/* ---- memory that is cut short ---- */

static bool is_broken(const Fixture *fixture)
{
    g_autofree char *reason = vds_virtio_device_get_broken_reason(fixture->device);

    return reason != NULL;
}

/* A driver that does not mind: its own side may fail, and no answer come. */
static void send_until_cut(LoopDriver *driver)
{
    const VdsSpan spans[] = {{driver_out(driver, 0), 8}, {driver_in(driver, 0), 8}};
    const VdsBuffer buffer = {.spans = spans, .n_out = 1, .n_in = 1, .token = driver};
    VdsUsed used = {NULL, 0};
    bool added = false;

    (void)vds_driver_ring_add(driver->ring, &buffer, &added, NULL);
    vds_virtio_driver_kick(driver->device, 0);
    driver_settle(driver);
    (void)vds_driver_ring_get_used(driver->ring, &used, NULL);
}

/* From another process, while the device is busy; its neighbour does not notice. */
static void test_cut_short_under_load(void **state)
{
    static const uint64_t formats[] = {LOOP_SPLIT, LOOP_PACKED_EVENT};

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(formats); i++) {
        Front front, neighbour;
        int fd, status = 0;
        pid_t child;

        front_init(&front, formats[i / 2]);
        front_init(&neighbour, formats[i / 2]);
        fd = vds_guest_ram_get_fd(front.live.ram);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            usleep(5000);
            _exit(ftruncate(fd, i % 2 ? BORDER : 0) != 0); /* buffers, or all */
        }
        while (!is_broken(&front.live)) {
            send_until_cut(&front.live.driver);
            ping(&neighbour.live, "neighbour");
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_reason(&front.live, "R6");
        ping(&neighbour.live, "still there");
        assert_reason(&neighbour.live, NULL);
        front_clear(&front);
        front_clear(&neighbour);
    }
}

/* ---- a queue stops ---- */

typedef struct {
    VdsMailbox *box;
    unsigned n_told, n;
    uint32_t base;
} Stopped;

static void told(unsigned n, uint32_t base, void *user)
{
    Stopped *stopped = user;

    stopped->n_told++;
    stopped->n = n;
    stopped->base = base;
}

static void stop(Front *front, unsigned n, Stopped *stopped)
{
    vds_virtio_driver_stop_queue(front->live.device, n, stopped->box, told, stopped);
}

static unsigned count_told(Front *front, Stopped *stopped)
{
    driver_settle(&front->live.driver);
    vds_mailbox_run(stopped->box);
    return stopped->n_told;
}

/* Another device goes on there, as a front-end would have it. */
static void go_on(Front *front, uint32_t base)
{
    LoopDriver *driver = &front->live.driver;
    VdsQueueState state = queue_of(&front->live);
    VdsQueueSetup setup = driver->setup;

    setup.has_base = true;
    setup.avail_base = (uint16_t)base;
    setup.used_base = state.used_idx;
    if (state.packed) {
        setup.avail_base = base & 0x7fff;
        setup.avail_wrap = (base >> 15) & 1;
        setup.used_base = (base >> 16) & 0x7fff;
        setup.used_wrap = base >> 31;
    }
    assert_true(vds_virtio_driver_set_queue(front->live.device, 0, &setup, NULL));
    assert_true(vds_virtio_driver_enable_queue(front->live.device, 0, NULL));
}

static void send_two(Front *front)
{
    assert_true(driver_send(&front->live.driver, 1, "one"));
    assert_true(driver_send(&front->live.driver, 2, "two"));
    driver_kick(&front->live.driver);
    driver_settle(&front->live.driver);
}

static const struct {
    uint64_t features;
    uint32_t idle;      /* its base after a ping */
    uint32_t after_two; /* after two more, of two slots each */
} stop_rows[] = {
    {LOOP_SPLIT, 1, 3},
    {LOOP_SPLIT_EVENT, 1, 3},
    {LOOP_PACKED, 0x80048004, 0}, /* the ping has four slots of eight; P10 */
    {LOOP_PACKED_EVENT, 0x80048004, 0},
};

static void test_stop_waits_for_what_is_under_way(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stop_rows); i++) {
        Stopped stopped = {.box = vds_mailbox_new(NULL)};
        g_autoptr(GError) error = NULL;
        Front front;

        front_init(&front, stop_rows[i].features);
        ping(&front.live, "ping");
        stop(&front, 0, &stopped);
        assert_int_equal(count_told(&front, &stopped), 1);
        assert_true(stopped.base == stop_rows[i].idle);
        go_on(&front, stopped.base);
        front.live.loop.park = true;
        assert_true(driver_send(&front.live.driver, 1, "x"));
        assert_true(driver_send(&front.live.driver, 2, "y"));
        driver_kick(&front.live.driver);
        driver_settle(&front.live.driver);
        assert_int_equal(front.live.loop.n_parked, 2);
        stop(&front, 0, &stopped);
        stop(&front, 0, &stopped); /* twice as impatient */
        assert_int_equal(count_told(&front, &stopped), 1);
        assert_false(vds_virtio_driver_set_queue(front.live.device, 0,
                                                 &front.live.driver.setup, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_QUEUE));
        assert_false(vds_virtio_driver_enable_queue(front.live.device, 0, NULL));
        /* what comes meanwhile is not begun */
        assert_true(driver_send(&front.live.driver, 3, "later"));
        driver_kick(&front.live.driver);
        driver_settle(&front.live.driver);
        assert_int_equal(front.live.loop.n_parked, 2);
        front.live.loop.park = false;
        loop_answer_parked(&front.live.loop);
        assert_int_equal(count_told(&front, &stopped), 3);
        assert_true(stopped.base == stop_rows[i].after_two);
        assert_answered(&front.live, 1, "x");
        assert_answered(&front.live, 2, "y");
        go_on(&front, stopped.base);
        assert_answered(&front.live, 3, "later");
        assert_reason(&front.live, NULL);
        front_clear(&front);
        vds_mailbox_free(stopped.box);
    }
}

/* They are the next device's, and nothing was lost or done twice. */
static void test_stop_puts_back_what_waits(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stop_rows); i++) {
        Stopped stopped = {.box = vds_mailbox_new(NULL)};
        Front front;

        front_init(&front, stop_rows[i].features);
        ping(&front.live, "ping");
        front.live.loop.park = front.live.loop.puts_back = true;
        send_two(&front);
        assert_true(queue_of(&front.live).inuse > 0);
        stop(&front, 0, &stopped);
        assert_int_equal(count_told(&front, &stopped), 1);
        assert_int_equal(queue_of(&front.live).inuse, 0);
        assert_true(stopped.base == stop_rows[i].idle);
        front.live.loop.park = false;
        go_on(&front, stopped.base);
        assert_answered(&front.live, 1, "one");
        assert_answered(&front.live, 2, "two");
        front_clear(&front);
        vds_mailbox_free(stopped.box);
    }
}

/* A frozen device answers a front-end all the same. */
static void test_stop_of_a_frozen_device(void **state)
{
    Stopped stopped = {.box = vds_mailbox_new(NULL)};
    Front front;

    front_init(&front, LOOP_SPLIT);
    front.live.loop.park = front.live.loop.puts_back = true;
    send_two(&front);
    vds_virtio_device_set_running(front.live.device, false);
    stop(&front, 0, &stopped);
    assert_int_equal(count_told(&front, &stopped), 1);
    assert_int_equal(stopped.base, 0);
    front_clear(&front);
    vds_mailbox_free(stopped.box);
}

static void test_stop_is_overtaken(void **state)
{
    Stopped stopped = {.box = vds_mailbox_new(NULL)};
    Front front;

    front_init(&front, LOOP_SPLIT);
    stop(&front, 7, &stopped); /* never there */
    assert_int_equal(count_told(&front, &stopped), 1);
    assert_int_equal(stopped.n, 7);
    assert_int_equal(stopped.base, 0);

    front.live.loop.park = true;
    send_two(&front);
    stop(&front, 0, &stopped);
    assert_int_equal(count_told(&front, &stopped), 1);
    vds_virtio_device_reset(front.live.device);
    assert_int_equal(count_told(&front, &stopped), 2);
    assert_int_equal(stopped.base, 2);

    assert_true(driver_start(&front.live.driver, LOOP_SPLIT));
    send_two(&front);
    stop(&front, 0, &stopped);
    assert_int_equal(count_told(&front, &stopped), 2);
    front_clear(&front);
    vds_mailbox_run(stopped.box);
    assert_int_equal(stopped.n_told, 3);
    vds_mailbox_free(stopped.box);
}

/* ---- requests in flight ---- */

/* A device that ends with requests under way, and one that goes on with its region. */
static void test_inflight(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stop_rows); i++) {
        const VdsInflightShape shape = {(stop_rows[i].features >> VDS_F_RING_PACKED) & 1,
                                        1, LOOP_NUM};
        VDS_AUTO_FD fd = vds_inflight_create(&shape, NULL);
        g_autoptr(VdsInflight) inflight = NULL;
        Stopped stopped = {.box = vds_mailbox_new(NULL)};
        uint64_t len = 0;
        Front front;

        assert_true(vds_inflight_get_len(&shape, &len, NULL));
        inflight = vds_inflight_new(
            &shape, &(VdsGuestRegion){.fd = fd, .offset = 0, .len = len}, NULL);
        assert_non_null(inflight);
        front_init(&front, stop_rows[i].features);
        ping(&front.live, "ping");
        stop(&front, 0, &stopped);
        assert_int_equal(count_told(&front, &stopped), 1);
        vds_virtio_driver_set_inflight(front.live.device, inflight);
        go_on(&front, stopped.base);
        front.live.loop.park = true;
        assert_true(driver_send(&front.live.driver, 1, "x"));
        assert_true(driver_send(&front.live.driver, 2, "y"));
        driver_kick(&front.live.driver);
        driver_settle(&front.live.driver);
        assert_int_equal(front.live.loop.n_parked, 2);
        vds_virtio_driver_abandon_queue(front.live.device, 0);
        assert_int_equal(front.live.loop.n_parked, 0); /* the device let go of them */
        front.live.loop.park = false;
        go_on(&front, stopped.base); /* which is wrong by now */
        assert_answered(&front.live, 1, "x");
        assert_answered(&front.live, 2, "y");
        ping(&front.live, "new");
        assert_reason(&front.live, NULL);
        /* a region of another shape */
        vds_virtio_device_reset(front.live.device);
        assert_false(
            driver_start(&front.live.driver, shape.packed ? LOOP_SPLIT : LOOP_PACKED));
        assert_reason(&front.live, "V8");
        front_clear(&front);
        vds_mailbox_free(stopped.box);
    }
}

/* ---- queries ---- */

static void test_what_queries_show(void **state)
{
    const VdsVhostState vhost = {.n_mem_sections = 2,
                                 .nvqs = 1,
                                 .features = {{LOOP_OFFERED, 0}},
                                 .protocol_features = 0x220};
    const VdsVhostQueue queue = {
        .kick = 7, .call = 9, .desc = 0x11000, .avail = 0x11400, .used = 0x11800};
    Front front;

    front_init(&front, LOOP_SPLIT);
    assert_false(state_of(&front.live).vhost_started);
    assert_true(queue_of(&front.live).has_shadow_avail);
    vds_virtio_driver_set_vhost_state(front.live.device, &vhost);
    assert_true(state_of(&front.live).vhost_started);
    assert_true(state_of(&front.live).vhost.protocol_features == 0x220);
    /* nobody's position, until the queue is among the back-end's */
    assert_false(queue_of(&front.live).has_vhost);
    assert_false(queue_of(&front.live).has_last_avail);
    assert_false(queue_of(&front.live).has_shadow_avail);
    vds_virtio_driver_set_vhost_queue(front.live.device, 0, &queue);
    ping(&front.live, "counted");
    assert_true(queue_of(&front.live).has_vhost);
    assert_true(queue_of(&front.live).has_last_avail);
    assert_false(queue_of(&front.live).has_shadow_avail);
    assert_int_equal(queue_of(&front.live).last_avail_idx, 1);
    assert_true(queue_of(&front.live).vhost.kick == 7);
    assert_true(queue_of(&front.live).vhost.used == 0x11800);
    vds_virtio_device_reset(front.live.device);
    assert_true(state_of(&front.live).vhost_started);
    assert_true(queue_of(&front.live).has_vhost);
    vds_virtio_driver_set_vhost_queue(front.live.device, 0, NULL);
    vds_virtio_driver_set_vhost_queue(front.live.device, 99, &queue); /* not there */
    vds_virtio_driver_set_vhost_state(front.live.device, NULL);
    assert_false(state_of(&front.live).vhost_started);
    assert_true(queue_of(&front.live).has_shadow_avail);
    front_clear(&front);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* first: cmocka puts its own SIGBUS handler in before each test, and ours comes
         * once a process */
        cmocka_unit_test(test_cut_short_under_load),
        cmocka_unit_test(test_queues_move_to_another_map),
        cmocka_unit_test(test_log_while_running),
        cmocka_unit_test(test_a_ring_that_is_not_mapped_any_more),
        cmocka_unit_test(test_a_stopped_ring_is_not_missed),
        cmocka_unit_test(test_a_buffer_that_is_not_mapped_any_more),
        cmocka_unit_test(test_a_ring_moves),
        cmocka_unit_test(test_memory_and_addresses_change_together),
        cmocka_unit_test(test_the_device_drops_the_requests_of_a_ring_that_goes),
        cmocka_unit_test(test_stop_waits_for_what_is_under_way),
        cmocka_unit_test(test_stop_puts_back_what_waits),
        cmocka_unit_test(test_stop_of_a_frozen_device),
        cmocka_unit_test(test_stop_is_overtaken),
        cmocka_unit_test(test_inflight),
        cmocka_unit_test(test_what_queries_show),
    };

    return cmocka_run_group_tests_name("virtio-vhost", tests, NULL, NULL);
}
