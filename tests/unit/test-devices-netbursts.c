/*
 * devices: virtio-net when a driver sends many frames before it kicks: they arrive in
 * order, whatever becomes of one of them, and no buffer stays with the device for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "net-door.h"

enum { SLOT = 4096 }; /* of what is sent */

static uint64_t slot_of(const Net *net, unsigned i)
{
    return net->gpa + (uint64_t)SLOT * i;
}

static void burst_open(Net *net, uint64_t features, unsigned slots)
{
    net_open(net, "type=loop,id=b", "", features);
    net->gpa = door_alloc(&net->door, (uint64_t)SLOT * slots);
}

/* The i-th of a burst, not yet kicked for. */
static void add_frame(Net *net, unsigned i, const uint8_t *frame, uint32_t len)
{
    static const uint8_t plain[HEADER];

    door_poke(&net->door, slot_of(net, i), plain, HEADER);
    door_poke(&net->door, slot_of(net, i) + HEADER, frame, len);
    door_add(&net->door, TX, slot_of(net, i), HEADER + len, 0, 0,
             GSIZE_TO_POINTER(slot_of(net, i)));
}

/* Kicks, and waits until all are out of the transmit queue, in order. */
static void send_burst(Net *net, unsigned n)
{
    uint32_t written;

    door_kick(&net->door, TX);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(door_used(&net->door, TX, &written), slot_of(net, i));
        assert_int_equal(written, 0);
    }
}

static uint32_t len_of(unsigned i)
{
    static const uint32_t lens[] = {60, 1, 1514, 90, 512, 513, 3000, 64};

    return lens[i % G_N_ELEMENTS(lens)];
}

static void expect_frame(Net *net, unsigned i)
{
    static uint8_t out[SLOT], in[ROOM];

    fill(out, len_of(i), i);
    assert_int_equal(receive(net, in), len_of(i));
    assert_memory_equal(in, out, len_of(i));
}

static void add_frames(Net *net, unsigned n)
{
    static uint8_t out[SLOT];

    for (unsigned i = 0; i < n; i++) {
        fill(out, len_of(i), i);
        add_frame(net, i, out, len_of(i));
    }
}

/* Large and small ones, each in as many buffers as it takes. */
static void test_in_order(void **state)
{
    enum { FRAMES = 100, BUFFERS = 250, BYTES = 600 };

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Net net;

        burst_open(&net, formats[i], FRAMES);
        post_buffers(&net, RX, BUFFERS, BYTES, 0);
        add_frames(&net, FRAMES);
        send_burst(&net, FRAMES);
        for (unsigned n = 0; n < FRAMES; n++) {
            expect_frame(&net, n);
        }
        assert_int_equal(door_state(&net.door, RX).inuse, 0);
        net_close(&net);
    }
}

/* Those that there is room for, and the others when there is more. */
static void test_more_than_there_is_room_for(void **state)
{
    enum { FRAMES = 64, AT_FIRST = 10 };

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Net net;

        burst_open(&net, formats[i] & ~DOOR_BIT(F_MRG_RXBUF), FRAMES);
        post_buffers(&net, RX, AT_FIRST, SLOT, 0);
        add_frames(&net, FRAMES);
        send_burst(&net, FRAMES);
        for (unsigned n = 0; n < FRAMES; n++) {
            if (n == AT_FIRST) {
                assert_true(is_quiet(&net));
                post_buffers(&net, RX, FRAMES - AT_FIRST, SLOT, 0);
            }
            expect_frame(&net, n);
        }
        assert_int_equal(count(&net, "dropped"), 0);
        net_close(&net);
    }
}

/* One that no buffer can hold, in the midst of others. */
static void test_one_that_never_fits(void **state)
{
    enum { FRAMES = 20, BYTES = 2048, LOST = 2 }; /* of 3,000 bytes: the 7th, the 15th */

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Net net;

        burst_open(&net, formats[i] & ~DOOR_BIT(F_MRG_RXBUF), FRAMES);
        post_buffers(&net, RX, FRAMES, BYTES, 0);
        add_frames(&net, FRAMES);
        send_burst(&net, FRAMES);
        for (unsigned n = 0; n < FRAMES; n++) {
            if (len_of(n) < BYTES) {
                expect_frame(&net, n);
            }
        }
        assert_true(is_quiet(&net));
        assert_int_equal(count(&net, "dropped"), LOST);
        assert_int_equal(count(&net, "rx-packets"), FRAMES - LOST);
        assert_int_equal(door_state(&net.door, RX).inuse, 0);
        net_close(&net);
    }
}

/* Buffers taken for frames that nobody wants are the ring's again. */
static void test_what_nobody_wants(void **state)
{
    enum { FRAMES = 30, WANTED = 7, BYTES = 128 };
    static const uint8_t not_promiscuous[] = {0, 0, 0};
    uint8_t frame[60] = {0}, in[BUFFER];

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        Net net;

        burst_open(&net, formats[i], FRAMES);
        assert_int_equal(command(&net, CTRL, not_promiscuous, 3, 0), 0);
        post_buffers(&net, RX, FRAMES, BYTES, 0);
        for (unsigned n = 0; n < FRAMES; n++) {
            memset(frame, n % WANTED == 3 ? 0xff : 2, 6);
            frame[20] = (uint8_t)n;
            add_frame(&net, n, frame, sizeof(frame));
        }
        send_burst(&net, FRAMES);
        for (unsigned n = 3; n < FRAMES; n += WANTED) {
            assert_int_equal(receive(&net, in), sizeof(frame));
            assert_int_equal(in[20], n);
        }
        assert_true(is_quiet(&net));
        assert_int_equal(door_state(&net.door, RX).inuse, 0);
        assert_int_equal(count(&net, "dropped"), 0);
        net_close(&net);
    }
}

/* All of them are the device's until the reset, and nobody's any more behind it. */
static void test_a_short_buffer_among_others(void **state)
{
    enum { FRAMES = 10, BYTES = 128, SHORT = 3 };

    for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autofree char *reason = NULL;
        uint8_t frame[60] = {0}, in[BUFFER];
        Net net;

        burst_open(&net, formats[i], FRAMES);
        post_buffers(&net, RX, SHORT, BYTES, 0);
        post_buffers(&net, RX, 1, HEADER - 1, 0);
        post_buffers(&net, RX, FRAMES - SHORT - 1, BYTES, 0);
        for (unsigned n = 0; n < FRAMES; n++) {
            add_frame(&net, n, frame, sizeof(frame));
        }
        door_kick(&net.door, TX);
        door_settle(&net.door);
        reason = vds_virtio_device_get_broken_reason(net.door.device);
        assert_string_equal(
            reason,
            "5.1.6.3.1: a receive buffer of 11 bytes, expected at least 12, in queue 0");
        assert_int_equal(door_state(&net.door, RX).inuse, FRAMES);
        door_reset(&net.door);
        door_start(&net.door, formats[i]);
        post_buffers(&net, RX, 1, BYTES, 0);
        send_frame(&net, frame, sizeof(frame));
        assert_int_equal(receive(&net, in), sizeof(frame));
        net_close(&net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_more_than_there_is_room_for),
        cmocka_unit_test(test_one_that_never_fits),
        cmocka_unit_test(test_what_nobody_wants),
        cmocka_unit_test(test_a_short_buffer_among_others),
    };

    return cmocka_run_group_tests_name("devices-netbursts", tests, NULL, NULL);
}
