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
 * Where the scheduler has these four threads decides more than what they do: a query
 * between two threads on one processor is 8 us, across two 90 us, for there each answer
 * wakes a processor that sleeps (measured in a virtual machine).  An idle machine keeps
 * client and main loop together, a busy one parts them.  So they are placed, and the aims
 * hold for that: driver and I/O thread on one processor, main loop and client on another.
 * How these still disturb one another is ours: locks, cache lines, wake-ups.  What the
 * scheduler makes of it is printed beside it ("unplaced"), without an aim.
 *
 * The ring's share: the device's ring calls for the same requests, timed in one thread
 * without a device, of the I/O thread's processor time for a request.  An estimate, and a
 * generous one: it counts the look-ups in guest memory that the ring asks for, which a
 * profile by symbols does not.
 *
 * usage: live [SLICE-MS]: prints `NAME<tab>VALUE<tab>UNIT<tab>AIM` (or "-") a line
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "live.h"

enum {
    ROUNDS = 9,
    MAX_SAMPLES = 4096,
    NS_PER_MS = 1000000,
    PERIOD_NS = NS_PER_MS, /* of the client */
    AIM_LOST_PERCENT = 2,
    AIM_LATENCY = 2,
};

#define STUCK_NS UINT64_C(5000000000)

static const LiveLoad loads[] = {
    {"blk 4 KiB", "virtio-blk-pci", "num-queues", "1", 0, {16, 4096, 1}, 1, 2, 4097},
    {"net 64 B", "virtio-net-pci", "netdev", "n0", 1, {12, 64}, 2, 0, 0},
};

/* The processors of both sides. */
typedef struct {
    const char *name;
    cpu_set_t data;    /* driver and I/O thread */
    cpu_set_t control; /* main loop and client */
    bool aimed;
} Placement;

/* Of one kind of slice, by round. */
typedef struct {
    double p50[ROUNDS], p99[ROUNDS];
} Latency;

typedef struct {
    double rate[2][ROUNDS]; /* without and with the client */
    double busy_ns[2][ROUNDS];
    Latency idle, saturated;
} Figures;

typedef struct {
    Live live;
    pthread_t driver, client;
    const Placement *placements;
    size_t n_placements;
    uint64_t slice_ns;
    /* the client's */
    char *request;
    uint64_t waited[MAX_SAMPLES];
    size_t n_samples;
    Figures figures;
    double ring_ns;
    _Atomic bool measured;
} Bench;

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

/* ---- processors
 * ------------------------------------------------------------------------
 */

static int64_t io_thread_id(const Bench *bench)
{
    return vds_io_thread_get_id(vds_virtio_device_get_io_thread(bench->live.device));
}

static void place(const Bench *bench, const Placement *placement)
{
    const size_t size = sizeof(cpu_set_t);

    live_check(sched_setaffinity((pid_t)io_thread_id(bench), size, &placement->data) ==
                       0 &&
                   pthread_setaffinity_np(bench->driver, size, &placement->data) == 0 &&
                   sched_setaffinity(getpid(), size, &placement->control) == 0 &&
                   sched_setaffinity(0, size, &placement->control) == 0,
               NULL);
}

/* The processor time of another thread of this process, as the kernel encodes it. */
static uint64_t io_thread_ns(const Bench *bench)
{
    return live_clock_ns((clockid_t)(~(uint32_t)io_thread_id(bench) << 3 | 6));
}

/* ---- the client ----------------------------------------------------------------------
 */

static void query(int fd, const char *request)
{
    char reply[65536];
    size_t len = 0;

    live_check(write(fd, request, strlen(request)) == (ssize_t)strlen(request), NULL);
    do {
        ssize_t n = read(fd, reply + len, sizeof(reply) - len);

        live_check(n > 0, NULL);
        len += (size_t)n;
    } while (reply[len - 1] != '\n');
    if (!memmem(reply, len, "\"return\"", strlen("\"return\"")) &&
        !memmem(reply, len, "\"QMP\"", strlen("\"QMP\""))) {
        errx(1, "not an answer: %.*s", (int)len, reply);
    }
}

static void sample(Bench *bench)
{
    uint64_t sent = live_now_ns();

    query(bench->live.fd, bench->request);
    bench->waited[bench->n_samples++] = live_now_ns() - sent;
}

static void spend(Bench *bench, bool with_client)
{
    uint64_t start = live_now_ns(), end = start + bench->slice_ns, at = start;

    bench->n_samples = 0;
    while (with_client && at + PERIOD_NS < end && bench->n_samples < MAX_SAMPLES) {
        struct timespec until = {.tv_sec = (time_t)(at / 1000000000),
                                 .tv_nsec = (long)(at % 1000000000)};

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        sample(bench);
        at += PERIOD_NS;
    }
    at = live_now_ns();
    if (at < end) {
        g_usleep((end - at) / 1000);
    }
}

/* A busy machine may give the driver no turn in a whole slice; a queue that stands still
 * for seconds is stuck. */
static uint64_t wait_for_one(const Live *live, uint64_t before)
{
    uint64_t start = live_now_ns(), done;

    while ((done = atomic_load(&live->done) - before) == 0) {
        live_check(live_now_ns() - start < STUCK_NS, NULL);
        g_usleep(1000);
    }
    return done;
}

static void slice_driven(Bench *bench, unsigned round, bool with_client)
{
    uint64_t start = live_now_ns(), busy = io_thread_ns(bench);
    uint64_t done = atomic_load(&bench->live.done);
    Figures *figures = &bench->figures;

    spend(bench, with_client);
    done = wait_for_one(&bench->live, done);
    figures->rate[with_client][round] =
        (double)done * 1e9 / (double)(live_now_ns() - start);
    figures->busy_ns[with_client][round] =
        (double)(io_thread_ns(bench) - busy) / (double)done;
}

static void note_latency(Bench *bench, unsigned round, Latency *latency)
{
    size_t n = bench->n_samples;

    qsort(bench->waited, n, sizeof(bench->waited[0]), compare_u64);
    latency->p50[round] = (double)bench->waited[n / 2];
    latency->p99[round] = (double)bench->waited[n * 99 / 100];
}

/* Which of a pair comes first changes, so that neither gains by a drift. */
static void round_of(Bench *bench, unsigned round)
{
    live_set_mode(&bench->live, LIVE_DRIVING);
    g_usleep(5000);
    for (unsigned k = 0; k < 2; k++) {
        bool with_client = (round + k) % 2;

        slice_driven(bench, round, with_client);
        if (with_client) {
            note_latency(bench, round, &bench->figures.saturated);
        }
    }
    live_set_mode(&bench->live, LIVE_PAUSED);
    spend(bench, true);
    note_latency(bench, round, &bench->figures.idle);
}

/* ---- the table ------------------------------------------------------------------------
 */

static void row(const Bench *bench, const Placement *placement, const char *what,
                double value, const char *unit, int aim)
{
    const Live *live = &bench->live;
    g_autofree char *bound =
        aim && placement->aimed ? g_strdup_printf("%d", aim) : g_strdup("-");

    printf("%s, %s, %u in flight, %s: %s\t%.4f\t%s\t%s\n", live->load->name,
           live->packed ? "packed" : "split", live->depth, placement->name, what, value,
           unit, bound);
    fflush(stdout);
}

static void report(const Bench *bench, const Placement *placement)
{
    const Figures *figures = &bench->figures;
    const Latency *idle = &figures->idle, *saturated = &figures->saturated;
    double busy_ns = median(figures->busy_ns[false]);

    row(bench, placement, "requests", median(figures->rate[false]) / 1000, "k/s", 0);
    row(bench, placement, "I/O thread a request", busy_ns, "ns", 0);
    row(bench, placement, "lost to a client",
        100 * (1 - median_ratio(figures->rate[true], figures->rate[false])), "%",
        AIM_LOST_PERCENT);
    row(bench, placement, "more I/O thread with it",
        100 * (median_ratio(figures->busy_ns[true], figures->busy_ns[false]) - 1), "%",
        0);
    row(bench, placement, "query p50, idle", median(idle->p50) / 1000, "us", 0);
    row(bench, placement, "query p99, idle", median(idle->p99) / 1000, "us", 0);
    row(bench, placement, "query p50, saturated to idle",
        median_ratio(saturated->p50, idle->p50), "x", 0);
    row(bench, placement, "query p99, saturated to idle",
        median_ratio(saturated->p99, idle->p99), "x", AIM_LATENCY);
}

/* The client's thread. */
static void *measure(void *user)
{
    Bench *bench = user;

    query(bench->live.fd, "");
    query(bench->live.fd, "{\"execute\": \"qmp_capabilities\"}\n");
    for (size_t i = 0; i < bench->n_placements; i++) {
        place(bench, &bench->placements[i]);
        for (unsigned round = 0; round < ROUNDS; round++) {
            round_of(bench, round);
        }
        report(bench, &bench->placements[i]);
    }
    live_set_mode(&bench->live, LIVE_ENDED);
    atomic_store(&bench->measured, true);
    g_main_context_wakeup(bench->live.context);
    return NULL;
}

/* ---- all of it ------------------------------------------------------------------------
 */

static void run(Bench *bench)
{
    Live *live = &bench->live;

    live_start(live);
    bench->request = g_strdup_printf(
        "{\"execute\": \"x-query-virtio-queue-status\", \"arguments\": {\"path\": "
        "\"" LIVE_DEVICE_PATH "\", \"queue\": %u}}\n",
        live->load->queue);
    live_check(pthread_create(&bench->driver, NULL, live_drive, live) == 0 &&
                   pthread_create(&bench->client, NULL, measure, bench) == 0,
               NULL);
    while (!atomic_load(&bench->measured)) {
        g_main_context_iteration(live->context, TRUE);
    }
    pthread_join(bench->client, NULL);
    pthread_join(bench->driver, NULL);
    live_reset(live);
    row(bench, &bench->placements[0], "ring code",
        100 * live_ring_ns(live) / median(bench->figures.busy_ns[false]), "%", 0);
    live_stop(live);
    g_free(bench->request);
}

/* The placed one, where there are two processors, and the scheduler's. */
static size_t placements_make(Placement *placements)
{
    cpu_set_t all;
    int first = -1, last = -1;
    size_t n = 0;

    live_check(sched_getaffinity(0, sizeof(all), &all) == 0, NULL);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all)) {
            first = first < 0 ? i : first;
            last = i;
        }
    }
    if (first != last) {
        Placement *placed = &placements[n++];

        *placed = (Placement){.name = "placed", .aimed = true};
        CPU_SET(first, &placed->data);
        CPU_SET(last, &placed->control);
    }
    placements[n++] = (Placement){.name = "unplaced", .data = all, .control = all};
    return n;
}

int main(int argc, char **argv)
{
    static const unsigned depths[] = {1, LIVE_MAX_DEPTH};
    uint64_t slice_ms = argc > 1 ? strtoull(argv[1], NULL, 10) : 150;
    Placement placements[2];
    size_t n_placements = placements_make(placements);

    if (slice_ms < 10 || slice_ms >= MAX_SAMPLES) {
        errx(2, "a slice of 10 to %d ms", MAX_SAMPLES - 1);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(loads) * G_N_ELEMENTS(depths) * 2; i++) {
        g_autofree Bench *bench = g_new0(Bench, 1);

        bench->live.load = &loads[i / 4];
        bench->live.depth = depths[i / 2 % 2];
        bench->live.packed = i % 2;
        bench->placements = placements;
        bench->n_placements = n_placements;
        bench->slice_ns = slice_ms * NS_PER_MS;
        run(bench);
    }
    return 0;
}
