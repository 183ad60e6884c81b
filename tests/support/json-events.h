/*
 * What the JSON parser makes of bytes, as text: a line for each event, "M " and the
 * message printed again, or "E " and the error's text.  For unit tests and fuzzers, which
 * compare it with what they expect, or one way of feeding with another.
 */
#pragma once

#include <string.h>

#include "vds/json.h"

/* How many of `left` bytes to feed next: at least 1. */
typedef size_t (*JsonPiece)(size_t left, void *user);

static inline size_t json_piece_all(size_t left, void *user)
{
    (void)user;
    return left;
}

static inline size_t json_piece_byte(size_t left, void *user)
{
    (void)left;
    (void)user;
    return 1;
}

static inline void json_events_add(GString *events, VdsJsonFeed result,
                                   const VdsJsonParser *parser, const GError *error)
{
    if (result == VDS_JSON_MESSAGE) {
        g_auto(VdsBuf) out = {0};
        VdsJsonWriter writer;

        vds_json_writer_init(&writer, &out, false);
        vds_json_write_value(&writer, vds_json_parser_message(parser));
        g_string_append(events, "M ");
        g_string_append_len(events, (const char *)vds_buf_bytes(&out),
                            (gssize)vds_buf_len(&out));
        g_string_append_c(events, '\n');
    } else if (result == VDS_JSON_BAD) {
        g_string_append_printf(events, "E %s\n", error->message);
    }
}

/* (transfer full) */
static inline GString *json_events(const void *bytes, size_t len,
                                   const VdsJsonLimits *limits, JsonPiece piece,
                                   void *user)
{
    g_autoptr(VdsJsonParser) parser = vds_json_parser_new(limits);
    GString *events = g_string_new(NULL);
    VdsJsonFeed result;

    for (size_t at = 0; at < len;) {
        size_t n = piece(len - at, user);

        while (n > 0) {
            g_autoptr(GError) error = NULL;
            size_t used;

            /* A copy of its own: reading past the piece is a heap overflow. */
            g_autofree uint8_t *copy = g_memdup2((const uint8_t *)bytes + at, n);

            result = vds_json_parser_feed(parser, copy, n, &used, &error);
            g_assert_cmpuint(used, <=, n);
            g_assert_true(result != VDS_JSON_MORE || used == n);
            g_assert_true((result == VDS_JSON_BAD) == (error != NULL));
            json_events_add(events, result, parser, error);
            at += used;
            n -= used;
        }
    }
    do {
        g_autoptr(GError) error = NULL;

        result = vds_json_parser_finish(parser, &error);
        json_events_add(events, result, parser, error);
    } while (result != VDS_JSON_MORE);
    return events;
}
