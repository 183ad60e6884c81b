/*
 * Requests per second through a ring, the driver's and the device's side in one thread:
 * what the rings themselves cost, without a device or a wakeup.
 *
 * A request is two spans, 16 bytes to read and 512 to write, whose content nobody
 * touches. Each round adds a batch, asks for the kick, pops all, pushes all, publishes,
 * and takes all back.  Printed are medians over slices; the device's share is its own
 * calls only.  Memory that its owner may cut short (open) stands beside such as is
 * sealed.
 *
 * usage: rings [SLICE-MS]
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vds/vring.h"

enum {
    NUM = 256,
    SLICES = 9,
    MAX_BATCH = 128,
    AIM_MILLIONS = 5, /* a second, both sides */
    DESC = 0x10000,
    AVAIL = 0x20000,
    USED = 0x30000,
    TABLES = 0x40000,
    DATA = 0x80000,
    BYTES = 1 << 20,
};

typedef struct {
    VdsGuestMap *map;
    VdsDriverRing *driver;
    VdsVring *device;
    VdsRequest *requests[MAX_BATCH];
    unsigned batch;
    uint64_t device_ns;
} Bench;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void check(bool ok)
{
    if (!ok) {
        errx(1, "a ring refused");
    }
}

static void device_round(Bench *bench)
{
    bool interrupt = false;

    for (unsigned i = 0; i < bench->batch; i++) {
        check(vds_vring_pop(bench->device, &bench->requests[i], NULL) &&
              bench->requests[i]);
    }
    for (unsigned i = 0; i < bench->batch; i++) {
        check(vds_vring_push(bench->device, bench->requests[i], 512, NULL));
    }
    check(vds_vring_publish(bench->device, &interrupt, NULL));
}

static void run_round(Bench *bench)
{
    const VdsSpan spans[] = {{DATA, 16}, {DATA + 4096, 512}};
    const VdsBuffer buffer = {spans, 1, 1, bench};
    uint64_t start = 0;
    bool flag = false;

    for (unsigned i = 0; i < bench->batch; i++) {
        check(vds_driver_ring_add(bench->driver, &buffer, &flag, NULL) && flag);
    }
    check(vds_driver_ring_should_kick(bench->driver, &flag, NULL));
    start = now_ns();
    device_round(bench);
    bench->device_ns += now_ns() - start;
    for (unsigned i = 0; i < bench->batch; i++) {
        VdsUsed used;

        check(vds_driver_ring_get_used(bench->driver, &used, NULL) && used.token);
    }
}

static int compare(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

/* Runs slices; the medians of millions a second and of the device's ns a request. */
static void measure(Bench *bench, uint64_t slice_ns, double *millions, double *device_ns)
{
    double rates[SLICES], device[SLICES];

    for (unsigned i = 0; i < SLICES; i++) {
        uint64_t start = now_ns(), end = start, requests = 0;

        bench->device_ns = 0;
        while (end - start < slice_ns) {
            for (unsigned k = 0; k < 64; k++) {
                run_round(bench);
            }
            requests += 64 * bench->batch;
            end = now_ns();
        }
        rates[i] = (double)requests * 1e3 / (double)(end - start);
        device[i] = (double)bench->device_ns / (double)requests;
    }
    qsort(rates, SLICES, sizeof(rates[0]), compare);
    qsort(device, SLICES, sizeof(device[0]), compare);
    *millions = rates[SLICES / 2];
    *device_ns = device[SLICES / 2];
}

typedef struct {
    const char *name;
    VdsGuestRam *ram;
} Memory;

static void run(const Memory *memory, bool packed, bool indirect, unsigned batch,
                uint64_t slice_ns)
{
    VdsGuestMap *map = vds_guest_ram_get_map(memory->ram);
    const VdsQueueState setup = {.packed = packed,
                                 .event_idx = true,
                                 .num = NUM,
                                 .desc = DESC,
                                 .avail = AVAIL,
                                 .used = USED,
                                 .map = map};
    const VdsDriverTables tables = {TABLES, 4};
    unsigned flags = indirect ? VDS_VRING_INDIRECT : 0;
    Bench bench = {.map = map, .batch = batch};
    double millions = 0, device_ns = 0;

    bench.driver = vds_driver_ring_new(&setup, flags, &tables, NULL);
    bench.device = vds_vring_new(&setup, flags, NULL);
    check(bench.driver && bench.device);
    measure(&bench, slice_ns, &millions, &device_ns);
    printf("%-7s %-9s %-7s %5u %10.2f %6d %12.1f\n", packed ? "packed" : "split",
           indirect ? "indirect" : "direct", memory->name, batch, millions, AIM_MILLIONS,
           device_ns);
    vds_driver_ring_free(bench.driver);
    vds_vring_free(bench.device);
}

static double copy_ns(VdsGuestMap *map, bool write, size_t len, uint64_t slice_ns)
{
    static uint8_t bytes[4096];
    double ns[SLICES];

    for (unsigned i = 0; i < SLICES; i++) {
        uint64_t start = now_ns(), end = start, copies = 0;

        while (end - start < slice_ns) {
            for (unsigned k = 0; k < 1000; k++) {
                check(write ? vds_guest_map_write(map, DATA, bytes, len, NULL)
                            : vds_guest_map_read(map, DATA, bytes, len, NULL));
            }
            copies += 1000;
            end = now_ns();
        }
        ns[i] = (double)(end - start) / (double)copies;
    }
    qsort(ns, SLICES, sizeof(ns[0]), compare);
    return ns[SLICES / 2];
}

/* What a device's stream costs: out of guest memory and into it. */
static void run_copies(const Memory *memory, uint64_t slice_ns)
{
    static const size_t lens[] = {12, 64, 4096};
    VdsGuestMap *map = vds_guest_ram_get_map(memory->ram);

    for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
        printf("%-7s %5zu bytes: %6.1f ns to read, %6.1f ns to write\n", memory->name,
               lens[i], copy_ns(map, false, lens[i], slice_ns),
               copy_ns(map, true, lens[i], slice_ns));
    }
}

static VdsGuestRam *new_ram(bool seal)
{
    const VdsGuestRamConfig config = {
        .kind = VDS_GUEST_RAM_MEMFD, .size = BYTES, .seal = seal};

    return vds_guest_ram_new(&config, NULL);
}

int main(int argc, char **argv)
{
    static const unsigned batches[] = {1, 16, 128};
    g_autoptr(VdsGuestRam) sealed = new_ram(true), open = new_ram(false);
    const Memory memories[] = {{"sealed", sealed}, {"open", open}};
    uint64_t slice_ns = (argc > 1 ? strtoull(argv[1], NULL, 10) : 50) * 1000000;

    check(sealed && open);
    printf("%-7s %-9s %-7s %5s %10s %6s %12s\n", "ring", "chains", "memory", "batch",
           "million/s", "aim", "device ns");
    for (unsigned i = 0; i < 8 * G_N_ELEMENTS(batches); i++) {
        run(&memories[i & 1], i & 4, i & 2, batches[i / 8], slice_ns);
    }
    run_copies(&memories[0], slice_ns);
    run_copies(&memories[1], slice_ns);
    return 0;
}
