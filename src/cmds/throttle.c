/*
 * cmds: events that a guest or a front-end can cause as often as it likes.
 *
 * The first few of a key within a second are sent at once; then one a second, and that is
 * the newest, so that a client always learns the last state.  A key that was quiet for a
 * second is forgotten.
 */
#include "cmds-priv.h"

enum { WINDOW_MS = 1000, BURST = 4 };

struct VdsThrottleSlot {
    VdsCmds *cmds; /* (nullable) the commands are gone */
    char *key;
    unsigned n_refs;      /* timers; the table borrows */
    unsigned n;           /* sent in this window */
    VdsThrottled waiting; /* .news is (nullable) */
};

static void throttled_clear(VdsThrottled *event)
{
    if (event->news) {
        event->free(event->news);
        event->news = NULL;
    }
}

static void slot_unref(void *user)
{
    VdsThrottleSlot *slot = user;

    if (--slot->n_refs > 0) {
        return;
    }
    if (slot->cmds) {
        g_hash_table_remove(slot->cmds->throttled, slot->key);
    }
    throttled_clear(&slot->waiting);
    g_free(slot->key);
    g_free(slot);
}

static void slot_wait(VdsThrottleSlot *slot);

static void window_over(void *user)
{
    VdsThrottleSlot *slot = user;
    VdsThrottled event = slot->waiting;

    slot->waiting.news = NULL;
    if (event.news && slot->cmds) {
        event.emit(slot->cmds, event.news);
        slot->n = BURST;
        slot_wait(slot);
    }
    throttled_clear(&event);
}

static void slot_wait(VdsThrottleSlot *slot)
{
    const VdsCmdsHost *host = slot->cmds->host;

    slot->n_refs++;
    host->later(host->user, WINDOW_MS, window_over, slot, slot_unref);
}

void vds_throttle_emit(VdsCmds *cmds, const char *key, VdsThrottled event)
{
    VdsThrottleSlot *slot = g_hash_table_lookup(cmds->throttled, key);

    if (!slot && cmds->host->later) {
        slot = g_new0(VdsThrottleSlot, 1);
        slot->cmds = cmds;
        slot->key = g_strdup(key);
        g_hash_table_insert(cmds->throttled, slot->key, slot);
        slot_wait(slot);
    }
    if (!slot || slot->n < BURST) {
        if (slot) {
            slot->n++;
        }
        event.emit(cmds, event.news);
        throttled_clear(&event);
        return;
    }
    throttled_clear(&slot->waiting);
    slot->waiting = event;
}

void vds_throttle_free(VdsCmds *cmds)
{
    GHashTableIter iter;
    void *slot;

    g_hash_table_iter_init(&iter, cmds->throttled);
    while (g_hash_table_iter_next(&iter, NULL, &slot)) {
        ((VdsThrottleSlot *)slot)->cmds = NULL;
    }
    g_hash_table_unref(cmds->throttled);
}
