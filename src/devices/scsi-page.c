/*
 * devices: what a SCSI disk says of itself: INQUIRY with its vital product data, and mode
 * pages (SPC-4, 6.4, 6.11, 7.8; SBC-3, 6.4, 6.5).
 */
#include <string.h>

#include "scsi-priv.h"

enum {
    DISK = 0x00,          /* peripheral device type */
    NOTHING_THERE = 0x7f, /* qualifier and type of a unit that is none */
    MAX_DESIGNATOR = 64,  /* bytes of text */
};

typedef struct {
    uint8_t bytes[VDS_SCSI_MAX_PAGE];
    size_t len;
} Page;

static void add(Page *page, uint64_t value, unsigned n)
{
    vds_scsi_put(page->bytes + page->len, value, n);
    page->len += n;
}

static void add_text(Page *page, const char *text, size_t len)
{
    memcpy(page->bytes + page->len, text, len);
    page->len += len;
}

/* Left-aligned, filled with spaces. */
static void add_field(Page *page, const char *text, size_t len)
{
    size_t n = strnlen(text, len);

    memcpy(page->bytes + page->len, text, n);
    memset(page->bytes + page->len + n, ' ', len - n);
    page->len += len;
}

/* ---- vital product data
 * ------------------------------------------------------------------
 */

static bool page_supported(const VdsScsiCommand *command, Page *page);

static bool page_serial(const VdsScsiCommand *command, Page *page)
{
    const char *serial = command->unit->serial;

    if (serial) {
        add_text(page, serial, strnlen(serial, MAX_DESIGNATOR));
    }
    return serial != NULL;
}

/* A name for people, and the world-wide one (SPC-4, 7.8.6). */
static bool page_identification(const VdsScsiCommand *command, Page *page)
{
    const VdsScsiUnit *unit = command->unit;
    const char *id = unit->device_id ? unit->device_id : unit->serial;

    if (id) {
        size_t len = strnlen(id, MAX_DESIGNATOR);

        add(page, 0x02, 1); /* ASCII */
        add(page, 0x00, 1); /* vendor specific, of the unit */
        add(page, 0, 1);
        add(page, len, 1);
        add_text(page, id, len);
    }
    if (unit->wwn != 0) {
        add(page, 0x01, 1); /* binary */
        add(page, 0x03, 1); /* NAA */
        add(page, 0, 1);
        add(page, 8, 1);
        add(page, unit->wwn, 8);
    }
    return true;
}

/* Block limits: one range a command, and zero blocks are none (SBC-3, 6.5.3). */
static bool page_limits(const VdsScsiCommand *command, Page *page)
{
    const VdsScsiUnit *unit = command->unit;

    add(page, 1, 1); /* WSNZ */
    add(page, 0, 1);
    add(page, MIN(vds_scsi_in_blocks(unit, unit->min_io_bytes), UINT16_MAX), 2);
    add(page, vds_scsi_in_blocks(unit, unit->max_io_bytes), 4);
    add(page, vds_scsi_in_blocks(unit, unit->opt_io_bytes), 4);
    add(page, 0, 4); /* prefetch */
    add(page, vds_scsi_in_blocks(unit, unit->max_unmap_bytes), 4);
    add(page, 1, 4); /* descriptors of an UNMAP */
    add(page, 1, 4); /* granularity */
    add(page, 0, 4);
    add(page, VDS_SCSI_WRITE_SAME_BLOCKS, 8);
    page->len = 60;
    return true;
}

static bool page_characteristics(const VdsScsiCommand *command, Page *page)
{
    add(page, command->unit->rotation_rate, 2);
    page->len = 60;
    return true;
}

/* Thin: UNMAP, and WRITE SAME of both lengths with UNMAP; what is read then is not said.
 */
static bool page_provisioning(const VdsScsiCommand *command, Page *page)
{
    add(page, 0, 1);
    add(page, 0xe0, 1);
    add(page, 2, 1);
    add(page, 0, 1);
    return true;
}

static const struct {
    uint8_t code;
    bool (*fill)(const VdsScsiCommand *command, Page *page); /* false: there is none */
} vital_pages[] = {
    {0x00, page_supported}, {0x80, page_serial},          {0x83, page_identification},
    {0xb0, page_limits},    {0xb1, page_characteristics}, {0xb2, page_provisioning},
};

static bool page_supported(const VdsScsiCommand *command, Page *page)
{
    for (size_t i = 0; i < G_N_ELEMENTS(vital_pages); i++) {
        if (vital_pages[i].code != 0x80 || command->unit->serial) {
            add(page, vital_pages[i].code, 1);
        }
    }
    return true;
}

static void inquiry_vital(VdsScsiCommand *command, uint64_t room)
{
    Page page = {.bytes = {DISK, command->cdb[2]}, .len = 0};
    Page body = {.len = 0};

    for (size_t i = 0; i < G_N_ELEMENTS(vital_pages); i++) {
        if (vital_pages[i].code == command->cdb[2] &&
            vital_pages[i].fill(command, &body)) {
            page.len = 2;
            add(&page, body.len, 2);
            memcpy(page.bytes + page.len, body.bytes, body.len);
            vds_scsi_answer(command, page.bytes, page.len + body.len, room);
            return;
        }
    }
    vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_INVALID_FIELD);
}

static void inquiry_standard(VdsScsiCommand *command, uint64_t room)
{
    const VdsScsiUnit *unit = command->unit;
    Page page = {.len = 0};

    add(&page, command->addressed ? DISK : NOTHING_THERE, 1);
    add(&page, unit->removable ? 0x80 : 0, 1);
    add(&page, 5, 1);      /* SPC-3 */
    add(&page, 0x12, 1);   /* hierarchical addressing, response data format 2 */
    add(&page, 36 - 5, 1); /* bytes that follow */
    add(&page, 0x0002, 3); /* command queuing */
    add_field(&page, unit->vendor, VDS_SCSI_VENDOR);
    add_field(&page, unit->product, VDS_SCSI_PRODUCT);
    add_field(&page, unit->version, VDS_SCSI_VERSION);
    vds_scsi_answer(command, page.bytes, page.len, room);
}

void vds_scsi_inquiry(VdsScsiCommand *command)
{
    uint64_t room = vds_scsi_get(command->cdb + 3, 2);
    bool vital = command->cdb[1] & 1;

    if (vital && !command->addressed) {
        vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_NO_UNIT);
    } else if (vital) {
        inquiry_vital(command, room);
    } else if (command->cdb[2] != 0) {
        vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_INVALID_FIELD);
    } else {
        inquiry_standard(command, room);
    }
}

/* ---- mode pages
 * ---------------------------------------------------------------------------
 */

enum { PAGE_CACHING = 0x08, PAGE_ALL = 0x3f, CURRENT = 0, CHANGEABLE = 1, SAVED = 3 };

/* Nothing can be changed: there is no MODE SELECT. */
static void add_caching(const VdsScsiCommand *command, unsigned control, Page *page)
{
    bool cache = command->unit->writeback && control != CHANGEABLE;

    add(page, PAGE_CACHING, 1);
    add(page, 0x12, 1);
    add(page, cache ? 4 : 0, 1); /* WCE */
    page->len += 17;
}

void vds_scsi_mode_sense(VdsScsiCommand *command)
{
    const uint8_t *cdb = command->cdb;
    bool is_short = cdb[0] == 0x1a;
    unsigned control = cdb[2] >> 6, code = cdb[2] & 0x3f, n = is_short ? 1 : 2;
    uint64_t room = is_short ? cdb[4] : vds_scsi_get(cdb + 7, 2);
    uint8_t specific = (uint8_t)((command->disk->read_only ? 0x80 : 0) |
                                 (command->unit->fua ? 0x10 : 0));
    Page page = {.len = 0};

    if (control == SAVED) {
        vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_NO_SAVING);
        return;
    }
    if (code != PAGE_CACHING && code != PAGE_ALL) {
        vds_scsi_refuse(command, VDS_SCSI_ILLEGAL_REQUEST, VDS_SCSI_INVALID_FIELD);
        return;
    }
    add(&page, 0, n + 1); /* length, medium type */
    add(&page, specific, 1);
    add(&page, 0, is_short ? 1 : 4); /* no block descriptor */
    add_caching(command, control, &page);
    vds_scsi_put(page.bytes, page.len - n, n);
    vds_scsi_answer(command, page.bytes, page.len, room);
}
