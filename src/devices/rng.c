/*
 * devices: virtio-rng (virtio 1.2, 5.4): one queue.
 */
#include <errno.h>
#include <string.h>

#include "rng-priv.h"

static const VdsProperty properties[] = {
    VDS_ROW_LINK("rng", "rng-backend"),
    VDS_ROW_NUMBER("max-bytes", uint64, INT64_MAX),
    VDS_ROW_NUMBER("period", uint32, 1 << 16),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

/* rng-builtin, and no object at all, is the kernel's generator. */
static bool find_source(const VdsDeviceArgs *args, const char **filename, GError **error)
{
    const char *path = vds_property_set_get_text(args->properties, "rng");
    const VdsProps *object =
        path ? args->host->find_backend(args->host, "object", path + strlen("/objects/"))
             : NULL;
    const char *type = object ? vds_props_get_string(object, "qom-type") : NULL;

    *filename = NULL;
    if (!type || strcmp(type, "rng-builtin") == 0) {
        return true;
    }
    if (strcmp(type, "rng-random") != 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                    "'%.*s' cannot be a source here, only 'rng-random' and 'rng-builtin'",
                    vds_name_len(type), type);
        return false;
    }
    *filename = vds_props_get_string(object, "filename");
    if (!*filename) {
        *filename = "/dev/urandom";
    }
    if (access(*filename, R_OK) != 0) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                    "Could not open '%.*s': %s", vds_name_len(*filename), *filename,
                    g_strerror(errno));
        return false;
    }
    return true;
}

static bool equip(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const VdsPropertySet *set = args->properties;
    const char *filename;
    VdsRng *rng;

    if (!find_source(args, &filename, error)) {
        return false;
    }
    rng = vds_rng_new(
        &(VdsRngConfig){.filename = (char *)filename,
                        .max_bytes = vds_property_set_get_uint(set, "max-bytes"),
                        .period_ms = (uint32_t)vds_property_set_get_uint(set, "period")});
    to->ops = &vds_rng_ops;
    to->instance = rng;
    to->device = vds_rng_device(rng);
    return true;
}

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    if (vds_property_set_get_uint(args->properties, "period") == 0) {
        return vds_kind_refuse(error, "'period' parameter expects a positive integer");
    }
    if (vds_property_set_get_uint(args->properties, "max-bytes") > INT64_MAX) {
        return vds_kind_refuse(error, "'max-bytes' parameter must be non-negative, and "
                                      "less than 2^63");
    }
    vds_kind_add_queues(to, 1, 8);
    return equip(args, to, error);
}

static const VdsKind kind = {.device_id = 4, .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-rng", "virtio-rng", "virtio-rng-device", tables,
                           vds_pci_auto_properties),
    VDS_TYPE_DEVICE("virtio-rng-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_rng_class = {.types = types,
                                      .data = &kind,
                                      .realize = vds_kind_realize,
                                      .category = VDS_CATEGORY_MISC};
