/*
 * devices: vhost-vsock (virtio 1.2, 5.10): receive, transmit and event queue.  Its kernel
 * side is not opened; what is offered is what Linux's vhost-vsock leaves of it.
 */
#include "kind-priv.h"

enum { F_SEQPACKET = 1, WORD_OFF = 2, FIRST_CID = 3, QUEUE_SIZE = 128 };

static const VdsProperty properties[] = {
    VDS_ROW_NUMBER("guest-cid", uint64, 0),
    VDS_ROW_UNSET("vhostfd", str),
    VDS_ROW_AUTO("seqpacket"),
    VDS_ROW_END,
};

static const VdsProperty pci_properties[] = {
    VDS_ROW_NUMBER("vectors", uint32, 3),
    VDS_ROW_END,
};

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    uint64_t cid = vds_property_set_get_uint(args->properties, "guest-cid");

    if (cid < FIRST_CID) {
        return vds_kind_refuse(error, "guest-cid property must be greater than 2");
    }
    if (cid > UINT32_MAX) {
        return vds_kind_refuse(error, "guest-cid property must be a 32-bit number");
    }
    vds_features_set(&to->features, F_SEQPACKET,
                     vds_property_set_get_uint(args->properties, "seqpacket") !=
                         WORD_OFF);
    vds_features_set(&to->features, VDS_F_RING_PACKED, false);
    vds_features_set(&to->features, VDS_F_RING_RESET, false);
    vds_kind_add_queues(to, 3, QUEUE_SIZE);
    return true;
}

static const VdsKind kind = {.device_id = 19, .modern = true, .plan = plan};

static const VdsProperty *const tables[] = {vds_virtio_properties, properties, NULL};

static const VdsDeviceType types[] = {
    VDS_TYPES_PCI("vhost-vsock", "vhost-vsock-pci-base", "virtio-pci", NULL,
                  "vhost-vsock-device", tables, pci_properties),
    VDS_TYPE_PCI_FIXED("vhost-vsock-pci-non-transitional", "vhost-vsock-pci-base",
                       "vhost-vsock-device", tables, non_transitional, pci_properties),
    VDS_TYPE_ABSTRACT("vhost-vsock-common", "virtio-device"),
    VDS_TYPE_DEVICE("vhost-vsock-device", "vhost-vsock-common", tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_vsock_class = {types, &kind, vds_kind_realize, NULL, NULL};
