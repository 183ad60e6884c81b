/*
 * qmp: one client's session: capabilities negotiation, and from a request to its reply.
 *
 * Owns the session's mode and the order of checks: envelope, look-up, oob, arguments.
 * Handlers are synchronous, so requests are answered one by one in the order sent, and an
 * exec-oob request has nothing to overtake.  Does no I/O.
 */
#include "qmp-priv.h"

struct VdsQmpSession {
    const VdsQmpServer *server;
    VdsQmpSink sink;
    VdsJsonParser *parser;
    VdsArena *arena; /* of the request at hand */
    bool negotiated;
    bool oob; /* enabled by the client */
};

VdsQmpSession *vds_qmp_session_new(const VdsQmpServer *server, VdsBuf *out, bool pretty)
{
    VdsQmpSession *session = g_new0(VdsQmpSession, 1);

    session->server = server;
    session->sink = (VdsQmpSink){out, pretty};
    session->parser = vds_json_parser_new(&vds_json_wire_limits);
    session->arena = vds_arena_new();
    vds_qmp_write_greeting(&session->sink, server);
    return session;
}

void vds_qmp_session_free(VdsQmpSession *session)
{
    if (session) {
        vds_json_parser_free(session->parser);
        vds_arena_free(session->arena);
        g_free(session);
    }
}

bool vds_qmp_session_is_negotiated(const VdsQmpSession *session)
{
    return session->negotiated;
}

bool vds_qmp_session_event(VdsQmpSession *session, const VdsQapiEvent *event,
                           const void *data, int64_t time_us)
{
    if (session->negotiated) {
        vds_qmp_write_event(&session->sink, event, data, time_us);
    }
    return session->negotiated;
}

/* ---- qmp_capabilities ---------------------------------------------------------------
 */

static bool enable_capability(VdsJsonValue name, bool *oob, GError **error)
{
    const char *text = vds_json_value_string(name, NULL);

    if (g_strcmp0(text, "oob") != 0) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                    "Capability %.*s not available", vds_name_len(text), text);
        return false;
    }
    *oob = true;
    return true;
}

static bool negotiate(VdsQmpSession *session, const VdsQapiCommand *command,
                      VdsJsonValue arguments, GError **error)
{
    void *checked = vds_arena_alloc(session->arena, command->args->size);
    VdsJsonValue enable = VDS_JSON_NONE;
    bool oob = false;

    if (!vds_qapi_parse(command->args, arguments, session->arena, checked, error)) {
        return false;
    }
    if (session->negotiated) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_COMMAND_NOT_FOUND,
                    "Capabilities negotiation is already complete, command ignored");
        return false;
    }
    /* The generated struct is not for this room: what was checked is read as sent. */
    if (vds_json_value_is_present(arguments)) {
        enable = vds_json_object_find(arguments, "enable");
    }
    if (vds_json_value_is_present(enable)) {
        VdsJsonIter iter = vds_json_iter(enable);

        while (vds_json_iter_next(&iter)) {
            if (!enable_capability(iter.value, &oob, error)) {
                return false;
            }
        }
    }
    session->negotiated = true;
    session->oob = oob;
    return true;
}

/* ---- dispatch -----------------------------------------------------------------------
 */

static const VdsQapiCommand *find_command(VdsQmpSession *session,
                                          const VdsQmpEnvelope *envelope, GError **error)
{
    const VdsQapiCommand *command = vds_qapi_dispatch_find(
        &session->server->dispatch, envelope->command, envelope->command_len);
    int len = vds_name_len(envelope->command);

    if (!session->negotiated && !(command && command->session)) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_COMMAND_NOT_FOUND,
                    "Expecting capabilities negotiation with 'qmp_capabilities'");
        return NULL;
    }
    if (!command) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_COMMAND_NOT_FOUND,
                    "The command %.*s has not been found", len, envelope->command);
        return NULL;
    }
    if (envelope->oob && !command->allow_oob) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                    "The command %.*s does not support OOB", len, envelope->command);
        return NULL;
    }
    return command;
}

static bool execute(VdsQmpSession *session, const VdsQmpEnvelope *envelope,
                    GError **error)
{
    const VdsQapiCommand *command = find_command(session, envelope, error);
    const VdsQapiCall call = {session->server->ctx, session->arena, envelope->arguments};
    void *result = NULL;

    if (!command) {
        return false;
    }
    if (command->session ? !negotiate(session, command, envelope->arguments, error)
                         : !command->invoke(&call, &result, error)) {
        return false;
    }
    vds_qmp_write_return(&session->sink, command->ret, result, envelope->id);
    return true;
}

static void answer(VdsQmpSession *session, VdsJsonValue message)
{
    g_autoptr(GError) error = NULL;
    VdsQmpEnvelope envelope;

    if (!vds_qmp_envelope_open(&envelope, message, session->oob, &error) ||
        !execute(session, &envelope, &error)) {
        vds_qmp_write_error(&session->sink, session->server, error, envelope.id);
    }
    vds_arena_reset(session->arena);
}

/* The parser keeps a message until it is fed again, and the client may be idle until
 * then: a large message is not to stay that long. */
static void drop_message(VdsQmpSession *session)
{
    size_t used;

    vds_json_parser_feed(session->parser, "", 0, &used, NULL);
}

size_t vds_qmp_session_feed(VdsQmpSession *session, const void *bytes, size_t len,
                            unsigned max_requests, size_t out_limit)
{
    const uint8_t *at = bytes;
    size_t taken = 0;

    while (taken < len && max_requests > 0 &&
           vds_buf_len(session->sink.out) < out_limit) {
        g_autoptr(GError) error = NULL;
        size_t used = 0;
        VdsJsonFeed fed =
            vds_json_parser_feed(session->parser, at + taken, len - taken, &used, &error);

        taken += used;
        if (fed == VDS_JSON_MESSAGE) {
            answer(session, vds_json_parser_message(session->parser));
            drop_message(session);
            max_requests--;
        } else if (fed == VDS_JSON_BAD) {
            vds_qmp_write_error(&session->sink, session->server, error, VDS_JSON_NONE);
            max_requests--;
        }
    }
    return taken;
}

void vds_qmp_session_finish(VdsQmpSession *session)
{
    vds_json_parser_free(session->parser);
    session->parser = vds_json_parser_new(&vds_json_wire_limits);
}
