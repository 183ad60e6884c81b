/*
 * tests: toy devices for the built-in guest: one a kind that it drives, each just enough
 * for its driver, in memory, and able to lie.
 */
#pragma once

#include <stdatomic.h>
#include <string.h>

#include "vds/guest.h"

enum { TOY_NET = 1, TOY_BLK = 2, TOY_SERIAL = 3, TOY_RNG = 4, TOY_BALLOON = 5 };
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
    VdsIo *held[64];
    unsigned n_held;
    uint64_t counter;
    uint8_t disk[TOY_DISK_BYTES];
    atomic_uint lines;
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

static inline void toy_handle(void *instance, VdsVirtQueue *queue)
{
    Toy *toy = instance;
    unsigned index = vds_virt_queue_get_index(queue);
    VdsIo *io;

    if (toy->kind->kept & 1u << index) {
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

/* Bytes 4 to 8 are the balloon's actual size. */
static const VdsConfigRange toy_writable[] = {{4, 4}, {0}};

static const VdsDeviceOps toy_ops = {
    .handle = toy_handle, .reset = toy_reset, .config_writable = toy_writable};

/* offered: of the transport's bits. */
static inline Toy *toy_new(VdsIoThread *thread, uint16_t device_id, uint64_t offered)
{
    Toy *toy = g_new0(Toy, 1);

    toy->kind = toy_kind(device_id);
    toy->device = vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = device_id,
        .host_features = {{toy->kind->features | offered, 0}},
        .queue_sizes = toy->kind->sizes,
        .n_queues = TOY_QUEUES,
        .use_started = true,
        .ops = &toy_ops,
        .instance = toy,
        .io_thread = thread,
        .config = toy->kind->config,
        .config_len_bytes = TOY_CONFIG,
    });
    vds_virtio_device_set_running(toy->device, true);
    return toy;
}

static inline void toy_free(Toy *toy)
{
    vds_virtio_device_free(toy->device);
    g_free(toy);
}
