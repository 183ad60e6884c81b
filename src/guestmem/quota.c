/*
 * guestmem: VdsGuestQuota, the address space that peers share, and VdsGuestShare, what
 * one of them has of it.
 *
 * A sparse file may be longer than the address space, and mapping it costs its owner
 * nothing; so the sum is counted here, and not what a file holds.  Refuses to know what
 * is mapped.
 */
#include <sys/resource.h>

#include "map-priv.h"

struct VdsGuestQuota {
    atomic_uint refs;
    uint64_t max_bytes, max_mappings; /* constant */
    pthread_mutex_t lock;             /* of the next two, and those of every share */
    uint64_t bytes, mappings;
};

struct VdsGuestShare {
    atomic_uint refs;
    VdsGuestQuota *quota; /* owned */
    uint64_t bytes, mappings;
};

/* ---- the quota --------------------------------------------------------------------- */

VdsGuestQuota *vds_guest_quota_new(uint64_t max_bytes, uint64_t max_mappings)
{
    VdsGuestQuota *quota = g_new0(VdsGuestQuota, 1);

    atomic_init(&quota->refs, 1);
    quota->max_bytes = max_bytes;
    quota->max_mappings = max_mappings;
    pthread_mutex_init(&quota->lock, NULL);
    return quota;
}

/* The stack lies at the top of the half that is a process's. */
static uint64_t address_space(void)
{
    uint64_t top = UINT64_C(1) << 30;
    struct rlimit limit;

    while (top <= (uintptr_t)&limit && top < UINT64_C(1) << 62) {
        top <<= 1;
    }
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        top = MIN(top, limit.rlim_cur);
    }
    return top;
}

VdsGuestQuota *vds_guest_quota_new_of_process(void)
{
    enum { MAX_MAPPINGS = 32768 }; /* vm.max_map_count is 65530 */

    return vds_guest_quota_new(address_space() / 4 * 3, MAX_MAPPINGS);
}

VdsGuestQuota *vds_guest_quota_ref(VdsGuestQuota *quota)
{
    atomic_fetch_add_explicit(&quota->refs, 1, memory_order_relaxed);
    return quota;
}

void vds_guest_quota_unref(VdsGuestQuota *quota)
{
    if (quota && atomic_fetch_sub_explicit(&quota->refs, 1, memory_order_acq_rel) == 1) {
        pthread_mutex_destroy(&quota->lock);
        g_free(quota);
    }
}

/* ---- a share ----------------------------------------------------------------------- */

VdsGuestShare *vds_guest_share_new(VdsGuestQuota *quota)
{
    VdsGuestShare *share = g_new0(VdsGuestShare, 1);

    atomic_init(&share->refs, 1);
    share->quota = vds_guest_quota_ref(quota);
    return share;
}

VdsGuestShare *vds_guest_share_ref(VdsGuestShare *share)
{
    if (share) {
        atomic_fetch_add_explicit(&share->refs, 1, memory_order_relaxed);
    }
    return share;
}

void vds_guest_share_unref(VdsGuestShare *share)
{
    if (share && atomic_fetch_sub_explicit(&share->refs, 1, memory_order_acq_rel) == 1) {
        vds_guest_quota_unref(share->quota);
        g_free(share);
    }
}

/* `more` beside what this peer has, of which no more than half of what others leave may
 * be its own. */
static bool fits(uint64_t own, uint64_t all, uint64_t max, uint64_t more)
{
    return more <= max - all && own + more <= max - all - more;
}

bool vds_guest_share_take(VdsGuestShare *share, uint64_t bytes, GError **error)
{
    VdsGuestQuota *quota = share->quota;
    VDS_LOCK_SCOPE(&quota->lock);

    if (!fits(share->bytes, quota->bytes, quota->max_bytes, bytes)) {
        g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_QUOTA,
                    "%" PRIu64 " bytes more than the %" PRIu64
                    " that this peer has mapped are over half of the %" PRIu64
                    " that other peers leave",
                    bytes, share->bytes, quota->max_bytes - quota->bytes + share->bytes);
        return false;
    }
    if (!fits(share->mappings, quota->mappings, quota->max_mappings, 1)) {
        g_set_error(
            error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_QUOTA,
            "one mapping more than the %" PRIu64
            " that this peer has is over half of the %" PRIu64 " that other peers leave",
            share->mappings, quota->max_mappings - quota->mappings + share->mappings);
        return false;
    }
    share->bytes += bytes;
    quota->bytes += bytes;
    share->mappings++;
    quota->mappings++;
    return true;
}

void vds_guest_share_give_back(VdsGuestShare *share, uint64_t bytes)
{
    VDS_LOCK_SCOPE(&share->quota->lock);

    share->bytes -= bytes;
    share->quota->bytes -= bytes;
    share->mappings--;
    share->quota->mappings--;
}
