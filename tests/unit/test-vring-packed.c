/*
 * vring: chains of a packed ring, each row over a flat map, over one of single bytes, and
 * both again with a big-endian ring.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ring-memory.h"

enum {
    N = VDS_DESC_F_NEXT,
    W = VDS_DESC_F_WRITE,
    I = VDS_DESC_F_INDIRECT,
    A = VDS_DESC_F_AVAIL,
    U = VDS_DESC_F_USED,
};

/* A descriptor is addr, len, flags, id.  As in the split ring's table `lens` is the
 * chain. */
typedef struct {
    const char *name;
    uint32_t num;
    VdsDesc ring[8];
    VdsDesc table[4];
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
    {"one available buffer",
     8,
     {{0x200000, 16, W | A, 3}},
     .code = -1,
     .id = 3,
     .lens = {16}},
    {"a used one: len is what was written",
     8,
     {{0x200000, 5, W | A | U, 3}},
     .code = -1,
     .id = 3,
     .lens = {5}},
    {"never written: one empty descriptor", 8, .code = -1, .lens = {0}},
    {"the slot decides, not what was available",
     8,
     {{0, 1, A, 1}, {0, 2, A | U, 2}},
     .has_index = true,
     .index = 1,
     .code = -1,
     .slot = 1,
     .id = 2,
     .lens = {2}},
    {"index modulo num",
     8,
     {{0, 1, A, 1}, {0, 2, A, 2}},
     .has_index = true,
     .index = 9,
     .code = -1,
     .slot = 1,
     .id = 2,
     .lens = {2}},
    {"index modulo a num that is no power of two",
     5,
     {{0, 1, A, 1}, {0, 2, A, 2}},
     .has_index = true,
     .index = 65531,
     .code = -1,
     .slot = 1,
     .id = 2,
     .lens = {2}},
    {"no index: last-avail-idx",
     8,
     {[6] = {0, 6, A, 4}},
     .has_last = true,
     .last = 6,
     .code = -1,
     .slot = 6,
     .id = 4,
     .lens = {6}},
    {"no index, last-avail-idx unknown: 0",
     8,
     {{0, 1, A, 7}},
     .last = 6,
     .code = -1,
     .id = 7,
     .lens = {1}},
    {"consecutive slots, the id is the last one's",
     8,
     {{0x10, 1, N | A, 100}, {0x20, 2, N | A, 101}, {0x30, 3, W | A, 5}, {0x40, 4, A, 6}},
     .code = -1,
     .id = 5,
     .lens = {1, 2, 3}},
    {"P2: an id beyond the ring is shown unchecked",
     8,
     {{0, 1, A, 65535}},
     .code = -1,
     .id = 65535,
     .lens = {1}},
    {"a chain that wraps",
     4,
     {{0, 3, A | U, 9}, [2] = {0, 1, N | A, 0}, [3] = {0, 2, N | A, 0}},
     .has_index = true,
     .index = 2,
     .code = -1,
     .slot = 2,
     .id = 9,
     .lens = {1, 2, 3}},
    {"P4: every slot has NEXT: once round",
     4,
     {{0, 1, N, 1}, {0, 2, N, 2}, {0, 3, N, 3}, {0, 4, N, 4}},
     .has_index = true,
     .index = 3,
     .code = -1,
     .slot = 3,
     .id = 3,
     .lens = {4, 1, 2, 3}},
    {"a ring of one", 1, {{0, 1, N, 1}}, .code = -1, .id = 1, .lens = {1}},
    {"P4: across a slot that is not available",
     8,
     {{0, 1, N | A, 1}, {0, 2, A | U, 2}},
     .code = -1,
     .id = 2,
     .lens = {1, 2}},
    {"indirect: all of the table, NEXT ignored",
     8,
     {{RING_TABLE, 48, I | A, 6}},
     {{1, 1, 0, 0}, {2, 2, N, 9}, {3, 3, W, 0}},
     .code = -1,
     .id = 6,
     .lens = {1, 2, 3}},
    {"indirect: NEXT on the slot ignored",
     8,
     {{RING_TABLE, 16, I | N | A, 6}, {0, 9, A, 7}},
     {{1, 1, N, 0}},
     .code = -1,
     .id = 6,
     .lens = {1}},
    {"INDIRECT inside a table is not followed",
     8,
     {{RING_TABLE, 32, I | A, 6}},
     {{RING_TABLE, 16, I, 0}, {2, 2, 0, 0}},
     .code = -1,
     .id = 6,
     .lens = {16, 2}},
    {"INDIRECT on a later slot is not followed",
     8,
     {{0, 5, N | A, 1}, {RING_TABLE, 32, I | A, 2}},
     {{1, 1, 0, 0}, {2, 2, 0, 0}},
     .code = -1,
     .id = 2,
     .lens = {5, 32}},
    {"indirect: a remainder is ignored",
     8,
     {{RING_TABLE, 47, I | A, 6}},
     {{1, 1, 0, 0}, {2, 2, 0, 0}, {3, 3, 0, 0}},
     .code = -1,
     .id = 6,
     .lens = {1, 2}},
    {"indirect: larger than the ring",
     2,
     {{RING_TABLE, 64, I | A, 1}},
     {{1, 1, 0, 0}, {2, 2, 0, 0}, {3, 3, 0, 0}, {4, 4, 0, 0}},
     .code = -1,
     .id = 1,
     .lens = {1, 2, 3, 4}},
    {"a used slot that was indirect and is not now",
     8,
     {{RING_TABLE, 13, W | A | U, 6}},
     {{1, 1, 0, 0}},
     .code = -1,
     .id = 6,
     .lens = {13}},
    {"I3: len 15",
     8,
     {{RING_TABLE, 15, I | A, 6}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "Indirect table of 15 bytes is shorter than a descriptor of 16"},
    {"I3: len 0",
     8,
     {{RING_TABLE, 0, I | A, 6}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "Indirect table of 0 bytes"},
    {"I3: 65,537 entries",
     8,
     {{RING_TABLE, 65537 * 16, I | A, 6}},
     .code = VDS_VRING_ERROR_INDIRECT_LEN,
     .text = "65537 descriptors is longer than 65536"},
    {"an unmapped table",
     8,
     {{0x900000, 16, I | A, 6}},
     .code = VDS_VRING_ERROR_INDIRECT,
     .text = "Cannot map indirect buffer"},
    {"a table that runs off the end",
     8,
     {{RING_END - 16, 17, I | A, 6}},
     .code = VDS_VRING_ERROR_INDIRECT,
     .text = "Cannot map indirect buffer"},
};

static void put_row(RingMemory *memory, const Row *row)
{
    memset(memory->bytes, 0, sizeof(memory->bytes));
    for (unsigned i = 0; i < 8; i++) {
        ring_put_packed(memory, RING_DESC + 16 * i, &row->ring[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        ring_put_packed(memory, RING_TABLE + 16 * i, &row->table[i]);
    }
    ring_put(memory, RING_AVAIL, 0x8102, 2); /* off_wrap, then flags */
    ring_put(memory, RING_AVAIL + 2, 0x0304, 2);
    ring_put(memory, RING_USED, 0x0506, 2);
    ring_put(memory, RING_USED + 2, 0x0708, 2);
}

static void check_descs(const Row *row, const VdsChain *chain)
{
    const VdsDesc *descs = chain->indirect ? row->table : row->ring;
    size_t n = 1;

    while (row->lens[n]) {
        n++;
    }
    assert_int_equal(chain->n, n);
    for (size_t i = 0; i < n; i++) {
        size_t place = chain->indirect ? i : (row->slot + i) % row->num;

        assert_int_equal(chain->descs[i].len, row->lens[i]);
        assert_memory_equal(&chain->descs[i], &descs[place], sizeof(VdsDesc));
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
    queue.packed = true;
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
    assert_true(chain->packed);
    assert_int_equal(chain->slot, row->slot);
    assert_int_equal(chain->id, row->id);
    assert_int_equal(chain->avail_idx, 0x8102);
    assert_int_equal(chain->avail_flags, 0x0304);
    assert_int_equal(chain->used_idx, 0x0506);
    assert_int_equal(chain->used_flags, 0x0708);
    assert_memory_equal(&chain->head, &row->ring[row->slot], sizeof(chain->head));
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

/* The event areas are four bytes each, whatever the ring's size. */
static void test_unmapped_areas(void **state)
{
    static const struct {
        uint64_t desc, avail, used;
        int code; /* -1: no error */
    } cases[] = {
        {0, RING_AVAIL, RING_USED, VDS_VRING_ERROR_NO_RING},
        {RING_END - 127, RING_AVAIL, RING_USED, VDS_VRING_ERROR_DESC_RING},
        {RING_DESC, RING_END - 3, 0, VDS_VRING_ERROR_AVAIL_RING},
        {RING_DESC, RING_END - 4, 0, VDS_VRING_ERROR_USED_RING},
        {RING_DESC, RING_AVAIL, RING_END - 3, VDS_VRING_ERROR_USED_RING},
        {RING_END - 128, RING_END - 4, RING_END - 4, -1},
    };
    RingMemory memory = {0};
    g_autoptr(VdsGuestMap) map = ring_map(&memory, false);

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        VdsQueueState queue = ring_queue(&memory, map, 8);
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsChain) chain = NULL;

        queue.packed = true;
        queue.desc = cases[i].desc;
        queue.avail = cases[i].avail;
        queue.used = cases[i].used;
        chain = vds_chain_read(&queue, false, 0, &error);
        assert_int_equal(chain != NULL, cases[i].code < 0);
        if (!chain) {
            assert_true(g_error_matches(error, VDS_VRING_ERROR, cases[i].code));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_unmapped_areas),
    };

    return cmocka_run_group_tests_name("vring-packed", tests, NULL, NULL);
}
