/*
 * qmp: conversations, byte for byte.  The exchanges marked "recorded" are QEMU 7.2's with
 * our greeting's version; each conversation is held twice, once in whole messages and
 * once byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "sample-commands.h"

typedef struct {
    const char *sent;
    const char *reply;
} Exchange;

#define STATUS "{\"status\": \"prelaunch\", \"singlestep\": false, \"running\": false}"
#define GENERIC(desc)                                                                    \
    "\"error\": {\"class\": \"GenericError\", \"desc\": \"" desc "\"}}\r\n"
#define NOT_FOUND(desc)                                                                  \
    "\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"" desc "\"}}\r\n"
#define EXPECTING "Expecting capabilities negotiation with 'qmp_capabilities'"
#define NEGOTIATE                                                                        \
    {                                                                                    \
        "{\"execute\":\"qmp_capabilities\"}\n", "{\"return\": {}}\r\n"                   \
    }

typedef struct {
    Sample sample;
    VdsQmpServer server;
    VdsBuf out;
    VdsQmpSession *session;
} Peer;

static Peer *peer_new(bool pretty)
{
    Peer *peer = g_new0(Peer, 1);

    peer->server = sample_server(&peer->sample);
    peer->session = vds_qmp_session_new(&peer->server, &peer->out, pretty);
    return peer;
}

static void peer_free(Peer *peer)
{
    vds_qmp_session_free(peer->session);
    vds_buf_clear(&peer->out);
    g_free(peer);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Peer, peer_free)

static char *peer_heard(Peer *peer)
{
    char *text =
        g_strndup((const char *)vds_buf_bytes(&peer->out), vds_buf_len(&peer->out));

    vds_buf_consume(&peer->out, vds_buf_len(&peer->out));
    return text;
}

static void peer_say(Peer *peer, const char *text, size_t step)
{
    for (size_t len = strlen(text); len > 0;) {
        size_t n = MIN(step, len);

        assert_int_equal(vds_qmp_session_feed(peer->session, text, n, 1000, SIZE_MAX), n);
        text += n;
        len -= n;
    }
}

static void peer_expect(Peer *peer, const char *expected)
{
    g_autofree char *heard = peer_heard(peer);

    assert_string_equal(heard, expected);
}

static void hold(const Exchange *exchanges, size_t n, size_t step)
{
    g_autoptr(Peer) peer = peer_new(false);

    peer_expect(peer, SAMPLE_GREETING);
    for (size_t i = 0; i < n; i++) {
        peer_say(peer, exchanges[i].sent, step);
        peer_expect(peer, exchanges[i].reply);
    }
}

#define HOLD(exchanges)                                                                  \
    do {                                                                                 \
        hold(exchanges, G_N_ELEMENTS(exchanges), SIZE_MAX);                              \
        hold(exchanges, G_N_ELEMENTS(exchanges), 1);                                     \
    } while (0)

/* ---- recorded --------------------------------------------------------------------- */

static void test_negotiation(void **state)
{
    static const Exchange recorded[] = {
        {"{\"execute\":\"query-status\"}\n", "{" NOT_FOUND(EXPECTING)},
        {"{\"execute\":\"no-such\",\"id\":7}\n", "{\"id\": 7, " NOT_FOUND(EXPECTING)},
        {"{\"execute\":\"query-commands\"}\n", "{" NOT_FOUND(EXPECTING)},
        {"{\"exec\":\"x\",\"id\":1}\n",
         "{\"id\": 1, " GENERIC("QMP input member 'exec' is unexpected")},
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"nope\"]}}\n",
         "{" GENERIC("Parameter 'null' does not accept value 'nope'")},
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enabled\":[]}}\n",
         "{" GENERIC("Parameter 'enabled' is unexpected")},
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":\"oob\"}}\n",
         "{" GENERIC("Invalid parameter type for 'enable', expected: array")},
        {"{\"exec-oob\":\"qmp_capabilities\"}\n",
         "{" GENERIC("QMP input member 'exec-oob' is unexpected")},
        {"{\"execute\":\"qmp_capabilities\",\"id\":\"a\"}\n",
         "{\"return\": {}, \"id\": \"a\"}\r\n"},
        {"{\"execute\":\"qmp_capabilities\",\"id\":\"b\"}\n",
         "{\"id\": \"b\", " NOT_FOUND("Capabilities negotiation is already complete, "
                                      "command ignored")},
        {"{\"exec-oob\":\"query-status\",\"id\":1}\n",
         "{\"id\": 1, " GENERIC("QMP input member 'exec-oob' is unexpected")},
    };

    HOLD(recorded);
}

static void test_failed_negotiation_stays(void **state)
{
    static const Exchange exchanges[] = {
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"later\"]}}",
         "{" GENERIC("Capability later not available")},
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\",\"later\"]"
         "}}",
         "{" GENERIC("Capability later not available")},
        {"{\"execute\":\"query-name\"}", "{" NOT_FOUND(EXPECTING)},
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}",
         "{\"return\": {}}\r\n"},
        /* Arguments are checked before the mode. */
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"x\":1}}",
         "{" GENERIC("Parameter 'x' is unexpected")},
        {"{\"exec-oob\":\"oob-ping\"}",
         "{" GENERIC("QMP input member 'exec-oob' is unexpected")},
    };

    HOLD(exchanges);
}

static void test_ids(void **state)
{
    static const char *const recorded[][2] = {
        {"1", "1"},
        {"\"x\"", "\"x\""},
        {"null", "null"},
        {"true", "true"},
        {"1.5", "1.5"},
        {"1e3", "1000"},
        {"-0", "0"},
        {"{\"a\":[1,{\"b\":null}]}", "{\"a\": [1, {\"b\": null}]}"},
        {"[1,\"two\"]", "[1, \"two\"]"},
        {"18446744073709551615", "18446744073709551615"},
        {"9223372036854775808", "9223372036854775808"},
        {"-9223372036854775809", "-9.2233720368547758e+18"},
        {"123456789012345678901234567890", "1.2345678901234568e+29"},
        {"\"\\u00e9\\u0001\\u20ac\\ud83d\\ude00\"",
         "\"\\u00E9\\u0001\\u20AC\\uD83D\\uDE00\""},
        {"\"\\u0000\"", "\"\\u0000\""},
        {"0.1", "0.10000000000000001"},
    };
    g_autoptr(Peer) peer = peer_new(false);

    peer_say(peer, "{\"execute\":\"qmp_capabilities\"}", SIZE_MAX);
    vds_buf_clear(&peer->out);
    for (size_t i = 0; i < G_N_ELEMENTS(recorded); i++) {
        g_autofree char *good =
            g_strdup_printf("{\"execute\":\"query-status\",\"id\":%s}\n", recorded[i][0]);
        g_autofree char *bad =
            g_strdup_printf("{\"id\":%s,\"bogus\":1}\n", recorded[i][0]);
        g_autofree char *good_reply =
            g_strdup_printf("{\"return\": " STATUS ", \"id\": %s}\r\n", recorded[i][1]);
        g_autofree char *bad_reply = g_strdup_printf(
            "{\"id\": %s, " GENERIC("QMP input member 'bogus' is unexpected"),
            recorded[i][1]);

        peer_say(peer, good, SIZE_MAX);
        peer_expect(peer, good_reply);
        peer_say(peer, bad, 3);
        peer_expect(peer, bad_reply);
    }
}

static void test_envelope(void **state)
{
    static const Exchange recorded[] = {
        NEGOTIATE,
        {"{\"execute\":\"nope\",\"id\":{\"k\":1}}\n",
         "{\"id\": {\"k\": 1}, " NOT_FOUND("The command nope has not been found")},
        {"{\"bogus\":1,\"id\":5}\n",
         "{\"id\": 5, " GENERIC("QMP input member 'bogus' is unexpected")},
        {"{\"execute\":\"query-status\",\"id\":1}{\"execute\":\"query-name\",\"id\":2}",
         "{\"return\": " STATUS ", \"id\": 1}\r\n{\"return\": {}, \"id\": 2}\r\n"},
        {" \r\n\t{ \r\n\"execute\"\r\n:\t\"query-name\" , \"id\" : 4 }\r\n",
         "{\"return\": {}, \"id\": 4}\r\n"},
        {"{\"execute\":\"no-such-cmd\",\"id\":1}\n",
         "{\"id\": 1, " NOT_FOUND("The command no-such-cmd has not been found")},
        {"{\"execute\":\"\"}\n", "{" NOT_FOUND("The command  has not been found")},
        {"{\"execute\":1,\"id\":9}\n",
         "{\"id\": 9, " GENERIC("QMP input member 'execute' must be a string")},
        {"{\"arguments\":{}}\n", "{" GENERIC("QMP input lacks member 'execute'")},
        {"{}\n", "{" GENERIC("QMP input lacks member 'execute'")},
        {"{\"execute\":\"query-status\",\"arguments\":[]}\n",
         "{" GENERIC("QMP input member 'arguments' must be an object")},
        {"{\"execute\":\"query-status\",\"arguments\":null}\n",
         "{" GENERIC("QMP input member 'arguments' must be an object")},
        {"{\"execute\":\"query-status\",\"foo\":1}\n",
         "{" GENERIC("QMP input member 'foo' is unexpected")},
        {"{\"foo\":1}\n", "{" GENERIC("QMP input member 'foo' is unexpected")},
        {"{\"execute\":\"query-status\",\"exec-oob\":\"query-status\"}\n",
         "{" GENERIC("QMP input member 'exec-oob' is unexpected")},
        {"[]\n", "{" GENERIC("QMP input must be a JSON object")},
        {"42 \n", "{" GENERIC("QMP input must be a JSON object")},
        {"\"hi\"\n", "{" GENERIC("QMP input must be a JSON object")},
        {"null\n", "{" GENERIC("QMP input must be a JSON object")},
        {"{\"execute\": \"query-status\", \"arguments\": {\"x\": 1}}\n",
         "{" GENERIC("Parameter 'x' is unexpected")},
        {"{\"execute\":\"x_query_virtio\"}\n",
         "{" NOT_FOUND("The command x_query_virtio has not been found")},
        {"{'execute':'query-name','id':'it'}\n", "{\"return\": {}, \"id\": \"it\"}\r\n"},
        {"{\"execute\":\"query-name\",\"execute\":\"query-name\"}\n",
         "{" GENERIC("JSON parse error, duplicate key")},
        {"garbage\n", "{" GENERIC("JSON parse error, invalid keyword 'garbage'")},
        {"{\"execute\":\"query-name\",\"id\":99}\n", "{\"return\": {}, \"id\": 99}\r\n"},
    };

    HOLD(recorded);
}

static void test_oob(void **state)
{
    static const Exchange recorded[] = {
        {"{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]},\"id\":"
         "1}\n",
         "{\"return\": {}, \"id\": 1}\r\n"},
        {"{\"exec-oob\":\"query-status\",\"id\":2}\n",
         "{\"id\": 2, " GENERIC("The command query-status does not support OOB")},
        {"{\"exec-oob\":\"zzz\",\"id\":2}\n",
         "{\"id\": 2, " NOT_FOUND("The command zzz has not been found")},
        {"{\"execute\":\"query-status\",\"exec-oob\":\"query-status\",\"id\":2}\n",
         "{\"id\": 2, " GENERIC("QMP input member 'execute' clashes with 'exec-oob'")},
        {"{\"exec-oob\":1,\"id\":2}\n",
         "{\"id\": 2, " GENERIC("QMP input member 'exec-oob' must be a string")},
        /* Not recorded: the same clash the other way round, no id, and a command that
         * the session answers itself. */
        {"{\"exec-oob\":\"oob-ping\",\"execute\":\"oob-ping\"}",
         "{" GENERIC("QMP input member 'execute' clashes with 'exec-oob'")},
        {"{\"exec-oob\":\"oob-ping\"}", "{\"return\": {}}\r\n"},
        {"{\"exec-oob\":\"qmp_capabilities\"}",
         "{" GENERIC("The command qmp_capabilities does not support OOB")},
        /* The look-up comes before oob, oob before the arguments. */
        {"{\"exec-oob\":\"query-status\",\"arguments\":{\"x\":1}}",
         "{" GENERIC("The command query-status does not support OOB")},
    };

    HOLD(recorded);
}

/* ---- ours ---------------------------------------------------------------------------
 */

static void test_first_fault_as_sent(void **state)
{
    static const Exchange exchanges[] = {
        NEGOTIATE,
        {"{\"b\":1,\"a\":1}", "{" GENERIC("QMP input member 'b' is unexpected")},
        {"{\"a\":1,\"b\":1}", "{" GENERIC("QMP input member 'a' is unexpected")},
        {"{\"arguments\":1,\"execute\":1}",
         "{" GENERIC("QMP input member 'arguments' must be an object")},
        {"{\"execute\":1,\"arguments\":1}",
         "{" GENERIC("QMP input member 'execute' must be a string")},
        {"{\"x\":1,\"execute\":\"nope\",\"id\":[]}",
         "{\"id\": [], " GENERIC("QMP input member 'x' is unexpected")},
        /* A NUL is part of a name. */
        {"{\"execute\\u0000\":\"query-name\"}",
         "{" GENERIC("QMP input member 'execute' is unexpected")},
        {"{\"execute\":\"query-name\\u0000\"}",
         "{" NOT_FOUND("The command query-name has not been found")},
    };

    HOLD(exchanges);
}

static void test_names_are_cut(void **state)
{
    g_autoptr(Peer) peer = peer_new(false);
    g_autofree char *ascii = g_strnfill(1000, 'n');
    /* 127 bytes and then a character of two: the cut comes before it. */
    g_autofree char *wide = g_strnfill(127, 'n');
    g_autoptr(GString) sent = g_string_new("{\"execute\":\"qmp_capabilities\"}");
    g_autoptr(GString) expected = g_string_new("{\"return\": {}}\r\n");

    g_string_append_printf(sent, "{\"execute\":\"%s\"}{\"%s\":1}", ascii, ascii);
    g_string_append_printf(expected,
                           "{" NOT_FOUND("The command %.128s has not been found"), ascii);
    g_string_append_printf(expected,
                           "{" GENERIC("QMP input member '%.128s' is unexpected"), ascii);
    g_string_append_printf(sent, "{\"execute\":\"%s\303\251tail\"}", wide);
    g_string_append_printf(expected, "{" NOT_FOUND("The command %s has not been found"),
                           wide);
    vds_buf_clear(&peer->out);
    peer_say(peer, sent->str, SIZE_MAX);
    peer_expect(peer, expected->str);
}

static void test_error_classes(void **state)
{
    static const char *const rows[][2] = {
        {"generic", "GenericError"},     {"command", "CommandNotFound"},
        {"inactive", "DeviceNotActive"}, {"absent", "DeviceNotFound"},
        {"kvm", "KVMMissingCap"},        {"foreign absent", "DeviceNotFound"},
        {"foreign", "GenericError"},
    };

    for (int with_classify = 0; with_classify < 2; with_classify++) {
        g_autoptr(Peer) peer = peer_new(false);

        if (!with_classify) {
            peer->server.classify = NULL;
        }
        peer_say(peer, "{\"execute\":\"qmp_capabilities\"}", SIZE_MAX);
        vds_buf_clear(&peer->out);
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
            bool foreign = g_str_has_prefix(rows[i][0], "foreign");
            g_autofree char *sent = g_strdup_printf(
                "{\"execute\":\"fail\",\"arguments\":{\"how\":\"%s\"}}", rows[i][0]);
            g_autofree char *expected = g_strdup_printf(
                "{\"error\": {\"class\": \"%s\", \"desc\": \"failed: %s\"}}\r\n",
                foreign && !with_classify ? "GenericError" : rows[i][1], rows[i][0]);

            peer_say(peer, sent, SIZE_MAX);
            peer_expect(peer, expected);
        }
    }
}

static void test_arguments_reach_the_handler(void **state)
{
    static const Exchange exchanges[] = {
        NEGOTIATE,
        {"{\"execute\":\"query-blob\",\"arguments\":{\"count\":3},\"id\":0}",
         "{\"return\": \"xxx\", \"id\": 0}\r\n"},
        {"{\"execute\":\"query-blob\"}", "{" GENERIC("Parameter 'count' is missing")},
        {"{\"execute\":\"query-blob\",\"arguments\":{}}",
         "{" GENERIC("Parameter 'count' is missing")},
        {"{\"execute\":\"echo\",\"arguments\":{\"value\":[1,{}]}}",
         "{\"return\": {\"value\": [1, {}]}}\r\n"},
    };

    HOLD(exchanges);
}

static void test_pretty(void **state)
{
    g_autoptr(Peer) peer = peer_new(true);

    peer_expect(peer, "{\r\n    \"QMP\": {\r\n        \"version\": {\r\n"
                      "            \"qemu\": {\r\n                \"major\": 8,\r\n"
                      "                \"minor\": 2,\r\n                \"micro\": 0\r\n"
                      "            },\r\n            \"package\": \"sample\"\r\n"
                      "        },\r\n        \"capabilities\": [\r\n"
                      "            \"oob\"\r\n        ]\r\n    }\r\n}\r\n");
    peer_say(peer, "{\"execute\":\"qmp_capabilities\"}", SIZE_MAX);
    peer_expect(peer, "{\r\n    \"return\": {\r\n    }\r\n}\r\n");
    peer_say(peer, "{\"execute\":\"nope\",\"id\":{\"a\":[]}}", SIZE_MAX);
    peer_expect(peer, "{\r\n    \"id\": {\r\n        \"a\": [\r\n        ]\r\n    },\r\n"
                      "    \"error\": {\r\n        \"class\": \"CommandNotFound\",\r\n"
                      "        \"desc\": \"The command nope has not been found\"\r\n"
                      "    }\r\n}\r\n");
}

static void emit_to_peer(void *user, const VdsQapiEvent *event, const void *data)
{
    Peer *peer = user;

    vds_qmp_session_event(peer->session, event, data, INT64_C(1795323966938746));
}

static void test_events(void **state)
{
    static const char stop[] = "{\"timestamp\": {\"seconds\": 1795323966, "
                               "\"microseconds\": 938746}, \"event\": \"STOP\"}\r\n";
    g_autoptr(Peer) peer = peer_new(false);
    g_autofree char *expected = NULL;
    const SampleStatus *data;
    const VdsQapiEvent *changed = sample_event_with_data(&data);

    peer->sample.sink = (VdsEventSink){emit_to_peer, peer};
    vds_buf_clear(&peer->out);
    assert_false(vds_qmp_session_event(peer->session, changed, data, 5));
    assert_false(vds_qmp_session_is_negotiated(peer->session));
    assert_int_equal(vds_buf_len(&peer->out), 0);

    peer_say(peer, "{\"execute\":\"qmp_capabilities\"}", SIZE_MAX);
    vds_buf_clear(&peer->out);
    assert_true(vds_qmp_session_is_negotiated(peer->session));
    assert_true(vds_qmp_session_event(peer->session, changed, data, 5));
    peer_expect(peer, "{\"timestamp\": {\"seconds\": 0, \"microseconds\": 5}, "
                      "\"event\": \"CHANGED\", \"data\": {\"status\": \"running\", "
                      "\"singlestep\": false, \"running\": true}}\r\n");
    /* What a command causes comes before its reply. */
    peer_say(peer, "{\"execute\":\"emit\",\"arguments\":{\"count\":2},\"id\":1}",
             SIZE_MAX);
    expected = g_strconcat(stop, stop, "{\"return\": {}, \"id\": 1}\r\n", NULL);
    peer_expect(peer, expected);
}

/* ---- bounds ---------------------------------------------------------------------------
 */

#define ONE "{\"execute\":\"query-name\"}"

static void test_max_requests(void **state)
{
    static const char sent[] = "{\"execute\":\"qmp_capabilities\"}" ONE ONE "}" ONE;
    static const size_t ends[] = {30, 54, 78, 79, 103};
    g_autoptr(Peer) peer = peer_new(false);
    size_t taken = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        taken += vds_qmp_session_feed(peer->session, sent + taken, strlen(sent) - taken,
                                      1, SIZE_MAX);
        assert_int_equal(taken, ends[i]);
    }
    assert_int_equal(peer->sample.calls, 3);
    assert_int_equal(vds_qmp_session_feed(peer->session, ONE, strlen(ONE), 0, SIZE_MAX),
                     0);
}

static void test_out_limit(void **state)
{
    static const char many[] = ONE ONE ONE ONE ONE ONE;
    const size_t reply = strlen("{\"return\": {}}\r\n");
    g_autoptr(Peer) peer = peer_new(false);

    peer_say(peer, "{\"execute\":\"qmp_capabilities\"}", SIZE_MAX);
    vds_buf_clear(&peer->out);
    /* The reply that reaches the limit is whole, and the next request is not taken. */
    assert_int_equal(
        vds_qmp_session_feed(peer->session, many, strlen(many), 100, 2 * reply - 1),
        2 * strlen(ONE));
    assert_int_equal(vds_buf_len(&peer->out), 2 * reply);
    assert_int_equal(
        vds_qmp_session_feed(peer->session, many, strlen(many), 100, 2 * reply), 0);
    vds_buf_consume(&peer->out, 1);
    assert_int_equal(
        vds_qmp_session_feed(peer->session, many, strlen(many), 100, 2 * reply),
        strlen(ONE));
}

static void test_one_error_is_bounded(void **state)
{
    g_autoptr(Peer) peer = peer_new(false);
    g_autofree char *brackets = g_strnfill(100000, ']');
    g_autofree char *heard = NULL;

    vds_buf_clear(&peer->out);
    peer_say(peer, brackets, SIZE_MAX);
    assert_in_range(vds_buf_len(&peer->out), 1, 1024);
    vds_buf_clear(&peer->out);
    /* and the session is as usable as before */
    peer_say(peer, "\n{\"execute\":\"qmp_capabilities\",\"id\":1}", SIZE_MAX);
    heard = peer_heard(peer);
    assert_true(g_str_has_suffix(heard, "{\"return\": {}, \"id\": 1}\r\n"));
}

static void test_finish_drops_the_unfinished(void **state)
{
    g_autoptr(Peer) peer = peer_new(false);

    vds_buf_clear(&peer->out);
    peer_say(peer, "{\"execute\":\"qmp_cap", SIZE_MAX);
    vds_qmp_session_finish(peer->session);
    assert_int_equal(vds_buf_len(&peer->out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_negotiation),
        cmocka_unit_test(test_failed_negotiation_stays),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_oob),
        cmocka_unit_test(test_first_fault_as_sent),
        cmocka_unit_test(test_names_are_cut),
        cmocka_unit_test(test_error_classes),
        cmocka_unit_test(test_arguments_reach_the_handler),
        cmocka_unit_test(test_pretty),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_max_requests),
        cmocka_unit_test(test_out_limit),
        cmocka_unit_test(test_one_error_is_bounded),
        cmocka_unit_test(test_finish_drops_the_unfinished),
    };

    return cmocka_run_group_tests_name("qmp-session", tests, NULL, NULL);
}
