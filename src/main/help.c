/*
 * main: which kinds of device there are, and what -device help says of them, in QEMU's
 * words and order.
 */
#include <string.h>

#include "main-priv.h"
#include "vds/cmds.h"
#include "vds/devices.h"

enum { PROPERTY_COLUMN = 24 };

/* The devices proper, and the one kind that needs the schema's types. */
GPtrArray *vds_main_classes(void)
{
    GPtrArray *classes = g_ptr_array_new();

    for (unsigned i = 0; vds_device_classes[i]; i++) {
        g_ptr_array_add(classes, (void *)vds_device_classes[i]);
    }
    g_ptr_array_add(classes, (void *)&vds_cmds_replay_class);
    g_ptr_array_add(classes, NULL);
    return classes;
}

/* ---- the list
 * ------------------------------------------------------------------------- */

static const char *const headings[VDS_CATEGORY_COUNT] = {
    [VDS_CATEGORY_BRIDGE] = "Controller/Bridge/Hub",
    [VDS_CATEGORY_USB] = "USB",
    [VDS_CATEGORY_STORAGE] = "Storage",
    [VDS_CATEGORY_NETWORK] = "Network",
    [VDS_CATEGORY_INPUT] = "Input",
    [VDS_CATEGORY_DISPLAY] = "Display",
    [VDS_CATEGORY_MISC] = "Misc",
    [VDS_CATEGORY_NONE] = "Uncategorized",
};

static char *type_line(const VdsDeviceType *type)
{
    GString *line = g_string_new(NULL);

    g_string_append_printf(line, "name \"%s\"", type->name);
    if (type->bus_type) {
        g_string_append_printf(line, ", bus %s", type->bus_type);
    }
    if (type->alias) {
        g_string_append_printf(line, ", alias \"%s\"", type->alias);
    }
    if (type->description) {
        g_string_append_printf(line, ", desc \"%s\"", type->description);
    }
    return g_string_free(line, FALSE);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void append_sorted(GPtrArray *lines, GString *out)
{
    g_ptr_array_sort(lines, compare_lines);
    for (unsigned i = 0; i < lines->len; i++) {
        g_string_append_printf(out, "%s\n", (const char *)g_ptr_array_index(lines, i));
    }
}

static GPtrArray *lines_of(const GPtrArray *classes, VdsDeviceCategory category)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; classes->pdata[i]; i++) {
        const VdsDeviceClass *class = classes->pdata[i];

        for (const VdsDeviceType *type = class->types; type->name; type++) {
            if (!type->abstract &&
                (type->category ? type->category : class->category) == category) {
                g_ptr_array_add(lines, type_line(type));
            }
        }
    }
    return lines;
}

static char *list_help(const GPtrArray *classes)
{
    GString *out = g_string_new(NULL);

    /* what has none is last */
    for (unsigned i = 1; i <= VDS_CATEGORY_COUNT; i++) {
        VdsDeviceCategory category = (VdsDeviceCategory)(i % VDS_CATEGORY_COUNT);
        g_autoptr(GPtrArray) lines = lines_of(classes, category);

        if (lines->len > 0) {
            g_string_append_printf(out, "%s%s devices:\n", out->len > 0 ? "\n" : "",
                                   headings[category]);
            append_sorted(lines, out);
        }
    }
    return g_string_free(out, FALSE);
}

/* ---- one type
 * ------------------------------------------------------------------------- */

static void add_line(const VdsPropertyInfo *info, void *user)
{
    GPtrArray *lines = user;
    const VdsProp *fallback = info->fallback;
    const char *quote = fallback && fallback->kind == VDS_PROP_STRING ? "\"" : "";
    GString *line = g_string_new(NULL);

    g_string_append_printf(line, "  %s=<%s>", info->name, info->type);
    if (info->description || fallback) {
        g_string_append_printf(line, "%*s - %s", MAX(0, PROPERTY_COLUMN - (int)line->len),
                               "", info->description ? info->description : "");
    }
    if (fallback) {
        g_string_append_printf(line, " (default: %s%s%s)", quote, fallback->text, quote);
    }
    g_ptr_array_add(lines, g_string_free(line, FALSE));
}

/* An alias is a name, too. */
static const char *canonical_name(const GPtrArray *classes, const char *driver)
{
    for (unsigned i = 0; classes->pdata[i]; i++) {
        const VdsDeviceClass *class = classes->pdata[i];

        for (const VdsDeviceType *type = class->types; type->name; type++) {
            if (g_strcmp0(type->alias, driver) == 0) {
                return type->name;
            }
        }
    }
    return driver;
}

static char *type_help(const GPtrArray *classes, const char *driver, GError **error)
{
    g_autoptr(VdsMachine) machine =
        vds_machine_new("none", (const VdsDeviceClass *const *)classes->pdata);
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    GString *out;

    driver = canonical_name(classes, driver);
    if (!vds_machine_list_properties(machine, driver, add_line, lines, error)) {
        return NULL;
    }
    out = g_string_new(NULL);
    g_string_append_printf(
        out, lines->len > 0 ? "%s options:\n" : "There are no options for %s.\n", driver);
    append_sorted(lines, out);
    return g_string_free(out, FALSE);
}

char *vds_main_device_help(const char *driver, GError **error)
{
    g_autoptr(GPtrArray) classes = vds_main_classes();

    return *driver ? type_help(classes, driver, error) : list_help(classes);
}
