/*
 * vring: the room's error domain.
 */
#include "vds/vring.h"

VDS_DEFINE_QUARK(vds_vring_error_quark, "vds-vring-error-quark")
