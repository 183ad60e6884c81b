/*
 * vring: a ring whose owner cuts its memory short while it is looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/mman.h>

#include "vds/vring.h"

enum { PAGE = 4096, GPA = 0x10000, PAGES = 4 };

/* Pages: descriptors, avail, used, an indirect table.  Each is taken away in turn. */
static void check(bool packed, bool indirect, unsigned kept)
{
    VDS_AUTO_FD fd = memfd_create("test-vanished", MFD_CLOEXEC);
    const VdsGuestRegion regions[] = {
        {GPA, PAGE, fd, 0, 0, NULL},
        {GPA + PAGE, PAGE, fd, PAGE, 0, NULL},
        {GPA + 2 * PAGE, PAGE, fd, 2 * PAGE, 0, NULL},
        {GPA + 3 * PAGE, PAGE, fd, 3 * PAGE, 0, NULL},
    };
    /* addr GPA + 3 * PAGE, len 32, flags INDIRECT where the format has them */
    const uint8_t head[16] = {[1] = 0x30,
                              [2] = 0x01,
                              [8] = 32,
                              [12] = packed ? 0 : VDS_DESC_F_INDIRECT,
                              [14] = packed ? VDS_DESC_F_INDIRECT : 0};
    VdsQueueState queue = {.packed = packed,
                           .num = 8,
                           .desc = GPA,
                           .avail = GPA + PAGE,
                           .used = GPA + 2 * PAGE};
    g_autoptr(VdsGuestMap) map = NULL;
    g_autoptr(VdsChain) chain = NULL;
    g_autoptr(GError) error = NULL;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    map = vds_guest_map_new(regions, PAGES, NULL);
    assert_non_null(map);
    queue.map = map;
    if (indirect) {
        assert_int_equal(pwrite(fd, head, sizeof(head), 0), sizeof(head));
    }
    assert_int_equal(ftruncate(fd, kept * PAGE), 0);
    chain = vds_chain_read(&queue, false, 0, &error);
    if (kept == PAGES || (kept == 3 && !indirect)) {
        assert_non_null(chain);
    } else {
        assert_null(chain);
        assert_true(
            g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED));
    }
}

/* A live ring whose indirect table vanishes, though not the ring itself: R6, whatever the
 * zeroes there look like, and with the table back in a new map it is a request. */
static void check_live_table(bool packed)
{
    VDS_AUTO_FD fd = memfd_create("test-vanished", MFD_CLOEXEC);
    const VdsGuestRegion region = {GPA, PAGES * PAGE, fd, 0, 0, NULL};
    const VdsDriverTables tables = {GPA + 3 * PAGE, 4};
    const VdsSpan spans[] = {{GPA, 8}, {GPA + 8, 8}};
    const VdsBuffer buffer = {spans, 1, 1, &fd};
    VdsQueueState setup = {.packed = packed,
                           .num = 8,
                           .desc = GPA,
                           .avail = GPA + PAGE,
                           .used = GPA + 2 * PAGE};
    g_autoptr(VdsGuestMap) map = NULL, again = NULL;
    g_autoptr(VdsDriverRing) driver = NULL;
    g_autoptr(VdsVring) ring = NULL;
    g_autoptr(GError) fault = NULL;
    VdsRequest *request = NULL;
    uint8_t table[64];
    bool added = false;

    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    map = vds_guest_map_new_writable(&region, 1, NULL);
    setup.map = map;
    driver = vds_driver_ring_new(&setup, VDS_VRING_INDIRECT, &tables, NULL);
    ring = vds_vring_new(&setup, VDS_VRING_INDIRECT, NULL);
    assert_true(vds_driver_ring_add(driver, &buffer, &added, NULL) && added);
    assert_int_equal(pread(fd, table, sizeof(table), 3 * PAGE), sizeof(table));
    assert_int_equal(ftruncate(fd, 3 * PAGE), 0);
    assert_false(vds_vring_pop(ring, &request, &fault));
    assert_null(request);
    assert_true(g_error_matches(fault, VDS_VRING_FAULT, VDS_RULE_R6));
    assert_false(vds_vring_pop(ring, &request, NULL)); /* nothing moved */

    assert_int_equal(pwrite(fd, table, sizeof(table), 3 * PAGE), sizeof(table));
    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    again = vds_guest_map_new_writable(&region, 1, NULL);
    setup.map = again;
    assert_true(vds_vring_move(ring, &setup, NULL));
    assert_true(vds_vring_pop(ring, &request, NULL));
    assert_non_null(request);
    assert_true(vds_vring_push(ring, request, 0, NULL));
}

/* One test: cmocka puts its own SIGBUS handler in at the start of each, and ours is
 * installed once a process. */
static void test_vanished(void **state)
{
    for (unsigned kept = 0; kept <= PAGES; kept++) {
        for (unsigned variant = 0; variant < 4; variant++) {
            check(variant & 1, variant & 2, kept);
        }
    }
    check_live_table(false);
    check_live_table(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vanished),
    };

    return cmocka_run_group_tests_name("vring-vanished", tests, NULL, NULL);
}
