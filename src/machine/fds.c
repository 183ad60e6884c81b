/*
 * machine: descriptors that a client sent and gave a name (getfd), until a part is made
 * of them.  Refuses to know how they came.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "machine-priv.h"

/* No client needs more at a time; each is one of the process's. */
enum { MAX_FDS = 1024 };

/* A client may send a file whose file system never answers: it is closed elsewhere. */
typedef struct {
    VdsCloser *closer; /* not owned */
    int fd;
} NamedFd;

static void named_fd_free(void *value)
{
    NamedFd *named = value;

    vds_closer_close(named->closer, &named->fd);
    g_free(named);
}

GHashTable *vds_fds_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, named_fd_free);
}

bool vds_machine_fd_put(VdsMachine *machine, const char *name, int fd, GError **error)
{
    NamedFd *named;

    if (g_hash_table_size(machine->fds) >= MAX_FDS) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_FD,
                    "more than %d descriptors have a name", MAX_FDS);
        vds_closer_close(machine->closer, &fd);
        return false;
    }
    named = g_new(NamedFd, 1);
    *named = (NamedFd){machine->closer, fd};
    g_hash_table_replace(machine->fds, g_strdup(name), named);
    return true;
}

void vds_machine_fd_discard(VdsMachine *machine, int fd)
{
    vds_closer_close(machine->closer, &fd);
}

bool vds_machine_fd_put_pty(VdsMachine *machine, const char *name, char **path,
                            GError **error)
{
    VDS_AUTO_FD fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    char far[64];

    if (fd < 0 || grantpt(fd) != 0 || unlockpt(fd) != 0 ||
        ptsname_r(fd, far, sizeof(far)) != 0) {
        return vds_refuse(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_FD,
                          "Failed to create PTY: %s", g_strerror(errno));
    }
    *path = g_strdup(far);
    return vds_machine_fd_put(machine, name, vds_fd_steal(&fd), error);
}

bool vds_machine_fd_close(VdsMachine *machine, const char *name, GError **error)
{
    if (g_hash_table_remove(machine->fds, name)) {
        return true;
    }
    g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_FD,
                "File descriptor named '%.*s' not found", vds_name_len(name), name);
    return false;
}

/* ---- parts ------------------------------------------------------------------------- */

/* The next number of a list.  On the command line a number is a descriptor that was
 * inherited; of a client it would be any descriptor of the process, also a connection of
 * another client. */
static bool take(VdsMachine *machine, VdsPart *part, const char *name, GString *numbers,
                 GError **error)
{
    void *key, *value;
    int fd;

    g_string_append(numbers, numbers->len > 0 ? ":" : "");
    if (!part->is_clients && g_ascii_isdigit(name[0])) {
        g_string_append(numbers, name);
        return true;
    }
    if (!g_hash_table_steal_extended(machine->fds, name, &key, &value)) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_FD,
                    "File descriptor named '%.*s' has not been found", vds_name_len(name),
                    name);
        return false;
    }
    g_free(key);
    fd = vds_fd_steal(&((NamedFd *)value)->fd);
    named_fd_free(value);
    if (!part->fds) {
        part->fds = g_array_new(FALSE, FALSE, sizeof(int));
    }
    g_array_append_val(part->fds, fd);
    g_string_append_printf(numbers, "%d", fd);
    return true;
}

static bool take_all(VdsMachine *machine, VdsPart *part, const char *key, GError **error)
{
    const VdsProp *prop = vds_props_find(part->props, key);
    g_auto(GStrv) names = prop ? g_strsplit(prop->text, ":", -1) : NULL;
    g_autoptr(GString) numbers = g_string_new(NULL);

    for (char **name = names; name && *name; name++) {
        if (!take(machine, part, *name, numbers, error)) {
            return false;
        }
    }
    if (prop) {
        vds_props_set_string(part->props, key, numbers->str);
    }
    return true;
}

bool vds_part_take_fds(VdsMachine *machine, VdsPart *part, GError **error)
{
    static const struct {
        const char *kind, *key;
    } keys[] = {
        {"netdev", "fd"},       {"netdev", "fds"}, {"netdev", "vhostfd"},
        {"netdev", "vhostfds"}, {"chardev", "fd"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(vds_part_get_kind(part), keys[i].kind) == 0 &&
            !take_all(machine, part, keys[i].key, error)) {
            return false;
        }
    }
    return true;
}
