/*
 * machine: I/O threads that have a name (-object iothread): they run from the start, so
 * that who asks is told their number and can bind them to processors.  Refuses to know
 * who runs on them.
 */
#include "machine-priv.h"

/* Agreed with room devices, which asks for it by this name. */
static char *shared_name(const char *id)
{
    return g_strconcat("io:", id, NULL);
}

static void destroy(void *thread)
{
    vds_io_thread_unref(thread);
}

bool vds_io_thread_part_start(VdsMachine *machine, const char *id, const VdsProps *props,
                              GError **error)
{
    const VdsProp *poll = vds_props_find(props, "poll-max-ns");
    g_autofree char *name = shared_name(id);
    g_autoptr(VdsIoThread) thread = vds_io_thread_new(name);
    uint64_t poll_max_ns = 0;

    if ((poll && !vds_prop_get_uint(poll, 0, INT64_MAX, &poll_max_ns, error)) ||
        !vds_io_thread_start(thread, error)) {
        return false;
    }
    vds_io_thread_set_poll_max(thread, poll_max_ns);
    vds_shared_put(machine, name, g_steal_pointer(&thread), destroy);
    return true;
}

void vds_io_thread_part_stop(VdsMachine *machine, const char *id)
{
    g_autofree char *name = shared_name(id);

    vds_shared_drop(machine, name);
}

typedef struct {
    const VdsMachine *machine;
    VdsIoThreadFunc func;
    void *user;
} Walk;

static void tell(const VdsBackendInfo *info, void *user)
{
    const Walk *walk = user;
    g_autofree char *name = shared_name(info->id);
    VdsIoThread *thread = vds_shared_find(walk->machine, name);

    if (g_strcmp0(vds_props_get_string(info->props, "qom-type"), "iothread") == 0) {
        const VdsIoThreadInfo told = {info->id, vds_io_thread_get_id(thread),
                                      vds_io_thread_get_poll_max(thread)};

        walk->func(&told, walk->user);
    }
}

void vds_machine_foreach_io_thread(const VdsMachine *machine, VdsIoThreadFunc func,
                                   void *user)
{
    Walk walk = {machine, func, user};

    vds_machine_foreach_backend(machine, "object", tell, &walk);
}
