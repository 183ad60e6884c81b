/*
 * qmp: one session of the QEMU Machine Protocol, without I/O.
 *
 * Bytes come in through vds_qmp_session_feed(), replies and events are appended to the
 * session's output buffer.  Owns the envelope, capabilities negotiation and the mapping
 * from GError to QMP's error classes; knows no command but qmp_capabilities and no
 * socket.  Wire behaviour: docs/compat.md.
 */
#pragma once

#include "vds/qapi.h"

/* The codes are QMP's error classes.  Every other domain is GenericError. */
#define VDS_QMP_ERROR (vds_qmp_error_quark())
GQuark vds_qmp_error_quark(void);
typedef enum {
    VDS_QMP_ERROR_GENERIC,
    VDS_QMP_ERROR_COMMAND_NOT_FOUND,
    VDS_QMP_ERROR_DEVICE_NOT_ACTIVE,
    VDS_QMP_ERROR_DEVICE_NOT_FOUND,
    VDS_QMP_ERROR_KVM_MISSING_CAP,
} VdsQmpError;

/* What all sessions share; outlives them. */
typedef struct {
    VdsQapiDispatch dispatch;
    void *ctx; /* handed to the handlers */
    unsigned major, minor, micro;
    const char *package;
    /* (nullable) class of an error of a foreign domain (cmds' "not found"): returns
     * VDS_QMP_ERROR_GENERIC where it knows none */
    VdsQmpError (*classify)(const GError *error);
} VdsQmpServer;

typedef struct VdsQmpSession VdsQmpSession;

/* A session starts un-negotiated with the greeting in `out`, which it borrows. */
VdsQmpSession *vds_qmp_session_new(const VdsQmpServer *server, VdsBuf *out, bool pretty);
void vds_qmp_session_free(VdsQmpSession *session); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsQmpSession, vds_qmp_session_free)

/* Takes bytes and answers at most max_requests messages (errors count), so that one
 * client cannot keep the loop.  Stops early, too, when `out` holds out_limit bytes or
 * more.  Returns how many bytes were taken; the caller keeps the rest and calls again. */
size_t vds_qmp_session_feed(VdsQmpSession *session, const void *bytes, size_t len,
                            unsigned max_requests, size_t out_limit);
/* The client will send no more.  What is unfinished is dropped without an answer. */
void vds_qmp_session_finish(VdsQmpSession *session);

bool vds_qmp_session_is_negotiated(const VdsQmpSession *session);

/* Appends the event, with the time given in microseconds since the epoch, if the session
 * is negotiated; false if it is not. */
bool vds_qmp_session_event(VdsQmpSession *session, const VdsQapiEvent *event,
                           const void *data, int64_t time_us);
