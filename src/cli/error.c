/*
 * cli: the room's error domain.
 */
#include "vds/cli.h"

G_DEFINE_QUARK(vds - cli - error - quark, vds_cli_error)
