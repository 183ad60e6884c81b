/*
 * guestmem: windows, which are a map's memory and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "file-memory.h"

/* Every start and length, in whichever region the window was before. */
static void test_as_the_map(void **state)
{
    uint8_t bytes[64];
    const VdsGuestRegion regions[] = {{.gpa = 100, .len = 13, .fd = -1},
                                      {.gpa = 113, .len = 1, .fd = -1},
                                      {.gpa = 114, .len = 50, .fd = -1}};
    void *const hva[] = {bytes, bytes + 13, bytes + 14};
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_from_memory(regions, 3, hva, NULL);
    VdsGuestWindow window;

    vds_guest_window_init(&window, map);
    for (size_t start = 0; start < 24; start++) {
        for (size_t len = 0; start + len <= 64; len++) {
            uint8_t from[64], to[64];

            for (size_t i = 0; i < 64; i++) {
                from[i] = (uint8_t)(i * 37 + start + len);
            }
            memset(bytes, 0xee, sizeof(bytes));
            assert_true(vds_guest_window_write(&window, 100 + start, from, len, NULL));
            assert_memory_equal(bytes + start, from, len);
            for (size_t i = 0; i < 64; i++) {
                assert_true((i >= start && i < start + len) || bytes[i] == 0xee);
            }
            assert_true(vds_guest_window_read(&window, 100 + start, to, len, NULL));
            assert_memory_equal(to, from, len);
        }
    }
}

/* An area is the same whether the window is where it lies, or elsewhere. */
static void test_areas(void **state)
{
    _Alignas(8) uint8_t bytes[64];
    const VdsGuestRegion regions[] = {{.gpa = 101, .len = 24, .fd = -1},
                                      {.gpa = 125, .len = 40, .fd = -1}};
    void *const hva[] = {bytes, bytes + 24};
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_from_memory(regions, 2, hva, NULL);
    VdsGuestWindow window;
    unsigned n_direct = 0;

    vds_guest_window_init(&window, map);
    for (uint64_t gpa = 99; gpa < 166; gpa++) {
        for (uint64_t len = 0; len <= 66; len++) {
            VdsGuestArea area, same;
            bool there = vds_guest_area_init(&area, map, gpa, len, 8, NULL);

            assert_int_equal(vds_guest_window_area(&window, &same, gpa, len, 8), there);
            if (there) {
                assert_true(same.map == map && same.gpa == gpa && same.len == len);
                assert_true(same.direct == area.direct && same.gone == area.gone);
                n_direct += same.direct != NULL;
            }
            vds_guest_window_has(&window, gpa % 2 ? 101 : 125, 1); /* look there next */
        }
    }
    assert_true(n_direct > 0);
}

static void test_what_is_mapped(void **state)
{
    static const struct {
        uint64_t gpa, len;
        bool mapped;
    } rows[] = {
        {GPA, BYTES, true},      {GPA + BYTES - 1, 1, true},
        {GPA - 1, 1, false},     {GPA + BYTES - 1, 2, false},
        {GPA + BYTES, 1, false}, {GPA + 1, UINT64_MAX, false},
        {UINT64_MAX, 2, false},  {0, 1, false},
        {GPA, BYTES, true},
    };
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = map_of(fd);
    VdsGuestWindow window;

    vds_guest_window_init(&window, map);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        uint8_t byte;

        assert_int_equal(vds_guest_window_has(&window, rows[i].gpa, rows[i].len),
                         rows[i].mapped);
        if (!rows[i].mapped) {
            assert_false(
                vds_guest_window_read(&window, rows[i].gpa, &byte, rows[i].len, &error));
            assert_true(
                g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_UNMAPPED));
        }
    }
}

/* Sealed memory that is mapped for reading: refused, and no fault. */
static void test_looking_is_not_writing(void **state)
{
    VDS_AUTO_FD fd = new_memfd();
    const VdsGuestRegion region = {GPA, BYTES, fd, 0, 0, NULL};
    g_autoptr(VdsGuestMap) map = NULL;
    g_autoptr(GError) error = NULL;
    VdsGuestWindow window;

    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    map = vds_guest_map_new(&region, 1, NULL);
    assert_non_null(map);
    vds_guest_window_init(&window, map);
    assert_true(vds_guest_window_has(&window, GPA, 1));
    assert_false(vds_guest_window_write(&window, GPA, "x", 1, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_READ_ONLY));
}

typedef bool (*AccessFunc)(VdsGuestWindow *window, uint64_t gpa, GError **error);

static bool read_two_pages(VdsGuestWindow *window, uint64_t gpa, GError **error)
{
    uint8_t bytes[2 * PAGE];

    return vds_guest_window_read(window, gpa, bytes, sizeof(bytes), error);
}

static bool write_two_pages(VdsGuestWindow *window, uint64_t gpa, GError **error)
{
    static const uint8_t bytes[2 * PAGE] = {1};

    return vds_guest_window_write(window, gpa, bytes, sizeof(bytes), error);
}

/* A file that is cut: told, and noted where rings look; others see their file. */
static void test_memory_that_vanished(void **state)
{
    static const AccessFunc funcs[] = {read_two_pages, write_two_pages};

    for (size_t i = 0; i < G_N_ELEMENTS(funcs); i++) {
        VDS_AUTO_FD fd = new_memfd();
        g_autoptr(VdsGuestMap) map = map_of(fd), other = map_of(fd);
        g_autoptr(GError) error = NULL;
        VdsGuestWindow window;
        VdsGuestArea before, behind;
        uint8_t byte;

        vds_guest_window_init(&window, map);
        assert_true(vds_guest_area_init(&before, map, GPA, PAGE, 8, NULL));
        assert_true(vds_guest_area_init(&behind, map, GPA + PAGE, PAGE, 8, NULL));
        assert_true(funcs[i](&window, GPA, NULL));
        assert_int_equal(ftruncate(fd, PAGE), 0);
        assert_false(funcs[i](&window, GPA, &error));
        assert_true(
            g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED));
        assert_true(vds_guest_area_is_whole(&before));
        assert_false(vds_guest_area_is_whole(&behind));
        assert_true(vds_guest_window_read(&window, GPA, &byte, 1, NULL));
        /* it stays away here, whatever becomes of the file */
        assert_int_equal(ftruncate(fd, BYTES), 0);
        assert_false(funcs[i](&window, GPA, NULL));
        assert_true(vds_guest_map_read(other, GPA + PAGE, &byte, 1, NULL));
    }
}

static void test_writing_is_logged(void **state)
{
    VDS_AUTO_FD fd = new_memfd();
    VDS_AUTO_FD marks = new_memfd();
    g_autoptr(VdsDirtyLog) log =
        vds_dirty_log_new(&(VdsGuestRegion){.fd = marks, .offset = 0, .len = PAGE}, NULL);
    g_autoptr(VdsGuestMap) plain = map_of(fd);
    g_autoptr(VdsGuestMap) map = vds_guest_map_with_log(plain, log, NULL);
    VdsGuestWindow window;
    uint8_t byte = 0xff;

    vds_guest_window_init(&window, map);
    assert_true(vds_guest_window_read(&window, GPA, &byte, 1, NULL));
    assert_int_equal(pread(marks, &byte, 1, GPA / PAGE / 8), 1);
    assert_int_equal(byte, 0);
    for (unsigned round = 0; round < 2; round++) {
        assert_true(vds_guest_window_write(&window, GPA + PAGE - 1, "xy", 2, NULL));
        assert_int_equal(pread(marks, &byte, 1, GPA / PAGE / 8), 1);
        assert_int_equal(byte, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: cmocka has a SIGBUS handler of its own from each test on. */
        cmocka_unit_test(test_memory_that_vanished),
        cmocka_unit_test(test_as_the_map),
        cmocka_unit_test(test_areas),
        cmocka_unit_test(test_what_is_mapped),
        cmocka_unit_test(test_looking_is_not_writing),
        cmocka_unit_test(test_writing_is_logged),
    };

    return cmocka_run_group_tests_name("guestmem-window", tests, NULL, NULL);
}
