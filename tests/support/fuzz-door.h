/*
 * tests: a driver at the door that comes and goes over the same memory, for fuzzers: any
 * number of lives of a device cost no more of it than one.
 */
#pragma once

#include "door.h"

enum { FUZZ_DOOR_NUM = 256, FUZZ_DOOR_STATUS = 15 };

typedef struct {
    Door door;
    uint64_t areas[DOOR_QUEUES][3]; /* gpa: of each queue's ring */
} FuzzDoor;

static inline void fuzz_door_areas(FuzzDoor *fuzz)
{
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        fuzz->areas[n][0] = door_alloc(&fuzz->door, 16 * FUZZ_DOOR_NUM);
        fuzz->areas[n][1] = door_alloc(&fuzz->door, 6 + 2 * FUZZ_DOOR_NUM);
        fuzz->areas[n][2] = door_alloc(&fuzz->door, 6 + 8 * FUZZ_DOOR_NUM);
    }
}

static inline void fuzz_door_set_up(FuzzDoor *fuzz, unsigned n, uint32_t num)
{
    Door *door = &fuzz->door;
    VdsQueueSetup setup = {.num = num,
                           .desc = fuzz->areas[n][0],
                           .avail = fuzz->areas[n][1],
                           .used = fuzz->areas[n][2]};
    VdsQueueState state = {.num = num,
                           .packed = (door->features >> VDS_F_RING_PACKED) & 1,
                           .event_idx = (door->features >> VDS_F_RING_EVENT_IDX) & 1,
                           .desc = setup.desc,
                           .avail = setup.avail,
                           .used = setup.used,
                           .map = vds_guest_ram_get_map(door->ram)};

    door->rings[n] = vds_driver_ring_new(&state, 0, NULL, NULL);
    g_assert(door->rings[n]);
    g_assert(vds_virtio_driver_set_queue(door->device, n, &setup, NULL));
    g_assert(vds_virtio_driver_enable_queue(door->device, n, NULL));
}

static inline bool fuzz_door_negotiate(Door *door, uint64_t drop)
{
    VdsFeatures features = vds_virtio_driver_get_features(door->device);

    drop |= DOOR_BIT(VDS_F_BAD_FEATURE) | DOOR_BIT(VDS_F_ACCESS_PLATFORM);
    features.word[0] &= ~(drop & ~DOOR_BIT(VDS_F_VERSION_1));
    features.word[1] = 0;
    door->features = features.word[0];
    return vds_virtio_driver_set_status(door->device, 3, NULL) &&
           vds_virtio_driver_set_features(door->device, &features, NULL) &&
           vds_virtio_driver_set_status(door->device, 11, NULL);
}

/* Rings of `num` at most.  false: not with these features. */
static inline bool fuzz_door_begin(FuzzDoor *fuzz, uint64_t drop, uint32_t num)
{
    Door *door = &fuzz->door;

    vds_virtio_driver_set_map(door->device, vds_guest_ram_get_map(door->ram));
    if (!fuzz_door_negotiate(door, drop)) {
        return false;
    }
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        uint32_t most = vds_virtio_driver_get_queue_size(door->device, n);

        if (most > 0) {
            fuzz_door_set_up(fuzz, n, MIN(MIN(most, FUZZ_DOOR_NUM), num));
        }
    }
    g_assert(vds_virtio_driver_set_status(door->device, FUZZ_DOOR_STATUS, NULL));
    return true;
}

static inline void fuzz_door_end(FuzzDoor *fuzz)
{
    door_reset(&fuzz->door);
    g_assert(!door_is_broken(&fuzz->door));
}

/* A device that is broken says so and why; indices fit together. */
static inline void fuzz_door_check(FuzzDoor *fuzz)
{
    Door *door = &fuzz->door;
    bool needs_reset =
        vds_virtio_driver_get_status(door->device) & VDS_STATUS_NEEDS_RESET;

    g_assert(needs_reset == door_is_broken(door));
    for (unsigned n = 0; n < DOOR_QUEUES; n++) {
        VdsQueueState state;

        if (!vds_virtio_device_get_queue(door->device, n, &state)) {
            continue;
        }
        g_assert(state.inuse <= state.num);
        g_assert(state.packed ||
                 (uint16_t)(state.used_idx + state.inuse - state.last_avail_idx) == 0);
    }
}

/* Spans of `piece` bytes (0: as few as may be), `max` at most; the last has the rest. */
static inline uint32_t fuzz_door_spans(VdsSpan *spans, uint32_t max, uint64_t gpa,
                                       uint32_t len, uint32_t piece)
{
    uint32_t n;

    for (n = 0; len > 0 && n < max; n++) {
        uint32_t part = piece > 0 && n + 1 < max ? MIN(piece, len) : len;

        spans[n] = (VdsSpan){gpa, part};
        gpa += part;
        len -= part;
    }
    return n;
}
