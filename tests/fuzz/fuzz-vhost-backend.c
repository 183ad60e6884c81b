/*
 * fuzz: a vhost-user back-end on its socket, and a front-end that says anything, with
 * memory of any content.  Whatever it says, the back-end reads on or leaves it; what it
 * shows of its rings fits together; the next front-end is greeted; and nothing of the
 * first one stays, descriptors least of all.
 *
 * Input: for each message a byte (bits 0 to 3: how many descriptors, bits 4 to 6: of what
 * kind) and its bytes, header first, as long as that says (at most what there is).  With
 * bit 7 it is no message: le32 where, and as many bytes as bits 0 to 6 say, are written
 * into the memory that is sent, and the rings are kicked.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "loopback.h"
#include "send-fds.h"
#include "vds/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGES = 96, MAX_FDS = 15, MEMORY = 1 << 20, POKE_HEADER = 5 };

typedef struct {
    Loopback loop;
    VdsIoThread *thread;
    VdsMailbox *mailbox;
    VdsVhostUserBackend *backend;
    char *path;
    int fd;           /* the front-end's */
    int memory, kick; /* the front-end's own of what it sends */
} Peer;

static bool wants_memory(uint32_t request)
{
    return request == VDS_VHOST_USER_SET_MEM_TABLE ||
           request == VDS_VHOST_USER_ADD_MEM_REG ||
           request == VDS_VHOST_USER_SET_LOG_BASE ||
           request == VDS_VHOST_USER_SET_INFLIGHT_FD;
}

static int make_memory(void)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    g_assert(fd >= 0 && ftruncate(fd, MEMORY) == 0);
    return fd;
}

/* 0: as the message has it. */
static int open_kind(const Peer *peer, unsigned kind, uint32_t request)
{
    if (kind == 0 && wants_memory(request)) {
        return fcntl(peer->memory, F_DUPFD_CLOEXEC, 0);
    }
    if (kind == 0 && request == VDS_VHOST_USER_SET_VRING_KICK) {
        return fcntl(peer->kick, F_DUPFD_CLOEXEC, 0);
    }
    if (kind == 1) {
        return make_memory();
    }
    return kind != 3 ? eventfd(0, EFD_CLOEXEC) : open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* ---- the back-end's turn ---- */

static void check_rings(const Peer *peer)
{
    for (unsigned n = 0; n < LOOP_QUEUES; n++) {
        VdsQueueState state;

        if (vds_virtio_device_get_queue(peer->loop.device, n, &state)) {
            g_assert(state.inuse <= state.num);
            g_assert(!state.packed || state.num == 0 ||
                     (state.last_avail_idx < state.num && state.used_idx < state.num));
        }
    }
}

/* The loop, until it is idle, or has been turned often enough. */
static void turn_loop(Peer *peer)
{
    uint8_t scratch[512];

    for (int i = 0; i < 200; i++) {
        bool busy = g_main_context_iteration(NULL, FALSE);

        busy = vds_mailbox_run(peer->mailbox) > 0 || busy;
        if (!busy) {
            break;
        }
    }
    while (recv(peer->fd, scratch, sizeof(scratch), MSG_DONTWAIT) > 0) {
    }
}

/* What the rings were kicked for, and what follows for the loop. */
static void turn(Peer *peer)
{
    turn_loop(peer);
    if (vds_io_thread_get_id(peer->thread) != 0) {
        vds_io_thread_call(peer->thread, loop_round, NULL);
        turn_loop(peer);
    }
    check_rings(peer);
}

/* ---- the front-end ---- */

static size_t poke(Peer *peer, const uint8_t *data, size_t size)
{
    size_t len = MIN(data[0] & 127u, size - MIN(size, (size_t)POKE_HEADER));
    uint32_t at = 0;

    if (size < POKE_HEADER) {
        return 0;
    }
    memcpy(&at, data + 1, sizeof(at));
    at %= MEMORY - 128;
    g_assert(pwrite(peer->memory, data + POKE_HEADER, len, at) == (ssize_t)len);
    (void)eventfd_write(peer->kick, 1);
    turn(peer);
    return POKE_HEADER + len;
}

/* One message; how many bytes of the input it took, 0 when the peer is gone. */
static size_t say(Peer *peer, const uint8_t *data, size_t size)
{
    size_t n_fds = data[0] & 15, len = size - 1;
    uint32_t header[3] = {0};
    int fds[MAX_FDS] = {0};
    bool sent;

    memcpy(header, data + 1, MIN(len, sizeof(header)));
    len = MIN(len, sizeof(header) + MIN(header[2], (uint32_t)VDS_VHOST_USER_MAX_PAYLOAD));
    if (len == 0) {
        return 0;
    }
    for (size_t i = 0; i < n_fds; i++) {
        fds[i] = open_kind(peer, (data[0] >> 4) & 7, header[0]);
    }
    sent = send_with_fds(peer->fd, data + 1, len, fds, n_fds, MSG_DONTWAIT);
    for (size_t i = 0; i < n_fds; i++) {
        vds_fd_close(&fds[i]);
    }
    turn(peer);
    return sent ? len + 1 : 0;
}

static void run(Peer *peer, const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < MAX_MESSAGES && size > 0; i++) {
        size_t taken = (data[0] & 128 ? poke : say)(peer, data, size);

        if (taken == 0) {
            break;
        }
        data += taken;
        size -= taken;
    }
}

static void check_next(Peer *peer)
{
    static const uint32_t get_features[] = {VDS_VHOST_USER_GET_FEATURES, 1, 0};
    uint32_t reply[5] = {0};
    ssize_t n = -1;

    vds_fd_close(&peer->fd);
    for (int i = 0; i < 200 && vds_vhost_user_backend_is_connected(peer->backend); i++) {
        turn_loop(peer);
    }
    peer->fd = vds_unix_connect(peer->path, NULL);
    g_assert(peer->fd >= 0);
    g_assert(send_with_fds(peer->fd, get_features, sizeof(get_features), NULL, 0, 0));
    for (int i = 0; i < 2000 && n < 0; i++) {
        g_main_context_iteration(NULL, FALSE);
        n = recv(peer->fd, reply, sizeof(reply), MSG_DONTWAIT);
    }
    g_assert(n == sizeof(reply) && reply[0] == VDS_VHOST_USER_GET_FEATURES);
}

/* ---- life ---- */

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    g_assert(dir);
    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}

static void begin(Peer *peer)
{
    peer->thread = vds_io_thread_new("fuzz");
    peer->memory = make_memory();
    peer->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop_init(&peer->loop, peer->thread, &loop_ops);
    peer->mailbox = vds_mailbox_new(NULL);
    peer->backend =
        vds_vhost_user_backend_new(&(VdsVhostUserBackendConfig){.path = peer->path,
                                                                .server = true,
                                                                .n_rings = LOOP_QUEUES,
                                                                .mailbox = peer->mailbox},
                                   peer->loop.device, NULL);
    peer->fd = vds_unix_connect(peer->path, NULL);
    g_assert(peer->backend && peer->fd >= 0 && peer->kick >= 0);
}

static void end(Peer *peer)
{
    vds_vhost_user_backend_free(peer->backend);
    vds_mailbox_run(peer->mailbox);
    vds_fd_close(&peer->fd);
    vds_virtio_device_free(peer->loop.device);
    vds_mailbox_free(peer->mailbox);
    vds_io_thread_unref(peer->thread);
    vds_fd_close(&peer->memory);
    vds_fd_close(&peer->kick);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *folder = g_dir_make_tmp("vds-fuzz-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "s", NULL);
    Peer peer = {.path = path};
    unsigned before;

    g_main_context_iteration(NULL, FALSE); /* the loop has a descriptor, too */
    before = count_fds();
    begin(&peer);
    run(&peer, data, size);
    check_next(&peer);
    end(&peer);
    /* A file that came is closed on a thread. */
    for (unsigned i = 0; i < 5000 && count_fds() != before; i++) {
        g_usleep(1000);
    }
    g_assert(count_fds() == before);
    g_assert(rmdir(folder) == 0);
    return 0;
}
