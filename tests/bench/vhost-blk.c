/*
 * A driver of a vhost-user disk without a guest: random reads of 4 KiB at a fixed depth.
 * Speaks to any back-end: ours, or another program's on the same day.  As a guest it
 * sleeps until it is interrupted; unlike one it costs next to nothing, so that the
 * back-end is what is measured.
 *
 * usage: bench-vhost-blk SOCKET DEPTH SECONDS
 * Prints requests, requests a second, how much processor time of its own a request took
 * (ns), and kicks and interrupts, each for a thousand requests.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "send-fds.h"
#include "vds/vhost_user.h"

enum { BLOCK = 4096, MAX_DEPTH = 256, NUM = 256, MEMORY = 16 << 20, SECTOR = 512 };
/* Requests between two looks at whether the device wants a kick. */
enum { KICK_EVERY = 16 };
/* Where the front-end claims that its memory begins. */
#define UVA UINT64_C(0x7e0000000000)

typedef struct {
    uint32_t type, reserved;
    uint64_t sector;
} Header;

/* What a request's page holds besides the data: nothing of it is shared with another. */
typedef struct {
    Header header;
    uint8_t status;
} Words;

typedef struct {
    Words *words;
    VdsSpan spans[3];
} Slot;

typedef struct {
    int fd, kick, call;
    VdsGuestRam *ram;
    uint8_t *memory; /* the RAM, for this process */
    VdsDriverRing *ring;
    VdsQueueState setup;
    Slot slots[MAX_DEPTH];
    uint64_t blocks; /* of BLOCK bytes on the disk; < 2^32 */
    uint64_t seed, done, kicks, calls;
} Front;

static void die(const char *what, GError *error)
{
    fprintf(stderr, "bench-vhost-blk: %s: %s\n", what,
            error ? error->message : g_strerror(errno));
    exit(1);
}

static void check(bool ok, const char *what, GError *error)
{
    if (!ok) {
        die(what, error);
    }
}

/* ---- messages ------------------------------------------------------------------------
 */

static void send_message(Front *front, VdsVhostUserMessage *message)
{
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    GError *error = NULL;
    size_t len = vds_vhost_user_message_pack(VDS_VHOST_USER_MAIN, message, bytes, &error);

    check(len > 0, "pack", error);
    check(send_with_fds(front->fd, bytes, len, message->fds, message->n_fds, 0),
          "sendmsg", NULL);
}

static void receive(Front *front, VdsVhostUserMessage *reply)
{
    VdsVhostUserDecoder decoder;
    VdsVhostUserStep step = VDS_VHOST_USER_MORE;
    GError *error = NULL;

    vds_vhost_user_decoder_init(&decoder, VDS_VHOST_USER_MAIN, true);
    while (step == VDS_VHOST_USER_MORE) {
        uint8_t *to;
        size_t want = vds_vhost_user_decoder_want(&decoder, &to);
        ssize_t n = recv(front->fd, to, want, 0);

        check(n > 0, "recv", NULL);
        step = vds_vhost_user_decoder_push(&decoder, (size_t)n, NULL, 0, &error);
    }
    check(step == VDS_VHOST_USER_MESSAGE, "reply", error);
    vds_vhost_user_decoder_take(&decoder, reply);
    vds_vhost_user_decoder_clear(&decoder);
}

static void tell_u64(Front *front, uint32_t request, uint64_t value, int fd)
{
    g_auto(VdsVhostUserMessage) message;

    vds_vhost_user_message_init(&message, request);
    message.u.u64 = value;
    if (fd >= 0) {
        vds_vhost_user_message_add_fd(&message, dup(fd));
    }
    send_message(front, &message);
}

static uint64_t ask_u64(Front *front, uint32_t request)
{
    g_auto(VdsVhostUserMessage) message;
    g_auto(VdsVhostUserMessage) reply;

    vds_vhost_user_message_init(&message, request);
    vds_vhost_user_message_init(&reply, request);
    send_message(front, &message);
    receive(front, &reply);
    return reply.u.u64;
}

static void tell_ring(Front *front, uint32_t request, uint32_t num)
{
    g_auto(VdsVhostUserMessage) message;

    vds_vhost_user_message_init(&message, request);
    message.u.ring = (VdsVhostUserRingState){.index = 0, .num = num};
    send_message(front, &message);
}

/* ---- the handshake -------------------------------------------------------------------
 */

static void negotiate(Front *front)
{
    const uint64_t bit30 = UINT64_C(1) << VDS_VHOST_USER_F_PROTOCOL_FEATURES;
    const uint64_t want = UINT64_C(1) << VDS_F_VERSION_1 |
                          UINT64_C(1) << VDS_F_RING_INDIRECT_DESC |
                          UINT64_C(1) << VDS_F_RING_EVENT_IDX | bit30;
    uint64_t offered = ask_u64(front, VDS_VHOST_USER_GET_FEATURES);
    uint64_t protocol = 0;

    if (offered & bit30) {
        protocol = ask_u64(front, VDS_VHOST_USER_GET_PROTOCOL_FEATURES) &
                   (1u << VDS_VHOST_USER_P_CONFIG | 1u << VDS_VHOST_USER_P_MQ);
        tell_u64(front, VDS_VHOST_USER_SET_PROTOCOL_FEATURES, protocol, -1);
    }
    tell_u64(front, VDS_VHOST_USER_SET_FEATURES, offered & want, -1);
    front->setup.event_idx = offered & (UINT64_C(1) << VDS_F_RING_EVENT_IDX);
}

static void read_capacity(Front *front)
{
    g_auto(VdsVhostUserMessage) message;
    g_auto(VdsVhostUserMessage) reply;
    uint64_t sectors;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_GET_CONFIG);
    vds_vhost_user_message_init(&reply, VDS_VHOST_USER_GET_CONFIG);
    message.u.config.size = 60; /* struct virtio_blk_config up to write zeroes */
    send_message(front, &message);
    receive(front, &reply);
    memcpy(&sectors, reply.u.config.bytes, sizeof(sectors));
    front->blocks = sectors / (BLOCK / SECTOR);
    check(front->blocks > 0 && front->blocks <= UINT32_MAX, "the disk's size", NULL);
}

static void share_memory(Front *front)
{
    g_auto(VdsVhostUserMessage) message;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_MEM_TABLE);
    message.u.memory.n = 1;
    message.u.memory.regions[0] = (VdsVhostUserRegion){.len = MEMORY, .uva = UVA};
    vds_vhost_user_message_add_fd(&message, dup(vds_guest_ram_get_fd(front->ram)));
    send_message(front, &message);
}

static uint64_t alloc(Front *front, uint64_t bytes)
{
    GError *error = NULL;
    uint64_t gpa = 0;

    check(vds_guest_ram_alloc(front->ram, bytes, 4096, &gpa, &error), "alloc", error);
    return gpa;
}

static void make_ring(Front *front)
{
    const VdsDriverTables tables = {alloc(front, NUM * 4 * 16), 4};
    GError *error = NULL;

    front->setup.map = vds_guest_ram_get_map(front->ram);
    front->setup.num = NUM;
    front->setup.desc = alloc(front, 16 * NUM);
    front->setup.avail = alloc(front, 8 * NUM);
    front->setup.used = alloc(front, 16 * NUM);
    front->ring = vds_driver_ring_new(&front->setup, VDS_VRING_INDIRECT, &tables, &error);
    check(front->ring != NULL, "ring", error);
}

static void start_ring(Front *front)
{
    g_auto(VdsVhostUserMessage) message;

    tell_ring(front, VDS_VHOST_USER_SET_VRING_NUM, NUM);
    tell_ring(front, VDS_VHOST_USER_SET_VRING_BASE, 0);
    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_VRING_ADDR);
    message.u.address = (VdsVhostUserRingAddress){.desc = UVA + front->setup.desc,
                                                  .used = UVA + front->setup.used,
                                                  .avail = UVA + front->setup.avail};
    send_message(front, &message);
    tell_u64(front, VDS_VHOST_USER_SET_VRING_CALL, 0, front->call);
    tell_u64(front, VDS_VHOST_USER_SET_VRING_KICK, 0, front->kick);
    tell_ring(front, VDS_VHOST_USER_SET_VRING_ENABLE, 1);
}

static void connect_to(Front *front, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    front->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(connect(front->fd, (struct sockaddr *)&address, sizeof(address)) == 0, path,
          NULL);
}

/* ---- the load ------------------------------------------------------------------------
 */

static uint64_t random_block(Front *front)
{
    front->seed ^= front->seed << 13; /* xorshift64 */
    front->seed ^= front->seed >> 7;
    front->seed ^= front->seed << 17;
    return (front->seed >> 32) * front->blocks >> 32;
}

static void make_slot(Front *front, Slot *slot)
{
    uint64_t words = alloc(front, BLOCK);

    slot->words = (Words *)(void *)(front->memory + words);
    slot->spans[0] = (VdsSpan){words + offsetof(Words, header), sizeof(Header)};
    slot->spans[1] = (VdsSpan){alloc(front, BLOCK), BLOCK};
    slot->spans[2] = (VdsSpan){words + offsetof(Words, status), 1};
}

static void post(Front *front, Slot *slot)
{
    const VdsBuffer buffer = {slot->spans, 1, 2, slot};
    GError *error = NULL;
    bool added = false;

    slot->words->header.sector = random_block(front) * (BLOCK / SECTOR);
    slot->words->status = 0xff;
    check(vds_driver_ring_add(front->ring, &buffer, &added, &error) && added, "post",
          error);
}

static void kick(Front *front)
{
    GError *error = NULL;
    bool wanted = false;

    check(vds_driver_ring_should_kick(front->ring, &wanted, &error), "kick", error);
    if (wanted) {
        check(eventfd_write(front->kick, 1) == 0, "kick", NULL);
        front->kicks++;
    }
}

/* What came back goes out again; true if there was any. */
static bool turn(Front *front)
{
    uint64_t before = front->done;
    VdsUsed used;
    GError *error = NULL;

    for (;;) {
        check(vds_driver_ring_get_used(front->ring, &used, &error), "used", error);
        if (!used.token) {
            break;
        }
        check(((Slot *)used.token)->words->status == 0, "a read failed", NULL);
        post(front, used.token);
        if (++front->done % KICK_EVERY == 0) {
            kick(front);
        }
    }
    kick(front);
    return front->done > before;
}

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void load(Front *front, unsigned depth, double length)
{
    double end = seconds(CLOCK_MONOTONIC) + length;
    struct pollfd wait = {.fd = front->call, .events = POLLIN};

    for (unsigned i = 0; i < depth; i++) {
        make_slot(front, &front->slots[i]);
        post(front, &front->slots[i]);
    }
    kick(front);
    while (seconds(CLOCK_MONOTONIC) < end) {
        eventfd_t ignored;

        if (turn(front)) {
            continue;
        }
        check(poll(&wait, 1, 5000) == 1, "no answer for 5 s", NULL);
        (void)eventfd_read(front->call, &ignored);
        front->calls++;
    }
}

int main(int argc, char **argv)
{
    Front front = {.seed = 88172645463325252u};
    const VdsGuestRamConfig memory = {.size = MEMORY, .seal = true};
    unsigned depth = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
    GError *error = NULL;
    double length, start, busy;

    if (depth == 0 || depth > MAX_DEPTH) {
        fprintf(stderr, "usage: bench-vhost-blk SOCKET DEPTH SECONDS\n");
        return 2;
    }
    length = g_ascii_strtod(argv[3], NULL);
    front.ram = vds_guest_ram_new(&memory, &error);
    check(front.ram != NULL, "memory", error);
    front.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED,
                        vds_guest_ram_get_fd(front.ram), 0);
    check(front.memory != MAP_FAILED, "mmap", NULL);
    front.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    front.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    connect_to(&front, argv[1]);
    tell_u64(&front, VDS_VHOST_USER_SET_OWNER, 0, -1);
    negotiate(&front);
    read_capacity(&front);
    share_memory(&front);
    make_ring(&front);
    start_ring(&front);
    start = seconds(CLOCK_MONOTONIC);
    busy = seconds(CLOCK_PROCESS_CPUTIME_ID);
    load(&front, depth, length);
    length = seconds(CLOCK_MONOTONIC) - start;
    busy = seconds(CLOCK_PROCESS_CPUTIME_ID) - busy;
    printf("%" PRIu64 " %.0f %.0f %.2f %.2f\n", front.done, (double)front.done / length,
           busy * 1e9 / (double)front.done,
           (double)front.kicks * 1e3 / (double)front.done,
           (double)front.calls * 1e3 / (double)front.done);
    /* The process ends here: everything goes with it. */
    return 0;
}
