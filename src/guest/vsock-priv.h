/*
 * guest: what the two files of the vsock driver share: packets and connections.
 * virtio 1.2, 5.10.6.
 */
#pragma once

#include "guest-priv.h"

enum {
    VDS_GUEST_VSOCK_HEADER = 44,
    VDS_GUEST_VSOCK_WINDOW = 16 * 1024, /* bytes that wait for a connection: its credit */
    VDS_GUEST_VSOCK_CONNECTIONS = 32,   /* at once */
    VDS_GUEST_VSOCK_ECHO = 7,           /* the port that gives back what it gets */
};

enum { VDS_GUEST_VSOCK_STREAM = 1 };

typedef enum {
    VDS_GUEST_VSOCK_REQUEST = 1,
    VDS_GUEST_VSOCK_RESPONSE,
    VDS_GUEST_VSOCK_RST,
    VDS_GUEST_VSOCK_SHUTDOWN,
    VDS_GUEST_VSOCK_RW,
    VDS_GUEST_VSOCK_CREDIT_UPDATE,
    VDS_GUEST_VSOCK_CREDIT_REQUEST,
    VDS_GUEST_VSOCK_OPS,
} VdsGuestVsockOp;

enum { /* flags of SHUTDOWN */
       VDS_GUEST_VSOCK_NO_RECEIVE = 1,
       VDS_GUEST_VSOCK_NO_SEND = 2,
       VDS_GUEST_VSOCK_NOTHING = 3,
};

/* As it lies in the buffer. */
typedef struct {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len; /* bytes behind it */
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} VdsGuestVsockHeader;

typedef struct VdsGuestStream VdsGuestStream;
typedef struct {
    uint64_t cid;
    /* Received packets that wait until an answer could be sent: the ring is full else. */
    VdsGuestSlot *backlog, **backlog_end;
    VdsGuestStream *streams;
    unsigned n_streams;

    /* The workload's. */
    VdsGuestStream *asking; /* (nullable) one of these */
    unsigned next_peer;
    uint32_t next_port;
} VdsGuestVsock;

/* ---- vsock.c ---- */

/* `data`: header->len bytes.  false: no room, or the device failed. */
bool vds_guest_vsock_send(VdsGuestDevice *device, const VdsGuestVsockHeader *header,
                          const void *data);
/* The other end's answer. */
VdsGuestVsockHeader vds_guest_vsock_answer(const VdsGuestVsockHeader *header,
                                           VdsGuestVsockOp op);

/* ---- vsock-stream.c ---- */

/* A packet for this device; `data` has header->len bytes.  Sends one packet at most. */
void vds_guest_vsock_take(VdsGuestDevice *device, const VdsGuestVsockHeader *header,
                          const uint8_t *data);
/* Sends what waits, while there is room. */
void vds_guest_vsock_pump(VdsGuestDevice *device);
/* One step of the workload: a connection to an echo, and data through it. */
void vds_guest_vsock_ask(VdsGuestDevice *device);
/* All connections are gone, without a word. */
void vds_guest_vsock_forget(VdsGuestVsock *vsock);
