/*
 * guest: what the files of this room share: a device as its driver sees it, its queues
 * with their buffers, and the table of drivers.
 *
 * Everything here belongs to the guest's thread, but what says otherwise.
 */
#pragma once

#include <stdatomic.h>

#include "vds/guest.h"

typedef struct VdsGuestDevice VdsGuestDevice;
typedef struct VdsGuestDriver VdsGuestDriver;
typedef struct VdsGuestQueue VdsGuestQueue;
typedef struct VdsGuestSlot VdsGuestSlot;

/* ---- queues --------------------------------------------------------------------------
 */

/* What a driver does with a queue. */
typedef struct {
    uint32_t slot_bytes; /* of one buffer; 0: the driver brings its own */
    uint32_t max_slots;  /* at most so many, and never more than the ring has entries */
    uint32_t spans;      /* of the longest request: room for indirect tables if over 1 */
    /* The device is done with the buffer; it is neither posted nor free before the
     * driver says so. */
    void (*used)(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written);
    void (*drained)(VdsGuestQueue *queue); /* (nullable) after one or more of these */
} VdsGuestQueueRole;

/* One buffer in guest RAM, and the driver's note on the request that is in it. */
struct VdsGuestSlot {
    uint64_t gpa;
    VdsGuestSlot *next; /* of the free ones */
    uint64_t note[2];
};

struct VdsGuestQueue {
    VdsGuestDevice *device;
    const VdsGuestQueueRole *role;
    unsigned index;
    uint32_t num;
    VdsDriverRing *ring;
    bool dirty;            /* something was added since the last kick */
    bool pending;          /* something may be used */
    uint64_t ring_gpas[3]; /* what was allocated; 0: nothing */
    uint64_t desc, avail, used;
    uint64_t tables_gpa; /* 0: none */
    uint64_t slots_gpa;  /* 0: none yet */
    uint32_t slot_bytes;
    uint32_t n_slots, n_free;
    VdsGuestSlot *slots; /* n_slots of them */
    VdsGuestSlot *free;
};

/* The ring in guest RAM, laid out as Linux does.  The queue is not enabled yet. */
VdsGuestQueue *vds_guest_queue_new(VdsGuestDevice *device, unsigned index,
                                   const VdsGuestQueueRole *role, GError **error);
void vds_guest_queue_free(VdsGuestQueue *queue); /* NULL is fine */

/* Allocates the buffers: slot_bytes (0: the role's) each.  Again: nothing. */
bool vds_guest_queue_allocate(VdsGuestQueue *queue, uint32_t slot_bytes, GError **error);
VdsGuestSlot *vds_guest_queue_take(VdsGuestQueue *queue); /* (nullable) a free one */
void vds_guest_queue_give(VdsGuestQueue *queue, VdsGuestSlot *slot);
/* Posts a request; false when the ring has no room or is no ring any more: the slot is
 * free again. */
bool vds_guest_queue_post(VdsGuestQueue *queue, VdsGuestSlot *slot, const VdsSpan *spans,
                          uint32_t n_out, uint32_t n_in);
/* The slot as one buffer for the device to write. */
bool vds_guest_queue_post_in(VdsGuestQueue *queue, VdsGuestSlot *slot);
/* Every free slot likewise. */
void vds_guest_queue_fill(VdsGuestQueue *queue);
/* Hands used buffers to the role.  True: there is more, and no interrupt will say so. */
bool vds_guest_queue_drain(VdsGuestQueue *queue);
void vds_guest_queue_kick(VdsGuestQueue *queue); /* if something is new */

/* ---- devices ------------------------------------------------------------------------
 */

/* One row a virtio id.  All but `used` in the roles run with the device's rings in
 * place; each is short. */
struct VdsGuestDriver {
    uint16_t device_id;
    uint64_t features; /* below bit 64, that the driver knows; the transport's aside */
    uint64_t refused;  /* of the transport's: what it turns off */
    size_t state_bytes;
    /* Reads the config space and adds its queues, in their order. */
    bool (*plan)(VdsGuestDevice *device, GError **error);
    /* DRIVER_OK is set: the first buffers.  false: the device fails. */
    bool (*start)(VdsGuestDevice *device, GError **error);
    void (*config_changed)(VdsGuestDevice *device); /* (nullable) */
    void (*tick)(VdsGuestDevice *device);           /* one request of the workload */
    void (*clear)(VdsGuestDevice *device); /* (nullable) frees what state holds */
};

typedef enum {
    VDS_GUEST_GONE,   /* not found yet, or let go */
    VDS_GUEST_IDLE,   /* found, and nobody drives it: no driver, or it failed */
    VDS_GUEST_DRIVEN, /* DRIVER_OK */
} VdsGuestLife;

struct VdsGuestDevice {
    VdsGuest *guest;
    VdsVirtioDevice *virtio;
    VdsGuestDeviceConfig config;
    VdsGuestDevice *next, *prev; /* of the guest's */
    VdsGuestDevice *next_work;   /* of those with something to do */
    bool queued;                 /* among these */
    bool interrupted; /* while the guest was paused, or not all was looked at */
    VdsGuestLife life;
    const VdsGuestDriver *driver; /* (nullable) */
    void *state;                  /* the driver's: state_bytes zeroes at plan */
    VdsFeatures features;         /* negotiated */
    unsigned n_queues;
    VdsGuestQueue **queues; /* n_queues of them */
    VdsIoWatch *watch;
    VdsIoTimer *timer;
    unsigned per_tick;

    /* Any thread. */
    atomic_uint_least64_t errors, requests;
    char *last_error; /* under the guest's lock */
};

/* (nullable) */
const VdsGuestDriver *vds_guest_driver_find(uint16_t device_id);
extern const VdsGuestDriver vds_guest_net, vds_guest_blk, vds_guest_rng, vds_guest_serial,
    vds_guest_balloon, vds_guest_scsi, vds_guest_vsock;

/* Finds it: from reset to DRIVER_OK.  What goes wrong is the device's error. */
void vds_guest_device_probe(VdsGuestDevice *device);
/* Resets it and gives all its memory back. */
void vds_guest_device_let_go(VdsGuestDevice *device);
/* Looks at its interrupts. */
void vds_guest_device_serve(VdsGuestDevice *device);
void vds_guest_device_set_timer(VdsGuestDevice *device, bool on);
void vds_guest_device_free(VdsGuestDevice *device);

/* For drivers. */
static inline bool vds_guest_device_has(const VdsGuestDevice *device, unsigned bit)
{
    return vds_features_has(&device->features, bit);
}
/* The next queue; the index is how many there were. */
bool vds_guest_device_add_queue(VdsGuestDevice *device, const VdsGuestQueueRole *role,
                                GError **error);
bool vds_guest_device_read_config(VdsGuestDevice *device, unsigned offset, void *to,
                                  unsigned len, GError **error);
VdsGuestMap *vds_guest_device_map(const VdsGuestDevice *device);
bool vds_guest_device_read(VdsGuestDevice *device, uint64_t gpa, void *to, size_t len);
bool vds_guest_device_write(VdsGuestDevice *device, uint64_t gpa, const void *from,
                            size_t len);
/* One more error; the device goes on. */
void vds_guest_device_error(VdsGuestDevice *device, const char *format, ...)
    G_GNUC_PRINTF(2, 3);
/* Takes the error: nothing is asked of the device any more, and its status is FAILED. */
void vds_guest_device_fail(VdsGuestDevice *device, GError *error);
static inline void vds_guest_device_count(VdsGuestDevice *device)
{
    atomic_fetch_add_explicit(&device->requests, 1, memory_order_relaxed);
}

/* ---- blocks.c: a disk under load
 * ------------------------------------------------------ */

enum { VDS_GUEST_BLOCK = 4096 /* bytes */, VDS_GUEST_BLOCKS = 64 };

typedef struct {
    uint64_t sector;
    uint32_t written; /* what is on the disk; 0: not known */
    uint32_t writing; /* what is on its way there; 0: nothing is */
    bool busy;
} VdsGuestBlock;

typedef struct {
    bool read_only, flushes;
    unsigned n, next;
    uint32_t generation; /* of the last write */
    uint64_t turns;
    VdsGuestBlock blocks[VDS_GUEST_BLOCKS];
} VdsGuestBlocks;

typedef enum {
    VDS_GUEST_TURN_NONE,
    VDS_GUEST_TURN_READ,
    VDS_GUEST_TURN_WRITE,
    VDS_GUEST_TURN_FLUSH,
} VdsGuestTurn;

/* sectors: the disk's, of 512 bytes each. */
void vds_guest_blocks_init(VdsGuestBlocks *blocks, uint64_t sectors);
/* What is to be done next; *n: with which block, for READ and WRITE. */
VdsGuestTurn vds_guest_blocks_turn(VdsGuestBlocks *blocks, unsigned *n);
uint64_t vds_guest_blocks_sector(const VdsGuestBlocks *blocks, unsigned n);
/* The bytes of the next write go to gpa. */
bool vds_guest_blocks_put(VdsGuestBlocks *blocks, VdsGuestDevice *device, unsigned n,
                          uint64_t gpa);
/* The request is on its way; a write's bytes are those that were put last. */
void vds_guest_blocks_sent(VdsGuestBlocks *blocks, unsigned n, bool wrote);
/* Its end; what was read lies at gpa, and is checked if it is known. */
void vds_guest_blocks_settle(VdsGuestBlocks *blocks, VdsGuestDevice *device, unsigned n,
                             bool good, uint64_t gpa);

/* ---- guest.c ------------------------------------------------------------------------
 */

bool vds_guest_is_running(const VdsGuest *guest);
VdsIoThread *vds_guest_get_thread(const VdsGuest *guest);
VdsGuestRam *vds_guest_get_ram(const VdsGuest *guest);
pthread_mutex_t *vds_guest_get_lock(VdsGuest *guest);
/* The newest of its devices; the others follow by `next`.  (nullable) */
VdsGuestDevice *vds_guest_get_devices(const VdsGuest *guest);
/* The device is looked at again soon, after others. */
void vds_guest_queue_work(VdsGuestDevice *device);
