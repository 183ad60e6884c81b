/*
 * devices: the control queue of virtio-net, a row a command (virtio 1.2, 5.1.6.5).
 * A command without its feature, of a wrong length or with a value out of range is
 * answered VIRTIO_NET_ERR and changes nothing.
 */
#include <string.h>

#include "net-priv.h"

enum { CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE, CLASS_MQ, CLASS_OFFLOADS };
enum { ACK_OK = 0, ACK_ERR = 1 };

/* The rest of the request; false: refused. */
typedef bool (*CommandFunc)(VdsNetState *state, VdsStream *args, unsigned command);

static bool read_all(VdsStream *args, void *to, size_t len)
{
    return vds_stream_left(args) == len && vds_stream_read(args, to, len) == len;
}

static bool read_le16(VdsStream *args, uint16_t *value)
{
    uint8_t bytes[2];

    if (!read_all(args, bytes, sizeof(bytes))) {
        return false;
    }
    *value = (uint16_t)(bytes[0] | bytes[1] << 8);
    return true;
}

static bool set_mode(VdsNetState *state, VdsStream *args, unsigned command)
{
    VdsNetFilter *filter = state->filter;
    bool *const modes[] = {&filter->promisc, &filter->allmulti, &filter->alluni,
                           &filter->nomulti, &filter->nouni,    &filter->nobcast};
    uint8_t on;

    if (!read_all(args, &on, sizeof(on)) || on > 1) {
        return false;
    }
    *modes[command] = on;
    return true;
}

/* One of the two lists: a 32-bit count, then the addresses.  More than fit stand for
 * all of them. */
static bool read_table(VdsStream *args, bool *all, unsigned *n,
                       uint8_t macs[][VDS_NET_MAC_BYTES])
{
    uint8_t bytes[4];
    uint64_t count;

    if (vds_stream_read(args, bytes, sizeof(bytes)) < sizeof(bytes)) {
        return false;
    }
    count = (uint64_t)bytes[0] | (uint64_t)bytes[1] << 8 | (uint64_t)bytes[2] << 16 |
            (uint64_t)bytes[3] << 24;
    if (count * VDS_NET_MAC_BYTES > vds_stream_left(args)) {
        return false;
    }
    *all = count > VDS_NET_MAC_TABLE;
    *n = *all ? 0 : (unsigned)count;
    if (*all) {
        vds_stream_skip(args, count * VDS_NET_MAC_BYTES);
        return true;
    }
    return vds_stream_read(args, macs, *n * VDS_NET_MAC_BYTES) == *n * VDS_NET_MAC_BYTES;
}

static bool set_mac_table(VdsNetState *state, VdsStream *args, unsigned command)
{
    VdsNetFilter next = *state->filter;

    if (!read_table(args, &next.unicast.all, &next.unicast.n, next.unicast.macs) ||
        !read_table(args, &next.multicast.all, &next.multicast.n, next.multicast.macs) ||
        vds_stream_left(args) != 0) {
        return false;
    }
    *state->filter = next;
    return true;
}

static bool set_mac(VdsNetState *state, VdsStream *args, unsigned command)
{
    uint8_t mac[VDS_NET_MAC_BYTES];

    if (!read_all(args, mac, sizeof(mac))) {
        return false;
    }
    memcpy(state->filter->mac, mac, sizeof(mac));
    vds_virtio_device_set_config(state->device, VDS_NET_CONFIG_MAC, mac, sizeof(mac));
    return true;
}

enum { VLAN_ADD, VLAN_DEL };

static bool set_vlan(VdsNetState *state, VdsStream *args, unsigned command)
{
    uint16_t vid;
    uint32_t *word, bit;

    if (!read_le16(args, &vid) || vid >= VDS_NET_VLANS) {
        return false;
    }
    word = &state->filter->vlans[vid / 32];
    bit = UINT32_C(1) << (vid % 32);
    *word = command == VLAN_ADD ? *word | bit : *word & ~bit;
    return true;
}

static bool ack_announce(VdsNetState *state, VdsStream *args, unsigned command)
{
    uint8_t status[2];

    vds_virtio_device_get_config(state->device, VDS_NET_CONFIG_STATUS, status,
                                 sizeof(status));
    if (!(status[0] & VDS_NET_S_ANNOUNCE) || vds_stream_left(args) != 0) {
        return false;
    }
    status[0] &= (uint8_t)~VDS_NET_S_ANNOUNCE;
    vds_virtio_device_set_config(state->device, VDS_NET_CONFIG_STATUS, status,
                                 sizeof(status));
    return true;
}

static bool set_pairs(VdsNetState *state, VdsStream *args, unsigned command)
{
    uint16_t pairs;

    if (!read_le16(args, &pairs) || pairs == 0 || pairs > state->max_pairs) {
        return false;
    }
    state->pairs = pairs;
    state->rss->redirects = false;
    return true;
}

static bool set_rss(VdsNetState *state, VdsStream *args, unsigned command)
{
    return vds_net_rss_read(args, state->max_pairs, state->rss, &state->pairs);
}

static bool set_hash(VdsNetState *state, VdsStream *args, unsigned command)
{
    return vds_net_rss_read_hash(args, state->rss);
}

static bool set_offloads(VdsNetState *state, VdsStream *args, unsigned command)
{
    VdsFeatures possible = vds_net_offloads(&state->features);
    uint64_t offloads;

    if (!read_all(args, &offloads, sizeof(offloads))) {
        return false;
    }
    offloads = GUINT64_FROM_LE(offloads);
    if (offloads & ~possible.word[0]) {
        return false;
    }
    state->offloads.word[0] = offloads;
    if (state->peer->ops->set_offloads) {
        state->peer->ops->set_offloads(state->peer, &state->offloads);
    }
    return true;
}

static const struct {
    uint8_t class, command, feature;
    CommandFunc func;
} commands[] = {
    {CLASS_RX, 0, VDS_NET_F_CTRL_RX, set_mode},
    {CLASS_RX, 1, VDS_NET_F_CTRL_RX, set_mode},
    {CLASS_RX, 2, VDS_NET_F_CTRL_RX_EXTRA, set_mode},
    {CLASS_RX, 3, VDS_NET_F_CTRL_RX_EXTRA, set_mode},
    {CLASS_RX, 4, VDS_NET_F_CTRL_RX_EXTRA, set_mode},
    {CLASS_RX, 5, VDS_NET_F_CTRL_RX_EXTRA, set_mode},
    {CLASS_MAC, 0, VDS_NET_F_CTRL_RX, set_mac_table},
    {CLASS_MAC, 1, VDS_NET_F_CTRL_MAC_ADDR, set_mac},
    {CLASS_VLAN, VLAN_ADD, VDS_NET_F_CTRL_VLAN, set_vlan},
    {CLASS_VLAN, VLAN_DEL, VDS_NET_F_CTRL_VLAN, set_vlan},
    {CLASS_ANNOUNCE, 0, VDS_NET_F_GUEST_ANNOUNCE, ack_announce},
    {CLASS_MQ, 0, VDS_NET_F_MQ, set_pairs},
    {CLASS_MQ, 1, VDS_NET_F_RSS, set_rss},
    {CLASS_MQ, 2, VDS_NET_F_HASH_REPORT, set_hash},
    {CLASS_OFFLOADS, 0, VDS_NET_F_CTRL_GUEST_OFFLOADS, set_offloads},
};

VdsFeatures vds_net_offloads(const VdsFeatures *features)
{
    static const uint8_t bits[] = {
        VDS_NET_F_GUEST_CSUM, VDS_NET_F_GUEST_TSO4, VDS_NET_F_GUEST_TSO6,
        VDS_NET_F_GUEST_ECN,  VDS_NET_F_GUEST_UFO,  VDS_NET_F_GUEST_USO4,
        VDS_NET_F_GUEST_USO6, VDS_NET_F_RSC_EXT,
    };
    VdsFeatures offloads = {{0}};

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++) {
        vds_features_set(&offloads, bits[i], vds_features_has(features, bits[i]));
    }
    return offloads;
}

static bool run(VdsNetState *state, VdsStream *args, const uint8_t header[2])
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (commands[i].class == header[0] && commands[i].command == header[1]) {
            return vds_features_has(&state->features, commands[i].feature) &&
                   commands[i].func(state, args, header[1]);
        }
    }
    return false;
}

const char *vds_net_control(VdsNetState *state, VdsIo *io)
{
    uint8_t header[2], ack;

    if (vds_stream_left(&io->in) == 0) {
        return "5.1.6.5: a command without room for its answer";
    }
    if (vds_stream_read(&io->out, header, sizeof(header)) < sizeof(header)) {
        return "5.1.6.5: a command of less than 2 bytes";
    }
    ack = run(state, &io->out, header) ? ACK_OK : ACK_ERR;
    vds_stream_write(&io->in, &ack, sizeof(ack));
    return NULL;
}
