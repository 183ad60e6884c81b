/*
 * devices: virtio-balloon's request path, for its row and its tests.
 */
#pragma once

#include "kind-priv.h"

enum {
    VDS_BALLOON_F_STATS_VQ = 1,
    VDS_BALLOON_F_DEFLATE_ON_OOM = 2,
    VDS_BALLOON_F_FREE_PAGE_HINT = 3,
    VDS_BALLOON_F_PAGE_POISON = 4,
    VDS_BALLOON_F_REPORTING = 5,
};

/* Offsets in the configuration space (virtio 1.2, 5.5.4), which ends where the features
 * that are offered let it end. */
enum {
    VDS_BALLOON_NUM_PAGES = 0,
    VDS_BALLOON_ACTUAL = 4,
    VDS_BALLOON_FREE_PAGE_HINT = 8,
    VDS_BALLOON_POISON = 12,
    VDS_BALLOON_CONFIG_MAX = 16,
};

enum { VDS_BALLOON_NEWS_MS = 1000 }; /* QEMU tells of a change once a second at most */

typedef struct {
    bool hint, reporting; /* the queues that come with these features */
    /* (nullable) the driver changed what it says it gave, in pages of 4 KiB; on the I/O
     * thread */
    void (*changed)(void *user, uint32_t pages);
    void *user;
} VdsBalloonConfig;

typedef struct VdsBalloon VdsBalloon;

VdsBalloon *vds_balloon_new(const VdsBalloonConfig *config); /* copied */
VdsVirtioDevice **vds_balloon_device(VdsBalloon *balloon);
extern const VdsDeviceOps vds_balloon_ops; /* its instance: a VdsBalloon */
