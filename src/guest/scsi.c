/*
 * guest: the driver of virtio-scsi.  It asks every target what is there, as Linux does,
 * and takes the first disk it finds: idle, it reads what a search for partitions reads;
 * under load it writes blocks and reads them again.  Events say when to look again.
 * virtio 1.2, 5.6; the commands are those of SPC-4 and SBC-3.
 */
#include <string.h>

#include "guest-priv.h"

enum { F_HOTPLUG = 1, F_CHANGE = 2 };

enum { /* config */
       CONFIG_QUEUES = 0,
       CONFIG_SENSE = 20,
       CONFIG_CDB = 24,
       CONFIG_MAX_TARGET = 30,
};

enum { CONTROL, EVENT, REQUEST /* and those after it */ };

enum {
    /* what Linux asks for, and so writes to the config space */
    SENSE_BYTES = 96,
    CDB_BYTES = 32,
    /* a request's slot: what the device reads, what it writes, then a page of data */
    HEADER_BYTES = 19 + CDB_BYTES,
    ANSWER_AT = 64,
    ANSWER_BYTES = 12 + SENSE_BYTES,
    DATA_AT = VDS_GUEST_BLOCK,
    SLOT_BYTES = 2 * VDS_GUEST_BLOCK,
    EVENT_BYTES = 16,
    EVENTS = 8, /* as Linux */
    MAX_QUEUES = 1024,
    MAX_LUNS = 16, /* of one target: more are not looked at */
    TRIES = 3,     /* of a command while the unit has something else to say */
    SCAN_READS = 3,
    SECTOR = 512,
    BLOCK = VDS_GUEST_BLOCK,
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

typedef struct {
    uint8_t target;
    uint16_t lun;
} Unit;

/* What a command is for. */
typedef enum {
    STEP_TARGET, /* is anything there? */
    STEP_LUNS,
    STEP_LUN, /* is this one a disk? */
    STEP_READY,
    STEP_CAPACITY,
    STEP_PROTECTION,
    STEP_LOOK, /* for partitions */
    STEP_READ,
    STEP_WRITE,
    STEP_FLUSH,
} Step;

typedef struct {
    Step step;
    Unit unit;
    uint8_t cdb[CDB_BYTES];
    uint32_t out, in; /* bytes of data; one of them is 0 */
    unsigned block;
} Command;

typedef struct {
    unsigned next_queue;

    /* The search: one command at a time. */
    bool searching, again; /* again: something changed meanwhile */
    unsigned last_target;  /* of the search */
    unsigned max_target;
    Unit at;
    uint16_t luns[MAX_LUNS];
    unsigned n_luns, next_lun, tries;
    Command asked; /* the last one */

    /* The disk. */
    bool has_disk;
    uint32_t epoch; /* of `blocks`: answers of an older one are not about these */
    Unit disk;
    uint32_t block_bytes;
    uint64_t n_blocks;
    VdsGuestBlocks blocks;
} ScsiState;

static void put_be(uint8_t *to, uint64_t value, unsigned n)
{
    for (unsigned i = n; i-- > 0; value >>= 8) {
        to[i] = (uint8_t)value;
    }
}

static uint64_t get_be(const uint8_t *from, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

/* ---- requests --------------------------------------------------------------------- */

/* slot->note: the step and how much it may bring; the block and its epoch. */
static bool submit(VdsGuestQueue *queue, const Command *command)
{
    VdsGuestDevice *device = queue->device;
    const ScsiState *state = device->state;
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
    put_be(header + 8, slot->gpa, 8); /* any number that no other has */
    memcpy(header + 19, command->cdb, CDB_BYTES);
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

/* ---- the search ------------------------------------------------------------------- */

/* Its commands have a queue's last slot for themselves. */
static void ask(VdsGuestDevice *device, const Command *command)
{
    ScsiState *state = device->state;

    state->asked = *command;
    if (!submit(device->queues[REQUEST], command) && device->life == VDS_GUEST_DRIVEN) {
        vds_guest_device_error(device, "no room to ask what is at target %u",
                               command->unit.target);
        state->searching = false;
    }
}

static void inquire(VdsGuestDevice *device, Step step, Unit unit)
{
    ask(device, &(Command){.step = step,
                           .unit = unit,
                           .cdb = {0x12, [4] = 36}, /* INQUIRY */
                           .in = 36});
}

static void search(VdsGuestDevice *device, unsigned first, unsigned last)
{
    ScsiState *state = device->state;

    if (state->searching) {
        state->again = true;
        return;
    }
    state->searching = true;
    state->last_target = last;
    state->tries = 0;
    state->at = (Unit){(uint8_t)first, 0};
    inquire(device, STEP_TARGET, state->at);
}

static void next_target(VdsGuestDevice *device)
{
    ScsiState *state = device->state;

    if (state->at.target < state->last_target) {
        state->at = (Unit){(uint8_t)(state->at.target + 1), 0};
        inquire(device, STEP_TARGET, state->at);
        return;
    }
    state->searching = false;
    if (state->again) {
        state->again = false;
        search(device, 0, state->max_target);
    }
}

static void next_lun(VdsGuestDevice *device)
{
    ScsiState *state = device->state;

    if (state->next_lun < state->n_luns) {
        state->at.lun = state->luns[state->next_lun++];
        inquire(device, STEP_LUN, state->at);
    } else {
        next_target(device);
    }
}

static void found_target(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    const ScsiState *state = device->state;

    ask(device, &(Command){.step = STEP_LUNS,
                           .unit = {state->at.target, 0},
                           .cdb = {0xa0, [8] = BLOCK >> 8}, /* REPORT LUNS */
                           .in = BLOCK});
}

/* Peripheral and flat addresses; others name no disk. */
static void found_luns(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    ScsiState *state = device->state;
    uint64_t bytes = len < 8 ? 0 : MIN(get_be(data, 4), len - 8);

    state->n_luns = state->next_lun = 0;
    for (uint64_t at = 8; at + 8 <= 8 + bytes && state->n_luns < MAX_LUNS; at += 8) {
        if (data[at] < 0x80) {
            state->luns[state->n_luns++] = get_be(data + at, 2) & 0x3fff;
        }
    }
    next_lun(device);
}

static void found_lun(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    const ScsiState *state = device->state;

    if (len > 0 && data[0] == 0 && !state->has_disk) { /* connected, direct access */
        ask(device, &(Command){.step = STEP_READY,
                               .unit = state->at,
                               .cdb = {0} /* TEST UNIT READY */});
    } else {
        next_lun(device);
    }
}

static void found_ready(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    const ScsiState *state = device->state;

    ask(device, &(Command){.step = STEP_CAPACITY,
                           .unit = state->at,
                           .cdb = {0x9e, 0x10, [13] = 32}, /* READ CAPACITY (16) */
                           .in = 32});
}

static void found_capacity(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    ScsiState *state = device->state;

    if (len < 12) {
        vds_guest_device_error(device, "a capacity in %u bytes", len);
        next_lun(device);
        return;
    }
    state->n_blocks = get_be(data, 8) == UINT64_MAX ? 0 : get_be(data, 8) + 1;
    state->block_bytes = (uint32_t)get_be(data + 8, 4);
    ask(device, &(Command){.step = STEP_PROTECTION,
                           .unit = state->at,
                           .cdb = {0x1a, [2] = 0x3f, [4] = 4}, /* MODE SENSE (6) */
                           .in = 4});
}

/* ---- the disk --------------------------------------------------------------------- */

/* One page, at a 512-byte sector's number. */
static bool transfer(VdsGuestQueue *queue, Step step, uint64_t sector, unsigned block)
{
    const ScsiState *state = queue->device->state;
    uint64_t lba = sector * SECTOR / state->block_bytes;
    uint32_t n = BLOCK / state->block_bytes;
    bool writes = step == STEP_WRITE;
    Command command = {.step = step,
                       .unit = state->disk,
                       .out = writes ? BLOCK : 0,
                       .in = writes ? 0 : BLOCK,
                       .block = block};

    if (lba + n <= UINT32_MAX) {
        command.cdb[0] = writes ? 0x2a : 0x28; /* WRITE (10), READ (10) */
        put_be(command.cdb + 2, lba, 4);
        put_be(command.cdb + 7, n, 2);
    } else {
        command.cdb[0] = writes ? 0x8a : 0x88; /* (16) */
        put_be(command.cdb + 2, lba, 8);
        put_be(command.cdb + 10, n, 4);
    }
    return submit(queue, &command);
}

/* The disk is there; a page of its own blocks is what the driver moves. */
static void take_disk(VdsGuestDevice *device, bool read_only)
{
    ScsiState *state = device->state;
    uint32_t bytes = state->block_bytes;
    VdsGuestQueue *queue = device->queues[REQUEST];
    uint64_t sectors;

    state->has_disk = true;
    state->epoch++;
    state->disk = state->at;
    if (bytes < SECTOR || bytes > BLOCK || BLOCK % bytes != 0) {
        vds_guest_blocks_init(&state->blocks, 0);
        return;
    }
    sectors = MIN(state->n_blocks, UINT64_MAX / bytes) * bytes / SECTOR;
    vds_guest_blocks_init(&state->blocks, sectors);
    state->blocks.read_only = read_only;
    state->blocks.flushes = true;
    for (unsigned i = 0; i < SCAN_READS && sectors >= BLOCK / SECTOR && queue->n_free > 1;
         i++) {
        uint64_t last = (sectors / (BLOCK / SECTOR) - 1) * (BLOCK / SECTOR);

        transfer(queue, STEP_LOOK, i == 1 ? last : 0, 0);
    }
}

/* The third byte's first bit: write-protected. */
static void found_protection(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    take_disk(device, len >= 3 && (data[2] & 0x80) != 0);
    next_lun(device);
}

/* A disk that does not say is not protected, as Linux has it. */
static void no_protection(VdsGuestDevice *device)
{
    take_disk(device, false);
    next_lun(device);
}

static void submit_flush(VdsGuestDevice *device, VdsGuestQueue *queue)
{
    const ScsiState *state = device->state;

    submit(queue, &(Command){.step = STEP_FLUSH,
                             .unit = state->disk,
                             .cdb = {0x35}}); /* SYNCHRONIZE CACHE (10) */
}

/* One slot is the search's. */
static void tick(VdsGuestDevice *device)
{
    ScsiState *state = device->state;
    VdsGuestQueue *queue = device->queues[REQUEST + state->next_queue];
    VdsGuestBlocks *blocks = &state->blocks;
    VdsGuestTurn turn;
    unsigned n = 0;
    bool writes;

    if (!state->has_disk || queue->n_free < 2) {
        return;
    }
    turn = vds_guest_blocks_turn(blocks, &n);
    state->next_queue = (state->next_queue + 1) % (device->n_queues - REQUEST);
    if (turn == VDS_GUEST_TURN_FLUSH) {
        submit_flush(device, queue);
    } else if (turn != VDS_GUEST_TURN_NONE) {
        writes = turn == VDS_GUEST_TURN_WRITE;
        if ((!writes ||
             vds_guest_blocks_put(blocks, device, n, queue->free->gpa + DATA_AT)) &&
            transfer(queue, writes ? STEP_WRITE : STEP_READ,
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

typedef void (*FoundFunc)(VdsGuestDevice *device, const uint8_t *data, uint32_t len);

static const struct {
    const char *name;
    FoundFunc found;                      /* (nullable): no step of the search */
    void (*none)(VdsGuestDevice *device); /* it did not do it */
    bool quiet;                           /* not to do it is no fault */
} steps[] = {
    [STEP_TARGET] = {"INQUIRY", found_target, next_target, true},
    [STEP_LUNS] = {"REPORT LUNS", found_luns, next_target, false},
    [STEP_LUN] = {"INQUIRY", found_lun, next_lun, false},
    [STEP_READY] = {"TEST UNIT READY", found_ready, next_lun, false},
    [STEP_CAPACITY] = {"READ CAPACITY", found_capacity, next_lun, false},
    [STEP_PROTECTION] = {"MODE SENSE", found_protection, no_protection, true},
    [STEP_LOOK] = {.name = "READ"},
    [STEP_READ] = {.name = "READ"},
    [STEP_WRITE] = {.name = "WRITE"},
    [STEP_FLUSH] = {.name = "SYNCHRONIZE CACHE"},
};

/* A disk that is gone takes its answers along; its event comes or came. */
static bool check_answer(VdsGuestDevice *device, Step step, const Answer *answer)
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

/* A step of the search ends, and the next one begins. */
static void go_on(VdsGuestDevice *device, Step step, const VdsGuestSlot *slot,
                  uint32_t len, bool good)
{
    uint8_t data[BLOCK];

    if (!good) {
        steps[step].none(device);
    } else if (vds_guest_device_read(device, slot->gpa + DATA_AT, data, len)) {
        vds_guest_device_count(device);
        steps[step].found(device, data, len);
    }
}

/* The unit had something else to say first. */
static bool try_again(VdsGuestDevice *device, const Answer *answer)
{
    ScsiState *state = device->state;
    const Command again = state->asked;

    if (answer->response != OK || answer->status != CHECK_CONDITION ||
        answer->sense_key != UNIT_ATTENTION || state->tries == TRIES) {
        state->tries = 0;
        return false;
    }
    state->tries++;
    ask(device, &again);
    return true;
}

static void settle(VdsGuestDevice *device, const VdsGuestSlot *slot, Step step, bool good)
{
    ScsiState *state = device->state;

    if (slot->note[1] >> 32 != state->epoch) {
        return;
    }
    if (step == STEP_READ || step == STEP_WRITE) {
        vds_guest_blocks_settle(&state->blocks, device, (uint32_t)slot->note[1], good,
                                slot->gpa + DATA_AT);
    } else if (good) {
        vds_guest_device_count(device);
    }
}

static void request_used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    Step step = (Step)(slot->note[0] >> 32);
    uint32_t in = (uint32_t)slot->note[0], len;
    Answer answer;
    bool good;

    if (!read_answer(device, slot, &answer)) {
        return;
    }
    len = in - MIN(in, answer.resid);
    if (written < ANSWER_BYTES || (steps[step].found == NULL && answer.resid > 0)) {
        vds_guest_device_error(device, "%s: %u bytes written, %u left", steps[step].name,
                               written, answer.resid);
        answer.response = BUSY; /* one error is enough */
    }
    vds_guest_queue_give(queue, slot);
    if (steps[step].found && try_again(device, &answer)) {
        return;
    }
    good = check_answer(device, step, &answer);
    if (steps[step].found) {
        go_on(device, step, slot, len, good);
    } else {
        settle(device, slot, step, good);
    }
}

/* ---- events ----------------------------------------------------------------------- */

static void lose_disk(ScsiState *state)
{
    state->has_disk = false;
    state->epoch++;
}

static void take_event(VdsGuestDevice *device, const uint8_t *bytes)
{
    ScsiState *state = device->state;
    uint32_t event, reason;
    unsigned target = bytes[5];

    memcpy(&event, bytes, sizeof(event));
    memcpy(&reason, bytes + 12, sizeof(reason));
    event = GUINT32_FROM_LE(event);
    reason = GUINT32_FROM_LE(reason);
    if (event >> EVENTS_MISSED) {
        lose_disk(state);
        search(device, 0, state->max_target);
        return;
    }
    if (event != T_TRANSPORT_RESET && event != T_PARAM_CHANGE) {
        return;
    }
    if (state->has_disk && state->disk.target == target) {
        lose_disk(state);
    }
    if (event == T_PARAM_CHANGE || reason != REASON_REMOVED) {
        search(device, target, target);
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
    ScsiState *state = device->state;
    uint32_t n_queues;
    uint16_t max_target;

    if (!vds_guest_device_read_config(device, CONFIG_QUEUES, &n_queues, sizeof(n_queues),
                                      error) ||
        !vds_guest_device_read_config(device, CONFIG_MAX_TARGET, &max_target,
                                      sizeof(max_target), error) ||
        !write_config(device, CONFIG_SENSE, SENSE_BYTES, error) ||
        !write_config(device, CONFIG_CDB, CDB_BYTES, error) ||
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
    const ScsiState *state = device->state;

    for (unsigned i = EVENT; i < device->n_queues; i++) {
        if (!vds_guest_queue_allocate(device->queues[i], 0, error)) {
            return false;
        }
    }
    if (vds_guest_device_has(device, F_HOTPLUG)) {
        vds_guest_queue_fill(device->queues[EVENT]);
    }
    search(device, 0, state->max_target);
    return true;
}

const VdsGuestDriver vds_guest_scsi = {
    .device_id = 8,
    .features = UINT64_C(1) << F_HOTPLUG | UINT64_C(1) << F_CHANGE,
    .state_bytes = sizeof(ScsiState),
    .plan = plan,
    .start = start,
    .tick = tick,
};
