/*
 * cli: the option table, and -help, which prints it.  A new option is a row here, a
 * function, and an entry in virtio-debugd(1).
 */
#include <string.h>

#include "cli-priv.h"

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Reasons that several options share. */
#define NO_CPU "there is no processor to set up"
#define NO_FIRMWARE "nothing boots here"
#define NO_SCREEN "there is no screen"
#define NO_DEFAULTS "there are no default devices and no configuration files"

const VdsCliRow vds_cli_rows[] = {
    {.name = "qmp",
     .argument = "ADDR",
     .apply = vds_cli_apply_qmp,
     .help = "a QMP monitor at unix:PATH, tcp:HOST:PORT, stdio, pty or chardev:ID"},
    {.name = "qmp-pretty",
     .argument = "ADDR",
     .apply = vds_cli_apply_qmp_pretty,
     .help = "the same, replies indented"},
    {.name = "monitor",
     .argument = "ADDR",
     .apply = vds_cli_apply_monitor,
     .help = "a monitor for humans; none for no more"},
    {.name = "chardev",
     .argument = "KIND,id=ID[,...]",
     .apply = vds_cli_apply_chardev,
     .help = "a character device: socket, file, stdio, pty or null",
     .implied = "backend",
     .id = "id"},
    {.name = "add-fd",
     .argument = "fd=N,set=SET",
     .apply = vds_cli_apply_add_fd,
     .help = "an inherited descriptor, for a chardev's path /dev/fdset/SET",
     .required = KEYS("fd", "set"),
     .allowed = KEYS("fd", "set", "opaque")},
    {.name = "mon",
     .argument = "chardev=ID[,...]",
     .apply = vds_cli_apply_mon,
     .help = "a monitor on a chardev; mode=control is QMP, mode=readline for humans",
     .implied = "chardev",
     .required = KEYS("chardev"),
     .id = "id",
     .allowed = KEYS("chardev", "id", "mode", "pretty")},
    {.name = "device",
     .argument = "DRIVER[,id=ID][,...]",
     .apply = vds_cli_apply_device,
     .help = "a device, with properties",
     .implied = "driver",
     .required = KEYS("driver"),
     .id = "id"},
    {.name = "netdev",
     .argument = "KIND,id=ID[,...]",
     .apply = vds_cli_apply_backend,
     .help = "what a network device is wired to",
     .implied = "type",
     .required = KEYS("type", "id"),
     .id = "id"},
    {.name = "blockdev",
     .argument = "DRIVER,node-name=ID[,...]",
     .apply = vds_cli_apply_backend,
     .help = "what a block device is wired to",
     .implied = "driver",
     .required = KEYS("driver", "node-name"),
     .id = "node-name"},
    {.name = "drive",
     .argument = "file=PATH,id=ID[,...]",
     .apply = vds_cli_apply_backend,
     .help = "the older form of -blockdev",
     .id = "id"},
    {.name = "fsdev",
     .argument = "KIND,id=ID[,...]",
     .apply = vds_cli_apply_backend,
     .help = "a folder for virtio-9p",
     .implied = "fsdriver",
     .required = KEYS("fsdriver", "id"),
     .id = "id"},
    {.name = "object",
     .argument = "TYPE,id=ID[,...]",
     .apply = vds_cli_apply_backend,
     .help = "guest memory, a source of entropy, an I/O thread, ...",
     .implied = "qom-type",
     .required = KEYS("qom-type", "id"),
     .id = "id"},
    {.name = "machine",
     .argument = "NAME[,...]",
     .apply = vds_cli_apply_machine,
     .help = "the machine's name: vds (the default), q35, pc or none",
     .implied = "type"},
    {.name = "M",
     .argument = "NAME[,...]",
     .apply = vds_cli_apply_machine,
     .help = "the same",
     .implied = "type"},
    {.name = "accel",
     .argument = "NAME[,...]",
     .apply = vds_cli_apply_accel,
     .help = "tcg or kvm: no processor runs on it, but query-kvm tells",
     .implied = "accel"},
    {.name = "enable-kvm", .apply = vds_cli_apply_kvm, .help = "-accel kvm"},
    {.name = "m",
     .argument = "SIZE",
     .apply = vds_cli_apply_memory,
     .help = "guest memory, in MiB unless a unit follows",
     .implied = "size",
     .allowed = KEYS("size", "slots", "maxmem")},
    {.name = "name",
     .argument = "NAME",
     .apply = vds_cli_apply_name,
     .help = "the guest's name, for query-name",
     .implied = "guest",
     .allowed = KEYS("guest", "process", "debug-threads")},
    {.name = "uuid",
     .argument = "UUID",
     .apply = vds_cli_apply_uuid,
     .help = "the guest's UUID, for query-uuid"},
    {.name = "S",
     .apply = vds_cli_apply_paused,
     .help = "do not start the guest; cont does"},
    {.name = "no-shutdown",
     .apply = vds_cli_apply_no_shutdown,
     .help = "a guest that switched itself off stays, in run state shutdown"},
    {.name = "no-reboot",
     .apply = vds_cli_apply_no_reboot,
     .help = "system_reset ends the machine instead"},
    {.name = "pidfile",
     .argument = "PATH",
     .apply = vds_cli_apply_pidfile,
     .help = "write the process id there, and remove the file at the end"},
    {.name = "D",
     .argument = "FILE",
     .apply = vds_cli_apply_log,
     .help = "write the log to that file instead of standard error"},
    {.name = "daemonize",
     .apply = vds_cli_apply_daemonize,
     .help = "go into the background once all monitors can be reached"},
    {.name = "version",
     .apply = vds_cli_apply_version,
     .help = "print the version and end"},
    {.name = "help", .apply = vds_cli_apply_help, .help = "print this text and end"},
    {.name = "h", .apply = vds_cli_apply_help, .help = "the same"},

    {.name = "global",
     .argument = "DRIVER.PROP=VALUE",
     .apply = vds_cli_apply_global,
     .help = "refused for virtio drivers, no effect on any other"},

    {.name = "action",
     .argument = "EVENT=ACTION[,...]",
     .help = "none of these events happens"},
    {.name = "append", .argument = "TEXT", .help = NO_FIRMWARE},
    {.name = "audiodev", .argument = "DRIVER[,...]", .help = "there is no sound"},
    {.name = "boot", .argument = "ORDER", .help = NO_FIRMWARE},
    {.name = "cpu", .argument = "MODEL", .help = NO_CPU},
    {.name = "display", .argument = "KIND", .help = NO_SCREEN},
    {.name = "initrd", .argument = "PATH", .help = NO_FIRMWARE},
    {.name = "kernel", .argument = "PATH", .help = NO_FIRMWARE},
    {.name = "msg",
     .argument = "timestamp=on|off",
     .help = "messages are the same either way"},
    {.name = "no-acpi", .help = NO_FIRMWARE},
    {.name = "no-hpet", .help = "there is no timer chip"},
    {.name = "no-user-config", .help = NO_DEFAULTS},
    {.name = "nodefaults", .help = NO_DEFAULTS},
    {.name = "nographic", .help = NO_SCREEN},
    {.name = "overcommit",
     .argument = "mem-lock=on|off",
     .help = "memory is never locked"},
    {.name = "parallel", .argument = "ADDR", .help = "there is no parallel port"},
    {.name = "rtc", .argument = "base=...", .help = "there is no clock chip"},
    {.name = "sandbox", .argument = "on|off[,...]", .help = "no system call is filtered"},
    {.name = "serial", .argument = "ADDR", .help = "there is no serial port"},
    {.name = "smp", .argument = "N", .help = NO_CPU},
    {.name = "smbios", .argument = "type=N[,...]", .help = NO_FIRMWARE},
    {.name = "vga", .argument = "KIND", .help = NO_SCREEN},
    {.name = "watchdog-action", .argument = "ACTION", .help = "there is no watchdog"},
};
const size_t vds_cli_n_rows = G_N_ELEMENTS(vds_cli_rows);

/* Keys are text unless they stand here. */
static const struct {
    const char *key, *type;
} key_types[] = {
    {"debug-threads", "boolean"}, {"maxmem", "size"},
    {"pretty", "boolean"},        {"size", "size"},
    {"slots", "number"},
};

static const char *key_type(const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(key_types); i++) {
        if (strcmp(key_types[i].key, key) == 0) {
            return key_types[i].type;
        }
    }
    return "string";
}

void vds_options_foreach(VdsOptionFunc func, void *user)
{
    for (size_t i = 0; i < vds_cli_n_rows; i++) {
        const VdsCliRow *row = &vds_cli_rows[i];

        if (row->apply && (row->implied || row->id)) {
            func(row->name, NULL, NULL, user);
            for (const char *const *key = row->allowed; key && *key; key++) {
                func(row->name, *key, key_type(*key), user);
            }
        }
    }
}

static void help_rows(GString *text, bool with_effect)
{
    for (size_t i = 0; i < vds_cli_n_rows; i++) {
        const VdsCliRow *row = &vds_cli_rows[i];
        g_autofree char *option =
            g_strdup_printf("-%s%s%s", row->name, row->argument ? " " : "",
                            row->argument ? row->argument : "");

        if ((row->apply != NULL) == with_effect) {
            g_string_append_printf(text, "  %-31s %s\n", option, row->help);
        }
    }
}

char *vds_options_help(const char *program)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text,
                           "usage: %s [options]\n\n"
                           "A QMP server for virtio devices and their queues.  Options "
                           "are QEMU's, with one dash or\ntwo; see virtio-debugd(1).\n\n",
                           program);
    help_rows(text, true);
    g_string_append(text, "\nAccepted so that QEMU's command lines work, without effect, "
                          "because:\n\n");
    help_rows(text, false);
    return g_string_free(text, FALSE);
}
