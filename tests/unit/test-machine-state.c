/*
 * machine: run states, who is told, and what devices see of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "toy-devices.h"

static void on_resumed(void *user)
{
    g_string_append(user, "resumed ");
}

static void on_stopped(void *user)
{
    g_string_append(user, "stopped ");
}

static void on_reset(void *user)
{
    g_string_append(user, "reset ");
}

static bool do_cont(VdsMachine *machine)
{
    return vds_machine_cont(machine, NULL);
}

static bool do_stop(VdsMachine *machine)
{
    vds_machine_stop(machine);
    return true;
}

static bool do_reset(VdsMachine *machine)
{
    vds_machine_reset(machine);
    return true;
}

static void test_transitions(void **state)
{
    static const struct {
        bool (*act)(VdsMachine *machine);
        VdsRunState after;
        const char *told;
    } rows[] = {
        {do_stop, VDS_RUN_PRELAUNCH, ""},        {do_cont, VDS_RUN_RUNNING, "resumed "},
        {do_cont, VDS_RUN_RUNNING, ""},          {do_reset, VDS_RUN_RUNNING, "reset "},
        {do_stop, VDS_RUN_PAUSED, "stopped "},   {do_stop, VDS_RUN_PAUSED, ""},
        {do_reset, VDS_RUN_PRELAUNCH, "reset "}, {do_cont, VDS_RUN_RUNNING, "resumed "},
    };
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    GString *told = g_string_new(NULL);
    const VdsMachineListener listener = {
        .resumed = on_resumed, .stopped = on_stopped, .reset = on_reset, .user = told};
    VdsDeviceState now;

    vds_machine_set_listener(machine, &listener);
    assert_int_equal(vds_machine_get_run_state(machine), VDS_RUN_PRELAUNCH);
    assert_true(toy_add(machine, "driver=toy-replay,paths=/m/old", NULL));
    assert_true(toy_add(machine, "driver=toy,id=a", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_string_truncate(told, 0);
        assert_true(rows[i].act(machine));
        assert_int_equal(vds_machine_get_run_state(machine), rows[i].after);
        assert_string_equal(told->str, rows[i].told);
        vds_virtio_device_get_state(vds_machine_find(machine, "a/virtio-backend", NULL),
                                    &now);
        assert_int_equal(now.vm_running, rows[i].after == VDS_RUN_RUNNING);
        vds_virtio_device_get_state(vds_machine_find(machine, "/m/old", NULL), &now);
        assert_false(now.vm_running);
        assert_int_equal(now.status, 15);
    }
    /* One that comes while the machine runs runs, too. */
    assert_true(toy_add(machine, "driver=toy,id=late", NULL));
    vds_virtio_device_get_state(vds_machine_find(machine, "late/virtio-backend", NULL),
                                &now);
    assert_true(now.vm_running);
    vds_machine_set_listener(machine, NULL);
    g_string_free(told, TRUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
    };

    return cmocka_run_group_tests_name("machine-state", tests, NULL, NULL);
}
