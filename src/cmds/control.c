/*
 * cmds: what a client asks of the server itself: version, commands, run state, the end.
 */
#include <string.h>

#include "cmds-priv.h"

#include "qapi-introspect.h"

QapiVersionInfo *qmp_query_version(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiVersionInfo *info = vds_arena_alloc(arena, sizeof(*info));

    *info = (QapiVersionInfo){
        .qemu = {.major = VDS_CMDS_LEVEL_MAJOR,
                 .minor = VDS_CMDS_LEVEL_MINOR,
                 .micro = VDS_CMDS_LEVEL_MICRO},
        .package = ctx->host->package,
    };
    return info;
}

QapiCommandInfoList *qmp_query_commands(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiCommandInfoList *list = vds_arena_alloc(arena, sizeof(*list));

    list->n = qapi_dispatch.n_commands;
    list->items = vds_arena_alloc_n(arena, list->n, sizeof(QapiCommandInfo));
    for (size_t i = 0; i < list->n; i++) {
        list->items[i].name = qapi_dispatch.commands[i].name;
    }
    return list;
}

QapiSchemaInfoList *qmp_query_qmp_schema(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiSchemaInfoList *list = vds_arena_alloc(arena, sizeof(*list));

    *list = qapi_schema_info;
    return list;
}

QapiStatusInfo *qmp_query_status(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    static const QapiRunState states[] = {
        [VDS_RUN_PRELAUNCH] = QAPI_RUN_STATE_PRELAUNCH,
        [VDS_RUN_RUNNING] = QAPI_RUN_STATE_RUNNING,
        [VDS_RUN_PAUSED] = QAPI_RUN_STATE_PAUSED,
        [VDS_RUN_SHUTDOWN] = QAPI_RUN_STATE_SHUTDOWN,
    };
    QapiStatusInfo *info = vds_arena_alloc(arena, sizeof(*info));

    *info = (QapiStatusInfo){
        .running = vds_machine_is_running(ctx->machine),
        .status = states[vds_machine_get_run_state(ctx->machine)],
    };
    return info;
}

QapiNameInfo *qmp_query_name(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiNameInfo *info = vds_arena_alloc(arena, sizeof(*info));

    info->name = ctx->host->name;
    return info;
}

QapiUuidInfo *qmp_query_uuid(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiUuidInfo *info = vds_arena_alloc(arena, sizeof(*info));

    info->UUID =
        ctx->host->uuid ? ctx->host->uuid : "00000000-0000-0000-0000-000000000000";
    return info;
}

QapiTargetInfo *qmp_query_target(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiTargetInfo *info = vds_arena_alloc(arena, sizeof(*info));

    info->arch = QAPI_SYS_EMU_TARGET_X86_64;
    return info;
}

bool qmp_quit(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    ctx->host->end(ctx->host->user, VDS_SHUTDOWN_QMP_QUIT);
    return true;
}

bool qmp_stop(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    vds_machine_stop(ctx->machine);
    return true;
}

bool qmp_cont(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    return vds_machine_cont(ctx->machine, error);
}

bool qmp_system_reset(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    if (ctx->host->no_reboot) {
        ctx->host->end(ctx->host->user, VDS_SHUTDOWN_RESET);
    } else {
        vds_machine_reset(ctx->machine);
    }
    return true;
}

bool qmp_system_powerdown(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    vds_machine_press_power(ctx->machine);
    return true;
}

const char *qmp_human_monitor_command(VdsCmds *ctx, VdsArena *arena,
                                      const char *command_line, bool has_cpu_index,
                                      int64_t cpu_index, GError **error)
{
    g_autofree char *text = vds_cmds_hmp(ctx, command_line);
    size_t lines = 0;
    char *reply, *to;

    /* The monitor's line ends, also inside the string: recorded so.  One pass, as an
     * element may have 65,536 lines. */
    for (const char *at = text; *at; at++) {
        lines += *at == '\n';
    }
    reply = to = vds_arena_alloc(arena, strlen(text) + lines + 1);
    for (const char *at = text; *at; at++) {
        if (*at == '\n') {
            *to++ = '\r';
        }
        *to++ = *at;
    }
    return reply;
}
