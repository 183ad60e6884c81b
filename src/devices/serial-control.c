/*
 * devices: virtio-serial's control queues: which ports there are, what they are and
 * whether anybody is there (virtio 1.2, 5.3.6.2).
 *
 * A message that makes no sense is passed over, as in QEMU: a port may have gone while
 * the driver spoke of it.
 */
#include <string.h>

#include "serial-live-priv.h"

/* ---- to the driver ------------------------------------------------------------------
 */

typedef struct {
    unsigned bit; /* VdsSerialTell */
    uint16_t event;
} TellRow;

static const TellRow tells[] = {
    {VDS_SERIAL_TELL_REMOVE, VDS_SERIAL_PORT_REMOVE},
    {VDS_SERIAL_TELL_ADD, VDS_SERIAL_PORT_ADD},
    {VDS_SERIAL_TELL_CONSOLE, VDS_SERIAL_CONSOLE_PORT},
    {VDS_SERIAL_TELL_NAME, VDS_SERIAL_PORT_NAME},
    {VDS_SERIAL_TELL_OPEN, VDS_SERIAL_PORT_OPEN},
};

/* false: there is no buffer for it now. */
static bool send_one(VdsSerial *serial, VdsVirtQueue *queue, uint32_t nr,
                     const TellRow *row)
{
    const VdsSerialPort *port = serial->slots[nr].port;
    bool closed = row->bit == VDS_SERIAL_TELL_OPEN && !vds_serial_port_is_open(port);
    VdsSerialControl message = {GUINT32_TO_LE(nr), GUINT16_TO_LE(row->event),
                                GUINT16_TO_LE(closed ? 0 : 1)};
    VdsIo *io = vds_virt_queue_pop_one(queue);

    if (!io) {
        return false;
    }
    if (vds_stream_left(&io->in) < sizeof(message)) {
        vds_virt_queue_break(queue,
                             "5.3.6.2: a control buffer of %" PRIu64
                             " bytes, expected at least %zu",
                             vds_stream_left(&io->in), sizeof(message));
    }
    vds_stream_write(&io->in, &message, sizeof(message));
    if (row->bit == VDS_SERIAL_TELL_NAME) {
        vds_stream_write(&io->in, port->name, strlen(port->name)); /* without a NUL */
    }
    vds_virt_queue_complete(queue, io, vds_stream_done(&io->in));
    return true;
}

static bool slot_flush(VdsSerial *serial, VdsVirtQueue *queue, uint32_t nr)
{
    VdsSerialSlot *slot = &serial->slots[nr];

    for (size_t i = 0; slot->pending && i < G_N_ELEMENTS(tells); i++) {
        if (slot->pending & tells[i].bit) {
            if (!send_one(serial, queue, nr, &tells[i])) {
                return false;
            }
            slot->pending = (uint8_t)(slot->pending & ~tells[i].bit);
        }
    }
    return true;
}

static void control_flush(VdsSerial *serial)
{
    VdsVirtQueue *queue =
        vds_virtio_device_get_virt_queue(serial->device, VDS_SERIAL_CONTROL_IN);

    for (uint32_t nr = 0; queue && nr < serial->n_slots; nr++) {
        if (!slot_flush(serial, queue, nr)) {
            break;
        }
    }
    if (queue) {
        vds_virt_queue_flush(queue);
    }
}

void vds_serial_tell(VdsSerial *serial, uint32_t nr, unsigned what)
{
    if (serial->announced) {
        serial->slots[nr].pending = (uint8_t)(serial->slots[nr].pending | what);
        control_flush(serial);
    }
}

/* ---- from the driver ----------------------------------------------------------------
 */

static void on_device_ready(VdsSerial *serial, uint16_t value)
{
    if (value == 0 || serial->announced) {
        return; /* it failed to set us up; or each port is told of once (5.3.6.2.1) */
    }
    serial->announced = true;
    for (uint32_t nr = 0; nr < serial->n_slots; nr++) {
        VdsSerialSlot *slot = &serial->slots[nr];

        slot->pending = slot->port ? VDS_SERIAL_TELL_ADD : 0;
    }
    control_flush(serial);
}

static void on_port_ready(VdsSerialPort *port, uint16_t value)
{
    unsigned what = 0;

    if (value == 0) {
        return; /* it failed to set the port up */
    }
    port->ready = true;
    what |= port->console ? VDS_SERIAL_TELL_CONSOLE : 0;
    what |= port->name ? VDS_SERIAL_TELL_NAME : 0;
    what |= vds_serial_port_is_open(port) ? VDS_SERIAL_TELL_OPEN : 0;
    vds_serial_tell(port->serial, port->nr, what);
}

static void on_port_open(VdsSerialPort *port, uint16_t value)
{
    vds_serial_port_set_guest_open(port, value != 0);
    vds_serial_port_update(port);
}

static const struct {
    uint16_t event;
    void (*func)(VdsSerialPort *port, uint16_t value);
} port_events[] = {
    {VDS_SERIAL_PORT_READY, on_port_ready},
    {VDS_SERIAL_PORT_OPEN, on_port_open},
};

static void receive(VdsSerial *serial, const VdsSerialControl *message)
{
    uint32_t id = GUINT32_FROM_LE(message->id);
    uint16_t event = GUINT16_FROM_LE(message->event),
             value = GUINT16_FROM_LE(message->value);
    VdsSerialPort *port;

    if (event == VDS_SERIAL_DEVICE_READY) {
        on_device_ready(serial, value);
        return;
    }
    port = vds_serial_find_port(serial, id);
    for (size_t i = 0; port && i < G_N_ELEMENTS(port_events); i++) {
        if (port_events[i].event == event) {
            port_events[i].func(port, value);
        }
    }
}

void vds_serial_control_handle(VdsSerial *serial, VdsVirtQueue *queue)
{
    VdsIo *io;

    if (vds_virt_queue_get_index(queue) == VDS_SERIAL_CONTROL_IN) {
        control_flush(serial);
        return;
    }
    while ((io = vds_virt_queue_pop_one(queue)) != NULL) {
        VdsSerialControl message;
        size_t n = vds_stream_read(&io->out, &message, sizeof(message));

        if (n == sizeof(message) && vds_serial_is_multiport(serial)) {
            receive(serial, &message);
        }
        vds_virt_queue_complete(queue, io, 0);
    }
}
