/*
 * vhost_user: VdsVhostUserLink, one connected socket on the main loop: messages with
 * their descriptors come in, a few each turn, and go out in order.  Waits for nothing.
 * Refuses to know what messages mean.  unix(7), SCM_RIGHTS.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "link-priv.h"

enum {
    MESSAGES_A_TURN = 16,
    RECEIVED_FDS = 32, /* room for what is too much, so that it is closed */
    OUT_LIMIT = 64,    /* messages that the peer does not read: it is not read from */
};

/* One that could not be sent at once. */
typedef struct {
    GList link;
    size_t len, done;
    VdsVhostUserMessage fds; /* only those */
    uint8_t bytes[];
} Out;

struct VdsVhostUserLink {
    GSource source; /* first: GLib's source functions get this */
    const VdsVhostUserLinkOps *ops;
    void *user;
    VdsVhostUserChannel channel;
    int fd;
    gpointer tag;
    GIOCondition events;
    bool paused;       /* by its user */
    bool dead;         /* freed, maybe in the middle of a turn */
    VdsCloser *closer; /* (nullable) */
    int failure;       /* errno of a send: nothing can be sent any more; 0: none */
    GQueue out;        /* of Out */
    VdsVhostUserDecoder decoder;
};

/* ---- what it waits for ----------------------------------------------------------- */

static void link_watch(VdsVhostUserLink *link, GIOCondition events)
{
    if (events != link->events) {
        g_source_modify_unix_fd(&link->source, link->tag, events);
        link->events = events;
    }
}

static bool link_may_read(const VdsVhostUserLink *link)
{
    return !link->paused && link->failure == 0 && link->out.length < OUT_LIMIT;
}

static void link_settle(VdsVhostUserLink *link)
{
    if (!link->dead) {
        /* That the peer is gone is seen also by who does not listen. */
        link_watch(link, (link_may_read(link) ? G_IO_IN : G_IO_HUP) |
                             (link->out.length > 0 ? G_IO_OUT : 0));
    }
}

static void link_close(VdsVhostUserLink *link, const GError *why)
{
    if (!link->dead) {
        link->ops->closed(link->user, why);
    }
}

/* ---- out ------------------------------------------------------------------------- */

/* Descriptors go with the first byte. */
static ssize_t send_some(int socket_fd, const uint8_t *bytes, size_t len, const int *fds,
                         unsigned n_fds)
{
    struct iovec part = {(void *)bytes, len};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * VDS_VHOST_USER_MAX_FDS)];
    } control = {.room = {0}};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    if (n_fds > 0) {
        struct cmsghdr *first;

        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        first = CMSG_FIRSTHDR(&header);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(first), fds, sizeof(int) * n_fds);
    }
    return sendmsg(socket_fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void out_free(Out *out)
{
    vds_vhost_user_message_clear(&out->fds);
    g_free(out);
}

static void out_drop_first(VdsVhostUserLink *link)
{
    Out *out = link->out.head->data;

    g_queue_unlink(&link->out, &out->link);
    out_free(out);
}

/* A peer that takes no answer any more (EPIPE, ECONNRESET) may still send, and its socket
 * is writable for ever.  The connection ends in a turn of its own: whoever sends holds
 * what the end of the connection frees. */
static void link_note_failure(VdsVhostUserLink *link, int number)
{
    link->failure = number;
    while (link->out.length > 0) {
        out_drop_first(link);
    }
    g_source_set_ready_time(&link->source, 0);
}

static void link_flush(VdsVhostUserLink *link)
{
    while (link->out.length > 0) {
        Out *out = link->out.head->data;
        ssize_t n = send_some(link->fd, out->bytes + out->done, out->len - out->done,
                              out->fds.fds, out->fds.n_fds);

        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                link_note_failure(link, errno);
            }
            return;
        }
        vds_vhost_user_message_clear(&out->fds);
        out->done += (size_t)n;
        if (out->done < out->len) {
            return;
        }
        out_drop_first(link);
    }
}

bool vds_vhost_user_link_send(VdsVhostUserLink *link, VdsVhostUserMessage *message,
                              GError **error)
{
    uint8_t bytes[VDS_VHOST_USER_HEADER_BYTES + VDS_VHOST_USER_MAX_PAYLOAD];
    size_t len = vds_vhost_user_message_pack(link->channel, message, bytes, error);
    Out *out;

    if (len == 0) {
        vds_vhost_user_message_clear(message);
        return false;
    }
    out = g_malloc(sizeof(*out) + len);
    *out = (Out){.link = {.data = out}, .len = len};
    vds_vhost_user_message_init(&out->fds, message->request);
    for (unsigned i = 0; i < message->n_fds; i++) {
        vds_vhost_user_message_add_fd(&out->fds,
                                      vds_vhost_user_message_steal_fd(message, i));
    }
    message->n_fds = 0;
    memcpy(out->bytes, bytes, len);
    g_queue_push_tail_link(&link->out, &out->link);
    link_flush(link);
    link_settle(link);
    return true;
}

unsigned vds_vhost_user_link_get_pending(const VdsVhostUserLink *link)
{
    return link->out.length;
}

/* ---- in -------------------------------------------------------------------------- */

typedef struct {
    int fds[RECEIVED_FDS];
    size_t n;
} Received;

static void take_control(struct msghdr *header, Received *received)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part;
         part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            size_t n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

            g_assert(received->n + n <= RECEIVED_FDS); /* there is room for no more */
            memcpy(received->fds + received->n, CMSG_DATA(part), n * sizeof(int));
            received->n += n;
        }
    }
}

/* What did not fit was closed by the kernel. */
static ssize_t receive(int socket_fd, uint8_t *to, size_t len, Received *received)
{
    struct iovec part = {to, len};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * RECEIVED_FDS)];
    } control;
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(socket_fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    received->n = 0;
    if (n >= 0) {
        take_control(&header, received);
    }
    return n;
}

static void link_end(VdsVhostUserLink *link)
{
    g_autoptr(GError) why = NULL;

    vds_vhost_user_decoder_finish(&link->decoder, &why);
    link_close(link, why);
}

static void link_fail(VdsVhostUserLink *link, int number)
{
    g_autoptr(GError) why = NULL;

    g_set_error(&why, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_CLOSED,
                "the connection failed: %s", g_strerror(number));
    link_close(link, why);
}

/* Hands a message over; false: the link is closed. */
static bool link_deliver(VdsVhostUserLink *link)
{
    g_auto(VdsVhostUserMessage) message;
    g_autoptr(GError) why = NULL;

    vds_vhost_user_decoder_take(&link->decoder, &message);
    if (!link->ops->message(link->user, &message, &why)) {
        link_close(link, why);
        return false;
    }
    return !link->dead;
}

/* No message takes a file of a file system: whoever serves one decides how long the main
 * loop waits for it.  false: there was one, and all descriptors are closed. */
static bool check_descriptors(VdsVhostUserLink *link, Received *received, GError **error)
{
    g_autofree char *name = NULL;

    for (size_t i = 0; i < received->n && !name; i++) {
        if (vds_fd_kind(received->fds[i]) == VDS_FD_FILE) {
            name = vds_fd_describe(received->fds[i]);
        }
    }
    if (!name) {
        return true;
    }
    for (size_t i = 0; i < received->n; i++) {
        vds_closer_close(link->closer, &received->fds[i]);
    }
    g_set_error(
        error, VDS_VHOST_USER_ERROR, VDS_VHOST_USER_ERROR_FDS,
        "V3: descriptor of '%.*s': expected a memfd, a file of tmpfs or hugetlbfs, an "
        "eventfd, a pipe or a socket",
        vds_name_len(name), name);
    return false;
}

/* One read.  false: nothing more for now; *messages counts down. */
static bool link_read(VdsVhostUserLink *link, int *messages)
{
    g_autoptr(GError) why = NULL;
    Received received;
    uint8_t *to;
    size_t want = vds_vhost_user_decoder_want(&link->decoder, &to);
    ssize_t n = receive(link->fd, to, want, &received);

    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            link_fail(link, errno);
        }
        return false;
    }
    if (n == 0 && received.n == 0) {
        link_end(link);
        return false;
    }
    if (!check_descriptors(link, &received, &why)) {
        link_close(link, why);
        return false;
    }
    switch (vds_vhost_user_decoder_push(&link->decoder, (size_t)n, received.fds,
                                        received.n, &why)) {
    case VDS_VHOST_USER_MORE:
        return true;
    case VDS_VHOST_USER_MESSAGE:
        (*messages)--;
        return link_deliver(link);
    case VDS_VHOST_USER_WRONG:
        break;
    }
    link_close(link, why);
    return false;
}

static bool link_is_lost(VdsVhostUserLink *link)
{
    return g_source_query_unix_fd(&link->source, link->tag) & (G_IO_HUP | G_IO_ERR);
}

static gboolean link_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    VdsVhostUserLink *link = (VdsVhostUserLink *)source;
    int messages = MESSAGES_A_TURN;
    /* A message may come a byte at a time. */
    int reads = MESSAGES_A_TURN * 4;

    if (link->failure != 0) {
        g_source_set_ready_time(source, -1);
        link_fail(link, link->failure);
        return G_SOURCE_CONTINUE;
    }
    if (!link_may_read(link) && link_is_lost(link)) {
        link_end(link);
        return G_SOURCE_CONTINUE;
    }
    link_flush(link);
    while (!link->dead && link_may_read(link) && messages > 0 && reads-- > 0 &&
           link_read(link, &messages)) {
    }
    link_settle(link);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs link_funcs = {.dispatch = link_dispatch};

/* ---- life ------------------------------------------------------------------------ */

VdsVhostUserLink *vds_vhost_user_link_new(GMainContext *context, int fd,
                                          VdsVhostUserChannel channel, bool replies,
                                          const VdsVhostUserLinkOps *ops, void *user)
{
    GSource *source = g_source_new(&link_funcs, sizeof(VdsVhostUserLink));
    VdsVhostUserLink *link = (VdsVhostUserLink *)source;

    link->ops = ops;
    link->user = user;
    link->channel = channel;
    link->fd = fd;
    g_queue_init(&link->out);
    vds_vhost_user_decoder_init(&link->decoder, channel, replies);
    g_source_set_static_name(source, "vhost-user link");
    link->events = G_IO_IN;
    link->tag = g_source_add_unix_fd(source, fd, link->events);
    g_source_attach(source, context);
    return link;
}

void vds_vhost_user_link_set_closer(VdsVhostUserLink *link, VdsCloser *closer)
{
    link->closer = closer;
}

void vds_vhost_user_link_free(VdsVhostUserLink *link)
{
    if (!link) {
        return;
    }
    link->dead = true;
    while (link->out.length > 0) {
        out_drop_first(link);
    }
    vds_vhost_user_decoder_clear(&link->decoder);
    g_source_destroy(&link->source);
    vds_fd_close(&link->fd);
    g_source_unref(&link->source); /* GLib holds one during a turn */
}

bool vds_vhost_user_link_is_hung_up(const VdsVhostUserLink *link)
{
    struct pollfd at = {.fd = link->fd};

    return poll(&at, 1, 0) == 1 && (at.revents & POLLHUP);
}

void vds_vhost_user_link_set_paused(VdsVhostUserLink *link, bool paused)
{
    link->paused = paused;
    link_settle(link);
}
