/*
 * vhost_user: the back-end's words, for its files.  All of it is the main loop's.
 */
#pragma once

#include "link-priv.h"

enum {
    VDS_BACKEND_MAX_RINGS = 256, /* ring numbers of KICK, CALL and ERR have eight bits */
    VDS_BACKEND_MAX_SLOTS = 509, /* memory regions, as the kernel's vhost has */
};

/* The specification's ring states; a stopped ring may be enabled already (net). */
typedef enum {
    VDS_RING_STOPPED,
    VDS_RING_READY,   /* stopped, and enabled for when it starts */
    VDS_RING_STARTED, /* disabled: not served */
    VDS_RING_SERVED,
    VDS_RING_PHASES,
} VdsRingPhase;

typedef enum {
    VDS_RING_START,   /* set up, and kicked or given a kick descriptor */
    VDS_RING_ENABLE,  /* SET_VRING_ENABLE 1 */
    VDS_RING_DISABLE, /* SET_VRING_ENABLE 0 */
    VDS_RING_STOP,    /* GET_VRING_BASE, RESET_DEVICE */
    VDS_RING_EVENTS,
} VdsRingEvent;

/* What the front-end told of one ring. */
typedef struct {
    VdsRingPhase phase;
    bool kicked;      /* SET_VRING_KICK came since the last stop */
    bool has_address; /* `address` was told */
    bool held;        /* it ran: the device has something of it */
    uint32_t num;     /* 0: not told */
    uint32_t base;    /* as SET_VRING_BASE has it */
    VdsVhostUserRingAddress address;
    /* The device gets these when the ring starts; then a new one at once. */
    bool new_kick, new_call;      /* ... which may be -1: none */
    int kick_fd, call_fd, err_fd; /* -1; owned */
    VdsVhostQueue shown;          /* kick, call: the numbers, of whoever owns them */
} VdsBackendRing;

/* A region that was added `n` times more than once: QEMU before 8.0 tells of each for
 * every pair of a network card's queues, and takes it back as often. */
typedef struct {
    uint64_t gpa, len, uva;
    unsigned n;
} VdsBackendRepeat;

/* A stop that is under way outlives the back-end that asked for it. */
typedef struct {
    VdsVhostUserBackend *backend; /* (nullable) it does not wait any more */
} VdsBackendStop;

struct VdsVhostUserBackend {
    VdsVirtioDevice *device;
    VdsMailbox *mailbox;
    GMainContext *context;
    unsigned n_rings;
    uint64_t queue_num;
    uint64_t offered_protocol;
    uint64_t offered;     /* features, those of the protocol included */
    VdsGuestQuota *quota; /* (nullable) owned: of what all front-ends have mapped */

    /* The socket. */
    char *path;
    bool server;
    unsigned reconnect_s;
    struct stat identity; /* of the socket file */
    int listen_fd;
    GSource *waiting;       /* (nullable) for the next connection */
    VdsVhostUserLink *link; /* (nullable) the front-end */
    VdsCloser *closer;      /* for files that front-ends send */
    uint64_t connections, messages;
    char *reason, *refusal;    /* (nullable) */
    VdsVhostUserNewsFunc news; /* (nullable) */
    void *news_user;
    GQueue waiters; /* VdsBackendWaiter: front-ends after this one, oldest first */
    GSource *next;  /* (nullable) the first of them is about to be served */

    /* The connection's. */
    VdsGuestShare *share;      /* (nullable) of the quota */
    VdsVhostUserLink *channel; /* (nullable) to the front-end: SET_BACKEND_REQ_FD */
    uint64_t protocol;         /* features that were negotiated */
    uint64_t features;         /* the last SET_FEATURES */
    bool has_features;
    uint64_t before;       /* `messages` when it began */
    int64_t begun_us;      /* when it began, and when SET_FEATURES arrived, 0: not yet; */
    int64_t features_us;   /* monotonic */
    GSource *patience;     /* (nullable) until a hint is due */
    bool lived;            /* a ring was started since the device was reset */
    uint8_t status;        /* the last SET_STATUS */
    VdsGuestMap *map;      /* (nullable) without the log */
    GArray *repeats;       /* VdsBackendRepeat, one a region at most */
    VdsDirtyLog *log;      /* (nullable) used while features say so */
    int log_fd;            /* -1; owned: each log gets a copy */
    bool config_changed;   /* while all rings were stopped: the front-end is to be told */
    bool has_mtu;          /* NET_SET_MTU came */
    bool has_inflight;     /* the device has a region for what is in flight */
    GSource *interrupts;   /* (nullable) the device's */
    GSource *polling;      /* (nullable) for rings without a kick descriptor */
    VdsBackendStop *stop;  /* (nullable) for which no more is read */
    int state_fd;          /* -1; owned: a state to be loaded */
    bool saved;            /* ours, since the last check */
    VdsBackendRing *rings; /* n_rings */
};

static inline bool vds_backend_has(const VdsVhostUserBackend *backend, unsigned feature)
{
    return (backend->protocol >> feature) & 1;
}

/* backend-messages.c: one message.  The link's callback. */
bool vds_backend_message(void *user, VdsVhostUserMessage *message, GError **error);
/* Remembers why a message was refused, and reports it. */
void vds_backend_refuse(VdsVhostUserBackend *backend, const GError *why);

/* backend-news.c: what is reported, and hints. */
void vds_backend_report(const VdsVhostUserBackend *backend, VdsVhostUserNewsKind kind,
                        const char *text);
/* The same of a socket's peer. */
void vds_backend_report_peer(const VdsVhostUserBackend *backend,
                             VdsVhostUserNewsKind kind, int fd);
/* A connection begins, a message was handled, the connection ends. */
void vds_backend_hint_begin(VdsVhostUserBackend *backend);
void vds_backend_hint_message(VdsVhostUserBackend *backend);
void vds_backend_hint_end(VdsVhostUserBackend *backend);
/* A ring is served from now on. */
void vds_backend_hint_ring(VdsVhostUserBackend *backend);

/* backend-waiters.c: front-ends that connected while another one is served. */
void vds_backend_waiter_add(VdsVhostUserBackend *backend, int fd /* (transfer full) */);
/* The descriptor of the oldest; -1: none.  (transfer full) */
int vds_backend_waiter_take(VdsVhostUserBackend *backend);
void vds_backend_waiters_clear(VdsVhostUserBackend *backend);

/* backend.c: listens again, if there is room for one more. */
void vds_backend_listen(VdsVhostUserBackend *backend);

/* A handler: the message's name is `name` in errors; what it does not steal is closed. */
typedef bool (*VdsBackendHandler)(VdsVhostUserBackend *backend,
                                  VdsVhostUserMessage *message,
                                  VdsVhostUserMessage *reply, GError **error);
/* By request; (nullable): not offered. */
VdsBackendHandler vds_backend_handler(uint32_t request);

/* backend-place.c: where it lies in a map (nullable); and where it goes on, too.  RING,
 * VDS_GUESTMEM_ERROR. */
bool vds_ring_place(const VdsVhostUserBackend *backend, const VdsGuestMap *map,
                    unsigned n, VdsQueueSetup *setup, GError **error);
bool vds_ring_setup(const VdsVhostUserBackend *backend, unsigned n, VdsQueueSetup *setup,
                    GError **error);

/* backend-vrings.c: messages */
bool vds_backend_set_num(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                         VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_address(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                             VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_base(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error);
bool vds_backend_get_base(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_kick(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_call(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                          VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_err(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                         VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_enable(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error);

/* backend-rings.c */
bool vds_ring_fail(GError **error, VdsVhostUserError code, const char *rule, unsigned n,
                   const char *format, ...) G_GNUC_PRINTF(5, 6);
bool vds_ring_is_started(const VdsBackendRing *ring);
void vds_ring_show(VdsVhostUserBackend *backend, unsigned n);
/* New descriptors become the device's. */
bool vds_ring_hand_over(VdsVhostUserBackend *backend, unsigned n, GError **error);
/* Its kick descriptor goes: the front-end gives a new one before it starts again. */
void vds_ring_let_go(VdsVhostUserBackend *backend, unsigned n);
/* Starts it if nothing is missing any more. */
bool vds_ring_settle(VdsVhostUserBackend *backend, unsigned n, GError **error);
bool vds_ring_move(VdsVhostUserBackend *backend, unsigned n, GError **error);
/* It counts as stopped from here on; the device may still have requests. */
void vds_ring_hold(VdsBackendRing *ring);
/* ENABLE or DISABLE for one, STOP for one (its requests under way are void). */
bool vds_backend_ring_event(VdsVhostUserBackend *backend, unsigned n, VdsRingEvent event,
                            GError **error);
/* Is any started? */
bool vds_backend_is_started(const VdsVhostUserBackend *backend);
/* Where started rings, and those that only miss memory, lie in a map: places[n_rings],
 * num 0 for all others.  RING */
bool vds_backend_place_rings(const VdsVhostUserBackend *backend, const VdsGuestMap *map,
                             VdsQueueSetup *places, GError **error);
/* Starts those for which nothing is missing any more. */
bool vds_backend_settle_rings(VdsVhostUserBackend *backend, GError **error);
/* The device is broken: tells who wants to know. */
void vds_backend_signal_errors(VdsVhostUserBackend *backend);
/* A ring started: what was held back while the device was suspended is sent. */
void vds_backend_resume_messages(VdsVhostUserBackend *backend);
/* Rings that have no kick descriptor are looked at now and then. */
void vds_backend_poll(VdsVhostUserBackend *backend);
/* What a connection begins with. */
void vds_backend_init_rings(VdsVhostUserBackend *backend);
/* The device lets go of them at once; what its rings were stays to be looked at. */
void vds_backend_forget_rings(VdsVhostUserBackend *backend);

/* backend-memory.c */
bool vds_backend_set_mem_table(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                               VdsVhostUserMessage *reply, GError **error);
bool vds_backend_add_region(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error);
bool vds_backend_remove_region(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                               VdsVhostUserMessage *reply, GError **error);
bool vds_backend_get_slots(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                           VdsVhostUserMessage *reply, GError **error);

bool vds_backend_set_log(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                         VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_log_fd(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error);
/* The device, its rings and queries go over to a map (nullable), its log (nullable) and
 * the features that say whether it is written; all three are kept.  RING: C2 to C4;
 * MEMORY: V7; then those before stay in force. */
bool vds_backend_use_memory(VdsVhostUserBackend *backend, VdsGuestMap *map,
                            VdsDirtyLog *log, uint64_t features, GError **error);

/* backend-inflight.c */
bool vds_backend_get_inflight(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_inflight(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
void vds_backend_forget_inflight(VdsVhostUserBackend *backend);

/* backend-device.c: features, status, config space, reset; what queries see. */
bool vds_backend_get_features(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_features(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
bool vds_backend_get_protocol(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_protocol(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
bool vds_backend_get_config(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_config(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error);
bool vds_backend_get_status(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error);
bool vds_backend_set_status(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                            VdsVhostUserMessage *reply, GError **error);
bool vds_backend_reset_owner(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                             VdsVhostUserMessage *reply, GError **error);
bool vds_backend_reset_device(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
/* A ring starts: the device has to be in DRIVER_OK. */
bool vds_backend_device_start(VdsVhostUserBackend *backend, GError **error);
void vds_backend_show(VdsVhostUserBackend *backend);
/* The device has something to tell: config changes, and that it is broken. */
void vds_backend_watch_device(VdsVhostUserBackend *backend);

/* backend-state.c */
bool vds_backend_set_state_fd(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                              VdsVhostUserMessage *reply, GError **error);
bool vds_backend_check_state(VdsVhostUserBackend *backend, VdsVhostUserMessage *message,
                             VdsVhostUserMessage *reply, GError **error);
void vds_backend_forget_state(VdsVhostUserBackend *backend);
