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

static void on_powerdown(void *user)
{
    g_string_append(user, "button ");
}

static void on_powered_off(void *user)
{
    g_string_append(user, "off ");
}

static bool do_press(VdsMachine *machine)
{
    vds_machine_press_power(machine);
    return true;
}

static bool do_shut_down(VdsMachine *machine)
{
    vds_machine_shut_down(machine);
    return true;
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
        {do_stop, VDS_RUN_PRELAUNCH, ""},
        {do_cont, VDS_RUN_RUNNING, "resumed "},
        {do_cont, VDS_RUN_RUNNING, ""},
        {do_reset, VDS_RUN_RUNNING, "reset "},
        {do_stop, VDS_RUN_PAUSED, "stopped "},
        {do_stop, VDS_RUN_PAUSED, ""},
        {do_reset, VDS_RUN_PRELAUNCH, "reset "},
        {do_cont, VDS_RUN_RUNNING, "resumed "},
        {do_press, VDS_RUN_RUNNING, "button off "},
        {do_shut_down, VDS_RUN_SHUTDOWN, "stopped "},
        {do_shut_down, VDS_RUN_SHUTDOWN, ""},
        {do_press, VDS_RUN_SHUTDOWN, "button "},
        {do_stop, VDS_RUN_SHUTDOWN, ""},
        {do_reset, VDS_RUN_PRELAUNCH, "reset "},
        {do_press, VDS_RUN_PRELAUNCH, "button "},
        {do_shut_down, VDS_RUN_PRELAUNCH, ""},
        {do_cont, VDS_RUN_RUNNING, "resumed "},
        /* A paused guest hears of the button when it goes on, unless it is reset. */
        {do_stop, VDS_RUN_PAUSED, "stopped "},
        {do_press, VDS_RUN_PAUSED, "button "},
        {do_cont, VDS_RUN_RUNNING, "resumed off "},
        {do_stop, VDS_RUN_PAUSED, "stopped "},
        {do_press, VDS_RUN_PAUSED, "button "},
        {do_reset, VDS_RUN_PRELAUNCH, "reset "},
        {do_cont, VDS_RUN_RUNNING, "resumed "},
    };
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    GString *told = g_string_new(NULL);
    const VdsMachineListener listener = {
        .resumed = on_resumed,
        .stopped = on_stopped,
        .reset = on_reset,
        .powerdown = on_powerdown,
        .powered_off = on_powered_off,
        .user = told,
    };
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

/* Off is off until a reset. */
static void test_shut_down_is_final(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(GError) error = NULL;

    assert_true(vds_machine_cont(machine, NULL));
    vds_machine_shut_down(machine);
    assert_false(vds_machine_cont(machine, &error));
    assert_true(g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_STATE));
    assert_string_equal(error->message, "Resetting the Virtual Machine is required");
    vds_machine_reset(machine);
    assert_true(vds_machine_cont(machine, NULL));
}

/* ---- models ------------------------------------------------------------------------ */

typedef struct {
    GHashTable *names;
    unsigned n, defaults;
} Models;

static void see_model(const VdsMachineModel *model, void *user)
{
    Models *models = user;

    models->n++;
    models->defaults += model->is_default;
    assert_true(g_hash_table_add(models->names, (char *)model->name));
    assert_true(!model->alias || g_hash_table_add(models->names, (char *)model->alias));
    assert_true(model->max_cpus > 0);
    assert_ptr_equal(vds_machine_model_find(model->name), model);
}

static void test_models(void **state)
{
    static const struct {
        const char *given, *type;
    } rows[] = {
        {"vds", "vds-machine"},
        {"none", "none-machine"},
        {"q35", "pc-q35-8.2-machine"},
        {"pc", "pc-i440fx-8.2-machine"},
        {"pc-q35-7.2", "pc-q35-7.2-machine"},
    };
    Models models = {.names = g_hash_table_new(g_str_hash, g_str_equal)};

    vds_machine_foreach_model(see_model, &models);
    assert_int_equal(models.defaults, 1);
    assert_int_equal(g_hash_table_size(models.names), models.n + 2);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsMachine) machine = vds_machine_new(rows[i].given, toy_classes);
        VdsProp value;

        assert_true(vds_machine_qom_get(machine, "/machine", "type", &value, NULL));
        assert_string_equal(value.text, rows[i].type);
        vds_prop_clear(&value);
    }
    assert_null(vds_machine_model_find("pc-q35-"));
    assert_null(vds_machine_model_find("pc-q35-9.0"));
    assert_null(vds_machine_model_find(""));
    g_hash_table_unref(models.names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_shut_down_is_final),
        cmocka_unit_test(test_models),
    };

    return cmocka_run_group_tests_name("machine-state", tests, NULL, NULL);
}
