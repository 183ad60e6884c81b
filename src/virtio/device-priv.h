/*
 * virtio: what the files of this room share about a live device: its words, who may
 * touch which, and the steps between the driver's door, the I/O thread and the queues.
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>

#include "vds/virtio.h"

/* ---- VdsDoorbell: which queues, and one eventfd for all of them ----------------------
 */

typedef struct VdsDoorbell VdsDoorbell;

VdsDoorbell *vds_doorbell_new(unsigned n_bits, GError **error); /* SYSTEM */
void vds_doorbell_free(VdsDoorbell *bell);                      /* NULL is fine */
int vds_doorbell_get_fd(const VdsDoorbell *bell);
/* Any thread.  Everything stored before is seen by who takes the bit. */
void vds_doorbell_ring(VdsDoorbell *bell, unsigned bit);
/* One thread at a time.  In the order of bits, from the one on that begin_at named. */
unsigned vds_doorbell_take(VdsDoorbell *bell, VdsInterruptFunc func, void *user);

/* On the thread that takes: the next take begins here. */
void vds_doorbell_begin_at(VdsDoorbell *bell, unsigned bit);

/* ---- VdsTurn: how long a device may work before others of its thread do
 * ----------------
 */

typedef struct {
    uint64_t end_ns; /* 0: the clock was not read yet */
    bool begun;      /* something was popped */
    bool over;
    bool put_off; /* a queue was: its turn comes first in the next one */
} VdsTurn;

/* ---- the device ----------------------------------------------------------------------
 */

/* Locks: the device's, then a queue's; none is held across a callback, I/O or a message.
 *
 * A queue, and what a driver set it up with, is made and changed under both the lock and
 * on the I/O thread (vds_device_enter), so that thread reads it without; a device without
 * ops has no such thread, and no queues of which there is more than the size. */
struct VdsVirtioDevice {
    /* Constant. */
    bool recorded;
    uint32_t n_queues;
    const VdsDeviceOps *ops; /* (nullable) */
    void *instance;
    VdsIoThread *thread; /* (nullable) without ops */
    unsigned config_len;
    VdsQueueState *recorded_queues; /* (nullable) n_queues of them, each with a reference
                                       to its map */

    atomic_bool entered; /* the I/O thread knows this device */
    atomic_bool broken;  /* as in state; for whoever pops */
    atomic_uchar isr;
    /* Made with the first enabled queue, and then constant. */
    _Atomic(VdsDoorbell *) kicks, interrupts;

    /* The I/O thread's own. */
    bool active; /* between ops->start and ops->stop */
    VdsIoWatch *kick_watch;
    VdsIoPoll *poll; /* as kick_watch */
    bool polling;    /* kicks are spared: the thread looks by itself */
    VdsTurn turn;

    uint64_t torn; /* the main loop's */

    VdsTaskFunc fault_func; /* (nullable) constant while a driver is there */
    void *fault_user;

    pthread_mutex_t lock; /* of all below */
    VdsDeviceState state; /* bus_name is owned and constant; isr is above */
    VdsFeatures asked;    /* as the driver wrote them */
    char *broken_reason, *last_refusal;
    VdsVirtioFault fault; /* not taken yet */
    uint8_t generation;
    uint8_t *config;
    VdsGuestMap *map;
    VdsInflight *inflight; /* (nullable) */
    VdsVirtQueue **queues; /* (nullable) n_queues of them (nullable); a queue that is
                              there stays until the device goes */
    uint16_t sizes[];      /* offered */
};

typedef struct VdsQueueStop VdsQueueStop;

#define VDS_KICKS_FOUND UINT_MAX

struct VdsVirtQueue {
    /* Constant. */
    VdsVirtioDevice *device;
    unsigned index;

    /* Under the device's lock. */
    uint32_t num;
    VdsQueueSetup setup;
    bool has_setup; /* not yet used by enable */
    bool shown;     /* its addresses count */
    bool enabled;
    bool discards;  /* it is disabled, in truth, and its device throws away what comes */
    bool has_vhost; /* as in VdsQueueState */
    VdsVhostQueue vhost;

    /* The I/O thread's own. */
    bool eager;
    bool in_handle;
    unsigned budget;  /* of pops in this call of handle */
    bool found_empty; /* by the last pop */
    int kick_fd;      /* of somebody else; -1 */
    VdsIoWatch *kick_watch;
    VdsQueueStop *stops; /* (nullable) who waits for the last request */
    bool had_patience;   /* with those visitors, and they did not come */

    /* The I/O thread's to change: kicks before the first buffer of this setup, then
     * VDS_KICKS_FOUND. */
    atomic_uint kicks;
    atomic_uint visitors; /* queries that want the lock, or have it */
    pthread_mutex_t lock; /* of all below */
    VdsVring *ring;       /* (nullable) */
    uint32_t out;         /* requests of this epoch that the device has */
    bool draining;        /* who gives back the last of them says so */
    uint64_t epoch; /* of the ring; requests of an older one are void.  Changed on the
                       I/O thread, which reads it without the lock */
    VdsGuestWindow window; /* of the ring's map; changed and read like epoch */
    bool notify;           /* the driver was asked for kicks */
    bool unpublished;      /* something was completed and not flushed */
    int call_fd;           /* of somebody else; -1 */
};

static inline void vds_device_lock(const VdsVirtioDevice *device)
{
    pthread_mutex_lock((pthread_mutex_t *)&device->lock);
}

static inline void vds_device_unlock(const VdsVirtioDevice *device)
{
    pthread_mutex_unlock((pthread_mutex_t *)&device->lock);
}

/* device.c */
VdsVirtioDevice *vds_device_alloc(size_t n_queues);
void vds_device_count_queues(VdsVirtioDevice *device); /* under its lock */

/* status.c: may a driver move from one status to the other?  (nullable) why not: a
 * phrase, the caller's. */
char *vds_status_refusal(uint8_t from, uint8_t to, bool version_1);
/* What the core itself asks of a set of features at FEATURES_OK.  (nullable), as above */
char *vds_features_refusal(const VdsFeatures *offered, const VdsFeatures *asked);

/* live.c: the I/O thread's side. */

/* Runs func where the device's state changes, and returns when it has.  SYSTEM. */
bool vds_device_enter(VdsVirtioDevice *device, VdsTaskFunc func, void *user,
                      GError **error);
/* Remembers why a driver was refused; false. */
bool vds_device_refuse(VdsVirtioDevice *device, GError **error, VdsVirtioError code,
                       const char *format, ...) G_GNUC_PRINTF(4, 5);
/* As vds_virtio_device_break(), or vds_virt_queue_break() unless queue is NO_QUEUE. */
enum { VDS_NO_QUEUE = -1 };
void vds_device_fault(VdsVirtioDevice *device, int queue, const char *reason);
/* Starts or stops what the state wants started or stopped. */
void vds_device_settle(VdsVirtioDevice *device);
/* Descriptors of our own; an error of VDS_VIRTIO_ERROR or VDS_UTIL_ERROR. */
bool vds_device_open(VdsVirtioDevice *device, GError **error);
/* Takes all off the I/O thread. */
void vds_device_close(VdsVirtioDevice *device);

/* driver-queue.c: what a call about a queue carries to the I/O thread and back. */
typedef struct {
    VdsVirtioDevice *device;
    unsigned n;
    const VdsQueueSetup *setup;
    bool discards;
    int fd;
    GError **error;
    bool ok;
} VdsQueueCall;

/* Runs func(call) on the I/O thread; what it left in call->ok. */
bool vds_queue_enter(VdsQueueCall *call, VdsTaskFunc func);
/* QUEUE: "queue 3 " and then the phrase. */
void vds_queue_refuse(VdsQueueCall *call, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* RING: it breaks a rule, and so the device is broken. */
void vds_queue_refuse_ring(VdsQueueCall *call, const GError *fault);
/* The queue, made if need be.  (nullable) refused */
VdsVirtQueue *vds_queue_touch(VdsQueueCall *call);

/* turn.c: a turn is 2 ms long, and begins with a kick, a look without one, or a start. */
static inline void vds_turn_begin(VdsTurn *turn)
{
    *turn = (VdsTurn){0};
}
/* Reads the clock, and from the first time on it counts. */
bool vds_turn_is_over(VdsTurn *turn);

/* poll.c */
extern const VdsIoPollOps vds_device_poll_ops;

/* stop.c, on the I/O thread: the device may have something to give back. */
void vds_queue_drain(VdsVirtQueue *queue);
/* Ends every stop that is under way: the ring goes. */
void vds_queue_end_stops(VdsVirtQueue *queue);

/* queue.c */
VdsVirtQueue *vds_queue_new(VdsVirtioDevice *device, unsigned n);
void vds_queue_free(VdsVirtQueue *queue); /* NULL is fine */
/* ring: (nullable) (transfer full).  The ring before is voided first. */
void vds_queue_replace(VdsVirtQueue *queue, VdsVring *ring, VdsGuestMap *map);
/* What was popped is void, as after a reset: stops that wait for it end, and the device
 * drops it (ops->queue_reset).  The ring and its words stay, to be looked at. */
void vds_queue_void(VdsVirtQueue *queue);
/* With a ring: could it go on in setup's map?  An error of VDS_VRING_FAULT. */
bool vds_queue_fits(VdsVirtQueue *queue, const VdsQueueState *setup, GError **fault);
/* The ring goes on in setup's map, at its addresses.  An error of VDS_VRING_FAULT. */
bool vds_queue_move(VdsVirtQueue *queue, const VdsQueueState *setup, GError **fault);
/* Both with the device's lock held. */
void vds_queue_reset_words(VdsVirtQueue *queue);
void vds_queue_get_state(VdsVirtQueue *queue, VdsQueueState *state);
/* A kick, or what may be one: calls handle and arms the next kick. */
void vds_queue_dispatch(VdsVirtQueue *queue);
/* Without a kick: dispatches if there is something that its device waits for; true if
 * that took a request. */
bool vds_queue_look(VdsVirtQueue *queue);
/* After a time without kicks; true if there is something none will come for. */
bool vds_queue_ask_for_kicks(VdsVirtQueue *queue);
void vds_queue_interrupt(VdsVirtQueue *queue);
