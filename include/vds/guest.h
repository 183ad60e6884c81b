/*
 * guest: the built-in driver: what Linux 6.1 does with a device from its reset to its
 * first requests, and then a workload.
 *
 * It lives in guest RAM and behind the driver's door alone, on a thread of its own: it
 * sees of a device what a guest sees, and believes nothing of it.  Knows no paths, no
 * run state but its own, and no kind of device in this process.  virtio 1.2, 3.1.
 */
#pragma once

#include "vds/virtio.h"

typedef enum {
    VDS_WORKLOAD_IDLE,  /* what Linux does unasked, no more */
    VDS_WORKLOAD_LIGHT, /* `rate` requests a second; what comes back is checked */
} VdsGuestWorkload;

#define VDS_GUEST_MAX_RATE 1000000

typedef struct {
    VdsGuestWorkload workload;
    uint32_t rate;  /* LIGHT: 1 to VDS_GUEST_MAX_RATE requests a second */
    bool reads_isr; /* it has no vectors: each interrupt reads and clears the ISR */
} VdsGuestDeviceConfig;

typedef struct VdsGuest VdsGuest;

/* All functions belong to the main loop.  None waits for a device's answer to a request;
 * pause, unplug, reset and free wait for the step that the guest is in.
 *
 * The guest starts paused and has no thread before the first resume.  `ram` is borrowed
 * and outlives it. */
VdsGuest *vds_guest_new(VdsGuestRam *ram);
/* Lets go of every device.  NULL is fine. */
void vds_guest_free(VdsGuest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsGuest, vds_guest_free)

/* The device is found at once if the guest runs, else with resume.  It outlives
 * vds_guest_unplug(). */
void vds_guest_plug(VdsGuest *guest, VdsVirtioDevice *device,
                    const VdsGuestDeviceConfig *config);
/* Resets the device and forgets it.  One that was never plugged is fine. */
void vds_guest_unplug(VdsGuest *guest, VdsVirtioDevice *device);

/* SYSTEM (of util): no thread could be had. */
bool vds_guest_resume(VdsGuest *guest, GError **error);
void vds_guest_pause(VdsGuest *guest); /* nothing is touched any more when it returns */
/* As a machine's reset: every device is let go, and found again by the next resume.  The
 * guest is paused afterwards. */
void vds_guest_reset(VdsGuest *guest);

/* How often a device did what no device may do: a wrong status, wrong contents, a length
 * that cannot be, a setup that failed.  A reset leaves it standing. */
uint64_t vds_guest_get_errors(const VdsGuest *guest, const VdsVirtioDevice *device);
/* The last of these, one phrase.  (transfer full) (nullable) */
char *vds_guest_get_last_error(VdsGuest *guest, const VdsVirtioDevice *device);
/* Requests that came back as they should.  For who asks whether anything happens. */
uint64_t vds_guest_get_requests(const VdsGuest *guest, const VdsVirtioDevice *device);
