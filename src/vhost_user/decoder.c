/*
 * vhost_user: VdsVhostUserDecoder, the stream of one direction cut into messages.  Says
 * how many bytes it wants, checks the header before it wants a payload, and owns what
 * descriptors came.  Refuses to know sockets.  Rules V1, V2, V3, V12.
 */
#include <string.h>

#include "vhost_user-priv.h"

void vds_vhost_user_decoder_init(VdsVhostUserDecoder *decoder,
                                 VdsVhostUserChannel channel, bool replies)
{
    *decoder = (VdsVhostUserDecoder){.channel = channel, .replies = replies};
    vds_vhost_user_message_init(&decoder->message, 0);
}

void vds_vhost_user_decoder_clear(VdsVhostUserDecoder *decoder)
{
    vds_vhost_user_message_clear(&decoder->message);
    decoder->have = 0;
}

size_t vds_vhost_user_decoder_want(VdsVhostUserDecoder *decoder, uint8_t **to)
{
    size_t done;

    if (decoder->have < VDS_VHOST_USER_HEADER_BYTES) {
        *to = decoder->header + decoder->have;
        return VDS_VHOST_USER_HEADER_BYTES - decoder->have;
    }
    done = decoder->have - VDS_VHOST_USER_HEADER_BYTES;
    *to = decoder->message.u.bytes + done;
    return decoder->message.size - done;
}

static void take_fds(VdsVhostUserMessage *message, const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd = fds[i];

        if (message->n_fds < VDS_VHOST_USER_MAX_FDS) {
            vds_vhost_user_message_add_fd(message, fd);
        } else {
            vds_fd_close(&fd);
        }
    }
}

/* What came along belongs to the message that begins here, or to none. */
static bool accept_fds(VdsVhostUserDecoder *decoder, const int *fds, size_t n,
                       GError **error)
{
    bool begins = decoder->have == 0;

    take_fds(&decoder->message, fds, n);
    if (n > 0 && !begins) {
        g_set_error(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_FDS,
                    "V12: %zu descriptors came %zu bytes into a message", n,
                    decoder->have);
        return false;
    }
    if (n > VDS_VHOST_USER_MAX_FDS) {
        g_set_error(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_FDS,
                    "V3: %zu descriptors came with a message, at most %d", n,
                    VDS_VHOST_USER_MAX_FDS);
        return false;
    }
    return true;
}

static bool read_header(VdsVhostUserDecoder *decoder, GError **error)
{
    VdsVhostUserMessage *message = &decoder->message;
    uint32_t words[3];

    memcpy(words, decoder->header, sizeof(words));
    message->request = words[0];
    message->flags = words[1];
    message->size = words[2];
    return vds_vhost_user_check_header(decoder->channel, decoder->replies, message,
                                       error);
}

VdsVhostUserStep vds_vhost_user_decoder_push(VdsVhostUserDecoder *decoder, size_t n,
                                             const int *fds, size_t n_fds, GError **error)
{
    uint8_t *to;
    size_t had = decoder->have;

    g_assert(n <= vds_vhost_user_decoder_want(decoder, &to));
    if (!accept_fds(decoder, fds, n_fds, error)) {
        return VDS_VHOST_USER_WRONG;
    }
    decoder->have += n;
    if (decoder->have < VDS_VHOST_USER_HEADER_BYTES) {
        return VDS_VHOST_USER_MORE;
    }
    if (had < VDS_VHOST_USER_HEADER_BYTES && !read_header(decoder, error)) {
        return VDS_VHOST_USER_WRONG;
    }
    if (decoder->have < VDS_VHOST_USER_HEADER_BYTES + (size_t)decoder->message.size) {
        return VDS_VHOST_USER_MORE;
    }
    return vds_vhost_user_message_check(decoder->channel, &decoder->message, error)
               ? VDS_VHOST_USER_MESSAGE
               : VDS_VHOST_USER_WRONG;
}

void vds_vhost_user_decoder_take(VdsVhostUserDecoder *decoder,
                                 VdsVhostUserMessage *message)
{
    *message = decoder->message;
    vds_vhost_user_message_init(&decoder->message, 0);
    decoder->have = 0;
}

bool vds_vhost_user_decoder_finish(const VdsVhostUserDecoder *decoder, GError **error)
{
    if (decoder->have == 0) {
        return true;
    }
    g_set_error(error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_CLOSED,
                "V12: the peer left %zu bytes into a message", decoder->have);
    return false;
}
