/*
 * The same echo on GLib's main loop: what the loop costs by itself.
 * usage: echo-glib SOCKET REPLY-FILE
 */
#include "echo.h"

#include <err.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <unistd.h>

static gboolean on_client(int fd, GIOCondition condition, gpointer user)
{
    if (!echo_turn(user, fd)) {
        close(fd);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

static gboolean on_listener(int fd, GIOCondition condition, gpointer user)
{
    int client = accept(fd, NULL, NULL);

    if (client >= 0) {
        g_unix_fd_add(client, G_IO_IN, on_client, user);
    }
    return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    Echo echo;

    if (argc != 3) {
        errx(2, "usage: echo-glib SOCKET REPLY-FILE");
    }
    echo_init(&echo, argv[2]);
    g_unix_fd_add(echo_listen(argv[1]), G_IO_IN, on_listener, &echo);
    g_main_loop_run(loop);
    return 0;
}
