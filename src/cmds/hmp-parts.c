/*
 * cmds: the human monitor about what a machine is made of, in QEMU's layout.
 */
#include <string.h>

#include "hmp-priv.h"

void hmp_info_uuid(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    g_string_append_printf(out, "%s\n",
                           qmp_query_uuid(cmds, cmds->hmp_arena, error)->UUID);
}

void hmp_info_kvm(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const QapiKvmInfo *info = qmp_query_kvm(cmds, cmds->hmp_arena, error);

    g_string_append_printf(out, "kvm support: %s\n",
                           !info->present  ? "not compiled"
                           : info->enabled ? "enabled"
                                           : "disabled");
}

void hmp_info_chardev(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const QapiChardevInfoList *list = qmp_query_chardev(cmds, cmds->hmp_arena, error);

    for (size_t i = 0; i < list->n; i++) {
        g_string_append_printf(out, "%s: filename=%s\n", list->items[i].label,
                               list->items[i].filename);
    }
}

void hmp_info_iothreads(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const QapiIOThreadInfoList *list = qmp_query_iothreads(cmds, cmds->hmp_arena, error);

    for (size_t i = 0; i < list->n; i++) {
        const QapiIOThreadInfo *info = &list->items[i];

        g_string_append_printf(out,
                               "%s:\n  thread_id=%" PRId64 "\n  poll-max-ns=%" PRId64
                               "\n  poll-grow=%" PRId64 "\n  poll-shrink=%" PRId64
                               "\n  aio-max-batch=%" PRId64 "\n",
                               info->id, info->thread_id, info->poll_max_ns,
                               info->poll_grow, info->poll_shrink, info->aio_max_batch);
    }
}

static void print_disk(const QapiBlockInfo *info, GString *out)
{
    const QapiBlockDeviceInfo *node = &info->inserted;

    g_string_append_printf(out, "%s: %s (%s%s)\n",
                           *info->device ? info->device : node->node_name, node->file,
                           node->drv, node->ro ? ", read-only" : "");
    if (info->qdev) {
        g_string_append_printf(out, "    Attached to:      %s\n", info->qdev);
    }
    g_string_append(out, "    Cache mode:       writeback\n");
}

void hmp_info_block(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const QapiBlockInfoList *list = qmp_query_block(cmds, cmds->hmp_arena, error);

    for (size_t i = 0; i < list->n; i++) {
        g_string_append(out, i > 0 ? "\n" : "");
        print_disk(&list->items[i], out);
    }
}

void hmp_set_link(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const char *word = args[1].text;

    if (strcmp(word, "on") == 0 || strcmp(word, "off") == 0) {
        qmp_set_link(cmds, cmds->hmp_arena, args[0].text, strcmp(word, "on") == 0, error);
    } else {
        g_string_append(out, "Expected 'on' or 'off'\n"
                             "Try \"help set_link\" for more information\n");
    }
}
