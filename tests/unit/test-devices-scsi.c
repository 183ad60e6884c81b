/*
 * devices: the commands of virtio-scsi with one disk (virtio 1.2, 5.6): what each answers
 * and refuses, reads and writes on every kind of disk, and requests that lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "scsi-door.h"

/* ---- what it says of itself ---- */

static void test_inquiry(void **state)
{
    Scsi scsi;

    scsi_open(&scsi, "", node_null,
              ",serial=abc,wwn=0x5000c50015ea71ac,rotation_rate=1,vendor=ACME",
              DOOR_SPLIT);
    assert_int_equal(GET(&scsi, 36, 0x12, 0, 0, 0, 36, 0), 36);
    assert_int_equal(scsi.data[0], 0);
    assert_int_equal(scsi.data[3] & 15, 2);
    assert_int_equal(scsi.data[4], 31);
    assert_memory_equal(scsi.data + 8, "ACME    virtual disk    1   ", 28);
    assert_int_equal(GET(&scsi, 255, 0x12, 0, 0, 0, 5, 0), 5); /* as much as asked for */
    assert_int_equal(scsi.residual, 250);
    assert_int_equal(GET(&scsi, 255, 0x12, 1, 0, 0, 255, 0), 4 + 6);
    assert_memory_equal(scsi.data + 4, "\x00\x80\x83\xb0\xb1\xb2", 6);
    assert_int_equal(GET(&scsi, 255, 0x12, 1, 0x80, 0, 255, 0), 7);
    assert_memory_equal(scsi.data,
                        "\x00\x80\x00\x03"
                        "abc",
                        7);
    assert_int_equal(GET(&scsi, 255, 0x12, 1, 0x83, 0, 255, 0), 4 + 7 + 12);
    assert_memory_equal(scsi.data + 4,
                        "\x02\x00\x00\x03"
                        "abc"
                        "\x01\x03\x00\x08",
                        11);
    assert_int_equal(get_be(scsi.data + 15, 8), 0x5000c50015ea71ac);
    assert_int_equal(GET(&scsi, 255, 0x12, 1, 0xb0, 0, 255, 0), 64);
    assert_int_equal(scsi.data[4], 1);                    /* zero blocks are none */
    assert_int_equal(get_be(scsi.data + 20, 4), 2097152); /* blocks of an UNMAP */
    assert_int_equal(get_be(scsi.data + 24, 4), 1);       /* and its ranges */
    assert_int_equal(GET(&scsi, 255, 0x12, 1, 0xb1, 0, 255, 0), 64);
    assert_int_equal(get_be(scsi.data + 4, 2), 1);
    assert_int_equal(GET(&scsi, 255, 0x12, 1, 0xb2, 0, 255, 0), 8);
    assert_int_equal(scsi.data[5], 0xe0);
    scsi_close(&scsi);
}

static void test_capacity_and_modes(void **state)
{
    Scsi scsi;

    scsi_open(&scsi, "", node_null, ",physical_block_size=4096", DOOR_PACKED);
    assert_int_equal(GET(&scsi, 8, 0x25), 8);
    assert_int_equal(get_be(scsi.data, 4), BLOCKS - 1);
    assert_int_equal(get_be(scsi.data + 4, 4), BLOCK);
    assert_int_equal(GET(&scsi, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 32);
    assert_int_equal(get_be(scsi.data, 8), BLOCKS - 1);
    assert_int_equal(get_be(scsi.data + 8, 4), BLOCK);
    assert_int_equal(scsi.data[13], 3);
    assert_int_equal(scsi.data[14], 0x80);
    assert_int_equal(GET(&scsi, 64, 0x1a, 0, 0x3f, 0, 64, 0), 4 + 20);
    assert_memory_equal(scsi.data, "\x17\x00\x00\x00\x08\x12\x04", 7);
    assert_int_equal(GET(&scsi, 64, 0x5a, 0, 8, 0, 0, 0, 0, 0, 64), 8 + 20);
    assert_memory_equal(scsi.data, "\x00\x1a\x00\x00\x00\x00\x00\x00\x08\x12\x04", 11);
    assert_int_equal(GET(&scsi, 64, 0x1a, 0, 0x48, 0, 64, 0),
                     24); /* changeable: nothing */
    assert_int_equal(scsi.data[6], 0);
    assert_int_equal(GET(&scsi, 64, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), 16);
    assert_memory_equal(scsi.data, "\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    assert_int_equal(GET(&scsi, 18, 0x03, 0, 0, 0, 18), 18);
    assert_int_equal(scsi.data[2], 0);
    MUST(&scsi, 0x00);
    MUST(&scsi, 0x1b, 0, 0, 0, 1);
    MUST(&scsi, 0x1e);
    MUST(&scsi, 0x35);
    MUST(&scsi, 0x91);
    MUST(&scsi, 0x2f, 0, 0, 0, 0, 0, 0, 0, 8);
    scsi_close(&scsi);
}

/* ---- what it refuses ---- */

#define ILLEGAL(code, ...)                                                               \
    {                                                                                    \
        5, code,                                                                         \
        {                                                                                \
            __VA_ARGS__                                                                  \
        }                                                                                \
    }

static void test_refused(void **state)
{
    static const struct {
        uint8_t key;
        uint16_t code;
        uint8_t cdb[16];
    } rows[] = {
        ILLEGAL(0x2000, 0x04), /* FORMAT UNIT */
        ILLEGAL(0x2000, 0x15), /* MODE SELECT */
        ILLEGAL(0x2000, 0xff),
        ILLEGAL(0x2400, 0x12, 1, 0x7f, 0, 64),             /* no such page */
        ILLEGAL(0x2400, 0x12, 1, 0x80, 0, 64),             /* it has no serial */
        ILLEGAL(0x2400, 0x12, 0, 0x80, 0, 64),             /* a page without EVPD */
        ILLEGAL(0x2400, 0x1a, 0, 0x01, 0, 64),             /* no such page */
        ILLEGAL(0x3900, 0x1a, 0, 0xc8, 0, 64),             /* nothing is saved */
        ILLEGAL(0x2400, 0x9e, 0x12),                       /* no such action */
        ILLEGAL(0x2400, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15), /* room for no LUN */
        ILLEGAL(0x2400, 0xa0, 0, 9, 0, 0, 0, 0, 0, 0, 64), /* no such report */
        ILLEGAL(0x2400, 0x28, 0x20, 0, 0, 0, 0, 0, 0, 1),  /* protected */
        ILLEGAL(0x2100, 0x28, 0, 0, 0, 8, 0, 0, 0, 1),     /* the block after the last */
        ILLEGAL(0x2100, 0x28, 0, 0, 0, 7, 255, 0, 0, 2),   /* over the end */
        ILLEGAL(0x2100, 0x28, 0, 255, 255, 255, 255, 0, 255, 255),
        ILLEGAL(0x2100, 0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                255),
        ILLEGAL(0x2100, 0x08, 0x1f, 255, 255, 0), /* 0 blocks are 256 */
        ILLEGAL(0x2100, 0xa8, 0, 0, 0, 0, 0, 255, 255, 255, 255),
        ILLEGAL(0x2100, 0x2f, 0, 0, 0, 8, 0, 0, 0, 1),
        ILLEGAL(0x2400, 0x2f, 2), /* bytes to compare */
        ILLEGAL(0x2100, 0x91, 0, 255),
        ILLEGAL(0x2400, 0x42, 1, 0, 0, 0, 0, 0, 0, 24), /* ANCHOR */
        ILLEGAL(0x1a00, 0x42, 0, 0, 0, 0, 0, 0, 0, 7),
        ILLEGAL(0x2400, 0x41, 0, 0, 0, 0, 0, 0, 0, 0), /* no blocks */
        ILLEGAL(0x2400, 0x93, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
        ILLEGAL(0x2100, 0x93, 1, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 1),
        ILLEGAL(0x2400, 0x03, 1, 0, 0, 18), /* descriptor format */
    };
    Scsi scsi;

    scsi_open(&scsi, "", node_null, "", DOOR_SPLIT);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_int_equal(run(&scsi, rows[i].cdb, 16, NULL, 0, 64), 0);
        if (scsi.status != CHECK || scsi.key != rows[i].key ||
            scsi.code != rows[i].code) {
            fail_msg("row %zu: status %u key %u code %04x", i, scsi.status, scsi.key,
                     scsi.code);
        }
    }
    MUST(&scsi, 0x00); /* nothing of it sticks */
    scsi_close(&scsi);
}

static void test_targets_and_units(void **state)
{
    Scsi scsi;

    scsi_open(&scsi, "", node_null, ",scsi-id=3,lun=260", DOOR_SPLIT);
    GET(&scsi, 36, 0x12, 0, 0, 0, 36, 0);
    assert_int_equal(scsi.response, BAD_TARGET);
    assert_int_equal(scsi.written, IN);
    scsi.lun[1] = 3;
    assert_int_equal(GET(&scsi, 36, 0x12, 0, 0, 0, 36, 0), 36);
    assert_int_equal(scsi.data[0], 0x7f); /* no unit here */
    RUN(&scsi, NULL, 0, 0, 0x00);
    assert_int_equal(scsi.code, 0x2500);
    assert_int_equal(GET(&scsi, 64, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), 16);
    assert_int_equal(get_be(scsi.data + 8, 2), 0x4104);
    assert_int_equal(GET(&scsi, 18, 0x03, 0, 0, 0, 18), 18);
    assert_int_equal(scsi.data[2], 5);
    memcpy(scsi.lun + 2, scsi.data + 8, 0);
    scsi.lun[2] = 0x41;
    scsi.lun[3] = 0x04;
    MUST(&scsi, 0x00);
    scsi_close(&scsi);
}
/* ---- bytes ---- */

static void test_bytes_of_a_file(void **state)
{
    static const char *const engines[] = {"", ",aio=threads"};

    for (size_t i = 0; i < G_N_ELEMENTS(engines); i++) {
        Scsi scsi;

        scsi_open_file(&scsi, engines[i], i ? ",write-cache=off" : "",
                       i ? DOOR_PACKED : DOOR_SPLIT);
        read_and_write(&scsi);
        MUST(&scsi, 0x35);
        scsi_close(&scsi);
    }
}

static void test_zeroes_and_unmap(void **state)
{
    uint8_t zeroes[4 * BLOCK] = {0}, ones[4 * BLOCK];
    uint8_t list[24] = {0, 22, 0, 16, [15] = 4, [19] = 4};
    Scsi scsi;

    memset(ones, 1, sizeof(ones));
    scsi_open_file(&scsi, ",discard=unmap", "", DOOR_SPLIT);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(RUN(&scsi, ones, sizeof(ones), 0, 0x2a, 0, 0, 0, 0, 4, 0, 0, 4),
                         0);
        switch (i) {
        case 0:
            RUN(&scsi, list, sizeof(list), 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
            break;
        case 1:
            RUN(&scsi, zeroes, BLOCK, 0, 0x41, 0, 0, 0, 0, 4, 0, 0, 4);
            break;
        case 2:
            RUN(&scsi, NULL, 0, 0, 0x93, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4);
            break;
        default:
            RUN(&scsi, ones, BLOCK, 0, 0x41, 0, 0, 0, 0, 4, 0, 0, 4); /* no zeroes */
            assert_int_equal(scsi.code, 0x2400);
        }
        assert_int_equal(scsi.status, i < 3 ? GOOD : CHECK);
        assert_int_equal(GET(&scsi, sizeof(ones), 0x28, 0, 0, 0, 0, 4, 0, 0, 4),
                         sizeof(ones));
        assert_memory_equal(scsi.data, i < 3 ? zeroes : ones, sizeof(ones));
    }
    list[3] = 32; /* two ranges */
    RUN(&scsi, list, sizeof(list), 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
    assert_int_equal(scsi.code, 0x2600);
    list[3] = 0; /* none */
    RUN(&scsi, list, 8, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 8);
    assert_int_equal(scsi.status, GOOD);
    list[3] = 16;
    list[8] = 255; /* far beyond the end */
    RUN(&scsi, list, sizeof(list), 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
    assert_int_equal(scsi.code, 0x2100);
    scsi_close(&scsi);
}

/* What the block limits page shows is kept (SBC-3, 6.5.3): the most is done, one block
 * more is refused. */
static void test_limits(void **state)
{
    enum { UNMAPPED = 8, MOVED = 4, SAME = 1 << 22 };
    uint8_t list[24] = {0, 22, 0, 16}, block[BLOCK] = {0}, page[64];
    uint8_t data[(MOVED + 1) * BLOCK] = {0};
    static Scsi scsi;

    scsi_open(&scsi, "", "driver=null-co,node-name=n,size=4G",
              ",max_unmap_size=4096,max_io_size=2048", DOOR_SPLIT);
    GET(&scsi, sizeof(page), 0x12, 1, 0xb0, 0, sizeof(page), 0);
    assert_int_equal(get_be(scsi.data + 8, 4), MOVED);
    assert_int_equal(get_be(scsi.data + 20, 4), UNMAPPED);
    assert_int_equal(get_be(scsi.data + 36, 8), SAME);
    for (uint8_t more = 0; more < 2; more++) {
        const unsigned status = more ? CHECK : GOOD;

        list[19] = (uint8_t)(UNMAPPED + more);
        RUN(&scsi, list, sizeof(list), 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
        assert_int_equal(scsi.status, status);
        assert_int_equal(scsi.code, more ? 0x2600 : 0);
        RUN(&scsi, block, BLOCK, 0, 0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, more);
        assert_int_equal(scsi.status, status);
        assert_int_equal(scsi.code, more ? 0x2400 : 0);
        GET(&scsi, sizeof(data), 0x28, 0, 0, 0, 0, 0, 0, 0, (uint8_t)(MOVED + more));
        assert_int_equal(scsi.status, status);
        assert_int_equal(scsi.code, more ? 0x2400 : 0);
        RUN(&scsi, data, sizeof(data), 0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            (uint8_t)(MOVED + more));
        assert_int_equal(scsi.status, status);
        assert_int_equal(scsi.code, more ? 0x2400 : 0);
    }
    scsi_close(&scsi);
}

/* 5.6.6.1: without F_INOUT a command with data both ways comes back with FAILURE. */
static void test_data_both_ways(void **state)
{
    static const uint8_t cdbs[][10] = {{0x28, [8] = 1}, {0x2a, [8] = 1}, {0x00}};
    uint8_t block[BLOCK] = {1};
    static Scsi scsi;

    scsi_open_file(&scsi, "", "", DOOR_SPLIT);
    for (size_t i = 0; i < G_N_ELEMENTS(cdbs); i++) {
        assert_int_equal(run(&scsi, cdbs[i], 10, block, BLOCK, BLOCK), 0);
        assert_int_equal(scsi.response, 9);
        assert_int_equal(scsi.status, GOOD);
    }
    assert_int_equal(GET(&scsi, BLOCK, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), BLOCK);
    assert_int_equal(scsi.data[0], 0); /* nothing was written */
    scsi_close(&scsi);
}

static void test_read_only(void **state)
{
    static const uint8_t writers[] = {0x0a, 0x2a, 0xaa, 0x8a, 0x41, 0x42, 0x93};
    uint8_t block[BLOCK] = {0};
    Scsi scsi;

    scsi_open(&scsi, "", "driver=null-co,node-name=n,size=1048576,read-only=on", "",
              DOOR_SPLIT);
    for (size_t i = 0; i < G_N_ELEMENTS(writers); i++) {
        RUN(&scsi, block, sizeof(block), 0, writers[i], 0, 0, 0, 0, 0, 0, 0, 1);
        assert_int_equal(scsi.status, CHECK);
        assert_int_equal(scsi.key, 7);
        assert_int_equal(scsi.code, 0x2700);
    }
    assert_int_equal(GET(&scsi, 64, 0x1a, 0, 0x3f, 0, 64, 0), 24);
    assert_int_equal(scsi.data[2], 0x80);
    scsi_close(&scsi);
}

/* Buffers that are too small for what the command says: nothing is done. */
static void test_overruns(void **state)
{
    uint8_t ones[BLOCK], zeroes[BLOCK] = {0};
    Scsi scsi;

    memset(ones, 1, sizeof(ones));
    scsi_open_file(&scsi, "", "", DOOR_SPLIT);
    assert_int_equal(GET(&scsi, BLOCK - 1, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), 0);
    assert_int_equal(scsi.response, OVERRUN);
    RUN(&scsi, ones, BLOCK, 0, 0x2a, 0, 0, 0, 0, 0, 0, 0, 2);
    assert_int_equal(scsi.response, OVERRUN);
    assert_int_equal(GET(&scsi, BLOCK, 0x28, 0, 0, 0, 0, 0, 0, 0, 1), BLOCK);
    assert_memory_equal(scsi.data, zeroes, BLOCK);
    assert_int_equal(GET(&scsi, 10, 0x12, 0, 0, 0, 36, 0), 10);
    assert_int_equal(scsi.response, OVERRUN);
    RUN(&scsi, ones, 10, 0, 0x41, 0, 0, 0, 0, 0, 0, 0, 1);
    assert_int_equal(scsi.response, OVERRUN);
    RUN(&scsi, ones, 10, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24);
    assert_int_equal(scsi.response, OVERRUN);
    scsi_close(&scsi);
}
/* ---- what lies ---- */

static void test_lies(void **state)
{
    static const struct {
        unsigned queue;
        uint32_t n_out, n_in;
        const char *reason;
    } rows[] = {
        {REQUESTS, OUT, IN - 1,
         "5.6.6.1: a request without room for its response, in queue 2"},
        {REQUESTS, OUT - 1, IN,
         "5.6.6.1: a request header that is too short, in queue 2"},
        {REQUESTS, OUT, 0,
         "5.6.6.1: a request without room for its response, in queue 2"},
        {CONTROL, 23, 1,
         "5.6.6.2: an invalid control request, of 23 bytes with room for 1, in queue 0"},
        {CONTROL, 24, 0,
         "5.6.6.2: an invalid control request, of 24 bytes with room for 0, in queue 0"},
        {CONTROL, 3, 9,
         "5.6.6.2: an invalid control request, of 3 bytes with room for 9, in queue 0"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *reason = NULL;
        Scsi scsi;

        scsi_open(&scsi, "", node_null, "", i % 2 ? DOOR_PACKED : DOOR_SPLIT);
        door_add(&scsi.door, rows[i].queue, scsi.gpa, rows[i].n_out, rows[i].n_in, 0,
                 &scsi);
        door_kick(&scsi.door, rows[i].queue);
        door_settle(&scsi.door);
        reason = vds_virtio_device_get_broken_reason(scsi.door.device);
        assert_string_equal(reason, rows[i].reason);
        door_reset(&scsi.door);
        door_start(&scsi.door, DOOR_SPLIT);
        MUST(&scsi, 0x00);
        scsi_close(&scsi);
    }
}

/* Sizes that the driver asks for (5.6.4): kept where they can be, and a reset forgets. */
static void test_sizes_of_the_driver(void **state)
{
    const uint32_t sense = 20, cdb = 16, too_much = 253;
    uint8_t bytes[HEADER + 16] = {1, [HEADER] = 0xff}, answer[RESPONSE + 20];
    uint32_t written;
    Scsi scsi;

    scsi_open(&scsi, "", node_null, "", DOOR_SPLIT);
    assert_true(vds_virtio_driver_write_config(scsi.door.device, 20, &sense, 4, NULL));
    assert_true(vds_virtio_driver_write_config(scsi.door.device, 24, &cdb, 4, NULL));
    door_poke(&scsi.door, scsi.gpa, bytes, sizeof(bytes));
    door_add(&scsi.door, REQUESTS, scsi.gpa, sizeof(bytes), sizeof(answer), 0, &scsi);
    door_kick(&scsi.door, REQUESTS);
    assert_int_not_equal(door_used(&scsi.door, REQUESTS, &written), 0);
    assert_int_equal(written, sizeof(answer));
    door_peek(&scsi.door, scsi.gpa + sizeof(bytes), answer, sizeof(answer));
    assert_int_equal(answer[RESPONSE + 12], 0x20);
    assert_false(door_is_broken(&scsi.door));
    assert_true(vds_virtio_driver_write_config(scsi.door.device, 20, &too_much, 4, NULL));
    assert_true(door_is_broken(&scsi.door));
    door_reset(&scsi.door);
    door_start(&scsi.door, DOOR_SPLIT);
    MUST(&scsi, 0x00);
    scsi_close(&scsi);
}

/* A request that is under way keeps the length of response it began with. */
static void test_sense_size_changes_meanwhile(void **state)
{
    const uint32_t more = 252;
    static Scsi scsi;

    scsi_open(&scsi, "", "driver=null-co,node-name=n,latency-ns=200000000", "",
              DOOR_SPLIT);
    memset(scsi.data, 0xff, BLOCK);
    post(&scsi, 1, (const uint8_t[]){0x35}, 1, NULL, 0, 0); /* SYNCHRONIZE CACHE */
    door_settle(&scsi.door);
    assert_true(vds_virtio_driver_write_config(scsi.door.device, 20, &more, 4, NULL));
    take(&scsi, 0, 0);
    assert_int_equal(scsi.written, IN);
    assert_int_equal(scsi.status, GOOD);
    assert_int_equal(scsi.response, OK);
    scsi_close(&scsi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inquiry),
        cmocka_unit_test(test_capacity_and_modes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_targets_and_units),
        cmocka_unit_test(test_bytes_of_a_file),
        cmocka_unit_test(test_zeroes_and_unmap),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_data_both_ways),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_overruns),
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_sizes_of_the_driver),
        cmocka_unit_test(test_sense_size_changes_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
