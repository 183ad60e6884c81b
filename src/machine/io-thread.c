/*
 * machine: I/O threads that have a name (-object iothread): they run from the start, so
 * that who asks is told their number and can bind them to processors.  For how long they
 * look for work can be changed while they run.  Refuses to know who runs on them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine-priv.h"

/* QEMU's properties, then another name of the first for command lines. */
static const struct {
    const char *name;
    VdsPollLimit limit;
    bool alias;
} limits[] = {
    {"poll-max-ns", VDS_POLL_MAX_NS, false},
    {"poll-grow", VDS_POLL_GROW, false},
    {"poll-shrink", VDS_POLL_SHRINK, false},
    {"poll", VDS_POLL_MAX_NS, true},
};

/* Agreed with room devices, which asks for it by this name. */
static char *shared_name(const char *id)
{
    return g_strconcat("io:", id, NULL);
}

static VdsIoThread *find_thread(const VdsMachine *machine, const char *id)
{
    g_autofree char *name = shared_name(id);

    return vds_shared_find(machine, name);
}

static void destroy(void *thread)
{
    vds_io_thread_unref(thread);
}

/* ---- values ------------------------------------------------------------------------ */

static bool text_to_int(const char *text, int64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoll(text, &end, 0);
    return errno == 0 && end > text && *end == '\0';
}

/* A command line gives text, everybody else numbers. */
static bool read_limit(const VdsProp *prop, const char *name, bool text, uint64_t *limit,
                       GError **error)
{
    int64_t value = prop->u.integer;

    if (text && prop->kind == VDS_PROP_STRING) {
        if (!text_to_int(prop->text, &value)) {
            return vds_refuse(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE,
                              "Parameter '%s' expects an int64 value", name);
        }
    } else if (prop->kind != VDS_PROP_INT) {
        return vds_refuse(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE,
                          "Invalid parameter type for '%s', expected: integer", name);
    }
    if (value < 0) {
        return vds_refuse(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE,
                          "%s value must be in range [0, %" PRId64 "]", name, INT64_MAX);
    }
    *limit = (uint64_t)value;
    return true;
}

/* ---- coming and going ---------------------------------------------------------------
 */

static bool set_up(VdsIoThread *thread, const VdsProps *props, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        const VdsProp *prop = vds_props_find(props, limits[i].name);
        uint64_t value = 0;

        if (prop && !read_limit(prop, limits[i].name, true, &value, error)) {
            return false;
        }
        if (prop) {
            vds_io_thread_set_poll(thread, limits[i].limit, value);
        }
    }
    return true;
}

bool vds_io_thread_part_start(VdsMachine *machine, const char *id, const VdsProps *props,
                              GError **error)
{
    g_autofree char *name = shared_name(id);
    g_autoptr(VdsIoThread) thread = vds_io_thread_new(name);

    if (!set_up(thread, props, error) || !vds_io_thread_start(thread, error)) {
        return false;
    }
    vds_shared_put(machine, name, g_steal_pointer(&thread), destroy);
    return true;
}

void vds_io_thread_part_stop(VdsMachine *machine, const char *id)
{
    g_autofree char *name = shared_name(id);

    vds_shared_drop(machine, name);
}

/* ---- as an object ------------------------------------------------------------------ */

/* (nullable) */
static const VdsPollLimit *find_limit(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (!limits[i].alias && strcmp(limits[i].name, name) == 0) {
            return &limits[i].limit;
        }
    }
    return NULL;
}

void vds_io_thread_list_properties(VdsPropertyFunc func, void *user)
{
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (!limits[i].alias) {
            func(&(VdsPropertyInfo){limits[i].name, "int", NULL, NULL}, user);
        }
    }
}

typedef struct {
    VdsQomListFunc func;
    void *user;
} List;

static void list_limit(const VdsPropertyInfo *info, void *user)
{
    const List *list = user;

    list->func(info->name, info->type, list->user);
}

/* What else it was given is kept, and has no effect. */
static void list_other(const char *name, const char *type, void *user)
{
    const List *list = user;

    if (!find_limit(name)) {
        list->func(name, type, list->user);
    }
}

static void node_list(const VdsNode *node, VdsQomListFunc func, void *user)
{
    List list = {func, user};

    vds_io_thread_list_properties(list_limit, &list);
    vds_qom_part_ops.list(node, list_other, &list);
}

static bool node_get(const VdsNode *node, const char *name, VdsProp *value)
{
    const VdsPart *part = node->object;
    const VdsPollLimit *limit = find_limit(name);

    if (!limit) {
        return vds_qom_part_ops.get(node, name, value);
    }
    vds_prop_show_uint(
        value, vds_io_thread_get_poll(find_thread(part->machine, part->id), *limit));
    return true;
}

static bool node_set(const VdsNode *node, const char *name, const VdsProp *value,
                     bool *known, GError **error)
{
    const VdsPart *part = node->object;
    const VdsPollLimit *limit = find_limit(name);
    uint64_t number = 0;

    *known = limit != NULL;
    if (!limit || !read_limit(value, name, false, &number, error)) {
        return false;
    }
    vds_io_thread_set_poll(find_thread(part->machine, part->id), *limit, number);
    return true;
}

const VdsNodeOps vds_qom_io_thread_ops = {node_list, node_get, node_set};

/* ---- all of them ------------------------------------------------------------------- */

typedef struct {
    const VdsMachine *machine;
    VdsIoThreadFunc func;
    void *user;
} Walk;

static void tell(const VdsBackendInfo *info, void *user)
{
    const Walk *walk = user;

    if (g_strcmp0(vds_props_get_string(info->props, "qom-type"), "iothread") == 0) {
        VdsIoThread *thread = find_thread(walk->machine, info->id);
        VdsIoThreadInfo told = {.id = info->id,
                                .thread_id = vds_io_thread_get_id(thread)};

        for (unsigned i = 0; i < VDS_POLL_LIMITS; i++) {
            told.poll[i] = vds_io_thread_get_poll(thread, (VdsPollLimit)i);
        }
        walk->func(&told, walk->user);
    }
}

void vds_machine_foreach_io_thread(const VdsMachine *machine, VdsIoThreadFunc func,
                                   void *user)
{
    Walk walk = {machine, func, user};

    vds_machine_foreach_backend(machine, "object", tell, &walk);
}
