/*
 * virtio: what every virtio device has: status, features, queues, the vhost side; and
 * the tables that name bits and device ids.  Knows no transport's registers, no path and
 * no request format.
 */
#pragma once

#include "vds/vring.h"

#define VDS_VIRTIO_ERROR (vds_virtio_error_quark())
GQuark vds_virtio_error_quark(void);
typedef enum {
    VDS_VIRTIO_ERROR_PROPERTY,  /* a property of a device is unknown or out of range */
    VDS_VIRTIO_ERROR_BACKEND,   /* what a device is to be wired to is missing or unfit */
    VDS_VIRTIO_ERROR_NO_OBJECT, /* a link names no object (QMP class DeviceNotFound) */
    VDS_VIRTIO_ERROR_STATE,     /* a recorded state that contradicts itself */
    /* What a driver asked in vain; also the device's last-refusal. */
    VDS_VIRTIO_ERROR_STATUS,   /* a step that the status does not allow */
    VDS_VIRTIO_ERROR_FEATURES, /* a set of features that cannot be */
    VDS_VIRTIO_ERROR_QUEUE,    /* a queue that is not there, or not in that state */
    VDS_VIRTIO_ERROR_RING,     /* a ring that breaks a rule (C1 to C4) */
    VDS_VIRTIO_ERROR_CONFIG,   /* a byte of the config space that is not there or fixed */
    VDS_VIRTIO_ERROR_SYSTEM,   /* a descriptor or a thread could not be had */
} VdsVirtioError;

#define VDS_VIRTIO_MAX_QUEUES 1024 /* as QEMU counts */

/* Feature bits 0..63 and 64..127. */
typedef struct {
    uint64_t word[2];
} VdsFeatures;

enum { /* the bits the core itself acts on (virtio 1.2, 6) */
       VDS_F_NOTIFY_ON_EMPTY = 24,
       VDS_F_ANY_LAYOUT = 27,
       VDS_F_RING_INDIRECT_DESC = 28,
       VDS_F_RING_EVENT_IDX = 29,
       VDS_F_BAD_FEATURE = 30, /* QEMU's: set by virtio-pci, no driver acknowledges it */
       VDS_F_VERSION_1 = 32,
       VDS_F_ACCESS_PLATFORM = 33,
       VDS_F_RING_PACKED = 34,
       VDS_F_IN_ORDER = 35,
       VDS_F_RING_RESET = 40,
};

/* Device status bits (virtio 1.2, 2.1). */
enum {
    VDS_STATUS_ACKNOWLEDGE = 1,
    VDS_STATUS_DRIVER = 2,
    VDS_STATUS_DRIVER_OK = 4,
    VDS_STATUS_FEATURES_OK = 8,
    VDS_STATUS_NEEDS_RESET = 64,
    VDS_STATUS_FAILED = 128,
};

static inline bool vds_features_has(const VdsFeatures *features, unsigned bit)
{
    return (features->word[bit / 64] >> (bit % 64)) & 1;
}

static inline void vds_features_set(VdsFeatures *features, unsigned bit, bool on)
{
    uint64_t mask = UINT64_C(1) << (bit % 64);

    features->word[bit / 64] =
        on ? features->word[bit / 64] | mask : features->word[bit / 64] & ~mask;
}

typedef enum { VDS_ENDIAN_LITTLE, VDS_ENDIAN_BIG, VDS_ENDIAN_UNKNOWN } VdsEndian;

/* ---- state ----------------------------------------------------------------------------
 */

/* The vhost device behind a virtio device, as VhostStatus shows it. */
typedef struct {
    int64_t n_mem_sections, n_tmp_sections;
    uint32_t nvqs;
    int64_t vq_index;
    VdsFeatures features, acked_features, backend_features;
    uint64_t protocol_features;
    uint64_t max_queues, backend_cap;
    bool log_enabled;
    uint64_t log_size;
} VdsVhostState;

/* What x-query-virtio-status needs, plain and O(1) to copy. */
typedef struct {
    uint16_t device_id;
    VdsEndian endian;
    VdsFeatures guest_features, host_features, backend_features;
    uint32_t num_vqs; /* queues from 0 up to the first whose size is 0 */
    uint8_t status, isr;
    uint16_t queue_sel;
    bool vm_running, broken, disabled;
    bool use_started, started, start_on_kick;
    bool disable_legacy_check, use_guest_notifier_mask;
    const char *bus_name; /* borrowed from the device; "" when it has no bus */
    bool vhost_started;   /* then `vhost` counts */
    VdsVhostState vhost;
} VdsDeviceState;

typedef struct VdsVirtioDevice VdsVirtioDevice;

/* Reads of one moment from any thread; neither touches guest memory, and both wait for no
 * more than a batch of ring operations. */
void vds_virtio_device_get_state(const VdsVirtioDevice *device, VdsDeviceState *state);
/* false: no such queue (n >= 1024, or its size is 0).  state->map is borrowed: maps
 * change on the main loop only, and who asks on another thread leaves it alone. */
bool vds_virtio_device_get_queue(const VdsVirtioDevice *device, unsigned n,
                                 VdsQueueState *state);
/* The same for a queue of the vhost device's, which may have size 0. */
bool vds_virtio_device_get_vhost_queue(const VdsVirtioDevice *device, unsigned n,
                                       VdsQueueState *state);
uint16_t vds_virtio_device_get_id(const VdsVirtioDevice *device);
/* A recorded device does not follow the machine's run state or its resets. */
bool vds_virtio_device_is_recorded(const VdsVirtioDevice *device);
/* "S4: avail index moved by 100 in a ring of 8", NULL while the device is not broken; and
 * what a driver last asked in vain, which a reset leaves standing.  Any thread. (transfer
 * full) (nullable) */
char *vds_virtio_device_get_broken_reason(const VdsVirtioDevice *device);
char *vds_virtio_device_get_last_refusal(const VdsVirtioDevice *device);

/* How a device broke. */
typedef struct {
    unsigned n;   /* times since the last call of take_fault; 0: not at all */
    int queue;    /* of the last time; -1: no single queue */
    char *reason; /* of the last time (transfer full) (nullable); a reset keeps it */
} VdsVirtioFault;

/* Reports faults as they happen: `func` is called on any thread, without a lock, when the
 * device breaks for the first time after take_fault.  So a device that breaks and is
 * reset again and again is reported once until take_fault is called.  NULL ends it;
 * before the first driver, or after the last. */
void vds_virtio_device_set_fault_func(VdsVirtioDevice *device, VdsTaskFunc func,
                                      void *user);
void vds_virtio_device_take_fault(VdsVirtioDevice *device, VdsVirtioFault *fault);

/* Chains of this device that were read while it never stood still: who reads one for an
 * answer counts it.  Main loop. */
void vds_virtio_device_count_torn(VdsVirtioDevice *device);
uint64_t vds_virtio_device_get_torn_count(const VdsVirtioDevice *device);

/* ---- a device from a recording ----------------------------------------------------- */

/* Copies everything and takes references to the maps; `packed`, `event_idx` and
 * `big_endian` of the queues are derived from the features here.  num_vqs is derived from
 * the queues. */
VdsVirtioDevice *vds_virtio_device_new_recorded(const VdsDeviceState *state,
                                                const VdsQueueState *queues,
                                                size_t n_queues, GError **error);
/* NULL is fine.  Waits until the device's I/O thread has let go of it; never on that
 * thread. */
void vds_virtio_device_free(VdsVirtioDevice *device);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsVirtioDevice, vds_virtio_device_free)

/* ---- a device of this process ------------------------------------------------------ */

typedef struct VdsVirtQueue VdsVirtQueue;

/* Some bytes of the config space. */
typedef struct {
    uint16_t offset, len;
} VdsConfigRange;

/* What a device does.  Everything runs on the device's I/O thread with no lock held, but
 * free; all but `handle` are (nullable).
 *
 * DRIVER_OK, cont, bus mastering: start, then handle for each enabled queue.  stop,
 * reset, a fault: stop.  Reset and removal: stop if it was started, then reset. */
typedef struct {
    /* The driver wrote features; those not offered are gone.  MQ may add queues. */
    void (*set_features)(void *instance, const VdsFeatures *features);
    /* FEATURES_OK (virtio 1.2, 3.1.1): false with one phrase refuses it. */
    bool (*validate)(void *instance, const VdsFeatures *features, GError **error);
    void (*start)(void *instance);
    /* There may be buffers.  At most a ring's worth is popped at a time; what is left
     * brings the next call.  Completed requests are flushed afterwards. */
    void (*handle)(void *instance, VdsVirtQueue *queue);
    /* Afterwards nothing of the device runs on another thread.  Requests may be kept
     * until start or reset. */
    void (*stop)(void *instance);
    void (*reset)(void *instance); /* drops the requests it keeps */
    void (*queue_reset)(void *instance, VdsVirtQueue *queue); /* those of this queue */
    /* The queue stops (vhost-user: GET_VRING_BASE) and gives no more requests.  Those
     * that only wait for something are put back, the youngest first; all others are
     * completed as soon as may be, also while the device is stopped.  Called again with
     * each kick until none is left. */
    void (*queue_stop)(void *instance, VdsVirtQueue *queue);
    /* (nullable) Is what the driver puts into this queue taken and thrown away while the
     * queue is started and disabled?  Then handle is called, and
     * vds_virt_queue_is_discarding() says so. */
    bool (*discards)(void *instance, unsigned index);
    /* (nullable) The front-end's MTU; 0: it told none. */
    void (*set_mtu)(void *instance, uint16_t mtu);
    /* The driver wrote this part of the config space. */
    void (*config_written)(void *instance, unsigned offset, unsigned len);
    /* The driver is here now with this address: its network is to learn of it. */
    void (*announce)(void *instance, const uint8_t *mac /* VDS_MAC_BYTES */);
    /* After reset, on the thread that frees the device. */
    void (*free)(void *instance);
    /* (nullable) what the driver may write; a row of no bytes ends it */
    const VdsConfigRange *config_writable;
} VdsDeviceOps;

#define VDS_VIRTIO_MAX_CONFIG 4096
#define VDS_MAC_BYTES 6

/* What a device is before any driver found it.  A plain value; new() copies all of it. */
typedef struct {
    uint16_t device_id;
    VdsFeatures host_features;
    const uint16_t *queue_sizes; /* one a queue; 0 leaves a gap, or room for queues that
                                    come with a feature */
    unsigned n_queues;           /* at most VDS_VIRTIO_MAX_QUEUES */
    const char *bus_name;        /* (nullable) of its child bus */
    bool use_started;
    bool disable_legacy_check;
    const VdsDeviceOps *ops;   /* (nullable) none: a driver can look and no more */
    void *instance;            /* (transfer full) by ops->free */
    VdsIoThread *io_thread;    /* with ops; the device takes a reference */
    const void *config;        /* (nullable) device configuration space, little-endian */
    unsigned config_len_bytes; /* at most VDS_VIRTIO_MAX_CONFIG */
} VdsVirtioConfig;

/* Status 0, no ring set up.  An idle device costs a few hundred bytes and no descriptor:
 * the state of a queue is made when a driver first touches it, and nothing is done on the
 * I/O thread (nor is that started) before. */
VdsVirtioDevice *vds_virtio_device_new(const VdsVirtioConfig *config);
/* The machine's run state, and a reset as by the driver (virtio 1.2, 2.4); both have
 * happened on return.  Recorded devices keep what was recorded. */
void vds_virtio_device_set_running(VdsVirtioDevice *device, bool running);
void vds_virtio_device_reset(VdsVirtioDevice *device);

/* ---- what a device works with ------------------------------------------------------ */

typedef struct VdsIo VdsIo;

/* Bytes of guest memory in the order of a request's buffers; a device never sees an
 * address.  Used on the device's I/O thread only.  When memory cannot be reached, the
 * device is broken and fewer bytes move; once the queue was reset, nothing is left.
 * The fields are the room's own. */
typedef struct {
    const VdsIo *io;
    const VdsSpan *spans;
    uint32_t at, into;    /* the span to go on in, and how far into it */
    uint64_t total, done; /* bytes */
} VdsStream;

uint64_t vds_stream_left(const VdsStream *stream);
uint64_t vds_stream_done(const VdsStream *stream); /* the position */
/* How many bytes moved: fewer than len at the end. */
size_t vds_stream_read(VdsStream *stream, void *to, size_t len);          /* io->out */
size_t vds_stream_write(VdsStream *stream, const void *from, size_t len); /* io->in */
size_t vds_stream_fill(VdsStream *stream, uint8_t byte, size_t len);      /* io->in */
/* The same from or to a file, as vds_guest_map_read_file() has it: what did not move by
 * now takes the way through memory of ours. */
size_t vds_stream_read_file(VdsStream *stream, const VdsGuestFile *file,
                            size_t len); /* io->in */
size_t vds_stream_write_file(VdsStream *stream, const VdsGuestFile *file,
                             size_t len); /* io->out */
uint64_t vds_stream_skip(VdsStream *stream, uint64_t len);
/* Makes bytes of io->in zeroes and gives their whole pages back to the system. */
uint64_t vds_stream_discard(VdsStream *stream, uint64_t len);
void vds_stream_seek(VdsStream *stream, uint64_t position); /* at most to the end */

/* One request, a device's own from pop to complete, unpop or drop. */
struct VdsIo {
    VdsStream out; /* what the driver sent */
    VdsStream in;  /* what it waits for */
    void *user;    /* the device's */
    /* The room's own. */
    VdsVirtQueue *queue;
    VdsRequest *request; /* in whose extra bytes it is */
    uint64_t epoch;
};

/* How many there were, at most max, under one hold of the queue's lock.  0 also when the
 * device is frozen or broken; and in handle when a ring's worth was popped or the turn is
 * over, and then handle is called again.  On the I/O thread. */
size_t vds_virt_queue_pop(VdsVirtQueue *queue, VdsIo **ios, size_t max);
/* Should what lasts go on later?  true after 2 ms of the turn that the device has on its
 * I/O thread: then handle is called again for this queue, which need have nothing new. */
bool vds_virt_queue_is_turn_over(VdsVirtQueue *queue);
/* Has handle called for the queue soon, as after a kick.  Any thread. */
void vds_virt_queue_ask_turn(VdsVirtQueue *queue);
/* (nullable) */
static inline VdsIo *vds_virt_queue_pop_one(VdsVirtQueue *queue)
{
    VdsIo *io;

    return vds_virt_queue_pop(queue, &io, 1) == 1 ? io : NULL;
}
/* Puts back the one that was popped last; it must not have been read from, or must be
 * read again.  On the I/O thread. */
void vds_virt_queue_unpop(VdsVirtQueue *queue, VdsIo *io);
/* Gives io (transfer full) back to the driver, who sees it after the next flush;
 * `written` bytes from the start of io->in are new.  Any thread. */
void vds_virt_queue_complete(VdsVirtQueue *queue, VdsIo *io, uint64_t written);
/* The same for n of them, under one hold of the lock; of each io->in as much is new as
 * its position says. */
void vds_virt_queue_complete_all(VdsVirtQueue *queue, VdsIo *const *ios, size_t n);
/* Makes all that was completed visible at once, and interrupts the driver if it wants to
 * know; true if it did.  Any thread. */
bool vds_virt_queue_flush(VdsVirtQueue *queue);
/* Makes it visible to a driver that looks; a flush is to follow soon.  Any thread. */
void vds_virt_queue_show(VdsVirtQueue *queue);
/* The same, even if nothing was completed; see vds_vring_notify(). */
void vds_virt_queue_notify(VdsVirtQueue *queue);
/* Forgets io: after a reset, when nobody waits for it any more. */
void vds_virt_queue_drop(VdsVirtQueue *queue, VdsIo *io);
/* Is a buffer available?  On the I/O thread. */
bool vds_virt_queue_has_more(VdsVirtQueue *queue);
/* Off: kicks are asked for only while a pop found the queue empty (receive queues).  On
 * the I/O thread; on at first. */
void vds_virt_queue_set_eager(VdsVirtQueue *queue, bool eager);
/* For pages that a driver names by address, as only a balloon's does: are they in the
 * memory that the queue's buffers lie in; and as vds_stream_discard(), false when they
 * are not.  On the I/O thread. */
bool vds_virt_queue_has_memory(const VdsVirtQueue *queue, uint64_t gpa, uint64_t len);
bool vds_virt_queue_discard(VdsVirtQueue *queue, uint64_t gpa, uint64_t len);
unsigned vds_virt_queue_get_index(const VdsVirtQueue *queue);
/* By its driver; on the I/O thread. */
bool vds_virt_queue_is_enabled(const VdsVirtQueue *queue);
/* It is disabled, and its device throws away what comes. */
bool vds_virt_queue_is_discarding(const VdsVirtQueue *queue);

/* For the device itself: (nullable) until a driver has set the queue up.  On the I/O
 * thread. */
VdsVirtQueue *vds_virtio_device_get_virt_queue(VdsVirtioDevice *device, unsigned n);
VdsFeatures vds_virtio_device_get_features(const VdsVirtioDevice *device);
bool vds_virtio_device_has_feature(const VdsVirtioDevice *device, unsigned bit);
/* 0 takes the queue away; in set_features and reset, for queues that no driver has set
 * up. */
void vds_virtio_device_set_queue_size(VdsVirtioDevice *device, unsigned n, uint16_t size);
/* Between start and stop.  On the I/O thread. */
bool vds_virtio_device_is_active(const VdsVirtioDevice *device);
/* (nullable) without ops */
VdsIoThread *vds_virtio_device_get_io_thread(const VdsVirtioDevice *device);
/* Bytes of the config space; any thread.  A change makes a new generation and interrupts
 * the driver.  The range must lie inside. */
void vds_virtio_device_set_config(VdsVirtioDevice *device, unsigned offset,
                                  const void *bytes, unsigned len);
void vds_virtio_device_get_config(const VdsVirtioDevice *device, unsigned offset,
                                  void *to, unsigned len);
/* A driver's mistake: the device is broken, with NEEDS_RESET and a config interrupt
 * (virtio 1.2, 2.1.2), until it is reset.  One phrase; rules of rings begin with their
 * id.  The first reason stays.  Any thread. */
void vds_virtio_device_break(VdsVirtioDevice *device, const char *format, ...)
    G_GNUC_PRINTF(2, 3);
/* The same for a mistake on one queue; ", in queue N" is appended to the phrase. */
void vds_virt_queue_break(VdsVirtQueue *queue, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* ---- the driver's door ------------------------------------------------------------- */

/* What a transport's registers are, for the built-in guest and vhost-user.  One thread at
 * a time for a device; any that the device's I/O thread does not wait for, or that one.
 * What moves state runs on the I/O thread and has happened on return.  false: refused,
 * and last-refusal says why. */

uint8_t vds_virtio_driver_get_status(const VdsVirtioDevice *device);
/* 0 resets.  STATUS for a step that virtio 1.2, 2.1 does not allow: nothing changed.
 * FEATURES: all is set but FEATURES_OK. */
bool vds_virtio_driver_set_status(VdsVirtioDevice *device, uint8_t status,
                                  GError **error);
VdsFeatures vds_virtio_driver_get_features(const VdsVirtioDevice *device); /* offered */
/* STATUS once FEATURES_OK is set. */
bool vds_virtio_driver_set_features(VdsVirtioDevice *device, const VdsFeatures *features,
                                    GError **error);
/* Bytes of the config space. */
unsigned vds_virtio_driver_get_config_len(const VdsVirtioDevice *device);
/* CONFIG outside the space.  *generation (nullable) belongs to these bytes. */
bool vds_virtio_driver_read_config(const VdsVirtioDevice *device, unsigned offset,
                                   void *to, unsigned len, uint8_t *generation,
                                   GError **error);
bool vds_virtio_driver_write_config(VdsVirtioDevice *device, unsigned offset,
                                    const void *from, unsigned len, GError **error);
/* Memory in which rings and buffers lie (nullable); referenced.  On the main loop.  Rings
 * go on in it at the addresses that they have, and requests where their bytes are still
 * mapped; the device drops the requests of a ring that is not mapped any more, which
 * breaks the device (C3) if the queue is enabled. */
void vds_virtio_driver_set_map(VdsVirtioDevice *device, VdsGuestMap *map);

void vds_virtio_driver_select_queue(VdsVirtioDevice *device, uint16_t n); /* queue-sel */
/* The size offered; 0: no such queue. */
uint16_t vds_virtio_driver_get_queue_size(const VdsVirtioDevice *device, unsigned n);

typedef struct {
    uint32_t num;               /* shown at once */
    uint64_t desc, avail, used; /* gpa; shown once it is enabled */
    bool has_base;              /* goes on where another device stopped: */
    uint16_t avail_base, used_base;
    bool avail_wrap, used_wrap; /* packed */
    bool log;                   /* as vds_vring_set_log() */
    uint64_t log_used;
} VdsQueueSetup;
/* QUEUE: not there, enabled, or of no possible size. */
bool vds_virtio_driver_set_queue(VdsVirtioDevice *device, unsigned n,
                                 const VdsQueueSetup *setup, GError **error);
/* Needs FEATURES_OK (or no VERSION_1) and set_queue().  Enabled again without a new setup
 * it goes on.  QUEUE, SYSTEM; RING: C1 to C4, and the device is broken. */
bool vds_virtio_driver_enable_queue(VdsVirtioDevice *device, unsigned n, GError **error);
/* Other addresses for a queue that may be enabled, or go on when it is again: size and
 * indices stay.  QUEUE: there is no ring; RING: C2 to C4, the device is broken and the
 * ring stays where it was. */
bool vds_virtio_driver_move_queue(VdsVirtioDevice *device, unsigned n,
                                  const VdsQueueSetup *setup, GError **error);
/* As set_map, with other addresses for the first n_rings queues at once; num 0: for that
 * one as set_map.  QUEUE: a ring does not fit at its addresses (C2 to C4); then nothing
 * changed, and the device goes on. */
bool vds_virtio_driver_move(VdsVirtioDevice *device, VdsGuestMap *map,
                            const VdsQueueSetup *rings, unsigned n_rings, GError **error);
/* Started and disabled: as enable_queue() for a queue that its device discards, and
 * nothing for all others.  Errors as enable_queue(). */
bool vds_virtio_driver_discard_queue(VdsVirtioDevice *device, unsigned n, GError **error);
/* 0: none.  QUEUE: the device has no use for one. */
bool vds_virtio_driver_set_mtu(VdsVirtioDevice *device, uint16_t mtu, GError **error);
/* Not served any more; addresses and indices stay. */
bool vds_virtio_driver_disable_queue(VdsVirtioDevice *device, unsigned n, GError **error);
/* The same, and `done` is told once no request is under way: posted to `box`, once,
 * whatever happens meanwhile (a reset, the end of the device).  `base` goes on where this
 * stops, as GET_VRING_BASE says it: last_avail_idx; of a packed ring (P10) last_avail in
 * bits 0 to 14, its wrap counter in 15, and used above in the same way.  Until then the
 * queue can be neither set up nor enabled.  Kicks are still needed where a device waits
 * for its turn. */
typedef void (*VdsQueueStoppedFunc)(unsigned n, uint32_t base, void *user);
void vds_virtio_driver_stop_queue(VdsVirtioDevice *device, unsigned n, VdsMailbox *box,
                                  VdsQueueStoppedFunc done, void *user);
/* The driver is gone, or its memory is somebody else's: not served, and what is under way
 * will not be written to the ring any more.  Its words stay for queries until it is set
 * up again. */
void vds_virtio_driver_abandon_queue(VdsVirtioDevice *device, unsigned n);
/* virtio 1.2, 2.6.1; needs RING_RESET. */
bool vds_virtio_driver_reset_queue(VdsVirtioDevice *device, unsigned n, GError **error);

/* There is something in queue n.  Any thread; waits for nothing. */
void vds_virtio_driver_kick(VdsVirtioDevice *device, unsigned n);
/* Kicks through a descriptor since queue n was set up, as long as its device found no
 * buffer in it; 0 afterwards.  Any thread. */
unsigned vds_virtio_driver_count_vain_kicks(const VdsVirtioDevice *device, unsigned n);
/* One eventfd for all interrupts of the device, made with its first enabled queue; -1
 * before.  Borrowed. */
int vds_virtio_driver_get_interrupt_fd(const VdsVirtioDevice *device);
#define VDS_INTERRUPT_CONFIG VDS_VIRTIO_MAX_QUEUES
typedef void (*VdsInterruptFunc)(unsigned n, void *user);
/* Clears the eventfd and calls func for each queue that interrupted since the last time,
 * and for VDS_INTERRUPT_CONFIG; returns how many. */
unsigned vds_virtio_driver_take_interrupts(VdsVirtioDevice *device, VdsInterruptFunc func,
                                           void *user);
/* For one queue an eventfd from elsewhere (transfer full, also when refused; -1 takes it
 * away).  The kick is made non-blocking. */
bool vds_virtio_driver_set_kick_fd(VdsVirtioDevice *device, unsigned n, int fd,
                                   GError **error);
bool vds_virtio_driver_set_call_fd(VdsVirtioDevice *device, unsigned n, int fd,
                                   GError **error);
/* Reads and clears (virtio 1.2, 4.1.4.5). */
uint8_t vds_virtio_driver_take_isr(VdsVirtioDevice *device);
/* Rings that are made from then on remember there what they have in flight, and begin
 * with what another device left there; referenced, NULL: no more.  V8 breaks the device.
 */
void vds_virtio_driver_set_inflight(VdsVirtioDevice *device, VdsInflight *inflight);
/* For a driver that is a vhost-user front-end: what queries say of that side; NULL: of
 * none (any more).  A reset leaves it.  On the main loop. */
void vds_virtio_driver_set_vhost_state(VdsVirtioDevice *device,
                                       const VdsVhostState *state);
void vds_virtio_driver_set_vhost_queue(VdsVirtioDevice *device, unsigned n,
                                       const VdsVhostQueue *queue);
/* QUEUE: this device has no network. */
bool vds_virtio_driver_announce(VdsVirtioDevice *device, const uint8_t mac[VDS_MAC_BYTES],
                                GError **error);
/* Off: `disabled`, and DRIVER_OK is gone, as QEMU has it for PCI. */
void vds_virtio_driver_set_bus_master(VdsVirtioDevice *device, bool on);

/* ---- typed properties ----------------------------------------------------------------
 */

typedef struct VdsProperty VdsProperty;
typedef struct VdsPropertySet VdsPropertySet;
typedef struct VdsDeviceHost VdsDeviceHost;

typedef struct {
    uint64_t number; /* also bool, a word's position, and int as two's complement */
    char *text;      /* (nullable) owned by the set */
} VdsPropertyValue;

/* What parsing a value may need beside the value. */
typedef struct {
    const char *owner; /* the type that QEMU names in errors */
    const VdsDeviceHost *host;
} VdsPropertyContext;

/* How values of one type are read and shown. */
typedef struct {
    const char *name; /* QEMU's word; a row's type_name goes before it */
    /* text is never NULL; *value is zeroed */
    bool (*parse)(const VdsProperty *property, const VdsPropertyContext *context,
                  const char *text, VdsPropertyValue *value, GError **error);
    void (*show)(const VdsProperty *property, const VdsPropertyValue *value,
                 VdsProp *to); /* to->name is set by the caller */
    uint64_t min, max;
    const char *const *words; /* enumerations, NULL-terminated */
} VdsPropertyType;

extern const VdsPropertyType vds_property_bool, vds_property_uint8, vds_property_uint16,
    vds_property_uint32, vds_property_uint64, vds_property_int32, vds_property_int64,
    vds_property_size, vds_property_str, vds_property_mac, vds_property_pci_address,
    vds_property_on_off_auto, vds_property_on_error, vds_property_link_speed,
    vds_property_link_width, vds_property_guest, vds_property_workload, vds_property_rate;
/* These name a part that must exist: the row's `backend` says of what kind; an exclusive
 * one refuses a second user. */
extern const VdsPropertyType vds_property_backend, vds_property_chardev,
    vds_property_link;

/* A row of a table; a row without name ends it. */
struct VdsProperty {
    const char *name;
    const VdsPropertyType *type;
    const char *type_name;     /* (nullable) as shown: "link<rng-backend>" */
    const char *description;   /* (nullable) */
    uint64_t fallback;         /* the default's number */
    const char *fallback_text; /* (nullable) the default's text */
    bool unset;                /* no default is shown */
    bool feature;              /* a boolean that offers feature bit `bit` */
    uint8_t bit;
    const char *backend; /* "netdev", "chardev", "object", ... */
    bool exclusive;      /* one user at a time */
};

/* ---- device kinds ---------------------------------------------------------------------
 */

/* A row of the table of kinds is one VdsDeviceClass: the type names by which it can be
 * asked for, with their properties, and one function that makes a device.  A row need not
 * be a virtio device: ports, bridges and devices that bring others are rows, too. */
typedef struct VdsDeviceClass VdsDeviceClass;

/* What the machine does for a row while one of its devices is made. */
struct VdsDeviceHost {
    void *machine;
    void *device;          /* the one being made */
    VdsPatience *patience; /* for what may wait for a file system */
    /* (nullable) the properties that -netdev, -object, ... were given; the part stays as
     * long as the device */
    const VdsProps *(*find_backend)(const VdsDeviceHost *host, const char *kind,
                                    const char *id);
    /* The part is this device's until it goes; false when it is another's already. */
    bool (*claim_backend)(const VdsDeviceHost *host, const char *kind, const char *id);
    /* Puts one more device (transfer full, also on error) at an absolute path that is
     * free; it goes with this one.  The last one put is listed first. */
    bool (*put)(const VdsDeviceHost *host, const char *path, VdsVirtioDevice *device,
                GError **error);
    /* A balloon's driver gave or took memory: tells who listens to the machine, on the
     * main loop.  Any thread, while the machine lives. */
    void (*balloon_changed)(void *machine, uint32_t pages);
    /* Likewise: a program of the guest's opened or closed a serial port. */
    void (*port_changed)(void *machine, const char *id, bool open);
    /* What devices of one machine share by name: made with the first that asks, and freed
     * behind the last device of the machine.  Borrowed. */
    void *(*share)(const VdsDeviceHost *host, const char *name,
                   void *(*create)(const char *name), GDestroyNotify destroy);
};

/* Under what heading help lists it; QEMU's, in its order, and those that have none. */
typedef enum {
    VDS_CATEGORY_NONE,
    VDS_CATEGORY_BRIDGE,
    VDS_CATEGORY_USB,
    VDS_CATEGORY_STORAGE,
    VDS_CATEGORY_NETWORK,
    VDS_CATEGORY_INPUT,
    VDS_CATEGORY_DISPLAY,
    VDS_CATEGORY_MISC,
    VDS_CATEGORY_COUNT,
    VDS_CATEGORY_HIDDEN = VDS_CATEGORY_COUNT, /* none can be made */
} VdsDeviceCategory;

/* One name by which a row is asked for, or an abstract parent in QOM's type tree. */
typedef struct {
    const char *name;
    const char *parent;
    const char *alias;             /* (nullable) taken by -device as well */
    bool abstract;                 /* listed as a type, never made */
    const char *bus_type;          /* (nullable) type of the bus it needs; NULL: none */
    const char *backend_type;      /* (nullable) the virtio device is a child node of this
                                      type, "virtio-backend"; NULL: it is the node itself */
    const VdsProperty *const *own; /* (nullable) NULL-terminated tables */
    const VdsProperty *const *backend; /* (nullable) those of the virtio device; shown on
                                          the node above it as well */
    const void *form;                  /* the row's own: how this name differs */
    const char *description;           /* (nullable) for help */
    VdsDeviceCategory category;        /* NONE: its row's */
} VdsDeviceType;

typedef struct {
    const VdsDeviceClass *class;
    const VdsDeviceType *type;
    const char *id;   /* (nullable) */
    const char *path; /* of the node to be */
    const VdsPropertySet *properties;
    const VdsDeviceHost *host;
    void *bus_data; /* (nullable) of the bus it is plugged into: its owner's */
} VdsDeviceArgs;

/* What a row made.  Everything is (transfer full) on success and untouched on error. */
typedef struct {
    VdsVirtioDevice *virtio; /* (nullable) */
    const char *bus_type;    /* (nullable) it brings a bus of this type */
    char *bus_name;          /* (nullable) */
    void *bus_data;          /* (nullable) handed to what is plugged in */
    GDestroyNotify bus_free; /* of bus_data */
    void *instance;          /* (nullable) the row's own */
} VdsDeviceParts;

/* A property that is known only while the device is there.  On the main loop. */
typedef struct {
    const char *name, *type;
    bool (*get)(void *instance, VdsProp *value); /* false: this device has none */
    /* (nullable) it is only read; PROPERTY */
    bool (*set)(void *instance, const VdsProp *value, GError **error);
} VdsDeviceReading;

struct VdsDeviceClass {
    const VdsDeviceType *types; /* a row without name ends it */
    const void *data;           /* the row's own constants */
    bool (*realize)(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error);
    /* (nullable) before the bus it is plugged into goes */
    void (*unrealize)(void *instance, void *bus_data);
    /* (nullable) on the main loop, after its driver let go: takes no new work and returns
     * whether all of the old is over; if not, `done` is called once, on any thread, when
     * it is.  May be called again. */
    bool (*settle)(void *instance, VdsTaskFunc done, void *user);
    const VdsDeviceReading *readings; /* (nullable) a row without name ends it */
    VdsDeviceCategory category;
};

/* Calls func for each property of the type: its own, then its backend's. */
typedef void (*VdsDevicePropertyFunc)(const VdsProperty *property, bool backend,
                                      void *user);
void vds_device_type_foreach_property(const VdsDeviceType *type,
                                      VdsDevicePropertyFunc func, void *user);
/* (nullable) */
const VdsProperty *vds_device_type_find_property(const VdsDeviceType *type,
                                                 const char *name, bool *backend);

/* The values given for a device of this type; `driver`, `id` and `bus` are skipped, as
 * the machine reads these.  PROPERTY, BACKEND or NO_OBJECT with QEMU's text.
 * (transfer full) */
VdsPropertySet *vds_property_set_new(const VdsDeviceType *type, const VdsProps *props,
                                     const VdsDeviceHost *host, GError **error);
void vds_property_set_free(VdsPropertySet *set); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsPropertySet, vds_property_set_free)

/* The value given, else the default.  The type must have a property of that name. */
bool vds_property_set_get_bool(const VdsPropertySet *set, const char *name);
uint64_t vds_property_set_get_uint(const VdsPropertySet *set, const char *name);
const char *vds_property_set_get_text(const VdsPropertySet *set,
                                      const char *name);                /* (nullable) */
bool vds_property_set_has(const VdsPropertySet *set, const char *name); /* was given */
/* The feature bits of all boolean feature rows that are on. */
VdsFeatures vds_property_set_features(const VdsPropertySet *set);
/* As qom-get shows it: everything but the name; the caller clears. */
void vds_property_set_show(const VdsPropertySet *set, const VdsProperty *property,
                           VdsProp *value);

/* ---- names (from qapi/features.json) --------------------------------------------------
 */

/* The name that goes with a device id: "virtio-net"; "virtio-device" for every id that
 * nobody named (the id itself stands beside the name in every reply).  A constant. */
const char *vds_virtio_id_name(uint16_t device_id);

/* Decoded words, in QEMU's order of emission; strings are constants. */
typedef struct {
    const char *transports[64];
    unsigned n_transports;
    const char *dev_features[64];
    unsigned n_dev_features;
    uint64_t unknown; /* bits below 64 that have no name for this device */
} VdsFeatureNames;
void vds_virtio_features_decode(uint16_t device_id, const VdsFeatures *features,
                                VdsFeatureNames *names);

typedef struct {
    const char *names[64];
    unsigned n;
    uint64_t unknown;
} VdsBitNames;
void vds_virtio_status_decode(uint8_t status, VdsBitNames *names);
void vds_virtio_protocols_decode(uint64_t protocol_features, VdsBitNames *names);
/* used, avail, indirect, write, next; other bits are dropped, unknown stays 0. */
void vds_virtio_desc_flags_decode(uint16_t flags, VdsBitNames *names);
