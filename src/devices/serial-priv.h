/*
 * devices: virtio-serial's request path, for its rows and its tests.
 *
 * A VdsSerial is the device, a VdsSerialPort a port with the wire that it ends in.  The
 * rows add and remove ports on the main loop; everything else is the I/O thread's.
 */
#pragma once

#include "kind-priv.h"
#include "serial-wire-priv.h"

enum { VDS_SERIAL_F_MULTIPORT = 1, VDS_SERIAL_F_EMERG_WRITE = 2 };

/* Offsets in the configuration space (virtio 1.2, 5.3.4). */
enum {
    VDS_SERIAL_COLS = 0,
    VDS_SERIAL_ROWS = 2,
    VDS_SERIAL_MAX_PORTS = 4,
    VDS_SERIAL_EMERG_WRITE = 8,
    VDS_SERIAL_CONFIG_MAX = 12,
};

/* Control messages (5.3.6.2). */
enum {
    VDS_SERIAL_DEVICE_READY = 0,
    VDS_SERIAL_PORT_ADD = 1,
    VDS_SERIAL_PORT_REMOVE = 2,
    VDS_SERIAL_PORT_READY = 3,
    VDS_SERIAL_CONSOLE_PORT = 4,
    VDS_SERIAL_RESIZE = 5, /* never sent: F_SIZE is not offered */
    VDS_SERIAL_PORT_OPEN = 6,
    VDS_SERIAL_PORT_NAME = 7,
};

/* struct virtio_console_control: little-endian */
typedef struct {
    uint32_t id;
    uint16_t event;
    uint16_t value;
} VdsSerialControl;
G_STATIC_ASSERT(sizeof(VdsSerialControl) == 8);

/* Queues (5.3.2): port 0, control, the other ports; the device's input first. */
enum { VDS_SERIAL_CONTROL_IN = 2, VDS_SERIAL_CONTROL_OUT = 3 };
static inline unsigned vds_serial_queue_in(uint32_t nr)
{
    return nr == 0 ? 0 : 2 * nr + 2;
}

typedef struct VdsSerial VdsSerial;
typedef struct VdsSerialPort VdsSerialPort;

VdsSerial *vds_serial_new(uint32_t max_ports);
VdsVirtioDevice **vds_serial_device(VdsSerial *serial);
extern const VdsDeviceOps vds_serial_ops; /* its instance: a VdsSerial */

typedef struct {
    uint32_t nr;      /* not there yet, below max_ports */
    const char *id;   /* (nullable) of its device: nobody is told of what has none */
    const char *name; /* (nullable) */
    bool console;
    VdsSerialWire *wire; /* (nullable) (transfer full) on success */
    /* (nullable) a program of the guest's opened or closed it; on the I/O thread */
    void (*changed)(void *user, const char *id, bool open);
    void *user;
} VdsSerialPortConfig;

/* On the main loop.  SYSTEM. */
VdsSerialPort *vds_serial_port_new(VdsSerial *serial, const VdsSerialPortConfig *config,
                                   GError **error);
/* Before its device goes. */
void vds_serial_port_free(VdsSerialPort *port);
uint32_t vds_serial_port_get_nr(const VdsSerialPort *port);
const char *vds_serial_port_get_name(const VdsSerialPort *port); /* (nullable) */
/* Any thread: whether a program of the guest's has it (of a console: always), and whether
 * somebody is at the wire's other end. */
bool vds_serial_port_is_guest_open(const VdsSerialPort *port);
bool vds_serial_port_is_host_open(const VdsSerialPort *port);
const VdsSerialWire *vds_serial_port_get_wire(const VdsSerialPort *port); /* (nullable) */
