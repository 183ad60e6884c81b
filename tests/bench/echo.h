/*
 * The reply that an echo server gives for each line it reads.  What two servers have in
 * common; nothing about how they wait.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char *reply; /* one line */
    size_t reply_len;
    char *out; /* room for the replies of one read */
} Echo;

/* Reads the reply from `path`; ends the process with a message when it cannot. */
void echo_init(Echo *echo, const char *path);
/* A listening UNIX socket. */
int echo_listen(const char *path);
/* One read, a reply for each line in it, one write.  False: the client is gone. */
bool echo_turn(Echo *echo, int fd);
