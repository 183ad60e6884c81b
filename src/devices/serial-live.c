/*
 * devices: virtio-serial at work: which queue belongs to what, and what start, stop and
 * reset mean to its ports.  virtio 1.2, 5.3.
 */
#include "serial-live-priv.h"

bool vds_serial_is_multiport(const VdsSerial *serial)
{
    return vds_virtio_device_has_feature(serial->device, VDS_SERIAL_F_MULTIPORT);
}

VdsSerialPort *vds_serial_find_port(const VdsSerial *serial, uint32_t nr)
{
    return nr < serial->n_slots ? serial->slots[nr].port : NULL;
}

static void each_port(VdsSerial *serial, void (*func)(VdsSerialPort *port))
{
    for (uint32_t nr = 0; nr < serial->n_slots; nr++) {
        if (serial->slots[nr].port) {
            func(serial->slots[nr].port);
        }
    }
}

static VdsSerialPort *port_of(const VdsSerial *serial, const VdsVirtQueue *queue)
{
    unsigned index = vds_virt_queue_get_index(queue);

    return vds_serial_find_port(serial,
                                index < VDS_SERIAL_CONTROL_IN ? 0 : index / 2 - 1);
}

static bool is_control(const VdsVirtQueue *queue)
{
    unsigned index = vds_virt_queue_get_index(queue);

    return index == VDS_SERIAL_CONTROL_IN || index == VDS_SERIAL_CONTROL_OUT;
}

static void serial_handle(void *instance, VdsVirtQueue *queue)
{
    VdsSerial *serial = instance;
    VdsSerialPort *port;

    if (is_control(queue)) {
        vds_serial_control_handle(serial, queue);
        return;
    }
    port = port_of(serial, queue);
    if (vds_virt_queue_get_index(queue) % 2 == 1) {
        vds_serial_port_handle_out(port, queue);
    } else if (port) {
        vds_serial_port_handle_in(port);
    }
}

/* As QEMU: nobody looks for receive buffers before there is something for them. */
static void calm_receive(VdsSerial *serial)
{
    for (uint32_t nr = 0; nr < serial->max_ports; nr++) {
        VdsVirtQueue *queue =
            vds_virtio_device_get_virt_queue(serial->device, vds_serial_queue_in(nr));

        if (queue) {
            vds_virt_queue_set_eager(queue, false);
        }
    }
}

static void serial_start(void *instance)
{
    calm_receive(instance);
    each_port(instance, vds_serial_port_start);
}

static void serial_stop(void *instance)
{
    each_port(instance, vds_serial_port_stop);
}

static void serial_reset(void *instance)
{
    VdsSerial *serial = instance;

    serial->announced = false;
    for (uint32_t nr = 0; nr < serial->n_slots; nr++) {
        serial->slots[nr].pending = 0;
    }
    each_port(serial, vds_serial_port_reset);
}

static void serial_queue_reset(void *instance, VdsVirtQueue *queue)
{
    VdsSerialPort *port = is_control(queue) ? NULL : port_of(instance, queue);

    if (port && port->sending && vds_virt_queue_get_index(queue) % 2 == 1) {
        vds_virt_queue_drop(queue, g_steal_pointer(&port->sending));
        vds_serial_wire_want_out(port->wire, vds_buf_len(&port->rest) > 0);
    }
}

static void serial_queue_stop(void *instance, VdsVirtQueue *queue)
{
    VdsSerialPort *port = is_control(queue) ? NULL : port_of(instance, queue);

    if (port && vds_virt_queue_get_index(queue) % 2 == 1) {
        vds_serial_port_let_go(port, queue);
    }
}

/* A byte for the first console, at any time, with no queue (5.3.6.1). */
static void serial_config_written(void *instance, unsigned offset, unsigned len)
{
    VdsSerial *serial = instance;
    uint8_t byte;

    if (offset != VDS_SERIAL_EMERG_WRITE) {
        return;
    }
    vds_virtio_device_get_config(serial->device, VDS_SERIAL_EMERG_WRITE, &byte, 1);
    for (uint32_t nr = 0; nr < serial->n_slots; nr++) {
        VdsSerialPort *port = serial->slots[nr].port;

        if (port && port->console) {
            vds_serial_port_emergency(port, byte);
            return;
        }
    }
}

static void serial_free(void *instance)
{
    VdsSerial *serial = instance;

    g_free(serial->slots);
    g_free(serial);
}

static const VdsConfigRange writable[] = {{VDS_SERIAL_EMERG_WRITE, 4}, {0, 0}};

const VdsDeviceOps vds_serial_ops = {
    .start = serial_start,
    .handle = serial_handle,
    .stop = serial_stop,
    .reset = serial_reset,
    .queue_reset = serial_queue_reset,
    .queue_stop = serial_queue_stop,
    .config_written = serial_config_written,
    .free = serial_free,
    .config_writable = writable,
};

VdsSerial *vds_serial_new(uint32_t max_ports)
{
    VdsSerial *serial = g_new0(VdsSerial, 1);

    serial->max_ports = max_ports;
    return serial;
}

VdsVirtioDevice **vds_serial_device(VdsSerial *serial)
{
    return &serial->device;
}
