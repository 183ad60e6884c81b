/*
 * machine: the room's error domain.
 */
#include "vds/machine.h"

G_DEFINE_QUARK(vds - machine - error - quark, vds_machine_error)
