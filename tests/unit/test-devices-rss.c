/*
 * devices: virtio-net's receive-side scaling (virtio 1.2, 5.1.6.4.3, 5.1.6.5.6.4 and
 * 5.1.6.5.7): hashes against the published test vectors of RSS, what is hashed of frames
 * of every shape, where they go, and which settings are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>

#include "door.h"

enum {
    PAIRS = 4,
    CONTROL = 2 * PAIRS,
    HEADER = 20, /* with a hash */
    BUFFER = 2048,
    ROOM = 4096,
    KEY = 40,
    TABLE_MAX = 130, /* of what is sent */
    F_CTRL_VQ = 17,
    F_HASH_REPORT = 57,
    F_RSS = 60,
};
enum {
    IPV4 = 1,
    TCPV4 = 2,
    UDPV4 = 4,
    IPV6 = 8,
    TCPV6 = 16,
    UDPV6 = 32,
    IP_EX = 64,
    TCP_EX = 128,
    UDP_EX = 256,
    ALL = 511,
};

static const uint8_t key[KEY] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

typedef struct {
    Door door;
    uint64_t gpa; /* ROOM bytes for what is sent */
} Net;

static void net_open(Net *net, uint64_t features)
{
    *net = (Net){0};
    door_init(&net->door);
    net->gpa = door_alloc(&net->door, ROOM);
    door_back(&net->door, "netdev", "type=loop,id=b,queues=4");
    assert_true(
        door_plug(&net->door, "virtio-net-pci,id=n,netdev=b,mq=on,rss=on,hash=on", NULL));
    door_find(&net->door, "n");
    door_start(&net->door, features);
}

/* ---- commands ---- */

typedef struct {
    uint8_t bytes[512]; /* room for a command, or a frame */
    uint32_t len;
} Text;

static void add(Text *text, uint64_t value, unsigned n)
{
    while (n-- > 0) {
        text->bytes[text->len++] = (uint8_t)value;
        value >>= 8;
    }
}

static void add_bytes(Text *text, const void *bytes, unsigned n)
{
    memcpy(text->bytes + text->len, bytes, n);
    text->len += n;
}

typedef struct {
    uint32_t types;
    unsigned mask, unclassified, table[PAIRS], max_tx, key_len;
} Config;

static Text rss_text(const Config *config)
{
    Text text = {.len = 0};

    add(&text, 0x0104, 2);
    add(&text, config->types, 4);
    add(&text, config->mask, 2);
    add(&text, config->unclassified, 2);
    for (unsigned i = 0; i <= config->mask && i < TABLE_MAX; i++) {
        add(&text, config->table[i % PAIRS], 2);
    }
    add(&text, config->max_tx, 2);
    add(&text, config->key_len, 1);
    add_bytes(&text, key, MIN(config->key_len, KEY));
    return text;
}

static Text hash_text(uint32_t types, unsigned key_len)
{
    Text text = {.len = 0};

    add(&text, 0x0204, 2);
    add(&text, types, 4);
    add(&text, 0, 8);
    add(&text, key_len, 1);
    add_bytes(&text, key, MIN(key_len, KEY));
    return text;
}

static uint8_t command(Net *net, const Text *text)
{
    uint8_t ack = 0xaa;
    uint32_t written;

    door_poke(&net->door, net->gpa, text->bytes, text->len);
    door_add(&net->door, CONTROL, net->gpa, text->len, 1, 17, net);
    door_kick(&net->door, CONTROL);
    assert_int_not_equal(door_used(&net->door, CONTROL, &written), 0);
    assert_int_equal(written, 1);
    door_peek(&net->door, net->gpa + text->len, &ack, 1);
    return ack;
}

/* ---- frames ---- */

enum { TCP = 6, UDP = 17, ICMP = 1 };
enum { /* shapes */
       TAG = 1,
       TWO_TAGS = 2,
       FRAGMENT = 4,
       OPTIONS = 8,     /* IPv4: a header of 24 bytes; IPv6: hop-by-hop options */
       HOME = 16,       /* the source is in a home address option */
       ROUTED = 32,     /* the destination is in a routing header of type 2 */
       CUT_SHORT = 64,  /* ends within the ports */
       FIRST_PART = 128 /* offset 0, more to come */
};

typedef struct {
    const char *source, *dest;
    unsigned source_port, dest_port, protocol, shape;
} Packet;

static void add_be16(Text *text, unsigned value)
{
    add(text, value >> 8 | (value & 0xff) << 8, 2);
}

static void add_ipv4(Text *text, const Packet *packet)
{
    unsigned part = packet->shape & FRAGMENT     ? 8
                    : packet->shape & FIRST_PART ? 0x2000
                                                 : 0x4000;
    struct in_addr source, dest;

    inet_pton(AF_INET, packet->source, &source);
    inet_pton(AF_INET, packet->dest, &dest);
    add_be16(text, 0x0800);
    add(text, packet->shape & OPTIONS ? 0x46 : 0x45, 1);
    add(text, 0, 5);
    add_be16(text, part);
    add(text, 64, 1);
    add(text, packet->protocol, 1);
    add(text, 0, 2);
    add_bytes(text, &source, 4);
    add_bytes(text, &dest, 4);
    add(text, 0, packet->shape & OPTIONS ? 4 : 0);
}

/* The chain of headers; what is hashed stands where a mobile node puts it. */
static void add_ipv6(Text *text, const Packet *packet)
{
    static const uint8_t elsewhere[16] = {0xfd, 1, 2, 3};
    const struct {
        unsigned shape, next;
    } chain[] = {{OPTIONS, 0}, {HOME, 60}, {ROUTED, 43}, {FRAGMENT, 44}};
    uint8_t source[16], dest[16];
    unsigned at;

    inet_pton(AF_INET6, packet->source, source);
    inet_pton(AF_INET6, packet->dest, dest);
    add_be16(text, 0x86dd);
    add(text, 0x60, 6);
    at = text->len;
    add(text, packet->protocol, 2);
    add_bytes(text, packet->shape & HOME ? elsewhere : source, 16);
    add_bytes(text, packet->shape & ROUTED ? elsewhere : dest, 16);
    for (unsigned i = 0; i < G_N_ELEMENTS(chain); i++) {
        if (!(packet->shape & chain[i].shape)) {
            continue;
        }
        text->bytes[at] = (uint8_t)chain[i].next;
        at = text->len;
        add(text, packet->protocol, 1);
        switch (chain[i].shape) {
        case OPTIONS:
            add(text, 0, 1);
            add(text, 0x0401, 6); /* padding of four */
            break;
        case HOME:
            add(text, 3, 1);
            add(text, 0x0401, 6); /* padding of four */
            add(text, 0, 1);      /* and of one */
            add(text, 201 | 16 << 8, 2);
            add_bytes(text, source, 16);
            add(text, 0, 5);
            break;
        case ROUTED:
            add(text, 2, 1);
            add(text, 2 | 1 << 8, 2);
            add(text, 0, 4);
            add_bytes(text, dest, 16);
            break;
        default:
            add(text, 0, 1);
            add_be16(text, 8);
            add(text, 0, 4);
        }
    }
}

static Text frame_of(const Packet *packet)
{
    Text text = {.len = 0};

    add(&text, 0x020202020202, 6);
    add(&text, 0x030303030303, 6);
    if (packet->shape & TWO_TAGS) {
        add_be16(&text, 0x88a8);
        add_be16(&text, 7);
    }
    if (packet->shape & (TAG | TWO_TAGS)) {
        add_be16(&text, 0x8100);
        add_be16(&text, 5);
    }
    if (!packet->source) {
        add_be16(&text, 0x0806);
    } else {
        (strchr(packet->source, ':') ? add_ipv6 : add_ipv4)(&text, packet);
    }
    add_be16(&text, packet->source_port);
    if (!(packet->shape & CUT_SHORT)) {
        add_be16(&text, packet->dest_port);
        add(&text, 0, 16);
    }
    return text;
}

typedef struct {
    unsigned report;
    uint32_t value;
} Hash;

/* Sends it on pair 0 and expects it in that queue, as it was. */
static Hash through(Net *net, const Packet *packet, unsigned queue)
{
    static const uint8_t plain[HEADER];
    const Text frame = frame_of(packet);
    uint8_t bytes[HEADER + sizeof(frame.bytes)];
    uint32_t written;
    uint64_t gpa;

    door_post(&net->door, queue, BUFFER, 0);
    door_poke(&net->door, net->gpa, plain, HEADER);
    door_poke(&net->door, net->gpa + HEADER, frame.bytes, frame.len);
    door_add(&net->door, 1, net->gpa, HEADER + frame.len, 0, 0, net);
    door_kick(&net->door, 1);
    assert_int_not_equal(door_used(&net->door, 1, &written), 0);
    gpa = door_used(&net->door, queue, &written);
    assert_int_not_equal(gpa, 0);
    assert_int_equal(written, HEADER + frame.len);
    door_peek(&net->door, gpa, bytes, written);
    assert_memory_equal(bytes + HEADER, frame.bytes, frame.len);
    assert_int_equal(bytes[18] | bytes[19], 0); /* padding */
    return (Hash){bytes[16] | (unsigned)bytes[17] << 8,
                  bytes[12] | (uint32_t)bytes[13] << 8 | (uint32_t)bytes[14] << 16 |
                      (uint32_t)bytes[15] << 24};
}

/* ---- hashes ---- */

#define A4 "66.9.149.187", "161.142.100.80", 2794, 1766
#define B4 "199.92.111.2", "65.69.140.83", 14230, 4739
#define C4 "24.19.198.95", "12.22.207.184", 12898, 38024
#define D4 "38.27.205.30", "209.142.163.6", 48228, 2217
#define E4 "153.39.163.191", "202.188.127.2", 44251, 1303
#define A6 "3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766
#define B6 "3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739
#define C6 "3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024

static const struct {
    const char *what;
    Packet packet;
    uint32_t types;
    Hash hash;
} hashes[] = {
    {"vector 1, addresses", {A4, TCP, 0}, IPV4, {1, 0x323e8fc2}},
    {"vector 1, ports", {A4, TCP, 0}, ALL, {2, 0x51ccc178}},
    {"vector 2, addresses", {B4, TCP, 0}, IPV4, {1, 0xd718262a}},
    {"vector 2, ports", {B4, TCP, 0}, TCPV4, {2, 0xc626b0ea}},
    {"vector 3, addresses", {C4, TCP, 0}, IPV4 | UDPV4, {1, 0xd2d0a5de}},
    {"vector 3, ports", {C4, UDP, 0}, IPV4 | UDPV4, {3, 0x5c2b394a}},
    {"vector 4, addresses", {D4, ICMP, 0}, ALL, {1, 0x82989176}},
    {"vector 4, ports", {D4, UDP, 0}, ALL, {3, 0xafc7327f}},
    {"vector 5, addresses", {E4, UDP, 0}, IPV4 | TCPV4, {1, 0x5d1809c5}},
    {"vector 5, ports", {E4, TCP, 0}, ALL, {2, 0x10e828a2}},
    {"IPv6 vector 1, addresses", {A6, TCP, 0}, IPV6, {4, 0x2cc18cd5}},
    {"IPv6 vector 1, ports", {A6, TCP, 0}, ALL, {5, 0x40207d3d}},
    {"IPv6 vector 2, addresses", {B6, ICMP, 0}, ALL, {4, 0x0f0c461c}},
    {"IPv6 vector 2, ports", {B6, UDP, 0}, ALL, {6, 0xdde51bbf}},
    {"IPv6 vector 3, addresses", {C6, UDP, 0}, IPV6 | TCPV6, {4, 0x4b61e985}},
    {"IPv6 vector 3, ports", {C6, TCP, 0}, TCPV6, {5, 0x02d1feef}},

    {"behind a tag", {A4, TCP, TAG}, ALL, {2, 0x51ccc178}},
    {"behind two", {A6, TCP, TWO_TAGS}, ALL, {5, 0x40207d3d}},
    {"IPv4 options", {A4, TCP, OPTIONS}, ALL, {2, 0x51ccc178}},
    {"a later part has no ports", {A4, TCP, FRAGMENT}, ALL, {1, 0x323e8fc2}},
    {"nor has the first", {A4, UDP, FIRST_PART}, ALL, {1, 0x323e8fc2}},
    {"half its ports", {A4, TCP, CUT_SHORT}, ALL, {1, 0x323e8fc2}},
    {"half its ports, and only these", {A4, TCP, CUT_SHORT}, TCPV4, {0, 0}},
    {"IPv6: a part", {A6, TCP, FRAGMENT}, TCPV6 | IPV6, {4, 0x2cc18cd5}},
    {"extensions are skipped", {A6, TCP, OPTIONS}, TCPV6, {5, 0x40207d3d}},
    {"extensions count", {A6, TCP, OPTIONS}, ALL, {8, 0x40207d3d}},
    {"a home address", {A6, TCP, HOME}, ALL, {8, 0x40207d3d}},
    {"with UDP", {B6, UDP, HOME}, ALL, {9, 0xdde51bbf}},
    {"alone", {A6, ICMP, HOME}, ALL, {7, 0x2cc18cd5}},
    {"routed", {A6, TCP, ROUTED}, ALL, {8, 0x40207d3d}},
    {"both, and options", {C6, TCP, HOME | ROUTED | OPTIONS}, ALL, {8, 0x02d1feef}},
    {"no type for it", {A4, TCP, 0}, IPV6 | TCPV6 | UDPV6, {0, 0}},
    {"nor for that", {A6, TCP, 0}, IPV4 | IP_EX | TCP_EX | UDP_EX, {0, 0}},
    {"no IP", {NULL, NULL, 1, 2, 0, 0}, ALL, {0, 0}},
    {"nothing asked for", {A4, TCP, 0}, 0, {0, 0}},
};

static void test_hashes(void **state)
{
    Net net;

    net_open(&net, DOOR_SPLIT);
    for (size_t i = 0; i < G_N_ELEMENTS(hashes); i++) {
        const Text text = hash_text(hashes[i].types, KEY);
        Hash hash;

        print_message("# %s\n", hashes[i].what);
        assert_int_equal(command(&net, &text), 0);
        hash = through(&net, &hashes[i].packet, 0);
        assert_int_equal(hash.report, hashes[i].hash.report);
        assert_int_equal(hash.value, hashes[i].hash.value);
    }
    door_clear(&net.door);
}

/* Every length of every frame. */
static void test_cut_frames(void **state)
{
    static const Packet packet = {A6, TCP, TWO_TAGS | OPTIONS | HOME | ROUTED | FRAGMENT};
    static const uint8_t plain[HEADER];
    const Text frame = frame_of(&packet), text = hash_text(ALL, KEY);
    Net net;

    net_open(&net, DOOR_PACKED);
    assert_int_equal(command(&net, &text), 0);
    door_poke(&net.door, net.gpa, plain, HEADER);
    for (uint32_t len = 1; len <= frame.len; len++) {
        uint32_t written;

        door_post(&net.door, 0, BUFFER, 0);
        door_poke(&net.door, net.gpa + HEADER, frame.bytes, len);
        door_add(&net.door, 1, net.gpa, HEADER + len, 0, 0, &net);
        door_kick(&net.door, 1);
        assert_int_not_equal(door_used(&net.door, 1, &written), 0);
        assert_int_not_equal(door_used(&net.door, 0, &written), 0);
        assert_int_equal(written, HEADER + len);
    }
    assert_false(door_is_broken(&net.door));
    door_clear(&net.door);
}

/* ---- steering ---- */

static void test_steering(void **state)
{
    static const Config config = {ALL, 3, 2, {3, 1, 0, 2}, PAIRS, KEY};
    static const Packet rows[] = {
        {A4, TCP, 0}, {B4, TCP, 0}, {A6, TCP, 0}, {C6, TCP, 0}, {A4, ICMP, 0}};
    static const uint32_t values[] = {0x51ccc178, 0xc626b0ea, 0x40207d3d, 0x02d1feef,
                                      0x323e8fc2};
    const Packet arp = {NULL, NULL, 1, 2, 0, 0};
    Text text = rss_text(&config);
    Net net;

    net_open(&net, DOOR_SPLIT);
    assert_int_equal(command(&net, &text), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Hash hash = through(&net, &rows[i], 2 * config.table[values[i] & 3]);

        assert_int_equal(hash.value, values[i]); /* reported as well */
    }
    assert_int_equal(through(&net, &arp, 2 * config.unclassified).report, 0);

    /* a number of pairs ends it: the way back is the way there */
    text = (Text){{4, 0, PAIRS, 0}, 4};
    assert_int_equal(command(&net, &text), 0);
    through(&net, &rows[0], 0);

    /* and so does a reset */
    text = rss_text(&config);
    assert_int_equal(command(&net, &text), 0);
    door_reset(&net.door);
    door_start(&net.door, DOOR_SPLIT);
    assert_int_equal(through(&net, &rows[0], 0).report, 0);
    door_clear(&net.door);
}

/* 2.6.1: what is for a queue that is reset is dropped; others go on. */
static void test_a_queue_that_is_reset(void **state)
{
    static const Config config = {IPV4, 0, 2, {1}, PAIRS, KEY};
    static const Packet hashed = {A4, TCP, 0}, other = {A6, TCP, 0};
    const Text text = rss_text(&config), frame = frame_of(&hashed);
    uint32_t written;
    Net net;

    net_open(&net, DOOR_SPLIT);
    assert_int_equal(command(&net, &text), 0);
    through(&net, &hashed, 2 * config.table[0]);
    assert_true(
        vds_virtio_driver_reset_queue(net.door.device, 2 * config.table[0], NULL));
    door_poke(&net.door, net.gpa + HEADER, frame.bytes, frame.len);
    door_add(&net.door, 1, net.gpa, HEADER + frame.len, 0, 0, &net);
    door_kick(&net.door, 1);
    assert_int_not_equal(door_used(&net.door, 1, &written), 0);
    through(&net, &other, 2 * config.unclassified);
    door_clear(&net.door);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *what;
        Config config;
    } rows[] = {
        {"an unknown type", {ALL + 1, 3, 0, {0, 1, 2, 3}, PAIRS, KEY}},
        {"a table of three", {ALL, 2, 0, {0, 1, 2, 3}, PAIRS, KEY}},
        {"a table of 256", {ALL, 255, 0, {0, 1, 2, 3}, PAIRS, KEY}},
        {"a table of 65536", {ALL, 65535, 0, {0, 1, 2, 3}, PAIRS, KEY}},
        {"a queue that is not", {ALL, 3, 0, {0, 1, 2, PAIRS}, PAIRS, KEY}},
        {"a default that is not", {ALL, 3, PAIRS, {0, 1, 2, 3}, PAIRS, KEY}},
        {"no pairs", {ALL, 3, 0, {0, 1, 2, 3}, 0, KEY}},
        {"more pairs than there are", {ALL, 3, 0, {0, 1, 2, 3}, PAIRS + 1, KEY}},
        {"no key", {ALL, 3, 0, {0, 1, 2, 3}, PAIRS, 0}},
        {"too long a key", {ALL, 3, 0, {0, 1, 2, 3}, PAIRS, KEY + 1}},
    };
    static const Config good = {ALL, 0, 3, {3}, PAIRS, KEY};
    static const Packet packet = {A4, TCP, 0};
    Text text = rss_text(&good);
    Net net;

    net_open(&net, DOOR_SPLIT);
    assert_int_equal(command(&net, &text), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        print_message("# %s\n", rows[i].what);
        text = rss_text(&rows[i].config);
        assert_int_equal(command(&net, &text), 1);
    }
    for (uint32_t whole = rss_text(&good).len, len = 2; len < whole; len++) {
        text = rss_text(&good);
        text.len = len;
        assert_int_equal(command(&net, &text), 1);
    }
    text = rss_text(&good);
    text.len++; /* more than it says */
    assert_int_equal(command(&net, &text), 1);
    text = hash_text(ALL + 1, KEY);
    assert_int_equal(command(&net, &text), 1);
    text = hash_text(ALL, KEY + 1);
    assert_int_equal(command(&net, &text), 1);
    text = hash_text(ALL, 0);
    assert_int_equal(command(&net, &text), 1);
    /* nothing of it changed anything */
    assert_int_equal(through(&net, &packet, 6).value, 0x51ccc178);
    /* but this does: hashes off, all that is unclassified */
    text = hash_text(0, 0);
    assert_int_equal(command(&net, &text), 0);
    assert_int_equal(through(&net, &packet, 6).report, 0);
    door_clear(&net.door);
}

static void test_features(void **state)
{
    static const Config config = {ALL, 0, 0, {0}, PAIRS, KEY};
    const Text rss = rss_text(&config), hash = hash_text(ALL, KEY);
    uint8_t space[7];
    Net net;

    net_open(&net, DOOR_SPLIT & ~DOOR_BIT(F_RSS));
    assert_true(vds_virtio_driver_read_config(net.door.device, 17, space, 7, NULL, NULL));
    assert_memory_equal(space, ((uint8_t[]){KEY, 128, 0, 0xff, 1, 0, 0}), 7);
    assert_int_equal(command(&net, &rss), 1);
    assert_int_equal(command(&net, &hash), 0);
    door_reset(&net.door);
    door_start(&net.door, DOOR_SPLIT & ~DOOR_BIT(F_HASH_REPORT));
    assert_int_equal(command(&net, &rss), 0);
    assert_int_equal(command(&net, &hash), 1);
    door_clear(&net.door);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashes),   cmocka_unit_test(test_cut_frames),
        cmocka_unit_test(test_steering), cmocka_unit_test(test_a_queue_that_is_reset),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_features),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
