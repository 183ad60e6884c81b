/*
 * guestmem: VdsDirtyLog, the bitmap of pages that we wrote to, for a migration, and the
 * descriptor of who waits for one.
 *
 * Owns the mapping of the bitmap.  Refuses to know what is written and when logging is
 * on.  vhost-user: SET_LOG_BASE, SET_LOG_FD.
 */
#include "map-priv.h"

struct VdsDirtyLog {
    atomic_uint refs;
    MapRegion region;     /* of the bitmap itself */
    atomic_bool marked;   /* since somebody was told */
    pthread_mutex_t lock; /* of all below; a leaf */
    int call_fd;          /* -1; owned */
    VdsSignaller *signaller;
};

VdsDirtyLog *vds_dirty_log_new(const VdsGuestRegion *where, GError **error)
{
    const VdsGuestRegion config = {.len = where->len,
                                   .fd = where->fd,
                                   .offset = where->offset,
                                   .share = where->share};
    VdsDirtyLog *log = g_new0(VdsDirtyLog, 1);

    vds_sigbus_install();
    atomic_init(&log->refs, 1);
    pthread_mutex_init(&log->lock, NULL);
    log->call_fd = -1;
    log->signaller = vds_signaller_new();
    if (!vds_region_init(&log->region, &config, error) ||
        !vds_region_map(&log->region, &config, VDS_MAP_WRITABLE, error)) {
        vds_dirty_log_unref(log);
        return NULL;
    }
    return log;
}

VdsDirtyLog *vds_dirty_log_ref(VdsDirtyLog *log)
{
    if (log) {
        atomic_fetch_add_explicit(&log->refs, 1, memory_order_relaxed);
    }
    return log;
}

void vds_dirty_log_unref(VdsDirtyLog *log)
{
    if (log && atomic_fetch_sub_explicit(&log->refs, 1, memory_order_acq_rel) == 1) {
        vds_region_clear(&log->region);
        vds_fd_close(&log->call_fd);
        vds_signaller_free(log->signaller);
        pthread_mutex_destroy(&log->lock);
        g_free(log);
    }
}

uint64_t vds_dirty_log_get_len(const VdsDirtyLog *log)
{
    return log->region.config.len;
}

bool vds_dirty_log_reaches(const VdsDirtyLog *log, uint64_t last_gpa, GError **error)
{
    uint64_t byte = last_gpa / VDS_DIRTY_PAGE / 8;

    if (byte < log->region.config.len) {
        return true;
    }
    g_set_error(error, VDS_GUESTMEM_ERROR, VDS_GUESTMEM_ERROR_LOG,
                "dirty log of %" PRIu64 " bytes: memory up to 0x%" PRIx64
                " needs %" PRIu64,
                log->region.config.len, last_gpa, byte + 1);
    return false;
}

/* Release: whoever clears a bit and then reads the page finds what was written. */
void vds_dirty_log_mark(VdsDirtyLog *log, uint64_t gpa, uint64_t len)
{
    uint64_t page = gpa / VDS_DIRTY_PAGE;
    uint64_t last = (gpa + MIN(len - 1, UINT64_MAX - gpa)) / VDS_DIRTY_PAGE;

    for (last = MIN(last, log->region.config.len * 8 - 1); page <= last; page++) {
        __atomic_fetch_or(&log->region.hva[page / 8], (uint8_t)(1u << (page % 8)),
                          __ATOMIC_RELEASE);
    }
    if (!atomic_load_explicit(&log->marked, memory_order_relaxed)) {
        atomic_store_explicit(&log->marked, true, memory_order_release);
    }
}

void vds_dirty_log_set_call_fd(VdsDirtyLog *log, int fd)
{
    VDS_LOCK_SCOPE(&log->lock);

    vds_fd_close(&log->call_fd);
    log->call_fd = fd;
}

/* Who reads the bitmap behind the event finds all that was marked before. */
void vds_dirty_log_tell(VdsDirtyLog *log)
{
    if (!atomic_exchange_explicit(&log->marked, false, memory_order_acq_rel)) {
        return;
    }
    pthread_mutex_lock(&log->lock);
    if (log->call_fd >= 0) {
        vds_signaller_signal(log->signaller, log->call_fd);
    }
    pthread_mutex_unlock(&log->lock);
}
