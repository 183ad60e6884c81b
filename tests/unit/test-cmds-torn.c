/*
 * cmds: an element of a queue that never stands still: it is read again three times,
 * answered all the same, and counted (torn-count).
 *
 * The device is its own driver: it makes a buffer available, takes it and gives it back,
 * again and again.  Its descriptors lie in a map of single bytes, so that to read a long
 * chain takes longer than a turn of its.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <string.h>

#include "vds/cmds.h"

enum {
    NUM = 2048,
    DESC = 0x1000,
    AVAIL = DESC + 16 * NUM,
    USED = AVAIL + 0x2000,
    END = USED + 0x8000,
    LONG = 0,        /* a head: of all descriptors */
    SHORT = NUM - 1, /* of the last one alone */
    PATIENCE_S = 60,
    TURN_US = 20,
};

#define PATH "/machine/peripheral/m0"
#define QUERY "info virtio-queue-element " PATH " 0 0"

typedef struct {
    VdsVirtioDevice *device;
    VdsIoThread *thread;
    VdsGuestMap *map;
    uint8_t *bytes; /* of guest memory, gpa being the offset */
    atomic_bool over;
    uint16_t idx; /* the driver's; the I/O thread's */
} Mover;

static void put(Mover *mover, uint64_t gpa, uint64_t value, unsigned n)
{
    uint64_t word = GUINT64_TO_LE(value);

    assert_true(vds_guest_map_write(mover->map, gpa, &word, n, NULL));
}

static void put_head(Mover *mover, uint16_t slot, uint16_t head)
{
    put(mover, AVAIL + 4 + 2u * slot, head, 2);
}

static void mover_handle(void *instance, VdsVirtQueue *queue)
{
    Mover *mover = instance;

    while (!atomic_load(&mover->over)) {
        uint16_t slot = mover->idx % NUM;
        VdsIo *io;

        put_head(mover, slot, SHORT);
        put(mover, AVAIL + 2, (uint16_t)(mover->idx + 1), 2);
        io = vds_virt_queue_pop_one(queue);
        if (!io) {
            return; /* after a ring's worth; the next call is on its way */
        }
        mover->idx++;
        vds_virt_queue_complete(queue, io, 0);
        vds_virt_queue_flush(queue);
        put_head(mover, slot, LONG);
        g_usleep(TURN_US);
    }
}

static const VdsDeviceOps mover_ops = {.handle = mover_handle};

static bool mover_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts,
                          GError **error)
{
    static const uint16_t size = NUM;
    Mover *mover = (Mover *)args->class->data;
    VdsVirtioConfig config = {.device_id = 4,
                              .queue_sizes = &size,
                              .n_queues = 1,
                              .ops = &mover_ops,
                              .instance = mover,
                              .io_thread = mover->thread};

    vds_features_set(&config.host_features, VDS_F_VERSION_1, true);
    parts->virtio = mover->device = vds_virtio_device_new(&config);
    return true;
}

static const VdsDeviceType mover_types[] = {{.name = "mover", .parent = "device"},
                                            {.name = NULL}};

/* ---- its memory and its driver ---- */

/* The descriptors byte by byte, the rest in one piece. */
static void mover_map(Mover *mover)
{
    const size_t n = AVAIL - DESC + 1;
    g_autofree VdsGuestRegion *regions = g_new0(VdsGuestRegion, n);
    g_autofree void **hva = g_new0(void *, n);

    mover->bytes = g_malloc0(END);
    for (size_t i = 0; i < n; i++) {
        regions[i] = (VdsGuestRegion){.gpa = DESC + i, .len = 1, .fd = -1};
        hva[i] = mover->bytes + DESC + i;
    }
    regions[n - 1].len = END - AVAIL;
    mover->map = vds_guest_map_new_from_memory(regions, n, hva, NULL);
    assert_non_null(mover->map);
    for (uint16_t i = 0; i < NUM; i++) {
        const bool last = i == SHORT;

        put(mover, DESC + 16u * i, AVAIL, 8);
        put(mover, DESC + 16u * i + 8, 1, 4);
        put(mover, DESC + 16u * i + 12, last ? 0 : VDS_DESC_F_NEXT, 2);
        put(mover, DESC + 16u * i + 14, last ? 0 : i + 1u, 2);
        put_head(mover, i, LONG);
    }
}

static void mover_start(Mover *mover)
{
    const VdsQueueSetup setup = {.num = NUM, .desc = DESC, .avail = AVAIL, .used = USED};
    VdsFeatures features = {{0}};

    vds_features_set(&features, VDS_F_VERSION_1, true);
    vds_virtio_driver_set_map(mover->device, mover->map);
    assert_true(vds_virtio_driver_set_status(mover->device, 3, NULL));
    assert_true(vds_virtio_driver_set_features(mover->device, &features, NULL));
    assert_true(vds_virtio_driver_set_status(mover->device, 11, NULL));
    assert_true(vds_virtio_driver_set_queue(mover->device, 0, &setup, NULL));
    assert_true(vds_virtio_driver_enable_queue(mover->device, 0, NULL));
    assert_true(vds_virtio_driver_set_status(mover->device, 15, NULL));
    vds_virtio_driver_kick(mover->device, 0);
}

/* ---- asking ---- */

static void no_event(void *user, const VdsQapiEvent *event, const void *data)
{
}

/* How many descriptors the answer has. */
static unsigned ask(VdsCmds *cmds)
{
    g_autofree char *answer = vds_cmds_hmp(cmds, QUERY);
    unsigned n = 0;

    if (!g_str_has_prefix(answer, PATH ":\n")) {
        fail_msg("%s", answer);
    }
    for (const char *at = answer; (at = strstr(at, "addr 0x")); at++) {
        n++;
    }
    return n;
}

static uint64_t torn_count(VdsMachine *machine)
{
    VdsProp value = {.name = NULL};
    uint64_t count;

    assert_true(vds_machine_qom_get(machine, PATH, "torn-count", &value, NULL));
    count = value.u.uinteger;
    vds_prop_clear(&value);
    return count;
}

static void test_torn(void **state)
{
    Mover mover = {.thread = vds_io_thread_new("mover")};
    const VdsDeviceClass class = {
        .types = mover_types, .data = &mover, .realize = mover_realize};
    const VdsDeviceClass *const classes[] = {&class, NULL};
    const VdsCmdsHost host = {.package = ""};
    const VdsEventSink sink = {no_event, NULL};
    g_autoptr(VdsMachine) machine = vds_machine_new("pc", classes);
    g_autoptr(VdsProps) props = vds_props_new();
    g_autoptr(VdsCmds) cmds = vds_cmds_new(machine, &host, &sink);
    gint64 end = g_get_monotonic_time() + PATIENCE_S * G_TIME_SPAN_SECOND;
    uint64_t torn;

    vds_props_set_string(props, "driver", "mover");
    vds_props_set_string(props, "id", "m0");
    assert_true(vds_machine_device_add(machine, props, NULL));
    assert_true(vds_machine_cont(machine, NULL));
    mover_map(&mover);
    mover_start(&mover);
    assert_int_equal(torn_count(machine), 0);
    while (torn_count(machine) < 3) {
        unsigned n = ask(cmds);

        assert_true(n == NUM || n == 1); /* slot 0 may be under way */
        assert_true(g_get_monotonic_time() < end);
    }
    assert_null(vds_virtio_device_get_broken_reason(mover.device));

    /* It stands still: the answer is of one moment, and nothing is counted. */
    atomic_store(&mover.over, true);
    vds_virtio_device_set_running(mover.device, false);
    torn = torn_count(machine);
    assert_int_equal(ask(cmds), NUM);
    assert_int_equal(torn_count(machine), torn);

    g_clear_pointer(&cmds, vds_cmds_free);
    g_clear_pointer(&machine, vds_machine_free);
    vds_guest_map_unref(mover.map);
    vds_io_thread_unref(mover.thread);
    g_free(mover.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_torn)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
