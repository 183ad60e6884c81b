/*
 * cli: every option but the monitors': values, property sets, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "vds/cli.h"

enum { MAX_WORDS = 8 };

static VdsOptions *parse(const char *const *words, GError **error)
{
    const char *argv[MAX_WORDS + 1] = {"virtio-debugd"};
    int argc = 1;

    while (argc <= MAX_WORDS && words[argc - 1]) {
        argv[argc] = words[argc - 1];
        argc++;
    }
    return vds_options_parse(argc, argv, error);
}

static VdsOptions *parse_ok(const char *const *words)
{
    g_autoptr(GError) error = NULL;
    VdsOptions *options = parse(words, &error);

    if (error) {
        fail_msg("%s", error->message);
    }
    return options;
}

static void assert_same_text(const char *found, const char *expected)
{
    assert_int_equal(found == NULL, expected == NULL);
    if (expected) {
        assert_string_equal(found, expected);
    }
}

static void test_defaults(void **state)
{
    static const char *const words[] = {NULL};
    g_autoptr(VdsOptions) options = parse_ok(words);

    assert_int_equal(options->chardevs->len + options->mons->len +
                         options->backends->len + options->devices->len,
                     0);
    assert_null(options->name);
    assert_null(options->uuid);
    assert_null(options->pidfile);
    assert_string_equal(options->machine, "vds");
    assert_int_equal(vds_props_count(options->machine_props), 0);
    assert_int_equal(options->memory_bytes, 64 << 20);
    assert_false(options->paused || options->daemonize || options->show_help ||
                 options->show_version);
}

static void test_no_argv(void **state)
{
    g_autoptr(VdsOptions) options = vds_options_parse(0, NULL, NULL);

    assert_non_null(options);
}

/* ---- texts ------------------------------------------------------------------------- */

#define OFFSET(field) offsetof(VdsOptions, field)

static void test_texts(void **state)
{
    static const struct {
        const char *words[MAX_WORDS];
        size_t offset;
        const char *expected;
    } rows[] = {
        {{"-name", "a"}, OFFSET(name), "a"},
        {{"-name", ""}, OFFSET(name), NULL},
        {{"-name", "guest=vdbg,debug-threads=on"}, OFFSET(name), "vdbg"},
        {{"-name", "a,,b,process=p"}, OFFSET(name), "a,b"},
        {{"-name", "a", "-name", "debug-threads=on"}, OFFSET(name), "a"},
        {{"-name", "a", "--name", "b"}, OFFSET(name), "b"},
        {{"-uuid", "2E1BF590-be07-457c-a182-445d9b952f9E"},
         OFFSET(uuid),
         "2e1bf590-be07-457c-a182-445d9b952f9e"},
        {{"-pidfile", "/run/a,b.pid"}, OFFSET(pidfile), "/run/a,b.pid"},
        {{"-pidfile", "a", "-pidfile", "b"}, OFFSET(pidfile), "b"},
        {{"-machine", "q35"}, OFFSET(machine), "q35"},
        {{"-machine", "pc-i440fx-7.2,usb=off"}, OFFSET(machine), "pc-i440fx-7.2"},
        {{"-M", "pc-q35-8.2"}, OFFSET(machine), "pc-q35-8.2"},
        {{"-machine", "none,accel=kvm:tcg"}, OFFSET(machine), "none"},
        {{"-machine", "type=pc"}, OFFSET(machine), "pc"},
        {{"-machine", "accel=tcg"}, OFFSET(machine), "vds"},
        {{"-machine", "q35", "-machine", "usb=off"}, OFFSET(machine), "q35"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsOptions) options = parse_ok(rows[i].words);

        assert_same_text(G_STRUCT_MEMBER(char *, options, rows[i].offset),
                         rows[i].expected);
    }
}

static void test_flags(void **state)
{
    static const struct {
        const char *word;
        size_t offset;
    } rows[] = {
        {"-S", OFFSET(paused)},
        {"--S", OFFSET(paused)},
        {"-daemonize", OFFSET(daemonize)},
        {"-help", OFFSET(show_help)},
        {"--help", OFFSET(show_help)},
        {"-h", OFFSET(show_help)},
        {"-version", OFFSET(show_version)},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *const words[] = {rows[i].word, NULL};
        g_autoptr(VdsOptions) options = parse_ok(words);

        assert_true(G_STRUCT_MEMBER(bool, options, rows[i].offset));
    }
}

static void test_help_ends_the_reading(void **state)
{
    static const char *const words[] = {"-S", "-help", "-no-such-option", NULL};
    g_autoptr(VdsOptions) options = parse_ok(words);

    assert_true(options->paused && options->show_help);
}

static void test_memory(void **state)
{
    static const struct {
        const char *argument;
        uint64_t bytes;
    } rows[] = {
        {"64", 64 << 20},
        {"512M", 512 << 20},
        {"size=65536k", 64 << 20},
        {"2G,slots=4,maxmem=8G", UINT64_C(2) << 30},
        {"0", 64 << 20},
        {"slots=0", 64 << 20},
        {"size=1,size=3", 3 << 20},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *const words[] = {"-m", rows[i].argument, NULL};
        g_autoptr(VdsOptions) options = parse_ok(words);

        assert_int_equal(options->memory_bytes, rows[i].bytes);
    }
}

static void test_machine_props(void **state)
{
    static const char *const words[] = {"-machine", "q35,usb=off,memory-backend=r0",
                                        "-machine", "usb=on", NULL};
    g_autoptr(VdsOptions) options = parse_ok(words);

    assert_int_equal(vds_props_count(options->machine_props), 2);
    assert_string_equal(vds_props_get_string(options->machine_props, "memory-backend"),
                        "r0");
    assert_string_equal(vds_props_get_string(options->machine_props, "usb"), "on");
}

/* ---- property sets ----------------------------------------------------------------- */

static void test_backends(void **state)
{
    static const struct {
        const char *words[MAX_WORDS];
        const char *kind, *key, *value;
    } rows[] = {
        {{"-netdev", "hubport,id=n0,hubid=0"}, "netdev", "type", "hubport"},
        {{"-netdev", "type=user,id=n0"}, "netdev", "id", "n0"},
        {{"-netdev", "{\"type\":\"user\",\"id\":\"n0\"}"}, "netdev", "type", "user"},
        {{"-blockdev", "null-co,node-name=b0"}, "blockdev", "driver", "null-co"},
        {{"-blockdev", "{\"driver\":\"raw\",\"node-name\":\"b\",\"file\":{\"driver\":"
                       "\"file\"}}"},
         "blockdev",
         "file.driver",
         "file"},
        {{"-drive", "file=/x,if=none,id=d0"}, "drive", "file", "/x"},
        {{"-fsdev", "local,id=f0,path=/x,security_model=none"},
         "fsdev",
         "fsdriver",
         "local"},
        {{"-object", "rng-random,id=r0,filename=/dev/urandom"},
         "object",
         "qom-type",
         "rng-random"},
        {{"-object", "{\"qom-type\":\"secret\",\"id\":\"m0\"}"}, "object", "id", "m0"},
        {{"-chardev", "file,id=c0,path=/x"}, "chardev", "backend", "file"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VdsOptions) options = parse_ok(rows[i].words);
        const VdsBackendOption *backend;

        assert_int_equal(options->backends->len, 1);
        backend = g_ptr_array_index(options->backends, 0);
        assert_string_equal(backend->kind, rows[i].kind);
        assert_same_text(vds_props_get_string(backend->props, rows[i].key),
                         rows[i].value);
        assert_true(g_str_has_prefix(backend->origin, rows[i].words[0]));
    }
}

static void test_devices_keep_their_order(void **state)
{
    static const char *const words[] = {
        "-device",
        "virtio-net-pci,id=net0,mq=on",
        "-S",
        "-device",
        "{\"driver\":\"virtio-rng-pci\",\"max-bytes\":1024}",
        NULL};
    g_autoptr(VdsOptions) options = parse_ok(words);
    const VdsDeviceOption *device;

    assert_int_equal(options->devices->len, 2);
    device = g_ptr_array_index(options->devices, 0);
    assert_string_equal(vds_props_get_string(device->props, "driver"), "virtio-net-pci");
    assert_string_equal(vds_props_get_string(device->props, "mq"), "on");
    assert_string_equal(device->origin, "-device virtio-net-pci,id=net0,mq=on");
    device = g_ptr_array_index(options->devices, 1);
    assert_int_equal(vds_props_find(device->props, "max-bytes")->u.integer, 1024);
}

/* ---- without effect ---------------------------------------------------------------- */

static void test_no_effect(void **state)
{
    static const char *const words[][MAX_WORDS] = {
        {"-accel", "tcg"},
        {"-append", "console=ttyS0 quiet"},
        {"-audiodev", "{\"id\":\"audio1\",\"driver\":\"none\"}"},
        {"-boot", "strict=on"},
        {"-cpu", "qemu64"},
        {"-display", "none"},
        {"-enable-kvm"},
        {"-global", "ICH9-LPC.noreboot=off"},
        {"-global", "driver=PIIX4_PM,property=disable_s3,value=1"},
        {"-initrd", "/x"},
        {"-kernel", "/x"},
        {"-msg", "timestamp=on"},
        {"-no-acpi"},
        {"-no-hpet"},
        {"-no-user-config"},
        {"-nodefaults"},
        {"-nographic"},
        {"-overcommit", "mem-lock=off"},
        {"-parallel", "none"},
        {"-rtc", "base=utc"},
        {"-sandbox", "on,obsolete=deny"},
        {"-serial", "chardev:ser"},
        {"-smp", "1,sockets=1"},
        {"-vga", "none"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        g_autoptr(VdsOptions) options = parse_ok(words[i]);

        assert_int_equal(options->chardevs->len + options->mons->len +
                             options->backends->len + options->devices->len,
                         0);
    }
}

/* ---- refused ----------------------------------------------------------------------- */

static const struct {
    const char *words[MAX_WORDS];
    VdsCliError code;
    const char *message;
} refused[] = {
    {{"-foo"}, VDS_CLI_ERROR_OPTION, "-foo: invalid option"},
    {{"--foo"}, VDS_CLI_ERROR_OPTION, "--foo: invalid option"},
    {{"---S"}, VDS_CLI_ERROR_OPTION, "---S: invalid option"},
    {{"-"}, VDS_CLI_ERROR_OPTION, "-: invalid option"},
    {{"--"}, VDS_CLI_ERROR_OPTION, "--: invalid option"},
    {{""}, VDS_CLI_ERROR_OPTION, ": invalid option"},
    {{"S"}, VDS_CLI_ERROR_OPTION, "S: invalid option"},
    {{"-S=1"}, VDS_CLI_ERROR_OPTION, "-S=1: invalid option"},
    {{"-S", "x"}, VDS_CLI_ERROR_OPTION, "x: invalid option"},
    {{"-qmp"}, VDS_CLI_ERROR_OPTION, "-qmp: requires an argument"},
    {{"-S", "-device"}, VDS_CLI_ERROR_OPTION, "-device: requires an argument"},
    {{"-cpu"}, VDS_CLI_ERROR_OPTION, "-cpu: requires an argument"},
    {{"-uuid", ""},
     VDS_CLI_ERROR_VALUE,
     "-uuid : failed to parse UUID string: wrong format"},
    {{"-uuid", "11111111222233334444555555555555"},
     VDS_CLI_ERROR_VALUE,
     "-uuid 11111111222233334444555555555555: failed to parse UUID string: wrong format"},
    {{"-uuid", "11111111-2222-3333-4444-55555555555g"},
     VDS_CLI_ERROR_VALUE,
     "-uuid 11111111-2222-3333-4444-55555555555g: failed to parse UUID string: wrong "
     "format"},
    {{"-machine", "vds,=x"},
     VDS_CLI_ERROR_SYNTAX,
     "-machine vds,=x: Invalid parameter ''"},
    {{"-m", "foo"},
     VDS_CLI_ERROR_VALUE,
     "-m foo: Parameter 'size' expects a size, found 'foo'"},
    {{"-m", "99999999999999"},
     VDS_CLI_ERROR_VALUE,
     "-m 99999999999999: Parameter 'size' expects a size, found '99999999999999'"},
    {{"-m", "-1"},
     VDS_CLI_ERROR_VALUE,
     "-m -1: Parameter 'size' expects a size, found '-1'"},
    {{"-m", "64,foo=1"}, VDS_CLI_ERROR_VALUE, "-m 64,foo=1: Invalid parameter 'foo'"},
    {{"-name", "foo=bar"}, VDS_CLI_ERROR_VALUE, "-name foo=bar: Invalid parameter 'foo'"},
    {{"-name", "a,=b"}, VDS_CLI_ERROR_SYNTAX, "-name a,=b: Invalid parameter ''"},
    {{"-pidfile", ""}, VDS_CLI_ERROR_VALUE, "-pidfile : the path is empty"},
    {{"-device", ""}, VDS_CLI_ERROR_MISSING, "-device : Parameter 'driver' is missing"},
    {{"-device", "id=a"},
     VDS_CLI_ERROR_MISSING,
     "-device id=a: Parameter 'driver' is missing"},
    {{"-device", "{\"driver\":1}"},
     VDS_CLI_ERROR_MISSING,
     "-device {\"driver\":1}: Parameter 'driver' is missing"},
    {{"-device", "x,id=1"},
     VDS_CLI_ERROR_VALUE,
     "-device x,id=1: Parameter 'id' expects an identifier"},
    {{"-device", "x,id=a b"},
     VDS_CLI_ERROR_VALUE,
     "-device x,id=a b: Parameter 'id' expects an identifier"},
    {{"-netdev", "user"},
     VDS_CLI_ERROR_MISSING,
     "-netdev user: Parameter 'id' is missing"},
    {{"-netdev", "id=a"},
     VDS_CLI_ERROR_MISSING,
     "-netdev id=a: Parameter 'type' is missing"},
    {{"-blockdev", "{}"},
     VDS_CLI_ERROR_MISSING,
     "-blockdev {}: Parameter 'driver' is missing"},
    {{"-blockdev", "null-co"},
     VDS_CLI_ERROR_MISSING,
     "-blockdev null-co: Parameter 'node-name' is missing"},
    {{"-blockdev", "null-co,node-name="},
     VDS_CLI_ERROR_VALUE,
     "-blockdev null-co,node-name=: Parameter 'node-name' expects an identifier"},
    {{"-drive", "file=/x,id=1"},
     VDS_CLI_ERROR_VALUE,
     "-drive file=/x,id=1: Parameter 'id' expects an identifier"},
    {{"-fsdev", "local"},
     VDS_CLI_ERROR_MISSING,
     "-fsdev local: Parameter 'id' is missing"},
    {{"-object", "{}"},
     VDS_CLI_ERROR_MISSING,
     "-object {}: Parameter 'qom-type' is missing"},
    {{"-object", "secret"},
     VDS_CLI_ERROR_MISSING,
     "-object secret: Parameter 'id' is missing"},
    {{"-global", "virtio-net-pci.packed=on"},
     VDS_CLI_ERROR_VALUE,
     "-global virtio-net-pci.packed=on: defaults of 'virtio-net-pci.packed' cannot be "
     "set, "
     "give the property to -device"},
    {{"-global", "driver=vhost-user-blk-pci,property=a,value=b"},
     VDS_CLI_ERROR_VALUE,
     "-global driver=vhost-user-blk-pci,property=a,value=b: defaults of "
     "'vhost-user-blk-pci' cannot be set, give the property to -device"},
    {{"-global", "=x"}, VDS_CLI_ERROR_SYNTAX, "-global =x: Invalid parameter ''"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(parse(refused[i].words, &error));
        assert_non_null(error);
        assert_string_equal(error->message, refused[i].message);
        assert_true(g_error_matches(error, VDS_CLI_ERROR, (int)refused[i].code));
    }
}

/* ---- help -------------------------------------------------------------------------- */

static void test_help_names_every_option(void **state)
{
    static const char *const names[] = {
        "qmp",      "qmp-pretty", "monitor", "chardev", "mon", "device",    "netdev",
        "blockdev", "object",     "machine", "m",       "S",   "name",      "uuid",
        "pidfile",  "daemonize",  "version", "help",    "smp", "nodefaults"};
    g_autofree char *help = vds_options_help("prog");

    assert_true(g_str_has_prefix(help, "usage: prog "));
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *line = g_strdup_printf("\n  -%s ", names[i]);

        assert_non_null(strstr(help, line));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_no_argv),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_help_ends_the_reading),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_machine_props),
        cmocka_unit_test(test_backends),
        cmocka_unit_test(test_devices_keep_their_order),
        cmocka_unit_test(test_no_effect),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_help_names_every_option),
    };

    return cmocka_run_group_tests_name("cli-options", tests, NULL, NULL);
}
