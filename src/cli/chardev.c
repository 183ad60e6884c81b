/*
 * cli: character devices, from their property set and from QEMU's short form of an
 * address.  Opens nothing: a path or a descriptor number is only carried.
 */
#include <string.h>

#include "cli-priv.h"

void vds_cli_chardev_free(void *data)
{
    VdsChardev *chardev = data;

    if (chardev) {
        g_free(chardev->id);
        g_free(chardev->path);
        g_free(chardev->host);
        g_free(chardev->port);
        g_free(chardev->origin);
        vds_props_free(chardev->props);
        g_free(chardev);
    }
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsChardev, vds_cli_chardev_free)

/* ---- keys -------------------------------------------------------------------------- */

/* QEMU's keys.  Those of kinds and transports that are not here may only be given as
 * what they are without: a client must not believe in TLS that is not there. */
static const struct {
    const char *name;
    const char *neutral; /* (nullable) the only value taken; NULL: any */
} chardev_keys[] = {
    {"backend", NULL},   {"id", NULL},      {"path", NULL},    {"host", NULL},
    {"port", NULL},      {"fd", NULL},      {"server", NULL},  {"wait", NULL},
    {"ipv4", NULL},      {"ipv6", NULL},    {"delay", NULL},   {"reconnect", NULL},
    {"append", NULL},    {"mux", NULL},     {"signal", NULL},  {"logfile", NULL},
    {"logappend", NULL}, {"telnet", "off"}, {"tn3270", "off"}, {"websocket", "off"},
    {"abstract", "off"}, {"tight", "on"},
};

static bool key_check(const VdsProp *prop, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(chardev_keys); i++) {
        const char *neutral = chardev_keys[i].neutral;
        bool value;

        if (strcmp(prop->name, chardev_keys[i].name) != 0) {
            continue;
        }
        if (!neutral) {
            return true;
        }
        if (!vds_prop_get_bool(prop, &value, error)) {
            return false;
        }
        if (value == (strcmp(neutral, "on") == 0)) {
            return true;
        }
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "Parameter '%s' can only be '%s' here", prop->name, neutral);
        return false;
    }
    g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE, "Invalid parameter '%.*s'",
                vds_name_len(prop->name), prop->name);
    return false;
}

static bool keys_check(const VdsProps *props, GError **error)
{
    for (unsigned i = 0; i < vds_props_count(props); i++) {
        if (!key_check(vds_props_nth(props, i), error)) {
            return false;
        }
    }
    return true;
}

/* The text of a value of any kind: a port may be a JSON number.  (nullable) */
static const char *text_of(const VdsProps *props, const char *key)
{
    const VdsProp *prop = vds_props_find(props, key);

    return prop ? prop->text : NULL;
}

/* ---- kinds ------------------------------------------------------------------------- */

static bool missing(const char *what, GError **error)
{
    g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_MISSING, "chardev: %s", what);
    return false;
}

static bool socket_unix(VdsChardev *chardev, GError **error)
{
    chardev->kind = VDS_CHARDEV_SOCKET_UNIX;
    chardev->path = g_strdup(text_of(chardev->props, "path"));
    return chardev->path[0] != '\0' || missing("socket: no path given", error);
}

static bool socket_tcp(VdsChardev *chardev, GError **error)
{
    chardev->kind = VDS_CHARDEV_SOCKET_TCP;
    chardev->host = g_strdup(text_of(chardev->props, "host"));
    chardev->port = g_strdup(text_of(chardev->props, "port"));
    return chardev->port != NULL || missing("socket: no port given", error);
}

static bool socket_fd(VdsChardev *chardev, GError **error)
{
    uint64_t number;

    chardev->kind = VDS_CHARDEV_SOCKET_FD;
    if (!vds_prop_get_uint(vds_props_find(chardev->props, "fd"), 0, INT_MAX, &number,
                           error)) {
        return false;
    }
    chardev->fd = (int)number;
    return true;
}

static const struct {
    const char *key;
    bool (*parse)(VdsChardev *chardev, GError **error);
} socket_addresses[] = {{"path", socket_unix}, {"host", socket_tcp}, {"fd", socket_fd}};

static bool socket_server(VdsChardev *chardev, GError **error)
{
    bool waits = vds_props_find(chardev->props, "wait") != NULL;

    if (!vds_cli_get_bool(chardev->props, "server", &chardev->server, error)) {
        return false;
    }
    if (waits && !chardev->server) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "'wait' option is incompatible with socket in client connect mode");
        return false;
    }
    chardev->wait = chardev->server;
    return vds_cli_get_bool(chardev->props, "wait", &chardev->wait, error);
}

static bool chardev_socket(VdsChardev *chardev, GError **error)
{
    bool (*parse)(VdsChardev *, GError **) = NULL;
    unsigned n = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(socket_addresses); i++) {
        if (vds_props_find(chardev->props, socket_addresses[i].key)) {
            parse = socket_addresses[i].parse;
            n++;
        }
    }
    if (n != 1) {
        g_set_error(error, VDS_CLI_ERROR,
                    n == 0 ? VDS_CLI_ERROR_MISSING : VDS_CLI_ERROR_VALUE,
                    "one of 'path', 'host' and 'fd' is needed, found %u", n);
        return false;
    }
    return parse(chardev, error) && socket_server(chardev, error);
}

static bool chardev_file(VdsChardev *chardev, GError **error)
{
    chardev->path = g_strdup(text_of(chardev->props, "path"));
    return (chardev->path && chardev->path[0]) ||
           missing("file: no filename given", error);
}

static const struct {
    const char *name;
    VdsChardevKind kind;
    bool (*parse)(VdsChardev *chardev, GError **error); /* NULL: nothing but the id */
} chardev_kinds[] = {
    {"socket", VDS_CHARDEV_SOCKET_UNIX, chardev_socket},
    {"file", VDS_CHARDEV_FILE, chardev_file},
    {"stdio", VDS_CHARDEV_STDIO, NULL},
    {"pty", VDS_CHARDEV_PTY, NULL},
    {"null", VDS_CHARDEV_NULL, NULL},
};

static bool kind_parse(VdsChardev *chardev, GError **error)
{
    const char *backend = text_of(chardev->props, "backend");

    if (!backend) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_MISSING,
                    "chardev: \"%s\" missing backend", chardev->id);
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(chardev_kinds); i++) {
        if (strcmp(backend, chardev_kinds[i].name) == 0) {
            chardev->kind = chardev_kinds[i].kind;
            return !chardev_kinds[i].parse || chardev_kinds[i].parse(chardev, error);
        }
    }
    g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                "'%.*s' is not a valid char driver name", vds_name_len(backend), backend);
    return false;
}

/* ---- the list ---------------------------------------------------------------------- */

const VdsChardev *vds_cli_chardev_find(const VdsOptions *options, const char *id)
{
    for (unsigned i = 0; i < options->chardevs->len; i++) {
        const VdsChardev *chardev = g_ptr_array_index(options->chardevs, i);

        if (strcmp(chardev->id, id) == 0) {
            return chardev;
        }
    }
    return NULL;
}

/* Standard input and output are one stream, and a daemon has none. */
static bool stdio_check(const VdsOptions *options, GError **error)
{
    for (unsigned i = 0; i < options->chardevs->len; i++) {
        const VdsChardev *chardev = g_ptr_array_index(options->chardevs, i);

        if (chardev->kind == VDS_CHARDEV_STDIO) {
            g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                        "cannot use stdio by multiple character devices");
            return false;
        }
    }
    return true;
}

const VdsChardev *vds_cli_chardev_add(VdsCliParse *parse, VdsProps *props, GError **error)
{
    g_autoptr(VdsChardev) chardev = g_new0(VdsChardev, 1);

    chardev->props = props;
    chardev->fd = -1;
    chardev->origin = g_strdup(parse->origin);
    chardev->id = g_strdup(vds_props_get_string(props, "id"));
    if (!chardev->id) {
        missing("no id specified", error);
        return NULL;
    }
    if (vds_cli_chardev_find(parse->options, chardev->id)) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "Duplicate ID '%.*s' for chardev", vds_name_len(chardev->id),
                    chardev->id);
        return NULL;
    }
    if (!keys_check(props, error) ||
        !vds_cli_fdset_resolve(parse->options, props, "path", error) ||
        !vds_cli_fdset_resolve(parse->options, props, "logfile", error) ||
        !kind_parse(chardev, error) ||
        (chardev->kind == VDS_CHARDEV_STDIO && !stdio_check(parse->options, error))) {
        return NULL;
    }
    g_ptr_array_add(parse->options->chardevs, chardev);
    return g_steal_pointer(&chardev);
}

/* ---- the short form ---------------------------------------------------------------- */

static VdsProps *short_plain(const char *rest, GError **error)
{
    return vds_props_new();
}

static VdsProps *short_file(const char *rest, GError **error)
{
    VdsProps *props = vds_props_new();

    vds_props_set_string(props, "path", rest); /* all of it, commas too */
    return props;
}

static VdsProps *short_unix(const char *rest, GError **error)
{
    return vds_keyval_parse(rest, "path", error);
}

/* HOST:PORT[,key=value...]; the host may be empty, and is in brackets if it holds
 * colons. */
static VdsProps *short_tcp(const char *rest, GError **error)
{
    bool bracketed = rest[0] == '[';
    size_t host_len = strcspn(rest, bracketed ? "]," : ":,");
    const char *colon = rest + host_len + (bracketed && rest[host_len] == ']' ? 1 : 0);
    size_t port_len = colon[0] == ':' ? strcspn(colon + 1, ",") : 0;
    g_autofree char *host =
        bracketed ? g_strndup(rest + 1, host_len - 1) : g_strndup(rest, host_len);
    g_autofree char *port = NULL;
    const char *more;
    VdsProps *props;

    if (port_len == 0) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_SYNTAX, "parse error: tcp:%.*s",
                    vds_name_len(rest), rest);
        return NULL;
    }
    port = g_strndup(colon + 1, port_len);
    more = colon + 1 + port_len;
    props = vds_keyval_parse(more + (more[0] == ',' ? 1 : 0), NULL, error);
    if (props) {
        vds_props_set_string(props, "host", host);
        vds_props_set_string(props, "port", port);
    }
    return props;
}

static const struct {
    const char *prefix; /* all of the address, unless it ends in ":" */
    const char *backend;
    VdsProps *(*parse)(const char *rest, GError **error);
} short_forms[] = {
    {"null", "null", short_plain},   {"stdio", "stdio", short_plain},
    {"pty", "pty", short_plain},     {"file:", "file", short_file},
    {"unix:", "socket", short_unix}, {"tcp:", "socket", short_tcp},
};

VdsProps *vds_cli_chardev_short(const char *address, const char *id, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(short_forms); i++) {
        const char *prefix = short_forms[i].prefix;
        size_t len = strlen(prefix);
        VdsProps *props;

        if (strncmp(address, prefix, len) != 0 ||
            (prefix[len - 1] != ':' && address[len] != '\0')) {
            continue;
        }
        props = short_forms[i].parse(address + len, error);
        if (props) {
            vds_props_set_string(props, "backend", short_forms[i].backend);
            vds_props_set_string(props, "id", id);
        }
        return props;
    }
    g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_SYNTAX,
                "'%.*s' is not a valid char driver", vds_name_len(address), address);
    return NULL;
}
