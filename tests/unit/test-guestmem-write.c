/*
 * guestmem: stores, areas and what is given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "file-memory.h"

/* Every start and length around the borders of words and regions, bytes checked. */
static void test_write_is_what_is_read(void **state)
{
    uint8_t bytes[64];
    const VdsGuestRegion regions[] = {{.gpa = 100, .len = 13, .fd = -1},
                                      {.gpa = 113, .len = 1, .fd = -1},
                                      {.gpa = 114, .len = 50, .fd = -1}};
    void *const hva[] = {bytes, bytes + 13, bytes + 14};
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_from_memory(regions, 3, hva, NULL);

    for (size_t start = 0; start < 24; start++) {
        for (size_t len = 0; start + len <= 64; len++) {
            uint8_t from[64], to[64];

            for (size_t i = 0; i < 64; i++) {
                from[i] = (uint8_t)(i * 37 + start + len);
            }
            memset(bytes, 0xee, sizeof(bytes));
            assert_true(vds_guest_map_write(map, 100 + start, from, len, NULL));
            assert_memory_equal(bytes + start, from, len);
            for (size_t i = 0; i < 64; i++) {
                assert_true((i >= start && i < start + len) || bytes[i] == 0xee);
            }
            assert_true(vds_guest_map_read(map, 100 + start, to, len, NULL));
            assert_memory_equal(to, from, len);
        }
    }
}

static void test_write_is_refused(void **state)
{
    VDS_AUTO_FD fd = new_memfd();
    const VdsGuestRegion region = {GPA, BYTES, fd, 0, 0, NULL};
    g_autoptr(VdsGuestMap) looking = vds_guest_map_new(&region, 1, NULL);
    g_autoptr(VdsGuestMap) map = map_of(fd);
    const struct {
        const VdsGuestMap *map;
        uint64_t gpa, len;
        int code;
    } rows[] = {
        {looking, GPA, 1, VDS_GUESTMEM_ERROR_READ_ONLY},
        {looking, GPA - 1, 1, VDS_GUESTMEM_ERROR_UNMAPPED},
        {map, GPA - 1, 2, VDS_GUESTMEM_ERROR_UNMAPPED},
        {map, GPA + BYTES - 1, 2, VDS_GUESTMEM_ERROR_UNMAPPED},
        {map, UINT64_MAX, 2, VDS_GUESTMEM_ERROR_UNMAPPED},
    };

    assert_false(vds_guest_map_is_writable(looking));
    assert_true(vds_guest_map_is_writable(map));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) written = NULL;
        g_autoptr(GError) discarded = NULL;
        g_autoptr(GError) looked_up = NULL;
        VdsGuestArea area;

        assert_false(
            vds_guest_map_write(rows[i].map, rows[i].gpa, "xy", rows[i].len, &written));
        assert_true(g_error_matches(written, VDS_GUESTMEM_ERROR, rows[i].code));
        assert_false(
            vds_guest_map_discard(rows[i].map, rows[i].gpa, rows[i].len, &discarded));
        assert_true(g_error_matches(discarded, VDS_GUESTMEM_ERROR, rows[i].code));
        assert_false(vds_guest_area_init(&area, rows[i].map, rows[i].gpa, rows[i].len, 1,
                                         &looked_up));
        assert_true(g_error_matches(looked_up, VDS_GUESTMEM_ERROR, rows[i].code));
    }
}

static void test_writing_is_shared(void **state)
{
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = map_of(fd);
    char seen[5] = "";

    assert_true(vds_guest_map_write(map, GPA + PAGE - 2, "wxyz", 4, NULL));
    assert_int_equal(pread(fd, seen, 4, PAGE - 2), 4);
    assert_string_equal(seen, "wxyz");
}

/* SIGBUS at a store, and what still holds is written. */
static void test_store_into_vanished_memory(void **state)
{
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = map_of(fd);
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) area_error = NULL;
    uint8_t bytes[2 * PAGE] = {1};
    VdsGuestArea area;

    assert_true(vds_guest_area_init(&area, map, GPA + PAGE, PAGE, 8, NULL));
    assert_non_null(area.direct);
    assert_true(vds_guest_area_check(&area, &area_error));
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_true(vds_guest_map_write(map, GPA, bytes, PAGE, NULL));
    assert_false(vds_guest_map_write(map, GPA, bytes, 2 * PAGE, &error));
    assert_true(g_error_matches(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED));
    assert_true(vds_guest_area_store_u16_release(&area, 8, 1, NULL));
    assert_false(vds_guest_area_check(&area, &area_error));
    assert_true(
        g_error_matches(area_error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_VANISHED));
}

/* The same words whether one instruction or the way around. */
/* Two regions that touch; the first is cut short in the end. */
static void test_bytes_of_a_file(void **state)
{
    enum { IN_FILE = BYTES + 100 };
    VDS_AUTO_FD memory = new_memfd();
    VDS_AUTO_FD fd = memfd_create("test-file", MFD_CLOEXEC);
    const VdsGuestRegion regions[] = {{GPA, BYTES, memory, 0, 0, NULL},
                                      {GPA + BYTES, BYTES, -1, 0, 0, NULL}};
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_writable(regions, 2, NULL);
    g_autoptr(VdsGuestMap) looking = vds_guest_map_new(regions, 2, NULL);
    VdsGuestFile file = {fd, PAGE, 0};
    uint8_t bytes[IN_FILE], seen[PAGE];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 37 / 3);
    }
    assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_int_equal(vds_guest_map_read_file(map, GPA + 7, PAGE, &file), PAGE);
    assert_true(vds_guest_map_read(map, GPA + 7, seen, PAGE, NULL));
    assert_memory_equal(seen, bytes + PAGE, PAGE);
    /* To the end of a region, of the file; nowhere. */
    assert_int_equal(vds_guest_map_read_file(map, GPA + BYTES - 5, PAGE, &file), 5);
    file.offset = sizeof(bytes) - 9;
    assert_int_equal(vds_guest_map_read_file(map, GPA + BYTES, PAGE, &file), 9);
    assert_int_equal(vds_guest_map_read_file(map, GPA - 1, PAGE, &file), 0);
    assert_int_equal(vds_guest_map_read_file(map, GPA, 0, &file), 0);
    assert_int_equal(vds_guest_map_read_file(looking, GPA, 9, &file), 0);
    file.fd = -1;
    assert_int_equal(vds_guest_map_read_file(map, GPA, 9, &file), 0);
    /* The other way. */
    file = (VdsGuestFile){fd, 3, 0};
    assert_int_equal(vds_guest_map_write_file(looking, GPA + 7, PAGE, &file), PAGE);
    assert_int_equal(pread(fd, seen, PAGE, 3), PAGE);
    assert_memory_equal(seen, bytes + PAGE, PAGE);
    assert_int_equal(ftruncate(memory, PAGE), 0);
    assert_int_equal(vds_guest_map_read_file(map, GPA + PAGE, 9, &file), 0);
    assert_int_equal(vds_guest_map_write_file(map, GPA + PAGE, 9, &file), 0);
    assert_int_equal(vds_guest_map_read_file(map, GPA, 9, &file), 9);
}

static void test_file_bytes_are_logged(void **state)
{
    VDS_AUTO_FD memory = new_memfd();
    VDS_AUTO_FD fd = new_memfd();
    VDS_AUTO_FD marks = new_memfd();
    g_autoptr(VdsDirtyLog) log =
        vds_dirty_log_new(&(VdsGuestRegion){.fd = marks, .offset = 0, .len = PAGE}, NULL);
    g_autoptr(VdsGuestMap) plain = map_of(memory);
    g_autoptr(VdsGuestMap) map = vds_guest_map_with_log(plain, log, NULL);
    const VdsGuestFile file = {fd, 0, 0}, end = {fd, BYTES, 0};
    uint8_t byte = 0;

    assert_int_equal(vds_guest_map_read_file(map, GPA, 9, &end), 0);
    assert_int_equal(vds_guest_map_write_file(map, GPA, 9, &file), 9);
    assert_int_equal(pread(marks, &byte, 1, GPA / PAGE / 8), 1);
    assert_int_equal(byte, 0);
    assert_int_equal(vds_guest_map_read_file(map, GPA + PAGE - 1, 2, &file), 2);
    assert_int_equal(pread(marks, &byte, 1, GPA / PAGE / 8), 1);
    assert_int_equal(byte, 3);
}

static void test_area_is_direct_or_not(void **state)
{
    const VdsGuestRegion halves[] = {{GPA, 70, -1, 0, 0, NULL},
                                     {GPA + 70, PAGE, -1, 0, 0, NULL}};
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) open = map_of(fd);
    g_autoptr(VdsGuestMap) split = vds_guest_map_new_writable(halves, 2, NULL);
    const VdsGuestMap *maps[] = {split, open};

    for (size_t i = 0; i < 2; i++) {
        VdsGuestArea area;
        uint16_t word16 = 0;
        uint32_t word32 = 0;
        uint64_t word64 = 0;
        uint8_t bytes[8];

        assert_true(vds_guest_area_init(&area, maps[i], GPA + 64, 64, 8, NULL));
        assert_int_equal(area.direct != NULL, i == 1);
        assert_true(vds_guest_area_store_u64_release(&area, 8, 0x0102030405060708, NULL));
        assert_true(vds_guest_map_read(maps[i], GPA + 72, bytes, 8, NULL));
        assert_memory_equal(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
        assert_true(vds_guest_area_load_u64_acquire(&area, 8, &word64, NULL));
        assert_true(word64 == 0x0102030405060708);
        assert_true(vds_guest_area_store_u16(&area, 10, 0xabcd, NULL));
        assert_true(vds_guest_area_load_u32(&area, 8, &word32, NULL));
        assert_int_equal(word32, 0xabcd0708);
        assert_true(vds_guest_area_load_u16_acquire(&area, 10, &word16, NULL));
        assert_int_equal(word16, 0xabcd);
        assert_true(vds_guest_area_init(&area, maps[i], GPA + 66, 4, 8, NULL));
        assert_null(area.direct);
        assert_true(vds_guest_area_init(&area, maps[i], GPA + 66, 4, 2, NULL));
        assert_non_null(area.direct);
    }
}

static long blocks_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (long)st.st_blocks * 512;
}

/* Zeroes exactly where asked, and whole pages leave the file. */
static void test_discard(void **state)
{
    VDS_AUTO_FD fd = new_memfd();
    g_autoptr(VdsGuestMap) map = map_of(fd);
    g_autofree uint8_t *bytes = g_malloc(BYTES);

    memset(bytes, 0xaa, BYTES);
    assert_true(vds_guest_map_write(map, GPA, bytes, BYTES, NULL));
    assert_int_equal(blocks_of(fd), BYTES);
    assert_true(vds_guest_map_discard(map, GPA + 100, 2 * PAGE, NULL));
    assert_int_equal(blocks_of(fd), BYTES - PAGE);
    assert_true(vds_guest_map_discard(map, GPA + 3 * PAGE + 1, 1, NULL));
    assert_true(vds_guest_map_read(map, GPA, bytes, BYTES, NULL));
    for (size_t i = 0; i < BYTES; i++) {
        bool zero = (i >= 100 && i < 100 + 2 * PAGE) || i == 3 * PAGE + 1;

        assert_int_equal(bytes[i], zero ? 0 : 0xaa);
    }
}

int main(void)
{
    /* Vanished memory first: cmocka puts its own SIGBUS handler in at the start of each,
     * and ours goes in once a process. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_into_vanished_memory),
        cmocka_unit_test(test_write_is_what_is_read),
        cmocka_unit_test(test_write_is_refused),
        cmocka_unit_test(test_writing_is_shared),
        cmocka_unit_test(test_bytes_of_a_file),
        cmocka_unit_test(test_file_bytes_are_logged),
        cmocka_unit_test(test_area_is_direct_or_not),
        cmocka_unit_test(test_discard),
    };

    return cmocka_run_group_tests_name("guestmem-write", tests, NULL, NULL);
}
