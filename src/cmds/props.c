/*
 * cmds: a typed argument as a property set, as the command line gives them: what checks a
 * part has one form of it to know.  By way of JSON, for which both ways exist.
 */
#include "cmds-priv.h"

VdsProps *vds_cmds_to_props(const VdsQapiType *type, const void *object)
{
    g_auto(VdsBuf) json = {0};
    g_autoptr(VdsProps) props = vds_props_new();
    g_autoptr(VdsJsonTape) tape = NULL;
    VdsJsonWriter writer;

    vds_json_writer_init(&writer, &json, false);
    vds_qapi_write(type, object, &writer);
    tape = vds_json_parse_text((const char *)vds_buf_bytes(&json), vds_buf_len(&json),
                               &vds_json_wire_limits, NULL);
    if (!tape || !vds_json_to_props(vds_json_tape_root(tape), props)) {
        return NULL; /* larger than what a message can bring, once it is written out */
    }
    return g_steal_pointer(&props);
}
