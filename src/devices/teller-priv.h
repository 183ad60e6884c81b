/*
 * devices: a number of which others are told when the driver changes it: the first change
 * at once, then the newest once a second.  All of it on the device's I/O thread.
 */
#pragma once

#include "vds/devices.h"

enum { VDS_TELLER_MS = 1000 }; /* as QEMU spaces its events */

typedef struct {
    void (*tell)(void *user, uint32_t value); /* (nullable) */
    void *user;
    uint32_t value, told;
    VdsIoTimer *timer; /* (nullable) runs for a while after each */
    bool quiet;        /* it runs */
} VdsTeller;

void vds_teller_set(VdsTeller *teller, VdsIoThread *thread, uint32_t value);
/* Nothing is told, and no timer is left. */
void vds_teller_reset(VdsTeller *teller, uint32_t value);
