/*
 * The independent reader: json-glib, which shares no code with us, must read alike what
 * our parser accepts, but for what json-glib cannot read.
 */
#pragma once

#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#include "vds/json.h"

static inline void json_check_alike(VdsJsonValue value, JsonNode *node);

static inline void json_check_object(VdsJsonValue value, JsonObject *object)
{
    VdsJsonIter iter = vds_json_iter(value);

    g_assert_cmpuint(json_object_get_size(object), ==, vds_json_value_count(value));
    while (vds_json_iter_next(&iter)) {
        const char *key = vds_json_value_string(iter.key, NULL);

        g_assert_true(json_object_has_member(object, key));
        json_check_alike(iter.value, json_object_get_member(object, key));
    }
}

static inline void json_check_array(VdsJsonValue value, JsonArray *array)
{
    VdsJsonIter iter = vds_json_iter(value);

    g_assert_cmpuint(json_array_get_length(array), ==, vds_json_value_count(value));
    for (guint i = 0; vds_json_iter_next(&iter); i++) {
        json_check_alike(iter.value, json_array_get_element(array, i));
    }
}

static inline void json_check_scalar(VdsJsonValue value, JsonNode *node)
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

/* Recursion is as deep as the value; the caller bounds it. */
static inline void json_check_alike(VdsJsonValue value, JsonNode *node)
{
    switch (vds_json_value_kind(value)) {
    case VDS_JSON_OBJECT:
        g_assert_true(JSON_NODE_HOLDS_OBJECT(node));
        json_check_object(value, json_node_get_object(node));
        break;
    case VDS_JSON_ARRAY:
        g_assert_true(JSON_NODE_HOLDS_ARRAY(node));
        json_check_array(value, json_node_get_array(node));
        break;
    case VDS_JSON_NULL:
        g_assert_true(JSON_NODE_HOLDS_NULL(node));
        break;
    default:
        g_assert_true(JSON_NODE_HOLDS_VALUE(node));
        json_check_scalar(value, node);
    }
}

/* json-glib 1.6 cuts strings at NUL, and what is beyond 64 bits signed, integer or
 * double, comes out as something else. */
static inline bool json_glib_can_read(VdsJsonValue value)
{
    VdsJsonKind kind = vds_json_value_kind(value);

    if (kind == VDS_JSON_OBJECT || kind == VDS_JSON_ARRAY) {
        VdsJsonIter iter = vds_json_iter(value);

        while (vds_json_iter_next(&iter)) {
            if ((iter.object && !json_glib_can_read(iter.key)) ||
                !json_glib_can_read(iter.value)) {
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

static inline void json_check_with_glib(const char *text, size_t len, VdsJsonValue value)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;

    if (!json_glib_can_read(value)) {
        return;
    }
    json_parser_load_from_data(parser, text, (gssize)len, &error);
    g_assert_no_error(error);
    json_check_alike(value, json_parser_get_root(parser));
}
