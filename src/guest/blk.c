/*
 * guest: the driver of virtio-blk.  Idle, it reads what Linux's search for partitions
 * reads; under load it writes blocks spread over the disk and reads them again, and
 * knows what must be in each.  virtio 1.2, 5.2.
 */
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
    BLOCK = VDS_GUEST_BLOCK,
    BLOCK_SECTORS = BLOCK / SECTOR,
    SCAN_READS = 3, /* partition tables: at the start, the end, and once more */
    MAX_QUEUES = 1024,
    /* a slot: header, status, then a page of data */
    STATUS_AT = 16,
    DATA_AT = BLOCK,
    SLOT_BYTES = 2 * BLOCK,
    NO_BLOCK = VDS_GUEST_BLOCKS,
};

typedef struct {
    uint32_t type, ioprio;
    uint64_t sector;
} Header;

typedef struct {
    uint64_t capacity; /* sectors */
    VdsGuestBlocks blocks;
    unsigned next_queue;
} BlkState;

/* ---- requests --------------------------------------------------------------------- */

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

static void settle(VdsGuestDevice *device, const VdsGuestSlot *slot, bool good)
{
    BlkState *state = device->state;

    if (slot->note[1] != NO_BLOCK) {
        vds_guest_blocks_settle(&state->blocks, device, (unsigned)slot->note[1], good,
                                slot->gpa + DATA_AT);
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

static void transfer(VdsGuestDevice *device, unsigned n, bool writes)
{
    BlkState *state = device->state;
    VdsGuestBlocks *blocks = &state->blocks;
    const VdsGuestSlot *slot = device->queues[state->next_queue]->free;

    if (slot &&
        (!writes || vds_guest_blocks_put(blocks, device, n, slot->gpa + DATA_AT)) &&
        submit(device, writes ? T_OUT : T_IN, vds_guest_blocks_sector(blocks, n), n)) {
        vds_guest_blocks_sent(blocks, n, writes);
    }
}

static void tick(VdsGuestDevice *device)
{
    BlkState *state = device->state;
    unsigned n = 0;
    VdsGuestTurn turn = vds_guest_blocks_turn(&state->blocks, &n);

    if (turn == VDS_GUEST_TURN_FLUSH) {
        submit(device, T_FLUSH, 0, NO_BLOCK);
    } else if (turn != VDS_GUEST_TURN_NONE) {
        transfer(device, n, turn == VDS_GUEST_TURN_WRITE);
    }
}

/* ---- the driver ------------------------------------------------------------------- */

static const VdsGuestQueueRole role = {
    .slot_bytes = SLOT_BYTES, .max_slots = 32, .spans = 3, .used = used};

static bool plan(VdsGuestDevice *device, GError **error)
{
    BlkState *state = device->state;
    uint64_t capacity;
    uint16_t n_queues = GUINT16_TO_LE(1);

    if (!vds_guest_device_read_config(device, CONFIG_CAPACITY, &capacity,
                                      sizeof(capacity), error) ||
        (vds_guest_device_has(device, F_MQ) &&
         !vds_guest_device_read_config(device, CONFIG_NUM_QUEUES, &n_queues,
                                       sizeof(n_queues), error))) {
        return false;
    }
    state->capacity = GUINT64_FROM_LE(capacity);
    vds_guest_blocks_init(&state->blocks, state->capacity);
    state->blocks.read_only = vds_guest_device_has(device, F_RO);
    state->blocks.flushes = vds_guest_device_has(device, F_FLUSH);
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
