/*
 * devices: the request path of virtio-rng: bytes of the kernel's generator or of a file
 * go into the driver's buffers, at most so many in a period.  virtio 1.2, 5.4.6.
 *
 * A request that nothing can be put into stays in the ring, as in QEMU.  Everything here
 * runs on the device's I/O thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "rng-priv.h"

enum {
    CHUNK = 4096,
    MAX_ANSWER = 64 * 1024, /* a buffer may be as large as memory; fewer bytes will do */
};
static const uint64_t ns_per_ms = 1000000, retry_ns = 100 * 1000000;

struct VdsRng {
    VdsVirtioDevice *device;
    VdsRngConfig config; /* filename is owned */
    int fd;              /* -1: the kernel's generator, or not started */
    VdsIoWatch *watch;   /* (nullable) while the file has nothing */
    VdsIoTimer *timer;   /* (nullable) between start and stop */
    bool counting;       /* the timer runs: a period has begun */
    uint64_t quota;      /* bytes left in this period */
};

/* ---- the source -------------------------------------------------------------------- */

/* A pipe whose last writer left would be readable for ever; being a writer prevents it.
 */
static int source_open(const char *filename)
{
    struct stat info;
    int mode = stat(filename, &info) == 0 && S_ISFIFO(info.st_mode) ? O_RDWR : O_RDONLY;

    return open(filename, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

/* 0: at its end; -1 with errno EAGAIN: not now. */
static ssize_t source_read(const VdsRng *rng, void *to, size_t len)
{
    ssize_t n;

    do {
        n = rng->config.filename ? read(rng->fd, to, len)
                                 : getrandom(to, len, GRND_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* In a turn, which ends: a ring may have gigabytes of buffers. */
static void serve_later(VdsRng *rng)
{
    VdsVirtQueue *queue = vds_virtio_device_get_virt_queue(rng->device, 0);

    if (queue) {
        vds_virt_queue_ask_turn(queue);
    }
}

static void on_readable(uint32_t events, void *user)
{
    VdsRng *rng = user;

    vds_io_watch_free(g_steal_pointer(&rng->watch));
    serve_later(rng);
}

/* The source has nothing: at the end of a file, or in an error, that is for good, and the
 * next kick asks again. */
static void source_wait(VdsRng *rng, bool ended)
{
    if (ended || rng->watch) {
        return;
    }
    if (rng->config.filename) {
        rng->watch = vds_io_watch_new(vds_virtio_device_get_io_thread(rng->device),
                                      rng->fd, EPOLLIN, on_readable, rng, NULL);
    } else if (!rng->counting) {
        vds_io_timer_set(rng->timer, retry_ns, 0); /* the kernel has just booted */
    }
}

/* ---- requests ---------------------------------------------------------------------- */

static bool is_limited(const VdsRng *rng)
{
    return rng->config.max_bytes < INT64_MAX;
}

static void period_begin(VdsRng *rng)
{
    if (is_limited(rng) && !rng->counting) {
        rng->counting = true;
        vds_io_timer_set(rng->timer, rng->config.period_ms * ns_per_ms, 0);
    }
}

/* How many bytes went in; 0 with *dry: the source had none. */
static uint64_t fill(VdsRng *rng, VdsStream *in, bool *dry, bool *ended)
{
    uint8_t bytes[CHUNK];
    uint64_t want = MIN(MIN(vds_stream_left(in), rng->quota), MAX_ANSWER), done = 0;
    ssize_t n = 1;

    while (done < want && n > 0) {
        n = source_read(rng, bytes, (size_t)MIN(want - done, sizeof(bytes)));
        if (n > 0) {
            done += vds_stream_write(in, bytes, (size_t)n);
        }
    }
    *ended = n == 0 || (n < 0 && errno != EAGAIN);
    *dry = done == 0 && want > 0;
    rng->quota -= is_limited(rng) ? done : 0;
    explicit_bzero(bytes, sizeof(bytes));
    return done;
}

static void serve(VdsRng *rng, VdsVirtQueue *queue)
{
    VdsIo *io;

    while (rng->quota > 0 && (io = vds_virt_queue_pop_one(queue)) != NULL) {
        bool dry, ended;
        uint64_t done;

        period_begin(rng);
        done = fill(rng, &io->in, &dry, &ended);
        if (dry) {
            vds_virt_queue_unpop(queue, io);
            source_wait(rng, ended);
            return;
        }
        vds_virt_queue_complete(queue, io, done);
    }
}

static void on_timer(void *user)
{
    VdsRng *rng = user;

    rng->counting = false;
    rng->quota = rng->config.max_bytes;
    serve_later(rng);
}

/* ---- what the device asks of us ---------------------------------------------------- */

static void rng_start(void *instance)
{
    VdsRng *rng = instance;
    g_autoptr(GError) error = NULL;

    rng->quota = rng->config.max_bytes;
    rng->timer = vds_io_timer_new(vds_virtio_device_get_io_thread(rng->device), on_timer,
                                  rng, &error);
    if (!rng->timer) {
        vds_virtio_device_break(rng->device, "no timer: %s", error->message);
        return;
    }
    if (rng->config.filename) {
        rng->fd = source_open(rng->config.filename);
        if (rng->fd < 0) {
            vds_virtio_device_break(rng->device, "cannot open '%.*s': %s",
                                    vds_name_len(rng->config.filename),
                                    rng->config.filename, g_strerror(errno));
        }
    }
}

static void rng_handle(void *instance, VdsVirtQueue *queue)
{
    VdsRng *rng = instance;

    if (rng->timer && (rng->fd >= 0 || !rng->config.filename)) {
        serve(rng, queue);
    }
}

static void rng_stop(void *instance)
{
    VdsRng *rng = instance;

    rng->counting = false;
    vds_io_watch_free(g_steal_pointer(&rng->watch));
    vds_io_timer_free(g_steal_pointer(&rng->timer));
    vds_fd_close(&rng->fd);
}

static void rng_free(void *instance)
{
    VdsRng *rng = instance;

    g_free(rng->config.filename);
    g_free(rng);
}

const VdsDeviceOps vds_rng_ops = {
    .start = rng_start, .handle = rng_handle, .stop = rng_stop, .free = rng_free};

VdsRng *vds_rng_new(const VdsRngConfig *config)
{
    VdsRng *rng = g_new0(VdsRng, 1);

    rng->config = *config;
    rng->config.filename = g_strdup(config->filename);
    rng->fd = -1;
    return rng;
}

VdsVirtioDevice **vds_rng_device(VdsRng *rng)
{
    return &rng->device;
}
