/*
 * virtio: what a driver may ask of the status and the features, step by step, and what is
 * remembered of what it may not (virtio 1.2, 2.1, 2.2, 3.1.1).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "loopback.h"

typedef struct {
    VdsIoThread *thread;
    Loopback loop;
    VdsVirtioDevice *device;
} Fixture;

static void fixture_init(Fixture *fixture)
{
    fixture->thread = vds_io_thread_new("status");
    loop_init(&fixture->loop, fixture->thread, &loop_ops);
    fixture->device = fixture->loop.device;
}

static void fixture_clear(Fixture *fixture)
{
    vds_virtio_device_free(fixture->device);
    vds_io_thread_unref(fixture->thread);
}

static void assert_refusal(const VdsVirtioDevice *device, const char *part)
{
    g_autofree char *refusal = vds_virtio_device_get_last_refusal(device);

    assert_non_null(refusal);
    assert_non_null(strstr(refusal, part));
}

enum {
    ACK = 1,
    DRIVER = 2,
    DRIVER_OK = 4,
    FEATURES_OK = 8,
    NEEDS_RESET = 64,
    FAILED = 128
};

static void test_transitions(void **state)
{
    static const struct {
        uint64_t features;
        uint8_t from[4]; /* written one after the other, up to 0 */
        uint8_t to;
        const char *refusal; /* NULL: taken */
    } rows[] = {
        {LOOP_SPLIT, {0}, ACK, NULL},
        {LOOP_SPLIT, {0}, ACK | DRIVER, NULL},
        {LOOP_SPLIT, {0}, FAILED, NULL},
        {LOOP_SPLIT, {0}, ACK | DRIVER | FEATURES_OK, NULL},
        {LOOP_SPLIT, {ACK, 3}, 11, NULL},
        {LOOP_SPLIT, {ACK, 3, 11}, 15, NULL},
        {LOOP_SPLIT, {ACK, 3, 11}, 11, NULL},
        {LOOP_SPLIT, {ACK, 3, 11}, 11 | FAILED, NULL},
        {0, {ACK, 3}, 7, NULL}, /* legacy: no FEATURES_OK */

        {LOOP_SPLIT, {0}, DRIVER, "too early for DRIVER"},
        {LOOP_SPLIT, {ACK}, ACK | FEATURES_OK, "too early for FEATURES_OK"},
        {LOOP_SPLIT, {ACK}, ACK | DRIVER_OK, "too early for DRIVER_OK"},
        {LOOP_SPLIT, {ACK, 3}, 7, "too early for DRIVER_OK"},
        {LOOP_SPLIT, {ACK, 3}, 15, "too early for DRIVER_OK"},
        {LOOP_SPLIT, {ACK, 3}, DRIVER, "clears 0x01"},
        {LOOP_SPLIT, {ACK, 3, 11}, 3, "clears 0x08"},
        {LOOP_SPLIT, {ACK}, ACK | 16, "reserved bits 0x10"},
        {LOOP_SPLIT, {ACK}, ACK | 48, "reserved bits 0x30"},
        {LOOP_SPLIT, {ACK}, ACK | NEEDS_RESET, "NEEDS_RESET"},
        {LOOP_SPLIT, {ACK, ACK | FAILED}, ACK | DRIVER | FAILED, "goes on after FAILED"},
        {LOOP_SPLIT, {ACK, ACK | FAILED}, ACK | DRIVER, "clears 0x80"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsFeatures features = {{rows[i].features, 0}};
        g_autoptr(GError) error = NULL;
        uint8_t before = 0;
        Fixture fixture;
        bool taken;

        fixture_init(&fixture);
        assert_true(vds_virtio_driver_set_features(fixture.device, &features, NULL));
        for (size_t k = 0; rows[i].from[k] != 0; k++) {
            before = rows[i].from[k];
            assert_true(vds_virtio_driver_set_status(fixture.device, before, NULL));
        }
        taken = vds_virtio_driver_set_status(fixture.device, rows[i].to, &error);
        assert_int_equal(taken, rows[i].refusal == NULL);
        assert_int_equal(vds_virtio_driver_get_status(fixture.device),
                         taken ? rows[i].to : before);
        if (!taken) {
            assert_true(
                g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_STATUS));
            assert_refusal(fixture.device, rows[i].refusal);
        }
        assert_true(vds_virtio_driver_set_status(fixture.device, 0, NULL));
        assert_int_equal(vds_virtio_driver_get_status(fixture.device), 0);
        fixture_clear(&fixture);
    }
}

/* FEATURES_OK does not stay; the other bits do. */
static void test_features_refused(void **state)
{
    static const struct {
        VdsFeatures asked;
        const char *refusal; /* NULL: taken */
    } rows[] = {
        {{{LOOP_SPLIT, 0}}, NULL},
        {{{LOOP_PACKED_EVENT | 2, 0}}, NULL},
        {{{LOOP_SPLIT | 3, 0}}, NULL},
        {{{LOOP_SPLIT | 1, 0}}, "feature bit 0 without bit 1"}, /* the device's word */
        {{{LOOP_SPLIT | 4, 0}}, "feature bit 2 was not offered"},
        {{{LOOP_SPLIT, 1}}, "feature bit 64 was not offered"},
        {{{LOOP_SPLIT, LOOP_BIT(63)}}, "feature bit 127 was not offered"},
        {{{LOOP_SPLIT | LOOP_BIT(30), 0}}, "feature bit 30"},
        {{{2, 0}}, "without VERSION_1"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        VdsDeviceState now;
        Fixture fixture;

        fixture_init(&fixture);
        assert_true(vds_virtio_driver_set_status(fixture.device, 3, NULL));
        assert_true(vds_virtio_driver_set_features(fixture.device, &rows[i].asked, NULL));
        assert_int_equal(vds_virtio_driver_set_status(fixture.device, 11, &error),
                         !rows[i].refusal);
        vds_virtio_device_get_state(fixture.device, &now);
        assert_int_equal(now.status, rows[i].refusal ? 3 : 11);
        /* what was not offered is not shown */
        assert_true(now.guest_features.word[0] == (rows[i].asked.word[0] & LOOP_OFFERED));
        assert_true(now.guest_features.word[1] == 0);
        if (rows[i].refusal) {
            assert_true(
                g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_FEATURES));
            assert_refusal(fixture.device, rows[i].refusal);
        }
        fixture_clear(&fixture);
    }
}

static void test_features_are_final(void **state)
{
    VdsFeatures other = {{LOOP_PACKED, 0}}, offered;
    LoopDriver driver = {0};
    g_autoptr(GError) error = NULL;
    VdsDeviceState now;
    Fixture fixture;

    fixture_init(&fixture);
    driver.device = fixture.device;
    offered = vds_virtio_driver_get_features(fixture.device);
    assert_true(offered.word[0] == LOOP_OFFERED && offered.word[1] == 0);
    assert_true(driver_features(&driver, LOOP_SPLIT));
    assert_false(vds_virtio_driver_set_features(fixture.device, &other, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_STATUS));
    vds_virtio_device_get_state(fixture.device, &now);
    assert_true(now.guest_features.word[0] == LOOP_SPLIT);

    /* a refusal outlives the reset that follows it */
    assert_true(vds_virtio_driver_set_status(fixture.device, 0, NULL));
    assert_refusal(fixture.device, "after FEATURES_OK");
    vds_virtio_device_get_state(fixture.device, &now);
    assert_true(now.guest_features.word[0] == 0);
    fixture_clear(&fixture);
}

/* A feature brings queues, and takes them away again (as MQ does). */
static void test_feature_brings_queue(void **state)
{
    VdsFeatures with = {{LOOP_SPLIT | 2, 0}};
    VdsQueueState queue;
    VdsDeviceState now;
    Fixture fixture;

    fixture_init(&fixture);
    assert_int_equal(vds_virtio_driver_get_queue_size(fixture.device, 1), 0);
    assert_true(vds_virtio_driver_set_features(fixture.device, &with, NULL));
    vds_virtio_device_get_state(fixture.device, &now);
    assert_int_equal(now.num_vqs, 2);
    assert_int_equal(vds_virtio_driver_get_queue_size(fixture.device, 1), LOOP_NUM);
    assert_true(vds_virtio_device_get_queue(fixture.device, 1, &queue));
    vds_virtio_device_reset(fixture.device);
    vds_virtio_device_get_state(fixture.device, &now);
    assert_int_equal(now.num_vqs, 1);
    assert_false(vds_virtio_device_get_queue(fixture.device, 1, &queue));
    fixture_clear(&fixture);
}

/* Nothing serves it: a driver looks, and finds no queue to set up. */
static void test_device_without_path(void **state)
{
    static const uint16_t sizes[] = {64};
    g_autoptr(VdsVirtioDevice) device = vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = 9, .queue_sizes = sizes, .n_queues = 1, .use_started = true});
    VdsQueueSetup setup = {.num = 8, .desc = 4096, .avail = 8192, .used = 12288};
    g_autoptr(GError) error = NULL;

    assert_true(vds_virtio_driver_set_status(device, ACK, NULL));
    assert_int_equal(vds_virtio_driver_get_queue_size(device, 0), 64);
    assert_false(vds_virtio_driver_set_queue(device, 0, &setup, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_QUEUE));
    assert_refusal(device, "queue 0 is of a device that serves no queues");
    vds_virtio_device_reset(device);
    assert_int_equal(vds_virtio_driver_get_status(device), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_features_refused),
        cmocka_unit_test(test_features_are_final),
        cmocka_unit_test(test_feature_brings_queue),
        cmocka_unit_test(test_device_without_path),
    };

    return cmocka_run_group_tests_name("virtio-status", tests, NULL, NULL);
}
