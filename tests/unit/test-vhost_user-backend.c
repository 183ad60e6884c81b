/*
 * vhost_user: the back-end: I/O of each ring format, the lives of a device under one
 * front-end and several, ring states, what queries see, its socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>

#include "vhost-fixture.h"

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
    for (int i = 0; i < 5000 && served_queue(&served).inuse == 0; i++) {
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
    for (int i = 0; i < 5000 && served_queue(&served).inuse == 0; i++) {
        front_turn();
    }
    front_ring(&served.front, VDS_VHOST_USER_GET_VRING_BASE, 0, 0);
    front_turn();
    front_leave(&served.front);
    front_turn();
    assert_false(vds_vhost_user_backend_is_connected(served.backend));
    loop_answer_parked(&served.loop);
    assert_false(served_hears(&served, 0, "slow", 20));
    assert_int_equal(served_queue(&served).last_avail_idx, 1);
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
    assert_true(served_queue(&served).packed);
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
/* ---- what queries see ------------------------------------------------------------ */

static void test_what_queries_see(void **state)
{
    VdsVhostState vhost;
    VdsQueueState queue;
    Served served;

    served_init(&served);
    assert_false(served_device(&served).vhost_started);
    served_start(&served, LOOP_SPLIT_EVENT);
    served_ping(&served, "one");
    vhost = served_device(&served).vhost;
    assert_true(served_device(&served).vhost_started);
    assert_int_equal(vhost.n_mem_sections, 1);
    assert_int_equal(vhost.nvqs, LOOP_QUEUES);
    assert_int_equal(vhost.max_queues, LOOP_QUEUES);
    assert_int_equal(vhost.protocol_features, SERVED_PROTOCOL);
    assert_int_equal(vhost.acked_features.word[0], LOOP_SPLIT_EVENT);
    assert_int_equal(vhost.backend_features.word[0], SERVED_PROTOCOL_BIT);
    assert_true(vds_features_has(&vhost.features, VDS_VHOST_USER_F_PROTOCOL_FEATURES));
    queue = served_queue(&served);
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
    queue = served_queue(&served);
    assert_int_equal(queue.last_avail_idx, 1);
    assert_int_equal(queue.used_idx, 1);
    assert_int_equal(queue.desc, DESC);
    assert_true(vds_guest_map_has(queue.map, 0, SERVED_RAM));
    assert_int_equal(served_device(&served).vhost.n_mem_sections, 1);
    assert_int_equal(served_device(&served).status, 15);
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
        cmocka_unit_test(test_what_queries_see),
        cmocka_unit_test(test_connecting),
        cmocka_unit_test(test_a_live_socket_is_not_replaced),
        cmocka_unit_test(test_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
