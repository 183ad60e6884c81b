/*
 * virtio: a device that completes its requests in any order, and what its driver sees of
 * that: with IN_ORDER the order in which it made them available (virtio 1.2, 2.7.9 and
 * 2.8.8), without it theirs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "live-fixture.h"

#define ORDERED LOOP_BIT(VDS_F_IN_ORDER)

static const uint64_t formats[] = {LOOP_SPLIT, LOOP_SPLIT_EVENT, LOOP_PACKED,
                                   LOOP_PACKED_EVENT};

/* One span each way, so that four fit into a packed ring. */
static const char *const texts[] = {"a", "b", "c", "d"};
enum { N = G_N_ELEMENTS(texts) };

typedef struct {
    Loopback *loop;
    unsigned n;
} Answer;

static void answer_task(void *user)
{
    Answer *answer = user;
    VdsIo *io = answer->loop->parked[answer->n];
    VdsVirtQueue *queue = io->queue;

    loop_answer(io);
    vds_virt_queue_flush(queue);
}

/* The nth that was parked, which stays where it is in the list. */
static void answer(Fixture *fixture, unsigned n)
{
    vds_io_thread_call(fixture->thread, answer_task, &(Answer){&fixture->loop, n});
}

static void begin(Fixture *fixture, uint64_t features)
{
    fixture_init(fixture, &loop_ops);
    fixture->loop.park = true;
    assert_true(driver_start(&fixture->driver, features));
    for (unsigned i = 0; i < N; i++) {
        assert_true(driver_send(&fixture->driver, i, texts[i]));
    }
    driver_kick(&fixture->driver);
    driver_settle(&fixture->driver);
    assert_int_equal(fixture->loop.n_parked, N);
}

static void end(Fixture *fixture)
{
    fixture->loop.n_parked = 0;
    fixture_clear(fixture);
}

static unsigned get_used(Fixture *fixture)
{
    VdsUsed used;

    assert_true(vds_driver_ring_get_used(fixture->driver.ring, &used, NULL));
    return GPOINTER_TO_UINT(used.token);
}

/* `used` says how many of the requests so far the driver may see after each answer. */
static void expect(uint64_t features, const unsigned *answers, const unsigned *used,
                   const unsigned *order)
{
    unsigned slots = features & LOOP_BIT(VDS_F_RING_PACKED) ? 2 : 1, seen = 0;
    Fixture fixture;

    begin(&fixture, features);
    for (unsigned i = 0; i < N; i++) {
        answer(&fixture, answers[i]);
        assert_int_equal(queue_of(&fixture).inuse, (N - used[i]) * slots);
        for (; seen < used[i]; seen++) {
            assert_answered(&fixture, order[seen], texts[order[seen]]);
        }
        assert_int_equal(get_used(&fixture), 0);
    }
    assert_int_equal(vds_driver_ring_get_pending(fixture.driver.ring), 0);
    assert_reason(&fixture, NULL);
    end(&fixture);
}

static const unsigned answers[][N] = {
    {0, 1, 2, 3},
    {3, 2, 1, 0},
    {1, 0, 3, 2},
    {2, 0, 3, 1},
};

static void test_in_order(void **state)
{
    static const unsigned order[N] = {0, 1, 2, 3};
    static const unsigned used[][N] = {
        {1, 2, 3, 4},
        {0, 0, 0, 4},
        {0, 2, 2, 4},
        {0, 1, 1, 4},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(formats) * G_N_ELEMENTS(answers); i++) {
        size_t k = i % G_N_ELEMENTS(answers);

        expect(formats[i / G_N_ELEMENTS(answers)] | ORDERED, answers[k], used[k], order);
    }
}

static void test_as_they_come(void **state)
{
    static const unsigned used[N] = {1, 2, 3, 4};

    for (size_t i = 0; i < G_N_ELEMENTS(formats) * G_N_ELEMENTS(answers); i++) {
        size_t k = i % G_N_ELEMENTS(answers);

        expect(formats[i / G_N_ELEMENTS(answers)], answers[k], used, answers[k]);
    }
}

/* What is held back goes with the life it belongs to. */
static void test_reset(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Fixture fixture;

        begin(&fixture, formats[i] | ORDERED);
        answer(&fixture, 3);
        answer(&fixture, 2);
        fixture.loop.n_parked = 2;
        vds_virtio_device_reset(fixture.device);
        assert_int_equal(fixture.loop.left_after_reset, 0);
        fixture.loop.park = false;
        assert_true(driver_start(&fixture.driver, formats[i] | ORDERED));
        for (unsigned n = 0; n < 2 * LOOP_NUM; n++) {
            ping(&fixture, "after the reset");
        }
        end(&fixture);
    }
}

/* A broken device's driver sees nothing more, and its reset finds all. */
static void test_broken(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Fixture fixture;

        begin(&fixture, formats[i] | ORDERED);
        answer(&fixture, 1);
        vds_virtio_device_break(fixture.device, "S1: a test");
        answer(&fixture, 0);
        assert_int_equal(get_used(&fixture), 0);
        fixture.loop.parked[0] = fixture.loop.parked[2];
        fixture.loop.parked[1] = fixture.loop.parked[3];
        fixture.loop.n_parked = 2;
        vds_virtio_device_reset(fixture.device);
        fixture.loop.park = false;
        assert_true(driver_start(&fixture.driver, formats[i] | ORDERED));
        ping(&fixture, "after the fault");
        end(&fixture);
    }
}

static void stopped(unsigned n, uint32_t base, void *user)
{
    *(int64_t *)user = base;
}

/* vhost-user, GET_VRING_BASE: nothing is held back in a ring that has stopped. */
static void test_stop(void **state)
{
    VdsMailbox *box = vds_mailbox_new(NULL);
    int64_t base = -1;
    Fixture fixture;

    begin(&fixture, LOOP_SPLIT | ORDERED);
    answer(&fixture, 3);
    answer(&fixture, 1);
    vds_virtio_driver_stop_queue(fixture.device, 0, box, stopped, &base);
    answer(&fixture, 2);
    driver_settle(&fixture.driver);
    assert_int_equal(vds_mailbox_run(box), 0);
    assert_int_equal(get_used(&fixture), 0);
    answer(&fixture, 0);
    driver_settle(&fixture.driver);
    assert_int_equal(vds_mailbox_run(box), 1);
    assert_int_equal(base, N);
    for (unsigned i = 0; i < N; i++) {
        assert_answered(&fixture, i, texts[i]);
    }
    assert_int_equal(queue_of(&fixture).inuse, 0);
    end(&fixture);
    vds_mailbox_free(box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order), cmocka_unit_test(test_as_they_come),
        cmocka_unit_test(test_reset),    cmocka_unit_test(test_broken),
        cmocka_unit_test(test_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
