/*
 * virtio: the room's error domain.
 */
#include "vds/virtio.h"

G_DEFINE_QUARK(vds - virtio - error - quark, vds_virtio_error)
