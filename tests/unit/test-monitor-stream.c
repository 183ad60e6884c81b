/*
 * monitor: what is no socket: standard input and output, a pty, a file; and the human
 * protocol.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>

#include "monitor-fixture.h"

#define BANNER "sample monitor\r\n(qemu) "

/* ---- the human protocol ---------------------------------------------------------------
 */

static void test_lines(void **state)
{
    static const struct {
        const char *sent, *reply;
    } rows[] = {
        {"a\n", "you said\r\n<a>\r\n(qemu) "},
        {"b\r", "you said\r\n<b>\r\n(qemu) "},
        {"c\r\n", "you said\r\n<c>\r\n(qemu) "},
        {"\n", "(qemu) "},
        {"\r\n\r\n", "(qemu) (qemu) "},
        {"\r\r\n\n", "(qemu) (qemu) (qemu) "},
        {"d e  f\n", "you said\r\n<d e  f>\r\n(qemu) "},
        {"g\nh\n", "you said\r\n<g>\r\n(qemu) you said\r\n<h>\r\n(qemu) "},
        {"\303\251\n", "you said\r\n<\303\251>\r\n(qemu) "},
    };
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_HMP);
    VDS_AUTO_FD bytewise = fixture_pair(fixture, VDS_MONITOR_HMP);

    expect(fixture, fd, BANNER);
    expect(fixture, bytewise, BANNER);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        say(fixture, fd, rows[i].sent);
        expect(fixture, fd, rows[i].reply);
        for (const char *at = rows[i].sent; *at; at++) {
            const char byte[] = {*at, '\0'};

            say(fixture, bytewise, byte);
            fixture_settle(fixture);
        }
        expect(fixture, bytewise, rows[i].reply);
    }
}

static void test_nul_is_no_text(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_HMP);

    expect(fixture, fd, BANNER);
    assert_int_equal(write(fd, "a\0b\n", 4), 4);
    expect(fixture, fd, "you said\r\n<ab>\r\n(qemu) ");
}

static void test_line_length(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_HMP);
    g_autofree char *longest = g_strnfill(4096, 'x');
    g_autofree char *endless = g_strnfill(1000000, 'x');
    g_autofree char *reply = g_strdup_printf("you said\r\n<%s>\r\n(qemu) ", longest);

    expect(fixture, fd, BANNER);
    say(fixture, fd, longest);
    say(fixture, fd, "\n");
    expect(fixture, fd, reply);
    for (int i = 0; i < 2; i++) {
        say(fixture, fd, i == 0 ? longest : endless);
        say(fixture, fd, "y\n");
        expect(fixture, fd, "Error: a line is limited to 4096 bytes\r\n(qemu) ");
    }
    assert_int_equal(fixture->sample.calls, 1);
    say(fixture, fd, "z\n");
    expect(fixture, fd, "you said\r\n<z>\r\n(qemu) ");
}

static void test_half_closed_human(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_HMP);
    g_autofree char *heard = NULL;

    say(fixture, fd, "a\nb\nc");
    shutdown(fd, SHUT_WR);
    heard = hear_until(fixture, fd, NULL);
    assert_string_equal(heard, BANNER "you said\r\n<a>\r\n(qemu) "
                                      "you said\r\n<b>\r\n(qemu) ");
}

static void test_lines_wait_their_turn(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_HMP);

    expect(fixture, fd, BANNER);
    say(fixture, fd, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
    g_main_context_iteration(fixture->context, FALSE);
    assert_int_equal(fixture->sample.calls, 8);
    fixture_settle(fixture);
    assert_int_equal(fixture->sample.calls, 10);
}

/* ---- other streams
 * ------------------------------------------------------------------------ */

static void test_pty(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *name = NULL;
    VDS_AUTO_FD fd = -1;

    fixture_add(fixture,
                &(VdsMonitorConfig){.transport = VDS_MONITOR_PTY, .address = &name});
    assert_true(g_str_has_prefix(name, "/dev/pts/"));
    for (int visit = 0; visit < 2; visit++) {
        fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        if (visit == 0) {
            expect(fixture, fd, SAMPLE_GREETING);
            say(fixture, fd, NEGOTIATE);
            expect(fixture, fd, NEGOTIATED);
        }
        say(fixture, fd, "{\"execute\":\"query-name\"}");
        expect(fixture, fd, "{\"return\": {}}\r\n");
        vds_fd_close(&fd);
        fixture_settle(fixture);
        /* Nobody there is no hang-up: the loop sleeps, and the next one may come. */
        assert_false(g_main_context_iteration(fixture->context, FALSE));
    }
}

static void test_file(void **state)
{
    Fixture *fixture = *state;
    VdsMonitorConfig config = {.transport = VDS_MONITOR_FILE, .path = fixture->path};
    g_autofree char *content = NULL;
    g_autoptr(GError) error = NULL;

    fixture_add(fixture, &config);
    fixture_settle(fixture);
    assert_true(g_file_get_contents(fixture->path, &content, NULL, NULL));
    assert_string_equal(content, SAMPLE_GREETING);
    unlink(fixture->path);
    config.path = "/nonexistent/file";
    assert_false(vds_monitor_add(fixture->monitor, &config, &error));
    assert_true(g_error_matches(error, VDS_MONITOR_ERROR, VDS_MONITOR_ERROR_SOCKET));
    assert_non_null(strstr(error->message, "/nonexistent/file"));
}

static void test_null(void **state)
{
    Fixture *fixture = *state;

    fixture_add(fixture, &(VdsMonitorConfig){.transport = VDS_MONITOR_NULL});
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 0);
}

/* Serves standard input and output in a process of its own until input ends. */
static void serve_stdio(Fixture *fixture, int in, int out)
{
    GError *error = NULL;
    bool again;

    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    close(in);
    close(out);
    if (!vds_monitor_add(fixture->monitor,
                         &(VdsMonitorConfig){.transport = VDS_MONITOR_STDIO}, &error)) {
        _exit(1);
    }
    again = vds_monitor_add(fixture->monitor,
                            &(VdsMonitorConfig){.transport = VDS_MONITOR_STDIO}, &error);
    if (again || !g_error_matches(error, VDS_MONITOR_ERROR, VDS_MONITOR_ERROR_IN_USE)) {
        _exit(2);
    }
    while (vds_monitor_count_sessions(fixture->monitor) > 0) {
        g_main_context_iteration(fixture->context, TRUE);
    }
    _exit((fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK) != 0 ? 3 : 0);
}

static void test_stdio(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *heard = NULL;
    int to[2], from[2], status = 0;
    pid_t child;

    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        close(to[1]);
        close(from[0]);
        serve_stdio(fixture, to[0], from[1]);
    }
    close(to[0]);
    close(from[1]);
    say(fixture, to[1], NEGOTIATE "{\"execute\":\"query-name\",\"id\":1}");
    close(to[1]);
    heard = hear_until(fixture, from[0], NULL);
    assert_string_equal(heard,
                        SAMPLE_GREETING NEGOTIATED "{\"return\": {}, \"id\": 1}\r\n");
    close(from[0]);
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lines),
        TEST(test_nul_is_no_text),
        TEST(test_line_length),
        TEST(test_half_closed_human),
        TEST(test_lines_wait_their_turn),
        TEST(test_pty),
        TEST(test_file),
        TEST(test_null),
        TEST(test_stdio),
    };

    return cmocka_run_group_tests_name("monitor-stream", tests, NULL, NULL);
}
