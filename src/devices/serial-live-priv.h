/*
 * devices: what the control queues and the ports of a virtio-serial device know of each
 * other.  All of it is the I/O thread's.
 */
#pragma once

#include <stdatomic.h>

#include "teller-priv.h"
#include "serial-priv.h"

/* One id.  What its driver is to be told is a set of bits, so however slowly control
 * buffers come, nothing is lost and nothing grows. */
typedef struct {
    VdsSerialPort *port; /* (nullable) */
    uint8_t pending;     /* of VdsSerialTell */
} VdsSerialSlot;

/* In the order in which they are told. */
typedef enum {
    VDS_SERIAL_TELL_REMOVE = 1 << 0,
    VDS_SERIAL_TELL_ADD = 1 << 1,
    VDS_SERIAL_TELL_CONSOLE = 1 << 2,
    VDS_SERIAL_TELL_NAME = 1 << 3,
    VDS_SERIAL_TELL_OPEN = 1 << 4, /* or closed, as it is by then */
} VdsSerialTell;

struct VdsSerial {
    VdsVirtioDevice *device;
    uint32_t max_ports;
    bool announced;       /* the driver is ready for ports */
    VdsSerialSlot *slots; /* n_slots: none, or max_ports once there was a port */
    uint32_t n_slots;
};

struct VdsSerialPort {
    /* Constant. */
    VdsSerial *serial;
    uint32_t nr;
    bool console;
    char *id, *name;     /* (nullable) */
    VdsSerialWire *wire; /* (nullable) */
    void (*changed)(void *user, const char *id, bool open);
    void *changed_user;

    bool ready;             /* the driver has it */
    atomic_bool guest_open; /* a program of the guest's has it; any thread reads */
    atomic_bool host_open;  /* the wire is open; any thread reads */
    bool starved;           /* there was no buffer to receive into */
    VdsTeller teller;       /* of guest_open */
    VdsIo *sending;         /* (nullable) popped; the wire has taken a part */
    VdsBuf rest;            /* of what was being sent when its queue was stopped */
};

/* serial-live.c */
VdsSerialPort *vds_serial_find_port(const VdsSerial *serial,
                                    uint32_t nr); /* (nullable) */
bool vds_serial_is_multiport(const VdsSerial *serial);

/* serial-control.c */
void vds_serial_tell(VdsSerial *serial, uint32_t nr, unsigned what);
void vds_serial_control_handle(VdsSerial *serial, VdsVirtQueue *queue);

/* serial-port.c: ports' traffic */
bool vds_serial_port_is_open(const VdsSerialPort *port); /* to the outside */
void vds_serial_port_update(VdsSerialPort *port);        /* what it waits for */
void vds_serial_port_set_guest_open(VdsSerialPort *port, bool open);
void vds_serial_port_handle_in(VdsSerialPort *port); /* a kick: there are buffers */
void vds_serial_port_handle_out(VdsSerialPort *port /* (nullable) */,
                                VdsVirtQueue *queue);
void vds_serial_port_start(VdsSerialPort *port);
void vds_serial_port_stop(VdsSerialPort *port);
/* The driver forgot it, and what was being sent (whose queue was reset). */
void vds_serial_port_reset(VdsSerialPort *port);
/* Its transmit queue stops: nothing is sent twice, and nothing lost. */
void vds_serial_port_let_go(VdsSerialPort *port, VdsVirtQueue *queue);
void vds_serial_port_emergency(VdsSerialPort *port, uint8_t byte);
