/*
 * vhost_user: messages about the device: its config space, its status, and its state in a
 * migration.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>

#include "vhost-fixture.h"

/* ---- the device ------------------------------------------------------------------ */

static void config_message(VdsVhostUserMessage *message, uint32_t request,
                           uint32_t offset, uint32_t size, uint32_t flags)
{
    vds_vhost_user_message_init(message, request);
    message->u.config =
        (VdsVhostUserConfigSpace){.offset = offset, .size = size, .flags = flags};
}

/* Up to 256 bytes, zero where the device has no field. */
static void test_config_beyond_the_fields(Served *served)
{
    static const struct {
        uint32_t offset, size;
        const char *begins;
    } reads[] = {{7, 2, "7"}, {0, 256, "01234567"}, {8, 8, ""}, {255, 1, ""}};
    static const uint8_t zeroes[256];
    VdsVhostUserMessage message, reply;

    for (size_t i = 0; i < G_N_ELEMENTS(reads); i++) {
        size_t n = strlen(reads[i].begins);

        config_message(&message, VDS_VHOST_USER_GET_CONFIG, reads[i].offset,
                       reads[i].size, 0);
        front_send(&served->front, &message);
        assert_int_equal(front_hear(&served->front, &reply), FRONT_REPLY);
        assert_int_equal(reply.size, 12 + reads[i].size);
        assert_memory_equal(reply.u.config.bytes, reads[i].begins, n);
        assert_memory_equal(reply.u.config.bytes + n, zeroes, reads[i].size - n);
    }
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
    test_config_beyond_the_fields(&served);
    /* outside of 256 bytes: an answer without payload */
    config_message(&message, VDS_VHOST_USER_GET_CONFIG, 255, 2, 0);
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
    assert_int_equal(served_device(&served).status, 11);
    assert_int_equal(served_memory(&served), 0);
    served_ring(&served);
    served_set_up(&served, 0);
    served_enable(&served, 1);
    served_ping(&served, "derived");
    assert_int_equal(served_device(&served).status, 15);
    assert_int_equal(front_set_acked(&served.front, VDS_VHOST_USER_SET_STATUS, 15), 0);
    assert_int_equal(front_get(&served.front, VDS_VHOST_USER_GET_STATUS), 15);
    assert_int_equal(front_set_acked(&served.front, VDS_VHOST_USER_SET_STATUS, 0), 0);
    assert_int_equal(served_device(&served).status, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_space),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_config_changes_and_errors),
        cmocka_unit_test(test_device_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
