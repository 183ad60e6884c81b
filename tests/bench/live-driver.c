/*
 * The driver of the benchmark `live`, on a thread of its own in place of the built-in
 * guest: it keeps `depth` requests in flight and sleeps until interrupted.  And its ring
 * without a device.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "live.h"

enum {
    DEVICE_BATCH = 32, /* what a device pops at a time */
    RING_ROUNDS = 4096,
};

/* ---- the driver ---------------------------------------------------------------------
 */

static void add_request(Live *live, VdsDriverRing *ring, uint64_t slot)
{
    VdsSpan spans[LIVE_SPANS];
    const VdsBuffer buffer = {spans, live->load->n_out, live->load->n_in,
                              GSIZE_TO_POINTER(slot + 1)};
    uint64_t gpa = live->slots_gpa + slot * LIVE_SLOT_BYTES;
    bool added = false;

    for (unsigned i = 0; i < buffer.n_out + buffer.n_in; i++) {
        spans[i] = (VdsSpan){gpa, live->load->lens[i]};
        gpa += live->load->lens[i];
    }
    live_check(vds_driver_ring_add(ring, &buffer, &added, NULL) && added, NULL);
}

/* Takes what is used; each goes out again while the driver drives. */
static uint64_t turn(Live *live)
{
    bool driving = atomic_load(&live->mode) == LIVE_DRIVING;
    uint64_t n = 0;
    VdsUsed used;

    for (; n < LIVE_MAX_DEPTH; n++) {
        live_check(vds_driver_ring_get_used(live->ring, &used, NULL), NULL);
        if (!used.token) {
            break;
        }
        live_check(used.written == live->load->written, NULL);
        if (driving) {
            add_request(live, live->ring, GPOINTER_TO_SIZE(used.token) - 1);
        }
    }
    return n;
}

static void kick(Live *live)
{
    bool wanted = false;

    live_check(vds_driver_ring_should_kick(live->ring, &wanted, NULL), NULL);
    if (wanted) {
        vds_virtio_driver_kick(live->device, live->load->queue);
    }
}

static void ignore_interrupt(unsigned n, void *user)
{
}

static void sleep_until_told(Live *live)
{
    struct pollfd fds[] = {
        {.fd = live->wake_fd, .events = POLLIN},
        {.fd = vds_virtio_driver_get_interrupt_fd(live->device), .events = POLLIN}};
    eventfd_t count;

    live_check(poll(fds, G_N_ELEMENTS(fds), -1) > 0, NULL);
    if (fds[0].revents) {
        eventfd_read(live->wake_fd, &count);
    }
    if (fds[1].revents) {
        vds_virtio_driver_take_interrupts(live->device, ignore_interrupt, NULL);
    }
}

/* Nothing is in flight: everything goes out once the driver drives again. */
static void rest_or_begin(Live *live)
{
    if (atomic_load(&live->mode) != LIVE_DRIVING) {
        atomic_store(&live->resting, true);
        sleep_until_told(live);
        return;
    }
    atomic_store(&live->resting, false);
    for (unsigned i = 0; i < live->depth; i++) {
        add_request(live, live->ring, i);
    }
    kick(live);
}

/* As Linux: no interrupts while it looks, and one more look after asking for them. */
void *live_drive(void *user)
{
    Live *live = user;
    bool more = false;

    while (atomic_load(&live->mode) != LIVE_ENDED) {
        uint64_t n;

        if (vds_driver_ring_get_pending(live->ring) == 0) {
            rest_or_begin(live);
            continue;
        }
        live_check(vds_driver_ring_set_interrupts(live->ring, false, &more, NULL), NULL);
        n = turn(live);
        if (n > 0) {
            kick(live);
            atomic_fetch_add(&live->done, n);
        }
        live_check(vds_driver_ring_set_interrupts(live->ring, true, &more, NULL), NULL);
        if (!more && vds_driver_ring_get_pending(live->ring) > 0) {
            sleep_until_told(live);
        }
    }
    return NULL;
}

void live_set_mode(Live *live, LiveMode mode)
{
    atomic_store(&live->mode, mode);
    eventfd_write(live->wake_fd, 1);
    while (mode == LIVE_PAUSED && !atomic_load(&live->resting)) {
        g_usleep(100);
    }
}

/* ---- the ring alone ------------------------------------------------------------------
 */

static uint64_t device_round_ns(Live *live, VdsVring *device, unsigned batch)
{
    VdsRequest *requests[DEVICE_BATCH];
    uint64_t start = live_now_ns();
    bool interrupt = false;

    for (unsigned i = 0; i < batch; i++) {
        live_check(vds_vring_pop(device, &requests[i], NULL) && requests[i], NULL);
    }
    for (unsigned i = 0; i < batch; i++) {
        live_check(
            vds_vring_push(device, requests[i], (uint32_t)requests[i]->in_bytes, NULL),
            NULL);
    }
    live_check(vds_vring_publish(device, &interrupt, NULL), NULL);
    return live_now_ns() - start;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return (*left > *right) - (*left < *right);
}

/* The median round, so that those in which another process ran do not count. */
double live_ring_ns(Live *live)
{
    g_autofree uint64_t *rounds = g_new(uint64_t, RING_ROUNDS);
    unsigned batch = MIN(live->depth, DEVICE_BATCH);
    VdsDriverRing *driver =
        vds_driver_ring_new(&live->setup, VDS_VRING_INDIRECT, &live->tables, NULL);
    VdsVring *device = vds_vring_new(&live->setup, VDS_VRING_INDIRECT, NULL);

    live_check(driver && device, NULL);
    for (unsigned i = 0; i < RING_ROUNDS; i++) {
        for (unsigned n = 0; n < batch; n++) {
            add_request(live, driver, n);
        }
        rounds[i] = device_round_ns(live, device, batch);
        for (unsigned n = 0; n < batch; n++) {
            VdsUsed used;

            live_check(vds_driver_ring_get_used(driver, &used, NULL) && used.token, NULL);
        }
    }
    vds_driver_ring_free(driver);
    vds_vring_free(device);
    qsort(rounds, RING_ROUNDS, sizeof(rounds[0]), compare_u64);
    return (double)rounds[RING_ROUNDS / 2] / batch;
}
