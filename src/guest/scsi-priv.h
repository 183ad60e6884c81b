/*
 * guest: what the two files of the SCSI driver share: commands, the search and the disk.
 * virtio 1.2, 5.6.
 */
#pragma once

#include "guest-priv.h"

enum { VDS_SCSI_CONTROL, VDS_SCSI_EVENT, VDS_SCSI_REQUEST /* and those after it */ };
enum { VDS_SCSI_CDB_BYTES = 32 /* as Linux */, VDS_SCSI_MAX_LUNS = 16 /* looked at */ };

typedef struct {
    uint8_t target;
    uint16_t lun;
} VdsScsiUnit;

/* What a command is for. */
typedef enum {
    VDS_SCSI_STEP_TARGET, /* is anything there? */
    VDS_SCSI_STEP_LUNS,
    VDS_SCSI_STEP_LUN, /* is this one a disk? */
    VDS_SCSI_STEP_READY,
    VDS_SCSI_STEP_CAPACITY,
    VDS_SCSI_STEP_PROTECTION, /* the last one of the search */
    VDS_SCSI_STEP_LOOK,       /* for partitions */
    VDS_SCSI_STEP_READ,
    VDS_SCSI_STEP_WRITE,
    VDS_SCSI_STEP_FLUSH,
} VdsScsiStep;

typedef struct {
    VdsScsiStep step;
    VdsScsiUnit unit;
    uint8_t cdb[VDS_SCSI_CDB_BYTES];
    uint32_t out, in; /* bytes of data; one of them is 0 */
    unsigned block;
} VdsScsiCommand;

typedef struct {
    unsigned next_queue;

    /* The search: one command at a time. */
    bool searching, again; /* again: something changed meanwhile */
    unsigned last_target;  /* of the search */
    unsigned max_target;
    VdsScsiUnit at;
    uint16_t luns[VDS_SCSI_MAX_LUNS];
    unsigned n_luns, next_lun, tries;
    VdsScsiCommand asked; /* the last one */

    /* The disk. */
    bool has_disk;
    uint32_t epoch; /* of `blocks`: answers of an older one are not about these */
    VdsScsiUnit disk;
    uint32_t block_bytes;
    uint64_t n_blocks;
    VdsGuestBlocks blocks;
    unsigned under_way; /* requests for these */
    unsigned stale;     /* ... and for those before: nothing is written until they end */
} VdsGuestScsi;

static inline void vds_scsi_put_be(uint8_t *to, uint64_t value, unsigned n)
{
    for (unsigned i = n; i-- > 0; value >>= 8) {
        to[i] = (uint8_t)value;
    }
}

static inline uint64_t vds_scsi_get_be(const uint8_t *from, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

/* ---- scsi.c ---- */

/* false: there is no room. */
bool vds_guest_scsi_submit(VdsGuestQueue *queue, const VdsScsiCommand *command);
/* The unit at which the search is becomes the disk. */
void vds_guest_scsi_take_disk(VdsGuestDevice *device, bool read_only);

/* ---- scsi-search.c ---- */

/* Looks for a disk at these targets; again at all of them if it is looking already. */
void vds_guest_scsi_search(VdsGuestDevice *device, unsigned first, unsigned last);
/* What the search's command brought; good: the device did it. */
void vds_guest_scsi_found(VdsGuestDevice *device, VdsScsiStep step, bool good,
                          const uint8_t *data, uint32_t len);
/* Its last command once more; false: that was tried often enough. */
bool vds_guest_scsi_ask_again(VdsGuestDevice *device);
