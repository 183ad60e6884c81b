/*
 * The floor: an echo server that is nothing but poll, read and write.
 * usage: echo-bare SOCKET REPLY-FILE
 */
#include "echo.h"

#include <err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    Echo echo;
    int listener;

    if (argc != 3) {
        errx(2, "usage: echo-bare SOCKET REPLY-FILE");
    }
    echo_init(&echo, argv[2]);
    listener = echo_listen(argv[1]);
    for (;;) {
        struct pollfd client = {.events = POLLIN};

        client.fd = accept(listener, NULL, NULL);
        if (client.fd < 0) {
            err(1, "accept");
        }
        while (poll(&client, 1, -1) > 0 && echo_turn(&echo, client.fd)) {
        }
        close(client.fd);
    }
}
