/*
 * devices: packets of virtio-vsock (virtio 1.2, 5.10.6), and the hub that takes them from
 * one device of this process to another by CID.  Refuses to know connections: credit is
 * between the drivers.
 *
 * The hub's lock guards the list of ports and what waits at each; it is held for a push
 * or a shift.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "vsock-priv.h"

enum { BUSY_PACKETS = 1024, BUSY_BYTES = 1 << 20 };

struct VdsVsockHub {
    pthread_mutex_t lock;
    VdsVsockPort *ports;
};

struct VdsVsockPort {
    VdsVsockHub *hub;
    uint64_t cid;
    VdsVsockPort *next; /* all of these: under the hub's lock */
    int bell;           /* eventfd; -1: no driver */
    VdsVsockPacket *first, **end;
    unsigned n;
    size_t bytes;
};

/* ---- packets
 * ---------------------------------------------------------------------------
 */

static uint64_t get(const uint8_t *bytes, unsigned offset, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++) {
        value |= (uint64_t)bytes[offset + i] << (8 * i);
    }
    return value;
}

static void put(uint8_t *bytes, unsigned offset, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        bytes[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

void vds_vsock_header_read(VdsVsockHeader *header,
                           const uint8_t bytes[VDS_VSOCK_HEADER_BYTES])
{
    *header = (VdsVsockHeader){
        .src_cid = get(bytes, 0, 8),
        .dst_cid = get(bytes, 8, 8),
        .src_port = (uint32_t)get(bytes, 16, 4),
        .dst_port = (uint32_t)get(bytes, 20, 4),
        .len = (uint32_t)get(bytes, 24, 4),
        .type = (uint16_t)get(bytes, 28, 2),
        .op = (uint16_t)get(bytes, 30, 2),
        .flags = (uint32_t)get(bytes, 32, 4),
        .buf_alloc = (uint32_t)get(bytes, 36, 4),
        .fwd_cnt = (uint32_t)get(bytes, 40, 4),
    };
}

void vds_vsock_header_write(const VdsVsockHeader *header,
                            uint8_t bytes[VDS_VSOCK_HEADER_BYTES])
{
    put(bytes, 0, header->src_cid, 8);
    put(bytes, 8, header->dst_cid, 8);
    put(bytes, 16, header->src_port, 4);
    put(bytes, 20, header->dst_port, 4);
    put(bytes, 24, header->len, 4);
    put(bytes, 28, header->type, 2);
    put(bytes, 30, header->op, 2);
    put(bytes, 32, header->flags, 4);
    put(bytes, 36, header->buf_alloc, 4);
    put(bytes, 40, header->fwd_cnt, 4);
}

VdsVsockHeader vds_vsock_header_answer(const VdsVsockHeader *header, uint16_t op)
{
    return (VdsVsockHeader){
        .src_cid = header->dst_cid,
        .dst_cid = header->src_cid,
        .src_port = header->dst_port,
        .dst_port = header->src_port,
        .type = header->type,
        .op = op,
    };
}

VdsVsockPacket *vds_vsock_packet_new(const VdsVsockHeader *header, const uint8_t *bytes)
{
    VdsVsockPacket *packet = g_malloc(sizeof(VdsVsockPacket) + header->len);

    *packet = (VdsVsockPacket){.header = *header};
    if (bytes && header->len > 0) {
        memcpy(packet->bytes, bytes, header->len);
    }
    return packet;
}

/* ---- the hub
 * ---------------------------------------------------------------------------
 */

static void *hub_create(const char *name)
{
    VdsVsockHub *hub = g_new0(VdsVsockHub, 1);

    pthread_mutex_init(&hub->lock, NULL);
    return hub;
}

static void hub_destroy(void *data)
{
    VdsVsockHub *hub = data;

    pthread_mutex_destroy(&hub->lock);
    g_free(hub);
}

VdsVsockHub *vds_vsock_hub_get(const VdsDeviceHost *host)
{
    return host->share(host, "vsock", hub_create, hub_destroy);
}

/* With the lock held.  (nullable) */
static VdsVsockPort *find(const VdsVsockHub *hub, uint64_t cid)
{
    VdsVsockPort *port = hub->ports;

    while (port && port->cid != cid) {
        port = port->next;
    }
    return port;
}

static bool is_full(const VdsVsockPort *port, const VdsVsockPacket *packet)
{
    return port->n >= VDS_VSOCK_MAX_PACKETS ||
           packet->header.len > VDS_VSOCK_MAX_BYTES - port->bytes;
}

bool vds_vsock_hub_send(VdsVsockHub *hub, VdsVsockPacket *packet)
{
    VDS_LOCK_SCOPE(&hub->lock);
    VdsVsockPort *port = find(hub, packet->header.dst_cid);

    if (!port || port->bell < 0 || is_full(port, packet)) {
        g_free(packet);
        return false;
    }
    packet->next = NULL;
    *port->end = packet;
    port->end = &packet->next;
    port->bytes += packet->header.len;
    if (port->n++ == 0) {
        (void)eventfd_write(port->bell, 1);
    }
    return true;
}

/* ---- ports
 * -----------------------------------------------------------------------------
 */

VdsVsockPort *vds_vsock_port_new(VdsVsockHub *hub, uint64_t cid)
{
    VDS_LOCK_SCOPE(&hub->lock);
    VdsVsockPort *port;

    if (find(hub, cid)) {
        return NULL;
    }
    port = g_new0(VdsVsockPort, 1);
    port->hub = hub;
    port->cid = cid;
    port->bell = -1;
    port->end = &port->first;
    port->next = hub->ports;
    hub->ports = port;
    return port;
}

bool vds_vsock_port_open(VdsVsockPort *port, GError **error)
{
    VDS_LOCK_SCOPE(&port->hub->lock);

    if (port->bell < 0) {
        port->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    if (port->bell < 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_SYSTEM, "eventfd: %s",
                    g_strerror(errno));
    }
    return port->bell >= 0;
}

/* With the lock held.  (nullable) */
static VdsVsockPacket *shift(VdsVsockPort *port)
{
    VdsVsockPacket *packet = port->first;

    if (packet) {
        port->first = packet->next;
        if (!port->first) {
            port->end = &port->first;
        }
        port->n--;
        port->bytes -= packet->header.len;
    }
    return packet;
}

VdsVsockPacket *vds_vsock_port_shift(VdsVsockPort *port)
{
    VDS_LOCK_SCOPE(&port->hub->lock);

    return shift(port);
}

bool vds_vsock_port_is_busy(VdsVsockPort *port)
{
    VDS_LOCK_SCOPE(&port->hub->lock);

    return port->n >= BUSY_PACKETS || port->bytes >= BUSY_BYTES;
}

void vds_vsock_port_close(VdsVsockPort *port)
{
    VdsVsockPacket *packet;
    VDS_LOCK_SCOPE(&port->hub->lock);

    while ((packet = shift(port))) {
        g_free(packet);
    }
    vds_fd_close(&port->bell);
}

int vds_vsock_port_get_fd(const VdsVsockPort *port)
{
    return port->bell; /* changed by its own device alone */
}

uint64_t vds_vsock_port_get_cid(const VdsVsockPort *port)
{
    return port->cid;
}

void vds_vsock_port_free(VdsVsockPort *port)
{
    if (!port) {
        return;
    }
    vds_vsock_port_close(port);
    pthread_mutex_lock(&port->hub->lock);
    for (VdsVsockPort **at = &port->hub->ports; *at; at = &(*at)->next) {
        if (*at == port) {
            *at = port->next;
            break;
        }
    }
    pthread_mutex_unlock(&port->hub->lock);
    g_free(port);
}
