/*
 * devices: a virtio-serial port's traffic: from the driver's buffers to the wire and back
 * (virtio 1.2, 5.3.6).  Nothing is kept in between: a request waits with its queue until
 * the wire takes it, and a byte waits with the system until there is a buffer for it.
 */
#include <string.h>

#include "serial-live-priv.h"

enum {
    CHUNK = 4096,
    MAX_TURN = 1024 * 1024, /* bytes; then it is the other devices' turn */
    MIN_COST = 1024,        /* of a write in it: a system call */
    MAX_DISCARDS = 1024,
    MAX_READS = 16,
};

/* As QEMU: a console is always there, and what nobody reads is lost; for other ports it
 * counts whether somebody is. */
bool vds_serial_port_is_open(const VdsSerialPort *port)
{
    return port->wire && (port->console || vds_serial_wire_is_open(port->wire));
}

static VdsVirtQueue *queue_in(const VdsSerialPort *port)
{
    return vds_virtio_device_get_virt_queue(port->serial->device,
                                            vds_serial_queue_in(port->nr));
}

static VdsVirtQueue *queue_out(const VdsSerialPort *port)
{
    return vds_virtio_device_get_virt_queue(port->serial->device,
                                            vds_serial_queue_in(port->nr) + 1);
}

/* ---- to the outside -----------------------------------------------------------------
 */

/* false: the wire takes no more now, or it is the others' turn. */
static bool send_some(VdsSerialPort *port, VdsIo *io, size_t *turn)
{
    uint8_t bytes[CHUNK];
    size_t n, taken;

    while (*turn > 0 && (n = vds_stream_read(&io->out, bytes, sizeof(bytes))) > 0) {
        uint64_t position = vds_stream_done(&io->out);

        taken = vds_serial_wire_write(port->wire, bytes, n);
        if (taken < n) {
            vds_stream_seek(&io->out, position - (n - taken));
            return false;
        }
        *turn -= MIN(*turn, MAX(n, MIN_COST));
    }
    return vds_stream_left(&io->out) == 0;
}

/* false: the wire takes no more now. */
static bool send_rest(VdsSerialPort *port)
{
    size_t len = vds_buf_len(&port->rest), taken = 0;

    if (len > 0) {
        taken = vds_serial_wire_write(port->wire, vds_buf_bytes(&port->rest), len);
        vds_buf_consume(&port->rest, taken);
    }
    return taken == len;
}

static bool is_sending(const VdsSerialPort *port)
{
    return port->sending || vds_buf_len(&port->rest) > 0;
}

static void discard(VdsSerialPort *port, VdsVirtQueue *queue)
{
    unsigned n = 0;
    VdsIo *io;

    if (port) {
        vds_buf_clear(&port->rest);
    }
    if (port && port->sending) {
        vds_virt_queue_complete(queue, g_steal_pointer(&port->sending), 0);
    }
    while (n < MAX_DISCARDS && (io = vds_virt_queue_pop_one(queue)) != NULL) {
        vds_virt_queue_complete(queue, io, 0);
        n++;
    }
    if (n == MAX_DISCARDS) {
        vds_virt_queue_ask_turn(queue);
    }
}

/* Somebody takes what is sent: else it is lost, also what a console says. */
static bool has_taker(const VdsSerialPort *port)
{
    return port && port->wire && vds_serial_wire_is_open(port->wire);
}

void vds_serial_port_handle_out(VdsSerialPort *port, VdsVirtQueue *queue)
{
    size_t turn = MAX_TURN;

    while (has_taker(port) && send_rest(port)) {
        VdsIo *io = port->sending ? g_steal_pointer(&port->sending)
                                  : vds_virt_queue_pop_one(queue);

        if (!io) {
            break;
        }
        if (!send_some(port, io, &turn)) {
            port->sending = io;
            break;
        }
        vds_virt_queue_complete(queue, io, 0);
    }
    if (!has_taker(port)) {
        discard(port, queue);
    }
    vds_virt_queue_notify(queue); /* with or without reason, as QEMU's */
    if (port && port->wire) {
        vds_serial_wire_want_out(port->wire, is_sending(port));
    }
}

static void on_writable(void *user)
{
    VdsSerialPort *port = user;
    VdsVirtQueue *queue = queue_out(port);

    if (queue) {
        vds_serial_port_handle_out(port, queue);
    }
}

/* ---- from the outside ---------------------------------------------------------------
 */

static bool wants_input(const VdsSerialPort *port)
{
    return (port->guest_open || !vds_serial_is_multiport(port->serial)) &&
           vds_virtio_device_is_active(port->serial->device);
}

/* false: nothing more now. */
static bool receive_one(VdsSerialPort *port, VdsVirtQueue *queue)
{
    uint8_t bytes[CHUNK];
    VdsIo *io = vds_virt_queue_pop_one(queue);
    size_t room, n = 0;

    if (!io) {
        port->starved = true; /* until the kick that will come */
        vds_serial_wire_want_in(port->wire, false);
        return false;
    }
    room = (size_t)MIN(vds_stream_left(&io->in), sizeof(bytes));
    if (room > 0) {
        n = vds_serial_wire_read(port->wire, bytes, room);
        if (n == 0) {
            vds_virt_queue_unpop(queue, io);
            return false;
        }
    }
    vds_stream_write(&io->in, bytes, n);
    vds_virt_queue_complete(queue, io, n);
    return true;
}

static void on_readable(void *user)
{
    VdsSerialPort *port = user;
    VdsVirtQueue *queue = queue_in(port);

    for (unsigned i = 0; queue && i < MAX_READS; i++) {
        if (!receive_one(port, queue)) {
            break;
        }
    }
    if (queue) {
        vds_virt_queue_flush(queue);
    }
}

void vds_serial_port_update(VdsSerialPort *port)
{
    if (port->wire) {
        vds_serial_wire_want_in(port->wire,
                                queue_in(port) && wants_input(port) && !port->starved);
    }
}

void vds_serial_port_handle_in(VdsSerialPort *port)
{
    port->starved = false;
    vds_serial_port_update(port);
}

/* ---- somebody comes or goes ----------------------------------------------------------
 */

static void note_wire(VdsSerialPort *port)
{
    port->host_open = port->wire && vds_serial_wire_is_open(port->wire);
}

static void on_changed(void *user)
{
    VdsSerialPort *port = user;

    note_wire(port);
    if (port->ready && !port->console) {
        vds_serial_tell(port->serial, port->nr, VDS_SERIAL_TELL_OPEN);
    }
    vds_serial_port_update(port);
    if (is_sending(port)) {
        on_writable(port);
    }
}

static const VdsSerialWireOps wire_ops = {on_changed, on_readable, on_writable};

void vds_serial_port_start(VdsSerialPort *port)
{
    VdsSerial *serial = port->serial;

    if (port->wire) {
        vds_serial_wire_start(port->wire, vds_virtio_device_get_io_thread(serial->device),
                              &wire_ops, port);
        note_wire(port);
    }
    if (is_sending(port)) {
        on_writable(port);
    }
    vds_serial_port_handle_in(port);
}

void vds_serial_port_stop(VdsSerialPort *port)
{
    if (port->wire) {
        vds_serial_wire_stop(port->wire);
    }
}

void vds_serial_port_reset(VdsSerialPort *port)
{
    port->ready = false;
    vds_serial_port_set_guest_open(port, false);
    if (port->sending) {
        vds_virt_queue_drop(queue_out(port), g_steal_pointer(&port->sending));
    }
}

void vds_serial_port_let_go(VdsSerialPort *port, VdsVirtQueue *queue)
{
    VdsIo *io = g_steal_pointer(&port->sending);
    size_t left;

    if (!io) {
        return;
    }
    if (vds_stream_done(&io->out) == 0) {
        vds_virt_queue_unpop(queue, io);
        return;
    }
    /* A part is out already.  What the driver has more than that in one buffer is lost.
     */
    left = (size_t)MIN(vds_stream_left(&io->out), MAX_TURN);
    vds_buf_commit(&port->rest,
                   vds_stream_read(&io->out, vds_buf_reserve(&port->rest, left), left));
    vds_virt_queue_complete(queue, io, 0);
}

void vds_serial_port_emergency(VdsSerialPort *port, uint8_t byte)
{
    if (port->wire) {
        vds_serial_wire_write(port->wire, &byte, 1); /* or it is lost: 5.3.6.1 */
    }
}

/* ---- ports come and go ---------------------------------------------------------------
 */

/* On the I/O thread, where the driver may be at work. */
static void attach(void *user)
{
    VdsSerialPort *port = user;
    VdsSerial *serial = port->serial;

    if (!serial->slots) { /* most devices never have a port */
        serial->slots = g_new0(VdsSerialSlot, serial->max_ports);
        serial->n_slots = serial->max_ports;
    }
    serial->slots[port->nr].port = port;
    note_wire(port);
    if (vds_virtio_device_is_active(serial->device)) {
        vds_serial_port_start(port);
    }
    vds_serial_tell(serial, port->nr, VDS_SERIAL_TELL_ADD);
}

static void detach(void *user)
{
    VdsSerialPort *port = user;
    VdsSerial *serial = port->serial;
    VdsSerialSlot *slot = &serial->slots[port->nr];
    bool unknown = (slot->pending & VDS_SERIAL_TELL_ADD) != 0;

    vds_serial_port_stop(port);
    vds_teller_reset(&port->teller, 0);
    if (port->sending) {
        discard(port, queue_out(port));
        vds_virt_queue_flush(queue_out(port));
    }
    slot->port = NULL;
    slot->pending &= VDS_SERIAL_TELL_REMOVE;
    if (!unknown) {
        vds_serial_tell(serial, port->nr, VDS_SERIAL_TELL_REMOVE);
    }
}

static void tell_opened(void *user, uint32_t open)
{
    const VdsSerialPort *port = user;

    port->changed(port->changed_user, port->id, open != 0);
}

void vds_serial_port_set_guest_open(VdsSerialPort *port, bool open)
{
    port->guest_open = open;
    vds_teller_set(&port->teller, vds_virtio_device_get_io_thread(port->serial->device),
                   open);
}

VdsSerialPort *vds_serial_port_new(VdsSerial *serial, const VdsSerialPortConfig *config,
                                   GError **error)
{
    VdsIoThread *thread = vds_virtio_device_get_io_thread(serial->device);
    VdsSerialPort *port;

    if (!vds_io_thread_start(thread, error)) {
        return NULL;
    }
    port = g_new0(VdsSerialPort, 1);
    port->serial = serial;
    port->nr = config->nr;
    port->id = g_strdup(config->id);
    port->name = g_strdup(config->name);
    port->console = config->console;
    port->wire = config->wire;
    port->changed = config->changed;
    port->changed_user = config->user;
    if (port->id && port->changed) {
        port->teller = (VdsTeller){.tell = tell_opened, .user = port};
    }
    vds_io_thread_call(thread, attach, port);
    return port;
}

void vds_serial_port_free(VdsSerialPort *port)
{
    vds_io_thread_call(vds_virtio_device_get_io_thread(port->serial->device), detach,
                       port);
    vds_serial_wire_free(port->wire);
    vds_buf_clear(&port->rest);
    g_free(port->id);
    g_free(port->name);
    g_free(port);
}

uint32_t vds_serial_port_get_nr(const VdsSerialPort *port)
{
    return port->nr;
}

const char *vds_serial_port_get_name(const VdsSerialPort *port)
{
    return port->name;
}

const VdsSerialWire *vds_serial_port_get_wire(const VdsSerialPort *port)
{
    return port->wire;
}

bool vds_serial_port_is_guest_open(const VdsSerialPort *port)
{
    return port->console || port->guest_open;
}

bool vds_serial_port_is_host_open(const VdsSerialPort *port)
{
    return port->host_open;
}
