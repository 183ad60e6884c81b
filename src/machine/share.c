/*
 * machine: what devices of one machine share by name (I/O threads, network hubs): made
 * with the first that asks, freed behind the last device.  Refuses to know what it is.
 */
#include "machine-priv.h"

typedef struct {
    void *object;
    GDestroyNotify destroy;
} VdsShared;

static void shared_free(void *data)
{
    VdsShared *shared = data;

    shared->destroy(shared->object);
    g_free(shared);
}

GHashTable *vds_shared_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, shared_free);
}

void *vds_shared_find(const VdsMachine *machine, const char *name)
{
    const VdsShared *shared = g_hash_table_lookup(machine->shared, name);

    return shared ? shared->object : NULL;
}

void vds_shared_put(VdsMachine *machine, const char *name, void *object,
                    GDestroyNotify destroy)
{
    VdsShared *shared = g_new(VdsShared, 1);

    *shared = (VdsShared){object, destroy};
    g_hash_table_insert(machine->shared, g_strdup(name), shared);
}

void vds_shared_drop(VdsMachine *machine, const char *name)
{
    g_hash_table_remove(machine->shared, name);
}

void *vds_shared_get(const VdsDeviceHost *host, const char *name,
                     void *(*create)(const char *name), GDestroyNotify destroy)
{
    void *object = vds_shared_find(host->machine, name);

    if (!object) {
        object = create(name);
        vds_shared_put(host->machine, name, object, destroy);
    }
    return object;
}
