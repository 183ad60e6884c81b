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

/* ---- statistics (balloon-stats.c; 5.5.6.3)
 * ---------------------------------------------- */

/* The driver's one buffer of them waits here until newer ones are wanted. */
typedef struct VdsBalloonStats VdsBalloonStats;

VdsBalloonStats *vds_balloon_stats_new(void);
void vds_balloon_stats_free(VdsBalloonStats *stats); /* stopped, and nothing waits */
VdsBalloonStats *vds_balloon_get_stats(VdsBalloon *balloon);
VdsIoThread *vds_balloon_get_thread(const VdsBalloon *balloon);

/* On the I/O thread. */
void vds_balloon_stats_start(VdsBalloonStats *stats, VdsIoThread *thread);
void vds_balloon_stats_stop(VdsBalloonStats *stats);
void vds_balloon_stats_take(VdsBalloonStats *stats, VdsVirtQueue *queue, VdsIo *io);
/* Its queue (NULL: any) was reset; or stops, so the buffer goes back into the ring. */
void vds_balloon_stats_drop(VdsBalloonStats *stats, const VdsVirtQueue *queue);
void vds_balloon_stats_return(VdsBalloonStats *stats, VdsVirtQueue *queue);

/* On the main loop: QEMU's "guest-stats"; seconds between two, 0: none are asked for. */
void vds_balloon_stats_show(VdsBalloonStats *stats, VdsProp *value);
uint32_t vds_balloon_stats_get_interval(VdsBalloonStats *stats);
/* VDS_UTIL_ERROR_SYSTEM */
bool vds_balloon_stats_set_interval(VdsBalloonStats *stats, VdsIoThread *thread,
                                    uint32_t seconds, GError **error);
