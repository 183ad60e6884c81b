/*
 * devices: the table of kinds.
 */
#include "kind-priv.h"

const VdsDeviceClass *const vds_device_classes[] = {
    &vds_base_class,       &vds_bridge_class,
    &vds_isa_serial_class, &vds_chip_class,
    &vds_net_class,        &vds_blk_class,
    &vds_scsi_class,       &vds_scsi_disk_class,
    &vds_serial_class,     &vds_serial_port_class,
    &vds_rng_class,        &vds_balloon_class,
    &vds_9p_class,         &vds_gpu_class,
    &vds_input_class,      &vds_crypto_class,
    &vds_iommu_class,      &vds_mem_class,
    &vds_pmem_class,       &vds_vsock_class,
    &vds_generic_class,    NULL,
};
