/*
 * cli: QEMU's option grammar to typed options.  Opens nothing and starts nothing; knows
 * no device kind.
 */
#pragma once

#include "vds/util.h"

#define VDS_CLI_ERROR (vds_cli_error_quark())
GQuark vds_cli_error_quark(void);
typedef enum {
    VDS_CLI_ERROR_OPTION,  /* unknown, or without its argument */
    VDS_CLI_ERROR_SYNTAX,  /* the value does not parse */
    VDS_CLI_ERROR_VALUE,   /* a key or value that is refused */
    VDS_CLI_ERROR_MISSING, /* a key that must be there, a chardev that was not named */
} VdsCliError;

typedef enum {
    VDS_CHARDEV_SOCKET_UNIX,
    VDS_CHARDEV_SOCKET_TCP,
    VDS_CHARDEV_SOCKET_FD,
    VDS_CHARDEV_STDIO,
    VDS_CHARDEV_PTY,
    VDS_CHARDEV_FILE,
    VDS_CHARDEV_NULL,
} VdsChardevKind;

typedef struct {
    char *id;
    VdsChardevKind kind;
    char *path;        /* UNIX, FILE */
    char *host, *port; /* TCP */
    int fd;            /* FD: the number given; not opened, not owned */
    bool server, wait;
    VdsProps *props; /* all of it, for those who need more */
} VdsChardev;

typedef enum { VDS_MON_CONTROL, VDS_MON_READLINE } VdsMonMode;

/* One monitor: -mon, or what -qmp, -qmp-pretty and -monitor stand for. */
typedef struct {
    VdsMonMode mode;
    bool pretty;
    const VdsChardev *chardev;
} VdsMon;

/* A part that a device may be wired to, or the machine uses, in the order given. */
typedef struct {
    const char *kind; /* "netdev", "blockdev", "object", "fsdev", "chardev", "drive" */
    VdsProps *props;
} VdsBackendOption;

typedef struct {
    GPtrArray *chardevs; /* VdsChardev * */
    GPtrArray *mons;     /* VdsMon * */
    GPtrArray *backends; /* VdsBackendOption * */
    GPtrArray *devices;  /* VdsProps *, in order; "driver" is set */
    char *name;          /* (nullable) -name guest= or the bare value */
    char *uuid;          /* (nullable) canonical lower case */
    char *machine;       /* machine type, "vds" when not given */
    VdsProps *machine_props;
    uint64_t memory_bytes; /* -m, 64 MiB when not given */
    bool paused;           /* -S */
    char *pidfile;         /* (nullable) */
    bool daemonize;
    bool show_version, show_help;
} VdsOptions;

/* argv as main got it.  One or two dashes; the first fault as one line.  (transfer full)
 */
VdsOptions *vds_options_parse(int argc, const char *const *argv, GError **error);
void vds_options_free(VdsOptions *options); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsOptions, vds_options_free)

/* The text of -help, one line an option, from the same table that parses. */
char *vds_options_help(const char *program); /* (transfer full) */

/* `key=value,...` (",," is a comma; a first part without "=" is the value of
 * implied_key, nullable) or, starting with "{", a JSON object.  (transfer full) */
VdsProps *vds_keyval_parse(const char *text, const char *implied_key, GError **error);
