/*
 * devices: what the two files of a wire share: the struct, and what sockets do besides:
 * listen, accept, connect, be left, connect again.
 */
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>

#include "serial-wire-priv.h"
#include "vds/virtio.h"

struct VdsSerialWire {
    int in_fd, out_fd; /* -1; never the same: each has a watch */
    int far_fd;        /* the other end of our pty; -1 */
    int log_fd;        /* a copy of what goes out; -1 */
    bool sink;         /* takes everything, gives nothing */
    char *name;        /* (nullable) the pty's */

    VdsPatience *patience; /* borrowed; while it is opened */

    /* Sockets. */
    bool is_socket;
    int listen_fd;               /* -1: a client */
    char *listen_path;           /* (nullable) ours, to be removed */
    struct stat identity;        /* of the file at listen_path */
    struct sockaddr_storage far; /* a client's */
    socklen_t far_len;           /* 0: none, there is no connecting again */
    uint64_t reconnect_ns;       /* 0: never */
    bool connecting;
    bool hung_up; /* the other side left; it left something to read */
    bool left;    /* the connection ended, and `changed` is not called yet */

    /* Between start and stop, on the I/O thread. */
    VdsIoThread *thread; /* borrowed; NULL: stopped */
    const VdsSerialWireOps *ops;
    void *user;
    bool want_in, want_out;
    VdsIoWatch *in_watch, *out_watch, *listen_watch; /* (nullable) */
    /* (nullable) To call `changed` after a connection ended, to connect or to accept
     * again, to write soon. */
    VdsIoTimer *timer;
};

/* Code BACKEND, from errno; false. */
bool vds_wire_fail(GError **error, const char *what, const char *name);
void vds_wire_watch(VdsSerialWire *wire);
/* Runs the timer's work after so many ns (more than 0); false: there is no timer, and no
 * descriptor to make one. */
bool vds_wire_wake_after(VdsSerialWire *wire, uint64_t ns);

bool vds_wire_open_socket(VdsSerialWire *wire, const VdsProps *props, GError **error);
void vds_wire_socket_start(VdsSerialWire *wire);
void vds_wire_socket_clear(VdsSerialWire *wire);
void vds_wire_connected(VdsSerialWire *wire); /* or it failed: the system knows */
void vds_wire_reconnect(VdsSerialWire *wire);
/* Closes the connection.  `changed` is called in a later turn of the I/O thread, so that
 * a read or a write never changes what its caller holds; only then is there a next
 * connection. */
void vds_wire_disconnect(VdsSerialWire *wire);
/* In a turn of its own: waits for the next connection, and calls `changed`. */
void vds_wire_tell_left(VdsSerialWire *wire);
void vds_wire_accept_again(VdsSerialWire *wire); /* after a pause; else nothing */
