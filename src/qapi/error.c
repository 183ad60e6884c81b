/*
 * qapi: the room's error domain.
 */
#include "vds/qapi.h"

G_DEFINE_QUARK(vds - qapi - error - quark, vds_qapi_error)
