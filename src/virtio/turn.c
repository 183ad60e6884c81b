/*
 * virtio: VdsTurn, the time that a device may take of its I/O thread at once.  Whoever
 * waits for the thread (a front-end's message, the main loop) waits for one turn.  Knows
 * neither devices nor queues.
 */
#include <time.h>

#include "device-priv.h"

static const uint64_t turn_ns = 2 * 1000000;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool vds_turn_is_over(VdsTurn *turn)
{
    uint64_t now;

    if (turn->over) {
        return true;
    }
    now = now_ns();
    if (turn->end_ns == 0) {
        turn->end_ns = now + turn_ns;
    }
    turn->over = now >= turn->end_ns;
    return turn->over;
}
