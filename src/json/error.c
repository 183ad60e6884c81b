/*
 * json: the room's error domain.
 */
#include "vds/json.h"

G_DEFINE_QUARK(vds - json - error - quark, vds_json_error)
