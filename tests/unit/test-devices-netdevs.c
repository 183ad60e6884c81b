/*
 * devices: what a virtio-net device is wired to: nothing, a loop, a hub, a tap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net-door.h"

static bool is_connected(Net *net)
{
    VdsProp value = {0};

    assert_true(vds_machine_qom_get(net->door.machine, net->door.path, "connected",
                                    &value, NULL));
    assert_int_equal(value.kind, VDS_PROP_BOOL);
    vds_prop_clear(&value);
    return value.u.boolean;
}

static void test_who_is_connected(void **state)
{
    static const struct {
        const char *netdev; /* (nullable) */
        bool connected;
    } rows[] = {
        {NULL, false},
        {"type=user,id=b", false},
        {"type=loop,id=b", true},
        {"type=hubport,id=b,hubid=0", true},
    };
    uint8_t frame[60] = {0};

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Net net;

        net_open(&net, rows[i].netdev, "", DOOR_SPLIT);
        assert_int_equal(is_connected(&net), rows[i].connected);
        send_frame(&net, frame, sizeof(frame)); /* which comes back sent */
        net_close(&net);
    }
}

static void test_unfit_netdevs(void **state)
{
    static const struct {
        const char *netdev;
        GQuark (*domain)(void);
        int code;
    } rows[] = {
        {"type=socket,id=b", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=hubport,id=b", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=hubport,id=b,hubid=x", vds_util_error_quark, VDS_UTIL_ERROR_VALUE},
        {"type=tap,id=b,fd=987654", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fds=", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fds=987654:987655", vds_virtio_error_quark,
         VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fd=3,fds=4", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=tap,id=b,fd=0", vds_virtio_error_quark, VDS_VIRTIO_ERROR_BACKEND},
        {"type=loop,id=b,queues=0", vds_util_error_quark, VDS_UTIL_ERROR_VALUE},
        {"type=user,id=b,queues=2", vds_virtio_error_quark, VDS_VIRTIO_ERROR_PROPERTY},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        Door door;

        print_message("# %s\n", rows[i].netdev);
        door_init(&door);
        door_back(&door, "netdev", rows[i].netdev);
        assert_false(door_plug(&door, "virtio-net-pci,id=n,netdev=b", &error));
        assert_true(g_error_matches(error, rows[i].domain(), rows[i].code));
        door_clear(&door);
    }
}

enum { PORTS = 3 };

static void hub_open(Net nets[PORTS], unsigned threads)
{
    door_init(&nets[0].door);
    for (unsigned i = 0; i < threads; i++) {
        g_autofree char *thread = g_strdup_printf("qom-type=iothread,id=t%u", i);

        door_back(&nets[0].door, "object", thread);
    }
    for (unsigned i = 0; i < PORTS; i++) {
        g_autofree char *netdev = g_strdup_printf("type=hubport,hubid=7,id=b%u", i);
        g_autofree char *id = g_strdup_printf("n%u", i);
        g_autofree char *device = g_strdup_printf(
            "virtio-net-pci,id=n%u,netdev=b%u,iothread=t%u", i, i, i % threads);

        door_back(&nets[0].door, "netdev", netdev);
        assert_true(door_plug(&nets[0].door, device, NULL));
        nets[i].door = (Door){.machine = nets[0].door.machine, .ram = nets[0].door.ram};
        nets[i].gpa = door_alloc(&nets[i].door, ROOM);
        door_find(&nets[i].door, id);
        door_start(&nets[i].door, formats[i % 2]);
    }
}

/* Three devices on so many threads; what one sends, both others receive. */
static void check_hub(unsigned threads)
{
    enum { FRAMES = 500 };
    Net nets[PORTS] = {0};
    uint8_t frame[60] = {0}, in[BUFFER];

    hub_open(nets, threads);
    assert_int_equal(vds_virtio_device_get_io_thread(nets[0].door.device) ==
                         vds_virtio_device_get_io_thread(nets[1].door.device),
                     threads == 1);
    for (unsigned n = 0; n < FRAMES; n++) {
        unsigned from = n % PORTS;

        for (unsigned i = 0; i < PORTS; i++) {
            if (i != from) {
                uint64_t gpa = nets[i].gpa + 4096; /* not the one that sends lie in */

                door_add(&nets[i].door, RX, gpa, 0, 128, 0, GSIZE_TO_POINTER(gpa));
                door_kick(&nets[i].door, RX);
            }
        }
        fill(frame, sizeof(frame), n);
        send_frame(&nets[from], frame, sizeof(frame));
        for (unsigned i = 0; i < PORTS; i++) {
            if (i != from) {
                assert_int_equal(receive(&nets[i], in), sizeof(frame));
                assert_memory_equal(in, frame, sizeof(frame));
            }
        }
    }
    assert_true(vds_machine_device_del(nets[0].door.machine, "n1", NULL));
    send_frame(&nets[0], frame, sizeof(frame));
    for (unsigned i = 1; i < PORTS; i++) {
        door_drop_rings(&nets[i].door);
    }
    door_clear(&nets[0].door);
}

static void test_hub(void **state)
{
    for (unsigned threads = 1; threads <= PORTS; threads++) {
        check_hub(threads);
    }
}

static bool take_used(Net *net, unsigned queue)
{
    VdsUsed used = {NULL, 0};

    assert_true(vds_driver_ring_get_used(net->door.rings[queue], &used, NULL));
    return used.token;
}

/* Where there is such a processor: two threads that look at each other while they work.
 */
static void run_on(void *user)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(GPOINTER_TO_UINT(user), &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

/* Who forwards what it receives finds room where it came from: what was sent is used
 * before any receiver sees it. */
static void test_sent_before_it_is_received(void **state)
{
    enum { ROUNDS = 2000 };
    static const uint8_t plain[HEADER + 60];
    Net nets[PORTS] = {0};
    cpu_set_t before;

    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    hub_open(nets, 1);
    run_on(GUINT_TO_POINTER(0));
    vds_io_thread_call(vds_virtio_device_get_io_thread(nets[0].door.device), run_on,
                       GUINT_TO_POINTER(1));
    door_poke(&nets[0].door, nets[0].gpa, plain, sizeof(plain));
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 1; i < PORTS; i++) {
            door_add(&nets[i].door, RX, nets[i].gpa, 0, 128, 0, &nets[i]);
            door_kick(&nets[i].door, RX);
        }
        door_add(&nets[0].door, TX, nets[0].gpa, sizeof(plain), 0, 0, nets);
        door_kick(&nets[0].door, TX);
        while (!take_used(&nets[1 + round % 2], RX)) {
            /* the moment it comes */
        }
        assert_true(take_used(&nets[0], TX));
        while (!take_used(&nets[2 - round % 2], RX)) {
            /* the other one's */
        }
    }
    for (unsigned i = 1; i < PORTS; i++) {
        door_drop_rings(&nets[i].door);
    }
    door_clear(&nets[0].door);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

/* Without buffers frames wait, in order, and go before those that come later. */
static void test_a_hub_without_room(void **state)
{
    enum { WAITING = 100, FRAMES = 200 };

    for (unsigned threads = 1; threads <= 2; threads++) {
        Net nets[PORTS] = {0};
        uint8_t frame[60] = {0}, in[BUFFER];

        hub_open(nets, threads);
        for (unsigned n = 0; n < FRAMES; n++) {
            fill(frame, sizeof(frame), n);
            send_frame(&nets[0], frame, sizeof(frame));
            if (n >= WAITING) {
                uint64_t gpa = nets[1].gpa + 4096;

                door_add(&nets[1].door, RX, gpa, 0, 128, 0, GSIZE_TO_POINTER(gpa));
                door_kick(&nets[1].door, RX);
                assert_int_equal(receive(&nets[1], in), sizeof(frame));
                fill(frame, sizeof(frame), n - WAITING);
                assert_memory_equal(in, frame, sizeof(frame));
            }
        }
        for (unsigned i = 1; i < PORTS; i++) {
            door_drop_rings(&nets[i].door);
        }
        door_clear(&nets[0].door);
    }
}

/* ---- tap
 * -------------------------------------------------------------------------------- */

static bool interface_up(int sock, const char *name)
{
    struct ifreq request = {0};

    g_strlcpy(request.ifr_name, name, IFNAMSIZ);
    request.ifr_flags = IFF_UP;
    return ioctl(sock, SIOCSIFFLAGS, &request) == 0;
}

static int interface_index(int sock, const char *name)
{
    struct ifreq request = {0};

    g_strlcpy(request.ifr_name, name, IFNAMSIZ);
    return ioctl(sock, SIOCGIFINDEX, &request) == 0 ? request.ifr_ifindex : -1;
}

/* The kernel talks on a new interface, too (IPv6): only our kind of frame counts. */
enum { OUR_TYPE = 0x88b5 };

static bool is_ours(const uint8_t *frame, size_t len)
{
    return len >= 60 && frame[12] == OUR_TYPE >> 8 && frame[13] == (OUR_TYPE & 0xff);
}

enum { MAX_TAPS = 2 };

/* As libvirt opens them, and hands them over. */
static unsigned open_taps(int fds[MAX_TAPS], unsigned n)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

    g_strlcpy(request.ifr_name, "vdstest0", IFNAMSIZ);
    request.ifr_flags |= n > 1 ? IFF_MULTI_QUEUE : 0;
    for (unsigned i = 0; i < n; i++) {
        fds[i] = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        if (fds[i] < 0 || ioctl(fds[i], TUNSETIFF, &request) != 0) {
            vds_fd_close(&fds[i]);
            return i;
        }
    }
    return n;
}

static void try_tap(const char *netdev, unsigned n_inherited)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL)};
    uint8_t frame[60] = {255, 255, 255, 255, 255, 255, 2, 2, 2, 2, 2, 2}, in[BUFFER];
    g_autoptr(GError) error = NULL;
    Net net = {0};
    g_autofree char *text = NULL;
    int fds[MAX_TAPS] = {-1, -1};
    size_t len;
    int sock = -1;

    /* A network of our own, where nobody is disturbed. */
    if (unshare(CLONE_NEWNET) != 0 ||
        (sock = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) < 0) {
        print_message("# no network namespace: %s\n", strerror(errno));
        skip();
    }
    frame[12] = OUR_TYPE >> 8;
    frame[13] = OUR_TYPE & 0xff;
    door_init(&net.door);
    net.gpa = door_alloc(&net.door, ROOM);
    n_inherited -= open_taps(fds, n_inherited);
    text = g_strdup_printf("type=tap,id=b,%s", netdev);
    for (char *at; (at = strchr(text, '@'));) { /* "@0": a descriptor's number */
        g_autofree char *rest = g_strdup(at + 2);
        g_autofree char *before = g_strndup(text, (gsize)(at - text));

        int fd = fds[at[1] - '0'];

        g_free(text);
        text = g_strdup_printf("%s%d%s", before, fd, rest);
    }
    door_back(&net.door, "netdev", text);
    if (n_inherited > 0 ||
        !door_plug(&net.door, "virtio-net-pci,id=n,netdev=b", &error)) {
        print_message("# no tap: %s\n", error ? error->message : "not opened");
        close(sock);
        door_clear(&net.door);
        skip();
    }
    door_find(&net.door, "n");
    door_start(&net.door, DOOR_SPLIT);
    assert_true(interface_up(sock, "vdstest0"));
    address.sll_ifindex = interface_index(sock, "vdstest0");
    assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(sock, frame, sizeof(frame), 0), sizeof(frame));
    do {
        post_buffers(&net, RX, 1, BUFFER, 0);
        len = receive(&net, in);
    } while (len > 0 && !is_ours(in, len));
    assert_int_equal(len, sizeof(frame));
    assert_memory_equal(in, frame, sizeof(frame));
    frame[20] = 77;
    send_frame(&net, frame, sizeof(frame));
    do {
        ssize_t n = recv(sock, in, sizeof(in), 0);

        len = n < 0 ? 0 : (size_t)n;
    } while (len > 0 && !(is_ours(in, len) && in[20] == 77));
    assert_int_equal(len, sizeof(frame));
    assert_memory_equal(in, frame, sizeof(frame));
    close(sock);
    net_close(&net);
    for (unsigned i = 0; i < MAX_TAPS; i++) {
        vds_fd_close(&fds[i]);
    }
}

static void test_tap(void **state)
{
    try_tap("ifname=vdstest0,script=no", 0);
}

/* libvirt's: it made the interface, and where there is a vhost-net it opened that, too.
 */
static void test_inherited_tap(void **state)
{
    try_tap("fd=@0,vhost=on,vhostfd=99", 1);
}

static void test_inherited_queues(void **state)
{
    try_tap("fds=@0:@1,vhost=on,vhostfds=98:99", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_connected),
        cmocka_unit_test(test_unfit_netdevs),
        cmocka_unit_test(test_hub),
        cmocka_unit_test(test_sent_before_it_is_received),
        cmocka_unit_test(test_a_hub_without_room),
        cmocka_unit_test(test_tap),
        cmocka_unit_test(test_inherited_tap),
        cmocka_unit_test(test_inherited_queues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
