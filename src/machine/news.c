/*
 * machine: what devices tell on their threads, brought to the main loop.
 */
#include "machine-priv.h"

typedef struct {
    VdsMachine *machine;
    uint32_t pages; /* a balloon's */
    char *id;       /* a port's */
    bool open;
} News;

static void tell_balloon(const VdsMachineListener *listener, const News *news)
{
    if (listener->balloon_changed) {
        listener->balloon_changed(listener->user, news->pages);
    }
}

static void tell_port(const VdsMachineListener *listener, const News *news)
{
    if (listener->port_changed) {
        listener->port_changed(listener->user, news->id, news->open);
    }
}

static void tell(void *user)
{
    News *news = user;
    const VdsMachineListener *listener = &news->machine->listener;

    if (news->id) {
        tell_port(listener, news);
    } else {
        tell_balloon(listener, news);
    }
    g_free(news->id);
    g_free(news);
}

static void post(const News *news)
{
    VdsMailbox *mailbox = news->machine->mailbox;

    if (mailbox) {
        vds_mailbox_post(mailbox, tell, g_memdup2(news, sizeof(*news)));
    } else {
        g_free(news->id);
    }
}

void vds_news_balloon_changed(void *machine, uint32_t pages)
{
    post(&(News){.machine = machine, .pages = pages});
}

void vds_news_port_changed(void *machine, const char *id, bool open)
{
    post(&(News){.machine = machine, .id = g_strdup(id), .open = open});
}

VdsMailbox *vds_machine_open_mailbox(VdsMachine *machine, GError **error)
{
    if (!machine->mailbox) {
        machine->mailbox = vds_mailbox_new(error);
    }
    return machine->mailbox;
}
