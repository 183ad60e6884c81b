/*
 * A virtio-net device behind the driver's door: frames in at one end, out at the other.
 */
#pragma once

#include "door.h"

enum {
    RX = 0,
    TX = 1,
    CTRL = 2,
    HEADER = 12,
    BUFFER = 2048,
    ROOM = 128 * 1024,
    INBOX = 256,
    F_CSUM = 0,
    F_GUEST_CSUM = 1,
    F_GUEST_TSO4 = 7,
    F_MRG_RXBUF = 15,
    F_CTRL_RX = 18,
    F_CTRL_VLAN = 19,
    F_MQ = 22,
    QUIET_MS = 30,
};

typedef struct {
    Door door;
    uint64_t gpa; /* ROOM bytes for what is sent */
} Net;

static inline void net_open(Net *net, const char *netdev, const char *more,
                            uint64_t features)
{
    g_autofree char *device = g_strdup_printf("virtio-net-pci,id=n,packed=on%s%s",
                                              netdev ? ",netdev=b" : "", more);

    *net = (Net){0};
    door_init(&net->door);
    net->gpa = door_alloc(&net->door, ROOM);
    if (netdev) {
        door_back(&net->door, "netdev", netdev);
    }
    assert_true(door_plug(&net->door, device, NULL));
    door_find(&net->door, "n");
    door_start(&net->door, features);
}

static inline void net_close(Net *net)
{
    door_clear(&net->door);
}

static inline void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        bytes[i] = (uint8_t)(seed >> 16);
    }
}

/* Waits until the frame is out of the transmit queue. */
static inline void send_on(Net *net, unsigned queue, const uint8_t header[HEADER],
                           const uint8_t *frame, uint32_t len, uint32_t piece)
{
    static const uint8_t plain[HEADER];
    uint32_t written;

    door_poke(&net->door, net->gpa, header ? header : plain, HEADER);
    door_poke(&net->door, net->gpa + HEADER, frame, len);
    door_add(&net->door, queue, net->gpa, HEADER + len, 0, piece, net);
    door_kick(&net->door, queue);
    assert_int_not_equal(door_used(&net->door, queue, &written), 0);
    assert_int_equal(written, 0);
}

static inline void send_frame(Net *net, const uint8_t *frame, uint32_t len)
{
    send_on(net, TX, NULL, frame, len, 0);
}

static inline void post_buffers(Net *net, unsigned queue, unsigned n, uint32_t len,
                                uint32_t piece)
{
    for (unsigned i = 0; i < n; i++) {
        door_post(&net->door, queue, len, piece);
    }
}

/* One frame out of as many buffers as its header says; its length, 0: none came. */
static inline size_t receive_in(Net *net, unsigned queue, uint8_t header[HEADER],
                                uint8_t *frame, int timeout_ms)
{
    size_t len = 0;
    unsigned n = 1;

    for (unsigned i = 0; i < n; i++) {
        uint32_t written;
        uint64_t gpa = door_used_in(&net->door, queue, &written, timeout_ms);

        if (gpa == 0) {
            assert_int_equal(i, 0);
            return 0;
        }
        if (i == 0) {
            assert_true(written >= HEADER);
            door_peek(&net->door, gpa, header, HEADER);
            n = header[10] + 256u * header[11];
            gpa += HEADER;
            written -= HEADER;
        }
        door_peek(&net->door, gpa, frame + len, written);
        len += written;
    }
    return len;
}

static inline size_t receive(Net *net, uint8_t *frame)
{
    uint8_t header[HEADER];

    return receive_in(net, RX, header, frame, DOOR_PATIENCE_MS);
}

static inline bool is_quiet(Net *net)
{
    uint8_t header[HEADER], frame[ROOM];

    return receive_in(net, RX, header, frame, QUIET_MS) == 0;
}

static const uint64_t formats[] = {DOOR_SPLIT, DOOR_PACKED};

/* A figure of the device's. */
static inline int64_t count(const Net *net, const char *name)
{
    VdsProp value = {0};
    int64_t n;

    assert_true(vds_machine_qom_get(net->door.machine, "/machine/peripheral/n", name,
                                    &value, NULL));
    assert_int_equal(value.kind, VDS_PROP_INT);
    n = value.u.integer;
    vds_prop_clear(&value);
    return n;
}

static inline uint8_t command(Net *net, unsigned queue, const uint8_t *bytes,
                              uint32_t len, uint32_t piece)
{
    uint8_t ack = 0xaa;
    uint32_t written;

    door_poke(&net->door, net->gpa, bytes, len);
    door_poke(&net->door, net->gpa + len, &ack, 1);
    door_add(&net->door, queue, net->gpa, len, 1, piece, net);
    door_kick(&net->door, queue);
    assert_int_not_equal(door_used(&net->door, queue, &written), 0);
    assert_int_equal(written, 1);
    door_peek(&net->door, net->gpa + len, &ack, 1);
    return ack;
}
