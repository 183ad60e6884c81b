/*
 * cli: -add-fd: descriptors that were inherited, by the number of a set; and the paths
 * /dev/fdset/N that name them.  Touches no descriptor.
 */
#include <string.h>

#include "cli-priv.h"

#define PREFIX "/dev/fdset/"

typedef struct {
    uint64_t set;
    int fd;
} AddedFd;

GArray *vds_cli_fdsets_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(AddedFd));
}

static const AddedFd *find(const VdsOptions *options, uint64_t set)
{
    for (unsigned i = 0; i < options->fdsets->len; i++) {
        const AddedFd *added = &g_array_index(options->fdsets, AddedFd, i);

        if (added->set == set) {
            return added;
        }
    }
    return NULL;
}

/* A set of QEMU's holds one descriptor for each access mode; libvirt makes one of one. */
bool vds_cli_apply_add_fd(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error)
{
    g_autoptr(VdsProps) props = vds_cli_props(row, argument, error);
    uint64_t set, fd;
    AddedFd added;

    if (!props ||
        !vds_prop_get_uint(vds_props_find(props, "set"), 0, INT64_MAX, &set, error)) {
        return false;
    }
    if (!vds_prop_get_uint(vds_props_find(props, "fd"), 0, INT_MAX, &fd, error)) {
        return false;
    }
    if (fd <= STDERR_FILENO) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "fd cannot be a standard I/O stream");
        return false;
    }
    if (find(parse->options, set)) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_VALUE,
                    "fd set %" PRIu64 " has a descriptor already", set);
        return false;
    }
    added = (AddedFd){set, (int)fd};
    g_array_append_val(parse->options->fdsets, added);
    return true;
}

bool vds_cli_fdset_resolve(const VdsOptions *options, VdsProps *props, const char *key,
                           GError **error)
{
    const VdsProp *path = vds_props_find(props, key);
    g_autofree char *fd_key = g_strconcat(key, "-fd", NULL);
    const AddedFd *added;
    uint64_t set;

    if (!path || !g_str_has_prefix(path->text, PREFIX)) {
        return true;
    }
    added = g_ascii_string_to_unsigned(path->text + strlen(PREFIX), 10, 0, UINT64_MAX,
                                       &set, NULL)
                ? find(options, set)
                : NULL;
    if (!added) {
        g_set_error(error, VDS_CLI_ERROR, VDS_CLI_ERROR_MISSING,
                    "'%.*s' names no descriptor of -add-fd", vds_name_len(path->text),
                    path->text);
        return false;
    }
    vds_props_set_uint(props, fd_key, (uint64_t)added->fd);
    return true;
}
