/*
 * Any bytes into the JSON parser, in pieces whose sizes the input itself decides.
 *
 * Holds: every byte is taken; the pieces do not matter; what was read and written again
 * reads the same; errors are bounded by what was fed.  No QMP.
 */
#include "vds/json.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const VdsJsonLimits limits = {
    .max_bytes = 4096, .max_tokens = 512, .max_depth = 64};

static void write_message(VdsJsonValue value, VdsBuf *out)
{
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, out, false);
    vds_json_write_value(&writer, value);
    vds_json_write_newline(&writer);
}

/* What we wrote is JSON; writes it again. */
static void rewrite(VdsBuf *from, VdsBuf *to)
{
    g_autoptr(VdsJsonTape) tape =
        vds_json_parse_text((const char *)vds_buf_bytes(from), vds_buf_len(from),
                            &vds_json_wire_limits, NULL);

    g_assert_nonnull(tape);
    write_message(vds_json_tape_root(tape), to);
}

/* -0.0 is written "-0", which reads as the integer 0: one step, and no more, may change
 * the text. */
static void check_again(VdsJsonValue value)
{
    g_auto(VdsBuf) first = {0}, second = {0}, third = {0};

    write_message(value, &first);
    rewrite(&first, &second);
    rewrite(&second, &third);
    g_assert_cmpmem(vds_buf_bytes(&second), vds_buf_len(&second), vds_buf_bytes(&third),
                    vds_buf_len(&third));
}

static void append_outcome(VdsJsonParser *parser, VdsJsonFeed feed, GError *error,
                           VdsBuf *out)
{
    if (feed == VDS_JSON_MESSAGE) {
        write_message(vds_json_parser_message(parser), out);
        check_again(vds_json_parser_message(parser));
    } else if (feed == VDS_JSON_BAD) {
        g_assert_nonnull(error);
        vds_buf_append(out, error->message, strlen(error->message));
        vds_buf_append(out, "\n", 1);
    }
}

/* Everything that came out, as text.  piece 0: in pieces of sizes taken from the data. */
static void run(const uint8_t *data, size_t size, size_t piece, VdsBuf *out)
{
    g_autoptr(VdsJsonParser) parser = vds_json_parser_new(&limits);
    VdsJsonFeed feed;
    size_t at = 0;

    while (at < size) {
        size_t len = piece > 0 ? piece : (size_t)data[at] % 7 + 1, used = 0;
        g_autoptr(GError) error = NULL;

        len = MIN(len, size - at);
        feed = vds_json_parser_feed(parser, data + at, len, &used, &error);
        g_assert_cmpuint(used, <=, len);
        g_assert_true(feed != VDS_JSON_MORE || used == len);
        g_assert_true(feed == VDS_JSON_BAD ? error != NULL : error == NULL);
        append_outcome(parser, feed, error, out);
        at += used;
    }
    do {
        g_autoptr(GError) error = NULL;

        feed = vds_json_parser_finish(parser, &error);
        append_outcome(parser, feed, error, out);
    } while (feed != VDS_JSON_MORE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_auto(VdsBuf) whole = {0}, pieces = {0}, bytes = {0};

    run(data, size, SIZE_MAX, &whole);
    run(data, size, 0, &pieces);
    run(data, size, 1, &bytes);
    g_assert_cmpmem(vds_buf_bytes(&whole), vds_buf_len(&whole), vds_buf_bytes(&pieces),
                    vds_buf_len(&pieces));
    g_assert_cmpmem(vds_buf_bytes(&whole), vds_buf_len(&whole), vds_buf_bytes(&bytes),
                    vds_buf_len(&bytes));
    return 0;
}
