/*
 * util: what an I/O thread knows of those that look for work; all but the limits is the
 * thread's own.
 */
#pragma once

#include <stdatomic.h>

#include "vds/util.h"

typedef struct {
    _Atomic uint64_t limits[VDS_POLL_LIMITS];
    VdsIoPoll *first; /* (nullable) */
    bool looking;     /* between begin and end */
    uint64_t ns;      /* how long a turn looks */
    uint64_t turn_ns; /* when this turn began; 0: it does not look */
} VdsIoPolls;

static inline uint64_t vds_io_polls_limit(const VdsIoPolls *polls, VdsPollLimit limit)
{
    return atomic_load_explicit(&polls->limits[limit], memory_order_relaxed);
}

uint64_t vds_io_polls_now(void); /* ns */
VdsIoPoll *vds_io_poll_make(const VdsIoPollOps *ops, void *user);
void vds_io_polls_add(VdsIoPolls *polls, VdsIoPoll *poll);
/* Before a turn sleeps: false when it may. */
bool vds_io_polls_turn(VdsIoPolls *polls);
/* Behind its sleep. */
void vds_io_polls_learn(VdsIoPolls *polls, bool found);
