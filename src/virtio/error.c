/*
 * virtio: the room's error domain.
 */
#include "vds/virtio.h"

VDS_DEFINE_QUARK(vds_virtio_error_quark, "vds-virtio-error-quark")
