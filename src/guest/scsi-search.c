/*
 * guest: virtio-scsi's driver looks for a disk: every target is asked what is there, then
 * each of its units, one command at a time, as Linux does.  Refuses to know requests.
 * SPC-4 and SBC-3.
 */
#include "scsi-priv.h"

enum { TRIES = 3 /* of a command while the unit has something else to say */ };

/* Its commands have a queue's last slot for themselves. */
static void ask(VdsGuestDevice *device, const VdsScsiCommand *command)
{
    VdsGuestScsi *state = device->state;

    state->asked = *command;
    if (!vds_guest_scsi_submit(device->queues[VDS_SCSI_REQUEST], command) &&
        device->life == VDS_GUEST_DRIVEN) {
        vds_guest_device_error(device, "no room to ask what is at target %u",
                               command->unit.target);
        state->searching = false;
    }
}

static void inquire(VdsGuestDevice *device, VdsScsiStep step, VdsScsiUnit unit)
{
    ask(device, &(VdsScsiCommand){.step = step,
                                  .unit = unit,
                                  .cdb = {0x12, [4] = 36}, /* INQUIRY */
                                  .in = 36});
}

void vds_guest_scsi_search(VdsGuestDevice *device, unsigned first, unsigned last)
{
    VdsGuestScsi *state = device->state;

    if (state->searching) {
        state->again = true;
        return;
    }
    state->searching = true;
    state->last_target = last;
    state->tries = 0;
    state->at = (VdsScsiUnit){(uint8_t)first, 0};
    inquire(device, VDS_SCSI_STEP_TARGET, state->at);
}

static void next_target(VdsGuestDevice *device)
{
    VdsGuestScsi *state = device->state;

    if (state->at.target < state->last_target) {
        state->at = (VdsScsiUnit){(uint8_t)(state->at.target + 1), 0};
        inquire(device, VDS_SCSI_STEP_TARGET, state->at);
        return;
    }
    state->searching = false;
    if (state->again) {
        state->again = false;
        vds_guest_scsi_search(device, 0, state->max_target);
    }
}

static void next_lun(VdsGuestDevice *device)
{
    VdsGuestScsi *state = device->state;

    if (state->next_lun < state->n_luns) {
        state->at.lun = state->luns[state->next_lun++];
        inquire(device, VDS_SCSI_STEP_LUN, state->at);
    } else {
        next_target(device);
    }
}

static void found_target(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    const VdsGuestScsi *state = device->state;

    ask(device,
        &(VdsScsiCommand){.step = VDS_SCSI_STEP_LUNS,
                          .unit = {state->at.target, 0},
                          .cdb = {0xa0, [8] = VDS_GUEST_BLOCK >> 8}, /* REPORT LUNS */
                          .in = VDS_GUEST_BLOCK});
}

/* Peripheral and flat addresses; others name no disk. */
static void found_luns(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    VdsGuestScsi *state = device->state;
    uint64_t bytes = len < 8 ? 0 : MIN(vds_scsi_get_be(data, 4), len - 8);

    state->n_luns = state->next_lun = 0;
    for (uint64_t at = 8; at + 8 <= 8 + bytes && state->n_luns < VDS_SCSI_MAX_LUNS;
         at += 8) {
        if (data[at] < 0x80) {
            state->luns[state->n_luns++] = vds_scsi_get_be(data + at, 2) & 0x3fff;
        }
    }
    next_lun(device);
}

static void found_lun(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    const VdsGuestScsi *state = device->state;

    if (len > 0 && data[0] == 0 && !state->has_disk) { /* connected, direct access */
        ask(device, &(VdsScsiCommand){.step = VDS_SCSI_STEP_READY,
                                      .unit = state->at,
                                      .cdb = {0} /* TEST UNIT READY */});
    } else {
        next_lun(device);
    }
}

static void found_ready(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    const VdsGuestScsi *state = device->state;

    ask(device, &(VdsScsiCommand){.step = VDS_SCSI_STEP_CAPACITY,
                                  .unit = state->at,
                                  .cdb = {0x9e, 0x10, [13] = 32}, /* READ CAPACITY (16) */
                                  .in = 32});
}

static void found_capacity(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    VdsGuestScsi *state = device->state;

    if (len < 12) {
        vds_guest_device_error(device, "a capacity in %u bytes", len);
        next_lun(device);
        return;
    }
    state->n_blocks =
        vds_scsi_get_be(data, 8) == UINT64_MAX ? 0 : vds_scsi_get_be(data, 8) + 1;
    state->block_bytes = (uint32_t)vds_scsi_get_be(data + 8, 4);
    ask(device, &(VdsScsiCommand){.step = VDS_SCSI_STEP_PROTECTION,
                                  .unit = state->at,
                                  .cdb = {0x1a, [2] = 0x3f, [4] = 4}, /* MODE SENSE (6) */
                                  .in = 4});
}

/* The third byte's first bit: write-protected. */
static void found_protection(VdsGuestDevice *device, const uint8_t *data, uint32_t len)
{
    vds_guest_scsi_take_disk(device, len >= 3 && (data[2] & 0x80) != 0);
    next_lun(device);
}

/* A disk that does not say is not protected, as Linux has it. */
static void no_protection(VdsGuestDevice *device)
{
    vds_guest_scsi_take_disk(device, false);
    next_lun(device);
}

typedef void (*FoundFunc)(VdsGuestDevice *device, const uint8_t *data, uint32_t len);

static const struct {
    FoundFunc found;
    void (*none)(VdsGuestDevice *device); /* it did not do it */
} steps[] = {
    [VDS_SCSI_STEP_TARGET] = {found_target, next_target},
    [VDS_SCSI_STEP_LUNS] = {found_luns, next_target},
    [VDS_SCSI_STEP_LUN] = {found_lun, next_lun},
    [VDS_SCSI_STEP_READY] = {found_ready, next_lun},
    [VDS_SCSI_STEP_CAPACITY] = {found_capacity, next_lun},
    [VDS_SCSI_STEP_PROTECTION] = {found_protection, no_protection},
};

void vds_guest_scsi_found(VdsGuestDevice *device, VdsScsiStep step, bool good,
                          const uint8_t *data, uint32_t len)
{
    VdsGuestScsi *state = device->state;

    state->tries = 0;
    if (good) {
        vds_guest_device_count(device);
        steps[step].found(device, data, len);
    } else {
        steps[step].none(device);
    }
}

bool vds_guest_scsi_ask_again(VdsGuestDevice *device)
{
    VdsGuestScsi *state = device->state;
    const VdsScsiCommand again = state->asked;

    if (state->tries == TRIES) {
        return false;
    }
    state->tries++;
    ask(device, &again);
    return true;
}
