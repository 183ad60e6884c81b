/*
 * devices: what the two files of virtio-vsock's way to sockets of the host share.
 */
#pragma once

#include <sys/stat.h>

#include "vsock-priv.h"

typedef struct VdsVsockConnection VdsVsockConnection;

struct VdsVsockHost {
    char *path;
    struct stat identity; /* of the socket file */
    int listen_fd;
    VdsVsockHub *hub;
    VdsVsockPort *port;
    VdsIoThread *thread; /* (nullable) since the first start; borrowed */

    /* The I/O thread's own. */
    bool active;
    bool throttled;           /* the driver does not keep up: sockets are not read */
    bool starved;             /* no descriptor is left; the next tick tries again */
    VdsIoWatch *accept_watch; /* (nullable) */
    VdsIoTimer *timer;        /* (nullable) while active */
    bool counting;            /* it runs */
    VdsVsockConnection *all;  /* newest first */
    unsigned n, n_waiting;    /* connections; those that wait for somebody */
    GHashTable *by_ports;     /* of those that the driver knows */
    uint32_t next_port;       /* of the host, for who connects next */
    uint8_t *buffer;          /* (nullable) VDS_VSOCK_CHUNK bytes */
};

enum { VDS_VSOCK_CHUNK = 16 * 1024 }; /* bytes of a socket that are read at once */

/* In the order of their lives; a connection of the driver's begins open. */
typedef enum {
    VDS_VSOCK_GREETING, /* somebody connected, and has not said to which port */
    VDS_VSOCK_ASKED,    /* the driver was asked */
    VDS_VSOCK_OPEN,
    VDS_VSOCK_CLOSING, /* the socket is of no more use; the driver was told */
} VdsVsockPhase;

struct VdsVsockConnection {
    VdsVsockConnection *next, *prev;
    VdsVsockHost *host;
    uint64_t key; /* of by_ports: both ports */
    VdsVsockPhase phase;
    unsigned patience; /* ticks, of a phase that waits */
    uint32_t guest_port, host_port;
    int fd;
    VdsIoWatch *watch; /* (nullable) while nothing is wanted of the socket */
    char greeting[VDS_VSOCK_GREETING_BYTES];
    unsigned n_greeting;

    /* To the driver (virtio 1.2, 5.10.6.3: credit; these count modulo 2^32). */
    uint32_t sent, peer_alloc, peer_taken;
    bool asked_credit;
    bool host_ended; /* the socket has no more to say */

    /* To the socket. */
    VdsBuf out;
    uint32_t taken, told; /* bytes the socket took, and what the driver knows of it */
    uint32_t guest_shut;  /* VDS_VSOCK_NO_* */
};

/* ---- vsock-connection.c ---- */

/* Both take fd, and put the connection into the host's list. */
VdsVsockConnection *vds_vsock_connection_new(VdsVsockHost *host, int fd);
/* A driver's, answered with RESPONSE. */
void vds_vsock_connection_open(VdsVsockHost *host, int fd, const VdsVsockHeader *request);
/* Tells nobody. */
void vds_vsock_connection_free(VdsVsockConnection *connection);
/* RST for the driver, and the end. */
void vds_vsock_connection_abort(VdsVsockConnection *connection);
void vds_vsock_connection_take(VdsVsockConnection *connection,
                               const VdsVsockHeader *header, const uint8_t *payload);
/* Watches the socket for what is wanted of it now. */
void vds_vsock_connection_update(VdsVsockConnection *connection);
/* A second went by. */
void vds_vsock_connection_tick(VdsVsockConnection *connection);

/* ---- vsock-host.c ---- */

VdsVsockConnection *vds_vsock_host_find(const VdsVsockHost *host, uint32_t guest_port,
                                        uint32_t host_port); /* (nullable) */
/* A free one; there are more than connections. */
uint32_t vds_vsock_host_choose_port(VdsVsockHost *host, uint32_t guest_port);
/* After a change of n, n_waiting or starved. */
void vds_vsock_host_update(VdsVsockHost *host);
void vds_vsock_host_throttle(VdsVsockHost *host, bool on);
