/*
 * util: a patient way to lock a mutex.  Knows nothing of what the mutex is for.
 */
#include "vds/util.h"

/* About ten microseconds where a pause is 140 cycles, a few where it is short. */
enum { TRIES = 256 };

static inline void pause_a_moment(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

void vds_mutex_lock_soon(pthread_mutex_t *mutex)
{
    for (unsigned i = 0; i < TRIES; i++) {
        if (pthread_mutex_trylock(mutex) == 0) {
            return;
        }
        pause_a_moment();
    }
    pthread_mutex_lock(mutex); /* who holds it has no processor */
}
