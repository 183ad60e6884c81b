/*
 * machine: the machines that -machine may name and query-machines lists: our own, none,
 * and every version of QEMU 8.2's two PC machines, so that a domain that was written for
 * QEMU starts.  The versions differ in nothing here but their names.
 */
#include <string.h>

#include "machine-priv.h"

#define PC_RAM "pc.ram"
/* QEMU's limits: nothing is made of a processor's number. */
#define I440FX(version, ...)                                                             \
    {                                                                                    \
        .name = "pc-i440fx-" version, .ram_id = PC_RAM, .max_cpus = 255, __VA_ARGS__     \
    }
#define Q35(version, ...)                                                                \
    {                                                                                    \
        .name = "pc-q35-" version, .ram_id = PC_RAM, .max_cpus = 288, __VA_ARGS__        \
    }
#define BOTH(version) I440FX(version), Q35(version)

static const VdsMachineModel models[] = {
    {.name = "vds", .ram_id = "vds.ram", .max_cpus = 288, .is_default = true},
    {.name = "none", .ram_id = "ram", .max_cpus = 1},
    I440FX("8.2", .alias = "pc"),
    Q35("8.2", .alias = "q35"),
    BOTH("8.1"),
    BOTH("8.0"),
    BOTH("7.2"),
    BOTH("7.1"),
    BOTH("7.0"),
    BOTH("6.2"),
    BOTH("6.1"),
    BOTH("6.0"),
    BOTH("5.2"),
    BOTH("5.1"),
    BOTH("5.0"),
    BOTH("4.2"),
    BOTH("4.1"),
    Q35("4.0.1"),
    BOTH("4.0"),
    BOTH("3.1"),
    BOTH("3.0"),
    BOTH("2.12"),
    BOTH("2.11"),
    BOTH("2.10"),
    BOTH("2.9"),
    BOTH("2.8"),
    BOTH("2.7"),
    BOTH("2.6"),
    BOTH("2.5"),
    BOTH("2.4"),
    I440FX("2.3"),
    I440FX("2.2"),
    I440FX("2.1"),
    I440FX("2.0"),
};

void vds_machine_foreach_model(VdsMachineModelFunc func, void *user)
{
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        func(&models[i], user);
    }
}

const VdsMachineModel *vds_machine_model_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        if (strcmp(models[i].name, name) == 0 || g_strcmp0(models[i].alias, name) == 0) {
            return &models[i];
        }
    }
    return NULL;
}
