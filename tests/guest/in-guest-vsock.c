/*
 * tests: virtio sockets from inside a guest:
 *
 *     in-guest-vsock echo PORT            serves one connection: gives back what it gets,
 * and after the other end has no more, how many bytes in-guest-vsock ask CID PORT BYTES
 * sends a pattern while it reads it back, closes its half, and expects the count and the
 * end
 *
 * The count is eight bytes, little-endian.
 */
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { CHUNK = 16384 };

static int fail(const char *what)
{
    perror(what);
    return EXIT_FAILURE;
}

static int send_all(int fd, const void *from, size_t len)
{
    const unsigned char *bytes = from;

    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

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
    uint64_t total = 0;
    ssize_t n;

    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 1) != 0) {
        return fail("listen");
    }
    fd = accept(listener, NULL, NULL);
    while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        total += (uint64_t)n;
        if (send_all(fd, bytes, (size_t)n) != 0) {
            return fail("send");
        }
    }
    if (n < 0) {
        return fail("recv");
    }
    total = htole64(total);
    return send_all(fd, &total, sizeof(total)) == 0 ? EXIT_SUCCESS
                                                    : fail("send the count");
}

/* What stands at `at`, in four-byte words of which no two are alike. */
static void fill(unsigned char *bytes, size_t at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (unsigned char)(((at + i) / 4 * 2654435761u) >> 8 * ((at + i) % 4));
    }
}

static int pour(int fd, size_t total)
{
    unsigned char bytes[CHUNK];

    for (size_t at = 0; at < total;) {
        size_t len = total - at < CHUNK ? total - at : CHUNK;

        fill(bytes, at, len);
        if (send_all(fd, bytes, len) != 0) {
            return fail("send");
        }
        at += len;
    }
    return shutdown(fd, SHUT_WR) == 0 ? EXIT_SUCCESS : fail("shutdown");
}

static int check(int fd, size_t total)
{
    unsigned char bytes[CHUNK], expected[CHUNK];
    uint64_t count;

    for (size_t at = 0; at < total;) {
        ssize_t n = recv(fd, bytes, total - at < CHUNK ? total - at : CHUNK, 0);

        if (n <= 0) {
            return fail("recv");
        }
        fill(expected, at, (size_t)n);
        if (memcmp(bytes, expected, (size_t)n) != 0) {
            fprintf(stderr, "other bytes after %zu\n", at);
            return EXIT_FAILURE;
        }
        at += (size_t)n;
    }
    if (recv(fd, &count, sizeof(count), MSG_WAITALL) != sizeof(count)) {
        return fail("the count");
    }
    if (le64toh(count) != total || recv(fd, bytes, 1, 0) != 0) {
        fprintf(stderr, "%llu bytes counted, not %zu, or no end\n",
                (unsigned long long)le64toh(count), total);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int ask(unsigned cid, unsigned port, size_t total)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = cid};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0), sent = EXIT_FAILURE, checked;
    pid_t sender;

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        return fail("connect");
    }
    sender = fork();
    if (sender == 0) {
        _exit(pour(fd, total));
    }
    checked = check(fd, total);
    waitpid(sender, &sent, 0);
    return sent == EXIT_SUCCESS ? checked : EXIT_FAILURE;
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
