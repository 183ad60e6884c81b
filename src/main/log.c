/*
 * main: the log: one line for each thing that happens while the program runs, to a file,
 * or to standard error.
 *
 * The main loop only queues lines; a thread of the log writes them, so that a full pipe
 * or a slow disk stops nobody.  Lines that would cost too much are counted instead: those
 * of one source and all of them have a limit in each window of time, and the queue has a
 * limit while nothing is written.  Refuses to know what the lines are about.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "main-priv.h"

enum {
    WINDOW_MS = 60 * 1000, /* of the limits below */
    SOURCE_LINES = 10,     /* of one source */
    ALL_LINES = 300,
    MAX_QUEUED = 256, /* lines that wait to be written */
    MAX_LINE_BYTES = 1000,
    LAST_WAIT_MS = 500, /* for the last lines, at the end */
};

struct VdsMainLog {
    /* The main loop's. */
    GMainContext *context; /* borrowed */
    GHashTable *sources;   /* name -> Source: of this window */
    int64_t window_us;     /* when it began; monotonic */
    unsigned n_lines;      /* in it */
    GSource *summary;      /* (nullable) lines were left out: until the window ends */

    /* Constant. */
    char *path;   /* (nullable) standard error */
    bool journal; /* standard error is the journal's */

    /* The thread's. */
    int fd;

    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t changed;
    pthread_t thread;
    bool started, ending, ended;
    GQueue lines;  /* char *, whole lines */
    unsigned lost; /* for which there was no room */
};

typedef struct {
    unsigned n, left_out;
} Source;

/* ---- the thread ------------------------------------------------------------------ */

/* Non-blocking while it is opened: a FIFO that nobody reads is an error. */
static int open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                  0600);

    if (fd >= 0) {
        fcntl(fd, F_SETFL, O_APPEND);
    }
    return fd;
}

/* A file that was moved away, to be kept or compressed, is replaced by a new one. */
static void follow_rotation(VdsMainLog *log)
{
    struct stat open_one, named;
    int fd;

    if (!log->path ||
        (fstat(log->fd, &open_one) == 0 && stat(log->path, &named) == 0 &&
         open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev)) {
        return;
    }
    fd = open_file(log->path);
    if (fd >= 0) {
        close(log->fd);
        log->fd = fd;
    }
}

/* What cannot be written is lost: there is nowhere to say so. */
static void write_line(VdsMainLog *log, const char *line)
{
    size_t len = strlen(line), done = 0;

    follow_rotation(log);
    while (done < len) {
        ssize_t n = write(log->fd, line + done, len - done);

        if (n < 0 && errno != EINTR) {
            return;
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

/* (transfer full) (nullable): the log ends */
static char *next_line(VdsMainLog *log)
{
    VDS_LOCK_SCOPE(&log->lock);

    while (log->lines.length == 0 && !log->ending) {
        pthread_cond_wait(&log->changed, &log->lock);
    }
    return g_queue_pop_head(&log->lines);
}

static void *run(void *user)
{
    VdsMainLog *log = user;
    char *line;

    while ((line = next_line(log))) {
        write_line(log, line);
        g_free(line);
    }
    pthread_mutex_lock(&log->lock);
    log->ended = true;
    pthread_cond_broadcast(&log->changed);
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

/* ---- lines ----------------------------------------------------------------------- */

static bool is_plain(const char *at, const char **next)
{
    gunichar c = g_utf8_get_char_validated(at, -1);

    if (c == (gunichar)-1 || c == (gunichar)-2 || g_unichar_iscntrl(c) || c == 0x2028 ||
        c == 0x2029) {
        return false;
    }
    *next = g_utf8_next_char(at);
    return true;
}

/* Control characters and what is not UTF-8 become "\x1b": names and paths are written by
 * others, and a line stays one. */
static void append_escaped(GString *to, const char *text)
{
    const char *next = NULL;

    for (const char *at = text; *at && to->len < MAX_LINE_BYTES; at = next) {
        if (is_plain(at, &next)) {
            g_string_append_len(to, at, next - at);
        } else {
            g_string_append_printf(to, "\\x%02x", (unsigned char)*at);
            next = at + 1;
        }
    }
}

static char *compose(const VdsMainLog *log, VdsMainLogLevel level, const char *text)
{
    static const int priorities[] = {
        [VDS_MAIN_LOG_ERROR] = 3,
        [VDS_MAIN_LOG_WARNING] = 4,
        [VDS_MAIN_LOG_INFO] = 6,
    };
    GString *line = g_string_new(NULL);

    if (log->path) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");

        g_string_append_printf(line, "%s.%06dZ ", stamp,
                               g_date_time_get_microsecond(now));
    } else if (log->journal) {
        g_string_append_printf(line, "<%d>", priorities[level]);
    }
    g_string_append(line, "virtio-debugd: ");
    append_escaped(line, text);
    g_string_append_c(line, '\n');
    return g_string_free(line, FALSE);
}

static void queue_line(VdsMainLog *log, VdsMainLogLevel level, const char *text)
{
    VDS_LOCK_SCOPE(&log->lock);

    if (log->lines.length >= MAX_QUEUED) {
        log->lost++;
        return;
    }
    if (log->lost > 0) {
        g_autofree char *note = g_strdup_printf(
            "%u lines were lost: the log was not written for a while", log->lost);

        log->lost = 0;
        g_queue_push_tail(&log->lines, compose(log, VDS_MAIN_LOG_WARNING, note));
    }
    g_queue_push_tail(&log->lines, compose(log, level, text));
    if (!log->started) {
        log->started = pthread_create(&log->thread, NULL, run, log) == 0;
    }
    pthread_cond_broadcast(&log->changed);
}

/* ---- limits ---------------------------------------------------------------------- */

static void window_end(VdsMainLog *log)
{
    GHashTableIter iter;
    void *name, *value;

    if (log->summary) {
        g_source_destroy(log->summary);
        g_clear_pointer(&log->summary, g_source_unref);
    }
    g_hash_table_iter_init(&iter, log->sources);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        const Source *source = value;

        if (source->left_out > 0) {
            g_autofree char *text = g_strdup_printf("%s: %u more lines were left out",
                                                    (char *)name, source->left_out);

            queue_line(log, VDS_MAIN_LOG_WARNING, text);
        }
    }
    g_hash_table_remove_all(log->sources);
    log->n_lines = 0;
}

static gboolean summary_due(gpointer user)
{
    window_end(user);
    return G_SOURCE_REMOVE;
}

static void summary_wait(VdsMainLog *log, int64_t now_us)
{
    if (!log->summary) {
        int64_t left_us = WINDOW_MS * INT64_C(1000) - (now_us - log->window_us);

        log->summary = g_timeout_source_new((unsigned)(left_us / 1000 + 1));
        g_source_set_callback(log->summary, summary_due, log, NULL);
        g_source_attach(log->summary, log->context);
    }
}

static bool may_log(VdsMainLog *log, const char *name)
{
    int64_t now_us = g_get_monotonic_time();
    Source *source;

    if (now_us - log->window_us >= WINDOW_MS * INT64_C(1000)) {
        window_end(log);
    }
    if (g_hash_table_size(log->sources) == 0) {
        log->window_us = now_us;
    }
    source = g_hash_table_lookup(log->sources, name);
    if (!source) {
        source = g_new0(Source, 1);
        g_hash_table_insert(log->sources, g_strdup(name), source);
    }
    if (source->n >= SOURCE_LINES || log->n_lines >= ALL_LINES) {
        source->left_out++;
        summary_wait(log, now_us);
        return false;
    }
    source->n++;
    log->n_lines++;
    return true;
}

void vds_main_log(VdsMainLog *log, VdsMainLogLevel level, const char *source,
                  const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    if (!may_log(log, source)) {
        return;
    }
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    queue_line(log, level, text);
}

void vds_main_log_always(VdsMainLog *log, const char *text)
{
    queue_line(log, VDS_MAIN_LOG_WARNING, text);
}

/* ---- life ------------------------------------------------------------------------ */

/* "dev:inode" of the journal's stream, which systemd gives (systemd.exec(5)). */
bool vds_main_stderr_is_journal(void)
{
    const char *stream = g_getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat found;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &found) == 0 && found.st_dev == device &&
           found.st_ino == inode;
}

VdsMainLog *vds_main_log_new(const char *path, GMainContext *context, GError **error)
{
    VdsMainLog *log;
    int fd = path ? open_file(path) : STDERR_FILENO;

    if (fd < 0) {
        g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM, "cannot open it: %s",
                    g_strerror(errno));
        return NULL;
    }
    log = g_new0(VdsMainLog, 1);
    log->context = context;
    log->sources = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    log->path = g_strdup(path);
    log->journal = !path && vds_main_stderr_is_journal();
    log->fd = fd;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->changed, NULL);
    g_queue_init(&log->lines);
    return log;
}

/* false: it is still writing. */
static bool end_thread(VdsMainLog *log)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += LAST_WAIT_MS * 1000000L;
    end.tv_sec += end.tv_nsec / 1000000000L;
    end.tv_nsec %= 1000000000L;
    VDS_LOCK_SCOPE(&log->lock);
    log->ending = true;
    pthread_cond_broadcast(&log->changed);
    while (log->started && !log->ended) {
        if (pthread_cond_timedwait(&log->changed, &log->lock, &end) == ETIMEDOUT) {
            return false;
        }
    }
    return true;
}

void vds_main_log_free(VdsMainLog *log)
{
    if (!log) {
        return;
    }
    window_end(log);
    g_hash_table_unref(log->sources);
    if (!end_thread(log)) {
        pthread_detach(log->thread); /* it keeps the rest: the process ends next */
        return;
    }
    if (log->started) {
        pthread_join(log->thread, NULL);
    }
    if (log->path) {
        vds_fd_close(&log->fd);
    }
    g_queue_clear_full(&log->lines, g_free);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->changed);
    g_free(log->path);
    g_free(log);
}
