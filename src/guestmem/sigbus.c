/*
 * guestmem: the SIGBUS guard, the one mutable global of the program.
 *
 * Shared memory ends where its file ends, and the file's owner may cut it at any time;
 * an access beyond the end then raises SIGBUS in this thread.  A guarded copy names the
 * shared bytes it is about to touch in a thread-local cursor; the handler jumps back when
 * the fault is one of them and lets every other SIGBUS be what it would have been.
 * Refuses to know regions and guest addresses.
 */
#include "sigbus-priv.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

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

static void on_sigbus(int number, siginfo_t *info, void *context)
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
