/*
 * devices: virtio-rng (virtio 1.2, 5.4): one queue.
 */
#include "kind-priv.h"

static const VdsProperty properties[] = {
    VDS_ROW_LINK("rng", "rng-backend"),
    VDS_ROW_NUMBER("max-bytes", uint64, INT64_MAX),
    VDS_ROW_NUMBER("period", uint32, 1 << 16),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

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
    return true;
}

static const VdsKind kind = {.device_id = 4, .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-rng", "virtio-rng", "virtio-rng-device", tables,
                           vds_pci_auto_properties),
    VDS_TYPE_DEVICE("virtio-rng-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_rng_class = {types, &kind, vds_kind_realize, NULL, NULL};
