/*
 * cmds: character devices: those that devices are wired to, and the monitors' own.
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cmds-priv.h"

/* A character device and what is known of its two ends. */
typedef struct {
    VdsArena *arena;
    const VdsProps *props;
    const char *pty; /* (nullable) */
    bool connected;  /* somebody is at the other end */
} Chardev;

/* ---- where it leads, in QEMU's words ----------------------------------------------- */

static const char *text(const Chardev *chardev, const char *key)
{
    const VdsProp *prop = vds_props_find(chardev->props, key);

    return prop ? prop->text : "";
}

/* An inherited socket knows where it is bound.  (nullable) */
static const char *bound_path(const Chardev *chardev)
{
    const VdsProp *fd = vds_props_find(chardev->props, "fd");
    struct sockaddr_un address = {0};
    socklen_t len = sizeof(address) - 1; /* a NUL stays behind the longest path */
    uint64_t number;

    if (!fd || !vds_prop_get_uint(fd, 0, INT_MAX, &number, NULL) ||
        getsockname((int)number, (struct sockaddr *)&address, &len) != 0 ||
        address.sun_family != AF_UNIX) {
        return NULL;
    }
    return vds_arena_strdup(chardev->arena, address.sun_path);
}

static const char *socket_filename(const Chardev *chardev)
{
    const VdsProp *server = vds_props_find(chardev->props, "server");
    const char *path = vds_props_find(chardev->props, "path") ? text(chardev, "path")
                                                              : bound_path(chardev);
    const char *gone = chardev->connected ? "" : "disconnected:";
    bool serves = false;

    if (server) {
        vds_prop_get_bool(server, &serves, NULL);
    }
    if (path) {
        return vds_arena_printf(chardev->arena, "%sunix:%s%s", gone, path,
                                serves ? ",server=on" : "");
    }
    return vds_arena_printf(chardev->arena, "%stcp:%s:%s%s", gone, text(chardev, "host"),
                            text(chardev, "port"), serves ? ",server=on" : "");
}

static const char *pty_filename(const Chardev *chardev)
{
    return chardev->pty ? vds_arena_printf(chardev->arena, "pty:%s", chardev->pty)
                        : "pty";
}

static const char *filename(const Chardev *chardev)
{
    static const struct {
        const char *backend;
        const char *(*describe)(const Chardev *chardev);
    } kinds[] = {{"socket", socket_filename}, {"pty", pty_filename}};
    const char *backend = text(chardev, "backend");

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (strcmp(kinds[i].backend, backend) == 0) {
            return kinds[i].describe(chardev);
        }
    }
    return vds_arena_strdup(chardev->arena, backend); /* "null", "file", "stdio" */
}

/* ---- the command ------------------------------------------------------------------- */

typedef struct {
    VdsCollector list;
    const VdsCmds *cmds;
} Walk;

static void add(Walk *walk, const Chardev *chardev, bool frontend_open)
{
    QapiChardevInfo info = {
        .label = vds_arena_strdup(walk->list.arena, text(chardev, "id")),
        .filename = filename(chardev),
        .frontend_open = frontend_open,
    };

    g_array_append_val(walk->list.items, info);
}

static void add_monitor(const VdsProps *props, bool connected, void *user)
{
    Walk *walk = user;
    const Chardev chardev = {
        .arena = walk->list.arena, .props = props, .connected = connected};

    add(walk, &chardev, true);
}

/* What its user, a port, tells of it. */
static bool ask(const Walk *walk, const VdsBackendInfo *info, const char *property,
                VdsProp *value)
{
    return info->user &&
           vds_machine_qom_get(walk->cmds->machine, info->user, property, value, NULL);
}

static bool is_true(const Walk *walk, const VdsBackendInfo *info, const char *property)
{
    VdsProp value = {0};
    bool on = ask(walk, info, property, &value) && value.u.boolean;

    vds_prop_clear(&value);
    return on;
}

static void same_label(const VdsProps *props, bool connected, void *user)
{
    const char **label = user;

    if (*label && g_strcmp0(vds_props_get_string(props, "id"), *label) == 0) {
        *label = NULL;
    }
}

static void add_part(const VdsBackendInfo *info, void *user)
{
    Walk *walk = user;
    const VdsCmdsHost *host = walk->cmds->host;
    const char *label = info->id;
    Chardev chardev = {
        .arena = walk->list.arena,
        .props = info->props,
        .pty = vds_props_get_string(info->props, "pty"), /* made by chardev-add */
    };
    VdsProp pty = {0};

    host->foreach_monitor(host->user, same_label, &label);
    if (!label) {
        return; /* a monitor's: it has been told */
    }
    if (ask(walk, info, "pty", &pty)) {
        chardev.pty = vds_arena_strdup(walk->list.arena, pty.text);
    }
    chardev.connected = is_true(walk, info, "host-connected");
    add(walk, &chardev, is_true(walk, info, "guest-connected"));
    vds_prop_clear(&pty);
}

QapiChardevInfoList *qmp_query_chardev(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiChardevInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    Walk walk = {vds_collector_new(arena, sizeof(QapiChardevInfo)), ctx};

    ctx->host->foreach_monitor(ctx->host->user, add_monitor, &walk);
    vds_machine_foreach_backend(ctx->machine, "chardev", add_part, &walk);
    reply->items = vds_collector_finish(&walk.list, &reply->n);
    return reply;
}
