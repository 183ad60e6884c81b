/*
 * devices: the commands of a SCSI disk, a row each (SPC-4, SBC-3), with sense data for
 * everything else.  What a command wants of the disk it leaves in the request, checked
 * against the disk.  Refuses to know queues, and how the disk is reached.
 */
#include <string.h>

#include "scsi-priv.h"

uint64_t vds_scsi_get(const uint8_t *bytes, unsigned n)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

void vds_scsi_put(uint8_t *bytes, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
    }
}

void vds_scsi_refuse(VdsScsiCommand *command, unsigned key, unsigned code)
{
    VdsBlkRequest *request = command->request;

    request->status = VDS_BLK_S_UNSUPP; /* nothing is done */
    request->sense_key = (uint8_t)key;
    request->sense_code = (uint16_t)code;
}

static void refuse_field(VdsScsiCommand *command)
{
    vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_INVALID_FIELD);
}

/* Fewer bytes than were asked for are fine; a buffer that has fewer than that is not. */
void vds_scsi_answer(VdsScsiCommand *command, const uint8_t *bytes, size_t len,
                     uint64_t room)
{
    VdsStream *in = &command->request->io->in;
    size_t n = (size_t)MIN(len, room);

    if (vds_stream_write(in, bytes, n) < n) {
        command->request->response = VDS_SCSI_OVERRUN;
    }
}

void vds_scsi_sense(uint8_t bytes[VDS_SCSI_SENSE], unsigned key, unsigned code)
{
    memset(bytes, 0, VDS_SCSI_SENSE);
    bytes[0] = 0x70; /* of this command, fixed format */
    bytes[2] = (uint8_t)key;
    bytes[7] = VDS_SCSI_SENSE - 8;
    vds_scsi_put(bytes + 12, code, 2);
}

/* ---- ranges
 * -------------------------------------------------------------------------------
 */

uint64_t vds_scsi_count_blocks(const VdsScsiCommand *command)
{
    return command->disk->size_bytes / command->unit->block_bytes;
}

/* No sum of what a driver sent is formed.  false: refused. */
static bool check_range(VdsScsiCommand *command, uint64_t lba, uint64_t n)
{
    uint64_t blocks = vds_scsi_count_blocks(command);

    if (lba > blocks || n > blocks - lba) {
        vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_OUT_OF_RANGE);
        return false;
    }
    return true;
}

static bool set_range(VdsScsiCommand *command, VdsBlkOpKind kind, uint64_t lba,
                      uint64_t n)
{
    VdsBlkRequest *request = command->request;

    if (!check_range(command, lba, n)) {
        return false;
    }
    request->kind = kind;
    request->offset = lba * command->unit->block_bytes;
    request->left = n * command->unit->block_bytes;
    return true;
}

/* Where each length of a command has its block and its number of blocks. */
typedef struct {
    uint64_t lba, n;
} Range;

static Range read_range(const uint8_t *cdb)
{
    switch (cdb[0] >> 5) {
    case 0: /* 6 bytes: 0 blocks are 256 */
        return (Range){vds_scsi_get(cdb + 1, 3) & 0x1fffff, cdb[4] ? cdb[4] : 256};
    case 4:
        return (Range){vds_scsi_get(cdb + 2, 8), vds_scsi_get(cdb + 10, 4)};
    case 5:
        return (Range){vds_scsi_get(cdb + 2, 4), vds_scsi_get(cdb + 6, 4)};
    default:
        return (Range){vds_scsi_get(cdb + 2, 4), vds_scsi_get(cdb + 7, 2)};
    }
}

/* Write-through, or as the command asks (FUA): done is what survives the power. */
static void set_flush(VdsScsiCommand *command)
{
    bool fua = command->cdb[0] >= 0x20 && (command->cdb[1] & 8);

    command->request->flush = fua || !command->unit->writeback;
}

static void need(VdsScsiCommand *command, const VdsStream *stream)
{
    if (vds_stream_left(stream) < command->request->left) {
        command->request->left = 0;
        command->request->response = VDS_SCSI_OVERRUN;
    }
}

/* More blocks than the block limits page shows are refused; 0 there is no limit.  false:
 * refused. */
static bool check_transfer(VdsScsiCommand *command, uint64_t n)
{
    uint32_t most = vds_scsi_in_blocks(command->unit, command->unit->max_io_bytes);

    if (most > 0 && n > most) {
        refuse_field(command);
        return false;
    }
    return true;
}

static void run_read(VdsScsiCommand *command)
{
    Range range = read_range(command->cdb);

    if (command->cdb[0] >= 0x20 && command->cdb[1] >> 5) {
        refuse_field(command); /* there is no protection information */
    } else if (set_range(command, VDS_BLK_READ, range.lba, range.n) &&
               check_transfer(command, range.n)) {
        need(command, &command->request->io->in);
    }
}

static void run_write(VdsScsiCommand *command)
{
    Range range = read_range(command->cdb);

    if (command->cdb[0] >= 0x20 && command->cdb[1] >> 5) {
        refuse_field(command);
    } else if (set_range(command, VDS_BLK_WRITE, range.lba, range.n) &&
               check_transfer(command, range.n)) {
        set_flush(command);
        need(command, &command->request->io->out);
    }
}

/* Without bytes to compare it is a question whether the blocks are there. */
static void run_verify(VdsScsiCommand *command)
{
    Range range = read_range(command->cdb);

    if (command->cdb[1] & 6) {
        refuse_field(command);
    } else {
        check_range(command, range.lba, range.n);
    }
}

/* The whole cache: a part cannot be had. */
static void run_synchronize(VdsScsiCommand *command)
{
    Range range = read_range(command->cdb);

    if (check_range(command, range.lba, range.n)) {
        command->request->flush = true;
    }
}

/* ---- blocks that are given back, and zeroes
 * ----------------------------------------------
 */

enum { UNMAP_HEADER = 8, UNMAP_DESCRIPTOR = 16, MAX_BLOCK = 4096 };

/* One descriptor, as the block limits say (SBC-3, 5.28). */
static void run_unmap(VdsScsiCommand *command)
{
    uint8_t list[UNMAP_HEADER + UNMAP_DESCRIPTOR];
    uint64_t len = vds_scsi_get(command->cdb + 7, 2), n;
    VdsStream *out = &command->request->io->out;

    if (command->cdb[1] & 1) {
        refuse_field(command); /* ANCHOR */
        return;
    }
    if (len < UNMAP_HEADER) {
        if (len > 0) {
            vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_PARAMETER_LENGTH);
        }
        return;
    }
    n = vds_stream_read(out, list, (size_t)MIN(len, sizeof(list)));
    if (n < MIN(len, sizeof(list))) {
        command->request->response = VDS_SCSI_OVERRUN;
        return;
    }
    if (vds_scsi_get(list + 2, 2) < UNMAP_DESCRIPTOR) {
        return; /* nothing is named */
    }
    if (vds_scsi_get(list + 2, 2) >= 2 * UNMAP_DESCRIPTOR || n < sizeof(list) ||
        vds_scsi_get(list + 16, 4) >
            vds_scsi_in_blocks(command->unit, command->unit->max_unmap_bytes)) {
        vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_INVALID_PARAMETER);
        return;
    }
    set_range(command, VDS_BLK_DISCARD, vds_scsi_get(list + 8, 8),
              vds_scsi_get(list + 16, 4));
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* The block that is written; without NDOB it comes with the command.  false: refused. */
static bool read_pattern(VdsScsiCommand *command)
{
    uint8_t block[MAX_BLOCK];
    size_t len = command->unit->block_bytes;

    if (command->cdb[0] == 0x93 && (command->cdb[1] & 1)) {
        return true; /* NDOB */
    }
    if (len > sizeof(block)) {
        refuse_field(command);
        return false;
    }
    if (vds_stream_read(&command->request->io->out, block, len) < len) {
        command->request->response = VDS_SCSI_OVERRUN;
        return false;
    }
    if (!is_zero(block, len)) {
        vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_INVALID_FIELD);
        return false;
    }
    return true;
}

/* Zeroes only: a pattern would be written as fast by who has it. */
static void run_write_same(VdsScsiCommand *command)
{
    Range range = read_range(command->cdb);
    bool unmap = command->cdb[1] & 8;

    if ((command->cdb[1] & 0xf6) || range.n == 0 ||
        range.n > VDS_SCSI_WRITE_SAME_BLOCKS) {
        refuse_field(command); /* protection, ANCHOR, odd patterns; WSNZ; the limit */
        return;
    }
    if (read_pattern(command) &&
        set_range(command, unmap ? VDS_BLK_PUNCH : VDS_BLK_ZERO, range.lba, range.n)) {
        command->request->flush = !command->unit->writeback;
    }
}

/* ---- questions
 * ----------------------------------------------------------------------------
 */

static void run_nothing(VdsScsiCommand *command)
{
}

static void run_read_capacity(VdsScsiCommand *command)
{
    uint64_t last = vds_scsi_count_blocks(command) - 1;
    uint8_t answer[8];

    vds_scsi_put(answer, MIN(last, UINT32_MAX), 4);
    vds_scsi_put(answer + 4, command->unit->block_bytes, 4);
    vds_scsi_answer(command, answer, sizeof(answer), sizeof(answer));
}

/* READ CAPACITY (16) is the one action that is known here. */
static void run_service_action(VdsScsiCommand *command)
{
    const VdsScsiUnit *unit = command->unit;
    uint8_t answer[32] = {0};

    if ((command->cdb[1] & 0x1f) != 0x10) {
        refuse_field(command);
        return;
    }
    vds_scsi_put(answer, vds_scsi_count_blocks(command) - 1, 8);
    vds_scsi_put(answer + 8, unit->block_bytes, 4);
    answer[13] = (uint8_t)__builtin_ctz(unit->physical_bytes / unit->block_bytes);
    answer[14] = 0x80; /* blocks can be given back */
    vds_scsi_answer(command, answer, sizeof(answer), vds_scsi_get(command->cdb + 10, 4));
}

static void run_request_sense(VdsScsiCommand *command)
{
    uint8_t sense[VDS_SCSI_SENSE];

    if (command->cdb[1] & 1) {
        refuse_field(command); /* descriptor format */
        return;
    }
    vds_scsi_sense(sense,
                   command->addressed ? VDS_SCSI_NO_SENSE : VDS_SCSI_ILLEGAL_REQUEST,
                   command->addressed ? 0 : VDS_SCSI_NO_UNIT);
    vds_scsi_answer(command, sense, sizeof(sense), command->cdb[4]);
}

/* The one unit; no well-known ones are there (select report 1). */
static void run_report_luns(VdsScsiCommand *command)
{
    bool well_known = command->cdb[2] == 1;
    uint8_t answer[16] = {0};
    uint64_t room = vds_scsi_get(command->cdb + 6, 4);

    if (command->cdb[2] > 2 || room < sizeof(answer)) {
        refuse_field(command);
        return;
    }
    if (!well_known) {
        vds_scsi_put(answer, 8, 4);
        vds_scsi_put(answer + 8,
                     command->unit->lun | (command->unit->lun < 256 ? 0 : 0x4000), 2);
    }
    vds_scsi_answer(command, answer, well_known ? 8 : 16, room);
}

/* ---- the table
 * ----------------------------------------------------------------------------
 */

enum { ANY_UNIT = 1, WRITES = 2 };

#define NOT VDS_BLK_COUNT_NOT
#define READS VDS_BLK_COUNT_READ
#define WROTE VDS_BLK_COUNT_WRITE
#define FLUSHES VDS_BLK_COUNT_FLUSH
#define UNMAPS VDS_BLK_COUNT_UNMAP

static const struct {
    uint8_t opcode;
    uint8_t flags;
    VdsBlkCountKind count;
    void (*run)(VdsScsiCommand *command);
} rows[] = {
    {0x00, 0, NOT, run_nothing},              /* TEST UNIT READY */
    {0x03, ANY_UNIT, NOT, run_request_sense}, /* REQUEST SENSE */
    {0x08, 0, READS, run_read},               /* READ (6) */
    {0x0a, WRITES, WROTE, run_write},         /* WRITE (6) */
    {0x12, ANY_UNIT, NOT, vds_scsi_inquiry},  /* INQUIRY */
    {0x1a, 0, NOT, vds_scsi_mode_sense},      /* MODE SENSE (6) */
    {0x1b, 0, NOT, run_nothing},              /* START STOP UNIT: it needs neither */
    {0x1e, 0, NOT, run_nothing},              /* PREVENT ALLOW MEDIUM REMOVAL: the same */
    {0x25, 0, NOT, run_read_capacity},        /* READ CAPACITY (10) */
    {0x28, 0, READS, run_read},               /* READ (10) */
    {0x2a, WRITES, WROTE, run_write},         /* WRITE (10) */
    {0x2f, 0, NOT, run_verify},               /* VERIFY (10) */
    {0x35, 0, FLUSHES, run_synchronize},      /* SYNCHRONIZE CACHE (10) */
    {0x41, WRITES, WROTE, run_write_same},    /* WRITE SAME (10) */
    {0x42, WRITES, UNMAPS, run_unmap},        /* UNMAP */
    {0x5a, 0, NOT, vds_scsi_mode_sense},      /* MODE SENSE (10) */
    {0x88, 0, READS, run_read},               /* READ (16) */
    {0x8a, WRITES, WROTE, run_write},         /* WRITE (16) */
    {0x8f, 0, NOT, run_verify},               /* VERIFY (16) */
    {0x91, 0, FLUSHES, run_synchronize},      /* SYNCHRONIZE CACHE (16) */
    {0x93, WRITES, WROTE, run_write_same},    /* WRITE SAME (16) */
    {0x9e, 0, NOT, run_service_action},       /* SERVICE ACTION IN (16) */
    {0xa0, ANY_UNIT, NOT, run_report_luns},   /* REPORT LUNS */
    {0xa8, 0, READS, run_read},               /* READ (12) */
    {0xaa, WRITES, WROTE, run_write},         /* WRITE (12) */
    {0xaf, 0, NOT, run_verify},               /* VERIFY (12) */
};

void vds_scsi_command_run(VdsScsiCommand *command)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].opcode != command->cdb[0]) {
            continue;
        }
        if (!command->addressed && !(rows[i].flags & ANY_UNIT)) {
            vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_NO_UNIT);
        } else if ((rows[i].flags & WRITES) && command->disk->read_only) {
            vds_scsi_refuse(command, VDS_SCSI_DATA_PROTECT, VDS_SCSI_WRITE_PROTECTED);
        } else {
            command->request->count = rows[i].count;
            rows[i].run(command);
        }
        return;
    }
    vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST,
                    command->addressed ? VDS_SCSI_INVALID_OPCODE : VDS_SCSI_NO_UNIT);
}
