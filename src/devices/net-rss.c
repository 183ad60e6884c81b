/*
 * devices: which receive queue of virtio-net a frame goes to by its hash, and what hash
 * is reported with it (virtio 1.2, 5.1.6.4.3 and 5.1.6.5.6.4 to 5.1.6.5.7).  Refuses to
 * know queues; a frame is bytes that anybody may have written.
 */
#include <string.h>

#include "net-priv.h"

enum {
    TYPE_IPV4,
    TYPE_TCPV4,
    TYPE_UDPV4,
    TYPE_IPV6,
    TYPE_TCPV6,
    TYPE_UDPV6,
    TYPE_IP_EX, /* with what extension headers say of the addresses */
    TYPE_TCP_EX,
    TYPE_UDP_EX,
};
enum { ETHERTYPE_AT = 12, VLAN_TAGS = 2 };
enum {
    TCP = 6,
    UDP = 17,
    HOP_BY_HOP = 0,
    ROUTING = 43,
    FRAGMENT = 44,
    DEST_OPTIONS = 60
};
enum { ADDRESS_V6 = 16, INPUT_MAX = 2 * ADDRESS_V6 + 4 };

static unsigned get_be16(const uint8_t *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

/* ---- what a frame is ----------------------------------------------------------------
 */

/* What is hashed; an unknown part is NULL. */
typedef struct {
    unsigned address; /* bytes of one; 0: this is no IP */
    const uint8_t *source, *dest;
    bool extended;                     /* has IPv6 extension headers */
    const uint8_t *home, *destination; /* what these put in place of the two above */
    unsigned protocol;                 /* TCP, UDP or something else */
    const uint8_t *ports;
} Flow;

typedef struct {
    const uint8_t *at;
    size_t len;
} Bytes;

/* (nullable) the next n, and moves on. */
static const uint8_t *take(Bytes *bytes, size_t n)
{
    const uint8_t *at = bytes->at;

    if (bytes->len < n) {
        return NULL;
    }
    bytes->at += n;
    bytes->len -= n;
    return at;
}

static void find_ports(Flow *flow, unsigned protocol, Bytes rest)
{
    flow->ports = protocol == TCP || protocol == UDP ? take(&rest, 4) : NULL;
    flow->protocol = flow->ports ? protocol : UINT8_MAX;
}

/* Parts of a datagram have no ports, or all but the first would go another way. */
static void parse_ipv4(Flow *flow, Bytes bytes)
{
    const uint8_t *header = take(&bytes, 20);
    unsigned options;

    if (!header || header[0] >> 4 != 4 || (header[0] & 15) < 5) {
        return;
    }
    options = 4 * ((header[0] & 15u) - 5);
    *flow = (Flow){
        .address = 4, .source = header + 12, .dest = header + 16, .protocol = UINT8_MAX};
    if ((get_be16(header + 6) & 0x3fff) == 0 && take(&bytes, options)) {
        find_ports(flow, header[9], bytes);
    }
}

/* The home address among the options (RFC 6275, 6.3). */
static void find_home(Flow *flow, Bytes options)
{
    enum { PAD1 = 0, HOME_ADDRESS = 201 };
    const uint8_t *type;

    while ((type = take(&options, 1))) {
        const uint8_t *len = *type == PAD1 ? NULL : take(&options, 1);
        const uint8_t *value = len ? take(&options, *len) : NULL;

        if (*type != PAD1 && !value) {
            return;
        }
        if (*type == HOME_ADDRESS && *len == ADDRESS_V6) {
            flow->home = value;
        }
    }
}

/* One extension header: false when it is none, or ends behind the frame. */
static bool take_extension(Flow *flow, unsigned *next, Bytes *bytes)
{
    const uint8_t *header = bytes->at;
    size_t len;

    if (*next != HOP_BY_HOP && *next != ROUTING && *next != FRAGMENT &&
        *next != DEST_OPTIONS) {
        return false;
    }
    if (bytes->len < 8) {
        *next = UINT8_MAX;
        return false;
    }
    len = *next == FRAGMENT ? 8 : 8 * ((size_t)header[1] + 1);
    flow->extended = true;
    if (!take(bytes, len)) {
        *next = UINT8_MAX;
        return false;
    }
    if (*next == DEST_OPTIONS) {
        find_home(flow, (Bytes){header + 2, len - 2});
    } else if (*next == ROUTING && header[2] == 2 && len >= 8 + ADDRESS_V6) {
        flow->destination = header + 8;
    }
    /* not the whole datagram: no ports */
    *next = *next == FRAGMENT && (get_be16(header + 2) & 0xfff9) ? UINT8_MAX : header[0];
    return true;
}

static void parse_ipv6(Flow *flow, Bytes bytes)
{
    const uint8_t *header = take(&bytes, 40);
    unsigned next;

    if (!header || header[0] >> 4 != 6) {
        return;
    }
    next = header[6];
    *flow = (Flow){.address = ADDRESS_V6, .source = header + 8, .dest = header + 24};
    while (take_extension(flow, &next, &bytes)) {
    }
    find_ports(flow, next, bytes);
}

static Flow parse(const uint8_t *frame, size_t len)
{
    enum { IPV4 = 0x0800, IPV6 = 0x86dd, VLAN = 0x8100, PROVIDER_VLAN = 0x88a8 };
    Bytes bytes = {frame, len};
    const uint8_t *type = NULL;
    Flow flow = {0};

    if (take(&bytes, ETHERTYPE_AT)) {
        type = take(&bytes, 2);
    }
    for (unsigned i = 0; i < VLAN_TAGS && type; i++) {
        if (get_be16(type) == VLAN || get_be16(type) == PROVIDER_VLAN) {
            type = take(&bytes, 2) ? take(&bytes, 2) : NULL;
        }
    }
    if (type && get_be16(type) == IPV4) {
        parse_ipv4(&flow, bytes);
    } else if (type && get_be16(type) == IPV6) {
        parse_ipv6(&flow, bytes);
    }
    return flow;
}

/* ---- its hash -----------------------------------------------------------------------
 */

/* Toeplitz: for each bit of the input that is set, the 32 bits of the key that begin
 * there. */
static uint32_t toeplitz(const uint8_t key[VDS_NET_RSS_KEY], const uint8_t *input,
                         size_t len)
{
    uint32_t hash = 0, window = (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 |
                                (uint32_t)key[2] << 8 | key[3];

    for (size_t i = 0; i < len; i++) {
        for (unsigned bit = 8; bit-- > 0;) {
            hash ^= input[i] >> bit & 1 ? window : 0;
            window = window << 1 | (key[i + 4] >> bit & 1);
        }
    }
    return hash;
}

/* In the order in which they are tried: ports before addresses. */
static const struct {
    uint8_t type, address;
    bool extended;
    uint8_t protocol; /* 0: any */
} types[] = {
    {TYPE_TCPV4, 4, false, TCP},
    {TYPE_UDPV4, 4, false, UDP},
    {TYPE_IPV4, 4, false, 0},
    {TYPE_TCP_EX, ADDRESS_V6, true, TCP},
    {TYPE_UDP_EX, ADDRESS_V6, true, UDP},
    {TYPE_IP_EX, ADDRESS_V6, true, 0},
    {TYPE_TCPV6, ADDRESS_V6, false, TCP},
    {TYPE_UDPV6, ADDRESS_V6, false, UDP},
    {TYPE_IPV6, ADDRESS_V6, false, 0},
};

static size_t put(uint8_t *to, size_t at, const uint8_t *from, size_t n)
{
    memcpy(to + at, from, n);
    return at + n;
}

static uint32_t hash_flow(const VdsNetRss *rss, const Flow *flow, size_t row)
{
    bool extended = types[row].extended;
    const uint8_t *source = extended && flow->home ? flow->home : flow->source;
    const uint8_t *dest = extended && flow->destination ? flow->destination : flow->dest;
    uint8_t input[INPUT_MAX];
    size_t len = put(input, 0, source, flow->address);

    len = put(input, len, dest, flow->address);
    if (types[row].protocol != 0) {
        len = put(input, len, flow->ports, 4);
    }
    return toeplitz(rss->key, input, len);
}

VdsNetHash vds_net_rss_hash(const VdsNetRss *rss, const uint8_t *frame, size_t len)
{
    Flow flow;

    if (rss->types == 0) {
        return (VdsNetHash){0};
    }
    flow = parse(frame, len);
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if ((rss->types >> types[i].type & 1) && types[i].address == flow.address &&
            (!types[i].extended || flow.extended) &&
            (types[i].protocol == 0 || types[i].protocol == flow.protocol)) {
            return (VdsNetHash){(uint16_t)(types[i].type + 1u), hash_flow(rss, &flow, i)};
        }
    }
    return (VdsNetHash){0};
}

unsigned vds_net_rss_pair(const VdsNetRss *rss, const VdsNetHash *hash)
{
    return hash->report == 0 ? rss->unclassified : rss->table[hash->value & rss->mask];
}

/* ---- commands -----------------------------------------------------------------------
 */

static bool read_le(VdsStream *args, unsigned n, uint32_t *value)
{
    uint8_t bytes[4] = {0};

    if (vds_stream_read(args, bytes, n) < n) {
        return false;
    }
    *value = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
             (uint32_t)bytes[3] << 24;
    return true;
}

static bool read_le16(VdsStream *args, uint16_t *value)
{
    uint32_t wide = 0;
    bool ok = read_le(args, 2, &wide);

    *value = (uint16_t)wide;
    return ok;
}

/* The end of both commands; to hash without a key is a mistake. */
static bool read_key(VdsStream *args, VdsNetRss *rss)
{
    uint32_t len;

    return read_le(args, 1, &len) && len <= VDS_NET_RSS_KEY &&
           (len > 0 || rss->types == 0) && vds_stream_read(args, rss->key, len) == len &&
           vds_stream_left(args) == 0;
}

static bool read_table(VdsStream *args, unsigned max_pairs, VdsNetRss *rss)
{
    if (!read_le16(args, &rss->mask) || !read_le16(args, &rss->unclassified) ||
        rss->mask >= VDS_NET_RSS_TABLE || (rss->mask & (rss->mask + 1)) != 0 ||
        rss->unclassified >= max_pairs) {
        return false;
    }
    for (unsigned i = 0; i <= rss->mask; i++) {
        if (!read_le16(args, &rss->table[i]) || rss->table[i] >= max_pairs) {
            return false;
        }
    }
    return true;
}

bool vds_net_rss_read(VdsStream *args, unsigned max_pairs, VdsNetRss *rss,
                      unsigned *pairs)
{
    VdsNetRss next = {.redirects = true};
    uint16_t max_tx;

    if (!read_le(args, 4, &next.types) || (next.types & ~VDS_NET_RSS_TYPES) ||
        !read_table(args, max_pairs, &next) || !read_le16(args, &max_tx) || max_tx == 0 ||
        max_tx > max_pairs || !read_key(args, &next)) {
        return false;
    }
    *rss = next;
    *pairs = max_tx;
    return true;
}

/* Steering stays as it is. */
bool vds_net_rss_read_hash(VdsStream *args, VdsNetRss *rss)
{
    VdsNetRss next = *rss;

    memset(next.key, 0, sizeof(next.key));
    if (!read_le(args, 4, &next.types) || (next.types & ~VDS_NET_RSS_TYPES) ||
        vds_stream_skip(args, 8) < 8 || /* reserved */
        !read_key(args, &next)) {
        return false;
    }
    *rss = next;
    return true;
}
