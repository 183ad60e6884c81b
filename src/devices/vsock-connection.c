/*
 * devices: one stream connection between a driver of virtio-vsock and a socket of the
 * host: greeting, credit both ways, half-closed ends, shutdown and reset
 * (virtio 1.2, 5.10.6.3 to 5.10.6.6).  On the device's I/O thread; nothing blocks.
 *
 * At most VDS_VSOCK_WINDOW bytes wait for the socket: that is the credit the driver has.
 * Nothing waits on the way to the driver: a socket is read when the driver has credit.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "vsock-host-priv.h"

enum { PATIENCE = 10 }; /* seconds */

static uint64_t make_key(uint32_t guest_port, uint32_t host_port)
{
    return (uint64_t)guest_port << 32 | host_port;
}

VdsVsockConnection *vds_vsock_host_find(const VdsVsockHost *host, uint32_t guest_port,
                                        uint32_t host_port)
{
    uint64_t key = make_key(guest_port, host_port);

    return g_hash_table_lookup(host->by_ports, &key);
}

/* ---- in and out of the host's list ----------------------------------------------------
 */

static bool is_waiting(VdsVsockPhase phase)
{
    return phase != VDS_VSOCK_OPEN;
}

static void set_phase(VdsVsockConnection *connection, VdsVsockPhase phase)
{
    VdsVsockHost *host = connection->host;

    host->n_waiting -= is_waiting(connection->phase);
    connection->phase = phase;
    connection->patience = PATIENCE;
    host->n_waiting += is_waiting(phase);
    vds_vsock_host_update(host);
}

VdsVsockConnection *vds_vsock_connection_new(VdsVsockHost *host, int fd)
{
    VdsVsockConnection *connection = g_new0(VdsVsockConnection, 1);

    connection->host = host;
    connection->fd = fd;
    connection->phase = VDS_VSOCK_GREETING;
    connection->patience = PATIENCE;
    connection->next = host->all;
    if (host->all) {
        host->all->prev = connection;
    }
    host->all = connection;
    host->n++;
    host->n_waiting++;
    return connection;
}

void vds_vsock_connection_free(VdsVsockConnection *connection)
{
    VdsVsockHost *host = connection->host;

    if (g_hash_table_lookup(host->by_ports, &connection->key) == connection) {
        g_hash_table_remove(host->by_ports, &connection->key);
    }
    if (connection->prev) {
        connection->prev->next = connection->next;
    } else {
        host->all = connection->next;
    }
    if (connection->next) {
        connection->next->prev = connection->prev;
    }
    host->n--;
    host->n_waiting -= is_waiting(connection->phase);
    vds_io_watch_free(connection->watch);
    vds_fd_close(&connection->fd);
    vds_buf_clear(&connection->out);
    g_free(connection);
    vds_vsock_host_update(host);
}

static void name_ports(VdsVsockConnection *connection, uint32_t guest_port,
                       uint32_t host_port)
{
    connection->guest_port = guest_port;
    connection->host_port = host_port;
    connection->key = make_key(guest_port, host_port);
    g_hash_table_insert(connection->host->by_ports, &connection->key, connection);
}

/* ---- to the driver
 * ---------------------------------------------------------------------
 */

static void send_packet(VdsVsockConnection *connection, uint16_t op, uint32_t flags,
                        const uint8_t *bytes, uint32_t len)
{
    VdsVsockHost *host = connection->host;
    const VdsVsockHeader header = {
        .src_cid = VDS_VSOCK_HOST_CID,
        .dst_cid = vds_vsock_port_get_cid(host->port),
        .src_port = connection->host_port,
        .dst_port = connection->guest_port,
        .len = len,
        .type = VDS_VSOCK_STREAM,
        .op = op,
        .flags = flags,
        .buf_alloc = VDS_VSOCK_WINDOW,
        .fwd_cnt = connection->taken,
    };

    connection->told = connection->taken;
    connection->sent += len;
    vds_vsock_hub_send(host->hub, vds_vsock_packet_new(&header, bytes));
}

static void tell(VdsVsockConnection *connection, uint16_t op)
{
    send_packet(connection, op, 0, NULL, 0);
}

void vds_vsock_connection_abort(VdsVsockConnection *connection)
{
    if (connection->phase != VDS_VSOCK_GREETING) {
        tell(connection, VDS_VSOCK_RST);
    }
    vds_vsock_connection_free(connection);
}

/* The socket is done with; the driver answers with RST, or time is up. */
static void close_socket(VdsVsockConnection *connection)
{
    vds_io_watch_free(g_steal_pointer(&connection->watch));
    vds_fd_close(&connection->fd);
    vds_buf_clear(&connection->out);
    send_packet(connection, VDS_VSOCK_SHUTDOWN, VDS_VSOCK_NO_RECEIVE | VDS_VSOCK_NO_SEND,
                NULL, 0);
    set_phase(connection, VDS_VSOCK_CLOSING);
}

static uint32_t get_credit(const VdsVsockConnection *connection)
{
    uint32_t under_way = connection->sent - connection->peer_taken;

    /* A window that was made smaller may be overdrawn. */
    return under_way < connection->peer_alloc ? connection->peer_alloc - under_way : 0;
}

static void end_of_socket(VdsVsockConnection *connection, bool hung_up)
{
    connection->host_ended = true;
    if (hung_up) {
        close_socket(connection);
    } else {
        send_packet(connection, VDS_VSOCK_SHUTDOWN, VDS_VSOCK_NO_SEND, NULL, 0);
    }
}

/* ---- from the socket
 * -------------------------------------------------------------------
 */

static void read_socket(VdsVsockConnection *connection, bool hung_up)
{
    VdsVsockHost *host = connection->host;
    size_t room = MIN(get_credit(connection), VDS_VSOCK_CHUNK);
    ssize_t n;

    if (vds_vsock_port_is_busy(host->port)) {
        vds_vsock_host_throttle(host, true);
        return;
    }
    n = recv(connection->fd, host->buffer, room, MSG_DONTWAIT);
    if (n > 0) {
        send_packet(connection, VDS_VSOCK_RW, 0, host->buffer, (uint32_t)n);
    } else if (n == 0) {
        end_of_socket(connection, hung_up);
    } else if (errno != EAGAIN && errno != EINTR) {
        end_of_socket(connection, true);
    }
}

/* "CONNECT 1234\n".  false: nonsense. */
static bool parse_greeting(const char *line, uint32_t *port)
{
    static const char word[] = "CONNECT ";
    const char *digits = line + strlen(word);
    char *end;
    guint64 number;

    if (strncmp(line, word, strlen(word)) != 0 || !g_ascii_isdigit(*digits)) {
        return false;
    }
    number = g_ascii_strtoull(digits, &end, 10);
    *port = (uint32_t)number;
    return *end == '\0' && number < UINT32_MAX;
}

/* Byte by byte, up to the end of the line: what follows is the driver's.  false: there is
 * no whole line; *wrong: there will be none. */
static bool read_line(VdsVsockConnection *connection, bool *wrong)
{
    *wrong = false;
    while (connection->n_greeting < VDS_VSOCK_GREETING_BYTES) {
        char *at = &connection->greeting[connection->n_greeting];
        ssize_t n = recv(connection->fd, at, 1, MSG_DONTWAIT);

        if (n != 1) {
            *wrong = n == 0 || (errno != EAGAIN && errno != EINTR);
            return false;
        }
        if (*at == '\n') {
            *at = '\0';
            return true;
        }
        connection->n_greeting++;
    }
    *wrong = true;
    return false;
}

/* false: it was nonsense, and the connection is gone. */
static bool read_greeting(VdsVsockConnection *connection)
{
    uint32_t port = 0;
    bool wrong;

    if (read_line(connection, &wrong)) {
        wrong = !parse_greeting(connection->greeting, &port);
        if (!wrong) {
            name_ports(connection, port,
                       vds_vsock_host_choose_port(connection->host, port));
            tell(connection, VDS_VSOCK_REQUEST);
            set_phase(connection, VDS_VSOCK_ASKED);
        }
    }
    if (wrong) {
        vds_vsock_connection_free(connection);
    }
    return !wrong;
}

/* ---- to the socket
 * ---------------------------------------------------------------------
 */

/* What the driver ended, once all that it sent is out.  false: the connection is gone. */
static bool follow_shutdown(VdsVsockConnection *connection)
{
    uint32_t shut = connection->guest_shut;

    if (vds_buf_len(&connection->out) > 0) {
        return true;
    }
    if ((shut & VDS_VSOCK_NO_RECEIVE) && (shut & VDS_VSOCK_NO_SEND)) {
        vds_vsock_connection_abort(connection);
        return false;
    }
    if (shut & VDS_VSOCK_NO_SEND) {
        shutdown(connection->fd, SHUT_WR);
    }
    return true;
}

/* false: the socket takes nothing any more. */
static bool write_out(VdsVsockConnection *connection)
{
    VdsBuf *out = &connection->out;

    while (vds_buf_len(out) > 0) {
        ssize_t n = send(connection->fd, vds_buf_bytes(out), vds_buf_len(out),
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        vds_buf_consume(out, (size_t)n);
        connection->taken += (uint32_t)n;
    }
    return true;
}

/* false: the connection is gone. */
static bool write_socket(VdsVsockConnection *connection)
{
    if (!write_out(connection)) {
        close_socket(connection);
        return true;
    }
    if (connection->taken - connection->told >= VDS_VSOCK_WINDOW / 2) {
        tell(connection, VDS_VSOCK_CREDIT_UPDATE);
    }
    return follow_shutdown(connection);
}

/* ---- what the socket is watched for ---------------------------------------------------
 */

static bool wants_in(const VdsVsockConnection *connection)
{
    if (connection->phase == VDS_VSOCK_GREETING) {
        return true;
    }
    return connection->phase == VDS_VSOCK_OPEN && !connection->host_ended &&
           !connection->host->throttled &&
           !(connection->guest_shut & VDS_VSOCK_NO_RECEIVE) && get_credit(connection) > 0;
}

static void on_socket(uint32_t events, void *user)
{
    VdsVsockConnection *connection = user;

    if (connection->phase == VDS_VSOCK_GREETING) {
        if (!read_greeting(connection)) {
            return;
        }
    } else {
        if (vds_buf_len(&connection->out) > 0 && !write_socket(connection)) {
            return;
        }
        if (wants_in(connection)) {
            read_socket(connection, (events & (EPOLLHUP | EPOLLERR)) != 0);
        }
    }
    vds_vsock_connection_update(connection);
}

/* A socket that hung up is reported whatever was asked for, so it is asked for something
 * or not watched at all. */
void vds_vsock_connection_update(VdsVsockConnection *connection)
{
    VdsVsockHost *host = connection->host;
    uint32_t events = (wants_in(connection) ? EPOLLIN : 0u) |
                      (vds_buf_len(&connection->out) > 0 ? EPOLLOUT : 0u);

    if (connection->phase == VDS_VSOCK_OPEN && !connection->asked_credit &&
        get_credit(connection) == 0) {
        connection->asked_credit = true;
        tell(connection, VDS_VSOCK_CREDIT_REQUEST);
    }
    if (!host->active || connection->fd < 0 || events == 0) {
        vds_io_watch_free(g_steal_pointer(&connection->watch));
    } else if (connection->watch) {
        vds_io_watch_set_events(connection->watch, events);
    } else {
        connection->watch = vds_io_watch_new(host->thread, connection->fd, events,
                                             on_socket, connection, NULL);
        if (!connection->watch) {
            host->starved = true; /* the next tick tries again */
            vds_vsock_host_update(host);
        }
    }
}

/* ---- from the driver ------------------------------------------------------------------
 */

/* All: false: the connection is gone. */
typedef bool (*TakeFunc)(VdsVsockConnection *connection, const VdsVsockHeader *header,
                         const uint8_t *payload);

/* What the peer has no business to say in this phase. */
static bool take_wrong(VdsVsockConnection *connection, const VdsVsockHeader *header,
                       const uint8_t *payload)
{
    vds_vsock_connection_abort(connection);
    return false;
}

static bool take_rst(VdsVsockConnection *connection, const VdsVsockHeader *header,
                     const uint8_t *payload)
{
    vds_vsock_connection_free(connection);
    return false;
}

static bool take_nothing(VdsVsockConnection *connection, const VdsVsockHeader *header,
                         const uint8_t *payload)
{
    return true; /* its credit was noted */
}

static bool take_response(VdsVsockConnection *connection, const VdsVsockHeader *header,
                          const uint8_t *payload)
{
    char line[VDS_VSOCK_GREETING_BYTES];
    int len = snprintf(line, sizeof(line), "OK %u\n", connection->host_port);

    set_phase(connection, VDS_VSOCK_OPEN);
    if (send(connection->fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) != len) {
        close_socket(connection);
    }
    return true;
}

static bool take_shutdown(VdsVsockConnection *connection, const VdsVsockHeader *header,
                          const uint8_t *payload)
{
    connection->guest_shut |= header->flags & (VDS_VSOCK_NO_RECEIVE | VDS_VSOCK_NO_SEND);
    return follow_shutdown(connection);
}

static bool take_bytes(VdsVsockConnection *connection, const VdsVsockHeader *header,
                       const uint8_t *payload)
{
    if ((connection->guest_shut & VDS_VSOCK_NO_SEND) ||
        header->len > VDS_VSOCK_WINDOW - vds_buf_len(&connection->out)) {
        return take_wrong(connection, header, payload);
    }
    vds_buf_append(&connection->out, payload, header->len);
    return write_socket(connection);
}

static bool take_credit_request(VdsVsockConnection *connection,
                                const VdsVsockHeader *header, const uint8_t *payload)
{
    tell(connection, VDS_VSOCK_CREDIT_UPDATE);
    return true;
}

/* (phase, operation) -> action; a driver knows no connection that is in its greeting. */
static const TakeFunc actions[][VDS_VSOCK_CREDIT_REQUEST + 1] = {
    [VDS_VSOCK_ASKED] = {[VDS_VSOCK_RESPONSE] = take_response,
                         [VDS_VSOCK_RST] = take_rst,
                         [VDS_VSOCK_SHUTDOWN] = take_wrong,
                         [VDS_VSOCK_CREDIT_UPDATE] = take_nothing},
    [VDS_VSOCK_OPEN] = {[VDS_VSOCK_RST] = take_rst,
                        [VDS_VSOCK_SHUTDOWN] = take_shutdown,
                        [VDS_VSOCK_RW] = take_bytes,
                        [VDS_VSOCK_CREDIT_UPDATE] = take_nothing,
                        [VDS_VSOCK_CREDIT_REQUEST] = take_credit_request},
    [VDS_VSOCK_CLOSING] = {[VDS_VSOCK_RST] = take_rst,
                           [VDS_VSOCK_SHUTDOWN] = take_wrong,
                           [VDS_VSOCK_RW] = take_nothing,
                           [VDS_VSOCK_CREDIT_UPDATE] = take_nothing,
                           [VDS_VSOCK_CREDIT_REQUEST] = take_nothing},
};

void vds_vsock_connection_take(VdsVsockConnection *connection,
                               const VdsVsockHeader *header, const uint8_t *payload)
{
    TakeFunc take = header->op < G_N_ELEMENTS(actions[0])
                        ? actions[connection->phase][header->op]
                        : take_wrong;

    connection->peer_alloc = header->buf_alloc;
    connection->peer_taken = header->fwd_cnt;
    if (get_credit(connection) > 0) {
        connection->asked_credit = false;
    }
    if ((take ? take : take_wrong)(connection, header, payload)) {
        vds_vsock_connection_update(connection);
    }
}

void vds_vsock_connection_open(VdsVsockHost *host, int fd, const VdsVsockHeader *request)
{
    VdsVsockConnection *connection = vds_vsock_connection_new(host, fd);

    name_ports(connection, request->src_port, request->dst_port);
    connection->peer_alloc = request->buf_alloc;
    connection->peer_taken = request->fwd_cnt;
    set_phase(connection, VDS_VSOCK_OPEN);
    tell(connection, VDS_VSOCK_RESPONSE);
    vds_vsock_connection_update(connection);
}

void vds_vsock_connection_tick(VdsVsockConnection *connection)
{
    if (is_waiting(connection->phase) && --connection->patience == 0) {
        vds_vsock_connection_abort(connection);
    }
}
