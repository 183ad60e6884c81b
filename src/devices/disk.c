/*
 * devices: the properties of whatever is wired to a disk, virtio-blk and SCSI disks
 * alike.
 */
#include "kind-priv.h"

const VdsProperty vds_disk_properties[] = {
    {.name = "drive",
     .type = &vds_property_backend,
     .description = "node name or id of the disk it is wired to",
     .unset = true,
     .backend = "blockdev",
     .exclusive = true},
    VDS_ROW_AUTO("backend_defaults"),
    VDS_ROW_NUMBER("logical_block_size", size, 0),
    VDS_ROW_NUMBER("physical_block_size", size, 0),
    VDS_ROW_NUMBER("min_io_size", size, 0),
    VDS_ROW_NUMBER("opt_io_size", size, 0),
    VDS_ROW_NUMBER("discard_granularity", size, UINT32_MAX),
    VDS_ROW_AUTO("write-cache"),
    VDS_ROW_BOOL("share-rw", false),
    VDS_ROW_AUTO("account-invalid"),
    VDS_ROW_AUTO("account-failed"),
    VDS_ROW_NUMBER("rerror", on_error, VDS_ON_ERROR_AUTO),
    VDS_ROW_NUMBER("werror", on_error, VDS_ON_ERROR_AUTO),
    VDS_ROW_END,
};

const VdsProperty vds_disk_geometry[] = {
    VDS_ROW_NUMBER("cyls", uint32, 0),
    VDS_ROW_NUMBER("heads", uint32, 0),
    VDS_ROW_NUMBER("secs", uint32, 0),
    VDS_ROW_NUMBER("lcyls", uint32, 0),
    VDS_ROW_NUMBER("lheads", uint32, 0),
    VDS_ROW_NUMBER("lsecs", uint32, 0),
    VDS_ROW_END,
};
