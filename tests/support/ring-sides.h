/*
 * A driver and a device that run at once, in two threads or two processes, and wake each
 * other only as the ring asks for it.
 *
 * Each asks for what it waits for as a real one does; a wakeup that is lost is a side
 * that waits SIDES_PATIENCE_MS in vain, which ends the test.
 */
#pragma once

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "ring-pair.h"

enum { SIDES_PATIENCE_MS = 20000 };

/* A job of this number is the last. */
#define SIDES_STOP UINT32_MAX

/* Either an eventfd, or (threads only) a word that the sleeper spins on: then going to
 * sleep takes as long as a step of the other side, and the two meet in the middle often.
 */
typedef struct {
    int fd;
    atomic_uint word;
    unsigned seen; /* by the sleeper */
} Wakeup;

typedef struct {
    PairConfig config;
    unsigned jobs;
    bool plain; /* both sides sleep when the ring says that there is nothing */
    bool spin;
    Wakeup kick, call;
} Sides;

static inline void sides_wake(Sides *sides, Wakeup *wakeup)
{
    const uint64_t one = 1;

    if (sides->spin) {
        atomic_fetch_add(&wakeup->word, 1);
    } else {
        g_assert_cmpint(write(wakeup->fd, &one, sizeof(one)), ==, sizeof(one));
    }
}

static inline void sides_spin(Wakeup *wakeup)
{
    gint64 end = g_get_monotonic_time() + SIDES_PATIENCE_MS * 1000;
    unsigned turns = 0;

    while (atomic_load(&wakeup->word) == wakeup->seen) {
        if (++turns % 1000 == 0) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            sched_yield();
        }
    }
    wakeup->seen = atomic_load(&wakeup->word);
}

static inline void sides_wait(Sides *sides, Wakeup *wakeup)
{
    struct pollfd poll_fd = {.fd = wakeup->fd, .events = POLLIN};
    uint64_t count = 0;
    int ready = 0;

    if (sides->spin) {
        sides_spin(wakeup);
        return;
    }
    do {
        ready = poll(&poll_fd, 1, SIDES_PATIENCE_MS);
    } while (ready < 0 && errno == EINTR);
    g_assert_cmpint(ready, ==, 1);
    g_assert_cmpint(read(wakeup->fd, &count, sizeof(count)), ==, sizeof(count));
}

/* ---- the device ---- */

typedef struct {
    Sides *sides;
    VdsGuestMap *map;
    VdsVring *ring;
    GRand *rand;
    VdsRequest *held[PAIR_MAX_NUM];
    unsigned n_held;
    bool stop;
} DeviceSide;

static inline void device_side_finish(DeviceSide *side, unsigned keep)
{
    bool interrupt = false;

    while (side->n_held > keep) {
        unsigned i = g_rand_int(side->rand) % side->n_held;
        VdsRequest *request = side->held[i];

        side->held[i] = side->held[--side->n_held];
        g_assert_true(
            vds_vring_push(side->ring, request, (uint32_t)request->in_bytes, NULL));
    }
    g_assert_true(vds_vring_publish(side->ring, &interrupt, NULL));
    if (interrupt) {
        sides_wake(side->sides, &side->sides->call);
    }
}

static inline void device_side_serve(DeviceSide *side)
{
    VdsRequest *request = NULL;

    for (;;) {
        g_assert_true(vds_vring_pop(side->ring, &request, NULL));
        if (!request) {
            break;
        }
        side->stop |= pair_serve(request, side->map) == SIDES_STOP;
        side->held[side->n_held++] = request;
        if (side->n_held >= 1 + g_rand_int(side->rand) % side->sides->config.num) {
            device_side_finish(side, g_rand_int(side->rand) % side->n_held);
        }
    }
    device_side_finish(side, 0);
}

static inline void device_side_run(Sides *sides, VdsGuestMap *map)
{
    g_autoptr(VdsVring) ring = pair_device(&sides->config, map);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    DeviceSide side = {.sides = sides, .map = map, .ring = ring, .rand = rand};

    while (!side.stop) {
        bool more = !sides->plain;

        sides_wait(sides, &sides->kick);
        if (sides->plain) {
            device_side_serve(&side);
        }
        while (more) {
            g_assert_true(vds_vring_set_notify(ring, false, NULL, NULL));
            device_side_serve(&side);
            g_assert_true(vds_vring_set_notify(ring, true, &more, NULL));
        }
    }
}

/* ---- the driver ---- */

typedef struct {
    Sides *sides;
    VdsGuestMap *map;
    VdsDriverRing *ring;
    GRand *rand;
    Job jobs[PAIR_MAX_NUM];
    unsigned made, done;
} DriverSide;

static inline Job *driver_side_idle_job(DriverSide *side)
{
    for (unsigned i = 0; i < side->sides->config.num; i++) {
        if (!side->jobs[i].busy) {
            return &side->jobs[i];
        }
    }
    return NULL;
}

/* The last is alone: no job is on its way when the device goes. */
static inline bool driver_side_add(DriverSide *side)
{
    bool last = side->made + 1 == side->sides->jobs, added = false;
    Job *job = driver_side_idle_job(side);
    VdsBuffer buffer;

    if (!job || side->made == side->sides->jobs || (last && side->done < side->made)) {
        return false;
    }
    pair_job_make(job, (unsigned)(job - side->jobs), last ? SIDES_STOP : side->made,
                  side->rand, MIN(side->sides->config.num, 4));
    pair_job_fill(job, side->map);
    buffer = (VdsBuffer){job->spans, job->n_out, job->n_in, job};
    g_assert_true(vds_driver_ring_add(side->ring, &buffer, &added, NULL));
    job->busy = added;
    side->made += added;
    return added;
}

static inline void driver_side_fill(DriverSide *side)
{
    bool kick = false;

    for (unsigned n = 1 + g_rand_int(side->rand) % 32; n > 0 && driver_side_add(side);
         n--) {
    }
    g_assert_true(vds_driver_ring_should_kick(side->ring, &kick, NULL));
    if (kick) {
        sides_wake(side->sides, &side->sides->kick);
    }
}

/* Until nothing more is used. */
static inline void driver_side_drain(DriverSide *side)
{
    VdsUsed used;

    for (;;) {
        Job *job = NULL;

        g_assert_true(vds_driver_ring_get_used(side->ring, &used, NULL));
        job = used.token;
        if (!job) {
            return;
        }
        g_assert_cmpuint(used.written, ==, job->in_bytes);
        pair_job_check(job, side->map);
        job->busy = false;
        side->done++;
    }
}

static inline void driver_side_run(Sides *sides, VdsGuestMap *map, VdsDriverRing *ring)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(2);
    g_autofree DriverSide *side = g_new0(DriverSide, 1);

    *side = (DriverSide){.sides = sides, .map = map, .ring = ring, .rand = rand};
    while (side->done < sides->jobs) {
        unsigned made = side->made, done = side->done;

        driver_side_fill(side);
        driver_side_drain(side);
        /* Plain: as soon as it may, with buffers on their way and room for more. */
        if (sides->plain ? vds_driver_ring_get_pending(ring) > 0
                         : side->made == made && side->done == done) {
            sides_wait(sides, &sides->call);
        }
    }
}

static const PairConfig sides_configs[] = {
    {false, false, false, false, 16}, {false, true, false, false, 16},
    {false, true, true, false, 64},   {false, true, true, true, 4},
    {true, false, false, false, 16},  {true, true, false, false, 13},
    {true, true, true, false, 64},    {true, true, false, true, 4},
};
