/*
 * guestmem: the room's error domain.
 */
#include "vds/guestmem.h"

G_DEFINE_QUARK(vds - guestmem - error - quark, vds_guestmem_error)
