/*
 * devices: what the files of virtio-net share: frames, what a device is wired to (a
 * peer), which frames a driver wants (the filter), and the device.
 */
#pragma once

#include <stdatomic.h>

#include "kind-priv.h"

enum {
    VDS_NET_F_CSUM = 0,
    VDS_NET_F_GUEST_CSUM = 1,
    VDS_NET_F_CTRL_GUEST_OFFLOADS = 2,
    VDS_NET_F_MTU = 3,
    VDS_NET_F_MAC = 5,
    VDS_NET_F_GUEST_TSO4 = 7,
    VDS_NET_F_GUEST_TSO6 = 8,
    VDS_NET_F_GUEST_ECN = 9,
    VDS_NET_F_GUEST_UFO = 10,
    VDS_NET_F_HOST_TSO4 = 11,
    VDS_NET_F_HOST_TSO6 = 12,
    VDS_NET_F_HOST_ECN = 13,
    VDS_NET_F_HOST_UFO = 14,
    VDS_NET_F_MRG_RXBUF = 15,
    VDS_NET_F_STATUS = 16,
    VDS_NET_F_CTRL_VQ = 17,
    VDS_NET_F_CTRL_RX = 18,
    VDS_NET_F_CTRL_VLAN = 19,
    VDS_NET_F_CTRL_RX_EXTRA = 20,
    VDS_NET_F_GUEST_ANNOUNCE = 21,
    VDS_NET_F_MQ = 22,
    VDS_NET_F_CTRL_MAC_ADDR = 23,
    VDS_NET_F_GUEST_USO4 = 54,
    VDS_NET_F_GUEST_USO6 = 55,
    VDS_NET_F_HOST_USO = 56,
    VDS_NET_F_HASH_REPORT = 57,
    VDS_NET_F_RSS = 60,
    VDS_NET_F_RSC_EXT = 61,
    VDS_NET_F_STANDBY = 62,
    VDS_NET_F_SPEED_DUPLEX = 63,
};

enum {
    VDS_NET_MAC_BYTES = 6,
    VDS_NET_HEADER_BYTES = 10, /* without num_buffers (virtio 1.2, 5.1.6.1) */
    VDS_NET_HEADER_MAX = 20,   /* with it, a hash, its type and padding */
    /* A frame: an IP packet of 64 KiB and what may stand before it. */
    VDS_NET_MAX_FRAME = 65536 + 4096,
    VDS_NET_MAX_PAIRS = 256,
};

/* ---- frames -------------------------------------------------------------------------
 */

typedef struct {
    uint8_t header[VDS_NET_HEADER_BYTES]; /* as on the wire: flags, gso_type, hdr_len,
                                             gso_size, csum_start, csum_offset */
    unsigned pair;                        /* it was sent on */
    size_t len;
    const uint8_t *bytes;
} VdsNetFrame;

/* Frames go from hand to hand in bursts of at most so many. */
enum { VDS_NET_BURST = 32 };

/* A frame that several threads may hold. */
typedef struct VdsNetPacket VdsNetPacket;
VdsNetPacket *vds_net_packet_new(const VdsNetFrame *frame); /* copies */
VdsNetPacket *vds_net_packet_ref(VdsNetPacket *packet);     /* atomic count */
void vds_net_packet_unref(VdsNetPacket *packet);            /* NULL is fine */
/* Points into the packet. */
VdsNetFrame vds_net_packet_frame(const VdsNetPacket *packet);

/* ---- peers: what a device is wired to
 * -------------------------------------------------- */

/* Packets that wait for a receiver: a bounded queue; what comes on top is dropped. */
enum { VDS_NET_INBOX = 256 };
typedef struct {
    VdsNetPacket *packets[VDS_NET_INBOX];
    unsigned first, n;
} VdsNetInbox;
bool vds_net_inbox_push(VdsNetInbox *inbox, VdsNetPacket *packet); /* (transfer full) */
VdsNetPacket *vds_net_inbox_shift(VdsNetInbox *inbox);             /* (nullable) */
void vds_net_inbox_clear(VdsNetInbox *inbox);

typedef struct VdsNet VdsNet;
typedef struct VdsNetPeer VdsNetPeer;

/* All on the device's I/O thread, but destroy; all but send are (nullable). */
typedef struct {
    const char *name;  /* -netdev type */
    bool connected;    /* there is something at the other end */
    bool takes_header; /* offloads make sense */
    bool (*start)(VdsNetPeer *peer, GError **error);
    void (*stop)(VdsNetPeer *peer);
    void (*reset)(VdsNetPeer *peer);
    void (*send)(VdsNetPeer *peer, const VdsNetFrame *frames, unsigned n);
    void (*send_end)(VdsNetPeer *peer); /* after one or more */
    /* There are receive buffers again. */
    void (*poll)(VdsNetPeer *peer);
    /* What the driver takes: bits of VDS_NET_F_GUEST_*. */
    void (*set_offloads)(VdsNetPeer *peer, const VdsFeatures *offloads);
    void (*destroy)(VdsNetPeer *peer);
} VdsNetPeerOps;

struct VdsNetPeer {
    const VdsNetPeerOps *ops;
    VdsNet *net;         /* set by vds_net_new() */
    VdsIoThread *thread; /* borrowed: the device's */
};

/* What -netdev gives; NULL `netdev`: nothing, as a cable that was pulled.  BACKEND. */
VdsNetPeer *vds_net_peer_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                             GError **error);
void vds_net_peer_free(VdsNetPeer *peer); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsNetPeer, vds_net_peer_free)
/* The peers with state of their own; part of vds_net_peer_new(). */
VdsNetPeer *vds_net_hub_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                            GError **error);
VdsNetPeer *vds_net_tap_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                            GError **error);

/* For peers, on the I/O thread: a burst.  How many of its frames are done with, from the
 * first on; fewer than n: not now, there is no room, and poll says when. */
unsigned vds_net_receive(VdsNet *net, const VdsNetFrame *frames, unsigned n);
/* After one or more frames. */
void vds_net_receive_end(VdsNet *net);
/* A frame is lost because something was full.  Any thread. */
void vds_net_count_drops(VdsNet *net, unsigned n);

/* ---- the filter (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3)
 * ------------------------------------ */

enum { VDS_NET_MAC_TABLE = 64, VDS_NET_VLANS = 4096 };

typedef struct {
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    uint8_t mac[VDS_NET_MAC_BYTES];
    struct {
        bool all; /* more addresses than fit */
        unsigned n;
        uint8_t macs[VDS_NET_MAC_TABLE][VDS_NET_MAC_BYTES];
    } unicast, multicast;
    bool filters_vlans;
    uint32_t vlans[VDS_NET_VLANS / 32];
} VdsNetFilter;

void vds_net_filter_reset(VdsNetFilter *filter, const uint8_t *mac);
bool vds_net_filter_accepts(const VdsNetFilter *filter, const uint8_t *bytes, size_t len);

/* ---- steering by hash (virtio 1.2, 5.1.6.4.3 and 5.1.6.5.7) --------------------------
 */

enum { VDS_NET_RSS_KEY = 40, VDS_NET_RSS_TABLE = 128 };
#define VDS_NET_RSS_TYPES UINT32_C(0x1ff) /* all nine */

/* As a driver set it up; all zeroes: nothing is hashed, nothing steered. */
typedef struct {
    bool redirects; /* the table says where to */
    uint32_t types;
    uint16_t mask, unclassified;
    uint16_t table[VDS_NET_RSS_TABLE]; /* mask + 1 pairs */
    uint8_t key[VDS_NET_RSS_KEY];
} VdsNetRss;

typedef struct {
    uint16_t report; /* 0: no hash; else what was hashed, as the header tells it */
    uint32_t value;
} VdsNetHash;

VdsNetHash vds_net_rss_hash(const VdsNetRss *rss, const uint8_t *frame, size_t len);
unsigned vds_net_rss_pair(const VdsNetRss *rss, const VdsNetHash *hash);
/* The commands RSS_CONFIG and HASH_CONFIG; false: refused, nothing changed. */
bool vds_net_rss_read(VdsStream *args, unsigned max_pairs, VdsNetRss *rss,
                      unsigned *pairs);
bool vds_net_rss_read_hash(VdsStream *args, VdsNetRss *rss);

/* ---- the device
 * ------------------------------------------------------------------------
 */

typedef struct {
    VdsNetPeer *peer; /* (transfer full) */
    uint8_t mac[VDS_NET_MAC_BYTES];
    unsigned max_pairs; /* 1..VDS_NET_MAX_PAIRS */
    uint16_t rx_size, tx_size;
    uint16_t control_size; /* 0: there is no control queue, its driver has that itself */
    uint16_t mtu;          /* of the config space; 0: none */
} VdsNetConfig;

VdsNet *vds_net_new(const VdsNetConfig *config);
VdsVirtioDevice **vds_net_device(VdsNet *net); /* to be set before any driver */
extern const VdsDeviceOps vds_net_ops;         /* its instance: a VdsNet */
bool vds_net_is_connected(const VdsNet *net);
/* The cable; any thread reads, the main loop sets.  VDS_UTIL_ERROR_SYSTEM. */
bool vds_net_link_is_up(const VdsNet *net);
bool vds_net_set_link(VdsNet *net, bool up, GError **error);
/* Frames so far: out of transmit queues, into receive buffers, lost.  Any thread. */
typedef struct {
    uint64_t sent, received, dropped;
} VdsNetCounts;
VdsNetCounts vds_net_get_counts(const VdsNet *net);

/* Offsets in the configuration space (virtio 1.2, 5.1.4). */
enum {
    VDS_NET_CONFIG_MAC = 0,
    VDS_NET_CONFIG_STATUS = 6,
    VDS_NET_CONFIG_MAX_PAIRS = 8,
    VDS_NET_CONFIG_MTU = 10,
    VDS_NET_CONFIG_SPEED = 12,
    VDS_NET_CONFIG_DUPLEX = 16,
    VDS_NET_CONFIG_RSS_KEY = 17,
    VDS_NET_CONFIG_RSS_TABLE = 18,
    VDS_NET_CONFIG_RSS_TYPES = 20,
    VDS_NET_CONFIG_BYTES = 24,
};
enum { VDS_NET_S_LINK_UP = 1, VDS_NET_S_ANNOUNCE = 2 };

/* ---- the control queue (net-control.c)
 * -------------------------------------------------
 */

/* What commands change. */
typedef struct {
    VdsVirtioDevice *device;
    VdsNetPeer *peer;
    VdsFeatures features; /* negotiated */
    VdsFeatures offloads; /* GUEST_* that are on */
    uint16_t mtu;         /* that packets must keep; 0: none was negotiated */
    unsigned pairs, max_pairs;
    VdsNetFilter *filter; /* (nullable) from DRIVER_OK to reset */
    VdsNetRss *rss;       /* likewise */
} VdsNetState;

/* Those of the features that CTRL_GUEST_OFFLOADS is about. */
VdsFeatures vds_net_offloads(const VdsFeatures *features);
/* Serves one command: reads it, writes the answer; the request is then complete with one
 * byte written.  NULL, or why the device is to be broken. */
const char *vds_net_control(VdsNetState *state, VdsIo *io);

/* ---- headers (net-header.c)
 * ------------------------------------------------------------ */

unsigned vds_net_header_bytes(const VdsFeatures *features);
/* A checksum that is still to be made lies inside the frame; and the receiver can take
 * what the sender left to somebody else. */
/* mtu 0: none is kept. */
bool vds_net_header_fits_mtu(uint16_t mtu, const VdsNetFrame *frame);
bool vds_net_header_fits(const VdsFeatures *offloads, const VdsNetFrame *frame);
/* num_buffers is 1 even where buffers are not merged (virtio 1.2, 5.1.6.4.1). */
void vds_net_header_fill(const VdsFeatures *offloads, const VdsNetFrame *frame,
                         const VdsNetHash *hash, unsigned n_buffers,
                         uint8_t to[VDS_NET_HEADER_MAX]);

/* ---- the device's own words (net-device.c, net-receive.c)
 * ------------------------------ */

/* Receive buffers of one pair that are out of the ring: first those with frames in them,
 * while a burst is placed, then empty ones. */
typedef struct {
    VdsIo **ios;
    unsigned n, room, used;
    uint64_t bytes; /* of the empty ones */
    bool dirty;     /* has completions to flush */
} VdsNetHeld;

struct VdsNet {
    VdsNetState state;              /* pairs, filter, features: what commands change */
    uint8_t mac[VDS_NET_MAC_BYTES]; /* after a reset */
    unsigned n_queues;              /* of all pairs, and the control queue */
    uint16_t rx_size, tx_size, control_size;
    bool active;
    bool announces; /* this address, when it starts */
    uint8_t announced[VDS_NET_MAC_BYTES];
    bool multiqueue;     /* the control queue stands behind all pairs */
    uint16_t config_mtu; /* 0: none */
    uint16_t told_mtu;   /* by a front-end; 0: none */
    unsigned header_bytes;
    bool merges;            /* MRG_RXBUF */
    bool has_offload;       /* the driver may leave checksums to us: CSUM */
    VdsNetHeld *held;       /* max_pairs */
    uint8_t *burst;         /* (nullable) what is sent, from the first start */
    _Atomic bool link_down; /* stored by the I/O thread alone */
    _Atomic uint64_t drops;
    _Atomic uint64_t sent, received; /* stored by the I/O thread alone */
};

/* One thread counts: no need of a locked instruction for each frame. */
static inline void vds_net_count(_Atomic uint64_t *count, unsigned n)
{
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed);

    atomic_store_explicit(count, before + n, memory_order_relaxed);
}

/* VdsDeviceOps.announce: at once, or once it is started (net-announce.c). */
void vds_net_announce(void *instance, const uint8_t *mac);
void vds_net_announce_late(VdsNet *net);

/* After a reset. */
void vds_net_held_drop(VdsNetHeld *held);
/* Buffers that no frame has come for go back into the ring. */
void vds_net_held_return(VdsNetHeld *held, VdsVirtQueue *queue);
