/*
 * devices: virtio-net (virtio 1.2, 5.1): a receive and a transmit queue and the control
 * queue.  More pairs appear when a driver negotiates VIRTIO_NET_F_MQ, as in QEMU.
 */
#include <string.h>

#include "net-priv.h"

enum { QUEUE_MIN = 256, QUEUE_MAX = 1024, CONTROL_QUEUE = 64 };

static const VdsProperty properties[] = {
    VDS_ROW_FEATURE("csum", VDS_NET_F_CSUM, true),
    VDS_ROW_FEATURE("guest_csum", VDS_NET_F_GUEST_CSUM, true),
    VDS_ROW_FEATURE("gso", 6, true),
    VDS_ROW_FEATURE("guest_tso4", VDS_NET_F_GUEST_TSO4, true),
    VDS_ROW_FEATURE("guest_tso6", VDS_NET_F_GUEST_TSO6, true),
    VDS_ROW_FEATURE("guest_ecn", VDS_NET_F_GUEST_ECN, true),
    VDS_ROW_FEATURE("guest_ufo", VDS_NET_F_GUEST_UFO, true),
    VDS_ROW_FEATURE("guest_announce", VDS_NET_F_GUEST_ANNOUNCE, true),
    VDS_ROW_FEATURE("host_tso4", VDS_NET_F_HOST_TSO4, true),
    VDS_ROW_FEATURE("host_tso6", VDS_NET_F_HOST_TSO6, true),
    VDS_ROW_FEATURE("host_ecn", VDS_NET_F_HOST_ECN, true),
    VDS_ROW_FEATURE("host_ufo", VDS_NET_F_HOST_UFO, true),
    VDS_ROW_FEATURE("mrg_rxbuf", VDS_NET_F_MRG_RXBUF, true),
    VDS_ROW_FEATURE("status", VDS_NET_F_STATUS, true),
    VDS_ROW_FEATURE("ctrl_vq", VDS_NET_F_CTRL_VQ, true),
    VDS_ROW_FEATURE("ctrl_rx", VDS_NET_F_CTRL_RX, true),
    VDS_ROW_FEATURE("ctrl_vlan", VDS_NET_F_CTRL_VLAN, true),
    VDS_ROW_FEATURE("ctrl_rx_extra", VDS_NET_F_CTRL_RX_EXTRA, true),
    VDS_ROW_FEATURE("ctrl_mac_addr", VDS_NET_F_CTRL_MAC_ADDR, true),
    VDS_ROW_FEATURE("ctrl_guest_offloads", VDS_NET_F_CTRL_GUEST_OFFLOADS, true),
    VDS_ROW_FEATURE("mq", VDS_NET_F_MQ, false),
    VDS_ROW_FEATURE("rss", VDS_NET_F_RSS, false),
    VDS_ROW_FEATURE("hash", VDS_NET_F_HASH_REPORT, false),
    VDS_ROW_FEATURE("guest_rsc_ext", VDS_NET_F_RSC_EXT, false),
    VDS_ROW_FEATURE("guest_uso4", VDS_NET_F_GUEST_USO4, true),
    VDS_ROW_FEATURE("guest_uso6", VDS_NET_F_GUEST_USO6, true),
    VDS_ROW_FEATURE("host_uso", VDS_NET_F_HOST_USO, true),
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

static void drop_offloads(VdsFeatures *features)
{
    static const uint8_t bits[] = {
        VDS_NET_F_CSUM,       VDS_NET_F_GUEST_CSUM,  VDS_NET_F_GUEST_TSO4,
        VDS_NET_F_GUEST_TSO6, VDS_NET_F_GUEST_ECN,   VDS_NET_F_GUEST_UFO,
        VDS_NET_F_HOST_TSO4,  VDS_NET_F_HOST_TSO6,   VDS_NET_F_HOST_ECN,
        VDS_NET_F_HOST_UFO,   VDS_NET_F_GUEST_USO4,  VDS_NET_F_GUEST_USO6,
        VDS_NET_F_HOST_USO,   VDS_NET_F_HASH_REPORT,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        vds_features_set(features, bits[i], false);
    }
}

/* What the front-end answers itself: the control queue with all that needs it, and the
 * configuration space, for which a net front-end does not ask.  Announcements and pairs
 * are its commands, too, but it offers them only where the back-end does. */
static void drop_front_end(VdsFeatures *features)
{
    static const uint8_t bits[] = {
        VDS_NET_F_CTRL_GUEST_OFFLOADS,
        VDS_NET_F_MAC,
        VDS_NET_F_STATUS,
        VDS_NET_F_CTRL_VQ,
        VDS_NET_F_CTRL_RX,
        VDS_NET_F_CTRL_VLAN,
        VDS_NET_F_CTRL_RX_EXTRA,
        VDS_NET_F_CTRL_MAC_ADDR,
        VDS_NET_F_RSS,
        VDS_NET_F_HASH_REPORT,
        VDS_NET_F_RSC_EXT,
        VDS_NET_F_STANDBY,
        VDS_NET_F_SPEED_DUPLEX,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        vds_features_set(features, bits[i], false);
    }
}

/* The front-end says how large packets may be, and with how many pairs. */
static void offer_served(const VdsDeviceArgs *args, unsigned pairs, VdsFeatures *features)
{
    const VdsPropertySet *set = args->properties;

    drop_front_end(features);
    vds_features_set(features, VDS_NET_F_MTU, true);
    vds_features_set(features, VDS_NET_F_MQ,
                     pairs > 1 && (!vds_property_set_has(set, "mq") ||
                                   vds_property_set_get_bool(set, "mq")));
}

static void *macs_create(const char *name)
{
    return g_new0(uint32_t, 1);
}

/* As QEMU numbers them: 52:54:00:12:34:56 and on. */
static void choose_mac(const VdsDeviceArgs *args, uint8_t mac[VDS_NET_MAC_BYTES])
{
    const char *text = vds_property_set_get_text(args->properties, "mac");
    uint32_t *next = args->host->share(args->host, "macs", macs_create, g_free);
    uint64_t number = UINT64_C(0x525400123456) + (*next & 0xff);

    if (!text) {
        ++*next;
    }
    for (unsigned i = 0; i < VDS_NET_MAC_BYTES; i++) {
        mac[i] = (uint8_t)(text ? g_ascii_strtoull(text + 3 * i, NULL, 16)
                                : number >> (8 * (VDS_NET_MAC_BYTES - 1 - i)));
    }
}

static void put(uint8_t *config, unsigned offset, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        config[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

/* The space ends with the last field that a feature asks for. */
static unsigned config_len(const VdsFeatures *features)
{
    static const struct {
        uint8_t feature, end;
    } rows[] = {
        {VDS_NET_F_MAC, VDS_NET_CONFIG_STATUS},
        {VDS_NET_F_STATUS, VDS_NET_CONFIG_MAX_PAIRS},
        {VDS_NET_F_MQ, VDS_NET_CONFIG_MTU},
        {VDS_NET_F_MTU, VDS_NET_CONFIG_SPEED},
        {VDS_NET_F_SPEED_DUPLEX, VDS_NET_CONFIG_DUPLEX + 1},
        {VDS_NET_F_RSS, VDS_NET_CONFIG_BYTES},
        {VDS_NET_F_HASH_REPORT, VDS_NET_CONFIG_BYTES},
    };
    unsigned len = VDS_NET_CONFIG_MAX_PAIRS;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (vds_features_has(features, rows[i].feature)) {
            len = MAX(len, rows[i].end);
        }
    }
    return len;
}

static void config_fill(const VdsPropertySet *set, const VdsNetConfig *net,
                        VdsKindPlan *to)
{
    const char *duplex = vds_property_set_get_text(set, "duplex");
    uint8_t code = !duplex ? UINT8_MAX : strcmp(duplex, "full") == 0;

    memcpy(to->config + VDS_NET_CONFIG_MAC, net->mac, VDS_NET_MAC_BYTES);
    put(to->config, VDS_NET_CONFIG_STATUS, VDS_NET_S_LINK_UP, 2);
    put(to->config, VDS_NET_CONFIG_MAX_PAIRS, net->max_pairs, 2);
    put(to->config, VDS_NET_CONFIG_MTU, vds_property_set_get_uint(set, "host_mtu"), 2);
    put(to->config, VDS_NET_CONFIG_SPEED, vds_property_set_get_uint(set, "speed"), 4);
    put(to->config, VDS_NET_CONFIG_DUPLEX, code, 1);
    put(to->config, VDS_NET_CONFIG_RSS_KEY, VDS_NET_RSS_KEY, 1);
    put(to->config, VDS_NET_CONFIG_RSS_TABLE,
        vds_features_has(&to->features, VDS_NET_F_RSS) ? VDS_NET_RSS_TABLE : 1, 2);
    put(to->config, VDS_NET_CONFIG_RSS_TYPES, VDS_NET_RSS_TYPES, 4);
    to->config_len_bytes = config_len(&to->features);
}

/* A netdev of several queues makes a device of as many pairs. */
static bool count_pairs(const VdsProps *netdev, unsigned *pairs, GError **error)
{
    const VdsProp *prop = netdev ? vds_props_find(netdev, "queues") : NULL;
    const char *type = netdev ? vds_props_get_string(netdev, "type") : NULL;
    uint64_t n = 1;

    if (prop && !vds_prop_get_uint(prop, 1, VDS_NET_MAX_PAIRS, &n, error)) {
        return false;
    }
    if (n > 1 && g_strcmp0(type, "loop") != 0 && g_strcmp0(type, "hubport") != 0) {
        return vds_kind_refuse(error, "netdev type '%s' has one queue, not %u",
                               type ? type : "", (unsigned)n);
    }
    *pairs = (unsigned)n;
    return true;
}

static void add_queues(VdsKindPlan *to, const VdsNetConfig *net)
{
    for (unsigned i = 0; i < net->max_pairs; i++) {
        vds_kind_add_queues(to, 1, net->rx_size);
        vds_kind_add_queues(to, 1, net->tx_size);
    }
    if (net->control_size > 0) {
        vds_kind_add_queues(to, 1, net->control_size);
    }
}

/* The request path, over what it is wired to. */
static bool equip(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const VdsProps *netdev = vds_kind_backend(args, "netdev", "netdev");
    VdsNetConfig config = {
        .rx_size = (uint16_t)vds_property_set_get_uint(args->properties, "rx_queue_size"),
        /* QEMU takes tx_queue_size for vhost-user and vhost-vdpa peers alone. */
        .tx_size = QUEUE_MIN,
        .control_size = vds_kind_is_served(args) ? 0 : CONTROL_QUEUE,
    };
    VdsNet *net;

    if (!count_pairs(netdev, &config.max_pairs, error)) {
        return false;
    }
    config.peer = vds_net_peer_new(args, netdev, error);
    if (!config.peer) {
        return false;
    }
    if (!config.peer->ops->takes_header) {
        drop_offloads(&to->features);
    }
    if (vds_kind_is_served(args)) {
        offer_served(args, config.max_pairs, &to->features);
    }
    choose_mac(args, config.mac);
    config.mtu = (uint16_t)vds_property_set_get_uint(args->properties, "host_mtu");
    config_fill(args->properties, &config, to);
    add_queues(to, &config);
    net = vds_net_new(&config);
    to->ops = &vds_net_ops;
    to->instance = net;
    to->device = vds_net_device(net);
    return true;
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
    vds_features_set(features, VDS_NET_F_MTU,
                     vds_property_set_get_uint(set, "host_mtu") != 0);
    vds_features_set(features, VDS_NET_F_STANDBY,
                     vds_property_set_get_bool(set, "failover"));
    vds_features_set(features, VDS_NET_F_SPEED_DUPLEX,
                     vds_property_set_get_text(set, "duplex") ||
                         (int64_t)vds_property_set_get_uint(set, "speed") >= 0);
    return equip(args, to, error);
}

static bool get_connected(void *instance, VdsProp *value)
{
    vds_prop_show_bool(value, vds_net_is_connected(instance));
    return true;
}

static bool get_link(void *instance, VdsProp *value)
{
    vds_prop_show_bool(value, vds_net_link_is_up(instance));
    return true;
}

static bool set_link(void *instance, const VdsProp *value, GError **error)
{
    bool up;

    return vds_prop_get_bool(value, &up, error) && vds_net_set_link(instance, up, error);
}

static bool get_dropped(void *instance, VdsProp *value)
{
    vds_prop_show_uint(value, vds_net_get_counts(instance).dropped);
    return true;
}

static bool get_sent(void *instance, VdsProp *value)
{
    vds_prop_show_uint(value, vds_net_get_counts(instance).sent);
    return true;
}

static bool get_received(void *instance, VdsProp *value)
{
    vds_prop_show_uint(value, vds_net_get_counts(instance).received);
    return true;
}

static const VdsDeviceReading readings[] = {
    {"connected", "bool", get_connected, NULL},
    {"link-up", "bool", get_link, set_link},
    {"tx-packets", "uint64", get_sent, NULL},
    {"rx-packets", "uint64", get_received, NULL},
    {"dropped", "uint64", get_dropped, NULL},
    {NULL, NULL, NULL, NULL},
};

static const VdsKind kind = {
    .device_id = 1,
    .features = UINT64_C(1) << VDS_NET_F_MAC,
    .plan = plan,
};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-net", "virtio-net", "virtio-net-device", tables,
                           vds_pci_auto_properties),
    VDS_TYPE_DEVICE("virtio-net-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_net_class = {.types = types,
                                      .data = &kind,
                                      .realize = vds_kind_realize,
                                      .readings = readings,
                                      .category = VDS_CATEGORY_NETWORK};
