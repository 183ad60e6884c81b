/*
 * vring: chains of a split ring, each row over a flat map, over one of single bytes, and
 * both again with a big-endian ring.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ring-memory.h"

enum { N = VDS_DESC_F_NEXT, W = VDS_DESC_F_WRITE, I = VDS_DESC_F_INDIRECT };

/* A descriptor is told by its len, so `lens` is the chain; 0 ends it.  What QEMU 7.2
 * answered is said where it was asked. */
typedef struct {
    const char *name;
    uint32_t num;
    VdsDesc ring[8];
    VdsDesc table[4];
    uint16_t avail[8];
    bool has_index;
    uint16_t index;
    bool has_last;
    uint16_t last;
    int code; /* -1: no error */
    const char *text;
    uint16_t slot, id;
    uint32_t lens[9];
} Row;

static const Row rows[] = {
    {"one buffer, as QEMU shows it", 8, {{0x200000, 16, W, 0}}, .code = -1, .lens = {16}},
    {"a zeroed table is one empty descriptor (QEMU)", 8, .code = -1, .lens = {0}},
    {"three in chain order",
     8,
     {{0x200000, 16, N, 1}, {0x201000, 32, N | W, 2}, {0x202000, 64, W, 0}},
     .code = -1,
     .lens = {16, 32, 64}},
    {"next of the last is not looked at", 8, {{1, 5, 0, 900}}, .code = -1, .lens = {5}},
    {"backwards",
     4,
     {{0, 4, 0, 0}, {0, 3, N, 0}, {0, 2, N, 1}, {0, 1, N, 2}},
     .avail = {3},
     .code = -1,
     .id = 3,
     .lens = {1, 2, 3, 4}},
    {"index is a position in the avail ring",
     8,
     {{0, 1, 0, 0}, {0, 2, 0, 0}, {0, 3, 0, 0}},
     .avail = {2, 0, 1},
     .has_index = true,
     .index = 2,
     .code = -1,
     .slot = 2,
     .id = 1,
     .lens = {2}},
    {"index modulo num: 9 of 8 (QEMU)",
     8,
     {{0, 1, 0, 0}, {0, 2, 0, 0}},
     .avail = {0, 1},
     .has_index = true,
     .index = 9,
     .code = -1,
     .slot = 1,
     .id = 1,
     .lens = {2}},
    {"index modulo num: 65535 of 8 (QEMU)",
     8,
     {{0, 1, 0, 0}, {0, 2, 0, 0}},
     .avail = {0, 0, 0, 0, 0, 0, 0, 1},
     .has_index = true,
     .index = 65535,
     .code = -1,
     .slot = 7,
     .id = 1,
     .lens = {2}},
    {"index modulo a num that is no power of two",
     5,
     {{0, 1, 0, 0}, {0, 2, 0, 0}},
     .avail = {1},
     .has_index = true,
     .index = 65535,
     .code = -1,
     .id = 1,
     .lens = {2}},
    {"no index: last-avail-idx modulo num",
     4,
     {{0, 1, 0, 0}, {0, 2, 0, 0}},
     .avail = {0, 0, 1},
     .has_last = true,
     .last = 4094,
     .code = -1,
     .slot = 2,
     .id = 1,
     .lens = {2}},
    {"no index, last-avail-idx unknown: 0",
     4,
     {{0, 1, 0, 0}, {0, 2, 0, 0}},
     .avail = {0, 1, 1, 1},
     .last = 3,
     .code = -1,
     .lens = {1}},
    {"an index wins over last-avail-idx",
     4,
     {{0, 1, 0, 0}, {0, 2, 0, 0}},
     .avail = {1},
     .has_index = true,
     .has_last = true,
     .last = 3,
     .code = -1,
     .id = 1,
     .lens = {2}},
    {"S1: head 999 (QEMU aborts)", 8, .avail = {999}, .code = VDS_VRING_ERROR_HEAD,
     .text = "Head descriptor 999 is outside the ring of 8"},
    {"S1: head 8 of 8 (QEMU aborts)", 8, .avail = {8}, .code = VDS_VRING_ERROR_HEAD,
     .text = "Head descriptor 8 is outside the ring of 8"},
    {"S1: head 7 of 8",
     8,
     {[7] = {0, 7, 0, 0}},
     .avail = {7},
     .code = -1,
     .id = 7,
     .lens = {7}},
    {"S2: next = num ends the chain (QEMU)",
     4,
     {{0, 1, N, 1}, {0, 2, N, 4}},
     .code = -1,
     .lens = {1, 2}},
    {"S2: next 65535 ends the chain", 8, {{0, 1, N, 65535}}, .code = -1, .lens = {1}},
    {"S3: 0 -> 1 -> 2 -> 0 of 8 (QEMU: eight)",
     8,
     {{0, 1, N, 1}, {0, 2, N, 2}, {0, 3, N, 0}},
     .code = -1,
     .lens = {1, 2, 3, 1, 2, 3, 1, 2}},
    {"S3: a descriptor that follows itself",
     4,
     {{0, 9, N, 0}},
     .code = -1,
     .lens = {9, 9, 9, 9}},
    {"S3: the whole ring is no loop",
     4,
     {{0, 1, N, 1}, {0, 2, N, 2}, {0, 3, N, 3}, {0, 4, 0, 0}},
     .code = -1,
     .lens = {1, 2, 3, 4}},
    {"S16: unknown flag bits stay", 8, {{0, 1, 0xfff0 | W, 0}}, .code = -1, .lens = {1}},
    {"indirect: the table instead of the head",
     8,
     {{RING_TABLE, 32, I, 0}},
     {{0x1000, 1, N, 1}, {0x2000, 2, W, 0}},
     .code = -1,
     .lens = {1, 2}},
    {"I4: INDIRECT|NEXT on the head, NEXT ignored (QEMU)",
     8,
     {{RING_TABLE, 32, I | N, 1}, {0, 77, 0, 0}},
     {{0x1111, 1, N, 1}, {0x310000, 32, I, 0}},
     .code = -1,
     .lens = {1, 32}},
    {"I2: INDIRECT inside a table is not followed (QEMU)",
     8,
     {{RING_TABLE, 32, I, 1}},
     {{0x1111, 1, N, 1}, {RING_TABLE, 33, I | N, 0}},
     .code = -1,
     .lens = {1, 33}},
    {"I2: INDIRECT on a later descriptor is not followed (QEMU)",
     8,
     {{0x500000, 5, N, 1}, {RING_TABLE, 32, I, 0}},
     {{0x1111, 1, 0, 0}},
     .code = -1,
     .lens = {5, 32}},
    {"I3: len 8 (QEMU aborts)",
     8,
     {{RING_TABLE, 8, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "Indirect table of 8 bytes is shorter than a descriptor of 16"},
    {"I3: len 0 (QEMU aborts)",
     8,
     {{RING_TABLE, 0, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "Indirect table of 0 bytes"},
    {"I3: len 15 (QEMU aborts)",
     8,
     {{RING_TABLE, 15, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "Indirect table of 15 bytes"},
    {"I3: a remainder is ignored (QEMU)",
     8,
     {{RING_TABLE, 47, I, 0}},
     {{0, 1, N, 1}, {0, 2, N, 2}, {0, 3, 0, 0}},
     .code = -1,
     .lens = {1, 2}},
    {"I3: too long is told before unmapped",
     8,
     {{0x900000, 65537 * 16, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "Indirect table of 65537 descriptors is longer than 65536"},
    {"I3: too short is told before unmapped",
     8,
     {{0x900000, 8, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "of 8 bytes"},
    {"an unmapped table",
     8,
     {{0x900000, 32, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT,
     .text = "Cannot map indirect buffer"},
    {"a table that runs off the end (QEMU)",
     8,
     {{RING_END - 16, 32, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT,
     .text = "Cannot map indirect buffer"},
    {"a table whose remainder runs off the end",
     8,
     {{RING_END - 16, 17, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT,
     .text = "Cannot map indirect buffer"},
    {"a table whose end wraps",
     8,
     {{UINT64_MAX - 15, 32, I, 0}},
     .code = VDS_VRING_ERROR_INDIRECT,
     .text = "Cannot map indirect buffer"},
    {"S2 in a table: next = its size",
     8,
     {{RING_TABLE, 32, I, 0}},
     {{0, 1, N, 1}, {0, 2, N, 2}, {0, 3, 0, 0}},
     .code = -1,
     .lens = {1, 2}},
    {"S3 in a table: bounded by its size, not the ring's",
     2,
     {{RING_TABLE, 64, I, 0}},
     {{0, 1, N, 1}, {0, 2, N, 0}},
     .code = -1,
     .lens = {1, 2, 1, 2}},
    {"a table larger than the ring: next counts in it",
     1,
     {{RING_TABLE, 64, I, 0}},
     {{0, 1, N, 3}, [3] = {0, 4, 0, 0}},
     .code = -1,
     .lens = {1, 4}},
    {"a table at an odd address is read all the same",
     8,
     {{RING_TABLE + 1, 16, I, 0}},
     .code = -1,
     .lens = {0}},
};

static void put_row(RingMemory *memory, const Row *row)
{
    memset(memory->bytes, 0, sizeof(memory->bytes));
    for (unsigned i = 0; i < 8; i++) {
        ring_put_split(memory, RING_DESC + 16 * i, &row->ring[i]);
        ring_put(memory, RING_AVAIL + 4 + 2 * i, row->avail[i], 2);
    }
    for (unsigned i = 0; i < 4; i++) {
        ring_put_split(memory, RING_TABLE + 16 * i, &row->table[i]);
    }
    ring_put(memory, RING_AVAIL, 0x0102, 2);
    ring_put(memory, RING_AVAIL + 2, 0x0304, 2);
    ring_put(memory, RING_USED, 0x0506, 2);
    ring_put(memory, RING_USED + 2, 0x0708, 2);
}

/* The row's descriptor with that len: what must have come back bit by bit. */
static const VdsDesc *find_desc(const Row *row, bool indirect, uint32_t len)
{
    const VdsDesc *descs = indirect ? row->table : row->ring;

    for (unsigned i = 0; i < (indirect ? 4 : 8); i++) {
        if (descs[i].len == len) {
            return &descs[i];
        }
    }
    return NULL;
}

static void check_descs(const Row *row, const VdsChain *chain)
{
    size_t n = 1;

    while (row->lens[n]) {
        n++;
    }
    assert_int_equal(chain->n, n);
    for (size_t i = 0; i < n; i++) {
        const VdsDesc *expected = find_desc(row, chain->indirect, row->lens[i]);

        assert_int_equal(chain->descs[i].len, row->lens[i]);
        if (expected) {
            assert_memory_equal(&chain->descs[i], expected, sizeof(*expected));
        }
    }
}

static void check_row(const Row *row, bool scattered, bool big_endian)
{
    RingMemory memory = {.big_endian = big_endian};
    g_autoptr(VdsGuestMap) map = ring_map(&memory, scattered);
    VdsQueueState queue = ring_queue(&memory, map, row->num);
    g_autoptr(VdsChain) chain = NULL;
    g_autoptr(GError) error = NULL;

    put_row(&memory, row);
    queue.has_last_avail = row->has_last;
    queue.last_avail_idx = row->last;
    chain = vds_chain_read(&queue, row->has_index, row->index, &error);
    if (row->code >= 0) {
        assert_null(chain);
        assert_true(g_error_matches(error, VDS_VRING_ERROR, row->code));
        assert_non_null(strstr(error->message, row->text));
        return;
    }
    assert_non_null(chain);
    assert_false(chain->packed);
    assert_int_equal(chain->slot, row->slot);
    assert_int_equal(chain->id, row->id);
    assert_int_equal(chain->avail_flags, 0x0102);
    assert_int_equal(chain->avail_idx, 0x0304);
    assert_int_equal(chain->used_flags, 0x0506);
    assert_int_equal(chain->used_idx, 0x0708);
    assert_memory_equal(&chain->head, &row->ring[row->id], sizeof(chain->head));
    assert_int_equal(chain->indirect, (row->ring[row->id].flags & I) != 0);
    check_descs(row, chain);
}

static void test_rows(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        print_message("# %s\n", rows[i].name);
        for (int variant = 0; variant < 4; variant++) {
            check_row(&rows[i], variant & 1, variant & 2);
        }
    }
}

/* QEMU 7.2 on a ring of 8: all 20 entries. */
static void test_table_of_20_in_a_ring_of_8(void **state)
{
    RingMemory memory = {0};
    g_autoptr(VdsGuestMap) map = ring_map(&memory, false);
    VdsQueueState queue = ring_queue(&memory, map, 8);
    const VdsDesc head = {RING_TABLE, 320, I, 0};
    g_autoptr(VdsChain) chain = NULL;

    ring_put_split(&memory, RING_DESC, &head);
    for (unsigned i = 0; i < 20; i++) {
        const VdsDesc desc = {4096u * i, i, i < 19 ? N : 0, (uint16_t)(i + 1)};

        ring_put_split(&memory, RING_TABLE + 16 * i, &desc);
    }
    chain = vds_chain_read(&queue, false, 0, NULL);
    assert_non_null(chain);
    assert_int_equal(chain->n, 20);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(chain->descs[i].addr, 4096 * i);
        assert_int_equal(chain->descs[i].len, i);
    }
}

/* What is missing, in the order of the checks: each row lacks what the one before it
 * lacks, but for that. */
static void test_unmapped_rings(void **state)
{
    const struct {
        uint64_t desc, avail, used;
        uint32_t num;
        bool event_idx;
        int code; /* -1: no error */
        const char *text;
    } cases[] = {
        {0, 0, 0, 0, false, VDS_VRING_ERROR_NO_RING, "Region caches not initialized"},
        {0, RING_AVAIL, RING_USED, 8, false, VDS_VRING_ERROR_NO_RING,
         "Region caches not initialized"},
        {1, 0, 0, 0, false, VDS_VRING_ERROR_NUM, "Ring of 0 descriptors"},
        {1, 0, 0, 32769, false, VDS_VRING_ERROR_NUM, "Ring of 32769 descriptors"},
        {1, 0, 0, UINT32_MAX, false, VDS_VRING_ERROR_NUM, "Ring of 4294967295"},
        {0x70000000, 0, 0, 8, false, VDS_VRING_ERROR_DESC_RING,
         "Cannot map descriptor ring"},
        {RING_END - 127, 0, 0, 8, false, VDS_VRING_ERROR_DESC_RING,
         "Cannot map descriptor ring"},
        {UINT64_MAX - 16, 0, 0, 8, false, VDS_VRING_ERROR_DESC_RING,
         "Cannot map descriptor ring"},
        {RING_END - 128, 0, 0, 8, false, VDS_VRING_ERROR_AVAIL_RING,
         "Cannot map avail ring"},
        {RING_DESC, RING_END - 19, 0, 8, false, VDS_VRING_ERROR_AVAIL_RING,
         "Cannot map avail ring"},
        {RING_DESC, RING_END - 20, 0, 8, true, VDS_VRING_ERROR_AVAIL_RING,
         "Cannot map avail ring"},
        {RING_DESC, RING_END - 20, 0, 8, false, VDS_VRING_ERROR_USED_RING,
         "Cannot map used ring"},
        {RING_DESC, RING_AVAIL, RING_END - 67, 8, false, VDS_VRING_ERROR_USED_RING,
         "Cannot map used ring"},
        {RING_DESC, RING_AVAIL, RING_END - 68, 8, true, VDS_VRING_ERROR_USED_RING,
         "Cannot map used ring"},
        {RING_DESC, RING_AVAIL, RING_END - 68, 8, false, -1, NULL},
        {RING_END - 128, RING_END - 20, RING_END - 68, 8, false, -1, NULL},
    };
    RingMemory memory = {0};

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(cases); i++) {
        g_autoptr(VdsGuestMap) map = ring_map(&memory, i % 2);
        VdsQueueState queue = ring_queue(&memory, map, cases[i / 2].num);
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsChain) chain = NULL;

        queue.desc = cases[i / 2].desc;
        queue.avail = cases[i / 2].avail;
        queue.used = cases[i / 2].used;
        queue.event_idx = cases[i / 2].event_idx;
        chain = vds_chain_read(&queue, true, 3, &error);
        assert_int_equal(chain != NULL, cases[i / 2].code < 0);
        if (!chain) {
            assert_true(g_error_matches(error, VDS_VRING_ERROR, cases[i / 2].code));
            assert_non_null(strstr(error->message, cases[i / 2].text));
        }
    }
}

static void test_no_memory_at_all(void **state)
{
    VdsQueueState queue = {.num = 8, .desc = RING_DESC};
    g_autoptr(GError) error = NULL;

    assert_null(vds_chain_read(&queue, false, 0, &error));
    assert_true(g_error_matches(error, VDS_VRING_ERROR, VDS_VRING_ERROR_DESC_RING));
    vds_chain_free(NULL);
}

/* The largest ring and the largest table, each one loop. */
static void test_largest_loops_end(void **state)
{
    enum { TABLE = 65536 * 16, RING = 32768 * 16 };
    g_autofree uint8_t *bytes = g_malloc0(TABLE + RING + 0x70000);
    const VdsGuestRegion region = {0x1000, TABLE + RING + 0x70000, -1, 0, 0, NULL};
    void *hva = bytes;
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_from_memory(&region, 1, &hva, NULL);
    VdsQueueState queue = {.num = VDS_VRING_MAX_NUM,
                           .desc = 0x1000 + TABLE,
                           .avail = 0x1000 + TABLE + RING,
                           .used = 0x1000 + TABLE + RING + 0x20000,
                           .map = map};
    VdsChain *chain = NULL;

    bytes[12] = N;         /* entry 0 of the table: next is 0 */
    bytes[TABLE + 12] = N; /* so is descriptor 0 */
    chain = vds_chain_read(&queue, false, 0, NULL);
    assert_non_null(chain);
    assert_int_equal(chain->n, 32768);
    vds_chain_free(chain);

    bytes[TABLE + 12] = I;
    bytes[TABLE + 1] = 0x10;  /* addr 0x1000 */
    bytes[TABLE + 10] = 0x10; /* len 0x100000 */
    chain = vds_chain_read(&queue, false, 0, NULL);
    assert_non_null(chain);
    assert_int_equal(chain->n, 65536);
    vds_chain_free(chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_table_of_20_in_a_ring_of_8),
        cmocka_unit_test(test_unmapped_rings),
        cmocka_unit_test(test_no_memory_at_all),
        cmocka_unit_test(test_largest_loops_end),
    };

    return cmocka_run_group_tests_name("vring-split", tests, NULL, NULL);
}
