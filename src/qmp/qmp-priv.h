/*
 * qmp: what the files of this room share.
 */
#pragma once

#include "vds/qmp.h"

/* ---- envelope.c ------------------------------------------------------------------- */

/* A request taken apart; its strings live on the request's tape. */
typedef struct {
    VdsJsonValue id;        /* NONE when the request has none */
    VdsJsonValue arguments; /* an object, or NONE */
    const char *command;
    size_t command_len; /* may hold NULs */
    bool oob;           /* sent as exec-oob */
} VdsQmpEnvelope;

/* Takes a message apart.  The first fault in the order sent is reported
 * (VDS_QMP_ERROR_GENERIC), and `id` is set whatever the fault is. */
bool vds_qmp_envelope_open(VdsQmpEnvelope *envelope, VdsJsonValue message, bool allow_oob,
                           GError **error);

/* ---- reply.c ---------------------------------------------------------------------- */

typedef struct {
    VdsBuf *out;
    bool pretty;
} VdsQmpSink;

void vds_qmp_write_greeting(const VdsQmpSink *sink, const VdsQmpServer *server);
/* `type` NULL: the reply is {}. */
void vds_qmp_write_return(const VdsQmpSink *sink, const VdsQapiType *type,
                          const void *result, VdsJsonValue id);
void vds_qmp_write_error(const VdsQmpSink *sink, const VdsQmpServer *server,
                         const GError *error, VdsJsonValue id);
void vds_qmp_write_event(const VdsQmpSink *sink, const VdsQapiEvent *event,
                         const void *data, int64_t time_us);
