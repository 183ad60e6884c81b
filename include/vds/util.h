/*
 * util: what C11 and GLib lack, and nothing of virtio or QMP.
 *
 * Descriptor guards, a byte buffer that is consumed from the front, an arena that owns
 * everything one request allocates, the property set that the command line and
 * device_add have in common, and threads that run an epoll loop.  The nouns of this room
 * drop the room's name.
 */
#pragma once

#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- descriptors --------------------------------------------------------------- */

/* Closes *fd unless it is negative, and makes it -1. */
static inline void vds_fd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* Hands the descriptor over: the variable no longer owns it. */
static inline int vds_fd_steal(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* `VDS_AUTO_FD fd = open(...)`: closed when the scope ends, unless stolen. */
#define VDS_AUTO_FD __attribute__((cleanup(vds_fd_close))) int

/* What a descriptor is that came from another process; its file system is not asked. */
typedef enum {
    VDS_FD_FILE,   /* of a file system or a device: anything may block */
    VDS_FD_MEMORY, /* memfd, tmpfs, hugetlbfs (they have seals) */
    VDS_FD_SOCKET,
    VDS_FD_PIPE, /* or a FIFO */
    VDS_FD_EVENTFD,
} VdsFdKind;
VdsFdKind vds_fd_kind(int fd);
/* A network interface of tun or tap; nobody is asked either. */
bool vds_fd_is_tap(int fd);
/* As /proc has it: a path, "socket:[1234]".  (transfer full); empty: it has no name */
char *vds_fd_describe(int fd);

/* Closes descriptors that came from another process and may be files of a file system
 * that never answers: those on threads of its own, at most 16, the others at once.  Any
 * thread.
 */
typedef struct VdsCloser VdsCloser;
VdsCloser *vds_closer_new(void);
/* Waits for nothing: threads that cannot end stay.  NULL is fine */
void vds_closer_free(VdsCloser *closer);
/* *fd (transfer full) becomes -1.  Without a closer: at once. */
void vds_closer_close(VdsCloser *closer, int *fd);
/* All threads wait: whoever hands over files should have to wait, too. */
bool vds_closer_is_full(VdsCloser *closer);

/* ---- VdsBuf: bytes, appended at the end and consumed from the front --------------- */

typedef struct {
    uint8_t *data; /* (nullable) start of the allocation */
    size_t head;   /* consumed bytes at the start of data */
    size_t end;    /* one past the last valid byte; end >= head */
    size_t cap;    /* bytes allocated */
} VdsBuf;

void vds_buf_clear(VdsBuf *buf); /* frees; the buffer may be used again */
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VdsBuf, vds_buf_clear)

static inline size_t vds_buf_len(const VdsBuf *buf)
{
    return buf->end - buf->head;
}

static inline const uint8_t *vds_buf_bytes(const VdsBuf *buf)
{
    return buf->data ? buf->data + buf->head : buf->data;
}

/* Makes room for at least n more bytes and returns where they go.  Commit them with
 * vds_buf_commit().  Aborts only when memory is exhausted, as g_malloc does. */
uint8_t *vds_buf_reserve(VdsBuf *buf, size_t n);

static inline void vds_buf_commit(VdsBuf *buf, size_t n)
{
    buf->end += n;
}

void vds_buf_append(VdsBuf *buf, const void *bytes, size_t n);

/* Drops n bytes from the front; n <= vds_buf_len().  An emptied buffer that had grown
 * large gives its memory back. */
void vds_buf_consume(VdsBuf *buf, size_t n);

/* ---- VdsArena: memory that lives until the request is answered -------------------- */

/* What a reply or a parsed argument points to comes from the call's arena or outlives
 * the call (string constants do).  Nothing in an arena is freed on its own. */
typedef struct VdsArena VdsArena;

VdsArena *vds_arena_new(void);
void vds_arena_free(VdsArena *arena); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsArena, vds_arena_free)

/* Zeroed, aligned for any type; size 0 gives a valid pointer.  The caller bounds sizes
 * that come from outside. */
void *vds_arena_alloc(VdsArena *arena, size_t size);
/* n * size with the product checked; aborts on overflow, as g_malloc_n does. */
void *vds_arena_alloc_n(VdsArena *arena, size_t n, size_t size);
char *vds_arena_strndup(VdsArena *arena, const char *text, size_t len); /* NUL added */
char *vds_arena_strdup(VdsArena *arena, const char *text); /* NULL gives NULL */
char *vds_arena_printf(VdsArena *arena, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Runs free_func(object) at the next reset or free: for what is not plain memory. */
void vds_arena_own(VdsArena *arena, GDestroyNotify free_func, void *object);
/* Everything allocated is gone; one block is kept for the next request. */
void vds_arena_reset(VdsArena *arena);

/* ---- VdsProps: an ordered set of named values ---------------------------------------
 */

/* One `key=value,...` list or one flat JSON object.  Nested JSON arrives flattened with
 * dotted names ("file.driver", "list.0"), as QEMU's keyval syntax spells them. */
typedef enum {
    VDS_PROP_STRING, /* text; the only kind that `key=value` gives */
    VDS_PROP_BOOL,
    VDS_PROP_INT,
    VDS_PROP_UINT, /* above INT64_MAX only */
    VDS_PROP_NUMBER,
    VDS_PROP_NULL,
    VDS_PROP_OBJECT, /* of results only: options are flat */
} VdsPropKind;

typedef struct VdsProps VdsProps;

typedef struct {
    char *name;
    VdsPropKind kind;
    char
        *text; /* STRING: the value, never NULL; OBJECT: NULL; else: how it was written */
    union {
        bool boolean;
        int64_t integer;
        uint64_t uinteger;
        double number;
        VdsProps *members; /* owned */
    } u;
} VdsProp;

/* Frees what the value holds, not the struct. */
void vds_prop_clear(VdsProp *prop);
/* Make the value of one that has none yet. */
void vds_prop_show_string(VdsProp *prop, char *text); /* (transfer full) NULL is "" */
void vds_prop_show_bool(VdsProp *prop, bool value);
void vds_prop_show_uint(VdsProp *prop, uint64_t value);
void vds_prop_show_object(VdsProp *prop, VdsProps *members); /* (transfer full) */

VdsProps *vds_props_new(void);
void vds_props_free(VdsProps *props); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsProps, vds_props_free)
VdsProps *vds_props_copy(const VdsProps *props); /* (transfer full) */

/* Setters replace an earlier value of that name in place (the last one wins, as in
 * QEMU's keyval). */
void vds_props_set_string(VdsProps *props, const char *name, const char *value);
void vds_props_set_bool(VdsProps *props, const char *name, bool value);
void vds_props_set_int(VdsProps *props, const char *name, int64_t value);
void vds_props_set_uint(VdsProps *props, const char *name, uint64_t value);
void vds_props_set_number(VdsProps *props, const char *name, double value);
void vds_props_set_null(VdsProps *props, const char *name);
void vds_props_set_object(VdsProps *props, const char *name,
                          VdsProps *members); /* (transfer full) */

unsigned vds_props_count(const VdsProps *props);
const VdsProp *vds_props_nth(const VdsProps *props, unsigned n);        /* n < count */
const VdsProp *vds_props_find(const VdsProps *props, const char *name); /* (nullable) */
/* (nullable) the text of a STRING value; NULL when absent or of another kind */
const char *vds_props_get_string(const VdsProps *props, const char *name);

/* ---- numbers ------------------------------------------------------------------------
 */

/* Values of options and properties.  On error: VDS_UTIL_ERROR_VALUE, the message names
 * the culprit `name`, what was expected and what was found. */
#define VDS_UTIL_ERROR (vds_util_error_quark())
GQuark vds_util_error_quark(void);
typedef enum {
    VDS_UTIL_ERROR_VALUE,
    VDS_UTIL_ERROR_SYSTEM, /* the kernel refused a thread, a descriptor, a watch, a socket
                            */
    VDS_UTIL_ERROR_ADDRESS, /* a path that no UNIX socket can have */
    VDS_UTIL_ERROR_IN_USE,  /* another process listens there */
} VdsUtilError;

/* g_set_error() for `return`: false. */
bool vds_refuse(GError **error, GQuark domain, int code, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* Decimal or 0x-hexadecimal, min..max, from a string or a JSON integer. */
bool vds_prop_get_uint(const VdsProp *prop, uint64_t min, uint64_t max, uint64_t *value,
                       GError **error);
/* on/off/yes/no/true/false (QEMU's words) from a string, or a JSON boolean. */
bool vds_prop_get_bool(const VdsProp *prop, bool *value, GError **error);
/* A size: digits with an optional B, K, M, G, T, P or E suffix, as QEMU reads it (no
 * suffix: bytes times default_unit). */
bool vds_prop_get_size(const VdsProp *prop, uint64_t default_unit, uint64_t *value,
                       GError **error);

/* ---- names in messages ----------------------------------------------------------- */

/* A stranger's name goes into a message cut to this many bytes. */
#define VDS_NAME_MAX 128

/* How many bytes of `name` a message shows: at most VDS_NAME_MAX, never half a UTF-8
 * sequence.  Use as the precision of "%.*s". */
int vds_name_len(const char *name);
/* QEMU's identifiers: letters, digits, '-', '.', '_', beginning with a letter. */
bool vds_id_is_well_formed(const char *id);

/* ---- threads ---------------------------------------------------------------------- */

/* What threads share is under pthread mutexes and C11 atomics: GLib's locks cannot be
 * seen by ThreadSanitizer where GLib was built without it. */

/* An error domain that two threads may ask for at once (G_DEFINE_QUARK keeps its answer
 * in a plain static). */
#define VDS_DEFINE_QUARK(func, text)                                                     \
    GQuark func(void)                                                                    \
    {                                                                                    \
        return g_quark_from_static_string(text);                                         \
    }

static inline pthread_mutex_t *vds_mutex_lock(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}

static inline void vds_mutex_release(pthread_mutex_t **mutex)
{
    pthread_mutex_unlock(*mutex);
}

/* Holds the mutex until the scope ends. */
#define VDS_LOCK_SCOPE(mutex)                                                            \
    __attribute__((cleanup(vds_mutex_release), unused)) pthread_mutex_t *vds_scope =     \
        vds_mutex_lock(mutex)

/* For a mutex that one thread takes again and again, for a few microseconds at most.  A
 * visitor looks again for as long before it sleeps: to sleep and be woken from another
 * processor takes ten times that.  `visitors` counts those who want it and have it. */
void vds_mutex_visit(pthread_mutex_t *mutex, atomic_uint *visitors);
void vds_mutex_leave(pthread_mutex_t *mutex, atomic_uint *visitors);
/* For the one thread, before it takes the mutex: gives visitors, whose processor has not
 * heard yet that it was free, three microseconds.  false: they need longer. */
bool vds_mutex_let_by(const atomic_uint *visitors);

typedef void (*VdsTaskFunc)(void *user);

/* ---- VdsPatience: functions that may wait for a file system -------------------------
 */

/* Counted, any thread. */
typedef struct VdsPatience VdsPatience;

typedef struct {
    /* (nullable) while a function of this key has not returned, another one is refused */
    const char *key;
    VdsTaskFunc func;
    void *user;
    GDestroyNotify
        user_free; /* (nullable) frees `user` when the function came too late */
} VdsPatienceTask;

VdsPatience *vds_patience_new(void);
VdsPatience *vds_patience_ref(VdsPatience *patience);
void vds_patience_unref(VdsPatience *patience); /* NULL is fine */
/* Each function has at least so many milliseconds: for times when nobody else waits. */
void vds_patience_set_least(VdsPatience *patience, unsigned ms);
/* Runs the function on a thread of its own and waits for it, `ms` milliseconds at most,
 * or 5 while others are left alone.  false: it has not returned, or was not started, and
 * `user` is no longer the caller's. */
bool vds_patience_run(VdsPatience *patience, const VdsPatienceTask *task, unsigned ms);
/* open(2) with O_CLOEXEC; ETIMEDOUT: the file system has not answered. */
int vds_patience_open(VdsPatience *patience, const char *path, int flags, mode_t mode,
                      unsigned ms);

/* ---- UNIX sockets ------------------------------------------------------------------ */

/* A listening socket, non-blocking; its file is 0600 from its first moment, replaces a
 * stale one, never a live one and never another kind of file.  *identity is for
 * vds_unix_unlink().  -1: ADDRESS, IN_USE, SYSTEM. */
int vds_unix_listen(const char *path, struct stat *identity, GError **error);
/* Waits for nothing: a full backlog is an error.  -1 as above. */
int vds_unix_connect(const char *path, GError **error);
/* Removes the file if it is still the one that was made. */
void vds_unix_unlink(const char *path, const struct stat *identity);

/* ---- VdsMailbox: functions for another thread to run --------------------------------
 */

/* Any thread posts; one thread watches the descriptor and runs. */
typedef struct VdsMailbox VdsMailbox;

VdsMailbox *vds_mailbox_new(GError **error); /* SYSTEM */
/* NULL is fine.  Runs what still waits: nothing that was posted is lost. */
void vds_mailbox_free(VdsMailbox *box);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsMailbox, vds_mailbox_free)
/* Readable while something waits. */
int vds_mailbox_get_fd(const VdsMailbox *box);
void vds_mailbox_post(VdsMailbox *box, VdsTaskFunc func, void *user);
bool vds_mailbox_has_task(VdsMailbox *box);
/* Runs what waits now, in the order of posting; returns how many. */
unsigned vds_mailbox_run(VdsMailbox *box);

/* ---- VdsSignaller: eventfds whose other side means harm ------------------------------
 */

/* Signals without ever waiting, though the other side may have filled the counter and
 * made it blocking.  Costs a few words until the first signal. */
typedef struct VdsSignaller VdsSignaller;

VdsSignaller *vds_signaller_new(void);
void vds_signaller_free(VdsSignaller *signaller); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsSignaller, vds_signaller_free)
/* A counter that is full is told, too; what is no eventfd may not be.  Any thread. */
void vds_signaller_signal(VdsSignaller *signaller, int fd);
/* As read(), but what would wait is EAGAIN, whatever the descriptor's flags are. */
ssize_t vds_read_now(int fd, void *bytes, size_t len);

/* ---- VdsIoThread: an epoll loop on a thread of its own ------------------------------
 */

/* Costs a few words until it is started: a process forks first and has threads later. */
typedef struct VdsIoThread VdsIoThread;

VdsIoThread *vds_io_thread_new(const char *name);
VdsIoThread *vds_io_thread_ref(VdsIoThread *thread); /* atomic count; NULL gives NULL */
/* The last one runs what was posted, stops and joins; never on the thread itself. */
void vds_io_thread_unref(VdsIoThread *thread); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsIoThread, vds_io_thread_unref)
const char *vds_io_thread_get_name(const VdsIoThread *thread);
/* Again: nothing.  SYSTEM. */
bool vds_io_thread_start(VdsIoThread *thread, GError **error);
/* 0 before the start, then the kernel's number of the thread. */
int64_t vds_io_thread_get_id(VdsIoThread *thread);
bool vds_io_thread_is_current(VdsIoThread *thread);
/* From any thread once it is started; in order. */
void vds_io_thread_post(VdsIoThread *thread, VdsTaskFunc func, void *user);
/* Returns when func has run there; on the thread itself it runs at once.  Not from a
 * thread that this one waits for. */
void vds_io_thread_call(VdsIoThread *thread, VdsTaskFunc func, void *user);
/* By the thread's signaller.  Any thread. */
void vds_io_thread_signal(VdsIoThread *thread, int fd);

/* Watches and timers are made, changed and freed on their thread.  Freeing is safe in any
 * callback; the descriptor stays the caller's, who frees the watch before closing it. */
typedef struct VdsIoWatch VdsIoWatch;
typedef void (*VdsIoFunc)(uint32_t events, void *user);

/* events: EPOLLIN, EPOLLOUT, ...; level-triggered.  SYSTEM. */
VdsIoWatch *vds_io_watch_new(VdsIoThread *thread, int fd, uint32_t events, VdsIoFunc func,
                             void *user, GError **error);
void vds_io_watch_set_events(VdsIoWatch *watch, uint32_t events);
void vds_io_watch_free(VdsIoWatch *watch); /* NULL is fine */

/* Before a thread sleeps it may look for work by itself, for a time that adapts, by
 * QEMU's rule: longer while that would have found something, shorter or not at all while
 * work is rare.  Each is 0 at first.  Any thread; counts from the next turn on. */
typedef enum {
    VDS_POLL_MAX_NS, /* 0: it never looks */
    VDS_POLL_GROW,   /* by what the time is multiplied; 0: by 2 */
    VDS_POLL_SHRINK, /* by what it is divided; 0: no time is left */
    VDS_POLL_LIMITS,
} VdsPollLimit;

void vds_io_thread_set_poll(VdsIoThread *thread, VdsPollLimit limit, uint64_t value);
uint64_t vds_io_thread_get_poll(const VdsIoThread *thread, VdsPollLimit limit);
/* The rule: how long to look the next time, when it was `ns` and work came after
 * `waited_ns`. */
uint64_t vds_poll_adapt(const uint64_t limits[VDS_POLL_LIMITS], uint64_t ns,
                        uint64_t waited_ns);

/* What to look at.  Made and freed on the thread, not in these functions. */
typedef struct {
    /* We look from now on: whoever makes work need not ring. */
    void (*begin)(void *user);
    bool (*look)(void *user); /* does what there is to do; true: there was something */
    /* We sleep unless we are rung; true: something came in between. */
    bool (*end)(void *user);
} VdsIoPollOps;

typedef struct VdsIoPoll VdsIoPoll;
VdsIoPoll *vds_io_poll_new(VdsIoThread *thread, const VdsIoPollOps *ops, void *user);
void vds_io_poll_free(VdsIoPoll *poll); /* NULL is fine */

typedef struct VdsIoTimer VdsIoTimer;

VdsIoTimer *vds_io_timer_new(VdsIoThread *thread, VdsTaskFunc func, void *user,
                             GError **error); /* SYSTEM; off at first */
/* first_ns 0: off; every_ns 0: once. */
void vds_io_timer_set(VdsIoTimer *timer, uint64_t first_ns, uint64_t every_ns);
void vds_io_timer_free(VdsIoTimer *timer); /* NULL is fine */
