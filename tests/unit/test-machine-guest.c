/*
 * machine: who drives the devices: told of them after they came and before they go, goes
 * on behind them and stands still before them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "toy-devices.h"

typedef struct {
    VdsMachine *machine;
    GString *told;
    VdsVirtioDevice *plugged;
    bool refuse;  /* to go on */
    bool reject;  /* what is plugged */
    bool foreign; /* the device's driver */
} Witness;

/* What a device's state is at that moment goes with each word. */
static void witness(Witness *to, const char *word)
{
    VdsDeviceState state = {0};

    if (to->plugged) {
        vds_virtio_device_get_state(to->plugged, &state);
    }
    g_string_append_printf(to->told, "%s%s ", word, state.vm_running ? "+" : "");
}

static bool on_plug(void *user, VdsVirtioDevice *device, const VdsDeviceType *type,
                    const VdsPropertySet *properties, GError **error)
{
    Witness *to = user;

    assert_string_equal(type->name, "toy-pci");
    assert_non_null(vds_machine_find(to->machine, "a/virtio-backend", NULL));
    if (to->reject) {
        g_set_error_literal(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM, "no socket");
        return false;
    }
    to->plugged = device;
    witness(to, "plug");
    return true;
}

static bool is_foreign(void *user, const VdsVirtioDevice *device)
{
    return ((Witness *)user)->foreign;
}

static void on_unplug(void *user, VdsVirtioDevice *device)
{
    Witness *to = user;

    assert_ptr_equal(to->plugged, device);
    witness(to, "unplug");
    to->plugged = NULL;
}

static bool on_resume(void *user, GError **error)
{
    Witness *to = user;

    witness(to, "resume");
    if (to->refuse) {
        g_set_error_literal(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM, "no thread");
    }
    return !to->refuse;
}

static void on_pause(void *user)
{
    witness(user, "pause");
}

static void on_reset(void *user)
{
    witness(user, "reset");
}

static void show_word(void *user, VdsVirtioDevice *device, VdsProp *value)
{
    assert_ptr_equal(((Witness *)user)->plugged, device);
    vds_prop_show_uint(value, UINT64_MAX);
}

static const VdsLiveProperty properties[] = {
    {"guest-word", "uint64", show_word, NULL},
    {"foreign-word", "uint64", show_word, is_foreign},
    {NULL, NULL, NULL, NULL},
};

static void witness_init(Witness *to)
{
    const VdsMachineGuest guest = {
        .plug = on_plug,
        .unplug = on_unplug,
        .is_foreign = is_foreign,
        .resume = on_resume,
        .pause = on_pause,
        .reset = on_reset,
        .properties = properties,
        .user = to,
    };

    *to = (Witness){.machine = vds_machine_new("toy", toy_classes),
                    .told = g_string_new(NULL)};
    vds_machine_set_guest(to->machine, &guest);
}

static void witness_clear(Witness *to)
{
    vds_machine_free(to->machine);
    g_string_free(to->told, TRUE);
}

static void assert_told(Witness *to, const char *words)
{
    assert_string_equal(to->told->str, words);
    g_string_truncate(to->told, 0);
}

static void test_order(void **state)
{
    Witness to;

    witness_init(&to);
    assert_true(toy_add(to.machine, "driver=toy,id=a", NULL));
    assert_told(&to, "plug ");
    assert_true(vds_machine_cont(to.machine, NULL));
    assert_told(&to, "resume+ ");
    vds_machine_reset(to.machine);
    assert_told(&to, "reset+ resume+ ");
    vds_machine_stop(to.machine);
    assert_told(&to, "pause+ ");
    vds_machine_reset(to.machine);
    assert_told(&to, "reset ");
    assert_true(vds_machine_device_del(to.machine, "a", NULL));
    assert_told(&to, "unplug ");
    assert_true(vds_machine_cont(to.machine, NULL));
    assert_true(toy_add(to.machine, "driver=toy,id=a", NULL));
    assert_told(&to, "resume plug+ ");
    vds_machine_set_guest(to.machine, NULL);
    assert_told(&to, "");
    witness_clear(&to);
}

/* A device that was refused was never anybody's. */
static void test_refused(void **state)
{
    Witness to;

    witness_init(&to);
    assert_false(toy_add(to.machine, "driver=toy,id=a,fail=on", NULL));
    assert_told(&to, "");
    assert_true(toy_add(to.machine, "driver=toy-replay,paths=/m/old", NULL));
    assert_told(&to, "");
    witness_clear(&to);
}

/* Without a driver it goes as it came: in silence, and its id is free. */
static void test_no_driver(void **state)
{
    g_autoptr(GError) error = NULL;
    Witness to;

    witness_init(&to);
    to.reject = true;
    assert_false(toy_add(to.machine, "driver=toy,id=a", &error));
    assert_true(g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM));
    assert_told(&to, "");
    assert_int_equal(vds_machine_count(to.machine), 0);
    to.reject = false;
    assert_true(toy_add(to.machine, "driver=toy,id=a", NULL));
    witness_clear(&to);
}

/* A reset of the machine is none of a driver that runs elsewhere. */
static void test_foreign_driver(void **state)
{
    VdsDeviceState now;
    Witness to;

    witness_init(&to);
    assert_true(toy_add(to.machine, "driver=toy,id=a", NULL));
    for (int foreign = 1; foreign >= 0; foreign--) {
        to.foreign = foreign;
        vds_virtio_driver_select_queue(to.plugged, 1);
        vds_machine_reset(to.machine);
        vds_virtio_device_get_state(to.plugged, &now);
        assert_int_equal(now.queue_sel, foreign);
    }
    witness_clear(&to);
}

static void test_guest_that_cannot_go_on(void **state)
{
    g_autoptr(GError) error = NULL;
    Witness to;

    witness_init(&to);
    to.refuse = true;
    assert_false(vds_machine_cont(to.machine, &error));
    assert_true(g_error_matches(error, VDS_UTIL_ERROR, VDS_UTIL_ERROR_SYSTEM));
    assert_int_equal(vds_machine_get_run_state(to.machine), VDS_RUN_PRELAUNCH);
    witness_clear(&to);
}

static void test_properties(void **state)
{
    VdsProp value = {0};
    Witness to;

    witness_init(&to);
    assert_true(toy_add(to.machine, "driver=toy,id=a", NULL));
    assert_true(
        vds_machine_qom_get(to.machine, "a/virtio-backend", "guest-word", &value, NULL));
    assert_int_equal(value.kind, VDS_PROP_UINT);
    assert_true(value.u.uinteger == UINT64_MAX);
    vds_prop_clear(&value);
    assert_true(vds_machine_qom_get(to.machine, "a/virtio-backend", "broken-reason",
                                    &value, NULL));
    assert_string_equal(value.text, "");
    vds_prop_clear(&value);
    assert_false(vds_machine_qom_get(to.machine, "a/virtio-backend", "foreign-word",
                                     &value, NULL));
    to.foreign = true;
    assert_true(vds_machine_qom_get(to.machine, "a/virtio-backend", "foreign-word",
                                    &value, NULL));
    vds_prop_clear(&value);
    witness_clear(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_driver),
        cmocka_unit_test(test_foreign_driver),
        cmocka_unit_test(test_guest_that_cannot_go_on),
        cmocka_unit_test(test_properties),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
