/*
 * Rows for tests of the machine alone: a PCI device, one without a child node, a bridge
 * that brings a bus, a port that is plugged into it, and a row that puts devices at paths
 * of its own.
 */
#pragma once

#include <string.h>

#include "vds/machine.h"

static VdsVirtioDevice *toy_virtio(uint16_t device_id)
{
    static const uint16_t sizes[] = {8, 8};

    return vds_virtio_device_new(&(VdsVirtioConfig){
        .device_id = device_id, .queue_sizes = sizes, .n_queues = G_N_ELEMENTS(sizes)});
}

static bool toy_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts, GError **error)
{
    if (vds_property_set_get_bool(args->properties, "fail")) {
        g_set_error_literal(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY,
                            "asked to");
        return false;
    }
    parts->virtio = toy_virtio(4);
    return true;
}

static bool toy_bridge_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts,
                               GError **error)
{
    parts->virtio = toy_virtio(3);
    parts->bus_type = "toy-bus";
    parts->bus_name = args->id ? g_strdup_printf("%s.0", args->id) : NULL;
    parts->bus_data = g_new0(int, 1);
    parts->bus_free = g_free;
    return true;
}

static bool toy_port_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts,
                             GError **error)
{
    ++*(int *)args->bus_data;
    parts->instance = g_strdup("port");
    return true;
}

static void toy_port_unrealize(void *instance, void *bus_data)
{
    --*(int *)bus_data;
    g_free(instance);
}

static bool toy_port_get(void *instance, VdsProp *value)
{
    vds_prop_show_string(value, g_strdup(instance));
    return true;
}

/* Only the empty word is refused; nothing is kept. */
static bool toy_port_set(void *instance, const VdsProp *value, GError **error)
{
    return (value->kind == VDS_PROP_STRING && *value->text) ||
           vds_refuse(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY,
                      "'word' expects a word");
}

static const VdsDeviceReading toy_port_readings[] = {
    {"word", "str", toy_port_get, toy_port_set},
    {NULL, NULL, NULL, NULL},
};

static VdsVirtioDevice *toy_recorded(void)
{
    VdsDeviceState state = {.device_id = 1, .status = 15};
    VdsQueueState queue = {.num = 8, .num_default = 8, .source = VDS_INDEX_RECORDED};

    return vds_virtio_device_new_recorded(&state, &queue, 1, NULL);
}

/* Puts one device at each of `paths`, separated by spaces. */
static bool toy_replay_realize(const VdsDeviceArgs *args, VdsDeviceParts *parts,
                               GError **error)
{
    const char *paths = vds_property_set_get_text(args->properties, "paths");
    g_auto(GStrv) list = g_strsplit(paths, " ", 0);

    for (char **path = list; *path; path++) {
        if (!args->host->put(args->host, *path, toy_recorded(), error)) {
            return false;
        }
    }
    return true;
}

static const VdsProperty toy_own[] = {
    {.name = "addr", .type = &vds_property_pci_address, .fallback = (uint64_t)-1},
    {.name = NULL},
};
static const VdsProperty toy_backend[] = {
    {.name = "packed", .type = &vds_property_bool, .description = "on/off"},
    {.name = "fail", .type = &vds_property_bool},
    {.name = "netdev",
     .type = &vds_property_backend,
     .unset = true,
     .backend = "netdev",
     .exclusive = true},
    {.name = NULL},
};
static const VdsProperty toy_word[] = {
    {.name = "word", .type = &vds_property_str, .unset = true},
    {.name = NULL},
};
static const VdsProperty toy_paths[] = {
    {.name = "paths", .type = &vds_property_str, .unset = true},
    {.name = NULL},
};
static const VdsProperty *const toy_own_tables[] = {toy_own, NULL};
static const VdsProperty *const toy_backend_tables[] = {toy_backend, NULL};
static const VdsProperty *const toy_word_tables[] = {toy_word, NULL};
static const VdsProperty *const toy_paths_tables[] = {toy_paths, NULL};

static const VdsDeviceType toy_types[] = {
    {.name = "toy-base", .parent = "device", .abstract = true},
    {.name = "toy-pci",
     .parent = "toy-base",
     .alias = "toy",
     .bus_type = "PCI",
     .backend_type = "toy-device",
     .own = toy_own_tables,
     .backend = toy_backend_tables},
    {.name = "toy-device",
     .parent = "toy-base",
     .bus_type = "virtio-bus",
     .own = toy_backend_tables},
    {.name = NULL},
};
static const VdsDeviceType toy_bridge_types[] = {
    {.name = "toy-bridge", .parent = "device", .backend_type = "toy-bridge-device"},
    {.name = NULL},
};
static const VdsDeviceType toy_port_types[] = {
    {.name = "toy-port",
     .parent = "device",
     .bus_type = "toy-bus",
     .own = toy_word_tables},
    {.name = NULL},
};
static const VdsDeviceType toy_replay_types[] = {
    {.name = "toy-replay", .parent = "device", .own = toy_paths_tables},
    {.name = NULL},
};

static const VdsDeviceClass toy_class = {.types = toy_types, .realize = toy_realize};
static const VdsDeviceClass toy_bridge_class = {.types = toy_bridge_types,
                                                .realize = toy_bridge_realize};
static const VdsDeviceClass toy_port_class = {.types = toy_port_types,
                                              .realize = toy_port_realize,
                                              .unrealize = toy_port_unrealize,
                                              .readings = toy_port_readings};
static const VdsDeviceClass toy_replay_class = {.types = toy_replay_types,
                                                .realize = toy_replay_realize};
static const VdsDeviceClass *const toy_classes[] = {
    &toy_class, &toy_bridge_class, &toy_port_class, &toy_replay_class, NULL};

/* "driver=toy,id=a": no commas in values here. */
static VdsProps *toy_props(const char *text)
{
    VdsProps *props = vds_props_new();
    g_auto(GStrv) pairs = g_strsplit(text, ",", 0);

    for (char **pair = pairs; *pair; pair++) {
        char *value = strchr(*pair, '=');

        *value++ = '\0';
        vds_props_set_string(props, *pair, value);
    }
    return props;
}

static inline bool toy_add(VdsMachine *machine, const char *text, GError **error)
{
    g_autoptr(VdsProps) props = toy_props(text);

    return vds_machine_device_add(machine, props, error);
}
