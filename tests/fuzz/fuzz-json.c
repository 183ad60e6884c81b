/*
 * fuzz: the JSON parser.  However the bytes are cut, the same happens; what is accepted
 * prints to something that reads the same; json-glib, which shares no code, reads it
 * alike.
 */
#include "json-alike.h"
#include "json-events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small, so that limits are met. */
static const VdsJsonLimits limits = {
    .max_bytes = 2000, .max_tokens = 300, .max_depth = 20};

static void require_equal(const GString *a, const GString *b)
{
    g_assert_cmpmem(a->str, a->len, b->str, b->len);
}

/* Pieces whose sizes the input itself gives. */
typedef struct {
    const uint8_t *data;
    size_t size, turn;
} Cutter;

static size_t piece_cut(size_t left, void *user)
{
    Cutter *cutter = user;
    size_t n = 1 + cutter->data[cutter->turn++ % cutter->size] % 13;

    return MIN(left, n);
}

static void check_pieces(const uint8_t *data, size_t size, const GString *whole)
{
    Cutter cutter = {data, size, size / 2};
    GString *bytes = json_events(data, size, &limits, json_piece_byte, NULL);
    GString *cut = json_events(data, size, &limits, piece_cut, &cutter);

    require_equal(bytes, whole);
    require_equal(cut, whole);
    g_string_free(bytes, TRUE);
    g_string_free(cut, TRUE);
}

/* ---- one value
 * ------------------------------------------------------------------------- */

static void check_text(const uint8_t *data, size_t size)
{
    g_autoptr(VdsJsonTape) tape =
        vds_json_parse_text((const char *)data, size, &limits, NULL);
    g_auto(VdsBuf) plain = {0}, pretty = {0};
    VdsJsonWriter writer;
    GString *first, *second, *third;

    if (!tape) {
        return;
    }
    vds_json_writer_init(&writer, &plain, false);
    vds_json_write_value(&writer, vds_json_tape_root(tape));
    vds_json_writer_init(&writer, &pretty, true);
    vds_json_write_value(&writer, vds_json_tape_root(tape));
    first = json_events(vds_buf_bytes(&plain), vds_buf_len(&plain), &vds_json_wire_limits,
                        json_piece_all, NULL);
    second = json_events(vds_buf_bytes(&pretty), vds_buf_len(&pretty),
                         &vds_json_wire_limits, json_piece_all, NULL);
    require_equal(first, second);
    /* Not compared with `plain`: -0.0 prints as -0, which is an integer, which is 0. */
    third = json_events(first->str + 2, first->len - 3, &vds_json_wire_limits,
                        json_piece_all, NULL);
    require_equal(first, third);
    g_string_free(first, TRUE);
    g_string_free(second, TRUE);
    g_string_free(third, TRUE);
    /* Nor does it take \' inside '...'. */
    if (!memchr(data, '\'', size)) {
        json_check_with_glib((const char *)data, size, vds_json_tape_root(tape));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GString *whole;

    if (size == 0) {
        return 0;
    }
    whole = json_events(data, size, &limits, json_piece_all, NULL);
    check_pieces(data, size, whole);
    check_text(data, size);
    g_string_free(whole, TRUE);
    return 0;
}
