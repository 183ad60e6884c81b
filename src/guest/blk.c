/*
 * guest: the driver of virtio-blk.  Idle, it reads what Linux's search for partitions
 * reads; under load it writes blocks spread over the disk and reads them again, and
 * knows what must be in each.  virtio 1.2, 5.2.
 */
#include <string.h>

#include "guest-priv.h"

enum { /* features */
       F_SIZE_MAX = 1,
       F_SEG_MAX = 2,
       F_GEOMETRY = 4,
       F_RO = 5,
       F_BLK_SIZE = 6,
       F_FLUSH = 9,
       F_TOPOLOGY = 10,
       F_CONFIG_WCE = 11,
       F_MQ = 12,
       F_DISCARD = 13,
       F_WRITE_ZEROES = 14,
       F_SECURE_ERASE = 16,
};

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4 };
enum { CONFIG_CAPACITY = 0, CONFIG_NUM_QUEUES = 34 };

enum {
    SECTOR = 512,
    BLOCK = 4096,
    BLOCK_SECTORS = BLOCK / SECTOR,
    BLOCK_WORDS = BLOCK / 8,
    N_BLOCKS = 64,    /* under load: so many, spread over the disk */
    FLUSH_EVERY = 64, /* requests */
    SCAN_READS = 3,   /* partition tables: at the start, the end, and once more */
    MAX_QUEUES = 1024,
    /* a slot: header, status, then a page of data */
    STATUS_AT = 16,
    DATA_AT = BLOCK,
    SLOT_BYTES = 2 * BLOCK,
    NO_BLOCK = N_BLOCKS,
};

typedef struct {
    uint32_t type, ioprio;
    uint64_t sector;
} Header;

typedef struct {
    uint64_t sector;
    uint32_t written; /* what is on the disk; 0: not known */
    uint32_t writing; /* what is on its way there; 0: nothing is */
    bool busy;
} Block;

typedef struct {
    uint64_t capacity; /* sectors */
    bool read_only;
    unsigned n_blocks;
    unsigned next_block, next_queue;
    uint32_t generation; /* of the last write */
    uint64_t n_requests;
    Block blocks[N_BLOCKS];
} BlkState;

/* ---- requests --------------------------------------------------------------------- */

/* What generation `generation` of a block looks like: every word tells where it belongs
 * and when it was written. */
static void fill_block(uint64_t *words, uint64_t sector, uint32_t generation)
{
    uint64_t seed =
        (sector << 32 ^ generation) * UINT64_C(0x9e3779b97f4a7c15) + generation;

    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        words[i] = GUINT64_TO_LE(seed + i * UINT64_C(0x0001000100010001));
    }
}

/* slot->note: the type, and the block's number. */
static bool submit(VdsGuestDevice *device, uint32_t type, uint64_t sector, unsigned block)
{
    BlkState *state = device->state;
    VdsGuestQueue *queue = device->queues[state->next_queue];
    VdsGuestSlot *slot = vds_guest_queue_take(queue);
    Header header = {GUINT32_TO_LE(type), 0, GUINT64_TO_LE(sector)};
    VdsSpan spans[3];
    uint32_t n_out = type == T_OUT ? 2 : 1;
    uint32_t n_in = type == T_IN ? 2 : 1;

    state->next_queue = (state->next_queue + 1) % device->n_queues;
    if (!slot) {
        return false; /* the device is slower than the workload */
    }
    slot->note[0] = type;
    slot->note[1] = block;
    spans[0] = (VdsSpan){slot->gpa, sizeof(header)};
    spans[1] = (VdsSpan){slot->gpa + DATA_AT, BLOCK};
    spans[n_out + n_in - 1] = (VdsSpan){slot->gpa + STATUS_AT, 1};
    /* a status that no device gives */
    return vds_guest_device_write(device, slot->gpa, &header, sizeof(header)) &&
           vds_guest_device_write(device, slot->gpa + STATUS_AT, "\xff", 1) &&
           vds_guest_queue_post(queue, slot, spans, n_out, n_in);
}

static void check_contents(VdsGuestDevice *device, const VdsGuestSlot *slot,
                           const Block *block)
{
    uint64_t found[BLOCK_WORDS], expected[BLOCK_WORDS];
    unsigned word = 0;

    if (!vds_guest_device_read(device, slot->gpa + DATA_AT, found, sizeof(found))) {
        return;
    }
    fill_block(expected, block->sector, block->written);
    if (memcmp(found, expected, sizeof(found)) == 0) {
        vds_guest_device_count(device);
        return;
    }
    while (found[word] == expected[word]) {
        word++;
    }
    vds_guest_device_error(device,
                           "sector %" PRIu64 ", byte %u: found %016" PRIx64
                           ", written was %016" PRIx64,
                           block->sector, word * 8, GUINT64_FROM_LE(found[word]),
                           GUINT64_FROM_LE(expected[word]));
}

/* A read's or a write's end for the block; it is in nobody's hands any more. */
static void settle(VdsGuestDevice *device, const VdsGuestSlot *slot, bool good)
{
    BlkState *state = device->state;
    Block *block = slot->note[1] < N_BLOCKS ? &state->blocks[slot->note[1]] : NULL;

    if (block && slot->note[0] == T_OUT) {
        block->written = good ? block->writing : 0;
        block->writing = 0;
    }
    if (block) {
        block->busy = false;
    }
    if (good && block && slot->note[0] == T_IN && block->written != 0) {
        check_contents(device, slot, block);
    } else if (good) {
        vds_guest_device_count(device);
    }
}

static void used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    uint32_t expected = slot->note[0] == T_IN ? BLOCK + 1 : 1;
    uint8_t status;

    if (!vds_guest_device_read(device, slot->gpa + STATUS_AT, &status, 1)) {
        return;
    }
    if (status != 0) {
        vds_guest_device_error(device, "request of type %u ended with status %u",
                               (unsigned)slot->note[0], status);
    } else if (written != expected) {
        vds_guest_device_error(device, "request of type %u: %u bytes written, not %u",
                               (unsigned)slot->note[0], written, expected);
    }
    settle(device, slot, status == 0 && written == expected);
    vds_guest_queue_give(queue, slot);
}

/* ---- the workload ------------------------------------------------------------------ */

static void write_block(VdsGuestDevice *device, unsigned n)
{
    BlkState *state = device->state;
    Block *block = &state->blocks[n];
    VdsGuestQueue *queue = device->queues[state->next_queue];
    uint64_t words[BLOCK_WORDS];

    if (!queue->free) {
        return;
    }
    state->generation = state->generation == UINT32_MAX ? 1 : state->generation + 1;
    fill_block(words, block->sector, state->generation);
    if (vds_guest_device_write(device, queue->free->gpa + DATA_AT, words,
                               sizeof(words)) &&
        submit(device, T_OUT, block->sector, n)) {
        block->writing = state->generation;
        block->busy = true;
    }
}

/* Each block in turn: written, read, written. */
static void tick(VdsGuestDevice *device)
{
    BlkState *state = device->state;
    unsigned n = state->next_block;
    uint64_t turn;

    if (state->n_blocks == 0 || state->blocks[n].busy) {
        return;
    }
    turn = state->n_requests++;
    if (turn % FLUSH_EVERY == FLUSH_EVERY - 1 && vds_guest_device_has(device, F_FLUSH)) {
        submit(device, T_FLUSH, 0, NO_BLOCK);
        return;
    }
    state->next_block = (n + 1) % state->n_blocks;
    if (!state->read_only && (turn / state->n_blocks) % 2 == 0) {
        write_block(device, n);
    } else {
        state->blocks[n].busy = submit(device, T_IN, state->blocks[n].sector, n);
    }
}

/* ---- the driver ------------------------------------------------------------------- */

static const VdsGuestQueueRole role = {
    .slot_bytes = SLOT_BYTES, .max_slots = 32, .spans = 3, .used = used};

static bool plan(VdsGuestDevice *device, GError **error)
{
    BlkState *state = device->state;
    uint64_t capacity, blocks;
    uint16_t n_queues = GUINT16_TO_LE(1);

    if (!vds_guest_device_read_config(device, CONFIG_CAPACITY, &capacity,
                                      sizeof(capacity), error) ||
        (vds_guest_device_has(device, F_MQ) &&
         !vds_guest_device_read_config(device, CONFIG_NUM_QUEUES, &n_queues,
                                       sizeof(n_queues), error))) {
        return false;
    }
    state->capacity = GUINT64_FROM_LE(capacity);
    state->read_only = vds_guest_device_has(device, F_RO);
    blocks = state->capacity / BLOCK_SECTORS;
    state->n_blocks = (unsigned)MIN(blocks, N_BLOCKS);
    for (unsigned i = 0; i < state->n_blocks; i++) {
        state->blocks[i].sector = blocks / state->n_blocks * i * BLOCK_SECTORS;
    }
    n_queues = GUINT16_FROM_LE(n_queues);
    for (unsigned i = 0; i < MIN(n_queues, MAX_QUEUES); i++) {
        if (!vds_guest_device_add_queue(device, &role, error)) {
            return false;
        }
    }
    if (n_queues == 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_CONFIG,
                    "a disk with no queue");
    }
    return n_queues > 0;
}

/* Linux reads these through one queue: that of the processor that looks. */
static bool start(VdsGuestDevice *device, GError **error)
{
    BlkState *state = device->state;
    uint64_t blocks = state->capacity / BLOCK_SECTORS;

    for (unsigned i = 0; i < device->n_queues; i++) {
        if (!vds_guest_queue_allocate(device->queues[i], 0, error)) {
            return false;
        }
    }
    for (unsigned i = 0; i < SCAN_READS && blocks > 0; i++) {
        state->next_queue = 0;
        submit(device, T_IN, i == 1 ? (blocks - 1) * BLOCK_SECTORS : 0, NO_BLOCK);
    }
    return true;
}

const VdsGuestDriver vds_guest_blk = {
    .device_id = 2,
    .features = UINT64_C(1) << F_SIZE_MAX | UINT64_C(1) << F_SEG_MAX |
                UINT64_C(1) << F_GEOMETRY | UINT64_C(1) << F_RO |
                UINT64_C(1) << F_BLK_SIZE | UINT64_C(1) << F_FLUSH |
                UINT64_C(1) << F_TOPOLOGY | UINT64_C(1) << F_CONFIG_WCE |
                UINT64_C(1) << F_MQ | UINT64_C(1) << F_DISCARD |
                UINT64_C(1) << F_WRITE_ZEROES | UINT64_C(1) << F_SECURE_ERASE,
    .state_bytes = sizeof(BlkState),
    .plan = plan,
    .start = start,
    .tick = tick,
};
