/*
 * Names of device ids and bits: what a word reads as, in which order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "vds/virtio.h"

#define BIT(n) (UINT64_C(1) << (n))

/* A list of expected names; the text up to the colon is enough where it is unique. */
typedef const char *Names[8];

static void assert_names(const char *const *names, unsigned n, const Names expected)
{
    unsigned i = 0;

    for (; expected[i]; i++) {
        assert_true(i < n);
        assert_true(g_str_has_prefix(names[i], expected[i]));
    }
    assert_int_equal(n, i);
}

static void test_id(void **state)
{
    static const struct {
        uint16_t id;
        const char *name;
    } table[] = {
        {1, "virtio-net"},      {2, "virtio-blk"},     {3, "virtio-serial"},
        {4, "virtio-rng"},      {5, "virtio-balloon"}, {9, "virtio-9p"},
        {16, "virtio-gpu"},     {19, "vhost-vsock"},   {26, "virtio-user-fs"},
        {34, "vhost-user-i2c"}, {41, "virtio-gpio"},   {45, "virtio-spi"},
        {0, "virtio-device"},   {14, "virtio-device"}, {42, "virtio-device"},
        {46, "virtio-device"},  {64, "virtio-device"}, {65535, "virtio-device"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        assert_string_equal(vds_virtio_id_name(table[i].id), table[i].name);
    }
}

static void test_features(void **state)
{
    static const struct {
        uint16_t id;
        VdsFeatures features;
        Names transports, dev_features;
        uint64_t unknown;
    } table[] = {
        {.id = 1},
        /* A serial port of a Linux guest: table order, which is not bit order. */
        {.id = 3,
         .features = {{BIT(32) | BIT(29) | BIT(28) | BIT(1)}},
         .transports = {"VIRTIO_RING_F_EVENT_IDX:", "VIRTIO_RING_F_INDIRECT_DESC:",
                        "VIRTIO_F_VERSION_1:"},
         .dev_features = {"VIRTIO_CONSOLE_F_MULTIPORT:"}},
        /* Bit 30 has a name where the device's table has it ... */
        {.id = 4,
         .features = {{BIT(30)}},
         .dev_features = {"VHOST_USER_F_PROTOCOL_FEATURES:"}},
        /* ... and none elsewhere. */
        {.id = 5,
         .features = {{BIT(30) | BIT(1)}},
         .dev_features = {"VIRTIO_BALLOON_F_STATS_VQ:"},
         .unknown = BIT(30)},
        /* The transport's meaning of bit 27 wins over virtio-net's. */
        {.id = 1, .features = {{BIT(27)}}, .transports = {"VIRTIO_F_ANY_LAYOUT:"}},
        /* Bit 40 has a name, 38, 39 and 41 have none. */
        {.id = 9,
         .features = {{BIT(38) | BIT(39) | BIT(40) | BIT(41)}},
         .transports = {"VIRTIO_F_RING_RESET:"},
         .unknown = BIT(38) | BIT(39) | BIT(41)},
        /* A device id nobody named still has a transport. */
        {.id = 60000,
         .features = {{BIT(63) | BIT(34) | BIT(0)}},
         .transports = {"VIRTIO_F_RING_PACKED:"},
         .unknown = BIT(63) | BIT(0)},
        /* Bits from 64 on are in no list. */
        {.id = 1, .features = {{0, ~UINT64_C(0)}}},
        /* Spelt as on the wire. */
        {.id = 34,
         .features = {{BIT(0)}},
         .dev_features = {"VIRTIO_I2C_F_ZERO_LEGNTH_REQUEST: "}},
        {.id = 1,
         .features = {{BIT(55)}},
         .dev_features = {"VIRTIO_NET_F_GUEST_USO6: Driver can receive USOv6"}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        VdsFeatureNames names;

        vds_virtio_features_decode(table[i].id, &table[i].features, &names);
        assert_names(names.transports, names.n_transports, table[i].transports);
        assert_names(names.dev_features, names.n_dev_features, table[i].dev_features);
        assert_int_equal(names.unknown, table[i].unknown);
    }
}

/* Whatever the word and the device: each bit is named once or unknown. */
static void test_features_complete(void **state)
{
    for (unsigned id = 0; id <= 64; id++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            const VdsFeatures features = {{BIT(bit)}};
            VdsFeatureNames names;

            vds_virtio_features_decode((uint16_t)id, &features, &names);
            assert_int_equal(names.n_transports + names.n_dev_features +
                                 (names.unknown == BIT(bit)),
                             1);
        }
    }
}

static void test_all_bits(void **state)
{
    const VdsFeatures all = {{~UINT64_C(0), ~UINT64_C(0)}};
    VdsFeatureNames names;

    vds_virtio_features_decode(1, &all, &names);
    assert_int_equal(names.n_transports, 11);
    assert_int_equal(names.n_transports + names.n_dev_features +
                         (unsigned)__builtin_popcountll(names.unknown),
                     64);
}

static void test_status(void **state)
{
    static const struct {
        uint8_t status;
        Names names;
        uint64_t unknown;
    } table[] = {
        {0, {NULL}, 0},
        {0x0f,
         {"VIRTIO_CONFIG_S_ACKNOWLEDGE:", "VIRTIO_CONFIG_S_DRIVER:",
          "VIRTIO_CONFIG_S_FEATURES_OK:", "VIRTIO_CONFIG_S_DRIVER_OK:"},
         0},
        {0xff,
         {"VIRTIO_CONFIG_S_ACKNOWLEDGE:", "VIRTIO_CONFIG_S_FAILED:",
          "VIRTIO_CONFIG_S_NEEDS_RESET:", "VIRTIO_CONFIG_S_DRIVER:",
          "VIRTIO_CONFIG_S_FEATURES_OK:", "VIRTIO_CONFIG_S_DRIVER_OK:"},
         48},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        VdsBitNames names;

        vds_virtio_status_decode(table[i].status, &names);
        assert_names(names.names, names.n, table[i].names);
        assert_int_equal(names.unknown, table[i].unknown);
    }
}

static void test_protocols(void **state)
{
    const Names expected = {
        "VHOST_USER_PROTOCOL_F_STATUS:",
        "VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD: Backend fd",
        "VHOST_USER_PROTOCOL_F_BACKEND_REQ:", "VHOST_USER_PROTOCOL_F_MQ:"};
    VdsBitNames names;

    vds_virtio_protocols_decode(BIT(0) | BIT(5) | BIT(10) | BIT(16) | BIT(17) | BIT(63),
                                &names);
    assert_names(names.names, names.n, expected);
    assert_int_equal(names.unknown, BIT(17) | BIT(63));
}

static void test_desc_flags(void **state)
{
    static const struct {
        uint16_t flags;
        Names names;
    } table[] = {
        {0, {NULL}},
        {1, {"next"}},
        {0xffff, {"used", "avail", "indirect", "write", "next"}},
        {0x8084, {"used", "avail", "indirect"}},
        {0x7f78, {NULL}}, /* bits that mean nothing are dropped */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        VdsBitNames names;

        vds_virtio_desc_flags_decode(table[i].flags, &names);
        assert_names(names.names, names.n, table[i].names);
        assert_int_equal(names.unknown, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_features_complete),
        cmocka_unit_test(test_all_bits),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_protocols),
        cmocka_unit_test(test_desc_flags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
