/*
 * vhost_user: its error domain.
 */
#include "vds/vhost_user.h"

VDS_DEFINE_QUARK(vds_vhost_user_error_quark, "vds-vhost-user-error")
