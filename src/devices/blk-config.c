/*
 * devices: the configuration space of virtio-blk (virtio 1.2, 5.2.4), with the values
 * that QEMU 7.2 shows for the same properties.
 */
#include <string.h>

#include "blk-priv.h"

/* Offsets. */
enum {
    CAPACITY = 0,
    SEG_MAX = 12,
    CYLINDERS = 16,
    HEADS = 18,
    SECTORS = 19,
    BLK_SIZE = 20,
    PHYSICAL_EXP = 24,
    MIN_IO = 26,
    OPT_IO = 28,
    NUM_QUEUES = 34,
    MAX_DISCARD_SECTORS = 36,
    MAX_DISCARD_SEG = 40,
    DISCARD_ALIGNMENT = 44,
    MAX_ZERO_SECTORS = 48,
    MAX_ZERO_SEG = 52,
    ZERO_MAY_UNMAP = 56,
};

enum { OLD_SEG_MAX = 128 - 2, GUESS_HEADS = 16, GUESS_SECTORS = 63 };

static void put(uint8_t *config, unsigned offset, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        config[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

/* A disk without a partition table: 16 heads of 63 sectors, as many cylinders as fit.
 * Tracks are cut to whole blocks where they do not come out even. */
static void put_geometry(uint8_t *config, const VdsBlkShape *shape,
                         const VdsPropertySet *set)
{
    uint64_t cylinders = vds_property_set_get_uint(set, "cyls");
    uint64_t heads = vds_property_set_get_uint(set, "heads");
    uint64_t sectors = vds_property_set_get_uint(set, "secs");

    if (cylinders == 0 || heads == 0 || sectors == 0) {
        heads = GUESS_HEADS;
        sectors = GUESS_SECTORS;
        cylinders = shape->size_bytes / VDS_BLK_SECTOR / (heads * sectors);
        cylinders = CLAMP(cylinders, 2, 16383);
    }
    if (shape->size_bytes / heads / sectors % shape->block_bytes != 0) {
        sectors &= ~(uint64_t)(shape->block_bytes / VDS_BLK_SECTOR - 1);
    }
    put(config, CYLINDERS, cylinders, 2);
    put(config, HEADS, heads, 1);
    put(config, SECTORS, sectors, 1);
}

static void put_discard(uint8_t *config, const VdsBlkShape *shape,
                        const VdsPropertySet *set)
{
    uint64_t granularity = vds_property_set_get_uint(set, "discard_granularity");

    if (granularity >= UINT32_MAX ||
        !vds_property_set_get_bool(set, "report-discard-granularity")) {
        granularity = shape->block_bytes;
    }
    put(config, MAX_DISCARD_SECTORS,
        vds_property_set_get_uint(set, "max-discard-sectors"), 4);
    put(config, MAX_DISCARD_SEG, 1, 4);
    put(config, DISCARD_ALIGNMENT, granularity / VDS_BLK_SECTOR, 4);
}

void vds_blk_config_fill(uint8_t *config, const VdsBlkShape *shape,
                         const VdsFeatures *offered, const VdsPropertySet *set)
{
    bool adjust = vds_property_set_get_bool(set, "seg-max-adjust");

    memset(config, 0, VDS_BLK_CONFIG_BYTES);
    put(config, CAPACITY, shape->size_bytes / VDS_BLK_SECTOR, 8);
    put(config, SEG_MAX, adjust ? shape->queue_size - 2 : OLD_SEG_MAX, 4);
    put_geometry(config, shape, set);
    put(config, BLK_SIZE, shape->block_bytes, 4);
    put(config, PHYSICAL_EXP,
        (uint64_t)__builtin_ctz(shape->physical_bytes / shape->block_bytes), 1);
    put(config, MIN_IO,
        vds_property_set_get_uint(set, "min_io_size") / shape->block_bytes, 2);
    put(config, OPT_IO,
        vds_property_set_get_uint(set, "opt_io_size") / shape->block_bytes, 4);
    put(config, VDS_BLK_CONFIG_WRITEBACK,
        vds_property_set_get_uint(set, "write-cache") != VDS_BLK_OFF, 1);
    put(config, NUM_QUEUES, shape->n_queues, 2);
    if (vds_features_has(offered, VDS_BLK_F_DISCARD)) {
        put_discard(config, shape, set);
    }
    if (vds_features_has(offered, VDS_BLK_F_WRITE_ZEROES)) {
        put(config, MAX_ZERO_SECTORS,
            vds_property_set_get_uint(set, "max-write-zeroes-sectors"), 4);
        put(config, MAX_ZERO_SEG, 1, 4);
        put(config, ZERO_MAY_UNMAP, 1, 1);
    }
}
