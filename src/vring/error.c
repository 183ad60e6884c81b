/*
 * vring: the room's error domain.
 */
#include "vds/vring.h"

G_DEFINE_QUARK(vds - vring - error - quark, vds_vring_error)
