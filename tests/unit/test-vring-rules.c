/*
 * vring: one breach or more of every rule, over a flat map and over one of single bytes:
 * the fault's code and text, and that nothing moved.
 *
 * The last test asks whether each rule that a side refuses was provoked on that side.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "ring-memory.h"

enum {
    N = VDS_DESC_F_NEXT,
    W = VDS_DESC_F_WRITE,
    I = VDS_DESC_F_INDIRECT,
    A = VDS_DESC_F_AVAIL,
    U = VDS_DESC_F_USED,
    EVENT_IDX = 1 << 8, /* beside VDS_VRING_* in a row's features */
    INDIRECT = VDS_VRING_INDIRECT,
    IN_ORDER = VDS_VRING_IN_ORDER,
    OK = -1,
    BUF = RING_TABLE + 0x800, /* what buffers point to */
};

static unsigned provoked[VDS_RULE_COUNT]; /* VdsRuleSides */

static void expect_fault(GError *fault, VdsRule rule, const char *text, VdsRuleSides side)
{
    const VdsRuleInfo *info = vds_rule_info(rule);

    assert_non_null(fault);
    if (!g_error_matches(fault, VDS_VRING_FAULT, (int)rule) ||
        !strstr(fault->message, text)) {
        fail_msg("expected %s, \"%s\", got \"%s\"", info->id, text, fault->message);
    }
    assert_true(g_str_has_prefix(fault->message, info->id));
    assert_int_equal(fault->message[strlen(info->id)], ':');
    provoked[rule] |= side;
}

/* ---- setup ---- */

static void test_setup(void **state)
{
    static const struct {
        int rule;
        VdsQueueState setup; /* map and sizes not given are those of a good one */
        const char *text;
    } rows[] = {
        {VDS_RULE_C1, {.num = 0}, "ring of 0 descriptors is not one of 1 to 32768"},
        {VDS_RULE_C1, {.num = 32769}, "ring of 32769 descriptors"},
        {VDS_RULE_C1, {.num = 12}, "split ring of 12 descriptors: not a power of two"},
        {VDS_RULE_C1, {.packed = true, .num = 65536}, "65536"},
        {OK, {.packed = true, .num = 12}, NULL},
        {OK, {.num = 128}, NULL},
        {VDS_RULE_C2, {.num = 8, .desc = RING_DESC + 8}, "descriptor area at 0x100008"},
        {VDS_RULE_C2, {.num = 8, .avail = RING_AVAIL + 1}, "avail area at 0x101001"},
        {VDS_RULE_C2, {.num = 8, .used = RING_USED + 2}, "used area at 0x102002"},
        {VDS_RULE_C2,
         {.packed = true, .num = 8, .avail = RING_AVAIL + 2},
         "driver event"},
        {VDS_RULE_C2, {.packed = true, .num = 8, .used = RING_USED + 2}, "device event"},
        {VDS_RULE_C3, {.num = 8, .desc = RING_END - 112}, "length 128, is not mapped"},
        {VDS_RULE_C3, {.num = 8, .used = UINT64_MAX - 3}, "used area"},
        {OK, {.num = 8, .used = RING_END - 68}, NULL},
        /* C5: the event word does not fit. */
        {VDS_RULE_C3, {.num = 8, .event_idx = true, .used = RING_END - 68}, "length 70"},
        {VDS_RULE_C4, {.num = 8, .avail = RING_DESC + 126}, "overlaps"},
        {OK, {.num = 8, .avail = RING_DESC + 128}, NULL},
        {VDS_RULE_C4, {.num = 8, .used = RING_AVAIL + 16}, "overlaps"},
        {VDS_RULE_C4, {.num = 8, .used = RING_DESC}, "overlaps the descriptor area"},
        {VDS_RULE_R7, {.num = 8, .big_endian = true}, "big-endian"},
    };
    RingMemory memory = {0};
    g_autoptr(VdsGuestMap) map = ring_map(&memory, false);

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsQueueState setup = rows[i].setup;
        g_autoptr(GError) fault = NULL;
        g_autoptr(GError) driver_fault = NULL;
        g_autoptr(VdsVring) device = NULL;
        g_autoptr(VdsDriverRing) driver = NULL;

        setup.map = map;
        setup.desc = setup.desc ? setup.desc : RING_DESC;
        setup.avail = setup.avail ? setup.avail : RING_AVAIL;
        setup.used = setup.used ? setup.used : RING_USED;
        device = vds_vring_new(&setup, 0, &fault);
        driver = vds_driver_ring_new(&setup, 0, NULL, &driver_fault);
        if (rows[i].rule == OK) {
            assert_true(device && driver);
            continue;
        }
        assert_true(!device && !driver);
        expect_fault(fault, (VdsRule)rows[i].rule, rows[i].text, VDS_RULE_BY_DEVICE);
        expect_fault(driver_fault, (VdsRule)rows[i].rule, rows[i].text,
                     VDS_RULE_BY_DRIVER);
    }
}

/* R8: a map for looking only. */
static void test_read_only(void **state)
{
    VDS_AUTO_FD fd = memfd_create("test-rules", MFD_CLOEXEC);
    const VdsGuestRegion region = {RING_GPA, RING_BYTES, fd, 0, 0, NULL};
    VdsQueueState setup = {.num = 8, .desc = RING_DESC, .avail = RING_AVAIL};
    g_autoptr(VdsGuestMap) map = NULL;
    g_autoptr(GError) fault = NULL;
    g_autoptr(GError) driver_fault = NULL;

    assert_int_equal(ftruncate(fd, RING_BYTES), 0);
    map = vds_guest_map_new(&region, 1, NULL);
    setup.used = RING_USED;
    setup.map = map;
    assert_null(vds_vring_new(&setup, 0, &fault));
    expect_fault(fault, VDS_RULE_R8, "reading only", VDS_RULE_BY_DEVICE);
    assert_null(vds_driver_ring_new(&setup, 0, NULL, &driver_fault));
    expect_fault(driver_fault, VDS_RULE_R8, "reading only", VDS_RULE_BY_DRIVER);
}

/* ---- chains ---- */

typedef struct {
    int rule;
    const char *text;
    unsigned features;
    unsigned good;                /* pops before it */
    uint16_t heads[4], avail_idx; /* split */
    VdsDesc ring[8];              /* split: {addr, len, flags, next}, packed: id last */
    VdsDesc table[4];
    uint32_t out_bytes, in_bytes; /* OK: of the last one popped */
} Chain;

static const Chain split_chains[] = {
    {VDS_RULE_S1, "head 8 is outside the ring of 8", 0, 0, .heads = {8}, 1},
    {VDS_RULE_S1, "head 65535 is", 0, 1, .heads = {0, 65535}, 2, {{BUF, 4, 0, 0}}},
    {VDS_RULE_S2,
     "next 8 is outside the ring of 8",
     0,
     0,
     .heads = {0},
     1,
     {{BUF, 4, N, 8}}},
    {VDS_RULE_S2,
     "next 2 is outside the table of 2",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 32, I, 0}},
     {{BUF, 4, N, 1}, {BUF, 4, N, 2}}},
    {VDS_RULE_S3,
     "after all 8 descriptors of the ring",
     0,
     0,
     .heads = {1},
     1,
     {{0}, {BUF, 4, N, 1}}},
    {VDS_RULE_S3,
     "after all 2 descriptors of the table",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 32, I, 0}},
     {{BUF, 4, N, 1}, {BUF, 4, N, 0}}},
    {VDS_RULE_S4, "avail.idx went from 0 to 9, a ring of 8", 0, 0, .heads = {0}, 9},
    {VDS_RULE_S4, "avail.idx went from 0 to 65535", 0, 0, .heads = {0}, 65535},
    {VDS_RULE_S6,
     "head 1 is available again",
     0,
     1,
     .heads = {1, 1},
     2,
     {{0}, {BUF, 4, 0, 0}}},
    {VDS_RULE_S9,
     "descriptor 1 is readable and follows 1 writable",
     0,
     0,
     .heads = {0},
     1,
     {{BUF, 4, N | W, 1}, {BUF, 4, 0, 0}}},
    {VDS_RULE_S10, "descriptor 0 has length 0", 0, 0, .heads = {0}, 1, {{BUF, 0, W, 0}}},
    {VDS_RULE_S11,
     "ends beyond 2^64",
     0,
     0,
     .heads = {0},
     1,
     {{UINT64_MAX - 2, 4, W, 0}}},
    {VDS_RULE_S12,
     "buffer at 0x103ffe, length 3, is not mapped",
     0,
     0,
     .heads = {0},
     1,
     {{RING_END - 2, 3, W, 0}}},
    {VDS_RULE_I1,
     "INDIRECT_DESC was not negotiated",
     0,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 16, I, 0}},
     {{BUF, 4, 0, 0}}},
    {VDS_RULE_I2,
     "entry 1 of a table is a table",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 32, I, 0}},
     {{BUF, 4, N, 1}, {RING_TABLE, 16, I, 0}}},
    {VDS_RULE_I3,
     "table of 0 bytes",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 0, I, 0}}},
    {VDS_RULE_I3,
     "table of 15 bytes",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 15, I, 0}}},
    {VDS_RULE_I3,
     "table of 33 bytes",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 33, I, 0}}},
    {VDS_RULE_I3,
     "table of 1048592 bytes",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 1048592, I, 0}}},
    {VDS_RULE_I4,
     "flags 0x5: INDIRECT together with NEXT",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_TABLE, 16, I | N, 1}},
     {{BUF, 4, 0, 0}}},
    {VDS_RULE_I5,
     "table at 0x103ff0, length 32, is not mapped",
     INDIRECT,
     0,
     .heads = {0},
     1,
     {{RING_END - 16, 32, I, 0}}},
    /* Allowed. */
    {OK,
     "S14: a shared descriptor",
     0,
     2,
     .heads = {0, 1},
     2,
     {{BUF, 4, N, 2}, {BUF, 8, N, 2}, {BUF, 2, W, 0}},
     {{0}},
     8,
     2},
    {OK,
     "S15: a buffer in the ring",
     0,
     1,
     .heads = {0},
     1,
     {{RING_AVAIL, 8, W, 0}},
     {{0}},
     0,
     8},
    {OK, "S16: unknown flags", 0, 1, .heads = {0}, 1, {{BUF, 4, 0xfff8, 0}}, {{0}}, 4, 0},
    {OK,
     "2.7.5.3.2: a table after direct descriptors, WRITE on it ignored",
     INDIRECT,
     1,
     .heads = {0},
     1,
     {{BUF, 4, N, 3}, {0}, {0}, {RING_TABLE, 32, I | W, 0}},
     {{BUF, 4, N, 1}, {BUF, 6, W, 0}},
     8,
     6},
    {OK,
     "all of the ring",
     0,
     1,
     .heads = {7},
     1,
     {{BUF, 1, W, 0},
      {BUF, 1, N, 0},
      {BUF, 1, N, 1},
      {BUF, 1, N, 2},
      {BUF, 1, N, 3},
      {BUF, 1, N, 4},
      {BUF, 1, N, 5},
      {BUF, 1, N, 6}},
     {{0}},
     7,
     1},
};

static const Chain packed_chains[] = {
    {VDS_RULE_S9, "descriptor 1 is readable",
     .ring = {{BUF, 4, A | N | W, 0}, {BUF, 4, A, 0}}},
    {VDS_RULE_S10, "descriptor 0 has length 0", .ring = {{BUF, 0, A, 0}}},
    {VDS_RULE_S11, "ends beyond 2^64", .ring = {{UINT64_MAX, 2, A, 0}}},
    {VDS_RULE_S12, "is not mapped", .ring = {{RING_GPA - 1, 2, A, 0}}},
    {VDS_RULE_I1, "was not negotiated", .ring = {{RING_TABLE, 16, A | I, 0}}},
    {VDS_RULE_I3, "table of 24 bytes", INDIRECT, .ring = {{RING_TABLE, 24, A | I, 0}}},
    {VDS_RULE_I4, "slot 0, flags 0x85", INDIRECT,
     .ring = {{RING_TABLE, 16, A | I | N, 0}, {BUF, 4, A, 0}}, .table = {{BUF, 4, 0, 0}}},
    {VDS_RULE_I4, "slot 1, flags 0x84", INDIRECT,
     .ring = {{BUF, 4, A | N, 0}, {RING_TABLE, 16, A | I, 0}}},
    {VDS_RULE_I5, "is not mapped", INDIRECT, .ring = {{RING_END, 16, A | I, 0}}},
    {VDS_RULE_P3, "buffer id 65535 is available again", .good = 1,
     .ring = {{BUF, 4, A, 65535}, {BUF, 4, A, 65535}}},
    {VDS_RULE_P3, "buffer id 8 is available again", .good = 2,
     .ring = {{BUF, 4, A, 8}, {BUF, 4, A, 7}, {BUF, 4, A, 8}}},
    {VDS_RULE_P3, "buffer id 5 is available again", .good = 1,
     .ring = {{BUF, 4, A, 5}, {BUF, 4, A, 5}}},
    {VDS_RULE_P4, "slot 1 of a list has flags 0x0: not available",
     .ring = {{BUF, 4, A | N, 0}}},
    {VDS_RULE_P4, "slot 1 of a list has flags 0x8080",
     .ring = {{BUF, 4, A | N, 0}, {BUF, 4, A | U, 0}}},
    {VDS_RULE_P4, "list of more than 8 slots, 0 of the ring's 8 are in use",
     .ring = {{BUF, 4, A | N, 0},
              {BUF, 4, A | N, 0},
              {BUF, 4, A | N, 0},
              {BUF, 4, A | N, 0},
              {BUF, 4, A | N, 0},
              {BUF, 4, A | N, 0},
              {BUF, 4, A | N, 0},
              {BUF, 4, A | N, 0}}},
    {VDS_RULE_P4, "list of more than 7 slots, 1 of the ring's 8 are in use", .good = 1,
     .ring = {{BUF, 4, A, 0},
              {BUF, 4, A | N, 1},
              {BUF, 4, A | N, 1},
              {BUF, 4, A | N, 1},
              {BUF, 4, A | N, 1},
              {BUF, 4, A | N, 1},
              {BUF, 4, A | N, 1},
              {BUF, 4, A | N, 1}}},
    /* Allowed. */
    {OK, "P1: neither available nor used", .good = 0, .ring = {{BUF, 4, U, 0}}},
    {OK, "a packed table: flags but WRITE are ignored", INDIRECT, 1,
     .ring = {{RING_TABLE, 32, A | I | W, 3}},
     .table = {{BUF, 4, I | N, 99}, {BUF, 6, W | A, 0}}, .out_bytes = 4, .in_bytes = 6},
    {OK, "S16: unknown flags", .good = 1, .ring = {{BUF, 4, A | 0x7f78, 0}},
     .out_bytes = 4},
};

static void put_chain(RingMemory *memory, const Chain *chain, bool packed)
{
    void (*put)(RingMemory *, uint64_t, const VdsDesc *) =
        packed ? ring_put_packed : ring_put_split;

    *memory = (RingMemory){0};
    for (unsigned i = 0; i < G_N_ELEMENTS(chain->ring); i++) {
        put(memory, RING_DESC + 16 * i, &chain->ring[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(chain->table); i++) {
        put(memory, RING_TABLE + 16 * i, &chain->table[i]);
    }
    if (!packed) {
        ring_put(memory, RING_AVAIL + 2, chain->avail_idx, 2);
        for (unsigned i = 0; i < G_N_ELEMENTS(chain->heads); i++) {
            ring_put(memory, RING_AVAIL + 4 + 2 * i, chain->heads[i], 2);
        }
    }
}

static void expect_unmoved(const VdsQueueState *before, const VdsVring *device)
{
    VdsQueueState after = {0};

    vds_vring_get_state(device, &after);
    assert_int_equal(after.last_avail_idx, before->last_avail_idx);
    assert_int_equal(after.last_avail_wrap, before->last_avail_wrap);
    assert_int_equal(after.used_idx, before->used_idx);
    assert_int_equal(after.inuse, before->inuse);
}

static void pop_chain(const Chain *chain, VdsVring *device)
{
    VdsRequest *taken[4] = {NULL}, *request = NULL;
    VdsQueueState before = {0};

    for (unsigned i = 0; i < chain->good; i++) {
        g_autoptr(GError) fault = NULL;

        if (!vds_vring_pop(device, &taken[i], &fault)) {
            fail_msg("%s: %s", chain->text, fault->message);
        }
        assert_non_null(taken[i]);
        request = taken[i];
    }
    vds_vring_get_state(device, &before);
    if (chain->rule == OK && chain->good > 0) {
        assert_int_equal(request->out_bytes, chain->out_bytes);
        assert_int_equal(request->in_bytes, chain->in_bytes);
    }
    /* A fault comes again as often as it is asked for. */
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(GError) fault = NULL;
        bool ok = vds_vring_pop(device, &request, &fault);

        assert_null(request);
        if (chain->rule == OK) {
            assert_true(ok);
        } else {
            assert_false(ok);
            expect_fault(fault, (VdsRule)chain->rule, chain->text, VDS_RULE_BY_DEVICE);
        }
        expect_unmoved(&before, device);
    }
    for (unsigned i = 0; i < chain->good; i++) {
        assert_true(vds_vring_push(device, taken[i], 0, NULL));
    }
}

static void run_chains(const Chain *chains, size_t n, bool packed)
{
    RingMemory memory;

    for (size_t i = 0; i < 2 * n; i++) {
        const Chain *chain = &chains[i / 2];
        g_autoptr(VdsGuestMap) map = ring_map(&memory, i % 2);
        VdsQueueState setup = {0};
        g_autoptr(VdsVring) device = NULL;

        put_chain(&memory, chain, packed);
        setup = ring_queue(&memory, map, 8);
        setup.packed = packed;
        setup.event_idx = chain->features & EVENT_IDX;
        device = vds_vring_new(&setup, chain->features & 0xff, NULL);
        assert_non_null(device);
        pop_chain(chain, device);
    }
}

static void test_chains(void **state)
{
    run_chains(split_chains, G_N_ELEMENTS(split_chains), false);
    run_chains(packed_chains, G_N_ELEMENTS(packed_chains), true);
}

/* ---- a driver that does not wait for what is used ---- */

/* All `num` buffers of one span each, made available in lap `lap` whatever is in use. */
static void make_all_available(RingMemory *memory, bool packed, uint16_t num,
                               unsigned lap)
{
    for (uint16_t i = 0; i < num; i++) {
        const VdsDesc desc = {BUF, 4, !packed ? 0 : lap % 2 ? U : A, i};

        if (packed) {
            ring_put_packed(memory, RING_DESC + 16u * i, &desc);
        } else {
            ring_put_split(memory, RING_DESC + 16u * i, &desc);
            ring_put(memory, RING_AVAIL + 4 + 2u * i, i, 2);
        }
    }
    if (!packed) {
        ring_put(memory, RING_AVAIL + 2, num * (lap + 1), 2);
    }
}

static void take_all(VdsVring *device, uint16_t num)
{
    for (uint16_t i = 0; i < num; i++) {
        VdsRequest *request = NULL;

        assert_true(vds_vring_pop(device, &request, NULL) && request);
        assert_true(vds_vring_push(device, request, 0, NULL));
    }
}

/* What was pushed and not published is in use still: the ring's size bounds both
 * (CVE-2016-5403). */
static void test_more_than_the_ring(void **state)
{
    enum { NUM = 8 };

    for (unsigned packed = 0; packed < 2; packed++) {
        RingMemory memory = {0};
        g_autoptr(VdsGuestMap) map = ring_map(&memory, false);
        VdsQueueState setup = ring_queue(&memory, map, NUM);
        g_autoptr(VdsVring) device = NULL;
        g_autoptr(GError) fault = NULL;
        VdsRequest *request = NULL;
        VdsQueueState before = {0};
        bool interrupt = false;

        setup.packed = packed;
        device = vds_vring_new(&setup, 0, NULL);
        make_all_available(&memory, packed, NUM, 0);
        take_all(device, NUM);
        make_all_available(&memory, packed, NUM, 1);
        vds_vring_get_state(device, &before);
        assert_int_equal(before.inuse, NUM);
        assert_false(vds_vring_pop(device, &request, &fault));
        assert_null(request);
        expect_fault(fault, packed ? VDS_RULE_P4 : VDS_RULE_S4, "in use",
                     VDS_RULE_BY_DEVICE);
        expect_unmoved(&before, device);

        /* Published, they are the driver's to give again. */
        assert_true(vds_vring_publish(device, &interrupt, NULL));
        make_all_available(&memory, packed, NUM, 1);
        take_all(device, NUM);
    }
}

/* ---- what takes much memory: a GiB of zeroes that costs nothing ---- */

enum { GIB = 1 << 30, BIG_TABLE = 0x10000 };

static void put_word(const VdsGuestMap *map, uint64_t gpa, uint64_t value, size_t n)
{
    uint64_t word = GUINT64_TO_LE(value);

    assert_true(vds_guest_map_write(map, gpa, &word, n, NULL));
}

/* A split ring of 8 with one available head that refers to a table of n entries, each of
 * `len` bytes and the last without NEXT. */
static void expect_big(uint32_t n, uint32_t len, int rule, const char *text)
{
    const VdsGuestRegion region = {.gpa = 0, .len = GIB, .fd = -1};
    g_autoptr(VdsGuestMap) map = vds_guest_map_new_writable(&region, 1, NULL);
    const VdsQueueState setup = {
        .num = 8, .desc = 0x1000, .avail = 0x2000, .used = 0x3000, .map = map};
    g_autoptr(VdsVring) device = vds_vring_new(&setup, VDS_VRING_INDIRECT, NULL);
    g_autoptr(GError) fault = NULL;
    VdsRequest *request = NULL;

    put_word(map, 0x1000, BIG_TABLE, 8);
    put_word(map, 0x1008, 16 * n | UINT64_C(4) << 32, 8);
    put_word(map, 0x2002, 1, 2);
    for (uint32_t i = 0; i < n; i++) {
        put_word(map, BIG_TABLE + 16 * i + 8,
                 len | (uint64_t)(i + 1 < n) << 32 | (uint64_t)(i + 1) << 48, 8);
    }
    assert_int_equal(vds_vring_pop(device, &request, &fault), rule == OK);
    if (rule != OK) {
        expect_fault(fault, (VdsRule)rule, text, VDS_RULE_BY_DEVICE);
        return;
    }
    assert_int_equal(request->n_out, n);
    assert_true(request->out_bytes == (uint64_t)n * len);
    vds_vring_push(device, request, 0, NULL);
}

static void test_big(void **state)
{
    expect_big(1024, 1, OK, NULL); /* I6: longer than the ring, as Windows does */
    expect_big(1025, 1, VDS_RULE_I6, "chain has more than 1024 descriptors");
    expect_big(4, GIB, OK, NULL); /* 2^32 bytes and no more */
    expect_big(5, GIB, VDS_RULE_S13, "descriptor 4 makes it 5368709120 bytes");
}

/* ---- events: what a side finds in the other's event area ---- */

static const struct {
    int rule;
    uint16_t off_wrap, flags;
    bool event_idx;
    const char *text;
} events[] = {
    {OK, 0xffff, 0, true, NULL},
    {OK, 0xffff, 0xfffd, false, NULL}, /* 1, and reserved bits */
    {OK, 0x8007, 2, true, NULL},
    {VDS_RULE_P5, 0x8008, 2, true, "event offset 8 is outside the ring of 8"},
    {VDS_RULE_P6, 0, 3, true, "reserved 3"},
    {VDS_RULE_P7, 0, 2, false, "VIRTIO_F_EVENT_IDX was not negotiated"},
};

static void test_events(void **state)
{
    RingMemory memory = {0};
    g_autoptr(VdsGuestMap) map = ring_map(&memory, false);

    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        VdsQueueState setup = ring_queue(&memory, map, 8);
        const VdsSpan span = {BUF, 4};
        const VdsBuffer buffer = {&span, 1, 0, &memory};
        g_autoptr(VdsDriverRing) driver = NULL;
        g_autoptr(VdsVring) device = NULL;
        g_autoptr(GError) kick_fault = NULL;
        g_autoptr(GError) interrupt_fault = NULL;
        VdsRequest *request = NULL;
        bool added = false, kick = true, interrupt = true;

        setup.packed = true;
        setup.event_idx = events[i].event_idx;
        driver = vds_driver_ring_new(&setup, 0, NULL, NULL);
        device = vds_vring_new(&setup, 0, NULL);
        assert_true(vds_driver_ring_add(driver, &buffer, &added, NULL) && added);
        for (uint64_t area = RING_AVAIL; area <= RING_USED;
             area += RING_USED - RING_AVAIL) {
            ring_put(&memory, area, events[i].off_wrap, 2);
            ring_put(&memory, area + 2, events[i].flags, 2);
        }
        assert_int_equal(vds_driver_ring_should_kick(driver, &kick, &kick_fault),
                         events[i].rule == OK);
        assert_true(vds_vring_pop(device, &request, NULL) && request);
        assert_true(vds_vring_push(device, request, 0, NULL));
        assert_int_equal(vds_vring_publish(device, &interrupt, &interrupt_fault),
                         events[i].rule == OK);
        if (events[i].rule != OK) {
            assert_false(kick || interrupt);
            expect_fault(kick_fault, (VdsRule)events[i].rule, events[i].text,
                         VDS_RULE_BY_DRIVER);
            expect_fault(interrupt_fault, (VdsRule)events[i].rule, events[i].text,
                         VDS_RULE_BY_DEVICE);
        }
    }
}

/* ---- a device that lies to the driver ---- */

typedef struct {
    int rule;
    const char *text;
    bool packed;
    unsigned features;
    uint16_t idx; /* split: used.idx */
    uint32_t id, len;
} Lie;

/* Two buffers are with the device: ids 0 and 1, each with 8 bytes to write. */
static const Lie lies[] = {
    {OK, "", false, 0, 1, 1, 8},
    {OK, "", true, 0, 0, 1, 8},
    {VDS_RULE_S5, "used.idx went from 0 to 3, and 2 buffers", false, 0, 3, 0, 0},
    {VDS_RULE_S5, "used.idx went from 0 to 65535", false, 0, 65535, 0, 0},
    {VDS_RULE_S7, "used id 2 is no buffer", false, 0, 1, 2, 0},
    {VDS_RULE_S7, "used id 65536 is outside the ring of 8", false, 0, 1, 65536, 0},
    {VDS_RULE_S7, "used id 7 is no buffer", true, 0, 0, 7, 0},
    {VDS_RULE_S7, "used id 5 is no buffer", false, IN_ORDER, 1, 5, 0},
    {VDS_RULE_P9, "used id 1 is 2 buffers on, and used.idx says 1", false, IN_ORDER, 1, 1,
     8},
    {VDS_RULE_S8, "buffer 1 has 9 bytes written, it has room for 8", false, 0, 1, 1, 9},
    {VDS_RULE_S8, "4294967295 bytes written", true, 0, 0, 1, UINT32_MAX},
    {VDS_RULE_P2, "used buffer id 8 is outside the ring of 8", true, 0, 0, 8, 0},
};

static void test_lies(void **state)
{
    RingMemory memory = {0};

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(lies); i++) {
        const Lie *lie = &lies[i / 2];
        g_autoptr(VdsGuestMap) map = ring_map(&memory, i % 2);
        VdsQueueState setup = ring_queue(&memory, map, 8);
        const VdsSpan span = {BUF, 8};
        const VdsBuffer buffer = {&span, 0, 1, &memory};
        g_autoptr(VdsDriverRing) driver = NULL;
        g_autoptr(GError) fault = NULL;
        const VdsDesc used = {0, lie->len, A | U, (uint16_t)lie->id};
        bool added = false;
        VdsUsed got;

        setup.packed = lie->packed;
        driver = vds_driver_ring_new(&setup, lie->features, NULL, NULL);
        assert_true(vds_driver_ring_add(driver, &buffer, &added, NULL) && added);
        assert_true(vds_driver_ring_add(driver, &buffer, &added, NULL) && added);
        if (lie->packed) {
            ring_put_packed(&memory, RING_DESC, &used);
        } else {
            ring_put(&memory, RING_USED + 2, lie->idx, 2);
            ring_put(&memory, RING_USED + 4, lie->id, 4);
            ring_put(&memory, RING_USED + 8, lie->len, 4);
        }
        assert_int_equal(vds_driver_ring_get_used(driver, &got, &fault), lie->rule == OK);
        if (lie->rule == OK) {
            assert_true(got.token == &memory && got.written == lie->len);
            assert_int_equal(vds_driver_ring_get_pending(driver), 1);
            continue;
        }
        assert_null(got.token);
        assert_int_equal(vds_driver_ring_get_pending(driver), 2);
        expect_fault(fault, (VdsRule)lie->rule, lie->text, VDS_RULE_BY_DRIVER);
    }
}

/* In order, one used entry stands for those before it (2.7.9, 2.8.8). */
static void test_in_order_batches(void **state)
{
    RingMemory memory = {0};
    g_autoptr(VdsGuestMap) map = ring_map(&memory, false);

    for (unsigned packed = 0; packed < 2; packed++) {
        VdsQueueState setup = ring_queue(&memory, map, 8);
        const VdsSpan spans[] = {{BUF, 8}, {BUF, 1}};
        char tokens[3];
        g_autoptr(VdsDriverRing) driver = NULL;
        VdsUsed got;

        setup.packed = packed;
        driver = vds_driver_ring_new(&setup, IN_ORDER, NULL, NULL);
        for (unsigned i = 0; i < 3; i++) {
            const VdsBuffer buffer = {spans, 0, 1 + i % 2, &tokens[i]};
            bool added = false;

            assert_true(vds_driver_ring_add(driver, &buffer, &added, NULL) && added);
        }
        /* The third, alone: heads 0, 1 and 3 split; ids 0, 1 and 2 packed. */
        if (packed) {
            const VdsDesc used = {0, 5, A | U, 2};

            ring_put_packed(&memory, RING_DESC, &used);
        } else {
            ring_put(&memory, RING_USED + 4, 3, 4);
            ring_put(&memory, RING_USED + 8, 5, 4);
            ring_put(&memory, RING_USED + 2, 3, 2);
        }
        for (unsigned i = 0; i < 3; i++) {
            static const uint32_t written[] = {8, 9, 5};

            assert_true(vds_driver_ring_get_used(driver, &got, NULL));
            assert_ptr_equal(got.token, &tokens[i]);
            assert_int_equal(got.written, written[i]);
        }
        assert_true(vds_driver_ring_get_used(driver, &got, NULL));
        assert_null(got.token);
        assert_int_equal(vds_driver_ring_get_free(driver), 8);
    }
}

/* ---- R6: the file is cut short under the ring ---- */

static void test_vanished(void **state)
{
    VDS_AUTO_FD fd = memfd_create("test-rules", MFD_CLOEXEC);
    const VdsGuestRegion region = {RING_GPA, RING_BYTES, fd, 0, 0, NULL};

    for (unsigned packed = 0; packed < 2; packed++) {
        int grown = ftruncate(fd, RING_BYTES);
        g_autoptr(VdsGuestMap) map = vds_guest_map_new_writable(&region, 1, NULL);
        const VdsQueueState setup = {.packed = packed,
                                     .num = 8,
                                     .desc = RING_DESC,
                                     .avail = RING_AVAIL,
                                     .used = RING_USED,
                                     .map = map};
        const VdsSpan span = {BUF, 8};
        const VdsBuffer buffer = {&span, 1, 0, &fd};
        g_autoptr(VdsDriverRing) driver = vds_driver_ring_new(&setup, 0, NULL, NULL);
        g_autoptr(VdsVring) device = vds_vring_new(&setup, 0, NULL);
        GError *faults[6] = {NULL};
        VdsRequest *request = NULL;
        VdsUsed used;
        bool flag = false;

        assert_int_equal(grown, 0);
        assert_true(vds_driver_ring_add(driver, &buffer, &flag, NULL) && flag);
        assert_true(vds_driver_ring_add(driver, &buffer, &flag, NULL) && flag);
        assert_true(vds_vring_pop(device, &request, NULL) && request);
        assert_int_equal(ftruncate(fd, 0), 0);

        assert_true(!vds_vring_push(device, request, 0, &faults[0]) ||
                    !vds_vring_publish(device, &flag, &faults[0]));
        assert_false(vds_vring_pop(device, &request, &faults[1]));
        assert_false(vds_vring_set_notify(device, false, NULL, &faults[2]));
        assert_false(vds_driver_ring_add(driver, &buffer, &flag, &faults[3]));
        assert_false(vds_driver_ring_should_kick(driver, &flag, &faults[4]));
        assert_false(vds_driver_ring_get_used(driver, &used, &faults[5]));
        for (unsigned i = 0; i < 6; i++) {
            expect_fault(faults[i], VDS_RULE_R6, "was cut short",
                         i < 3 ? VDS_RULE_BY_DEVICE : VDS_RULE_BY_DRIVER);
            g_clear_error(&faults[i]);
        }
        /* It stays so for who had it, whatever becomes of the file. */
        assert_int_equal(ftruncate(fd, RING_BYTES), 0);
        assert_false(vds_vring_pop(device, &request, NULL));
    }
}

/* ---- all of them ---- */

static void test_every_refused_rule_was_provoked(void **state)
{
    /* Told as another rule, which vds_rule_info() says. */
    static const int told_otherwise[] = {VDS_RULE_C5, VDS_RULE_P9};

    for (unsigned i = 0; i < VDS_RULE_COUNT; i++) {
        const VdsRuleInfo *info = vds_rule_info((VdsRule)i);
        bool otherwise = (int)i == told_otherwise[0] || (int)i == told_otherwise[1];

        assert_non_null(info->text);
        assert_true(info->refused || info->why);
        if (!otherwise && (info->refused & ~provoked[i])) {
            fail_msg("%s was not provoked on side %u", info->id,
                     info->refused & ~provoked[i]);
        }
        assert_int_equal(provoked[i] & ~info->refused, 0);
    }
}

int main(void)
{
    /* test_vanished first: cmocka puts its own SIGBUS handler in at the start of each,
     * and ours goes in once a process. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vanished),
        cmocka_unit_test(test_setup),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_more_than_the_ring),
        cmocka_unit_test(test_big),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_in_order_batches),
        cmocka_unit_test(test_every_refused_rule_was_provoked),
    };

    return cmocka_run_group_tests_name("vring-rules", tests, NULL, NULL);
}
