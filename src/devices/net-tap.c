/*
 * devices: -netdev tap: frames to and from a network interface of this machine
 * (Documentation/networking/tuntap), with the header of virtio-net before each.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "net-priv.h"

enum { BATCH = 32 };

typedef struct {
    VdsNetPeer peer; /* first */
    int fd;
    VdsIoWatch *watch; /* (nullable) while it is stopped */
    uint8_t *buffer;   /* (nullable) VDS_NET_MAX_FRAME bytes, from the first start */
    VdsNetFrame held;  /* in `buffer`, not yet delivered; len 0: none */
} Tap;

/* ---- frames ---------------------------------------------------------------------------
 */

/* EAGAIN is a full queue of the interface: a network drops. */
static bool send_one(const Tap *tap, const VdsNetFrame *frame)
{
    struct iovec parts[] = {
        {(void *)frame->header, VDS_NET_HEADER_BYTES}, /* only read from */
        {(void *)frame->bytes, frame->len},
    };
    ssize_t n;

    do {
        n = writev(tap->fd, parts, G_N_ELEMENTS(parts));
    } while (n < 0 && errno == EINTR);
    return n >= 0;
}

static void tap_send(VdsNetPeer *peer, const VdsNetFrame *frames, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!send_one((Tap *)peer, &frames[i])) {
            vds_net_count_drops(peer->net, 1);
        }
    }
}

static bool tap_read(Tap *tap)
{
    struct iovec parts[] = {
        {tap->held.header, VDS_NET_HEADER_BYTES},
        {tap->buffer, VDS_NET_MAX_FRAME},
    };
    ssize_t n = readv(tap->fd, parts, G_N_ELEMENTS(parts));

    if (n <= VDS_NET_HEADER_BYTES) {
        return false;
    }
    tap->held.bytes = tap->buffer;
    tap->held.len = (size_t)n - VDS_NET_HEADER_BYTES;
    return true;
}

/* Without receive buffers the frames stay where they are: no watch until poll. */
static void tap_poll(VdsNetPeer *peer)
{
    Tap *tap = (Tap *)peer;
    bool room = true;

    if (!tap->watch) {
        return;
    }
    for (unsigned i = 0; room && i < BATCH; i++) {
        if (tap->held.len == 0 && !tap_read(tap)) {
            break;
        }
        room = vds_net_receive(peer->net, &tap->held, 1) == 1;
        if (room) {
            tap->held.len = 0;
        }
    }
    vds_io_watch_set_events(tap->watch, room ? EPOLLIN : 0);
    vds_net_receive_end(peer->net);
}

static void on_readable(uint32_t events, void *user)
{
    Tap *tap = user;

    if (events & EPOLLERR) {
        vds_io_watch_free(g_steal_pointer(&tap->watch)); /* the interface is gone */
        return;
    }
    tap_poll(&tap->peer);
}

/* ---- life
 * ------------------------------------------------------------------------------ */

static bool tap_start(VdsNetPeer *peer, GError **error)
{
    Tap *tap = (Tap *)peer;

    if (!tap->buffer) {
        tap->buffer = g_malloc(VDS_NET_MAX_FRAME);
    }
    tap->watch =
        vds_io_watch_new(peer->thread, tap->fd, EPOLLIN, on_readable, tap, error);
    return tap->watch != NULL;
}

static void tap_stop(VdsNetPeer *peer)
{
    Tap *tap = (Tap *)peer;

    vds_io_watch_free(g_steal_pointer(&tap->watch));
}

static void tap_reset(VdsNetPeer *peer)
{
    Tap *tap = (Tap *)peer;

    tap->held.len = 0;
    g_clear_pointer(&tap->buffer, g_free);
}

static void tap_set_offloads(VdsNetPeer *peer, const VdsFeatures *offloads)
{
    static const struct {
        uint8_t feature;
        unsigned flag;
    } rows[] = {
        {VDS_NET_F_GUEST_CSUM, TUN_F_CSUM}, {VDS_NET_F_GUEST_TSO4, TUN_F_TSO4},
        {VDS_NET_F_GUEST_TSO6, TUN_F_TSO6}, {VDS_NET_F_GUEST_ECN, TUN_F_TSO_ECN},
        {VDS_NET_F_GUEST_UFO, TUN_F_UFO},
    };
    const Tap *tap = (const Tap *)peer;
    unsigned flags = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (vds_features_has(offloads, rows[i].feature)) {
            flags |= rows[i].flag;
        }
    }
    /* A kernel that refuses sends plain frames, which is always right. */
    (void)ioctl(tap->fd, TUNSETOFFLOAD, (unsigned long)flags);
}

static void tap_destroy(VdsNetPeer *peer)
{
    Tap *tap = (Tap *)peer;

    vds_fd_close(&tap->fd);
    g_free(tap->buffer);
    g_free(tap);
}

static const VdsNetPeerOps tap_ops = {
    .name = "tap",
    .connected = true,
    .takes_header = true,
    .start = tap_start,
    .stop = tap_stop,
    .reset = tap_reset,
    .send = tap_send,
    .poll = tap_poll,
    .set_offloads = tap_set_offloads,
    .destroy = tap_destroy,
};

/* ---- opening
 * --------------------------------------------------------------------------- */

static bool refuse(GError **error, const char *what, int number)
{
    g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND, "%s: %s", what,
                g_strerror(number));
    return false;
}

static bool number_of(const char *text, int *number, GError **error)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(text, 10, 0, INT32_MAX, &value, NULL)) {
        return refuse(error, "'fd' is no number", EINVAL);
    }
    *number = (int)value;
    return true;
}

/* One that was inherited: whatever made it chose the interface. */
static bool adopt(const char *text, int *fd, GError **error)
{
    struct ifreq request = {0};
    int number;

    if (!number_of(text, &number, error)) {
        return false;
    }
    if (!vds_fd_is_tap(number)) { /* a file of a file system might wait at the ioctl */
        return refuse(error, "'fd' is no tap", EBADFD);
    }
    *fd = fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (*fd < 0) {
        return refuse(error, "Could not use 'fd'", errno);
    }
    if (ioctl(*fd, TUNGETIFF, &request) < 0) {
        return refuse(error, "'fd' is no tap", errno);
    }
    if (!(request.ifr_flags & IFF_VNET_HDR) || !(request.ifr_flags & IFF_TAP)) {
        return refuse(error, "'fd' is a tap without IFF_VNET_HDR", EINVAL);
    }
    return true;
}

/* "3:4": a queue each.  One is served; the kernel is told not to use the others, else
 * what it puts there would be lost. */
static bool adopt_first(const char *text, int *fd, GError **error)
{
    g_auto(GStrv) each = g_strsplit(text, ":", -1);

    for (unsigned i = 1; each[0] && each[i]; i++) {
        struct ifreq request = {.ifr_flags = IFF_DETACH_QUEUE};
        int number;

        if (!number_of(each[i], &number, error)) {
            return false;
        }
        if (ioctl(number, TUNSETQUEUE, &request) < 0) {
            return refuse(error, "could not detach a queue of a tap", errno);
        }
    }
    return adopt(each[0] ? each[0] : "", fd, error);
}

static bool create(const char *name, int *fd, GError **error)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    *fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (*fd < 0) {
        return refuse(error, "Could not open '/dev/net/tun'", errno);
    }
    if (name && strlen(name) >= IFNAMSIZ) {
        return refuse(error, "'ifname' is too long", ENAMETOOLONG);
    }
    g_strlcpy(request.ifr_name, name ? name : "tap%d", IFNAMSIZ);
    if (ioctl(*fd, TUNSETIFF, &request) < 0) {
        return refuse(error, "could not configure /dev/net/tun", errno);
    }
    return true;
}

static bool configure(int fd, GError **error)
{
    int bytes = VDS_NET_HEADER_BYTES, little = 1;

    if (ioctl(fd, TUNSETVNETHDRSZ, &bytes) < 0 || ioctl(fd, TUNSETVNETLE, &little) < 0) {
        return refuse(error, "could not set the header of a tap", errno);
    }
    return g_unix_set_fd_nonblocking(fd, TRUE, NULL);
}

/* vhost=on and its descriptors are for a kernel that would serve the rings: we do. */
static bool find_fd(const VdsProps *netdev, int *fd, GError **error)
{
    const VdsProp *one = vds_props_find(netdev, "fd");
    const VdsProp *many = vds_props_find(netdev, "fds");

    if (one && many) {
        return refuse(error, "'fd' and 'fds' exclude each other", EINVAL);
    }
    if (one || many) {
        return one ? adopt(one->text, fd, error) : adopt_first(many->text, fd, error);
    }
    return create(vds_props_get_string(netdev, "ifname"), fd, error);
}

VdsNetPeer *vds_net_tap_new(const VdsDeviceArgs *args, const VdsProps *netdev,
                            GError **error)
{
    VDS_AUTO_FD fd = -1;
    Tap *tap;

    if (!find_fd(netdev, &fd, error) || !configure(fd, error)) {
        return NULL;
    }
    tap = g_new0(Tap, 1);
    tap->peer.ops = &tap_ops;
    tap->fd = vds_fd_steal(&fd);
    return &tap->peer;
}
