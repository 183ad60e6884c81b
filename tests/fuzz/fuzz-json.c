/*
 * fuzz: the JSON parser.  However the bytes are cut, the same happens; what is accepted
 * prints to something that reads the same; json-glib, which shares no code, reads it
 * alike.
 */
#include <json-glib/json-glib.h>
#include <math.h>

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

/* ---- the independent reader -----------------------------------------------------------
 */

static void check_alike(VdsJsonValue value, JsonNode *node);

static void check_object(VdsJsonValue value, JsonObject *object)
{
    VdsJsonIter iter = vds_json_iter(value);

    g_assert_cmpuint(json_object_get_size(object), ==, vds_json_value_count(value));
    while (vds_json_iter_next(&iter)) {
        const char *key = vds_json_value_string(iter.key, NULL);

        g_assert_true(json_object_has_member(object, key));
        check_alike(iter.value, json_object_get_member(object, key));
    }
}

static void check_array(VdsJsonValue value, JsonArray *array)
{
    VdsJsonIter iter = vds_json_iter(value);

    g_assert_cmpuint(json_array_get_length(array), ==, vds_json_value_count(value));
    for (guint i = 0; vds_json_iter_next(&iter); i++) {
        check_alike(iter.value, json_array_get_element(array, i));
    }
}

static void check_scalar(VdsJsonValue value, JsonNode *node)
{
    VdsJsonKind kind = vds_json_value_kind(value);
    GType type = json_node_get_value_type(node);

    if (kind == VDS_JSON_STRING) {
        g_assert_true(type == G_TYPE_STRING);
        g_assert_cmpstr(json_node_get_string(node), ==,
                        vds_json_value_string(value, NULL));
    } else if (kind == VDS_JSON_INT) {
        g_assert_true(type == G_TYPE_INT64);
        g_assert_cmpint(json_node_get_int(node), ==, vds_json_value_int(value));
    } else if (kind == VDS_JSON_NUMBER) {
        g_assert_true(type == G_TYPE_DOUBLE);
        g_assert_true(json_node_get_double(node) == vds_json_value_number(value));
    } else {
        g_assert_true(type == G_TYPE_BOOLEAN);
        g_assert_true(json_node_get_boolean(node) == (kind == VDS_JSON_TRUE));
    }
}

/* Recursion is as deep as the limits above. */
static void check_alike(VdsJsonValue value, JsonNode *node)
{
    switch (vds_json_value_kind(value)) {
    case VDS_JSON_OBJECT:
        g_assert_true(JSON_NODE_HOLDS_OBJECT(node));
        check_object(value, json_node_get_object(node));
        break;
    case VDS_JSON_ARRAY:
        g_assert_true(JSON_NODE_HOLDS_ARRAY(node));
        check_array(value, json_node_get_array(node));
        break;
    case VDS_JSON_NULL:
        g_assert_true(JSON_NODE_HOLDS_NULL(node));
        break;
    default:
        g_assert_true(JSON_NODE_HOLDS_VALUE(node));
        check_scalar(value, node);
    }
}

/* json-glib 1.6 cuts strings at NUL, and what is beyond 64 bits signed, integer or
 * double, comes out as something else. */
static bool glib_can_read(VdsJsonValue value)
{
    VdsJsonKind kind = vds_json_value_kind(value);

    if (kind == VDS_JSON_OBJECT || kind == VDS_JSON_ARRAY) {
        VdsJsonIter iter = vds_json_iter(value);

        while (vds_json_iter_next(&iter)) {
            if ((iter.object && !glib_can_read(iter.key)) || !glib_can_read(iter.value)) {
                return false;
            }
        }
    } else if (kind == VDS_JSON_STRING) {
        size_t len;
        const char *text = vds_json_value_string(value, &len);

        return strlen(text) == len;
    } else if (kind == VDS_JSON_NUMBER) {
        return fabs(vds_json_value_number(value)) < 0x1p63;
    }
    return kind != VDS_JSON_UINT;
}

static void check_with_glib(const char *text, size_t len, VdsJsonValue value)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;

    if (!glib_can_read(value)) {
        return;
    }
    json_parser_load_from_data(parser, text, (gssize)len, &error);
    g_assert_no_error(error);
    check_alike(value, json_parser_get_root(parser));
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
        check_with_glib((const char *)data, size, vds_json_tape_root(tape));
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
