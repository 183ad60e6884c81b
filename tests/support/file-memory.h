/*
 * tests: a few pages of guest memory in a file that can be cut short.
 */
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vds/guestmem.h"

enum { GPA = 0x10000, PAGE = 4096, PAGES = 4, BYTES = PAGES * PAGE };

static inline int new_memfd(void)
{
    int fd = memfd_create("test-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BYTES), 0);
    return fd;
}

static inline VdsGuestMap *map_of(int fd)
{
    const VdsGuestRegion region = {GPA, BYTES, fd, 0, 0, NULL};
    VdsGuestMap *map = vds_guest_map_new_writable(&region, 1, NULL);

    assert_non_null(map);
    return map;
}
