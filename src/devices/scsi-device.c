/*
 * devices: virtio-scsi at work (virtio 1.2, 5.6): requests around SCSI commands, on the
 * way that virtio-blk's take through a disk; events; start, stop, reset.  On the device's
 * I/O thread, but attach and detach.  Refuses to know commands and tasks.
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

/* ---- requests
 * -----------------------------------------------------------------------------
 */

static unsigned response_bytes(const VdsScsi *scsi)
{
    return RESPONSE_BYTES + scsi->sense_bytes;
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

    if (!vds_scsi_is_target(scsi, lun)) {
        request->status = VDS_BLK_S_UNSUPP;
        request->response = VDS_SCSI_BAD_TARGET;
        return;
    }
    command.addressed = vds_scsi_is_unit(scsi, lun);
    vds_scsi_command_run(&command);
}

static void request_clear(VdsBlkRequest *request)
{
    request->status = VDS_BLK_S_OK;
    request->kind = VDS_BLK_READ;
    request->offset = request->left = 0;
    request->flush = false;
    request->count = VDS_BLK_COUNT_NOT;
    request->response = VDS_SCSI_OK;
    request->sense_key = 0;
    request->sense_code = 0;
    request->reply_bytes = 0;
}

/* Data both ways need F_INOUT, which is not offered (virtio 1.2, 5.6.6.1). */
static bool has_data_both_ways(const VdsIo *io)
{
    return vds_stream_left(&io->in) > 0 && vds_stream_left(&io->out) > 0;
}

static const char *request_begin(VdsBlkRequest *request, const VdsBlkRules *rules)
{
    VdsScsi *scsi = (VdsScsi *)request->blk;
    VdsIo *io = request->io;
    uint8_t header[REQUEST_BYTES], cdb[VDS_SCSI_MAX_CDB] = {0};

    request_clear(request);
    if (vds_stream_left(&io->in) < response_bytes(scsi)) {
        return "5.6.6.1: a request without room for its response";
    }
    if (vds_stream_read(&io->out, header, sizeof(header)) < sizeof(header) ||
        vds_stream_read(&io->out, cdb, scsi->cdb_bytes) < scsi->cdb_bytes) {
        return "5.6.6.1: a request header that is too short";
    }
    request->reply_bytes = (uint16_t)response_bytes(scsi);
    vds_stream_seek(&io->in, request->reply_bytes);
    request->number = ++scsi->n_requests;
    request->tag = vds_scsi_get_le(header + 8, 8);
    if (has_data_both_ways(io)) {
        request->status = VDS_BLK_S_UNSUPP;
        request->response = VDS_SCSI_FAILURE;
        return NULL;
    }
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
    VdsIo *io = request->io;
    uint8_t bytes[RESPONSE_BYTES + VDS_SCSI_MAX_SENSE] = {0};
    uint64_t done = vds_stream_done(&io->in);
    uint64_t residual = vds_stream_left(&io->in) + vds_stream_left(&io->out);

    if (request->reply_bytes == 0 || done < request->reply_bytes) {
        vds_stream_seek(&io->in, 0);
        return; /* it was no request */
    }
    note_failure(request);
    if (request->sense_key != 0) {
        uint8_t sense[VDS_SCSI_SENSE];
        size_t room = (size_t)request->reply_bytes - RESPONSE_BYTES;

        vds_scsi_sense(sense, request->sense_key, request->sense_code);
        memcpy(bytes + RESPONSE_BYTES, sense, MIN(sizeof(sense), room));
        vds_scsi_put_le(bytes, MIN(sizeof(sense), room), 4);
        bytes[10] = 2; /* CHECK CONDITION */
    }
    vds_scsi_put_le(bytes + 4, MIN(residual, UINT32_MAX), 4);
    bytes[11] = request->response;
    vds_stream_seek(&io->in, 0);
    vds_stream_write(&io->in, bytes, request->reply_bytes);
    vds_stream_seek(&io->in, done);
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
    vds_scsi_put_le(bytes, event | (scsi->missed ? EVENTS_MISSED : 0), 4);
    if (scsi->unit) {
        bytes[4] = 1;
        bytes[5] = scsi->unit->target;
        vds_scsi_put(bytes + 6, scsi->unit->lun | (scsi->unit->lun < 256 ? 0 : 0x4000),
                     2);
    }
    vds_scsi_put_le(bytes + 12, reason, 4);
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
        vds_scsi_control(scsi, io);
    }
}

static const VdsBlkProtocol protocol = {
    .begin = request_begin,
    .end = request_end,
    .handle = handle_fixed,
    .finished = vds_scsi_tasks_settle,
};

/* ---- life
 * ------------------------------------------------------------------------------------
 */

static unsigned config_get(const VdsScsi *scsi, unsigned offset)
{
    uint8_t bytes[4];

    vds_virtio_device_get_config(scsi->blk.device, offset, bytes, sizeof(bytes));
    return (unsigned)vds_scsi_get_le(bytes, 4);
}

static void config_set(const VdsScsi *scsi, unsigned offset, unsigned value)
{
    uint8_t bytes[4];

    vds_scsi_put_le(bytes, value, 4);
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

    vds_scsi_tasks_drop(scsi);
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
        vds_scsi_tasks_drop(instance);
    }
    vds_blk_ops.queue_reset(instance, queue);
}

static void scsi_queue_stop(void *instance, VdsVirtQueue *queue)
{
    if (vds_virt_queue_get_index(queue) == VDS_SCSI_CONTROL) {
        vds_scsi_tasks_reject(instance);
    }
    vds_blk_ops.queue_stop(instance, queue);
}

static void scsi_free(void *instance)
{
    VdsScsi *scsi = instance;

    vds_scsi_unit_free(scsi->unit);
    vds_scsi_unit_free(scsi->gone);
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

/* The unit goes before the disk: commands that are begun meanwhile find none. */
static void hide_task(void *user)
{
    VdsScsi *scsi = user;

    if (scsi->unit) {
        tell(scsi, REASON_REMOVED);
        scsi->gone = g_steal_pointer(&scsi->unit);
    }
}

static void detach_task(void *user)
{
    Change *change = user;
    VdsScsi *scsi = change->scsi;

    hide_task(scsi);
    change->unit = g_steal_pointer(&scsi->gone);
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

bool vds_scsi_settle(VdsScsi *scsi, VdsTaskFunc done, void *user)
{
    vds_io_thread_call(scsi->blk.thread, hide_task, scsi);
    return vds_blk_settle(&scsi->blk, done, user);
}

void vds_scsi_detach(VdsScsi *scsi)
{
    Change change = {.scsi = scsi};

    vds_io_thread_call(scsi->blk.thread, detach_task, &change);
    scsi->has_unit = false;
    vds_blk_disk_free(change.disk);
    vds_scsi_unit_free(change.unit);
}
