/*
 * cmds: the object tree and the table of device kinds, read only; device_add and
 * device_del.
 */
#include "cmds-priv.h"

#include <json-glib/json-glib.h>

/* ---- values ------------------------------------------------------------------------ */

static JsonNode *prop_to_node(const VdsProp *prop);

static JsonNode *members_to_node(const VdsProps *members)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();

    for (unsigned i = 0; i < vds_props_count(members); i++) {
        const VdsProp *member = vds_props_nth(members, i);

        json_object_set_member(object, member->name, prop_to_node(member));
    }
    json_node_take_object(node, object);
    return node;
}

/* Recursion goes as deep as a property of ours is nested. */
static JsonNode *prop_to_node(const VdsProp *prop)
{
    JsonNode *node = json_node_alloc();

    switch (prop->kind) {
    case VDS_PROP_STRING:
        return json_node_init_string(node, prop->text);
    case VDS_PROP_BOOL:
        return json_node_init_boolean(node, prop->u.boolean);
    case VDS_PROP_INT:
        return json_node_init_int(node, prop->u.integer);
    case VDS_PROP_UINT:
        /* json-glib's integers are signed; the writer knows these doubles. */
        return json_node_init_double(node, (double)prop->u.uinteger);
    case VDS_PROP_NUMBER:
        return json_node_init_double(node, prop->u.number);
    case VDS_PROP_OBJECT:
        json_node_free(node);
        return members_to_node(prop->u.members);
    case VDS_PROP_NULL:
        break;
    }
    return json_node_init_null(node);
}

static void free_node(void *node)
{
    json_node_unref(node);
}

static VdsQapiAny *prop_to_any(VdsArena *arena, const VdsProp *prop)
{
    VdsQapiAny *any = vds_arena_alloc(arena, sizeof(*any));
    JsonNode *node = prop_to_node(prop);

    vds_arena_own(arena, free_node, node);
    any->node = node;
    return any;
}

/* ---- objects ----------------------------------------------------------------------- */

static void add_property(const char *name, const char *type, void *user)
{
    VdsCollector *list = user;
    QapiObjectPropertyInfo info = {
        .name = vds_arena_strdup(list->arena, name),
        .type = vds_arena_strdup(list->arena, type),
    };

    g_array_append_val(list->items, info);
}

QapiObjectPropertyInfoList *qmp_qom_list(VdsCmds *ctx, VdsArena *arena, const char *path,
                                         GError **error)
{
    QapiObjectPropertyInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    VdsCollector list = vds_collector_new(arena, sizeof(QapiObjectPropertyInfo));
    bool found = vds_machine_qom_list(ctx->machine, path, add_property, &list, error);

    reply->items = vds_collector_finish(&list, &reply->n);
    return found ? reply : NULL;
}

VdsQapiAny *qmp_qom_get(VdsCmds *ctx, VdsArena *arena, const char *path,
                        const char *property, GError **error)
{
    VdsProp value = {0};
    VdsQapiAny *any;

    if (!vds_machine_qom_get(ctx->machine, path, property, &value, error)) {
        return NULL;
    }
    any = prop_to_any(arena, &value);
    vds_prop_clear(&value);
    return any;
}

bool qmp_qom_set(VdsCmds *ctx, VdsArena *arena, const char *path, const char *property,
                 const VdsQapiAny *value, GError **error)
{
    g_autoptr(VdsProps) props = vds_props_new();
    const VdsProp *prop;

    /* Nested values have no property to go to; then there is none of that name. */
    if (!vds_json_to_prop(value->value, property, props)) {
        return vds_refuse(error, VDS_QAPI_ERROR, VDS_QAPI_ERROR_VALUE,
                          "qom-set: a value nested too deep, or too large");
    }
    prop = vds_props_find(props, property);
    return vds_machine_qom_set(ctx->machine, path, property,
                               prop ? prop : &(VdsProp){.kind = VDS_PROP_NULL}, error);
}

/* ---- types ------------------------------------------------------------------------- */

static void add_type(const char *name, const char *parent, bool abstract, void *user)
{
    VdsCollector *list = user;
    QapiObjectTypeInfo info = {
        .name = vds_arena_strdup(list->arena, name),
        .has_abstract = abstract,
        .abstract = abstract,
        .parent = *parent ? vds_arena_strdup(list->arena, parent) : NULL,
    };

    g_array_append_val(list->items, info);
}

QapiObjectTypeInfoList *qmp_qom_list_types(VdsCmds *ctx, VdsArena *arena,
                                           const char *implements, bool has_abstract,
                                           bool abstract, GError **error)
{
    QapiObjectTypeInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    VdsCollector list = vds_collector_new(arena, sizeof(QapiObjectTypeInfo));

    vds_machine_list_types(ctx->machine, implements, has_abstract && abstract, add_type,
                           &list);
    reply->items = vds_collector_finish(&list, &reply->n);
    return reply;
}

static void add_type_property(const VdsPropertyInfo *property, void *user)
{
    VdsCollector *list = user;
    QapiObjectPropertyInfo info = {
        .name = vds_arena_strdup(list->arena, property->name),
        .type = vds_arena_strdup(list->arena, property->type),
        .description = vds_arena_strdup(list->arena, property->description),
        .default_value =
            property->fallback ? prop_to_any(list->arena, property->fallback) : NULL,
    };

    g_array_append_val(list->items, info);
}

QapiObjectPropertyInfoList *qmp_device_list_properties(VdsCmds *ctx, VdsArena *arena,
                                                       const char *type_name,
                                                       GError **error)
{
    QapiObjectPropertyInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    VdsCollector list = vds_collector_new(arena, sizeof(QapiObjectPropertyInfo));
    bool found = vds_machine_list_properties(ctx->machine, type_name, add_type_property,
                                             &list, error);

    reply->items = vds_collector_finish(&list, &reply->n);
    return found ? reply : NULL;
}

/* A type that is not there has no properties: clients probe for types this way, and
 * libvirt does not survive the error that QEMU gives. */
QapiObjectPropertyInfoList *qmp_qom_list_properties(VdsCmds *ctx, VdsArena *arena,
                                                    const char *type_name, GError **error)
{
    QapiObjectPropertyInfoList *reply = vds_arena_alloc(arena, sizeof(*reply));
    VdsCollector list = vds_collector_new(arena, sizeof(QapiObjectPropertyInfo));

    vds_machine_qom_list_properties(ctx->machine, type_name, add_type_property, &list,
                                    NULL);
    reply->items = vds_collector_finish(&list, &reply->n);
    return reply;
}

/* ---- hot plug ---------------------------------------------------------------------- */

/* The three that every device has are plain words, and an empty container would vanish
 * where nested values become dotted names: neither may be lost without a word. */
static bool check_device_arguments(VdsJsonValue arguments, GError **error)
{
    static const char *const words[] = {"driver", "id", "bus", NULL};
    VdsJsonIter iter = vds_json_iter(arguments);

    while (vds_json_iter_next(&iter)) {
        const char *name = vds_json_value_string(iter.key, NULL);
        VdsJsonKind kind = vds_json_value_kind(iter.value);
        bool container = kind == VDS_JSON_OBJECT || kind == VDS_JSON_ARRAY;

        if (container &&
            (g_strv_contains(words, name) || vds_json_value_count(iter.value) == 0)) {
            g_set_error(error, VDS_QAPI_ERROR, VDS_QAPI_ERROR_TYPE,
                        "Invalid parameter type for '%.*s', expected: string",
                        vds_name_len(name), name);
            return false;
        }
    }
    return true;
}

bool qmp_device_add(VdsCmds *ctx, VdsArena *arena, VdsJsonValue arguments, GError **error)
{
    g_autoptr(VdsProps) props = vds_props_new();

    if (vds_json_value_is_present(arguments)) {
        if (!check_device_arguments(arguments, error)) {
            return false;
        }
        if (!vds_json_to_props(arguments, props)) {
            g_set_error_literal(
                error, VDS_QAPI_ERROR, VDS_QAPI_ERROR_VALUE,
                "device_add: expected at most 1,024 properties, nested at "
                "most 16 deep");
            return false;
        }
    }
    return vds_machine_device_add(ctx->machine, props, error);
}

bool qmp_device_del(VdsCmds *ctx, VdsArena *arena, const char *id, GError **error)
{
    return vds_machine_device_del(ctx->machine, id, error);
}
