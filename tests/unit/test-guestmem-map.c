/*
 * guestmem: construction of maps, and what is mapped where.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "vds/guestmem.h"

static int new_memfd(size_t size)
{
    int fd = memfd_create("test-guestmem", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static void test_refuses(void **state)
{
    VDS_AUTO_FD fd = new_memfd(8192);
    const struct {
        VdsGuestRegion regions[3];
        size_t n;
        int code;
        const char *text; /* must be in the message */
    } rows[] = {
        {{{0x1000, 0x1000, -1, 0, 0, NULL}, {0x1fff, 1, -1, 0, 0, NULL}},
         2,
         VDS_GUESTMEM_ERROR_OVERLAP,
         "0x1fff"},
        {{{0x3000, 0x10, -1, 0, 0, NULL}, {0x1000, 0x2001, -1, 0, 0, NULL}},
         2,
         VDS_GUESTMEM_ERROR_OVERLAP,
         "0x2001"},
        {{{0x1000, 0x10, -1, 0, 0, NULL}, {0x1000, 0x10, -1, 0, 0, NULL}},
         2,
         VDS_GUESTMEM_ERROR_OVERLAP,
         "0x1000"},
        {{{0, 0x3000, -1, 0, 0, NULL},
          {0x5000, 1, -1, 0, 0, NULL},
          {0x1000, 0x10, -1, 0, 0, NULL}},
         3,
         VDS_GUESTMEM_ERROR_OVERLAP,
         "0x3000"},
        {{{0x1000, 0, -1, 0, 0, NULL}}, 1, VDS_GUESTMEM_ERROR_OVERFLOW, "0x1000"},
        {{{UINT64_MAX, 2, -1, 0, 0, NULL}}, 1, VDS_GUESTMEM_ERROR_OVERFLOW, "2^64"},
        {{{2, UINT64_MAX, -1, 0, 0, NULL}}, 1, VDS_GUESTMEM_ERROR_OVERFLOW, "2^64"},
        {{{0, 16, fd, UINT64_MAX - 8, 0, NULL}},
         1,
         VDS_GUESTMEM_ERROR_OVERFLOW,
         "offset"},
        {{{0, INT64_MAX, fd, 1, 0, NULL}}, 1, VDS_GUESTMEM_ERROR_OVERFLOW, "offset"},
        {{{0, 8193, fd, 0, 0, NULL}},
         1,
         VDS_GUESTMEM_ERROR_SHORT,
         "8193 bytes and has 8192"},
        {{{0, 1, fd, 8192, 0, NULL}},
         1,
         VDS_GUESTMEM_ERROR_SHORT,
         "8193 bytes and has 8192"},
        {{{0, 4096, 1 << 30, 0, 0, NULL}}, 1, VDS_GUESTMEM_ERROR_MAP, "0x0"},
        {{{0, UINT64_C(1) << 62, -1, 0, 0, NULL}}, 1, VDS_GUESTMEM_ERROR_MAP, "memory"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(vds_guest_map_new(rows[i].regions, rows[i].n, &error));
        assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, rows[i].code));
        assert_non_null(strstr(error->message, rows[i].text));
    }
}

static void test_sorts_and_forgets_descriptors(void **state)
{
    VDS_AUTO_FD fd = new_memfd(16384);
    const VdsGuestRegion regions[] = {
        {0x9000, 100, fd, 4096 + 7, 0x7f0000001000, NULL},
        {0x1000, 4096, fd, 0, 0, NULL},
        {0x5000, 1, -1, 0, 0, NULL},
    };
    g_autoptr(VdsGuestMap) map = vds_guest_map_new(regions, 3, NULL);

    assert_non_null(map);
    assert_int_equal(vds_guest_map_count(map), 3);
    assert_int_equal(vds_guest_map_nth(map, 0)->gpa, 0x1000);
    assert_int_equal(vds_guest_map_nth(map, 1)->gpa, 0x5000);
    assert_int_equal(vds_guest_map_nth(map, 2)->gpa, 0x9000);
    assert_int_equal(vds_guest_map_nth(map, 2)->uva, 0x7f0000001000);
    assert_int_equal(vds_guest_map_nth(map, 2)->offset, 4096 + 7);
    assert_int_equal(vds_guest_map_nth(map, 2)->fd, -1);
    assert_null(vds_guest_map_nth(map, 3));
}

/* [0x1000, 0x3000) of two touching regions, [0x5000, 0x5001), and the top page. */
static VdsGuestMap *map_with_holes(void)
{
    const VdsGuestRegion regions[] = {
        {0x2000, 0x1000, -1, 0, 0, NULL},
        {0x1000, 0x1000, -1, 0, 0, NULL},
        {0x5000, 1, -1, 0, 0, NULL},
        {UINT64_MAX - 0xfff, 0x1000, -1, 0, 0, NULL},
    };

    return vds_guest_map_new(regions, G_N_ELEMENTS(regions), NULL);
}

static void test_has(void **state)
{
    static const struct {
        uint64_t gpa, len;
        bool has;
    } rows[] = {
        {0x1000, 0x2000, true},
        {0x1000, 0x2001, false},
        {0x0fff, 1, false},
        {0x0fff, 2, false},
        {0x1fff, 2, true},
        {0x2fff, 1, true},
        {0x3000, 1, false},
        {0x2fff, 2, false},
        {0x5000, 1, true},
        {0x5000, 2, false},
        {0x2000, UINT64_MAX, false},
        {0x1000, UINT64_MAX - 0xfff, false},
        {UINT64_MAX - 0xfff, 0x1000, true},
        {UINT64_MAX - 0xfff, 0x1001, false},
        {UINT64_MAX, 1, true},
        {UINT64_MAX, 2, false},
        {UINT64_MAX, UINT64_MAX, false},
        {0, 0, true},
        {0x4000, 0, true},
    };
    g_autoptr(VdsGuestMap) map = map_with_holes();
    g_autoptr(VdsGuestMap) empty = vds_guest_map_new(NULL, 0, NULL);

    assert_non_null(map);
    assert_non_null(empty);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_int_equal(vds_guest_map_has(map, rows[i].gpa, rows[i].len), rows[i].has);
        assert_int_equal(vds_guest_map_has(empty, rows[i].gpa, rows[i].len),
                         rows[i].len == 0);
    }
}

static void test_unmapped_reads_copy_nothing(void **state)
{
    static const struct {
        uint64_t gpa;
        size_t len;
        const char *text;
    } rows[] = {
        {0x2ffc, 8, "0x2ffc, length 8: mapped up to 0x2fff only"},
        {0x3000, 1, "0x3000, length 1: nothing is mapped there"},
        {UINT64_MAX - 1, 4, "mapped up to 0xffffffffffffffff only"},
        {0, 16, "0x0, length 16: nothing"},
    };
    g_autoptr(VdsGuestMap) map = map_with_holes();

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        uint8_t to[16];

        memset(to, 0xa5, sizeof(to));
        assert_false(vds_guest_map_read(map, rows[i].gpa, to, rows[i].len, &error));
        assert_true(
            g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_UNMAPPED));
        assert_non_null(strstr(error->message, rows[i].text));
        for (size_t j = 0; j < sizeof(to); j++) {
            assert_int_equal(to[j], 0xa5);
        }
    }
}

static void test_reads_any_offset_of_a_file(void **state)
{
    VDS_AUTO_FD fd = new_memfd(3 * 4096);
    uint8_t bytes[3 * 4096];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    for (size_t offset = 0; offset < 8200; offset += 111) {
        const VdsGuestRegion region = {0x10000, sizeof(bytes) - offset, fd, offset, 0,
                                       NULL};
        g_autoptr(VdsGuestMap) map = vds_guest_map_new(&region, 1, NULL);
        uint8_t to[3 * 4096];

        assert_non_null(map);
        assert_true(vds_guest_map_read(map, 0x10000, to, region.len, NULL));
        assert_memory_equal(to, bytes + offset, region.len);
        assert_true(vds_guest_map_read(map, 0x10000 + 5, to, 1000, NULL));
        assert_memory_equal(to, bytes + offset + 5, 1000);
    }
}

/* The hostile double: every byte is a region of its own, scattered in host memory. */
static VdsGuestMap *map_byte_by_byte(uint8_t *bytes, size_t n, uint64_t gpa)
{
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, n);
    g_autofree void **hva = g_new0(void *, n);

    for (size_t i = 0; i < n; i++) {
        size_t place = i * 13 % n; /* 13 and n have no common factor */

        regions[i] = (VdsGuestRegion){gpa + place, 1, -1, 0, 0, NULL};
        hva[i] = bytes + place;
    }
    return vds_guest_map_new_from_memory(regions, n, hva, NULL);
}

static void test_a_byte_at_a_time_is_the_same(void **state)
{
    enum { N = 1000 };
    uint8_t bytes[N];
    const VdsGuestRegion flat_region = {0x1000, N, -1, 0, 0, NULL};
    void *hva = bytes;
    g_autoptr(VdsGuestMap) flat =
        vds_guest_map_new_from_memory(&flat_region, 1, &hva, NULL);
    g_autoptr(VdsGuestMap) scattered = map_byte_by_byte(bytes, N, 0x1000);

    assert_int_equal(vds_guest_map_count(scattered), N);
    for (size_t i = 0; i < N; i++) {
        bytes[i] = (uint8_t)(i ^ (i >> 3));
    }
    for (uint64_t gpa = 0xff8; gpa < 0x1000 + N + 8; gpa++) {
        for (size_t n = 0; n <= 5; n++) {
            uint64_t a[5] = {0}, b[5] = {0};
            uint16_t c[5] = {0}, d[5] = {0};
            bool mapped = gpa >= 0x1000 && gpa + 8 * n <= 0x1000 + N;

            assert_int_equal(vds_guest_map_has(flat, gpa, 8 * n), mapped || n == 0);
            assert_int_equal(vds_guest_map_has(scattered, gpa, 8 * n), mapped || n == 0);
            assert_int_equal(vds_guest_map_read_u64(flat, gpa, a, n, NULL),
                             mapped || n == 0);
            assert_int_equal(vds_guest_map_read_u64(scattered, gpa, b, n, NULL),
                             mapped || n == 0);
            assert_memory_equal(a, b, sizeof(a));
            assert_int_equal(vds_guest_map_read_u16(flat, gpa, c, n, NULL),
                             vds_guest_map_read_u16(scattered, gpa, d, n, NULL));
            assert_memory_equal(c, d, sizeof(c));
        }
    }
}

static void test_words_are_little_endian(void **state)
{
    uint8_t bytes[] = {0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    const VdsGuestRegion region = {0x7, sizeof(bytes), -1, 0, 0, NULL};
    void *hva = bytes;
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_from_memory(&region, 1, &hva, NULL);
    uint64_t word = 0;
    uint16_t halves[2];

    assert_true(vds_guest_map_read_u64(map, 0x8, &word, 1, NULL));
    assert_int_equal(word, UINT64_C(0x0807060504030201));
    assert_true(vds_guest_map_read_u16(map, 0x8, halves, 2, NULL));
    assert_int_equal(halves[0], 0x0201);
    assert_int_equal(halves[1], 0x0403);
}

static void test_references(void **state)
{
    VdsGuestMap *map = map_with_holes();
    VdsGuestMap *other = vds_guest_map_ref(map);
    uint8_t byte = 1;

    assert_ptr_equal(map, other);
    vds_guest_map_unref(map);
    assert_true(vds_guest_map_read(other, 0x1000, &byte, 1, NULL));
    assert_int_equal(byte, 0);
    vds_guest_map_unref(other);
    vds_guest_map_unref(NULL);
    assert_null(vds_guest_map_ref(NULL));
}

/* ---- maps made from maps ---- */

enum { UVA = 0x7f0000000000 };

static uint8_t byte_at(const VdsGuestMap *map, uint64_t gpa)
{
    uint8_t byte = 0;

    assert_true(vds_guest_map_read(map, gpa, &byte, 1, NULL));
    return byte;
}

static void test_with_and_without(void **state)
{
    enum { PAGE = 4096, REGIONS = 60 };
    VDS_AUTO_FD fd = new_memfd(REGIONS * PAGE);
    VdsGuestMap *map = NULL;
    g_autoptr(VdsGuestMap) all = NULL;

    /* from both ends, so that each one is sorted in */
    for (unsigned i = 0; i < REGIONS; i++) {
        unsigned page = i % 2 ? REGIONS - 1 - i / 2 : i / 2;
        const VdsGuestRegion region = {page * PAGE,       PAGE, fd, page * PAGE,
                                       UVA + page * PAGE, NULL};
        VdsGuestMap *more = vds_guest_map_with(map, &region, NULL);

        assert_non_null(more);
        assert_true(vds_guest_map_is_writable(more));
        vds_guest_map_unref(map);
        map = more;
    }
    assert_int_equal(vds_guest_map_count(map), REGIONS);
    assert_true(vds_guest_map_has(map, 0, REGIONS * PAGE));
    all = vds_guest_map_ref(map);
    for (unsigned page = 0; page < REGIONS; page++) {
        const VdsGuestRegion region = {page * PAGE, PAGE, -1, 0, UVA + page * PAGE, NULL};
        uint8_t byte = (uint8_t)page;
        VdsGuestMap *fewer;

        assert_true(vds_guest_map_write(all, page * PAGE, &byte, 1, NULL));
        fewer = vds_guest_map_without(map, &region, NULL);
        assert_non_null(fewer);
        assert_false(vds_guest_map_has(fewer, page * PAGE, 1));
        if (page + 1 < REGIONS) { /* the same memory, not a copy */
            byte = 0xee;
            assert_true(vds_guest_map_write(all, (page + 1) * PAGE, &byte, 1, NULL));
            assert_int_equal(byte_at(fewer, (page + 1) * PAGE), 0xee);
        }
        vds_guest_map_unref(map);
        map = fewer;
    }
    assert_int_equal(vds_guest_map_count(map), 0);
    assert_false(vds_guest_map_has(map, 0, 1));
    vds_guest_map_unref(map);
    assert_int_equal(byte_at(all, 3 * PAGE), 3); /* outlives them all */
}

static void test_with_refuses(void **state)
{
    VDS_AUTO_FD fd = new_memfd(8192);
    const VdsGuestRegion first = {0x1000, 4096, fd, 0, UVA, NULL};
    g_autoptr(VdsGuestMap) map = vds_guest_map_with(NULL, &first, NULL);
    const struct {
        VdsGuestRegion region;
        int code;
    } rows[] = {
        {{0x1fff, 1, fd, 4096, UVA + 8192, NULL}, VDS_GUESTMEM_ERROR_OVERLAP},
        {{0x2000, 4096, fd, 4096, UVA + 4095, NULL}, VDS_GUESTMEM_ERROR_OVERLAP},
        {{0x2000, 4096, fd, 4096, UVA - 1, NULL}, VDS_GUESTMEM_ERROR_OVERLAP},
        {{0x2000, 4096, fd, 4097, UVA + 4096, NULL}, VDS_GUESTMEM_ERROR_SHORT},
        {{0x2000, 0, fd, 0, UVA + 4096, NULL}, VDS_GUESTMEM_ERROR_OVERFLOW},
        {{0x2000, 4096, fd, 0, UINT64_MAX - 4094, NULL}, VDS_GUESTMEM_ERROR_OVERFLOW},
        {{UINT64_MAX, 4096, fd, 0, 0, NULL}, VDS_GUESTMEM_ERROR_OVERFLOW},
    };
    const VdsGuestRegion others[] = {{0x1000, 4095, -1, 0, UVA, NULL},
                                     {0x1001, 4096, -1, 0, UVA, NULL},
                                     {0x1000, 4096, -1, 0, UVA + 1, NULL}};

    assert_non_null(map);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(vds_guest_map_with(map, &rows[i].region, &error));
        assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, rows[i].code));
    }
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(vds_guest_map_without(map, &others[i], &error));
        assert_true(
            g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_NO_REGION));
    }
    assert_int_equal(vds_guest_map_count(map), 1);
}

static void test_user_addresses(void **state)
{
    const VdsGuestRegion regions[] = {
        {0x1000, 0x1000, -1, 0, UVA, NULL},
        {0x2000, 0x1000, -1, 0, UVA + 0x1000, NULL}, /* touches in both spaces */
        {0x3000, 0x1000, -1, 0, UVA + 0x8000, NULL}, /* in one */
        {0x9000, 0x1000, -1, 0, UVA + 0x2000, NULL}, /* in the other */
        {0x20000, 0x1000, -1, 0, 0, NULL},           /* no user address */
    };
    g_autoptr(VdsGuestMap) map =
        vds_guest_map_new_writable(regions, G_N_ELEMENTS(regions), NULL);
    static const struct {
        uint64_t uva, len, gpa; /* gpa 0: not there */
    } rows[] = {
        {UVA, 1, 0x1000},
        {UVA + 0xfff, 1, 0x1fff},
        {UVA, 0x2000, 0x1000},
        {UVA + 0xffe, 4, 0x1ffe},
        {UVA, 0x2001, 0},
        {UVA + 0x1fff, 2, 0},
        {UVA + 0x2000, 16, 0x9000},
        {UVA + 0x2ff0, 17, 0},
        {UVA + 0x8ff0, 16, 0x3ff0},
        {UVA + 0x8ff1, 16, 0},
        {UVA - 1, 2, 0},
        {UVA, UINT64_MAX, 0},
        {0, 16, 0},
        {UINT64_MAX, 2, 0},
    };

    assert_non_null(map);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint64_t gpa = 0;

        assert_true(vds_guest_map_uva_to_gpa(map, rows[i].uva, rows[i].len, &gpa) ==
                    (rows[i].gpa != 0));
        assert_true(gpa == rows[i].gpa);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_sorts_and_forgets_descriptors),
        cmocka_unit_test(test_has),
        cmocka_unit_test(test_unmapped_reads_copy_nothing),
        cmocka_unit_test(test_reads_any_offset_of_a_file),
        cmocka_unit_test(test_a_byte_at_a_time_is_the_same),
        cmocka_unit_test(test_words_are_little_endian),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_with_and_without),
        cmocka_unit_test(test_with_refuses),
        cmocka_unit_test(test_user_addresses),
    };

    return cmocka_run_group_tests_name("guestmem-map", tests, NULL, NULL);
}
