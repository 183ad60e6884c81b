/*
 * cmds: latency histograms of disks, between the schema's lists and the text of a disk's
 * property "latency-histograms".
 */
#include <string.h>

#include "cmds-priv.h"

static const char property[] = "latency-histograms";

/* ---- set ------------------------------------------------------------------- */

/* What a client names: an id, or a path with or without its virtio device. */
static char *disk_path(const char *id)
{
    const char *end = g_str_has_suffix(id, "/virtio-backend") ? strrchr(id, '/') : NULL;
    g_autofree char *named = end ? g_strndup(id, (gsize)(end - id)) : g_strdup(id);

    return *named == '/' ? g_steal_pointer(&named)
                         : g_strconcat("/machine/peripheral/", named, NULL);
}

typedef struct {
    const char *path;
    bool found;
} Search;

static void compare_user(const VdsBlockNode *node, void *user)
{
    Search *search = user;

    search->found = search->found || g_strcmp0(node->user, search->path) == 0;
}

static bool find_disk(VdsCmds *ctx, const char *path, const char *id, GError **error)
{
    Search search = {path, false};
    VdsProp type = {0};
    bool exists;

    vds_machine_foreach_block_node(ctx->machine, compare_user, &search);
    if (search.found) {
        return true;
    }
    exists = vds_machine_qom_get(ctx->machine, path, "type", &type, NULL);
    vds_prop_clear(&type);
    g_set_error(error, VDS_CMDS_ERROR,
                exists ? VDS_CMDS_ERROR_VALUE : VDS_CMDS_ERROR_NO_DEVICE,
                exists ? "Device '%.*s' has no disk" : "Device '%.*s' not found",
                vds_name_len(id), id);
    return false;
}

/* "rd=10,50"; a list that is not given changes nothing. */
static void append_kind(GString *text, const char *kind, const QapiUint64List *list)
{
    if (!list) {
        return;
    }
    g_string_append_printf(text, "%s%s=", text->len > 0 ? ";" : "", kind);
    for (size_t i = 0; i < list->n; i++) {
        g_string_append_printf(text, "%s%" PRIu64, i > 0 ? "," : "", list->items[i]);
    }
}

bool qmp_block_latency_histogram_set(VdsCmds *ctx, VdsArena *arena, const char *id,
                                     const QapiUint64List *boundaries,
                                     const QapiUint64List *boundaries_read,
                                     const QapiUint64List *boundaries_write,
                                     const QapiUint64List *boundaries_flush,
                                     GError **error)
{
    g_autofree char *path = disk_path(id);
    g_autoptr(GString) text = g_string_new(NULL);
    VdsProp value = {.name = (char *)property, .kind = VDS_PROP_STRING};

    if (!find_disk(ctx, path, id, error)) {
        return false;
    }
    append_kind(text, "rd", boundaries_read ? boundaries_read : boundaries);
    append_kind(text, "wr", boundaries_write ? boundaries_write : boundaries);
    append_kind(text, "flush", boundaries_flush ? boundaries_flush : boundaries);
    value.text = text->len > 0 ? text->str : (char *)"rd=;wr=;flush=";
    if (!vds_machine_qom_set(ctx->machine, path, property, &value, error)) {
        g_prefix_error(error, "Device '%.*s' ", vds_name_len(id), id);
        return false;
    }
    return true;
}

/* ---- shown ----------------------------------------------------------------- */

static QapiUint64List numbers(VdsArena *arena, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    size_t n = g_strv_length(words);
    QapiUint64List list = {n, vds_arena_alloc_n(arena, n, sizeof(uint64_t))};

    for (size_t i = 0; i < n; i++) {
        list.items[i] = g_ascii_strtoull(words[i], NULL, 10);
    }
    return list;
}

/* "rd=10,50:3,0,1" into its member; unmaps are not in the schema. */
static void show_one(VdsArena *arena, const char *text, QapiBlockDeviceStats *stats)
{
    const struct {
        const char *name;
        QapiBlockLatencyHistogramInfo **member;
    } kinds[] = {{"rd=", &stats->rd_latency_histogram},
                 {"wr=", &stats->wr_latency_histogram},
                 {"flush=", &stats->flush_latency_histogram}};
    const char *bins = strchr(text, ':');

    for (size_t i = 0; bins && i < G_N_ELEMENTS(kinds); i++) {
        size_t len = strlen(kinds[i].name);
        g_autofree char *boundaries = NULL;

        if (strncmp(text, kinds[i].name, len) != 0) {
            continue;
        }
        boundaries = g_strndup(text + len, (gsize)(bins - text) - len);
        *kinds[i].member = vds_arena_alloc(arena, sizeof(**kinds[i].member));
        **kinds[i].member = (QapiBlockLatencyHistogramInfo){
            .boundaries = numbers(arena, boundaries), .bins = numbers(arena, bins + 1)};
    }
}

void vds_cmds_show_histograms(VdsMachine *machine, VdsArena *arena, const char *device,
                              QapiBlockDeviceStats *stats)
{
    VdsProp value = {0};

    if (device && vds_machine_qom_get(machine, device, property, &value, NULL)) {
        g_auto(GStrv) parts = g_strsplit(value.text, ";", -1);

        for (char **part = parts; *part; part++) {
            show_one(arena, *part, stats);
        }
    }
    vds_prop_clear(&value);
}
