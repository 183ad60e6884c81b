/*
 * util: a mutex that one thread has often and for a few microseconds, and others seldom:
 * a patient way to lock it, and a polite one.  Knows nothing of what it is for.
 */
#include "vds/util.h"

/* About ten microseconds where a pause is 140 cycles, a few where it is short; and three.
 */
enum { TRIES = 256, MOMENT = 64 };

static inline void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static void lock_soon(pthread_mutex_t *mutex)
{
    for (unsigned i = 0; i < TRIES; i++) {
        if (pthread_mutex_trylock(mutex) == 0) {
            return;
        }
        pause_a_moment();
    }
    pthread_mutex_lock(mutex); /* who holds it has no processor */
}

void vds_mutex_visit(pthread_mutex_t *mutex, atomic_uint *visitors)
{
    atomic_fetch_add_explicit(visitors, 1, memory_order_relaxed);
    lock_soon(mutex);
}

void vds_mutex_leave(pthread_mutex_t *mutex, atomic_uint *visitors)
{
    pthread_mutex_unlock(mutex);
    atomic_fetch_sub_explicit(visitors, 1, memory_order_relaxed);
}

bool vds_mutex_let_by(const atomic_uint *visitors)
{
    unsigned i = 0;

    while (atomic_load_explicit(visitors, memory_order_relaxed) != 0) {
        if (i++ == MOMENT) {
            return false;
        }
        pause_a_moment();
    }
    return true;
}
