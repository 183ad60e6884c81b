/*
 * guestmem: RAM that others map, and its page allocator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vds/guestmem.h"

enum { PAGE = 4096 };

static VdsGuestRam *new_memfd_ram(uint64_t size)
{
    const VdsGuestRamConfig config = {
        .kind = VDS_GUEST_RAM_MEMFD, .size = size, .seal = true};
    VdsGuestRam *ram = vds_guest_ram_new(&config, NULL);

    assert_non_null(ram);
    return ram;
}

static long blocks_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (long)st.st_blocks * 512;
}

static void test_memfd_is_sealed_shared_and_empty(void **state)
{
    g_autoptr(VdsGuestRam) ram = new_memfd_ram(UINT64_C(1) << 40);
    int fd = vds_guest_ram_get_fd(ram);
    uint8_t *other = NULL;

    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
    assert_int_not_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(errno, EPERM);
    assert_int_equal(blocks_of(fd), 0);

    other = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 3 * PAGE);
    assert_true(other != MAP_FAILED);
    assert_true(
        vds_guest_map_write(vds_guest_ram_get_map(ram), 3 * PAGE + 5, "z", 1, NULL));
    assert_int_equal(other[5], 'z');
    assert_int_equal(blocks_of(fd), PAGE);
    munmap(other, PAGE);
}

static void test_map_outlives_the_ram(void **state)
{
    g_autoptr(VdsGuestMap) map = NULL;
    VdsGuestRam *ram = new_memfd_ram(10 * PAGE + 1);
    uint8_t byte = 1;

    assert_int_equal(vds_guest_ram_get_size(ram), 11 * PAGE);
    map = vds_guest_map_ref(vds_guest_ram_get_map(ram));
    vds_guest_ram_free(ram);
    assert_true(vds_guest_map_read(map, 11 * PAGE - 1, &byte, 1, NULL));
    assert_int_equal(byte, 0);
}

static void test_private_has_no_file(void **state)
{
    const VdsGuestRamConfig config = {.kind = VDS_GUEST_RAM_PRIVATE,
                                      .size = UINT64_C(1) << 36};
    g_autoptr(VdsGuestRam) ram = vds_guest_ram_new(&config, NULL);

    assert_non_null(ram);
    assert_int_equal(vds_guest_ram_get_fd(ram), -1);
    assert_true(vds_guest_map_write(vds_guest_ram_get_map(ram), PAGE, "z", 1, NULL));
}

static void test_file(void **state)
{
    g_autofree char *dir = g_dir_make_tmp("vds-ram-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "ram", NULL);
    VdsGuestRamConfig config = {
        .kind = VDS_GUEST_RAM_FILE, .size = 4 * PAGE, .path = path};
    g_autoptr(VdsGuestRam) ram = NULL, copy = NULL, nameless = NULL;
    uint64_t gpa = 0;
    uint8_t bytes[2] = {1, 1};

    assert_true(g_file_set_contents(path, "content", 7, NULL));
    ram = vds_guest_ram_new(&config, NULL);
    assert_non_null(ram);
    assert_true(vds_guest_map_read(vds_guest_ram_get_map(ram), 0, bytes, 1, NULL));
    assert_int_equal(bytes[0], 'c');
    assert_true(
        vds_guest_map_write(vds_guest_ram_get_map(ram), PAGE + 9, "old", 3, NULL));

    config.copy_on_write = true;
    copy = vds_guest_ram_new(&config, NULL);
    assert_true(vds_guest_map_write(vds_guest_ram_get_map(copy), 0, "X", 1, NULL));
    assert_true(vds_guest_map_read(vds_guest_ram_get_map(ram), 0, bytes, 1, NULL));
    assert_int_equal(bytes[0], 'c');

    /* What the file came with is not what an allocation begins with. */
    assert_true(vds_guest_ram_alloc(ram, 1, 1, &gpa, NULL));
    assert_int_equal(gpa, PAGE);
    assert_true(vds_guest_map_read(vds_guest_ram_get_map(ram), PAGE + 9, bytes, 2, NULL));
    assert_int_equal(bytes[0] | bytes[1], 0);

    config.path = dir;
    nameless = vds_guest_ram_new(&config, NULL);
    assert_non_null(nameless);
    assert_int_equal(g_unlink(path), 0);
    assert_int_equal(g_rmdir(dir), 0);
}

static void test_refused(void **state)
{
    const struct {
        VdsGuestRamConfig config;
        int code;
    } rows[] = {
        {{.kind = VDS_GUEST_RAM_MEMFD, .size = 0}, VDS_GUESTMEM_ERROR_RAM},
        {{.kind = VDS_GUEST_RAM_MEMFD, .size = UINT64_MAX}, VDS_GUESTMEM_ERROR_RAM},
        {{.kind = VDS_GUEST_RAM_MEMFD, .size = INT64_MAX}, VDS_GUESTMEM_ERROR_RAM},
        {{.kind = VDS_GUEST_RAM_PRIVATE, .size = UINT64_C(1) << 60},
         VDS_GUESTMEM_ERROR_MAP},
        {{.kind = VDS_GUEST_RAM_FILE, .size = PAGE, .path = "/nonexistent/ram"},
         VDS_GUESTMEM_ERROR_RAM},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(vds_guest_ram_new(&rows[i].config, &error));
        assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, rows[i].code));
    }
}

static void test_alloc_aligns_and_fills_up(void **state)
{
    g_autoptr(VdsGuestRam) ram = new_memfd_ram(64 * PAGE);
    g_autoptr(GError) error = NULL;
    uint64_t a = 0, b = 0, c = 0;

    assert_true(vds_guest_ram_alloc(ram, 1, 1, &a, NULL));
    assert_int_equal(a, PAGE);
    assert_true(vds_guest_ram_alloc(ram, PAGE + 1, 16 * PAGE, &b, NULL));
    assert_int_equal(b, 16 * PAGE);
    assert_true(vds_guest_ram_alloc(ram, 14 * PAGE, 1, &c, NULL));
    assert_int_equal(c, 2 * PAGE);
    assert_int_equal(vds_guest_ram_get_allocated(ram), 17 * PAGE);
    assert_false(vds_guest_ram_alloc(ram, 47 * PAGE, 1, &a, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_FULL));
    assert_true(vds_guest_ram_alloc(ram, 46 * PAGE, 1, &a, NULL));
    assert_int_equal(a, 18 * PAGE);
}

/* Runs never overlap, are zeroed, and after all are given back one run holds all. */
static void test_alloc_at_random(void **state)
{
    enum { RUNS = 64, TOTAL = 512 };
    g_autoptr(VdsGuestRam) ram = new_memfd_ram(TOTAL * PAGE);
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    uint64_t runs[RUNS] = {0}, pages[RUNS] = {0}, gpa = 0;

    for (int step = 0; step < 20000; step++) {
        guint i = g_rand_int_range(rand, 0, RUNS);
        uint8_t mark = (uint8_t)(i + 1), first = 1, last = 1;
        VdsGuestMap *map = vds_guest_ram_get_map(ram);

        if (runs[i]) {
            vds_guest_map_read(map, runs[i], &first, 1, NULL);
            vds_guest_map_read(map, runs[i] + pages[i] * PAGE - 1, &last, 1, NULL);
            assert_true(first == mark && last == mark);
            vds_guest_ram_release(ram, runs[i]);
            runs[i] = 0;
            continue;
        }
        pages[i] = g_rand_int_range(rand, 1, 24);
        if (vds_guest_ram_alloc(ram, pages[i] * PAGE,
                                UINT64_C(1) << g_rand_int_range(rand, 0, 17), &runs[i],
                                NULL)) {
            vds_guest_map_read(map, runs[i], &first, 1, NULL);
            vds_guest_map_read(map, runs[i] + pages[i] * PAGE - 1, &last, 1, NULL);
            assert_true(runs[i] >= PAGE && first == 0 && last == 0);
            vds_guest_map_write(map, runs[i], &mark, 1, NULL);
            vds_guest_map_write(map, runs[i] + pages[i] * PAGE - 1, &mark, 1, NULL);
        }
    }
    for (guint i = 0; i < RUNS; i++) {
        if (runs[i]) {
            vds_guest_ram_release(ram, runs[i]);
        }
    }
    assert_int_equal(vds_guest_ram_get_allocated(ram), 0);
    assert_int_equal(blocks_of(vds_guest_ram_get_fd(ram)), 0);
    assert_true(vds_guest_ram_alloc(ram, (TOTAL - 1) * PAGE, 1, &gpa, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memfd_is_sealed_shared_and_empty),
        cmocka_unit_test(test_map_outlives_the_ram),
        cmocka_unit_test(test_private_has_no_file),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_alloc_aligns_and_fills_up),
        cmocka_unit_test(test_alloc_at_random),
    };

    return cmocka_run_group_tests_name("guestmem-ram", tests, NULL, NULL);
}
