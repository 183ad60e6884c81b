/*
 * qmp: the room's error domain.
 */
#include "vds/qmp.h"

G_DEFINE_QUARK(vds - qmp - error - quark, vds_qmp_error)
