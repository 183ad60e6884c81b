/*
 * cmds: the QMP and HMP handlers: model to generated types and back, nothing else.
 */
#pragma once

#include "vds/machine.h"
#include "vds/qapi.h"

#define VDS_CMDS_ERROR (vds_cmds_error_quark())
GQuark vds_cmds_error_quark(void);
typedef enum {
    VDS_CMDS_ERROR_PATH,  /* Path P is not a realized VirtIODevice, and its variants */
    VDS_CMDS_ERROR_QUEUE, /* Invalid virtqueue number N, Invalid vhost virtqueue number N
                           */
    VDS_CMDS_ERROR_VHOST, /* Error: vhost device has not started yet */
    VDS_CMDS_ERROR_VALUE, /* an argument out of range, or that names nothing */
    VDS_CMDS_ERROR_NO_DEVICE,  /* no such device (class DeviceNotFound) */
    VDS_CMDS_ERROR_NOT_ACTIVE, /* there is no such device (class DeviceNotActive) */
    VDS_CMDS_ERROR_RECORD, /* a recorded-queue file that is refused; file and member named
                            */
} VdsCmdsError;

/* The level of QEMU whose schema and texts are spoken (docs/compat.md). */
enum { VDS_CMDS_LEVEL_MAJOR = 8, VDS_CMDS_LEVEL_MINOR = 2, VDS_CMDS_LEVEL_MICRO = 0 };

typedef struct VdsCmds VdsCmds;

/* Why the machine ends. */
typedef enum {
    VDS_SHUTDOWN_QMP_QUIT,
    VDS_SHUTDOWN_SIGNAL,
    VDS_SHUTDOWN_RESET, /* system_reset under -no-reboot */
    VDS_SHUTDOWN_GUEST, /* the guest switched itself off */
} VdsShutdownCause;

/* An option of the command line that is a property set: once for itself, without a key,
 * then for each key; type is one of QAPI's CommandLineParameterType. */
typedef void (*VdsCmdsOptionFunc)(const char *option, const char *key /* (nullable) */,
                                  const char *type, void *user);
/* A monitor and the character device it is on, as the command line has it. */
typedef void (*VdsCmdsMonitorFunc)(const VdsProps *chardev, bool connected, void *user);

/* What handlers may ask of the process; borrowed, outlives the commands. */
typedef struct {
    const char *name;           /* (nullable) -name */
    const char *uuid;           /* (nullable) -uuid */
    const char *package;        /* our name and version, the greeting's package */
    bool no_reboot;             /* -no-reboot: system_reset is an end, too */
    bool kvm_asked;             /* an option asked for KVM */
    int (*take_fd)(void *host); /* that came with the request; -1: none */
    void (*foreach_option)(VdsCmdsOptionFunc func, void *user);
    void (*foreach_monitor)(void *host, VdsCmdsMonitorFunc func, void *user);
    /* Calls func(data) in a turn of the main loop to come, and then, or at the end of the
     * process instead, gone(data).  (nullable: at once) */
    void (*later)(void *user, unsigned ms, VdsTaskFunc func, void *data,
                  GDestroyNotify gone);
    /* The machine is to end, and maybe the process: once the reply is on its way. */
    void (*end)(void *user, VdsShutdownCause cause);
    void *user;
} VdsCmdsHost;

VdsCmds *vds_cmds_new(VdsMachine *machine, const VdsCmdsHost *host,
                      const VdsEventSink *sink);
void vds_cmds_free(VdsCmds *cmds); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsCmds, vds_cmds_free)

/* The generated dispatch table; its ctx is a VdsCmds. */
extern const VdsQapiDispatch vds_cmds_dispatch;

/* Answers one line of the human monitor; lines end in "\n".  (transfer full) */
char *vds_cmds_hmp(VdsCmds *cmds, const char *line);

/* The SHUTDOWN event. */
void vds_cmds_emit_shutdown(VdsCmds *cmds, VdsShutdownCause cause);
/* VIRTQUEUE_ERROR; `served`: the device's driver is a front-end. */
void vds_cmds_emit_fault(VdsCmds *cmds, const VdsMachineFault *fault, bool served);

/* A front-end connected or left.  All borrowed for the call. */
typedef struct {
    const char *id; /* (nullable) of the device */
    const char *path, *socket;
    uint64_t connection; /* counts from 1 */
    bool connected;
    const char *reason; /* (nullable) it was disconnected */
} VdsCmdsFrontEnd;
/* VHOST_USER_CONNECTED, VHOST_USER_DISCONNECTED. */
void vds_cmds_emit_front_end(VdsCmds *cmds, const VdsCmdsFrontEnd *front_end);

/* The row of device kind virtio-replay, for main's table. */
extern const VdsDeviceClass vds_cmds_replay_class;
