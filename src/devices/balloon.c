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

/* ---- what only a balloon that is there knows ----------------------------------------
 */

static bool get_stats(void *instance, VdsProp *value)
{
    vds_balloon_stats_show(vds_balloon_get_stats(instance), value);
    return true;
}

static bool get_interval(void *instance, VdsProp *value)
{
    vds_prop_show_uint(value,
                       vds_balloon_stats_get_interval(vds_balloon_get_stats(instance)));
    return true;
}

/* The words are QEMU's. */
static bool set_interval(void *instance, const VdsProp *value, GError **error)
{
    if (value->kind != VDS_PROP_INT && value->kind != VDS_PROP_UINT) {
        return vds_kind_refuse(error,
                               "Invalid parameter type for "
                               "'guest-stats-polling-interval', expected: integer");
    }
    if (value->kind == VDS_PROP_INT && value->u.integer < 0) {
        return vds_kind_refuse(error, "timer value must be greater than zero");
    }
    if (value->u.uinteger > UINT32_MAX) {
        return vds_kind_refuse(error, "timer value is too big");
    }
    return vds_balloon_stats_set_interval(vds_balloon_get_stats(instance),
                                          vds_balloon_get_thread(instance),
                                          (uint32_t)value->u.uinteger, error);
}

static const VdsDeviceReading readings[] = {
    {"guest-stats", "guest statistics", get_stats, NULL},
    {"guest-stats-polling-interval", "int", get_interval, set_interval},
    {NULL, NULL, NULL, NULL},
};

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

const VdsDeviceClass vds_balloon_class = {.types = types,
                                          .data = &kind,
                                          .realize = vds_kind_realize,
                                          .readings = readings,
                                          .category = VDS_CATEGORY_MISC};
