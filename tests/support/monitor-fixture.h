/*
 * A monitor on a loop of its own, and the client's side of its sockets in the same
 * process.  Every wait turns the loop and gives up after five seconds.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "vds/monitor.h"
#include "sample-commands.h"

#define NEGOTIATE "{\"execute\":\"qmp_capabilities\"}"
#define NEGOTIATED "{\"return\": {}}\r\n"

typedef struct {
    Sample sample;
    VdsQmpServer server;
    VdsMonitorHuman human;
    GMainContext *context;
    VdsMonitor *monitor;
    char *folder;
    char *path; /* a socket path in it */
    unsigned n_fds;
} Fixture;

static inline unsigned count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(folder)) {
        n++;
    }
    closedir(folder);
    return n;
}

static inline void fixture_emit(void *user, const VdsQapiEvent *event, const void *data)
{
    vds_monitor_emit(((Fixture *)user)->monitor, event, data);
}

static inline char *fixture_line(void *user, const char *line)
{
    ((Fixture *)user)->sample.calls++;
    return g_strdup_printf("you said\n<%s>\n", line);
}

static inline int fixture_setup(void **state)
{
    Fixture *fixture = g_new0(Fixture, 1);

    fixture->n_fds = count_fds();
    fixture->server = sample_server(&fixture->sample);
    fixture->sample.sink = (VdsEventSink){fixture_emit, fixture};
    fixture->human = (VdsMonitorHuman){fixture_line, "sample monitor", fixture};
    fixture->context = g_main_context_new();
    fixture->monitor =
        vds_monitor_new(fixture->context, &fixture->server, &fixture->human);
    fixture->folder = g_dir_make_tmp("vds-monitor-XXXXXX", NULL);
    fixture->path = g_build_filename(fixture->folder, "q", NULL);
    *state = fixture;
    return 0;
}

/* The sum at the end of every test: no descriptor and no file is left. */
static inline int fixture_teardown(void **state)
{
    Fixture *fixture = *state;
    unsigned n_fds;
    int rmdir_result;

    vds_monitor_free(fixture->monitor);
    g_main_context_unref(fixture->context);
    rmdir_result = rmdir(fixture->folder);
    n_fds = fixture->n_fds;
    g_free(fixture->folder);
    g_free(fixture->path);
    g_free(fixture);
    if (rmdir_result != 0 || count_fds() != n_fds) {
        fprintf(stderr, "# left behind: %d files, %d descriptors\n", rmdir_result != 0,
                (int)(count_fds() - n_fds));
        return -1;
    }
    return 0;
}

/* One round of the loop; waits a moment when there is nothing to do. */
static inline void fixture_turn(Fixture *fixture)
{
    if (!g_main_context_iteration(fixture->context, FALSE)) {
        g_usleep(200);
    }
}

static inline void fixture_settle(Fixture *fixture)
{
    for (int quiet = 0; quiet < 3;) {
        quiet = g_main_context_iteration(fixture->context, FALSE) ? 0 : quiet + 1;
    }
}

static inline void fixture_add(Fixture *fixture, const VdsMonitorConfig *config)
{
    GError *error = NULL;

    vds_monitor_add(fixture->monitor, config, &error);
    assert_null(error);
}

static inline void fixture_listen(Fixture *fixture)
{
    fixture_add(fixture, &(VdsMonitorConfig){.transport = VDS_MONITOR_UNIX,
                                             .path = fixture->path,
                                             .server = true});
}

static inline int unix_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        vds_fd_close(&fd);
    }
    return fd;
}

static inline int fixture_connect(Fixture *fixture)
{
    int fd = unix_connect(fixture->path);

    assert_true(fd >= 0);
    return fd;
}

/* A session of its own on one end of a socket pair; the other end is returned. */
static inline int fixture_pair(Fixture *fixture, VdsMonitorMode mode)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    fixture_add(fixture, &(VdsMonitorConfig){
                             .mode = mode, .transport = VDS_MONITOR_FD, .fd = fds[0]});
    return fds[1];
}

/* Reads until the text ends in `suffix` (NULL: until the end of the stream). */
static inline char *hear_until(Fixture *fixture, int fd, const char *suffix)
{
    int64_t end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
    GString *heard = g_string_new(NULL);

    while (g_get_monotonic_time() < end) {
        char bytes[65536];
        ssize_t n = read(fd, bytes, sizeof(bytes));

        if (n > 0) {
            g_string_append_len(heard, bytes, n);
        } else if (n == 0) {
            break;
        } else {
            fixture_turn(fixture);
        }
        if (suffix && g_str_has_suffix(heard->str, suffix)) {
            break;
        }
    }
    return g_string_free(heard, FALSE);
}

static inline void expect(Fixture *fixture, int fd, const char *expected)
{
    g_autofree char *heard = hear_until(fixture, fd, expected);

    assert_string_equal(heard, expected);
}

static inline void expect_silence(Fixture *fixture, int fd)
{
    char byte;

    fixture_settle(fixture);
    assert_int_equal(recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

/* Writes it all, turning the loop while the peer is busy. */
static inline void say(Fixture *fixture, int fd, const char *text)
{
    size_t len = strlen(text);
    int64_t end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;

    while (len > 0 && g_get_monotonic_time() < end) {
        ssize_t n = write(fd, text, len);

        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else {
            fixture_turn(fixture);
        }
    }
    assert_int_equal(len, 0);
}

static inline void negotiate(Fixture *fixture, int fd)
{
    expect(fixture, fd, SAMPLE_GREETING);
    say(fixture, fd, NEGOTIATE);
    expect(fixture, fd, NEGOTIATED);
}
