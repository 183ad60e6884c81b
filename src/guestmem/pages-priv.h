/*
 * guestmem: which runs of pages are handed out.  Numbers only: no memory, no lock.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct VdsPages VdsPages;

/* Pages first to first + n - 1 are free. */
VdsPages *vds_pages_new(uint64_t first, uint64_t n);
void vds_pages_free(VdsPages *pages); /* NULL is fine */

/* The lowest run of n > 0 pages that begins at a multiple of `align`, a power of two. */
bool vds_pages_take(VdsPages *pages, uint64_t n, uint64_t align, uint64_t *start);
/* Gives a run back; returns its length, 0 if none was taken at `start`. */
uint64_t vds_pages_give(VdsPages *pages, uint64_t start);
uint64_t vds_pages_get_taken(const VdsPages *pages);
