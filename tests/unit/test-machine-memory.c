/*
 * machine: guest RAM from -m or from a memory backend, and where it can be found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "toy-devices.h"

enum { MIB = 1 << 20 };

static bool add_backend(VdsMachine *machine, const char *text)
{
    g_autoptr(VdsProps) props = toy_props(text);

    return vds_machine_backend_add(machine, "object", props, NULL);
}

static void assert_shown(const VdsMachine *machine, const char *path, const char *name,
                         const char *prefix)
{
    VdsProp value = {0};

    assert_true(vds_machine_qom_get(machine, path, name, &value, NULL));
    assert_true(g_str_has_prefix(value.text, prefix));
    vds_prop_clear(&value);
}

static void test_default(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    const VdsMachineMemory memory = {.bytes = 3 * MIB};
    VdsGuestRam *ram;
    struct stat stat;

    assert_null(vds_machine_get_ram(machine));
    assert_shown(machine, "/machine", "memory-backend", "");
    assert_true(vds_machine_set_memory(machine, &memory, NULL));
    ram = vds_machine_get_ram(machine);
    assert_int_equal(vds_guest_ram_get_size(ram), 3 * MIB);
    assert_int_equal(fstat(vds_guest_ram_get_fd(ram), &stat), 0);
    assert_int_equal(stat.st_size, 3 * MIB);
    assert_shown(machine, "/machine", "memory-backend", "/objects/toy.ram");
    assert_shown(machine, "/objects/toy.ram", "map-path", "/proc/");
}

static void test_backend(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    const VdsMachineMemory memory = {64 * MIB, false, "r"};
    VdsProp value = {0};

    assert_true(add_backend(machine, "qom-type=memory-backend-ram,id=r,size=1048576"));
    assert_true(vds_machine_set_memory(machine, &memory, NULL));
    assert_int_equal(vds_guest_ram_get_size(vds_machine_get_ram(machine)), MIB);
    assert_int_equal(vds_guest_ram_get_fd(vds_machine_get_ram(machine)), -1);
    assert_false(vds_machine_qom_get(machine, "/objects/r", "map-path", &value, NULL));
}

static void test_refusals(void **state)
{
    static const struct {
        const char *backend; /* (nullable) what there is */
        VdsMachineMemory memory;
        bool util; /* the fault is a value's, not the backend's */
    } rows[] = {
        {NULL, {MIB, false, "r"}, false},
        {"qom-type=iothread,id=r", {MIB, false, "r"}, false},
        {"qom-type=memory-backend-ram,id=r", {MIB, false, "r"}, false},
        {"qom-type=memory-backend-ram,id=r,size=0", {MIB, false, "r"}, false},
        {"qom-type=memory-backend-file,id=r,size=1048576", {MIB, false, "r"}, false},
        {"qom-type=memory-backend-ram,id=r,size=1048576", {2 * MIB, true, "r"}, false},
        {"qom-type=memory-backend-ram,id=toy.ram,size=1048576",
         {MIB, false, NULL},
         false},
        {"qom-type=memory-backend-ram,id=r,size=much", {MIB, false, "r"}, true},
        {"qom-type=memory-backend-ram,id=r,size=1048576,share=maybe",
         {MIB, false, "r"},
         true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
        g_autoptr(GError) error = NULL;

        assert_true(!rows[i].backend || add_backend(machine, rows[i].backend));
        assert_false(vds_machine_set_memory(machine, &rows[i].memory, &error));
        if (rows[i].util) {
            assert_true(g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_VALUE));
        } else {
            assert_true(
                g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_MEMORY));
        }
        assert_null(vds_machine_get_ram(machine));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_backend),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
