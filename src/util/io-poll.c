/*
 * util: looking for work before a thread sleeps: for how long, and who looks.  Knows
 * neither descriptors nor what work is.
 */
#include <time.h>

#include "io-poll-priv.h"

/* Where it starts from, and grows twofold. */
static const uint64_t first_ns = 4000;

struct VdsIoPoll {
    VdsIoPolls *polls; /* borrowed: it outlives what it polls */
    const VdsIoPollOps *ops;
    void *user;
    VdsIoPoll *next;
};

uint64_t vds_io_polls_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void vds_io_polls_add(VdsIoPolls *polls, VdsIoPoll *poll)
{
    poll->polls = polls;
    poll->next = polls->first;
    polls->first = poll;
    if (polls->looking) {
        poll->ops->begin(poll->user);
    }
}

VdsIoPoll *vds_io_poll_make(const VdsIoPollOps *ops, void *user)
{
    VdsIoPoll *poll = g_new0(VdsIoPoll, 1);

    poll->ops = ops;
    poll->user = user;
    return poll;
}

void vds_io_poll_free(VdsIoPoll *poll)
{
    VdsIoPoll **link;

    if (!poll) {
        return;
    }
    for (link = &poll->polls->first; *link != poll; link = &(*link)->next) {
        /* it is in there */
    }
    *link = poll->next;
    g_free(poll);
}

static void begin(VdsIoPolls *polls)
{
    if (!polls->looking) {
        polls->looking = true;
        for (VdsIoPoll *poll = polls->first; poll; poll = poll->next) {
            poll->ops->begin(poll->user);
        }
    }
}

static bool look(VdsIoPolls *polls)
{
    bool found = false;

    for (VdsIoPoll *poll = polls->first; poll; poll = poll->next) {
        found |= poll->ops->look(poll->user);
    }
    return found;
}

static bool end(VdsIoPolls *polls)
{
    bool found = false;

    if (!polls->looking) {
        return false;
    }
    polls->looking = false;
    for (VdsIoPoll *poll = polls->first; poll; poll = poll->next) {
        found |= poll->ops->end(poll->user);
    }
    return found;
}

bool vds_io_polls_turn(VdsIoPolls *polls)
{
    uint64_t max_ns = atomic_load_explicit(&polls->max_ns, memory_order_relaxed);
    bool found = false;

    polls->turn_ns = max_ns > 0 && polls->first ? vds_io_polls_now() : 0;
    polls->ns = MIN(polls->ns, max_ns);
    if (polls->turn_ns != 0 && polls->ns > 0) {
        begin(polls);
        do {
            found |= look(polls);
        } while (vds_io_polls_now() - polls->turn_ns < polls->ns);
    }
    return found || end(polls);
}

void vds_io_polls_learn(VdsIoPolls *polls, bool found)
{
    uint64_t max_ns = atomic_load_explicit(&polls->max_ns, memory_order_relaxed);
    uint64_t waited_ns;

    if (polls->turn_ns == 0 || found) {
        return;
    }
    /* Would it have been worth it to look for longer? */
    waited_ns = vds_io_polls_now() - polls->turn_ns;
    if (waited_ns > max_ns) {
        polls->ns = 0;
    } else if (waited_ns > polls->ns) {
        polls->ns = MIN(MAX(polls->ns * 2, first_ns), max_ns);
    }
}
