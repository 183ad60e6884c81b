/*
 * devices: which frames a driver of virtio-net wants, by address and VLAN
 * (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3).  Refuses to know queues.
 */
#include <string.h>

#include "net-priv.h"

enum { ETHERNET_BYTES = 14, VLAN_BYTES = 18, ETHERTYPE_VLAN = 0x8100 };

void vds_net_filter_reset(VdsNetFilter *filter, const uint8_t *mac)
{
    *filter = (VdsNetFilter){.promisc = true};
    memcpy(filter->mac, mac, VDS_NET_MAC_BYTES);
}

static unsigned get_be16(const uint8_t *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

static bool accepts_vlan(const VdsNetFilter *filter, const uint8_t *bytes, size_t len)
{
    unsigned vid;

    if (!filter->filters_vlans || len < VLAN_BYTES ||
        get_be16(bytes + 12) != ETHERTYPE_VLAN) {
        return true;
    }
    vid = get_be16(bytes + 14) & (VDS_NET_VLANS - 1);
    return (filter->vlans[vid / 32] >> (vid % 32)) & 1;
}

static bool is_in(const uint8_t macs[][VDS_NET_MAC_BYTES], unsigned n, const uint8_t *mac)
{
    for (unsigned i = 0; i < n; i++) {
        if (memcmp(macs[i], mac, VDS_NET_MAC_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static bool accepts_group(const VdsNetFilter *filter, const uint8_t *mac)
{
    static const uint8_t broadcast[] = {255, 255, 255, 255, 255, 255};

    if (memcmp(mac, broadcast, sizeof(broadcast)) == 0) {
        return !filter->nobcast;
    }
    return !filter->nomulti && (filter->allmulti || filter->multicast.all ||
                                is_in(filter->multicast.macs, filter->multicast.n, mac));
}

static bool accepts_one(const VdsNetFilter *filter, const uint8_t *mac)
{
    return !filter->nouni && (filter->alluni || filter->unicast.all ||
                              memcmp(mac, filter->mac, VDS_NET_MAC_BYTES) == 0 ||
                              is_in(filter->unicast.macs, filter->unicast.n, mac));
}

bool vds_net_filter_accepts(const VdsNetFilter *filter, const uint8_t *bytes, size_t len)
{
    if (filter->promisc) {
        return true;
    }
    if (len < ETHERNET_BYTES || !accepts_vlan(filter, bytes, len)) {
        return false;
    }
    return bytes[0] & 1 ? accepts_group(filter, bytes) : accepts_one(filter, bytes);
}
