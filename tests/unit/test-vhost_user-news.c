/*
 * vhost_user: what a back-end reports of its socket: front-ends that come, leave and
 * wait, messages that are refused, and hints when a peer sends nothing or no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "vhost-fixture.h"

enum { MANY = 40 };

typedef struct {
    unsigned n[VDS_VHOST_USER_PAUSED + 1]; /* by kind */
    uint64_t connection;
    unsigned waiting;
    char *text; /* of the last one that has one */
} Heard;

static void hear(const VdsVhostUserNews *news, void *user)
{
    Heard *heard = user;

    heard->n[news->kind]++;
    heard->connection = news->connection;
    heard->waiting = news->waiting;
    if (news->text) {
        g_free(heard->text);
        heard->text = g_strdup(news->text);
    }
    if (news->kind == VDS_VHOST_USER_CONNECTED || news->kind == VDS_VHOST_USER_WAITS) {
        assert_int_equal(news->peer_pid, getpid());
    }
}

static void listen_again(Served *served, Heard *heard)
{
    *heard = (Heard){.text = NULL};
    served_init(served);
    vds_vhost_user_backend_free(served->backend);
    served->backend = vds_vhost_user_backend_new(
        &(VdsVhostUserBackendConfig){.path = served->path,
                                     .server = true,
                                     .n_rings = LOOP_QUEUES,
                                     .mailbox = served->mailbox,
                                     .news = hear,
                                     .news_user = heard},
        served->device, NULL);
    assert_non_null(served->backend);
}

static void turn_until(const unsigned *count, unsigned n)
{
    for (int i = 0; i < 5000 && *count < n; i++) {
        if (!g_main_context_iteration(NULL, FALSE)) {
            g_usleep(1000);
        }
    }
    assert_int_equal(*count, n);
}

static void test_coming_and_leaving(void **state)
{
    Served served;
    Heard heard;

    listen_again(&served, &heard);
    served_greet(&served);
    assert_int_equal(heard.n[VDS_VHOST_USER_CONNECTED], 1);
    assert_int_equal(heard.connection, 1);
    assert_int_equal(front_set_acked(&served.front, VDS_VHOST_USER_SET_STATUS, 256), 1);
    assert_int_equal(heard.n[VDS_VHOST_USER_REFUSED], 1);
    assert_true(g_str_has_prefix(heard.text, "V1: SET_STATUS has 0x100"));
    front_leave(&served.front);
    turn_until(&heard.n[VDS_VHOST_USER_LEFT], 1);
    assert_string_equal(heard.text, "");
    served_greet(&served);
    front_send_bytes(&served.front, "nothing of the kind", 19, NULL, 0);
    turn_until(&heard.n[VDS_VHOST_USER_LEFT], 2);
    assert_true(g_str_has_prefix(heard.text, "V2: "));
    assert_int_equal(heard.connection, 2);
    assert_int_equal(heard.n[VDS_VHOST_USER_REFUSED], 1); /* once is enough */
    served_clear(&served);
    g_free(heard.text);
}

/* In their order; one that leaves is forgotten. */
static void test_waiting(void **state)
{
    Front second, third;
    Served served;
    Heard heard;

    listen_again(&served, &heard);
    served_greet(&served);
    front_connect(&second, served.path);
    turn_until(&heard.n[VDS_VHOST_USER_WAITS], 1);
    front_connect(&third, served.path);
    turn_until(&heard.n[VDS_VHOST_USER_WAITS], 2);
    assert_int_equal(heard.waiting, 2);
    assert_int_equal(heard.connection, 1);
    assert_int_equal(vds_vhost_user_backend_count_waiting(served.backend), 2);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS), 0);
    front_leave(&second);
    front_turn();
    assert_int_equal(vds_vhost_user_backend_count_waiting(served.backend), 1);
    front_leave(&served.front);
    assert_true(front_get(&third, VDS_VHOST_USER_GET_FEATURES) != 0);
    assert_int_equal(heard.n[VDS_VHOST_USER_CONNECTED], 2);
    assert_int_equal(vds_vhost_user_backend_count_waiting(served.backend), 0);
    front_leave(&third);
    served_clear(&served);
    g_free(heard.text);
}

/* No more than a few are held, and nobody is lost. */
static void test_many_wait(void **state)
{
    Front many[MANY];
    Served served;
    Heard heard;

    listen_again(&served, &heard);
    served_greet(&served);
    for (unsigned i = 0; i < MANY; i++) {
        front_connect(&many[i], served.path);
    }
    front_turn();
    assert_int_equal(vds_vhost_user_backend_count_waiting(served.backend),
                     VDS_VHOST_USER_MAX_WAITING);
    assert_int_equal(heard.n[VDS_VHOST_USER_WAITS], VDS_VHOST_USER_MAX_WAITING);
    front_leave(&served.front);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(front_get(&many[i], VDS_VHOST_USER_GET_FEATURES) != 0);
        front_leave(&many[i]);
    }
    assert_int_equal(heard.connection, MANY + 1);
    served_clear(&served);
    g_free(heard.text);
}

static void assert_hint(const Served *served, const char *start)
{
    g_autofree char *hint = vds_vhost_user_backend_get_hint(served->backend);

    assert_true(*start ? g_str_has_prefix(hint, start) : !*hint);
}

/* A peer that waits itself, and one whose memory cannot be shared. */
static void test_hints(void **state)
{
    Served served;
    Heard heard;

    listen_again(&served, &heard);
    front_connect(&served.front, served.path);
    turn_until(&heard.n[VDS_VHOST_USER_CONNECTED], 1);
    assert_hint(&served, "");
    turn_until(&heard.n[VDS_VHOST_USER_HINT], 1);
    assert_hint(&served, "connected for 2 s, and no message arrived");
    front_leave(&served.front);
    turn_until(&heard.n[VDS_VHOST_USER_LEFT], 1);
    assert_hint(&served, "");

    served_greet(&served);
    assert_hint(&served, "");
    served_features(&served, LOOP_SPLIT | SERVED_PROTOCOL_BIT);
    turn_until(&heard.n[VDS_VHOST_USER_HINT], 2);
    assert_hint(&served, "no memory was told for 2 s after SET_FEATURES");
    assert_int_equal(served_memory(&served), 0);
    assert_hint(&served, "");
    served_clear(&served);
    g_free(heard.text);
}

/* The driver writes to memory of its own: it kicks, and the ring stays as it was. */
static void test_private_memory(void **state)
{
    static const uint64_t features[] = {LOOP_SPLIT | SERVED_PROTOCOL_BIT,
                                        LOOP_PACKED | SERVED_PROTOCOL_BIT};

    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        Served served;
        Heard heard;

        listen_again(&served, &heard);
        served_start(&served, features[i]);
        assert_hint(&served, "");
        eventfd_write(served.kick, 1);
        turn_until(&heard.n[VDS_VHOST_USER_HINT], 1);
        assert_hint(&served, "queue 0 was kicked (1) and holds no buffer");
        served_ping(&served, "shared after all");
        assert_hint(&served, "");
        eventfd_write(served.kick, 1); /* for nothing, as some drivers do */
        front_turn();
        assert_hint(&served, "");
        served_clear(&served);
        g_free(heard.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coming_and_leaving), cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_many_wait),          cmocka_unit_test(test_hints),
        cmocka_unit_test(test_private_memory),
    };

    return cmocka_run_group_tests_name("vhost_user-news", tests, NULL, NULL);
}
