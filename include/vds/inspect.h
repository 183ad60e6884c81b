/*
 * inspect: queue state and chain to what a person is shown.  Pure: no map, no I/O, no
 * device.  Later the home of findings and verdicts.
 */
#pragma once

#include "vds/vring.h"

/* x-query-virtio-queue-element's view of one chain (docs/compat.md says what each member
 * means for a packed ring). */
typedef struct {
    uint32_t index;
    uint16_t avail_flags, avail_idx, avail_ring;
    uint16_t used_flags, used_idx;
    size_t n;
    const VdsDesc *descs; /* chain order; shown is the reverse: vds_element_desc() */
} VdsElement;

/* Borrows the chain. */
void vds_element_init(VdsElement *element, const VdsChain *chain);
/* The n-th descriptor as shown: the chain's last comes first. */
static inline const VdsDesc *vds_element_desc(const VdsElement *element, size_t n)
{
    return &element->descs[element->n - 1 - n];
}
