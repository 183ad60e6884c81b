/*
 * devices: what the two files of a wire share: the struct, and what sockets do besides:
 * listen, accept, connect, be left, connect again.
 */
#pragma once

#include <sys/socket.h>

#include "serial-wire-priv.h"
#include "vds/virtio.h"

struct VdsSerialWire {
    int in_fd, out_fd; /* -1; never the same: each has a watch */
    int far_fd;        /* the other end of our pty; -1 */
    int log_fd;        /* a copy of what goes out; -1 */
    bool sink;         /* takes everything, gives nothing */
    char *name;        /* (nullable) the pty's */

    /* Sockets. */
    bool is_socket;
    int listen_fd;               /* -1: a client */
    char *listen_path;           /* (nullable) ours, to be removed */
    struct sockaddr_storage far; /* a client's */
    socklen_t far_len;           /* 0: none, there is no connecting again */
    uint64_t reconnect_ns;       /* 0: never */
    bool connecting;
    bool hung_up; /* the other side left; it left something to read */

    /* Between start and stop, on the I/O thread. */
    VdsIoThread *thread; /* borrowed; NULL: stopped */
    const VdsSerialWireOps *ops;
    void *user;
    bool want_in, want_out;
    VdsIoWatch *in_watch, *out_watch, *listen_watch; /* (nullable) */
    VdsIoTimer *timer; /* (nullable) to connect again; to write soon */
};

/* Code BACKEND, from errno; false. */
bool vds_wire_fail(GError **error, const char *what, const char *name);
void vds_wire_watch(VdsSerialWire *wire);

bool vds_wire_open_socket(VdsSerialWire *wire, const VdsProps *props, GError **error);
void vds_wire_socket_start(VdsSerialWire *wire);
void vds_wire_socket_clear(VdsSerialWire *wire);
void vds_wire_connected(VdsSerialWire *wire); /* or it failed: the system knows */
void vds_wire_reconnect(VdsSerialWire *wire);
void vds_wire_disconnect(VdsSerialWire *wire);
