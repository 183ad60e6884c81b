/*
 * main: who drives the machine's devices: the built-in guest, or vhost-user front-ends.
 * Neither knows the machine, nor each other.
 */
#include <string.h>

#include "main-priv.h"

enum { GUEST_BUILTIN = 0 }; /* of the words of property "guest" */

struct VdsMainDrivers {
    VdsGuest *guest;
    VdsMainServed *served;
};

/* A device without vectors has one interrupt line, and its driver must ask what it means
 * (virtio 1.2, 4.1.5.4): virtio-pci with vectors=0 or no such property, and virtio-mmio.
 */
static bool reads_isr(const VdsDeviceType *type, const VdsPropertySet *properties)
{
    bool backend;

    return !vds_device_type_find_property(type, "vectors", &backend) ||
           vds_property_set_get_uint(properties, "vectors") == 0;
}

static void plug_guest(VdsMainDrivers *drivers, VdsVirtioDevice *device,
                       const VdsDeviceType *type, const VdsPropertySet *properties)
{
    const VdsGuestDeviceConfig config = {
        .workload = (VdsGuestWorkload)vds_property_set_get_uint(properties, "workload"),
        .rate = (uint32_t)vds_property_set_get_uint(properties, "rate"),
        .reads_isr = reads_isr(type, properties),
    };

    vds_guest_plug(drivers->guest, device, &config);
}

static bool plug(void *user, VdsVirtioDevice *device, const VdsDeviceType *type,
                 const VdsPropertySet *properties, GError **error)
{
    VdsMainDrivers *drivers = user;
    bool backend;

    if (!vds_device_type_find_property(type, "guest", &backend)) {
        return true; /* a recording, which nobody drives */
    }
    if (vds_property_set_get_text(properties, "vhost-user")) {
        return vds_main_served_plug(drivers->served, device, properties, error);
    }
    if (vds_property_set_get_uint(properties, "guest") == GUEST_BUILTIN) {
        plug_guest(drivers, device, type, properties);
    }
    return true;
}

static void unplug(void *user, VdsVirtioDevice *device)
{
    VdsMainDrivers *drivers = user;

    if (!vds_main_served_unplug(drivers->served, device)) {
        vds_guest_unplug(drivers->guest, device);
    }
}

static bool is_foreign(void *user, const VdsVirtioDevice *device)
{
    return vds_main_served_has(((VdsMainDrivers *)user)->served, device);
}

bool vds_main_drivers_serve(const VdsMainDrivers *drivers, const VdsVirtioDevice *device)
{
    return vds_main_served_has(drivers->served, device);
}

static bool resume(void *user, GError **error)
{
    return vds_guest_resume(((VdsMainDrivers *)user)->guest, error);
}

static void pause_guest(void *user)
{
    vds_guest_pause(((VdsMainDrivers *)user)->guest);
}

static void reset(void *user)
{
    vds_guest_reset(((VdsMainDrivers *)user)->guest);
}

/* ---- what they found -----------------------------------------------------------------
 */

static void show_errors(void *user, VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_uint(value,
                       vds_guest_get_errors(((VdsMainDrivers *)user)->guest, device));
}

static void show_last_error(void *user, VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_string(
        value, vds_guest_get_last_error(((VdsMainDrivers *)user)->guest, device));
}

static void show_requests(void *user, VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_uint(value,
                       vds_guest_get_requests(((VdsMainDrivers *)user)->guest, device));
}

#define SHOW_SERVED(what)                                                                \
    static void show_##what(void *user, VdsVirtioDevice *device, VdsProp *value)         \
    {                                                                                    \
        vds_main_served_show_##what(((VdsMainDrivers *)user)->served, device, value);    \
    }
SHOW_SERVED(connected)
SHOW_SERVED(connections)
SHOW_SERVED(messages)
SHOW_SERVED(reason)
SHOW_SERVED(refusal)
SHOW_SERVED(waiting)
SHOW_SERVED(hint)

static const VdsLiveProperty properties[] = {
    {"guest-errors", "uint64", show_errors, NULL},
    {"guest-last-error", "str", show_last_error, NULL},
    {"guest-requests", "uint64", show_requests, NULL},
    {"connected", "bool", show_connected, is_foreign},
    {"vhost-user-connections", "uint64", show_connections, is_foreign},
    {"vhost-user-messages", "uint64", show_messages, is_foreign},
    {"vhost-user-disconnect-reason", "str", show_reason, is_foreign},
    {"vhost-user-last-refusal", "str", show_refusal, is_foreign},
    {"vhost-user-waiting", "uint64", show_waiting, is_foreign},
    {"vhost-user-hint", "str", show_hint, is_foreign},
    {NULL, NULL, NULL, NULL},
};

VdsMainDrivers *vds_main_drivers_start(VdsMachine *machine, GMainContext *context,
                                       VdsVhostUserNewsFunc news, void *news_user)
{
    VdsMainDrivers *drivers = g_new0(VdsMainDrivers, 1);
    const VdsMachineGuest hooks = {
        .plug = plug,
        .unplug = unplug,
        .is_foreign = is_foreign,
        .resume = resume,
        .pause = pause_guest,
        .reset = reset,
        .properties = properties,
        .user = drivers,
    };

    drivers->guest = vds_guest_new(vds_machine_get_ram(machine));
    drivers->served = vds_main_served_new(
        context, vds_machine_open_mailbox(machine, NULL), news, news_user);
    vds_machine_set_guest(machine, &hooks);
    return drivers;
}

void vds_main_drivers_stop(VdsMachine *machine, VdsMainDrivers *drivers)
{
    if (drivers) {
        vds_machine_set_guest(machine, NULL);
        vds_main_served_free(drivers->served);
        vds_guest_free(drivers->guest);
        g_free(drivers);
    }
}
