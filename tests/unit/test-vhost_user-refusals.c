/*
 * vhost_user: memory that a front-end tells of, and what a back-end refuses, by which
 * rule and how.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>

#include "vhost-fixture.h"

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

/* As many regions as are promised, added and removed under a ring that goes on. */
static void test_memory_slots(void **state)
{
    enum { PAGE = 4096, SLOTS = 508 };
    Served served;
    uint64_t most;
    int fd;

    served_init(&served);
    served_start(&served, LOOP_SPLIT);
    fd = vds_guest_ram_get_fd(served.ram);
    most = front_get(&served.front, VDS_VHOST_USER_GET_MAX_MEM_SLOTS);
    assert_int_equal(most, SLOTS + 1);
    for (uint64_t i = 0; i < SLOTS; i++) {
        const VdsVhostUserRegion region = {SERVED_RAM + i * 2 * PAGE, PAGE,
                                           SERVED_UVA + SERVED_RAM + i * 2 * PAGE,
                                           i % (SERVED_RAM / PAGE) * PAGE};

        assert_int_equal(region_message(&served, VDS_VHOST_USER_ADD_MEM_REG, &region, fd),
                         0);
        served_ping(&served, "added");
    }
    assert_int_equal(served_device(&served).vhost.n_mem_sections, SLOTS + 1);
    for (uint64_t i = 0; i < SLOTS; i++) {
        const VdsVhostUserRegion region = {SERVED_RAM + i * 2 * PAGE, PAGE,
                                           SERVED_UVA + SERVED_RAM + i * 2 * PAGE, 0};

        assert_int_equal(
            region_message(&served, VDS_VHOST_USER_REM_MEM_REG, &region, i % 2 ? fd : -1),
            0);
    }
    served_ping(&served, "removed");
    assert_int_equal(served_device(&served).vhost.n_mem_sections, 1);
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
        assert_int_equal(served_device(&served).vhost.n_mem_sections, 2);
    }
    other.offset = 0; /* the same place, and other bytes there */
    assert_int_equal(region_message(&served, VDS_VHOST_USER_ADD_MEM_REG, &other, fd), 1);
    assert_refused(&served, "C6");
    for (uint64_t left = TIMES; left-- > 0;) {
        assert_int_equal(region_message(&served, VDS_VHOST_USER_REM_MEM_REG, &region, -1),
                         0);
        assert_int_equal(served_device(&served).vhost.n_mem_sections, left > 0 ? 2 : 1);
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
    {"C8: ring 0 is given size 4 while it runs with 8", start_split,
     VDS_VHOST_USER_SET_VRING_NUM, UINT64_C(4) << 32, 0},
    {"C8: ring 0 is given base 4 while it runs with 0", start_split,
     VDS_VHOST_USER_SET_VRING_BASE, UINT64_C(4) << 32, 0},
    {"C1", greet_only, VDS_VHOST_USER_SET_VRING_NUM, 0, 0},
    {"C1: ring 0 has size 32769, expected 1 to 32768", greet_only,
     VDS_VHOST_USER_SET_VRING_NUM, UINT64_C(32769) << 32, 0},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_slots),
        cmocka_unit_test(test_memory_told_more_than_once),
        cmocka_unit_test(test_memory_that_cannot_be),
        cmocka_unit_test(test_what_ends_a_connection),
        cmocka_unit_test(test_what_is_answered),
        cmocka_unit_test(test_bytes_that_are_no_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
