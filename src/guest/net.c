/*
 * guest: the driver of virtio-net.  Idle, it fills its receive queues and tells the
 * device, as Linux does when an interface comes up, what to let through; under load it
 * pings: every device of this guest that hears a request answers it.
 * virtio 1.2, 5.1.
 */
#include <string.h>

#include "guest-priv.h"

enum { /* features */
       F_CSUM = 0,
       F_GUEST_CSUM = 1,
       F_CTRL_GUEST_OFFLOADS = 2,
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
       F_MRG_RXBUF = 15,
       F_STATUS = 16,
       F_CTRL_VQ = 17,
       F_CTRL_RX = 18,
       F_CTRL_VLAN = 19,
       F_GUEST_ANNOUNCE = 21,
       F_MQ = 22,
       F_CTRL_MAC_ADDR = 23,
       F_NOTF_COAL = 53,
       F_HASH_REPORT = 57,
       F_RSS = 60,
       F_STANDBY = 62,
       F_SPEED_DUPLEX = 63,
};

#define BIT(bit) (UINT64_C(1) << (bit))

enum { CONFIG_MAC = 0, CONFIG_MAX_PAIRS = 8, MAX_PAIRS = 512 };
enum {
    ALEN = 6,
    FRAME = 60 /* without its checksum */,
    HEADER_MAX = 20 /* with a hash */
};
enum {
    /* a receive buffer: a frame with its header in whole cache lines; as much as any
     * packet when the device may send large ones but not merge buffers */
    RX_MERGEABLE = 1536,
    RX_SMALL = 1530,
    RX_BIG = 17 * 4096,
    RX_BUDGET = 64, /* NAPI's: half of it free brings new buffers */
};

/* ---- control commands ----------------------------------------------------------------
 */

enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_MQ = 4 };
enum { RX_PROMISC = 0, RX_ALLMULTI = 1, MAC_TABLE_SET = 0, MQ_PAIRS_SET = 0 };
enum { ACK_OK = 0, ACK_AT = 2, DATA_AT = 64, CTRL_BYTES = 256 };

/* What Linux has joined when its interface is up, one more with each round. */
static const uint8_t groups[][ALEN] = {
    {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}, /* all IPv4 hosts */
    {0x33, 0x33, 0x00, 0x00, 0x00, 0x01}, /* all IPv6 nodes */
};

enum { ROUNDS = 3, COMMANDS_A_ROUND = 3 };

typedef struct {
    unsigned pairs, header;
    VdsGuestQueue *ctrl; /* (nullable) */
    unsigned next_command;
    unsigned skip; /* buffers that belong to the frame before */
    uint8_t mac[ALEN];
    uint64_t sent; /* the last request's number */
    unsigned next_pair;
} NetState;

/* slot->note[0]: the command, for messages. */
static void send_command(VdsGuestDevice *device, uint8_t class, uint8_t command,
                         const void *data, const uint32_t *lens, unsigned n)
{
    NetState *state = device->state;
    VdsGuestSlot *slot = vds_guest_queue_take(state->ctrl);
    const uint8_t head[] = {class, command};
    VdsSpan spans[4];
    uint32_t len = 0;

    if (!slot) {
        return;
    }
    slot->note[0] = (uint64_t) class << 8 | command;
    spans[0] = (VdsSpan){slot->gpa, sizeof(head)};
    for (unsigned i = 0; i < n; i++) {
        spans[i + 1] = (VdsSpan){slot->gpa + DATA_AT + len, lens[i]};
        len += lens[i];
    }
    spans[n + 1] = (VdsSpan){slot->gpa + ACK_AT, 1};
    if (vds_guest_device_write(device, slot->gpa, head, sizeof(head)) &&
        vds_guest_device_write(device, slot->gpa + ACK_AT, "\xff", 1) &&
        vds_guest_device_write(device, slot->gpa + DATA_AT, data, len)) {
        vds_guest_queue_post(state->ctrl, slot, spans, n + 1, 1);
    }
}

/* Two tables, no further address and `n` groups (5.1.6.5.2). */
static void send_mac_table(VdsGuestDevice *device, unsigned n)
{
    uint8_t data[8 + sizeof(groups)] = {0};
    const uint32_t lens[] = {4, 4 + n * ALEN};

    data[4] = (uint8_t)n; /* a little-endian word */
    memcpy(data + 8, groups, (size_t)n * ALEN);
    send_command(device, CLASS_MAC, MAC_TABLE_SET, data, lens, 2);
}

static void send_pairs(VdsGuestDevice *device)
{
    const NetState *state = device->state;
    const uint16_t pairs = GUINT16_TO_LE((uint16_t)state->pairs);
    const uint32_t len = sizeof(pairs);

    send_command(device, CLASS_MQ, MQ_PAIRS_SET, &pairs, &len, 1);
}

/* The commands of an interface that comes up, each after the answer to the one before:
 * how many pairs; then a round of filters for each group joined. */
static void next_command(VdsGuestDevice *device)
{
    NetState *state = device->state;
    unsigned mq = vds_guest_device_has(device, F_MQ) ? 1 : 0;
    unsigned n = state->next_command++;
    const uint8_t off = 0;
    const uint32_t len = 1;

    if (n < mq) {
        send_pairs(device);
    } else if (vds_guest_device_has(device, F_CTRL_RX) &&
               n - mq < ROUNDS * COMMANDS_A_ROUND) {
        unsigned round = (n - mq) / COMMANDS_A_ROUND, step = (n - mq) % COMMANDS_A_ROUND;

        if (step < 2) {
            send_command(device, CLASS_RX, step == 0 ? RX_PROMISC : RX_ALLMULTI, &off,
                         &len, 1);
        } else {
            send_mac_table(device, round);
        }
    }
}

static void ctrl_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    uint8_t ack;

    if (!vds_guest_device_read(device, slot->gpa + ACK_AT, &ack, 1)) {
        return;
    }
    if (written != 1 || ack != ACK_OK) {
        vds_guest_device_error(device, "control command %u.%u ended with %u",
                               (unsigned)(slot->note[0] >> 8),
                               (unsigned)(slot->note[0] & 0xff), ack);
    } else {
        vds_guest_device_count(device);
    }
    vds_guest_queue_give(queue, slot);
    next_command(device);
}

/* ---- frames ----------------------------------------------------------------------- */

enum { ETHERTYPE = 0x88b5 /* for experiments (IEEE 802) */, REQUEST = 1, REPLY = 2 };
enum {
    AT_SOURCE = 6,
    AT_TYPE = 12,
    AT_MAGIC = 14,
    AT_KIND = 18,
    AT_NUMBER = 19,
    AT_PATTERN = 27
};

static const uint8_t magic[4] = {'v', 'd', 's', '?'};
static const uint8_t broadcast[ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static uint8_t pattern_byte(uint64_t number, unsigned at)
{
    return (uint8_t)(number * 31 + at);
}

static void send_frame(VdsGuestDevice *device, unsigned pair, const uint8_t *to,
                       uint8_t kind, uint64_t number)
{
    NetState *state = device->state;
    VdsGuestQueue *queue = device->queues[2 * pair + 1];
    VdsGuestSlot *slot = vds_guest_queue_take(queue);
    uint8_t bytes[HEADER_MAX + FRAME] = {0};
    uint8_t *frame = bytes + state->header;
    uint64_t le = GUINT64_TO_LE(number);
    VdsSpan span;

    if (!slot) {
        return; /* the device is slower than the workload */
    }
    memcpy(frame, to, ALEN);
    memcpy(frame + AT_SOURCE, state->mac, ALEN);
    frame[AT_TYPE] = ETHERTYPE >> 8;
    frame[AT_TYPE + 1] = ETHERTYPE & 0xff;
    memcpy(frame + AT_MAGIC, magic, sizeof(magic));
    frame[AT_KIND] = kind;
    memcpy(frame + AT_NUMBER, &le, sizeof(le));
    for (unsigned i = AT_PATTERN; i < FRAME; i++) {
        frame[i] = pattern_byte(number, i);
    }
    span = (VdsSpan){slot->gpa, state->header + FRAME};
    if (vds_guest_device_write(device, slot->gpa, bytes, span.len)) {
        vds_guest_queue_post(queue, slot, &span, 1, 0);
    }
}

static void tx_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    if (written != 0) {
        vds_guest_device_error(queue->device, "%u bytes written to a sent frame",
                               written);
    }
    vds_guest_queue_give(queue, slot);
}

/* One of ours, whole and unharmed? */
static bool check_frame(VdsGuestDevice *device, const uint8_t *frame, uint64_t number)
{
    for (unsigned i = AT_PATTERN; i < FRAME; i++) {
        if (frame[i] != pattern_byte(number, i)) {
            vds_guest_device_error(device,
                                   "frame %" PRIu64 ", byte %u: found %02x, sent "
                                   "was %02x",
                                   number, i, frame[i], pattern_byte(number, i));
            return false;
        }
    }
    return true;
}

static void take_frame(VdsGuestDevice *device, unsigned pair, const uint8_t *frame)
{
    const NetState *state = device->state;
    bool own = memcmp(frame + AT_SOURCE, state->mac, ALEN) == 0;
    uint64_t number;

    if (frame[AT_TYPE] != ETHERTYPE >> 8 || frame[AT_TYPE + 1] != (ETHERTYPE & 0xff) ||
        memcmp(frame + AT_MAGIC, magic, sizeof(magic)) != 0) {
        return; /* somebody else's */
    }
    memcpy(&number, frame + AT_NUMBER, sizeof(number));
    number = GUINT64_FROM_LE(number);
    if (!check_frame(device, frame, number)) {
        return;
    }
    if (frame[AT_KIND] == REQUEST && !own) {
        send_frame(device, pair, frame + AT_SOURCE, REPLY, number);
    } else if ((own || frame[AT_KIND] == REPLY) && number > state->sent) {
        vds_guest_device_error(device,
                               "an answer to frame %" PRIu64 ", sent were %" PRIu64,
                               number, state->sent);
        return;
    }
    vds_guest_device_count(device);
}

static void rx_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    NetState *state = device->state;
    uint8_t bytes[HEADER_MAX + FRAME];
    uint32_t len = MIN(written, state->header + FRAME);

    vds_guest_queue_give(queue, slot);
    if (state->skip > 0) {
        state->skip--;
        return;
    }
    if (written < state->header + 14) {
        vds_guest_device_error(device, "a frame of %u bytes with its header", written);
        return;
    }
    if (!vds_guest_device_read(device, slot->gpa, bytes, len)) {
        return;
    }
    if (vds_guest_device_has(device, F_MRG_RXBUF)) {
        unsigned n = bytes[10] | (unsigned)bytes[11] << 8;

        if (n == 0 || n > queue->num) {
            vds_guest_device_error(device, "a frame in %u buffers", n);
            return;
        }
        state->skip = n - 1;
    }
    if (len == state->header + FRAME) {
        take_frame(device, queue->index / 2, bytes + state->header);
    }
}

/* NAPI's rule: new buffers when half a budget of them is gone. */
static void rx_drained(VdsGuestQueue *queue)
{
    if (queue->n_free > MIN(RX_BUDGET, queue->num) / 2) {
        vds_guest_queue_fill(queue);
    }
}

static void tick(VdsGuestDevice *device)
{
    NetState *state = device->state;

    state->sent++;
    send_frame(device, state->next_pair, broadcast, REQUEST, state->sent);
    state->next_pair = (state->next_pair + 1) % state->pairs;
}

/* ---- the driver ------------------------------------------------------------------- */

static const VdsGuestQueueRole rx_role = {
    .max_slots = UINT32_MAX, .spans = 1, .used = rx_used, .drained = rx_drained};
static const VdsGuestQueueRole tx_role = {
    .slot_bytes = 128, .max_slots = 128, .spans = 1, .used = tx_used};
static const VdsGuestQueueRole ctrl_role = {
    .slot_bytes = CTRL_BYTES, .max_slots = 2, .spans = 4, .used = ctrl_used};

static bool plan(VdsGuestDevice *device, GError **error)
{
    NetState *state = device->state;
    bool mergeable = vds_guest_device_has(device, F_MRG_RXBUF);
    bool modern = vds_guest_device_has(device, VDS_F_VERSION_1);
    uint16_t pairs = GUINT16_TO_LE(1);

    state->header = vds_guest_device_has(device, F_HASH_REPORT) ? HEADER_MAX
                    : mergeable || modern                       ? 12
                                                                : 10;
    if ((vds_guest_device_has(device, F_MAC) &&
         !vds_guest_device_read_config(device, CONFIG_MAC, state->mac, ALEN, error)) ||
        ((vds_guest_device_has(device, F_MQ) || vds_guest_device_has(device, F_RSS)) &&
         !vds_guest_device_read_config(device, CONFIG_MAX_PAIRS, &pairs, sizeof(pairs),
                                       error))) {
        return false;
    }
    pairs = GUINT16_FROM_LE(pairs);
    state->pairs = pairs >= 1 && pairs <= MAX_PAIRS ? pairs : 1;
    for (unsigned i = 0; i < state->pairs; i++) {
        if (!vds_guest_device_add_queue(device, &rx_role, error) ||
            !vds_guest_device_add_queue(device, &tx_role, error)) {
            return false;
        }
    }
    if (vds_guest_device_has(device, F_CTRL_VQ)) {
        if (!vds_guest_device_add_queue(device, &ctrl_role, error)) {
            return false;
        }
        state->ctrl = device->queues[device->n_queues - 1];
    }
    return true;
}

static uint32_t rx_bytes(const VdsGuestDevice *device)
{
    static const uint8_t large[] = {F_GUEST_TSO4, F_GUEST_TSO6, F_GUEST_ECN, F_GUEST_UFO};

    if (vds_guest_device_has(device, F_MRG_RXBUF)) {
        return RX_MERGEABLE;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(large); i++) {
        if (vds_guest_device_has(device, large[i])) {
            return RX_BIG;
        }
    }
    return RX_SMALL;
}

static bool start(VdsGuestDevice *device, GError **error)
{
    NetState *state = device->state;

    for (unsigned i = 0; i < state->pairs; i++) {
        if (!vds_guest_queue_allocate(device->queues[2 * i], rx_bytes(device), error) ||
            !vds_guest_queue_allocate(device->queues[2 * i + 1], 0, error)) {
            return false;
        }
        vds_guest_queue_fill(device->queues[2 * i]);
    }
    if (state->ctrl) {
        if (!vds_guest_queue_allocate(state->ctrl, 0, error)) {
            return false;
        }
        next_command(device);
    }
    return true;
}

const VdsGuestDriver vds_guest_net = {
    .device_id = 1,
    .features = BIT(F_CSUM) | BIT(F_GUEST_CSUM) | BIT(F_CTRL_GUEST_OFFLOADS) |
                BIT(F_MTU) | BIT(F_MAC) | BIT(F_GUEST_TSO4) | BIT(F_GUEST_TSO6) |
                BIT(F_GUEST_ECN) | BIT(F_GUEST_UFO) | BIT(F_HOST_TSO4) |
                BIT(F_HOST_TSO6) | BIT(F_HOST_ECN) | BIT(F_HOST_UFO) | BIT(F_MRG_RXBUF) |
                BIT(F_STATUS) | BIT(F_CTRL_VQ) | BIT(F_CTRL_RX) | BIT(F_CTRL_VLAN) |
                BIT(F_GUEST_ANNOUNCE) | BIT(F_MQ) | BIT(F_CTRL_MAC_ADDR) |
                BIT(F_NOTF_COAL) | BIT(F_HASH_REPORT) | BIT(F_RSS) | BIT(F_STANDBY) |
                BIT(F_SPEED_DUPLEX),
    .state_bytes = sizeof(NetState),
    .plan = plan,
    .start = start,
    .tick = tick,
};
