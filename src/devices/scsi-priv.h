/*
 * devices: what the files of virtio-scsi share: the disk behind it as SCSI sees it, its
 * commands, and the device, which is virtio-blk's way through a disk with other requests.
 */
#pragma once

#include "blk-priv.h"

/* ---- the logical unit
 * ------------------------------------------------------------------ */

enum { VDS_SCSI_VENDOR = 8, VDS_SCSI_PRODUCT = 16, VDS_SCSI_VERSION = 4 };

/* A plain value; the texts are owned. */
typedef struct {
    uint8_t target;
    uint16_t lun;
    char *vendor, *product, *version;
    char *serial, *device_id; /* (nullable) */
    uint64_t wwn;             /* 0: none */
    uint16_t rotation_rate;   /* rpm; 0: unknown, 1: it does not rotate */
    bool removable, fua, writeback;
    uint32_t block_bytes, physical_bytes;
    uint32_t min_io_bytes, opt_io_bytes, max_io_bytes, max_unmap_bytes; /* 0: unknown */
} VdsScsiUnit;

void vds_scsi_unit_free(VdsScsiUnit *unit); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsScsiUnit, vds_scsi_unit_free)

/* ---- commands (scsi-command.c, scsi-page.c)
 * -------------------------------------------- */

enum {
    VDS_SCSI_MAX_CDB = 64, /* bytes; a driver may ask for so many */
    VDS_SCSI_MAX_SENSE = 252,
    VDS_SCSI_SENSE = 18,     /* of fixed format */
    VDS_SCSI_MAX_PAGE = 256, /* of an answer that is made here */
};

enum { /* response (virtio 1.2, 5.6.6.1) */
       VDS_SCSI_OK = 0,
       VDS_SCSI_OVERRUN = 1,
       VDS_SCSI_BAD_TARGET = 3,
       VDS_SCSI_FAILURE = 9,
};

/* Sense key, and additional sense code with its qualifier. */
enum {
    VDS_SCSI_NO_SENSE = 0,
    VDS_SCSI_MEDIUM_ERROR = 3,
    VDS_SCSI_ILLEGAL_REQUEST = 5,
    VDS_SCSI_DATA_PROTECT = 7,
};
enum {
    VDS_SCSI_WRITE_FAILED = 0x0c00,
    VDS_SCSI_READ_FAILED = 0x1100,
    VDS_SCSI_PARAMETER_LENGTH = 0x1a00,
    VDS_SCSI_INVALID_OPCODE = 0x2000,
    VDS_SCSI_OUT_OF_RANGE = 0x2100,
    VDS_SCSI_INVALID_FIELD = 0x2400,
    VDS_SCSI_NO_UNIT = 0x2500,
    VDS_SCSI_INVALID_PARAMETER = 0x2600,
    VDS_SCSI_WRITE_PROTECTED = 0x2700,
    VDS_SCSI_NO_SAVING = 0x3900,
};

/* One command on its way into the request: what is to be done with the disk, or the
 * answer itself, which goes to where io->in stands. */
typedef struct {
    VdsBlkRequest *request;
    const VdsScsiUnit *unit;
    const VdsBlkDisk *disk;
    bool addressed;     /* to the unit; else to its target only */
    const uint8_t *cdb; /* VDS_SCSI_MAX_CDB bytes */
} VdsScsiCommand;

void vds_scsi_command_run(VdsScsiCommand *command);
/* CHECK CONDITION. */
void vds_scsi_refuse(VdsScsiCommand *command, unsigned key, unsigned code);
/* An answer of len bytes, of which the command asked for `room`. */
void vds_scsi_answer(VdsScsiCommand *command, const uint8_t *bytes, size_t len,
                     uint64_t room);
void vds_scsi_sense(uint8_t bytes[VDS_SCSI_SENSE], unsigned key, unsigned code);
uint64_t vds_scsi_get(const uint8_t *bytes, unsigned n); /* n bytes, big-endian */
void vds_scsi_put(uint8_t *bytes, uint64_t value, unsigned n);

/* Blocks of one command, as the block limits page shows them (SBC-3, 6.5.3). */
enum { VDS_SCSI_WRITE_SAME_BLOCKS = 1 << 22 };
static inline uint32_t vds_scsi_in_blocks(const VdsScsiUnit *unit, uint32_t bytes)
{
    return bytes / unit->block_bytes;
}

uint64_t vds_scsi_count_blocks(const VdsScsiCommand *command); /* of the disk */

/* INQUIRY, MODE SENSE (6) and (10). */
void vds_scsi_inquiry(VdsScsiCommand *command);
void vds_scsi_mode_sense(VdsScsiCommand *command);

/* ---- the device (scsi-device.c)
 * ---------------------------------------------------------- */

enum {
    VDS_SCSI_CONTROL,
    VDS_SCSI_EVENT,
    VDS_SCSI_FIXED_QUEUES,
    VDS_SCSI_F_HOTPLUG = 1,
    VDS_SCSI_CONFIG_BYTES = 36,
    VDS_SCSI_CONFIG_SENSE = 20, /* offsets of what a driver may write */
    VDS_SCSI_CONFIG_CDB = 24,
};

typedef struct VdsScsi VdsScsi;

VdsScsi *vds_scsi_new(VdsIoThread *thread, unsigned n_queues);
VdsVirtioDevice **vds_scsi_device(VdsScsi *scsi); /* to be set before any driver */
extern const VdsDeviceOps vds_scsi_ops;           /* its instance: a VdsScsi */
bool vds_scsi_has_unit(const VdsScsi *scsi);      /* main loop */
/* Both on the main loop.  unit and disk are (transfer full) on success; SYSTEM. */
bool vds_scsi_attach(VdsScsi *scsi, VdsScsiUnit *unit, VdsBlkDisk *disk, GError **error);
void vds_scsi_detach(VdsScsi *scsi); /* frees both */
/* Before: commands find no disk any more, and those under way end.  As vds_blk_settle().
 */
bool vds_scsi_settle(VdsScsi *scsi, VdsTaskFunc done, void *user);

/* ---- the device's own words (scsi-device.c, scsi-task.c)
 * --------------------------------- */

struct VdsScsi {
    VdsBlk blk;        /* first */
    VdsScsiUnit *unit; /* (nullable) */
    VdsScsiUnit *gone; /* (nullable) the same, when its disk is about to leave */
    bool has_unit;     /* the same, for the main loop */
    unsigned sense_bytes, cdb_bytes;
    uint64_t n_requests;
    GArray *tasks; /* (nullable) scsi-task.c's */
    bool missed;   /* an event had no buffer */
};

/* n bytes, little-endian: what virtio adds to SCSI. */
static inline uint64_t vds_scsi_get_le(const uint8_t *bytes, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static inline void vds_scsi_put_le(uint8_t *bytes, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

/* "1, target, LUN in two bytes, 0, ..." (virtio 1.2, 5.6.6.1). */
static inline bool vds_scsi_is_target(const VdsScsi *scsi, const uint8_t lun[8])
{
    return scsi->unit && lun[0] == 1 && lun[1] == scsi->unit->target;
}

static inline bool vds_scsi_is_unit(const VdsScsi *scsi, const uint8_t lun[8])
{
    return (vds_scsi_get(lun + 2, 2) & 0x3fff) == scsi->unit->lun &&
           vds_scsi_get(lun + 4, 4) == 0;
}

/* One request of the control queue; it is completed, at once or when the disk has given
 * back what it is about. */
void vds_scsi_control(VdsScsi *scsi, VdsIo *io);
void vds_scsi_tasks_settle(VdsBlk *blk);   /* requests have come back */
void vds_scsi_tasks_reject(VdsScsi *scsi); /* nobody will hear of them: the queue stops */
void vds_scsi_tasks_drop(VdsScsi *scsi);   /* after a reset */
