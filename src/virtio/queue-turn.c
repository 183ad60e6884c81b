/*
 * virtio: a queue's turn: its device handles it, what was completed is shown, the driver
 * is told, and the next kick asked for when it is needed.  Refuses to know ring formats.
 * virtio 1.2, 2.7.7, 2.7.10.
 */
#include "queue-priv.h"

/* With an eventfd from elsewhere the ISR is elsewhere, too. */
void vds_queue_interrupt(VdsVirtQueue *queue)
{
    VdsVirtioDevice *device = queue->device;
    bool told = false;

    pthread_mutex_lock(&queue->lock);
    if (queue->call_fd >= 0) {
        vds_io_thread_signal(device->thread, queue->call_fd);
        told = true;
    }
    pthread_mutex_unlock(&queue->lock);
    if (!told) {
        atomic_fetch_or_explicit(&device->isr, 1, memory_order_relaxed);
        vds_doorbell_ring(atomic_load_explicit(&device->interrupts, memory_order_acquire),
                          queue->index);
    }
}

/* With the lock held; a broken device's last completions stay unseen. */
static bool publish(VdsVirtQueue *queue, bool anyway, bool *interrupt, GError **fault)
{
    *interrupt = false;
    if (!(queue->unpublished || (anyway && queue->ring)) ||
        atomic_load_explicit(&queue->device->broken, memory_order_relaxed)) {
        return true;
    }
    queue->unpublished = false;
    return (anyway ? vds_vring_notify : vds_vring_publish)(queue->ring, interrupt, fault);
}

static bool flush(VdsVirtQueue *queue, bool anyway)
{
    g_autoptr(GError) fault = NULL;
    bool interrupt;

    pthread_mutex_lock(&queue->lock);
    publish(queue, anyway, &interrupt, &fault);
    pthread_mutex_unlock(&queue->lock);
    if (interrupt) {
        vds_queue_interrupt(queue);
    }
    queue_report(queue, fault);
    return interrupt;
}

bool vds_virt_queue_flush(VdsVirtQueue *queue)
{
    return flush(queue, false);
}

void vds_virt_queue_notify(VdsVirtQueue *queue)
{
    flush(queue, true);
}

void vds_virt_queue_show(VdsVirtQueue *queue)
{
    g_autoptr(GError) fault = NULL;

    pthread_mutex_lock(&queue->lock);
    if (queue->unpublished &&
        !atomic_load_explicit(&queue->device->broken, memory_order_relaxed)) {
        vds_vring_show(queue->ring, &fault);
    }
    pthread_mutex_unlock(&queue->lock);
    queue_report(queue, fault);
}

void vds_virt_queue_set_eager(VdsVirtQueue *queue, bool eager)
{
    queue->eager = eager;
}

/* Are buffers what its device waits for? */
static bool waits(const VdsVirtQueue *queue)
{
    return queue->eager || queue->found_empty;
}

/* Kicks off.  false: there is no ring, or it is at fault. */
static bool dispatch_begin(VdsVirtQueue *queue, GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);
    bool more;

    return queue->ring && queue_set_kicks(queue, false, &more, fault);
}

/* Publishes, and asks for the next kick.  *again: none may come for what is there. */
static bool dispatch_end(VdsVirtQueue *queue, bool *interrupt, bool *again,
                         GError **fault)
{
    VDS_LOCK_SCOPE(&queue->lock);
    bool more = false;

    *again = queue->budget == 0;
    *interrupt = false;
    if (!queue->ring) {
        return true;
    }
    if (!publish(queue, false, interrupt, fault)) {
        return false;
    }
    if (*again || queue->device->polling || !waits(queue)) {
        return true;
    }
    if (!queue_set_kicks(queue, true, &more, fault)) {
        return false;
    }
    *again = more && queue->found_empty;
    return true;
}

/* One call of handle.  *again: there is more, and no kick will come for it. */
static void dispatch_once(VdsVirtQueue *queue, bool *again)
{
    VdsVirtioDevice *device = queue->device;
    g_autoptr(GError) fault = NULL;
    bool interrupt = false;

    *again = false;
    if (dispatch_begin(queue, &fault)) {
        queue->in_handle = true;
        queue->found_empty = false;
        device->ops->handle(device->instance, queue);
        queue->in_handle = false;
        dispatch_end(queue, &interrupt, again, &fault);
    }
    if (interrupt) {
        vds_queue_interrupt(queue);
    }
    queue_report(queue, fault);
    *again = *again && queue_is_served(queue) && !device->polling;
}

void vds_virt_queue_ask_turn(VdsVirtQueue *queue)
{
    VdsDoorbell *bell = atomic_load_explicit(&queue->device->kicks, memory_order_acquire);

    if (bell) {
        vds_doorbell_ring(bell, queue->index);
    }
}

bool vds_virt_queue_is_turn_over(VdsVirtQueue *queue)
{
    if (!vds_turn_is_over(&queue->device->turn)) {
        return false;
    }
    vds_virt_queue_ask_turn(queue);
    return true;
}

/* In the device's next turn this queue is the first, so each has its own. */
static void put_off(VdsVirtQueue *queue)
{
    VdsVirtioDevice *device = queue->device;

    if (!device->turn.put_off) {
        device->turn.put_off = true;
        vds_doorbell_begin_at(atomic_load_explicit(&device->kicks, memory_order_relaxed),
                              queue->index);
    }
    vds_virt_queue_ask_turn(queue);
}

void vds_queue_dispatch(VdsVirtQueue *queue)
{
    bool again;

    vds_queue_drain(queue);
    if (!queue_is_served(queue)) {
        return;
    }
    if (queue->device->turn.over) {
        put_off(queue);
        return;
    }
    queue->budget = queue->num; /* then it is the other queues' turn */
    do {
        dispatch_once(queue, &again);
    } while (again && queue->budget > 0);
    if (again) {
        vds_virt_queue_ask_turn(queue);
    }
}

bool vds_queue_look(VdsVirtQueue *queue)
{
    if (!queue_is_served(queue) || !waits(queue) || !vds_virt_queue_has_more(queue)) {
        return false;
    }
    vds_queue_dispatch(queue);
    return queue->budget < queue->num; /* or put off: the bell was rung */
}

bool vds_queue_ask_for_kicks(VdsVirtQueue *queue)
{
    g_autoptr(GError) fault = NULL;
    bool more = false;

    if (!queue_is_served(queue) || !waits(queue)) {
        return false;
    }
    pthread_mutex_lock(&queue->lock);
    if (queue->ring) {
        queue_set_kicks(queue, true, &more, &fault);
    }
    pthread_mutex_unlock(&queue->lock);
    queue_report(queue, fault);
    if (more && (queue->found_empty || queue->budget == 0)) {
        vds_queue_dispatch(queue);
        return true;
    }
    return false;
}
