/*
 * cli: monitors, in QEMU's long form (-chardev with -mon) and in the short forms that
 * stand for it.
 */
#include <string.h>

#include "cli-priv.h"

void vds_cli_mon_free(void *data)
{
    VdsMon *mon = data;

    if (mon) {
        g_free(mon->id);
        g_free(mon->chardev_id);
        g_free(mon->origin);
        g_free(mon);
    }
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsMon, vds_cli_mon_free)

bool vds_cli_apply_chardev(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error)
{
    VdsProps *props = vds_cli_props(row, argument, error);
    const VdsChardev *chardev = props ? vds_cli_chardev_add(parse, props, error) : NULL;

    if (chardev) { /* a device may be wired to it */
        vds_cli_backend_add(parse, row->name, vds_props_copy(chardev->props));
    }
    return chardev != NULL;
}

/* ---- the long form ----------------------------------------------------------------- */

static bool mode_parse(const VdsProps *props, VdsMonMode *mode, GError **error)
{
    static const struct {
        const char *name;
        VdsMonMode mode;
    } modes[] = {{"control", VDS_MON_CONTROL}, {"readline", VDS_MON_READLINE}};
    const VdsProp *prop = vds_props_find(props, "mode");

    *mode = VDS_MON_READLINE;
    for (size_t i = 0; prop && i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(prop->text, modes[i].name) == 0) {
            *mode = modes[i].mode;
            return true;
        }
    }
    if (prop) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "Parameter 'mode' does not accept value '%.*s'",
                    vds_name_len(prop->text), prop->text);
    }
    return !prop;
}

static bool mon_id_is_taken(const VdsOptions *options, const char *id)
{
    for (unsigned i = 0; id && i < options->mons->len; i++) {
        const VdsMon *mon = g_ptr_array_index(options->mons, i);

        if (g_strcmp0(mon->id, id) == 0) {
            return true;
        }
    }
    return false;
}

/* Takes `mon` (transfer full, also on error). */
static bool mon_add(VdsCliParse *parse, VdsMon *mon, GError **error)
{
    g_autoptr(VdsMon) owned = mon;

    if (mon_id_is_taken(parse->options, mon->id)) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "Duplicate ID '%.*s' for mon", vds_name_len(mon->id), mon->id);
        return false;
    }
    mon->origin = g_strdup(parse->origin);
    g_ptr_array_add(parse->options->mons, g_steal_pointer(&owned));
    return true;
}

bool vds_cli_apply_mon(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error)
{
    g_autoptr(VdsProps) props = vds_cli_props(row, argument, error);
    g_autoptr(VdsMon) mon = g_new0(VdsMon, 1);

    if (!props || !mode_parse(props, &mon->mode, error) ||
        !vds_cli_get_bool(props, "pretty", &mon->pretty, error)) {
        return false;
    }
    if (mon->mode == VDS_MON_READLINE && vds_props_find(props, "pretty")) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "'pretty' is not compatible with HMP monitors");
        return false;
    }
    mon->id = g_strdup(vds_props_get_string(props, "id"));
    mon->chardev_id = g_strdup(vds_props_get_string(props, "chardev"));
    return mon_add(parse, g_steal_pointer(&mon), error);
}

/* ---- the short forms --------------------------------------------------------------- */

/* "chardev:ID" uses a chardev that another option describes; any other address is one of
 * its own, with the id that QEMU gives it. */
static bool mon_add_address(VdsCliParse *parse, const char *address, VdsMonMode mode,
                            bool pretty, GError **error)
{
    g_autoptr(VdsMon) mon = g_new0(VdsMon, 1);

    mon->mode = mode;
    mon->pretty = pretty;
    if (g_str_has_prefix(address, "chardev:")) {
        mon->chardev_id = g_strdup(address + strlen("chardev:"));
    } else {
        VdsProps *props;

        mon->chardev_id = g_strdup_printf("compat_monitor%u", parse->compat_monitors);
        props = vds_cli_chardev_short(address, mon->chardev_id, error);
        if (!props || !vds_cli_chardev_add(parse, props, error)) {
            return false;
        }
    }
    parse->compat_monitors++;
    mon->id = g_strdup(mon->chardev_id);
    return mon_add(parse, g_steal_pointer(&mon), error);
}

bool vds_cli_apply_qmp(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error)
{
    return mon_add_address(parse, argument, VDS_MON_CONTROL, false, error);
}

bool vds_cli_apply_qmp_pretty(VdsCliParse *parse, const VdsCliRow *row,
                              const char *argument, GError **error)
{
    return mon_add_address(parse, argument, VDS_MON_CONTROL, true, error);
}

bool vds_cli_apply_monitor(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error)
{
    return strcmp(argument, "none") == 0 ||
           mon_add_address(parse, argument, VDS_MON_READLINE, false, error);
}

/* ---- afterwards -------------------------------------------------------------------- */

static bool chardev_is_taken(const VdsOptions *options, unsigned before,
                             const VdsChardev *chardev)
{
    for (unsigned i = 0; i < before; i++) {
        const VdsMon *mon = g_ptr_array_index(options->mons, i);

        if (mon->chardev == chardev) {
            return true;
        }
    }
    return false;
}

bool vds_cli_mons_resolve(VdsOptions *options, const char **origin, GError **error)
{
    for (unsigned i = 0; i < options->mons->len; i++) {
        VdsMon *mon = g_ptr_array_index(options->mons, i);

        *origin = mon->origin;
        mon->chardev = vds_cli_chardev_find(options, mon->chardev_id);
        if (!mon->chardev) {
            g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_MISSING,
                        "chardev \"%.*s\" not found", vds_name_len(mon->chardev_id),
                        mon->chardev_id);
            return false;
        }
        if (vds_props_find(mon->chardev->props, "logfile")) {
            g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                        "'logfile' is for devices, a monitor keeps no log");
            return false;
        }
        if (chardev_is_taken(options, i, mon->chardev)) {
            g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                        "Device '%.*s' is in use", vds_name_len(mon->chardev_id),
                        mon->chardev_id);
            return false;
        }
    }
    return true;
}
