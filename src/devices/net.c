/*
 * devices: virtio-net (virtio 1.2, 5.1): a receive and a transmit queue and the control
 * queue.  More pairs appear when a driver negotiates VIRTIO_NET_F_MQ, as in QEMU.
 */
#include <string.h>

#include "kind-priv.h"

enum {
    F_CSUM = 0,
    F_GUEST_CSUM = 1,
    F_MTU = 3,
    F_MAC = 5,
    F_GUEST_TSO4 = 7,
    F_GUEST_TSO6 = 8,
    F_GUEST_ECN = 9,
    F_GUEST_UFO = 10,
    F_HOST_TSO4 = 11,
    F_HOST_TSO6 = 12,
    F_HOST_ECN = 13,
    F_HOST_UFO = 14,
    F_GUEST_USO4 = 54,
    F_GUEST_USO6 = 55,
    F_HOST_USO = 56,
    F_HASH_REPORT = 57,
    F_STANDBY = 62,
    F_SPEED_DUPLEX = 63,
};

enum { QUEUE_MIN = 256, QUEUE_MAX = 1024, CONTROL_QUEUE = 64 };

static const VdsProperty properties[] = {
    VDS_ROW_FEATURE("csum", F_CSUM, true),
    VDS_ROW_FEATURE("guest_csum", F_GUEST_CSUM, true),
    VDS_ROW_FEATURE("gso", 6, true),
    VDS_ROW_FEATURE("guest_tso4", F_GUEST_TSO4, true),
    VDS_ROW_FEATURE("guest_tso6", F_GUEST_TSO6, true),
    VDS_ROW_FEATURE("guest_ecn", F_GUEST_ECN, true),
    VDS_ROW_FEATURE("guest_ufo", F_GUEST_UFO, true),
    VDS_ROW_FEATURE("guest_announce", 21, true),
    VDS_ROW_FEATURE("host_tso4", F_HOST_TSO4, true),
    VDS_ROW_FEATURE("host_tso6", F_HOST_TSO6, true),
    VDS_ROW_FEATURE("host_ecn", F_HOST_ECN, true),
    VDS_ROW_FEATURE("host_ufo", F_HOST_UFO, true),
    VDS_ROW_FEATURE("mrg_rxbuf", 15, true),
    VDS_ROW_FEATURE("status", 16, true),
    VDS_ROW_FEATURE("ctrl_vq", 17, true),
    VDS_ROW_FEATURE("ctrl_rx", 18, true),
    VDS_ROW_FEATURE("ctrl_vlan", 19, true),
    VDS_ROW_FEATURE("ctrl_rx_extra", 20, true),
    VDS_ROW_FEATURE("ctrl_mac_addr", 23, true),
    VDS_ROW_FEATURE("ctrl_guest_offloads", 2, true),
    VDS_ROW_FEATURE("mq", 22, false),
    VDS_ROW_FEATURE("rss", 60, false),
    VDS_ROW_FEATURE("hash", F_HASH_REPORT, false),
    VDS_ROW_FEATURE("guest_rsc_ext", 61, false),
    VDS_ROW_FEATURE("guest_uso4", F_GUEST_USO4, true),
    VDS_ROW_FEATURE("guest_uso6", F_GUEST_USO6, true),
    VDS_ROW_FEATURE("host_uso", F_HOST_USO, true),
    VDS_ROW_UNSET("mac", mac),
    {.name = "netdev",
     .type = &vds_property_backend,
     .description = "id of the -netdev it is wired to",
     .unset = true,
     .backend = "netdev",
     .exclusive = true},
    VDS_ROW_UNSET("bootindex", int32),
    VDS_ROW_NUMBER("rsc_interval", uint32, 300000),
    VDS_ROW_NUMBER("x-txtimer", uint32, 150000),
    VDS_ROW_NUMBER("x-txburst", int32, 256),
    VDS_ROW_UNSET("tx", str),
    VDS_ROW_NUMBER("rx_queue_size", uint16, QUEUE_MIN),
    VDS_ROW_NUMBER("tx_queue_size", uint16, QUEUE_MIN),
    VDS_ROW_NUMBER("host_mtu", uint16, 0),
    VDS_ROW_BOOL("x-mtu-bypass-backend", true),
    VDS_ROW_NUMBER("speed", int32, -1),
    VDS_ROW_UNSET("duplex", str),
    VDS_ROW_BOOL("failover", false),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

static bool queue_size_check(const VdsDeviceArgs *args, const char *name, const char *end,
                             GError **error)
{
    uint64_t size = vds_property_set_get_uint(args->properties, name);

    if (size < QUEUE_MIN || size > QUEUE_MAX || (size & (size - 1)) != 0) {
        return vds_kind_refuse(error,
                               "Invalid %s (= %u), must be a power of 2 between %d and "
                               "%d%s",
                               name, (unsigned)size, QUEUE_MIN, QUEUE_MAX, end);
    }
    return true;
}

static bool link_check(const VdsDeviceArgs *args, GError **error)
{
    int64_t speed = (int64_t)vds_property_set_get_uint(args->properties, "speed");
    const char *duplex = vds_property_set_get_text(args->properties, "duplex");

    if (duplex && strcmp(duplex, "half") != 0 && strcmp(duplex, "full") != 0) {
        return vds_kind_refuse(error, "'duplex' must be 'half' or 'full'");
    }
    if (speed < -1) {
        return vds_kind_refuse(error, "'speed' must be between 0 and INT_MAX");
    }
    return true;
}

/* Offloads need a peer that takes the virtio-net header with each packet. */
static bool peer_takes_header(const VdsDeviceArgs *args)
{
    static const char *const types[] = {"tap", "loop"};
    const VdsProps *netdev = vds_kind_backend(args, "netdev", "netdev");
    const char *type = netdev ? vds_props_get_string(netdev, "type") : NULL;

    for (size_t i = 0; type && i < G_N_ELEMENTS(types); i++) {
        if (strcmp(type, types[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void drop_offloads(VdsFeatures *features)
{
    static const uint8_t bits[] = {
        F_CSUM,       F_GUEST_CSUM, F_GUEST_TSO4, F_GUEST_TSO6,  F_GUEST_ECN,
        F_GUEST_UFO,  F_HOST_TSO4,  F_HOST_TSO6,  F_HOST_ECN,    F_HOST_UFO,
        F_GUEST_USO4, F_GUEST_USO6, F_HOST_USO,   F_HASH_REPORT,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        vds_features_set(features, bits[i], false);
    }
}

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const VdsPropertySet *set = args->properties;
    VdsFeatures *features = &to->features;

    if (!link_check(args, error) ||
        !queue_size_check(args, "rx_queue_size", ".", error) ||
        !queue_size_check(args, "tx_queue_size", "", error)) {
        return false;
    }
    vds_features_set(features, F_MTU, vds_property_set_get_uint(set, "host_mtu") != 0);
    vds_features_set(features, F_STANDBY, vds_property_set_get_bool(set, "failover"));
    vds_features_set(features, F_SPEED_DUPLEX,
                     vds_property_set_get_text(set, "duplex") ||
                         (int64_t)vds_property_set_get_uint(set, "speed") >= 0);
    if (!peer_takes_header(args)) {
        drop_offloads(features);
    }
    vds_kind_add_queues(to, 1, (unsigned)vds_property_set_get_uint(set, "rx_queue_size"));
    /* QEMU takes tx_queue_size for vhost-user and vhost-vdpa peers alone. */
    vds_kind_add_queues(to, 1, QUEUE_MIN);
    vds_kind_add_queues(to, 1, CONTROL_QUEUE);
    return true;
}

static const VdsKind kind = {
    .device_id = 1,
    .features = UINT64_C(1) << F_MAC,
    .plan = plan,
};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-net", "virtio-net", "virtio-net-device", tables,
                           vds_pci_auto_properties),
    VDS_TYPE_DEVICE("virtio-net-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_net_class = {types, &kind, vds_kind_realize, NULL, NULL};
