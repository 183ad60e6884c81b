/*
 * qmp: the envelope of a request, {"execute": NAME, "arguments": {...}, "id": ANY}.
 *
 * Owns which members there may be and of which kind; does not know which commands exist.
 * QEMU visits the members in the order of its hash table; here the first fault as sent
 * wins, which is the same for a request with one fault.
 */
#include <string.h>

#include "qmp-priv.h"

typedef bool (*MemberFunc)(VdsQmpEnvelope *envelope, VdsJsonValue value, GError **error);

static bool take_command(VdsQmpEnvelope *envelope, const char *member, VdsJsonValue value,
                         GError **error)
{
    if (vds_json_value_kind(value) != VDS_JSON_STRING) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                    "QMP input member '%s' must be a string", member);
        return false;
    }
    if (envelope->command) {
        /* QEMU's table always meets exec-oob first, so this is its only wording. */
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                    "QMP input member 'execute' clashes with 'exec-oob'");
        return false;
    }
    envelope->command = vds_json_value_string(value, &envelope->command_len);
    return true;
}

static bool take_execute(VdsQmpEnvelope *envelope, VdsJsonValue value, GError **error)
{
    return take_command(envelope, "execute", value, error);
}

static bool take_exec_oob(VdsQmpEnvelope *envelope, VdsJsonValue value, GError **error)
{
    envelope->oob = true;
    return take_command(envelope, "exec-oob", value, error);
}

static bool take_arguments(VdsQmpEnvelope *envelope, VdsJsonValue value, GError **error)
{
    if (vds_json_value_kind(value) != VDS_JSON_OBJECT) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                    "QMP input member 'arguments' must be an object");
        return false;
    }
    envelope->arguments = value;
    return true;
}

static bool take_id(VdsQmpEnvelope *envelope, VdsJsonValue value, GError **error)
{
    return true; /* found beforehand: replies to all later faults carry it */
}

static const struct {
    const char *name;
    bool needs_oob;
    MemberFunc take;
} members[] = {
    {"execute", false, take_execute},
    {"arguments", false, take_arguments},
    {"id", false, take_id},
    {"exec-oob", true, take_exec_oob},
};

static MemberFunc find_member(const char *name, size_t len, bool allow_oob)
{
    for (size_t i = 0; i < G_N_ELEMENTS(members); i++) {
        if (strlen(members[i].name) == len && memcmp(members[i].name, name, len) == 0) {
            return members[i].needs_oob && !allow_oob ? NULL : members[i].take;
        }
    }
    return NULL;
}

bool vds_qmp_envelope_open(VdsQmpEnvelope *envelope, VdsJsonValue message, bool allow_oob,
                           GError **error)
{
    VdsJsonIter iter;

    *envelope = (VdsQmpEnvelope){.id = VDS_JSON_NONE, .arguments = VDS_JSON_NONE};
    if (vds_json_value_kind(message) != VDS_JSON_OBJECT) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                    "QMP input must be a JSON object");
        return false;
    }
    envelope->id = vds_json_object_find(message, "id");
    iter = vds_json_iter(message);
    while (vds_json_iter_next(&iter)) {
        size_t len;
        const char *name = vds_json_value_string(iter.key, &len);
        MemberFunc take = find_member(name, len, allow_oob);

        if (!take) {
            g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                        "QMP input member '%.*s' is unexpected", vds_name_len(name),
                        name);
            return false;
        }
        if (!take(envelope, iter.value, error)) {
            return false;
        }
    }
    if (!envelope->command) {
        g_set_error(error, VDS_QMP_ERROR, VDS_QMP_ERROR_GENERIC,
                    "QMP input lacks member 'execute'");
        return false;
    }
    return true;
}
