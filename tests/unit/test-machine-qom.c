/*
 * machine: the object tree as qom-list, qom-get, qom-list-types and the two lists of
 * properties show it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "toy-devices.h"

static int setup(void **state)
{
    VdsMachine *machine = vds_machine_new("toy", toy_classes);
    g_autoptr(VdsProps) object =
        toy_props("qom-type=rng-random,id=g0,filename=/dev/null");

    assert_true(vds_machine_backend_add(machine, "object", object, NULL));
    assert_true(toy_add(machine, "driver=toy,id=a,packed=on,addr=3", NULL));
    assert_true(toy_add(machine, "driver=toy-device,id=m", NULL));
    assert_true(toy_add(machine, "driver=toy-bridge,id=br", NULL));
    assert_true(toy_add(machine, "driver=toy-port,id=p", NULL));
    assert_true(toy_add(machine, "driver=toy-replay,id=old,paths=/rec/x", NULL));
    vds_machine_cont(machine, NULL);
    assert_true(toy_add(machine, "driver=toy", NULL));
    *state = machine;
    return 0;
}

static int teardown(void **state)
{
    vds_machine_free(*state);
    return 0;
}

static void append_entry(const char *name, const char *type, void *user)
{
    g_string_append_printf(user, "%s:%s ", name, type);
}

static void test_list(void **state)
{
    static const struct {
        const char *path, *entries;
    } rows[] = {
        {"/", "type:string objects:child<container> chardevs:child<container> "
              "machine:child<toy-machine> rec:child<container> "},
        {"/machine/peripheral",
         "type:string a:child<toy-pci> m:child<toy-device> br:child<toy-bridge> "
         "p:child<toy-port> old:child<toy-replay> "},
        {"a", "type:string parent_bus:link<bus> realized:bool hotplugged:bool "
              "hotpluggable:bool addr:int32 packed:bool fail:bool netdev:str "
              "virtio-backend:child<toy-device> "},
        {"a/virtio-backend",
         "type:string parent_bus:link<bus> realized:bool hotplugged:bool "
         "hotpluggable:bool packed:bool fail:bool netdev:str "
         "host-features:uint64 host-features-2:uint64 guest-features:uint64 "
         "guest-features-2:uint64 backend-features:uint64 backend-features-2:uint64 "
         "index-source:str "
         "broken-reason:str last-refusal:str torn-count:uint64 "},
        {"p", "type:string parent_bus:link<bus> realized:bool hotplugged:bool "
              "hotpluggable:bool word:str "},
        {"/rec/x",
         "type:string parent_bus:link<bus> realized:bool hotplugged:bool "
         "hotpluggable:bool "
         "host-features:uint64 host-features-2:uint64 guest-features:uint64 "
         "guest-features-2:uint64 backend-features:uint64 backend-features-2:uint64 "
         "index-source:str broken-reason:str "
         "last-refusal:str torn-count:uint64 "},
        {"br/virtio-backend/br.0", "type:string realized:bool child[0]:link<toy-port> "},
        {"/objects/g0", "type:string qom-type:str id:str filename:str "},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        GString *list = g_string_new(NULL);

        assert_true(vds_machine_qom_list(*state, rows[i].path, append_entry, list, NULL));
        assert_string_equal(list->str, rows[i].entries);
        g_string_free(list, TRUE);
    }
}

static void test_get(void **state)
{
    static const struct {
        const char *path, *name, *text;
        VdsPropKind kind;
    } rows[] = {
        {"/", "type", "container", VDS_PROP_STRING},
        {"/machine", "type", "toy-machine", VDS_PROP_STRING},
        {"a", "type", "toy-pci", VDS_PROP_STRING},
        {"a/", "virtio-backend", "/machine/peripheral/a/virtio-backend", VDS_PROP_STRING},
        {"a", "parent_bus", "/machine/pci/pcie.0", VDS_PROP_STRING},
        {"a", "realized", "true", VDS_PROP_BOOL},
        {"a", "hotplugged", "false", VDS_PROP_BOOL},
        {"/machine/peripheral-anon/device[0]", "hotplugged", "true", VDS_PROP_BOOL},
        {"a", "packed", "true", VDS_PROP_BOOL},
        {"a", "fail", "false", VDS_PROP_BOOL},
        {"a", "netdev", "", VDS_PROP_STRING},
        {"a", "addr", "24", VDS_PROP_INT},
        {"a/virtio-backend", "packed", "true", VDS_PROP_BOOL},
        {"a/virtio-backend", "type", "toy-device", VDS_PROP_STRING},
        {"a/virtio-backend", "index-source", "owned", VDS_PROP_STRING},
        {"m", "index-source", "owned", VDS_PROP_STRING},
        {"/rec/x", "index-source", "recorded", VDS_PROP_STRING},
        {"p", "word", "port", VDS_PROP_STRING},
        {"p", "parent_bus", "/machine/peripheral/br/virtio-backend/br.0",
         VDS_PROP_STRING},
        {"br.0", "child[0]", "/machine/peripheral/p", VDS_PROP_STRING},
        {"br.0", "realized", "true", VDS_PROP_BOOL},
        {"g0", "filename", "/dev/null", VDS_PROP_STRING},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VdsProp value;

        assert_true(
            vds_machine_qom_get(*state, rows[i].path, rows[i].name, &value, NULL));
        assert_string_equal(value.name, rows[i].name);
        assert_string_equal(value.text, rows[i].text);
        assert_int_equal(value.kind, rows[i].kind);
        vds_prop_clear(&value);
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *path, *name;
        VdsMachineError code;
        const char *message;
    } rows[] = {
        {"/nope", "type", VDS_MACHINE_ERROR_NO_OBJECT, "Device '/nope' not found"},
        {"nope", "type", VDS_MACHINE_ERROR_NO_OBJECT, "Device 'nope' not found"},
        {"", "type", VDS_MACHINE_ERROR_AMBIGUOUS, "Path '' is ambiguous"},
        {"virtio-backend", "type", VDS_MACHINE_ERROR_AMBIGUOUS,
         "Path 'virtio-backend' is ambiguous"},
        {"a", "nope", VDS_MACHINE_ERROR_NO_PROPERTY, "Property 'toy-pci.nope' not found"},
        {"a/virtio-backend", "addr", VDS_MACHINE_ERROR_NO_PROPERTY,
         "Property 'toy-device.addr' not found"},
        {"/rec/x", "paths", VDS_MACHINE_ERROR_NO_PROPERTY,
         "Property 'virtio-device.paths' not found"},
        {"br.0", "child[1]", VDS_MACHINE_ERROR_NO_PROPERTY,
         "Property 'toy-bus.child[1]' not found"},
        {"/", "nope", VDS_MACHINE_ERROR_NO_PROPERTY,
         "Property 'container.nope' not found"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        VdsProp value;

        assert_false(
            vds_machine_qom_get(*state, rows[i].path, rows[i].name, &value, &error));
        assert_true(g_error_matches(error, VDS_MACHINE_ERROR, (int)rows[i].code));
        assert_string_equal(error->message, rows[i].message);
    }
}

static void append_type(const char *name, const char *parent, bool abstract, void *user)
{
    g_string_append_printf(user, "%s<%s%s ", name, parent, abstract ? "*" : "");
}

static void test_types(void **state)
{
    static const struct {
        const char *implements;
        bool abstract;
        const char *types;
    } rows[] = {
        {"toy-base", true, "toy-base<device* toy-pci<toy-base toy-device<toy-base "},
        {"toy-base", false, "toy-pci<toy-base toy-device<toy-base "},
        {"machine", false, "toy-machine<machine "},
        {"rng-backend", false, "rng-builtin<rng-backend rng-random<rng-backend "},
        {"device", false,
         "toy-pci<toy-base toy-device<toy-base toy-bridge<device toy-port<device "
         "toy-replay<device "},
        {"nope", true, ""},
        {NULL, true,
         "object<* container<object machine<object* device<object* bus<object* "
         "accel<object tcg-accel<accel memory-backend<object* "
         "memory-backend-file<memory-backend memory-backend-memfd<memory-backend "
         "memory-backend-ram<memory-backend rng-backend<object* rng-builtin<rng-backend "
         "rng-random<rng-backend cryptodev-backend<object "
         "cryptodev-backend-builtin<cryptodev-backend event-loop-base<object* "
         "iothread<event-loop-base secret_common<object* secret<secret_common "
         "throttle-group<object "
         "toy-machine<machine toy-base<device* toy-pci<toy-base toy-device<toy-base "
         "toy-bridge<device toy-port<device toy-replay<device "},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        GString *list = g_string_new(NULL);

        vds_machine_list_types(*state, rows[i].implements, rows[i].abstract, append_type,
                               list);
        assert_string_equal(list->str, rows[i].types);
        g_string_free(list, TRUE);
    }
}

static void append_property(const VdsPropertyInfo *info, void *user)
{
    g_string_append_printf(user, "%s:%s", info->name, info->type);
    if (info->fallback) {
        g_string_append_printf(user, "=%s", info->fallback->text);
    }
    g_string_append_c(user, ' ');
}

static void test_properties(void **state)
{
    GString *list = g_string_new(NULL);

    assert_true(
        vds_machine_list_properties(*state, "toy-pci", append_property, list, NULL));
    assert_string_equal(list->str, "addr:int32=-1 packed:bool=false fail:bool=false "
                                   "netdev:str virtio-backend:child<toy-device> ");
    g_string_truncate(list, 0);
    assert_true(vds_machine_qom_list_properties(*state, "toy-device", append_property,
                                                list, NULL));
    assert_string_equal(list->str,
                        "type:string parent_bus:link<bus> realized:bool hotplugged:bool "
                        "hotpluggable:bool packed:bool fail:bool netdev:str ");
    g_string_truncate(list, 0);
    assert_true(vds_machine_qom_list_properties(*state, "container", append_property,
                                                list, NULL));
    assert_string_equal(list->str, "type:string ");
    g_string_free(list, TRUE);
}

static void test_property_refusals(void **state)
{
    static const struct {
        const char *type;
        VdsMachineError code;
        const char *message;
    } rows[] = {
        {"nope", VDS_MACHINE_ERROR_NO_DEVICE, "Device 'nope' not found"},
        {"toy", VDS_MACHINE_ERROR_NO_DEVICE, "Device 'toy' not found"},
        {"toy-base", VDS_MACHINE_ERROR_ABSTRACT,
         "Parameter 'typename' expects a non-abstract device type"},
        {"bus", VDS_MACHINE_ERROR_ABSTRACT,
         "Parameter 'typename' expects a non-abstract device type"},
    };
    g_autoptr(GError) class_error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_false(
            vds_machine_list_properties(*state, rows[i].type, NULL, NULL, &error));
        assert_true(g_error_matches(error, VDS_MACHINE_ERROR, (int)rows[i].code));
        assert_string_equal(error->message, rows[i].message);
    }
    assert_false(
        vds_machine_qom_list_properties(*state, "toy", NULL, NULL, &class_error));
    assert_true(
        g_error_matches(class_error, VDS_MACHINE_ERROR, VDS_MACHINE_ERROR_NO_CLASS));
    assert_string_equal(class_error->message, "Class 'toy' not found");
}

/* Only what says so can be set; QEMU's words. */
static void test_set(void **state)
{
    static const struct {
        const char *path, *property, *value;
        VdsMachineError code;
        const char *message; /* NULL: it is set */
    } rows[] = {
        {"p", "word", "yes", 0, NULL},
        {"nope", "word", "yes", VDS_MACHINE_ERROR_NO_OBJECT, "Device 'nope' not found"},
        {"p", "nope", "x", VDS_MACHINE_ERROR_NO_PROPERTY,
         "Property 'toy-port.nope' not found"},
        {"p", "realized", "x", VDS_MACHINE_ERROR_STATE,
         "Property 'toy-port.realized' is not writable"},
        {"p", "type", "x", VDS_MACHINE_ERROR_STATE,
         "Property 'toy-port.type' is not writable"},
        {"a/virtio-backend", "packed", "on", VDS_MACHINE_ERROR_STATE,
         "Property 'toy-device.packed' is not writable"},
        {"/rec/x", "index-source", "owned", VDS_MACHINE_ERROR_STATE,
         "Property 'virtio-device.index-source' is not writable"},
        {"/machine", "memory-backend", "m", VDS_MACHINE_ERROR_STATE,
         "Property 'toy-machine.memory-backend' is not writable"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const VdsProp value = {.kind = VDS_PROP_STRING, .text = (char *)rows[i].value};
        g_autoptr(GError) error = NULL;
        bool set =
            vds_machine_qom_set(*state, rows[i].path, rows[i].property, &value, &error);

        assert_int_equal(set, rows[i].message == NULL);
        if (!set) {
            assert_string_equal(error->message, rows[i].message);
            assert_true(g_error_matches(error, VDS_MACHINE_ERROR, (int)rows[i].code));
        }
    }
}

/* What the property itself refuses comes as it says it. */
static void test_set_refused(void **state)
{
    const VdsProp empty = {.kind = VDS_PROP_STRING, .text = (char *)""};
    g_autoptr(GError) error = NULL;

    assert_false(vds_machine_qom_set(*state, "p", "word", &empty, &error));
    assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),       cmocka_unit_test(test_get),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_types),
        cmocka_unit_test(test_properties), cmocka_unit_test(test_property_refusals),
        cmocka_unit_test(test_set),        cmocka_unit_test(test_set_refused),
    };

    return cmocka_run_group_tests_name("machine-qom", tests, setup, teardown);
}
