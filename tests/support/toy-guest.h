/*
 * tests: toy devices for the built-in guest: one a kind that it drives, each just enough
 * for its driver, in memory, and able to lie.
 */
#pragma once

#include <stdatomic.h>
#include <string.h>

#include "vds/guest.h"

enum {
    TOY_NET = 1,
    TOY_BLK = 2,
    TOY_SERIAL = 3,
    TOY_RNG = 4,
    TOY_BALLOON = 5,
    TOY_SCSI = 8,
    TOY_VSOCK = 19,
};
enum { TOY_DISK_BYTES = 1 << 20, TOY_PORTS = 2, TOY_QUEUES = 6, TOY_CONFIG = 40 };

typedef struct Toy Toy;

typedef struct {
    uint16_t device_id;
    uint64_t features; /* its own, beside the transport's */
    uint16_t sizes[TOY_QUEUES];
    uint8_t config[TOY_CONFIG];
    void (*answer)(Toy *toy, unsigned queue, VdsIo *io);
    unsigned kept; /* a bit for each queue that the driver fills */
} ToyKind;

struct Toy {
    const ToyKind *kind;
    VdsVirtioDevice *device;
    atomic_bool lie;    /* one bit of every answer is wrong */
    atomic_bool silent; /* requests are taken and not answered */
    atomic_bool deaf;   /* they are not even taken */
    uint32_t wild;      /* not 0: it answers anything, out of this seed */
    uint8_t config[TOY_CONFIG];
    VdsIo *held[64];
    unsigned n_held;
    uint64_t counter;
    uint8_t disk[TOY_DISK_BYTES];
    atomic_uint lines;
    atomic_uint target;      /* of the SCSI disk; 0: there is none */
    atomic_uint block_bytes; /* its */
    atomic_uint attention;   /* so often, the disk has something else to say first */
    atomic_bool protects;    /* it refuses to be written, and says so */
    atomic_uint writes;
};

static inline void toy_complete(VdsIo *io, uint64_t written)
{
    vds_virt_queue_complete(io->queue, io, written);
}

/* ---- rng ---- */

static inline void toy_rng(Toy *toy, unsigned queue, VdsIo *io)
{
    uint64_t words[2] = {++toy->counter, toy->counter * 3};

    if (atomic_load(&toy->lie)) {
        memset(words, 0, sizeof(words));
    }
    toy_complete(io, vds_stream_write(&io->in, words, sizeof(words)));
}

/* ---- blk ---- */

static inline void toy_blk(Toy *toy, unsigned queue, VdsIo *io)
{
    struct {
        uint32_t type, ioprio;
        uint64_t sector;
    } header;
    uint8_t status = 0, data[4096];
    size_t n;

    vds_stream_read(&io->out, &header, sizeof(header));
    header.sector %= TOY_DISK_BYTES / 512 - 7;
    if (header.type == 1) {
        n = vds_stream_read(&io->out, data, sizeof(data));
        memcpy(toy->disk + header.sector * 512, data, n);
    } else if (header.type == 0) {
        memcpy(data, toy->disk + header.sector * 512, sizeof(data));
        data[100] ^= atomic_load(&toy->lie) ? 4 : 0;
        vds_stream_write(&io->in, data, sizeof(data));
    }
    vds_stream_write(&io->in, &status, 1);
    toy_complete(io, vds_stream_done(&io->in));
}

/* ---- net: a cable from the device to itself ---- */

static inline void toy_net(Toy *toy, unsigned queue, VdsIo *io)
{
    VdsVirtQueue *rx = vds_virtio_device_get_virt_queue(toy->device, 0);
    VdsIo *to = queue == 1 ? vds_virt_queue_pop_one(rx) : NULL;
    uint8_t frame[256], ack = atomic_load(&toy->lie) ? 1 : 0;
    size_t n;

    if (queue == 2) {
        toy_complete(io, vds_stream_write(&io->in, &ack, 1));
        return;
    }
    n = vds_stream_read(&io->out, frame, sizeof(frame));
    if (to) {
        frame[10] = 1; /* one buffer */
        frame[50] ^= atomic_load(&toy->lie) ? 4 : 0;
        toy_complete(to, vds_stream_write(&to->in, frame, n));
        vds_virt_queue_flush(rx);
    }
    toy_complete(io, 0);
}

/* ---- serial ---- */

typedef struct {
    uint32_t id;
    uint16_t event, value;
} ToyMessage;

static inline void toy_tell(Toy *toy, uint32_t id, uint16_t event, uint16_t value)
{
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(toy->device, 2);
    ToyMessage message = {atomic_load(&toy->lie) ? id ^ 0x100 : id, event, value};
    VdsIo *io = vds_virt_queue_pop_one(queue);

    if (io) {
        toy_complete(io, vds_stream_write(&io->in, &message, sizeof(message)));
        vds_virt_queue_flush(queue);
    }
}

static inline void toy_serial(Toy *toy, unsigned queue, VdsIo *io)
{
    ToyMessage message;

    if (queue == 3) {
        vds_stream_read(&io->out, &message, sizeof(message));
        if (message.event == 0) { /* the driver is there: port 0, a console, and port 1 */
            toy_tell(toy, 0, 1, 1);
            toy_tell(toy, 1, 1, 1);
        } else if (message.event == 3) { /* a port is ready */
            toy_tell(toy, message.id, message.id == 0 ? 4 : 6, 1);
        }
    } else {
        atomic_fetch_add(&toy->lines, 1);
    }
    toy_complete(io, 0);
}

/* ---- balloon ---- */

static inline void toy_balloon(Toy *toy, unsigned queue, VdsIo *io)
{
    toy_complete(io, 0);
}

/* ---- scsi: one disk, LUN 0 of a target ---- */

enum { TOY_SCSI_HEADER = 51, TOY_SCSI_ANSWER = 108, TOY_SCSI_TARGET = 1 };

typedef struct {
    uint8_t answer[TOY_SCSI_ANSWER];
    uint8_t data[4096];
    uint32_t len;
} ToyScsi;

static inline uint32_t toy_be32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 |
           from[3];
}

static inline void toy_put_be32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static inline void toy_sense(ToyScsi *reply, uint8_t key)
{
    reply->answer[0] = 18; /* bytes of sense data */
    reply->answer[10] = 2; /* CHECK CONDITION */
    reply->answer[12] = 0x70;
    reply->answer[14] = key;
}

static inline void toy_scsi_command(Toy *toy, const uint8_t *cdb, VdsIo *io,
                                    ToyScsi *reply)
{
    uint32_t block = atomic_load(&toy->block_bytes);
    uint8_t *place = toy->disk + (uint64_t)toy_be32(cdb + 2) * block % TOY_DISK_BYTES;

    switch (cdb[0]) {
    case 0x12: /* INQUIRY: a disk */
        reply->len = 36;
        break;
    case 0xa0: /* REPORT LUNS: 0 */
        reply->data[3] = 8;
        reply->len = 16;
        break;
    case 0x9e: /* READ CAPACITY (16) */
        toy_put_be32(reply->data + 4, TOY_DISK_BYTES / block - 1);
        toy_put_be32(reply->data + 8, block);
        reply->len = 32;
        break;
    case 0x1a: /* MODE SENSE (6) */
        reply->data[2] = atomic_load(&toy->protects) ? 0x80 : 0;
        reply->len = 4;
        break;
    case 0x28: /* READ (10) */
        memcpy(reply->data, place, 4096);
        reply->data[100] ^= atomic_load(&toy->lie) ? 4 : 0;
        reply->len = 4096;
        break;
    case 0x2a: /* WRITE (10) */
        atomic_fetch_add(&toy->writes, 1);
        if (atomic_load(&toy->protects)) {
            toy_sense(reply, 7);
        } else {
            vds_stream_read(&io->out, place, 4096);
        }
        break;
    default: /* TEST UNIT READY, SYNCHRONIZE CACHE */
        break;
    }
}

static inline void toy_scsi(Toy *toy, unsigned queue, VdsIo *io)
{
    ToyScsi reply = {.len = 0};
    uint8_t header[TOY_SCSI_HEADER];

    vds_stream_read(&io->out, header, sizeof(header));
    if (header[1] != atomic_load(&toy->target) || header[1] == 0) {
        reply.answer[11] = 3; /* BAD TARGET */
    } else if (header[19] == 0 && atomic_load(&toy->attention) > 0) {
        atomic_fetch_sub(&toy->attention, 1);
        toy_sense(&reply, 6);
    } else {
        toy_scsi_command(toy, header + 19, io, &reply);
    }
    if (vds_stream_left(&io->in) >= TOY_SCSI_ANSWER + reply.len) {
        uint32_t resid = (uint32_t)vds_stream_left(&io->in) - TOY_SCSI_ANSWER - reply.len;

        memcpy(reply.answer + 4, &resid, sizeof(resid));
    }
    vds_stream_write(&io->in, reply.answer, TOY_SCSI_ANSWER);
    vds_stream_write(&io->in, reply.data, reply.len);
    toy_complete(io, vds_stream_done(&io->in));
}

/* ---- vsock: an echo, whatever the port ---- */

enum { TOY_VSOCK_CID = 3, TOY_VSOCK_WINDOW = 1 << 20 };

typedef struct {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} ToyPacket;

enum { TOY_PACKET = 44 };

/* false: the driver left no buffer. */
static inline bool toy_send(Toy *toy, const ToyPacket *packet, const void *data)
{
    VdsVirtQueue *rx = vds_virtio_device_get_virt_queue(toy->device, 0);
    VdsIo *io = vds_virt_queue_pop_one(rx);

    if (!io) {
        return false;
    }
    vds_stream_write(&io->in, packet, TOY_PACKET);
    vds_stream_write(&io->in, data, packet->len);
    toy_complete(io, vds_stream_done(&io->in));
    vds_virt_queue_flush(rx);
    return true;
}

static inline void toy_vsock(Toy *toy, unsigned queue, VdsIo *io)
{
    static const uint16_t answers[] = {[1] = 2, [4] = 3, [5] = 5, [7] = 6};
    ToyPacket packet, answer;
    uint8_t data[4096];

    vds_stream_read(&io->out, &packet, TOY_PACKET);
    answer = (ToyPacket){
        .src_cid = packet.dst_cid,
        .dst_cid = packet.src_cid,
        .src_port = packet.dst_port,
        .dst_port = packet.src_port,
        .type = packet.type,
        .op = packet.op < G_N_ELEMENTS(answers) ? answers[packet.op] : 0,
        .buf_alloc = TOY_VSOCK_WINDOW,
    };
    if (packet.op == 5) {
        toy->counter += packet.len; /* one connection at a time */
        answer.len = packet.len;
        vds_stream_read(&io->out, data, MIN(packet.len, sizeof(data)));
        data[0] ^= atomic_load(&toy->lie) ? 4 : 0;
    } else if (packet.op == 1) {
        toy->counter = 0;
    }
    answer.fwd_cnt = (uint32_t)toy->counter;
    if (answer.op != 0) {
        toy_send(toy, &answer, data);
    }
    toy_complete(io, 0);
}

/* ---- all of them ---- */

static const ToyKind toy_kinds[] = {
    /* mac 52:54:00:00:00:01; mergeable, control queue, filters */
    {TOY_NET,
     1 << 5 | 1 << 15 | 1 << 17 | 1 << 18,
     {256, 256, 64},
     {0x52, 0x54, 0, 0, 0, 1},
     toy_net,
     1 << 0},
    /* 2048 sectors; flush */
    {TOY_BLK, 1 << 9, {256}, {0, 8}, toy_blk, 0},
    /* two ports */
    {TOY_SERIAL,
     1 << 1,
     {128, 128, 32, 32, 128, 128},
     {0, 0, 0, 0, TOY_PORTS},
     toy_serial,
     1 << 0 | 1 << 2 | 1 << 4},
    {TOY_RNG, 0, {8}, {0}, toy_rng, 0},
    /* statistics */
    {TOY_BALLOON, 1 << 1, {128, 128, 128}, {0}, toy_balloon, 1 << 2},
    /* one request queue, targets 0 to 2; hot plug */
    {TOY_SCSI, 1 << 1, {64, 64, 256}, {[0] = 1, [30] = 2}, toy_scsi, 1 << 1},
    {TOY_VSOCK, 1 << 1, {128, 128, 128}, {TOY_VSOCK_CID}, toy_vsock, 1 << 0 | 1 << 2},
    /* one that nobody drives */
    {99, 0, {8}, {0}, toy_balloon, 0},
};

static inline const ToyKind *toy_kind(uint16_t device_id)
{
    size_t i = 0;

    while (toy_kinds[i].device_id != device_id) {
        i++;
    }
    return &toy_kinds[i];
}

/* ---- devices that answer anything ---- */

static inline uint32_t toy_random(Toy *toy, uint32_t n)
{
    toy->wild = toy->wild * 1664525u + 1013904223u;
    return (toy->wild >> 8) % n;
}

/* Zeroes and small numbers are what drivers go further with. */
static inline uint8_t toy_random_byte(Toy *toy)
{
    static const uint8_t usual[] = {0, 0, 0, 0, 0, 1,  1,    2,    3,
                                    4, 5, 6, 7, 8, 16, 0x7f, 0x80, 0xff};
    uint32_t n = toy_random(toy, 24);

    return n < G_N_ELEMENTS(usual) ? usual[n] : (uint8_t)toy_random(toy, 256);
}

/* A header of vsock that may be for this driver. */
static inline void toy_random_packet(Toy *toy, uint8_t *bytes)
{
    static const uint32_t ports[] = {7, 1024, 1025, 70};
    static const uint32_t lens[] = {0, 0, 1, 256, 4096, 5000};
    ToyPacket packet = {.src_cid = 2,
                        .dst_cid = TOY_VSOCK_CID + toy_random(toy, 8) / 7,
                        .src_port = ports[toy_random(toy, G_N_ELEMENTS(ports))],
                        .dst_port = ports[toy_random(toy, G_N_ELEMENTS(ports))],
                        .len = lens[toy_random(toy, G_N_ELEMENTS(lens))],
                        .type = (uint16_t)(1 + toy_random(toy, 8) / 7),
                        .op = (uint16_t)toy_random(toy, 9),
                        .flags = toy_random(toy, 4),
                        .buf_alloc = toy_random(toy, 20000),
                        .fwd_cnt = toy_random(toy, 5000)};

    memcpy(bytes, &packet, TOY_PACKET);
}

static inline void toy_answer_anything(Toy *toy, unsigned queue, VdsIo *io)
{
    uint8_t bytes[6000];
    uint32_t room = (uint32_t)MIN(vds_stream_left(&io->in), sizeof(bytes));
    uint32_t zeroes = toy_random(toy, 2) ? toy_random(toy, 128) : 0;
    uint32_t n = room;

    for (uint32_t i = 0; i < room; i++) {
        bytes[i] = i < zeroes ? 0 : toy_random_byte(toy);
    }
    if (toy->kind->device_id == TOY_VSOCK && queue == 0 && room >= TOY_PACKET) {
        ToyPacket packet;

        toy_random_packet(toy, bytes);
        memcpy(&packet, bytes, TOY_PACKET);
        n = MIN(room, TOY_PACKET + packet.len);
    }
    n = toy_random(toy, 4) ? n : toy_random(toy, n + 1);
    toy_complete(io, vds_stream_write(&io->in, bytes, n));
}

/* What the driver asks for, now and then as it should be; and what it does not ask for.
 */
static inline void toy_handle_wildly(Toy *toy, VdsVirtQueue *queue)
{
    unsigned index = vds_virt_queue_get_index(queue);
    VdsIo *io;

    while (!(toy->kind->kept & 1u << index) && (io = vds_virt_queue_pop_one(queue))) {
        if (toy_random(toy, 8) < 5) {
            toy->kind->answer(toy, index, io);
        } else {
            toy_answer_anything(toy, index, io);
        }
    }
    for (unsigned i = 0; i < TOY_QUEUES; i++) {
        VdsVirtQueue *other = vds_virtio_device_get_virt_queue(toy->device, i);

        if (other && toy->kind->kept & 1u << i && toy_random(toy, 2) &&
            (io = vds_virt_queue_pop_one(other))) {
            toy_answer_anything(toy, i, io);
            vds_virt_queue_flush(other);
        }
    }
}

static inline void toy_handle(void *instance, VdsVirtQueue *queue)
{
    Toy *toy = instance;
    unsigned index = vds_virt_queue_get_index(queue);
    VdsIo *io;

    if (toy->wild) {
        toy_handle_wildly(toy, queue);
        return;
    }

    if (toy->kind->kept & 1u << index || atomic_load(&toy->deaf)) {
        return;
    }
    while ((io = vds_virt_queue_pop_one(queue))) {
        if (!atomic_load(&toy->silent)) {
            toy->kind->answer(toy, index, io);
        } else if (toy->n_held < G_N_ELEMENTS(toy->held)) {
            toy->held[toy->n_held++] = io;
        }
    }
}

static inline void toy_reset(void *instance)
{
    Toy *toy = instance;

    while (toy->n_held > 0) {
        VdsIo *io = toy->held[--toy->n_held];

        vds_virt_queue_drop(io->queue, io);
    }
}

/* The balloon's actual size; the adapter's sizes of sense data and commands. */
static const VdsConfigRange toy_writable[] = {{4, 4}, {20, 8}, {0}};

static const VdsDeviceOps toy_ops = {
    .handle = toy_handle, .reset = toy_reset, .config_writable = toy_writable};

/* offered: of the transport's bits; wild: 0, or what it answers comes out of this, and a
 * part of what stands in its config space. */
static inline Toy *toy_new_wild(VdsIoThread *thread, uint16_t device_id, uint64_t offered,
                                uint32_t wild)
{
    Toy *toy = g_new0(Toy, 1);

    toy->wild = wild;
    toy->kind = toy_kind(device_id);
    memcpy(toy->config, toy->kind->config, TOY_CONFIG);
    for (unsigned i = 0; wild && wild % 2 && i < TOY_CONFIG; i++) {
        toy->config[i] = toy_random(toy, 4) ? toy->config[i] : toy_random_byte(toy);
    }
    atomic_init(&toy->target, TOY_SCSI_TARGET);
    atomic_init(&toy->block_bytes, 512);
    toy->device = vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = device_id,
        .host_features = {{toy->kind->features | offered, 0}},
        .queue_sizes = toy->kind->sizes,
        .n_queues = TOY_QUEUES,
        .use_started = true,
        .ops = &toy_ops,
        .instance = toy,
        .io_thread = thread,
        .config = toy->config,
        .config_len_bytes = TOY_CONFIG,
    });
    vds_virtio_device_set_running(toy->device, true);
    return toy;
}

static inline Toy *toy_new(VdsIoThread *thread, uint16_t device_id, uint64_t offered)
{
    return toy_new_wild(thread, device_id, offered, 0);
}

static inline void toy_free(Toy *toy)
{
    vds_virtio_device_free(toy->device);
    g_free(toy);
}
