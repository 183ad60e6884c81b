/*
 * fuzz: a recording: the .vds text, and behind a NUL the bytes of its page file,
 * "pages.bin".  It loads or is refused in one line; loaded, every query of every queue
 * answers; removed, nothing is left of it.
 */
#include <glib/gstdio.h>
#include <string.h>

#include "vds/cmds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    VdsCmds *cmds;
    GPtrArray *paths; /* as arguments for the human monitor */
} Asker;

static void drop_event(void *user, const VdsQapiEvent *event, const void *data)
{
}

static void add_path(const char *path, VdsVirtioDevice *device, void *user)
{
    GString *quoted = g_string_new(path);

    g_string_replace(quoted, "\\", "\\\\", 0);
    g_string_replace(quoted, "\"", "\\\"", 0);
    g_string_replace(quoted, "\n", "\\n", 0);
    g_string_replace(quoted, "\r", "\\r", 0);
    g_ptr_array_add(user, g_string_free(quoted, FALSE));
}

static void ask(const Asker *asker, const char *what, const char *path, const char *rest)
{
    g_autofree char *line = g_strdup_printf("info %s \"%s\"%s", what, path, rest);
    g_autofree char *text = vds_cmds_hmp(asker->cmds, line);

    g_assert(*text != '\0');
    g_assert(!g_str_has_prefix(text, "unknown") &&
             !g_str_has_prefix(text, "Error: Path"));
}

static void ask_everything(const Asker *asker)
{
    static const char *const rests[] = {" 0", " 1", " 65535", " 0 1", " 0 65535", " 2 7"};

    for (unsigned i = 0; i < MIN(asker->paths->len, 4); i++) {
        const char *path = g_ptr_array_index(asker->paths, i);

        ask(asker, "virtio-status", path, "");
        for (size_t k = 0; k < G_N_ELEMENTS(rests); k++) {
            ask(asker, "virtio-queue-status", path, k < 3 ? rests[k] : " 2");
            ask(asker, "virtio-vhost-queue-status", path, k < 3 ? rests[k] : " 2");
            ask(asker, "virtio-queue-element", path, rests[k]);
        }
    }
}

static void load(const char *file)
{
    static const VdsDeviceClass *const classes[] = {&vds_cmds_replay_class, NULL};
    const VdsCmdsHost host = {.package = "fuzz"};
    const VdsEventSink sink = {.emit = drop_event};
    g_autoptr(VdsMachine) machine = vds_machine_new("vds", classes);
    g_autoptr(VdsCmds) cmds = vds_cmds_new(machine, &host, &sink);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(VdsProps) props = vds_props_new();
    g_autoptr(GError) error = NULL;
    const Asker asker = {cmds, paths};

    vds_props_set_string(props, "driver", "virtio-replay");
    vds_props_set_string(props, "id", "old");
    vds_props_set_string(props, "file", file);
    if (vds_machine_device_add(machine, props, &error)) {
        vds_machine_foreach(machine, add_path, paths);
        ask_everything(&asker);
        g_assert(vds_machine_device_del(machine, "old", NULL));
    } else {
        g_assert(strlen(error->message) < 1500);
    }
    g_assert(vds_machine_count(machine) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *folder = g_dir_make_tmp("vds-fuzz-XXXXXX", NULL);
    g_autofree char *file = g_build_filename(folder, "fuzz.vds", NULL);
    g_autofree char *pages = g_build_filename(folder, "pages.bin", NULL);
    const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t len = nul ? (size_t)(nul - data) : size;
    size_t n_pages = nul ? size - len - 1 : 0;

    g_assert(g_file_set_contents(file, (const char *)data, (gssize)len, NULL));
    g_assert(g_file_set_contents(pages, nul ? (const char *)nul + 1 : "", (gssize)n_pages,
                                 NULL));
    load(file);
    g_unlink(file);
    g_unlink(pages);
    g_rmdir(folder);
    return 0;
}
