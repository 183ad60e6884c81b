/*
 * cmds: the human monitor's commands, and the short ones' handlers.
 */
#include "hmp-priv.h"

static void hmp_quit(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    qmp_quit(cmds, cmds->hmp_arena, error);
}

static void hmp_stop(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    qmp_stop(cmds, cmds->hmp_arena, error);
}

static void hmp_cont(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    qmp_cont(cmds, cmds->hmp_arena, error);
}

static void hmp_system_reset(VdsCmds *cmds, const HmpArg *args, GString *out,
                             GError **error)
{
    qmp_system_reset(cmds, cmds->hmp_arena, error);
}

static void hmp_system_powerdown(VdsCmds *cmds, const HmpArg *args, GString *out,
                                 GError **error)
{
    qmp_system_powerdown(cmds, cmds->hmp_arena, error);
}

static void hmp_device_del(VdsCmds *cmds, const HmpArg *args, GString *out,
                           GError **error)
{
    qmp_device_del(cmds, cmds->hmp_arena, args[0].text, error);
}

/* MiB, as QEMU's. */
static void hmp_balloon(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    qmp_balloon(cmds, cmds->hmp_arena, (int64_t)args[0].number << 20, error);
}

static void hmp_info_version(VdsCmds *cmds, const HmpArg *args, GString *out,
                             GError **error)
{
    const QapiVersionInfo *info = qmp_query_version(cmds, cmds->hmp_arena, error);

    g_string_append_printf(out, "%" PRId64 ".%" PRId64 ".%" PRId64 "%s\n",
                           info->qemu.major, info->qemu.minor, info->qemu.micro,
                           info->package);
}

static void hmp_info_status(VdsCmds *cmds, const HmpArg *args, GString *out,
                            GError **error)
{
    const QapiStatusInfo *info = qmp_query_status(cmds, cmds->hmp_arena, error);

    g_string_append_printf(out, "VM status: %s", info->running ? "running" : "paused");
    if (!info->running && info->status != QAPI_RUN_STATE_PAUSED) {
        g_string_append_printf(out, " (%s)", qapi_type_RunState.values[info->status]);
    }
    g_string_append_c(out, '\n');
}

static void hmp_info_name(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const QapiNameInfo *info = qmp_query_name(cmds, cmds->hmp_arena, error);

    if (info->name) {
        g_string_append_printf(out, "%s\n", info->name);
    }
}

/* MiB, as QEMU. */
static void hmp_info_balloon(VdsCmds *cmds, const HmpArg *args, GString *out,
                             GError **error)
{
    const QapiBalloonInfo *info = qmp_query_balloon(cmds, cmds->hmp_arena, error);

    if (info) {
        g_string_append_printf(out, "balloon: actual=%" PRId64 "\n", info->actual >> 20);
    }
}

/* Sorted by name, as `help` prints them. */
const HmpCommand hmp_info_commands[] = {
    {"balloon",
     {HMP_END},
     "",
     "show how much memory the balloon leaves the guest",
     hmp_info_balloon,
     NULL},
    {"block", {HMP_END}, "", "list the disks that have a node", hmp_info_block, NULL},
    {"chardev", {HMP_END}, "", "list the character devices", hmp_info_chardev, NULL},
    {"iothreads", {HMP_END}, "", "list the I/O threads", hmp_info_iothreads, NULL},
    {"kvm", {HMP_END}, "", "show whether KVM could be used", hmp_info_kvm, NULL},
    {"name", {HMP_END}, "", "show the name given with -name", hmp_info_name, NULL},
    {"status", {HMP_END}, "", "show the run state", hmp_info_status, NULL},
    {"uuid", {HMP_END}, "", "show the UUID given with -uuid", hmp_info_uuid, NULL},
    {"version",
     {HMP_END},
     "",
     "show the protocol level and this program's version",
     hmp_info_version,
     NULL},
    {"virtio", {HMP_END}, "", "list the virtio devices", hmp_info_virtio, NULL},
    {"virtio-queue-element",
     {HMP_STRING, HMP_INT, HMP_OPTIONAL_INT, HMP_END},
     "path queue [index]",
     "show one element of a virtqueue",
     hmp_info_virtio_queue_element,
     NULL},
    {"virtio-queue-status",
     {HMP_STRING, HMP_INT, HMP_END},
     "path queue",
     "show the state of a virtqueue",
     hmp_info_virtio_queue_status,
     NULL},
    {"virtio-status",
     {HMP_STRING, HMP_END},
     "path",
     "show the state of a virtio device",
     hmp_info_virtio_status,
     NULL},
    {"virtio-vhost-queue-status",
     {HMP_STRING, HMP_INT, HMP_END},
     "path queue",
     "show the vhost side of a virtqueue",
     hmp_info_virtio_vhost_queue_status,
     NULL},
    {NULL, {HMP_END}, NULL, NULL, NULL, NULL},
};

const HmpCommand hmp_commands[] = {
    {"balloon",
     {HMP_INT, HMP_END},
     "target",
     "ask the guest for so much memory that it has target MiB left",
     hmp_balloon,
     NULL},
    {"cont|c", {HMP_END}, "", "start or resume the built-in guest", hmp_cont, NULL},
    {"device_del",
     {HMP_STRING, HMP_END},
     "device",
     "remove a device",
     hmp_device_del,
     NULL},
    {"help|?",
     {HMP_OPTIONAL_STRING, HMP_OPTIONAL_STRING, HMP_END},
     "[cmd]",
     "list the commands, or explain one",
     hmp_help,
     NULL},
    {"info",
     {HMP_END},
     "[subcommand]",
     "show what the subcommand names",
     NULL,
     hmp_info_commands},
    {"quit|q", {HMP_END}, "", "end this program", hmp_quit, NULL},
    {"set_link",
     {HMP_STRING, HMP_STRING, HMP_END},
     "name on|off",
     "plug in or pull out a network device's cable",
     hmp_set_link,
     NULL},
    {"stop|s", {HMP_END}, "", "pause the built-in guest", hmp_stop, NULL},
    {"system_powerdown",
     {HMP_END},
     "",
     "press the power button",
     hmp_system_powerdown,
     NULL},
    {"system_reset", {HMP_END}, "", "reset every device", hmp_system_reset, NULL},
    {NULL, {HMP_END}, NULL, NULL, NULL, NULL},
};
