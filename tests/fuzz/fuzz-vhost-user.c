/*
 * fuzz: the vhost-user codec: streams of messages with descriptors, of both channels and
 * both directions.  However the bytes are cut, the same messages come out; a message
 * packs to the bytes that it was made from; and whatever becomes of a stream, it leaves
 * no descriptor behind.
 *
 * Input: a byte that picks the direction (bit 0: the back-end's channel, bit 1: replies),
 * then for each message how many descriptors come with it (a byte, modulo 12) and its
 * bytes.
 */
#include <fcntl.h>
#include <string.h>

#include "vds/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_FDS = 12, MAX_MESSAGES = 64 };

typedef struct {
    const uint8_t *data;
    size_t left;
    size_t step; /* bytes at a time */
    VdsVhostUserDecoder decoder;
    GByteArray *heard; /* each message as it packs, and how many descriptors it has */
} Stream;

/* Bytes of one message: they are followed by the count of the next one's. */
static VdsVhostUserStep feed(Stream *stream, int *fds, size_t n_fds)
{
    VdsVhostUserStep step = VDS_VHOST_USER_MORE;

    while (step == VDS_VHOST_USER_MORE) {
        uint8_t *to;
        size_t want = vds_vhost_user_decoder_want(&stream->decoder, &to);
        size_t n = MIN(MIN(want, stream->step), stream->left);
        g_autoptr(GError) error = NULL;

        g_assert(want > 0);
        if (n > 0) {
            memcpy(to, stream->data, n);
        }
        stream->data += n;
        stream->left -= n;
        step = vds_vhost_user_decoder_push(&stream->decoder, n, fds, n_fds, &error);
        n_fds = 0;
        g_assert((step == VDS_VHOST_USER_WRONG) == (error != NULL));
        if (n == 0) {
            break;
        }
    }
    return step;
}

static void check_message(Stream *stream)
{
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    g_auto(VdsVhostUserMessage) message;
    uint32_t size;
    uint8_t n_fds;
    size_t len;

    vds_vhost_user_decoder_take(&stream->decoder, &message);
    size = message.size;
    len = vds_vhost_user_message_pack(stream->decoder.channel, &message, bytes, NULL);
    g_assert(len == VDS_VHOST_USER_HEADER_BYTES + (size_t)size);
    g_assert(message.n_fds <= VDS_VHOST_USER_MAX_FDS);
    n_fds = (uint8_t)message.n_fds;
    g_byte_array_append(stream->heard, bytes, (guint)len);
    g_byte_array_append(stream->heard, &n_fds, 1);
}

static GByteArray *listen(const uint8_t *data, size_t size, size_t step)
{
    Stream stream = {
        .data = data + 1, .left = size - 1, .step = step, .heard = g_byte_array_new()};

    vds_vhost_user_decoder_init(
        &stream.decoder, data[0] & 1 ? VDS_VHOST_USER_BACKEND : VDS_VHOST_USER_MAIN,
        data[0] & 2);
    for (unsigned i = 0; i < MAX_MESSAGES && stream.left > 0; i++) {
        size_t n_fds = *stream.data++ % MAX_FDS;
        int fds[MAX_FDS];

        stream.left--;
        for (size_t k = 0; k < n_fds; k++) {
            fds[k] = open("/dev/null", O_RDONLY | O_CLOEXEC);
            g_assert(fds[k] >= 0);
        }
        if (feed(&stream, fds, n_fds) != VDS_VHOST_USER_MESSAGE) {
            break;
        }
        check_message(&stream);
    }
    vds_vhost_user_decoder_clear(&stream.decoder);
    return stream.heard;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GByteArray *whole, *cut;
    int first, last;

    if (size == 0) {
        return 0;
    }
    first = open("/dev/null", O_RDONLY | O_CLOEXEC);
    whole = listen(data, size, SIZE_MAX);
    cut = listen(data, size, 1);
    g_assert(whole->len == cut->len &&
             (cut->len == 0 || memcmp(whole->data, cut->data, cut->len) == 0));
    g_byte_array_unref(whole);
    g_byte_array_unref(cut);
    close(first);
    last = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the lowest number that is free */
    g_assert(last == first);
    close(last);
    return 0;
}
