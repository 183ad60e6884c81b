/*
 * vhost_user: one connected socket, for the files of this room.
 */
#pragma once

#include "vhost_user-priv.h"

typedef struct VdsVhostUserLink VdsVhostUserLink;

/* Both on the main loop; the link may be freed in either. */
typedef struct {
    /* What is left of the message is closed afterwards.  false closes the link. */
    bool (*message)(void *user, VdsVhostUserMessage *message, GError **error);
    /* The peer is gone, or was wrong (why is set); the link is to be freed. */
    void (*closed)(void *user, const GError *why);
} VdsVhostUserLinkOps;

/* fd is (transfer full).  `replies`: what comes in answers what was sent. */
VdsVhostUserLink *vds_vhost_user_link_new(GMainContext *context, int fd,
                                          VdsVhostUserChannel channel, bool replies,
                                          const VdsVhostUserLinkOps *ops, void *user);
/* For files that the peer sends: not owned, and lives as long as the link. */
void vds_vhost_user_link_set_closer(VdsVhostUserLink *link, VdsCloser *closer);
void vds_vhost_user_link_free(VdsVhostUserLink *link); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsVhostUserLink, vds_vhost_user_link_free)
/* Takes the message's descriptors, also on error; kept until the peer reads. */
bool vds_vhost_user_link_send(VdsVhostUserLink *link, VdsVhostUserMessage *message,
                              GError **error);
unsigned vds_vhost_user_link_get_pending(const VdsVhostUserLink *link); /* messages */
/* The peer closed its end; `closed` follows when all that it sent before was read. */
bool vds_vhost_user_link_is_hung_up(const VdsVhostUserLink *link);
/* Messages stay in the socket. */
void vds_vhost_user_link_set_paused(VdsVhostUserLink *link, bool paused);
