/*
 * vring: requests in flight outlive a device that ends at any instruction: none is lost,
 * and none given back twice.
 *
 * A child takes, serves and publishes requests, one instruction at a time; whenever that
 * has changed the memory which it shares with us, a copy is kept.  Each copy is what a
 * kill -9 at that moment leaves, and another device goes on from it, once more in small
 * steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "ring-pair.h"

enum { RINGS_BYTES = 0x5000, REGION_BYTES = 4096, JOBS = 6, MAX_STATES = 4096 };

/* All that outlives a device. */
typedef struct {
    uint8_t guest[PAIR_BYTES];
} Shared;

typedef struct {
    PairConfig config;
    VdsGuestMap *map;
    Shared *shared;
    uint8_t *region; /* the inflight region, as we see it */
    VdsInflight *inflight;
    VdsDriverRing *driver;
    Job jobs[JOBS];
    uint32_t sequence;
    unsigned n_sent;
} World;

typedef struct {
    uint8_t rings[RINGS_BYTES], region[REGION_BYTES];
} State;

static VdsInflightShape shape_of(const PairConfig *config)
{
    return (VdsInflightShape){config->packed, 2, (uint16_t)config->num};
}

static void world_init(World *world, const PairConfig *config)
{
    const VdsGuestRegion region = {0, PAIR_BYTES, -1, 0, 0, NULL};
    const VdsInflightShape shape = shape_of(config);
    VDS_AUTO_FD fd = vds_inflight_create(&shape, NULL);
    uint64_t len = 0;
    void *hva;

    *world = (World){.config = *config, .sequence = 1};
    assert_true(fd >= 0);
    assert_true(vds_inflight_get_len(&shape, &len, NULL) && len <= REGION_BYTES);
    hva =
        mmap(NULL, PAIR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    world->shared = hva;
    world->map = vds_guest_map_new_from_memory(&region, 1, &hva, NULL);
    world->region = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    world->inflight = vds_inflight_new(
        &shape, &(VdsGuestRegion){.fd = fd, .offset = 0, .len = len}, NULL);
    assert_non_null(world->inflight);
    world->driver = pair_driver(config, world->map);
    assert_non_null(world->driver);
}

static void world_clear(World *world)
{
    vds_driver_ring_free(world->driver);
    vds_inflight_unref(world->inflight);
    vds_guest_map_unref(world->map);
    munmap(world->shared, PAIR_BYTES);
    munmap(world->region, REGION_BYTES);
}

/* As after a crash: nothing is known but the memory. */
static VdsVring *new_device(const World *world)
{
    g_autoptr(VdsVring) ring = pair_device(&world->config, world->map);

    return ring && vds_vring_set_inflight(ring, world->inflight, 1, NULL)
               ? g_steal_pointer(&ring)
               : NULL;
}

/* Jobs that have 1 to 3 spans: a chain, a table or a list. */
static void send_jobs(World *world, unsigned n)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(world->sequence);

    for (unsigned i = 0; i < JOBS && n > 0; i++) {
        Job *job = &world->jobs[i];
        bool added = false;

        if (job->busy) {
            continue;
        }
        pair_job_make(job, i, world->sequence++, rand, 3);
        pair_job_fill(job, world->map);
        assert_true(vds_driver_ring_add(
            world->driver, &(VdsBuffer){job->spans, job->n_out, job->n_in, job}, &added,
            NULL));
        assert_true(added);
        n--;
    }
}

/* false: something came back twice, never sent, or without its answer. */
static bool take_used(World *world, unsigned *n)
{
    VdsUsed used;

    *n = 0;
    while (vds_driver_ring_get_used(world->driver, &used, NULL)) {
        Job *job = used.token;

        if (!job) {
            return true;
        }
        if (!job->busy || used.written != job->in_bytes) {
            return false;
        }
        pair_job_check(job, world->map);
        job->busy = false;
        (*n)++;
    }
    return false;
}

static void push(const World *world, VdsVring *ring, VdsRequest *request)
{
    pair_serve(request, world->map);
    if (!vds_vring_push(ring, request, (uint32_t)request->in_bytes, NULL)) {
        _exit(3);
    }
}

static VdsRequest *pop(VdsVring *ring)
{
    VdsRequest *request = NULL;

    if (!vds_vring_pop(ring, &request, NULL)) {
        _exit(4);
    }
    return request;
}

static void publish(VdsVring *ring)
{
    bool interrupt;

    if (!vds_vring_publish(ring, &interrupt, NULL)) {
        _exit(5);
    }
}

/* ---- what a device does before it ends ---- */

typedef void (*ScriptFunc)(const World *world);

/* All orders of taking and giving back, with batches and one that is put back. */
static void busy_script(const World *world)
{
    VdsVring *ring = new_device(world);
    VdsRequest *a, *b, *c, *d;

    if (!ring) {
        _exit(2);
    }
    a = pop(ring);
    b = pop(ring);
    if (!world->config.in_order) {
        push(world, ring, b);
        publish(ring);
    }
    c = pop(ring);
    d = pop(ring);
    vds_vring_unpop(ring, d);
    push(world, ring, a);
    if (world->config.in_order) {
        push(world, ring, b);
    }
    push(world, ring, c);
    publish(ring);
    d = pop(ring);
    push(world, ring, d);
    publish(ring);
    vds_vring_free(ring);
}

/* Everything, one by one: for what goes on after a crash. */
static void calm_script(const World *world)
{
    VdsVring *ring = new_device(world);
    VdsRequest *request;

    if (!ring) {
        _exit(2);
    }
    while ((request = pop(ring))) {
        push(world, ring, request);
        publish(ring);
    }
    vds_vring_free(ring);
}

/* ---- a step at a time ---- */

static void keep(GPtrArray *states, const World *world)
{
    State *state = g_new(State, 1);

    memcpy(state->rings, world->shared->guest, RINGS_BYTES);
    memcpy(state->region, world->region, REGION_BYTES);
    g_ptr_array_add(states, state);
}

static bool has_changed(const State *state, const World *world)
{
    return memcmp(state->rings, world->shared->guest, RINGS_BYTES) != 0 ||
           memcmp(state->region, world->region, REGION_BYTES) != 0;
}

/* (nullable) where there is no ptrace(). */
static GPtrArray *step_through(World *world, ScriptFunc script)
{
    g_autoptr(GPtrArray) states = g_ptr_array_new_with_free_func(g_free);
    int status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }
        raise(SIGSTOP);
        script(world);
        _exit(0);
    }
    keep(states, world);
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        if (has_changed(g_ptr_array_index(states, states->len - 1), world)) {
            keep(states, world);
        }
        assert_true(states->len < MAX_STATES);
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0) {
            break;
        }
    }
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        return NULL;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return g_steal_pointer(&states);
}

/* In a child: the memory as it was, another device, and the driver's verdict. */
static int go_on(World *world, const State *state, unsigned n_expected)
{
    g_autoptr(VdsVring) ring = NULL;
    VdsQueueState queue;
    VdsRequest *request = NULL;
    unsigned n = 0, more = 0;

    memcpy(world->shared->guest, state->rings, RINGS_BYTES);
    memcpy(world->region, state->region, REGION_BYTES);
    if (!take_used(world, &n)) { /* what was published is the driver's */
        return 10;
    }
    calm_script(world);
    if (!take_used(world, &more) || n + more != n_expected) {
        return 11;
    }
    /* and nothing is left in the region */
    ring = new_device(world);
    if (!ring || !vds_vring_pop(ring, &request, NULL) || request) {
        return 12;
    }
    vds_vring_get_state(ring, &queue);
    return queue.inuse == 0 ? 0 : 13;
}

/* The states are each tried in a child, which has its own copy of all memory. */
static void try_states(World *world, const GPtrArray *states, unsigned n_expected)
{
    State now;

    memcpy(now.rings, world->shared->guest, RINGS_BYTES);
    memcpy(now.region, world->region, REGION_BYTES);
    for (unsigned i = 0; i < states->len; i++) {
        int status = 0;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            _exit(go_on(world, g_ptr_array_index(states, i), n_expected));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) != 0) {
            print_error("state %u of %u: %d\n", i, states->len, WEXITSTATUS(status));
        }
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    memcpy(world->shared->guest, now.rings, RINGS_BYTES);
    memcpy(world->region, now.region, REGION_BYTES);
}

static const PairConfig configs[] = {
    {.num = 16},
    {.event_idx = true, .indirect = true, .num = 8},
    {.in_order = true, .num = 16},
    {.packed = true, .num = 19},
    {.packed = true, .event_idx = true, .indirect = true, .num = 7},
    {.packed = true, .in_order = true, .num = 19},
};

/* Some laps first, so that indices and lists are no longer new. */
static void warm_up(World *world)
{
    g_autoptr(VdsVring) ring = new_device(world);
    unsigned n;

    for (unsigned lap = 0; lap < 7; lap++) {
        VdsRequest *requests[3];

        send_jobs(world, 3);
        for (unsigned i = 0; i < 3; i++) {
            requests[i] = pop(ring);
        }
        for (unsigned i = 0; i < 3; i++) {
            push(world, ring, requests[world->config.in_order ? i : (i + lap) % 3]);
        }
        publish(ring);
        assert_true(take_used(world, &n));
        assert_int_equal(n, 3);
    }
}

/* One that is left in flight when its device goes. */
static void leave_one(World *world)
{
    VdsVring *ring = new_device(world);
    VdsRequest *request = pop(ring);

    vds_vring_free(ring);
    vds_request_free(request);
}

static void test_at_any_instruction(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_autoptr(GPtrArray) busy = NULL, calm = NULL;
        unsigned n;
        World world;

        world_init(&world, &configs[i]);
        warm_up(&world);
        send_jobs(&world, 4);
        leave_one(&world);
        busy = step_through(&world, busy_script);
        if (!busy) {
            world_clear(&world);
            print_message("no ptrace() here\n");
            skip();
        }
        assert_true(busy->len > 25); /* each store is one */
        try_states(&world, busy, 4);
        assert_true(take_used(&world, &n));
        assert_int_equal(n, 4);

        /* and while the next device takes over */
        send_jobs(&world, 3);
        leave_one(&world);
        calm = step_through(&world, calm_script);
        assert_non_null(calm);
        try_states(&world, calm, 3);
        world_clear(&world);
    }
}

/* ---- the order ---- */

static void test_oldest_first(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        VdsRequest *requests[3], *again;
        uint32_t sequences[3];
        VdsVring *ring;
        VdsQueueState queue;
        World world;
        bool more = false;

        if (configs[i].in_order) {
            continue;
        }
        world_init(&world, &configs[i]);
        warm_up(&world);
        send_jobs(&world, 4);
        ring = new_device(&world);
        for (unsigned k = 0; k < 3; k++) {
            requests[k] = pop(ring);
            sequences[k] = pair_serve(requests[k], world.map);
        }
        push(&world, ring, requests[1]);
        publish(ring);
        vds_vring_free(ring);
        ring = new_device(&world);
        vds_vring_get_state(ring, &queue);
        assert_true(queue.inuse >= 2);
        assert_true(vds_vring_set_notify(ring, true, &more, NULL) && more);
        again = pop(ring);
        assert_int_equal(pair_serve(again, world.map), sequences[0]);
        vds_vring_unpop(ring, again);
        again = pop(ring);
        assert_int_equal(pair_serve(again, world.map), sequences[0]);
        push(&world, ring, again);
        again = pop(ring);
        assert_int_equal(pair_serve(again, world.map), sequences[2]);
        push(&world, ring, again);
        again = pop(ring); /* then what is new */
        assert_non_null(again);
        push(&world, ring, again);
        assert_null(pop(ring));
        publish(ring);
        vds_vring_get_state(ring, &queue);
        assert_int_equal(queue.inuse, 0);
        vds_vring_free(ring);
        for (unsigned k = 0; k < 3; k++) {
            if (k != 1) {
                vds_request_free(requests[k]);
            }
        }
        world_clear(&world);
    }
}

/* What was given back and never published is done again, in another order: the driver
 * sees each when it is published, and not what stood in the ring before. */
static void test_unpublished_is_unseen(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
        bool in_order = configs[i].in_order;
        VdsRequest *requests[3];
        VdsVring *ring;
        World world;
        unsigned n;

        world_init(&world, &configs[i]);
        warm_up(&world);
        send_jobs(&world, 3);
        ring = new_device(&world);
        for (unsigned k = 0; k < 3; k++) {
            requests[k] = pop(ring);
        }
        for (unsigned k = 0; k < 3; k++) {
            push(&world, ring, requests[k]);
        }
        vds_vring_free(ring);
        ring = new_device(&world);
        for (unsigned k = 0; k < 3; k++) {
            requests[k] = pop(ring);
            assert_non_null(requests[k]);
        }
        for (unsigned k = 0; k < 3; k++) {
            push(&world, ring, requests[in_order ? k : 2 - k]);
            publish(ring);
            assert_true(take_used(&world, &n));
            assert_int_equal(n, 1);
        }
        vds_vring_free(ring);
        world_clear(&world);
    }
}

/* ---- V8 ---- */

static void test_geometry(void **state)
{
    static const struct {
        VdsInflightShape shape;
        uint64_t offset, len;
        bool ok;
    } rows[] = {
        {{false, 2, 8}, 0, 2 * 192, true},
        {{false, 2, 8}, 0, 2 * 192 - 1, false},
        {{false, 2, 8}, 64, 2 * 192, true},
        {{false, 2, 8}, 4, 2 * 192, false},
        {{false, 0, 8}, 0, 4096, false},
        {{false, 1, 0}, 0, 4096, false},
        {{false, 1, 40000}, 0, 4096, false},
        {{true, 1, 8}, 0, 320, true},
        {{true, 1, 8}, 0, 319, false},
        {{false, 65535, 32768}, 0, 4096, false},
        {{false, 1, 8}, 4096, 192, false},
        {{false, 1, 8}, 4000, 192, false},
        {{false, 1, 8}, UINT64_MAX - 7, 192, false},
        {{false, 1, 8}, 0, UINT64_MAX, false},
    };
    VDS_AUTO_FD fd = memfd_create("test-inflight", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, 4096), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsInflight) inflight = vds_inflight_new(
            &rows[i].shape,
            &(VdsGuestRegion){.fd = fd, .offset = rows[i].offset, .len = rows[i].len},
            &error);

        assert_int_equal(inflight != NULL, rows[i].ok);
        assert_int_equal(error == NULL, rows[i].ok);
    }
    assert_int_equal(vds_inflight_create(&(VdsInflightShape){false, 1, 0}, NULL), -1);
}

static void expect_v8(const World *world, unsigned n)
{
    g_autoptr(VdsVring) ring = pair_device(&world->config, world->map);
    g_autoptr(GError) error = NULL;

    assert_false(vds_vring_set_inflight(ring, world->inflight, n, &error));
    assert_true(g_error_matches(error, VDS_VRING_ERROR, VDS_VRING_ERROR_INFLIGHT));
    assert_true(g_str_has_prefix(error->message, "V8: "));
}

static void test_ring_does_not_fit(void **state)
{
    World world, other;

    world_init(&world, &(PairConfig){.num = 8});
    expect_v8(&world, 2);
    world.config.packed = true;
    expect_v8(&world, 0);
    world.config = (PairConfig){.num = 16};
    expect_v8(&world, 0);
    world_clear(&world);
    world_init(&other, &(PairConfig){.packed = true, .num = 8});
    other.config.packed = false;
    expect_v8(&other, 0);
    world_clear(&other);
}

/* A packed ring's driver names its buffers as it likes: the name outlives a device. */
static void test_any_buffer_id(void **state)
{
    enum { ID = 40000, ID_AT = 12 /* in a descriptor */ };
    VdsRequest *request = NULL;
    uint16_t id = ID;
    World world;
    VdsVring *ring;

    world_init(&world, &(PairConfig){.packed = true, .num = 8});
    send_jobs(&world, 1);
    for (unsigned slot = 0; slot < 8; slot++) {
        memcpy(world.shared->guest + PAIR_DESC + 16 * slot + ID_AT, &id, sizeof(id));
    }
    leave_one(&world);
    ring = new_device(&world);
    assert_non_null(ring);
    assert_true(vds_vring_pop(ring, &request, NULL));
    assert_int_equal(request->id, ID);
    push(&world, ring, request);
    publish(ring);
    memcpy(&id, world.shared->guest + PAIR_DESC + ID_AT, sizeof(id));
    assert_int_equal(id, ID);
    vds_vring_free(ring);
    world_clear(&world);
}

/* A region full of anything: refused, or requests that are checked as any other. */
static void test_hostile_region(void **state)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (unsigned round = 0; round < 1200; round++) {
        World world;
        VdsVring *ring;

        world_init(&world, &configs[round % G_N_ELEMENTS(configs)]);
        warm_up(&world);
        send_jobs(&world, 3);
        leave_one(&world);
        for (unsigned i = 0; i < 1 + round % 64; i++) {
            unsigned at = g_rand_int(rand) % 1024;

            /* not the version: that would be the end of it */
            if (at % 512 < 8 || at % 512 > 11) {
                world.region[at] = (uint8_t)g_rand_int(rand);
            }
        }
        ring = new_device(&world);
        for (unsigned i = 0; ring && i < 64; i++) {
            VdsRequest *request = NULL;
            bool interrupt;

            if (!vds_vring_pop(ring, &request, NULL) || !request) {
                break;
            }
            if (i % 3 == 2) {
                vds_vring_unpop(ring, request);
            } else {
                assert_true(vds_vring_push(ring, request, 0, NULL));
                assert_true(vds_vring_publish(ring, &interrupt, NULL));
            }
        }
        vds_vring_free(ring);
        world_clear(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_geometry),
        cmocka_unit_test(test_ring_does_not_fit),
        cmocka_unit_test(test_oldest_first),
        cmocka_unit_test(test_unpublished_is_unseen),
        cmocka_unit_test(test_any_buffer_id),
        cmocka_unit_test(test_hostile_region),
        cmocka_unit_test(test_at_any_instruction),
    };

    return cmocka_run_group_tests_name("vring-inflight", tests, NULL, NULL);
}
