/*
 * guestmem: the SIGBUS guard, the one mutable global of the program.
 *
 * Shared memory ends where its file ends, and the file's owner may cut it at any time;
 * an access beyond the end then raises SIGBUS in this thread.  A guarded copy names the
 * shared bytes it is about to touch in a thread-local cursor; the handler jumps back when
 * the fault is one of them.  It changes nothing: that is for who only looks.  A watched
 * mapping is for who works in it: the handler puts zeroes where the file was and notes
 * that.  Every other SIGBUS is what it would have been.  Refuses to know regions and
 * guest addresses.
 */
#include "sigbus-priv.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* A fault may come in the middle of a sanitizer's own lock. */
#ifdef __has_attribute
#if __has_attribute(disable_sanitizer_instrumentation)
#define IN_HANDLER __attribute__((disable_sanitizer_instrumentation))
#endif
#endif
#ifndef IN_HANDLER
#define IN_HANDLER
#endif

typedef struct {
    uintptr_t start, end; /* the shared bytes of the copy */
    sigjmp_buf env;
} SigbusGuard;

/* initial-exec: a handler may not run the lazy allocation of the dynamic model.
 * volatile: the handler reads it at any instruction of this thread. */
static _Thread_local SigbusGuard *volatile cursor
    __attribute__((tls_model("initial-exec")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction previous;

/* ---- watched mappings: a table that a handler can read ---- */

/* Written under the mutex, read by handlers without: a slot whose version is odd, or was
 * another afterwards, is being changed, and so is not that of the mapping at fault, which
 * its user keeps.  Chunks stay for ever. */
typedef struct {
    atomic_uint version;
    _Atomic uintptr_t start, end;
    _Atomic(VdsSigbusRange *) range; /* NULL: free */
} Slot;

enum { CHUNK = 64 };
typedef struct Chunk {
    Slot slots[CHUNK];
    _Atomic(struct Chunk *) next;
} Chunk;

static pthread_mutex_t watching = PTHREAD_MUTEX_INITIALIZER;
static Chunk watched;

/* The slot with this range (NULL: a free one), or NULL. */
static Slot *find_slot(const VdsSigbusRange *range)
{
    for (Chunk *chunk = &watched; chunk; chunk = atomic_load(&chunk->next)) {
        for (unsigned i = 0; i < CHUNK; i++) {
            if (atomic_load(&chunk->slots[i].range) == range) {
                return &chunk->slots[i];
            }
        }
    }
    return NULL;
}

static Slot *add_chunk(void)
{
    Chunk *last = &watched, *chunk = calloc(1, sizeof(*chunk));

    if (!chunk) {
        abort(); /* as g_malloc does */
    }
    while (atomic_load(&last->next)) {
        last = atomic_load(&last->next);
    }
    atomic_store(&last->next, chunk);
    return &chunk->slots[0];
}

static void set_slot(Slot *slot, VdsSigbusRange *range)
{
    atomic_fetch_add(&slot->version, 1);
    atomic_store(&slot->range, range);
    atomic_store(&slot->start, range ? range->start : 0);
    atomic_store(&slot->end, range ? range->end : 0);
    atomic_fetch_add(&slot->version, 1);
}

void vds_sigbus_watch(VdsSigbusRange *range)
{
    Slot *slot;

    __atomic_store_n(&range->gone, UINTPTR_MAX, __ATOMIC_RELAXED);
    pthread_mutex_lock(&watching);
    slot = find_slot(NULL);
    set_slot(slot ? slot : add_chunk(), range);
    pthread_mutex_unlock(&watching);
}

void vds_sigbus_unwatch(VdsSigbusRange *range)
{
    pthread_mutex_lock(&watching);
    set_slot(find_slot(range), NULL);
    pthread_mutex_unlock(&watching);
}

/* (nullable) whose range the address is in. */
IN_HANDLER static VdsSigbusRange *find_watched(uintptr_t address)
{
    for (Chunk *chunk = &watched; chunk; chunk = atomic_load(&chunk->next)) {
        for (unsigned i = 0; i < CHUNK; i++) {
            Slot *slot = &chunk->slots[i];
            unsigned version = atomic_load(&slot->version);
            bool inside =
                address >= atomic_load(&slot->start) && address < atomic_load(&slot->end);
            VdsSigbusRange *range = atomic_load(&slot->range);

            if (inside && range && version % 2 == 0 &&
                atomic_load(&slot->version) == version) {
                return range;
            }
        }
    }
    return NULL;
}

/* In a handler: zeroes from the address's page on.  It is noted first, so that whoever
 * has read one of them, on any thread, finds the note. */
IN_HANDLER static bool replace(VdsSigbusRange *range, uintptr_t address)
{
    uintptr_t from = address / range->page * range->page;
    uintptr_t before = __atomic_load_n(&range->gone, __ATOMIC_RELAXED);
    size_t len = range->page_alone ? range->page : range->end - from;

    while (from < before &&
           !__atomic_compare_exchange_n(&range->gone, &before, from, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        /* another thread noted its own; the lower one stays */
    }
    /* The system call itself: a wrapper of mmap() may do what a handler must not. */
    return syscall(SYS_mmap, from, len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0L) != -1;
}

IN_HANDLER static bool heal(uintptr_t address)
{
    VdsSigbusRange *range = find_watched(address);
    int error = errno;
    bool healed = range && replace(range, address);

    errno = error;
    return healed;
}

/* ---- the handler ---- */

static void pass_on(int number, siginfo_t *info, void *context)
{
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else if (previous.sa_handler == SIG_DFL || info->si_code > 0) {
        /* A fault repeats itself on return (the kernel does not let one be ignored); what
         * was sent by kill() does not, so send it again. */
        sigaction(number, &previous, NULL);
        if (info->si_code <= 0) {
            raise(number);
        }
    }
}

IN_HANDLER static void on_sigbus(int number, siginfo_t *info, void *context)
{
    SigbusGuard *guard = cursor;
    uintptr_t address = (uintptr_t)info->si_addr;

    /* si_code <= 0: sent by a process, no fault of ours. */
    if (guard && info->si_code > 0 && address >= guard->start && address < guard->end) {
        /* The mask of the moment of the fault, put back here: so a sigsetjmp() that
         * nobody jumps to needs no system call. */
        pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
        siglongjmp(guard->env, 1);
    }
    if (info->si_code > 0 && heal(address)) {
        return;
    }
    pass_on(number, info, context);
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
}

void vds_sigbus_install(void)
{
    pthread_once(&once, install);
}

/* The widest access that the shared side's alignment and the rest allow: so no aligned
 * word is ever split, whatever its size. */
#define COPY_PIECES(shared, LOAD_STORE)                                                  \
    while (len > 0) {                                                                    \
        uintptr_t address_ = (uintptr_t)(shared);                                        \
                                                                                         \
        if (address_ % 8 == 0 && len >= 32) {                                            \
            do { /* bulk data: the count costs more than the copy otherwise */           \
                LOAD_STORE(uint64_t);                                                    \
                LOAD_STORE(uint64_t);                                                    \
                LOAD_STORE(uint64_t);                                                    \
                LOAD_STORE(uint64_t);                                                    \
            } while (len >= 32);                                                         \
        } else if (address_ % 8 == 0 && len >= 8) {                                      \
            LOAD_STORE(uint64_t);                                                        \
        } else if (address_ % 4 == 0 && len >= 4) {                                      \
            LOAD_STORE(uint32_t);                                                        \
        } else if (address_ % 2 == 0 && len >= 2) {                                      \
            LOAD_STORE(uint16_t);                                                        \
        } else {                                                                         \
            LOAD_STORE(uint8_t);                                                         \
        }                                                                                \
    }

#define ADVANCE(type)                                                                    \
    to += sizeof(type);                                                                  \
    from += sizeof(type);                                                                \
    len -= sizeof(type)

#define LOAD_ONE(type)                                                                   \
    do {                                                                                 \
        type word_ =                                                                     \
            __atomic_load_n((const type *)(const void *)from, __ATOMIC_RELAXED);         \
        memcpy(to, &word_, sizeof(word_));                                               \
        ADVANCE(type);                                                                   \
    } while (0)

#define STORE_ONE(type)                                                                  \
    do {                                                                                 \
        type word_;                                                                      \
        memcpy(&word_, from, sizeof(word_));                                             \
        __atomic_store_n((type *)(void *)to, word_, __ATOMIC_RELAXED);                   \
        ADVANCE(type);                                                                   \
    } while (0)

/* Not inlined: their locals change between sigsetjmp() and a jump. */
__attribute__((noinline)) void vds_relaxed_load(void *dest, const void *source,
                                                size_t len)
{
    uint8_t *to = dest;
    const uint8_t *from = source;

    COPY_PIECES(from, LOAD_ONE)
}

__attribute__((noinline)) void vds_relaxed_store(void *dest, const void *source,
                                                 size_t len)
{
    uint8_t *to = dest;
    const uint8_t *from = source;

    COPY_PIECES(to, STORE_ONE)
}

/* `shared` is the end of the copy that may vanish. */
static bool guarded_copy(void (*copy)(void *, const void *, size_t), const void *shared,
                         void *to, const void *from, size_t len)
{
    SigbusGuard guard;

    guard.start = (uintptr_t)shared;
    guard.end = (uintptr_t)shared + len;
    if (sigsetjmp(guard.env, 0) != 0) {
        cursor = NULL;
        return false;
    }
    cursor = &guard;
    /* The accesses stay between the two stores: the handler sees what the program order
     * says. */
    atomic_signal_fence(memory_order_seq_cst);
    copy(to, from, len);
    atomic_signal_fence(memory_order_seq_cst);
    cursor = NULL;
    return true;
}

bool vds_guarded_load(void *to, const void *from, size_t len)
{
    return guarded_copy(vds_relaxed_load, from, to, from, len);
}

bool vds_guarded_store(void *to, const void *from, size_t len)
{
    return guarded_copy(vds_relaxed_store, to, to, from, len);
}
