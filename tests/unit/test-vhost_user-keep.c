/*
 * vhost_user: what a front-end keeps beside a back-end: a log of the pages that were
 * written, and the requests that are in flight.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vhost-fixture.h"

static int shared_file(uint64_t len, uint8_t **bytes)
{
    int fd = memfd_create("kept", MFD_CLOEXEC);

    assert_true(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
    *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(*bytes, MAP_FAILED);
    return fd;
}

/* ---- the log --------------------------------------------------------------------- */

enum { LOG_BYTES = 64, USED_LOGGED_AT = 0x150000 };

static void log_message(Served *served, uint64_t size, uint64_t offset, int fd)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_LOG_BASE);
    message.u.log = (VdsVhostUserLog){size, offset};
    vds_vhost_user_message_add_fd(&message, dup(fd));
    front_send(&served->front, &message);
}

static void log_ring(Served *served, bool on)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_VRING_ADDR);
    message.u.address = (VdsVhostUserRingAddress){.flags = on,
                                                  .desc = SERVED_UVA + DESC,
                                                  .avail = SERVED_UVA + AVAIL,
                                                  .used = SERVED_UVA + USED,
                                                  .log = USED_LOGGED_AT};
    front_send(&served->front, &message);
    front_get(&served->front, VDS_VHOST_USER_GET_FEATURES); /* it was done */
}

static bool is_marked(const uint8_t *log, uint64_t gpa)
{
    uint64_t page = gpa / VDS_DIRTY_PAGE;

    return (log[page / 8] >> (page % 8)) & 1;
}

static unsigned count_marks(const uint8_t *log)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LOG_BYTES; i++) {
        n += (unsigned)__builtin_popcount(log[i]);
    }
    return n;
}

/* Exactly what was written: the answer, and the used ring where it is said to be; of a
 * packed ring its descriptors. */
static void log_of(uint64_t features)
{
    bool packed = (features >> VDS_F_RING_PACKED) & 1;
    VdsDeviceState seen;
    uint8_t *log;
    int fd = shared_file(LOG_BYTES, &log);
    VdsVhostUserMessage reply;
    Served served;

    served_init(&served);
    served_start(&served, features);
    served_ping(&served, "before");
    log_message(&served, LOG_BYTES, 0, fd);
    assert_int_equal(front_hear(&served.front, &reply), FRONT_REPLY);
    assert_int_equal(reply.request, VDS_VHOST_USER_SET_LOG_BASE);
    assert_int_equal(reply.u.u64, 0);
    served_ping(&served, "not yet");
    assert_int_equal(count_marks(log), 0);

    served_features(&served,
                    features | SERVED_PROTOCOL_BIT | LOOP_BIT(VDS_VHOST_F_LOG_ALL));
    log_ring(&served, true);
    vds_virtio_device_get_state(served.device, &seen);
    assert_true(seen.vhost.log_enabled);
    assert_int_equal(seen.vhost.log_size, LOG_BYTES / 8);
    memset(log, 0, LOG_BYTES);
    served_ping(&served, "logged");
    front_turn();
    assert_true(is_marked(log, BUFFERS));
    assert_true(is_marked(log, packed ? (uint64_t)DESC : (uint64_t)USED_LOGGED_AT));
    assert_int_equal(is_marked(log, USED_LOGGED_AT), !packed || count_marks(log) > 2);
    assert_true(count_marks(log) <= 3);

    served_features(&served, features | SERVED_PROTOCOL_BIT);
    log_ring(&served, false);
    memset(log, 0, LOG_BYTES);
    served_ping(&served, "not any more");
    front_turn();
    assert_int_equal(count_marks(log), 0);
    served_clear(&served);
    munmap(log, LOG_BYTES);
    close(fd);
}

static void test_log(void **state)
{
    unsigned before = count_descriptors();

    log_of(LOOP_SPLIT);
    log_of(LOOP_SPLIT_EVENT);
    log_of(LOOP_PACKED);
    assert_int_equal(count_descriptors(), before);
}

/* V7: an error in a log ends the connection: its answer is read by nobody. */
static void test_logs_that_cannot_be(void **state)
{
    static const struct {
        uint64_t size, offset;
        bool logging; /* it counts only then */
    } rows[] = {
        {0, 0, false},
        {LOG_BYTES, UINT64_MAX - LOG_BYTES + 2, false},
        {LOG_BYTES, 4096, false},
        {UINT64_MAX, 0, false},
        {8, 0, true}, /* for less memory than there is */
    };
    uint8_t *log;
    int fd = shared_file(LOG_BYTES, &log);
    Served served;

    served_init(&served);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        served_start(&served, LOOP_SPLIT);
        if (rows[i].logging) {
            served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT |
                                         LOOP_BIT(VDS_VHOST_F_LOG_ALL));
        }
        log_message(&served, rows[i].size, rows[i].offset, fd);
        front_expect_closed(&served.front);
        assert_refused(&served, "V7");
        front_leave(&served.front);
    }
    served_clear(&served);
    munmap(log, LOG_BYTES);
    close(fd);
}

/* ---- requests in flight ---------------------------------------------------------- */

typedef struct {
    VdsVhostUserInflight told;
    int fd; /* as a front-end keeps it */
} Kept;

static void inflight_message(VdsVhostUserMessage *message, uint32_t request,
                             const VdsVhostUserInflight *told)
{
    vds_vhost_user_message_init(message, request);
    message->flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    message->u.inflight = *told;
}

static void get_region(Served *served, Kept *kept)
{
    const VdsVhostUserInflight wanted = {.n_queues = LOOP_QUEUES, .queue_size = LOOP_NUM};
    VdsVhostUserMessage message, reply;

    inflight_message(&message, VDS_VHOST_USER_GET_INFLIGHT_FD, &wanted);
    front_send(&served->front, &message);
    assert_int_equal(front_hear(&served->front, &reply), FRONT_REPLY);
    assert_int_equal(reply.n_fds, 1);
    assert_true(reply.u.inflight.size > 0);
    assert_int_equal(reply.u.inflight.n_queues, LOOP_QUEUES);
    assert_int_equal(reply.u.inflight.queue_size, LOOP_NUM);
    kept->told = reply.u.inflight;
    kept->fd = vds_vhost_user_message_steal_fd(&reply, 0);
}

static uint64_t give_region(Served *served, const Kept *kept)
{
    VdsVhostUserMessage message;

    inflight_message(&message, VDS_VHOST_USER_SET_INFLIGHT_FD, &kept->told);
    vds_vhost_user_message_add_fd(&message, dup(kept->fd));
    return front_ask(&served->front, &message);
}

/* What QEMU sends from SET_FEATURES on, with the region. */
static void begin(Served *served, Kept *kept, uint64_t features, uint32_t base)
{
    served_greet(served);
    served_features(served, features | SERVED_PROTOCOL_BIT);
    if (kept->fd < 0) {
        get_region(served, kept);
    }
    assert_int_equal(give_region(served, kept), 0);
    served_features(served, features | SERVED_PROTOCOL_BIT);
    assert_int_equal(served_memory(served), 0);
    if (!served->ring) {
        served_ring(served);
    }
    served_set_up(served, base);
    served_enable(served, 1);
}

/* A back-end is left with two requests under way; the next one does them. */
static void in_flight(uint64_t features)
{
    bool packed = (features >> VDS_F_RING_PACKED) & 1;
    Kept kept = {.fd = -1};
    Served served;

    served_init(&served);
    begin(&served, &kept, features, first_base(features));
    served_ping(&served, "done");
    served.loop.park = true;
    served_send(&served, 1, "first");
    served_send(&served, 2, "second");
    served_kick(&served);
    assert_true(served_waits(&served, 2));
    front_leave(&served.front);
    front_turn();
    loop_answer_parked(&served.loop); /* too late: it is not written */
    served.loop.park = false;
    begin(&served, &kept, features, packed ? 0x80018001 : 1); /* what was used so far */
    assert_true(served_hears(&served, 1, "first", 5000));
    assert_true(served_hears(&served, 2, "second", 5000));
    served_ping(&served, "and on");
    served_clear(&served);
    vds_fd_close(&kept.fd);
}

static void answer_last_task(void *user)
{
    Loopback *loop = user;
    VdsIo *io = loop->parked[--loop->n_parked];
    VdsVirtQueue *queue = io->queue;

    loop_answer(io);
    vds_virt_queue_flush(queue);
}

/* In order: what is done and waits for its turn was not told to anybody, so the next
 * back-end does it, too, and tells of all in order. */
static void held_back(uint64_t features)
{
    static const char *const texts[] = {NULL, "1", "2", "3"};
    bool packed = (features >> VDS_F_RING_PACKED) & 1;
    Kept kept = {.fd = -1};
    Served served;

    served_init(&served);
    begin(&served, &kept, features, first_base(features));
    served_ping(&served, "done");
    served.loop.park = true;
    for (unsigned i = 1; i < 4; i++) {
        served_send(&served, i, texts[i]);
    }
    served_kick(&served);
    assert_true(served_waits(&served, packed ? 6 : 3));
    vds_io_thread_call(served.thread, answer_last_task, &served.loop);
    assert_true(served_waits(&served, packed ? 6 : 3));
    assert_false(served_hears(&served, 3, "3", 10));
    front_leave(&served.front);
    front_turn();
    loop_answer_parked(&served.loop);
    served.loop.park = false;
    begin(&served, &kept, features, packed ? 0x80028002 : 1);
    for (unsigned i = 1; i < 4; i++) {
        assert_true(served_hears(&served, i, texts[i], 5000));
    }
    served_ping(&served, "and on");
    served_clear(&served);
    vds_fd_close(&kept.fd);
}

static void test_in_flight(void **state)
{
    static const uint64_t formats[] = {LOOP_SPLIT, LOOP_SPLIT_EVENT, LOOP_PACKED,
                                       LOOP_PACKED_EVENT};
    unsigned before = count_descriptors();

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        in_flight(formats[i]);
        in_flight(formats[i] | LOOP_BIT(VDS_F_IN_ORDER));
        held_back(formats[i] | LOOP_BIT(VDS_F_IN_ORDER));
    }
    assert_int_equal(count_descriptors(), before);
}

/* V8; and repeated messages leave nothing behind. */
static void test_regions_that_cannot_be(void **state)
{
    unsigned before = count_descriptors();
    Kept kept = {.fd = -1}, wrong;
    Served served;

    served_init(&served);
    served_greet(&served);
    served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT);
    for (int i = 0; i < 20; i++) {
        vds_fd_close(&kept.fd);
        get_region(&served, &kept);
        assert_int_equal(give_region(&served, &kept), 0);
    }
    for (int i = 0; i < 7; i++) {
        wrong = kept;
        wrong.told.n_queues = i == 0 ? 0 : i == 1 ? LOOP_QUEUES + 1 : LOOP_QUEUES;
        wrong.told.queue_size = i == 2 ? 0 : i == 3 ? 32769 : LOOP_NUM;
        wrong.told.size = i == 4 ? kept.told.size - 1 : kept.told.size;
        wrong.told.offset = i == 5 ? UINT64_MAX : i == 6 ? 4096 : 0;
        assert_int_equal(give_region(&served, &wrong), 1);
        assert_refused(&served, "V8");
    }
    served_clear(&served);
    vds_fd_close(&kept.fd);
    assert_int_equal(count_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_logs_that_cannot_be),
        cmocka_unit_test(test_in_flight),
        cmocka_unit_test(test_regions_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
