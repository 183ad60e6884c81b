/*
 * util: VdsIoThread, an epoll loop on a thread of its own, with watches and timers.
 * Knows nothing of what the descriptors carry.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "io-poll-priv.h"

enum { EVENTS_PER_WAIT = 64 };

struct VdsIoWatch {
    VdsIoThread *thread; /* borrowed: it outlives what it watches */
    int fd;
    bool dead; /* freed, yet an event that was fetched may still name it */
    VdsIoFunc func;
    void *user;
    VdsIoWatch *next_dead;
};

struct VdsIoThread {
    char *name;
    atomic_uint refs;

    pthread_mutex_t lock; /* of the start, and of `done` in every call under way */
    pthread_cond_t called;
    bool started;
    pthread_t thread;
    pid_t id;
    VdsSignaller *signaller;

    /* Constant once it is started. */
    int epoll_fd;
    VdsMailbox *box;

    VdsIoPolls polls; /* the thread's own, but for its limit */

    /* The thread's own. */
    VdsIoWatch *box_watch;
    VdsIoWatch *dead;
    bool quit;
};

static bool fail(GError **error, const char *what)
{
    g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM, "%s: %s", what,
                g_strerror(errno));
    return false;
}

/* ---- watches ---------------------------------------------------------------------- */

VdsIoWatch *vds_io_watch_new(VdsIoThread *thread, int fd, uint32_t events, VdsIoFunc func,
                             void *user, GError **error)
{
    g_autofree VdsIoWatch *watch = g_new0(VdsIoWatch, 1);
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (epoll_ctl(thread->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        fail(error, "epoll_ctl");
        return NULL;
    }
    *watch = (VdsIoWatch){.thread = thread, .fd = fd, .func = func, .user = user};
    return g_steal_pointer(&watch);
}

void vds_io_watch_set_events(VdsIoWatch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    /* can fail only for a descriptor that is not watched */
    (void)epoll_ctl(watch->thread->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

void vds_io_watch_free(VdsIoWatch *watch)
{
    if (!watch) {
        return;
    }
    (void)epoll_ctl(watch->thread->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->dead = true;
    watch->next_dead = watch->thread->dead;
    watch->thread->dead = watch;
}

static void bury_dead(VdsIoThread *thread)
{
    while (thread->dead) {
        VdsIoWatch *watch = thread->dead;

        thread->dead = watch->next_dead;
        g_free(watch);
    }
}

/* ---- the loop --------------------------------------------------------------------- */

static void run_mailbox(uint32_t events, void *user)
{
    VdsIoThread *thread = user;

    vds_mailbox_run(thread->box);
}

static void loop_once(VdsIoThread *thread)
{
    struct epoll_event events[EVENTS_PER_WAIT];
    bool found = vds_io_polls_turn(&thread->polls);
    int n = epoll_wait(thread->epoll_fd, events, EVENTS_PER_WAIT, found ? 0 : -1);

    vds_io_polls_learn(&thread->polls, found);
    for (int i = 0; i < n; i++) {
        VdsIoWatch *watch = events[i].data.ptr;

        if (!watch->dead) {
            watch->func(events[i].events, watch->user);
        }
        /* Who calls waits for one of them at most. */
        if (n > 1 && vds_mailbox_has_task(thread->box)) {
            vds_mailbox_run(thread->box);
        }
    }
    bury_dead(thread);
}

static void *thread_main(void *user)
{
    VdsIoThread *thread = user;

    pthread_mutex_lock(&thread->lock); /* the one who starts it has written `thread` */
    thread->id = gettid();
    pthread_cond_broadcast(&thread->called);
    pthread_mutex_unlock(&thread->lock);
    while (!thread->quit) {
        loop_once(thread);
    }
    while (vds_mailbox_run(thread->box) > 0) {
        /* what ran may have posted */
    }
    vds_io_watch_free(thread->box_watch);
    bury_dead(thread);
    return NULL;
}

static void quit_task(void *user)
{
    VdsIoThread *thread = user;

    thread->quit = true;
}

/* ---- life ------------------------------------------------------------------------- */

VdsIoThread *vds_io_thread_new(const char *name)
{
    VdsIoThread *thread = g_new0(VdsIoThread, 1);

    thread->name = g_strdup(name);
    atomic_init(&thread->refs, 1);
    thread->epoll_fd = -1;
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->called, NULL);
    thread->signaller = vds_signaller_new();
    return thread;
}

VdsIoThread *vds_io_thread_ref(VdsIoThread *thread)
{
    if (thread) {
        atomic_fetch_add_explicit(&thread->refs, 1, memory_order_relaxed);
    }
    return thread;
}

static void close_all(VdsIoThread *thread)
{
    vds_mailbox_free(g_steal_pointer(&thread->box));
    vds_fd_close(&thread->epoll_fd);
}

void vds_io_thread_unref(VdsIoThread *thread)
{
    if (!thread ||
        atomic_fetch_sub_explicit(&thread->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    if (thread->started) {
        g_assert(!vds_io_thread_is_current(thread));
        vds_io_thread_post(thread, quit_task, thread);
        pthread_join(thread->thread, NULL);
    }
    close_all(thread);
    vds_signaller_free(thread->signaller);
    pthread_cond_destroy(&thread->called);
    pthread_mutex_destroy(&thread->lock);
    g_free(thread->name);
    g_free(thread);
}

void vds_io_thread_signal(VdsIoThread *thread, int fd)
{
    vds_signaller_signal(thread->signaller, fd);
}

const char *vds_io_thread_get_name(const VdsIoThread *thread)
{
    return thread->name;
}

static bool open_all(VdsIoThread *thread, GError **error)
{
    thread->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (thread->epoll_fd < 0) {
        return fail(error, "epoll_create1");
    }
    thread->box = vds_mailbox_new(error);
    if (!thread->box) {
        return false;
    }
    thread->box_watch = vds_io_watch_new(thread, vds_mailbox_get_fd(thread->box), EPOLLIN,
                                         run_mailbox, thread, error);
    return thread->box_watch != NULL;
}

/* GLib makes the lock of its error domains at the first error, in a way that
 * ThreadSanitizer, which cannot look into GLib, takes for a race between two threads that
 * both have their first: so it is made before there are two. */
static void make_first_error(void)
{
    g_error_free(g_error_new_literal(VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM, ""));
}

/* Signals are the main thread's, but for those that an access of this one causes. */
static int create_without_signals(VdsIoThread *thread)
{
    sigset_t blocked, before;
    int failed;

    sigfillset(&blocked);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    failed = pthread_create(&thread->thread, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* With the lock held, which is not given up before the thread counts as started. */
static bool start_once(VdsIoThread *thread, GError **error)
{
    if (thread->started) {
        return true;
    }
    if (open_all(thread, error)) {
        make_first_error();
        errno = create_without_signals(thread);
        thread->started = errno == 0 || fail(error, "pthread_create");
    }
    if (!thread->started) {
        g_free(g_steal_pointer(&thread->box_watch));
        close_all(thread);
        return false;
    }
    pthread_setname_np(thread->thread, thread->name); /* refused when too long: fine */
    return true;
}

bool vds_io_thread_start(VdsIoThread *thread, GError **error)
{
    VDS_LOCK_SCOPE(&thread->lock);

    if (!start_once(thread, error)) {
        return false;
    }
    while (thread->id == 0) { /* whoever comes meanwhile waits here, too */
        pthread_cond_wait(&thread->called, &thread->lock);
    }
    return true;
}

int64_t vds_io_thread_get_id(VdsIoThread *thread)
{
    VDS_LOCK_SCOPE(&thread->lock);

    return thread->id;
}

bool vds_io_thread_is_current(VdsIoThread *thread)
{
    return vds_io_thread_get_id(thread) == gettid();
}

/* ---- tasks ------------------------------------------------------------------------ */

void vds_io_thread_post(VdsIoThread *thread, VdsTaskFunc func, void *user)
{
    vds_mailbox_post(thread->box, func, user);
}

typedef struct {
    VdsIoThread *thread;
    VdsTaskFunc func;
    void *user;
    bool done; /* under the thread's lock */
} Call;

static void call_task(void *user)
{
    Call *call = user;
    VdsIoThread *thread = call->thread;

    call->func(call->user);
    pthread_mutex_lock(&thread->lock);
    call->done = true; /* from here on the caller's stack may be gone */
    pthread_cond_broadcast(&thread->called);
    pthread_mutex_unlock(&thread->lock);
}

void vds_io_thread_call(VdsIoThread *thread, VdsTaskFunc func, void *user)
{
    Call call = {thread, func, user, false};

    if (vds_io_thread_is_current(thread)) {
        func(user);
        return;
    }
    vds_io_thread_post(thread, call_task, &call);
    pthread_mutex_lock(&thread->lock);
    while (!call.done) {
        pthread_cond_wait(&thread->called, &thread->lock);
    }
    pthread_mutex_unlock(&thread->lock);
}

/* ---- looking for work ---------------------------------------------------------------
 */

void vds_io_thread_set_poll(VdsIoThread *thread, VdsPollLimit limit, uint64_t value)
{
    atomic_store_explicit(&thread->polls.limits[limit], value, memory_order_relaxed);
}

uint64_t vds_io_thread_get_poll(const VdsIoThread *thread, VdsPollLimit limit)
{
    return vds_io_polls_limit(&thread->polls, limit);
}

VdsIoPoll *vds_io_poll_new(VdsIoThread *thread, const VdsIoPollOps *ops, void *user)
{
    VdsIoPoll *poll = vds_io_poll_make(ops, user);

    vds_io_polls_add(&thread->polls, poll);
    return poll;
}

/* ---- timers ------------------------------------------------------------------------
 */

struct VdsIoTimer {
    int fd;
    VdsIoWatch *watch;
    VdsTaskFunc func;
    void *user;
};

static void timer_fired(uint32_t events, void *user)
{
    VdsIoTimer *timer = user;
    uint64_t times;

    /* nothing to read: it was set anew after the event was fetched */
    if (read(timer->fd, &times, sizeof(times)) == sizeof(times)) {
        timer->func(timer->user);
    }
}

VdsIoTimer *vds_io_timer_new(VdsIoThread *thread, VdsTaskFunc func, void *user,
                             GError **error)
{
    g_autofree VdsIoTimer *timer = g_new0(VdsIoTimer, 1);
    VDS_AUTO_FD fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd < 0) {
        fail(error, "timerfd_create");
        return NULL;
    }
    timer->watch = vds_io_watch_new(thread, fd, EPOLLIN, timer_fired, timer, error);
    if (!timer->watch) {
        return NULL;
    }
    timer->fd = vds_fd_steal(&fd);
    timer->func = func;
    timer->user = user;
    return g_steal_pointer(&timer);
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

void vds_io_timer_set(VdsIoTimer *timer, uint64_t first_ns, uint64_t every_ns)
{
    struct itimerspec spec = {.it_value = to_timespec(first_ns),
                              .it_interval = to_timespec(every_ns)};

    (void)timerfd_settime(timer->fd, 0, &spec, NULL); /* both are in range */
}

void vds_io_timer_free(VdsIoTimer *timer)
{
    if (!timer) {
        return;
    }
    vds_io_watch_free(timer->watch);
    vds_fd_close(&timer->fd);
    g_free(timer);
}
