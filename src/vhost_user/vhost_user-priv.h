/*
 * vhost_user: what the files of this room share.
 */
#pragma once

#include "vds/vhost_user.h"

/* An error of this room's domain that begins with the name of the message; false. */
bool vds_vhost_user_fail(GError **error, VdsVhostUserError code, const char *rule,
                         const char *name, const char *format, ...) G_GNUC_PRINTF(5, 6);

/* message.c: what a header alone says, before there is a payload. */
bool vds_vhost_user_check_header(VdsVhostUserChannel channel, bool reply,
                                 const VdsVhostUserMessage *message, GError **error);
