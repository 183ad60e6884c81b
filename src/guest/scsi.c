/*
 * guest: the driver of virtio-scsi.  It asks every target what is there, as Linux does,
 * and takes the first disk it finds: idle, it reads what a search for partitions reads;
 * under load it writes blocks and reads them again.  Events say when to look again.
 * virtio 1.2, 5.6; SBC-3.
 */
#include <string.h>

#include "scsi-priv.h"

enum { F_HOTPLUG = 1, F_CHANGE = 2 };

enum { /* config */
       CONFIG_QUEUES = 0,
       CONFIG_SENSE = 20,
       CONFIG_CDB = 24,
       CONFIG_MAX_TARGET = 30,
};

enum {
    /* what Linux asks for, and so writes to the config space */
    SENSE_BYTES = 96,
    /* a request's slot: what the device reads, what it writes, then a page of data */
    HEADER_BYTES = 19 + VDS_SCSI_CDB_BYTES,
    ANSWER_AT = 64,
    ANSWER_BYTES = 12 + SENSE_BYTES,
    DATA_AT = VDS_GUEST_BLOCK,
    SLOT_BYTES = 2 * VDS_GUEST_BLOCK,
    EVENT_BYTES = 16,
    EVENTS = 8, /* as Linux */
    MAX_QUEUES = 1024,
    SCAN_READS = 3,
    SECTOR = 512,
};

enum { /* response, status and sense key */
       OK = 0,
       BAD_TARGET = 3,
       BUSY = 5,
       CHECK_CONDITION = 2,
       UNIT_ATTENTION = 6,
};

enum { /* events (5.6.6.3) */
       T_TRANSPORT_RESET = 1,
       T_PARAM_CHANGE = 3,
       REASON_REMOVED = 2,
       EVENTS_MISSED = 31, /* the bit */
};

/* ---- requests --------------------------------------------------------------------- */

/* slot->note: the step and how much it may bring; the block and its epoch. */
bool vds_guest_scsi_submit(VdsGuestQueue *queue, const VdsScsiCommand *command)
{
    VdsGuestDevice *device = queue->device;
    const VdsGuestScsi *state = device->state;
    VdsGuestSlot *slot = vds_guest_queue_take(queue);
    uint8_t header[HEADER_BYTES] = {1, command->unit.target,
                                    (uint8_t)(0x40 | command->unit.lun >> 8),
                                    (uint8_t)command->unit.lun};
    /* an answer that no device gives */
    static const uint8_t none[ANSWER_BYTES] = {[10] = 0xff, [11] = 0xff};
    VdsSpan spans[3];
    unsigned n = 0;

    if (!slot) {
        return false; /* the device is slower than the workload */
    }
    vds_scsi_put_be(header + 8, slot->gpa, 8); /* any number that no other has */
    memcpy(header + 19, command->cdb, VDS_SCSI_CDB_BYTES);
    slot->note[0] = (uint64_t)command->step << 32 | command->in;
    slot->note[1] = (uint64_t)state->epoch << 32 | command->block;
    spans[n++] = (VdsSpan){slot->gpa, HEADER_BYTES};
    if (command->out > 0) {
        spans[n++] = (VdsSpan){slot->gpa + DATA_AT, command->out};
    }
    spans[n++] = (VdsSpan){slot->gpa + ANSWER_AT, ANSWER_BYTES};
    if (command->in > 0) {
        spans[n++] = (VdsSpan){slot->gpa + DATA_AT, command->in};
    }
    return vds_guest_device_write(device, slot->gpa, header, sizeof(header)) &&
           vds_guest_device_write(device, slot->gpa + ANSWER_AT, none, sizeof(none)) &&
           vds_guest_queue_post(queue, slot, spans, command->out > 0 ? 2 : 1,
                                command->in > 0 ? 2 : 1);
}

/* ---- the disk --------------------------------------------------------------------- */

static bool submit_io(VdsGuestQueue *queue, const VdsScsiCommand *command)
{
    VdsGuestScsi *state = queue->device->state;
    bool sent = vds_guest_scsi_submit(queue, command);

    state->under_way += sent ? 1 : 0;
    return sent;
}

/* One page, at a 512-byte sector's number. */
static bool transfer(VdsGuestQueue *queue, VdsScsiStep step, uint64_t sector,
                     unsigned block)
{
    VdsGuestScsi *state = queue->device->state;
    uint64_t lba = sector * SECTOR / state->block_bytes;
    uint32_t n = VDS_GUEST_BLOCK / state->block_bytes;
    bool writes = step == VDS_SCSI_STEP_WRITE;
    VdsScsiCommand command = {.step = step,
                              .unit = state->disk,
                              .out = writes ? VDS_GUEST_BLOCK : 0,
                              .in = writes ? 0 : VDS_GUEST_BLOCK,
                              .block = block};

    if (lba + n <= UINT32_MAX) {
        command.cdb[0] = writes ? 0x2a : 0x28; /* WRITE (10), READ (10) */
        vds_scsi_put_be(command.cdb + 2, lba, 4);
        vds_scsi_put_be(command.cdb + 7, n, 2);
    } else {
        command.cdb[0] = writes ? 0x8a : 0x88; /* (16) */
        vds_scsi_put_be(command.cdb + 2, lba, 8);
        vds_scsi_put_be(command.cdb + 10, n, 4);
    }
    return submit_io(queue, &command);
}

static void new_epoch(VdsGuestScsi *state)
{
    state->epoch++;
    state->stale += state->under_way;
    state->under_way = 0;
}

static void lose_disk(VdsGuestScsi *state)
{
    state->has_disk = false;
    new_epoch(state);
}

/* The disk is there; a page of its own blocks is what the driver moves. */
void vds_guest_scsi_take_disk(VdsGuestDevice *device, bool read_only)
{
    VdsGuestScsi *state = device->state;
    uint32_t bytes = state->block_bytes;
    VdsGuestQueue *queue = device->queues[VDS_SCSI_REQUEST];
    uint64_t sectors;

    state->has_disk = true;
    new_epoch(state);
    state->disk = state->at;
    if (bytes < SECTOR || bytes > VDS_GUEST_BLOCK || VDS_GUEST_BLOCK % bytes != 0) {
        vds_guest_blocks_init(&state->blocks, 0);
        return;
    }
    sectors = MIN(state->n_blocks, UINT64_MAX / bytes) * bytes / SECTOR;
    vds_guest_blocks_init(&state->blocks, sectors);
    state->blocks.read_only = read_only;
    state->blocks.flushes = true;
    for (unsigned i = 0;
         i < SCAN_READS && sectors >= VDS_GUEST_BLOCK / SECTOR && queue->n_free > 1;
         i++) {
        uint64_t last =
            (sectors / (VDS_GUEST_BLOCK / SECTOR) - 1) * (VDS_GUEST_BLOCK / SECTOR);

        transfer(queue, VDS_SCSI_STEP_LOOK, i == 1 ? last : 0, 0);
    }
}

static void submit_flush(VdsGuestDevice *device, VdsGuestQueue *queue)
{
    const VdsGuestScsi *state = device->state;

    submit_io(queue, &(VdsScsiCommand){.step = VDS_SCSI_STEP_FLUSH,
                                       .unit = state->disk,
                                       .cdb = {0x35}}); /* SYNCHRONIZE CACHE (10) */
}

/* One slot is the search's. */
static void tick(VdsGuestDevice *device)
{
    VdsGuestScsi *state = device->state;
    VdsGuestQueue *queue = device->queues[VDS_SCSI_REQUEST + state->next_queue];
    VdsGuestBlocks *blocks = &state->blocks;
    VdsGuestTurn turn;
    unsigned n = 0;
    bool writes;

    if (!state->has_disk || state->stale > 0 || queue->n_free < 2) {
        return;
    }
    turn = vds_guest_blocks_turn(blocks, &n);
    state->next_queue = (state->next_queue + 1) % (device->n_queues - VDS_SCSI_REQUEST);
    if (turn == VDS_GUEST_TURN_FLUSH) {
        submit_flush(device, queue);
    } else if (turn != VDS_GUEST_TURN_NONE) {
        writes = turn == VDS_GUEST_TURN_WRITE;
        if ((!writes ||
             vds_guest_blocks_put(blocks, device, n, queue->free->gpa + DATA_AT)) &&
            transfer(queue, writes ? VDS_SCSI_STEP_WRITE : VDS_SCSI_STEP_READ,
                     vds_guest_blocks_sector(blocks, n), n)) {
            vds_guest_blocks_sent(blocks, n, writes);
        }
    }
}

/* ---- answers ---------------------------------------------------------------------- */

typedef struct {
    uint32_t resid;
    uint8_t status, response, sense_key;
} Answer;

static bool read_answer(VdsGuestDevice *device, const VdsGuestSlot *slot, Answer *answer)
{
    uint8_t bytes[ANSWER_BYTES];
    uint32_t sense_len;

    if (!vds_guest_device_read(device, slot->gpa + ANSWER_AT, bytes, sizeof(bytes))) {
        return false;
    }
    memcpy(&sense_len, bytes, sizeof(sense_len));
    memcpy(&answer->resid, bytes + 4, sizeof(answer->resid));
    answer->resid = GUINT32_FROM_LE(answer->resid);
    answer->status = bytes[10];
    answer->response = bytes[11];
    answer->sense_key = GUINT32_FROM_LE(sense_len) > 2 ? bytes[12 + 2] & 0xf : 0;
    return true;
}

static const struct {
    const char *name;
    bool quiet; /* not to do it is no fault */
} steps[] = {
    [VDS_SCSI_STEP_TARGET] = {"INQUIRY", true},
    [VDS_SCSI_STEP_LUNS] = {"REPORT LUNS", false},
    [VDS_SCSI_STEP_LUN] = {"INQUIRY", false},
    [VDS_SCSI_STEP_READY] = {"TEST UNIT READY", false},
    [VDS_SCSI_STEP_CAPACITY] = {"READ CAPACITY", false},
    [VDS_SCSI_STEP_PROTECTION] = {"MODE SENSE", true},
    [VDS_SCSI_STEP_LOOK] = {"READ", false},
    [VDS_SCSI_STEP_READ] = {"READ", false},
    [VDS_SCSI_STEP_WRITE] = {"WRITE", false},
    [VDS_SCSI_STEP_FLUSH] = {"SYNCHRONIZE CACHE", false},
};

static bool is_search(VdsScsiStep step)
{
    return step <= VDS_SCSI_STEP_PROTECTION;
}

/* A disk that is gone takes its answers along; its event comes or came. */
static bool check_answer(VdsGuestDevice *device, VdsScsiStep step, const Answer *answer)
{
    bool good = answer->response == OK && answer->status == 0;

    if (!good && answer->response != BAD_TARGET && answer->response != BUSY &&
        !steps[step].quiet) {
        vds_guest_device_error(
            device, "%s ended with response %u, status %u, sense key %u",
            steps[step].name, answer->response, answer->status, answer->sense_key);
    }
    return good;
}

/* The disk's requests are done as a whole, or not at all. */
static bool check_length(VdsGuestDevice *device, VdsScsiStep step, const Answer *answer,
                         uint32_t written)
{
    if (written >= ANSWER_BYTES && (is_search(step) || answer->resid == 0)) {
        return true;
    }
    vds_guest_device_error(device, "%s: %u bytes written, %u left", steps[step].name,
                           written, answer->resid);
    return false;
}

/* A step of the search ends, and the next one begins.  The unit may have something else
 * to say first. */
static void go_on(VdsGuestDevice *device, const VdsGuestSlot *slot, const Answer *answer,
                  uint32_t written)
{
    VdsScsiStep step = (VdsScsiStep)(slot->note[0] >> 32);
    uint32_t in = (uint32_t)slot->note[0];
    uint32_t len = in - MIN(in, answer->resid);
    uint8_t data[VDS_GUEST_BLOCK];

    if (answer->response == OK && answer->status == CHECK_CONDITION &&
        answer->sense_key == UNIT_ATTENTION && vds_guest_scsi_ask_again(device)) {
        return;
    }
    if (vds_guest_device_read(device, slot->gpa + DATA_AT, data, len)) {
        bool good = check_answer(device, step, answer) &&
                    check_length(device, step, answer, written);

        vds_guest_scsi_found(device, step, good, data, len);
    }
}

static void settle(VdsGuestDevice *device, const VdsGuestSlot *slot, VdsScsiStep step,
                   bool good)
{
    VdsGuestScsi *state = device->state;

    if (slot->note[1] >> 32 != state->epoch) {
        state->stale--;
        return;
    }
    state->under_way--;
    if (step == VDS_SCSI_STEP_READ || step == VDS_SCSI_STEP_WRITE) {
        vds_guest_blocks_settle(&state->blocks, device, (uint32_t)slot->note[1], good,
                                slot->gpa + DATA_AT);
    } else if (good) {
        vds_guest_device_count(device);
    }
}

static void request_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    VdsScsiStep step = (VdsScsiStep)(slot->note[0] >> 32);
    Answer answer;

    if (!read_answer(device, slot, &answer)) {
        return;
    }
    vds_guest_queue_give(queue, slot);
    if (is_search(step)) {
        go_on(device, slot, &answer, written);
    } else {
        settle(device, slot, step,
               check_answer(device, step, &answer) &&
                   check_length(device, step, &answer, written));
    }
}

/* ---- events ----------------------------------------------------------------------- */

static void take_event(VdsGuestDevice *device, const uint8_t *bytes)
{
    VdsGuestScsi *state = device->state;
    uint32_t event, reason;
    unsigned target = bytes[5];

    memcpy(&event, bytes, sizeof(event));
    memcpy(&reason, bytes + 12, sizeof(reason));
    event = GUINT32_FROM_LE(event);
    reason = GUINT32_FROM_LE(reason);
    if (event >> EVENTS_MISSED) {
        lose_disk(state);
        vds_guest_scsi_search(device, 0, state->max_target);
        return;
    }
    if (event != T_TRANSPORT_RESET && event != T_PARAM_CHANGE) {
        return;
    }
    if (state->has_disk && state->disk.target == target) {
        lose_disk(state);
    }
    if (event == T_PARAM_CHANGE || reason != REASON_REMOVED) {
        vds_guest_scsi_search(device, target, target);
    }
}

static void event_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    uint8_t bytes[EVENT_BYTES];

    if (written != EVENT_BYTES) {
        vds_guest_device_error(device, "an event of %u bytes", written);
    } else if (vds_guest_device_read(device, slot->gpa, bytes, sizeof(bytes))) {
        vds_guest_device_count(device);
        take_event(device, bytes);
    }
    if (device->life == VDS_GUEST_DRIVEN) {
        vds_guest_queue_post_in(queue, slot);
    }
}

/* ---- the driver ------------------------------------------------------------------- */

static void control_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    vds_guest_queue_give(queue, slot); /* nothing is ever asked there */
}

static const VdsGuestQueueRole control_role = {
    .slot_bytes = SLOT_BYTES, .max_slots = 1, .spans = 2, .used = control_used};
static const VdsGuestQueueRole event_role = {
    .slot_bytes = EVENT_BYTES, .max_slots = EVENTS, .spans = 1, .used = event_used};
static const VdsGuestQueueRole request_role = {
    .slot_bytes = SLOT_BYTES, .max_slots = 32, .spans = 3, .used = request_used};

static bool write_config(VdsGuestDevice *device, unsigned offset, uint32_t value,
                         GError **error)
{
    value = GUINT32_TO_LE(value);
    return vds_virtio_driver_write_config(device->virtio, offset, &value, sizeof(value),
                                          error);
}

static bool plan(VdsGuestDevice *device, GError **error)
{
    VdsGuestScsi *state = device->state;
    uint32_t n_queues;
    uint16_t max_target;

    if (!vds_guest_device_read_config(device, CONFIG_QUEUES, &n_queues, sizeof(n_queues),
                                      error) ||
        !vds_guest_device_read_config(device, CONFIG_MAX_TARGET, &max_target,
                                      sizeof(max_target), error) ||
        !write_config(device, CONFIG_SENSE, SENSE_BYTES, error) ||
        !write_config(device, CONFIG_CDB, VDS_SCSI_CDB_BYTES, error) ||
        !vds_guest_device_add_queue(device, &control_role, error) ||
        !vds_guest_device_add_queue(device, &event_role, error)) {
        return false;
    }
    state->max_target = MIN(GUINT16_FROM_LE(max_target), UINT8_MAX);
    n_queues = MIN(GUINT32_FROM_LE(n_queues), MAX_QUEUES);
    for (uint32_t i = 0; i < MAX(n_queues, 1); i++) {
        if (!vds_guest_device_add_queue(device, &request_role, error)) {
            return false;
        }
    }
    return true;
}

static bool start(VdsGuestDevice *device, GError **error)
{
    const VdsGuestScsi *state = device->state;

    for (unsigned i = VDS_SCSI_EVENT; i < device->n_queues; i++) {
        if (!vds_guest_queue_allocate(device->queues[i], 0, error)) {
            return false;
        }
    }
    if (vds_guest_device_has(device, F_HOTPLUG)) {
        vds_guest_queue_fill(device->queues[VDS_SCSI_EVENT]);
    }
    vds_guest_scsi_search(device, 0, state->max_target);
    return true;
}

const VdsGuestDriver vds_guest_scsi = {
    .device_id = 8,
    .features = UINT64_C(1) << F_HOTPLUG | UINT64_C(1) << F_CHANGE,
    .state_bytes = sizeof(VdsGuestScsi),
    .plan = plan,
    .start = start,
    .tick = tick,
};
