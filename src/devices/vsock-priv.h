/*
 * devices: what the files of virtio-vsock share: packets, the hub between the devices of
 * this process, connections to sockets of the host, and the device.
 */
#pragma once

#include "kind-priv.h"

enum {
    VDS_VSOCK_F_SEQPACKET = 1,
    VDS_VSOCK_HOST_CID = 2,
    VDS_VSOCK_FIRST_CID = 3,
    VDS_VSOCK_HEADER_BYTES = 44,
    VDS_VSOCK_MAX_PAYLOAD = 64 * 1024, /* of one packet; Linux sends no larger ones */
};

/* ---- packets (virtio 1.2, 5.10.6) ----------------------------------------------------
 */

enum { VDS_VSOCK_STREAM = 1, VDS_VSOCK_SEQPACKET = 2 };
enum {
    VDS_VSOCK_REQUEST = 1,
    VDS_VSOCK_RESPONSE,
    VDS_VSOCK_RST,
    VDS_VSOCK_SHUTDOWN,
    VDS_VSOCK_RW,
    VDS_VSOCK_CREDIT_UPDATE,
    VDS_VSOCK_CREDIT_REQUEST,
};
enum { /* flags of SHUTDOWN, and of RW in a seqpacket */
       VDS_VSOCK_NO_RECEIVE = 1,
       VDS_VSOCK_NO_SEND = 2,
       VDS_VSOCK_SEQ_ENDS = 3,
};

typedef struct {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len; /* bytes of payload */
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
} VdsVsockHeader;

void vds_vsock_header_read(VdsVsockHeader *header,
                           const uint8_t bytes[VDS_VSOCK_HEADER_BYTES]);
void vds_vsock_header_write(const VdsVsockHeader *header,
                            uint8_t bytes[VDS_VSOCK_HEADER_BYTES]);
/* What answers a packet with this operation: ends swapped, nothing in it. */
VdsVsockHeader vds_vsock_header_answer(const VdsVsockHeader *header, uint16_t op);

typedef struct VdsVsockPacket VdsVsockPacket;
struct VdsVsockPacket {
    VdsVsockPacket *next;
    VdsVsockHeader header;
    uint32_t at; /* bytes of the payload that were delivered */
    uint8_t bytes[];
};

/* Copies header->len bytes (nullable: to be filled in). */
VdsVsockPacket *vds_vsock_packet_new(const VdsVsockHeader *header, const uint8_t *bytes);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsVsockPacket, g_free)

/* ---- the hub: devices by CID (vsock-hub.c)
 * --------------------------------------------- */

/* Bounds of what waits for one driver. */
enum { VDS_VSOCK_MAX_PACKETS = 8192, VDS_VSOCK_MAX_BYTES = 8 << 20 };

typedef struct VdsVsockHub VdsVsockHub;
typedef struct VdsVsockPort VdsVsockPort;

VdsVsockHub *vds_vsock_hub_get(const VdsDeviceHost *host); /* the machine's; borrowed */
/* (nullable) the CID is another device's */
VdsVsockPort *vds_vsock_port_new(VdsVsockHub *hub, uint64_t cid);
void vds_vsock_port_free(VdsVsockPort *port); /* NULL is fine */
/* A driver is there: packets can be sent to it.  SYSTEM. */
bool vds_vsock_port_open(VdsVsockPort *port, GError **error);
void vds_vsock_port_close(VdsVsockPort *port); /* and what waited is gone */
/* Readable (an eventfd) when something waits that did not; -1 while closed. */
int vds_vsock_port_get_fd(const VdsVsockPort *port);
uint64_t vds_vsock_port_get_cid(const VdsVsockPort *port);
/* To the port of header.dst_cid; packet is (transfer full).  false: there is none, or no
 * room.  Any thread. */
bool vds_vsock_hub_send(VdsVsockHub *hub, VdsVsockPacket *packet);
/* (nullable) (transfer full) what waits longest */
VdsVsockPacket *vds_vsock_port_shift(VdsVsockPort *port);
/* Enough waits for who could send more; its bounds are far beyond. */
bool vds_vsock_port_is_busy(VdsVsockPort *port);

/* ---- sockets of the host (vsock-host.c, vsock-connection.c)
 * ---------------------------- */

/* A stream connection of the driver to port P of the host is one to socket "PATH_P"; who
 * connects to PATH and says "CONNECT P\n" is connected to port P of the driver, and told
 * "OK HOST_PORT\n".  All but new and free on the I/O thread. */
typedef struct VdsVsockHost VdsVsockHost;

enum {
    VDS_VSOCK_MAX_CONNECTIONS = 1024,
    VDS_VSOCK_WINDOW = 256 * 1024,  /* bytes of a connection that wait for the host */
    VDS_VSOCK_HOST_PORTS = 1 << 30, /* the first one given to who connects */
    VDS_VSOCK_GREETING_BYTES = 32,  /* of "CONNECT ..." */
};

/* hub and port are borrowed.  Listens on path; VDS_UTIL_ERROR. */
VdsVsockHost *vds_vsock_host_new(const char *path, VdsVsockHub *hub, VdsVsockPort *port,
                                 GError **error);
void vds_vsock_host_free(VdsVsockHost *host); /* NULL is fine */
bool vds_vsock_host_start(VdsVsockHost *host, VdsIoThread *thread, GError **error);
void vds_vsock_host_stop(VdsVsockHost *host);  /* nothing moves until the next start */
void vds_vsock_host_reset(VdsVsockHost *host); /* every connection ends */
/* A packet of the driver to the host, of a stream, with any operation; `payload` has
 * header->len bytes. */
void vds_vsock_host_take(VdsVsockHost *host, const VdsVsockHeader *header,
                         const uint8_t *payload);
/* The port is not busy any more: sockets are read again. */
void vds_vsock_host_wake(VdsVsockHost *host);

/* ---- the device
 * ------------------------------------------------------------------------ */

typedef struct {
    uint64_t cid;
    VdsVsockHub *hub;
    VdsVsockPort *port; /* (transfer full) */
    VdsVsockHost *host; /* (transfer full) (nullable) */
} VdsVsockConfig;

typedef struct VdsVsock VdsVsock;

VdsVsock *vds_vsock_new(const VdsVsockConfig *config);
VdsVirtioDevice **vds_vsock_device(VdsVsock *vsock); /* to be set before any driver */
uint64_t vds_vsock_get_drops(const VdsVsock *vsock); /* packets; any thread */
extern const VdsDeviceOps vds_vsock_ops;             /* its instance: a VdsVsock */
