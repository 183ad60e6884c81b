/*
 * machine: devices that go.  A device stays where it is until everything that it gave out
 * is back (a disk may take its time), and DEVICE_DELETED comes then: nothing on the main
 * loop waits.  Refuses to know what is given out.
 */
#include "machine-priv.h"

static void settled(void *user);

/* The driver of each lets go, then that of what is plugged into it.  true: nothing of
 * theirs is under way. */
static bool let_go(VdsMachine *machine, VdsDevice *device)
{
    const VdsMachineGuest *guest = &machine->guest;
    bool done = true;

    if (device->plugged && guest->unplug) {
        guest->unplug(guest->user, g_steal_pointer(&device->plugged));
    }
    for (VdsDevice *child = device->brought ? device->brought->devices : NULL; child;
         child = child->bus_next) {
        done &= let_go(machine, child);
    }
    if (device->realized && device->class->settle) {
        done &= device->class->settle(device->instance, settled, machine);
    }
    return done;
}

static void go_on(void *user)
{
    VdsMachine *machine = user;
    GSList *next;

    for (GSList *item = machine->leaving; item; item = next) {
        VdsDevice *device = item->data;

        next = item->next;
        if (let_go(machine, device)) {
            vds_device_destroy(machine, device);
        }
    }
}

/* On the thread of a device. */
static void settled(void *user)
{
    VdsMachine *machine = user;

    vds_mailbox_post(machine->mailbox, go_on, machine);
}

bool vds_device_is_leaving(const VdsMachine *machine, const VdsDevice *device)
{
    return g_slist_find(machine->leaving, device) != NULL;
}

void vds_device_leave(VdsMachine *machine, VdsDevice *device)
{
    if (!machine->mailbox || let_go(machine, device)) {
        vds_device_destroy(machine, device);
    } else {
        machine->leaving = g_slist_append(machine->leaving, device);
    }
}
