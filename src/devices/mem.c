/*
 * devices: virtio-mem (virtio 1.2, 5.15) and virtio-pmem (5.19): memory as a device, one
 * queue each.
 */
#include "kind-priv.h"

static const VdsProperty pci_none[] = {VDS_ROW_END};

/* ---- virtio-mem -----------------------------------------------------------------------
 */

enum { F_ACPI_PXM = 0, F_UNPLUGGED_INACCESSIBLE = 1, WORD_ON = 1 };

/* What QEMU 7.2 takes on x86 for memory of ordinary pages. */
static const uint64_t default_block = 2 << 20, least_block = 1 << 20;

static const VdsProperty mem_properties[] = {
    VDS_ROW_NUMBER("memaddr", uint64, 0),
    VDS_ROW_NUMBER("node", uint32, 0),
    VDS_ROW_BOOL("prealloc", false),
    VDS_ROW_LINK("memdev", "memory-backend"),
    VDS_ROW_AUTO("unplugged-inaccessible"),
    VDS_ROW_BOOL("dynamic-memslots", false),
    VDS_ROW_UNSET("block-size", size),
    VDS_ROW_UNSET("requested-size", size),
    VDS_ROW_END,
};

static bool sizes_check(const VdsPropertySet *set, GError **error)
{
    uint64_t requested = vds_property_set_get_uint(set, "requested-size");
    uint64_t block = vds_property_set_get_uint(set, "block-size");
    bool given = vds_property_set_has(set, "block-size");

    if (given && block < least_block) {
        return vds_kind_refuse(
            error, "'block-size' property has to be at least 0x%" PRIx64, least_block);
    }
    if (given && (block & (block - 1)) != 0) {
        return vds_kind_refuse(error, "'block-size' property has to be a power of two");
    }
    block = given ? block : default_block;
    if (requested % block != 0) {
        return vds_kind_refuse(error,
                               "'requested-size' property has to be multiples of "
                               "'block-size' (0x%" PRIx64 ")",
                               block);
    }
    return true;
}

static bool mem_plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const VdsPropertySet *set = args->properties;
    uint64_t node = vds_property_set_get_uint(set, "node");
    const char *id;

    if (!vds_property_set_get_text(set, "memdev")) {
        return vds_kind_refuse(error, "'memdev' property must be set");
    }
    if (!vds_kind_claim_link(args, "memdev", &id)) {
        return vds_kind_refuse(error, "'memdev' property specifies a busy memdev: %.*s",
                               vds_name_len(id), id);
    }
    if (node != 0) {
        return vds_kind_refuse(error,
                               "'node' property has value '%u', which exceeds the number "
                               "of numa nodes: 1",
                               (unsigned)node);
    }
    if (!sizes_check(set, error)) {
        return false;
    }
    vds_features_set(&to->features, F_UNPLUGGED_INACCESSIBLE,
                     vds_property_set_get_uint(set, "unplugged-inaccessible") == WORD_ON);
    vds_kind_add_queues(to, 1, 128);
    return true;
}

static const VdsKind mem_kind = {
    .device_id = 24, .modern = true, .features = 1 << F_ACPI_PXM, .plan = mem_plan};

static const VdsProperty *const mem_tables[] = {vds_virtio_properties, mem_properties,
                                                NULL};

static const VdsDeviceType mem_types[] = {
    VDS_TYPES_PCI("virtio-mem", "virtio-mem-pci-base", "virtio-pci", NULL, "virtio-mem",
                  mem_tables, pci_none),
    VDS_TYPE_DEVICE("virtio-mem", "virtio-device", mem_tables),
    VDS_TYPE_END,
};

const VdsDeviceClass vds_mem_class = {.types = mem_types,
                                      .data = &mem_kind,
                                      .realize = vds_kind_realize,
                                      .category = VDS_CATEGORY_MISC};

/* ---- virtio-pmem ----------------------------------------------------------------------
 */

static const VdsProperty pmem_properties[] = {
    VDS_ROW_NUMBER("memaddr", uint64, 0),
    VDS_ROW_LINK("memdev", "memory-backend"),
    VDS_ROW_END,
};

static bool pmem_plan(const VdsDeviceArgs *args, VdsKindPlan *to, GError **error)
{
    const char *id;

    if (!vds_property_set_get_text(args->properties, "memdev")) {
        return vds_kind_refuse(error, "'memdev' property must be set");
    }
    if (!vds_kind_claim_link(args, "memdev", &id)) {
        return vds_kind_refuse(error, "can't use already busy memdev: %.*s",
                               vds_name_len(id), id);
    }
    vds_kind_add_queues(to, 1, 128);
    return true;
}

static const VdsKind pmem_kind = {.device_id = 27, .modern = true, .plan = pmem_plan};

static const VdsProperty *const pmem_tables[] = {vds_virtio_properties, pmem_properties,
                                                 NULL};

static const VdsDeviceType pmem_types[] = {
    VDS_TYPES_PCI("virtio-pmem", "virtio-pmem-pci-base", "virtio-pci", NULL,
                  "virtio-pmem", pmem_tables, pci_none),
    {.name = "virtio-pmem",
     .parent = "virtio-device",
     .bus_type = "virtio-bus",
     .own = pmem_tables,
     .form = &vds_form_mmio,
     .category = VDS_CATEGORY_STORAGE}, /* the PCI device has none of its own in QEMU */
    VDS_TYPE_END,
};

const VdsDeviceClass vds_pmem_class = {.types = pmem_types,
                                       .data = &pmem_kind,
                                       .realize = vds_kind_realize,
                                       .category = VDS_CATEGORY_MISC};
