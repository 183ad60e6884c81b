/*
 * guest: the driver of virtio-vsock: packets in and out of its rings.  Idle, its buffers
 * wait, as Linux's do; it answers whoever connects.  Refuses to know connections.
 * virtio 1.2, 5.10.
 */
#include <string.h>

#include "vsock-priv.h"

enum { F_SEQPACKET = 1 };
enum { RX, TX, EVENT };
enum { EVENT_TRANSPORT_RESET = 0 };
enum { CONFIG_CID = 0 };

enum {
    PAYLOAD = 4096, /* of one packet */
    DATA_AT = 64,
    SLOT_BYTES = DATA_AT + PAYLOAD,
    EVENT_BYTES = 4,
    EVENTS = 8, /* as Linux */
};

G_STATIC_ASSERT(offsetof(VdsGuestVsockHeader, fwd_cnt) + 4 == VDS_GUEST_VSOCK_HEADER);

static void swap(VdsGuestVsockHeader *header)
{
    *header = (VdsGuestVsockHeader){
        .src_cid = GUINT64_FROM_LE(header->src_cid),
        .dst_cid = GUINT64_FROM_LE(header->dst_cid),
        .src_port = GUINT32_FROM_LE(header->src_port),
        .dst_port = GUINT32_FROM_LE(header->dst_port),
        .len = GUINT32_FROM_LE(header->len),
        .type = GUINT16_FROM_LE(header->type),
        .op = GUINT16_FROM_LE(header->op),
        .flags = GUINT32_FROM_LE(header->flags),
        .buf_alloc = GUINT32_FROM_LE(header->buf_alloc),
        .fwd_cnt = GUINT32_FROM_LE(header->fwd_cnt),
    };
}

VdsGuestVsockHeader vds_guest_vsock_answer(const VdsGuestVsockHeader *header,
                                           VdsGuestVsockOp op)
{
    return (VdsGuestVsockHeader){
        .src_cid = header->dst_cid,
        .dst_cid = header->src_cid,
        .src_port = header->dst_port,
        .dst_port = header->src_port,
        .type = header->type,
        .op = (uint16_t)op,
    };
}

bool vds_guest_vsock_send(VdsGuestDevice *device, const VdsGuestVsockHeader *header,
                          const void *data)
{
    VdsGuestQueue *queue = device->queues[TX];
    VdsGuestSlot *slot = vds_guest_queue_take(queue);
    VdsGuestVsockHeader wire = *header;
    VdsSpan spans[2];

    if (!slot) {
        return false;
    }
    swap(&wire);
    spans[0] = (VdsSpan){slot->gpa, VDS_GUEST_VSOCK_HEADER};
    spans[1] = (VdsSpan){slot->gpa + DATA_AT, header->len};
    return vds_guest_device_write(device, slot->gpa, &wire, VDS_GUEST_VSOCK_HEADER) &&
           vds_guest_device_write(device, slot->gpa + DATA_AT, data, header->len) &&
           vds_guest_queue_post(queue, slot, spans, header->len > 0 ? 2 : 1, 0);
}

/* ---- receiving -------------------------------------------------------------------- */

static bool post_receive(VdsGuestQueue *queue, VdsGuestSlot *slot)
{
    const VdsSpan spans[] = {{slot->gpa, VDS_GUEST_VSOCK_HEADER},
                             {slot->gpa + DATA_AT, PAYLOAD}};

    return vds_guest_queue_post(queue, slot, spans, 0, 2);
}

/* slot->note[0]: bytes that the device wrote. */
static void take_packet(VdsGuestDevice *device, const VdsGuestSlot *slot)
{
    const VdsGuestVsock *vsock = device->state;
    VdsGuestVsockHeader header = {0};
    uint8_t data[PAYLOAD];

    if (!vds_guest_device_read(device, slot->gpa, &header, VDS_GUEST_VSOCK_HEADER)) {
        return;
    }
    swap(&header);
    if (slot->note[0] < VDS_GUEST_VSOCK_HEADER || header.len > PAYLOAD ||
        slot->note[0] != VDS_GUEST_VSOCK_HEADER + header.len) {
        vds_guest_device_error(device,
                               "a packet of %u bytes in %" PRIu64 " bytes written",
                               header.len, slot->note[0]);
    } else if (header.dst_cid != vsock->cid) {
        vds_guest_device_error(device, "a packet for CID %" PRIu64 ", not %" PRIu64,
                               header.dst_cid, vsock->cid);
    } else if (vds_guest_device_read(device, slot->gpa + DATA_AT, data, header.len)) {
        vds_guest_vsock_take(device, &header, data);
    }
}

/* As Linux: no packet is looked at that could not be answered. */
static void work(VdsGuestQueue *queue)
{
    VdsGuestDevice *device = queue->device;
    VdsGuestVsock *vsock = device->state;

    while (device->life == VDS_GUEST_DRIVEN && vsock->backlog &&
           device->queues[TX]->n_free > 0) {
        VdsGuestSlot *slot = vsock->backlog;

        vsock->backlog = slot->next;
        if (!vsock->backlog) {
            vsock->backlog_end = &vsock->backlog;
        }
        take_packet(device, slot);
        if (device->life == VDS_GUEST_DRIVEN) {
            post_receive(device->queues[RX], slot);
        }
    }
    if (device->life == VDS_GUEST_DRIVEN) {
        vds_guest_vsock_pump(device);
    }
}

static void rx_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestVsock *vsock = queue->device->state;

    slot->note[0] = written;
    slot->next = NULL;
    *vsock->backlog_end = slot;
    vsock->backlog_end = &slot->next;
}

static void tx_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    if (written != 0) {
        vds_guest_device_error(queue->device, "a sent packet of which %u bytes came back",
                               written);
    }
    vds_guest_queue_give(queue, slot);
}

/* ---- events ----------------------------------------------------------------------- */

static bool read_cid(VdsGuestDevice *device, GError **error)
{
    VdsGuestVsock *vsock = device->state;

    if (!vds_guest_device_read_config(device, CONFIG_CID, &vsock->cid, sizeof(vsock->cid),
                                      error)) {
        return false;
    }
    vsock->cid = GUINT64_FROM_LE(vsock->cid);
    return true;
}

/* The guest may have moved to another host (5.10.6.7). */
static void transport_reset(VdsGuestDevice *device)
{
    GError *error = NULL;

    vds_guest_vsock_forget(device->state);
    if (!read_cid(device, &error)) {
        vds_guest_device_fail(device, error);
    }
}

static void event_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    uint32_t id;

    if (written != EVENT_BYTES) {
        vds_guest_device_error(device, "an event of %u bytes", written);
    } else if (vds_guest_device_read(device, slot->gpa, &id, sizeof(id))) {
        vds_guest_device_count(device);
        if (GUINT32_FROM_LE(id) == EVENT_TRANSPORT_RESET) {
            transport_reset(device);
        }
    }
    if (device->life == VDS_GUEST_DRIVEN) {
        vds_guest_queue_post_in(queue, slot);
    }
}

/* ---- the driver ------------------------------------------------------------------- */

static const VdsGuestQueueRole rx_role = {.slot_bytes = SLOT_BYTES,
                                          .max_slots = 256,
                                          .spans = 2,
                                          .used = rx_used,
                                          .drained = work};
static const VdsGuestQueueRole tx_role = {.slot_bytes = SLOT_BYTES,
                                          .max_slots = 32,
                                          .spans = 2,
                                          .used = tx_used,
                                          .drained = work};
static const VdsGuestQueueRole event_role = {
    .slot_bytes = EVENT_BYTES, .max_slots = EVENTS, .spans = 1, .used = event_used};

static bool plan(VdsGuestDevice *device, GError **error)
{
    VdsGuestVsock *vsock = device->state;

    vsock->backlog_end = &vsock->backlog;
    return read_cid(device, error) &&
           vds_guest_device_add_queue(device, &rx_role, error) &&
           vds_guest_device_add_queue(device, &tx_role, error) &&
           vds_guest_device_add_queue(device, &event_role, error);
}

static bool start(VdsGuestDevice *device, GError **error)
{
    VdsGuestQueue *rx;

    for (unsigned i = 0; i < device->n_queues; i++) {
        if (!vds_guest_queue_allocate(device->queues[i], 0, error)) {
            return false;
        }
    }
    rx = device->queues[RX];
    while (rx->free && post_receive(rx, vds_guest_queue_take(rx))) {
    }
    vds_guest_queue_fill(device->queues[EVENT]);
    return true;
}

static void clear(VdsGuestDevice *device)
{
    vds_guest_vsock_forget(device->state);
}

const VdsGuestDriver vds_guest_vsock = {
    .device_id = 19,
    .features = UINT64_C(1) << F_SEQPACKET,
    .state_bytes = sizeof(VdsGuestVsock),
    .plan = plan,
    .start = start,
    .tick = vds_guest_vsock_ask,
    .clear = clear,
};
