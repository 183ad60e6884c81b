/*
 * fuzz: a QMP session over a small command table.  However the bytes are cut, the same is
 * answered; every answer is one line of ASCII that our own parser reads; and answers are
 * bounded by what was asked.  The first byte picks the session's mode.
 */
#include "sample-commands.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NEGOTIATED = 1, OOB = 2, PRETTY = 4 };

static const char *const openings[] = {
    [0] = "",
    [NEGOTIATED] = "{\"execute\":\"qmp_capabilities\"}",
    [OOB] = "",
    [NEGOTIATED | OOB] =
        "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}",
};

static void drain(VdsBuf *out, GString *heard)
{
    g_string_append_len(heard, (const char *)vds_buf_bytes(out),
                        (gssize)vds_buf_len(out));
    vds_buf_consume(out, vds_buf_len(out));
}

/* Feeds in pieces of `step` bytes, a request at a time, and drains the output meanwhile
 * as a peer would. */
static void converse(uint8_t mode, const uint8_t *data, size_t size, size_t step,
                     GString *heard)
{
    Sample sample = {.max_blob = 16};
    const VdsQmpServer server = sample_server(&sample);
    g_auto(VdsBuf) out = {0};
    g_autoptr(VdsQmpSession) session =
        vds_qmp_session_new(&server, &out, (mode & PRETTY) != 0);
    const char *opening = openings[mode & (NEGOTIATED | OOB)];

    vds_qmp_session_feed(session, opening, strlen(opening), 1, SIZE_MAX);
    drain(&out, heard);
    while (size > 0) {
        size_t taken = vds_qmp_session_feed(session, data, MIN(step, size), 1, SIZE_MAX);

        /* "1]": the bracket ends the number and is not taken with it. */
        g_assert(taken > 0 || vds_buf_len(&out) > 0);
        data += taken;
        size -= taken;
        drain(&out, heard);
    }
    vds_qmp_session_finish(session);
    g_assert(vds_buf_len(&out) == 0);
}

static void check_line(const char *line, size_t len)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VdsJsonTape) tape =
        vds_json_parse_text(line, len, &vds_json_wire_limits, &error);

    for (size_t i = 0; i < len; i++) {
        g_assert(line[i] >= ' ' && line[i] < 0x7f);
    }
    if (!tape) {
        g_error("answered %.*s: %s", (int)len, line, error->message);
    }
    g_assert(vds_json_value_kind(vds_json_tape_root(tape)) == VDS_JSON_OBJECT);
}

static void check_lines(const GString *heard)
{
    for (const char *line = heard->str; *line;) {
        const char *end = strstr(line, "\r\n");

        g_assert(end);
        check_line(line, (size_t)(end - line));
        line = end + 2;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GString) whole = g_string_new(NULL), bytewise = g_string_new(NULL);

    if (size == 0) {
        return 0;
    }
    converse(data[0], data + 1, size - 1, SIZE_MAX, whole);
    converse(data[0], data + 1, size - 1, 1, bytewise);
    g_assert(g_string_equal(whole, bytewise));
    g_assert(whole->len <= 2000 + 400 * size);
    g_assert(strlen(whole->str) == whole->len);
    if (!(data[0] & PRETTY)) {
        check_lines(whole);
    }
    return 0;
}
