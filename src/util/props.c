/*
 * util: VdsProps, an ordered set of named values, and the readers of single values.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vds/util.h"

VDS_DEFINE_QUARK(vds_util_error_quark, "vds-util-error-quark")

struct VdsProps {
    GArray *values; /* of VdsProp, in the order first set */
};

void vds_prop_clear(VdsProp *prop)
{
    g_clear_pointer(&prop->name, g_free);
    g_clear_pointer(&prop->text, g_free);
    if (prop->kind == VDS_PROP_OBJECT) {
        g_clear_pointer(&prop->u.members, vds_props_free);
    }
}

void vds_prop_show_string(VdsProp *prop, char *text)
{
    prop->kind = VDS_PROP_STRING;
    prop->text = text ? text : g_strdup("");
}

void vds_prop_show_bool(VdsProp *prop, bool value)
{
    prop->kind = VDS_PROP_BOOL;
    prop->text = g_strdup(value ? "true" : "false");
    prop->u.boolean = value;
}

void vds_prop_show_uint(VdsProp *prop, uint64_t value)
{
    prop->kind = value > INT64_MAX ? VDS_PROP_UINT : VDS_PROP_INT;
    prop->text = g_strdup_printf("%" PRIu64, value);
    prop->u.uinteger = value;
}

void vds_prop_show_object(VdsProp *prop, VdsProps *members)
{
    prop->kind = VDS_PROP_OBJECT;
    prop->u.members = members;
}

static void prop_clear_notify(void *prop)
{
    vds_prop_clear(prop);
}

VdsProps *vds_props_new(void)
{
    VdsProps *props = g_new0(VdsProps, 1);

    props->values = g_array_new(FALSE, TRUE, sizeof(VdsProp));
    g_array_set_clear_func(props->values, prop_clear_notify);
    return props;
}

void vds_props_free(VdsProps *props)
{
    if (props) {
        g_array_unref(props->values);
        g_free(props);
    }
}

VdsProps *vds_props_copy(const VdsProps *props)
{
    VdsProps *copy = vds_props_new();

    for (unsigned i = 0; i < vds_props_count(props); i++) {
        VdsProp prop = *vds_props_nth(props, i);

        prop.name = g_strdup(prop.name);
        prop.text = g_strdup(prop.text);
        if (prop.kind == VDS_PROP_OBJECT) {
            prop.u.members = vds_props_copy(prop.u.members);
        }
        g_array_append_val(copy->values, prop);
    }
    return copy;
}

unsigned vds_props_count(const VdsProps *props)
{
    return props->values->len;
}

const VdsProp *vds_props_nth(const VdsProps *props, unsigned n)
{
    return &g_array_index(props->values, VdsProp, n);
}

const VdsProp *vds_props_find(const VdsProps *props, const char *name)
{
    for (unsigned i = 0; i < props->values->len; i++) {
        const VdsProp *prop = vds_props_nth(props, i);

        if (strcmp(prop->name, name) == 0) {
            return prop;
        }
    }
    return NULL;
}

const char *vds_props_get_string(const VdsProps *props, const char *name)
{
    const VdsProp *prop = vds_props_find(props, name);

    return prop && prop->kind == VDS_PROP_STRING ? prop->text : NULL;
}

/* Takes over value.text. */
static void props_set(VdsProps *props, const char *name, VdsProp value)
{
    VdsProp *old = (VdsProp *)vds_props_find(props, name);

    value.name = g_strdup(name);
    if (old) {
        vds_prop_clear(old);
        *old = value;
    } else {
        g_array_append_val(props->values, value);
    }
}

void vds_props_set_string(VdsProps *props, const char *name, const char *value)
{
    props_set(props, name, (VdsProp){.kind = VDS_PROP_STRING, .text = g_strdup(value)});
}

void vds_props_set_bool(VdsProps *props, const char *name, bool value)
{
    props_set(props, name,
              (VdsProp){.kind = VDS_PROP_BOOL,
                        .text = g_strdup(value ? "true" : "false"),
                        .u.boolean = value});
}

void vds_props_set_int(VdsProps *props, const char *name, int64_t value)
{
    props_set(props, name,
              (VdsProp){.kind = VDS_PROP_INT,
                        .text = g_strdup_printf("%" PRId64, value),
                        .u.integer = value});
}

void vds_props_set_uint(VdsProps *props, const char *name, uint64_t value)
{
    VdsProp prop = {0};

    vds_prop_show_uint(&prop, value);
    props_set(props, name, prop);
}

void vds_props_set_number(VdsProps *props, const char *name, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_dtostr(text, sizeof(text), value);
    props_set(
        props, name,
        (VdsProp){.kind = VDS_PROP_NUMBER, .text = g_strdup(text), .u.number = value});
}

void vds_props_set_null(VdsProps *props, const char *name)
{
    props_set(props, name, (VdsProp){.kind = VDS_PROP_NULL, .text = g_strdup("null")});
}

void vds_props_set_object(VdsProps *props, const char *name, VdsProps *members)
{
    props_set(props, name, (VdsProp){.kind = VDS_PROP_OBJECT, .u.members = members});
}

/* ---- single values -------------------------------------------------------------- */

static bool text_to_uint(const char *text, uint64_t *value)
{
    char *end;
    bool hex = g_ascii_strncasecmp(text, "0x", 2) == 0;

    if (!g_ascii_isxdigit(text[0])) {
        return false; /* strtoull would take white space and signs */
    }
    errno = 0;
    *value = g_ascii_strtoull(text, &end, hex ? 16 : 10);
    return errno == 0 && *end == '\0' && end > text + (hex ? 2 : 0);
}

static bool prop_to_uint(const VdsProp *prop, uint64_t *value)
{
    switch (prop->kind) {
    case VDS_PROP_STRING:
        return text_to_uint(prop->text, value);
    case VDS_PROP_INT:
        *value = (uint64_t)prop->u.integer;
        return prop->u.integer >= 0;
    case VDS_PROP_UINT:
        *value = prop->u.uinteger;
        return true;
    default:
        return false;
    }
}

bool vds_prop_get_uint(const VdsProp *prop, uint64_t min, uint64_t max, uint64_t *value,
                       GError **error)
{
    uint64_t found;

    if (!prop_to_uint(prop, &found) || found < min || found > max) {
        g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE,
                    "Parameter '%s' expects a number from %" PRIu64 " to %" PRIu64
                    ", found '%s'",
                    prop->name, min, max, prop->text);
        return false;
    }
    *value = found;
    return true;
}

bool vds_prop_get_bool(const VdsProp *prop, bool *value, GError **error)
{
    static const char *const words[][2] = {
        {"off", "on"}, {"no", "yes"}, {"false", "true"}, {"n", "y"}};

    if (prop->kind == VDS_PROP_BOOL) {
        *value = prop->u.boolean;
        return true;
    }
    for (size_t i = 0; prop->kind == VDS_PROP_STRING && i < G_N_ELEMENTS(words); i++) {
        for (int on = 0; on < 2; on++) {
            if (strcmp(prop->text, words[i][on]) == 0) {
                *value = on;
                return true;
            }
        }
    }
    g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE,
                "Parameter '%s' expects 'on' or 'off', found '%s'", prop->name,
                prop->text);
    return false;
}

/* "4k", "1.5G" is not taken: QEMU's fractions are not worth their rounding here. */
static bool text_to_size(const char *text, uint64_t default_unit, uint64_t *value)
{
    static const char units[] = "BKMGTPE";
    const char *unit;
    char *end;
    uint64_t number, factor = default_unit;

    if (!g_ascii_isdigit(text[0])) {
        return false;
    }
    errno = 0;
    number = g_ascii_strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    if (*end != '\0') {
        unit = strchr(units, g_ascii_toupper(*end));
        if (!unit || end[1] != '\0') {
            return false;
        }
        factor = UINT64_C(1) << (10 * (unit - units));
    }
    return !__builtin_mul_overflow(number, factor, value);
}

bool vds_prop_get_size(const VdsProp *prop, uint64_t default_unit, uint64_t *value,
                       GError **error)
{
    if (prop->kind == VDS_PROP_STRING ? text_to_size(prop->text, default_unit, value)
                                      : prop_to_uint(prop, value)) {
        return true;
    }
    g_set_error(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE,
                "Parameter '%s' expects a size, found '%s'", prop->name, prop->text);
    return false;
}
