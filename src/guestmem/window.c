/*
 * guestmem: VdsGuestWindow, a device's way to buffers: the region that was reached last,
 * by plain instructions.
 *
 * Refuses to know why memory cannot be reached: the map has the words for it.
 */
#include <string.h>

#include "map-priv.h"

/* Who works there is told afterwards that memory vanished under him. */
static bool is_plain(const VdsGuestMap *map, const MapRegion *region)
{
    return map->mode != VDS_MAP_READ_ONLY &&
           (!region->guarded || region->mapping->watched);
}

bool vds_guest_window_find(VdsGuestWindow *window, uint64_t gpa, uint64_t len)
{
    const MapRegion *region = map_find_span(window->map, gpa, MAX(len, 1));

    if (region && is_plain(window->map, region)) {
        window->first = region->config.gpa;
        window->last = region->last;
        window->direct = region->hva;
        window->gone = region->guarded ? &region->mapping->range.gone : NULL;
    }
    return region || len == 0;
}

/* After the copy. */
static inline bool window_is_whole(const VdsGuestWindow *window, const uint8_t *hva,
                                   size_t len)
{
    if (!window->gone) {
        return true;
    }
    atomic_thread_fence(memory_order_acquire);
    return __atomic_load_n(window->gone, __ATOMIC_RELAXED) >= (uintptr_t)hva + len;
}

/* Buffers hold no words that two sides change at once, so the library may copy them as it
 * likes; what is looked at is the copy.  Whatever cannot be done here is done by the map,
 * or told by it. */
bool vds_guest_window_read(VdsGuestWindow *window, uint64_t gpa, void *to, size_t len,
                           GError **error)
{
    if (G_LIKELY(len > 0 && vds_guest_window_holds(window, gpa, len))) {
        const uint8_t *from = window->direct + (gpa - window->first);

        memcpy(to, from, len);
        if (G_LIKELY(window_is_whole(window, from, len))) {
            return true;
        }
    }
    vds_guest_window_find(window, gpa, len);
    return vds_guest_map_read(window->map, gpa, to, len, error);
}

bool vds_guest_window_write(VdsGuestWindow *window, uint64_t gpa, const void *from,
                            size_t len, GError **error)
{
    if (G_LIKELY(len > 0 && vds_guest_window_holds(window, gpa, len))) {
        uint8_t *to = window->direct + (gpa - window->first);

        memcpy(to, from, len);
        if (G_LIKELY(window_is_whole(window, to, len))) {
            vds_guest_map_mark(window->map, gpa, len);
            return true;
        }
    }
    vds_guest_window_find(window, gpa, len);
    return vds_guest_map_write(window->map, gpa, from, len, error);
}
