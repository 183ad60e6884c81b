/*
 * monitor: listening sockets: whose the socket file is, and what happens when there are
 * too many clients or no descriptors left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "monitor-fixture.h"

static void expect_refused(Fixture *fixture, const VdsMonitorConfig *config,
                           VdsMonitorError code, const char *culprit)
{
    g_autoptr(GError) error = NULL;

    assert_false(vds_monitor_add(fixture->monitor, config, &error));
    assert_true(g_error_matches(error, VDS_MONITOR_ERROR, (int)code));
    assert_non_null(strstr(error->message, culprit));
}

static VdsMonitorConfig unix_server(const char *path)
{
    return (VdsMonitorConfig){
        .transport = VDS_MONITOR_UNIX, .path = path, .server = true};
}

/* ---- socket files
 * ---------------------------------------------------------------------- */

static void test_file_is_private(void **state)
{
    Fixture *fixture = *state;
    mode_t before = umask(0);
    struct stat found;

    fixture_listen(fixture);
    umask(before);
    assert_int_equal(stat(fixture->path, &found), 0);
    assert_true(S_ISSOCK(found.st_mode));
    assert_int_equal(found.st_mode & 07777, 0600);
}

static void make_stale(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VDS_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    listen(fd, 1);
}

static void test_stale_file_is_replaced(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = -1;

    make_stale(fixture->path);
    assert_true(unix_connect(fixture->path) < 0);
    fixture_listen(fixture);
    fd = fixture_connect(fixture);
    expect(fixture, fd, SAMPLE_GREETING);
}

static void test_live_file_is_not(void **state)
{
    Fixture *fixture = *state;
    const VdsMonitorConfig again = unix_server(fixture->path);
    VDS_AUTO_FD fd = -1;

    fixture_listen(fixture);
    expect_refused(fixture, &again, VDS_MONITOR_ERROR_IN_USE, fixture->path);
    fd = fixture_connect(fixture);
    expect(fixture, fd, SAMPLE_GREETING);
}

static void test_live_file_with_full_backlog_is_not(void **state)
{
    Fixture *fixture = *state;
    const VdsMonitorConfig config = unix_server(fixture->path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VDS_AUTO_FD server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VDS_AUTO_FD first = -1;

    g_strlcpy(address.sun_path, fixture->path, sizeof(address.sun_path));
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server, 0), 0);
    first = fixture_connect(fixture);
    assert_true(unix_connect(fixture->path) < 0);
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_IN_USE, fixture->path);
    unlink(fixture->path);
}

static void test_other_files_are_left_alone(void **state)
{
    Fixture *fixture = *state;
    const VdsMonitorConfig config = unix_server(fixture->path);
    g_autofree char *content = NULL, *target = NULL;

    assert_true(g_file_set_contents(fixture->path, "precious", -1, NULL));
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_SOCKET, fixture->path);
    assert_true(g_file_get_contents(fixture->path, &content, NULL, NULL));
    assert_string_equal(content, "precious");
    unlink(fixture->path);

    /* nor is a link followed to the socket that it leads to */
    target = g_strconcat(fixture->path, "-target", NULL);
    make_stale(target);
    assert_int_equal(symlink(target, fixture->path), 0);
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_SOCKET, fixture->path);
    assert_int_equal(access(target, F_OK), 0);
    unlink(fixture->path);
    unlink(target);
}

static void test_only_our_file_is_removed(void **state)
{
    Fixture *fixture = *state;

    fixture_listen(fixture);
    unlink(fixture->path);
    make_stale(fixture->path); /* somebody else's now */
    vds_monitor_free(g_steal_pointer(&fixture->monitor));
    assert_int_equal(access(fixture->path, F_OK), 0);
    unlink(fixture->path);
}

static void test_path_length(void **state)
{
    Fixture *fixture = *state;
    size_t room = 107 - strlen(fixture->folder) - 1;
    g_autofree char *fits = g_strnfill(room, 'p');
    g_autofree char *longest = g_build_filename(fixture->folder, fits, NULL);
    g_autofree char *longer = g_strconcat(longest, "p", NULL);
    VdsMonitorConfig config = unix_server(longer);
    VDS_AUTO_FD fd = -1;

    expect_refused(fixture, &config, VDS_MONITOR_ERROR_ADDRESS, "108 bytes");
    config.server = false;
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_ADDRESS, "108 bytes");
    config = unix_server("");
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_ADDRESS, "0 bytes");
    config = unix_server(longest);
    fixture_add(fixture, &config);
    fd = unix_connect(longest);
    expect(fixture, fd, SAMPLE_GREETING);
}

static void test_absent_folder(void **state)
{
    Fixture *fixture = *state;
    const VdsMonitorConfig config = unix_server("/nonexistent/folder/q");

    expect_refused(fixture, &config, VDS_MONITOR_ERROR_SOCKET, "/nonexistent/folder/q");
}

/* ---- other addresses
 * ------------------------------------------------------------------- */

static int tcp_connect(const char *address)
{
    struct sockaddr_in peer = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port;

    assert_int_equal(sscanf(address, "tcp:127.0.0.1:%u", &port), 1);
    peer.sin_port = htons((uint16_t)port);
    assert_int_equal(connect(fd, (struct sockaddr *)&peer, sizeof(peer)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void test_tcp(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *address = NULL;
    VdsMonitorConfig config = {.transport = VDS_MONITOR_TCP,
                               .host = "127.0.0.1",
                               .port = "0",
                               .server = true,
                               .address = &address};
    VDS_AUTO_FD fd = -1;

    fixture_add(fixture, &config);
    fd = tcp_connect(address);
    negotiate(fixture, fd);

    config.port = strrchr(address, ':') + 1;
    config.address = NULL;
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_IN_USE, config.port);
    config.port = "no such port";
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_ADDRESS, "no such port");
    config.server = false;
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_ADDRESS, "no such port");
    config.port = "1";
    expect_refused(fixture, &config, VDS_MONITOR_ERROR_SOCKET, "127.0.0.1:1");
}

static void test_tcp_client(void **state)
{
    Fixture *fixture = *state;
    struct sockaddr_in any = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(any);
    VDS_AUTO_FD server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VDS_AUTO_FD fd = -1;
    g_autofree char *port = NULL;

    assert_int_equal(bind(server, (struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(listen(server, 1), 0);
    getsockname(server, (struct sockaddr *)&any, &len);
    port = g_strdup_printf("%u", ntohs(any.sin_port));
    fixture_add(fixture, &(VdsMonitorConfig){.transport = VDS_MONITOR_TCP,
                                             .host = "localhost",
                                             .port = port});
    fd = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    negotiate(fixture, fd);
}

static void test_unix_client(void **state)
{
    Fixture *fixture = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VdsMonitorConfig config = {.transport = VDS_MONITOR_UNIX, .path = fixture->path};
    VDS_AUTO_FD server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VDS_AUTO_FD fd = -1;

    expect_refused(fixture, &config, VDS_MONITOR_ERROR_SOCKET, fixture->path);
    g_strlcpy(address.sun_path, fixture->path, sizeof(address.sun_path));
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server, 1), 0);
    fixture_add(fixture, &config);
    fd = accept4(server, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    negotiate(fixture, fd);
    unlink(fixture->path);
}

static void test_inherited_listener(void **state)
{
    Fixture *fixture = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    VDS_AUTO_FD first = -1, second = -1;

    g_strlcpy(address.sun_path, fixture->path, sizeof(address.sun_path));
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server, 1), 0);
    fixture_add(fixture, &(VdsMonitorConfig){
                             .transport = VDS_MONITOR_FD, .fd = server, .server = true});
    assert_int_equal(fcntl(server, F_GETFD), FD_CLOEXEC);
    first = fixture_connect(fixture);
    negotiate(fixture, first);
    second = fixture_connect(fixture);
    negotiate(fixture, second);
    vds_monitor_free(g_steal_pointer(&fixture->monitor));
    /* who made the socket file removes it */
    assert_int_equal(unlink(fixture->path), 0);
}

static void test_wrong_descriptors(void **state)
{
    Fixture *fixture = *state;
    VdsMonitorConfig config = {.transport = VDS_MONITOR_FD};
    int pair[2], plain[2];
    VDS_AUTO_FD lone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    VDS_AUTO_FD datagrams = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(plain, O_CLOEXEC), 0);
    for (int server = 0; server < 2; server++) {
        const int wrong[] = {999, plain[0], datagrams, server ? pair[0] : lone};

        config.server = server;
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
            config.fd = wrong[i];
            expect_refused(fixture, &config, VDS_MONITOR_ERROR_SOCKET, "Descriptor");
        }
    }
    for (int i = 0; i < 2; i++) {
        close(pair[i]);
        close(plain[i]);
    }
}

/* ---- waiting, limits
 * --------------------------------------------------------------------- */

static void test_wait_ends_with_the_first_client(void **state)
{
    Fixture *fixture = *state;
    VdsMonitorConfig config = unix_server(fixture->path);
    VDS_AUTO_FD fd = -1;

    assert_false(vds_monitor_is_waiting(fixture->monitor));
    config.wait = true;
    fixture_add(fixture, &config);
    fixture_settle(fixture);
    assert_true(vds_monitor_is_waiting(fixture->monitor));
    fd = fixture_connect(fixture);
    expect(fixture, fd, SAMPLE_GREETING);
    assert_false(vds_monitor_is_waiting(fixture->monitor));
    vds_fd_close(&fd);
    fixture_settle(fixture);
    assert_false(vds_monitor_is_waiting(fixture->monitor));
}

static void test_257th_client_waits(void **state)
{
    Fixture *fixture = *state;
    int fds[257];

    fixture_listen(fixture);
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = fixture_connect(fixture);
        if (i < 256) {
            expect(fixture, fds[i], SAMPLE_GREETING);
        }
    }
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 256);
    expect_silence(fixture, fds[256]);
    assert_false(g_main_context_iteration(fixture->context, FALSE)); /* it sleeps */
    vds_fd_close(&fds[17]);
    expect(fixture, fds[256], SAMPLE_GREETING);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 256);
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        vds_fd_close(&fds[i]);
    }
    fixture_settle(fixture);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 0);
}

/* In a process of its own, with no descriptor to spare. */
static void in_child(void (*body)(Fixture *fixture), Fixture *fixture)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        body(fixture);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "# line %d: %s\n", __LINE__, #condition);                    \
            _exit(1);                                                                    \
        }                                                                                \
    } while (0)

static bool child_greeted(Fixture *fixture, int fd, unsigned milliseconds)
{
    int64_t end = g_get_monotonic_time() + (int64_t)milliseconds * 1000;
    char byte;

    do {
        fixture_turn(fixture);
    } while (recv(fd, &byte, 1, MSG_PEEK) != 1 && g_get_monotonic_time() < end);
    return recv(fd, &byte, 1, MSG_PEEK) == 1;
}

static void starve(Fixture *fixture)
{
    struct rlimit limit = {0};
    int first, second, third, spare;

    fixture_listen(fixture);
    first = unix_connect(fixture->path);
    CHECK(child_greeted(fixture, first, 1000));
    second = unix_connect(fixture->path);
    third = unix_connect(fixture->path);
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(second >= 0 && third >= 0 && spare >= 0);
    limit.rlim_cur = limit.rlim_max = (rlim_t)spare + 1;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);

    CHECK(!child_greeted(fixture, second, 100));
    CHECK(vds_monitor_count_sessions(fixture->monitor) == 1);
    CHECK(!g_main_context_iteration(fixture->context, FALSE)); /* paused, not spinning */
    /* A session that ends frees its descriptor, and the next client is served at once.
     * (The client's own goes to something else.) */
    close(first);
    CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) == first);
    CHECK(child_greeted(fixture, second, 500));
    CHECK(!child_greeted(fixture, third, 100));
    /* A descriptor freed elsewhere is found within a second. */
    close(spare);
    CHECK(child_greeted(fixture, third, 1500));
    CHECK(vds_monitor_count_sessions(fixture->monitor) == 2);
    vds_monitor_free(g_steal_pointer(&fixture->monitor));
}

static void test_no_descriptors_left(void **state)
{
    in_child(starve, *state);
}

/* ---- descriptors
 * ----------------------------------------------------------------------- */

static void test_descriptors_stay_in_the_process(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = -1;
    DIR *folder;
    struct dirent *entry;

    fixture_listen(fixture);
    fd = fixture_connect(fixture);
    expect(fixture, fd, SAMPLE_GREETING);
    folder = opendir("/proc/self/fd");
    while ((entry = readdir(folder))) {
        int number = atoi(entry->d_name);

        if (number > STDERR_FILENO) {
            struct stat found;

            /* What the test's own parent left open is its own affair. */
            if (fstat(number, &found) == 0 && S_ISSOCK(found.st_mode)) {
                assert_int_equal(fcntl(number, F_GETFD), FD_CLOEXEC);
            }
        }
    }
    closedir(folder);
}

/* The count at the end of each test would see a leak. */
static void test_leaks_are_counted(void **state)
{
    void *inner = NULL;
    int fd, result;

    fixture_setup(&inner);
    fd = fixture_pair(inner, VDS_MONITOR_QMP);
    result = fixture_teardown(&inner);
    assert_int_not_equal(result, 0);
    close(fd);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_file_is_private),
        TEST(test_stale_file_is_replaced),
        TEST(test_live_file_is_not),
        TEST(test_live_file_with_full_backlog_is_not),
        TEST(test_other_files_are_left_alone),
        TEST(test_only_our_file_is_removed),
        TEST(test_path_length),
        TEST(test_absent_folder),
        TEST(test_tcp),
        TEST(test_tcp_client),
        TEST(test_unix_client),
        TEST(test_inherited_listener),
        TEST(test_wrong_descriptors),
        TEST(test_wait_ends_with_the_first_client),
        TEST(test_257th_client_waits),
        TEST(test_no_descriptors_left),
        TEST(test_descriptors_stay_in_the_process),
        TEST(test_leaks_are_counted),
    };

    return cmocka_run_group_tests_name("monitor-listener", tests, NULL, NULL);
}
