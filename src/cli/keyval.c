/*
 * cli: `key=value,...` and JSON objects to property sets.  Knows no option and no key.
 */
#include <string.h>

#include "cli-priv.h"
#include "vds/json.h"

/* The value that starts at `text`, to the first single comma; *rest is what follows that
 * comma.  (transfer full) */
static char *value_take(const char *text, const char **rest)
{
    GString *value = g_string_new(NULL);

    for (;;) {
        size_t len = strcspn(text, ",");

        g_string_append_len(value, text, (gssize)len);
        text += len;
        if (text[0] != ',' || text[1] != ',') {
            break;
        }
        g_string_append_c(value, ',');
        text += 2;
    }
    *rest = text[0] == ',' ? text + 1 : text;
    return g_string_free(value, FALSE);
}

static bool invalid(const char *name, GError **error)
{
    g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_SYNTAX, "Invalid parameter '%.*s'",
                vds_name_len(name), name);
    return false;
}

/* A part without "=": its name says on, or off behind a "no". */
static bool flag_set(VdsProps *props, const char *name, GError **error)
{
    bool off = g_str_has_prefix(name, "no");

    if (strcmp(name, "no") == 0) {
        return invalid(name, error);
    }
    vds_props_set_string(props, name + (off ? 2 : 0), off ? "off" : "on");
    return true;
}

static bool keyval_take(VdsProps *props, const char *text, const char *implied_key,
                        const char **rest, GError **error)
{
    size_t len = strcspn(text, "=,");
    g_autofree char *name = g_strndup(text, len);
    g_autofree char *value = NULL;

    if (text[len] != '=' && !implied_key) {
        *rest = text + len + (text[len] == ',' ? 1 : 0);
        return len == 0 ? invalid(name, error) : flag_set(props, name, error);
    }
    if (text[len] == '=') {
        if (len == 0) {
            return invalid(name, error);
        }
        implied_key = name;
        text += len + 1;
    }
    value = value_take(text, rest);
    vds_props_set_string(props, implied_key, value);
    return true;
}

/* As many as room json takes from an object: looking up is linear. */
enum { MAX_VALUES = 1024 };

static VdsProps *too_much(GError **error)
{
    g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_SYNTAX,
                "more than a property set can hold");
    return NULL;
}

static VdsProps *json_parse(const char *text, GError **error)
{
    g_autoptr(VdsProps) props = vds_props_new();
    g_autoptr(VdsJsonTape) tape =
        vds_json_parse_text(text, strlen(text), &vds_json_wire_limits, error);

    if (!tape) {
        return NULL;
    }
    if (!vds_json_to_props(vds_json_tape_root(tape), props)) {
        return too_much(error);
    }
    return g_steal_pointer(&props);
}

VdsProps *vds_keyval_parse(const char *text, const char *implied_key, GError **error)
{
    g_autoptr(VdsProps) props = vds_props_new();

    if (text[0] == '{') {
        return json_parse(text, error);
    }
    while (*text) {
        if (!keyval_take(props, text, implied_key, &text, error)) {
            return NULL;
        }
        if (vds_props_count(props) > MAX_VALUES) {
            return too_much(error);
        }
        implied_key = NULL; /* of the first part only */
    }
    return g_steal_pointer(&props);
}
