/*
 * devices: limits of bytes and requests a second, with QEMU's names and its leaky
 * buckets: what passes goes into a bucket, which leaks at the limit; a request waits
 * while the bucket is over full.  Refuses to know requests and who waits.
 */
#include <string.h>

#include "blk-priv.h"

enum { BYTES, OPS, UNITS };
enum { TOTAL, READS, WRITES, SIDES };
enum { IDLE_SHARE = 10 }; /* a bucket without a burst holds a tenth of a second */

typedef struct {
    double average, burst; /* a second; 0: no limit */
    double burst_s;
    double level, burst_level;
} Bucket;

struct VdsBlkThrottle {
    pthread_mutex_t lock; /* disks of several I/O threads may share it */
    Bucket buckets[UNITS][SIDES];
    uint64_t op_bytes; /* 0: a request of any size is one */
    uint64_t now_ns;   /* of the last leak */
};

static const char *const unit_words[UNITS] = {"bps", "iops"};
static const char *const side_words[SIDES] = {"total", "read", "write"};
static const char *const old_words[SIDES] = {"", "_rd", "_wr"}; /* of -drive */

#define refuse(error, ...)                                                               \
    vds_refuse(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND, __VA_ARGS__)

VdsBlkThrottle *vds_blk_throttle_new(void)
{
    VdsBlkThrottle *throttle = g_new0(VdsBlkThrottle, 1);

    pthread_mutex_init(&throttle->lock, NULL);
    return throttle;
}

void vds_blk_throttle_free(VdsBlkThrottle *throttle)
{
    if (throttle) {
        pthread_mutex_destroy(&throttle->lock);
        g_free(throttle);
    }
}

/* ---- what is asked for --------------------------------------------------------------
 */

static bool read_value(const VdsProps *props, const char *name, double *value,
                       bool *given, GError **error)
{
    const VdsProp *prop = vds_props_find(props, name);
    uint64_t number = 0;

    if (!prop) {
        return true;
    }
    if (!vds_prop_get_size(prop, 1, &number, error)) {
        return false;
    }
    *value = (double)number;
    *given = true;
    return true;
}

/* One value under all the names that it has. */
static bool read_any(const VdsProps *props, const char *const *names, double *value,
                     bool *given, GError **error)
{
    for (; *names; names++) {
        if (!read_value(props, *names, value, given, error)) {
            return false;
        }
    }
    return true;
}

/* suffix: "", "-max" or "-max-length"; that of the older words of -drive has '_'. */
static bool read_member(const VdsProps *props, unsigned unit, unsigned side,
                        const char *suffix, double *value, bool *given, GError **error)
{
    const char *u = unit_words[unit], *s = side_words[side];
    g_autofree char *drive = g_strdup_printf("throttling.%s-%s%s", u, s, suffix);
    g_autofree char *limits = g_strdup_printf("limits.%s-%s%s", u, s, suffix);
    g_autofree char *object = g_strdup_printf("x-%s-%s%s", u, s, suffix);
    g_autofree char *old = g_strdup_printf("%s%s%s", u, old_words[side], suffix);
    const char *const names[] = {drive, limits, object, g_strdelimit(old, "-", '_'),
                                 NULL};

    return read_any(props, names, value, given, error);
}

static bool bucket_check(const Bucket *bucket, bool length_given, GError **error)
{
    if (bucket->burst > 0 && bucket->average == 0) {
        return refuse(error, "bps_max/iops_max require corresponding bps/iops values");
    }
    if (bucket->burst > 0 && bucket->burst < bucket->average) {
        return refuse(error, "bps_max/iops_max cannot be lower than bps/iops");
    }
    if (bucket->burst_s < 1) {
        return refuse(error, "the burst length cannot be 0");
    }
    return !(length_given && bucket->burst_s > 1 && bucket->burst == 0) ||
           refuse(error, "burst length set without burst rate");
}

static bool bucket_read(const VdsProps *props, unsigned unit, unsigned side,
                        Bucket *bucket, bool *given, GError **error)
{
    bool length_given = false;

    bucket->burst_s = 1;
    return read_member(props, unit, side, "", &bucket->average, given, error) &&
           read_member(props, unit, side, "-max", &bucket->burst, given, error) &&
           read_member(props, unit, side, "-max-length", &bucket->burst_s, &length_given,
                       error) &&
           bucket_check(bucket, length_given, error);
}

static bool check_sides(Bucket buckets[SIDES], GError **error)
{
    bool total = buckets[TOTAL].average > 0;
    bool each = buckets[READS].average > 0 || buckets[WRITES].average > 0;

    return !(total && each) ||
           refuse(error, "bps/iops/max total values and read/write values cannot be used "
                         "at the same time");
}

static bool read_all(VdsBlkThrottle *throttle, const VdsProps *props, bool *given,
                     GError **error)
{
    static const char *const size_names[] = {"throttling.iops-size", "limits.iops-size",
                                             "x-iops-size", "iops_size", NULL};
    double op_bytes = 0;

    for (unsigned unit = 0; unit < UNITS; unit++) {
        for (unsigned side = 0; side < SIDES; side++) {
            if (!bucket_read(props, unit, side, &throttle->buckets[unit][side], given,
                             error)) {
                return false;
            }
        }
        if (!check_sides(throttle->buckets[unit], error)) {
            return false;
        }
    }
    if (!read_any(props, size_names, &op_bytes, given, error)) {
        return false;
    }
    throttle->op_bytes = (uint64_t)op_bytes;
    return true;
}

bool vds_blk_throttle_set(VdsBlkThrottle *throttle, const VdsProps *props, bool *given,
                          GError **error)
{
    VdsBlkThrottle wanted = {0};

    *given = false;
    if (!read_all(&wanted, props, given, error)) {
        return false;
    }
    if (*given) {
        VDS_LOCK_SCOPE(&throttle->lock);

        memcpy(throttle->buckets, wanted.buckets, sizeof(wanted.buckets));
        throttle->op_bytes = wanted.op_bytes;
    }
    return true;
}

/* ---- what passes --------------------------------------------------------------------
 */

static double less(double level, double by)
{
    return level > by ? level - by : 0;
}

static void leak(VdsBlkThrottle *throttle, uint64_t now_ns)
{
    double passed =
        now_ns > throttle->now_ns ? (double)(now_ns - throttle->now_ns) / 1e9 : 0;

    for (unsigned i = 0; i < UNITS * SIDES; i++) {
        Bucket *bucket = &throttle->buckets[i / SIDES][i % SIDES];

        bucket->level = less(bucket->level, bucket->average * passed);
        bucket->burst_level = less(bucket->burst_level, bucket->burst * passed);
    }
    throttle->now_ns = MAX(throttle->now_ns, now_ns);
}

/* Seconds until it is no longer over full. */
static double bucket_wait(const Bucket *bucket)
{
    double room = bucket->burst > 0 ? bucket->burst * bucket->burst_s
                                    : bucket->average / IDLE_SHARE;
    double burst_room = bucket->burst / IDLE_SHARE;

    if (bucket->average > 0 && bucket->level > room) {
        return (bucket->level - room) / bucket->average;
    }
    if (bucket->burst_s > 1 && bucket->burst_level > burst_room) {
        return (bucket->burst_level - burst_room) / bucket->burst;
    }
    return 0;
}

static void bucket_fill(Bucket *bucket, double units)
{
    bucket->level += units;
    bucket->burst_level += units;
}

uint64_t vds_blk_throttle_pass(VdsBlkThrottle *throttle, bool writes, uint64_t bytes,
                               uint64_t now_ns)
{
    unsigned sides[] = {TOTAL, writes ? WRITES : READS};
    double ops = throttle->op_bytes > 0 && bytes > throttle->op_bytes
                     ? (double)bytes / (double)throttle->op_bytes
                     : 1;
    double wait_s = 0;
    VDS_LOCK_SCOPE(&throttle->lock);

    leak(throttle, now_ns);
    for (unsigned i = 0; i < UNITS * G_N_ELEMENTS(sides); i++) {
        wait_s =
            MAX(wait_s, bucket_wait(&throttle->buckets[i % UNITS][sides[i / UNITS]]));
    }
    if (wait_s > 0) {
        return (uint64_t)CLAMP(wait_s * 1e9, 1, 1e18);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(sides); i++) {
        bucket_fill(&throttle->buckets[BYTES][sides[i]], (double)bytes);
        bucket_fill(&throttle->buckets[OPS][sides[i]], ops);
    }
    return 0;
}
