/*
 * virtio: the values one device was given, and the tables they are looked up in.  Keeps
 * what was given and nothing that is a default, so that ten thousand devices are cheap.
 */
#include <string.h>

#include "vds/virtio.h"

typedef struct {
    const VdsProperty *property;
    VdsPropertyValue value;
} Given;

struct VdsPropertySet {
    const VdsDeviceType *type;
    unsigned n;
    Given given[];
};

/* ---- tables ----------------------------------------------------------------------- */

static void tables_foreach(const VdsProperty *const *tables, bool backend,
                           VdsDevicePropertyFunc func, void *user)
{
    for (; tables && *tables; tables++) {
        for (const VdsProperty *row = *tables; row->name; row++) {
            func(row, backend, user);
        }
    }
}

void vds_device_type_foreach_property(const VdsDeviceType *type,
                                      VdsDevicePropertyFunc func, void *user)
{
    tables_foreach(type->own, false, func, user);
    tables_foreach(type->backend, true, func, user);
}

static const VdsProperty *tables_find(const VdsProperty *const *tables, const char *name)
{
    for (; tables && *tables; tables++) {
        for (const VdsProperty *row = *tables; row->name; row++) {
            if (strcmp(row->name, name) == 0) {
                return row;
            }
        }
    }
    return NULL;
}

const VdsProperty *vds_device_type_find_property(const VdsDeviceType *type,
                                                 const char *name, bool *backend)
{
    const VdsProperty *property = tables_find(type->own, name);

    *backend = false;
    if (!property) {
        property = tables_find(type->backend, name);
        *backend = property != NULL;
    }
    return property;
}

/* ---- values ----------------------------------------------------------------------- */

/* Read by the machine before any property. */
static bool is_machines(const char *name)
{
    return strcmp(name, "driver") == 0 || strcmp(name, "id") == 0 ||
           strcmp(name, "bus") == 0;
}

static bool set_add(VdsPropertySet *set, const VdsProp *prop, const VdsDeviceHost *host,
                    GError **error)
{
    const VdsDeviceType *type = set->type;
    Given *given = &set->given[set->n];
    VdsPropertyContext context = {.host = host};
    bool backend;

    given->property = vds_device_type_find_property(type, prop->name, &backend);
    if (!given->property) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY,
                    "Property '%s.%.*s' not found", type->name, vds_name_len(prop->name),
                    prop->name);
        return false;
    }
    context.owner = backend && type->backend_type ? type->backend_type : type->name;
    if (!given->property->type->parse(given->property, &context, prop->text,
                                      &given->value, error)) {
        return false;
    }
    set->n++;
    return true;
}

VdsPropertySet *vds_property_set_new(const VdsDeviceType *type, const VdsProps *props,
                                     const VdsDeviceHost *host, GError **error)
{
    unsigned n = vds_props_count(props);
    g_autoptr(VdsPropertySet) set = NULL;
    unsigned used;

    set = g_malloc0(sizeof(VdsPropertySet) + n * sizeof(Given));
    set->type = type;
    for (unsigned i = 0; i < n; i++) {
        const VdsProp *prop = vds_props_nth(props, i);

        if (!is_machines(prop->name) && !set_add(set, prop, host, error)) {
            return NULL;
        }
    }
    /* What the machine read took room that an idle device shall not keep. */
    used = set->n;
    return g_realloc(g_steal_pointer(&set),
                     sizeof(VdsPropertySet) + used * sizeof(Given));
}

void vds_property_set_free(VdsPropertySet *set)
{
    if (set) {
        for (unsigned i = 0; i < set->n; i++) {
            g_free(set->given[i].value.text);
        }
        g_free(set);
    }
}

static const VdsPropertyValue *set_find(const VdsPropertySet *set,
                                        const VdsProperty *property)
{
    for (unsigned i = 0; i < set->n; i++) {
        if (set->given[i].property == property) {
            return &set->given[i].value;
        }
    }
    return NULL;
}

/* A name that the type has not is this program's mistake. */
static VdsPropertyValue set_get(const VdsPropertySet *set, const char *name)
{
    bool backend;
    const VdsProperty *property =
        vds_device_type_find_property(set->type, name, &backend);
    const VdsPropertyValue *value;

    g_assert(property);
    value = set_find(set, property);
    return value
               ? *value
               : (VdsPropertyValue){property->fallback, (char *)property->fallback_text};
}

bool vds_property_set_get_bool(const VdsPropertySet *set, const char *name)
{
    return set_get(set, name).number != 0;
}

uint64_t vds_property_set_get_uint(const VdsPropertySet *set, const char *name)
{
    return set_get(set, name).number;
}

const char *vds_property_set_get_text(const VdsPropertySet *set, const char *name)
{
    return set_get(set, name).text;
}

bool vds_property_set_has(const VdsPropertySet *set, const char *name)
{
    for (unsigned i = 0; i < set->n; i++) {
        if (strcmp(set->given[i].property->name, name) == 0) {
            return true;
        }
    }
    return false;
}

typedef struct {
    const VdsPropertySet *set;
    VdsFeatures features;
} FeatureSum;

static void add_feature(const VdsProperty *property, bool backend, void *user)
{
    FeatureSum *sum = user;
    const VdsPropertyValue *value;

    if (property->feature) {
        value = set_find(sum->set, property);
        vds_features_set(&sum->features, property->bit,
                         value ? value->number != 0 : property->fallback != 0);
    }
}

VdsFeatures vds_property_set_features(const VdsPropertySet *set)
{
    FeatureSum sum = {.set = set};

    vds_device_type_foreach_property(set->type, add_feature, &sum);
    return sum.features;
}

void vds_property_set_show(const VdsPropertySet *set, const VdsProperty *property,
                           VdsProp *value)
{
    const VdsPropertyValue *given = set_find(set, property);
    VdsPropertyValue fallback = {property->fallback, (char *)property->fallback_text};

    property->type->show(property, given ? given : &fallback, value);
}
