/*
 * machine: what devices tell on their threads, brought to the main loop.
 */
#include "machine-priv.h"

typedef struct {
    VdsMachine *machine;
    uint32_t pages;
} BalloonNews;

static void tell_balloon(void *user)
{
    BalloonNews *news = user;
    const VdsMachineListener *listener = &news->machine->listener;

    if (listener->balloon_changed) {
        listener->balloon_changed(listener->user, news->pages);
    }
    g_free(news);
}

void vds_news_balloon_changed(void *machine, uint32_t pages)
{
    VdsMailbox *mailbox = ((VdsMachine *)machine)->mailbox;
    BalloonNews *news;

    if (mailbox) {
        news = g_new(BalloonNews, 1);
        *news = (BalloonNews){machine, pages};
        vds_mailbox_post(mailbox, tell_balloon, news);
    }
}

VdsMailbox *vds_machine_open_mailbox(VdsMachine *machine, GError **error)
{
    if (!machine->mailbox) {
        machine->mailbox = vds_mailbox_new(error);
    }
    return machine->mailbox;
}
