/*
 * machine: the table of kinds as QOM shows it: type names, their parents, and their
 * properties.
 */
#include <string.h>

#include "machine-priv.h"

/* QOM's own types, and those of -object and -accel; everything else is some row's. */
static const struct {
    const char *name, *parent;
    bool abstract;
} base_types[] = {
    {"object", "", true},
    {"container", "object", false},
    {"machine", "object", true},
    {"device", "object", true},
    {"bus", "object", true},
    {"accel", "object", false},
    {"tcg-accel", "accel", false},
    {"memory-backend", "object", true},
    {"memory-backend-file", "memory-backend", false},
    {"memory-backend-memfd", "memory-backend", false},
    {"memory-backend-ram", "memory-backend", false},
    {"rng-backend", "object", true},
    {"rng-builtin", "rng-backend", false},
    {"rng-random", "rng-backend", false},
    {"cryptodev-backend", "object", false},
    {"cryptodev-backend-builtin", "cryptodev-backend", false},
    {"event-loop-base", "object", true},
    {"iothread", "event-loop-base", false},
    {"secret_common", "object", true},
    {"secret", "secret_common", false},
    {"throttle-group", "object", false},
};

/* What every device has beside its row's properties; read only. */
static const VdsPropertyInfo common_properties[] = {
    {"type", "string", NULL, NULL},       {"parent_bus", "link<bus>", NULL, NULL},
    {"realized", "bool", NULL, NULL},     {"hotplugged", "bool", NULL, NULL},
    {"hotpluggable", "bool", NULL, NULL},
};

GHashTable *vds_drivers_new(const VdsDeviceClass *const *classes)
{
    GHashTable *drivers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);

    for (; *classes; classes++) {
        for (const VdsDeviceType *type = (*classes)->types; type->name; type++) {
            VdsDriver row = {*classes, type};

            g_hash_table_insert(drivers, (char *)type->name, g_memdup2(&row, sizeof row));
            if (type->alias) {
                g_hash_table_insert(drivers, (char *)type->alias,
                                    g_memdup2(&row, sizeof row));
            }
        }
    }
    return drivers;
}

const VdsDriver *vds_driver_find(const VdsMachine *machine, const char *name)
{
    return g_hash_table_lookup(machine->drivers, name);
}

/* ---- types --------------------------------------------------------------------------
 */

static const char *parent_of(const VdsMachine *machine, const char *name)
{
    const VdsDriver *driver = vds_driver_find(machine, name);

    if (driver) {
        return driver->type->parent;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(base_types); i++) {
        if (strcmp(base_types[i].name, name) == 0) {
            return base_types[i].parent;
        }
    }
    return strcmp(name, machine->type) == 0 ? "machine" : NULL;
}

static bool type_is_a(const VdsMachine *machine, const char *name, const char *wanted)
{
    for (; name; name = parent_of(machine, name)) {
        if (strcmp(name, wanted) == 0) {
            return true;
        }
    }
    return false;
}

void vds_machine_list_types(const VdsMachine *machine, const char *implements,
                            bool include_abstract, VdsTypeFunc func, void *user)
{
    for (size_t i = 0; i < G_N_ELEMENTS(base_types); i++) {
        if ((include_abstract || !base_types[i].abstract) &&
            (!implements || type_is_a(machine, base_types[i].name, implements))) {
            func(base_types[i].name, base_types[i].parent, base_types[i].abstract, user);
        }
    }
    if (!implements || type_is_a(machine, machine->type, implements)) {
        func(machine->type, "machine", false, user);
    }
    for (const VdsDeviceClass *const *class = machine->classes; *class; class ++) {
        for (const VdsDeviceType *type = (*class)->types; type->name; type++) {
            if ((include_abstract || !type->abstract) &&
                (!implements || type_is_a(machine, type->name, implements))) {
                func(type->name, type->parent, type->abstract, user);
            }
        }
    }
}

/* ---- properties -------------------------------------------------------------------- */

typedef struct {
    VdsPropertyFunc func;
    void *user;
    bool fallbacks;
} PropertyWalk;

static void tell_property(const VdsProperty *property, bool backend, void *user)
{
    const PropertyWalk *walk = user;
    VdsPropertyValue value = {property->fallback, (char *)property->fallback_text};
    VdsPropertyInfo info = {
        .name = property->name,
        .type = property->type_name ? property->type_name : property->type->name,
        .description = property->description,
    };
    VdsProp fallback = {0};

    if (walk->fallbacks && !property->unset) {
        property->type->show(property, &value, &fallback);
        info.fallback = &fallback;
    }
    walk->func(&info, walk->user);
    vds_prop_clear(&fallback);
}

static void walk_type(const VdsDeviceType *type, PropertyWalk *walk)
{
    g_autofree char *child = NULL;

    vds_device_type_foreach_property(type, tell_property, walk);
    if (type->backend_type) {
        child = g_strdup_printf("child<%s>", type->backend_type);
        walk->func(&(VdsPropertyInfo){"virtio-backend", child, NULL, NULL}, walk->user);
    }
}

bool vds_machine_list_properties(const VdsMachine *machine, const char *type,
                                 VdsPropertyFunc func, void *user, GError **error)
{
    const VdsDriver *driver = vds_driver_find(machine, type);
    bool known = driver ? strcmp(driver->type->name, type) == 0 /* no alias */
                        : parent_of(machine, type) != NULL;
    PropertyWalk walk = {func, user, true};

    if (!known) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_DEVICE,
                    "Device '%.*s' not found", vds_name_len(type), type);
        return false;
    }
    if (!driver || driver->type->abstract) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_ABSTRACT,
                    "Parameter 'typename' expects a non-abstract device type");
        return false;
    }
    walk_type(driver->type, &walk);
    return true;
}

bool vds_machine_qom_list_properties(const VdsMachine *machine, const char *type,
                                     VdsPropertyFunc func, void *user, GError **error)
{
    const VdsDriver *driver = vds_driver_find(machine, type);
    bool known =
        driver ? strcmp(driver->type->name, type) == 0 : parent_of(machine, type) != NULL;
    size_t n = driver ? G_N_ELEMENTS(common_properties) : 1;
    PropertyWalk walk = {func, user, false};

    if (!known) {
        g_set_error(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_CLASS,
                    "Class '%.*s' not found", vds_name_len(type), type);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        func(&common_properties[i], user);
    }
    if (driver) {
        walk_type(driver->type, &walk);
    } else if (strcmp(type, "iothread") == 0) {
        vds_io_thread_list_properties(func, user);
    }
    return true;
}
