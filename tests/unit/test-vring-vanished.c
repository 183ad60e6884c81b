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
        {GPA, PAGE, fd, 0, 0},
        {GPA + PAGE, PAGE, fd, PAGE, 0},
        {GPA + 2 * PAGE, PAGE, fd, 2 * PAGE, 0},
        {GPA + 3 * PAGE, PAGE, fd, 3 * PAGE, 0},
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

/* One test: cmocka puts its own SIGBUS handler in at the start of each, and ours is
 * installed once a process. */
static void test_vanished(void **state)
{
    for (unsigned kept = 0; kept <= PAGES; kept++) {
        for (unsigned variant = 0; variant < 4; variant++) {
            check(variant & 1, variant & 2, kept);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vanished),
    };

    return cmocka_run_group_tests_name("vring-vanished", tests, NULL, NULL);
}
