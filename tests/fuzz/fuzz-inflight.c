/*
 * fuzz: requests in flight (vhost-user: inflight I/O tracking) in a region of any
 * content, and devices that end and begin again over it while the ring's memory is
 * written into, too, and the region's file is cut short.
 *
 * The input is a header (Input), bytes of the region and steps (RingStep).  What must
 * hold for any input is what tests/support/fuzz-ring.h says, and after each recovery:
 * what is in flight is within the ring, each head once, and as many as the ring counts.
 * Zeroes are always fine.  As long as nobody wrote into either, nothing faults, and in
 * the end everything that was sent came back once.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz-ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REGION_MAX = 32768, QUEUES = 2, VERSION_AT = 8, HEADER = 32, ENTRY = 32 };

typedef struct {
    RingInput ring; /* options 64: packed; 128: version and size of the region as told */
    uint8_t more;   /* bits 0 to 2: entries beyond the ring's; 7: the second queue */
    uint8_t n_bytes[2]; /* of the queue's part that follow */
} Input;

typedef struct {
    RingFuzz ring; /* first */
    int fd;
    VdsInflightShape shape;
    unsigned queue;
    uint64_t at, len; /* bytes of the queue's part */
    bool honest;      /* nobody wrote where only the two sides do */
} Fuzz;

static Fuzz *of(RingFuzz *ring)
{
    return (Fuzz *)ring;
}

/* ---- a region, made once ---- */

static int get_fd(void)
{
    static int fd;

    if (fd == 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        g_assert(fd > 0);
    }
    return fd;
}

static void empty_region(const Fuzz *fuzz)
{
    g_assert(ftruncate(fuzz->fd, 0) == 0 && ftruncate(fuzz->fd, REGION_MAX) == 0);
}

static void write_region(const Fuzz *fuzz, uint64_t at, const void *bytes, size_t len)
{
    g_assert(pwrite(fuzz->fd, bytes, len, (off_t)(fuzz->at + at)) == (ssize_t)len);
}

static void open_region(Fuzz *fuzz, const Input *input)
{
    uint64_t len = 0;

    fuzz->fd = get_fd();
    fuzz->shape = (VdsInflightShape){fuzz->ring.setup.packed, QUEUES,
                                     (uint16_t)(fuzz->ring.setup.num + input->more % 8)};
    fuzz->queue = input->more >> 7;
    g_assert(vds_inflight_get_len(&fuzz->shape, &len, NULL) && len <= REGION_MAX);
    fuzz->len = len / QUEUES;
    fuzz->at = fuzz->len * fuzz->queue;
    empty_region(fuzz);
}

/* ---- a device begins ---- */

static bool track(const Fuzz *fuzz, GError **error)
{
    g_autoptr(VdsInflight) inflight = vds_inflight_new(
        &fuzz->shape,
        &(VdsGuestRegion){.fd = fuzz->fd, .offset = 0, .len = fuzz->len * QUEUES}, error);

    return inflight &&
           vds_vring_set_inflight(fuzz->ring.device, inflight, fuzz->queue, error);
}

/* The front-end says where, and its region knows better unless it is new. */
static void make_device(Fuzz *fuzz, const RingStep *step)
{
    VdsQueueState setup = fuzz->ring.setup;

    setup.has_last_avail = step != NULL;
    if (step && setup.packed) {
        setup.last_avail_idx = setup.used_idx = (uint16_t)(step->b % setup.num);
        setup.has_wraps = true;
        setup.last_avail_wrap = setup.used_wrap = step->b >> 7;
    } else if (step) {
        g_assert(
            vds_guest_map_read_u16(setup.map, setup.used + 2, &setup.used_idx, 1, NULL));
        setup.last_avail_idx = setup.used_idx;
    }
    fuzz->ring.device = vds_vring_new(&setup, fuzz->ring.flags, NULL);
    g_assert(fuzz->ring.device);
}

static void begin(Fuzz *fuzz, const RingStep *step)
{
    GError *error = NULL;

    make_device(fuzz, step);
    if (track(fuzz, &error)) {
        return;
    }
    if (fuzz->honest) {
        g_error("a region of ours is refused: %s", error->message);
    }
    g_assert(g_error_matches(error, VDS_VRING_ERROR, VDS_VRING_ERROR_INFLIGHT) ||
             error->domain == VDS_GUESTMEM_ERROR); /* it was cut short */
    g_clear_error(&error);
    fuzz_ring_end_device(&fuzz->ring);
    empty_region(fuzz);
    make_device(fuzz, step);
    g_assert(track(fuzz, NULL));
}

/* All that was in flight is popped, each once, and moves nothing. */
static void take_again(RingFuzz *ring)
{
    const VdsQueueState before = fuzz_ring_state(ring);
    bool seen[FUZZ_RING_MAX_NUM] = {false};
    uint32_t slots = 0;

    while (slots < before.inuse) {
        VdsRequest *request = NULL;
        GError *fault = NULL;

        if (!fuzz_ring_device(vds_vring_pop(ring->device, &request, &fault), &fault)) {
            g_assert(!of(ring)->honest);
            break;
        }
        g_assert(request && request->id < before.num && !seen[request->id]);
        fuzz_ring_check_request(ring, request);
        seen[request->id] = true;
        slots += before.packed ? request->slots : 1;
        ring->held[ring->n_held++] = request;
    }
    g_assert(slots <= before.inuse);
    g_assert(fuzz_ring_state(ring).inuse == before.inuse &&
             fuzz_ring_state(ring).last_avail_idx == before.last_avail_idx);
}

/* ---- steps ---- */

static void crash(RingFuzz *ring, const RingStep *step)
{
    fuzz_ring_end_device(ring);
    begin(of(ring), step);
    if (step->a & 1) {
        take_again(ring);
    }
}

/* The ring knows better than who lost count, so the region is told to be new. */
static void forget(RingFuzz *ring, const RingStep *step)
{
    of(ring)->honest = false;
    empty_region(of(ring));
    crash(ring, step);
}

static void poke(RingFuzz *ring, const RingStep *step)
{
    of(ring)->honest = false;
    fuzz_ring_poke(ring, step);
}

static void poke_word(RingFuzz *ring, const RingStep *step)
{
    of(ring)->honest = false;
    fuzz_ring_poke_word(ring, step);
}

/* A word of the region: of its header, or a field of an entry. */
static void poke_region(RingFuzz *ring, const RingStep *step)
{
    Fuzz *fuzz = of(ring);
    uint64_t entry = step->b % fuzz->shape.queue_size;
    uint64_t header = fuzz->shape.packed ? HEADER : HEADER / 2;
    uint64_t size = fuzz->shape.packed ? ENTRY : ENTRY / 2;
    uint64_t at =
        step->op & 16 ? step->a % header : header + entry * size + step->a % size;

    fuzz->honest = false;
    write_region(fuzz, at, &step->c, 1);
}

/* Whoever has it open has it shorter, from one moment to the next. */
static void cut(RingFuzz *ring, const RingStep *step)
{
    Fuzz *fuzz = of(ring);

    fuzz->honest = false;
    g_assert(ftruncate(fuzz->fd, (off_t)(fuzz->at + step->a)) == 0);
    if (step->b & 1) {
        g_assert(ftruncate(fuzz->fd, REGION_MAX) == 0);
    }
}

static void get_used(RingFuzz *ring, const RingStep *step)
{
    VdsUsed used;

    if (of(ring)->honest) {
        g_assert(vds_driver_ring_get_used(ring->driver, &used, NULL));
    } else {
        fuzz_ring_get_used(ring, step);
    }
}

/* ---- the whole ---- */

static void push_all(RingFuzz *ring)
{
    bool interrupt;

    while (ring->n_held > 0) {
        VdsRequest *request = ring->held[--ring->n_held];

        g_assert(
            vds_vring_push(ring->device, request, (uint32_t)request->in_bytes, NULL));
    }
    g_assert(vds_vring_publish(ring->device, &interrupt, NULL));
}

/* Nothing was lost, and nothing came back twice. */
static void finish(RingFuzz *ring)
{
    const RingStep once_more = {.a = 1};
    VdsRequest *request;
    VdsUsed used;

    crash(ring, &once_more);
    do {
        push_all(ring);
        g_assert(vds_vring_pop(ring->device, &request, NULL));
        ring->held[0] = request;
        ring->n_held = request ? 1 : 0;
    } while (request);
    do {
        g_assert(vds_driver_ring_get_used(ring->driver, &used, NULL));
    } while (used.token);
    g_assert(vds_driver_ring_get_free(ring->driver) == ring->setup.num);
}

static size_t fill_region(Fuzz *fuzz, const Input *input, const uint8_t *data,
                          size_t size)
{
    const uint8_t as_told[] = {1, 0, (uint8_t)fuzz->shape.queue_size, 0};
    size_t n = input->n_bytes[0] | (size_t)input->n_bytes[1] << 8;

    n = MIN(MIN(n, size), fuzz->len);
    /* Tables that were not negotiated are a fault of the driver's. */
    fuzz->honest = n == 0 && (input->ring.options & 10) != 8;
    write_region(fuzz, 0, data, n);
    if (n > 0 && input->ring.options & 128) {
        write_region(fuzz, VERSION_AT, as_told, sizeof(as_told));
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const RingOp ops[] = {
        fuzz_ring_add,
        fuzz_ring_add,
        fuzz_ring_pop,
        fuzz_ring_pop,
        fuzz_ring_push,
        fuzz_ring_push,
        fuzz_ring_publish,
        get_used,
        fuzz_ring_notify,
        crash,
        crash,
        poke_region,
        poke,
        poke_word,
        cut,
        forget,
    };
    Fuzz fuzz = {.fd = -1};
    Input input;
    size_t n;

    if (size < sizeof(input)) {
        return 0;
    }
    memcpy(&input, data, sizeof(input));
    data += sizeof(input);
    size -= sizeof(input);
    fuzz_ring_open(&fuzz.ring, &input.ring, input.ring.options & 64);
    open_region(&fuzz, &input);
    n = fill_region(&fuzz, &input, data, size);
    begin(&fuzz, NULL);
    take_again(&fuzz.ring);
    fuzz_ring_run(&fuzz.ring, ops, G_N_ELEMENTS(ops), data + n, size - n);
    if (fuzz.honest) {
        finish(&fuzz.ring);
    }
    fuzz_ring_close(&fuzz.ring);
    return 0;
}
