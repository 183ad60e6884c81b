/*
 * The client that all servers are measured with.
 *
 * Sends one request again and again, some number of them in flight, and takes each line
 * that comes back as the answer to one.  Servers take turns, slice by slice, so that a
 * busy machine is busy for all of them; printed are medians over the rounds.  Reads no
 * JSON.
 *
 * usage: client rounds ROUNDS SLICE_MS DEPTH REQUEST-FILE NAME=SOCKET...
 *            prints `NAME MEDIAN_NS RATE_PER_S QUERIES REPLY_BYTES` a line; MEDIAN_NS is
 * of one request's time when DEPTH is 1, else 0 client start ROUNDS SOCKET PROGRAM
 * ARGUMENT... prints the median, in ns, from fork to the last byte of the first line
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUF_BYTES (1 << 20)
#define SAMPLES_MAX 200000
#define ROUNDS_MAX 1000
#define DEPTH_MAX 256
#define CONNECT_RETRY_NS 20000
#define CONNECT_TIMEOUT_NS 10000000000

typedef struct {
    const char *name;
    int fd;
    uint64_t queries;
    uint64_t reply_bytes;
    uint64_t latency_ns[ROUNDS_MAX]; /* a round each */
    uint64_t rate_per_s[ROUNDS_MAX];
} Server;

typedef struct {
    char *bytes;
    size_t len;
} Request;

static char buf[BUF_BYTES];
static uint64_t samples[SAMPLES_MAX];

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare);
    return n > 0 ? values[n / 2] : 0;
}

/* -1 when nobody listens yet. */
static int try_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof(address.sun_path)) {
        errx(1, "%s: no socket, or too long", path);
    }
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n <= 0) {
            err(1, "write");
        }
        bytes += n;
        len -= (size_t)n;
    }
}

/* One read; how many lines ended in it. */
static size_t read_lines(int fd, uint64_t *bytes)
{
    ssize_t n = read(fd, buf, sizeof(buf));
    size_t lines = 0;
    const char *end = buf + n;

    if (n <= 0) {
        errx(1, "the server closed");
    }
    for (const char *at = buf; (at = memchr(at, '\n', (size_t)(end - at))); at++) {
        lines++;
    }
    *bytes += (uint64_t)n;
    return lines;
}

static void read_one_line(int fd)
{
    uint64_t bytes = 0;

    while (read_lines(fd, &bytes) == 0) {
    }
}

/* Greeting and negotiation for those who speak QMP: the others answer any line. */
static void open_server(Server *server, char *argument)
{
    static const char negotiate[] = "{\"execute\": \"qmp_capabilities\"}\n";
    char *path = strchr(argument, '=');

    if (!path) {
        errx(2, "not NAME=SOCKET: %s", argument);
    }
    *path++ = '\0';
    server->name = argument;
    server->fd = try_connect(path);
    if (server->fd < 0) {
        err(1, "%s", path);
    }
    if (strncmp(server->name, "echo", 4) != 0) {
        read_one_line(server->fd);
    }
    write_all(server->fd, negotiate, sizeof(negotiate) - 1);
    read_one_line(server->fd);
}

static Request load_request(const char *path)
{
    Request request;
    FILE *file = fopen(path, "re");

    if (!file) {
        err(1, "%s", path);
    }
    request.len = fread(buf, 1, sizeof(buf), file);
    fclose(file);
    request.bytes = malloc(request.len);
    if (!request.bytes || request.len == 0 ||
        memchr(buf, '\n', request.len) != buf + request.len - 1) {
        errx(1, "%s: not one line", path);
    }
    memcpy(request.bytes, buf, request.len);
    return request;
}

/* One at a time: each request's own time. */
static void slice_latency(Server *server, const Request *request, uint64_t slice_ns,
                          size_t round)
{
    uint64_t start = now_ns(), sent = start, bytes = 0;
    size_t n = 0;

    while (sent - start < slice_ns && n < SAMPLES_MAX) {
        write_all(server->fd, request->bytes, request->len);
        while (read_lines(server->fd, &bytes) == 0) {
        }
        uint64_t done = now_ns();
        samples[n++] = done - sent;
        sent = done;
    }
    server->queries += n;
    server->reply_bytes = bytes / n;
    server->rate_per_s[round] = n * 1000000000 / (sent - start);
    server->latency_ns[round] = median(samples, n);
}

/* `depth` in flight: for each reply read, one more request, each by a write of its own as
 * clients do that know nothing of each other's requests. */
static void send_requests(const Server *server, const Request *request, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        write_all(server->fd, request->bytes, request->len);
    }
}

static void slice_rate(Server *server, const Request *request, uint64_t slice_ns,
                       size_t round, size_t depth)
{
    uint64_t start = now_ns(), bytes = 0, answered = 0, sent = depth;

    send_requests(server, request, depth);
    while (answered < sent) {
        size_t lines = read_lines(server->fd, &bytes);

        answered += lines;
        if (lines > 0 && now_ns() - start < slice_ns) {
            send_requests(server, request, lines);
            sent += lines;
        }
    }
    server->queries += answered;
    server->reply_bytes = bytes / answered;
    server->rate_per_s[round] = answered * 1000000000 / (now_ns() - start);
}

static int run_rounds(char **argv, int argc)
{
    size_t rounds = strtoul(argv[0], NULL, 10), depth = strtoul(argv[2], NULL, 10);
    uint64_t slice_ns = strtoull(argv[1], NULL, 10) * 1000000;
    Request request = load_request(argv[3]);
    size_t n_servers = (size_t)argc - 4;
    Server *servers = calloc(n_servers, sizeof(*servers));

    if (!servers || rounds < 1 || rounds > ROUNDS_MAX || depth < 1 || depth > DEPTH_MAX) {
        errx(2, "rounds 1..%d, depth 1..%d", ROUNDS_MAX, DEPTH_MAX);
    }
    for (size_t i = 0; i < n_servers; i++) {
        open_server(&servers[i], argv[4 + i]);
    }
    /* Round 0 warms up and is overwritten by the first that counts. */
    for (size_t turn = 0; turn <= rounds; turn++) {
        for (size_t i = 0; i < n_servers; i++) {
            size_t round = turn > 0 ? turn - 1 : 0;
            if (depth == 1) {
                slice_latency(&servers[i], &request, slice_ns, round);
            } else {
                slice_rate(&servers[i], &request, slice_ns, round, depth);
            }
        }
    }
    for (size_t i = 0; i < n_servers; i++) {
        Server *s = &servers[i];
        printf("%s %lu %lu %lu %lu\n", s->name, median(s->latency_ns, rounds),
               median(s->rate_per_s, rounds), s->queries, s->reply_bytes);
    }
    return 0;
}

static uint64_t start_once(const char *path, char **argv)
{
    struct timespec retry = {.tv_nsec = CONNECT_RETRY_NS};
    uint64_t start = now_ns(), done;
    int fd, status;
    pid_t child = fork();

    if (child == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    while ((fd = try_connect(path)) < 0) {
        if (now_ns() - start > CONNECT_TIMEOUT_NS) {
            kill(child, SIGKILL);
            errx(1, "%s does not listen on %s", argv[0], path);
        }
        nanosleep(&retry, NULL);
    }
    read_one_line(fd);
    done = now_ns();
    close(fd);
    kill(child, SIGTERM);
    waitpid(child, &status, 0);
    unlink(path);
    return done - start;
}

static int run_starts(char **argv)
{
    size_t rounds = strtoul(argv[0], NULL, 10);

    if (rounds < 1 || rounds > ROUNDS_MAX) {
        errx(2, "rounds 1..%d", ROUNDS_MAX);
    }
    for (size_t i = 0; i < rounds; i++) {
        samples[i] = start_once(argv[1], argv + 2);
    }
    printf("%lu\n", median(samples, rounds));
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc >= 7 && strcmp(argv[1], "rounds") == 0) {
        return run_rounds(argv + 2, argc - 2);
    }
    if (argc >= 5 && strcmp(argv[1], "start") == 0) {
        return run_starts(argv + 2);
    }
    errx(2, "usage: client rounds|start ..., see the source");
}
