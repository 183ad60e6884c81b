/*
 * guestmem: guest-physical memory as an immutable, reference-counted map of regions, and
 * the RAM that a built-in guest lives in.
 *
 * Translation, bounds, and accesses that survive a region cut short by its owner
 * (SIGBUS).  Knows nothing of rings.  Everything read is copied into a local once; no
 * pointer into guest memory leaves this room (a VdsGuestArea's is its own).
 */
#pragma once

#include "vds/util.h"

#define VDS_GUESTMEM_ERROR (vds_guestmem_error_quark())
GQuark vds_guestmem_error_quark(void);
typedef enum {
    VDS_GUESTMEM_ERROR_OVERLAP,   /* two regions share an address */
    VDS_GUESTMEM_ERROR_OVERFLOW,  /* gpa + len or offset + len wraps, or len is 0 */
    VDS_GUESTMEM_ERROR_SHORT,     /* the file ends before offset + len */
    VDS_GUESTMEM_ERROR_MAP,       /* mmap failed, with the system's word */
    VDS_GUESTMEM_ERROR_UNMAPPED,  /* an access outside every region */
    VDS_GUESTMEM_ERROR_VANISHED,  /* the owner cut the region short (SIGBUS) */
    VDS_GUESTMEM_ERROR_READ_ONLY, /* a store into a map that is for looking only */
    VDS_GUESTMEM_ERROR_RAM,       /* RAM could not be made: size, path or seals */
    VDS_GUESTMEM_ERROR_FULL,      /* no run of free pages is long enough */
    VDS_GUESTMEM_ERROR_LOG,       /* a dirty log that does not reach all addresses */
    VDS_GUESTMEM_ERROR_NO_REGION, /* none of that address, length and uva */
    VDS_GUESTMEM_ERROR_QUOTA,     /* the peer has mapped as much as it may */
} VdsGuestmemError;

/* ---- VdsGuestQuota: how much address space peers may have mapped ------------------ */

/* The address space that all peers share: bytes and mappings, since a process that runs
 * out of either ends at its next allocation. */
typedef struct VdsGuestQuota VdsGuestQuota;
/* What one peer has of it.  A peer may hold as much as it leaves free for all others, so
 * the first may take half, and there is always some left for the next. */
typedef struct VdsGuestShare VdsGuestShare;

VdsGuestQuota *vds_guest_quota_new(uint64_t max_bytes, uint64_t max_mappings);
/* Three quarters of this process's address space (of RLIMIT_AS, if that is less), and
 * half of the mappings that Linux allows a process. */
VdsGuestQuota *vds_guest_quota_new_of_process(void);
VdsGuestQuota *vds_guest_quota_ref(VdsGuestQuota *quota); /* atomic count */
void vds_guest_quota_unref(VdsGuestQuota *quota);         /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsGuestQuota, vds_guest_quota_unref)

/* A share keeps its quota, and each mapping keeps the share that it counts against. */
VdsGuestShare *vds_guest_share_new(VdsGuestQuota *quota);
VdsGuestShare *vds_guest_share_ref(VdsGuestShare *share); /* atomic count; NULL: NULL */
void vds_guest_share_unref(VdsGuestShare *share);         /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsGuestShare, vds_guest_share_unref)
/* One mapping of `bytes` more, or one less.  Any thread.  QUOTA, with the numbers. */
bool vds_guest_share_take(VdsGuestShare *share, uint64_t bytes, GError **error);
void vds_guest_share_give_back(VdsGuestShare *share, uint64_t bytes);

/* ---- VdsGuestMap ------------------------------------------------------------------ */

/* `uva` is the front-end's own address of the region's start (vhost-user); 0 elsewhere:
 * then it is no address. */
typedef struct {
    uint64_t gpa;
    uint64_t len; /* bytes, not 0 */
    int fd; /* borrowed: duplicated by no one, mapped at once; -1: anonymous zeroes */
    uint64_t offset; /* of the region's start in fd; need not be page-aligned */
    uint64_t uva;
    VdsGuestShare *share; /* (nullable) borrowed: what its mapping counts against */
} VdsGuestRegion;

typedef struct VdsGuestMap VdsGuestMap;

/* Maps the regions read-only and shared.  Any order; they may touch but not overlap. */
VdsGuestMap *vds_guest_map_new(const VdsGuestRegion *regions, size_t n, GError **error);
/* The same for writing too: a device's and a driver's view. */
VdsGuestMap *vds_guest_map_new_writable(const VdsGuestRegion *regions, size_t n,
                                        GError **error);
/* Writable, over caller-owned bytes (tests, fuzzers): hva[i] backs regions[i]. */
VdsGuestMap *vds_guest_map_new_from_memory(const VdsGuestRegion *regions, size_t n,
                                           void *const *hva, GError **error);
/* A map with one region more, or one less (that of the same gpa, len and uva), which
 * shares the memory of all others with the one it was made from; that one stays as it is.
 * The first of a map that is to be (NULL) makes it writable.  Errors as new(), and
 * NO_REGION. */
VdsGuestMap *vds_guest_map_with(const VdsGuestMap *map, const VdsGuestRegion *region,
                                GError **error);
VdsGuestMap *vds_guest_map_without(const VdsGuestMap *map, const VdsGuestRegion *region,
                                   GError **error);
/* ---- VdsDirtyLog: which pages we wrote ------------------------------------------- */

/* One bit for each 4 KiB page of guest-physical addresses, byte n / 8, bit n % 8, set
 * atomically in memory that others map and clear (vhost-user: SET_LOG_BASE). */
typedef struct VdsDirtyLog VdsDirtyLog;
enum { VDS_DIRTY_PAGE = 4096 };

/* `len` bytes of the file, not 0, from any offset; gpa and uva do not count.  OVERFLOW,
 * SHORT, MAP, QUOTA. */
VdsDirtyLog *vds_dirty_log_new(const VdsGuestRegion *where, GError **error);
VdsDirtyLog *vds_dirty_log_ref(VdsDirtyLog *log); /* atomic count; NULL gives NULL */
void vds_dirty_log_unref(VdsDirtyLog *log);       /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsDirtyLog, vds_dirty_log_unref)
uint64_t vds_dirty_log_get_len(const VdsDirtyLog *log); /* bytes */
/* An eventfd (transfer full), non-blocking, -1: none.  Any thread. */
void vds_dirty_log_set_call_fd(VdsDirtyLog *log, int fd);

/* The same memory; what is written through this map is marked in the log (nullable: no
 * more), behind the bytes.  Maps with a region more or less keep it.  LOG: too short for
 * the highest address. */
VdsGuestMap *vds_guest_map_with_log(const VdsGuestMap *map, VdsDirtyLog *log,
                                    GError **error);
/* For words stored through an area, which marks nothing by itself.  Nothing without a
 * log, or beyond it. */
void vds_guest_map_mark(const VdsGuestMap *map, uint64_t gpa, uint64_t len);
bool vds_guest_map_is_logged(const VdsGuestMap *map);
/* Behind a batch: signals the log's eventfd if anything was marked since the last time;
 * a signal that cannot be sent is none.  Nothing without a log. */
void vds_guest_map_tell_log(const VdsGuestMap *map);

VdsGuestMap *vds_guest_map_ref(VdsGuestMap *map); /* atomic count; NULL gives NULL */
void vds_guest_map_unref(VdsGuestMap *map);       /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsGuestMap, vds_guest_map_unref)

bool vds_guest_map_is_writable(const VdsGuestMap *map);
size_t vds_guest_map_count(const VdsGuestMap *map);
/* By gpa; fd is -1, the map keeps no number.  (nullable) */
const VdsGuestRegion *vds_guest_map_nth(const VdsGuestMap *map, size_t n);

/* Where [uva, uva + len) of the front-end lies; false when it is not all mapped, or in
 * pieces. */
bool vds_guest_map_uva_to_gpa(const VdsGuestMap *map, uint64_t uva, uint64_t len,
                              uint64_t *gpa);

/* true if all of [gpa, gpa + len) is mapped; an end beyond 2^64 is not.  Touching regions
 * count as one; nothing (len 0) is mapped everywhere. */
bool vds_guest_map_has(const VdsGuestMap *map, uint64_t gpa, uint64_t len);

/* Copies `len` bytes, split at region borders.  UNMAPPED before the first byte is
 * copied if any is outside. */
bool vds_guest_map_read(const VdsGuestMap *map, uint64_t gpa, void *to, size_t len,
                        GError **error);
/* n little-endian words, into host order.  Every byte is read once; a word that one
 * region holds and that is aligned in the host is one relaxed atomic load.  UNMAPPED or
 * VANISHED as above, and the content of `to` is then undefined. */
bool vds_guest_map_read_u16(const VdsGuestMap *map, uint64_t gpa, uint16_t *to, size_t n,
                            GError **error);
bool vds_guest_map_read_u64(const VdsGuestMap *map, uint64_t gpa, uint64_t *to, size_t n,
                            GError **error);

/* Copies `len` bytes into guest memory, split at region borders; an aligned word is one
 * relaxed atomic store.  UNMAPPED or READ_ONLY before the first byte; VANISHED: some may
 * have been written. */
bool vds_guest_map_write(const VdsGuestMap *map, uint64_t gpa, const void *from,
                         size_t len, GError **error);
/* Between guest memory and a file, moved by the system itself with no copy in between.
 * `flags` as preadv2(2) has them. */
typedef struct {
    int fd;
    uint64_t offset;
    int flags;
} VdsGuestFile;
/* How many of `len` bytes moved, from the first on: fewer at the end of a region, of the
 * file, or where either would have to be waited for; 0 for whatever reason.  Who needs
 * the others, or the reason, takes another way. */
size_t vds_guest_map_read_file(const VdsGuestMap *map, uint64_t gpa, size_t len,
                               const VdsGuestFile *file); /* into guest memory */
size_t vds_guest_map_write_file(const VdsGuestMap *map, uint64_t gpa, size_t len,
                                const VdsGuestFile *file);
/* Makes [gpa, gpa + len) zeroes and gives whole pages back to the system (balloons, freed
 * RAM).  UNMAPPED, READ_ONLY, VANISHED. */
bool vds_guest_map_discard(const VdsGuestMap *map, uint64_t gpa, uint64_t len,
                           GError **error);

/* ---- VdsGuestArea: a range looked up once ------------------------------------------ */

/* For words that are loaded and stored for every request.  Plain; valid while the map is
 * referenced.  Offsets are the caller's to keep inside `len`, and multiples of the
 * word's size.  Values are in host order, memory in little-endian.
 *
 * With `direct` an access is one atomic instruction; without (the range crosses regions,
 * is not aligned in the host, or is RAM of our own in a file that can be cut short, and
 * grow again) the ordering is the same and the word may be torn.
 *
 * Memory that its owner took away reads as zeroes then, and what is stored is lost; who
 * has a batch of accesses behind him asks whether the area was whole.  It is not again.
 */
typedef struct {
    const VdsGuestMap *map; /* borrowed */
    uint64_t gpa, len;
    uint8_t *direct;       /* (nullable) this room's own: see above */
    const uintptr_t *gone; /* (nullable) its own, too: where that begins */
} VdsGuestArea;

/* `align`: what the host address must be a multiple of for `direct`.  UNMAPPED,
 * READ_ONLY. */
bool vds_guest_area_init(VdsGuestArea *area, const VdsGuestMap *map, uint64_t gpa,
                         uint64_t len, unsigned align, GError **error);

static inline bool vds_guest_area_is_whole(const VdsGuestArea *area)
{
    if (G_LIKELY(!area->gone)) {
        return true;
    }
    /* Acquire fence: the note is looked for after every load of the batch. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(area->gone, __ATOMIC_RELAXED) >=
           (uintptr_t)area->direct + area->len;
}

bool vds_guest_area_check(const VdsGuestArea *area, GError **error); /* VANISHED */

/* The ways around: VANISHED.  Every load is an acquire, every store a release. */
bool vds_guest_area_load(const VdsGuestArea *area, uint64_t offset, void *to, size_t len,
                         GError **error);
bool vds_guest_area_store(const VdsGuestArea *area, uint64_t offset, const void *from,
                          size_t len, GError **error);

#define VDS_GUEST_AREA_LOAD(bits, suffix, order)                                         \
    static inline bool vds_guest_area_load_u##bits##suffix(                              \
        const VdsGuestArea *area, uint64_t offset, uint##bits##_t *value,                \
        GError **error)                                                                  \
    {                                                                                    \
        uint##bits##_t word = 0;                                                         \
                                                                                         \
        if (G_LIKELY(area->direct)) {                                                    \
            word = __atomic_load_n(                                                      \
                (const uint##bits##_t *)(const void *)(area->direct + offset), order);   \
        } else if (!vds_guest_area_load(area, offset, &word, sizeof(word), error)) {     \
            return false;                                                                \
        }                                                                                \
        *value = GUINT##bits##_FROM_LE(word);                                            \
        return true;                                                                     \
    }

#define VDS_GUEST_AREA_STORE(bits, suffix, order)                                        \
    static inline bool vds_guest_area_store_u##bits##suffix(                             \
        const VdsGuestArea *area, uint64_t offset, uint##bits##_t value, GError **error) \
    {                                                                                    \
        const uint##bits##_t word = GUINT##bits##_TO_LE(value);                          \
                                                                                         \
        if (G_LIKELY(area->direct)) {                                                    \
            __atomic_store_n((uint##bits##_t *)(void *)(area->direct + offset), word,    \
                             order);                                                     \
            return true;                                                                 \
        }                                                                                \
        return vds_guest_area_store(area, offset, &word, sizeof(word), error);           \
    }

/* bool vds_guest_area_load_u16(area, offset, uint16_t *value, error), and so on:
 * VANISHED, value untouched.  _acquire: what the other side stored before the word is
 * seen by every later load; _release: who acquires the word sees everything stored
 * before. */
VDS_GUEST_AREA_LOAD(16, , __ATOMIC_RELAXED)
VDS_GUEST_AREA_LOAD(16, _acquire, __ATOMIC_ACQUIRE)
VDS_GUEST_AREA_LOAD(32, , __ATOMIC_RELAXED)
VDS_GUEST_AREA_LOAD(64, , __ATOMIC_RELAXED)
VDS_GUEST_AREA_LOAD(64, _acquire, __ATOMIC_ACQUIRE)
VDS_GUEST_AREA_STORE(16, , __ATOMIC_RELAXED)
VDS_GUEST_AREA_STORE(16, _release, __ATOMIC_RELEASE)
VDS_GUEST_AREA_STORE(32, , __ATOMIC_RELAXED)
VDS_GUEST_AREA_STORE(32, _release, __ATOMIC_RELEASE)
VDS_GUEST_AREA_STORE(64, , __ATOMIC_RELAXED)
VDS_GUEST_AREA_STORE(64, _release, __ATOMIC_RELEASE)

/* ---- VdsGuestWindow: where buffers are, mostly ----------------------------------------
 */

/* A map as a device sees it, who works in the memory instead of looking at it, with the
 * region that was reached last: the next buffer is most often in there.  Plain; the map
 * is borrowed and writable.  One thread at a time.  Memory that vanishes is noted as
 * under areas. */
typedef struct {
    const VdsGuestMap *map;
    /* The room's own. */
    uint64_t first, last;  /* of the region; first > last: none yet */
    uint8_t *direct;       /* its first byte */
    const uintptr_t *gone; /* (nullable) */
} VdsGuestWindow;

static inline void vds_guest_window_init(VdsGuestWindow *window, const VdsGuestMap *map)
{
    *window = (VdsGuestWindow){.map = map, .first = 1};
}

/* Is all of it in there?  len is not 0. */
static inline bool vds_guest_window_holds(const VdsGuestWindow *window, uint64_t gpa,
                                          uint64_t len)
{
    return gpa >= window->first && gpa <= window->last && len - 1 <= window->last - gpa;
}

/* Looks for it elsewhere; as vds_guest_map_has(). */
bool vds_guest_window_find(VdsGuestWindow *window, uint64_t gpa, uint64_t len);

static inline bool vds_guest_window_has(VdsGuestWindow *window, uint64_t gpa,
                                        uint64_t len)
{
    return G_LIKELY(vds_guest_window_holds(window, gpa, len)) ||
           vds_guest_window_find(window, gpa, len);
}

/* As vds_guest_area_init(), for what is used once: a table of descriptors. */
static inline bool vds_guest_window_area(const VdsGuestWindow *window, VdsGuestArea *area,
                                         uint64_t gpa, uint64_t len, unsigned align)
{
    uint64_t at = gpa - window->first;

    if (G_UNLIKELY(len == 0 || !vds_guest_window_holds(window, gpa, len) ||
                   ((uintptr_t)window->direct + at) % align != 0)) {
        return vds_guest_area_init(area, window->map, gpa, len, align, NULL);
    }
    *area = (VdsGuestArea){window->map, gpa, len, window->direct + at, window->gone};
    return true;
}

/* As vds_guest_map_read() and vds_guest_map_write(). */
bool vds_guest_window_read(VdsGuestWindow *window, uint64_t gpa, void *to, size_t len,
                           GError **error);
bool vds_guest_window_write(VdsGuestWindow *window, uint64_t gpa, const void *from,
                            size_t len, GError **error);

/* ---- VdsGuestRam: memory of our own, for others to map -------------------------------
 */

/* Guest-physical addresses 0 to size; the file's offset is the address.  Pages that
 * nobody touched cost nothing. */
typedef enum {
    VDS_GUEST_RAM_MEMFD,   /* a memfd */
    VDS_GUEST_RAM_FILE,    /* `path`: a file, made when it is not there, or a directory */
    VDS_GUEST_RAM_PRIVATE, /* anonymous: nobody else can map it */
} VdsGuestRamKind;

typedef struct {
    VdsGuestRamKind kind;
    uint64_t size;      /* bytes; rounded up to whole pages */
    const char *path;   /* FILE */
    const char *name;   /* (nullable) MEMFD: as /proc shows it */
    bool seal;          /* MEMFD: F_SEAL_SHRINK and F_SEAL_GROW */
    bool copy_on_write; /* FILE, MEMFD: share=off, what we write nobody else sees */
} VdsGuestRamConfig;

typedef struct VdsGuestRam VdsGuestRam;

VdsGuestRam *vds_guest_ram_new(const VdsGuestRamConfig *config, GError **error); /* RAM */
void vds_guest_ram_free(
    VdsGuestRam *ram); /* NULL is fine; maps that are referenced live on */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsGuestRam, vds_guest_ram_free)

VdsGuestMap *vds_guest_ram_get_map(const VdsGuestRam *ram); /* borrowed; writable */
int vds_guest_ram_get_fd(const VdsGuestRam *ram);           /* borrowed; -1: private */
uint64_t vds_guest_ram_get_size(const VdsGuestRam *ram);
uint64_t vds_guest_ram_get_allocated(VdsGuestRam *ram); /* bytes handed out */

/* A run of whole zeroed pages of at least `bytes` (not 0), its address a multiple of
 * `align` (a power of two; at least a page is granted).  Never address 0.  FULL.  Any
 * thread. */
bool vds_guest_ram_alloc(VdsGuestRam *ram, uint64_t bytes, uint64_t align, uint64_t *gpa,
                         GError **error);
/* Gives back what vds_guest_ram_alloc() gave at `gpa`, and its pages to the system. */
void vds_guest_ram_release(VdsGuestRam *ram, uint64_t gpa);
