/*
 * cli: argv to VdsOptions.  Knows no option: rows.c does.
 */
#include <string.h>

#include "cli-priv.h"

static VdsOptions *options_new(void)
{
    VdsOptions *options = g_new0(VdsOptions, 1);

    options->fdsets = vds_cli_fdsets_new();
    options->chardevs = g_ptr_array_new_with_free_func(vds_cli_chardev_free);
    options->mons = g_ptr_array_new_with_free_func(vds_cli_mon_free);
    options->backends = g_ptr_array_new_with_free_func(vds_cli_backend_free);
    options->devices = g_ptr_array_new_with_free_func(vds_cli_device_free);
    options->machine = g_strdup("vds");
    options->machine_props = vds_props_new();
    options->memory_bytes = UINT64_C(64) << 20;
    return options;
}

void vds_options_free(VdsOptions *options)
{
    if (options) {
        g_array_unref(options->fdsets);
        g_ptr_array_unref(options->chardevs);
        g_ptr_array_unref(options->mons);
        g_ptr_array_unref(options->backends);
        g_ptr_array_unref(options->devices);
        g_free(options->name);
        g_free(options->uuid);
        g_free(options->machine);
        g_free(options->machine_origin);
        vds_props_free(options->machine_props);
        g_free(options->pidfile);
        g_free(options->log_path);
        g_free(options->device_help);
        g_free(options->device_help_origin);
        g_free(options);
    }
}

/* ---- what handlers share ----------------------------------------------------------- */

char *vds_cli_origin(const char *option, const char *argument)
{
    int len = argument ? vds_name_len(argument) : 0;

    return g_strdup_printf("%.*s%s%.*s%s", vds_name_len(option), option,
                           argument ? " " : "", len, argument ? argument : "",
                           argument && argument[len] ? "..." : "");
}

bool vds_cli_get_bool(const VdsProps *props, const char *key, bool *value, GError **error)
{
    const VdsProp *prop = vds_props_find(props, key);

    return !prop || vds_prop_get_bool(prop, value, error);
}

static bool keys_are_allowed(const VdsCliRow *row, const VdsProps *props, GError **error)
{
    for (unsigned i = 0; row->allowed && i < vds_props_count(props); i++) {
        const char *name = vds_props_nth(props, i)->name;

        if (!g_strv_contains(row->allowed, name)) {
            g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                        "Invalid parameter '%.*s'", vds_name_len(name), name);
            return false;
        }
    }
    return true;
}

static bool required_is_there(const VdsCliRow *row, const VdsProps *props, GError **error)
{
    for (unsigned i = 0; row->required && row->required[i]; i++) {
        if (!vds_props_get_string(props, row->required[i])) {
            g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_MISSING,
                        "Parameter '%s' is missing", row->required[i]);
            return false;
        }
    }
    return true;
}

static bool check_id(const VdsCliRow *row, const VdsProps *props, GError **error)
{
    const VdsProp *prop = row->id ? vds_props_find(props, row->id) : NULL;

    if (prop && (prop->kind != VDS_PROP_STRING || !vds_id_is_well_formed(prop->text))) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "Parameter '%s' expects an identifier", row->id);
        return false;
    }
    return true;
}

VdsProps *vds_cli_props(const VdsCliRow *row, const char *argument, GError **error)
{
    g_autoptr(VdsProps) props = vds_keyval_parse(argument, row->implied, error);

    if (!props || !keys_are_allowed(row, props, error) ||
        !required_is_there(row, props, error) || !check_id(row, props, error)) {
        return NULL;
    }
    return g_steal_pointer(&props);
}

/* ---- the pass over argv ------------------------------------------------------------ */

/* Puts the option in front and brings what other rooms said of a value into our domain.
 */
static void fault(GError **error, const char *origin, GError *cause)
{
    int code = cause->domain == VDS_CLI_ERROR    ? cause->code
               : cause->domain == VDS_UTIL_ERROR ? VDS_CLI_ERROR_VALUE
                                                 : VDS_CLI_ERROR_SYNTAX;

    g_set_error(error, VDS_CLI_ERROR, code, "%s: %s", origin, cause->message);
    g_error_free(cause);
}

/* One dash or two, as in QEMU.  (nullable) */
static const VdsCliRow *row_find(const char *option)
{
    const char *name = option + (g_str_has_prefix(option, "--") ? 2 : 1);

    for (size_t i = 0; option[0] == '-' && i < vds_cli_n_rows; i++) {
        if (strcmp(name, vds_cli_rows[i].name) == 0) {
            return &vds_cli_rows[i];
        }
    }
    return NULL;
}

static bool option_apply(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                         GError **error)
{
    GError *cause = NULL;

    if (row->apply && !row->apply(parse, row, argument, &cause)) {
        fault(error, parse->origin, cause);
        return false;
    }
    return true;
}

/* Takes the option at argv[i] and its argument.  Returns how many words that were; 0 on
 * error. */
static int option_take(VdsCliParse *parse, int argc, const char *const *argv, int i,
                       GError **error)
{
    const VdsCliRow *row = row_find(argv[i]);
    const char *argument = row && row->argument && i + 1 < argc ? argv[i + 1] : NULL;
    g_autofree char *origin = vds_cli_origin(argv[i], argument);

    if (!row || (row->argument && !argument)) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_OPTION, "%s: %s", origin,
                    row ? "requires an argument" : "invalid option");
        return 0;
    }
    parse->origin = origin;
    if (!option_apply(parse, row, argument, error)) {
        return 0;
    }
    return argument ? 2 : 1;
}

/* What only the whole of the options can tell. */
static bool options_check(VdsOptions *options, GError **error)
{
    const char *origin = NULL;
    GError *cause = NULL;

    if (!vds_cli_mons_resolve(options, &origin, &cause)) {
        fault(error, origin, cause);
        return false;
    }
    for (unsigned i = 0; options->daemonize && i < options->chardevs->len; i++) {
        const VdsChardev *chardev = g_ptr_array_index(options->chardevs, i);

        if (chardev->kind == VDS_CHARDEV_STDIO) {
            g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                        "%s: cannot use stdio with -daemonize", chardev->origin);
            return false;
        }
    }
    return true;
}

VdsOptions *vds_options_parse(int argc, const char *const *argv, GError **error)
{
    g_autoptr(VdsOptions) options = options_new();
    VdsCliParse parse = {.options = options};

    for (int i = 1; i < argc;) {
        int taken = option_take(&parse, argc, argv, i, error);

        if (taken == 0) {
            return NULL;
        }
        if (options->show_help || options->show_version) {
            return g_steal_pointer(&options);
        }
        i += taken;
    }
    return options_check(options, error) ? g_steal_pointer(&options) : NULL;
}
