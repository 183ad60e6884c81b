/*
 * devices: what the files of virtio-blk share: the disk (what the bytes are kept in), the
 * engines that work on a file without blocking a loop, and the device.
 */
#pragma once

#include <stdatomic.h>

#include "kind-priv.h"

enum {
    VDS_BLK_SECTOR = 512
}; /* the unit of every number of the wire (virtio 1.2, 5.2.6) */

#define VDS_BLK_MAX_BYTES ((uint64_t)INT64_MAX / VDS_BLK_SECTOR * VDS_BLK_SECTOR)

/* ---- work on a disk -----------------------------------------------------------------
 */

typedef enum {
    VDS_BLK_READ,
    VDS_BLK_WRITE,
    VDS_BLK_FLUSH,
    VDS_BLK_DISCARD, /* the bytes may be forgotten */
    VDS_BLK_PUNCH,   /* they become zeroes, their room may be given back */
    VDS_BLK_ZERO,    /* they become zeroes, their room stays */
} VdsBlkOpKind;

/* One piece of work for an engine, which owns it between submit and reap. */
typedef struct VdsBlkOp VdsBlkOp;
struct VdsBlkOp {
    VdsBlkOpKind kind;
    uint64_t offset, len; /* bytes */
    uint8_t *data;        /* READ, WRITE: len bytes, private to the device */
    int64_t result;       /* bytes that moved, 0, or -errno */
    VdsBlkOp *next;       /* the engine's */
};

/* ---- engines
 * ---------------------------------------------------------------------------
 */

/* Works on a file somewhere else.  One thread calls it (the I/O thread, or whoever took
 * the device off it). */
typedef struct VdsBlkEngine VdsBlkEngine;

typedef struct {
    const char *name; /* as -blockdev aio= has it */
    /* depth: how many ops are under way at most.  fd is borrowed.  NULL: not here. */
    VdsBlkEngine *(*create)(int fd, unsigned depth);
    /* Readable (an eventfd) when something can be reaped. */
    int (*get_fd)(const VdsBlkEngine *engine);
    void (*submit)(VdsBlkEngine *engine, VdsBlkOp *op);
    void (*kick)(VdsBlkEngine *engine);      /* passes on what was submitted */
    VdsBlkOp *(*reap)(VdsBlkEngine *engine); /* (nullable) one op that is done */
    void (*destroy)(VdsBlkEngine *engine);   /* nothing is under way */
} VdsBlkEngineOps;

/* NULL-terminated, the preferred one first. */
extern const VdsBlkEngineOps *const vds_blk_engines[];
extern const VdsBlkEngineOps vds_blk_pool;
#ifdef VDS_HAVE_LIBURING
extern const VdsBlkEngineOps vds_blk_uring;
#endif

/* What fallocate(2) is to do for DISCARD, PUNCH and ZERO. */
int vds_blk_fallocate_mode(VdsBlkOpKind kind);

/* ---- disks ---------------------------------------------------------------------------
 */

typedef enum { VDS_BLK_MEMORY, VDS_BLK_NULL, VDS_BLK_FILE } VdsBlkDiskKind;

/* What a file gives and takes without a wait. */
typedef enum {
    VDS_BLK_AT_ONCE_NOTHING,
    VDS_BLK_AT_ONCE_CACHED, /* reads of what is in memory */
    VDS_BLK_AT_ONCE_ALL,    /* reads and writes: all of it is in memory */
} VdsBlkAtOnce;

/* Limits (blk-throttle.c). */
typedef struct VdsBlkThrottle VdsBlkThrottle;

typedef struct {
    VdsBlkDiskKind kind;
    uint64_t size_bytes; /* a multiple of a sector */
    bool read_only;
    bool unmap;               /* discard=unmap: FILE gives room back */
    uint64_t latency_ns;      /* NULL: how long it takes over a request */
    VdsBlkThrottle *throttle; /* (nullable) */
    bool owns_throttle;       /* else it is a group's, which lives longer */
    bool zeroes; /* read-zeroes=on: NULL; else a read changes nothing, as in QEMU */
    int fd;      /* FILE; else -1 */
    VdsPatience *patience; /* FILE: with its file system */
    VdsBlkAtOnce at_once;  /* FILE */
    uint8_t *memory;       /* MEMORY (nullable): mapped with the first driver */
    const char *aio;       /* (nullable) FILE: the only engine wanted */
} VdsBlkDisk;

/* `node`: the -blockdev or -drive it is wired to; NULL: memory.  BACKEND. */
VdsBlkDisk *vds_blk_disk_new(const VdsDeviceHost *host, const VdsProps *node,
                             GError **error);
void vds_blk_disk_free(VdsBlkDisk *disk); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsBlkDisk, vds_blk_disk_free)
/* (nullable) the image format, other than raw, of the file's first bytes or its last
 * sector: a constant.  One or two reads. */
const char *vds_blk_probe(int fd, uint64_t size_bytes);
/* No limits at first. */
VdsBlkThrottle *vds_blk_throttle_new(void);
void vds_blk_throttle_free(VdsBlkThrottle *throttle); /* NULL is fine */
/* What props say of limits, under the names of -drive (throttling.iops-total, iops),
 * -object throttle-group (x-iops-total) or object-add (limits.iops-total); *given: there
 * is anything.  BACKEND, VDS_UTIL_ERROR_VALUE: nothing changed. */
bool vds_blk_throttle_set(VdsBlkThrottle *throttle, const VdsProps *props, bool *given,
                          GError **error);
/* Any thread.  0: a request of so many bytes passes, and counts; else nanoseconds after
 * which it may ask again. */
uint64_t vds_blk_throttle_pass(VdsBlkThrottle *throttle, bool writes, uint64_t bytes,
                               uint64_t now_ns);
/* MEMORY: makes `memory`; nothing else has to.  false: the system has none. */
bool vds_blk_disk_open(VdsBlkDisk *disk);
/* Of MEMORY and NULL: moves [offset, offset + len) between the disk and the request, or
 * changes it, at once.  false: the request had fewer bytes (its queue was reset, or its
 * memory went away). */
bool vds_blk_disk_serve(const VdsBlkDisk *disk, VdsBlkOpKind kind, uint64_t offset,
                        size_t len, VdsIo *io);
/* Of FILE: moves what needs no wait, from the first byte on; says how many bytes. */
size_t vds_blk_disk_serve_at_once(const VdsBlkDisk *disk, VdsBlkOpKind kind,
                                  uint64_t offset, size_t len, VdsIo *io);

/* ---- the device
 * ------------------------------------------------------------------------
 */

typedef struct VdsBlk VdsBlk;
typedef struct VdsBlkRequest VdsBlkRequest;
typedef struct VdsBlkRules VdsBlkRules;

/* What the requests are: virtio-blk's, or those of another device that works on a disk.
 */
typedef struct {
    /* Reads what is asked, once.  NULL, or why the device is to be broken: a phrase. */
    const char *(*begin)(VdsBlkRequest *request, const VdsBlkRules *rules);
    /* Writes the answer; where it leaves io->in is how far its bytes are new. */
    void (*end)(VdsBlkRequest *request);
    /* (nullable) a queue before the request queues */
    void (*handle)(VdsBlk *blk, VdsVirtQueue *queue);
    /* (nullable) requests may have been finished */
    void (*finished)(VdsBlk *blk);
} VdsBlkProtocol;

enum {
    VDS_BLK_F_SEG_MAX = 2,
    VDS_BLK_F_GEOMETRY = 4,
    VDS_BLK_F_RO = 5,
    VDS_BLK_F_BLK_SIZE = 6,
    VDS_BLK_F_SCSI = 7, /* legacy only */
    VDS_BLK_F_FLUSH = 9,
    VDS_BLK_F_TOPOLOGY = 10,
    VDS_BLK_F_CONFIG_WCE = 11,
    VDS_BLK_F_MQ = 12,
    VDS_BLK_F_DISCARD = 13,
    VDS_BLK_F_WRITE_ZEROES = 14,
};

enum {
    VDS_BLK_ID_BYTES = 20,
    VDS_BLK_CONFIG_BYTES = 60,
    VDS_BLK_CONFIG_WRITEBACK = 32, /* offset of the one byte that a driver may write */
    VDS_BLK_DEPTH = 64,            /* requests of a device under way at once */
    VDS_BLK_CHUNK = 256 * 1024,    /* bytes of one op: what a request's buffer may cost */
    VDS_BLK_BATCH = 16,            /* requests that the driver sees at once */
};

typedef struct {
    const VdsBlkProtocol *protocol;
    VdsBlkDisk *disk;               /* (transfer full) (nullable) it comes later */
    VdsIoThread *io_thread;         /* borrowed: the device's */
    const char *serial;             /* (nullable) */
    unsigned first_queue, n_queues; /* of requests */
    uint32_t block_bytes;           /* logical */
    uint32_t max_discard_sectors, max_zero_sectors;
    bool writeback; /* after a reset */
} VdsBlkConfig;

/* "off" of on_off_auto. */
#define VDS_BLK_OFF UINT64_C(2)

/* What the configuration space says of the disk. */
typedef struct {
    uint64_t size_bytes;
    uint32_t block_bytes, physical_bytes;
    unsigned n_queues, queue_size;
} VdsBlkShape;

/* The sizes that the properties of a disk ask for.  PROPERTY. */
bool vds_blk_block_sizes(const VdsPropertySet *set, VdsBlkShape *shape, GError **error);
/* VDS_BLK_CONFIG_BYTES (virtio 1.2, 5.2.4) with the values QEMU 7.2 shows. */
void vds_blk_config_fill(uint8_t *config, const VdsBlkShape *shape,
                         const VdsFeatures *offered, const VdsPropertySet *set);

VdsBlk *vds_blk_new(const VdsBlkConfig *config);
VdsVirtioDevice **vds_blk_device(VdsBlk *blk); /* to be set before any driver */
extern const VdsDeviceOps vds_blk_ops;         /* its instance: a VdsBlk */

/* ---- counters (blk-stats.c)
 * ------------------------------------------------------------
 */

/* What is counted apart; NOT: what is not about the disk's bytes. */
typedef enum {
    VDS_BLK_COUNT_READ,
    VDS_BLK_COUNT_WRITE,
    VDS_BLK_COUNT_FLUSH,
    VDS_BLK_COUNT_UNMAP,
    VDS_BLK_COUNT_KINDS,
    VDS_BLK_COUNT_NOT = VDS_BLK_COUNT_KINDS,
} VdsBlkCountKind;

/* The I/O thread counts, any thread reads. */
typedef struct {
    struct {
        _Atomic uint64_t operations, bytes, failed, invalid, total_ns;
    } kinds[VDS_BLK_COUNT_KINDS];
    _Atomic uint64_t write_end; /* the highest byte written, plus one */
    /* (nullable) owned; changed on the I/O thread, on behalf of the main loop alone */
    struct VdsBlkHistogram *histograms[VDS_BLK_COUNT_KINDS];
} VdsBlkStats;

/* blk-histogram.c */
typedef struct VdsBlkHistogram VdsBlkHistogram;
void vds_blk_histogram_count(VdsBlkHistogram *histogram, uint64_t ns);
char *vds_blk_histograms_show(VdsBlkHistogram *const *histograms); /* (transfer full) */
/* "rd=10,50;wr=": boundaries in ns for some kinds, none for those that end.  PROPERTY. */
bool vds_blk_histograms_set(VdsBlk *blk, const char *text, GError **error);
void vds_blk_histograms_free(VdsBlkHistogram **histograms);

/* ---- requests (blk-request.c)
 * ---------------------------------------------------------- */

typedef struct VdsBlkType VdsBlkType;

/* One request, from pop to complete.  In the array of its device; it is on the free list,
 * on the ready list, with the engine, or done. */
struct VdsBlkRequest {
    VdsBlkOp op; /* first: the engine hands this back */
    VdsBlk *blk;
    VdsIo *io; /* (nullable) taken away by a reset while the disk was at work */
    const VdsBlkType *type;
    uint64_t offset, left; /* bytes of the disk that are still to be done */
    VdsBlkOpKind kind;     /* what is done with them */
    uint8_t *buffer;       /* (nullable) of the chunk; op.data points into it */
    uint64_t chunk, moved; /* bytes with the engine or back from it, and done of them */
    uint8_t status;
    bool used, in_engine;
    bool by_hand; /* ZERO: the file system cannot, so zeroes are written */
    bool flush;   /* a flush follows when nothing is left */
    VdsBlkCountKind count;
    bool counted_invalid;
    uint64_t begun_ns, bytes; /* for the counters */
    uint64_t due_ns;          /* held: by the clock of begun_ns */
    /* A SCSI command's: who it is, and its answer. */
    uint64_t number, tag;
    uint8_t response, sense_key;
    uint16_t sense_code, reply_bytes; /* of the answer: as it was when it began */
    VdsBlkRequest *next;
};

enum { VDS_BLK_S_OK = 0, VDS_BLK_S_IOERR = 1, VDS_BLK_S_UNSUPP = 2 };

/* What requests need of their device. */
struct VdsBlkRules {
    const VdsBlkDisk *disk; /* (nullable) */
    const char *serial;
    uint32_t block_bytes;
    uint32_t max_discard_sectors, max_zero_sectors;
    bool writeback;
    VdsFeatures features;
};

extern const VdsBlkProtocol vds_blk_protocol; /* of virtio-blk */

/* Why a request is held (blk-hold.c), each a list in order of arrival. */
typedef enum {
    VDS_BLK_HOLD_READ,  /* by limits */
    VDS_BLK_HOLD_WRITE, /* by limits; all that is neither a read nor a flush */
    VDS_BLK_HOLD_LATE,  /* by the disk's latency */
    VDS_BLK_HOLDS,
} VdsBlkHold;

/* ---- the device's own words (blk-device.c, blk-work.c) --------------------------------
 */

struct VdsBlk {
    VdsBlkStats stats;
    const VdsBlkProtocol *protocol;
    VdsVirtioDevice *device;
    VdsBlkDisk *disk;    /* (nullable) */
    VdsIoThread *thread; /* borrowed: the device's */
    char *serial;
    unsigned first_queue, n_queues;
    bool writeback;      /* after a reset */
    unsigned cache_bits; /* FLUSH and CONFIG_WCE, as the driver last wrote features */
    VdsBlkRules rules;

    const VdsBlkEngineOps *ops; /* (nullable) FILE, from start to reset */
    VdsBlkEngine *engine;
    VdsIoWatch *watch;

    bool active;
    bool hungry;             /* a queue may have more than there was room for */
    size_t turn;             /* bytes left of TURN_BYTES */
    unsigned n_in_engine;    /* ops */
    unsigned n_lost;         /* of these: whose queue was reset */
    uint64_t now_ns;         /* as this turn, or its last batch, read the clock */
    uint64_t told_ns;        /* of this turn's last interrupt */
    unsigned n_untold;       /* requests given back since */
    VdsVirtQueue *dirty;     /* (nullable) has completions to flush */
    VdsBlkRequest *requests; /* (nullable) VDS_BLK_DEPTH, with the first driver */
    VdsBlkRequest *free;
    unsigned n_free;
    VdsBlkRequest *ready, **ready_end;
    VdsBlkRequest *held[VDS_BLK_HOLDS];
    unsigned n_held;
    VdsIoTimer *hold_timer; /* (nullable) */
    VdsTaskFunc settled;    /* (nullable) who is to be called when no op is under way */
    void *settled_user;
    VdsBlkRequest **done; /* (nullable) VDS_BLK_BATCH of `dirty`, with the first driver */
    unsigned n_done;
};

/* When it is known what the request asks, and when it is done; both by blk->now_ns. */
void vds_blk_stats_begin(VdsBlkRequest *request);
void vds_blk_stats_end(const VdsBlkRequest *request);
uint64_t vds_blk_stats_now(void);
extern const VdsDeviceReading vds_blk_readings[];

/* Bytes; any thread. */
uint64_t vds_blk_get_size(const VdsBlk *blk);
/* On the main loop.  BACKEND, VDS_UTIL_ERROR_SYSTEM. */
bool vds_blk_grow(VdsBlk *blk, uint64_t bytes, GError **error);

/* Out of its queue and on its way. */
void vds_blk_work_begin(VdsBlk *blk, VdsIo *io);
/* As far as it goes now: to the engine, to the end, or, in memory, to the end of a turn.
 */
void vds_blk_work_advance(VdsBlkRequest *request);
/* The engine has handed it back. */
void vds_blk_work_returned(VdsBlkRequest *request);
/* Onto the ready list; advance is for the caller, or for the next turn. */
void vds_blk_work_wait(VdsBlkRequest *request);
/* Back to the free list, without an answer. */
void vds_blk_work_free(VdsBlkRequest *request);
/* Gives the driver what was finished, and shows it. */
void vds_blk_work_flush(VdsBlk *blk);

/* What another device that works on a disk does with its own words around (blk-device.c);
 * each is a step of VdsDeviceOps.  The instance begins with a VdsBlk. */
void vds_blk_init(VdsBlk *blk, const VdsBlkConfig *config);
void vds_blk_start(VdsBlk *blk);
void vds_blk_reset(VdsBlk *blk);
/* Takes what is in the request queues; `hungry` says that there may be more. */
void vds_blk_feed(VdsBlk *blk);
/* On the I/O thread: the disk comes ((transfer full)), also while a driver is there.
 * false: it cannot be worked on, and is the caller's again. */
bool vds_blk_attach(VdsBlk *blk, VdsBlkDisk *disk);
/* On the I/O thread: (transfer full).  Work that is under way in spite of
 * vds_blk_settle() is abandoned with the disk, and NULL returned. */
VdsBlkDisk *vds_blk_detach(VdsBlk *blk);

/* One turn on the I/O thread, with `work` in it. */
void vds_blk_turn(VdsBlk *blk, void (*work)(VdsBlk *blk));

/* ---- held requests (blk-hold.c)
 * ---------------------------------------------------------------- */

/* true: it is held, and advanced when it may go on. */
bool vds_blk_hold(VdsBlkRequest *request);
/* In a turn: those that may go on do, and the next turn is set. */
void vds_blk_hold_serve(VdsBlk *blk);
/* Onto the ready list: those of one queue, or all (NULL), whatever they wait for. */
void vds_blk_hold_release(VdsBlk *blk, const VdsVirtQueue *queue);
/* Off the I/O thread, with none held: frees the timer. */
void vds_blk_hold_clear(VdsBlk *blk);

/* ---- without waiting (blk-drain.c)
 * ---------------------------------------------------------------- */

/* On the main loop: whether no op is under way; if one is, `done` is called once on the
 * I/O thread when none is any more.  Another call replaces it. */
bool vds_blk_settle(VdsBlk *blk, VdsTaskFunc done, void *user);
/* On the I/O thread: ops came back. */
void vds_blk_note_settled(VdsBlk *blk);
/* Where nothing else can work on blk: frees its engine, its requests and the disk
 * ((transfer full) (nullable)), here if the disk answers in half a second, else on a
 * thread that waits for it.  No request has a VdsIo any more, and no watch is left. */
void vds_blk_abandon(VdsBlk *blk, VdsBlkDisk *disk);
