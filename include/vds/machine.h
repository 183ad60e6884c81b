/*
 * machine: the object tree (paths), the registry of devices, run state and life cycle.
 * Owns every device; belongs to the main loop.  Knows device kinds only as rows of the
 * table that main hands it.
 */
#pragma once

#include "vds/virtio.h"

#define VDS_MACHINE_ERROR (vds_machine_error_quark())
GQuark vds_machine_error_quark(void);
typedef enum {
    VDS_MACHINE_ERROR_NO_DEVICE,      /* device_del: Device 'x' not found */
    VDS_MACHINE_ERROR_NO_OBJECT,      /* qom: Device '/x' not found */
    VDS_MACHINE_ERROR_NO_CLASS,       /* qom: Class 'x' not found */
    VDS_MACHINE_ERROR_NO_PROPERTY,    /* Property 'type.x' not found */
    VDS_MACHINE_ERROR_NO_DRIVER,      /* 'x' is not a valid device model name */
    VDS_MACHINE_ERROR_DUPLICATE_ID,   /* Duplicate device ID 'x' */
    VDS_MACHINE_ERROR_DUPLICATE_PATH, /* a recorded path that exists already */
    VDS_MACHINE_ERROR_BAD_ID,
    VDS_MACHINE_ERROR_BAD_KEY,  /* Invalid parameter 'x'; invalid object type: x */
    VDS_MACHINE_ERROR_MISSING,  /* Parameter 'driver' is missing */
    VDS_MACHINE_ERROR_ABSTRACT, /* a type name of which no device can be made */
    VDS_MACHINE_ERROR_NO_BUS,   /* the bus asked for, or any of the type needed */
    VDS_MACHINE_ERROR_NOT_HOTPLUGGABLE, /* device_del of an object that is no device */
    VDS_MACHINE_ERROR_AMBIGUOUS, /* qom: a partial path that fits several objects */
    VDS_MACHINE_ERROR_STATE,     /* not possible in this run state */
    VDS_MACHINE_ERROR_MEMORY,    /* a memory backend that is not there, or unfit */
    VDS_MACHINE_ERROR_IN_USE,    /* a part that a device, or another part, needs */
    VDS_MACHINE_ERROR_NO_PART,   /* there is no such chardev, object or block node */
    VDS_MACHINE_ERROR_NO_FD,     /* no descriptor has that name */
    VDS_MACHINE_ERROR_FILE,      /* a file that cannot be opened */
} VdsMachineError;

typedef enum {
    VDS_RUN_PRELAUNCH, /* -S, before the first cont */
    VDS_RUN_RUNNING,
    VDS_RUN_PAUSED,
    VDS_RUN_SHUTDOWN,
} VdsRunState;

/* One way for the machine to tell: called on the main loop, after the fact. */
typedef struct {
    void (*resumed)(void *user);
    void (*stopped)(void *user);
    void (*reset)(void *user);
    void (*powerdown)(void *user);   /* the power button was pressed */
    void (*powered_off)(void *user); /* the guest ended; the machine still runs */
    void (*device_deleted)(void *user, const char *id /* (nullable) */, const char *path);
    /* pages of 4 KiB that a balloon's driver says it gave; see open_mailbox */
    void (*balloon_changed)(void *user, uint32_t pages);
    /* the serial port of this id, which may be gone by now; see open_mailbox */
    void (*port_changed)(void *user, const char *id, bool open);
    void *user;
} VdsMachineListener;

typedef struct VdsMachine VdsMachine;

/* A machine that -machine may name. */
typedef struct {
    const char *name;
    const char *alias;  /* (nullable) a second name, QEMU's for the newest version */
    const char *ram_id; /* of the memory backend that is made when none is named */
    unsigned max_cpus;
    bool is_default;
} VdsMachineModel;
typedef void (*VdsMachineModelFunc)(const VdsMachineModel *model, void *user);
void vds_machine_foreach_model(VdsMachineModelFunc func, void *user);
/* By name or alias.  (nullable) */
const VdsMachineModel *vds_machine_model_find(const char *name);

/* `type_name` is a model's, or any other: a machine without a model (tests).  `classes`
 * (NULL-terminated, borrowed) are the rows; the machine starts in prelaunch. */
VdsMachine *vds_machine_new(const char *type_name, const VdsDeviceClass *const *classes);
/* How long, at least, a file system or a name server has for an answer to what devices
 * ask: 0, as a machine begins, once there are clients. */
void vds_machine_set_patience(VdsMachine *machine, unsigned least_ms);
void vds_machine_free(VdsMachine *machine); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdsMachine, vds_machine_free)
/* Copied; NULL takes it away. */
void vds_machine_set_listener(VdsMachine *machine, const VdsMachineListener *listener);
/* What devices have to tell comes through this, to be run by the main loop; without it,
 * it is lost.  Before there are devices.  Borrowed.  VDS_UTIL_ERROR_SYSTEM. */
VdsMailbox *vds_machine_open_mailbox(VdsMachine *machine, GError **error);

/* A virtio device broke.  All borrowed for the call. */
typedef struct {
    const char *id; /* (nullable) of the device that it belongs to */
    const char *path;
    VdsVirtioDevice *device;
    const VdsVirtioFault *fault; /* fault->n > 0 */
} VdsMachineFault;
typedef void (*VdsMachineFaultFunc)(const VdsMachineFault *fault, void *user);
/* Called on the main loop, at most once a turn for a device; needs the mailbox.  NULL
 * ends it. */
void vds_machine_set_fault_func(VdsMachine *machine, VdsMachineFaultFunc func,
                                void *user);

/* ---- guest RAM ---- */
typedef struct {
    uint64_t bytes;      /* -m */
    bool given;          /* then a backend must have that size */
    const char *backend; /* (nullable) the id of a memory backend */
} VdsMachineMemory;

/* Once, after the backends.  Without a backend one is made: a sealed memfd.  MEMORY, or
 * what room guestmem says. */
bool vds_machine_set_memory(VdsMachine *machine, const VdsMachineMemory *memory,
                            GError **error);
VdsGuestRam *vds_machine_get_ram(const VdsMachine *machine); /* borrowed; (nullable) */

/* ---- the drivers' side ---- */

/* A property of a virtio device that is known only while it runs; a row without name ends
 * a table.  `value` is all zeroes but for its name. */
typedef struct {
    const char *name, *type;
    void (*show)(void *user, VdsVirtioDevice *device, VdsProp *value);
    /* (nullable) of every device */
    bool (*has)(void *user, const VdsVirtioDevice *device);
} VdsLiveProperty;

/* Who drives the devices.  Called on the main loop. */
typedef struct {
    /* It is whole, and runs if the machine does.  false: it has no driver, and goes. */
    bool (*plug)(void *user, VdsVirtioDevice *device, const VdsDeviceType *type,
                 const VdsPropertySet *properties, GError **error);
    void (*unplug)(void *user, VdsVirtioDevice *device); /* before it goes */
    /* (nullable) Is its driver none of this machine's, whose reset does not reach it? */
    bool (*is_foreign)(void *user, const VdsVirtioDevice *device);
    bool (*resume)(void *user, GError **error); /* after the devices */
    void (*pause)(void *user);                  /* before the devices */
    void (*reset)(void *user);                  /* before the devices; leaves it paused */
    const VdsLiveProperty *properties;
    void *user;
} VdsMachineGuest;

/* Copied; before the first device.  NULL takes it away: nobody is told of what goes. */
void vds_machine_set_guest(VdsMachine *machine, const VdsMachineGuest *guest);

/* ---- run state ---- */
VdsRunState vds_machine_get_run_state(const VdsMachine *machine);
bool vds_machine_is_running(const VdsMachine *machine);
bool vds_machine_cont(VdsMachine *machine, GError **error);
void vds_machine_stop(VdsMachine *machine); /* no-op when not running */
void vds_machine_reset(VdsMachine *machine);
/* Presses the power button.  A guest that runs ends, one that does not will when it runs
 * again; before the first cont there is none.  Listeners hear of it in a later turn of
 * the main loop (see open_mailbox), behind what a client asked. */
void vds_machine_press_power(VdsMachine *machine);
/* As stop, but only a reset leads on; what there was stays readable. */
void vds_machine_shut_down(VdsMachine *machine);

/* ---- what devices are wired to: -netdev, -blockdev, -chardev, -object, -fsdev ---- */
/* Has a part of this kind only keys that are honoured, or mean nothing here for a reason?
 * Asked before a part is added.  BAD_KEY: Invalid parameter 'x', invalid object type: x
 */
bool vds_machine_check_keys(const char *kind, const VdsProps *props, GError **error);
/* kind is the option's name; props as given (with id or node-name).  Refuses a second one
 * of the same kind and id. */
bool vds_machine_backend_add(VdsMachine *machine, const char *kind, const VdsProps *props,
                             GError **error);
/* The same, as a client asks for it: a descriptor in props is the name of one that a
 * client sent (NO_FD: there is none); numbers are the command line's alone. */
bool vds_machine_backend_plug(VdsMachine *machine, const char *kind,
                              const VdsProps *props, GError **error);
bool vds_machine_has_backend(const VdsMachine *machine, const char *kind, const char *id);
/* NO_DEVICE (of a netdev) or NO_PART, IN_USE. */
bool vds_machine_backend_del(VdsMachine *machine, const char *kind, const char *id,
                             GError **error);

/* Descriptors by name, for the parts that are made next: properties such as fd= of a
 * netdev or chardev name them, and the part takes them.  put: fd is (transfer full), also
 * on error, and one of that name is closed. */
bool vds_machine_fd_put(VdsMachine *machine, const char *name, int fd, GError **error);
/* Closes a client's descriptor (transfer full), and waits for no file system. */
void vds_machine_fd_discard(VdsMachine *machine, int fd);
/* A new pseudo terminal by that name; *path (transfer full) is where its other end is.
 * NO_FD. */
bool vds_machine_fd_put_pty(VdsMachine *machine, const char *name, char **path,
                            GError **error);
bool vds_machine_fd_close(VdsMachine *machine, const char *name, GError **error);

/* All borrowed for the call. */
typedef struct {
    const char *id;
    const VdsProps *props;
    const char *user; /* (nullable) path of the device that claimed it */
} VdsBackendInfo;
typedef void (*VdsBackendFunc)(const VdsBackendInfo *info, void *user);
/* Those of one kind, in the order they came. */
void vds_machine_foreach_backend(const VdsMachine *machine, const char *kind,
                                 VdsBackendFunc func, void *user);

/* The I/O threads that have a name; each runs from the moment it was added. */
typedef struct {
    const char *id;
    int64_t thread_id;
    uint64_t poll[VDS_POLL_LIMITS]; /* each at most INT64_MAX */
} VdsIoThreadInfo;
typedef void (*VdsIoThreadFunc)(const VdsIoThreadInfo *info, void *user);
void vds_machine_foreach_io_thread(const VdsMachine *machine, VdsIoThreadFunc func,
                                   void *user);

/* A block node as its file is now; of a -drive, too.  What the device that uses it has
 * open is the same file unless somebody moved it.  All borrowed for the call. */
enum { VDS_BLOCK_LIMITS = 6 }; /* bytes, then requests: all, read, written */

typedef struct {
    const char *id;
    bool is_drive;
    uint64_t limits[VDS_BLOCK_LIMITS]; /* of a -drive: a second; 0: none */
    const char *driver;
    const char *filename; /* "null-co://" without a file */
    bool read_only;
    uint64_t size_bytes;
    bool has_file;            /* then: */
    uint64_t allocated_bytes; /* in its file system */
    const char *user;         /* (nullable) path of the device that claimed it */
} VdsBlockNode;
typedef void (*VdsBlockNodeFunc)(const VdsBlockNode *node, void *user);
/* Could a -blockdev of these properties be opened?  NO_PART, FILE. */
bool vds_machine_check_block_node(const VdsMachine *machine, const VdsProps *props,
                                  GError **error);
/* In the order they came.  Waits for a file system, if that does. */
void vds_machine_foreach_block_node(const VdsMachine *machine, VdsBlockNodeFunc func,
                                    void *user);

/* ---- devices ---- */
/* One property set, one call: -device and device_add.  "driver" names the row. */
bool vds_machine_device_add(VdsMachine *machine, const VdsProps *props, GError **error);
/* By id or by path, as QEMU.  At once: there is no driver to wait for.  What is plugged
 * into it goes first; device_deleted is called for each object that was a device, the
 * virtio device below a PCI one (no id) before it. */
bool vds_machine_device_del(VdsMachine *machine, const char *id_or_path, GError **error);

/* Newest first. */
typedef void (*VdsMachineDeviceFunc)(const char *path, VdsVirtioDevice *device,
                                     void *user);
void vds_machine_foreach(const VdsMachine *machine, VdsMachineDeviceFunc func,
                         void *user);
size_t vds_machine_count(const VdsMachine *machine);
/* The path of a device of this machine (borrowed), and the id of the device that it
 * belongs to (borrowed, nullable).  NULL: no device of this machine. */
const char *vds_machine_get_path(const VdsMachine *machine, const VdsVirtioDevice *device,
                                 const char **id);
/* By canonical or unambiguous partial path, as QOM resolves it; not linear in the number
 * of devices.  *path (nullable argument) is set to the canonical one, borrowed.
 * (nullable) */
VdsVirtioDevice *vds_machine_find(const VdsMachine *machine, const char *path,
                                  const char **canonical);

/* ---- the object tree, for qom-list and qom-get ---- */
typedef void (*VdsQomListFunc)(const char *name, const char *type, void *user);
bool vds_machine_qom_list(const VdsMachine *machine, const char *path,
                          VdsQomListFunc func, void *user, GError **error);
/* *value is the caller's: vds_prop_clear(). */
bool vds_machine_qom_get(const VdsMachine *machine, const char *path,
                         const char *property, VdsProp *value, GError **error);
/* NO_PROPERTY; STATE for one that is only read; or what the property says. */
bool vds_machine_qom_set(VdsMachine *machine, const char *path, const char *property,
                         const VdsProp *value, GError **error);

/* ---- the table of kinds ---- */
/* Every type name with its parent ("" at the top); `implements` (nullable) and
 * `include_abstract` as in qom-list-types. */
typedef void (*VdsTypeFunc)(const char *name, const char *parent, bool abstract,
                            void *user);
void vds_machine_list_types(const VdsMachine *machine, const char *implements,
                            bool include_abstract, VdsTypeFunc func, void *user);
typedef struct {
    const char *name;
    const char *type;        /* QEMU's words: bool, uint16, size, str, ... */
    const char *description; /* (nullable) */
    const VdsProp *fallback; /* (nullable) the default */
} VdsPropertyInfo;
typedef void (*VdsPropertyFunc)(const VdsPropertyInfo *info, void *user);
/* device-list-properties: those that may be given.  NO_DEVICE for a name that is no type,
 * ABSTRACT for one of which no device can be made. */
bool vds_machine_list_properties(const VdsMachine *machine, const char *type,
                                 VdsPropertyFunc func, void *user, GError **error);
/* qom-list-properties: also those that are only read; of any type.  NO_CLASS. */
bool vds_machine_qom_list_properties(const VdsMachine *machine, const char *type,
                                     VdsPropertyFunc func, void *user, GError **error);
