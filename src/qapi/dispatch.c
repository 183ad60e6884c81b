/*
 * qapi: which command has this name?
 */
#include <string.h>

#include "vds/qapi.h"

/* As strcmp() would order a name that is not terminated. */
static int compare_names(const char *name, size_t len, const char *other)
{
    size_t other_len = strlen(other);
    int order = memcmp(name, other, MIN(len, other_len));

    return order != 0 ? order : (len > other_len) - (len < other_len);
}

const VdsQapiCommand *vds_qapi_dispatch_find(const VdsQapiDispatch *dispatch,
                                             const char *name, size_t len)
{
    size_t low = 0, high = dispatch->n_commands;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const VdsQapiCommand *command = &dispatch->commands[middle];
        int order = compare_names(name, len, command->name);

        if (order == 0) {
            return command;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}
