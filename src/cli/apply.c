/*
 * cli: the options that set one value of VdsOptions, or keep a property set for the room
 * that knows its meaning.
 */
#include <string.h>

#include "cli-priv.h"

void vds_cli_backend_free(void *data)
{
    VdsBackendOption *backend = data;

    vds_props_free(backend->props);
    g_free(backend->origin);
    g_free(backend);
}

void vds_cli_device_free(void *data)
{
    VdsDeviceOption *device = data;

    vds_props_free(device->props);
    g_free(device->origin);
    g_free(device);
}

/* ---- property sets ----------------------------------------------------------------- */

void vds_cli_backend_add(VdsCliParse *parse, const char *kind, VdsProps *props)
{
    VdsBackendOption *backend = g_new0(VdsBackendOption, 1);

    backend->kind = kind;
    backend->props = props;
    backend->origin = g_strdup(parse->origin);
    g_ptr_array_add(parse->options->backends, backend);
}

bool vds_cli_apply_backend(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error)
{
    VdsProps *props = vds_cli_props(row, argument, error);

    if (props) {
        vds_cli_backend_add(parse, row->name, props);
    }
    return props != NULL;
}

/* "help" or "?" in the place of a driver, or among its properties.  (nullable) */
static const char *help_wanted(const VdsProps *props)
{
    const char *driver = vds_props_get_string(props, "driver");

    if (driver && (strcmp(driver, "help") == 0 || strcmp(driver, "?") == 0)) {
        return "";
    }
    return vds_props_find(props, "help") || vds_props_find(props, "?") ? driver : NULL;
}

bool vds_cli_apply_device(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error)
{
    VdsProps *props = vds_cli_props(row, argument, error);
    VdsDeviceOption *device;

    if (!props) {
        return false;
    }
    if (argument[0] != '{' && !parse->options->device_help && help_wanted(props)) {
        parse->options->device_help = g_strdup(help_wanted(props));
        parse->options->device_help_origin = g_strdup(parse->origin);
    }
    device = g_new0(VdsDeviceOption, 1);
    device->props = props;
    device->origin = g_strdup(parse->origin);
    g_ptr_array_add(parse->options->devices, device);
    return true;
}

/* A whole machine's driver may take defaults that are nobody's here; a virtio device
 * that did not get its property would be another device than the one asked for. */
bool vds_cli_apply_global(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error)
{
    g_autoptr(VdsProps) props = vds_cli_props(row, argument, error);
    const char *driver;

    if (!props) {
        return false;
    }
    driver = vds_props_get_string(props, "driver");
    if (!driver) {
        driver = vds_props_count(props) > 0 ? vds_props_nth(props, 0)->name : "";
    }
    if (g_str_has_prefix(driver, "virtio") || g_str_has_prefix(driver, "vhost")) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "defaults of '%.*s' cannot be set, give the property to -device",
                    vds_name_len(driver), driver);
        return false;
    }
    return true;
}

/* ---- the machine ------------------------------------------------------------------- */

/* A later -machine adds to an earlier one, as in QEMU. */
static void machine_props_merge(VdsOptions *options, const VdsProps *props)
{
    for (unsigned i = 0; i < vds_props_count(props); i++) {
        const VdsProp *prop = vds_props_nth(props, i);

        if (strcmp(prop->name, "type") == 0) {
            g_free(options->machine);
            options->machine = g_strdup(prop->text);
        } else {
            vds_props_set_string(options->machine_props, prop->name, prop->text);
        }
    }
}

/* "kvm:tcg" is kvm, or else tcg. */
static void note_accel(VdsOptions *options, const char *names)
{
    g_auto(GStrv) each = g_strsplit(names ? names : "", ":", -1);

    options->kvm |= g_strv_contains((const char *const *)each, "kvm");
}

bool vds_cli_apply_accel(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                         GError **error)
{
    g_autoptr(VdsProps) props = vds_cli_props(row, argument, error);

    if (props) {
        note_accel(parse->options, vds_props_get_string(props, "accel"));
    }
    return props != NULL;
}

bool vds_cli_apply_kvm(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error)
{
    parse->options->kvm = true;
    return true;
}

bool vds_cli_apply_machine(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error)
{
    g_autoptr(VdsProps) props = vds_cli_props(row, argument, error);

    if (!props) {
        return false;
    }
    machine_props_merge(parse->options, props);
    note_accel(parse->options, vds_props_get_string(props, "accel"));
    g_free(parse->options->machine_origin);
    parse->options->machine_origin = g_strdup(parse->origin);
    return true;
}

bool vds_cli_apply_memory(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error)
{
    g_autoptr(VdsProps) props = vds_cli_props(row, argument, error);
    const VdsProp *size = props ? vds_props_find(props, "size") : NULL;
    uint64_t bytes = 0;

    if (!props || (size && !vds_prop_get_size(size, UINT64_C(1) << 20, &bytes, error))) {
        return false;
    }
    if (bytes > 0) { /* 0 means the default */
        parse->options->memory_bytes = bytes;
        parse->options->memory_given = true;
    }
    return true;
}

bool vds_cli_apply_name(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                        GError **error)
{
    g_autoptr(VdsProps) props = vds_cli_props(row, argument, error);
    const char *guest = props ? vds_props_get_string(props, "guest") : NULL;

    if (guest) {
        g_free(parse->options->name);
        parse->options->name = g_strdup(guest);
    }
    return props != NULL;
}

bool vds_cli_apply_uuid(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                        GError **error)
{
    if (!g_uuid_string_is_valid(argument)) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "failed to parse UUID string: wrong format");
        return false;
    }
    g_free(parse->options->uuid);
    parse->options->uuid = g_ascii_strdown(argument, -1);
    return true;
}

/* ---- the process ------------------------------------------------------------------- */

bool vds_cli_apply_pidfile(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error)
{
    if (argument[0] == '\0') {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE, "the path is empty");
        return false;
    }
    g_free(parse->options->pidfile);
    parse->options->pidfile = g_strdup(argument);
    return true;
}

bool vds_cli_apply_log(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error)
{
    if (argument[0] == '\0') {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE, "the path is empty");
        return false;
    }
    g_free(parse->options->log_path);
    parse->options->log_path = g_strdup(argument);
    return true;
}

bool vds_cli_apply_daemonize(VdsCliParse *parse, const VdsCliRow *row,
                             const char *argument, GError **error)
{
    parse->options->daemonize = true;
    return true;
}

bool vds_cli_apply_paused(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error)
{
    parse->options->paused = true;
    return true;
}

bool vds_cli_apply_no_shutdown(VdsCliParse *parse, const VdsCliRow *row,
                               const char *argument, GError **error)
{
    parse->options->no_shutdown = true;
    return true;
}

bool vds_cli_apply_no_reboot(VdsCliParse *parse, const VdsCliRow *row,
                             const char *argument, GError **error)
{
    parse->options->no_reboot = true;
    return true;
}

bool vds_cli_apply_help(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                        GError **error)
{
    parse->options->show_help = true;
    return true;
}

bool vds_cli_apply_version(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error)
{
    parse->options->show_version = true;
    return true;
}
