/*
 * machine: guest RAM: -m, or the memory backend that -machine memory-backend= names.
 * Knows no driver and no device that lives in it.
 */
#include <stdlib.h>
#include <string.h>

#include "machine-priv.h"

#define refuse(error, ...)                                                               \
    vds_refuse(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_MEMORY, __VA_ARGS__)

/* ---- memory backends ------------------------------------------------------------------
 */

/* How QEMU's types differ.  RAM that is shared and has no path must have a file as well:
 * without a name. */
static const struct {
    const char *type;
    VdsGuestRamKind shared, alone;
    bool share, seal; /* the defaults */
} backends[] = {
    {"memory-backend-memfd", VDS_GUEST_RAM_MEMFD, VDS_GUEST_RAM_MEMFD, true, true},
    {"memory-backend-ram", VDS_GUEST_RAM_MEMFD, VDS_GUEST_RAM_PRIVATE, false, false},
    {"memory-backend-file", VDS_GUEST_RAM_FILE, VDS_GUEST_RAM_FILE, false, false},
};

static bool get_bool(const VdsProps *props, const char *name, bool fallback, bool *value,
                     GError **error)
{
    const VdsProp *prop = vds_props_find(props, name);

    *value = fallback;
    return !prop || vds_prop_get_bool(prop, value, error);
}

static bool get_size(const VdsProps *props, uint64_t *size, GError **error)
{
    const VdsProp *prop = vds_props_find(props, "size");

    *size = 0;
    if (prop && !vds_prop_get_size(prop, 1, size, error)) {
        return false;
    }
    return *size > 0 || refuse(error, "can't create backend with size 0");
}

static bool read_backend(const VdsProps *props, VdsGuestRamConfig *config, GError **error)
{
    const char *type = vds_props_get_string(props, "qom-type");
    size_t row = 0;
    bool share;

    while (row < G_N_ELEMENTS(backends) && g_strcmp0(backends[row].type, type) != 0) {
        row++;
    }
    if (row == G_N_ELEMENTS(backends)) {
        return refuse(error, "object of type '%s' is no memory backend", type);
    }
    config->path = vds_props_get_string(props, "mem-path");
    config->name = vds_props_get_string(props, "id");
    if (!get_size(props, &config->size, error) ||
        !get_bool(props, "share", backends[row].share, &share, error) ||
        !get_bool(props, "seal", backends[row].seal, &config->seal, error)) {
        return false;
    }
    config->kind = share ? backends[row].shared : backends[row].alone;
    config->copy_on_write = !share && config->kind != VDS_GUEST_RAM_PRIVATE;
    if (config->kind == VDS_GUEST_RAM_FILE && !config->path) {
        return refuse(error, "mem-path property not set");
    }
    return true;
}

/* ---- the machine's RAM ----------------------------------------------------------------
 */

/* What QEMU makes when no backend is named, visible like any other. */
static bool add_default(VdsMachine *machine, uint64_t bytes, char **id, GError **error)
{
    g_autoptr(VdsProps) props = vds_props_new();
    const char *name = machine->ram_id ? machine->ram_id : "ram";

    if (vds_part_find(machine, "object", name)) {
        return refuse(error,
                      "object name '%s' is reserved for the default RAM backend, it "
                      "can't be used for any other purposes",
                      name);
    }
    vds_props_set_string(props, "qom-type", "memory-backend-memfd");
    vds_props_set_string(props, "id", name);
    vds_props_set_uint(props, "size", bytes);
    *id = g_strdup(name);
    return vds_machine_backend_add(machine, "object", props, error);
}

bool vds_machine_set_memory(VdsMachine *machine, const VdsMachineMemory *memory,
                            GError **error)
{
    g_autofree char *id = g_strdup(memory->backend);
    VdsGuestRamConfig config = {0};
    VdsPart *part;

    if (!id && !add_default(machine, memory->bytes, &id, error)) {
        return false;
    }
    part = vds_part_find(machine, "object", id);
    if (!part) {
        return refuse(error, "Memory backend '%.*s' not found", vds_name_len(id), id);
    }
    if (!read_backend(part->props, &config, error)) {
        return false;
    }
    if (memory->given && memory->bytes != config.size) {
        return refuse(error, "Machine memory size does not match the size of the memory "
                             "backend");
    }
    machine->ram = vds_guest_ram_new(&config, error);
    machine->ram_part = machine->ram ? part : NULL;
    return machine->ram != NULL;
}

VdsGuestRam *vds_machine_get_ram(const VdsMachine *machine)
{
    return machine->ram;
}

char *vds_part_map_path(const VdsPart *part)
{
    const VdsGuestRam *ram = part->machine->ram;

    if (part->machine->ram_part != part || vds_guest_ram_get_fd(ram) < 0) {
        return NULL;
    }
    return g_strdup_printf("/proc/%d/fd/%d", (int)getpid(), vds_guest_ram_get_fd(ram));
}
