/*
 * devices: virtio-balloon (virtio 1.2, 5.5): inflate, deflate and statistics, then the
 * optional queues in the order of their features.
 */
#include "kind-priv.h"

enum {
    F_STATS_VQ = 1,
    F_DEFLATE_ON_OOM = 2,
    F_FREE_PAGE_HINT = 3,
    F_PAGE_POISON = 4,
    F_REPORTING = 5,
};

static const VdsProperty properties[] = {
    VDS_ROW_FEATURE("deflate-on-oom", F_DEFLATE_ON_OOM, false),
    VDS_ROW_FEATURE("free-page-hint", F_FREE_PAGE_HINT, false),
    VDS_ROW_FEATURE("page-poison", F_PAGE_POISON, true),
    VDS_ROW_FEATURE("free-page-reporting", F_REPORTING, false),
    VDS_ROW_BOOL("qemu-4-0-config-size", false),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    bool hint = vds_property_set_get_bool(args->properties, "free-page-hint");

    if (hint && !vds_property_set_get_text(args->properties, "iothread")) {
        return vds_kind_refuse(error, "'free-page-hint' requires 'iothread' to be set");
    }
    vds_kind_add_queues(to, 3, 128);
    if (hint) {
        vds_kind_add_queues(to, 1, 1024);
    }
    if (vds_property_set_get_bool(args->properties, "free-page-reporting")) {
        vds_kind_add_queues(to, 1, 32);
    }
    return true;
}

static const VdsKind kind = {.device_id = 5, .features = 1 << F_STATS_VQ, .plan = plan};

static const VdsProperty pci_none[] = {VDS_ROW_END};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-balloon", "virtio-balloon", "virtio-balloon-device",
                           tables, pci_none),
    VDS_TYPE_DEVICE("virtio-balloon-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_balloon_class = {types, &kind, vds_kind_realize, NULL, NULL};
