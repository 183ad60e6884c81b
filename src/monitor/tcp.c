/*
 * monitor: TCP sockets.  Names are resolved here, once, at start-up; nothing later does.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "monitor-priv.h"

typedef struct addrinfo AddrInfo;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AddrInfo, freeaddrinfo)

static void fail(GError **error, const char *what, const char *host, const char *port,
                 int number)
{
    g_set_error(error, VDS_MONITOR_ERROR,
                number == EADDRINUSE ? VDS_MONITOR_ERROR_IN_USE
                                     : VDS_MONITOR_ERROR_SOCKET,
                "%s 'tcp:%s:%s': %s", what, host, port, g_strerror(number));
}

static AddrInfo *resolve(const char *host, const char *port, int flags, GError **error)
{
    const AddrInfo hints = {
        .ai_flags = flags, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    AddrInfo *found = NULL;
    int code = getaddrinfo(*host ? host : NULL, port, &hints, &found);

    if (code != 0) {
        g_set_error(error, VDS_MONITOR_ERROR, VDS_MONITOR_ERROR_ADDRESS,
                    "Cannot resolve 'tcp:%s:%s': %s", host, port, gai_strerror(code));
        return NULL;
    }
    return found;
}

/* Returns -1 with errno set. */
static int listen_on(const AddrInfo *address)
{
    VDS_AUTO_FD fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6) {
        /* The IPv4 address has a listener of its own. */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        int number = errno;

        vds_fd_close(&fd);
        errno = number;
        return -1;
    }
    return vds_fd_steal(&fd);
}

bool vds_monitor_tcp_listen(const char *host, const char *port, GArray *fds,
                            GError **error)
{
    g_autoptr(AddrInfo) found = resolve(host, port, AI_PASSIVE, error);
    int number = 0;

    if (!found) {
        return false;
    }
    for (const AddrInfo *address = found; address; address = address->ai_next) {
        int fd = listen_on(address);

        if (fd >= 0) {
            g_array_append_val(fds, fd);
            if (strcmp(port, "0") == 0) {
                break; /* the next address would get another port */
            }
        } else if (number == 0) {
            number = errno;
        }
    }
    if (fds->len == 0) {
        fail(error, "Cannot listen on", host, port, number);
    }
    return fds->len > 0;
}

int vds_monitor_tcp_connect(const char *host, const char *port, GError **error)
{
    g_autoptr(AddrInfo) found = resolve(host, port, 0, error);
    const struct timeval timeout = {.tv_sec = VDS_MONITOR_CONNECT_TIMEOUT_SECONDS};
    const int on = 1;
    int number = 0;

    if (!found) {
        return -1;
    }
    for (const AddrInfo *address = found; address; address = address->ai_next) {
        VDS_AUTO_FD fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            if (connect(fd, address->ai_addr, address->ai_addrlen) == 0) {
                return vds_fd_steal(&fd);
            }
        }
        number = errno;
    }
    fail(error, "Cannot connect to", host, port, number);
    return -1;
}

char *vds_monitor_tcp_describe(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0 ||
        getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return g_strdup("tcp");
    }
    return g_strdup_printf(strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host, port);
}
