/*
 * tests: virtio sockets from inside a guest:
 *
 *     in-guest-vsock echo PORT            serves one connection, gives back what it gets
 *     in-guest-vsock ask CID PORT BYTES   sends a pattern and expects it back
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { CHUNK = 4096 };

static int fail(const char *what)
{
    perror(what);
    return EXIT_FAILURE;
}

static int send_all(int fd, const unsigned char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, 0);

        if (n <= 0) {
            return -1;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static int echo(unsigned port)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY};
    int listener = socket(AF_VSOCK, SOCK_STREAM, 0), fd;
    unsigned char bytes[CHUNK];
    ssize_t n;

    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 1) != 0) {
        return fail("listen");
    }
    fd = accept(listener, NULL, NULL);
    while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        if (send_all(fd, bytes, (size_t)n) != 0) {
            return fail("send");
        }
    }
    return n == 0 ? EXIT_SUCCESS : fail("recv");
}

static int ask(unsigned cid, unsigned port, size_t total)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = cid};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    unsigned char out[CHUNK], in[CHUNK];

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        return fail("connect");
    }
    for (size_t at = 0; at < total; at += CHUNK) {
        for (size_t i = 0; i < CHUNK; i++) {
            out[i] = (unsigned char)((at + i) * 2654435761u >> 13);
        }
        if (send_all(fd, out, CHUNK) != 0 || recv(fd, in, CHUNK, MSG_WAITALL) != CHUNK) {
            return fail("exchange");
        }
        if (memcmp(in, out, CHUNK) != 0) {
            fprintf(stderr, "other bytes at %zu\n", at);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "echo") == 0) {
        return echo((unsigned)strtoul(argv[2], NULL, 10));
    }
    if (argc == 5 && strcmp(argv[1], "ask") == 0) {
        return ask((unsigned)strtoul(argv[2], NULL, 10),
                   (unsigned)strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    }
    fprintf(stderr, "usage: %s echo PORT | ask CID PORT BYTES\n", argv[0]);
    return 2;
}
