/*
 * devices: which image format a file begins with, by the magic numbers of the formats
 * that QEMU probes for.  A disk of such a file would show the guest the container instead
 * of what is in it, and the first write would destroy it.  Refuses to know what is behind
 * a magic number.
 */
#include <string.h>

#include "blk-priv.h"

enum { HEAD_BYTES = 512, TAIL_BYTES = 512, MAX_MAGIC = 32 };

/* `at`: from the start of the file. */
static const struct {
    const char *format;
    unsigned at, len;
    char magic[MAX_MAGIC];
} heads[] = {
    {"qcow", 0, 8, "QFI\xfb\0\0\0\1"},
    {"qcow2", 0, 8, "QFI\xfb\0\0\0\2"},
    {"qcow2", 0, 8, "QFI\xfb\0\0\0\3"},
    {"qed", 0, 4, "QED"}, /* and a NUL */
    {"vmdk", 0, 4, "KDMV"},
    {"vmdk", 0, 4, "COWD"},
    {"vmdk", 0, 21, "# Disk DescriptorFile"},
    {"vdi", 64, 4, "\x7f\x10\xda\xbe"},
    {"vhdx", 0, 8, "vhdxfile"},
    {"vpc", 0, 8, "conectix"},
    {"luks", 0, 6, "LUKS\xba\xbe"},
    {"parallels", 0, 16, "WithoutFreeSpace"},
    {"parallels", 0, 16, "WithouFreSpacExt"},
    {"bochs", 0, 22, "Bochs Virtual HD Image"},
    {"cloop", 0, 24, "#!/bin/sh\n#V2.0 Format\nm"},
};

/* In the last sector. */
static const struct {
    const char *format, *magic;
} tails[] = {{"dmg", "koly"}};

/* (nullable) */
static const char *find_in_head(const char *bytes, size_t n)
{
    for (size_t i = 0; i < G_N_ELEMENTS(heads); i++) {
        if (n >= heads[i].at + heads[i].len &&
            memcmp(bytes + heads[i].at, heads[i].magic, heads[i].len) == 0) {
            return heads[i].format;
        }
    }
    return NULL;
}

const char *vds_blk_probe(int fd, uint64_t size_bytes)
{
    char bytes[HEAD_BYTES];
    ssize_t n = pread(fd, bytes, sizeof(bytes), 0);
    const char *format = n > 0 ? find_in_head(bytes, (size_t)n) : NULL;

    if (format || size_bytes < TAIL_BYTES ||
        pread(fd, bytes, TAIL_BYTES, (off_t)(size_bytes - TAIL_BYTES)) != TAIL_BYTES) {
        return format;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(tails); i++) {
        if (memcmp(bytes, tails[i].magic, strlen(tails[i].magic)) == 0) {
            return tails[i].format;
        }
    }
    return NULL;
}
