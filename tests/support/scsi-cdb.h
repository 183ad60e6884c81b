/*
 * tests: what a SCSI command names: its first block and how many, by its group (SPC-4,
 * 4.2.5), read without the device's own code.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Where both stand. */
static const struct {
    uint8_t lba, lba_len, n, n_len;
} groups[8] = {
    [0] = {1, 3, 4, 1},  [1] = {2, 4, 7, 2}, [2] = {2, 4, 7, 2},
    [4] = {2, 8, 10, 4}, [5] = {2, 4, 6, 4},
};

static inline uint64_t get_be(const uint8_t *bytes, unsigned n)
{
    uint64_t value = 0;

    while (n-- > 0) {
        value = value << 8 | *bytes++;
    }
    return value;
}

static inline uint64_t get_lba(const uint8_t *cdb)
{
    unsigned group = cdb[0] >> 5;
    uint64_t lba = get_be(cdb + groups[group].lba, groups[group].lba_len);

    return group == 0 ? lba & 0x1fffff : lba;
}

static inline uint64_t get_count(const uint8_t *cdb)
{
    unsigned group = cdb[0] >> 5;
    uint64_t n = get_be(cdb + groups[group].n, groups[group].n_len);

    return group == 0 && n == 0 ? 256 : n;
}

/* Onto the disk, or a little beyond, and few blocks. */
static inline void fit_range(uint8_t *cdb)
{
    unsigned group = cdb[0] >> 5, lba = groups[group].lba, n = groups[group].n;

    if (groups[group].lba_len > 0) {
        memset(cdb + lba, 0, groups[group].lba_len - 1u);
        memset(cdb + n, 0, groups[group].n_len - 1u);
        cdb[n + groups[group].n_len - 1] &= 15;
    }
}

static inline bool is_one_of(const uint8_t *cdb, const char *opcodes, size_t n)
{
    return memchr(opcodes, cdb[0], n) != NULL;
}

static inline bool is_read(const uint8_t *cdb)
{
    return is_one_of(cdb, "\x08\x28\x88\xa8", 4);
}

static inline bool is_write(const uint8_t *cdb)
{
    return is_one_of(cdb, "\x0a\x2a\x8a\xaa", 4);
}

static inline bool is_write_same(const uint8_t *cdb)
{
    return is_one_of(cdb, "\x41\x93", 2);
}
