/*
 * cmds: the device kind virtio-replay: a row that brings the devices of a recording.
 */
#include "record-priv.h"

typedef struct {
    const VdsDeviceHost *host;
    const char *prefix;
} Target;

static bool put_device(const char *path, VdsVirtioDevice *device, void *user,
                       GError **error)
{
    const Target *target = user;
    g_autofree char *full = g_strconcat(target->prefix, path, NULL);

    return target->host->put(target->host, full, device, error);
}

static bool replay_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts,
                           GError **error)
{
    const char *file = vds_property_set_get_text(args->properties, "file");
    const char *prefix = vds_property_set_get_text(args->properties, "prefix");
    Target target = {args->host, prefix ? prefix : ""};

    if (!file) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_RECORD,
                            "virtio-replay: Parameter 'file' is missing");
        return false;
    }
    return vds_record_load(file, put_device, &target, error);
}

static const VdsProperty replay_properties[] = {
    {.name = "file",
     .type = &vds_property_str,
     .description = "the recording, a .vds file",
     .unset = true},
    {.name = "prefix",
     .type = &vds_property_str,
     .description = "put in front of every path of the recording",
     .unset = true},
    {.name = NULL},
};

static const VdsProperty *const replay_tables[] = {replay_properties, NULL};

static const VdsDeviceType replay_types[] = {
    {.name = "virtio-replay", .parent = "device", .own = replay_tables},
    {.name = NULL},
};

const VdsDeviceClass vds_cmds_replay_class = {
    .types = replay_types,
    .realize = replay_realize,
};
