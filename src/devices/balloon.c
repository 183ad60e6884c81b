/*
 * devices: virtio-balloon (virtio 1.2, 5.5): inflate, deflate and statistics, then the
 * optional queues in the order of their features.
 */
#include "balloon-priv.h"

static const VdsProperty properties[] = {
    VDS_ROW_FEATURE("deflate-on-oom", VDS_BALLOON_F_DEFLATE_ON_OOM, false),
    VDS_ROW_FEATURE("free-page-hint", VDS_BALLOON_F_FREE_PAGE_HINT, false),
    VDS_ROW_FEATURE("page-poison", VDS_BALLOON_F_PAGE_POISON, true),
    VDS_ROW_FEATURE("free-page-reporting", VDS_BALLOON_F_REPORTING, false),
    VDS_ROW_BOOL("qemu-4-0-config-size", false),
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

/* As far as the features that are offered reach; qemu-4-0-config-size is all of it. */
static unsigned config_len(const VdsDeviceArgs *args, const VdsFeatures *features)
{
    if (vds_property_set_get_bool(args->properties, "qemu-4-0-config-size") ||
        vds_features_has(features, VDS_BALLOON_F_PAGE_POISON)) {
        return VDS_BALLOON_CONFIG_MAX;
    }
    return vds_features_has(features, VDS_BALLOON_F_FREE_PAGE_HINT)
               ? VDS_BALLOON_POISON
               : VDS_BALLOON_FREE_PAGE_HINT;
}

static void equip(const VdsDeviceArgs *args, VdsKindPlan *to, bool hint, bool reporting)
{
    VdsBalloon *balloon =
        vds_balloon_new(&(VdsBalloonConfig){.hint = hint,
                                            .reporting = reporting,
                                            .changed = args->host->balloon_changed,
                                            .user = args->host->machine});

    to->ops = &vds_balloon_ops;
    to->instance = balloon;
    to->device = vds_balloon_device(balloon);
    to->config_len_bytes = config_len(args, &to->features);
}

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    bool hint = vds_property_set_get_bool(args->properties, "free-page-hint");
    bool reporting = vds_property_set_get_bool(args->properties, "free-page-reporting");

    if (hint && !vds_property_set_get_text(args->properties, "iothread")) {
        return vds_kind_refuse(error, "'free-page-hint' requires 'iothread' to be set");
    }
    vds_kind_add_queues(to, 3, 128);
    if (hint) {
        vds_kind_add_queues(to, 1, 1024);
    }
    if (reporting) {
        vds_kind_add_queues(to, 1, 32);
    }
    equip(args, to, hint, reporting);
    return true;
}

static const VdsKind kind = {
    .device_id = 5, .features = 1 << VDS_BALLOON_F_STATS_VQ, .plan = plan};

static const VdsProperty pci_none[] = {VDS_ROW_END};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_TRANSITIONAL("virtio-balloon", "virtio-balloon", "virtio-balloon-device",
                           tables, pci_none),
    VDS_TYPE_DEVICE("virtio-balloon-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_balloon_class = {types, &kind, vds_kind_realize, NULL, NULL};
