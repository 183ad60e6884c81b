/*
 * devices: a wire: the outside end of a serial port, as -chardev describes it: null,
 * file, stdio, pty or socket.  Knows bytes and whether somebody is there; no port and no
 * queue.
 */
#pragma once

#include "vds/util.h"

typedef struct VdsSerialWire VdsSerialWire;

/* Called from the I/O thread's loop, between start and stop: never inside of a function
 * below. */
typedef struct {
    void (*changed)(void *user); /* is_open() says what it is now */
    void (*readable)(void *user);
    void (*writable)(void *user);
} VdsSerialWireOps;

/* Opens, binds or begins to connect.  A server's socket listens from now on; who connects
 * is accepted once the wire is started.  VDS_VIRTIO_ERROR_BACKEND. */
VdsSerialWire *vds_serial_wire_new(const VdsProps *chardev, VdsPatience *patience,
                                   GError **error);
/* NULL is fine.  Stopped; a socket's path goes with it. */
void vds_serial_wire_free(VdsSerialWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsSerialWire, vds_serial_wire_free)
/* Where others find it, when only the system knows: the pty's name.  (nullable) */
const char *vds_serial_wire_get_name(const VdsSerialWire *wire);

/* All below: on the I/O thread. */

void vds_serial_wire_start(VdsSerialWire *wire, VdsIoThread *thread,
                           const VdsSerialWireOps *ops, void *user);
void vds_serial_wire_stop(VdsSerialWire *wire); /* again: nothing */
bool vds_serial_wire_is_open(const VdsSerialWire *wire);
/* Call readable or writable when it is so; level-triggered. */
void vds_serial_wire_want_in(VdsSerialWire *wire, bool want);
void vds_serial_wire_want_out(VdsSerialWire *wire, bool want);
/* 0: nothing now.  Calls nothing: a connection that ends here is closed at once, and
 * `changed` is called from the I/O thread's loop. */
size_t vds_serial_wire_read(VdsSerialWire *wire, void *to, size_t len);
/* How many bytes it took; fewer: want_out tells when to go on.  All are taken when nobody
 * is there.  Calls nothing, as read. */
size_t vds_serial_wire_write(VdsSerialWire *wire, const void *from, size_t len);
