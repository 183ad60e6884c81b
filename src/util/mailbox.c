/*
 * util: VdsMailbox, functions that one thread leaves for another: a list under a mutex
 * and an eventfd that is readable while the list is not empty.
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "vds/util.h"

typedef struct VdsTask VdsTask;
struct VdsTask {
    VdsTask *next;
    VdsTaskFunc func;
    void *user;
};

struct VdsMailbox {
    int fd;
    pthread_mutex_t lock; /* of the two below */
    VdsTask *first;
    VdsTask **last; /* where the next one is linked */
};

VdsMailbox *vds_mailbox_new(GError **error)
{
    VdsMailbox *box;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0) {
        g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM, "eventfd: %s",
                    g_strerror(errno));
        return NULL;
    }
    box = g_new0(VdsMailbox, 1);
    box->fd = fd;
    box->last = &box->first;
    pthread_mutex_init(&box->lock, NULL);
    return box;
}

void vds_mailbox_free(VdsMailbox *box)
{
    if (!box) {
        return;
    }
    while (vds_mailbox_run(box) > 0) {
        /* what ran may have posted */
    }
    vds_fd_close(&box->fd);
    pthread_mutex_destroy(&box->lock);
    g_free(box);
}

int vds_mailbox_get_fd(const VdsMailbox *box)
{
    return box->fd;
}

void vds_mailbox_post(VdsMailbox *box, VdsTaskFunc func, void *user)
{
    VdsTask *task = g_new(VdsTask, 1);
    bool was_empty;

    *task = (VdsTask){.func = func, .user = user};
    pthread_mutex_lock(&box->lock);
    was_empty = !box->first;
    *box->last = task;
    box->last = &task->next;
    pthread_mutex_unlock(&box->lock);
    if (was_empty) {
        /* fails only when the counter is at its limit: readable all the same */
        (void)eventfd_write(box->fd, 1);
    }
}

bool vds_mailbox_has_task(VdsMailbox *box)
{
    VDS_LOCK_SCOPE(&box->lock);

    return box->first != NULL;
}

unsigned vds_mailbox_run(VdsMailbox *box)
{
    eventfd_t count;
    unsigned n = 0;
    VdsTask *task;

    /* Before the list is taken: a task that comes in between finds it empty or is taken
     * along, and rings again for nothing. */
    (void)eventfd_read(box->fd, &count);
    pthread_mutex_lock(&box->lock);
    task = box->first;
    box->first = NULL;
    box->last = &box->first;
    pthread_mutex_unlock(&box->lock);
    while (task) {
        VdsTask *next = task->next;

        task->func(task->user);
        g_free(task);
        task = next;
        n++;
    }
    return n;
}
