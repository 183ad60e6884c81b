/*
 * util: the mailbox, the thread with an epoll loop, and signals to others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vds/util.h"

enum { POSTERS = 4, POSTS = 2000 };

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

/* ---- mailbox ---- */

static void append(void *user)
{
    g_string_append_c(user, 'x');
}

static bool is_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    return poll(&wait, 1, 0) == 1;
}

static void test_mailbox_tells(void **state)
{
    g_autoptr(VdsMailbox) box = vds_mailbox_new(NULL);
    g_autoptr(GString) text = g_string_new(NULL);

    assert_non_null(box);
    assert_false(is_readable(vds_mailbox_get_fd(box)));
    assert_int_equal(vds_mailbox_run(box), 0);
    vds_mailbox_post(box, append, text);
    vds_mailbox_post(box, append, text);
    assert_true(is_readable(vds_mailbox_get_fd(box)));
    assert_int_equal(vds_mailbox_run(box), 2);
    assert_string_equal(text->str, "xx");
    assert_false(is_readable(vds_mailbox_get_fd(box)));
}

typedef struct {
    VdsMailbox *box;
    GString *text;
} Chain;

static void post_append(void *user)
{
    Chain *chain = user;

    vds_mailbox_post(chain->box, append, chain->text);
}

/* What a task posts is run, too: by the next run, and by free. */
static void test_mailbox_loses_nothing(void **state)
{
    g_autoptr(GString) text = g_string_new(NULL);
    VdsMailbox *box = vds_mailbox_new(NULL);
    Chain chain = {box, text};

    vds_mailbox_post(box, post_append, &chain);
    assert_int_equal(vds_mailbox_run(box), 1);
    assert_string_equal(text->str, "");
    assert_true(is_readable(vds_mailbox_get_fd(box)));
    vds_mailbox_post(box, post_append, &chain);
    vds_mailbox_free(box);
    assert_string_equal(text->str, "xx");
}

/* ---- thread ---- */

typedef struct {
    unsigned next[POSTERS]; /* the I/O thread's own */
    bool in_order;
} Seen;

typedef struct {
    Seen *seen;
    unsigned poster, number;
} Post;

typedef struct {
    VdsIoThread *thread;
    Post *posts;
} Poster;

static void see(void *user)
{
    const Post *post = user;

    post->seen->in_order &= post->seen->next[post->poster] == post->number;
    post->seen->next[post->poster]++;
}

static void *post_all(void *user)
{
    const Poster *poster = user;

    for (unsigned i = 0; i < POSTS; i++) {
        vds_io_thread_post(poster->thread, see, &poster->posts[i]);
    }
    return NULL;
}

static void test_posts_of_many_arrive_in_order(void **state)
{
    static Post posts[POSTERS][POSTS];
    Seen seen = {.in_order = true};
    VdsIoThread *thread = vds_io_thread_new("posts");
    Poster posters[POSTERS];
    pthread_t ids[POSTERS];

    assert_true(vds_io_thread_start(thread, NULL));
    assert_true(vds_io_thread_start(thread, NULL));
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (Poster){thread, posts[i]};
        for (unsigned k = 0; k < POSTS; k++) {
            posts[i][k] = (Post){&seen, i, k};
        }
        assert_int_equal(pthread_create(&ids[i], NULL, post_all, &posters[i]), 0);
    }
    for (unsigned i = 0; i < POSTERS; i++) {
        pthread_join(ids[i], NULL);
    }
    vds_io_thread_unref(thread); /* runs what was posted */
    assert_true(seen.in_order);
    for (unsigned i = 0; i < POSTERS; i++) {
        assert_int_equal(seen.next[i], POSTS);
    }
}

typedef struct {
    VdsIoThread *thread;
    bool was_current;
    unsigned depth;
} Nested;

static void call_again(void *user)
{
    Nested *nested = user;

    nested->was_current = vds_io_thread_is_current(nested->thread);
    if (nested->depth++ < 2) {
        vds_io_thread_call(nested->thread, call_again, nested);
    }
}

static void test_call_has_happened(void **state)
{
    g_autoptr(VdsIoThread) thread = vds_io_thread_new("a name of more than 15 bytes");
    Nested nested = {.thread = thread};

    assert_int_equal(vds_io_thread_get_id(thread), 0);
    assert_true(vds_io_thread_start(thread, NULL));
    assert_true(vds_io_thread_get_id(thread) > 0);
    assert_false(vds_io_thread_is_current(thread));
    vds_io_thread_call(thread, call_again, &nested);
    assert_true(nested.was_current);
    assert_int_equal(nested.depth, 3);
    assert_string_equal(vds_io_thread_get_name(thread), "a name of more than 15 bytes");
}

/* ---- watches ---- */

typedef struct {
    VdsIoThread *thread;
    int fds[2];
    VdsIoWatch *watches[2];
    atomic_uint events;
    unsigned refused; /* by the kernel */
} Watched;

/* Whoever comes first takes both away: the other's event, fetched already, is dropped. */
static void take_both_away(uint32_t events, void *user)
{
    Watched *watched = user;

    atomic_fetch_add(&watched->events, 1);
    for (int i = 0; i < 2; i++) {
        vds_io_watch_free(g_steal_pointer(&watched->watches[i]));
    }
}

static void watch_both(void *user)
{
    Watched *watched = user;

    for (int i = 0; i < 2; i++) {
        watched->watches[i] = vds_io_watch_new(watched->thread, watched->fds[i], EPOLLIN,
                                               take_both_away, watched, NULL);
    }
}

static void wait_for(atomic_uint *count, unsigned at_least)
{
    for (unsigned i = 0; atomic_load(count) < at_least && i < 10000; i++) {
        g_usleep(1000);
    }
    assert_true(atomic_load(count) >= at_least);
}

static void nothing(void *user)
{
}

static void test_watch_freed_in_a_callback(void **state)
{
    VdsIoThread *thread = vds_io_thread_new("watch");
    Watched watched = {.thread = thread, .fds = {eventfd(1, 0), eventfd(1, 0)}};

    assert_true(vds_io_thread_start(thread, NULL));
    vds_io_thread_call(thread, watch_both, &watched);
    wait_for(&watched.events, 1);
    vds_io_thread_call(thread, nothing, NULL);
    vds_io_thread_unref(thread);
    assert_int_equal(atomic_load(&watched.events), 1);
    close(watched.fds[0]);
    close(watched.fds[1]);
}

static void watch_regular_file(void *user)
{
    Watched *watched = user;
    g_autoptr(GError) error = NULL;

    assert_null(vds_io_watch_new(watched->thread, watched->fds[0], EPOLLIN,
                                 take_both_away, watched, &error));
    watched->refused += g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM);
}

static void test_watch_refused(void **state)
{
    VdsIoThread *thread = vds_io_thread_new("refused");
    Watched watched = {.thread = thread, .fds = {open("/proc/self/exe", O_RDONLY)}};

    assert_true(vds_io_thread_start(thread, NULL));
    vds_io_thread_call(thread, watch_regular_file, &watched);
    vds_io_thread_unref(thread);
    assert_int_equal(watched.refused, 1);
    close(watched.fds[0]);
}

typedef struct {
    VdsIoThread *thread;
    VdsIoTimer *timer;
    atomic_uint fired;
} Timed;

static void fired(void *user)
{
    Timed *timed = user;

    if (atomic_fetch_add(&timed->fired, 1) == 2) {
        vds_io_timer_set(timed->timer, 0, 0);
    }
}

static void start_timer(void *user)
{
    Timed *timed = user;

    timed->timer = vds_io_timer_new(timed->thread, fired, timed, NULL);
    vds_io_timer_set(timed->timer, 1000, 1000 * 1000);
}

static void free_timer(void *user)
{
    Timed *timed = user;

    vds_io_timer_free(timed->timer);
}

static void test_timer_repeats_until_off(void **state)
{
    VdsIoThread *thread = vds_io_thread_new("timer");
    Timed timed = {.thread = thread};

    assert_true(vds_io_thread_start(thread, NULL));
    vds_io_thread_call(thread, start_timer, &timed);
    wait_for(&timed.fired, 3);
    g_usleep(5000);
    vds_io_thread_call(thread, free_timer, &timed);
    vds_io_thread_unref(thread);
    assert_int_equal(atomic_load(&timed.fired), 3);
}

/* One that was never started holds nothing, and one that was gives all back. */
static void test_no_descriptor_is_left(void **state)
{
    unsigned before = count_fds();

    for (int i = 0; i < 3; i++) {
        VdsIoThread *thread = vds_io_thread_new("fds");

        assert_int_equal(count_fds(), before);
        if (i > 0) {
            assert_true(vds_io_thread_start(thread, NULL));
            assert_true(count_fds() > before);
        }
        vds_io_thread_unref(vds_io_thread_ref(thread));
        vds_io_thread_unref(thread);
        assert_int_equal(count_fds(), before);
    }
    vds_io_thread_unref(NULL);
    vds_mailbox_free(NULL);
}

/* ---- mutexes ---- */

enum { LOCKERS = 4, TIMES = 5000, HELD_US = 20000 };

typedef struct {
    pthread_mutex_t lock;
    atomic_uint visitors;
    unsigned sum;
    atomic_bool held, asked;
} Sum;

static void *lock_often(void *user)
{
    Sum *sum = user;

    for (unsigned i = 0; i < TIMES; i++) {
        vds_mutex_visit(&sum->lock, &sum->visitors);
        sum->sum++;
        vds_mutex_leave(&sum->lock, &sum->visitors);
    }
    return NULL;
}

static void test_visitors_exclude_each_other(void **state)
{
    Sum sum = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[LOCKERS];

    for (unsigned i = 0; i < LOCKERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, lock_often, &sum), 0);
    }
    for (unsigned i = 0; i < LOCKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(sum.sum, LOCKERS * TIMES);
    assert_true(vds_mutex_let_by(&sum.visitors));
}

static void *lock_long(void *user)
{
    Sum *sum = user;

    pthread_mutex_lock(&sum->lock);
    atomic_store(&sum->held, true);
    while (!atomic_load(&sum->asked)) {
        g_usleep(100);
    }
    g_usleep(HELD_US);
    sum->sum = 1;
    pthread_mutex_unlock(&sum->lock);
    return NULL;
}

/* Longer than anybody looks again: it sleeps, and has the lock in the end. */
static void test_a_visitor_sleeps(void **state)
{
    Sum sum = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, lock_long, &sum), 0);
    while (!atomic_load(&sum.held)) {
        g_usleep(100);
    }
    atomic_store(&sum.asked, true);
    vds_mutex_visit(&sum.lock, &sum.visitors);
    assert_int_equal(sum.sum, 1);
    assert_false(vds_mutex_let_by(&sum.visitors)); /* one that stays */
    vds_mutex_leave(&sum.lock, &sum.visitors);
    assert_true(vds_mutex_let_by(&sum.visitors));
    pthread_join(thread, NULL);
}

/* ---- signals ---- */

static uint64_t take_count(int fd)
{
    uint64_t count = 0;

    return vds_read_now(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* More than are kept before what is over is taken out. */
static void test_signals_count(void **state)
{
    g_autoptr(VdsSignaller) signaller = vds_signaller_new();
    VDS_AUTO_FD fd = eventfd(0, EFD_CLOEXEC);

    for (unsigned i = 0; i < 1000; i++) {
        vds_signaller_signal(signaller, fd);
    }
    assert_int_equal(take_count(fd), 1000);
    assert_int_equal(take_count(fd), 0);
    assert_int_equal(errno, EAGAIN);
}

/* A counter that is full and blocks: who waited would never come back. */
static void test_signals_wait_for_nobody(void **state)
{
    const uint64_t most = UINT64_MAX - 1;
    g_autoptr(VdsSignaller) signaller = vds_signaller_new();
    VDS_AUTO_FD fd = eventfd(0, EFD_CLOEXEC);
    VDS_AUTO_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int ends[2];

    alarm(20);
    assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
    for (unsigned i = 0; i < 300; i++) {
        vds_signaller_signal(signaller, fd);
    }
    assert_true(is_readable(fd));
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0); /* what is no eventfd */
    while (write(ends[1], &most, sizeof(most)) > 0) {
    }
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    vds_signaller_signal(signaller, ends[1]);
    vds_signaller_signal(signaller, null);
    vds_signaller_signal(signaller, -1);
    alarm(0);
    close(ends[0]);
    close(ends[1]);
}

static void test_reads_wait_for_nobody(void **state)
{
    int ends[2];
    char byte;

    alarm(20);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(vds_read_now(ends[0], &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(vds_read_now(ends[0], &byte, 1), 1);
    close(ends[1]);
    assert_int_equal(vds_read_now(ends[0], &byte, 1), 0);
    close(ends[0]);
    alarm(0);
}

/* ---- files that are closed elsewhere ---- */

/* Its threads outlive it; nothing is left open in the end. */
static void test_closer_waits_for_nobody(void **state)
{
    enum { FILES = 200 };
    unsigned before = count_fds();

    for (unsigned round = 0; round < 2; round++) {
        VdsCloser *closer = vds_closer_new();

        for (unsigned i = 0; i < FILES; i++) {
            int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

            assert_true(fd >= 0);
            vds_closer_close(closer, &fd);
            assert_int_equal(fd, -1);
        }
        vds_closer_free(closer);
    }
    for (unsigned i = 0; i < 1000 && count_fds() != before; i++) {
        g_usleep(10000);
    }
    assert_int_equal(count_fds(), before);
}

/* ---- starts ---- */

enum { STARTERS = 3, STARTS = 100 };

typedef struct {
    VdsIoThread *thread;
    pthread_barrier_t *barrier;
    int64_t ran_on;
} Starter;

static void note_thread(void *user)
{
    Starter *starter = user;

    starter->ran_on = gettid();
}

static void *start_and_call(void *user)
{
    Starter *starter = user;

    pthread_barrier_wait(starter->barrier);
    if (vds_io_thread_start(starter->thread, NULL)) {
        vds_io_thread_call(starter->thread, note_thread, starter);
    }
    return NULL;
}

static unsigned count_named(const char *name)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *task;
    unsigned n = 0;

    while ((task = readdir(dir)) != NULL) {
        g_autofree char *path = g_strdup_printf("/proc/self/task/%s/comm", task->d_name);
        g_autofree char *comm = NULL;

        n += g_file_get_contents(path, &comm, NULL, NULL) &&
             g_str_equal(g_strchomp(comm), name);
    }
    closedir(dir);
    return n;
}

/* Whoever starts it, and however many at once: it is one thread. */
static void test_started_by_several_at_once(void **state)
{
    for (unsigned round = 0; round < STARTS; round++) {
        VdsIoThread *thread = vds_io_thread_new("many-start");
        pthread_barrier_t barrier;
        pthread_t threads[STARTERS];
        Starter starters[STARTERS];

        pthread_barrier_init(&barrier, NULL, STARTERS);
        for (unsigned i = 0; i < STARTERS; i++) {
            starters[i] = (Starter){thread, &barrier, 0};
            assert_int_equal(
                pthread_create(&threads[i], NULL, start_and_call, &starters[i]), 0);
        }
        for (unsigned i = 0; i < STARTERS; i++) {
            pthread_join(threads[i], NULL);
        }
        assert_int_equal(count_named("many-start"), 1);
        for (unsigned i = 0; i < STARTERS; i++) {
            assert_int_equal(starters[i].ran_on, vds_io_thread_get_id(thread));
        }
        vds_io_thread_unref(thread);
        pthread_barrier_destroy(&barrier);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closer_waits_for_nobody),
        cmocka_unit_test(test_started_by_several_at_once),
        cmocka_unit_test(test_mailbox_tells),
        cmocka_unit_test(test_mailbox_loses_nothing),
        cmocka_unit_test(test_posts_of_many_arrive_in_order),
        cmocka_unit_test(test_call_has_happened),
        cmocka_unit_test(test_watch_freed_in_a_callback),
        cmocka_unit_test(test_watch_refused),
        cmocka_unit_test(test_timer_repeats_until_off),
        cmocka_unit_test(test_visitors_exclude_each_other),
        cmocka_unit_test(test_a_visitor_sleeps),
        cmocka_unit_test(test_signals_count),
        cmocka_unit_test(test_signals_wait_for_nobody),
        cmocka_unit_test(test_reads_wait_for_nobody),
        cmocka_unit_test(test_no_descriptor_is_left),
    };

    return cmocka_run_group_tests_name("util-threads", tests, NULL, NULL);
}
