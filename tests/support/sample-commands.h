/*
 * A small command table, written by hand in the shape that the generator makes: what the
 * tests of the rooms below cmds dispatch to.
 */
#pragma once

#include <stddef.h>
#include <string.h>

#include "vds/qmp.h"

typedef struct {
    VdsEventSink sink;
    unsigned calls;    /* handlers that ran */
    uint32_t max_blob; /* of query-blob; 0: 4 MiB */
} Sample;

/* ---- types ------------------------------------------------------------------------ */

static const VdsQapiType sample_str = {
    .name = "str", .kind = VDS_QAPI_STR, .size = sizeof(char *)};
static const VdsQapiType sample_bool = {
    .name = "bool", .kind = VDS_QAPI_BOOL, .size = sizeof(bool)};
static const VdsQapiType sample_uint32 = {
    .name = "uint32", .kind = VDS_QAPI_UINT, .size = sizeof(uint32_t)};
static const VdsQapiType sample_any = {
    .name = "any", .kind = VDS_QAPI_ANY, .size = sizeof(VdsQapiAny)};

typedef struct {
    char unused;
} SampleNothing;

static const VdsQapiType sample_nothing = {
    .name = "q_empty", .kind = VDS_QAPI_STRUCT, .size = sizeof(SampleNothing)};

/* "later" is in the schema and not on offer, as a capability of a newer QEMU would be. */
static const char *const sample_capability_values[] = {"oob", "later"};
static const VdsQapiType sample_capability = {.name = "QMPCapability",
                                              .kind = VDS_QAPI_ENUM,
                                              .size = sizeof(int),
                                              .values = sample_capability_values,
                                              .n_values = 2};
static const VdsQapiType sample_capability_list = {.name = "QMPCapabilityList",
                                                   .kind = VDS_QAPI_LIST,
                                                   .size = sizeof(VdsQapiList),
                                                   .element = &sample_capability};

typedef struct {
    bool has_enable;
    VdsQapiList enable;
} SampleCapabilitiesArgs;

static const VdsQapiMember sample_capabilities_members[] = {
    {"enable", &sample_capability_list, offsetof(SampleCapabilitiesArgs, enable),
     offsetof(SampleCapabilitiesArgs, has_enable), VDS_QAPI_HAS_FLAG}};
static const VdsQapiType sample_capabilities_args = {
    .name = "qmp_capabilities-arg",
    .kind = VDS_QAPI_STRUCT,
    .size = sizeof(SampleCapabilitiesArgs),
    .members = sample_capabilities_members,
    .n_members = 1};

typedef struct {
    const char *status;
    bool singlestep, running;
} SampleStatus;

static const VdsQapiMember sample_status_members[] = {
    {"status", &sample_str, offsetof(SampleStatus, status), 0, VDS_QAPI_REQUIRED},
    {"singlestep", &sample_bool, offsetof(SampleStatus, singlestep), 0,
     VDS_QAPI_REQUIRED},
    {"running", &sample_bool, offsetof(SampleStatus, running), 0, VDS_QAPI_REQUIRED}};
static const VdsQapiType sample_status = {.name = "StatusInfo",
                                          .kind = VDS_QAPI_STRUCT,
                                          .size = sizeof(SampleStatus),
                                          .members = sample_status_members,
                                          .n_members = 3};

typedef struct {
    uint32_t count;
} SampleCountArgs;

static const VdsQapiMember sample_count_members[] = {
    {"count", &sample_uint32, offsetof(SampleCountArgs, count), 0, VDS_QAPI_REQUIRED}};
static const VdsQapiType sample_count_args = {.name = "count-arg",
                                              .kind = VDS_QAPI_STRUCT,
                                              .size = sizeof(SampleCountArgs),
                                              .members = sample_count_members,
                                              .n_members = 1};

typedef struct {
    const char *how;
} SampleFailArgs;

static const VdsQapiMember sample_fail_members[] = {
    {"how", &sample_str, offsetof(SampleFailArgs, how), 0, VDS_QAPI_REQUIRED}};
static const VdsQapiType sample_fail_args = {.name = "fail-arg",
                                             .kind = VDS_QAPI_STRUCT,
                                             .size = sizeof(SampleFailArgs),
                                             .members = sample_fail_members,
                                             .n_members = 1};

typedef struct {
    VdsQapiAny value;
} SampleEchoArgs;

static const VdsQapiMember sample_echo_members[] = {
    {"value", &sample_any, offsetof(SampleEchoArgs, value), 0, VDS_QAPI_REQUIRED}};
static const VdsQapiType sample_echo_args = {.name = "echo-arg",
                                             .kind = VDS_QAPI_STRUCT,
                                             .size = sizeof(SampleEchoArgs),
                                             .members = sample_echo_members,
                                             .n_members = 1};

/* ---- handlers --------------------------------------------------------------------- */

static const VdsQapiEvent sample_stop = {.name = "STOP"};
static const VdsQapiEvent sample_changed = {.name = "CHANGED", .data = &sample_status};
static const SampleStatus sample_changed_data = {"running", false, true};

static bool sample_parse(const VdsQapiCall *call, const VdsQapiType *type, void *args,
                         GError **error)
{
    ((Sample *)call->ctx)->calls++;
    return vds_qapi_parse(type, call->arguments, call->arena, args, error);
}

static bool sample_do_status(const VdsQapiCall *call, void **result, GError **error)
{
    SampleNothing args = {0};
    SampleStatus *status = vds_arena_alloc(call->arena, sizeof(*status));

    status->status = "prelaunch";
    *result = status;
    return sample_parse(call, &sample_nothing, &args, error);
}

static bool sample_do_nothing(const VdsQapiCall *call, void **result, GError **error)
{
    SampleNothing args = {0};

    return sample_parse(call, &sample_nothing, &args, error);
}

static bool sample_do_blob(const VdsQapiCall *call, void **result, GError **error)
{
    const uint32_t max = ((Sample *)call->ctx)->max_blob;
    SampleCountArgs args = {0};
    const char **text = vds_arena_alloc(call->arena, sizeof(*text));
    char *blob;

    if (!sample_parse(call, &sample_count_args, &args, error)) {
        return false;
    }
    args.count = MIN(args.count, max ? max : 4 << 20);
    blob = vds_arena_alloc(call->arena, args.count + 1);
    memset(blob, 'x', args.count);
    *text = blob;
    *result = text;
    return true;
}

static bool sample_do_emit(const VdsQapiCall *call, void **result, GError **error)
{
    Sample *sample = call->ctx;
    SampleCountArgs args = {0};

    if (!sample_parse(call, &sample_count_args, &args, error)) {
        return false;
    }
    for (uint32_t i = 0; i < MIN(args.count, 100000) && sample->sink.emit; i++) {
        sample->sink.emit(sample->sink.user, &sample_stop, NULL);
    }
    return true;
}

static bool sample_do_fail(const VdsQapiCall *call, void **result, GError **error)
{
    static const struct {
        const char *how;
        VdsQmpError code;
    } rows[] = {
        {"generic", VDS_QMP_ERROR_GENERIC},
        {"command", VDS_QMP_ERROR_COMMAND_NOT_FOUND},
        {"inactive", VDS_QMP_ERROR_DEVICE_NOT_ACTIVE},
        {"absent", VDS_QMP_ERROR_DEVICE_NOT_FOUND},
        {"kvm", VDS_QMP_ERROR_KVM_MISSING_CAP},
    };
    SampleFailArgs args = {0};

    if (!sample_parse(call, &sample_fail_args, &args, error)) {
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (strcmp(rows[i].how, args.how) == 0) {
            g_set_error(error, VDS_QMP_ERROR, rows[i].code, "failed: %s", args.how);
            return false;
        }
    }
    g_set_error(error, G_FILE_ERROR,
                strcmp(args.how, "foreign absent") == 0 ? G_FILE_ERROR_NOENT
                                                        : G_FILE_ERROR_IO,
                "failed: %s", args.how);
    return false;
}

static bool sample_do_echo(const VdsQapiCall *call, void **result, GError **error)
{
    SampleEchoArgs *args = vds_arena_alloc(call->arena, sizeof(*args));

    *result = args;
    return sample_parse(call, &sample_echo_args, args, error);
}

static VdsQmpError sample_classify(const GError *error)
{
    return g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)
               ? VDS_QMP_ERROR_DEVICE_NOT_FOUND
               : VDS_QMP_ERROR_GENERIC;
}

static const VdsQapiCommand sample_commands[] = {
    {.name = "echo",
     .args = &sample_echo_args,
     .ret = &sample_echo_args,
     .invoke = sample_do_echo},
    {.name = "emit", .args = &sample_count_args, .invoke = sample_do_emit},
    {.name = "fail", .args = &sample_fail_args, .invoke = sample_do_fail},
    {.name = "oob-ping",
     .args = &sample_nothing,
     .allow_oob = true,
     .invoke = sample_do_nothing},
    {.name = "qmp_capabilities", .args = &sample_capabilities_args, .session = true},
    {.name = "query-blob",
     .args = &sample_count_args,
     .ret = &sample_str,
     .invoke = sample_do_blob},
    {.name = "query-name", .args = &sample_nothing, .invoke = sample_do_nothing},
    {.name = "query-status",
     .args = &sample_nothing,
     .ret = &sample_status,
     .invoke = sample_do_status},
};

static inline VdsQmpServer sample_server(Sample *sample)
{
    return (VdsQmpServer){
        .dispatch = {sample_commands, G_N_ELEMENTS(sample_commands)},
        .ctx = sample,
        .major = 8,
        .minor = 2,
        .package = "sample",
        .classify = sample_classify,
    };
}

#define SAMPLE_GREETING                                                                  \
    "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 8, \"minor\": 2, \"micro\": 0}, "    \
    "\"package\": \"sample\"}, \"capabilities\": [\"oob\"]}}\r\n"

static inline const VdsQapiEvent *sample_event_with_data(const SampleStatus **data)
{
    *data = &sample_changed_data;
    return &sample_changed;
}
