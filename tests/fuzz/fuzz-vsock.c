/*
 * fuzz: virtio-vsock between a driver that says anything, another driver, and sockets of
 * the host that do anything.
 *
 * The input is a byte (1: packed rings; the rest: their size) and then steps (Step), each
 * followed by its bytes.  What must hold for any input: a
 * packet for a driver is well-formed and in nobody else's name; bytes of a connection
 * come only while it is open and never beyond what the driver gave room for; a device is
 * broken only for a lie of its own driver and names the rule; one that is not goes on to
 * answer; connections are bounded, and in the end no descriptor is left.
 */
#include <dirent.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz-door.h"
#include "vsock-model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    CID = 3,
    MAX_CONNECTIONS = 1024,
    DRIVERS = 2, /* the first has sockets of the host */
    STEPS = 64,
    FLOOD = 48,  /* packets of a step; in all, fewer than may wait for a driver */
    SLOTS = 128, /* receive buffers of a driver */
    SLOT_BYTES = 4096,
    SENT = 256, /* headers of packets that are on their way */
    SENT_BYTES = 64,
    PAYLOAD = 128 * 1024,
    ENDS = 8, /* of the host's, at a time */
    LISTENERS = 2,
    SPARE_FDS = 64,      /* of devices that work, beside their connections */
    FIRST_PORT = 100,    /* of a flood */
    LAST_PORT = 7777777, /* whether the device lives is asked from here */
    PATIENCE = 5000      /* turns of the device */
};

typedef struct {
    uint8_t op;
    uint8_t who;  /* bit 0: driver; 1 and 2: to whom; 3 and 4, 5 and 6: ports */
    uint8_t what; /* bits 0 to 3: operation; the rest: type */
    uint8_t flags;
    uint8_t len[2];
    uint8_t credit; /* low and high half: window, and what was taken of it */
    uint8_t more;   /* bit 0: a length that is none; the rest: pieces */
    uint8_t n_bytes;
} Step;

typedef struct {
    FuzzDoor at;            /* first */
    uint64_t receive, sent; /* gpa of the slots */
    bool busy[SLOTS];       /* offered */
    unsigned turn;          /* of what is sent */
    bool lied;
    bool alive; /* it answered LAST_PORT */
} Driver;

typedef struct {
    Driver drivers[DRIVERS];
    char *folder, *path;
    uint64_t payload; /* gpa */
    int listeners[LISTENERS], ends[ENDS];
    unsigned next_end, n_flood;
    Model model; /* of the first driver */
    unsigned n_fds, lives;
    uint8_t options; /* the input's first byte */
} Fuzz;

/* ---- made once ---- */

static Fuzz *made;

static void tidy_up(void)
{
    for (unsigned i = 0; i < LISTENERS; i++) {
        g_autofree char *path = g_strdup_printf("%s_%u", made->path, i + 1);

        g_unlink(path);
    }
    g_unlink(made->path);
    g_rmdir(made->folder);
}

static void make_sockets(Fuzz *fuzz)
{
    fuzz->folder = g_dir_make_tmp("vds-fuzz-XXXXXX", NULL);
    g_assert(fuzz->folder);
    fuzz->path = g_build_filename(fuzz->folder, "v", NULL);
    for (unsigned i = 0; i < LISTENERS; i++) {
        g_autofree char *path = g_strdup_printf("%s_%u", fuzz->path, i + 1);
        struct stat identity;

        fuzz->listeners[i] = vds_unix_listen(path, &identity, NULL);
        g_assert(fuzz->listeners[i] >= 0);
    }
    g_assert(listen(fuzz->listeners[1], 1) == 0); /* has room for one who waits */
    memset(fuzz->ends, -1, sizeof(fuzz->ends));
    g_assert(atexit(tidy_up) == 0);
}

static void make_driver(Fuzz *fuzz, unsigned i)
{
    g_autofree char *sockets = g_strdup_printf(",uds-path=%s", fuzz->path);
    g_autofree char *device =
        g_strdup_printf("vhost-vsock-pci,id=v%u,guest-cid=%u,vhost-user=/s%s", i, CID + i,
                        i == 0 ? sockets : "");
    g_autofree char *id = g_strdup_printf("v%u", i);
    Driver *driver = &fuzz->drivers[i];
    Door *door = &driver->at.door;

    if (i > 0) {
        *door = (Door){.machine = fuzz->drivers[0].at.door.machine,
                       .ram = fuzz->drivers[0].at.door.ram};
    }
    g_assert(door_plug(door, device, NULL));
    door_find(door, id);
    fuzz_door_areas(&driver->at);
    driver->receive = door_alloc(door, SLOTS * SLOT_BYTES);
    driver->sent = door_alloc(door, SENT * SENT_BYTES);
}

static Fuzz *get_fuzz(void)
{
    if (!made) {
        made = g_new0(Fuzz, 1);
        make_sockets(made);
        door_init(&made->drivers[0].at.door);
        for (unsigned i = 0; i < DRIVERS; i++) {
            make_driver(made, i);
        }
        made->payload = door_alloc(&made->drivers[0].at.door, PAYLOAD);
    }
    return made;
}

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    g_assert(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

/* ---- what is heard ---- */

static void hear(Fuzz *fuzz, Driver *driver, const Header *header)
{
    unsigned me = (unsigned)(driver - fuzz->drivers);

    g_assert(header->dst_cid == CID + me);
    if (header->op == RST && header->dst_port == LAST_PORT) {
        driver->alive = true;
    } else if (header->src_cid == CID + (1 - me)) { /* whatever that one says */
        g_assert(header->op >= REQUEST && header->op <= CREDIT_REQUEST);
        g_assert(header->op == RST || header->type == STREAM ||
                 header->type == SEQPACKET);
    } else if (header->src_cid == HOST && me == 0) {
        g_assert(header->op == RST ||
                 (header->op >= REQUEST && header->op <= CREDIT_REQUEST &&
                  header->type == STREAM && header->buf_alloc == WINDOW));
        g_assert(header->len == 0 || header->op == RW);
        model_hear(&fuzz->model, header);
    } else {
        g_assert(header->op == RST && header->len == 0);
    }
}

/* ---- queues ---- */

static void check_broken(const Driver *driver)
{
    g_autofree char *reason = vds_virtio_device_get_broken_reason(driver->at.door.device);

    if (reason && !(driver->lied && g_str_has_prefix(reason, "5.10.6"))) {
        g_error("broken without a lie: %s", reason);
    }
}

static void receive(Fuzz *fuzz, Driver *driver)
{
    Door *door = &driver->at.door;
    VdsUsed used;

    for (;;) {
        Header header;
        unsigned slot;

        g_assert(vds_driver_ring_get_used(door->rings[RX], &used, NULL));
        if (!used.token) {
            return;
        }
        slot = GPOINTER_TO_UINT(used.token) - 1;
        g_assert(driver->busy[slot]);
        driver->busy[slot] = false;
        if (used.written > 0) {
            door_peek(door, driver->receive + slot * SLOT_BYTES, &header, HEADER);
            g_assert(used.written == HEADER + header.len);
            hear(fuzz, driver, &header);
        }
    }
}

static void settle(Fuzz *fuzz)
{
    VdsIoThread *thread = /* they have one: what one sends, the next round delivers */
        vds_virtio_device_get_io_thread(fuzz->drivers[0].at.door.device);

    vds_io_thread_call(thread, door_round, NULL);
    vds_io_thread_call(thread, door_round, NULL);
    for (unsigned i = 0; i < DRIVERS; i++) {
        Driver *driver = &fuzz->drivers[i];
        VdsUsed used;

        receive(fuzz, driver);
        do {
            g_assert(vds_driver_ring_get_used(driver->at.door.rings[TX], &used, NULL));
        } while (used.token);
        fuzz_door_check(&driver->at);
        check_broken(driver);
    }
}

/* At most so many buffers of so many bytes. */
static void offer(Driver *driver, unsigned n, uint32_t len)
{
    VdsDriverRing *ring = driver->at.door.rings[RX];

    for (unsigned slot = 0; slot < SLOTS && n > 0; slot++) {
        VdsSpan span = {driver->receive + slot * SLOT_BYTES, len};
        VdsBuffer buffer = {&span, 0, 1, GUINT_TO_POINTER(slot + 1)};
        bool added = false;

        if (driver->busy[slot]) {
            continue;
        }
        g_assert(vds_driver_ring_add(ring, &buffer, &added, NULL));
        if (!added) {
            break;
        }
        driver->busy[slot] = true;
        n--;
    }
    driver->lied |= len <= HEADER;
    vds_virtio_driver_kick(driver->at.door.device, RX);
}

/* So many bytes of which `len` are the header's, in pieces. */
static void transmit(Fuzz *fuzz, Driver *driver, const void *bytes, uint32_t len,
                     uint32_t payload, uint32_t piece)
{
    enum { MAX = 24 };
    Door *door = &driver->at.door;
    uint64_t gpa = driver->sent + SENT_BYTES * (driver->turn++ % SENT);
    VdsSpan spans[2 * MAX];
    VdsBuffer buffer = {.spans = spans, .token = driver};
    bool added = false;

    door_poke(door, gpa, bytes, len);
    buffer.n_out = fuzz_door_spans(spans, MAX, gpa, len, piece);
    buffer.n_out +=
        fuzz_door_spans(spans + buffer.n_out, MAX, fuzz->payload, payload, piece * 1000);
    for (unsigned i = 0; i < 2 && !added && buffer.n_out > 0; i++) {
        g_assert(vds_driver_ring_add(door->rings[TX], &buffer, &added, NULL));
        if (!added) {
            settle(fuzz);
        }
    }
    vds_virtio_driver_kick(door->device, TX);
}

/* ---- packets ---- */

static void note(Fuzz *fuzz, const Header *header)
{
    if (header->src_cid == CID && header->dst_cid == HOST) {
        model_say(&fuzz->model, header);
    }
}

static uint32_t pick_taken(Fuzz *fuzz, const Header *header, unsigned how)
{
    const Stream *stream = model_find(&fuzz->model, header->src_port, header->dst_port);
    uint32_t got = stream ? stream->got : 0;
    const uint32_t answers[] = {got, got, got / 2, 0, 1, got + 1, got - 1, UINT32_MAX};

    return answers[how % G_N_ELEMENTS(answers)];
}

static Header make_header(Fuzz *fuzz, const Step *step)
{
    static const uint32_t windows[] = {
        WINDOW, WINDOW, WINDOW, 64, 0, 1, 4096, UINT32_MAX, 1u << 31, 65536,
    };
    unsigned me = step->who % DRIVERS, port = step->who >> 3 & 3;
    const uint64_t cids[] = {HOST, HOST, CID + (1 - me), me ? CID + me : 77};
    const uint32_t ports[] = {1, 2, 3, fuzz->model.asked[port]};
    Header header = {
        .src_cid = CID + me,
        .dst_cid = cids[step->who >> 1 & 3],
        .src_port = port,
        .dst_port = ports[step->who >> 5 & 3],
        .len = step->len[0] | (uint32_t)step->len[1] << 8,
        .type = step->what < 0xe0   ? STREAM
                : step->what < 0xf0 ? SEQPACKET
                                    : 7,
        .op = step->what & 15,
        .flags = step->flags,
        .buf_alloc = windows[(step->credit & 15) % G_N_ELEMENTS(windows)],
    };

    header.fwd_cnt = pick_taken(fuzz, &header, step->credit >> 4);
    return header;
}

static void send_packet(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Driver *driver = &fuzz->drivers[step->who % DRIVERS];
    Header header = make_header(fuzz, step);
    uint32_t len = header.op == RW || header.op > CREDIT_REQUEST ? header.len : 0;

    header.len = step->more & 1 ? header.len + 1 : len;
    driver->lied |= header.len > len;
    if (header.len == len) {
        note(fuzz, &header);
    }
    transmit(fuzz, driver, &header, HEADER, len, step->more >> 1);
}

/* The same packet of many ports. */
static void flood(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Driver *driver = &fuzz->drivers[step->who % DRIVERS];
    Header header = make_header(fuzz, step);

    header.len = 0;
    for (unsigned i = 0; i < step->credit % FLOOD; i++) {
        header.src_port = FIRST_PORT + fuzz->n_flood++;
        note(fuzz, &header);
        transmit(fuzz, driver, &header, HEADER, 0, 0);
    }
    settle(fuzz);
    g_assert(count_fds() <= fuzz->n_fds + MAX_CONNECTIONS + SPARE_FDS);
}

/* A header as it came. */
static void send_raw(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Driver *driver = &fuzz->drivers[step->who % DRIVERS];
    uint32_t payload = step->len[0] | (uint32_t)step->len[1] << 8, n = step->n_bytes;
    Header header = {0};

    n = MIN(n, SENT_BYTES);
    memcpy(&header, bytes, MIN(n, HEADER));
    driver->lied |=
        n < HEADER || header.len > n - HEADER + payload || header.len > 64 * 1024;
    if (n >= HEADER) {
        note(fuzz, &header);
    }
    transmit(fuzz, driver, bytes, n, payload, step->more >> 1);
}

static void post(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    uint32_t len = step->len[0] | (uint32_t)step->len[1] << 8;

    offer(&fuzz->drivers[step->who % DRIVERS], 1 + step->credit % SLOTS,
          step->more & 1 ? MAX(len % SLOT_BYTES, 1) : SLOT_BYTES);
}

static void take_turn(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    settle(fuzz);
}

/* ---- the host ---- */

static void keep_end(Fuzz *fuzz, int fd)
{
    int *end = &fuzz->ends[fuzz->next_end++ % ENDS];

    vds_fd_close(end);
    *end = fd;
}

static int *pick_end(Fuzz *fuzz, const Step *step)
{
    return &fuzz->ends[step->what % ENDS];
}

static void host_accept(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    settle(fuzz);
    keep_end(fuzz, accept4(fuzz->listeners[step->who % LISTENERS], NULL, NULL,
                           SOCK_NONBLOCK | SOCK_CLOEXEC));
}

static void host_connect(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    g_autofree char *line = g_strdup_printf("CONNECT %u\n", step->who >> 3 & 3);
    bool raw = step->n_bytes > 0;
    int fd = vds_unix_connect(fuzz->path, NULL);

    if (fd >= 0) {
        (void)!send(fd, raw ? (const char *)bytes : line,
                    raw ? step->n_bytes : strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    keep_end(fuzz, fd);
    settle(fuzz);
}

static void host_send(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    static const uint8_t zeroes[65536];
    size_t len = step->len[0] | (size_t)step->len[1] << 8;

    (void)!send(*pick_end(fuzz, step), zeroes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    settle(fuzz);
}

static void host_receive(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    static uint8_t sink[65536];
    size_t len = step->len[0] | (size_t)step->len[1] << 8;

    settle(fuzz);
    (void)!recv(*pick_end(fuzz, step), sink, len, MSG_DONTWAIT);
    settle(fuzz);
}

static void host_shutdown(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    (void)shutdown(*pick_end(fuzz, step), step->flags % 3);
    settle(fuzz);
}

static void host_close(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    vds_fd_close(pick_end(fuzz, step));
    settle(fuzz);
}

/* ---- life ---- */

static void start(const Fuzz *fuzz, Driver *driver)
{
    uint64_t drop = fuzz->options & 1 ? 0 : DOOR_BIT(VDS_F_RING_PACKED);

    memset(driver->busy, 0, sizeof(driver->busy));
    driver->lied = driver->alive = false;
    g_assert(fuzz_door_begin(&driver->at, drop, SLOTS >> (fuzz->options >> 1) % 6));
}

static void reset(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    Driver *driver = &fuzz->drivers[step->who % DRIVERS];

    fuzz_door_end(&driver->at);
    if (driver == fuzz->drivers) {
        model_init(&fuzz->model);
    }
    start(fuzz, driver);
}

static void stop_and_cont(Fuzz *fuzz, const Step *step, const uint8_t *bytes)
{
    VdsVirtioDevice *device = fuzz->drivers[step->who % DRIVERS].at.door.device;

    vds_virtio_device_set_running(device, false);
    settle(fuzz);
    vds_virtio_device_set_running(device, true);
}

/* Whatever waits, and in the end the answer to this. */
static void expect_alive(Fuzz *fuzz, Driver *driver)
{
    const Header header = {.src_cid = CID + (uint64_t)(driver - fuzz->drivers),
                           .dst_cid = HOST,
                           .src_port = LAST_PORT,
                           .dst_port = 3,
                           .type = STREAM,
                           .op = CREDIT_UPDATE};

    transmit(fuzz, driver, &header, HEADER, 0, 0);
    for (unsigned i = 0; !driver->alive; i++) {
        offer(driver, SLOTS, SLOT_BYTES);
        settle(fuzz);
        if (door_is_broken(&driver->at.door)) {
            return;
        }
        g_assert(i < PATIENCE);
    }
}

static void end(Fuzz *fuzz)
{
    for (unsigned i = 0; i < DRIVERS; i++) {
        expect_alive(fuzz, &fuzz->drivers[i]);
    }
    for (unsigned i = 0; i < DRIVERS; i++) {
        fuzz_door_end(&fuzz->drivers[i].at);
    }
    for (unsigned i = 0; i < ENDS; i++) {
        vds_fd_close(&fuzz->ends[i]);
    }
    for (unsigned i = 0; i < LISTENERS; i++) {
        int fd;

        while ((fd = accept(fuzz->listeners[i], NULL, NULL)) >= 0) {
            close(fd);
        }
    }
}

static void run(Fuzz *fuzz, const uint8_t *data, size_t size)
{
    static void (*const ops[])(Fuzz *, const Step *, const uint8_t *) = {
        send_packet, send_packet,  send_packet,   send_packet,  post,          take_turn,
        host_accept, host_connect, host_send,     host_receive, host_shutdown, host_close,
        send_raw,    flood,        stop_and_cont, reset,
    };
    Step step;

    for (unsigned i = 0; i < STEPS && size >= sizeof(step); i++) {
        memcpy(&step, data, sizeof(step));
        data += sizeof(step);
        size -= sizeof(step);
        step.n_bytes = (uint8_t)MIN(step.n_bytes, size);
        ops[step.op % G_N_ELEMENTS(ops)](fuzz, &step, data);
        data += step.n_bytes;
        size -= step.n_bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Fuzz *fuzz = get_fuzz();
    unsigned n_fds;

    if (size == 0) {
        return 0;
    }
    fuzz->options = data[0];
    model_init(&fuzz->model);
    fuzz->n_flood = fuzz->next_end = 0;
    fuzz->n_fds = count_fds();
    for (unsigned i = 0; i < DRIVERS; i++) {
        start(fuzz, &fuzz->drivers[i]);
    }
    run(fuzz, data + 1, size - 1);
    end(fuzz);
    n_fds = count_fds();
    /* The first life brings threads and what they wait with. */
    g_assert(n_fds <= fuzz->n_fds + (fuzz->lives++ ? 0 : SPARE_FDS));
    return 0;
}
