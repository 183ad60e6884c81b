/*
 * guest: the driver of virtio-serial: the control conversation about ports, their receive
 * buffers, and lines for those that are consoles.  virtio 1.2, 5.3.
 */
#include <stdio.h>
#include <string.h>

#include "guest-priv.h"

enum { F_SIZE = 0, F_MULTIPORT = 1 };
enum { CONFIG_MAX_PORTS = 4, MAX_PORTS = 511 };

enum {
    DEVICE_READY = 0,
    PORT_ADD = 1,
    PORT_REMOVE = 2,
    PORT_READY = 3,
    CONSOLE_PORT = 4,
    RESIZE = 5,
    PORT_OPEN = 6,
    PORT_NAME = 7,
};

enum { MESSAGE_BYTES = 8, BUFFER_BYTES = 4096, LINE_BYTES = 64 };
enum { CONTROL_IN = 2, CONTROL_OUT = 3 };
/* More that waits to be said than this, and the device talks nonsense. */
enum { OUTBOX_MAX = 4 * MAX_PORTS };

typedef struct {
    uint32_t id;
    uint16_t event, value;
} Message;

typedef struct {
    bool added, console, host_open, guest_open;
    uint64_t lines;
} SerialPort;

typedef struct {
    uint32_t n_ports, next_port;
    SerialPort *ports;
    GArray *outbox; /* Message: no buffer was free for these */
} SerialState;

static VdsGuestQueue *port_queue(const VdsGuestDevice *device, uint32_t port, bool out)
{
    unsigned first = port == 0 ? 0 : 2 * port + 2;

    return device->queues[first + (out ? 1 : 0)];
}

/* ---- what the guest says -------------------------------------------------------------
 */

static bool send_now(VdsGuestDevice *device, const Message *message)
{
    VdsGuestQueue *queue = device->queues[CONTROL_OUT];
    VdsGuestSlot *slot = vds_guest_queue_take(queue);
    const Message wire = {GUINT32_TO_LE(message->id), GUINT16_TO_LE(message->event),
                          GUINT16_TO_LE(message->value)};
    VdsSpan span;

    if (!slot) {
        return false;
    }
    span = (VdsSpan){slot->gpa, MESSAGE_BYTES};
    if (vds_guest_device_write(device, slot->gpa, &wire, sizeof(wire))) {
        vds_guest_queue_post(queue, slot, &span, 1, 0);
    }
    return true;
}

static void say(VdsGuestDevice *device, uint32_t port, uint16_t event, uint16_t value)
{
    SerialState *state = device->state;
    const Message message = {port, event, value};

    if (!vds_guest_device_has(device, F_MULTIPORT)) {
        return;
    }
    if (state->outbox->len >= OUTBOX_MAX) {
        vds_guest_device_error(device, "more control messages than can be answered");
    } else if (state->outbox->len > 0 || !send_now(device, &message)) {
        g_array_append_val(state->outbox, message);
    }
}

static void check_sent(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    if (written != 0) {
        vds_guest_device_error(queue->device, "queue %u: %u bytes written to a message",
                               queue->index, written);
    } else {
        vds_guest_device_count(queue->device);
    }
    vds_guest_queue_give(queue, slot);
}

static void control_out_drained(VdsGuestQueue *queue)
{
    SerialState *state = queue->device->state;
    unsigned n = 0;

    while (n < state->outbox->len &&
           send_now(queue->device, &g_array_index(state->outbox, Message, n))) {
        n++;
    }
    if (n > 0) {
        g_array_remove_range(state->outbox, 0, n);
    }
}

/* ---- ports ------------------------------------------------------------------------ */

static bool add_port(VdsGuestDevice *device, uint32_t id, GError **error)
{
    SerialState *state = device->state;
    SerialPort *port = &state->ports[id];
    VdsGuestQueue *in = port_queue(device, id, false);

    if (port->added) {
        return true;
    }
    if (!vds_guest_queue_allocate(in, 0, error) ||
        !vds_guest_queue_allocate(port_queue(device, id, true), 0, error)) {
        return false;
    }
    port->added = true;
    vds_guest_queue_fill(in);
    say(device, id, PORT_READY, 1);
    return true;
}

/* What a process of the guest would do: under load somebody holds the port open. */
static void open_port(VdsGuestDevice *device, uint32_t id)
{
    SerialPort *port = &((SerialState *)device->state)->ports[id];

    if (!port->guest_open) {
        port->guest_open = true;
        say(device, id, PORT_OPEN, 1);
    }
}

/* ---- what the device says ------------------------------------------------------------
 */

static void on_port_add(VdsGuestDevice *device, const Message *message)
{
    GError *error = NULL;

    if (!add_port(device, message->id, &error)) {
        vds_guest_device_error(device, "port %u: %s", message->id, error->message);
        g_error_free(error);
        say(device, message->id, PORT_READY, 0);
    }
}

/* Its buffers stay with the device until the next reset: they are the queue's, and the
 * port may come back. */
static void on_port_remove(VdsGuestDevice *device, const Message *message)
{
    SerialPort *port = &((SerialState *)device->state)->ports[message->id];

    port->console = port->host_open = port->guest_open = false;
}

static void on_console_port(VdsGuestDevice *device, const Message *message)
{
    SerialPort *port = &((SerialState *)device->state)->ports[message->id];

    port->console = message->value != 0;
    if (port->console) {
        open_port(device, message->id);
    }
}

static void on_port_open(VdsGuestDevice *device, const Message *message)
{
    SerialPort *port = &((SerialState *)device->state)->ports[message->id];

    port->host_open = message->value != 0;
    if (port->host_open && device->config.workload == VDS_WORKLOAD_LIGHT) {
        open_port(device, message->id);
    }
}

/* Names and sizes are for users of the port. */
static void ignore(VdsGuestDevice *device, const Message *message)
{
    (void)device;
    (void)message;
}

static const struct {
    void (*func)(VdsGuestDevice *device, const Message *message);
    bool needs_port; /* one that was added */
} events[] = {
    [PORT_ADD] = {on_port_add, false},        [PORT_REMOVE] = {on_port_remove, true},
    [CONSOLE_PORT] = {on_console_port, true}, [RESIZE] = {ignore, true},
    [PORT_OPEN] = {on_port_open, true},       [PORT_NAME] = {ignore, true},
};

static void take_message(VdsGuestDevice *device, const Message *message)
{
    const SerialState *state = device->state;

    if (message->event >= G_N_ELEMENTS(events) || !events[message->event].func) {
        vds_guest_device_error(device, "control message %u, which no device sends",
                               message->event);
    } else if (message->id >= state->n_ports) {
        vds_guest_device_error(device, "control message %u for port %u of %u",
                               message->event, message->id, state->n_ports);
    } else if (events[message->event].needs_port && !state->ports[message->id].added) {
        vds_guest_device_error(device,
                               "control message %u for port %u, which is not there",
                               message->event, message->id);
    } else {
        vds_guest_device_count(device);
        events[message->event].func(device, message);
    }
}

static void control_in_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    Message wire;

    if (written < MESSAGE_BYTES) {
        vds_guest_device_error(device, "a control message of %u bytes", written);
    } else if (vds_guest_device_read(device, slot->gpa, &wire, sizeof(wire))) {
        const Message message = {GUINT32_FROM_LE(wire.id), GUINT16_FROM_LE(wire.event),
                                 GUINT16_FROM_LE(wire.value)};

        take_message(device, &message);
    }
    vds_guest_queue_post_in(queue, slot);
}

/* Read by nobody, as with a port that no process of the guest has open. */
static void in_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    if (written > 0) {
        vds_guest_device_count(queue->device);
    }
    vds_guest_queue_post_in(queue, slot);
}

/* ---- the workload ------------------------------------------------------------------ */

static void write_line(VdsGuestDevice *device, uint32_t id)
{
    SerialPort *port = &((SerialState *)device->state)->ports[id];
    VdsGuestQueue *queue = port_queue(device, id, true);
    VdsGuestSlot *slot = vds_guest_queue_take(queue);
    char line[LINE_BYTES];
    VdsSpan span;
    int len;

    if (!slot) {
        return; /* the device is slower than the workload */
    }
    len = snprintf(line, sizeof(line), "port %u line %" PRIu64 "\r\n", id, ++port->lines);
    span = (VdsSpan){slot->gpa, (uint32_t)len};
    if (vds_guest_device_write(device, slot->gpa, line, span.len)) {
        vds_guest_queue_post(queue, slot, &span, 1, 0);
    }
}

/* The next port that can be written to: a console always, another when both ends have it
 * open. */
static void tick(VdsGuestDevice *device)
{
    SerialState *state = device->state;

    for (uint32_t i = 0; i < state->n_ports; i++) {
        uint32_t id = (state->next_port + i) % state->n_ports;
        const SerialPort *port = &state->ports[id];

        if (port->added && (port->console || (port->host_open && port->guest_open))) {
            state->next_port = id + 1;
            write_line(device, id);
            return;
        }
    }
}

/* ---- the driver ------------------------------------------------------------------- */

static const VdsGuestQueueRole in_role = {
    .slot_bytes = BUFFER_BYTES, .max_slots = UINT32_MAX, .spans = 1, .used = in_used};
static const VdsGuestQueueRole out_role = {
    .slot_bytes = LINE_BYTES, .max_slots = 32, .spans = 1, .used = check_sent};
static const VdsGuestQueueRole control_in_role = {.slot_bytes = BUFFER_BYTES,
                                                  .max_slots = UINT32_MAX,
                                                  .spans = 1,
                                                  .used = control_in_used};
static const VdsGuestQueueRole control_out_role = {.slot_bytes = MESSAGE_BYTES,
                                                   .max_slots = 32,
                                                   .spans = 1,
                                                   .used = check_sent,
                                                   .drained = control_out_drained};

static bool plan(VdsGuestDevice *device, GError **error)
{
    SerialState *state = device->state;
    bool multiport = vds_guest_device_has(device, F_MULTIPORT);
    uint32_t n = GUINT32_TO_LE(1);

    if (multiport &&
        !vds_guest_device_read_config(device, CONFIG_MAX_PORTS, &n, sizeof(n), error)) {
        return false;
    }
    n = GUINT32_FROM_LE(n);
    if (n == 0 || n > MAX_PORTS) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_CONFIG,
                    "a serial device of %u ports", n);
        return false;
    }
    state->n_ports = n;
    state->ports = g_new0(SerialPort, n);
    state->outbox = g_array_new(FALSE, FALSE, sizeof(Message));
    for (unsigned i = 0; i < 2 * (n + (multiport ? 1 : 0)); i++) {
        const VdsGuestQueueRole *roles[] = {&in_role, &out_role};
        const VdsGuestQueueRole *control[] = {&control_in_role, &control_out_role};
        bool is_control = multiport && (i == CONTROL_IN || i == CONTROL_OUT);

        if (!vds_guest_device_add_queue(device, (is_control ? control : roles)[i % 2],
                                        error)) {
            return false;
        }
    }
    return true;
}

static bool start(VdsGuestDevice *device, GError **error)
{
    SerialState *state = device->state;

    if (!vds_guest_device_has(device, F_MULTIPORT)) {
        state->ports[0].console = true;
        return add_port(device, 0, error);
    }
    if (!vds_guest_queue_allocate(device->queues[CONTROL_IN], 0, error) ||
        !vds_guest_queue_allocate(device->queues[CONTROL_OUT], 0, error)) {
        return false;
    }
    vds_guest_queue_fill(device->queues[CONTROL_IN]);
    vds_guest_queue_kick(device->queues[CONTROL_IN]);
    say(device, UINT32_MAX, DEVICE_READY, 1);
    return true;
}

static void clear(VdsGuestDevice *device)
{
    SerialState *state = device->state;

    g_free(state->ports);
    if (state->outbox) {
        g_array_free(state->outbox, TRUE);
    }
}

const VdsGuestDriver vds_guest_serial = {
    .device_id = 3,
    .features = UINT64_C(1) << F_SIZE | UINT64_C(1) << F_MULTIPORT,
    .state_bytes = sizeof(SerialState),
    .plan = plan,
    .start = start,
    .tick = tick,
    .clear = clear,
};
