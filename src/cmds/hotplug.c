/*
 * cmds: the parts that devices are wired to, added and taken away while the machine is
 * there; and descriptors that come with a request.
 */
#include <string.h>

#include "cmds-priv.h"

static bool refuse_value(GError **error, const char *format, const char *name)
    G_GNUC_PRINTF(2, 0);

/* The name goes where the format has its one "%.*s". */
static bool refuse_value(GError **error, const char *format, const char *name)
{
    g_autofree char *text = g_strdup_printf(format, vds_name_len(name), name);

    g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE, text);
    return false;
}

static bool is_id(const char *id, GError **error)
{
    if (!vds_id_is_well_formed(id)) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                            "Parameter 'id' expects an identifier");
        return false;
    }
    return true;
}

static bool add(const VdsCmds *cmds, const char *kind, const VdsProps *props,
                GError **error)
{
    if (!props) {
        g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                    "the properties of this %s are too many or too long", kind);
        return false;
    }
    return vds_machine_backend_plug(cmds->machine, kind, props, error);
}

/* ---- networks ---------------------------------------------------------------------- */

bool qmp_netdev_add(VdsCmds *ctx, VdsArena *arena, const QapiNetdev *arg, GError **error)
{
    g_autoptr(VdsProps) props = vds_cmds_to_props(&qapi_type_Netdev, arg);

    if (!is_id(arg->id, error)) {
        return false;
    }
    if (vds_machine_has_backend(ctx->machine, "netdev", arg->id)) {
        return refuse_value(error, "Duplicate ID '%.*s'", arg->id);
    }
    return add(ctx, "netdev", props, error);
}

bool qmp_netdev_del(VdsCmds *ctx, VdsArena *arena, const char *id, GError **error)
{
    return vds_machine_backend_del(ctx->machine, "netdev", id, error);
}

typedef struct {
    const char *netdev;
    char *user; /* (nullable) */
} UserSearch;

static void compare_netdev(const VdsBackendInfo *info, void *user)
{
    UserSearch *search = user;

    if (strcmp(info->id, search->netdev) == 0) {
        search->user = g_strdup(info->user);
    }
}

static bool try_link(VdsCmds *cmds, const char *path, bool up, GError **error)
{
    g_autofree char *word = g_strdup(up ? "on" : "off");
    VdsProp value = {.name = (char *)"up", .kind = VDS_PROP_STRING, .text = word};

    return vds_machine_qom_set(cmds->machine, path, "link-up", &value, error);
}

/* A device by its id, or the one that is wired to a netdev. */
bool qmp_set_link(VdsCmds *ctx, VdsArena *arena, const char *name, bool up,
                  GError **error)
{
    g_autofree char *path = g_strconcat("/machine/peripheral/", name, NULL);
    g_autofree char *user = NULL;
    g_autoptr(GError) failed = NULL;
    UserSearch search = {.netdev = name};

    if (try_link(ctx, path, up, &failed)) {
        return true;
    }
    vds_machine_foreach_backend(ctx->machine, "netdev", compare_netdev, &search);
    user = search.user;
    if (user) {
        return try_link(ctx, user, up, error);
    }
    if (g_error_matches(failed, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM)) {
        g_propagate_error(error, g_steal_pointer(&failed));
        return false;
    }
    g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_NO_DEVICE,
                "Device '%.*s' not found", vds_name_len(name), name);
    return false;
}

/* ---- block nodes ------------------------------------------------------------------- */

bool qmp_blockdev_add(VdsCmds *ctx, VdsArena *arena, const QapiBlockdevOptions *arg,
                      GError **error)
{
    g_autoptr(VdsProps) props = vds_cmds_to_props(&qapi_type_BlockdevOptions, arg);

    if (!arg->node_name) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                            "'node-name' must be specified for the root node");
        return false;
    }
    if (!vds_id_is_well_formed(arg->node_name)) {
        return refuse_value(error, "Invalid node-name: '%.*s'", arg->node_name);
    }
    return (!props || vds_machine_check_block_node(ctx->machine, props, error)) &&
           add(ctx, "blockdev", props, error);
}

bool qmp_blockdev_del(VdsCmds *ctx, VdsArena *arena, const char *node_name,
                      GError **error)
{
    return vds_machine_backend_del(ctx->machine, "blockdev", node_name, error);
}

/* ---- objects ----------------------------------------------------------------------- */

bool qmp_object_add(VdsCmds *ctx, VdsArena *arena, const QapiObjectOptions *arg,
                    GError **error)
{
    g_autoptr(VdsProps) props = vds_cmds_to_props(&qapi_type_ObjectOptions, arg);

    return is_id(arg->id, error) && add(ctx, "object", props, error);
}

bool qmp_object_del(VdsCmds *ctx, VdsArena *arena, const char *id, GError **error)
{
    return vds_machine_backend_del(ctx->machine, "object", id, error);
}

/* ---- character devices ------------------------------------------------------------- */

typedef struct {
    const char *label;
    bool found;
} MonitorSearch;

static void compare_label(const VdsProps *props, bool connected, void *user)
{
    MonitorSearch *search = user;

    search->found |= g_strcmp0(vds_props_get_string(props, "id"), search->label) == 0;
}

static bool is_monitors(const VdsCmds *cmds, const char *label)
{
    MonitorSearch search = {label, false};

    cmds->host->foreach_monitor(cmds->host->user, compare_label, &search);
    return search.found;
}

/* The words of the schema, and those of -chardev. */
static const struct {
    const char *member, *key;
} chardev_words[] = {
    {"type", "backend"},
    {"data.addr.data.path", "path"},
    {"data.addr.data.host", "host"},
    {"data.addr.data.port", "port"},
    {"data.addr.data.str", "fd"},
    {"data.server", "server"},
    {"data.wait", "wait"},
    {"data.reconnect", "reconnect"},
    {"data.out", "path"},
    {"data.append", "append"},
};

/* (transfer full) (nullable) */
static VdsProps *chardev_props(const char *id, const QapiChardevBackend *backend)
{
    g_autoptr(VdsProps) members = vds_cmds_to_props(&qapi_type_ChardevBackend, backend);
    VdsProps *props = members ? vds_props_new() : NULL;

    if (!props) {
        return NULL;
    }
    vds_props_set_string(props, "id", id);
    if (backend->type == QAPI_CHARDEV_BACKEND_TYPE_SOCKET) {
        vds_props_set_string(props, "server", "on"); /* the schema's default */
    }
    for (size_t i = 0; i < G_N_ELEMENTS(chardev_words); i++) {
        const VdsProp *prop = vds_props_find(members, chardev_words[i].member);

        if (prop) {
            vds_props_set_string(props, chardev_words[i].key, prop->text);
        }
    }
    return props;
}

/* Its other end has a name at once: the client is told.  The descriptor's name is one
 * that getfd refuses, so none of a client's is replaced. */
static bool make_pty(VdsCmds *cmds, VdsProps *props, VdsArena *arena, const char **path,
                     GError **error)
{
    static const char name[] = "0 of chardev-add";
    g_autofree char *far = NULL;

    if (!vds_machine_fd_put_pty(cmds->machine, name, &far, error)) {
        return false;
    }
    vds_props_set_string(props, "fd", name);
    vds_props_set_string(props, "pty", far);
    *path = vds_arena_strdup(arena, far);
    return true;
}

QapiChardevReturn *qmp_chardev_add(VdsCmds *ctx, VdsArena *arena, const char *id,
                                   const QapiChardevBackend *backend, GError **error)
{
    g_autoptr(VdsProps) props = chardev_props(id, backend);
    QapiChardevReturn *reply = vds_arena_alloc(arena, sizeof(*reply));
    bool is_pty = backend->type == QAPI_CHARDEV_BACKEND_TYPE_PTY;

    if (is_monitors(ctx, id) || vds_machine_has_backend(ctx->machine, "chardev", id)) {
        refuse_value(error, "Chardev with id '%.*s' already exists", id);
        return NULL;
    }
    if (!is_id(id, error)) {
        return NULL;
    }
    if ((is_pty && props && !make_pty(ctx, props, arena, &reply->pty, error)) ||
        !add(ctx, "chardev", props, error)) {
        g_prefix_error(error, "Failed to add chardev '%.*s': ", vds_name_len(id), id);
        return NULL;
    }
    return reply;
}

bool qmp_chardev_remove(VdsCmds *ctx, VdsArena *arena, const char *id, GError **error)
{
    if (is_monitors(ctx, id)) {
        return refuse_value(error, "Chardev '%.*s' is busy", id);
    }
    return vds_machine_backend_del(ctx->machine, "chardev", id, error);
}

/* ---- descriptors ------------------------------------------------------------------- */

bool qmp_getfd(VdsCmds *ctx, VdsArena *arena, const char *fdname, GError **error)
{
    int fd = ctx->host->take_fd(ctx->host->user);

    if (fd < 0) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                            "No file descriptor supplied via SCM_RIGHTS");
        return false;
    }
    if (g_ascii_isdigit(fdname[0])) {
        g_set_error_literal(
            error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
            "Parameter 'fdname' expects a name not starting with a digit");
        vds_machine_fd_discard(ctx->machine, fd);
        return false;
    }
    return vds_machine_fd_put(ctx->machine, fdname, fd, error);
}

bool qmp_closefd(VdsCmds *ctx, VdsArena *arena, const char *fdname, GError **error)
{
    return vds_machine_fd_close(ctx->machine, fdname, error);
}
