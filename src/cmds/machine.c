/*
 * cmds: what a manager asks of an emulator before it trusts it: KVM, machines, I/O
 * threads, options of the command line, jobs.
 */
#include <string.h>

#include "cmds-priv.h"

QapiKvmInfo *qmp_query_kvm(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiKvmInfo *info = vds_arena_alloc(arena, sizeof(*info));

    /* As libvirt looks itself, which would otherwise ask again each time it starts us. */
    info->present = access("/dev/kvm", R_OK | W_OK) == 0;
    info->enabled = ctx->host->kvm_asked && info->present;
    return info;
}

/* ---- machines ---------------------------------------------------------------------- */

static void add_machine(const VdsMachineModel *model, void *user)
{
    VdsCollector *list = user;
    QapiMachineInfo info = {
        .name = model->name,
        .alias = model->alias,
        .has_is_default = model->is_default,
        .is_default = model->is_default,
        .cpu_max = model->max_cpus,
        .default_ram_id = model->ram_id,
        .acpi = true,
    };

    g_array_append_val(list->items, info);
}

QapiMachineInfoList *qmp_query_machines(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiMachineInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    VdsCollector list = vds_collector_new(arena, sizeof(QapiMachineInfo));

    vds_machine_foreach_model(add_machine, &list);
    reply->items = vds_collector_finish(&list, &reply->n);
    return reply;
}

/* ---- I/O threads ------------------------------------------------------------------- */

static void add_io_thread(const VdsIoThreadInfo *thread, void *user)
{
    VdsCollector *list = user;
    QapiIOThreadInfo info = {
        .id = vds_arena_strdup(list->arena, thread->id),
        .thread_id = thread->thread_id,
        .poll_max_ns = (int64_t)thread->poll[VDS_POLL_MAX_NS],
        .poll_grow = (int64_t)thread->poll[VDS_POLL_GROW],
        .poll_shrink = (int64_t)thread->poll[VDS_POLL_SHRINK],
    };

    g_array_append_val(list->items, info);
}

QapiIOThreadInfoList *qmp_query_iothreads(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiIOThreadInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    VdsCollector list = vds_collector_new(arena, sizeof(QapiIOThreadInfo));

    vds_machine_foreach_io_thread(ctx->machine, add_io_thread, &list);
    reply->items = vds_collector_finish(&list, &reply->n);
    return reply;
}

/* ---- options ----------------------------------------------------------------------- */

typedef struct {
    VdsCollector options, keys;
    const char *only;    /* (nullable) */
    const char *current; /* (nullable) the option whose keys come */
} OptionWalk;

static void option_finish(OptionWalk *walk)
{
    QapiCommandLineOptionInfo info = {.option = walk->current};

    if (walk->current) {
        info.parameters.items = vds_collector_finish(&walk->keys, &info.parameters.n);
        g_array_append_val(walk->options.items, info);
    }
    walk->current = NULL;
}

static int key_type(const char *word)
{
    int type = 0;

    while (strcmp(qapi_type_CommandLineParameterType.values[type], word) != 0) {
        type++;
    }
    return type;
}

static void add_option(const char *option, const char *key, const char *type, void *user)
{
    OptionWalk *walk = user;
    QapiCommandLineParameterInfo info = {.name = key};

    if (!key) {
        option_finish(walk);
        if (!walk->only || strcmp(walk->only, option) == 0) {
            walk->current = option;
            walk->keys = vds_collector_new(walk->options.arena, sizeof(info));
        }
    } else if (walk->current) {
        info.type = key_type(type);
        g_array_append_val(walk->keys.items, info);
    }
}

QapiCommandLineOptionInfoList *qmp_query_command_line_options(VdsCmds *ctx,
                                                              VdsArena *arena,
                                                              const char *option,
                                                              GError **error)
{
    QapiCommandLineOptionInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    OptionWalk walk = {
        .options = vds_collector_new(arena, sizeof(QapiCommandLineOptionInfo)),
        .only = option,
    };

    ctx->host->foreach_option(add_option, &walk);
    option_finish(&walk);
    reply->items = vds_collector_finish(&walk.options, &reply->n);
    if (option && reply->n == 0) {
        g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VALUE,
                    "invalid option name: %.*s", vds_name_len(option), option);
        return NULL;
    }
    return reply;
}

/* ---- jobs -------------------------------------------------------------------------- */

/* No handler of this room starts any. */
QapiJobInfoList *qmp_query_jobs(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    return vds_arena_alloc(arena, sizeof(QapiJobInfoList));
}

QapiCpuDefinitionInfoList *qmp_query_cpu_definitions(VdsCmds *ctx, VdsArena *arena,
                                                     GError **error)
{
    return vds_arena_alloc(arena, sizeof(QapiCpuDefinitionInfoList));
}
