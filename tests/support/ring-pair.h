/*
 * A driver's and a device's side on one ring, for tests of both: where things are in
 * guest memory, and buffers whose content tells whether they arrived.
 *
 * Every buffer is a Job: the driver writes a pattern into what the device reads, the
 * device checks it and writes another one back.
 */
#pragma once

#include <string.h>

#include "vds/vring.h"

typedef struct {
    bool packed, event_idx, indirect, in_order;
    uint32_t num;
} PairConfig;

enum {
    PAIR_DESC = 0x1000,
    PAIR_AVAIL = 0x3000,
    PAIR_USED = 0x4000,
    PAIR_TABLES = 0x8000,
    PAIR_DATA = 0x20000,
    PAIR_MAX_NUM = 256,
    PAIR_ENTRIES = 8, /* of a table: the most spans of a job */
    PAIR_JOB_BYTES = 128,
    PAIR_BYTES = PAIR_DATA + PAIR_MAX_NUM * PAIR_JOB_BYTES,
};

typedef struct {
    bool busy;
    uint32_t sequence; /* what the pattern is made of */
    VdsSpan spans[PAIR_ENTRIES];
    uint32_t n_out, n_in, out_bytes, in_bytes;
} Job;

static inline VdsQueueState pair_setup(const PairConfig *config, VdsGuestMap *map)
{
    return (VdsQueueState){.packed = config->packed,
                           .event_idx = config->event_idx,
                           .num = config->num,
                           .desc = PAIR_DESC,
                           .avail = PAIR_AVAIL,
                           .used = PAIR_USED,
                           .map = map};
}

static inline unsigned pair_flags(const PairConfig *config)
{
    return (config->indirect ? VDS_VRING_INDIRECT : 0u) |
           (config->in_order ? VDS_VRING_IN_ORDER : 0u);
}

static inline VdsDriverRing *pair_driver(const PairConfig *config, VdsGuestMap *map)
{
    const VdsQueueState setup = pair_setup(config, map);
    const VdsDriverTables tables = {PAIR_TABLES, PAIR_ENTRIES};

    return vds_driver_ring_new(&setup, pair_flags(config), &tables, NULL);
}

static inline VdsVring *pair_device(const PairConfig *config, VdsGuestMap *map)
{
    const VdsQueueState setup = pair_setup(config, map);

    return vds_vring_new(&setup, pair_flags(config), NULL);
}

static inline uint8_t pair_byte(uint32_t sequence, uint32_t i)
{
    return (uint8_t)(sequence * 31 + (sequence >> 8) + i);
}

/* Cuts a job's memory into 1 to PAIR_ENTRIES spans, at most `room`, of 1 to 16 bytes; the
 * first 4 bytes it reads are the sequence number. */
static inline void pair_job_make(Job *job, unsigned index, uint32_t sequence, GRand *rand,
                                 uint32_t room)
{
    uint64_t gpa = PAIR_DATA + (uint64_t)index * PAIR_JOB_BYTES;
    uint32_t n = 1 + g_rand_int(rand) % MIN(room, PAIR_ENTRIES);

    *job = (Job){.busy = true, .sequence = sequence};
    job->n_out = 1 + g_rand_int(rand) % n;
    job->n_in = n - job->n_out;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = (i == 0 ? 4 : 1) + g_rand_int(rand) % 12;

        job->spans[i] = (VdsSpan){gpa, len};
        gpa += len;
        *(i < job->n_out ? &job->out_bytes : &job->in_bytes) += len;
    }
}

/* The driver's half: the bytes that the device is to read. */
static inline void pair_job_fill(const Job *job, const VdsGuestMap *map)
{
    uint8_t bytes[PAIR_JOB_BYTES];

    memcpy(bytes, &job->sequence, 4);
    for (uint32_t i = 4; i < job->out_bytes; i++) {
        bytes[i] = pair_byte(job->sequence, i);
    }
    g_assert_true(
        vds_guest_map_write(map, job->spans[0].gpa, bytes, job->out_bytes, NULL));
}

static inline void pair_copy(const VdsGuestMap *map, const VdsSpan *spans, uint32_t n,
                             uint8_t *bytes, bool write)
{
    for (uint32_t i = 0; i < n; i++) {
        g_assert_true(
            write ? vds_guest_map_write(map, spans[i].gpa, bytes, spans[i].len, NULL)
                  : vds_guest_map_read(map, spans[i].gpa, bytes, spans[i].len, NULL));
        bytes += spans[i].len;
    }
}

/* The device's: checks what it reads and answers.  Returns the sequence number. */
static inline uint32_t pair_serve(const VdsRequest *request, const VdsGuestMap *map)
{
    uint8_t bytes[PAIR_JOB_BYTES];
    uint32_t sequence = 0;

    g_assert_cmpuint(request->out_bytes, >=, 4);
    g_assert_cmpuint(request->out_bytes + request->in_bytes, <=, PAIR_JOB_BYTES);
    pair_copy(map, request->spans, request->n_out, bytes, false);
    memcpy(&sequence, bytes, 4);
    for (uint32_t i = 4; i < request->out_bytes; i++) {
        g_assert_cmpuint(bytes[i], ==, pair_byte(sequence, i));
    }
    for (uint32_t i = 0; i < request->in_bytes; i++) {
        bytes[i] = pair_byte(~sequence, i);
    }
    pair_copy(map, request->spans + request->n_out, request->n_in, bytes, true);
    return sequence;
}

/* The driver's again: what the device wrote. */
static inline void pair_job_check(const Job *job, const VdsGuestMap *map)
{
    uint8_t bytes[PAIR_JOB_BYTES];

    pair_copy(map, job->spans + job->n_out, job->n_in, bytes, false);
    for (uint32_t i = 0; i < job->in_bytes; i++) {
        g_assert_cmpuint(bytes[i], ==, pair_byte(~job->sequence, i));
    }
}
