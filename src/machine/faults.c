/*
 * machine: devices that broke, brought from their threads to the main loop.
 *
 * Each device is in the list once at most, and one task at most is under way, so a driver
 * that breaks its device again and again costs neither memory nor turns of the main loop.
 */
#include "machine-priv.h"

static VdsEntry *take_first(VdsMachine *machine)
{
    VDS_LOCK_SCOPE(&machine->fault_lock);
    GList *link = g_queue_pop_head_link(&machine->faults);
    VdsEntry *entry = link ? link->data : NULL;

    if (entry) {
        entry->is_faulty = false;
    }
    return entry;
}

static void report(const VdsMachine *machine, const VdsEntry *entry)
{
    VdsVirtioFault fault;
    const VdsMachineFault news = {
        .id = entry->owner->has_id ? entry->owner->node->name : NULL,
        .path = entry->path,
        .device = entry->virtio,
        .fault = &fault,
    };

    vds_virtio_device_take_fault(entry->virtio, &fault);
    if (fault.n > 0 && machine->fault_func) {
        machine->fault_func(&news, machine->fault_user);
    }
    g_free(fault.reason);
}

static void report_all(void *user)
{
    VdsMachine *machine = user;
    VdsEntry *entry;
    unsigned left;

    pthread_mutex_lock(&machine->fault_lock);
    left = machine->faults.length;
    machine->faults_posted = false;
    pthread_mutex_unlock(&machine->fault_lock);
    /* Devices that break meanwhile have a task of their own. */
    while (left-- > 0 && (entry = take_first(machine))) {
        report(machine, entry);
    }
}

/* On any thread. */
static void broke(void *user)
{
    VdsEntry *entry = user;
    VdsMachine *machine = entry->machine;
    VDS_LOCK_SCOPE(&machine->fault_lock);

    if (!machine->mailbox || entry->is_faulty) {
        return;
    }
    entry->is_faulty = true;
    g_queue_push_tail_link(&machine->faults, &entry->fault_link);
    if (!machine->faults_posted) {
        machine->faults_posted = true;
        vds_mailbox_post(machine->mailbox, report_all, machine);
    }
}

void vds_faults_watch(VdsEntry *entry)
{
    entry->fault_link.data = entry;
    vds_virtio_device_set_fault_func(entry->virtio, broke, entry);
}

void vds_faults_forget(VdsEntry *entry)
{
    VDS_LOCK_SCOPE(&entry->machine->fault_lock);

    if (entry->is_faulty) {
        g_queue_unlink(&entry->machine->faults, &entry->fault_link);
    }
}

void vds_faults_init(VdsMachine *machine)
{
    pthread_mutex_init(&machine->fault_lock, NULL);
    g_queue_init(&machine->faults);
}

void vds_faults_clear(VdsMachine *machine)
{
    pthread_mutex_destroy(&machine->fault_lock);
}

void vds_machine_set_fault_func(VdsMachine *machine, VdsMachineFaultFunc func, void *user)
{
    machine->fault_func = func;
    machine->fault_user = user;
}
