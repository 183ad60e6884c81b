/*
 * cli: what the room's files share: the row of the option table, the state of one parse,
 * and the readers of single options.
 */
#pragma once

#include "vds/cli.h"

typedef struct VdsCliRow VdsCliRow;

/* One pass over argv. */
typedef struct {
    VdsOptions *options;
    const char *origin;       /* the option at hand, as messages name it */
    unsigned compat_monitors; /* how many -qmp, -qmp-pretty and -monitor were seen */
} VdsCliParse;

/* Takes one option into parse->options.  `argument` is NULL where the row has none. */
typedef bool (*VdsCliApply)(VdsCliParse *parse, const VdsCliRow *row,
                            const char *argument, GError **error);

/* One option.  The keys are for options that are property sets. */
struct VdsCliRow {
    const char *name;
    const char *argument; /* (nullable) how -help shows it; NULL: the option has none */
    VdsCliApply apply;    /* NULL: accepted without effect, and `help` says why */
    const char *help;
    const char *implied;         /* (nullable) key of a first part without "=" */
    const char *const *required; /* (nullable) keys that must be there */
    const char *id;              /* (nullable) key whose value must be an identifier */
    const char *const *allowed;  /* (nullable) all keys there are; NULL: any */
};

extern const VdsCliRow vds_cli_rows[];
extern const size_t vds_cli_n_rows;

/* The option as messages name it: as given, a long argument cut.  (transfer full) */
char *vds_cli_origin(const char *option, const char *argument);

/* The argument as a property set that keeps the row's rules.  (transfer full) */
VdsProps *vds_cli_props(const VdsCliRow *row, const char *argument, GError **error);

/* An optional boolean: *value is left alone when the key is absent. */
bool vds_cli_get_bool(const VdsProps *props, const char *key, bool *value,
                      GError **error);

/* ---- chardev.c: what a character device may be ------------------------------------- */

/* Takes the set (transfer full, also on error) as the chardev `props` describes; refuses
 * a second one of the same id.  (transfer none) (nullable) */
const VdsChardev *vds_cli_chardev_add(VdsCliParse *parse, VdsProps *props,
                                      GError **error);
/* QEMU's short form: "unix:PATH,...", "tcp:HOST:PORT,...", "stdio", ... as a property set
 * with that id.  (transfer full) */
VdsProps *vds_cli_chardev_short(const char *address, const char *id, GError **error);
const VdsChardev *vds_cli_chardev_find(const VdsOptions *options, const char *id);
void vds_cli_chardev_free(void *chardev);

/* ---- fdset.c: descriptors that were inherited ----------------------------------------
 */

GArray *vds_cli_fdsets_new(void);
/* When `key` is a path /dev/fdset/N: sets `key`-fd to the descriptor's number. */
bool vds_cli_fdset_resolve(const VdsOptions *options, VdsProps *props, const char *key,
                           GError **error);
bool vds_cli_apply_add_fd(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error);

/* ---- mon.c: monitors --------------------------------------------------------------- */

/* Gives each monitor its chardev, once all options were read.  On error *origin is the
 * option at fault. */
bool vds_cli_mons_resolve(VdsOptions *options, const char **origin, GError **error);
void vds_cli_mon_free(void *mon);

bool vds_cli_apply_chardev(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error);
bool vds_cli_apply_mon(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error);
bool vds_cli_apply_qmp(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error);
bool vds_cli_apply_qmp_pretty(VdsCliParse *parse, const VdsCliRow *row,
                              const char *argument, GError **error);
bool vds_cli_apply_monitor(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error);

/* ---- apply.c: everything else ------------------------------------------------------ */

/* kind is a row's name; takes the set (transfer full). */
void vds_cli_backend_add(VdsCliParse *parse, const char *kind, VdsProps *props);
bool vds_cli_apply_backend(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error);
bool vds_cli_apply_device(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error);
bool vds_cli_apply_machine(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error);
bool vds_cli_apply_accel(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                         GError **error);
bool vds_cli_apply_kvm(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error);
bool vds_cli_apply_memory(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error);
bool vds_cli_apply_name(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                        GError **error);
bool vds_cli_apply_uuid(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                        GError **error);
bool vds_cli_apply_global(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error);
bool vds_cli_apply_pidfile(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error);
bool vds_cli_apply_log(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                       GError **error);
bool vds_cli_apply_daemonize(VdsCliParse *parse, const VdsCliRow *row,
                             const char *argument, GError **error);
bool vds_cli_apply_paused(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                          GError **error);
bool vds_cli_apply_no_shutdown(VdsCliParse *parse, const VdsCliRow *row,
                               const char *argument, GError **error);
bool vds_cli_apply_no_reboot(VdsCliParse *parse, const VdsCliRow *row,
                             const char *argument, GError **error);
bool vds_cli_apply_help(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                        GError **error);
bool vds_cli_apply_version(VdsCliParse *parse, const VdsCliRow *row, const char *argument,
                           GError **error);
void vds_cli_backend_free(void *backend);
void vds_cli_device_free(void *device);
