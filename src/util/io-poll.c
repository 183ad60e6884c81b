/*
 * util: looking for work before a thread sleeps: for how long, and who looks.  Knows
 * neither descriptors nor what work is.
 */
#include <time.h>

#include "io-poll-priv.h"

/* Where it starts from. */
static const uint64_t first_ns = 4000;
enum { USUAL_GROWTH = 2 };

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
    uint64_t max_ns = vds_io_polls_limit(polls, VDS_POLL_MAX_NS);
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

static uint64_t longer(const uint64_t limits[VDS_POLL_LIMITS], uint64_t ns)
{
    uint64_t grow = limits[VDS_POLL_GROW] ? limits[VDS_POLL_GROW] : USUAL_GROWTH;
    bool beyond = __builtin_mul_overflow(ns, grow, &ns);

    return beyond ? limits[VDS_POLL_MAX_NS]
                  : MIN(ns ? ns : first_ns, limits[VDS_POLL_MAX_NS]);
}

uint64_t vds_poll_adapt(const uint64_t limits[VDS_POLL_LIMITS], uint64_t ns,
                        uint64_t waited_ns)
{
    if (waited_ns > limits[VDS_POLL_MAX_NS]) {
        return limits[VDS_POLL_SHRINK] ? ns / limits[VDS_POLL_SHRINK] : 0;
    }
    return waited_ns > ns ? longer(limits, ns) : ns;
}

void vds_io_polls_learn(VdsIoPolls *polls, bool found)
{
    uint64_t limits[VDS_POLL_LIMITS];

    if (polls->turn_ns == 0 || found) {
        return;
    }
    for (unsigned i = 0; i < VDS_POLL_LIMITS; i++) {
        limits[i] = vds_io_polls_limit(polls, (VdsPollLimit)i);
    }
    polls->ns = vds_poll_adapt(limits, polls->ns, vds_io_polls_now() - polls->turn_ns);
}
