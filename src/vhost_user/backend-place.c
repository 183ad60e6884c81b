/*
 * vhost_user: where a ring lies, and where in it a device goes on: the front-end's
 * addresses and SET_VRING_BASE, made into a device's setup.  Refuses to know ring states.
 * docs/interop/vhost-user.rst, "Memory access"; rules C3 and P10.
 */
#include "backend-priv.h"

enum {
    WRAP_BIT = 1 << 15, /* P10: of a packed ring's position */
    USED_SHIFT = 16,
    USED_IDX_OFFSET = 2, /* in a split ring's used area (virtio 1.2, 2.7.8) */
};

typedef struct {
    const char *name;
    uint64_t uva, len;
    uint64_t *gpa;
} Area;

static bool translate(const VdsGuestMap *map, unsigned n, const Area *area,
                      GError **error)
{
    if (map && vds_guest_map_uva_to_gpa(map, area->uva, area->len, area->gpa)) {
        return true;
    }
    g_set_error(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_RING,
                "C3: ring %u: %s area at 0x%" PRIx64 ", length %" PRIu64
                ", is not in the front-end's memory",
                n, area->name, area->uva, area->len);
    return false;
}

static VdsQueueState ring_shape(const VdsVhostUserBackend *backend,
                                const VdsBackendRing *ring)
{
    return (VdsQueueState){
        .packed = (backend->features >> VDS_F_RING_PACKED) & 1,
        .event_idx = (backend->features >> VDS_F_RING_EVENT_IDX) & 1,
        .num = ring->num,
    };
}

/* Rings are named by the front-end's addresses, everything else by the guest's. */
bool vds_ring_place(const VdsVhostUserBackend *backend, const VdsGuestMap *map,
                    unsigned n, VdsQueueSetup *setup, GError **error)
{
    const VdsBackendRing *ring = &backend->rings[n];
    const VdsQueueState shape = ring_shape(backend, ring);
    const Area areas[] = {
        {"descriptor", ring->address.desc, vds_queue_desc_size(&shape), &setup->desc},
        {shape.packed ? "driver event" : "avail", ring->address.avail,
         vds_queue_avail_size(&shape), &setup->avail},
        {shape.packed ? "device event" : "used", ring->address.used,
         vds_queue_used_size(&shape), &setup->used},
    };

    setup->num = ring->num;
    setup->log = (ring->address.flags >> VDS_VHOST_USER_RING_F_LOG) & 1;
    setup->log_used = ring->address.log;
    for (size_t i = 0; i < G_N_ELEMENTS(areas); i++) {
        if (!translate(map, n, &areas[i], error)) {
            return false;
        }
    }
    return true;
}

/* DPDK's virtio-user gives a fresh ring without its used half. */
enum { FRESH_AVAIL_HALF = WRAP_BIT };

/* P10.  Slot 0 with wrap counter 0 is a position of the used half like any other. */
static bool packed_base(const VdsBackendRing *ring, unsigned n, VdsQueueSetup *setup,
                        GError **error)
{
    uint32_t avail = ring->base & UINT16_MAX;
    uint32_t used = ring->base == FRESH_AVAIL_HALF ? avail : ring->base >> USED_SHIFT;

    setup->avail_base = (uint16_t)(avail & ~(uint32_t)WRAP_BIT);
    setup->avail_wrap = (avail & WRAP_BIT) != 0;
    setup->used_base = (uint16_t)(used & ~(uint32_t)WRAP_BIT);
    setup->used_wrap = (used & WRAP_BIT) != 0;
    return (setup->avail_base < ring->num && setup->used_base < ring->num) ||
           vds_ring_fail(error, VDS_VHOST_USER_ERROR_RING, "P10", n,
                         "has base 0x%" PRIx32
                         ", positions %u and %u, outside the ring of %" PRIu32,
                         ring->base, setup->avail_base, setup->used_base, ring->num);
}

/* What was used before lies in the ring itself. */
static bool split_base(const VdsVhostUserBackend *backend, const VdsBackendRing *ring,
                       VdsQueueSetup *setup, GError **error)
{
    uint16_t used;

    if (!vds_guest_map_read_u16(backend->map, setup->used + USED_IDX_OFFSET, &used, 1,
                                error)) {
        return false;
    }
    setup->avail_base = (uint16_t)ring->base;
    setup->used_base = used;
    return true;
}

bool vds_ring_setup(const VdsVhostUserBackend *backend, unsigned n, VdsQueueSetup *setup,
                    GError **error)
{
    const VdsBackendRing *ring = &backend->rings[n];

    *setup = (VdsQueueSetup){.has_base = true};
    return vds_ring_place(backend, backend->map, n, setup, error) &&
           (ring_shape(backend, ring).packed ? packed_base(ring, n, setup, error)
                                             : split_base(backend, ring, setup, error));
}
