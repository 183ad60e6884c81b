/*
 * cmds: lists of unknown length, filled by a callback.
 */
#include <string.h>

#include "cmds-priv.h"

VdsCollector vds_collector_new(VdsArena *arena, size_t item_size)
{
    return (VdsCollector){arena, g_array_new(FALSE, TRUE, (guint)item_size)};
}

void *vds_collector_finish(VdsCollector *collector, size_t *n)
{
    guint size = g_array_get_element_size(collector->items);
    void *copy = vds_arena_alloc_n(collector->arena, collector->items->len, size);

    *n = collector->items->len;
    if (*n > 0) {
        memcpy(copy, collector->items->data, *n * size);
    }
    g_array_unref(collector->items);
    return copy;
}
