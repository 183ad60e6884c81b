/*
 * See echo.h.  No parsing, no queries: what any server must pay for a request and a
 * reply.
 */
#include "echo.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_BYTES 16384
#define LINES_MAX 256 /* of one read: more than any client here has in flight */

void echo_init(Echo *echo, const char *path)
{
    FILE *file = fopen(path, "re");

    if (!file || fseek(file, 0, SEEK_END) != 0) {
        err(1, "%s", path);
    }
    echo->reply_len = (size_t)ftell(file);
    rewind(file);
    echo->reply = malloc(echo->reply_len);
    echo->out = malloc(echo->reply_len * LINES_MAX);
    if (!echo->reply || !echo->out ||
        fread(echo->reply, 1, echo->reply_len, file) != echo->reply_len) {
        err(1, "%s", path);
    }
    fclose(file);
}

int echo_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        errx(1, "%s: too long", path);
    }
    strcpy(address.sun_path, path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, 1) != 0) {
        err(1, "%s", path);
    }
    return fd;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n <= 0) {
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

bool echo_turn(Echo *echo, int fd)
{
    char in[READ_BYTES];
    ssize_t n = read(fd, in, sizeof(in));
    size_t lines = 0;

    for (ssize_t i = 0; i < n; i++) {
        if (in[i] == '\n' && lines < LINES_MAX) {
            memcpy(echo->out + lines++ * echo->reply_len, echo->reply, echo->reply_len);
        }
    }
    return n > 0 && write_all(fd, echo->out, lines * echo->reply_len);
}
