/*
 * devices: virtio-rng's request path, for its row and its tests.
 */
#pragma once

#include "kind-priv.h"

typedef struct {
    char *filename;     /* (nullable) a device, pipe or file; NULL: getrandom() */
    uint64_t max_bytes; /* in a period; INT64_MAX: no limit */
    uint32_t period_ms; /* not 0 */
} VdsRngConfig;

typedef struct VdsRng VdsRng;

VdsRng *vds_rng_new(const VdsRngConfig *config); /* copied */
VdsVirtioDevice **vds_rng_device(VdsRng *rng);   /* to be set before any driver */
extern const VdsDeviceOps vds_rng_ops;           /* its instance: a VdsRng */
