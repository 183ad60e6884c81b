/*
 * guestmem: the room's error domain.
 */
#include "vds/guestmem.h"

VDS_DEFINE_QUARK(vds_guestmem_error_quark, "vds-guestmem-error-quark")
