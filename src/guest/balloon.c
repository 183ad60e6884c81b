/*
 * guest: the driver of virtio-balloon: pages given and taken back until the balloon has
 * the size that the device asks for, and memory statistics whenever it wants some.
 * virtio 1.2, 5.5.
 */
#include "guest-priv.h"

enum { /* features */
       F_MUST_TELL_HOST = 0,
       F_STATS_VQ = 1,
       F_DEFLATE_ON_OOM = 2,
       F_FREE_PAGE_HINT = 3,
       F_REPORTING = 5,
};

enum { CONFIG_NUM_PAGES = 0, CONFIG_ACTUAL = 4 };
enum { PAGE_SHIFT = 12, PAGE = 1 << PAGE_SHIFT };
enum { PFNS_MAX = 256, PFNS_BYTES = 4 * PFNS_MAX };
enum { MOVE_PAGES = 64 /* under load, up and down */ };

/* Statistics in Linux's order; each a 16-bit tag and a 64-bit value (5.5.6.3). */
enum { S_MEMFREE = 4, S_MEMTOT = 5, S_AVAIL = 6, S_COUNT = 10, S_BYTES = 10 };

typedef struct {
    GArray *pfns;    /* uint32_t: pages in the balloon */
    uint32_t target; /* of the device, in pages */
    bool up;         /* the workload's own pages are wanted */
    bool busy;       /* the device was told of pages and has not answered */
    unsigned moving;
    VdsGuestQueue *stats; /* (nullable) */
} BalloonState;

/* ---- the balloon ------------------------------------------------------------------- */

static void write_actual(VdsGuestDevice *device)
{
    const BalloonState *state = device->state;
    uint32_t actual = GUINT32_TO_LE(state->pfns->len);
    GError *error = NULL;

    if (!vds_virtio_driver_write_config(device->virtio, CONFIG_ACTUAL, &actual,
                                        sizeof(actual), &error)) {
        vds_guest_device_fail(device, error);
    }
}

/* The last `moving` pages of the array, to queue 0 or 1. */
static void tell(VdsGuestDevice *device, unsigned which)
{
    BalloonState *state = device->state;
    VdsGuestQueue *queue = device->queues[which];
    VdsGuestSlot *slot = vds_guest_queue_take(queue);
    uint32_t first = state->pfns->len - state->moving;
    uint32_t words[PFNS_MAX];
    VdsSpan span;

    for (unsigned i = 0; i < state->moving; i++) {
        words[i] = GUINT32_TO_LE(g_array_index(state->pfns, uint32_t, first + i));
    }
    span = (VdsSpan){slot->gpa, 4 * state->moving};
    state->busy = vds_guest_device_write(device, slot->gpa, words, span.len) &&
                  vds_guest_queue_post(queue, slot, &span, 1, 0);
}

/* As many as there are; Linux, too, stops where memory ends. */
static void inflate(VdsGuestDevice *device, uint32_t n)
{
    BalloonState *state = device->state;

    state->moving = 0;
    while (state->moving < MIN(n, PFNS_MAX)) {
        uint64_t gpa;
        uint32_t pfn;

        if (!vds_guest_ram_alloc(vds_guest_get_ram(device->guest), PAGE, PAGE, &gpa,
                                 NULL)) {
            break;
        }
        pfn = (uint32_t)(gpa >> PAGE_SHIFT);
        g_array_append_val(state->pfns, pfn);
        state->moving++;
    }
    if (state->moving > 0) {
        tell(device, 0);
    }
}

static void deflate(VdsGuestDevice *device, uint32_t n)
{
    BalloonState *state = device->state;

    state->moving = MIN(n, PFNS_MAX);
    tell(device, 1);
}

/* The next step towards the size wanted; each waits for the answer to the one before. */
static void move(VdsGuestDevice *device)
{
    BalloonState *state = device->state;
    uint64_t wanted = (uint64_t)state->target + (state->up ? MOVE_PAGES : 0);
    uint32_t has = state->pfns->len;

    if (state->busy) {
        return;
    }
    if (has < wanted) {
        inflate(device, (uint32_t)MIN(wanted - has, PFNS_MAX));
    } else if (has > wanted) {
        deflate(device, (uint32_t)MIN(has - wanted, PFNS_MAX));
    }
}

static void free_last(VdsGuestDevice *device, unsigned n)
{
    BalloonState *state = device->state;

    while (n-- > 0) {
        uint32_t last = state->pfns->len - 1;
        uint64_t pfn = g_array_index(state->pfns, uint32_t, last);

        g_array_set_size(state->pfns, last);
        vds_guest_ram_release(vds_guest_get_ram(device->guest), pfn << PAGE_SHIFT);
    }
}

static void told(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    BalloonState *state = device->state;

    if (written != 0) {
        vds_guest_device_error(device, "%u bytes written to page numbers", written);
    } else {
        vds_guest_device_count(device);
    }
    vds_guest_queue_give(queue, slot);
    state->busy = false;
    if (queue->index == 1) {
        free_last(device, state->moving);
    }
    write_actual(device);
    if (device->life == VDS_GUEST_DRIVEN) {
        move(device);
    }
}

static void config_changed(VdsGuestDevice *device)
{
    BalloonState *state = device->state;
    GError *error = NULL;
    uint32_t pages;

    if (!vds_guest_device_read_config(device, CONFIG_NUM_PAGES, &pages, sizeof(pages),
                                      &error)) {
        vds_guest_device_fail(device, error);
        return;
    }
    state->target = GUINT32_FROM_LE(pages);
    move(device);
}

static void tick(VdsGuestDevice *device)
{
    BalloonState *state = device->state;

    if (!state->busy) {
        state->up = !state->up;
        move(device);
    }
}

/* ---- statistics -------------------------------------------------------------------- */

/* Of a guest that neither swaps nor caches: most are 0. */
static void post_stats(VdsGuestQueue *queue, VdsGuestSlot *slot)
{
    VdsGuestDevice *device = queue->device;
    VdsGuestRam *ram = vds_guest_get_ram(device->guest);
    uint64_t total = vds_guest_ram_get_size(ram);
    uint64_t unused = total - vds_guest_ram_get_allocated(ram);
    const uint64_t values[S_COUNT] = {
        [S_MEMFREE] = unused, [S_MEMTOT] = total, [S_AVAIL] = unused};
    uint8_t bytes[S_COUNT * S_BYTES] = {0};
    VdsSpan span = {slot->gpa, sizeof(bytes)};

    for (unsigned i = 0; i < S_COUNT; i++) {
        bytes[i * S_BYTES] = (uint8_t)i;
        for (unsigned j = 0; j < 8; j++) {
            bytes[i * S_BYTES + 2 + j] = (uint8_t)(values[i] >> (8 * j));
        }
    }
    if (vds_guest_device_write(device, slot->gpa, bytes, sizeof(bytes))) {
        vds_guest_queue_post(queue, slot, &span, 1, 0);
    }
}

/* The device gives the buffer back when it wants new numbers in it. */
static void stats_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    if (written != 0) {
        vds_guest_device_error(queue->device, "%u bytes written to statistics", written);
    }
    post_stats(queue, slot);
}

/* Nothing is hinted or reported: the guest frees little and keeps no list of it. */
static void never_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    vds_guest_device_error(queue->device, "queue %u: %u bytes written to nothing",
                           queue->index, written);
    vds_guest_queue_give(queue, slot);
}

/* ---- the driver ------------------------------------------------------------------- */

static const VdsGuestQueueRole pages_role = {
    .slot_bytes = PFNS_BYTES, .max_slots = 1, .spans = 1, .used = told};
static const VdsGuestQueueRole stats_role = {
    .slot_bytes = S_COUNT * S_BYTES, .max_slots = 1, .spans = 1, .used = stats_used};
static const VdsGuestQueueRole quiet_role = {.spans = 1, .used = never_used};

static bool plan(VdsGuestDevice *device, GError **error)
{
    const struct {
        bool there;
        const VdsGuestQueueRole *role;
    } queues[] = {
        {true, &pages_role},
        {true, &pages_role},
        {vds_guest_device_has(device, F_STATS_VQ), &stats_role},
        {vds_guest_device_has(device, F_FREE_PAGE_HINT), &quiet_role},
        {vds_guest_device_has(device, F_REPORTING), &quiet_role},
    };
    BalloonState *state = device->state;

    state->pfns = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    for (size_t i = 0; i < G_N_ELEMENTS(queues); i++) {
        if (!queues[i].there) {
            continue;
        }
        if (!vds_guest_device_add_queue(device, queues[i].role, error)) {
            return false;
        }
        if (queues[i].role == &stats_role) {
            state->stats = device->queues[device->n_queues - 1];
        }
    }
    return true;
}

static bool start(VdsGuestDevice *device, GError **error)
{
    BalloonState *state = device->state;

    if (!vds_guest_queue_allocate(device->queues[0], 0, error) ||
        !vds_guest_queue_allocate(device->queues[1], 0, error) ||
        (state->stats && !vds_guest_queue_allocate(state->stats, 0, error))) {
        return false;
    }
    if (state->stats) {
        post_stats(state->stats, vds_guest_queue_take(state->stats));
    }
    config_changed(device);
    return true;
}

/* The device is reset: it has no claim on the pages any more. */
static void clear(VdsGuestDevice *device)
{
    BalloonState *state = device->state;

    if (state->pfns) {
        free_last(device, state->pfns->len);
        g_array_free(state->pfns, TRUE);
    }
}

/* Linux asks for no indirect tables here: making one takes memory when there is none. */
const VdsGuestDriver vds_guest_balloon = {
    .device_id = 5,
    .features = UINT64_C(1) << F_MUST_TELL_HOST | UINT64_C(1) << F_STATS_VQ |
                UINT64_C(1) << F_DEFLATE_ON_OOM | UINT64_C(1) << F_FREE_PAGE_HINT |
                UINT64_C(1) << F_REPORTING,
    .refused = UINT64_C(1) << VDS_F_RING_INDIRECT_DESC | UINT64_C(1)
                                                             << VDS_F_ACCESS_PLATFORM,
    .state_bytes = sizeof(BalloonState),
    .plan = plan,
    .start = start,
    .tick = tick,
    .clear = clear,
    .config_changed = config_changed,
};
