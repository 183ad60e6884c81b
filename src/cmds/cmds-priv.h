/*
 * cmds: what the handlers share.
 */
#pragma once

#include "vds/cmds.h"

#include "qapi-commands.h"
#include "qapi-events.h"
#include "qapi-types.h"

/* Belongs to the main loop, as the machine does. */
struct VdsCmds {
    VdsMachine *machine;      /* borrowed */
    const VdsCmdsHost *host;  /* borrowed */
    const VdsEventSink *sink; /* borrowed */
    VdsArena *hmp_arena;      /* reset after each line */
    bool migration_events;    /* migrate-set-capabilities */
    GHashTable *throttled;    /* key -> VdsThrottleSlot */
};

/* throttle.c: an event that may come too often. */
typedef struct VdsThrottleSlot VdsThrottleSlot;
typedef struct {
    void (*emit)(VdsCmds *cmds, const void *news);
    void *news; /* (transfer full) */
    GDestroyNotify free;
} VdsThrottled;

/* Now or later, or never where a newer one of the same key follows soon. */
void vds_throttle_emit(VdsCmds *cmds, const char *key, VdsThrottled event);
void vds_throttle_free(VdsCmds *cmds);

/* Nested members get dotted names.  (transfer full) (nullable): too large */
VdsProps *vds_cmds_to_props(const VdsQapiType *type, const void *object);

/* What a callback appends to; the reply gets a copy in the arena. */
typedef struct {
    VdsArena *arena;
    GArray *items;
} VdsCollector;

VdsCollector vds_collector_new(VdsArena *arena, size_t item_size);
/* Ends the collector; *n items. */
void *vds_collector_finish(VdsCollector *collector, size_t *n);

/* The event; pages of 4 KiB are with the host. */
void vds_cmds_balloon_changed(VdsCmds *cmds, uint32_t pages);

/* histogram.c: members of a disk (nullable) that counts latencies. */
void vds_cmds_show_histograms(VdsMachine *machine, VdsArena *arena, const char *device,
                              QapiBlockDeviceStats *stats);
