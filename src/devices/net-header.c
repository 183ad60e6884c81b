/*
 * devices: virtio-net's header before each frame (virtio 1.2, 5.1.6): how long it is,
 * what it says to a receiver, and whether that receiver has agreed to such a frame.
 * Refuses to know queues.
 */
#include <string.h>

#include "net-priv.h"

enum {
    MODERN_BYTES = 2, /* num_buffers */
    FLAG_NEEDS_CSUM = 1,
    FLAG_DATA_VALID = 2,
    GSO_ECN = 0x80,
};

static unsigned get_le16(const uint8_t *bytes)
{
    return (unsigned)(bytes[0] | bytes[1] << 8);
}

/* What each kind of large packet asks of the receiver; either feature will do. */
static const struct {
    uint8_t type, feature, other;
} gso_rules[] = {
    {1, VDS_NET_F_GUEST_TSO4, VDS_NET_F_GUEST_TSO4},
    {3, VDS_NET_F_GUEST_UFO, VDS_NET_F_GUEST_UFO},
    {4, VDS_NET_F_GUEST_TSO6, VDS_NET_F_GUEST_TSO6},
    {5, VDS_NET_F_GUEST_USO4, VDS_NET_F_GUEST_USO6},
};

static bool gso_fits(const VdsFeatures *offloads, unsigned type)
{
    if (type == 0) {
        return true;
    }
    if ((type & GSO_ECN) && !vds_features_has(offloads, VDS_NET_F_GUEST_ECN)) {
        return false;
    }
    type &= ~(unsigned)GSO_ECN;
    for (size_t i = 0; i < G_N_ELEMENTS(gso_rules); i++) {
        if (gso_rules[i].type == type) {
            return vds_features_has(offloads, gso_rules[i].feature) ||
                   vds_features_has(offloads, gso_rules[i].other);
        }
    }
    return type == 0;
}

/* 5.1.4.1: a packet that is one packet on the wire, too, is at most mtu bytes behind its
 * Ethernet header. */
bool vds_net_header_fits_mtu(uint16_t mtu, const VdsNetFrame *frame)
{
    enum { ETHERNET_BYTES = 14, VLAN_BYTES = 4, TYPE_AT = 12 };
    size_t most = (size_t)mtu + ETHERNET_BYTES;

    if (mtu == 0 || (frame->header[1] & ~GSO_ECN) != 0) {
        return true;
    }
    if (frame->len > ETHERNET_BYTES && frame->bytes[TYPE_AT] == 0x81 &&
        frame->bytes[TYPE_AT + 1] == 0) {
        most += VLAN_BYTES;
    }
    return frame->len <= most;
}

bool vds_net_header_fits(const VdsFeatures *offloads, const VdsNetFrame *frame)
{
    const uint8_t *header = frame->header;

    if ((header[0] & FLAG_NEEDS_CSUM) &&
        (!vds_features_has(offloads, VDS_NET_F_GUEST_CSUM) ||
         get_le16(header + 6) + get_le16(header + 8) + 2 > frame->len)) {
        return false;
    }
    return gso_fits(offloads, header[1]);
}

void vds_net_header_fill(const VdsFeatures *offloads, const VdsNetFrame *frame,
                         const VdsNetHash *hash, unsigned n_buffers,
                         uint8_t to[VDS_NET_HEADER_MAX])
{
    memset(to, 0, VDS_NET_HEADER_MAX);
    memcpy(to, frame->header, VDS_NET_HEADER_BYTES);
    /* 5.1.6.4.1: none without GUEST_CSUM, and none that no feature stands for. */
    to[0] &= vds_features_has(offloads, VDS_NET_F_GUEST_CSUM)
                 ? FLAG_NEEDS_CSUM | FLAG_DATA_VALID
                 : 0;
    to[10] = (uint8_t)n_buffers;
    to[11] = (uint8_t)(n_buffers >> 8);
    for (unsigned i = 0; i < 4; i++) {
        to[12 + i] = (uint8_t)(hash->value >> (8 * i));
    }
    to[16] = (uint8_t)hash->report;
}

unsigned vds_net_header_bytes(const VdsFeatures *features)
{
    if (vds_features_has(features, VDS_NET_F_HASH_REPORT)) {
        return VDS_NET_HEADER_MAX;
    }
    return vds_features_has(features, VDS_F_VERSION_1) ||
                   vds_features_has(features, VDS_NET_F_MRG_RXBUF)
               ? VDS_NET_HEADER_BYTES + MODERN_BYTES
               : VDS_NET_HEADER_BYTES;
}
