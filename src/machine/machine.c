/*
 * machine: the machine as a whole: its fixed objects and its run state.  Refuses to know
 * what any device does; tells devices of the run state and listeners of changes.
 */
#include "machine-priv.h"

VdsMachine *vds_machine_new(const char *type_name, const VdsDeviceClass *const *classes)
{
    const VdsMachineModel *model = vds_machine_model_find(type_name);
    VdsMachine *machine = g_new0(VdsMachine, 1);
    VdsNode *node;

    machine->tree = vds_tree_new();
    machine->type = g_strdup_printf("%s-machine", model ? model->name : type_name);
    machine->ram_id =
        model ? g_strdup(model->ram_id) : g_strdup_printf("%s.ram", type_name);
    machine->classes = classes;
    machine->drivers = vds_drivers_new(classes);
    machine->parts = vds_parts_new();
    machine->closer = vds_closer_new();
    machine->fds = vds_fds_new();
    machine->shared = vds_shared_new();
    machine->by_path = g_hash_table_new(g_str_hash, g_str_equal);
    machine->by_virtio = g_hash_table_new(NULL, NULL);
    vds_faults_init(machine);
    machine->patience = vds_patience_new();
    machine->buses = g_hash_table_new(g_str_hash, g_str_equal);
    machine->bus_numbers = g_hash_table_new(g_str_hash, g_str_equal);
    node = vds_tree_root(machine->tree);
    vds_tree_add(machine->tree, node, "objects", "container");
    vds_tree_add(machine->tree, node, "chardevs", "container");
    node = vds_tree_add(machine->tree, node, "machine", machine->type);
    node->ops = &vds_qom_machine_ops;
    node->object = machine;
    machine->peripheral = vds_tree_add(machine->tree, node, "peripheral", "container");
    machine->anonymous =
        vds_tree_add(machine->tree, node, "peripheral-anon", "container");
    vds_tree_add(machine->tree, node, "unattached", "container");
    vds_bus_create_roots(machine);
    return machine;
}

/* A device takes with it what is plugged into it and what it put elsewhere, maybe right
 * beside it, so start over after each. */
static void destroy_devices(VdsMachine *machine, const VdsNode *container)
{
    VdsNode *node = container->last;

    while (node) {
        if (node->ops == &vds_qom_device_ops) {
            vds_device_destroy(machine, node->object);
            node = container->last;
        } else {
            node = node->prev;
        }
    }
}

void vds_machine_free(VdsMachine *machine)
{
    if (!machine) {
        return;
    }
    machine->listener = (VdsMachineListener){0};
    destroy_devices(machine, machine->peripheral);
    destroy_devices(machine, machine->anonymous);
    vds_mailbox_free(machine->mailbox); /* its last tasks know the machine */
    vds_bus_remove_roots(machine);
    vds_tree_free(machine->tree);
    g_hash_table_unref(machine->shared);
    g_hash_table_unref(machine->parts);
    g_hash_table_unref(machine->fds);
    vds_closer_free(g_steal_pointer(&machine->closer));
    vds_guest_ram_free(machine->ram);
    g_hash_table_unref(machine->drivers);
    g_hash_table_unref(machine->by_path);
    g_hash_table_unref(machine->by_virtio);
    vds_faults_clear(machine);
    g_hash_table_unref(machine->buses);
    g_hash_table_unref(machine->bus_numbers);
    vds_patience_unref(machine->patience);
    g_free(machine->ram_id);
    g_free(machine->type);
    g_free(machine);
}

void vds_machine_set_patience(VdsMachine *machine, unsigned least_ms)
{
    vds_patience_set_least(machine->patience, least_ms);
}

void vds_machine_set_listener(VdsMachine *machine, const VdsMachineListener *listener)
{
    machine->listener = listener ? *listener : (VdsMachineListener){0};
}

void vds_machine_set_guest(VdsMachine *machine, const VdsMachineGuest *guest)
{
    machine->guest = guest ? *guest : (VdsMachineGuest){0};
}

/* ---- run state -------------------------------------------------------------------- */

VdsRunState vds_machine_get_run_state(const VdsMachine *machine)
{
    return machine->run_state;
}

bool vds_machine_is_running(const VdsMachine *machine)
{
    return machine->run_state == VDS_RUN_RUNNING;
}

static void tell(const VdsMachine *machine, void (*func)(void *user))
{
    if (func) {
        func(machine->listener.user);
    }
}

static void enter(VdsMachine *machine, VdsRunState state)
{
    machine->run_state = state;
    for (VdsEntry *entry = machine->entries; entry; entry = entry->next) {
        vds_virtio_device_set_running(entry->virtio, state == VDS_RUN_RUNNING);
    }
}

/* Devices run before their driver does, and stand still after it. */
static bool resume(VdsMachine *machine, GError **error)
{
    const VdsMachineGuest *guest = &machine->guest;

    return !guest->resume || guest->resume(guest->user, error);
}

/* ---- power ---- */

/* In a turn of the main loop of its own; at once where nobody opened the mailbox. */
static void later(VdsMachine *machine, VdsTaskFunc func)
{
    if (machine->mailbox) {
        vds_mailbox_post(machine->mailbox, func, machine);
    } else {
        func(machine);
    }
}

/* As Linux: its devices stay as they are, the machine goes. */
static void end_guest(void *user)
{
    VdsMachine *machine = user;

    if (vds_machine_is_running(machine)) {
        machine->power_pressed = false;
        tell(machine, machine->listener.powered_off);
    }
}

static void press_power(void *user)
{
    VdsMachine *machine = user;

    tell(machine, machine->listener.powerdown);
    machine->power_pressed = machine->run_state == VDS_RUN_PAUSED;
    end_guest(machine);
}

void vds_machine_press_power(VdsMachine *machine)
{
    later(machine, press_power);
}

bool vds_machine_cont(VdsMachine *machine, GError **error)
{
    VdsRunState before = machine->run_state;

    if (machine->run_state == VDS_RUN_SHUTDOWN) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_STATE,
                    "Resetting the Virtual Machine is required");
        return false;
    }
    if (!vds_machine_is_running(machine)) {
        enter(machine, VDS_RUN_RUNNING);
        if (!resume(machine, error)) {
            enter(machine, before);
            return false;
        }
        tell(machine, machine->listener.resumed);
        if (machine->power_pressed) {
            later(machine, end_guest);
        }
    }
    return true;
}

static void halt(VdsMachine *machine, VdsRunState state)
{
    if (vds_machine_is_running(machine)) {
        if (machine->guest.pause) {
            machine->guest.pause(machine->guest.user);
        }
        enter(machine, state);
        tell(machine, machine->listener.stopped);
    }
}

void vds_machine_stop(VdsMachine *machine)
{
    halt(machine, VDS_RUN_PAUSED);
}

void vds_machine_shut_down(VdsMachine *machine)
{
    halt(machine, VDS_RUN_SHUTDOWN);
}

static bool is_foreign(const VdsMachine *machine, const VdsVirtioDevice *device)
{
    const VdsMachineGuest *guest = &machine->guest;

    return guest->is_foreign && guest->is_foreign(guest->user, device);
}

/* A machine that was not running starts over, as QEMU's does: prelaunch.  One that was
 * has a guest already, whose thread cannot fail to be had. */
void vds_machine_reset(VdsMachine *machine)
{
    machine->power_pressed = false;
    if (machine->guest.reset) {
        machine->guest.reset(machine->guest.user);
    }
    for (VdsEntry *entry = machine->entries; entry; entry = entry->next) {
        if (!is_foreign(machine, entry->virtio)) {
            vds_virtio_device_reset(entry->virtio);
        }
    }
    if (vds_machine_is_running(machine)) {
        resume(machine, NULL);
    } else {
        enter(machine, VDS_RUN_PRELAUNCH);
    }
    tell(machine, machine->listener.reset);
}
