/*
 * Requests per second through a live queue and its device, alone and while a client asks
 * about that queue 1,000 times a second; and how long the client waits.
 *
 * The process is the daemon with a driver of its own in place of the built-in guest: a
 * machine, one device on one I/O thread, a monitor on the main loop, and two threads of
 * the benchmark's: the driver, which keeps `depth` requests in flight and sleeps until
 * interrupted, and the client, which measures.  Slices take turns: driver alone, driver
 * and client, client alone (idle).  Lost is the median of pairs.
 *
 * The ring's share: the device's ring calls for the same requests, timed in one thread
 * without a device, of the I/O thread's processor time for a request.  An estimate, and a
 * generous one: it counts the look-ups in guest memory that the ring asks for, which a
 * profile by symbols does not.
 *
 * Threads are where the scheduler has them.  One request in flight is two wakeups, which
 * cost a few microseconds on one processor and ten times that across two: there, compare
 * the processor time and not the rate.
 *
 * usage: live [SLICE-MS]: prints `NAME<tab>VALUE<tab>UNIT<tab>AIM` (or "-") a line
 */
#include <err.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

#include "vds/cmds.h"
#include "vds/devices.h"
#include "vds/machine.h"
#include "vds/monitor.h"

enum {
    ROUNDS = 9,
    MAX_DEPTH = 128,
    MAX_SAMPLES = 4096,
    DEVICE_BATCH = 32, /* what a device pops at a time */
    SPANS = 3,
    UNSET = 0xff, /* a status that no device gives */
    RAM_BYTES = 16 << 20,
    SLOT_BYTES = 8192,
    NS_PER_MS = 1000000,
    PERIOD_NS = NS_PER_MS, /* of the client */
    AIM_LOST_PERCENT = 2,
    AIM_LATENCY = 2,
};

#define STUCK_NS UINT64_C(5000000000)
#define DEVICE_PATH "/machine/peripheral/d0/virtio-backend"

/* What is sent to a device again and again. */
typedef struct {
    const char *name, *driver, *key, *value; /* of -device, with one property */
    unsigned queue;
    uint32_t lens[SPANS];
    uint32_t n_out, n_in;
    uint32_t written; /* what the device must write */
} Load;

static const Load loads[] = {
    {"blk 4 KiB", "virtio-blk-pci", "num-queues", "1", 0, {16, 4096, 1}, 1, 2, 4097},
    {"net 64 B", "virtio-net-pci", "netdev", "n0", 1, {12, 64}, 2, 0, 0},
};

typedef enum { PAUSED, DRIVING, ENDED } Mode;

typedef struct {
    const Load *load;
    bool packed;
    unsigned depth;
    uint64_t slice_ns;
    /* the daemon */
    GMainContext *context;
    VdsMachine *machine;
    VdsVirtioDevice *device;
    VdsCmds *cmds;
    VdsCmdsHost host;
    VdsEventSink sink;
    VdsQmpServer qmp;
    VdsMonitorHuman human;
    VdsMonitor *monitor;
    /* the driver */
    VdsQueueState setup;
    VdsDriverTables tables;
    uint64_t slots_gpa;
    VdsDriverRing *ring;
    int wake_fd;
    _Atomic int mode;
    _Atomic uint64_t done;
    _Atomic bool resting; /* paused, and nothing is in flight */
    /* the client */
    int fd;
    char *request;
    uint64_t samples[MAX_SAMPLES];
    size_t n_samples;
    _Atomic bool measured;
    double rate[2][ROUNDS]; /* without and with the client */
    double busy_ns[2][ROUNDS];
    double p50[2][ROUNDS], p99[2][ROUNDS]; /* idle and saturated */
} Bench;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static void check_at(int line, bool ok, const GError *error)
{
    if (!ok) {
        errx(1, "line %d: %s", line, error ? error->message : "refused");
    }
}

/* `error` is looked at once `ok` is known. */
#define check(ok, error)                                                                 \
    do {                                                                                 \
        bool is_ok = (ok);                                                               \
        check_at(__LINE__, is_ok, error);                                                \
    } while (0)

static int compare_double(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

static double median(const double *values)
{
    double sorted[ROUNDS];

    memcpy(sorted, values, sizeof(sorted));
    qsort(sorted, ROUNDS, sizeof(sorted[0]), compare_double);
    return sorted[ROUNDS / 2];
}

static double median_ratio(const double *values, const double *bases)
{
    double ratios[ROUNDS];

    for (unsigned i = 0; i < ROUNDS; i++) {
        ratios[i] = values[i] / bases[i];
    }
    return median(ratios);
}

/* ---- the driver ---------------------------------------------------------------------
 */

static void add_request(Bench *bench, VdsDriverRing *ring, uint64_t slot)
{
    VdsSpan spans[SPANS];
    const VdsBuffer buffer = {spans, bench->load->n_out, bench->load->n_in,
                              GSIZE_TO_POINTER(slot + 1)};
    uint64_t gpa = bench->slots_gpa + slot * SLOT_BYTES;
    bool added = false;

    for (unsigned i = 0; i < buffer.n_out + buffer.n_in; i++) {
        spans[i] = (VdsSpan){gpa, bench->load->lens[i]};
        gpa += bench->load->lens[i];
    }
    check(vds_driver_ring_add(ring, &buffer, &added, NULL) && added, NULL);
}

/* Takes what is used; each goes out again while the driver drives. */
static uint64_t turn(Bench *bench)
{
    bool driving = atomic_load(&bench->mode) == DRIVING;
    uint64_t n = 0;
    VdsUsed used;

    for (; n < MAX_DEPTH; n++) {
        check(vds_driver_ring_get_used(bench->ring, &used, NULL), NULL);
        if (!used.token) {
            break;
        }
        check(used.written == bench->load->written, NULL);
        if (driving) {
            add_request(bench, bench->ring, GPOINTER_TO_SIZE(used.token) - 1);
        }
    }
    return n;
}

static void kick(Bench *bench)
{
    bool wanted = false;

    check(vds_driver_ring_should_kick(bench->ring, &wanted, NULL), NULL);
    if (wanted) {
        vds_virtio_driver_kick(bench->device, bench->load->queue);
    }
}

static void ignore_interrupt(unsigned n, void *user)
{
}

static void sleep_until_told(Bench *bench)
{
    struct pollfd fds[] = {
        {.fd = bench->wake_fd, .events = POLLIN},
        {.fd = vds_virtio_driver_get_interrupt_fd(bench->device), .events = POLLIN}};
    eventfd_t count;

    check(poll(fds, G_N_ELEMENTS(fds), -1) > 0, NULL);
    if (fds[0].revents) {
        eventfd_read(bench->wake_fd, &count);
    }
    if (fds[1].revents) {
        vds_virtio_driver_take_interrupts(bench->device, ignore_interrupt, NULL);
    }
}

/* Nothing is in flight: everything goes out once the driver drives again. */
static void rest_or_begin(Bench *bench)
{
    if (atomic_load(&bench->mode) != DRIVING) {
        atomic_store(&bench->resting, true);
        sleep_until_told(bench);
        return;
    }
    atomic_store(&bench->resting, false);
    for (unsigned i = 0; i < bench->depth; i++) {
        add_request(bench, bench->ring, i);
    }
    kick(bench);
}

/* As Linux: no interrupts while it looks, and one more look after asking for them. */
static void *drive(void *user)
{
    Bench *bench = user;
    bool more = false;

    while (atomic_load(&bench->mode) != ENDED) {
        uint64_t n;

        if (vds_driver_ring_get_pending(bench->ring) == 0) {
            rest_or_begin(bench);
            continue;
        }
        check(vds_driver_ring_set_interrupts(bench->ring, false, &more, NULL), NULL);
        n = turn(bench);
        if (n > 0) {
            kick(bench);
            atomic_fetch_add(&bench->done, n);
        }
        check(vds_driver_ring_set_interrupts(bench->ring, true, &more, NULL), NULL);
        if (!more && vds_driver_ring_get_pending(bench->ring) > 0) {
            sleep_until_told(bench);
        }
    }
    return NULL;
}

static void set_mode(Bench *bench, Mode mode)
{
    atomic_store(&bench->mode, mode);
    eventfd_write(bench->wake_fd, 1);
    while (mode == PAUSED && !atomic_load(&bench->resting)) {
        g_usleep(100);
    }
}

/* ---- the client ----------------------------------------------------------------------
 */

static void query(int fd, const char *request)
{
    char reply[65536];
    size_t len = 0;

    check(write(fd, request, strlen(request)) == (ssize_t)strlen(request), NULL);
    do {
        ssize_t n = read(fd, reply + len, sizeof(reply) - len);

        check(n > 0, NULL);
        len += (size_t)n;
    } while (reply[len - 1] != '\n');
    if (!memmem(reply, len, "\"return\"", strlen("\"return\"")) &&
        !memmem(reply, len, "\"QMP\"", strlen("\"QMP\""))) {
        errx(1, "not an answer: %.*s", (int)len, reply);
    }
}

static void spend(Bench *bench, bool with_client)
{
    uint64_t start = now_ns(), end = start + bench->slice_ns, at = start;

    bench->n_samples = 0;
    while (with_client && at + PERIOD_NS < end && bench->n_samples < MAX_SAMPLES) {
        struct timespec until = {.tv_sec = (time_t)(at / 1000000000),
                                 .tv_nsec = (long)(at % 1000000000)};
        uint64_t sent;

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        sent = now_ns();
        query(bench->fd, bench->request);
        bench->samples[bench->n_samples++] = now_ns() - sent;
        at += PERIOD_NS;
    }
    at = now_ns();
    if (at < end) {
        g_usleep((end - at) / 1000);
    }
}

/* The processor time of another thread of this process, as the kernel encodes it. */
static uint64_t io_thread_ns(const Bench *bench)
{
    int64_t id = vds_io_thread_get_id(vds_virtio_device_get_io_thread(bench->device));

    return clock_ns((clockid_t)(~(uint32_t)id << 3 | 6));
}

/* A busy machine may give the driver no turn in a whole slice; a queue that stands still
 * for seconds is stuck. */
static uint64_t wait_for_one(const Bench *bench, uint64_t before)
{
    uint64_t start = now_ns(), done;

    while ((done = atomic_load(&bench->done) - before) == 0) {
        check(now_ns() - start < STUCK_NS, NULL);
        g_usleep(1000);
    }
    return done;
}

static void slice_driven(Bench *bench, unsigned round, bool with_client)
{
    uint64_t start = now_ns(), busy = io_thread_ns(bench);
    uint64_t done = atomic_load(&bench->done);

    spend(bench, with_client);
    done = wait_for_one(bench, done);
    bench->rate[with_client][round] = (double)done * 1e9 / (double)(now_ns() - start);
    bench->busy_ns[with_client][round] =
        (double)(io_thread_ns(bench) - busy) / (double)done;
}

static void note_latency(Bench *bench, unsigned round, bool saturated)
{
    qsort(bench->samples, bench->n_samples, sizeof(bench->samples[0]), compare_u64);
    bench->p50[saturated][round] = (double)bench->samples[bench->n_samples / 2];
    bench->p99[saturated][round] = (double)bench->samples[bench->n_samples * 99 / 100];
}

/* Which of a pair comes first changes, so that neither gains by a drift. */
static void *measure(void *user)
{
    Bench *bench = user;

    query(bench->fd, "");
    query(bench->fd, "{\"execute\": \"qmp_capabilities\"}\n");
    for (unsigned i = 0; i < ROUNDS; i++) {
        set_mode(bench, DRIVING);
        g_usleep(5000);
        for (unsigned k = 0; k < 2; k++) {
            bool with_client = (i + k) % 2;

            slice_driven(bench, i, with_client);
            if (with_client) {
                note_latency(bench, i, true);
            }
        }
        set_mode(bench, PAUSED);
        spend(bench, true);
        note_latency(bench, i, false);
    }
    set_mode(bench, ENDED);
    atomic_store(&bench->measured, true);
    g_main_context_wakeup(bench->context);
    return NULL;
}

/* ---- the ring alone ------------------------------------------------------------------
 */

static uint64_t device_round_ns(Bench *bench, VdsVring *device, unsigned batch)
{
    VdsRequest *requests[DEVICE_BATCH];
    uint64_t start = now_ns();
    bool interrupt = false;

    for (unsigned i = 0; i < batch; i++) {
        check(vds_vring_pop(device, &requests[i], NULL) && requests[i], NULL);
    }
    for (unsigned i = 0; i < batch; i++) {
        check(vds_vring_push(device, requests[i], (uint32_t)requests[i]->in_bytes, NULL),
              NULL);
    }
    check(vds_vring_publish(device, &interrupt, NULL), NULL);
    return now_ns() - start;
}

/* ns of the device's calls for one request: the median round, so that those in which
 * another process ran do not count. */
static double ring_ns(Bench *bench)
{
    unsigned batch = MIN(bench->depth, DEVICE_BATCH);
    VdsDriverRing *driver =
        vds_driver_ring_new(&bench->setup, VDS_VRING_INDIRECT, &bench->tables, NULL);
    VdsVring *device = vds_vring_new(&bench->setup, VDS_VRING_INDIRECT, NULL);

    check(driver && device, NULL);
    for (unsigned i = 0; i < MAX_SAMPLES; i++) {
        for (unsigned n = 0; n < batch; n++) {
            add_request(bench, driver, n);
        }
        bench->samples[i] = device_round_ns(bench, device, batch);
        for (unsigned n = 0; n < batch; n++) {
            VdsUsed used;

            check(vds_driver_ring_get_used(driver, &used, NULL) && used.token, NULL);
        }
    }
    vds_driver_ring_free(driver);
    vds_vring_free(device);
    qsort(bench->samples, MAX_SAMPLES, sizeof(bench->samples[0]), compare_u64);
    return (double)bench->samples[MAX_SAMPLES / 2] / batch;
}

/* ---- the daemon ----------------------------------------------------------------------
 */

static void ignore_event(void *user, const VdsQapiEvent *event, const void *data)
{
}

static VdsQmpError classify(const GError *error)
{
    return VDS_QMP_ERROR_GENERIC;
}

static char *no_line(void *user, const char *line)
{
    return g_strdup("");
}

static void start_machine(Bench *bench)
{
    const VdsMachineMemory memory = {.bytes = RAM_BYTES, .given = true};
    g_autoptr(VdsProps) netdev = vds_props_new();
    g_autoptr(VdsProps) device = vds_props_new();
    GError *error = NULL;

    vds_props_set_string(netdev, "type", "user");
    vds_props_set_string(netdev, "id", "n0");
    vds_props_set_string(device, "driver", bench->load->driver);
    vds_props_set_string(device, "id", "d0");
    vds_props_set_string(device, "packed", bench->packed ? "on" : "off");
    vds_props_set_string(device, bench->load->key, bench->load->value);
    bench->machine = vds_machine_new("vds", vds_device_classes);
    check(vds_machine_backend_add(bench->machine, "netdev", netdev, &error) &&
              vds_machine_set_memory(bench->machine, &memory, &error) &&
              vds_machine_device_add(bench->machine, device, &error) &&
              vds_machine_cont(bench->machine, &error),
          error);
    bench->device = vds_machine_find(bench->machine, DEVICE_PATH, NULL);
    check(bench->device && vds_virtio_device_get_io_thread(bench->device), NULL);
}

static void start_monitor(Bench *bench)
{
    VdsMonitorConfig config = {.mode = VDS_MONITOR_QMP, .transport = VDS_MONITOR_FD};
    GError *error = NULL;
    int fds[2];

    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, NULL);
    bench->fd = fds[0];
    config.fd = fds[1];
    bench->request = g_strdup_printf(
        "{\"execute\": \"x-query-virtio-queue-status\", \"arguments\": {\"path\": "
        "\"" DEVICE_PATH "\", \"queue\": %u}}\n",
        bench->load->queue);
    bench->context = g_main_context_new();
    bench->sink = (VdsEventSink){.emit = ignore_event};
    bench->host = (VdsCmdsHost){.package = "benchmark"};
    bench->cmds = vds_cmds_new(bench->machine, &bench->host, &bench->sink);
    bench->qmp = (VdsQmpServer){.dispatch = vds_cmds_dispatch,
                                .ctx = bench->cmds,
                                .major = VDS_CMDS_LEVEL_MAJOR,
                                .package = "benchmark",
                                .classify = classify};
    bench->human = (VdsMonitorHuman){.line = no_line, .banner = ""};
    bench->monitor = vds_monitor_new(bench->context, &bench->qmp, &bench->human);
    check(vds_monitor_add(bench->monitor, &config, &error), error);
}

static uint64_t allocate(Bench *bench, uint64_t bytes)
{
    GError *error = NULL;
    uint64_t gpa = 0;

    check(vds_guest_ram_alloc(vds_machine_get_ram(bench->machine), bytes, 4096, &gpa,
                              &error),
          error);
    return gpa;
}

/* The last byte of a slot's last span: of a disk's request, its status. */
static uint64_t status_gpa(const Bench *bench, unsigned slot)
{
    uint64_t gpa = bench->slots_gpa + slot * SLOT_BYTES;

    for (unsigned i = 0; i < SPANS; i++) {
        gpa += bench->load->lens[i];
    }
    return gpa - 1;
}

static void place_queue(Bench *bench, const VdsFeatures *features)
{
    const uint8_t unset = UNSET;
    VdsQueueState *setup = &bench->setup;

    setup->packed = vds_features_has(features, VDS_F_RING_PACKED);
    check(setup->packed == bench->packed, NULL);
    setup->event_idx = vds_features_has(features, VDS_F_RING_EVENT_IDX);
    setup->num = vds_virtio_driver_get_queue_size(bench->device, bench->load->queue);
    setup->map = vds_guest_ram_get_map(vds_machine_get_ram(bench->machine));
    setup->desc = allocate(bench, vds_queue_desc_size(setup));
    setup->avail = allocate(bench, vds_queue_avail_size(setup));
    setup->used = allocate(bench, vds_queue_used_size(setup));
    bench->tables = (VdsDriverTables){allocate(bench, setup->num * SPANS * 16), SPANS};
    /* All zeroes: a read of sector 0, and a frame that nobody looks at. */
    bench->slots_gpa = allocate(bench, MAX_DEPTH * SLOT_BYTES);
    for (unsigned i = 0; i < MAX_DEPTH; i++) {
        check(vds_guest_map_write(setup->map, status_gpa(bench, i), &unset, 1, NULL),
              NULL);
    }
}

/* The requests did what they were to do. */
static void check_requests(const Bench *bench)
{
    for (unsigned i = 0; i < bench->depth && bench->load->n_in > 0; i++) {
        uint8_t status = UNSET;

        check(vds_guest_map_read(bench->setup.map, status_gpa(bench, i), &status, 1,
                                 NULL) &&
                  status == 0,
              NULL);
    }
}

static void start_driver(Bench *bench)
{
    VdsVirtioDevice *device = bench->device;
    VdsFeatures features = vds_virtio_driver_get_features(device);
    uint8_t status = VDS_STATUS_ACKNOWLEDGE | VDS_STATUS_DRIVER;
    VdsQueueSetup setup;
    GError *error = NULL;

    features.word[0] &=
        UINT64_C(1) << VDS_F_VERSION_1 | UINT64_C(1) << VDS_F_RING_EVENT_IDX |
        UINT64_C(1) << VDS_F_RING_INDIRECT_DESC | UINT64_C(1) << VDS_F_RING_PACKED;
    features.word[1] = 0;
    vds_virtio_driver_set_map(device,
                              vds_guest_ram_get_map(vds_machine_get_ram(bench->machine)));
    place_queue(bench, &features);
    bench->ring =
        vds_driver_ring_new(&bench->setup, VDS_VRING_INDIRECT, &bench->tables, &error);
    check(bench->ring, error);
    setup = (VdsQueueSetup){.num = bench->setup.num,
                            .desc = bench->setup.desc,
                            .avail = bench->setup.avail,
                            .used = bench->setup.used};
    check(vds_virtio_driver_set_status(device, status, &error) &&
              vds_virtio_driver_set_features(device, &features, &error) &&
              vds_virtio_driver_set_status(device, status |= VDS_STATUS_FEATURES_OK,
                                           &error) &&
              vds_virtio_driver_set_queue(device, bench->load->queue, &setup, &error) &&
              vds_virtio_driver_enable_queue(device, bench->load->queue, &error) &&
              vds_virtio_driver_set_status(device, status | VDS_STATUS_DRIVER_OK, &error),
          error);
    bench->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(bench->wake_fd >= 0, NULL);
}

static void stop(Bench *bench)
{
    vds_monitor_free(bench->monitor);
    vds_cmds_free(bench->cmds);
    vds_machine_free(bench->machine);
    vds_driver_ring_free(bench->ring);
    g_main_context_unref(bench->context);
    g_free(bench->request);
    vds_fd_close(&bench->fd);
    vds_fd_close(&bench->wake_fd);
}

/* ---- the table ------------------------------------------------------------------------
 */

static void row(const Bench *bench, const char *what, double value, const char *unit,
                int aim)
{
    g_autofree char *bound = aim ? g_strdup_printf("%d", aim) : g_strdup("-");

    printf("%s, %s, %u in flight: %s\t%.4f\t%s\t%s\n", bench->load->name,
           bench->packed ? "packed" : "split", bench->depth, what, value, unit, bound);
    fflush(stdout);
}

static void report(Bench *bench, double alone_ns)
{
    double busy_ns = median(bench->busy_ns[false]);

    row(bench, "requests", median(bench->rate[false]) / 1000, "k/s", 0);
    row(bench, "I/O thread a request", busy_ns, "ns", 0);
    row(bench, "ring code", 100 * alone_ns / busy_ns, "%", 0);
    row(bench, "lost to a client",
        100 * (1 - median_ratio(bench->rate[true], bench->rate[false])), "%",
        AIM_LOST_PERCENT);
    row(bench, "more I/O thread with it",
        100 * (median_ratio(bench->busy_ns[true], bench->busy_ns[false]) - 1), "%", 0);
    row(bench, "query p99, idle", median(bench->p99[false]) / 1000, "us", 0);
    row(bench, "query p50, saturated to idle",
        median_ratio(bench->p50[true], bench->p50[false]), "x", 0);
    row(bench, "query p99, saturated to idle",
        median_ratio(bench->p99[true], bench->p99[false]), "x", AIM_LATENCY);
}

static void run(const Load *load, bool packed, unsigned depth, uint64_t slice_ns)
{
    g_autofree Bench *bench = g_new0(Bench, 1);
    pthread_t driver, client;
    double alone_ns;

    *bench = (Bench){.load = load,
                     .packed = packed,
                     .depth = depth,
                     .slice_ns = slice_ns,
                     .resting = true};
    start_machine(bench);
    start_monitor(bench);
    start_driver(bench);
    check(pthread_create(&driver, NULL, drive, bench) == 0 &&
              pthread_create(&client, NULL, measure, bench) == 0,
          NULL);
    while (!atomic_load(&bench->measured)) {
        g_main_context_iteration(bench->context, TRUE);
    }
    pthread_join(client, NULL);
    pthread_join(driver, NULL);
    check(vds_virtio_driver_set_status(bench->device, 0, NULL), NULL);
    check_requests(bench);
    alone_ns = ring_ns(bench); /* the device has let go of that memory */
    report(bench, alone_ns);
    stop(bench);
}

int main(int argc, char **argv)
{
    static const unsigned depths[] = {1, MAX_DEPTH};
    uint64_t slice_ms = argc > 1 ? strtoull(argv[1], NULL, 10) : 200;

    if (slice_ms < 10 || slice_ms >= MAX_SAMPLES) {
        errx(2, "a slice of 10 to %d ms", MAX_SAMPLES - 1);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(loads); i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(depths); k++) {
            run(&loads[i], false, depths[k], slice_ms * NS_PER_MS);
            run(&loads[i], true, depths[k], slice_ms * NS_PER_MS);
        }
    }
    return 0;
}
