/*
 * guestmem: what peers may have mapped, all together and one of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "vds/guestmem.h"

enum { PAGE = 4096 };

static bool is_refused(VdsGuestShare *share, uint64_t bytes)
{
    g_autoptr(GError) error = NULL;

    if (vds_guest_share_take(share, bytes, &error)) {
        return false;
    }
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_QUOTA));
    return true;
}

/* Each may have as much as it leaves, so the next always has something. */
static void test_half_of_the_rest(void **state)
{
    g_autoptr(VdsGuestQuota) quota = vds_guest_quota_new(1000, 100);
    g_autoptr(VdsGuestShare) first = vds_guest_share_new(quota);
    g_autoptr(VdsGuestShare) second = vds_guest_share_new(quota);

    assert_true(is_refused(first, 501));
    assert_true(is_refused(first, UINT64_MAX));
    assert_false(is_refused(first, 500));
    assert_true(is_refused(first, 1));
    assert_true(is_refused(second, 251));
    assert_false(is_refused(second, 250));
    vds_guest_share_give_back(first, 500);
    assert_false(is_refused(second, 125));
    assert_true(is_refused(second, 126));
    assert_false(is_refused(first, 312));
}

/* Mappings run out, too: Linux has a limit of its own. */
static void test_mappings(void **state)
{
    g_autoptr(VdsGuestQuota) quota = vds_guest_quota_new(UINT64_MAX / 4, 100);
    g_autoptr(VdsGuestShare) share = vds_guest_share_new(quota);

    for (unsigned i = 0; i < 50; i++) {
        assert_false(is_refused(share, PAGE));
    }
    assert_true(is_refused(share, PAGE));
    vds_guest_share_give_back(share, PAGE);
    assert_false(is_refused(share, PAGE));
}

static VdsGuestRegion region_of(int fd, uint64_t gpa, VdsGuestShare *share)
{
    return (VdsGuestRegion){.gpa = gpa, .len = PAGE, .fd = fd, .share = share};
}

/* Maps that share a region count it once, and it is given back with the last of them; a
 * map that cannot be made leaves nothing behind. */
static void test_maps(void **state)
{
    VDS_AUTO_FD fd = memfd_create("quota", MFD_CLOEXEC);
    g_autoptr(VdsGuestQuota) quota = vds_guest_quota_new(7 * PAGE, 100);
    g_autoptr(VdsGuestShare) share = vds_guest_share_new(quota);
    VdsGuestRegion regions[4];
    g_autoptr(VdsGuestMap) map = NULL, more = NULL;
    g_autoptr(GError) error = NULL;

    assert_int_equal(ftruncate(fd, PAGE), 0);
    for (unsigned i = 0; i < 4; i++) {
        regions[i] = region_of(fd, i * PAGE, share);
    }
    assert_null(vds_guest_map_new_writable(regions, 4, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_QUOTA));
    map = vds_guest_map_new_writable(regions, 2, NULL);
    assert_non_null(map);
    more = vds_guest_map_with(map, &regions[2], NULL);
    assert_non_null(more);
    assert_true(is_refused(share, PAGE));
    g_clear_pointer(&map, vds_guest_map_unref);
    assert_true(is_refused(share, PAGE));
    g_clear_pointer(&more, vds_guest_map_unref);
    assert_false(is_refused(share, 3 * PAGE));
}

/* A log is mapped as well. */
static void test_log(void **state)
{
    VDS_AUTO_FD fd = memfd_create("quota", MFD_CLOEXEC);
    g_autoptr(VdsGuestQuota) quota = vds_guest_quota_new(PAGE, 100);
    g_autoptr(VdsGuestShare) share = vds_guest_share_new(quota);
    const VdsGuestRegion where = region_of(fd, 0, share);
    g_autoptr(GError) error = NULL;

    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_null(vds_dirty_log_new(&where, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_QUOTA));
}

/* A file that cannot be mapped is not counted. */
static void test_failed(void **state)
{
    g_autoptr(VdsGuestQuota) quota = vds_guest_quota_new(2 * PAGE, 100);
    g_autoptr(VdsGuestShare) share = vds_guest_share_new(quota);
    VDS_AUTO_FD fd = memfd_create("quota", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const VdsGuestRegion region = region_of(fd, 0, share);

    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0); /* writable: EPERM */
    assert_null(vds_guest_map_new_writable(&region, 1, NULL));
    assert_false(is_refused(share, PAGE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_of_the_rest),
        cmocka_unit_test(test_mappings),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_failed),
    };

    return cmocka_run_group_tests_name("guestmem-quota", tests, NULL, NULL);
}
