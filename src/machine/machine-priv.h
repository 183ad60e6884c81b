/*
 * machine: what the files of this room share: devices, buses, parts, the registry.
 */
#pragma once

#include "tree-priv.h"

typedef struct VdsDevice VdsDevice;
typedef struct VdsEntry VdsEntry;
typedef struct VdsBus VdsBus;

/* A virtio device in the registry; the registry is a list, newest first. */
struct VdsEntry {
    VdsEntry *next, *prev;
    VdsEntry *owner_next; /* an older one of the same owner */
    VdsDevice *owner;
    VdsVirtioDevice *virtio; /* owned */
    VdsMachine *machine;
    VdsNode *node; /* node->object is this entry unless node is the owner's */
    char *path;
    GList fault_link; /* in machine->faults while `is_faulty`; both under its lock */
    bool is_faulty;
};

/* What devices are plugged into.  `name` is what bus= asks for. */
struct VdsBus {
    VdsBus *next, *prev; /* of the same type, newest first */
    const char *type;
    const char *name; /* the node's */
    VdsNode *node;
    VdsDevice *owner;   /* (nullable) the machine's own have none */
    VdsDevice *devices; /* plugged into it, newest first */
    void *data;
    GDestroyNotify data_free;
};

struct VdsDevice {
    const VdsDeviceClass *class;
    const VdsDeviceType *type;
    VdsNode *node;
    VdsPropertySet *properties;
    VdsEntry *entries; /* newest first: its own virtio device, then what it put */
    VdsBus *bus;       /* (nullable) the one it is plugged into */
    VdsDevice *bus_next, *bus_prev;
    VdsBus *brought; /* (nullable) the one it brought */
    void *instance;
    VdsVirtioDevice *plugged; /* (nullable) the guest knows of it */
    GSList *parts;            /* VdsPart: used */
    bool has_id, hotplugged, realized;
};

/* One -netdev, -object, ... */
typedef struct VdsPart {
    const struct VdsPartKind *kind;
    char *id;
    VdsProps *props;
    const VdsDevice *user; /* (nullable) who claimed it */
    unsigned n_users;      /* devices that know of it, who claimed it included */
    GArray *fds;           /* (nullable) int: descriptors that came with it */
    bool is_clients;       /* a client asked for it: numbers are no descriptors */
    VdsNode *node;         /* (nullable) of a kind with a container */
    const VdsMachine *machine;
    GList link; /* in machine->part_order */
} VdsPart;

struct VdsMachine {
    VdsTree *tree;
    VdsNode *peripheral, *anonymous;
    char *type;   /* "pc-q35-8.2-machine" */
    char *ram_id; /* of the RAM that is made when none is named */
    const VdsDeviceClass *const *classes;
    GHashTable *drivers;   /* name or alias -> VdsDriver */
    GHashTable *parts;     /* a set of VdsPart by (kind, id) */
    GQueue part_order;     /* the same, oldest first */
    GHashTable *fds;       /* name -> int: descriptors that nobody took yet */
    GHashTable *shared;    /* name -> VdsShared */
    VdsEntry *entries;     /* newest first */
    GHashTable *by_virtio; /* VdsVirtioDevice -> its entry, both borrowed */
    GHashTable *by_path;   /* the same by canonical path, borrowed: most queries' way */
    size_t n_entries;
    GHashTable *buses;       /* type -> its newest bus */
    GHashTable *bus_numbers; /* bus type -> how many went by that name */
    VdsPatience *patience;   /* with file systems */
    VdsCloser *closer;       /* for files that clients sent */
    GSList *leaving;      /* VdsDevice: asked to go, with work under way; oldest first */
    unsigned n_anonymous; /* devices without id so far */
    VdsGuestRam *ram;     /* (nullable) */
    const VdsPart *ram_part; /* (nullable) where it came from */
    VdsMachineGuest guest;
    VdsRunState run_state;
    VdsMachineListener listener;
    bool power_pressed;             /* and the guest has not ended yet */
    VdsMailbox *mailbox;            /* (nullable) */
    VdsMachineFaultFunc fault_func; /* (nullable) */
    void *fault_user;
    pthread_mutex_t fault_lock; /* of the next, and of the entries in it */
    GQueue faults;              /* VdsEntry whose device broke: any thread adds */
    bool faults_posted;         /* a task for the mailbox's thread is under way */
};

/* ---- types.c ---- */

typedef struct {
    const VdsDeviceClass *class;
    const VdsDeviceType *type;
} VdsDriver;

GHashTable *vds_drivers_new(const VdsDeviceClass *const *classes);
/* (nullable) by name or alias; abstract ones too */
const VdsDriver *vds_driver_find(const VdsMachine *machine, const char *name);

/* ---- parts.c ---- */

GHashTable *vds_parts_new(void);
const char *vds_part_get_kind(const VdsPart *part); /* "netdev", ... */
VdsPart *vds_part_find(const VdsMachine *machine, const char *kind,
                       const char *id); /* (nullable) */

/* ---- memory.c, live.c ---- */

/* (nullable) where another process can map the memory behind it */
char *vds_part_map_path(const VdsPart *part);
/* The properties of a virtio device that are known only while it runs. */
void vds_live_list(const VdsEntry *entry, VdsQomListFunc func, void *user);
bool vds_live_has(const VdsEntry *entry, const char *name);
bool vds_live_get(const VdsEntry *entry, const char *name, VdsProp *value);

/* ---- news.c ---- */

void vds_news_balloon_changed(void *machine, uint32_t pages);
void vds_news_port_changed(void *machine, const char *id, bool open);

/* ---- faults.c ---- */

void vds_faults_init(VdsMachine *machine);
void vds_faults_clear(VdsMachine *machine);
/* Its faults are reported from now on; no longer, after its device is gone. */
void vds_faults_watch(VdsEntry *entry);
void vds_faults_forget(VdsEntry *entry);

/* ---- bus.c ---- */

void vds_bus_create_roots(VdsMachine *machine);
void vds_bus_remove_roots(VdsMachine *machine);
VdsBus *vds_bus_add(VdsMachine *machine, VdsNode *parent, const char *type,
                    const char *name);
void vds_bus_remove(VdsMachine *machine, VdsBus *bus); /* empty; NULL is fine */
/* The bus a device of this type goes on, NULL in *bus when it needs none. */
bool vds_bus_choose(const VdsMachine *machine, const VdsDeviceType *type,
                    const char *name, VdsBus **bus, GError **error);
void vds_bus_plug(VdsBus *bus, VdsDevice *device);
void vds_bus_unplug(VdsDevice *device);
/* The next free name of a bus whose owner has no id. */
char *vds_bus_auto_name(VdsMachine *machine, const char *type);

/* ---- share.c ---- */

GHashTable *vds_shared_new(void);
/* VdsDeviceHost.share */
void *vds_shared_get(const VdsDeviceHost *host, const char *name,
                     void *(*create)(const char *name), GDestroyNotify destroy);
void *vds_shared_find(const VdsMachine *machine, const char *name); /* (nullable) */
void vds_shared_drop(VdsMachine *machine, const char *name);
/* The name is free. */
void vds_shared_put(VdsMachine *machine, const char *name, void *object,
                    GDestroyNotify destroy);

/* ---- io-thread.c ---- */

/* An -object iothread, by the name under which devices share it.  VDS_UTIL_ERROR.
 */
bool vds_io_thread_part_start(VdsMachine *machine, const char *id, const VdsProps *props,
                              GError **error);
void vds_io_thread_part_stop(VdsMachine *machine, const char *id);
/* Of the type, in QEMU's words. */
void vds_io_thread_list_properties(VdsPropertyFunc func, void *user);

/* ---- fds.c ---- */

GHashTable *vds_fds_new(void);
/* Replaces the names of descriptors among the part's properties by numbers; the part has
 * them from now on.  NO_FD. */
bool vds_part_take_fds(VdsMachine *machine, VdsPart *part, GError **error);

/* ---- registry.c ---- */

/* (transfer full) of virtio */
VdsEntry *vds_registry_add(VdsMachine *machine, VdsDevice *owner, VdsNode *node,
                           VdsVirtioDevice *virtio);
/* Returns the path it had.  (transfer full) */
char *vds_registry_remove(VdsMachine *machine, VdsEntry *entry);
bool vds_registry_put(const VdsDeviceHost *host, const char *path,
                      VdsVirtioDevice *virtio, GError **error);
/* Drops containers that vds_registry_put made and nothing needs any more. */
void vds_registry_prune(VdsMachine *machine, VdsNode *node);

/* ---- leave.c ---- */

/* Destroys it now, or, with work under way and a mailbox, when that is over. */
void vds_device_leave(VdsMachine *machine, VdsDevice *device);
bool vds_device_is_leaving(const VdsMachine *machine, const VdsDevice *device);

/* ---- device.c, qom.c ---- */

void vds_device_destroy(VdsMachine *machine, VdsDevice *device);
extern const VdsNodeOps vds_qom_device_ops, vds_qom_backend_ops, vds_qom_bus_ops,
    vds_qom_part_ops, vds_qom_io_thread_ops, vds_qom_machine_ops;
