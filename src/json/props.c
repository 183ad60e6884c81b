/*
 * json: an object as a property set, nested values under dotted names.
 */
#include "json-priv.h"

enum { MAX_DEPTH = 16, MAX_VALUES = 1024, MAX_NAME = 1024 };

typedef struct {
    VdsProps *props;
    GString *name; /* of where we are */
    unsigned depth;
} Flattener;

static void set_scalar(const Flattener *flat, VdsJsonValue value)
{
    const char *name = flat->name->str;

    switch (vds_json_value_kind(value)) {
    case VDS_JSON_STRING:
        vds_props_set_string(flat->props, name, vds_json_value_string(value, NULL));
        break;
    case VDS_JSON_INT:
        vds_props_set_int(flat->props, name, vds_json_value_int(value));
        break;
    case VDS_JSON_UINT:
        vds_props_set_uint(flat->props, name, vds_json_value_uint(value));
        break;
    case VDS_JSON_NUMBER:
        vds_props_set_number(flat->props, name, vds_json_value_number(value));
        break;
    case VDS_JSON_TRUE:
    case VDS_JSON_FALSE:
        vds_props_set_bool(flat->props, name,
                           vds_json_value_kind(value) == VDS_JSON_TRUE);
        break;
    case VDS_JSON_NULL:
        vds_props_set_null(flat->props, name);
        break;
    case VDS_JSON_OBJECT:
    case VDS_JSON_ARRAY:
        g_assert_not_reached(); /* not a scalar */
    }
}

static bool flatten(Flattener *flat, VdsJsonValue container);

static bool flatten_value(Flattener *flat, VdsJsonValue value)
{
    VdsJsonKind kind = vds_json_value_kind(value);

    if (kind == VDS_JSON_OBJECT || kind == VDS_JSON_ARRAY) {
        return flatten(flat, value);
    }
    if (vds_props_count(flat->props) >= MAX_VALUES) {
        return false;
    }
    set_scalar(flat, value);
    return true;
}

/* Recursion ends at MAX_DEPTH.  The name grows and shrinks in place. */
static bool flatten(Flattener *flat, VdsJsonValue container)
{
    VdsJsonIter iter = vds_json_iter(container);
    gsize outer = flat->name->len;
    bool ok = flat->depth++ < MAX_DEPTH;

    for (unsigned n = 0; ok && vds_json_iter_next(&iter); n++) {
        if (outer > 0) {
            g_string_append_c(flat->name, '.');
        }
        if (iter.object) {
            g_string_append(flat->name, vds_json_value_string(iter.key, NULL));
        } else {
            g_string_append_printf(flat->name, "%u", n);
        }
        ok = flat->name->len <= MAX_NAME && flatten_value(flat, iter.value);
        g_string_truncate(flat->name, outer);
    }
    flat->depth--;
    return ok;
}

bool vds_json_to_prop(VdsJsonValue value, const char *name, VdsProps *props)
{
    g_autoptr(GString) text = g_string_new(name);
    Flattener flat = {props, text, 0};

    return text->len <= MAX_NAME && flatten_value(&flat, value);
}

bool vds_json_to_props(VdsJsonValue object, VdsProps *props)
{
    g_autoptr(GString) name = g_string_new(NULL);
    Flattener flat = {props, name, 0};

    return flatten(&flat, object);
}
