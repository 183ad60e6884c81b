/*
 * guest: what a workload does with a disk: blocks spread over it are written and read
 * again in turn, and what must be in each is known.  Refuses to know how a request looks.
 */
#include <string.h>

#include "guest-priv.h"

enum {
    SECTOR = 512,
    BLOCK = VDS_GUEST_BLOCK,
    BLOCK_SECTORS = BLOCK / SECTOR,
    BLOCK_WORDS = BLOCK / 8,
    FLUSH_EVERY = 64, /* requests */
};

void vds_guest_blocks_init(VdsGuestBlocks *blocks, uint64_t sectors)
{
    uint64_t all = sectors / BLOCK_SECTORS;

    *blocks = (VdsGuestBlocks){.n = (unsigned)MIN(all, VDS_GUEST_BLOCKS)};
    for (unsigned i = 0; i < blocks->n; i++) {
        blocks->blocks[i].sector = all / blocks->n * i * BLOCK_SECTORS;
    }
}

/* Each block in turn: written, read, written. */
VdsGuestTurn vds_guest_blocks_turn(VdsGuestBlocks *blocks, unsigned *n)
{
    uint64_t turn;

    if (blocks->n == 0 || blocks->blocks[blocks->next].busy) {
        return VDS_GUEST_TURN_NONE;
    }
    turn = blocks->turns++;
    if (blocks->flushes && turn % FLUSH_EVERY == FLUSH_EVERY - 1) {
        return VDS_GUEST_TURN_FLUSH;
    }
    *n = blocks->next;
    blocks->next = (blocks->next + 1) % blocks->n;
    return !blocks->read_only && turn / blocks->n % 2 == 0 ? VDS_GUEST_TURN_WRITE
                                                           : VDS_GUEST_TURN_READ;
}

uint64_t vds_guest_blocks_sector(const VdsGuestBlocks *blocks, unsigned n)
{
    return blocks->blocks[n].sector;
}

/* What generation `generation` of a block looks like: every word tells where it belongs
 * and when it was written. */
static void fill(uint64_t *words, uint64_t sector, uint32_t generation)
{
    uint64_t seed =
        (sector << 32 ^ generation) * UINT64_C(0x9e3779b97f4a7c15) + generation;

    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        words[i] = GUINT64_TO_LE(seed + i * UINT64_C(0x0001000100010001));
    }
}

bool vds_guest_blocks_put(VdsGuestBlocks *blocks, VdsGuestDevice *device, unsigned n,
                          uint64_t gpa)
{
    uint64_t words[BLOCK_WORDS];

    blocks->generation = blocks->generation == UINT32_MAX ? 1 : blocks->generation + 1;
    fill(words, blocks->blocks[n].sector, blocks->generation);
    return vds_guest_device_write(device, gpa, words, sizeof(words));
}

void vds_guest_blocks_sent(VdsGuestBlocks *blocks, unsigned n, bool wrote)
{
    blocks->blocks[n].busy = true;
    blocks->blocks[n].writing = wrote ? blocks->generation : 0;
}

static void check_contents(VdsGuestDevice *device, const VdsGuestBlock *block,
                           uint64_t gpa)
{
    uint64_t found[BLOCK_WORDS], expected[BLOCK_WORDS];
    unsigned word = 0;

    if (!vds_guest_device_read(device, gpa, found, sizeof(found))) {
        return;
    }
    fill(expected, block->sector, block->written);
    if (memcmp(found, expected, sizeof(found)) == 0) {
        vds_guest_device_count(device);
        return;
    }
    while (found[word] == expected[word]) {
        word++;
    }
    vds_guest_device_error(device,
                           "sector %" PRIu64 ", byte %u: found %016" PRIx64
                           ", written was %016" PRIx64,
                           block->sector, word * 8, GUINT64_FROM_LE(found[word]),
                           GUINT64_FROM_LE(expected[word]));
}

void vds_guest_blocks_settle(VdsGuestBlocks *blocks, VdsGuestDevice *device, unsigned n,
                             bool good, uint64_t gpa)
{
    VdsGuestBlock *block = &blocks->blocks[n];
    bool wrote = block->writing != 0;

    if (wrote) {
        block->written = good ? block->writing : 0;
        block->writing = 0;
    }
    block->busy = false;
    if (good && !wrote && block->written != 0) {
        check_contents(device, block, gpa);
    } else if (good) {
        vds_guest_device_count(device);
    }
}
