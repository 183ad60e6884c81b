/*
 * devices: virtio-scsi at work (virtio 1.2, 5.6): requests around SCSI commands, on the
 * way that virtio-blk's take through a disk; task management; events.  On the device's
 * I/O thread, but attach and detach.  Refuses to know commands.
 *
 * Task management aborts nothing that the disk has: it is answered when what it is about
 * has come back, so that its answer is true.
 */
#include <string.h>

#include "scsi-priv.h"

enum {
    REQUEST_BYTES = 19,  /* before the CDB */
    RESPONSE_BYTES = 12, /* before the sense data */
    DEFAULT_SENSE = 96,
    DEFAULT_CDB = 32,
    EVENT_BYTES = 16,
    EVENTS_MISSED = 1u << 31,
    EVENT_TRANSPORT_RESET = 1,
    REASON_RESCAN = 1,
    REASON_REMOVED = 2,
};

/* A task management request that waits for others. */
typedef struct {
    VdsIo *io;
    bool counted;    /* all that was posted before it has a number */
    uint64_t number; /* then: of the youngest it is about */
    uint64_t tag;
    bool one; /* only the request of that tag */
} Task;

struct VdsScsi {
    VdsBlk blk;        /* first */
    VdsScsiUnit *unit; /* (nullable) */
    bool has_unit;     /* the same, for the main loop */
    unsigned sense_bytes, cdb_bytes;
    uint64_t n_requests;
    GArray *tasks; /* (nullable) Task */
    bool missed;   /* an event had no buffer */
};

/* ---- requests
 * -----------------------------------------------------------------------------
 */

static uint64_t get_le(const uint8_t *bytes, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static void put_le(uint8_t *bytes, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

static unsigned response_bytes(const VdsScsi *scsi)
{
    return RESPONSE_BYTES + scsi->sense_bytes;
}

/* "1, target, LUN in two bytes, 0, ..." (virtio 1.2, 5.6.6.1). */
static bool is_target(const VdsScsi *scsi, const uint8_t lun[8])
{
    return scsi->unit && lun[0] == 1 && lun[1] == scsi->unit->target;
}

static bool is_unit(const VdsScsi *scsi, const uint8_t lun[8])
{
    return (vds_scsi_get(lun + 2, 2) & 0x3fff) == scsi->unit->lun &&
           vds_scsi_get(lun + 4, 4) == 0;
}

static void run(VdsScsi *scsi, VdsBlkRequest *request, const uint8_t lun[8],
                const uint8_t cdb[VDS_SCSI_MAX_CDB])
{
    VdsScsiCommand command = {
        .request = request,
        .unit = scsi->unit,
        .disk = scsi->blk.disk,
        .cdb = cdb,
    };

    if (!is_target(scsi, lun)) {
        request->status = VDS_BLK_S_UNSUPP;
        request->response = VDS_SCSI_BAD_TARGET;
        return;
    }
    command.addressed = is_unit(scsi, lun);
    vds_scsi_command_run(&command);
}

static const char *request_begin(VdsBlkRequest *request, const VdsBlkRules *rules)
{
    VdsScsi *scsi = (VdsScsi *)request->blk;
    VdsIo *io = request->io;
    uint8_t header[REQUEST_BYTES], cdb[VDS_SCSI_MAX_CDB] = {0};

    request->status = VDS_BLK_S_OK;
    request->kind = VDS_BLK_READ;
    request->offset = request->left = 0;
    request->flush = false;
    request->count = VDS_BLK_COUNT_NOT;
    request->response = VDS_SCSI_OK;
    request->sense_key = 0;
    request->sense_code = 0;
    if (vds_stream_left(&io->in) < response_bytes(scsi)) {
        return "5.6.6.1: a request without room for its response";
    }
    if (vds_stream_read(&io->out, header, sizeof(header)) < sizeof(header) ||
        vds_stream_read(&io->out, cdb, scsi->cdb_bytes) < scsi->cdb_bytes) {
        return "5.6.6.1: a request header that is too short";
    }
    vds_stream_seek(&io->in, response_bytes(scsi));
    request->number = ++scsi->n_requests;
    request->tag = get_le(header + 8, 8);
    run(scsi, request, header, cdb);
    return NULL;
}

/* What the disk could not do. */
static void note_failure(VdsBlkRequest *request)
{
    if (request->status == VDS_BLK_S_IOERR && request->sense_key == 0) {
        request->sense_key = VDS_SCSI_MEDIUM_ERROR;
        request->sense_code =
            request->kind == VDS_BLK_READ ? VDS_SCSI_READ_FAILED : VDS_SCSI_WRITE_FAILED;
    }
}

static void request_end(VdsBlkRequest *request)
{
    VdsScsi *scsi = (VdsScsi *)request->blk;
    VdsIo *io = request->io;
    uint8_t bytes[RESPONSE_BYTES + VDS_SCSI_MAX_SENSE] = {0};
    uint64_t done = vds_stream_done(&io->in);
    uint64_t residual = vds_stream_left(&io->in) + vds_stream_left(&io->out);

    if (done < response_bytes(scsi)) {
        vds_stream_seek(&io->in, 0);
        return; /* it was no request */
    }
    note_failure(request);
    if (request->sense_key != 0) {
        uint8_t sense[VDS_SCSI_SENSE];

        vds_scsi_sense(sense, request->sense_key, request->sense_code);
        memcpy(bytes + RESPONSE_BYTES, sense, MIN(sizeof(sense), scsi->sense_bytes));
        put_le(bytes, MIN(sizeof(sense), scsi->sense_bytes), 4);
        bytes[10] = 2; /* CHECK CONDITION */
    }
    put_le(bytes + 4, MIN(residual, UINT32_MAX), 4);
    bytes[11] = request->response;
    vds_stream_seek(&io->in, 0);
    vds_stream_write(&io->in, bytes, response_bytes(scsi));
    vds_stream_seek(&io->in, done);
}

/* ---- task management (virtio 1.2, 5.6.6.2)
 * ---------------------------------------------------
 */

enum {
    TMF_COMPLETE = 0,
    TMF_BAD_TARGET = 3,
    TMF_SUCCEEDED = 10,
    TMF_REJECTED = 11,
    TMF_INCORRECT_LUN = 12,
};

/* By subtype. */
static const struct {
    bool known;
    bool query; /* is it there? else: it is to be over */
    bool one;   /* the request of the tag; else all */
    bool any_lun;
} functions[] = {
    {true, false, true, false},   /* ABORT TASK */
    {true, false, false, false},  /* ABORT TASK SET */
    {false, false, false, false}, /* CLEAR ACA: there is never one */
    {true, false, false, false},  /* CLEAR TASK SET */
    {true, false, false, true},   /* I_T NEXUS RESET */
    {true, false, false, false},  /* LOGICAL UNIT RESET */
    {true, true, true, false},    /* QUERY TASK */
    {true, true, false, false},   /* QUERY TASK SET */
};

static bool is_under_way(const VdsScsi *scsi, const Task *task)
{
    for (unsigned i = 0; scsi->blk.requests && i < VDS_BLK_DEPTH; i++) {
        const VdsBlkRequest *request = &scsi->blk.requests[i];

        if (request->used && request->io && request->number <= task->number &&
            (!task->one || request->tag == task->tag)) {
            return true;
        }
    }
    return false;
}

static void answer_byte(VdsIo *io, uint8_t byte)
{
    vds_stream_write(&io->in, &byte, 1);
    vds_virt_queue_complete(io->queue, io, 1);
}

/* What was posted before it is looked at first, as far as there is room. */
static void count(VdsScsi *scsi, Task *task)
{
    if (!task->counted) {
        vds_blk_feed(&scsi->blk);
        task->counted = !scsi->blk.hungry;
        task->number = scsi->n_requests;
    }
}

static void wait_for(VdsScsi *scsi, Task task)
{
    if (!scsi->tasks) {
        scsi->tasks = g_array_new(FALSE, FALSE, sizeof(Task));
    }
    g_array_append_val(scsi->tasks, task);
}

static void manage(VdsScsi *scsi, VdsIo *io, const uint8_t bytes[24])
{
    uint64_t subtype = get_le(bytes + 4, 4);
    Task task = {.io = io, .tag = get_le(bytes + 16, 8)};

    if (subtype >= G_N_ELEMENTS(functions) || !functions[subtype].known) {
        answer_byte(io, TMF_REJECTED);
        return;
    }
    task.one = functions[subtype].one;
    count(scsi, &task);
    if (!is_target(scsi, bytes + 8)) {
        answer_byte(io, TMF_BAD_TARGET);
    } else if (!functions[subtype].any_lun && !is_unit(scsi, bytes + 8)) {
        answer_byte(io, TMF_INCORRECT_LUN);
    } else if (functions[subtype].query) {
        answer_byte(io, is_under_way(scsi, &task) ? TMF_SUCCEEDED : TMF_COMPLETE);
    } else {
        wait_for(scsi, task);
    }
}

/* The driver sees what is over before it is told so. */
static void tasks_show(VdsScsi *scsi)
{
    vds_blk_work_flush(&scsi->blk);
    vds_virt_queue_flush(
        vds_virtio_device_get_virt_queue(scsi->blk.device, VDS_SCSI_CONTROL));
}

static void tasks_settle(VdsBlk *blk)
{
    VdsScsi *scsi = (VdsScsi *)blk;
    bool told = false;

    for (unsigned i = 0; scsi->tasks && i < scsi->tasks->len;) {
        Task *task = &g_array_index(scsi->tasks, Task, i);

        count(scsi, task);
        if (!task->counted || is_under_way(scsi, task)) {
            i++;
            continue;
        }
        answer_byte(task->io, TMF_COMPLETE);
        g_array_remove_index(scsi->tasks, i);
        told = true;
    }
    if (told) {
        tasks_show(scsi);
    }
}

/* Nobody will hear of them: the control queue stops. */
static void tasks_reject(VdsScsi *scsi)
{
    for (unsigned i = 0; scsi->tasks && i < scsi->tasks->len; i++) {
        answer_byte(g_array_index(scsi->tasks, Task, i).io, TMF_REJECTED);
    }
    g_clear_pointer(&scsi->tasks, g_array_unref);
}

static void tasks_drop(VdsScsi *scsi)
{
    for (unsigned i = 0; scsi->tasks && i < scsi->tasks->len; i++) {
        VdsIo *io = g_array_index(scsi->tasks, Task, i).io;

        vds_virt_queue_drop(io->queue, io);
    }
    g_clear_pointer(&scsi->tasks, g_array_unref);
}

/* There are no asynchronous notifications to be had. */
static void notifications(VdsScsi *scsi, VdsIo *io, const uint8_t *bytes)
{
    uint8_t answer[5] = {0};

    answer[4] = is_target(scsi, bytes + 4) ? 0 : VDS_SCSI_BAD_TARGET;
    vds_stream_write(&io->in, answer, sizeof(answer));
    vds_virt_queue_complete(io->queue, io, sizeof(answer));
}

static const struct {
    uint8_t n_out, n_in; /* bytes */
    void (*serve)(VdsScsi *scsi, VdsIo *io, const uint8_t *bytes);
} control_types[] = {{24, 1, manage}, {16, 5, notifications}, {16, 5, notifications}};

static void serve_control(VdsScsi *scsi, VdsIo *io)
{
    uint8_t bytes[24] = {0};
    size_t n = vds_stream_read(&io->out, bytes, sizeof(bytes));
    uint64_t type = n >= 4 ? get_le(bytes, 4) : UINT64_MAX;

    if (type >= G_N_ELEMENTS(control_types) || n < control_types[type].n_out ||
        vds_stream_left(&io->in) < control_types[type].n_in) {
        vds_virtio_device_break(scsi->blk.device,
                                "5.6.6.2: a control request that is none, of %zu bytes "
                                "with room for %" PRIu64,
                                n, vds_stream_left(&io->in));
        vds_virt_queue_complete(io->queue, io, 0);
        return;
    }
    control_types[type].serve(scsi, io, bytes);
}

/* ---- events (virtio 1.2, 5.6.6.3)
 * --------------------------------------------------------------
 */

/* false: there is no buffer. */
static bool put_event(VdsScsi *scsi, uint32_t event, uint32_t reason)
{
    VdsVirtQueue *queue =
        vds_virtio_device_get_virt_queue(scsi->blk.device, VDS_SCSI_EVENT);
    VdsIo *io = queue ? vds_virt_queue_pop_one(queue) : NULL;
    uint8_t bytes[EVENT_BYTES] = {0};

    if (!io) {
        return false;
    }
    put_le(bytes, event | (scsi->missed ? EVENTS_MISSED : 0), 4);
    if (scsi->unit) {
        bytes[4] = 1;
        bytes[5] = scsi->unit->target;
        vds_scsi_put(bytes + 6, scsi->unit->lun | (scsi->unit->lun < 256 ? 0 : 0x4000),
                     2);
    }
    put_le(bytes + 12, reason, 4);
    scsi->missed = false;
    vds_virt_queue_complete(queue, io, vds_stream_write(&io->in, bytes, sizeof(bytes)));
    vds_virt_queue_flush(queue);
    return true;
}

static void tell(VdsScsi *scsi, uint32_t reason)
{
    VdsVirtioDevice *device = scsi->blk.device;

    if (vds_virtio_device_is_active(device) &&
        vds_virtio_device_has_feature(device, VDS_SCSI_F_HOTPLUG) &&
        !put_event(scsi, EVENT_TRANSPORT_RESET, reason)) {
        scsi->missed = true;
    }
}

static void handle_fixed(VdsBlk *blk, VdsVirtQueue *queue)
{
    VdsScsi *scsi = (VdsScsi *)blk;
    VdsIo *io;

    if (vds_virt_queue_get_index(queue) == VDS_SCSI_EVENT) {
        if (scsi->missed) {
            put_event(scsi, 0, 0);
        }
        return;
    }
    while ((io = vds_virt_queue_pop_one(queue))) {
        serve_control(scsi, io);
    }
}

static const VdsBlkProtocol protocol = {
    .begin = request_begin,
    .end = request_end,
    .handle = handle_fixed,
    .finished = tasks_settle,
};

/* ---- life
 * ------------------------------------------------------------------------------------
 */

static unsigned config_get(const VdsScsi *scsi, unsigned offset)
{
    uint8_t bytes[4];

    vds_virtio_device_get_config(scsi->blk.device, offset, bytes, sizeof(bytes));
    return (unsigned)get_le(bytes, 4);
}

static void config_set(const VdsScsi *scsi, unsigned offset, unsigned value)
{
    uint8_t bytes[4];

    put_le(bytes, value, 4);
    vds_virtio_device_set_config(scsi->blk.device, offset, bytes, sizeof(bytes));
}

static void scsi_config_written(void *instance, unsigned offset, unsigned len)
{
    VdsScsi *scsi = instance;
    unsigned sense = config_get(scsi, VDS_SCSI_CONFIG_SENSE);
    unsigned cdb = config_get(scsi, VDS_SCSI_CONFIG_CDB);

    if (sense > VDS_SCSI_MAX_SENSE || cdb == 0 || cdb > VDS_SCSI_MAX_CDB) {
        vds_virtio_device_break(scsi->blk.device,
                                "5.6.4: sense data of %u bytes and commands of %u, at "
                                "most %d and %d",
                                sense, cdb, VDS_SCSI_MAX_SENSE, VDS_SCSI_MAX_CDB);
        return;
    }
    scsi->sense_bytes = sense;
    scsi->cdb_bytes = cdb;
}

static void scsi_start(void *instance)
{
    VdsScsi *scsi = instance;
    VdsVirtQueue *events =
        vds_virtio_device_get_virt_queue(scsi->blk.device, VDS_SCSI_EVENT);

    if (events) {
        vds_virt_queue_set_eager(events, false);
    }
    vds_blk_start(&scsi->blk);
}

static void scsi_reset(void *instance)
{
    VdsScsi *scsi = instance;

    tasks_drop(scsi);
    vds_blk_reset(&scsi->blk);
    scsi->missed = false;
    scsi->sense_bytes = DEFAULT_SENSE;
    scsi->cdb_bytes = DEFAULT_CDB;
    config_set(scsi, VDS_SCSI_CONFIG_SENSE, DEFAULT_SENSE);
    config_set(scsi, VDS_SCSI_CONFIG_CDB, DEFAULT_CDB);
}

static void scsi_handle(void *instance, VdsVirtQueue *queue)
{
    vds_blk_ops.handle(instance, queue);
}

static void scsi_stop(void *instance)
{
    vds_blk_ops.stop(instance);
}

static void scsi_queue_reset(void *instance, VdsVirtQueue *queue)
{
    if (vds_virt_queue_get_index(queue) == VDS_SCSI_CONTROL) {
        tasks_drop(instance);
    }
    vds_blk_ops.queue_reset(instance, queue);
}

static void scsi_queue_stop(void *instance, VdsVirtQueue *queue)
{
    if (vds_virt_queue_get_index(queue) == VDS_SCSI_CONTROL) {
        tasks_reject(instance);
    }
    vds_blk_ops.queue_stop(instance, queue);
}

static void scsi_free(void *instance)
{
    VdsScsi *scsi = instance;

    vds_scsi_unit_free(scsi->unit);
    vds_blk_ops.free(scsi);
}

static const VdsConfigRange writable[] = {
    {VDS_SCSI_CONFIG_SENSE, 4}, {VDS_SCSI_CONFIG_CDB, 4}, {0, 0}};

const VdsDeviceOps vds_scsi_ops = {
    .start = scsi_start,
    .handle = scsi_handle,
    .stop = scsi_stop,
    .reset = scsi_reset,
    .queue_reset = scsi_queue_reset,
    .queue_stop = scsi_queue_stop,
    .config_written = scsi_config_written,
    .free = scsi_free,
    .config_writable = writable,
};

VdsScsi *vds_scsi_new(VdsIoThread *thread, unsigned n_queues)
{
    VdsScsi *scsi = g_new0(VdsScsi, 1);

    vds_blk_init(&scsi->blk, &(VdsBlkConfig){
                                 .protocol = &protocol,
                                 .io_thread = thread,
                                 .first_queue = VDS_SCSI_FIXED_QUEUES,
                                 .n_queues = n_queues,
                             });
    scsi->sense_bytes = DEFAULT_SENSE;
    scsi->cdb_bytes = DEFAULT_CDB;
    return scsi;
}

VdsVirtioDevice **vds_scsi_device(VdsScsi *scsi)
{
    return &scsi->blk.device;
}

/* ---- the disk comes and goes
 * --------------------------------------------------------------------
 */

typedef struct {
    VdsScsi *scsi;
    VdsScsiUnit *unit;
    VdsBlkDisk *disk;
    bool ok;
} Change;

static void attach_task(void *user)
{
    Change *change = user;
    VdsScsi *scsi = change->scsi;

    change->ok = vds_blk_attach(&scsi->blk, change->disk);
    if (change->ok) {
        scsi->unit = change->unit;
        scsi->blk.rules.block_bytes = change->unit->block_bytes;
        tell(scsi, REASON_RESCAN);
    }
}

static void detach_task(void *user)
{
    Change *change = user;
    VdsScsi *scsi = change->scsi;

    tell(scsi, REASON_REMOVED);
    /* First, since requests that are begun meanwhile find no disk behind it. */
    change->unit = g_steal_pointer(&scsi->unit);
    change->disk = vds_blk_detach(&scsi->blk);
}

bool vds_scsi_has_unit(const VdsScsi *scsi)
{
    return scsi->has_unit;
}

bool vds_scsi_attach(VdsScsi *scsi, VdsScsiUnit *unit, VdsBlkDisk *disk, GError **error)
{
    Change change = {.scsi = scsi, .unit = unit, .disk = disk};

    if (!vds_io_thread_start(scsi->blk.thread, error)) {
        return false;
    }
    vds_io_thread_call(scsi->blk.thread, attach_task, &change);
    if (!change.ok) {
        g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_SYSTEM,
                            "the disk cannot be worked on");
    }
    scsi->has_unit = change.ok;
    return change.ok;
}

void vds_scsi_detach(VdsScsi *scsi)
{
    Change change = {.scsi = scsi};

    vds_io_thread_call(scsi->blk.thread, detach_task, &change);
    scsi->has_unit = false;
    vds_blk_disk_free(change.disk);
    vds_scsi_unit_free(change.unit);
}
