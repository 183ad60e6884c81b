/*
 * qmp: what a session sends: greeting, replies, events.
 *
 * Owns the members of these messages and their order (a reply's id comes last when it is
 * a success and first when it is an error, as in QEMU), and the one place where a GError
 * becomes a QMP error class.
 */
#include "qmp-priv.h"

static const char *const class_names[] = {
    [VDS_QMP_ERROR_GENERIC] = "GenericError",
    [VDS_QMP_ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
    [VDS_QMP_ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
    [VDS_QMP_ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
    [VDS_QMP_ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
};

static const char *error_class(const VdsQmpServer *server, const GError *error)
{
    unsigned code = VDS_QMP_ERROR_GENERIC;

    if (error->domain == VDS_QMP_ERROR) {
        code = (unsigned)error->code;
    } else if (server->classify) {
        code = server->classify(error);
    }
    return class_names[code < G_N_ELEMENTS(class_names) ? code : VDS_QMP_ERROR_GENERIC];
}

static void write_id(VdsJsonWriter *writer, VdsJsonValue id)
{
    if (vds_json_value_is_present(id)) {
        vds_json_write_key(writer, "id");
        vds_json_write_value(writer, id);
    }
}

static void message_begin(VdsJsonWriter *writer, const VdsQmpSink *sink)
{
    vds_json_writer_init(writer, sink->out, sink->pretty);
    vds_json_write_object_begin(writer);
}

static void message_end(VdsJsonWriter *writer)
{
    vds_json_write_object_end(writer);
    vds_json_write_newline(writer);
}

static void write_version(VdsJsonWriter *writer, const VdsQmpServer *server)
{
    vds_json_write_object_begin(writer);
    vds_json_write_key(writer, "qemu");
    vds_json_write_object_begin(writer);
    vds_json_write_key(writer, "major");
    vds_json_write_uint(writer, server->major);
    vds_json_write_key(writer, "minor");
    vds_json_write_uint(writer, server->minor);
    vds_json_write_key(writer, "micro");
    vds_json_write_uint(writer, server->micro);
    vds_json_write_object_end(writer);
    vds_json_write_key(writer, "package");
    vds_json_write_string(writer, server->package);
    vds_json_write_object_end(writer);
}

void vds_qmp_write_greeting(const VdsQmpSink *sink, const VdsQmpServer *server)
{
    VdsJsonWriter writer;

    message_begin(&writer, sink);
    vds_json_write_key(&writer, "QMP");
    vds_json_write_object_begin(&writer);
    vds_json_write_key(&writer, "version");
    write_version(&writer, server);
    vds_json_write_key(&writer, "capabilities");
    vds_json_write_array_begin(&writer);
    vds_json_write_string(&writer, "oob");
    vds_json_write_array_end(&writer);
    vds_json_write_object_end(&writer);
    message_end(&writer);
}

void vds_qmp_write_return(const VdsQmpSink *sink, const VdsQapiType *type,
                          const void *result, VdsJsonValue id)
{
    VdsJsonWriter writer;

    message_begin(&writer, sink);
    vds_json_write_key(&writer, "return");
    if (type) {
        vds_qapi_write(type, result, &writer);
    } else {
        vds_json_write_object_begin(&writer);
        vds_json_write_object_end(&writer);
    }
    write_id(&writer, id);
    message_end(&writer);
}

void vds_qmp_write_error(const VdsQmpSink *sink, const VdsQmpServer *server,
                         const GError *error, VdsJsonValue id)
{
    VdsJsonWriter writer;

    message_begin(&writer, sink);
    write_id(&writer, id);
    vds_json_write_key(&writer, "error");
    vds_json_write_object_begin(&writer);
    vds_json_write_key(&writer, "class");
    vds_json_write_string(&writer, error_class(server, error));
    vds_json_write_key(&writer, "desc");
    vds_json_write_string(&writer, error->message);
    vds_json_write_object_end(&writer);
    message_end(&writer);
}

void vds_qmp_write_event(const VdsQmpSink *sink, const VdsQapiEvent *event,
                         const void *data, int64_t time_us)
{
    VdsJsonWriter writer;

    message_begin(&writer, sink);
    vds_json_write_key(&writer, "timestamp");
    vds_json_write_object_begin(&writer);
    vds_json_write_key(&writer, "seconds");
    vds_json_write_int(&writer, time_us / G_USEC_PER_SEC);
    vds_json_write_key(&writer, "microseconds");
    vds_json_write_int(&writer, time_us % G_USEC_PER_SEC);
    vds_json_write_object_end(&writer);
    vds_json_write_key(&writer, "event");
    vds_json_write_string(&writer, event->name);
    if (event->data) {
        vds_json_write_key(&writer, "data");
        vds_qapi_write(event->data, data, &writer);
    }
    message_end(&writer);
}
