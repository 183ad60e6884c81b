/*
 * util: VdsPatience, functions that may wait for a file system, run on threads of their
 * own, so that their caller waits for as long as it can afford.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#include "vds/util.h"

/* Functions with a key that are left alone at most; how long the next ones have then. */
enum { MAX_LEFT = 64, NEXT_MS = 5 };

struct VdsPatience {
    atomic_uint refs;
    pthread_mutex_t lock; /* of all below, and of every job */
    unsigned least_ms;
    GHashTable *left; /* a set of keys whose function has not returned in time */
};

typedef struct {
    VdsPatience *patience; /* a reference: the thread's */
    VdsTaskFunc func;
    void *user;
    GDestroyNotify user_free; /* (nullable) */
    char *key;                /* (nullable) */
    pthread_cond_t returned;
    bool done, left;
} Job;

VdsPatience *vds_patience_new(void)
{
    VdsPatience *patience = g_new0(VdsPatience, 1);

    atomic_init(&patience->refs, 1);
    pthread_mutex_init(&patience->lock, NULL);
    patience->left = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return patience;
}

VdsPatience *vds_patience_ref(VdsPatience *patience)
{
    atomic_fetch_add_explicit(&patience->refs, 1, memory_order_relaxed);
    return patience;
}

void vds_patience_unref(VdsPatience *patience)
{
    if (!patience ||
        atomic_fetch_sub_explicit(&patience->refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    g_hash_table_unref(patience->left);
    pthread_mutex_destroy(&patience->lock);
    g_free(patience);
}

static void job_free(Job *job)
{
    pthread_cond_destroy(&job->returned);
    g_free(job->key);
    g_free(job);
}

/* Nobody waits for it any more.  With the lock held. */
static void job_forget(Job *job)
{
    if (job->key) {
        g_hash_table_remove(job->patience->left, job->key);
    }
}

static void *job_main(void *user)
{
    Job *job = user;
    VdsPatience *patience = job->patience;
    bool left;

    job->func(job->user);
    pthread_mutex_lock(&patience->lock);
    job->done = true;
    left = job->left;
    if (left) {
        job_forget(job);
    }
    pthread_cond_signal(
        &job->returned); /* from here on it is the caller's, unless left */
    pthread_mutex_unlock(&patience->lock);
    if (left) {
        if (job->user_free) {
            job->user_free(job->user);
        }
        job_free(job);
    }
    vds_patience_unref(patience);
    return NULL;
}

/* Signals are the main thread's. */
static bool job_start(Job *job)
{
    sigset_t all, before;
    pthread_t thread;
    bool started;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    started = pthread_create(&thread, NULL, job_main, job) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        pthread_detach(thread);
    }
    return started;
}

static struct timespec in_ms(unsigned ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* With the lock held.  false: it is left alone. */
static bool job_wait(Job *job, unsigned ms)
{
    struct timespec until = in_ms(ms);

    while (!job->done && pthread_cond_timedwait(&job->returned, &job->patience->lock,
                                                &until) != ETIMEDOUT) {
        /* look again */
    }
    job->left = !job->done;
    if (job->left && job->key) {
        g_hash_table_add(job->patience->left, g_strdup(job->key));
    }
    return job->done;
}

static Job *job_new(VdsPatience *patience, const VdsPatienceTask *task)
{
    Job *job = g_new0(Job, 1);
    pthread_condattr_t monotonic;

    *job = (Job){.patience = vds_patience_ref(patience),
                 .func = task->func,
                 .user = task->user,
                 .user_free = task->user_free,
                 .key = g_strdup(task->key)};
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&job->returned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return job;
}

static bool refuse_task(const VdsPatienceTask *task)
{
    if (task->user_free) {
        task->user_free(task->user);
    }
    return false;
}

void vds_patience_set_least(VdsPatience *patience, unsigned ms)
{
    VDS_LOCK_SCOPE(&patience->lock);

    patience->least_ms = ms;
}

bool vds_patience_run(VdsPatience *patience, const VdsPatienceTask *task, unsigned ms)
{
    VDS_LOCK_SCOPE(&patience->lock);
    unsigned n_left = g_hash_table_size(patience->left);
    Job *job;

    if (task->key &&
        (n_left >= MAX_LEFT || g_hash_table_contains(patience->left, task->key))) {
        return refuse_task(task);
    }
    job = job_new(patience, task);
    if (!job_start(job)) {
        job_free(job);
        atomic_fetch_sub_explicit(&patience->refs, 1, memory_order_relaxed);
        return refuse_task(task);
    }
    ms = n_left > 0 ? MIN(ms, NEXT_MS) : ms;
    if (!job_wait(job, MAX(ms, patience->least_ms))) {
        return false;
    }
    job_free(job);
    return true;
}

/* ---- open(2) --------------------------------------------------------------- */

typedef struct {
    char *path;
    int flags;
    mode_t mode;
    int fd, number; /* -1 and errno */
} Opening;

static void opening_free(void *user)
{
    Opening *opening = user;

    vds_fd_close(&opening->fd);
    g_free(opening->path);
    g_free(opening);
}

static void opening_run(void *user)
{
    Opening *opening = user;

    opening->fd = open(opening->path, opening->flags | O_CLOEXEC, opening->mode);
    opening->number = errno;
}

int vds_patience_open(VdsPatience *patience, const char *path, int flags, mode_t mode,
                      unsigned ms)
{
    Opening *opening = g_new(Opening, 1);
    const VdsPatienceTask task = {path, opening_run, opening, opening_free};
    int fd, number;

    *opening = (Opening){g_strdup(path), flags, mode, -1, 0};
    if (!vds_patience_run(patience, &task, ms)) {
        errno = ETIMEDOUT;
        return -1;
    }
    fd = vds_fd_steal(&opening->fd);
    number = opening->number;
    opening_free(opening);
    errno = number;
    return fd;
}
