/*
 * tests: a packet of virtio-vsock as it lies in a buffer (virtio 1.2, 5.10.6), for who
 * makes and reads them without the device's own code.
 */
#pragma once

#include <glib.h>
#include <stdint.h>

enum { RX, TX, EVENT, HEADER = 44, HOST = 2, WINDOW = 256 * 1024 };
enum { STREAM = 1, SEQPACKET = 2 };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { NO_RECEIVE = 1, NO_SEND = 2, BOTH = 3 };

typedef struct {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len;
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed)) Header;
G_STATIC_ASSERT(sizeof(Header) == HEADER && G_BYTE_ORDER == G_LITTLE_ENDIAN);
