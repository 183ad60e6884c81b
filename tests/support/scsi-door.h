/*
 * tests: a driver of virtio-scsi with one disk: a command, its answer taken apart, and
 * reads and writes of every length.  Includes cmocka's asserts.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>

#include "door.h"

enum { CONTROL, EVENT, REQUESTS, HEADER = 19, CDB = 32, RESPONSE = 12, SENSE = 96 };
enum { OUT = HEADER + CDB, IN = RESPONSE + SENSE, ROOM = 512 * 1024 };
enum { GOOD = 0, CHECK = 2, OK = 0, OVERRUN = 1, BAD_TARGET = 3 };
enum { BLOCK = 512, DISK = 1 << 20, BLOCKS = DISK / BLOCK };
enum { COMPLETE = 0, SUCCEEDED = 10, REJECTED = 11, INCORRECT_LUN = 12 };

typedef struct {
    Door door;
    uint64_t gpa;
    char *file; /* (nullable) */
    uint8_t lun[8];
    uint8_t status, response, key;
    unsigned code;
    uint32_t residual, written;
    uint8_t data[ROOM];
} Scsi;

static inline void scsi_open(Scsi *scsi, const char *adapter, const char *node,
                             const char *disk, uint64_t features)
{
    g_autofree char *device = g_strdup_printf("virtio-scsi-pci,id=s%s", adapter);

    *scsi = (Scsi){.lun = {1}};
    door_init(&scsi->door);
    assert_true(door_plug(&scsi->door, device, NULL));
    if (node) {
        g_autofree char *unit = g_strdup_printf("scsi-hd,id=d,bus=s.0,drive=n%s", disk);

        door_back(&scsi->door, "blockdev", node);
        assert_true(door_plug(&scsi->door, unit, NULL));
    }
    door_find(&scsi->door, "s");
    door_start(&scsi->door, features);
    scsi->gpa = door_alloc(&scsi->door, 2 * ROOM);
}

static inline char *make_file(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("vds-scsi-XXXXXX", &path, NULL);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, DISK), 0);
    close(fd);
    return g_steal_pointer(&path);
}

static inline void scsi_open_file(Scsi *scsi, const char *more, const char *disk,
                                  uint64_t features)
{
    g_autofree char *path = make_file();
    g_autofree char *node =
        g_strdup_printf("driver=file,node-name=n,filename=%s%s", path, more);

    scsi_open(scsi, "", node, disk, features);
    scsi->file = g_steal_pointer(&path);
}

static inline void scsi_close(Scsi *scsi)
{
    door_clear(&scsi->door);
    if (scsi->file) {
        g_unlink(scsi->file);
        g_free(scsi->file);
    }
}

static inline uint32_t get_le32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static inline uint64_t get_be(const uint8_t *bytes, unsigned n)
{
    uint64_t value = 0;

    while (n-- > 0) {
        value = value << 8 | *bytes++;
    }
    return value;
}

static inline void post(Scsi *scsi, uint64_t tag, const uint8_t *cdb, size_t cdb_len,
                        const void *data, uint32_t n_out, uint32_t n_in)
{
    uint8_t bytes[OUT] = {0};

    memcpy(bytes, scsi->lun, sizeof(scsi->lun));
    memcpy(bytes + 8, &tag, sizeof(tag));
    memcpy(bytes + HEADER, cdb, cdb_len);
    door_poke(&scsi->door, scsi->gpa, bytes, OUT);
    if (data) {
        door_poke(&scsi->door, scsi->gpa + OUT, data, n_out);
    }
    door_add(&scsi->door, REQUESTS, scsi->gpa, OUT + n_out, IN + n_in, 16384,
             GSIZE_TO_POINTER(scsi->gpa));
    door_kick(&scsi->door, REQUESTS);
}

static inline void take(Scsi *scsi, uint32_t n_out, uint32_t n_in)
{
    uint8_t bytes[IN];
    uint64_t at = scsi->gpa + OUT + n_out;

    assert_true(door_used(&scsi->door, REQUESTS, &scsi->written) == scsi->gpa);
    assert_in_range(scsi->written, IN, IN + n_in);
    door_peek(&scsi->door, at, bytes, IN);
    door_peek(&scsi->door, at + IN, scsi->data, n_in);
    scsi->residual = get_le32(bytes + 4);
    scsi->status = bytes[10];
    scsi->response = bytes[11];
    scsi->key = bytes[RESPONSE + 2];
    scsi->code = (unsigned)bytes[RESPONSE + 12] << 8 | bytes[RESPONSE + 13];
    assert_int_equal(get_le32(bytes), scsi->status == CHECK ? 18 : 0);
    if (scsi->status == CHECK) {
        assert_int_equal(bytes[RESPONSE], 0x70);
        assert_int_equal(scsi->response, OK);
    }
}

/* Bytes of the answer. */
static inline uint32_t run(Scsi *scsi, const uint8_t *cdb, size_t cdb_len,
                           const void *data, uint32_t n_out, uint32_t n_in)
{
    post(scsi, 1, cdb, cdb_len, data, n_out, n_in);
    take(scsi, n_out, n_in);
    return scsi->written - IN;
}

#define RUN(scsi, data, n_out, n_in, ...)                                                \
    run(scsi, (const uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}), data,    \
        n_out, n_in)
#define GET(scsi, n_in, ...) RUN(scsi, NULL, 0, n_in, __VA_ARGS__)
#define MUST(scsi, ...)                                                                  \
    do {                                                                                 \
        RUN(scsi, NULL, 0, 0, __VA_ARGS__);                                              \
        assert_int_equal((scsi)->status, GOOD);                                          \
        assert_int_equal((scsi)->response, OK);                                          \
    } while (0)

static const char node_null[] = "driver=null-co,node-name=n,size=1048576";
/* ---- bytes ---- */

static inline void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        bytes[i] = (uint8_t)(seed >> 16);
    }
}

/* Every length of READ and WRITE; what one writes another reads. */
static inline void read_and_write(Scsi *scsi)
{
    static const struct {
        uint8_t write[16], read[16];
        uint32_t blocks;
    } rows[] = {
        {{0x0a, 0, 0, 9, 3}, {0x08, 0, 0, 9, 3}, 3},
        {{0x0a, 0, 1, 0, 0}, {0x28, 0, 0, 0, 1, 0, 0, 1, 0}, 256},
        {{0x2a, 0, 0, 0, 0, 5, 0, 0, 7},
         {0x88, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 7},
         7},
        {{0xaa, 8, 0, 0, 7, 0, 0, 0, 0, 255}, {0xa8, 0, 0, 0, 7, 0, 0, 0, 0, 255}, 255},
        {{0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 3, 0},
         {0x28, 0, 0, 0, 0, 1, 0, 3, 0},
         768},
    };
    g_autofree uint8_t *bytes = g_malloc(ROOM);

    for (uint32_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint32_t len = rows[i].blocks * BLOCK;

        fill(bytes, len, i);
        assert_int_equal(run(scsi, rows[i].write, 16, bytes, len, 0), 0);
        assert_int_equal(scsi->status, GOOD);
        assert_int_equal(scsi->residual, 0);
        assert_int_equal(run(scsi, rows[i].read, 16, NULL, 0, len), len);
        assert_int_equal(scsi->status, GOOD);
        assert_memory_equal(scsi->data, bytes, len);
    }
}
