/*
 * main: the built-in guest and the machine, put together: neither knows the other.
 */
#include <string.h>

#include "main-priv.h"

enum { GUEST_BUILTIN = 0 }; /* of the words of property "guest" */

/* A device without vectors has one interrupt line, and its driver must ask what it means
 * (virtio 1.2, 4.1.5.4): virtio-pci with vectors=0 or no such property, and virtio-mmio.
 */
static bool reads_isr(const VdsDeviceType *type, const VdsPropertySet *properties)
{
    bool backend;

    return !vds_device_type_find_property(type, "vectors", &backend) ||
           vds_property_set_get_uint(properties, "vectors") == 0;
}

static bool plug(void *user, VdsVirtioDevice *device, const VdsDeviceType *type,
                 const VdsPropertySet *properties, GError **error)
{
    bool backend;
    VdsGuestDeviceConfig config;

    if (!vds_device_type_find_property(type, "guest", &backend)) {
        return true;
    }
    if (vds_property_set_get_text(properties, "vhost-user")) {
        g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                            "'vhost-user' is not served by this version");
        return false;
    }
    if (vds_property_set_get_uint(properties, "guest") != GUEST_BUILTIN) {
        return true;
    }
    config = (VdsGuestDeviceConfig){
        .workload = (VdsGuestWorkload)vds_property_set_get_uint(properties, "workload"),
        .rate = (uint32_t)vds_property_set_get_uint(properties, "rate"),
        .reads_isr = reads_isr(type, properties),
    };
    vds_guest_plug(user, device, &config);
    return true;
}

static void unplug(void *user, VdsVirtioDevice *device)
{
    vds_guest_unplug(user, device);
}

static bool resume(void *user, GError **error)
{
    return vds_guest_resume(user, error);
}

static void pause_guest(void *user)
{
    vds_guest_pause(user);
}

static void reset(void *user)
{
    vds_guest_reset(user);
}

/* ---- what it found ------------------------------------------------------------------
 */

static void show_errors(void *user, VdsVirtioDevice *device, VdsProp *value)
{
    vds_live_show_uint(value, vds_guest_get_errors(user, device));
}

static void show_last_error(void *user, VdsVirtioDevice *device, VdsProp *value)
{
    vds_live_show_string(value, vds_guest_get_last_error(user, device));
}

static void show_requests(void *user, VdsVirtioDevice *device, VdsProp *value)
{
    vds_live_show_uint(value, vds_guest_get_requests(user, device));
}

static const VdsLiveProperty properties[] = {
    {"guest-errors", "uint64", show_errors},
    {"guest-last-error", "str", show_last_error},
    {"guest-requests", "uint64", show_requests},
    {NULL, NULL, NULL},
};

VdsGuest *vds_main_guest_start(VdsMachine *machine)
{
    VdsGuest *guest = vds_guest_new(vds_machine_get_ram(machine));
    const VdsMachineGuest hooks = {
        .plug = plug,
        .unplug = unplug,
        .resume = resume,
        .pause = pause_guest,
        .reset = reset,
        .properties = properties,
        .user = guest,
    };

    vds_machine_set_guest(machine, &hooks);
    return guest;
}

void vds_main_guest_stop(VdsMachine *machine, VdsGuest *guest)
{
    if (guest) {
        vds_machine_set_guest(machine, NULL);
        vds_guest_free(guest);
    }
}
