/*
 * devices: virtio-scsi's control queue: task management (virtio 1.2, 5.6.6.2).  On the
 * device's I/O thread.
 *
 * It aborts nothing that the disk has: it is answered when what it is about has come
 * back, so that its answer is true.  Refuses to know commands.
 */
#include "scsi-priv.h"

/* A task management request that waits for others. */
typedef struct {
    VdsIo *io;
    bool counted;    /* all that was posted before it has a number */
    uint64_t number; /* then: of the youngest it is about */
    uint64_t tag;
    bool one; /* only the request of that tag */
} Task;

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
    uint64_t subtype = vds_scsi_get_le(bytes + 4, 4);
    Task task = {.io = io, .tag = vds_scsi_get_le(bytes + 16, 8)};

    if (subtype >= G_N_ELEMENTS(functions) || !functions[subtype].known) {
        answer_byte(io, TMF_REJECTED);
        return;
    }
    task.one = functions[subtype].one;
    count(scsi, &task);
    if (!vds_scsi_is_target(scsi, bytes + 8)) {
        answer_byte(io, TMF_BAD_TARGET);
    } else if (!functions[subtype].any_lun && !vds_scsi_is_unit(scsi, bytes + 8)) {
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

void vds_scsi_tasks_settle(VdsBlk *blk)
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

void vds_scsi_tasks_reject(VdsScsi *scsi)
{
    for (unsigned i = 0; scsi->tasks && i < scsi->tasks->len; i++) {
        answer_byte(g_array_index(scsi->tasks, Task, i).io, TMF_REJECTED);
    }
    g_clear_pointer(&scsi->tasks, g_array_unref);
}

void vds_scsi_tasks_drop(VdsScsi *scsi)
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

    answer[4] = vds_scsi_is_target(scsi, bytes + 4) ? 0 : VDS_SCSI_BAD_TARGET;
    vds_stream_write(&io->in, answer, sizeof(answer));
    vds_virt_queue_complete(io->queue, io, sizeof(answer));
}

static const struct {
    uint8_t n_out, n_in; /* bytes */
    void (*serve)(VdsScsi *scsi, VdsIo *io, const uint8_t *bytes);
} control_types[] = {{24, 1, manage}, {16, 5, notifications}, {16, 5, notifications}};

void vds_scsi_control(VdsScsi *scsi, VdsIo *io)
{
    uint8_t bytes[24] = {0};
    size_t n = vds_stream_read(&io->out, bytes, sizeof(bytes));
    uint64_t type = n >= 4 ? vds_scsi_get_le(bytes, 4) : UINT64_MAX;

    if (type >= G_N_ELEMENTS(control_types) || n < control_types[type].n_out ||
        vds_stream_left(&io->in) < control_types[type].n_in) {
        vds_virt_queue_break(io->queue,
                             "5.6.6.2: an invalid control request, of %zu bytes with "
                             "room for %" PRIu64,
                             n, vds_stream_left(&io->in));
        vds_virt_queue_complete(io->queue, io, 0);
        return;
    }
    control_types[type].serve(scsi, io, bytes);
}
