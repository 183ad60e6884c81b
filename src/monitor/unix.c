/*
 * monitor: UNIX sockets, whose making is util's, with this room's errors.
 */
#include "monitor-priv.h"

static int report(int fd, GError *why, GError **error)
{
    static const VdsMonitorError codes[] = {
        [VDS_UTIL_ERROR_SYSTEM] = VDS_MONITOR_ERROR_SOCKET,
        [VDS_UTIL_ERROR_ADDRESS] = VDS_MONITOR_ERROR_ADDRESS,
        [VDS_UTIL_ERROR_IN_USE] = VDS_MONITOR_ERROR_IN_USE,
    };

    if (why) {
        g_set_error_literal(error, VDS_MONITOR_ERROR, (int)codes[why->code],
                            why->message);
        g_error_free(why);
    }
    return fd;
}

int vds_monitor_unix_listen(const char *path, struct stat *identity, GError **error)
{
    GError *why = NULL;
    int fd = vds_unix_listen(path, identity, &why);

    return report(fd, why, error);
}

int vds_monitor_unix_connect(const char *path, GError **error)
{
    GError *why = NULL;
    int fd = vds_unix_connect(path, &why);

    return report(fd, why, error);
}

void vds_monitor_unix_unlink(const char *path, const struct stat *identity)
{
    vds_unix_unlink(path, identity);
}
