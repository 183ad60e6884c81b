/*
 * machine: block nodes as files: what -blockdev and -drive mean, for those who ask about
 * them.  Room devices opens what a disk works on; nothing stays open here.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "machine-priv.h"

enum { MAX_LAYERS = 8, STAT_BLOCK = 512, PATIENCE_MS = 50 };

#define NULL_BYTES (UINT64_C(1) << 30)    /* null-co's default in QEMU */
#define MEMORY_BYTES (UINT64_C(64) << 20) /* a -drive without a file */

/* A node's properties, or those behind "file." in another's. */
typedef struct {
    const VdsProps *props;
    const char *prefix;
} Layer;

static const VdsProp *find(const Layer *layer, const char *key)
{
    g_autofree char *name = g_strconcat(layer->prefix, key, NULL);

    return vds_props_find(layer->props, name);
}

static const char *text(const Layer *layer, const char *key)
{
    const VdsProp *prop = find(layer, key);

    return prop && prop->kind == VDS_PROP_STRING ? prop->text : NULL;
}

static bool is_on(const Layer *layer, const char *key)
{
    const VdsProp *prop = find(layer, key);
    bool on = false;

    return prop && vds_prop_get_bool(prop, &on, NULL) && on;
}

/* A disk's size is where its end is; its room is not the file system's. */
static uint64_t measure_device(const char *path)
{
    VDS_AUTO_FD fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;

    return end > 0 ? (uint64_t)end : 0;
}

/* What is asked of a file, on a thread of its own: its file system may not answer. */
typedef struct {
    char *path;
    bool read_only;
    int failed; /* errno, 0: it is there */
    uint64_t size_bytes, allocated_bytes;
} Question;

static void question_free(void *user)
{
    Question *question = user;

    g_free(question->path);
    g_free(question);
}

static void ask_size(void *user)
{
    Question *question = user;
    struct stat info;

    if (stat(question->path, &info) != 0) {
        question->failed = errno;
        return;
    }
    question->size_bytes =
        S_ISBLK(info.st_mode) ? measure_device(question->path) : (uint64_t)info.st_size;
    question->allocated_bytes = (uint64_t)info.st_blocks * STAT_BLOCK;
}

/* (transfer full) (nullable) no answer */
static Question *ask(const VdsMachine *machine, const char *path, bool read_only,
                     VdsTaskFunc what)
{
    Question *question = g_new0(Question, 1);
    const VdsPatienceTask task = {path, what, question, question_free};

    question->path = g_strdup(path);
    question->read_only = read_only;
    return vds_patience_run(machine->patience, &task, PATIENCE_MS) ? question : NULL;
}

static void describe_file(const VdsMachine *machine, const char *path, VdsBlockNode *node)
{
    Question *answer = ask(machine, path, true, ask_size);

    node->filename = path;
    if (answer && answer->failed == 0) {
        node->has_file = true;
        node->size_bytes = answer->size_bytes;
        node->allocated_bytes = answer->allocated_bytes;
    }
    g_clear_pointer(&answer, question_free);
}

static void describe_null(const Layer *layer, VdsBlockNode *node)
{
    const VdsProp *size = find(layer, "size");

    node->filename = "null-co://";
    node->size_bytes = NULL_BYTES;
    if (size) {
        vds_prop_get_size(size, 1, &node->size_bytes, NULL);
    }
}

/* One step down from a raw node, which is the one below as it is; NULL in below->props:
 * there is none of the name *missing. */
static bool step(const VdsMachine *machine, const Layer *layer, Layer *below,
                 const char **missing)
{
    static const char *const prefixes[] = {"", "file.", "file.file.", "file.file.file."};
    const char *name = text(layer, "file");
    const VdsPart *part;
    size_t depth = 0;

    if (name) {
        part = vds_part_find(machine, "blockdev", name);
        *below = (Layer){part ? part->props : NULL, ""};
        *missing = part ? NULL : name;
        return part != NULL;
    }
    while (strcmp(prefixes[depth], layer->prefix) != 0) {
        depth++;
    }
    *below = (Layer){layer->props, prefixes[depth + 1]};
    return depth + 2 < G_N_ELEMENTS(prefixes) && text(below, "driver");
}

/* Down to the layer that has bytes; what is on the way goes into the node.  false: a node
 * is missing. */
static bool descend(const VdsMachine *machine, Layer *layer, VdsBlockNode *node,
                    const char **missing)
{
    node->driver = text(layer, "driver");
    *missing = NULL;
    for (unsigned n = 0; n < MAX_LAYERS; n++) {
        Layer below;

        node->read_only |= is_on(layer, "read-only");
        if ((g_strcmp0(text(layer, "driver"), "raw") != 0 &&
             g_strcmp0(text(layer, "driver"), "throttle") != 0) ||
            !step(machine, layer, &below, missing)) {
            break;
        }
        *layer = below;
    }
    return *missing == NULL;
}

static void describe(const VdsMachine *machine, Layer layer, VdsBlockNode *node)
{
    const char *missing;

    if (!descend(machine, &layer, node, &missing)) {
        return;
    }
    if (text(&layer, "filename")) {
        describe_file(machine, text(&layer, "filename"), node);
    } else {
        describe_null(&layer, node);
    }
}

/* Under QEMU's names and its older ones. */
static void describe_limits(const Layer *layer, VdsBlockNode *node)
{
    static const char *const names[VDS_BLOCK_LIMITS][2] = {
        {"throttling.bps-total", "bps"},     {"throttling.bps-read", "bps_rd"},
        {"throttling.bps-write", "bps_wr"},  {"throttling.iops-total", "iops"},
        {"throttling.iops-read", "iops_rd"}, {"throttling.iops-write", "iops_wr"},
    };

    for (unsigned i = 0; i < VDS_BLOCK_LIMITS * 2; i++) {
        const VdsProp *prop = find(layer, names[i / 2][i % 2]);

        if (prop) {
            vds_prop_get_size(prop, 1, &node->limits[i / 2], NULL);
        }
    }
}

static void describe_drive(const VdsMachine *machine, const VdsProps *props,
                           VdsBlockNode *node)
{
    Layer layer = {props, ""};
    const char *path = text(&layer, "file");

    node->driver = "raw";
    describe_limits(&layer, node);
    node->read_only = is_on(&layer, "readonly") || is_on(&layer, "read-only");
    if (!path) {
        node->size_bytes = MEMORY_BYTES;
    } else if (g_str_has_prefix(path, "null-co://")) {
        describe_null(&layer, node);
    } else {
        describe_file(machine, path, node);
    }
}

void vds_machine_foreach_block_node(const VdsMachine *machine, VdsBlockNodeFunc func,
                                    void *user)
{
    for (const GList *link = machine->part_order.head; link; link = link->next) {
        const VdsPart *part = link->data;
        g_autofree char *path = part->user ? vds_node_path(part->user->node) : NULL;
        VdsBlockNode node = {.id = part->id, .filename = "", .user = path};

        if (strcmp(vds_part_get_kind(part), "blockdev") == 0) {
            describe(machine, (Layer){part->props, ""}, &node);
        } else if (strcmp(vds_part_get_kind(part), "drive") == 0) {
            node.is_drive = true;
            describe_drive(machine, part->props, &node);
        } else {
            continue;
        }
        func(&node, user);
    }
}

/* ---- is it there? ------------------------------------------------------------------ */

static void ask_open(void *user)
{
    Question *question = user;
    VDS_AUTO_FD fd = open(question->path, (question->read_only ? O_RDONLY : O_RDWR) |
                                              O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0) {
        question->failed = errno;
    } else if (S_ISDIR(info.st_mode)) {
        question->failed = EISDIR;
    }
}

/* 0, or errno: ETIMEDOUT where the file system does not answer. */
static int try_open(const VdsMachine *machine, const char *path, bool read_only)
{
    Question *answer = ask(machine, path, read_only, ask_open);
    int failed = answer ? answer->failed : ETIMEDOUT;

    g_clear_pointer(&answer, question_free);
    return failed;
}

bool vds_machine_check_block_node(const VdsMachine *machine, const VdsProps *props,
                                  GError **error)
{
    VdsBlockNode node = {0};
    Layer layer = {props, ""};
    const char *missing, *path;
    int failed;

    if (!descend(machine, &layer, &node, &missing)) {
        return vds_refuse(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_PART,
                          "Cannot find device='%.*s' nor node-name='%.*s'",
                          vds_name_len(missing), missing, vds_name_len(missing), missing);
    }
    path = text(&layer, "filename");
    failed = !path ? 0
                   : try_open(machine, path,
                              node.read_only || is_on(&layer, "auto-read-only"));
    return failed == 0 || vds_refuse(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_FILE,
                                     "Could not open '%.*s': %s", vds_name_len(path),
                                     path, g_strerror(failed));
}
