/*
 * monitor: sessions on real sockets: order, fairness, back-pressure, the end of input.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>

#include "monitor-fixture.h"

#define PING "{\"execute\":\"query-name\"}"

static void test_two_clients_negotiate_apart(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD first = -1, second = -1;

    fixture_listen(fixture);
    first = fixture_connect(fixture);
    second = fixture_connect(fixture);
    negotiate(fixture, first);
    expect(fixture, second, SAMPLE_GREETING);
    say(fixture, second, PING);
    expect(fixture, second,
           "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Expecting "
           "capabilities negotiation with 'qmp_capabilities'\"}}\r\n");
    say(fixture, first, PING);
    expect(fixture, first, "{\"return\": {}}\r\n");
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 2);
}

static void test_one_byte_at_a_time(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);

    expect(fixture, fd, SAMPLE_GREETING);
    for (const char *at = NEGOTIATE; *at; at++) {
        const char byte[] = {*at, '\0'};

        say(fixture, fd, byte);
        fixture_settle(fixture);
    }
    expect(fixture, fd, NEGOTIATED);
}

static void test_events_to_negotiated_only(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD talker = fixture_pair(fixture, VDS_MONITOR_QMP);
    VDS_AUTO_FD listener = fixture_pair(fixture, VDS_MONITOR_QMP);
    VDS_AUTO_FD stranger = fixture_pair(fixture, VDS_MONITOR_QMP);
    VDS_AUTO_FD human = fixture_pair(fixture, VDS_MONITOR_HMP);
    g_autofree char *heard = NULL, *event = NULL;

    negotiate(fixture, talker);
    negotiate(fixture, listener);
    expect(fixture, stranger, SAMPLE_GREETING);
    expect(fixture, human, "sample monitor\r\n(qemu) ");
    say(fixture, talker, "{\"execute\":\"emit\",\"arguments\":{\"count\":1}}");
    heard = hear_until(fixture, talker, "{\"return\": {}}\r\n");
    assert_non_null(strstr(heard, "\"event\": \"STOP\""));
    assert_true(strstr(heard, "STOP") < strstr(heard, "return"));
    event = hear_until(fixture, listener, "\"event\": \"STOP\"}\r\n");
    assert_true(g_str_has_prefix(event, "{\"timestamp\": {\"seconds\": 1"));
    expect_silence(fixture, stranger);
    expect_silence(fixture, human);
}

static void test_pipelined_replies_keep_order(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    g_autoptr(GString) sent = g_string_new(NULL);
    g_autoptr(GString) expected = g_string_new(NULL);

    for (int i = 0; i < 1000; i++) {
        g_string_append_printf(sent, "{\"execute\":\"query-name\",\"id\":%d}", i);
        g_string_append_printf(expected, "{\"return\": {}, \"id\": %d}\r\n", i);
    }
    negotiate(fixture, fd);
    say(fixture, fd, sent->str);
    expect(fixture, fd, expected->str);
}

static void test_turns_are_fair(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD busy = fixture_pair(fixture, VDS_MONITOR_QMP);
    VDS_AUTO_FD modest = fixture_pair(fixture, VDS_MONITOR_QMP);
    g_autoptr(GString) sent = g_string_new(NULL);

    negotiate(fixture, busy);
    negotiate(fixture, modest);
    for (int i = 0; i < 1000; i++) {
        g_string_append(sent, PING);
    }
    say(fixture, busy, sent->str);
    g_main_context_iteration(fixture->context, FALSE);
    assert_int_equal(fixture->sample.calls, 8);
    say(fixture, modest, PING);
    expect(fixture, modest, "{\"return\": {}}\r\n");
    assert_in_range(fixture->sample.calls, 9, 100);
}

/* ---- back-pressure -------------------------------------------------------------------
 */

enum { BLOB = 10000 };
#define ASK_BLOB "{\"execute\":\"query-blob\",\"arguments\":{\"count\":10000}}\n"

/* Sends as much as is taken while nothing is read.  Returns how many requests were begun;
 * *rest is what the last one lacks. */
static unsigned flood(Fixture *fixture, int fd, const char **rest)
{
    unsigned begun = 0;

    *rest = "";
    for (int refused = 0; refused < 20;) {
        ssize_t n;

        if (**rest == '\0') {
            *rest = ASK_BLOB;
            begun++;
        }
        n = write(fd, *rest, strlen(*rest));
        if (n > 0) {
            *rest += n;
            refused = 0;
        } else {
            fixture_settle(fixture);
            refused++;
        }
    }
    return begun;
}

static void test_client_that_does_not_read(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    VDS_AUTO_FD other = fixture_pair(fixture, VDS_MONITOR_QMP);
    int buffer = 0;
    socklen_t len = sizeof(buffer);
    unsigned calls;
    const char *rest;

    negotiate(fixture, fd);
    negotiate(fixture, other);
    flood(fixture, fd, &rest);
    calls = fixture->sample.calls;
    /* A megabyte, one reply, and what the socket itself holds. */
    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, &len);
    assert_in_range(calls, (1 << 20) / BLOB, ((1 << 20) + 2 * (size_t)buffer) / BLOB + 2);
    /* The others are served, and the loop sleeps in between. */
    say(fixture, other, PING);
    expect(fixture, other, "{\"return\": {}}\r\n");
    fixture_settle(fixture);
    assert_false(g_main_context_iteration(fixture->context, FALSE));
    assert_int_equal(fixture->sample.calls, calls + 1);
}

static void test_slow_reader_gets_everything(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    int64_t end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
    size_t heard = 0, expected;
    const char *rest;
    char bytes[4096];

    negotiate(fixture, fd);
    expected = flood(fixture, fd, &rest) * (strlen("{\"return\": \"\"}\r\n") + BLOB);
    while (heard < expected && g_get_monotonic_time() < end) {
        ssize_t n = read(fd, bytes, sizeof(bytes));

        heard += n > 0 ? (size_t)n : 0;
        n = write(fd, rest, strlen(rest));
        rest += n > 0 ? n : 0;
        g_main_context_iteration(fixture->context, FALSE);
    }
    assert_int_equal(heard, expected);
    expect_silence(fixture, fd);
}

static void test_reply_larger_than_the_limit(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    g_autofree char *heard = NULL;

    negotiate(fixture, fd);
    say(fixture, fd,
        "{\"execute\":\"query-blob\",\"arguments\":{\"count\":4194304}}" PING);
    heard = hear_until(fixture, fd, "\"}\r\n{\"return\": {}}\r\n");
    assert_int_equal(strlen(heard), 4194304 + strlen("{\"return\": \"\"}\r\n") +
                                        strlen("{\"return\": {}}\r\n"));
}

static void test_events_cut_off_who_does_not_read(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD deaf = fixture_pair(fixture, VDS_MONITOR_QMP);
    VDS_AUTO_FD talker = fixture_pair(fixture, VDS_MONITOR_QMP);
    unsigned rounds = 0;

    negotiate(fixture, deaf);
    negotiate(fixture, talker);
    /* Each event has about 90 bytes: 2 MiB and the socket's buffer are 35,000. */
    while (vds_monitor_count_sessions(fixture->monitor) == 2 && rounds++ < 100) {
        g_autofree char *heard = NULL;

        say(fixture, talker, "{\"execute\":\"emit\",\"arguments\":{\"count\":1000}}");
        heard = hear_until(fixture, talker, "{\"return\": {}}\r\n");
        fixture_settle(fixture);
    }
    assert_in_range(rounds, 20, 60);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 1);
}

/* ---- ends
 * ------------------------------------------------------------------------------ */

static void test_half_close_is_answered(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    g_autoptr(GString) expected = g_string_new(SAMPLE_GREETING NEGOTIATED);
    g_autofree char *heard = NULL;

    say(fixture, fd, NEGOTIATE);
    for (int i = 0; i < 100; i++) {
        say(fixture, fd, PING);
        g_string_append(expected, "{\"return\": {}}\r\n");
    }
    say(fixture, fd, "{\"execute\":\"unfinished");
    shutdown(fd, SHUT_WR);
    heard = hear_until(fixture, fd, NULL);
    assert_string_equal(heard, expected->str);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 0);
}

static void test_half_close_behind_a_large_reply(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    g_autofree char *heard = NULL;

    say(fixture, fd,
        NEGOTIATE "{\"execute\":\"query-blob\",\"arguments\":{"
                  "\"count\":3000000}}" PING);
    shutdown(fd, SHUT_WR);
    fixture_settle(fixture);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 1);
    heard = hear_until(fixture, fd, NULL);
    assert_true(g_str_has_suffix(heard, "x\"}\r\n{\"return\": {}}\r\n"));
}

static void test_disconnect_ends_the_session(void **state)
{
    static const char *const last_words[] = {
        "", PING, "{\"execute\":\"query-blob\",\"arguments\":{\"count\":3000000}}", "{"};
    Fixture *fixture = *state;

    for (size_t i = 0; i < G_N_ELEMENTS(last_words); i++) {
        int fd = fixture_pair(fixture, VDS_MONITOR_QMP);

        negotiate(fixture, fd);
        say(fixture, fd, last_words[i]);
        vds_fd_close(&fd);
        fixture_settle(fixture);
        assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 0);
    }
}

static void test_disconnect_while_output_waits(void **state)
{
    Fixture *fixture = *state;
    int fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    const char *rest;

    negotiate(fixture, fd);
    flood(fixture, fd, &rest);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 1);
    vds_fd_close(&fd);
    fixture_settle(fixture);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 0);
}

/* Nothing to do means: the loop would sleep until a descriptor speaks. */
static void test_idle_has_no_timer(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD idle = -1, half_closed = -1;
    GPollFD fds[16];
    int priority, timeout = 0;

    fixture_listen(fixture);
    idle = fixture_connect(fixture);
    half_closed = fixture_connect(fixture);
    negotiate(fixture, idle);
    expect(fixture, half_closed, SAMPLE_GREETING);
    say(fixture, half_closed,
        NEGOTIATE "{\"execute\":\"query-blob\",\"arguments\":{\"count\":3000000}}");
    shutdown(half_closed, SHUT_WR);
    fixture_settle(fixture);
    assert_int_equal(vds_monitor_count_sessions(fixture->monitor), 2);

    assert_true(g_main_context_acquire(fixture->context));
    assert_false(g_main_context_prepare(fixture->context, &priority));
    g_main_context_query(fixture->context, G_MAXINT, &timeout, fds, G_N_ELEMENTS(fds));
    g_main_context_release(fixture->context);
    assert_int_equal(timeout, -1);
}

static void test_flush(void **state)
{
    Fixture *fixture = *state;
    VDS_AUTO_FD fd = fixture_pair(fixture, VDS_MONITOR_QMP);
    VDS_AUTO_FD deaf = fixture_pair(fixture, VDS_MONITOR_QMP);
    g_autofree char *heard = NULL;
    int64_t before;

    negotiate(fixture, fd);
    vds_monitor_emit(fixture->monitor, &sample_stop, NULL);
    vds_monitor_flush(fixture->monitor, 10000);
    heard = hear_until(fixture, fd, "\"event\": \"STOP\"}\r\n");
    assert_non_null(strstr(heard, "STOP"));

    negotiate(fixture, deaf);
    say(fixture, deaf, "{\"execute\":\"query-blob\",\"arguments\":{\"count\":3000000}}");
    fixture_settle(fixture);
    before = g_get_monotonic_time();
    vds_monitor_flush(fixture->monitor, 50);
    assert_in_range(g_get_monotonic_time() - before, 50000, 2000000);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_two_clients_negotiate_apart),
        TEST(test_one_byte_at_a_time),
        TEST(test_events_to_negotiated_only),
        TEST(test_pipelined_replies_keep_order),
        TEST(test_turns_are_fair),
        TEST(test_client_that_does_not_read),
        TEST(test_slow_reader_gets_everything),
        TEST(test_reply_larger_than_the_limit),
        TEST(test_events_cut_off_who_does_not_read),
        TEST(test_half_close_is_answered),
        TEST(test_half_close_behind_a_large_reply),
        TEST(test_disconnect_ends_the_session),
        TEST(test_disconnect_while_output_waits),
        TEST(test_idle_has_no_timer),
        TEST(test_flush),
    };

    return cmocka_run_group_tests_name("monitor-session", tests, NULL, NULL);
}
