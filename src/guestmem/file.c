/*
 * guestmem: bytes that the system moves between guest memory and a file, with no copy of
 * ours in between.  Refuses to know what the file is.
 *
 * Memory that was cut short is met by the system with EFAULT, not with SIGBUS.
 */
#include <sys/uio.h>

#include "map-priv.h"

typedef ssize_t (*MoveFunc)(int fd, const struct iovec *iov, int n, off_t offset,
                            int flags);

static size_t move(const VdsGuestMap *map, uint64_t gpa, size_t len,
                   const VdsGuestFile *file, MoveFunc func)
{
    const MapRegion *region = len > 0 ? map_find(map, gpa) : NULL;
    struct iovec iov;
    ssize_t n;

    if (!region) {
        return 0;
    }
    iov.iov_base = region->hva + (gpa - region->config.gpa);
    iov.iov_len = piece_in(region, gpa, len);
    n = func(file->fd, &iov, 1, (off_t)file->offset, file->flags);
    if (n <= 0 || (region->guarded && !is_whole(region, iov.iov_base, (size_t)n))) {
        return 0;
    }
    return (size_t)n;
}

size_t vds_guest_map_read_file(const VdsGuestMap *map, uint64_t gpa, size_t len,
                               const VdsGuestFile *file)
{
    size_t n = map->mode == VDS_MAP_READ_ONLY ? 0 : move(map, gpa, len, file, preadv2);

    vds_guest_map_mark(map, gpa, n);
    return n;
}

size_t vds_guest_map_write_file(const VdsGuestMap *map, uint64_t gpa, size_t len,
                                const VdsGuestFile *file)
{
    return move(map, gpa, len, file, pwritev2);
}
