/*
 * devices: what a request of virtio-blk says (virtio 1.2, 5.2.6): its header, its range,
 * its answer.  Refuses to know how the disk is reached; what it leaves in the request is
 * checked against the disk.
 */
#include <string.h>

#include "blk-priv.h"

enum {
    HEADER_BYTES = 16,
    SEGMENT_BYTES = 16, /* of DISCARD and WRITE_ZEROES */
    SEGMENT_F_UNMAP = 1,
    ANY_FEATURE = -1,
};

struct VdsBlkType {
    uint32_t number;
    int feature; /* without it the type is unknown */
    bool writes; /* refused by a disk that is read only */
    VdsBlkOpKind kind;
    VdsBlkCountKind count;
    /* Sets the range; returns the status so far, or what is wrong beyond a status. */
    const char *(*begin)(VdsBlkRequest *request, const VdsBlkRules *rules,
                         uint64_t sector);
};

static uint32_t get_le32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return GUINT32_FROM_LE(value);
}

static uint64_t get_le64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return GUINT64_FROM_LE(value);
}

/* Whole logical blocks inside the disk; no sum of what a driver sent is formed. */
static void set_range(VdsBlkRequest *request, const VdsBlkRules *rules, uint64_t sector,
                      uint64_t len)
{
    uint64_t capacity = rules->disk->size_bytes / VDS_BLK_SECTOR;
    uint64_t sectors = len / VDS_BLK_SECTOR;
    uint64_t within = rules->block_bytes - 1; /* it is a power of two */

    if (sector > capacity || sectors > capacity - sector ||
        ((sector * VDS_BLK_SECTOR | len) & within) != 0) {
        request->status = VDS_BLK_S_IOERR;
        return;
    }
    request->offset = sector * VDS_BLK_SECTOR;
    request->left = len;
}

static const char *begin_read(VdsBlkRequest *request, const VdsBlkRules *rules,
                              uint64_t sector)
{
    /* The last byte is the status. */
    set_range(request, rules, sector, vds_stream_left(&request->io->in) - 1);
    return NULL;
}

static const char *begin_write(VdsBlkRequest *request, const VdsBlkRules *rules,
                               uint64_t sector)
{
    set_range(request, rules, sector, vds_stream_left(&request->io->out));
    /* Write-through: done is what survives the power (virtio 1.2, 5.2.6.2). */
    request->flush = !rules->writeback;
    return NULL;
}

static const char *begin_flush(VdsBlkRequest *request, const VdsBlkRules *rules,
                               uint64_t sector)
{
    request->flush = true;
    return NULL;
}

static const char *begin_get_id(VdsBlkRequest *request, const VdsBlkRules *rules,
                                uint64_t sector)
{
    char id[VDS_BLK_ID_BYTES] = {0};
    uint64_t room = vds_stream_left(&request->io->in) - 1;

    if (rules->serial) {
        memcpy(id, rules->serial, strnlen(rules->serial, sizeof(id)));
    }
    vds_stream_write(&request->io->in, id, (size_t)MIN(room, sizeof(id)));
    return NULL;
}

/* One segment, as max_discard_seg and max_write_zeroes_seg say (virtio 1.2, 5.2.6.2). */
static const char *begin_segment(VdsBlkRequest *request, const VdsBlkRules *rules,
                                 uint32_t max_sectors, uint32_t known_flags)
{
    uint8_t segment[SEGMENT_BYTES];
    uint32_t sectors, flags;

    if (vds_stream_left(&request->io->out) > SEGMENT_BYTES) {
        request->status = VDS_BLK_S_UNSUPP;
        return NULL;
    }
    if (vds_stream_read(&request->io->out, segment, SEGMENT_BYTES) < SEGMENT_BYTES) {
        return "5.2.6: a discard or write-zeroes segment of less than 16 bytes";
    }
    sectors = get_le32(segment + 8);
    flags = get_le32(segment + 12);
    if (flags & ~known_flags) {
        request->status = VDS_BLK_S_UNSUPP;
    } else if (sectors > max_sectors) {
        request->status = VDS_BLK_S_IOERR;
    } else {
        set_range(request, rules, get_le64(segment), (uint64_t)sectors * VDS_BLK_SECTOR);
        request->kind = flags & SEGMENT_F_UNMAP ? VDS_BLK_PUNCH : request->kind;
        request->flush = !rules->writeback;
    }
    return NULL;
}

static const char *begin_discard(VdsBlkRequest *request, const VdsBlkRules *rules,
                                 uint64_t sector)
{
    return begin_segment(request, rules, rules->max_discard_sectors, 0);
}

static const char *begin_zeroes(VdsBlkRequest *request, const VdsBlkRules *rules,
                                uint64_t sector)
{
    return begin_segment(request, rules, rules->max_zero_sectors, SEGMENT_F_UNMAP);
}

static const VdsBlkType types[] = {
    {0, ANY_FEATURE, false, VDS_BLK_READ, VDS_BLK_COUNT_READ, begin_read},
    {1, ANY_FEATURE, true, VDS_BLK_WRITE, VDS_BLK_COUNT_WRITE, begin_write},
    {4, ANY_FEATURE, false, VDS_BLK_FLUSH, VDS_BLK_COUNT_FLUSH, begin_flush},
    {8, ANY_FEATURE, false, VDS_BLK_READ, VDS_BLK_COUNT_NOT, begin_get_id},
    {11, VDS_BLK_F_DISCARD, true, VDS_BLK_DISCARD, VDS_BLK_COUNT_UNMAP, begin_discard},
    {13, VDS_BLK_F_WRITE_ZEROES, true, VDS_BLK_ZERO, VDS_BLK_COUNT_WRITE, begin_zeroes},
};

static const VdsBlkType *type_find(uint32_t number, const VdsFeatures *features)
{
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i].number == number) {
            return types[i].feature == ANY_FEATURE ||
                           vds_features_has(features, (unsigned)types[i].feature)
                       ? &types[i]
                       : NULL;
        }
    }
    return NULL;
}

static const char *request_begin(VdsBlkRequest *request, const VdsBlkRules *rules)
{
    uint8_t header[HEADER_BYTES];

    request->status = VDS_BLK_S_OK;
    request->offset = request->left = 0;
    request->flush = false;
    request->count = VDS_BLK_COUNT_NOT;
    if (vds_stream_left(&request->io->in) == 0) {
        return "5.2.6: a request without room for a status";
    }
    if (vds_stream_read(&request->io->out, header, HEADER_BYTES) < HEADER_BYTES) {
        return "5.2.6: a request header of less than 16 bytes";
    }
    request->type = type_find(get_le32(header), &rules->features);
    if (!request->type) {
        request->status = VDS_BLK_S_UNSUPP;
        return NULL;
    }
    request->kind = request->type->kind;
    request->count = request->type->count;
    if (request->type->writes && rules->disk->read_only) {
        request->status = VDS_BLK_S_IOERR;
        return NULL;
    }
    return request->type->begin(request, rules, get_le64(header + 8));
}

/* The status is the last byte.  What is said to be written counts from the start, so it
 * is counted only when all before it was written (virtio 1.2, 2.7.8.2). */
static void request_end(VdsBlkRequest *request)
{
    VdsStream *in = &request->io->in;
    uint64_t data = vds_stream_done(in);
    uint64_t left = vds_stream_left(in);

    if (left > 1) {
        vds_stream_seek(in, data + left - 1);
    }
    if (left > 0) { /* else its memory is gone, or the queue was reset */
        vds_stream_write(in, &request->status, 1);
    }
    if (left > 1) {
        vds_stream_seek(in, data);
    }
}

const VdsBlkProtocol vds_blk_protocol = {.begin = request_begin, .end = request_end};
