/*
 * guest: the driver of virtio-rng.  Linux asks once when it finds the device, and again
 * when somebody wants more.  virtio 1.2, 5.4.
 */
#include <string.h>

#include "guest-priv.h"

enum { SLOT_BYTES = 64 /* a cache line, as Linux */, SAMPLE = 16 };

typedef struct {
    bool has_last;
    uint8_t last[SAMPLE];
} RngState;

static void ask(VdsGuestDevice *device)
{
    VdsGuestQueue *queue = device->queues[0];
    VdsGuestSlot *slot = vds_guest_queue_take(queue);

    if (slot) {
        vds_guest_queue_post_in(queue, slot);
    }
}

/* Bytes that are all the same, or those of the last time, are no random ones: once in
 * 2^120 times this is unjust. */
static void check_sample(VdsGuestDevice *device, const uint8_t *sample)
{
    RngState *state = device->state;
    unsigned same = 1;

    while (same < SAMPLE && sample[same] == sample[0]) {
        same++;
    }
    if (same == SAMPLE) {
        vds_guest_device_error(device, "entropy is all 0x%02x", sample[0]);
    } else if (state->has_last && memcmp(state->last, sample, SAMPLE) == 0) {
        vds_guest_device_error(device, "the same entropy came twice");
    } else {
        vds_guest_device_count(device);
    }
    memcpy(state->last, sample, SAMPLE);
    state->has_last = true;
}

static void used(VdsGuestQueue *queue, VdsGuestSlot *slot, uint32_t written)
{
    VdsGuestDevice *device = queue->device;
    uint8_t sample[SAMPLE];

    if (written == 0) {
        vds_guest_device_error(device, "an answer without entropy");
    } else if (written < SAMPLE) {
        vds_guest_device_count(device);
    } else if (vds_guest_device_read(device, slot->gpa, sample, sizeof(sample))) {
        check_sample(device, sample);
    }
    vds_guest_queue_give(queue, slot);
}

static const VdsGuestQueueRole role = {
    .slot_bytes = SLOT_BYTES, .max_slots = 4, .spans = 1, .used = used};

static bool plan(VdsGuestDevice *device, GError **error)
{
    return vds_guest_device_add_queue(device, &role, error);
}

static bool start(VdsGuestDevice *device, GError **error)
{
    if (!vds_guest_queue_allocate(device->queues[0], 0, error)) {
        return false;
    }
    ask(device);
    return true;
}

const VdsGuestDriver vds_guest_rng = {
    .device_id = 4,
    .state_bytes = sizeof(RngState),
    .plan = plan,
    .start = start,
    .tick = ask,
};
