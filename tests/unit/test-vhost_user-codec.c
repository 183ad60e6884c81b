/*
 * vhost_user: the codec: every message of both channels there and back, byte by byte; and
 * what is no message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>

#include "vhost-front.h"

static int some_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* ---- there and back -------------------------------------------------------------- */

static void fill(VdsVhostUserMessage *message, VdsVhostUserLayout layout)
{
    for (size_t i = 0; i < sizeof(message->u); i++) {
        message->u.bytes[i] = (uint8_t)(i * 7 + 1);
    }
    switch (layout) { /* what counts something must count right */
    case VDS_VHOST_USER_LAYOUT_MEMORY:
        message->u.memory.n = 3;
        break;
    case VDS_VHOST_USER_LAYOUT_CONFIG:
        message->u.config.size = 57;
        break;
    case VDS_VHOST_USER_LAYOUT_SHMEM:
        message->u.shmem.n = 2;
        break;
    case VDS_VHOST_USER_LAYOUT_OPAQUE:
        message->size = 1100;
        break;
    default:
        break;
    }
}

static unsigned wanted_fds(VdsVhostUserFds fds, bool some)
{
    return fds == VDS_VHOST_USER_FDS_REGIONS ? 3
           : fds == VDS_VHOST_USER_FDS_NONE  ? 0
           : fds == VDS_VHOST_USER_FDS_ONE   ? 1
                                             : some;
}

static void prepare(VdsVhostUserMessage *message, uint32_t request, bool reply, bool some,
                    const VdsVhostUserKind *kind)
{
    VdsVhostUserFds fds = reply ? kind->reply_fds : kind->fds;

    vds_vhost_user_message_init(message, request);
    message->flags |= reply ? VDS_VHOST_USER_FLAG_REPLY : 0;
    fill(message, reply ? kind->reply : kind->request);
    if (fds == VDS_VHOST_USER_FDS_FLAG) {
        message->u.u64 = some ? 3 : VDS_VHOST_USER_NO_FD | 3;
    }
    for (unsigned n = wanted_fds(fds, some); n > 0; n--) {
        vds_vhost_user_message_add_fd(message, some_fd());
    }
}

/* Pushes at most `step` bytes at a time. */
static void decode(VdsVhostUserDecoder *decoder, const uint8_t *bytes, size_t len,
                   VdsVhostUserMessage *sent, size_t step)
{
    for (size_t done = 0; done < len;) {
        uint8_t *to;
        size_t n = MIN(MIN(vds_vhost_user_decoder_want(decoder, &to), step), len - done);
        VdsVhostUserStep got;

        memcpy(to, bytes + done, n);
        got = vds_vhost_user_decoder_push(decoder, n, sent->fds,
                                          done == 0 ? sent->n_fds : 0, NULL);
        done += n;
        assert_int_equal(got, done < len ? VDS_VHOST_USER_MORE : VDS_VHOST_USER_MESSAGE);
    }
    sent->n_fds = 0; /* the decoder's now */
}

static void there_and_back(VdsVhostUserChannel channel, uint32_t request, bool reply,
                           bool some, size_t step)
{
    const VdsVhostUserKind *kind = vds_vhost_user_kind(channel, request);
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    g_auto(VdsVhostUserMessage) sent;
    g_auto(VdsVhostUserMessage) got;
    VdsVhostUserDecoder decoder;
    unsigned n_fds;
    size_t len;

    prepare(&sent, request, reply, some, kind);
    n_fds = sent.n_fds;
    len = vds_vhost_user_message_pack(channel, &sent, bytes, NULL);
    assert_true(len >= VDS_VHOST_USER_HEADER_BYTES);
    vds_vhost_user_decoder_init(&decoder, channel, reply);
    decode(&decoder, bytes, len, &sent, step);
    vds_vhost_user_decoder_take(&decoder, &got);
    assert_int_equal(got.request, request);
    assert_int_equal(got.size, len - VDS_VHOST_USER_HEADER_BYTES);
    assert_int_equal(got.n_fds, n_fds);
    assert_memory_equal(&got.u, &sent.u, got.size);
    assert_true(vds_vhost_user_decoder_finish(&decoder, NULL));
    vds_vhost_user_decoder_clear(&decoder);
}

static void test_every_message_there_and_back(void **state)
{
    static const uint32_t counts[] = {VDS_VHOST_USER_REQUEST_COUNT,
                                      VDS_VHOST_USER_BACKEND_REQUEST_COUNT};
    static const size_t steps[] = {1, 5, SIZE_MAX};
    unsigned before = count_descriptors();

    for (unsigned channel = 0; channel < G_N_ELEMENTS(counts); channel++) {
        for (uint32_t request = 1; request < counts[channel]; request++) {
            assert_non_null(vds_vhost_user_kind(channel, request));
            for (unsigned way = 0; way < 12; way++) {
                there_and_back(channel, request, way & 1, way & 2, steps[way >> 2]);
            }
        }
        assert_null(vds_vhost_user_kind(channel, 0));
        assert_null(vds_vhost_user_kind(channel, counts[channel]));
        assert_null(vds_vhost_user_kind(channel, UINT32_MAX));
    }
    assert_int_equal(count_descriptors(), before);
}

/* The numbers and layouts that everybody else has. */
static void test_known_bytes(void **state)
{
    static const uint8_t expected[] = {10, 0, 0, 0, 1, 0, 0, 0, 8, 0,
                                       0,  0, 1, 0, 0, 0, 2, 0, 0, 0};
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    VdsVhostUserMessage message;

    if (G_BYTE_ORDER != G_LITTLE_ENDIAN) {
        skip();
    }
    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_VRING_BASE);
    message.u.ring = (VdsVhostUserRingState){1, 2};
    assert_int_equal(
        vds_vhost_user_message_pack(VDS_VHOST_USER_MAIN, &message, bytes, NULL),
        sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));
    assert_int_equal(VDS_VHOST_USER_GET_CONFIG, 24);
    assert_int_equal(VDS_VHOST_USER_ADD_MEM_REG, 37);
    assert_int_equal(VDS_VHOST_USER_GET_SHMEM_CONFIG, 44);
    assert_int_equal(VDS_VHOST_USER_BACKEND_SHMEM_UNMAP, 10);
    assert_int_equal(VDS_VHOST_USER_P_SHMEM, 20);
}

static void test_acks(void **state)
{
    static const uint32_t requests[] = {
        VDS_VHOST_USER_SET_OWNER, VDS_VHOST_USER_SET_MEM_TABLE,
        VDS_VHOST_USER_ADD_MEM_REG, VDS_VHOST_USER_SET_LOG_BASE};

    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
        uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
        VdsVhostUserMessage message, ack;

        vds_vhost_user_message_init(&message, requests[i]);
        vds_vhost_user_message_init_ack(&ack, &message, 1);
        assert_int_equal(
            vds_vhost_user_message_pack(VDS_VHOST_USER_MAIN, &ack, bytes, NULL),
            VDS_VHOST_USER_HEADER_BYTES + 8);
        assert_int_equal(ack.flags, 5);
    }
}

/* ---- what is no message ----------------------------------------------------------- */

typedef struct {
    const char *rule;
    VdsVhostUserError code;
    uint32_t request, flags, size;
    uint64_t word; /* the payload's first; the rest is zeroes */
    unsigned n_fds;
} Wrong;

enum { V = VDS_VHOST_USER_VERSION, R = VDS_VHOST_USER_FLAG_REPLY };

static const Wrong wrongs[] = {
    {"V2", VDS_VHOST_USER_ERROR_HEADER, VDS_VHOST_USER_SET_OWNER, 0, 0, 0, 0},
    {"V2", VDS_VHOST_USER_ERROR_HEADER, VDS_VHOST_USER_SET_OWNER, 2, 0, 0, 0},
    {"V2", VDS_VHOST_USER_ERROR_HEADER, VDS_VHOST_USER_SET_OWNER, V | R, 0, 0, 0},
    {"V2", VDS_VHOST_USER_ERROR_HEADER, VDS_VHOST_USER_SET_OWNER, V | 0x10, 0, 0, 0},
    {"V2", VDS_VHOST_USER_ERROR_UNKNOWN, 0, V, 0, 0, 0},
    {"V2", VDS_VHOST_USER_ERROR_UNKNOWN, 45, V, 0, 0, 0},
    {"V2", VDS_VHOST_USER_ERROR_UNKNOWN, UINT32_MAX, V, 0, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_SET_OWNER, V, 1, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_SET_FEATURES, V, 7, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_SET_FEATURES, V, 9, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_SET_FEATURES, V, UINT32_MAX, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_SET_MEM_TABLE, V, 7, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_SET_MEM_TABLE, V, 40, 2, 2},
    {"V1", VDS_VHOST_USER_ERROR_PAYLOAD, VDS_VHOST_USER_SET_MEM_TABLE, V, 264, 9, 8},
    {"V1", VDS_VHOST_USER_ERROR_PAYLOAD, VDS_VHOST_USER_SET_MEM_TABLE, V, 40, 0x8000001,
     1},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_GET_CONFIG, V, 11, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_GET_CONFIG, V, 13, UINT64_C(2) << 32,
     0},
    {"V1", VDS_VHOST_USER_ERROR_PAYLOAD, VDS_VHOST_USER_GET_CONFIG, V, 13,
     UINT64_C(257) << 32, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_GET_INFLIGHT_FD, V, 21, 0, 0},
    {"V1", VDS_VHOST_USER_ERROR_SIZE, VDS_VHOST_USER_SET_LOG_BASE, V, 16, 0, 0},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_OWNER, V, 0, 0, 1},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_OWNER, V, 0, 0, 9},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_MEM_TABLE, V, 72, 2, 1},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_MEM_TABLE, V, 72, 2, 3},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_VRING_KICK, V, 8, 0, 0},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_VRING_CALL, V, 8, 0x100, 1},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_BACKEND_REQ_FD, V, 0, 0, 0},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_REM_MEM_REG, V, 40, 0, 2},
    {"V3", VDS_VHOST_USER_ERROR_FDS, VDS_VHOST_USER_SET_INFLIGHT_FD, V, 24, 0, 0},
};

static void push_wrong(const Wrong *wrong)
{
    const uint32_t header[] = {wrong->request, wrong->flags, wrong->size};
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD] = {0};
    size_t len = sizeof(header) + MIN(wrong->size, (uint32_t)VDS_VHOST_USER_MAX_PAYLOAD);
    VdsVhostUserStep step = VDS_VHOST_USER_MORE;
    g_autoptr(GError) error = NULL;
    VdsVhostUserDecoder decoder;
    int fds[16];

    memcpy(bytes, header, sizeof(header));
    memcpy(bytes + sizeof(header), &wrong->word, sizeof(wrong->word));
    for (unsigned i = 0; i < wrong->n_fds; i++) {
        fds[i] = some_fd();
    }
    vds_vhost_user_decoder_init(&decoder, VDS_VHOST_USER_MAIN, false);
    for (size_t done = 0; done < len && step == VDS_VHOST_USER_MORE;) {
        uint8_t *to;
        size_t n = vds_vhost_user_decoder_want(&decoder, &to);

        memcpy(to, bytes + done, n);
        step = vds_vhost_user_decoder_push(&decoder, n, fds, done ? 0 : wrong->n_fds,
                                           &error);
        done += n;
    }
    assert_int_equal(step, VDS_VHOST_USER_WRONG);
    assert_true(g_error_matches(error, VDS_VHOST_USER_ERROR, (int)wrong->code));
    assert_true(g_str_has_prefix(error->message, wrong->rule));
    vds_vhost_user_decoder_clear(&decoder);
}

static void test_what_is_no_message(void **state)
{
    unsigned before = count_descriptors();

    for (size_t i = 0; i < G_N_ELEMENTS(wrongs); i++) {
        push_wrong(&wrongs[i]);
    }
    assert_int_equal(count_descriptors(), before);
}

/* V12: a descriptor that comes with a later byte belongs to nobody. */
static void test_descriptors_amid_a_message(void **state)
{
    static const uint32_t header[] = {VDS_VHOST_USER_SET_VRING_KICK, V, 8};
    unsigned before = count_descriptors();
    const int fd = some_fd();
    g_autoptr(GError) error = NULL;
    VdsVhostUserDecoder decoder;
    uint8_t *to;

    vds_vhost_user_decoder_init(&decoder, VDS_VHOST_USER_MAIN, false);
    assert_int_equal(vds_vhost_user_decoder_want(&decoder, &to), sizeof(header));
    memcpy(to, header, sizeof(header));
    assert_int_equal(vds_vhost_user_decoder_push(&decoder, sizeof(header), NULL, 0, NULL),
                     VDS_VHOST_USER_MORE);
    assert_int_equal(vds_vhost_user_decoder_want(&decoder, &to), 8);
    assert_int_equal(vds_vhost_user_decoder_push(&decoder, 8, &fd, 1, &error),
                     VDS_VHOST_USER_WRONG);
    assert_true(g_error_matches(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_FDS));
    assert_true(g_str_has_prefix(error->message, "V12"));
    vds_vhost_user_decoder_clear(&decoder);
    assert_int_equal(count_descriptors(), before);
}

static void test_an_end_amid_a_message(void **state)
{
    g_autoptr(GError) error = NULL;
    VdsVhostUserDecoder decoder;
    uint8_t *to;

    vds_vhost_user_decoder_init(&decoder, VDS_VHOST_USER_MAIN, false);
    assert_true(vds_vhost_user_decoder_finish(&decoder, NULL));
    vds_vhost_user_decoder_want(&decoder, &to);
    *to = 1;
    vds_vhost_user_decoder_push(&decoder, 1, NULL, 0, NULL);
    assert_false(vds_vhost_user_decoder_finish(&decoder, &error));
    assert_true(
        g_error_matches(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_CLOSED));
    vds_vhost_user_decoder_clear(&decoder);
}

/* What we would send is checked by the same rules. */
static void test_packing_refuses(void **state)
{
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    g_autoptr(GError) error = NULL;
    VdsVhostUserMessage message;

    vds_vhost_user_message_init(&message, 99);
    assert_int_equal(
        vds_vhost_user_message_pack(VDS_VHOST_USER_MAIN, &message, bytes, &error), 0);
    assert_true(
        g_error_matches(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_UNKNOWN));
    g_clear_error(&error);
    vds_vhost_user_message_init(&message, VDS_VHOST_USER_SET_MEM_TABLE);
    message.u.memory.n = 9;
    assert_int_equal(
        vds_vhost_user_message_pack(VDS_VHOST_USER_MAIN, &message, bytes, &error), 0);
    assert_true(g_error_matches(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_SIZE));
}

static void test_names(void **state)
{
    char room[24];

    assert_string_equal(vds_vhost_user_name(VDS_VHOST_USER_MAIN, 21, room),
                        "SET_BACKEND_REQ_FD");
    assert_string_equal(vds_vhost_user_name(VDS_VHOST_USER_BACKEND, 2, room),
                        "BACKEND_CONFIG_CHANGE_MSG");
    assert_string_equal(vds_vhost_user_name(VDS_VHOST_USER_MAIN, UINT32_MAX, room),
                        "request 4294967295");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_message_there_and_back),
        cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_acks),
        cmocka_unit_test(test_what_is_no_message),
        cmocka_unit_test(test_descriptors_amid_a_message),
        cmocka_unit_test(test_an_end_amid_a_message),
        cmocka_unit_test(test_packing_refuses),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
