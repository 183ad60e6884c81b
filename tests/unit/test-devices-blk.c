/*
 * devices: virtio-blk between a driver and its disk (virtio 1.2, 5.2): every request on
 * every kind of disk, what is refused and what breaks the device, whatever the buffers
 * are cut into; resets and stops with requests under way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "door.h"

enum {
    T_IN = 0,
    T_OUT = 1,
    T_SCSI = 2,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_ZEROES = 13,
    S_OK = 0,
    S_IOERR = 1,
    S_UNSUPP = 2,
    NO_STATUS = 0xaa,
    SECTOR = 512,
    FILE_BYTES = 4 << 20,
    ROOM = 2 << 20, /* of one request in guest RAM */
};

typedef struct {
    Door door;
    uint64_t gpa; /* ROOM bytes */
    char *path;   /* (nullable) of the disk's file */
} Blk;

/* One request: `out` behind the header, `n_in` bytes of answer before the status. */
typedef struct {
    uint32_t type;
    uint64_t sector;
    const void *out;
    uint32_t n_out, n_in;
    uint32_t piece;
    unsigned queue;
} Ask;

static void put_le(uint8_t *to, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}

static void post(Blk *blk, const Ask *ask, uint64_t gpa)
{
    uint8_t header[16] = {0}, none = NO_STATUS;

    put_le(header, ask->type, 4);
    put_le(header + 8, ask->sector, 8);
    door_poke(&blk->door, gpa, header, sizeof(header));
    door_poke(&blk->door, gpa + 16, ask->out, ask->n_out);
    door_poke(&blk->door, gpa + 16 + ask->n_out + ask->n_in, &none, 1);
    door_add(&blk->door, ask->queue, gpa, 16 + ask->n_out, ask->n_in + 1, ask->piece,
             GSIZE_TO_POINTER(gpa));
}

/* The status; the answer goes to `in`, and what the device says it wrote must be all. */
static uint8_t ask(Blk *blk, const Ask *ask, void *in)
{
    uint64_t status_gpa = blk->gpa + 16 + ask->n_out + ask->n_in;
    uint32_t written;
    uint8_t status;

    post(blk, ask, blk->gpa);
    door_kick(&blk->door, ask->queue);
    assert_int_equal(door_used(&blk->door, ask->queue, &written), blk->gpa);
    door_peek(&blk->door, status_gpa, &status, 1);
    if (status == S_OK) {
        assert_int_equal(written, ask->n_in + 1);
    }
    if (in) {
        door_peek(&blk->door, blk->gpa + 16 + ask->n_out, in, ask->n_in);
    }
    return status;
}

static uint8_t segment(Blk *blk, uint32_t type, uint64_t sector, uint32_t sectors,
                       uint32_t flags)
{
    uint8_t bytes[16];

    put_le(bytes, sector, 8);
    put_le(bytes + 8, sectors, 4);
    put_le(bytes + 12, flags, 4);
    return ask(blk, &(Ask){.type = type, .out = bytes, .n_out = sizeof(bytes)}, NULL);
}

/* ---- disks ----------------------------------------------------------------------------
 */

static const struct {
    const char *node; /* (nullable) %s is the file */
    uint64_t features;
} disks[] = {
    {NULL, DOOR_SPLIT},
    {NULL, DOOR_PACKED},
    {"driver=file,node-name=d,filename=%s,discard=unmap", DOOR_SPLIT},
    {"driver=file,node-name=d,filename=%s,discard=unmap", DOOR_PACKED},
    {"driver=file,node-name=d,filename=%s,aio=threads,discard=unmap", DOOR_SPLIT},
    {"driver=file,node-name=d,filename=%s,aio=native,cache.direct=on,discard=unmap",
     DOOR_SPLIT},
    {"driver=raw,node-name=d,file.driver=file,file.filename=%s,aio=threads", DOOR_PACKED},
};

static void blk_open(Blk *blk, const char *node, const char *more, uint64_t features)
{
    g_autofree char *device = g_strdup_printf("virtio-blk-pci,id=b,packed=on%s%s",
                                              node ? ",drive=d" : "", more);

    *blk = (Blk){0};
    door_init(&blk->door);
    blk->gpa = door_alloc(&blk->door, ROOM);
    if (node) {
        int fd = g_file_open_tmp("vds-blk-XXXXXX", &blk->path, NULL);
        g_autofree char *text = NULL;

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, FILE_BYTES), 0);
        close(fd);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        text = g_strdup_printf(node, blk->path);
#pragma GCC diagnostic pop
        door_back(&blk->door, "blockdev", text);
    }
    assert_true(door_plug(&blk->door, device, NULL));
    door_find(&blk->door, "b");
    door_start(&blk->door, features);
}

static void blk_close(Blk *blk)
{
    door_clear(&blk->door);
    if (blk->path) {
        assert_int_equal(unlink(blk->path), 0);
    }
    g_free(blk->path);
}

static void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        bytes[i] = (uint8_t)(seed >> 16);
    }
}

static bool is_all(const uint8_t *bytes, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

/* ---- what is asked is done
 * ---------------------------------------------------------------
 */

static void check_round_trip(Blk *blk, uint64_t sector, uint32_t len, uint32_t piece)
{
    g_autofree uint8_t *out = g_malloc(len), *in = g_malloc0(len);

    fill(out, len, (uint32_t)sector + piece);
    assert_int_equal(ask(blk,
                         &(Ask){.type = T_OUT,
                                .sector = sector,
                                .out = out,
                                .n_out = len,
                                .piece = piece},
                         NULL),
                     S_OK);
    assert_int_equal(
        ask(blk, &(Ask){.type = T_IN, .sector = sector, .n_in = len, .piece = piece}, in),
        S_OK);
    assert_memory_equal(in, out, len);
    if (blk->path) {
        int fd = open(blk->path, O_RDONLY);

        assert_int_equal(pread(fd, in, len, (off_t)(sector * SECTOR)), len);
        assert_memory_equal(in, out, len);
        close(fd);
    }
}

/* A header over several descriptors, data and status in one: no layout is assumed. */
static void test_reads_what_was_written(void **state)
{
    static const struct {
        uint64_t sector;
        uint32_t len, piece;
    } rows[] = {
        {0, SECTOR, 0},          {1, SECTOR, 9},
        {7, SECTOR, 100},        {8, 8 * SECTOR, 0},
        {100, 16 * SECTOR, 300}, {FILE_BYTES / SECTOR - 1, SECTOR, 11},
        {64, 1 << 20, 0},        {63, 512 * 1024 + SECTOR, 20000},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;

        blk_open(&blk, disks[i].node, "", disks[i].features);
        for (size_t j = 0; j < G_N_ELEMENTS(rows); j++) {
            check_round_trip(&blk, rows[j].sector, rows[j].len, rows[j].piece);
        }
        blk_close(&blk);
    }
}

static uint8_t read_sector(Blk *blk, uint64_t sector, uint8_t bytes[SECTOR])
{
    return ask(blk, &(Ask){.type = T_IN, .sector = sector, .n_in = SECTOR}, bytes);
}

static void write_ones(Blk *blk, uint64_t sector, uint32_t n)
{
    g_autofree uint8_t *ones = g_malloc(n * SECTOR);

    memset(ones, 1, n * SECTOR);
    assert_int_equal(
        ask(blk,
            &(Ask){.type = T_OUT, .sector = sector, .out = ones, .n_out = n * SECTOR},
            NULL),
        S_OK);
}

/* 5.2.6.2: write-zeroes must make zeroes, with unmap or without, and nothing around. */
static void test_zeroes_and_discards(void **state)
{
    static const struct {
        uint32_t type, flags;
    } rows[] = {{T_ZEROES, 0}, {T_ZEROES, 1}, {T_DISCARD, 0}};

    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;
        uint8_t bytes[SECTOR];

        blk_open(&blk, disks[i].node, "", disks[i].features);
        for (size_t j = 0; j < G_N_ELEMENTS(rows); j++) {
            write_ones(&blk, 0, 1000);
            assert_int_equal(segment(&blk, rows[j].type, 3, 990, rows[j].flags), S_OK);
            for (uint64_t sector = 0; sector < 1000; sector += 31) {
                bool inside = sector >= 3 && sector < 993;

                assert_int_equal(read_sector(&blk, sector, bytes), S_OK);
                if (rows[j].type == T_ZEROES || !inside) {
                    assert_true(is_all(bytes, SECTOR, inside ? 0 : 1));
                }
            }
        }
        assert_int_equal(ask(&blk, &(Ask){.type = T_FLUSH}, NULL), S_OK);
        blk_close(&blk);
    }
}

static blkcnt_t count_blocks(const Blk *blk)
{
    struct stat info;

    assert_int_equal(stat(blk->path, &info), 0);
    return info.st_blocks;
}

/* UNMAP is a permission: only discard=unmap gives room back, and zeroes are zeroes. */
static void test_unmap_gives_room_back_where_allowed(void **state)
{
    static const struct {
        const char *node;
        bool may;
    } rows[] = {
        {"driver=file,node-name=d,filename=%s", false},
        {"driver=file,node-name=d,filename=%s,discard=ignore,aio=threads", false},
        {"driver=raw,node-name=d,file.driver=file,file.filename=%s", false},
        {"driver=file,node-name=d,filename=%s,discard=unmap", true},
    };
    enum { SECTORS = 2048 };
    uint8_t bytes[SECTOR];

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Blk blk;
        blkcnt_t before;
        int fd;

        blk_open(&blk, rows[i].node, "", DOOR_SPLIT);
        write_ones(&blk, 0, SECTORS);
        fd = open(blk.path, O_RDONLY);
        assert_int_equal(fsync(fd), 0); /* blocks are counted when they are written */
        close(fd);
        before = count_blocks(&blk);
        assert_true(before >= SECTORS);
        assert_int_equal(segment(&blk, T_ZEROES, 0, SECTORS, 1), S_OK);
        assert_true(rows[i].may ? count_blocks(&blk) < before
                                : count_blocks(&blk) >= before);
        assert_int_equal(read_sector(&blk, SECTORS - 1, bytes), S_OK);
        assert_true(is_all(bytes, SECTOR, 0));
        blk_close(&blk);
    }
}

static void test_a_disk_says_its_serial(void **state)
{
    static const struct {
        const char *more, *id;
        uint32_t room, piece;
    } rows[] = {
        {"", "", 20, 0},
        {",serial=abc", "abc", 20, 1},
        {",serial=0123456789012345678901234", "01234567890123456789", 20, 0},
        {",serial=abcdef", "abc", 3, 1},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        char expected[20] = {0}, id[20];
        Blk blk;

        memcpy(expected, rows[i].id, strlen(rows[i].id));
        blk_open(&blk, NULL, rows[i].more, DOOR_SPLIT);
        assert_int_equal(
            ask(&blk,
                &(Ask){.type = T_GET_ID, .n_in = rows[i].room, .piece = rows[i].piece},
                id),
            S_OK);
        assert_memory_equal(id, expected, rows[i].room);
        blk_close(&blk);
    }
}

/* More than there is room for under way at once, over several queues. */
static void test_all_requests_come_back_once(void **state)
{
    enum { QUEUES = 3, EACH = 80, BYTES = 1024 };

    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;
        uint8_t out[SECTOR], in[SECTOR];

        blk_open(&blk, disks[i].node, ",num-queues=3", disks[i].features);
        for (unsigned n = 0; n < QUEUES * EACH; n++) {
            fill(out, SECTOR, n);
            post(&blk,
                 &(Ask){.type = T_OUT,
                        .sector = n,
                        .out = out,
                        .n_out = SECTOR,
                        .queue = n % QUEUES},
                 blk.gpa + n * BYTES);
        }
        for (unsigned n = 0; n < QUEUES; n++) {
            door_kick(&blk.door, n);
        }
        for (unsigned n = 0; n < QUEUES * EACH; n++) {
            uint32_t written;
            uint8_t status;
            uint64_t gpa = door_used(&blk.door, n % QUEUES, &written);

            assert_true(gpa >= blk.gpa);
            door_peek(&blk.door, gpa + 16 + SECTOR, &status, 1);
            assert_int_equal(status, S_OK);
            status = NO_STATUS; /* another one must not come */
            door_poke(&blk.door, gpa + 16 + SECTOR, &status, 1);
        }
        for (unsigned n = 0; n < QUEUES * EACH; n++) {
            fill(out, SECTOR, n);
            assert_int_equal(read_sector(&blk, n, in), S_OK);
            assert_memory_equal(in, out, SECTOR);
        }
        blk_close(&blk);
    }
}

/* The driver hears of what is done before the last of it is, and not of each. */
static void test_requests_are_told_in_batches(void **state)
{
    enum { MANY = 100, BYTES = 1024, BATCH = 16, QUIET = 64 };
    static const uint64_t masks[] = {DOOR_SPLIT & ~DOOR_BIT(VDS_F_RING_EVENT_IDX),
                                     DOOR_PACKED & ~DOOR_BIT(VDS_F_RING_EVENT_IDX)};

    for (size_t i = 0; i < G_N_ELEMENTS(masks); i++) {
        VDS_AUTO_FD call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        eventfd_t interrupts = 0;
        uint32_t written;
        Blk blk;

        blk_open(&blk, NULL, "", masks[i]);
        assert_true(vds_virtio_driver_set_call_fd(blk.door.device, 0, dup(call), NULL));
        for (unsigned n = 0; n < MANY; n++) {
            post(&blk, &(Ask){.type = T_IN, .sector = n, .n_in = SECTOR},
                 blk.gpa + n * BYTES);
        }
        door_kick(&blk.door, 0);
        for (unsigned n = 0; n < MANY; n++) {
            gint64 end = g_get_monotonic_time() + DOOR_PATIENCE_MS * 1000;

            while (door_used_in(&blk.door, 0, &written, 0) == 0) {
                assert_true(g_get_monotonic_time() < end);
                door_settle(&blk.door);
            }
            assert_int_equal(written, SECTOR + 1);
        }
        door_settle(&blk.door);
        assert_int_equal(eventfd_read(call, &interrupts), 0);
        assert_true(interrupts > MANY / QUIET);
        assert_true(interrupts <= MANY / BATCH + 1);
        blk_close(&blk);
    }
}

/* A file that ends within a sector: the rest of it reads as zeroes. */
static void test_a_disk_ends_with_a_whole_sector(void **state)
{
    g_autofree char *path = NULL;
    g_autofree char *node = NULL;
    int fd = g_file_open_tmp("vds-blk-XXXXXX", &path, NULL);
    uint8_t ones[700], bytes[SECTOR];
    Blk blk = {0};

    memset(ones, 1, sizeof(ones));
    assert_int_equal(write(fd, ones, sizeof(ones)), sizeof(ones));
    close(fd);
    door_init(&blk.door);
    blk.gpa = door_alloc(&blk.door, ROOM);
    node = g_strconcat("driver=file,node-name=d,filename=", path, NULL);
    door_back(&blk.door, "blockdev", node);
    assert_true(door_plug(&blk.door, "virtio-blk-pci,id=b,drive=d", NULL));
    door_find(&blk.door, "b");
    door_start(&blk.door, DOOR_SPLIT);
    assert_int_equal(read_sector(&blk, 1, bytes), S_OK);
    assert_true(is_all(bytes, 700 - SECTOR, 1));
    assert_true(is_all(bytes + (700 - SECTOR), 2 * SECTOR - 700, 0));
    assert_int_equal(read_sector(&blk, 2, bytes), S_IOERR);
    blk_close(&blk);
    unlink(path);
}

/* A file that needs no disk, and one that grows shorter: what is not there reads as
 * zeroes, too. */
static void test_a_file_in_memory(void **state)
{
    VDS_AUTO_FD fd = memfd_create("test-blk", MFD_CLOEXEC);
    uint8_t bytes[SECTOR];

    assert_true(fd >= 0);
    for (size_t i = 0; i < 2; i++) {
        g_autofree char *node =
            g_strdup_printf("driver=file,node-name=d,filename=/proc/self/fd/%d", fd);
        Blk blk = {0};

        assert_int_equal(ftruncate(fd, FILE_BYTES), 0);
        door_init(&blk.door);
        blk.gpa = door_alloc(&blk.door, ROOM);
        blk.path = g_strdup_printf("/proc/self/fd/%d", fd);
        door_back(&blk.door, "blockdev", node);
        assert_true(door_plug(&blk.door, "virtio-blk-pci,id=b,drive=d,packed=on", NULL));
        door_find(&blk.door, "b");
        door_start(&blk.door, i == 0 ? DOOR_SPLIT : DOOR_PACKED);
        check_round_trip(&blk, 0, SECTOR, 0);
        check_round_trip(&blk, 7, 9 * SECTOR, 100);
        check_round_trip(&blk, 100, 600 * SECTOR, 64 * 1024);
        write_ones(&blk, 0, 2);
        assert_int_equal(ftruncate(fd, SECTOR), 0);
        assert_int_equal(read_sector(&blk, 0, bytes), S_OK);
        assert_true(is_all(bytes, SECTOR, 1));
        assert_int_equal(read_sector(&blk, 1, bytes), S_OK);
        assert_true(is_all(bytes, SECTOR, 0));
        g_clear_pointer(&blk.path, g_free);
        blk_close(&blk);
    }
}

/* As QEMU's: a read leaves its buffer as it was, unless read-zeroes is on. */
static void test_null(void **state)
{
    static const struct {
        const char *node;
        uint8_t byte;
    } rows[] = {
        {"driver=null-co,node-name=d,size=1M", 0xee},
        {"driver=null-co,node-name=d,size=1M,read-zeroes=off", 0xee},
        {"driver=null-co,node-name=d,size=1M,read-zeroes=on", 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint8_t bytes[SECTOR];
        Blk blk = {0};

        door_init(&blk.door);
        blk.gpa = door_alloc(&blk.door, ROOM);
        door_back(&blk.door, "blockdev", rows[i].node);
        assert_true(door_plug(&blk.door, "virtio-blk-pci,id=b,drive=d", NULL));
        door_find(&blk.door, "b");
        door_start(&blk.door, DOOR_SPLIT);
        write_ones(&blk, 0, 1);
        memset(bytes, 0xee, sizeof(bytes));
        door_poke(&blk.door, blk.gpa + 16, bytes, sizeof(bytes));
        assert_int_equal(read_sector(&blk, 0, bytes), S_OK);
        assert_true(is_all(bytes, SECTOR, rows[i].byte));
        assert_int_equal(read_sector(&blk, 2048, bytes), S_IOERR);
        blk_close(&blk);
    }
}

/* ---- what is refused
 * ---------------------------------------------------------------------
 */

/* Of a disk of 8,192 sectors; none of them changes it or breaks the device. */
static void test_refusals(void **state)
{
    enum { END = FILE_BYTES / SECTOR };
    static const struct {
        const char *what;
        uint32_t type;
        uint64_t sector;
        uint32_t n_out, n_in;
        uint8_t status;
    } rows[] = {
        {"behind the end", T_IN, END, 0, SECTOR, S_IOERR},
        {"across the end", T_IN, END - 1, 0, 2 * SECTOR, S_IOERR},
        {"the largest sector", T_IN, UINT64_MAX, 0, SECTOR, S_IOERR},
        {"a sum that wraps", T_IN, UINT64_MAX - 1, 0, 2 * SECTOR, S_IOERR},
        {"a product that wraps", T_IN, UINT64_C(1) << 55, 0, SECTOR, S_IOERR},
        {"part of a sector", T_IN, 0, 0, SECTOR - 1, S_IOERR},
        {"write behind the end", T_OUT, END, SECTOR, 0, S_IOERR},
        {"write across the end", T_OUT, END - 1, 2 * SECTOR, 0, S_IOERR},
        {"write to the largest sector", T_OUT, UINT64_MAX, SECTOR, 0, S_IOERR},
        {"write part of a sector", T_OUT, 0, 100, 0, S_IOERR},
        {"nothing, inside", T_IN, 5, 0, 0, S_OK},
        {"nothing, at the end", T_OUT, END, 0, 0, S_OK},
        {"nothing, behind the end", T_OUT, END + 1, 0, 0, S_IOERR},
        {"SCSI", T_SCSI, 0, 0, 0, S_UNSUPP},
        {"an unknown type", 99, 0, 0, 0, S_UNSUPP},
        {"the largest type", UINT32_MAX, 0, 0, SECTOR, S_UNSUPP},
        {"two segments", T_DISCARD, 0, 32, 0, S_UNSUPP},
        {"two segments", T_ZEROES, 0, 32, 0, S_UNSUPP},
    };
    static const struct {
        const char *what;
        uint32_t type;
        uint64_t sector;
        uint32_t sectors, flags;
        uint8_t status;
    } segments[] = {
        {"discard with unmap", T_DISCARD, 0, 1, 1, S_UNSUPP},
        {"an unknown flag", T_ZEROES, 0, 1, 2, S_UNSUPP},
        {"over max_discard_sectors", T_DISCARD, 0, 65, 0, S_IOERR},
        {"over max_write_zeroes_sectors", T_ZEROES, 0, 33, 0, S_IOERR},
        {"across the end", T_ZEROES, END - 1, 2, 0, S_IOERR},
        {"a sum that wraps", T_ZEROES, UINT64_MAX, 2, 1, S_IOERR},
        {"no sector", T_ZEROES, 0, 0, 0, S_OK},
    };
    g_autofree uint8_t *junk = g_malloc0(2 * SECTOR);
    uint8_t bytes[SECTOR];

    memset(junk, 0xee, 2 * SECTOR);
    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;

        blk_open(&blk, "driver=file,node-name=d,filename=%s",
                 ",max-discard-sectors=64,max-write-zeroes-sectors=32",
                 disks[i].features);
        for (size_t j = 0; j < G_N_ELEMENTS(rows); j++) {
            print_message("# %s\n", rows[j].what);
            assert_int_equal(ask(&blk,
                                 &(Ask){.type = rows[j].type,
                                        .sector = rows[j].sector,
                                        .out = junk,
                                        .n_out = rows[j].n_out,
                                        .n_in = rows[j].n_in},
                                 NULL),
                             rows[j].status);
        }
        for (size_t j = 0; j < G_N_ELEMENTS(segments); j++) {
            print_message("# %s\n", segments[j].what);
            assert_int_equal(segment(&blk, segments[j].type, segments[j].sector,
                                     segments[j].sectors, segments[j].flags),
                             segments[j].status);
        }
        assert_int_equal(read_sector(&blk, 0, bytes), S_OK);
        assert_true(is_all(bytes, SECTOR, 0));
        assert_false(door_is_broken(&blk.door));
        blk_close(&blk);
    }
}

/* A type without its feature is one the device does not have. */
static void test_types_need_their_features(void **state)
{
    Blk blk;

    blk_open(&blk, NULL, "", ~(DOOR_BIT(13) | DOOR_BIT(14)));
    assert_int_equal(segment(&blk, T_DISCARD, 0, 1, 0), S_UNSUPP);
    assert_int_equal(segment(&blk, T_ZEROES, 0, 1, 0), S_UNSUPP);
    blk_close(&blk);
}

/* 5.2.6.2: F_RO, IOERR and nothing written. */
static void test_read_only(void **state)
{
    static const char *const nodes[] = {
        "driver=file,node-name=d,filename=%s,read-only=on",
        "driver=raw,node-name=d,file.driver=file,file.filename=%s,read-only=on",
    };
    uint8_t junk[SECTOR], bytes[SECTOR];

    memset(junk, 0xee, sizeof(junk));
    for (size_t i = 0; i < G_N_ELEMENTS(nodes); i++) {
        Blk blk;
        VdsFeatures offered;

        blk_open(&blk, nodes[i], "", DOOR_SPLIT);
        offered = vds_virtio_driver_get_features(blk.door.device);
        assert_true(vds_features_has(&offered, 5));
        assert_int_equal(
            ask(&blk, &(Ask){.type = T_OUT, .out = junk, .n_out = SECTOR}, NULL),
            S_IOERR);
        assert_int_equal(segment(&blk, T_DISCARD, 0, 1, 0), S_IOERR);
        assert_int_equal(segment(&blk, T_ZEROES, 0, 1, 0), S_IOERR);
        assert_int_equal(ask(&blk, &(Ask){.type = T_FLUSH}, NULL), S_OK);
        assert_int_equal(read_sector(&blk, 0, bytes), S_OK);
        assert_true(is_all(bytes, SECTOR, 0));
        blk_close(&blk);
    }
}

/* Logical blocks of 4 KiB: the wire still counts sectors. */
static void test_logical_blocks(void **state)
{
    uint8_t bytes[4096];
    Blk blk;

    blk_open(&blk, NULL, ",logical_block_size=4096,physical_block_size=4096", DOOR_SPLIT);
    assert_int_equal(ask(&blk, &(Ask){.type = T_IN, .sector = 8, .n_in = 4096}, bytes),
                     S_OK);
    assert_int_equal(ask(&blk, &(Ask){.type = T_IN, .sector = 1, .n_in = 4096}, bytes),
                     S_IOERR);
    assert_int_equal(ask(&blk, &(Ask){.type = T_IN, .sector = 8, .n_in = 512}, bytes),
                     S_IOERR);
    blk_close(&blk);
}

/* ---- what breaks the device -----------------------------------------------------------
 */

static void test_hostile_requests(void **state)
{
    static const struct {
        uint32_t type, n_out, n_in;
        const char *reason;
    } rows[] = {
        {T_IN, 16, 0, "5.2.6: a request without room for a status, in queue 0"},
        {T_OUT, 700, 0, "5.2.6: a request without room for a status, in queue 0"},
        {T_IN, 15, 600, "5.2.6: a request header of less than 16 bytes, in queue 0"},
        {T_IN, 1, 1, "5.2.6: a request header of less than 16 bytes, in queue 0"},
        {T_IN, 0, 600, "5.2.6: a request header of less than 16 bytes, in queue 0"},
        {T_DISCARD, 31, 1,
         "5.2.6: a discard or write-zeroes segment of less than 16 bytes, in queue 0"},
        {T_ZEROES, 16, 1,
         "5.2.6: a discard or write-zeroes segment of less than 16 bytes, in queue 0"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *reason = NULL;
        uint8_t header[16] = {(uint8_t)rows[i].type};
        Blk blk;

        blk_open(&blk, i % 2 ? NULL : "driver=file,node-name=d,filename=%s", "",
                 DOOR_SPLIT);
        door_poke(&blk.door, blk.gpa, header, sizeof(header));
        door_add(&blk.door, 0, blk.gpa, rows[i].n_out, rows[i].n_in, 0, &blk);
        door_kick(&blk.door, 0);
        door_settle(&blk.door);
        reason = vds_virtio_device_get_broken_reason(blk.door.device);
        assert_string_equal(reason, rows[i].reason);
        assert_true(vds_virtio_driver_get_status(blk.door.device) &
                    VDS_STATUS_NEEDS_RESET);
        door_reset(&blk.door);
        door_start(&blk.door, DOOR_SPLIT);
        check_round_trip(&blk, 5, SECTOR, 0);
        blk_close(&blk);
    }
}

/* ---- resets and stops
 * ------------------------------------------------------------------ */

/* What an earlier driver left with the disk never lands on what the next one wrote. */
static void test_resets_with_requests_under_way(void **state)
{
    enum { ROUNDS = 20, BIG = 96 * 1024, N = 16 };
    g_autofree uint8_t *old = g_malloc(BIG);

    memset(old, 0xee, BIG);
    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;

        blk_open(&blk, disks[i].node, "", disks[i].features);
        for (unsigned round = 0; round < ROUNDS; round++) {
            for (unsigned n = 0; n < N; n++) {
                post(&blk,
                     &(Ask){.type = n % 4 ? T_OUT : T_IN,
                            .out = old,
                            .n_out = n % 4 ? BIG : 0,
                            .n_in = n % 4 ? 0 : BIG},
                     blk.gpa + n * (BIG + 4096));
            }
            door_kick(&blk.door, 0);
            if (round % 2) {
                g_usleep(100 * round);
            }
            door_reset(&blk.door);
            door_start(&blk.door, disks[i].features);
            check_round_trip(&blk, 0, 64 * SECTOR, 0);
        }
        blk_close(&blk);
    }
}

/* A device that goes with requests under way takes them with it. */
static void test_removal_with_requests_under_way(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;

        blk_open(&blk, disks[i].node, "", disks[i].features);
        for (unsigned n = 0; n < 12; n++) {
            post(&blk, &(Ask){.type = T_IN, .n_in = 128 * 1024},
                 blk.gpa + n * (132 * 1024));
        }
        door_kick(&blk.door, 0);
        assert_true(vds_machine_device_del(blk.door.machine, "b", NULL));
        blk_close(&blk);
    }
}

/* What the driver sees stands still between stop and cont; nothing is lost. */
static void test_stops_with_requests_under_way(void **state)
{
    enum { N = 12, BYTES = 128 * 1024 };

    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;
        VdsQueueState before, after;

        blk_open(&blk, disks[i].node, "", disks[i].features);
        for (unsigned n = 0; n < N; n++) {
            post(&blk, &(Ask){.type = T_IN, .sector = n, .n_in = BYTES},
                 blk.gpa + n * (BYTES + 4096));
        }
        door_kick(&blk.door, 0);
        vds_machine_stop(blk.door.machine);
        before = door_state(&blk.door, 0);
        g_usleep(20000);
        after = door_state(&blk.door, 0);
        assert_int_equal(before.used_idx, after.used_idx);
        assert_int_equal(before.last_avail_idx, after.last_avail_idx);
        assert_true(vds_machine_cont(blk.door.machine, NULL));
        for (unsigned n = 0; n < N; n++) {
            uint32_t written;

            assert_int_not_equal(door_used(&blk.door, 0, &written), 0);
            assert_int_equal(written, BYTES + 1);
        }
        blk_close(&blk);
    }
}

/* Whatever the disk has when its queue stops comes back before the stop is told, also
 * while the machine stands still; the rest is the next device's. */
static void test_queue_stops(void **state)
{
    enum { N = 12, BYTES = 128 * 1024 };

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(disks); i++) {
        bool frozen = i % 2;
        VdsQueueState now;
        Blk blk;

        if (disks[i / 2].features != DOOR_SPLIT) {
            continue;
        }
        blk_open(&blk, disks[i / 2].node, "", DOOR_SPLIT);
        for (unsigned n = 0; n < N; n++) {
            post(&blk, &(Ask){.type = T_IN, .sector = n, .n_in = BYTES},
                 blk.gpa + n * (BYTES + 4096));
        }
        door_kick(&blk.door, 0);
        if (frozen) {
            vds_machine_stop(blk.door.machine);
        }
        assert_int_not_equal(door_stop(&blk.door, 0, false), -1);
        now = door_state(&blk.door, 0);
        assert_int_equal(now.used_idx, now.last_avail_idx);
        assert_int_equal(now.inuse, 0);
        assert_int_equal(door_stop(&blk.door, 0, true), now.used_idx);
        assert_true(!frozen || vds_machine_cont(blk.door.machine, NULL));
        for (unsigned n = 0; n < N; n++) {
            uint32_t written;

            assert_int_not_equal(door_used(&blk.door, 0, &written), 0);
            assert_int_equal(written, BYTES + 1);
        }
        assert_int_equal(door_state(&blk.door, 0).used_idx, N);
        blk_close(&blk);
    }
}

static void test_queue_resets(void **state)
{
    enum { BYTES = 128 * 1024 };

    for (size_t i = 0; i < G_N_ELEMENTS(disks); i++) {
        Blk blk;

        blk_open(&blk, disks[i].node, ",num-queues=2", disks[i].features);
        for (unsigned n = 0; n < 10; n++) {
            post(&blk, &(Ask){.type = T_IN, .n_in = BYTES, .queue = 1},
                 blk.gpa + n * (BYTES + 4096));
        }
        door_kick(&blk.door, 1);
        assert_true(vds_virtio_driver_reset_queue(blk.door.device, 1, NULL));
        door_queue(&blk.door, 1);
        check_round_trip(&blk, 0, 8 * SECTOR, 0);
        assert_int_equal(ask(&blk, &(Ask){.type = T_FLUSH, .queue = 1}, NULL), S_OK);
        blk_close(&blk);
    }
}

/* ---- the configuration space
 * ----------------------------------------------------------- */

static uint64_t config_get(Blk *blk, unsigned offset, unsigned n)
{
    uint8_t bytes[8] = {0};
    uint64_t value;

    assert_true(
        vds_virtio_driver_read_config(blk->door.device, offset, bytes, n, NULL, NULL));
    memcpy(&value, bytes, sizeof(value));
    return GUINT64_FROM_LE(value);
}

/* Read from QEMU 7.2 with the same properties, a disk of 64 MiB and two queues. */
static void test_config(void **state)
{
    static const char *const properties[] = {
        ",num-queues=2,physical_block_size=4096,min_io_size=4096,opt_io_size=8192",
        ",num-queues=2,logical_block_size=4096,physical_block_size=4096,write-cache=off,"
        "seg-max-adjust=off,queue-size=64,discard_granularity=8192",
    };
    static const struct {
        const char *what;
        unsigned offset, n;
        uint64_t values[2];
    } rows[] = {
        {"capacity", 0, 8, {131072, 131072}},
        {"size_max", 8, 4, {0, 0}},
        {"seg_max", 12, 4, {254, 126}},
        {"cylinders", 16, 2, {130, 130}},
        {"heads", 18, 1, {16, 16}},
        {"sectors", 19, 1, {63, 56}},
        {"blk_size", 20, 4, {512, 4096}},
        {"physical_block_exp", 24, 1, {3, 0}},
        {"alignment_offset", 25, 1, {0, 0}},
        {"min_io_size", 26, 2, {8, 0}},
        {"opt_io_size", 28, 4, {16, 0}},
        {"writeback", 32, 1, {1, 0}},
        {"num_queues", 34, 2, {2, 2}},
        {"max_discard_sectors", 36, 4, {4194303, 4194303}},
        {"max_discard_seg", 40, 4, {1, 1}},
        {"discard_sector_alignment", 44, 4, {1, 16}},
        {"max_write_zeroes_sectors", 48, 4, {4194303, 4194303}},
        {"max_write_zeroes_seg", 52, 4, {1, 1}},
        {"write_zeroes_may_unmap", 56, 1, {1, 1}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(properties); i++) {
        Blk blk;

        blk_open(&blk, NULL, properties[i], DOOR_SPLIT);
        for (size_t j = 0; j < G_N_ELEMENTS(rows); j++) {
            print_message("# %s\n", rows[j].what);
            assert_int_equal(config_get(&blk, rows[j].offset, rows[j].n),
                             rows[j].values[i]);
        }
        blk_close(&blk);
    }
}

/* 5.2.5: writeback is the driver's to choose, and the device's again after a reset. */
static void test_write_cache(void **state)
{
    static const struct {
        const char *more;
        uint8_t at_first, other;
    } rows[] = {{"", 1, 0}, {",write-cache=off", 0, 1}};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Blk blk;

        blk_open(&blk, "driver=file,node-name=d,filename=%s", rows[i].more, DOOR_SPLIT);
        assert_int_equal(config_get(&blk, 32, 1), rows[i].at_first);
        check_round_trip(&blk, 0, 8 * SECTOR, 0);
        assert_true(
            vds_virtio_driver_write_config(blk.door.device, 32, &rows[i].other, 1, NULL));
        assert_int_equal(config_get(&blk, 32, 1), rows[i].other);
        check_round_trip(&blk, 8, 8 * SECTOR, 0);
        assert_int_equal(segment(&blk, T_ZEROES, 0, 1, 0), S_OK);
        assert_false(
            vds_virtio_driver_write_config(blk.door.device, 0, &rows[i].other, 1, NULL));
        door_reset(&blk.door);
        assert_int_equal(config_get(&blk, 32, 1), rows[i].at_first);
        blk_close(&blk);
    }
}

/* 5.2.5.2: what writeback begins with, by what was negotiated of FLUSH and CONFIG_WCE. */
static void test_first_writeback(void **state)
{
    static const struct {
        uint64_t without;
        const char *more;
        uint8_t at_first;
    } rows[] = {
        {DOOR_BIT(9), "", 0},
        {DOOR_BIT(11), "", 1},
        {DOOR_BIT(11), ",write-cache=off", 1},
        {0, "", 1},
        {0, ",write-cache=off", 0},
        {DOOR_BIT(9), ",write-cache=off", 0},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const uint8_t other = !rows[i].at_first;
        Blk blk;

        blk_open(&blk, NULL, rows[i].more, ~rows[i].without);
        assert_int_equal(config_get(&blk, 32, 1), rows[i].at_first);
        assert_true(vds_virtio_driver_write_config(blk.door.device, 32, &other, 1, NULL));
        assert_int_equal(config_get(&blk, 32, 1), other);
        door_reset(&blk.door);
        door_start(&blk.door, ~rows[i].without);
        assert_int_equal(config_get(&blk, 32, 1), rows[i].at_first);
        blk_close(&blk);
    }
}

/* ---- wiring
 * ------------------------------------------------------------------------------
 */

static void test_unfit_nodes(void **state)
{
    static const char *const rows[] = {
        "driver=file,node-name=d,filename=/nonexistent/disk",
        "driver=file,node-name=d,filename=/tmp,read-only=on",
        "driver=file,node-name=d,filename=/dev/null",
        "driver=file,node-name=d",
        "driver=qcow2,node-name=d,file=e",
        "driver=raw,node-name=d,file=d",
        "driver=raw,node-name=d,file=e",
        "driver=file,node-name=d,filename=/dev/null,aio=magic",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        Door door;

        print_message("# %s\n", rows[i]);
        door_init(&door);
        door_back(&door, "blockdev", rows[i]);
        assert_false(door_plug(&door, "virtio-blk-pci,id=b,drive=d", &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND));
        door_clear(&door);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_was_written),
        cmocka_unit_test(test_zeroes_and_discards),
        cmocka_unit_test(test_unmap_gives_room_back_where_allowed),
        cmocka_unit_test(test_a_disk_says_its_serial),
        cmocka_unit_test(test_all_requests_come_back_once),
        cmocka_unit_test(test_requests_are_told_in_batches),
        cmocka_unit_test(test_a_disk_ends_with_a_whole_sector),
        cmocka_unit_test(test_a_file_in_memory),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_types_need_their_features),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_logical_blocks),
        cmocka_unit_test(test_hostile_requests),
        cmocka_unit_test(test_resets_with_requests_under_way),
        cmocka_unit_test(test_removal_with_requests_under_way),
        cmocka_unit_test(test_stops_with_requests_under_way),
        cmocka_unit_test(test_queue_resets),
        cmocka_unit_test(test_queue_stops),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_write_cache),
        cmocka_unit_test(test_first_writeback),
        cmocka_unit_test(test_unfit_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
