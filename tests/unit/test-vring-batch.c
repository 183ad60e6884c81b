/*
 * vring: requests in batches, which are what they are one by one: also where one of them
 * breaks a rule, and where the ring's memory vanishes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vds/vring.h"

enum { PAGE = 4096, GPA = 0x10000, PAGES = 4, NUM = 8, MAX = 16 };

/* A driver and a device over a file of four pages: descriptors, avail, used, buffers. */
typedef struct {
    int fd;
    VdsGuestMap *map;
    VdsDriverRing *driver;
    VdsVring *device;
} Pair;

static Pair pair_new(bool packed, bool event_idx)
{
    Pair pair = {.fd = memfd_create("test-batch", MFD_CLOEXEC)};
    const VdsGuestRegion region = {GPA, PAGES * PAGE, pair.fd, 0, 0, NULL};
    VdsQueueState setup = {.packed = packed,
                           .event_idx = event_idx,
                           .num = NUM,
                           .desc = GPA,
                           .avail = GPA + PAGE,
                           .used = GPA + 2 * PAGE};

    assert_int_equal(ftruncate(pair.fd, PAGES * PAGE), 0);
    pair.map = vds_guest_map_new_writable(&region, 1, NULL);
    assert_non_null(pair.map);
    setup.map = pair.map;
    pair.driver = vds_driver_ring_new(&setup, 0, NULL, NULL);
    pair.device = vds_vring_new(&setup, 0, NULL);
    assert_true(pair.driver && pair.device);
    vds_vring_set_extra(pair.device, sizeof(unsigned));
    return pair;
}

static void pair_clear(Pair *pair)
{
    vds_vring_free(pair->device);
    vds_driver_ring_free(pair->driver);
    vds_guest_map_unref(pair->map);
    close(pair->fd);
}

/* n buffers of 8 bytes that the device writes, at the given address. */
static void offer(Pair *pair, unsigned n, uint64_t gpa)
{
    static char token;

    for (unsigned i = 0; i < n; i++) {
        const VdsSpan span = {gpa, 8};
        const VdsBuffer buffer = {&span, 0, 1, &token};
        bool added = false;

        assert_true(vds_driver_ring_add(pair->driver, &buffer, &added, NULL) && added);
    }
}

static unsigned count_used(Pair *pair, uint32_t written)
{
    VdsUsed used = {NULL, 0};
    unsigned n = 0;

    while (vds_driver_ring_get_used(pair->driver, &used, NULL) && used.token) {
        assert_int_equal(used.written, written);
        n++;
    }
    return n;
}

static void check_rounds(bool packed, bool event_idx)
{
    Pair pair = pair_new(packed, event_idx);
    VdsRequest *requests[MAX];
    bool interrupt;
    size_t n;

    for (unsigned round = 0; round < 100; round++) {
        unsigned offered = round % NUM + 1, taken = MIN(offered, round % 5);

        offer(&pair, offered, GPA + 3 * PAGE);
        assert_true(vds_vring_pop_some(pair.device, requests, taken, &n, NULL));
        assert_int_equal(n, taken);
        assert_true(vds_vring_pop_some(pair.device, requests + n, MAX - n, &n, NULL));
        assert_int_equal(n, offered - taken);
        for (unsigned i = 0; i < offered; i++) {
            /* what the caller keeps is its own */
            *(unsigned *)requests[i]->extra = i;
        }
        for (unsigned i = 0; i < offered; i++) {
            assert_int_equal(*(unsigned *)requests[i]->extra, i);
            requests[i]->written = 5;
        }
        assert_true(vds_vring_push_some(pair.device, requests, offered, NULL));
        assert_int_equal(count_used(&pair, 5), 0);
        assert_true(vds_vring_publish(pair.device, &interrupt, NULL));
        assert_int_equal(count_used(&pair, 5), offered);
    }
    pair_clear(&pair);
}

static void test_rounds(void **state)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        check_rounds(kind & 1, kind & 2);
    }
}

/* Two good ones and one that is not mapped: two, the fault, and then the fault again. */
static void check_fault(bool packed)
{
    Pair pair = pair_new(packed, false);
    VdsRequest *requests[MAX];
    bool interrupt;
    size_t n;

    offer(&pair, 2, GPA + 3 * PAGE);
    offer(&pair, 1, GPA + PAGES * PAGE);
    offer(&pair, 1, GPA + 3 * PAGE);
    for (size_t expected = 2;; expected = 0) {
        g_autoptr(GError) fault = NULL;

        assert_false(
            vds_vring_pop_some(pair.device, requests + 2 - expected, MAX, &n, &fault));
        assert_int_equal(n, expected);
        assert_true(g_error_matches(fault, VDS_VRING_FAULT, VDS_RULE_S12));
        if (expected == 0) {
            break;
        }
    }
    requests[0]->written = requests[1]->written = 0;
    assert_true(vds_vring_push_some(pair.device, requests, 2, NULL));
    assert_true(vds_vring_publish(pair.device, &interrupt, NULL));
    assert_int_equal(count_used(&pair, 0), 2);
    pair_clear(&pair);
}

static void test_fault(void **state)
{
    check_fault(false);
    check_fault(true);
}

/* All that is in front of the end of the ring, where a kick is asked for in a page that
 * is not there any more: none of it was read for certain. */
static void check_vanished(bool packed)
{
    Pair pair = pair_new(packed, false);
    g_autoptr(GError) fault = NULL;
    VdsRequest *requests[MAX];
    VdsQueueState state = {0};
    size_t n;

    offer(&pair, 3, GPA);
    assert_int_equal(ftruncate(pair.fd, 2 * PAGE), 0);
    assert_false(vds_vring_pop_some(pair.device, requests, MAX, &n, &fault));
    assert_int_equal(n, 0);
    assert_true(g_error_matches(fault, VDS_VRING_FAULT, VDS_RULE_R6));
    vds_vring_get_state(pair.device, &state);
    assert_int_equal(state.inuse, 0);
    assert_int_equal(state.last_avail_idx, 0);
    pair_clear(&pair);
}

static void test_vanished(void **state)
{
    check_vanished(false);
    check_vanished(true);
}

/* Back into the ring, the last one first, and out again. */
static void check_unpop(bool packed)
{
    Pair pair = pair_new(packed, true);
    VdsRequest *requests[MAX];
    size_t n;

    offer(&pair, NUM, GPA + 3 * PAGE);
    for (unsigned keep = 0; keep < NUM; keep++) {
        assert_true(vds_vring_pop_some(pair.device, requests, MAX, &n, NULL));
        assert_int_equal(n, NUM - keep);
        while (n > 1) {
            vds_vring_unpop(pair.device, requests[--n]);
        }
        assert_true(vds_vring_push(pair.device, requests[0], 8, NULL));
    }
    pair_clear(&pair);
}

static void test_unpop(void **state)
{
    check_unpop(false);
    check_unpop(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: cmocka has a SIGBUS handler of its own from each test on. */
        cmocka_unit_test(test_vanished),
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_fault),
        cmocka_unit_test(test_unpop),
    };

    return cmocka_run_group_tests_name("vring-batch", tests, NULL, NULL);
}
