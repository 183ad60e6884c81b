/*
 * machine: devices come and go: checks in order, ids, buses, parts, events, the registry.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "toy-devices.h"

static void collect_path(const char *path, VdsVirtioDevice *device, void *user)
{
    GString *list = user;

    g_string_append_printf(list, "%s%s", list->len ? " " : "", path);
}

static void assert_devices(const VdsMachine *machine, const char *expected)
{
    GString *list = g_string_new(NULL);

    vds_machine_foreach(machine, collect_path, list);
    assert_string_equal(list->str, expected);
    g_string_free(list, TRUE);
}

static void test_refusals_leave_nothing(void **state)
{
    static const struct {
        const char *text;
        GQuark (*domain)(void);
        int code;
        const char *message;
    } rows[] = {
        {"id=x", vds_machine_error_quark, VDS_MACHINE_ERROR_MISSING,
         "Parameter 'driver' is missing"},
        {"driver=nope,id=1x", vds_machine_error_quark, VDS_MACHINE_ERROR_BAD_ID,
         "Parameter 'id' expects an identifier"},
        {"driver=nope,id=x", vds_machine_error_quark, VDS_MACHINE_ERROR_NO_DRIVER,
         "'nope' is not a valid device model name"},
        {"driver=toy-base", vds_machine_error_quark, VDS_MACHINE_ERROR_ABSTRACT,
         "Parameter 'driver' expects a non-abstract device type"},
        {"driver=toy,bus=b9", vds_machine_error_quark, VDS_MACHINE_ERROR_NO_BUS,
         "Bus 'b9' not found"},
        {"driver=toy,bus=br.0", vds_machine_error_quark, VDS_MACHINE_ERROR_NO_BUS,
         "Device 'toy-pci' can't go on toy-bus bus"},
        {"driver=toy-port,bus=pcie.0", vds_machine_error_quark, VDS_MACHINE_ERROR_NO_BUS,
         "Device 'toy-port' can't go on PCIE bus"},
        {"driver=toy,id=br", vds_machine_error_quark, VDS_MACHINE_ERROR_DUPLICATE_ID,
         "Duplicate device ID 'br'"},
        {"driver=toy,id=", vds_machine_error_quark, VDS_MACHINE_ERROR_BAD_ID,
         "Parameter 'id' expects an identifier"},
        {"driver=toy,id=a/b", vds_machine_error_quark, VDS_MACHINE_ERROR_BAD_ID,
         "Parameter 'id' expects an identifier"},
        {"driver=toy,id=x,foo=1", vds_virtio_error_quark, VDS_VIRTIO_ERROR_PROPERTY,
         "Property 'toy-pci.foo' not found"},
        {"driver=toy,id=x,netdev=n0,fail=on", vds_virtio_error_quark,
         VDS_VIRTIO_ERROR_PROPERTY, "asked to"},
    };
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(VdsProps) netdev = toy_props("type=user,id=n0");

    assert_true(vds_machine_backend_add(machine, "netdev", netdev, NULL));
    assert_true(toy_add(machine, "driver=toy-bridge,id=br", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_false(toy_add(machine, rows[i].text, &error));
        assert_true(g_error_matches(error, rows[i].domain(), rows[i].code));
        assert_string_equal(error->message, rows[i].message);
    }
    assert_devices(machine, "/machine/peripheral/br/virtio-backend");
    /* What a refused device had claimed is free again. */
    assert_true(toy_add(machine, "driver=toy,id=x,netdev=n0", NULL));
}

static void test_newest_first_and_numbered(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(GError) error = NULL;

    assert_true(toy_add(machine, "driver=toy", NULL));
    assert_true(toy_add(machine, "driver=toy-pci,id=a", NULL));
    assert_false(toy_add(machine, "driver=toy,fail=on", &error)); /* takes a number */
    assert_true(toy_add(machine, "driver=toy-device", NULL));
    assert_devices(machine, "/machine/peripheral-anon/device[2] "
                            "/machine/peripheral/a/virtio-backend "
                            "/machine/peripheral-anon/device[0]/virtio-backend");
    assert_int_equal(vds_machine_count(machine), 3);
}

static void test_parts_have_one_user(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(VdsProps) netdev = toy_props("type=user,id=n0");
    g_autoptr(VdsProps) nameless = toy_props("type=user");
    g_autoptr(GError) error = NULL;

    assert_true(vds_machine_backend_add(machine, "netdev", netdev, NULL));
    assert_true(vds_machine_has_backend(machine, "netdev", "n0"));
    assert_false(vds_machine_has_backend(machine, "chardev", "n0"));
    assert_false(vds_machine_backend_add(machine, "netdev", netdev, &error));
    assert_true(
        g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_DUPLICATE_ID));
    g_clear_error(&error);
    assert_false(vds_machine_backend_add(machine, "netdev", nameless, &error));
    assert_true(g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_MISSING));
    g_clear_error(&error);
    assert_true(toy_add(machine, "driver=toy,id=a,netdev=n0", NULL));
    assert_false(toy_add(machine, "driver=toy,id=b,netdev=n0", &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND));
    assert_true(vds_machine_device_del(machine, "a", NULL));
    assert_true(toy_add(machine, "driver=toy,id=b,netdev=n0", NULL));
}

/* Blockdevs and drives share their names, as a drive is a node too. */
static void test_block_names_are_one_space(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    g_autoptr(VdsProps) blockdev = toy_props("driver=null-co,node-name=d0");
    g_autoptr(VdsProps) drive = toy_props("file=x,id=d0");
    g_autoptr(GError) error = NULL;

    assert_true(vds_machine_backend_add(machine, "blockdev", blockdev, NULL));
    assert_true(vds_machine_has_backend(machine, "drive", "d0"));
    assert_false(vds_machine_backend_add(machine, "drive", drive, &error));
    assert_true(
        g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_DUPLICATE_ID));
}

static void note_deleted(void *user, const char *id, const char *path)
{
    g_string_append_printf(user, "[%s %s]", id ? id : "-", path);
}

static void test_deletion_tells_bottom_up(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    GString *events = g_string_new(NULL);
    VdsMachineListener listener = {.device_deleted = note_deleted, .user = events};

    vds_machine_set_listener(machine, &listener);
    assert_true(toy_add(machine, "driver=toy-bridge,id=br", NULL));
    assert_true(toy_add(machine, "driver=toy-port,id=p", NULL));
    assert_true(toy_add(machine, "driver=toy-port,bus=br.0", NULL));
    assert_true(vds_machine_device_del(machine, "br", NULL));
    assert_string_equal(events->str, "[- /machine/peripheral-anon/device[0]]"
                                     "[p /machine/peripheral/p]"
                                     "[- /machine/peripheral/br/virtio-backend]"
                                     "[br /machine/peripheral/br]");
    assert_devices(machine, "");
    g_string_truncate(events, 0);
    assert_true(toy_add(machine, "driver=toy", NULL));
    assert_true(
        vds_machine_device_del(machine, "/machine/peripheral-anon/device[1]", NULL));
    assert_string_equal(events->str,
                        "[- /machine/peripheral-anon/device[1]/virtio-backend]"
                        "[- /machine/peripheral-anon/device[1]]");
    g_string_free(events, TRUE);
}

static void test_device_del_refusals(void **state)
{
    static const struct {
        const char *id;
        VdsMachineError code;
        const char *message;
    } rows[] = {
        {"zz", VDS_MACHINE_ERROR_NO_DEVICE, "Device 'zz' not found"},
        {"/machine/peripheral/zz", VDS_MACHINE_ERROR_NO_DEVICE,
         "Device '/machine/peripheral/zz' not found"},
        {"/machine/peripheral", VDS_MACHINE_ERROR_NOT_HOTPLUGGABLE,
         "/machine/peripheral is not a hotpluggable device"},
        {"", VDS_MACHINE_ERROR_NOT_HOTPLUGGABLE, " is not a hotpluggable device"},
        {"/machine/peripheral/a/virtio-backend", VDS_MACHINE_ERROR_NOT_HOTPLUGGABLE,
         "Bus 'virtio-bus' does not support hotplugging"},
    };
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);

    assert_true(toy_add(machine, "driver=toy,id=a", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_false(vds_machine_device_del(machine, rows[i].id, &error));
        assert_true(g_error_matches(error, VDS_MACHINE_ERROR, (int)rows[i].code));
        assert_string_equal(error->message, rows[i].message);
    }
    assert_int_equal(vds_machine_count(machine), 1);
}

/* ---- rows that put devices elsewhere ---------------------------------------------- */

static void test_put_and_its_end(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    VdsDeviceState was;

    assert_true(
        toy_add(machine,
                "driver=toy-replay,id=old,paths=/machine/peripheral/s/virtio-backend "
                "/elsewhere/x",
                NULL));
    assert_true(toy_add(machine, "driver=toy,id=a", NULL));
    assert_devices(machine, "/machine/peripheral/a/virtio-backend /elsewhere/x "
                            "/machine/peripheral/s/virtio-backend");
    vds_virtio_device_get_state(vds_machine_find(machine, "/elsewhere/x", NULL), &was);
    assert_int_equal(was.status, 15);
    assert_false(toy_add(machine, "driver=toy,id=s", NULL));
    assert_true(vds_machine_device_del(machine, "old", NULL));
    assert_devices(machine, "/machine/peripheral/a/virtio-backend");
    assert_true(toy_add(machine, "driver=toy,id=s", NULL)); /* its container went, too */
}

static void count_child(const char *name, const char *type, void *user)
{
    ++*(unsigned *)user;
}

/* Every step of the path was made for the recording and goes with it, so that loading
 * under ever new prefixes leaves nothing. */
static void test_no_step_of_a_path_stays(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    unsigned before = 0, after = 0;

    assert_true(vds_machine_qom_list(machine, "/", count_child, &before, NULL));
    assert_true(
        toy_add(machine, "driver=toy-replay,id=a,paths=/p/machine/x /p/machine/y", NULL));
    assert_true(toy_add(machine, "driver=toy-replay,id=b,paths=/p/z", NULL));
    assert_true(vds_machine_device_del(machine, "a", NULL));
    assert_devices(machine, "/p/z");
    assert_false(vds_machine_qom_list(machine, "/p/machine", count_child, &after, NULL));
    assert_true(vds_machine_device_del(machine, "b", NULL));
    assert_true(vds_machine_qom_list(machine, "/", count_child, &after, NULL));
    assert_int_equal(after, before);
    assert_true(vds_machine_qom_list(machine, "/machine/peripheral-anon", count_child,
                                     &after, NULL));
}

static void test_a_recorded_number_is_skipped(void **state)
{
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);

    assert_true(toy_add(machine,
                        "driver=toy-replay,id=r,paths="
                        "/machine/peripheral-anon/device[0]/virtio-backend "
                        "/machine/peripheral-anon/device[2]",
                        NULL));
    assert_true(toy_add(machine, "driver=toy", NULL));
    assert_true(toy_add(machine, "driver=toy", NULL));
    assert_devices(machine, "/machine/peripheral-anon/device[3]/virtio-backend "
                            "/machine/peripheral-anon/device[1]/virtio-backend "
                            "/machine/peripheral-anon/device[2] "
                            "/machine/peripheral-anon/device[0]/virtio-backend");
}

static void test_put_refusals(void **state)
{
    static const char *const paths[] = {
        "/machine/peripheral/a/virtio-backend", /* exists */
        "/machine/peripheral/a",                /* a device */
        "/machine/peripheral/a/below",          /* inside one */
        "/machine/peripheral",                  /* a container */
        "/machine",
        "/",
        "relative/path",
        "/machine//x",
        "/machine/x/",
        "/new/one /new/one", /* the second is there already */
    };
    g_autoptr(VdsMachine) machine = vds_machine_new("toy", toy_classes);
    GString *deep = g_string_new("/m");

    assert_true(toy_add(machine, "driver=toy,id=a", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autofree char *text = g_strdup_printf("driver=toy-replay,paths=%s", paths[i]);
        g_autoptr(GError) error = NULL;

        assert_false(toy_add(machine, text, &error));
        assert_true(
            g_error_matches(error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_DUPLICATE_PATH));
        assert_devices(machine, "/machine/peripheral/a/virtio-backend");
    }
    for (int i = 0; i < 100; i++) {
        g_string_append(deep, "/m");
    }
    g_string_prepend(deep, "driver=toy-replay,paths=");
    assert_false(toy_add(machine, deep->str, NULL));
    g_string_free(deep, TRUE);
}

static void test_free_with_everything_in_place(void **state)
{
    VdsMachine *machine = vds_machine_new("toy", toy_classes);

    assert_true(toy_add(machine,
                        "driver=toy-replay,id=r,paths=/machine/peripheral/q/b "
                        "/machine/peripheral/z",
                        NULL));
    assert_true(toy_add(machine, "driver=toy-bridge", NULL));
    assert_true(toy_add(machine, "driver=toy-port", NULL));
    assert_true(toy_add(machine, "driver=toy-port,id=pp", NULL));
    vds_machine_free(machine);
    vds_machine_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_leave_nothing),
        cmocka_unit_test(test_newest_first_and_numbered),
        cmocka_unit_test(test_parts_have_one_user),
        cmocka_unit_test(test_block_names_are_one_space),
        cmocka_unit_test(test_deletion_tells_bottom_up),
        cmocka_unit_test(test_device_del_refusals),
        cmocka_unit_test(test_put_and_its_end),
        cmocka_unit_test(test_no_step_of_a_path_stays),
        cmocka_unit_test(test_a_recorded_number_is_skipped),
        cmocka_unit_test(test_put_refusals),
        cmocka_unit_test(test_free_with_everything_in_place),
    };

    return cmocka_run_group_tests_name("machine-device", tests, NULL, NULL);
}
