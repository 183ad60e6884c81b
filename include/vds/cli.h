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

/* Every part keeps its `origin`, the option as it was given ("-chardev null,id=a", a long
 * one cut): main opens what this room only names, and its messages start with
 * it. */
typedef struct {
    char *id;
    VdsChardevKind kind;
    char *path;        /* UNIX, FILE */
    char *host, *port; /* TCP */
    int fd;            /* FD: the number given; not opened, not owned; else -1 */
    bool server, wait; /* `wait` only with `server` */
    /* All of it, for those who need more; of a path or logfile that names an inherited
     * descriptor also path-fd, logfile-fd. */
    VdsProps *props;
    char *origin;
} VdsChardev;

typedef enum { VDS_MON_CONTROL, VDS_MON_READLINE } VdsMonMode;

/* One monitor: -mon, or what -qmp, -qmp-pretty and -monitor stand for. */
typedef struct {
    VdsMonMode mode;
    bool pretty;
    char *id; /* (nullable) */
    char *chardev_id;
    const VdsChardev *chardev; /* that of chardev_id; each serves one monitor */
    char *origin;
} VdsMon;

/* A part that a device may be wired to, or the machine uses, in the order given. */
typedef struct {
    const char *kind; /* "netdev", "blockdev", "object", "fsdev", "chardev", "drive" */
    VdsProps *props;
    char *origin;
} VdsBackendOption;

typedef struct {
    VdsProps *props; /* "driver" is set */
    char *origin;
} VdsDeviceOption;

typedef struct {
    GArray *fdsets;       /* what -add-fd gave; the room's own */
    GPtrArray *chardevs;  /* VdsChardev * */
    GPtrArray *mons;      /* VdsMon * */
    GPtrArray *backends;  /* VdsBackendOption * */
    GPtrArray *devices;   /* VdsDeviceOption *, in the order given */
    char *name;           /* (nullable) -name guest= or the bare value */
    char *uuid;           /* (nullable) canonical lower case */
    char *machine;        /* as given, "vds" when not; who knows machines checks it */
    char *machine_origin; /* (nullable) the last -machine */
    VdsProps *machine_props;
    uint64_t memory_bytes; /* -m, 64 MiB when not given */
    bool memory_given;
    bool paused;      /* -S */
    bool no_shutdown; /* a machine that ends stays to be looked at */
    bool no_reboot;   /* a reset is an end */
    bool kvm;         /* an accelerator asked for is KVM */
    char *pidfile;    /* (nullable) */
    bool daemonize;
    char *log_path; /* (nullable) -D: standard error */
    bool show_version, show_help;
    char *device_help; /* (nullable) the driver that -device is to explain; "" all */
    char *device_help_origin;
} VdsOptions;

/* argv as main got it; argv[0] is not looked at.  One or two dashes; the first fault is
 * reported, always in VDS_CLI_ERROR, with the option in front.  -help and -version end
 * the reading where they stand, so that nothing behind them can be at fault.  (transfer
 * full) */
VdsOptions *vds_options_parse(int argc, const char *const *argv, GError **error);
void vds_options_free(VdsOptions *options); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsOptions, vds_options_free)

/* The options that are property sets: func once for the option, with neither key nor
 * type, then for each key, if these are fixed; type is "string", "boolean", "number" or
 * "size".
 */
typedef void (*VdsOptionFunc)(const char *option, const char *key, const char *type,
                              void *user);
void vds_options_foreach(VdsOptionFunc func, void *user);

/* The text of -help, one line an option, from the same table that parses; what is
 * accepted without effect comes last, each with its reason. */
char *vds_options_help(const char *program); /* (transfer full) */

/* `key=value,...` or, starting with "{", a JSON object.  ",," in a value is a comma; a
 * first part without "=" is the value of implied_key (nullable); any other part without
 * "=" is a flag, `server` for server=on and `nowait` for wait=off; the last of equal keys
 * wins; one comma may end the text.  On error VDS_CLI_ERROR_SYNTAX, or what room json
 * says of the text.  (transfer full) */
VdsProps *vds_keyval_parse(const char *text, const char *implied_key, GError **error);
