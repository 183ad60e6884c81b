/*
 * inspect: one chain as x-query-virtio-queue-element shows it.  Refuses to know memory,
 * devices and text.
 */
#include "vds/inspect.h"

void vds_element_init(VdsElement *element, const VdsChain *chain)
{
    *element = (VdsElement){
        .index = chain->id,
        .avail_flags = chain->avail_flags,
        .avail_idx = chain->avail_idx,
        /* QEMU puts the head it found in the slot here; a packed ring has no avail ring,
         * so its place says which slot was read. */
        .avail_ring = chain->packed ? chain->slot : chain->id,
        .used_flags = chain->used_flags,
        .used_idx = chain->used_idx,
        .n = chain->n,
        .descs = chain->descs,
    };
}
