/*
 * virtio: a device of this process before any driver, and one from a recording.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <malloc.h>
#include <string.h>

#include "vds/virtio.h"

static VdsFeatures bits(unsigned a, unsigned b)
{
    VdsFeatures features = {{0}};

    vds_features_set(&features, a, true);
    vds_features_set(&features, b, true);
    return features;
}

static void test_feature_words(void **state)
{
    VdsFeatures features = bits(0, 127);

    assert_true(vds_features_has(&features, 0));
    assert_true(vds_features_has(&features, 127));
    assert_true(features.word[0] == 1 && features.word[1] == UINT64_C(1) << 63);
    vds_features_set(&features, 127, false);
    assert_true(features.word[1] == 0 && features.word[0] == 1);
}

static void test_idle_device(void **state)
{
    static const uint16_t sizes[] = {256, 256, 64, 0, 8};
    g_autoptr(VdsVirtioDevice) device = vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = 1,
        .host_features = bits(5, 32),
        .queue_sizes = sizes,
        .n_queues = G_N_ELEMENTS(sizes),
        .bus_name = "b.0",
        .use_started = true,
    });
    VdsDeviceState now;
    VdsQueueState queue;

    vds_virtio_device_get_state(device, &now);
    assert_int_equal(now.device_id, 1);
    assert_int_equal(now.endian, VDS_ENDIAN_LITTLE);
    assert_true(now.host_features.word[0] == (UINT64_C(1) << 32 | 32));
    assert_int_equal(now.num_vqs, 3); /* up to the first gap */
    assert_string_equal(now.bus_name, "b.0");
    assert_true(now.use_started && now.use_guest_notifier_mask);
    assert_false(now.vm_running || now.started || now.broken || now.disabled ||
                 now.vhost_started || now.start_on_kick || now.disable_legacy_check);
    assert_int_equal(now.status + now.isr + now.queue_sel, 0);

    assert_true(vds_virtio_device_get_queue(device, 2, &queue));
    assert_int_equal(queue.num, 64);
    assert_int_equal(queue.num_default, 64);
    assert_int_equal(queue.align, 4096);
    assert_true(queue.has_last_avail && queue.has_shadow_avail);
    assert_true(queue.desc == 0 && queue.avail == 0 && queue.used == 0 && !queue.map);
    assert_int_equal(queue.source, VDS_INDEX_OWNED);
    assert_false(vds_virtio_device_get_queue(device, 3, &queue));
    assert_true(vds_virtio_device_get_queue(device, 4, &queue));
    assert_false(vds_virtio_device_get_queue(device, 5, &queue));
    assert_false(vds_virtio_device_get_queue(device, 70000, &queue));

    vds_virtio_device_set_running(device, true);
    vds_virtio_device_get_state(device, &now);
    assert_true(now.vm_running);
    vds_virtio_device_reset(device);
    vds_virtio_device_get_state(device, &now);
    assert_true(now.vm_running && now.status == 0);
}

/* Ten thousand of them wait under -S. */
static void test_idle_device_is_small(void **state)
{
    enum { DEVICES = 200, MOST_BYTES = 2048 };
    static const uint16_t sizes[64] = {128, 128};
    VdsVirtioDevice *devices[DEVICES];
    size_t before = mallinfo2().uordblks, after;

    for (size_t i = 0; i < DEVICES; i++) {
        devices[i] = vds_virtio_device_new(&(VdsVirtioConfig){
            .device_id = 3,
            .queue_sizes = sizes,
            .n_queues = G_N_ELEMENTS(sizes),
            .bus_name = "virtio-serial-bus.0",
            .config = sizes,
            .config_len_bytes = sizeof(sizes),
        });
    }
    after = mallinfo2().uordblks;
    for (size_t i = 0; i < DEVICES; i++) {
        vds_virtio_device_free(devices[i]);
    }
    assert_in_range((after - before) / DEVICES, 0, MOST_BYTES);
}

/* packed, event_idx and big_endian are derived from what was negotiated. */
static void test_recorded_derivation(void **state)
{
    static const struct {
        uint64_t guest;
        VdsEndian endian;
        bool packed, event_idx, big_endian;
    } rows[] = {
        {0, VDS_ENDIAN_LITTLE, false, false, false},
        {0, VDS_ENDIAN_BIG, false, false, true},
        {0, VDS_ENDIAN_UNKNOWN, false, false, false},
        {UINT64_C(1) << 32, VDS_ENDIAN_BIG, false, false, false},
        {UINT64_C(1) << 29, VDS_ENDIAN_LITTLE, false, true, false},
        {UINT64_C(1) << 34 | UINT64_C(1) << 29, VDS_ENDIAN_LITTLE, true, true, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsDeviceState was = {.device_id = 4,
                              .endian = rows[i].endian,
                              .guest_features = {{rows[i].guest, 0}}};
        VdsQueueState queues[] = {{.num = 8, .num_default = 16}, {.num = 0}};
        g_autoptr(VdsVirtioDevice) device =
            vds_virtio_device_new_recorded(&was, queues, 2, NULL);
        VdsQueueState queue;

        assert_non_null(device);
        assert_true(vds_virtio_device_is_recorded(device));
        assert_true(vds_virtio_device_get_queue(device, 0, &queue));
        assert_int_equal(queue.packed, rows[i].packed);
        assert_int_equal(queue.event_idx, rows[i].event_idx);
        assert_int_equal(queue.big_endian, rows[i].big_endian);
        assert_int_equal(queue.num, 8);
        assert_int_equal(queue.num_default, 16);
        assert_false(vds_virtio_device_get_queue(device, 1, &queue));
    }
}

static void test_recorded_keeps_its_state(void **state)
{
    VdsDeviceState was = {.device_id = 4,
                          .status = 15,
                          .started = true,
                          .num_vqs = 77, /* derived, not believed */
                          .bus_name = NULL};
    VdsQueueState queue = {.num = 8, .num_default = 8, .last_avail_idx = 3};
    g_autoptr(VdsVirtioDevice) device =
        vds_virtio_device_new_recorded(&was, &queue, 1, NULL);
    VdsDeviceState now;

    vds_virtio_device_set_running(device, true);
    vds_virtio_device_reset(device);
    vds_virtio_device_get_state(device, &now);
    assert_int_equal(now.status, 15);
    assert_true(now.started);
    assert_false(now.vm_running);
    assert_int_equal(now.num_vqs, 1);
    assert_string_equal(now.bus_name, "");
}

static void test_recorded_refusals(void **state)
{
    static VdsQueueState many[VDS_VIRTIO_MAX_QUEUES + 1];
    static const struct {
        bool vhost;
        int64_t vq_index;
        uint32_t nvqs;
        VdsQueueState queues[2];
        size_t n;
        const char *culprit;
    } rows[] = {
        {.queues = {{.num = 32769}}, .n = 1, .culprit = "32769"},
        {.queues = {{.num = 8, .num_default = 65536}}, .n = 1, .culprit = "65536"},
        {.queues = {{.num = 8, .has_vhost = true}}, .n = 1, .culprit = "queue 0"},
        {.vhost = true,
         .vq_index = 1,
         .nvqs = 1,
         .queues = {{.num = 8}, {.num = 8}},
         .n = 2,
         .culprit = "queue 1"},
        {.vhost = true,
         .vq_index = -1,
         .nvqs = 4000000000u,
         .queues = {{.num = 8, .has_vhost = true}},
         .n = 1,
         .culprit = "queue 0"},
    };
    VdsDeviceState none = {.device_id = 4};
    g_autoptr(GError) first = NULL;

    assert_null(vds_virtio_device_new_recorded(&none, many, G_N_ELEMENTS(many), &first));
    assert_true(g_error_matches(first, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_STATE));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsDeviceState was = {
            .device_id = 4,
            .vhost_started = rows[i].vhost,
            .vhost = {.vq_index = rows[i].vq_index, .nvqs = rows[i].nvqs}};
        g_autoptr(GError) error = NULL;

        assert_null(
            vds_virtio_device_new_recorded(&was, rows[i].queues, rows[i].n, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_STATE));
        assert_non_null(strstr(error->message, rows[i].culprit));
    }
}

/* A device holds its own reference to the memory of its queues. */
static void test_recorded_keeps_the_map(void **state)
{
    static uint8_t bytes[64];
    void *hva = bytes;
    VdsGuestRegion region = {.gpa = 0x1000, .len = sizeof bytes, .fd = -1};
    VdsGuestMap *map = vds_guest_map_new_from_memory(&region, 1, &hva, NULL);
    VdsDeviceState was = {.device_id = 4};
    VdsQueueState queue = {.num = 4, .num_default = 4, .map = map};
    g_autoptr(VdsVirtioDevice) device =
        vds_virtio_device_new_recorded(&was, &queue, 1, NULL);

    vds_guest_map_unref(map);
    memset(&queue, 0, sizeof queue);
    assert_true(vds_virtio_device_get_queue(device, 0, &queue));
    assert_true(vds_guest_map_has(queue.map, 0x1000, 64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_feature_words),
        cmocka_unit_test(test_idle_device),
        cmocka_unit_test(test_idle_device_is_small),
        cmocka_unit_test(test_recorded_derivation),
        cmocka_unit_test(test_recorded_keeps_its_state),
        cmocka_unit_test(test_recorded_refusals),
        cmocka_unit_test(test_recorded_keeps_the_map),
    };

    return cmocka_run_group_tests_name("virtio-device", tests, NULL, NULL);
}
