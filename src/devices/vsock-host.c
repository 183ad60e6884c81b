/*
 * devices: the host's side of virtio-vsock, as Firecracker and cloud-hypervisor have it:
 * a stream of the driver to port P goes to socket PATH_P, and who connects to PATH names
 * a port of the driver's.  Owns the connections, their number and their ports; what one
 * of them does is vsock-connection.c.  On the device's I/O thread, but new and free.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "vsock-host-priv.h"

static const uint64_t tick_ns = 1000000000;

VdsVsockHost *vds_vsock_host_new(const char *path, VdsVsockHub *hub, VdsVsockPort *port,
                                 GError **error)
{
    struct stat identity;
    VdsVsockHost *host;
    int fd = vds_unix_listen(path, &identity, error);

    if (fd < 0) {
        return NULL;
    }
    host = g_new0(VdsVsockHost, 1);
    host->path = g_strdup(path);
    host->identity = identity;
    host->listen_fd = fd;
    host->hub = hub;
    host->port = port;
    host->next_port = VDS_VSOCK_HOST_PORTS;
    host->by_ports = g_hash_table_new(g_int64_hash, g_int64_equal);
    return host;
}

void vds_vsock_host_free(VdsVsockHost *host)
{
    if (!host) {
        return;
    }
    vds_vsock_host_reset(host);
    g_hash_table_unref(host->by_ports);
    vds_unix_unlink(host->path, &host->identity);
    vds_fd_close(&host->listen_fd);
    g_free(host->path);
    g_free(host);
}

static void update_all(VdsVsockHost *host)
{
    for (VdsVsockConnection *at = host->all, *next; at; at = next) {
        next = at->next;
        vds_vsock_connection_update(at);
    }
}

/* ---- who connects
 * -----------------------------------------------------------------------
 */

static void on_accept(uint32_t events, void *user)
{
    VdsVsockHost *host = user;
    int fd = accept4(host->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        vds_vsock_connection_update(vds_vsock_connection_new(host, fd));
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        host->starved = true;
    }
    vds_vsock_host_update(host);
}

uint32_t vds_vsock_host_choose_port(VdsVsockHost *host, uint32_t guest_port)
{
    uint32_t port;

    do {
        port = host->next_port++;
        host->next_port = MAX(host->next_port, (uint32_t)VDS_VSOCK_HOST_PORTS);
    } while (vds_vsock_host_find(host, guest_port, port));
    return port;
}

static void on_tick(void *user)
{
    VdsVsockHost *host = user;

    host->starved = false;
    for (VdsVsockConnection *at = host->all, *next; at; at = next) {
        next = at->next;
        vds_vsock_connection_tick(at);
    }
    update_all(host);
    vds_vsock_host_update(host);
}

/* Listens while there is room, and counts seconds while somebody is waited for. */
void vds_vsock_host_update(VdsVsockHost *host)
{
    bool listen = host->active && !host->starved && host->n < VDS_VSOCK_MAX_CONNECTIONS;
    bool count = host->starved || host->n_waiting > 0;

    if (!listen) {
        vds_io_watch_free(g_steal_pointer(&host->accept_watch));
    } else if (!host->accept_watch) {
        host->accept_watch = vds_io_watch_new(host->thread, host->listen_fd, EPOLLIN,
                                              on_accept, host, NULL);
    }
    if (host->timer && count != host->counting) {
        host->counting = count;
        vds_io_timer_set(host->timer, count ? tick_ns : 0, count ? tick_ns : 0);
    }
}

/* ---- packets of the driver
 * --------------------------------------------------------------
 */

static void answer_rst(VdsVsockHost *host, const VdsVsockHeader *header)
{
    VdsVsockHeader answer = vds_vsock_header_answer(header, VDS_VSOCK_RST);

    vds_vsock_hub_send(host->hub, vds_vsock_packet_new(&answer, NULL));
}

static void connect_out(VdsVsockHost *host, const VdsVsockHeader *header)
{
    g_autofree char *path = g_strdup_printf("%s_%u", host->path, header->dst_port);
    int fd = host->n < VDS_VSOCK_MAX_CONNECTIONS ? vds_unix_connect(path, NULL) : -1;

    if (fd < 0) {
        answer_rst(host, header);
    } else {
        vds_vsock_connection_open(host, fd, header);
    }
}

void vds_vsock_host_take(VdsVsockHost *host, const VdsVsockHeader *header,
                         const uint8_t *payload)
{
    VdsVsockConnection *connection =
        vds_vsock_host_find(host, header->src_port, header->dst_port);

    if (connection) {
        vds_vsock_connection_take(connection, header, payload);
    } else if (header->op == VDS_VSOCK_REQUEST) {
        connect_out(host, header);
    } else if (header->op != VDS_VSOCK_RST) {
        answer_rst(host, header);
    }
}

/* ---- life
 * --------------------------------------------------------------------------------
 */

void vds_vsock_host_throttle(VdsVsockHost *host, bool on)
{
    if (host->throttled != on) {
        host->throttled = on;
        update_all(host);
    }
}

void vds_vsock_host_wake(VdsVsockHost *host)
{
    vds_vsock_host_throttle(host, false);
}

bool vds_vsock_host_start(VdsVsockHost *host, VdsIoThread *thread, GError **error)
{
    host->thread = thread;
    host->timer = vds_io_timer_new(thread, on_tick, host, error);
    if (!host->timer) {
        return false;
    }
    if (!host->buffer) {
        host->buffer = g_malloc(VDS_VSOCK_CHUNK);
    }
    host->active = true;
    host->counting = false;
    update_all(host);
    vds_vsock_host_update(host);
    return true;
}

void vds_vsock_host_stop(VdsVsockHost *host)
{
    host->active = false;
    update_all(host);
    vds_vsock_host_update(host);
    vds_io_timer_free(g_steal_pointer(&host->timer));
}

void vds_vsock_host_reset(VdsVsockHost *host)
{
    while (host->all) {
        vds_vsock_connection_free(host->all);
    }
    host->throttled = false;
    g_clear_pointer(&host->buffer, g_free);
}
