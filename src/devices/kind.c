/*
 * devices: what all virtio rows have in common: their forms (virtio-pci in three
 * variants, virtio-mmio), the properties of these, and how a plan becomes a device.
 * virtio 1.2, 2.2 (features), 4.1.2 (PCI: legacy, transitional, modern), 4.2 (MMIO).
 */
#include <string.h>

#include "kind-priv.h"

struct VdsForm {
    bool pci;
    bool choose;         /* disable-legacy and disable-modern are asked */
    bool legacy, modern; /* unless chosen */
};

const VdsForm vds_form_pci = {
    .pci = true, .choose = true, .legacy = true, .modern = true};
const VdsForm vds_form_pci_transitional = {.pci = true, .legacy = true, .modern = true};
const VdsForm vds_form_pci_non_transitional = {.pci = true, .modern = true};
const VdsForm vds_form_mmio = {.modern = true};

/* ---- properties ----------------------------------------------------------------------
 */

const VdsProperty vds_pci_device_properties[] = {
    {.name = "addr", .type = &vds_property_pci_address, .fallback = (uint64_t)-1},
    VDS_ROW_UNSET("romfile", str),
    VDS_ROW_NUMBER("romsize", uint32, UINT32_MAX),
    VDS_ROW_NUMBER("rombar", uint32, 1),
    VDS_ROW_BOOL("multifunction", false),
    VDS_ROW_NUMBER("acpi-index", uint32, 0),
    VDS_ROW_UNSET("failover_pair_id", str),
    VDS_ROW_BOOL("x-pcie-lnksta-dllla", true),
    VDS_ROW_BOOL("x-pcie-extcap-init", true),
    VDS_ROW_END,
};

const VdsProperty vds_pci_properties[] = {
    VDS_ROW_BOOL("virtio-pci-bus-master-bug-migration", false),
    VDS_ROW_BOOL("migrate-extra", true),
    VDS_ROW_BOOL("modern-pio-notify", false),
    VDS_ROW_BOOL("x-disable-pcie", false),
    VDS_ROW_BOOL("page-per-vq", false),
    VDS_ROW_BOOL("x-ignore-backend-features", false),
    VDS_ROW_BOOL("ats", false),
    VDS_ROW_BOOL("x-ats-page-aligned", true),
    VDS_ROW_BOOL("x-pcie-deverr-init", true),
    VDS_ROW_BOOL("x-pcie-lnkctl-init", true),
    VDS_ROW_BOOL("x-pcie-pm-init", true),
    VDS_ROW_BOOL("x-pcie-flr-init", true),
    VDS_ROW_BOOL("aer", false),
    VDS_ROW_END,
};

const VdsProperty vds_pci_mode_properties[] = {
    VDS_ROW_AUTO("disable-legacy"),
    VDS_ROW_BOOL("disable-modern", false),
    VDS_ROW_END,
};

const VdsProperty vds_pci_auto_properties[] = {
    VDS_ROW_NUMBER("vectors", uint32, UINT32_MAX),
    VDS_ROW_BOOL("ioeventfd", true),
    VDS_ROW_END,
};

const VdsProperty vds_pci_two_properties[] = {
    VDS_ROW_NUMBER("vectors", uint32, 2),
    VDS_ROW_BOOL("ioeventfd", true),
    VDS_ROW_END,
};

const VdsProperty vds_pci_class_properties[] = {
    VDS_ROW_NUMBER("class", uint32, 0),
    VDS_ROW_END,
};

const VdsProperty vds_virtio_properties[] = {
    VDS_ROW_FEATURE("indirect_desc", VDS_F_RING_INDIRECT_DESC, true),
    VDS_ROW_FEATURE("event_idx", VDS_F_RING_EVENT_IDX, true),
    VDS_ROW_FEATURE("notify_on_empty", VDS_F_NOTIFY_ON_EMPTY, true),
    VDS_ROW_FEATURE("any_layout", VDS_F_ANY_LAYOUT, true),
    VDS_ROW_FEATURE("iommu_platform", VDS_F_ACCESS_PLATFORM, false),
    VDS_ROW_FEATURE("packed", VDS_F_RING_PACKED, false),
    VDS_ROW_FEATURE("in_order", VDS_F_IN_ORDER, false),
    VDS_ROW_FEATURE("queue_reset", VDS_F_RING_RESET, true),
    VDS_ROW_BOOL("use-started", true),
    VDS_ROW_BOOL("use-disabled-flag", true),
    VDS_ROW_BOOL("x-disable-legacy-check", false),
    {.name = "guest",
     .type = &vds_property_guest,
     .description = "who drives it: builtin/none"},
    {.name = "workload",
     .type = &vds_property_workload,
     .description = "of the built-in guest: idle/light"},
    {.name = "rate",
     .type = &vds_property_rate,
     .description = "requests a second of workload=light",
     .fallback = 100},
    {.name = "vhost-user",
     .type = &vds_property_str,
     .description = "socket of the front-end that drives it",
     .unset = true},
    {.name = "server",
     .type = &vds_property_bool,
     .description = "on: waits for front-ends; off: connects to one",
     .fallback = true},
    {.name = "reconnect",
     .type = &vds_property_uint32,
     .description = "seconds between attempts to connect (server off); 0: one attempt",
     .fallback = 0},
    VDS_ROW_END,
};

/* ---- helpers of the rows
 * ---------------------------------------------------------------- */

void vds_kind_add_queues(VdsKindPlan *plan, unsigned n, unsigned size)
{
    g_assert(n <= VDS_VIRTIO_MAX_QUEUES - plan->n_queues && size <= VDS_VRING_MAX_NUM);
    for (unsigned i = 0; i < n; i++) {
        plan->sizes[plan->n_queues++] = (uint16_t)size;
    }
}

const VdsProps *vds_kind_backend(const VdsDeviceArgs *args, const char *kind,
                                 const char *property)
{
    const char *id = vds_property_set_get_text(args->properties, property);

    return id ? args->host->find_backend(args->host, kind, id) : NULL;
}

bool vds_kind_claim_link(const VdsDeviceArgs *args, const char *property, const char **id)
{
    const char *path = vds_property_set_get_text(args->properties, property);

    *id = path + strlen("/objects/");
    return args->host->claim_backend(args->host, "object", *id);
}

static void *io_thread_create(const char *name)
{
    return vds_io_thread_new(name);
}

static void io_thread_destroy(void *thread)
{
    vds_io_thread_unref(thread);
}

VdsIoThread *vds_kind_io_thread(const VdsDeviceArgs *args)
{
    bool backend;
    const char *path = vds_device_type_find_property(args->type, "iothread", &backend)
                           ? vds_property_set_get_text(args->properties, "iothread")
                           : NULL;
    g_autofree char *name =
        g_strconcat("io", path ? ":" : "", path ? strrchr(path, '/') + 1 : "", NULL);

    return args->host->share(args->host, name, io_thread_create, io_thread_destroy);
}

/* ---- realize --------------------------------------------------------------------------
 */

/* Which of the two interfaces a device has, and the bits that follow from it. */
static bool form_offer(const VdsDeviceArgs *args, const VdsKind *kind, bool *legacy,
                       VdsFeatures *features, GError **error)
{
    static const uint64_t on = 1; /* of auto, on, off */
    const VdsForm *form = args->type->form;
    bool modern = form->modern;

    *legacy = form->legacy && !kind->modern;
    if (vds_kind_is_served(args)) {
        *legacy = false;
        return true;
    }
    if (form->choose && !kind->modern) {
        *legacy = vds_property_set_get_uint(args->properties, "disable-legacy") != on;
        modern = !vds_property_set_get_bool(args->properties, "disable-modern");
    }
    if (!*legacy && !modern) {
        return vds_kind_refuse(
            error, "device cannot work as neither modern nor legacy mode is enabled");
    }
    vds_features_set(features, VDS_F_VERSION_1, modern);
    vds_features_set(features, VDS_F_BAD_FEATURE, form->pci);
    return true;
}

/* The child bus is named after the device; QEMU shows that name as the virtio device's
 * own only where virtio-pci gave it. */
static char *bus_name(const VdsDeviceArgs *args, const VdsKind *kind)
{
    return kind->bus_type && args->id ? g_strdup_printf("%s.0", args->id) : NULL;
}

static bool plan_make(const VdsDeviceArgs *args, VdsKindPlan *plan, bool *legacy,
                      GError **error)
{
    const VdsKind *kind = args->class->data;

    plan->features.word[0] |= kind->features;
    if (!form_offer(args, kind, legacy, &plan->features, error) ||
        !vds_kind_serve(args, &plan->features, error) || !kind->plan(args, plan, error)) {
        return false;
    }
    if (vds_kind_is_served(args) && !plan->ops) {
        return vds_kind_refuse(error,
                               "'%s' has no request path that a vhost-user "
                               "front-end could use",
                               args->type->name);
    }
    if (*legacy && vds_features_has(&plan->features, VDS_F_ACCESS_PLATFORM)) {
        return vds_kind_refuse(error, "VIRTIO_F_IOMMU_PLATFORM was supported by neither "
                                      "legacy nor transitional device");
    }
    return true;
}

bool vds_kind_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error)
{
    const VdsKind *kind = args->class->data;
    const VdsForm *form = args->type->form;
    g_autofree char *name = bus_name(args, kind);
    VdsKindPlan plan = {
        .device_id = kind->device_id,
        .features = vds_property_set_features(args->properties),
    };
    bool legacy;

    if (!plan_make(args, &plan, &legacy, error)) {
        if (plan.instance) {
            plan.ops->free(plan.instance);
        }
        return false;
    }
    parts->virtio = vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = plan.device_id,
        .host_features = plan.features,
        .queue_sizes = plan.sizes,
        .n_queues = plan.n_queues,
        .bus_name = form->pci ? name : NULL,
        .use_started = vds_property_set_get_bool(args->properties, "use-started"),
        .disable_legacy_check =
            vds_property_set_get_bool(args->properties, "x-disable-legacy-check"),
        .ops = plan.ops,
        .instance = plan.instance,
        .io_thread = plan.ops ? vds_kind_io_thread(args) : NULL,
        .config = plan.config,
        .config_len_bytes = plan.config_len_bytes,
    });
    if (plan.device) {
        *plan.device = parts->virtio;
    }
    parts->instance = plan.instance;
    if (kind->bus_type) {
        parts->bus_type = kind->bus_type;
        parts->bus_name = g_steal_pointer(&name);
    }
    if (kind->bring) {
        kind->bring(args, &plan, parts);
    }
    return true;
}

/* ---- the types above all rows
 * ------------------------------------------------------------ */

static const VdsDeviceType base_types[] = {
    VDS_TYPE_ABSTRACT("pci-device", "device"),
    VDS_TYPE_ABSTRACT("virtio-pci", "pci-device"),
    VDS_TYPE_ABSTRACT("virtio-device", "device"),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_base_class = {.types = base_types};
