/*
 * qapi: an object as JSON, as a table of types says.  Members in schema order, optional
 * ones only when they are there.
 */
#include <json-glib/json-glib.h>

#include "vds/qapi.h"

/* `any` values come from our own handlers; what is nested deeper than any of them goes is
 * written as null. */
enum { MAX_NODE_DEPTH = 64 };

/* ---- any ------------------------------------------------------------------------------
 */

static void write_node(VdsJsonWriter *writer, JsonNode *node, unsigned depth);

static void write_node_object(VdsJsonWriter *writer, JsonObject *object, unsigned depth)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    vds_json_write_object_begin(writer);
    json_object_iter_init_ordered(&iter, object);
    while (json_object_iter_next_ordered(&iter, &name, &node)) {
        vds_json_write_key(writer, name);
        write_node(writer, node, depth);
    }
    vds_json_write_object_end(writer);
}

static void write_node_array(VdsJsonWriter *writer, JsonArray *array, unsigned depth)
{
    guint n = json_array_get_length(array);

    vds_json_write_array_begin(writer);
    for (guint i = 0; i < n; i++) {
        write_node(writer, json_array_get_element(array, i), depth);
    }
    vds_json_write_array_end(writer);
}

/* json-glib has no unsigned integers, so what is above its own comes as a double: exact
 * to 53 bits, and the largest is all ones. */
static void write_node_double(VdsJsonWriter *writer, double value)
{
    const double two_63 = 9223372036854775808.0;

    if (value >= 2 * two_63 && value <= 2 * two_63) {
        vds_json_write_uint(writer, UINT64_MAX);
    } else if (value >= two_63 && value < 2 * two_63) {
        vds_json_write_uint(writer, (uint64_t)value);
    } else {
        vds_json_write_number(writer, value);
    }
}

static void write_node_scalar(VdsJsonWriter *writer, JsonNode *node)
{
    switch (json_node_get_value_type(node)) {
    case G_TYPE_STRING:
        vds_json_write_string(writer, json_node_get_string(node));
        break;
    case G_TYPE_INT64:
        vds_json_write_int(writer, json_node_get_int(node));
        break;
    case G_TYPE_DOUBLE:
        write_node_double(writer, json_node_get_double(node));
        break;
    case G_TYPE_BOOLEAN:
        vds_json_write_bool(writer, json_node_get_boolean(node));
        break;
    default: /* json-glib has no other */
        vds_json_write_null(writer);
    }
}

static void write_node(VdsJsonWriter *writer, JsonNode *node, unsigned depth)
{
    if (depth == 0 || JSON_NODE_HOLDS_NULL(node)) {
        vds_json_write_null(writer);
    } else if (JSON_NODE_HOLDS_OBJECT(node)) {
        write_node_object(writer, json_node_get_object(node), depth - 1);
    } else if (JSON_NODE_HOLDS_ARRAY(node)) {
        write_node_array(writer, json_node_get_array(node), depth - 1);
    } else {
        write_node_scalar(writer, node);
    }
}

static void write_any(const VdsQapiAny *any, VdsJsonWriter *writer)
{
    if (any->node) {
        write_node(writer, (JsonNode *)any->node, MAX_NODE_DEPTH);
    } else if (vds_json_value_is_present(any->value)) {
        vds_json_write_value(writer, any->value);
    } else {
        vds_json_write_null(writer);
    }
}

/* ---- integers
 * -------------------------------------------------------------------------- */

static int64_t load_int(const void *object, uint32_t size)
{
    switch (size) {
    case sizeof(int8_t):
        return *(const int8_t *)object;
    case sizeof(int16_t):
        return *(const int16_t *)object;
    case sizeof(int32_t):
        return *(const int32_t *)object;
    default:
        return *(const int64_t *)object;
    }
}

static uint64_t load_uint(const void *object, uint32_t size)
{
    switch (size) {
    case sizeof(uint8_t):
        return *(const uint8_t *)object;
    case sizeof(uint16_t):
        return *(const uint16_t *)object;
    case sizeof(uint32_t):
        return *(const uint32_t *)object;
    default:
        return *(const uint64_t *)object;
    }
}

/* A required string that a handler left out is empty, as in QEMU. */
static void write_str(const char *text, VdsJsonWriter *writer)
{
    vds_json_write_string(writer, text ? text : "");
}

/* ---- what holds others
 * ------------------------------------------------------------------ */

static const void *at_offset(const void *object, uint32_t offset)
{
    return (const uint8_t *)object + offset;
}

static void write_member(const VdsQapiMember *member, const void *object,
                         VdsJsonWriter *writer)
{
    const void *slot = at_offset(object, member->offset);

    if (member->presence == VDS_QAPI_HAS_FLAG &&
        !*(const bool *)at_offset(object, member->has_offset)) {
        return;
    }
    if (member->presence == VDS_QAPI_POINTER) {
        const void *held = *(const void *const *)slot;

        if (!held) {
            return;
        }
        if (member->type->kind != VDS_QAPI_STR) {
            slot = held;
        }
    }
    vds_json_write_key(writer, member->name);
    vds_qapi_write(member->type, slot, writer);
}

static void write_members(const VdsQapiType *type, const void *object,
                          VdsJsonWriter *writer)
{
    for (uint32_t i = 0; i < type->n_members; i++) {
        write_member(&type->members[i], object, writer);
    }
    if (type->tag_member > 0) {
        const VdsQapiMember *tag = &type->members[type->tag_member - 1];
        const VdsQapiType *variant =
            type->variants[*(const int *)at_offset(object, tag->offset)];

        if (variant) {
            write_members(variant, at_offset(object, type->union_offset), writer);
        }
    }
}

static void write_list(const VdsQapiType *element, const VdsQapiList *list,
                       VdsJsonWriter *writer)
{
    vds_json_write_array_begin(writer);
    for (size_t i = 0; i < list->n; i++) {
        vds_qapi_write(element, (const uint8_t *)list->items + i * element->size, writer);
    }
    vds_json_write_array_end(writer);
}

void vds_qapi_write(const VdsQapiType *type, const void *object, VdsJsonWriter *writer)
{
    switch (type->kind) {
    case VDS_QAPI_STR:
        write_str(*(const char *const *)object, writer);
        break;
    case VDS_QAPI_BOOL:
        vds_json_write_bool(writer, *(const bool *)object);
        break;
    case VDS_QAPI_INT:
        vds_json_write_int(writer, load_int(object, type->size));
        break;
    case VDS_QAPI_UINT:
        vds_json_write_uint(writer, load_uint(object, type->size));
        break;
    case VDS_QAPI_NUMBER:
        vds_json_write_number(writer, *(const double *)object);
        break;
    case VDS_QAPI_NULL:
        vds_json_write_null(writer);
        break;
    case VDS_QAPI_ANY:
        write_any(object, writer);
        break;
    case VDS_QAPI_ENUM:
        vds_json_write_string(writer, type->values[*(const int *)object]);
        break;
    case VDS_QAPI_STRUCT:
        vds_json_write_object_begin(writer);
        write_members(type, object, writer);
        vds_json_write_object_end(writer);
        break;
    case VDS_QAPI_LIST:
        write_list(type->element, object, writer);
        break;
    case VDS_QAPI_ALTERNATE:
        vds_qapi_write(type->branch_types[*(const int *)object],
                       at_offset(object, type->union_offset), writer);
        break;
    }
}
