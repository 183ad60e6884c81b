/*
 * tests: what a driver of virtio-vsock may be told of its streams with the host: nothing
 * of one that is not open, and no byte that it did not give room for
 * (virtio 1.2, 5.10.6.3). Told of the packets of both sides, in the order in which the
 * driver has them.
 */
#pragma once

#include <stdbool.h>

#include "vsock-packet.h"

enum { MODEL_STREAMS = 8192, MODEL_SAID = 4096, MODEL_PORTS = 4 };

/* A stream with the host, by both ports. */
typedef struct {
    uint32_t guest, host;
    bool open;
    uint32_t got; /* bytes since it was opened */
} Stream;

/* Room that the driver once gave. */
typedef struct {
    uint32_t guest, host, alloc, taken;
} Said;

typedef struct {
    Stream streams[MODEL_STREAMS];
    Said said[MODEL_SAID];
    unsigned n_streams, n_said;
    uint32_t asked[MODEL_PORTS]; /* the host's port that asked last, by the driver's */
} Model;

static inline void model_init(Model *model)
{
    model->n_streams = model->n_said = 0;
    for (unsigned i = 0; i < MODEL_PORTS; i++) {
        model->asked[i] = 0;
    }
}

/* (nullable) */
static inline Stream *model_find(Model *model, uint32_t guest, uint32_t host)
{
    for (unsigned i = 0; i < model->n_streams; i++) {
        if (model->streams[i].guest == guest && model->streams[i].host == host) {
            return &model->streams[i];
        }
    }
    return NULL;
}

static inline void model_open(Model *model, uint32_t guest, uint32_t host)
{
    Stream *stream = model_find(model, guest, host);

    if (!stream) {
        g_assert(model->n_streams < MODEL_STREAMS);
        stream = &model->streams[model->n_streams++];
    }
    *stream = (Stream){guest, host, true, 0};
}

/* A packet of the driver to the host: what it gives room for. */
static inline void model_say(Model *model, const Header *header)
{
    g_assert(model->n_said < MODEL_SAID);
    model->said[model->n_said++] =
        (Said){header->src_port, header->dst_port, header->buf_alloc, header->fwd_cnt};
}

static inline bool model_has_room(const Model *model, const Stream *stream)
{
    for (unsigned i = 0; i < model->n_said; i++) {
        const Said *said = &model->said[i];

        if (said->guest == stream->guest && said->host == stream->host &&
            stream->got - said->taken <= said->alloc) {
            return true;
        }
    }
    return false;
}

/* A packet of the host to the driver. */
static inline void model_hear(Model *model, const Header *header)
{
    Stream *stream;

    if (header->op == REQUEST || header->op == RESPONSE) {
        model_open(model, header->dst_port, header->src_port);
    }
    stream = model_find(model, header->dst_port, header->src_port);
    if (header->op == REQUEST) {
        model->asked[header->dst_port % MODEL_PORTS] = header->src_port;
    } else if (header->op == RST && stream && header->type == STREAM) {
        stream->open = false;
    } else if (header->op != RST) {
        g_assert(stream && stream->open);
    }
    if (header->op == RW) {
        stream->got += header->len;
        g_assert(header->len > 0 && model_has_room(model, stream));
    }
}
