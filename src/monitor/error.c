/*
 * monitor: the room's error domain.
 */
#include "vds/monitor.h"

G_DEFINE_QUARK(vds - monitor - error - quark, vds_monitor_error)
