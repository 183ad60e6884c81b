/*
 * What the files of the benchmark `live` share: the daemon in this process, the driver of
 * its one device, and who reads which word from which thread.
 */
#pragma once

#include <err.h>
#include <stdatomic.h>
#include <time.h>

#include "vds/cmds.h"
#include "vds/devices.h"
#include "vds/machine.h"
#include "vds/monitor.h"

enum {
    LIVE_MAX_DEPTH = 128,
    LIVE_SPANS = 3,
    LIVE_SLOT_BYTES = 8192,
};

#define LIVE_DEVICE_PATH "/machine/peripheral/d0/virtio-backend"

/* What is sent to a device again and again. */
typedef struct {
    const char *name, *driver, *key, *value; /* of -device, with one property */
    unsigned queue;
    uint32_t lens[LIVE_SPANS];
    uint32_t n_out, n_in;
    uint32_t written; /* what the device must write */
} LiveLoad;

typedef enum { LIVE_PAUSED, LIVE_DRIVING, LIVE_ENDED } LiveMode;

typedef struct {
    const LiveLoad *load;
    bool packed;
    unsigned depth;
    /* the daemon */
    GMainContext *context;
    VdsMachine *machine;
    VdsVirtioDevice *device;
    VdsCmds *cmds;
    VdsCmdsHost host;
    VdsEventSink sink;
    VdsQmpServer qmp;
    VdsMonitorHuman human;
    VdsMonitor *monitor;
    int fd; /* of its one client */
    /* the driver */
    VdsQueueState setup;
    VdsDriverTables tables;
    uint64_t slots_gpa;
    VdsDriverRing *ring;
    int wake_fd;
    _Atomic int mode;
    _Atomic uint64_t done;
    _Atomic bool resting; /* paused, and nothing is in flight */
} Live;

/* ---- the daemon (live-daemon.c) -------------------------------------------------------
 */

/* load, packed and depth are set; the device is running and its driver has not begun. */
void live_start(Live *live);
/* Its driver's thread has ended.  The device lets go, and did what it was to do. */
void live_reset(Live *live);
void live_stop(Live *live);

/* ---- the driver (live-driver.c) -------------------------------------------------------
 */

/* The driver's thread; `user` is a Live. */
void *live_drive(void *user);
/* PAUSED: returns when nothing is in flight. */
void live_set_mode(Live *live, LiveMode mode);
/* Of the device's ring calls for a request, in this thread and without the device. */
double live_ring_ns(Live *live);

/* ---- odds and ends -------------------------------------------------------------------
 */

static inline uint64_t live_clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t live_now_ns(void)
{
    return live_clock_ns(CLOCK_MONOTONIC);
}

static inline void live_check_at(const char *file, int line, bool ok, const GError *error)
{
    if (!ok) {
        errx(1, "%s:%d: %s", file, line, error ? error->message : "refused");
    }
}

/* `error` is looked at once `ok` is known. */
#define live_check(ok, error)                                                            \
    do {                                                                                 \
        bool is_ok = (ok);                                                               \
        live_check_at(__FILE__, __LINE__, is_ok, error);                                 \
    } while (0)
