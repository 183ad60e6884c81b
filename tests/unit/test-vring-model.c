/*
 * vring: the two sides against each other in one process, each step at random, each side
 * running only when the other told it to; then every short sequence of steps.
 *
 * A wakeup that is lost shows as two sides that sleep over an unfinished buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ring-pair.h"

typedef struct {
    PairConfig config;
    bool scattered; /* a map that grants one byte at a time */
    unsigned jobs;
} Row;

/* 70,000 is past the end of the 16-bit indices. */
static const Row rows[] = {
    {{false, false, false, false, 8}, false, 70000},
    {{false, true, false, false, 8}, false, 70000},
    {{false, false, true, false, 8}, false, 70000},
    {{false, true, true, false, 256}, false, 70000},
    {{false, false, false, true, 16}, false, 70000},
    {{false, true, true, true, 16}, false, 70000},
    {{false, true, true, false, 1}, false, 70000},
    {{false, true, false, true, 16}, true, 700},
    {{false, false, true, false, 4}, true, 700},
    {{true, false, false, false, 8}, false, 70000},
    {{true, true, false, false, 8}, false, 70000},
    {{true, false, true, false, 7}, false, 70000},
    {{true, true, true, false, 256}, false, 70000},
    {{true, false, false, true, 13}, false, 70000},
    {{true, true, true, true, 16}, false, 70000},
    {{true, true, true, false, 1}, false, 70000},
    {{true, true, false, false, 11}, true, 700},
    {{true, true, true, true, 4}, true, 700},
};

typedef struct {
    const Row *row;
    GRand *rand;
    VdsGuestMap *map;
    VdsDriverRing *driver;
    VdsVring *device;
    bool kicked, interrupted;
    Job jobs[PAIR_MAX_NUM];
    unsigned made, checked;
    VdsRequest *held[PAIR_MAX_NUM]; /* popped, served, not pushed */
    unsigned n_held;
    unsigned kicks, interrupts;
} World;

static VdsGuestMap *world_map(uint8_t *bytes, bool scattered)
{
    size_t n = scattered ? PAIR_BYTES : 1;
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, n);
    g_autofree void **hva = g_new0(void *, n);

    for (size_t i = 0; i < n; i++) {
        regions[i] = (VdsGuestRegion){.gpa = i, .len = PAIR_BYTES / n, .fd = -1};
        hva[i] = bytes + i;
    }
    return vds_guest_map_new_from_memory(regions, n, hva, NULL);
}

static unsigned chance(World *world, unsigned n)
{
    return g_rand_int(world->rand) % n;
}

/* ---- the driver's steps ---- */

static bool add_one(World *world)
{
    Job *job = world->jobs;
    VdsBuffer buffer;
    bool added = false;

    while (job->busy) {
        job++;
    }
    pair_job_make(job, (unsigned)(job - world->jobs), world->made, world->rand,
                  world->row->config.num);
    pair_job_fill(job, world->map);
    buffer = (VdsBuffer){job->spans, job->n_out, job->n_in, job};
    assert_true(vds_driver_ring_add(world->driver, &buffer, &added, NULL));
    job->busy = added;
    world->made += added;
    return added;
}

static void kick(World *world)
{
    bool wanted = false;

    assert_true(vds_driver_ring_should_kick(world->driver, &wanted, NULL));
    world->kicked |= wanted;
    world->kicks += wanted;
}

static void add_some(World *world)
{
    for (unsigned n = 1 + chance(world, 6); n > 0 && world->made < world->row->jobs;
         n--) {
        if (vds_driver_ring_get_pending(world->driver) == world->row->config.num ||
            !add_one(world)) {
            break;
        }
    }
    kick(world);
}

static bool check_one(World *world)
{
    VdsUsed used;
    Job *job = NULL;

    assert_true(vds_driver_ring_get_used(world->driver, &used, NULL));
    job = used.token;
    if (!job) {
        return false;
    }
    assert_true(job->busy);
    assert_int_equal(used.written, job->in_bytes);
    pair_job_check(job, world->map);
    job->busy = false;
    world->checked++;
    return true;
}

static void drive(World *world)
{
    bool more = false, spare = chance(world, 2);

    world->interrupted = false;
    do {
        if (spare) {
            assert_true(vds_driver_ring_set_interrupts(world->driver, false, NULL, NULL));
        }
        while (check_one(world)) {
            if (chance(world, 4) == 0) {
                add_some(world);
            }
        }
        if (spare) {
            assert_true(vds_driver_ring_set_interrupts(world->driver, true, &more, NULL));
        }
    } while (more);
}

/* ---- the device's ---- */

static bool pop_one(World *world)
{
    VdsRequest *request = NULL;

    assert_true(vds_vring_pop(world->device, &request, NULL));
    if (!request) {
        return false;
    }
    if (chance(world, 8) == 0) {
        VdsRequest first = *request, *again = NULL;

        vds_vring_unpop(world->device, request);
        assert_true(vds_vring_pop(world->device, &again, NULL));
        assert_true(again && again->id == first.id && again->slots == first.slots);
        request = again;
    }
    pair_serve(request, world->map);
    world->held[world->n_held++] = request;
    return true;
}

/* `shown`: some before it were, and nobody asked whether to be told. */
static void publish(World *world, bool shown)
{
    bool wanted = false;

    assert_true(
        (shown ? vds_vring_notify : vds_vring_publish)(world->device, &wanted, NULL));
    world->interrupted |= wanted;
    world->interrupts += wanted;
}

/* Pushes some, any first. */
static void finish_some(World *world)
{
    bool shown = false;

    for (unsigned n = chance(world, world->n_held + 1); n > 0; n--) {
        unsigned i = chance(world, world->n_held);
        VdsRequest *request = world->held[i];

        world->held[i] = world->held[--world->n_held];
        assert_true(
            vds_vring_push(world->device, request, (uint32_t)request->in_bytes, NULL));
        switch (chance(world, 4)) {
        case 0:
            publish(world, shown);
            shown = false;
            break;
        case 1:
            assert_true(vds_vring_show(world->device, NULL));
            shown = true;
            break;
        default:
            break; /* with the next one */
        }
    }
    publish(world, shown);
}

static void serve(World *world)
{
    bool more = false, spare = chance(world, 2);

    world->kicked = false;
    do {
        if (spare) {
            assert_true(vds_vring_set_notify(world->device, false, NULL, NULL));
        }
        while (pop_one(world)) {
            if (chance(world, 4) == 0) {
                finish_some(world);
            }
        }
        if (spare) {
            assert_true(vds_vring_set_notify(world->device, true, &more, NULL));
        }
    } while (more);
}

static void check_state(const World *world)
{
    VdsQueueState state = {0};

    vds_vring_get_state(world->device, &state);
    assert_true(state.inuse <= state.num);
    if (!state.packed) {
        assert_int_equal((uint16_t)(state.used_idx + state.inuse - state.last_avail_idx),
                         0);
    } else {
        assert_true(state.last_avail_idx < state.num && state.used_idx < state.num);
    }
    assert_int_equal(state.signalled_used_valid && !state.packed && !state.event_idx, 0);
}

static void run(World *world)
{
    while (world->checked < world->row->jobs) {
        bool can_add = world->made < world->row->jobs &&
                       vds_driver_ring_get_free(world->driver) > 0 &&
                       vds_driver_ring_get_pending(world->driver) < PAIR_MAX_NUM;

        /* Nobody to run, nothing to do, and not finished: a wakeup was lost. */
        assert_true(can_add || world->kicked || world->interrupted || world->n_held > 0);
        switch (chance(world, 4)) {
        case 0:
            if (can_add) {
                add_some(world);
            }
            break;
        case 1:
            if (world->kicked) {
                serve(world);
            }
            break;
        case 2:
            finish_some(world);
            break;
        default:
            if (world->interrupted) {
                drive(world);
            }
        }
        check_state(world);
    }
    assert_int_equal(vds_driver_ring_get_pending(world->driver), 0);
    assert_int_equal(vds_driver_ring_get_free(world->driver), world->row->config.num);
    assert_true(world->kicks > 0 && world->interrupts > 0);
    assert_true(world->kicks <= world->made);
}

static void world_init(World *world, const Row *row, uint8_t *bytes, GRand *rand)
{
    *world = (World){.row = row, .rand = rand};
    world->map = world_map(bytes, row->scattered);
    world->driver = pair_driver(&row->config, world->map);
    world->device = pair_device(&row->config, world->map);
    assert_non_null(world->driver);
    assert_non_null(world->device);
}

static void world_clear(World *world)
{
    vds_driver_ring_free(world->driver);
    vds_vring_free(world->device);
    vds_guest_map_unref(world->map);
}

static void test_at_random(void **state)
{
    g_autofree uint8_t *bytes = g_malloc(PAIR_BYTES);
    g_autofree World *world = g_new0(World, 1);

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GRand) rand = g_rand_new_with_seed((guint32)i);

        world_init(world, &rows[i], bytes, rand);
        run(world);
        world_clear(world);
    }
}

/* ---- every sequence ---- */

enum { STEP_ADD, STEP_SERVE, STEP_PUSH, STEP_DRIVE, STEPS, LENGTH = 9 };

/* Serves, and drives, to the end, sparing nothing: the smallest loop that is right. */
static void serve_all(World *world)
{
    VdsRequest *request = NULL;

    world->kicked = false;
    for (;;) {
        assert_true(vds_vring_pop(world->device, &request, NULL));
        if (!request) {
            return;
        }
        world->held[world->n_held++] = request;
    }
}

static void drive_all(World *world)
{
    VdsUsed used;

    world->interrupted = false;
    do {
        assert_true(vds_driver_ring_get_used(world->driver, &used, NULL));
        world->checked += used.token != NULL;
    } while (used.token);
}

static void push_one(World *world)
{
    if (world->n_held > 0) {
        assert_true(vds_vring_push(world->device, world->held[--world->n_held], 0, NULL));
        publish(world, false);
    }
}

static void add_simple(World *world)
{
    const VdsSpan spans[] = {{PAIR_DATA, 4}, {PAIR_DATA + 4, 4}};
    const VdsBuffer buffer = {spans, 1, world->row->config.num > 1 ? world->made % 2 : 0,
                              world};
    bool added = false;

    assert_true(vds_driver_ring_add(world->driver, &buffer, &added, NULL));
    world->made += added;
    if (added) {
        kick(world);
    }
}

/* Whoever sleeps has nothing to do: all that was made available was popped, or a kick is
 * on its way; all that was used was seen, or an interrupt is. */
static void check_nobody_oversleeps(const World *world, unsigned used)
{
    unsigned popped = used + world->n_held;

    assert_true(world->kicked || popped == world->made);
    assert_true(world->interrupted || world->checked == used);
}

static void run_sequence(World *world, unsigned sequence)
{
    static void (*const steps[STEPS])(World *) = {[STEP_ADD] = add_simple,
                                                  [STEP_SERVE] = serve_all,
                                                  [STEP_PUSH] = push_one,
                                                  [STEP_DRIVE] = drive_all};
    unsigned used = world->made; /* all are, at the start */

    for (unsigned i = 0; i < LENGTH; i++, sequence /= STEPS) {
        unsigned step = sequence % STEPS, held = world->n_held;

        /* Whoever was not told does not run. */
        if ((step == STEP_SERVE && !world->kicked) ||
            (step == STEP_DRIVE && !world->interrupted)) {
            continue;
        }
        steps[step](world);
        used += step == STEP_PUSH && held > 0;
        check_nobody_oversleeps(world, used);
    }
}

/* Back to rest, every buffer through; the indices go on from there. */
static void settle(World *world)
{
    serve_all(world);
    while (world->n_held > 0) {
        push_one(world);
    }
    drive_all(world);
    assert_int_equal(world->made, world->checked);
    assert_int_equal(vds_driver_ring_get_pending(world->driver), 0);
}

static void test_every_sequence(void **state)
{
    static const PairConfig configs[] = {
        {false, false, false, false, 2}, {false, true, false, false, 1},
        {false, true, false, false, 2},  {false, true, false, false, 4},
        {true, false, false, false, 3},  {true, true, false, false, 1},
        {true, true, false, false, 2},   {true, true, false, false, 3},
        {true, true, false, false, 5},
    };
    g_autofree uint8_t *bytes = g_malloc(PAIR_BYTES);
    g_autofree World *world = g_new0(World, 1);
    unsigned all = 1;

    for (unsigned i = 0; i < LENGTH; i++) {
        all *= STEPS;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        const Row row = {configs[i], false, 0};

        world_init(world, &row, bytes, NULL);
        settle(world); /* both sides sleep from here on */
        for (unsigned sequence = 0; sequence < all; sequence++) {
            run_sequence(world, sequence);
            settle(world);
        }
        assert_true(world->made > 65536);
        world_clear(world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_random),
        cmocka_unit_test(test_every_sequence),
    };

    return cmocka_run_group_tests_name("vring-model", tests, NULL, NULL);
}
