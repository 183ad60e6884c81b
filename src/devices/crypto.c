/*
 * devices: virtio-crypto (virtio 1.2, 5.9): data queues, as many as its backend has, and
 * the control queue.
 */
#include "kind-priv.h"

enum { MAX_DATA_QUEUES = 64 };

static const VdsProperty properties[] = {
    VDS_ROW_LINK("cryptodev", "cryptodev-backend"),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const char *id;
    const VdsProp *queues;
    uint64_t n = 1;

    if (!vds_property_set_get_text(args->properties, "cryptodev")) {
        return vds_kind_refuse(error, "'cryptodev' parameter expects a valid object");
    }
    if (!vds_kind_claim_link(args, "cryptodev", &id)) {
        return vds_kind_refuse(error, "can't use already used cryptodev backend: %.*s",
                               vds_name_len(id), id);
    }
    queues = vds_props_find(args->host->find_backend(args->host, "object", id), "queues");
    if (queues && !vds_prop_get_uint(queues, 1, MAX_DATA_QUEUES, &n, error)) {
        return false;
    }
    vds_kind_add_queues(to, (unsigned)n + 1, 1024);
    return true;
}

static const VdsKind kind = {.device_id = 20, .modern = true, .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_PCI("virtio-crypto", "virtio-crypto-pci-base-type", "virtio-pci", NULL,
                  "virtio-crypto-device", tables, vds_pci_two_properties),
    VDS_TYPE_DEVICE("virtio-crypto-device", "virtio-device", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_crypto_class = {.types = types,
                                         .data = &kind,
                                         .realize = vds_kind_realize,
                                         .category = VDS_CATEGORY_MISC};
