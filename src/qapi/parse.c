/*
 * qapi: arguments from a JSON value, as a table of types says.
 *
 * Order of checks and texts are those of QEMU's input visitor: members in schema order, a
 * nested struct wholly before the member behind it, and what nobody asked for last.  Of
 * several unexpected members the first as sent is named.  Most texts give the whole path
 * ('a.b', 'list[2]'), those about a value's range only the member's name, and "null" for
 * what has none: QEMU's visitors build them in different places.
 */
#include <string.h>

#include "vds/qapi.h"

/* Where we are, innermost first.  Lives on the C stack; a nested type that contains
 * itself is as deep as the JSON value, whose depth its parser bounds. */
typedef struct Place {
    const struct Place *outer; /* NULL: in the value that was handed in */
    const char *name;          /* NULL: an element */
    uint32_t index;            /* elements only */
} Place;

typedef struct {
    VdsArena *arena;
    GError **error;
} Parse;

typedef bool (*ParseKind)(const Parse *parse, const Place *place, const VdsQapiType *type,
                          VdsJsonValue value, void *object);

static bool parse_any_kind(const Parse *parse, const Place *place,
                           const VdsQapiType *type, VdsJsonValue value, void *object);

/* ---- errors --------------------------------------------------------------------------
 */

static char *place_full_name(const Place *place)
{
    g_autoptr(GString) name = g_string_new(NULL);

    if (!place) {
        return g_strdup("<anonymous>");
    }
    for (; place; place = place->outer) {
        if (place->name) {
            g_string_prepend(name, place->name);
            if (place->outer) {
                g_string_prepend_c(name, '.');
            }
        } else {
            g_autofree char *index = g_strdup_printf("[%u]", place->index);

            g_string_prepend(name, index);
        }
    }
    return g_string_free(g_steal_pointer(&name), FALSE);
}

static const char *place_name(const Place *place)
{
    return place && place->name ? place->name : "null";
}

/* "Parameter 'NAME' TAIL" */
static bool fail_parameter(const Parse *parse, VdsQapiError code, const char *name,
                           const char *tail)
{
    g_set_error(parse->error, VDS_QAPI_ERROR, (int)code, "Parameter '%.*s' %s",
                vds_name_len(name), name, tail);
    return false;
}

static bool fail_at(const Parse *parse, VdsQapiError code, const Place *place,
                    const char *tail)
{
    g_autofree char *name = place_full_name(place);

    return fail_parameter(parse, code, name, tail);
}

static bool fail_type(const Parse *parse, const char *name, const char *expected)
{
    g_set_error(parse->error, VDS_QAPI_ERROR, VDS_QAPI_ERROR_TYPE,
                "Invalid parameter type for '%.*s', expected: %s", vds_name_len(name),
                name, expected);
    return false;
}

static bool fail_type_at(const Parse *parse, const Place *place, const char *expected)
{
    g_autofree char *name = place_full_name(place);

    return fail_type(parse, name, expected);
}

/* ---- scalars -------------------------------------------------------------------------
 */

static bool parse_str(const Parse *parse, const Place *place, const VdsQapiType *type,
                      VdsJsonValue value, void *object)
{
    if (vds_json_value_kind(value) != VDS_JSON_STRING) {
        return fail_type_at(parse, place, "string");
    }
    *(const char **)object = vds_json_value_string(value, NULL);
    return true;
}

static bool parse_bool(const Parse *parse, const Place *place, const VdsQapiType *type,
                       VdsJsonValue value, void *object)
{
    VdsJsonKind kind = vds_json_value_kind(value);

    if (kind != VDS_JSON_TRUE && kind != VDS_JSON_FALSE) {
        return fail_type_at(parse, place, "boolean");
    }
    *(bool *)object = kind == VDS_JSON_TRUE;
    return true;
}

/* The low bits of `bits`, in an object of `size` bytes. */
static void store_integer(void *object, uint32_t size, uint64_t bits)
{
    switch (size) {
    case sizeof(uint8_t):
        *(uint8_t *)object = (uint8_t)bits;
        break;
    case sizeof(uint16_t):
        *(uint16_t *)object = (uint16_t)bits;
        break;
    case sizeof(uint32_t):
        *(uint32_t *)object = (uint32_t)bits;
        break;
    default:
        *(uint64_t *)object = bits;
    }
}

/* "expects uint16_t": the C type, as in QEMU. */
static bool fail_range(const Parse *parse, const Place *place, const char *prefix,
                       uint32_t size)
{
    g_autofree char *tail = g_strdup_printf("expects %s%u_t", prefix, size * 8);

    return fail_parameter(parse, VDS_QAPI_ERROR_RANGE, place_name(place), tail);
}

static bool parse_int(const Parse *parse, const Place *place, const VdsQapiType *type,
                      VdsJsonValue value, void *object)
{
    int64_t max = (int64_t)(UINT64_MAX >> (65 - type->size * 8)), number;

    if (vds_json_value_kind(value) != VDS_JSON_INT) {
        return fail_type_at(parse, place, "integer");
    }
    number = vds_json_value_int(value);
    if (number > max || number < -max - 1) {
        return fail_range(parse, place, "int", type->size);
    }
    store_integer(object, type->size, (uint64_t)number);
    return true;
}

/* A negative number is the 64-bit pattern that it has in C, as in QEMU, which only a
 * narrower type then refuses. */
static bool parse_uint(const Parse *parse, const Place *place, const VdsQapiType *type,
                       VdsJsonValue value, void *object)
{
    uint64_t max = UINT64_MAX >> (64 - type->size * 8), number;
    VdsJsonKind kind = vds_json_value_kind(value);

    if (kind == VDS_JSON_INT) {
        number = (uint64_t)vds_json_value_int(value);
    } else if (kind == VDS_JSON_UINT) {
        number = vds_json_value_uint(value);
    } else {
        return fail_at(parse, VDS_QAPI_ERROR_TYPE, place, "expects uint64");
    }
    if (number > max) {
        return fail_range(parse, place, "uint", type->size);
    }
    store_integer(object, type->size, number);
    return true;
}

static bool parse_number(const Parse *parse, const Place *place, const VdsQapiType *type,
                         VdsJsonValue value, void *object)
{
    VdsJsonKind kind = vds_json_value_kind(value);

    if (kind != VDS_JSON_INT && kind != VDS_JSON_UINT && kind != VDS_JSON_NUMBER) {
        return fail_type_at(parse, place, "number");
    }
    *(double *)object = vds_json_value_number(value);
    return true;
}

static bool parse_null(const Parse *parse, const Place *place, const VdsQapiType *type,
                       VdsJsonValue value, void *object)
{
    return vds_json_value_kind(value) == VDS_JSON_NULL ||
           fail_type_at(parse, place, "null");
}

static bool parse_any(const Parse *parse, const Place *place, const VdsQapiType *type,
                      VdsJsonValue value, void *object)
{
    *(VdsQapiAny *)object = (VdsQapiAny){.value = value};
    return true;
}

static bool parse_enum(const Parse *parse, const Place *place, const VdsQapiType *type,
                       VdsJsonValue value, void *object)
{
    g_autofree char *tail = NULL;
    const char *text;
    size_t len;

    if (vds_json_value_kind(value) != VDS_JSON_STRING) {
        return fail_type_at(parse, place, "string");
    }
    text = vds_json_value_string(value, &len);
    for (uint32_t i = 0; i < type->n_values; i++) {
        if (strlen(type->values[i]) == len && memcmp(type->values[i], text, len) == 0) {
            *(int *)object = (int)i;
            return true;
        }
    }
    tail = g_strdup_printf("does not accept value '%.*s'", vds_name_len(text), text);
    return fail_parameter(parse, VDS_QAPI_ERROR_VALUE, place_name(place), tail);
}

/* ---- what holds others ----------------------------------------------------------------
 */

static void *at_offset(void *object, uint32_t offset)
{
    return (uint8_t *)object + offset;
}

/* What a union's tag, which is parsed, selects.  (nullable) */
static const VdsQapiType *selected_variant(const VdsQapiType *type, const void *object)
{
    uint32_t offset;

    if (type->tag_member == 0) {
        return NULL;
    }
    offset = type->members[type->tag_member - 1].offset;
    return type->variants[*(const int *)((const uint8_t *)object + offset)];
}

/* Where the member's value goes; an optional one is marked as present. */
static void *member_place(const Parse *parse, const VdsQapiMember *member, void *object)
{
    void *slot = at_offset(object, member->offset);

    if (member->presence == VDS_QAPI_HAS_FLAG) {
        *(bool *)at_offset(object, member->has_offset) = true;
    } else if (member->presence == VDS_QAPI_POINTER &&
               member->type->kind != VDS_QAPI_STR) {
        void *held = vds_arena_alloc(parse->arena, member->type->size);

        *(void **)slot = held;
        return held;
    }
    return slot;
}

static bool parse_member(const Parse *parse, const Place *outer,
                         const VdsQapiMember *member, VdsJsonValue in, void *object)
{
    Place place = {.outer = outer, .name = member->name};
    VdsJsonValue value = vds_json_value_is_present(in)
                             ? vds_json_object_find(in, member->name)
                             : VDS_JSON_NONE;

    if (vds_json_value_is_present(value)) {
        return parse_any_kind(parse, &place, member->type, value,
                              member_place(parse, member, object));
    }
    return member->presence != VDS_QAPI_REQUIRED ||
           fail_at(parse, VDS_QAPI_ERROR_MISSING, &place, "is missing");
}

static bool parse_members(const Parse *parse, const Place *place, const VdsQapiType *type,
                          VdsJsonValue in, void *object)
{
    const VdsQapiType *variant;

    for (uint32_t i = 0; i < type->n_members; i++) {
        if (!parse_member(parse, place, &type->members[i], in, object)) {
            return false;
        }
    }
    variant = selected_variant(type, object);
    return !variant || parse_members(parse, place, variant, in,
                                     at_offset(object, type->union_offset));
}

static bool has_member(const VdsQapiType *type, const void *object, const char *name,
                       size_t len)
{
    const VdsQapiType *variant = selected_variant(type, object);

    for (uint32_t i = 0; i < type->n_members; i++) {
        if (strlen(type->members[i].name) == len &&
            memcmp(type->members[i].name, name, len) == 0) {
            return true;
        }
    }
    return variant &&
           has_member(variant, (const uint8_t *)object + type->union_offset, name, len);
}

static bool check_unexpected(const Parse *parse, const Place *outer,
                             const VdsQapiType *type, VdsJsonValue in, const void *object)
{
    VdsJsonIter iter = vds_json_iter(in);

    while (vds_json_iter_next(&iter)) {
        Place place = {.outer = outer};
        size_t len;

        place.name = vds_json_value_string(iter.key, &len);
        if (!has_member(type, object, place.name, len)) {
            return fail_at(parse, VDS_QAPI_ERROR_UNEXPECTED, &place, "is unexpected");
        }
    }
    return true;
}

static bool parse_struct(const Parse *parse, const Place *place, const VdsQapiType *type,
                         VdsJsonValue value, void *object)
{
    bool present = vds_json_value_is_present(value);

    if (present && vds_json_value_kind(value) != VDS_JSON_OBJECT) {
        return fail_type_at(parse, place, "object");
    }
    return parse_members(parse, place, type, value, object) &&
           (!present || check_unexpected(parse, place, type, value, object));
}

static bool parse_list(const Parse *parse, const Place *place, const VdsQapiType *type,
                       VdsJsonValue value, void *object)
{
    const VdsQapiType *element = type->element;
    VdsQapiList *list = object;
    VdsJsonIter iter;

    if (vds_json_value_kind(value) != VDS_JSON_ARRAY) {
        return fail_type_at(parse, place, "array");
    }
    list->n = vds_json_value_count(value);
    list->items = vds_arena_alloc_n(parse->arena, list->n, element->size);
    iter = vds_json_iter(value);
    for (uint32_t i = 0; vds_json_iter_next(&iter); i++) {
        Place at = {.outer = place, .index = i};

        if (!parse_any_kind(parse, &at, element, iter.value,
                            (uint8_t *)list->items + (size_t)i * element->size)) {
            return false;
        }
    }
    return true;
}

static bool parse_alternate(const Parse *parse, const Place *place,
                            const VdsQapiType *type, VdsJsonValue value, void *object)
{
    VdsJsonKind kind = vds_json_value_kind(value);
    const VdsQapiType *branch = type->branches[kind];

    if (!branch) {
        return fail_type(parse, place_name(place), type->name);
    }
    *(int *)object = type->branch_tag[kind];
    return parse_any_kind(parse, place, branch, value,
                          at_offset(object, type->union_offset));
}

static bool parse_any_kind(const Parse *parse, const Place *place,
                           const VdsQapiType *type, VdsJsonValue value, void *object)
{
    static const ParseKind kinds[] = {
        [VDS_QAPI_STR] = parse_str,
        [VDS_QAPI_BOOL] = parse_bool,
        [VDS_QAPI_INT] = parse_int,
        [VDS_QAPI_UINT] = parse_uint,
        [VDS_QAPI_NUMBER] = parse_number,
        [VDS_QAPI_NULL] = parse_null,
        [VDS_QAPI_ANY] = parse_any,
        [VDS_QAPI_ENUM] = parse_enum,
        [VDS_QAPI_STRUCT] = parse_struct,
        [VDS_QAPI_LIST] = parse_list,
        [VDS_QAPI_ALTERNATE] = parse_alternate,
    };

    return kinds[type->kind](parse, place, type, value, object);
}

bool vds_qapi_parse(const VdsQapiType *type, VdsJsonValue value, VdsArena *arena,
                    void *object, GError **error)
{
    const Parse parse = {arena, error};

    if (!vds_json_value_is_present(value) && type->kind != VDS_QAPI_STRUCT) {
        return fail_at(&parse, VDS_QAPI_ERROR_MISSING, NULL, "is missing");
    }
    return parse_any_kind(&parse, NULL, type, value, object);
}
