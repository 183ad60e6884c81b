/*
 * vhost_user: the back-end: I/O of each ring format, the lives of a device under one
 * front-end and several, ring states, what is refused and by which rule.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>

#include "vhost-fixture.h"

static VdsDeviceState device_of(const Served *served)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(served->device, &state);
    return state;
}

static VdsQueueState queue_of(const Served *served)
{
    VdsQueueState state = {0};

    assert_true(vds_virtio_device_get_queue(served->device, 0, &state));
    return state;
}

static void assert_refused(const Served *served, const char *rule)
{
    const char *refusal = vds_vhost_user_backend_get_refusal(served->backend);

    assert_non_null(refusal);
    if (!g_str_has_prefix(refusal, rule)) {
        fail_msg("refused with '%s', not by %s", refusal, rule);
    }
}

/* ---- the whole path -------------------------------------------------------------- */

static const uint64_t formats[] = {LOOP_SPLIT, LOOP_SPLIT_EVENT, LOOP_PACKED,
                                   LOOP_PACKED_EVENT};

static void test_requests_of_each_format(void **state)
{
    unsigned before = count_descriptors();

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        eventfd_t called = 0;
        Served served;

        served_init(&served);
        served_start(&served, formats[i]);
        for (unsigned k = 0; k < 20; k++) {
            served_ping(&served, "a request");
        }
        assert_int_equal(eventfd_read(served.call, &called), 0);
        assert_true(called > 0);
        served_clear(&served);
    }
    assert_int_equal(count_descriptors(), before);
}

/* Where a ring stops another one goes on. */
static void test_stop_and_go_on(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        uint32_t base;
        Served served;

        served_init(&served);
        served_start(&served, formats[i]);
        for (unsigned k = 0; k < 5; k++) {
            served_ping(&served, "before");
        }
        base = front_base(&served.front, 0);
        assert_int_equal(front_base(&served.front, 0), base); /* it stays stopped */
        if (!((formats[i] >> VDS_F_RING_PACKED) & 1)) {
            assert_int_equal(base, 5);
        }
        served_send(&served, 1, "unseen");
        assert_int_equal(eventfd_write(served.kick, 1), 0);
        assert_false(served_hears(&served, 1, "unseen", 20));
        /* the same ring again: what was made available meanwhile is found */
        served_set_up(&served, base);
        assert_true(served_hears(&served, 1, "unseen", 5000));
        served_ping(&served, "after");
        served_clear(&served);
    }
}

/* Requests under way are finished before the index is told. */
static void test_stop_waits_for_requests(void **state)
{
    VdsVhostUserMessage reply;
    Served served;

    served_init(&served);
    served.loop.park = true;
    served_start(&served, LOOP_SPLIT);
    served_send(&served, 0, "slow");
    served_kick(&served);
    for (int i = 0; i < 5000 && queue_of(&served).inuse == 0; i++) {
        front_turn();
    }
    front_ring(&served.front, VDS_VHOST_USER_GET_VRING_BASE, 0, 0);
    front_set(&served.front, VDS_VHOST_USER_SET_STATUS, 15); /* waits its turn */
    front_turn();
    assert_int_equal(front_try(&served.front, &reply), FRONT_NOTHING);
    loop_answer_parked(&served.loop);
    assert_int_equal(front_hear(&served.front, &reply), FRONT_REPLY);
    assert_int_equal(reply.u.ring.num, 1);
    assert_true(served_hears(&served, 0, "slow", 5000));
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS), 15);
    served_clear(&served);
}

/* A front-end that leaves meanwhile is not waited for, and nothing is written to memory
 * that is not ours any more. */
static void test_leaving_with_requests_under_way(void **state)
{
    unsigned before = count_descriptors();
    Served served;

    served_init(&served);
    served.loop.park = true;
    served_start(&served, LOOP_SPLIT);
    served_send(&served, 0, "slow");
    served_kick(&served);
    for (int i = 0; i < 5000 && queue_of(&served).inuse == 0; i++) {
        front_turn();
    }
    front_ring(&served.front, VDS_VHOST_USER_GET_VRING_BASE, 0, 0);
    front_turn();
    front_leave(&served.front);
    front_turn();
    assert_false(vds_vhost_user_backend_is_connected(served.backend));
    loop_answer_parked(&served.loop);
    assert_false(served_hears(&served, 0, "slow", 20));
    assert_int_equal(queue_of(&served).last_avail_idx, 1);
    served.loop.park = false;
    served_start(&served, LOOP_SPLIT);
    served_ping(&served, "again");
    served_clear(&served);
    assert_int_equal(count_descriptors(), before);
}

/* ---- lives ----------------------------------------------------------------------- */

/* SeaBIOS, then Linux: one connection, other features, memory sent once. */
static void test_two_drivers_on_one_connection(void **state)
{
    Served served;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    served_ping(&served, "firmware");
    served_enable(&served, 0);
    assert_int_equal(front_base(&served.front, 0), 1);
    for (int i = 0; i < 2; i++) { /* as QEMU says it: twice */
        served_features(&served, LOOP_PACKED_EVENT | SERVED_PROTOCOL_BIT);
    }
    served_ring(&served);
    served_set_up(&served, first_base(LOOP_PACKED_EVENT));
    served_enable(&served, 1);
    served_ping(&served, "system");
    assert_true(queue_of(&served).packed);
    served_clear(&served);
}

static void test_many_front_ends(void **state)
{
    unsigned before = 0;
    Served served;

    served_init(&served);
    for (unsigned i = 0; i < 50; i++) {
        served_start(&served, formats[i % G_N_ELEMENTS(formats)]);
        served_ping(&served, "hello");
        if (i % 3 == 0) {
            front_base(&served.front, 0);
        }
        front_leave(&served.front);
        front_turn();
        if (i == 4) {
            before = count_descriptors();
        }
    }
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(vds_vhost_user_backend_get_connections(served.backend), 50);
    assert_string_equal(vds_vhost_user_backend_get_reason(served.backend), "");
    served_clear(&served);
}

/* The second one's messages lie in its socket until the first is gone. */
static void test_a_second_front_end_waits(void **state)
{
    Front second;
    VdsVhostUserMessage message, reply;
    Served served;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    front_connect(&second, served.path);
    vds_vhost_user_message_init(&message, VDS_VHOST_USER_GET_FEATURES);
    front_send(&second, &message);
    served_ping(&served, "still mine");
    assert_int_equal(front_try(&second, &reply), FRONT_NOTHING);
    front_leave(&served.front);
    assert_int_equal(front_hear(&second, &reply), FRONT_REPLY);
    front_leave(&second);
    served_clear(&served);
}

static void test_reset_device_and_owner(void **state)
{
    static const uint32_t resets[] = {VDS_VHOST_USER_RESET_DEVICE,
                                      VDS_VHOST_USER_RESET_OWNER};

    for (size_t i = 0; i < G_N_ELEMENTS(resets); i++) {
        VdsVhostUserMessage message;
        Served served;

        served_init(&served);
        served_start(&served, LOOP_SPLIT);
        served_ping(&served, "before");
        vds_vhost_user_message_init(&message, resets[i]);
        message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
        assert_int_equal(front_ask(&served.front, &message), 0);
        served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT);
        served_ring(&served);
        served_set_up(&served, 0);
        served_send(&served, 0, "disabled");
        served_kick(&served);
        assert_false(served_hears(&served, 0, "disabled", 20));
        served_enable(&served, 1);
        assert_true(served_hears(&served, 0, "disabled", 5000));
        served_clear(&served);
    }
}

/* ---- ring states ----------------------------------------------------------------- */

/* V9: what was kicked before is found when the ring is enabled. */
static void test_kick_before_enable(void **state)
{
    Served served;

    served_init(&served);
    served_greet(&served);
    served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT);
    assert_int_equal(served_memory(&served), 0);
    served_ring(&served);
    served_set_up(&served, 0);
    served_send(&served, 0, "early");
    served_kick(&served);
    front_turn();
    assert_false(served_hears(&served, 0, "early", 20));
    served_enable(&served, 1);
    assert_true(served_hears(&served, 0, "early", 5000));
    served_clear(&served);
}

/* As virtio-net's front-end does, and in any other order. */
static void test_enable_before_anything(void **state)
{
    Served served;

    served_init(&served);
    served_greet(&served);
    served_enable(&served, 1);
    served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT);
    served_ring(&served);
    served_kick_fd(&served);
    served_address(&served, 0);
    front_ring(&served.front, VDS_VHOST_USER_SET_VRING_NUM, 0, LOOP_NUM);
    assert_int_equal(served_memory(&served), 0);
    served_ping(&served, "any order");
    served_call(&served);
    served_ping(&served, "a call descriptor comes late");
    served_clear(&served);
}

static void test_no_protocol_features(void **state)
{
    Served served;

    served_init(&served);
    front_connect(&served.front, served.path);
    served_features(&served, LOOP_SPLIT);
    served_ring(&served);
    {
        VdsVhostUserMessage message;

        vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_MEM_TABLE);
        message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY; /* means nothing here */
        message.u.memory.n = 1;
        message.u.memory.regions[0] = (VdsVhostUserRegion){0, SERVED_RAM, SERVED_UVA, 0};
        vds_vhost_user_message_add_fd(&message, dup(vds_guest_ram_get_fd(served.ram)));
        front_send(&served.front, &message);
    }
    served_set_up(&served, 0);
    served_ping(&served, "enabled from the start");
    served_clear(&served);
}

static void test_a_ring_without_kicks_is_polled(void **state)
{
    Served served;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    front_ring_fd(&served.front, VDS_VHOST_USER_SET_VRING_KICK, 0, -1);
    front_turn();
    served_send(&served, 0, "nobody kicks");
    assert_true(served_hears(&served, 0, "nobody kicks", 5000));
    served_clear(&served);
}

static void test_addresses_of_a_running_ring(void **state)
{
    VdsVhostUserMessage message;
    Served served;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    served_ping(&served, "here");
    served_address(&served, 0); /* the same: the front-end turns the log on or off */
    served_ping(&served, "still here");
    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_VRING_ADDR);
    message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    message.u.address = (VdsVhostUserRingAddress){.desc = 0x1000};
    assert_int_equal(front_ask(&served.front, &message), 1);
    assert_refused(&served, "C3");
    served_ping(&served, "and still");
    served_clear(&served);
}

/* ---- memory ---------------------------------------------------------------------- */

static uint64_t region_message(Served *served, uint32_t request,
                               const VdsVhostUserRegion *region, int fd)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, request);
    message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    message.u.region.region = *region;
    vds_vhost_user_message_add_fd(&message, fd < 0 ? fd : dup(fd));
    return front_ask(&served->front, &message);
}

/* Dozens of regions, added and removed under a ring that goes on. */
static void test_memory_slots(void **state)
{
    enum { PAGE = 4096, SLOTS = 60 };
    Served served;
    uint64_t most;
    int fd;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    fd = vds_guest_ram_get_fd(served.ram);
    most = front_get(&served.front, VDS_VHOST_USER_GET_MAX_MEM_SLOTS);
    assert_true(most >= SLOTS);
    for (uint64_t i = 0; i < SLOTS; i++) {
        const VdsVhostUserRegion region = {SERVED_RAM + i * 2 * PAGE, PAGE,
                                           SERVED_UVA + SERVED_RAM + i * 2 * PAGE,
                                           i * PAGE};

        assert_int_equal(region_message(&served, VDS_VHOST_USER_ADD_MEM_REG, &region, fd),
                         0);
        served_ping(&served, "added");
    }
    assert_int_equal(device_of(&served).vhost.n_mem_sections, SLOTS + 1);
    for (uint64_t i = 0; i < SLOTS; i++) {
        const VdsVhostUserRegion region = {SERVED_RAM + i * 2 * PAGE, PAGE,
                                           SERVED_UVA + SERVED_RAM + i * 2 * PAGE, 0};

        assert_int_equal(
            region_message(&served, VDS_VHOST_USER_REM_MEM_REG, &region, i % 2 ? fd : -1),
            0);
    }
    served_ping(&served, "removed");
    assert_int_equal(device_of(&served).vhost.n_mem_sections, 1);
    served_clear(&served);
}

/* QEMU before 8.0 tells of each region once for every pair of a network card, and takes
 * it back as often. */
static void test_memory_told_more_than_once(void **state)
{
    enum { TIMES = 2, LEN = 4096 };
    const VdsVhostUserRegion region = {SERVED_RAM, LEN, SERVED_UVA + SERVED_RAM, LEN};
    VdsVhostUserRegion other = region;
    Served served;
    int fd;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    fd = vds_guest_ram_get_fd(served.ram);
    for (int i = 0; i < TIMES; i++) {
        assert_int_equal(region_message(&served, VDS_VHOST_USER_ADD_MEM_REG, &region, fd),
                         0);
        assert_int_equal(device_of(&served).vhost.n_mem_sections, 2);
    }
    other.offset = 0; /* the same place, and other bytes there */
    assert_int_equal(region_message(&served, VDS_VHOST_USER_ADD_MEM_REG, &other, fd), 1);
    assert_refused(&served, "C6");
    for (uint64_t left = TIMES; left-- > 0;) {
        assert_int_equal(region_message(&served, VDS_VHOST_USER_REM_MEM_REG, &region, -1),
                         0);
        assert_int_equal(device_of(&served).vhost.n_mem_sections, left > 0 ? 2 : 1);
    }
    assert_int_equal(region_message(&served, VDS_VHOST_USER_REM_MEM_REG, &region, -1), 1);
    assert_refused(&served, "C6");
    served_ping(&served, "unharmed");
    served_clear(&served);
}

static void test_memory_that_cannot_be(void **state)
{
    static const struct {
        const char *rule;
        VdsVhostUserRegion region;
    } rows[] = {
        {"V5", {SERVED_RAM, 0, SERVED_UVA + SERVED_RAM, 0}},
        {"V5", {UINT64_MAX - 4095, 0x2000, SERVED_UVA + SERVED_RAM, 0}},
        {"V5", {SERVED_RAM, 0x2000, UINT64_MAX - 4095, 0}},
        {"V5", {SERVED_RAM, 0x2000, SERVED_UVA + SERVED_RAM, UINT64_MAX - 4095}},
        {"C6", {SERVED_RAM, 0x2000, SERVED_UVA + SERVED_RAM, SERVED_RAM - 0x1000}},
        {"C6", {SERVED_RAM - 0x1000, 0x2000, SERVED_UVA + SERVED_RAM, 0}},
        {"C6", {SERVED_RAM, 0x2000, SERVED_UVA + SERVED_RAM - 0x1000, 0}},
    };
    Served served;
    int fd;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    fd = vds_guest_ram_get_fd(served.ram);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        assert_int_equal(
            region_message(&served, VDS_VHOST_USER_ADD_MEM_REG, &rows[i].region, fd), 1);
        assert_refused(&served, rows[i].rule);
    }
    assert_int_equal(
        region_message(&served, VDS_VHOST_USER_REM_MEM_REG, &rows[0].region, -1), 1);
    assert_refused(&served, "C6");
    served_ping(&served, "unharmed");
    served_clear(&served);
}

/* ---- what is refused ------------------------------------------------------------- */

static void greet_only(Served *served)
{
    served_greet(served);
}

static void start_split(Served *served)
{
    served_start(served, LOOP_SPLIT);
}

static const struct {
    const char *rule;
    void (*prepare)(Served *served);
    uint32_t request;
    uint64_t word; /* the payload's first */
    VdsVhostUserError code;
} refusals[] = {
    {"SET_FEATURES", greet_only, VDS_VHOST_USER_SET_FEATURES, LOOP_BIT(33), 0},
    {"SET_FEATURES", greet_only, VDS_VHOST_USER_SET_FEATURES, LOOP_BIT(50), 0},
    {"SET_PROTOCOL", greet_only, VDS_VHOST_USER_SET_PROTOCOL_FEATURES, LOOP_BIT(63), 0},
    {"C8", start_split, VDS_VHOST_USER_SET_FEATURES, LOOP_SPLIT_EVENT, 0},
    {"C8", start_split, VDS_VHOST_USER_SET_VRING_NUM, UINT64_C(4) << 32, 0},
    {"C8", start_split, VDS_VHOST_USER_SET_VRING_BASE, UINT64_C(4) << 32, 0},
    {"C1", greet_only, VDS_VHOST_USER_SET_VRING_NUM, 0, 0},
    {"C1", greet_only, VDS_VHOST_USER_SET_VRING_NUM, UINT64_C(32769) << 32, 0},
    {"C2", greet_only, VDS_VHOST_USER_SET_VRING_ADDR, 0, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_NUM, 2, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_NUM, UINT32_MAX, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_ADDR, 2, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_BASE, 2, 0},
    {"V4", greet_only, VDS_VHOST_USER_GET_VRING_BASE, 2, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_ENABLE, 2, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_KICK, 2 | 0x100, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_CALL, 0xff | 0x100, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_ERR, 0x80 | 0x100, 0},
    {"V4", greet_only, VDS_VHOST_USER_SET_VRING_CALL, 0x300, 0},
    {"V1", greet_only, VDS_VHOST_USER_SET_VRING_ENABLE, UINT64_C(2) << 32, 0},
    {"V1", greet_only, VDS_VHOST_USER_SET_STATUS, 0x100, 0},
    {"V2", greet_only, VDS_VHOST_USER_SET_VRING_ENDIAN, 0, 0},
    {"V2", greet_only, VDS_VHOST_USER_NET_SET_MTU, 1500, 0},
    {"V2", greet_only, VDS_VHOST_USER_IOTLB_MSG, 0, 0},
    {"V2", greet_only, VDS_VHOST_USER_POSTCOPY_LISTEN, 0, 0},
};

static void send_refused(Served *served, size_t i, bool ask)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, refusals[i].request);
    message.u.u64 = refusals[i].word;
    message.flags |= ask ? VDS_VHOST_USER_FLAG_NEED_REPLY : 0;
    if (refusals[i].request == VDS_VHOST_USER_SET_VRING_ADDR && refusals[i].word == 0) {
        message.u.address.desc = 1;
    }
    front_send(&served->front, &message);
}

/* The connection ends, the reason begins with the rule, and the next one finds a device
 * that works. */
static void test_what_ends_a_connection(void **state)
{
    unsigned before = count_descriptors();
    Served served;

    served_init(&served);
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        refusals[i].prepare(&served);
        send_refused(&served, i, false);
        front_expect_closed(&served.front);
        assert_refused(&served, refusals[i].rule);
        assert_string_equal(vds_vhost_user_backend_get_reason(served.backend),
                            vds_vhost_user_backend_get_refusal(served.backend));
        front_leave(&served.front);
    }
    served_start(&served, LOOP_SPLIT);
    served_ping(&served, "alive");
    served_clear(&served);
    assert_int_equal(count_descriptors(), before);
}

/* Who asks how it went is told, and goes on; a message that is none ends it anyway. */
static void test_what_is_answered(void **state)
{
    Served served;

    served_init(&served);
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        const VdsVhostUserKind *kind =
            vds_vhost_user_kind(VDS_VHOST_USER_MAIN, refusals[i].request);
        VdsVhostUserMessage reply;

        refusals[i].prepare(&served);
        send_refused(&served, i, true);
        if (kind->replies || g_str_equal(refusals[i].rule, "V2")) {
            front_expect_closed(&served.front);
        } else {
            assert_int_equal(front_hear(&served.front, &reply), FRONT_REPLY);
            assert_int_equal(reply.size, 8);
            assert_int_equal(reply.u.u64, 1);
            front_get(&served.front, VDS_VHOST_USER_GET_FEATURES);
        }
        assert_refused(&served, refusals[i].rule);
        front_leave(&served.front);
        front_turn();
    }
    served_clear(&served);
}

static void test_bytes_that_are_no_message(void **state)
{
    static const uint32_t header[] = {VDS_VHOST_USER_SET_FEATURES, 1, 8};
    unsigned before;
    Served served;
    int fds[40];

    served_init(&served);
    before = count_descriptors();
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
    }
    for (size_t n = 1; n <= G_N_ELEMENTS(fds); n += 13) { /* V3, also beyond our room */
        front_connect(&served.front, served.path);
        front_send_bytes(&served.front, header, sizeof(header), fds, n);
        front_set(&served.front, VDS_VHOST_USER_SET_FEATURES, 0);
        front_turn();
        front_leave(&served.front);
        front_turn();
        assert_refused(&served, "V3");
    }
    front_connect(&served.front, served.path);
    front_send_bytes(&served.front, header, 7, NULL, 0); /* V12 */
    front_turn();
    front_leave(&served.front);
    front_turn();
    assert_refused(&served, "V12");
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        close(fds[i]);
    }
    assert_int_equal(count_descriptors(), before);
    served_clear(&served);
}

/* ---- the device ------------------------------------------------------------------ */

static void config_message(VdsVhostUserMessage *message, uint32_t request,
                           uint32_t offset, uint32_t size, uint32_t flags)
{
    vds_vhost_user_message_init(message, request);
    message->u.config =
        (VdsVhostUserConfigSpace){.offset = offset, .size = size, .flags = flags};
}

static void test_config_space(void **state)
{
    VdsVhostUserMessage message, reply;
    uint8_t bytes[2];
    Served served;

    served_init(&served);
    served_greet(&served);
    config_message(&message, VDS_VHOST_USER_GET_CONFIG, 1, 3, 0);
    front_send(&served.front, &message);
    assert_int_equal(front_hear(&served.front, &reply), FRONT_REPLY);
    assert_int_equal(reply.size, 15);
    assert_memory_equal(reply.u.config.bytes, "123", 3);
    /* outside: an answer without payload */
    config_message(&message, VDS_VHOST_USER_GET_CONFIG, 7, 2, 0);
    front_send(&served.front, &message);
    assert_int_equal(front_hear(&served.front, &reply), FRONT_REPLY);
    assert_int_equal(reply.size, 0);
    config_message(&message, VDS_VHOST_USER_GET_CONFIG, UINT32_MAX, 2, 0);
    front_send(&served.front, &message);
    assert_int_equal(front_hear(&served.front, &reply), FRONT_REPLY);
    assert_int_equal(reply.size, 0);

    config_message(&message, VDS_VHOST_USER_SET_CONFIG, 4, 2, 0);
    message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    memcpy(message.u.config.bytes, "ab", 2);
    assert_int_equal(front_ask(&served.front, &message), 0);
    assert_true(vds_virtio_driver_read_config(served.device, 4, bytes, 2, NULL, NULL));
    assert_memory_equal(bytes, "ab", 2);
    for (uint32_t flags = 0; flags < 3; flags++) { /* read-only, migration, nonsense */
        config_message(&message, VDS_VHOST_USER_SET_CONFIG, 0, 2, flags);
        message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
        memcpy(message.u.config.bytes, "ab", 2);
        assert_int_equal(front_ask(&served.front, &message), 1);
    }
    config_message(&message, VDS_VHOST_USER_SET_CONFIG, 0, 2, 1); /* as it is */
    message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    memcpy(message.u.config.bytes, "01", 2);
    assert_int_equal(front_ask(&served.front, &message), 0);
    served_clear(&served);
}

static void test_status(void **state)
{
    Served served;

    served_init(&served);
    served_greet(&served);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS), 0);
    served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT);
    /* DPDK asks at once whether it was taken, QEMU sets single bits */
    assert_int_equal(front_set_acked(&served.front, VDS_VHOST_USER_SET_STATUS, 8), 0);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS), 8);
    assert_int_equal(device_of(&served).status, 11);
    assert_int_equal(served_memory(&served), 0);
    served_ring(&served);
    served_set_up(&served, 0);
    served_enable(&served, 1);
    served_ping(&served, "derived");
    assert_int_equal(device_of(&served).status, 15);
    assert_int_equal(front_set_acked(&served.front, VDS_VHOST_USER_SET_STATUS, 15), 0);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS), 15);
    assert_int_equal(front_set_acked(&served.front, VDS_VHOST_USER_SET_STATUS, 0), 0);
    assert_int_equal(device_of(&served).status, 0);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS), 0);
    /* enabled as before, and started again */
    served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT);
    served_ring(&served);
    served_set_up(&served, 0);
    served_ping(&served, "after a reset");
    served_clear(&served);
}

/* A broken device tells its front-end in every way that it was given. */
static void test_config_changes_and_errors(void **state)
{
    VdsVhostUserDecoder decoder;
    VdsVhostUserMessage message;
    uint8_t *to;
    size_t want;
    Served served;
    int pair[2], err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    eventfd_t count = 0;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_BACKEND_REQ_FD);
    message.flags |= VDS_VHOST_USER_FLAG_NEED_REPLY;
    vds_vhost_user_message_add_fd(&message, pair[1]);
    assert_int_equal(front_ask(&served.front, &message), 0);
    front_ring_fd(&served.front, VDS_VHOST_USER_SET_VRING_ERR, 0, dup(err));
    served_ping(&served, "well");
    vds_virtio_device_set_config(served.device, 0, "X", 1);
    front_turn();
    vds_vhost_user_decoder_init(&decoder, VDS_VHOST_USER_BACKEND, false);
    want = vds_vhost_user_decoder_want(&decoder, &to);
    assert_int_equal(read(pair[0], to, want), VDS_VHOST_USER_HEADER_BYTES);
    assert_int_equal(
        vds_vhost_user_decoder_push(&decoder, VDS_VHOST_USER_HEADER_BYTES, NULL, 0, NULL),
        VDS_VHOST_USER_MESSAGE);
    vds_vhost_user_decoder_take(&decoder, &message);
    assert_int_equal(message.request, VDS_VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    assert_int_equal(message.flags, VDS_VHOST_USER_VERSION); /* nobody waits */
    assert_true(eventfd_read(err, &count) != 0);
    vds_virtio_device_break(served.device, "S1: a test");
    front_turn();
    assert_int_equal(eventfd_read(err, &count), 0);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS) & 64, 64);
    close(pair[0]);
    close(err);
    front_turn();
    served_clear(&served);
}

/* ---- a migration ----------------------------------------------------------------- */

static uint64_t transfer(Served *served, uint32_t direction, uint32_t phase, int fd)
{
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_DEVICE_STATE_FD);
    message.u.transfer = (VdsVhostUserTransfer){direction, phase};
    vds_vhost_user_message_add_fd(&message, fd);
    return front_ask(&served->front, &message);
}

/* There is no state: an empty one comes out, and goes in. */
static void test_device_state(void **state)
{
    unsigned before = count_descriptors();
    Served served;
    int ends[2];
    char byte;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(transfer(&served, 0, 0, dup(ends[1])), 0x101); /* a ring runs */
    front_base(&served.front, 0);
    assert_int_equal(transfer(&served, 2, 0, dup(ends[1])), 0x101);
    assert_int_equal(transfer(&served, 0, 1, dup(ends[1])), 0x101);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_CHECK_DEVICE_STATE), 1);
    assert_int_equal(transfer(&served, 0, 0, ends[1]), 0x100);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_CHECK_DEVICE_STATE), 0);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_CHECK_DEVICE_STATE), 1);
    close(ends[0]);
    for (unsigned bytes = 0; bytes < 2; bytes++) {
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(transfer(&served, 1, 0, ends[0]), 0x100);
        assert_int_equal(write(ends[1], "xx", bytes), bytes);
        close(ends[1]);
        assert_int_equal(front_get(&served.front, VDS_VHOST_USER_CHECK_DEVICE_STATE),
                         bytes);
    }
    served_clear(&served);
    assert_int_equal(count_descriptors(), before);
}

/* ---- what queries see ------------------------------------------------------------ */

static void test_what_queries_see(void **state)
{
    VdsVhostState vhost;
    VdsQueueState queue;
    Served served;

    served_init(&served);
    assert_false(device_of(&served).vhost_started);
    served_start(&served, LOOP_SPLIT_EVENT);
    served_ping(&served, "one");
    vhost = device_of(&served).vhost;
    assert_true(device_of(&served).vhost_started);
    assert_int_equal(vhost.n_mem_sections, 1);
    assert_int_equal(vhost.nvqs, LOOP_QUEUES);
    assert_int_equal(vhost.max_queues, LOOP_QUEUES);
    assert_int_equal(vhost.protocol_features, SERVED_PROTOCOL);
    assert_int_equal(vhost.acked_features.word[0], LOOP_SPLIT_EVENT);
    assert_int_equal(vhost.backend_features.word[0], SERVED_PROTOCOL_BIT);
    assert_true(vds_features_has(&vhost.features, VDS_VHOST_USER_F_PROTOCOL_FEATURES));
    queue = queue_of(&served);
    assert_true(queue.has_vhost);
    assert_int_equal(queue.desc, DESC);
    assert_int_equal(queue.vhost.desc, SERVED_UVA + DESC);
    assert_int_equal(queue.vhost.avail, SERVED_UVA + AVAIL);
    assert_int_equal(queue.vhost.used, SERVED_UVA + USED);
    assert_true(queue.vhost.kick > 2 && queue.vhost.call > 2);
    assert_int_equal(fcntl((int)queue.vhost.kick, F_GETFD), FD_CLOEXEC);
    assert_int_equal(queue.last_avail_idx, 1);

    front_leave(&served.front);
    front_turn();
    queue = queue_of(&served);
    assert_int_equal(queue.last_avail_idx, 1);
    assert_int_equal(queue.used_idx, 1);
    assert_int_equal(queue.desc, DESC);
    assert_true(vds_guest_map_has(queue.map, 0, SERVED_RAM));
    assert_int_equal(device_of(&served).vhost.n_mem_sections, 1);
    assert_int_equal(device_of(&served).status, 15);
    served_clear(&served);
}

/* ---- the socket ------------------------------------------------------------------ */

static void test_connecting(void **state)
{
    VdsVhostUserBackendConfig config = {.server = false, .reconnect_s = 1};
    g_autoptr(VdsVhostUserBackend) backend = NULL;
    g_autoptr(GError) error = NULL;
    struct stat identity;
    Served served;
    g_autofree char *path = NULL;
    VDS_AUTO_FD listener = -1;

    served_init(&served);
    path = g_build_filename(served.folder, "front", NULL);
    config.path = path;
    config.mailbox = served.mailbox;
    /* nobody there: it is tried again */
    backend = vds_vhost_user_backend_new(&config, served.device, &error);
    assert_non_null(backend);
    assert_false(vds_vhost_user_backend_is_connected(backend));
    assert_true(*vds_vhost_user_backend_get_reason(backend));
    listener = vds_unix_listen(path, &identity, NULL);
    for (int i = 0; i < 3000 && !vds_vhost_user_backend_is_connected(backend); i++) {
        front_turn();
    }
    front_take(&served.front, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    assert_true(front_get(&served.front, VDS_VHOST_USER_GET_FEATURES) != 0);
    vds_unix_unlink(path, &identity);
    g_clear_pointer(&backend, vds_vhost_user_backend_free);
    /* once means once */
    config.reconnect_s = 0;
    assert_null(vds_vhost_user_backend_new(&config, served.device, &error));
    assert_true(g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM));
    served_clear(&served);
}

static void test_a_live_socket_is_not_replaced(void **state)
{
    g_autoptr(GError) error = NULL;
    struct stat found;
    Served served;

    served_init(&served);
    assert_int_equal(stat(served.path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_null(vds_vhost_user_backend_new(
        &(VdsVhostUserBackendConfig){
            .path = served.path, .server = true, .mailbox = served.mailbox},
        served.device, &error));
    assert_true(g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_IN_USE));
    served_clear(&served);
}

static void test_dropped(void **state)
{
    Served served;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    served_ping(&served, "here");
    vds_vhost_user_backend_drop(served.backend, "the machine was reset");
    front_expect_closed(&served.front);
    assert_string_equal(vds_vhost_user_backend_get_reason(served.backend),
                        "the machine was reset");
    front_leave(&served.front);
    served_start(&served, LOOP_SPLIT);
    served_ping(&served, "again");
    served_clear(&served);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_of_each_format),
        cmocka_unit_test(test_stop_and_go_on),
        cmocka_unit_test(test_stop_waits_for_requests),
        cmocka_unit_test(test_leaving_with_requests_under_way),
        cmocka_unit_test(test_two_drivers_on_one_connection),
        cmocka_unit_test(test_many_front_ends),
        cmocka_unit_test(test_a_second_front_end_waits),
        cmocka_unit_test(test_reset_device_and_owner),
        cmocka_unit_test(test_kick_before_enable),
        cmocka_unit_test(test_enable_before_anything),
        cmocka_unit_test(test_no_protocol_features),
        cmocka_unit_test(test_a_ring_without_kicks_is_polled),
        cmocka_unit_test(test_addresses_of_a_running_ring),
        cmocka_unit_test(test_memory_slots),
        cmocka_unit_test(test_memory_told_more_than_once),
        cmocka_unit_test(test_memory_that_cannot_be),
        cmocka_unit_test(test_what_ends_a_connection),
        cmocka_unit_test(test_what_is_answered),
        cmocka_unit_test(test_bytes_that_are_no_message),
        cmocka_unit_test(test_config_space),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_config_changes_and_errors),
        cmocka_unit_test(test_device_state),
        cmocka_unit_test(test_what_queries_see),
        cmocka_unit_test(test_connecting),
        cmocka_unit_test(test_a_live_socket_is_not_replaced),
        cmocka_unit_test(test_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
