/*
 * virtio: one device between four threads: its I/O thread and a worker that completes
 * requests, a driver, and somebody who asks all the time; the test itself stops, resets
 * and removes.  For ThreadSanitizer, and for words that must belong to one moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "loopback.h"

enum { REQUESTS = 3000, DEPTH = LOOP_NUM / 4, RESETS = 40, PAUSES = 60 };

/* ---- a device with a worker ---- */

typedef struct {
    Loopback loop; /* first: the instance is both */
    pthread_t id;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    VdsIo *ios[LOOP_PARKED];
    unsigned n;
    bool busy, quit;
    unsigned turn; /* the I/O thread's */
} Worked;

static void *worker_main(void *user)
{
    Worked *worked = user;

    pthread_mutex_lock(&worked->lock);
    while (!worked->quit) {
        VdsIo *io;

        if (worked->n == 0) {
            pthread_cond_wait(&worked->changed, &worked->lock);
            continue;
        }
        io = worked->ios[--worked->n];
        worked->busy = true;
        pthread_mutex_unlock(&worked->lock);
        {
            VdsVirtQueue *queue = io->queue;

            vds_virt_queue_complete(queue, io, vds_stream_done(&io->in));
            vds_virt_queue_flush(queue);
        }
        pthread_mutex_lock(&worked->lock);
        worked->busy = false;
        pthread_cond_broadcast(&worked->changed);
    }
    pthread_mutex_unlock(&worked->lock);
    return NULL;
}

static void hand_to_worker(Worked *worked, VdsIo *io)
{
    pthread_mutex_lock(&worked->lock);
    worked->ios[worked->n++] = io;
    pthread_cond_broadcast(&worked->changed);
    pthread_mutex_unlock(&worked->lock);
}

static void worked_handle(void *instance, VdsVirtQueue *queue)
{
    Worked *worked = instance;
    VdsIo *io;

    while ((io = vds_virt_queue_pop_one(queue))) {
        if (worked->turn++ % 2 == 0) {
            loop_answer(io);
        } else {
            uint8_t bytes[LOOP_BYTES];
            size_t n = vds_stream_read(&io->out, bytes, sizeof(bytes));

            vds_stream_write(&io->in, bytes, n);
            hand_to_worker(worked, io);
        }
    }
}

static void worked_stop(void *instance)
{
    Worked *worked = instance;

    loop_stop(instance);
    pthread_mutex_lock(&worked->lock);
    while (worked->n > 0 || worked->busy) {
        pthread_cond_wait(&worked->changed, &worked->lock);
    }
    pthread_mutex_unlock(&worked->lock);
}

static void worked_free(void *instance)
{
    Worked *worked = instance;

    pthread_mutex_lock(&worked->lock);
    worked->quit = true;
    pthread_cond_broadcast(&worked->changed);
    pthread_mutex_unlock(&worked->lock);
    pthread_join(worked->id, NULL);
    pthread_cond_destroy(&worked->changed);
    pthread_mutex_destroy(&worked->lock);
    loop_free(instance);
}

static void worked_init(Worked *worked, VdsIoThread *thread, const VdsDeviceOps *ops)
{
    *worked = (Worked){.turn = 0};
    loop_init(&worked->loop, thread, ops);
    pthread_mutex_init(&worked->lock, NULL);
    pthread_cond_init(&worked->changed, NULL);
    g_assert_true(pthread_create(&worked->id, NULL, worker_main, worked) == 0);
}

/* ---- the threads around it ---- */

typedef struct {
    VdsVirtioDevice *device;
    LoopDriver driver;
    uint64_t features;
    bool may_reset;   /* somebody else resets the device now and then */
    unsigned wrong;   /* answers not as they should be */
    unsigned starts;  /* of the driver */
    atomic_bool over; /* told to all */
    unsigned torn;    /* answers to queries, likewise */
    atomic_uint answered, asked;
    atomic_bool enough; /* the driver may come to an end */
} Scene;

/* 0: it was reset meanwhile, or never answered. */
static unsigned wait_answer(Scene *scene, uint32_t *written)
{
    for (unsigned i = 0; i < 4000; i++) {
        unsigned token = driver_wait(&scene->driver, written, 5);

        if (token != 0 ||
            (scene->may_reset && vds_virtio_driver_get_status(scene->device) == 0)) {
            return token;
        }
    }
    return 0;
}

static bool round_trip(Scene *scene, unsigned round)
{
    char text[DEPTH][32];

    for (unsigned i = 0; i < DEPTH; i++) {
        g_snprintf(text[i], sizeof(text[i]), "request %u of round %u", i, round);
        if (!driver_send(&scene->driver, i, text[i])) {
            return false;
        }
    }
    driver_kick(&scene->driver);
    for (unsigned i = 0; i < DEPTH; i++) {
        uint32_t written = 0;
        unsigned token;

        if (atomic_load(&scene->over)) {
            return false; /* and leaves the rest with the device */
        }
        token = wait_answer(scene, &written);
        if (token == 0) {
            return false;
        }
        scene->wrong += written != strlen(text[token - 1]) ||
                        !driver_got(&scene->driver, token - 1, text[token - 1]);
        atomic_fetch_add(&scene->answered, 1);
    }
    return true;
}

/* As a driver whose device was reset under its feet: from the beginning. */
static void start_again(Scene *scene)
{
    scene->starts++;
    do {
        vds_virtio_driver_set_status(scene->device, 0, NULL);
    } while (!driver_start(&scene->driver, scene->features) && scene->may_reset);
}

static void *driver_main(void *user)
{
    Scene *scene = user;
    unsigned round = 0;

    do {
        start_again(scene);
        while (!atomic_load(&scene->enough) && round_trip(scene, round)) {
            round++;
        }
    } while (!atomic_load(&scene->enough) && scene->may_reset);
    atomic_store(&scene->over, true);
    return NULL;
}

static void *query_main(void *user)
{
    Scene *scene = user;

    while (!atomic_load(&scene->over)) {
        VdsDeviceState state;
        VdsQueueState queue;
        g_autofree char *reason = NULL;

        vds_virtio_device_get_state(scene->device, &state);
        if (!vds_virtio_device_get_queue(scene->device, 0, &queue)) {
            scene->torn++;
            continue;
        }
        reason = vds_virtio_device_get_broken_reason(scene->device);
        scene->torn += queue.inuse > queue.num || state.broken || reason;
        if (!queue.packed) {
            scene->torn +=
                (uint16_t)(queue.used_idx + queue.inuse - queue.last_avail_idx) != 0;
        }
        atomic_fetch_add(&scene->asked, 1);
    }
    return NULL;
}

typedef struct {
    VdsGuestRam *ram;
    VdsIoThread *thread;
    VdsDeviceOps ops;
    Worked worked;
    Scene scene;
    pthread_t driver, query;
} Stage;

static void stage_init(Stage *stage, uint64_t features, bool may_reset)
{
    VdsGuestRamConfig config = {.kind = VDS_GUEST_RAM_PRIVATE, .size = 1 << 20};

    *stage = (Stage){.ops = loop_ops};
    stage->ops.handle = worked_handle;
    stage->ops.stop = worked_stop;
    stage->ops.free = worked_free;
    stage->ram = vds_guest_ram_new(&config, NULL);
    stage->thread = vds_io_thread_new("stage");
    assert_non_null(stage->ram);
    worked_init(&stage->worked, stage->thread, &stage->ops);
    stage->scene.device = stage->worked.loop.device;
    stage->scene.features = features;
    stage->scene.may_reset = may_reset;
    driver_init(&stage->scene.driver, stage->scene.device, stage->ram);
    assert_int_equal(pthread_create(&stage->driver, NULL, driver_main, &stage->scene), 0);
    assert_int_equal(pthread_create(&stage->query, NULL, query_main, &stage->scene), 0);
}

static void stage_clear(Stage *stage)
{
    pthread_join(stage->driver, NULL);
    pthread_join(stage->query, NULL);
    vds_virtio_device_free(stage->scene.device);
    assert_int_equal(atomic_load(&stage->worked.loop.freed), 1);
    driver_clear(&stage->scene.driver);
    vds_io_thread_unref(stage->thread);
    vds_guest_ram_free(stage->ram);
}

/* Until there was work enough to tell, whatever the machine's load. */
static void let_work(Stage *stage)
{
    Scene *scene = &stage->scene;

    while (!atomic_load(&scene->over) && (atomic_load(&scene->answered) < REQUESTS ||
                                          atomic_load(&scene->asked) < REQUESTS)) {
        g_usleep(100);
    }
    assert_false(atomic_load(&scene->over)); /* the driver gave up */
    atomic_store(&scene->enough, true);
}

static void assert_scene(const Scene *scene)
{
    assert_int_equal(scene->wrong, 0);
    assert_int_equal(scene->torn, 0);
}

static const uint64_t formats[] = {LOOP_SPLIT, LOOP_SPLIT_EVENT, LOOP_PACKED,
                                   LOOP_PACKED_EVENT};

/* Frozen and thawed, a driver notices nothing but the time it takes. */
static void test_stop_and_cont_under_load(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Stage stage;

        stage_init(&stage, formats[i], false);
        for (unsigned k = 0; k < PAUSES && !atomic_load(&stage.scene.over); k++) {
            VdsQueueState before, after;

            vds_virtio_device_set_running(stage.scene.device, false);
            assert_true(vds_virtio_device_get_queue(stage.scene.device, 0, &before));
            g_usleep(100);
            assert_true(vds_virtio_device_get_queue(stage.scene.device, 0, &after));
            assert_int_equal(before.last_avail_idx, after.last_avail_idx);
            assert_int_equal(before.used_idx, after.used_idx);
            vds_virtio_device_set_running(stage.scene.device, true);
            g_usleep(200);
        }
        let_work(&stage);
        stage_clear(&stage);
        assert_scene(&stage.scene);
        assert_int_equal(stage.scene.starts, 1);
    }
}

/* system_reset while requests are under way: nothing old is written afterwards. */
static void test_reset_under_load(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Stage stage;

        stage_init(&stage, formats[i], true);
        for (unsigned k = 0; k < RESETS && !atomic_load(&stage.scene.over); k++) {
            unsigned before = atomic_load(&stage.scene.answered);

            vds_virtio_device_reset(stage.scene.device);
            while (atomic_load(&stage.scene.answered) < before + 10 &&
                   !atomic_load(&stage.scene.over)) {
                g_usleep(100);
            }
        }
        let_work(&stage);
        stage_clear(&stage);
        assert_scene(&stage.scene);
        assert_true(stage.scene.starts > 1);
    }
}

/* Removed in the middle of its work, with the driver gone silent. */
static void test_removed_under_load(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Stage stage;

        stage_init(&stage, formats[i], false);
        while (atomic_load(&stage.scene.answered) < REQUESTS / 10) {
            g_usleep(100);
        }
        atomic_store(&stage.scene.over, true);
        stage_clear(&stage);
        assert_scene(&stage.scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_and_cont_under_load),
        cmocka_unit_test(test_reset_under_load),
        cmocka_unit_test(test_removed_under_load),
    };

    return cmocka_run_group_tests_name("virtio-threads", tests, NULL, NULL);
}
