/*
 * cmds: what happens to devices and their front-ends, as events; throttled, since a guest
 * or a front-end causes them.
 */
#include "cmds-priv.h"

typedef struct {
    char *id; /* (nullable) */
    char *path;
    char *text;   /* (nullable) why */
    char *socket; /* (nullable) */
    int queue;
    bool served;
    uint64_t connection;
    bool connected;
} DeviceNews;

static void device_news_free(void *data)
{
    DeviceNews *news = data;

    g_free(news->id);
    g_free(news->path);
    g_free(news->text);
    g_free(news->socket);
    g_free(news);
}

static void emit_fault(VdsCmds *cmds, const void *data)
{
    const DeviceNews *news = data;

    qapi_event_virtqueue_error(cmds->sink, news->id, news->path, news->queue,
                               news->served ? QAPI_VIRTQUEUE_ERROR_VHOST_VRING_ERROR
                                            : QAPI_VIRTQUEUE_ERROR_VRING_ERROR,
                               news->text);
}

void vds_cmds_emit_fault(VdsCmds *cmds, const VdsMachineFault *fault, bool served)
{
    g_autofree char *key = g_strconcat("fault ", fault->path, NULL);
    DeviceNews *news = g_new0(DeviceNews, 1);

    *news = (DeviceNews){
        .id = g_strdup(fault->id),
        .path = g_strdup(fault->path),
        .text = g_strdup(fault->fault->reason),
        .queue = fault->fault->queue,
        .served = served,
    };
    vds_throttle_emit(cmds, key, (VdsThrottled){emit_fault, news, device_news_free});
}

static void emit_front_end(VdsCmds *cmds, const void *data)
{
    const DeviceNews *news = data;

    if (news->connected) {
        qapi_event_vhost_user_connected(cmds->sink, news->id, news->path, news->socket,
                                        news->connection);
    } else {
        qapi_event_vhost_user_disconnected(cmds->sink, news->id, news->path, news->socket,
                                           news->connection, news->text);
    }
}

/* Both events of a device share a key: what a client hears last is how it is. */
void vds_cmds_emit_front_end(VdsCmds *cmds, const VdsCmdsFrontEnd *front_end)
{
    g_autofree char *key = g_strconcat("front-end ", front_end->path, NULL);
    DeviceNews *news = g_new0(DeviceNews, 1);

    *news = (DeviceNews){
        .id = g_strdup(front_end->id),
        .path = g_strdup(front_end->path),
        .text = g_strdup(front_end->reason),
        .socket = g_strdup(front_end->socket),
        .connection = front_end->connection,
        .connected = front_end->connected,
    };
    vds_throttle_emit(cmds, key, (VdsThrottled){emit_front_end, news, device_news_free});
}
