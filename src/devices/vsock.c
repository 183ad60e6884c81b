/*
 * devices: vhost-vsock (virtio 1.2, 5.10): receive, transmit and event queue.  The other
 * ends are devices of this process and sockets of the host, not the kernel's vhost; what
 * is offered is what Linux's vhost-vsock leaves of it.
 */
#include "vsock-priv.h"

enum { WORD_OFF = 2, QUEUE_SIZE = 128, CONFIG_BYTES = 8 };

static const VdsProperty properties[] = {
    VDS_ROW_NUMBER("guest-cid", uint64, 0),
    VDS_ROW_UNSET("vhostfd", str),
    VDS_ROW_AUTO("seqpacket"),
    {.name = "uds-path",
     .type = &vds_property_str,
     .description = "socket for streams with the host; port P of the host is PATH_P",
     .unset = true},
    VDS_ROW_LINK("iothread", "iothread"),
    VDS_ROW_END,
};

static const VdsProperty pci_properties[] = {
    VDS_ROW_NUMBER("vectors", uint32, 3),
    VDS_ROW_END,
};

/* The request path; a CID is one device's. */
static bool equip(const VdsDeviceArgs *args, uint64_t cid, VdsKindPlan *to,
                  GError **error)
{
    const char *path = vds_property_set_get_text(args->properties, "uds-path");
    VdsVsockConfig config = {.cid = cid, .hub = vds_vsock_hub_get(args->host)};
    VdsVsock *vsock;

    config.port = vds_vsock_port_new(config.hub, cid);
    if (!config.port) {
        return vds_kind_refuse(error, "unable to set guest cid: Address already in use");
    }
    if (path) {
        config.host = vds_vsock_host_new(path, config.hub, config.port, error);
        if (!config.host) {
            vds_vsock_port_free(config.port);
            return false;
        }
    }
    vsock = vds_vsock_new(&config);
    to->ops = &vds_vsock_ops;
    to->instance = vsock;
    to->device = vds_vsock_device(vsock);
    for (unsigned i = 0; i < CONFIG_BYTES; i++) {
        to->config[i] = (uint8_t)(cid >> (8 * i));
    }
    to->config_len_bytes = CONFIG_BYTES;
    return true;
}

static bool plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    uint64_t cid = vds_property_set_get_uint(args->properties, "guest-cid");

    if (cid < VDS_VSOCK_FIRST_CID) {
        return vds_kind_refuse(error, "guest-cid property must be greater than 2");
    }
    if (cid >= UINT32_MAX) {
        return vds_kind_refuse(error, "guest-cid property must be a 32-bit number");
    }
    vds_features_set(&to->features, VDS_VSOCK_F_SEQPACKET,
                     vds_property_set_get_uint(args->properties, "seqpacket") !=
                         WORD_OFF);
    if (!vds_kind_is_served(args)) {
        vds_features_set(&to->features, VDS_F_RING_PACKED, false);
        vds_features_set(&to->features, VDS_F_RING_RESET, false);
    }
    vds_kind_add_queues(to, 3, QUEUE_SIZE);
    return equip(args, cid, to, error);
}

static bool get_dropped(void *instance, VdsProp *value)
{
    value->kind = VDS_PROP_INT;
    value->u.integer = (int64_t)vds_vsock_get_drops(instance);
    return true;
}

static const VdsDeviceReading readings[] = {
    {"dropped", "uint64", get_dropped, NULL},
    {NULL, NULL, NULL, NULL},
};

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

const VdsDeviceClass vds_vsock_class = {.types = types,
                                        .data = &kind,
                                        .realize = vds_kind_realize,
                                        .readings = readings,
                                        .category = VDS_CATEGORY_MISC};
