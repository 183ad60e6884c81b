/*
 * devices: the kinds of device this program can be: QEMU's names, properties, queues and
 * offered features, a row each.  Knows no machine and no path.
 */
#pragma once

#include "vds/virtio.h"

/* NULL-terminated, for the table that main hands to the machine. */
extern const VdsDeviceClass *const vds_device_classes[];
