/*
 * virtio: typed properties: what each type takes, what it refuses and how, what it shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "vds/virtio.h"

static const VdsProperty own[] = {
    {.name = "addr", .type = &vds_property_pci_address, .fallback = (uint64_t)-1},
    {.name = "legacy", .type = &vds_property_on_off_auto},
    {.name = NULL},
};

static const VdsProperty backend[] = {
    {.name = "packed", .type = &vds_property_bool, .feature = true, .bit = 34},
    {.name = "event_idx",
     .type = &vds_property_bool,
     .fallback = 1,
     .feature = true,
     .bit = 29},
    {.name = "u16", .type = &vds_property_uint16, .fallback = 7},
    {.name = "u32", .type = &vds_property_uint32},
    {.name = "u64", .type = &vds_property_uint64},
    {.name = "i32", .type = &vds_property_int32, .fallback = (uint64_t)-1},
    {.name = "i64", .type = &vds_property_int64},
    {.name = "size", .type = &vds_property_size},
    {.name = "str", .type = &vds_property_str, .unset = true},
    {.name = "mac", .type = &vds_property_mac, .unset = true},
    {.name = "rerror", .type = &vds_property_on_error, .fallback = 4},
    {.name = "netdev",
     .type = &vds_property_backend,
     .backend = "netdev",
     .exclusive = true},
    {.name = "chardev",
     .type = &vds_property_chardev,
     .backend = "chardev",
     .exclusive = true},
    {.name = "rng",
     .type = &vds_property_link,
     .type_name = "link<rng-backend>",
     .backend = "object"},
    {.name = "iothread",
     .type = &vds_property_link,
     .type_name = "link<iothread>",
     .backend = "object"},
    {.name = NULL},
};

static const VdsProperty *const own_tables[] = {own, NULL};
static const VdsProperty *const backend_tables[] = {backend, NULL};
static const VdsDeviceType type = {
    .name = "x-pci",
    .backend_type = "x-device",
    .own = own_tables,
    .backend = backend_tables,
};

/* A host with one part of each kind; "busy" is someone else's. */
static const VdsProps *find_backend(const VdsDeviceHost *host, const char *kind,
                                    const char *id)
{
    bool known = strcmp(id, "there") == 0 || strcmp(id, "busy") == 0;

    return known ? host->machine : NULL;
}

static bool claim_backend(const VdsDeviceHost *host, const char *kind, const char *id)
{
    return strcmp(id, "busy") != 0;
}

static VdsPropertySet *parse(const char *name, const char *text, GError **error)
{
    g_autoptr(VdsProps) props = vds_props_new();
    g_autoptr(VdsProps) object = vds_props_new();
    VdsDeviceHost host = {
        .machine = object, .find_backend = find_backend, .claim_backend = claim_backend};

    vds_props_set_string(object, "qom-type", "rng-random");
    vds_props_set_string(props, "driver", "x-pci");
    vds_props_set_string(props, "id", "x");
    vds_props_set_string(props, name, text);
    return vds_property_set_new(&type, props, &host, error);
}

static void test_values(void **state)
{
    static const struct {
        const char *name, *text;
        const char *shown; /* NULL: refused */
        VdsPropKind kind;
    } rows[] = {
        {"packed", "on", "true", VDS_PROP_BOOL},
        {"packed", "no", "false", VDS_PROP_BOOL},
        {"packed", "1", NULL, 0},
        {"u16", "65535", "65535", VDS_PROP_INT},
        {"u16", "0x10", "16", VDS_PROP_INT},
        {"u16", "010", "8", VDS_PROP_INT},
        {"u16", "65536", NULL, 0},
        {"u16", "-1", NULL, 0},
        {"u16", "", NULL, 0},
        {"u16", "7x", NULL, 0},
        {"u32", "4294967295", "4294967295", VDS_PROP_INT},
        {"u32", "4294967296", NULL, 0},
        {"u64", "18446744073709551615", "18446744073709551615", VDS_PROP_UINT},
        {"u64", "18446744073709551616", NULL, 0},
        {"u64", "-1", "18446744073709551615", VDS_PROP_UINT},
        {"i32", "-2147483648", "-2147483648", VDS_PROP_INT},
        {"i32", "2147483648", NULL, 0},
        {"i64", "-9223372036854775808", "-9223372036854775808", VDS_PROP_INT},
        {"size", "64K", "65536", VDS_PROP_INT},
        {"size", "1.5K", NULL, 0},
        {"str", "", "", VDS_PROP_STRING},
        {"str", "a b", "a b", VDS_PROP_STRING},
        {"mac", "52:54:00:AB:cd:01", "52:54:00:ab:cd:01", VDS_PROP_STRING},
        {"mac", "52-54-00-00-00-01", "52:54:00:00:00:01", VDS_PROP_STRING},
        {"mac", "52:54:00:00:00", NULL, 0},
        {"mac", "52:54:00:00:00:0g", NULL, 0},
        {"mac", "52.54.00.00.00.01", NULL, 0},
        {"addr", "1f.7", "255", VDS_PROP_INT},
        {"addr", "2", "16", VDS_PROP_INT},
        {"addr", "20", NULL, 0},
        {"addr", "1.8", NULL, 0},
        {"addr", "1.", NULL, 0},
        {"addr", "zz", NULL, 0},
        {"legacy", "off", "off", VDS_PROP_STRING},
        {"legacy", "maybe", NULL, 0},
        {"rerror", "enospc", "enospc", VDS_PROP_STRING},
        {"netdev", "there", "there", VDS_PROP_STRING},
        {"rng", "there", "/objects/there", VDS_PROP_STRING},
        {"rng", "/objects/there", "/objects/there", VDS_PROP_STRING},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VdsPropertySet) set = parse(rows[i].name, rows[i].text, &error);
        bool below;
        VdsProp value = {0};

        if (!rows[i].shown) {
            assert_null(set);
            assert_true(
                g_error_matches(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY));
            assert_non_null(strstr(error->message, rows[i].name));
            continue;
        }
        assert_non_null(set);
        assert_true(vds_property_set_has(set, rows[i].name));
        vds_property_set_show(
            set, vds_device_type_find_property(&type, rows[i].name, &below), &value);
        assert_string_equal(value.text, rows[i].shown);
        assert_int_equal(value.kind, rows[i].kind);
        vds_prop_clear(&value);
    }
}

static void test_refusals_are_qemus(void **state)
{
    static const struct {
        const char *name, *text;
        VdsVirtioError code;
        const char *message;
    } rows[] = {
        {"foo", "1", VDS_VIRTIO_ERROR_PROPERTY, "Property 'x-pci.foo' not found"},
        {"packed", "maybe", VDS_VIRTIO_ERROR_PROPERTY,
         "Parameter 'packed' expects 'on' or 'off'"},
        {"u32", "abc", VDS_VIRTIO_ERROR_PROPERTY, "Parameter 'u32' expects integer"},
        {"u32", "99999999999", VDS_VIRTIO_ERROR_PROPERTY,
         "Parameter 'u32' expects uint32_t"},
        {"legacy", "maybe", VDS_VIRTIO_ERROR_PROPERTY,
         "Parameter 'legacy' does not accept value 'maybe'"},
        {"addr", "zz", VDS_VIRTIO_ERROR_PROPERTY,
         "Property 'x-pci.addr' doesn't take value 'zz'"},
        {"mac", "zz", VDS_VIRTIO_ERROR_PROPERTY,
         "Property 'x-device.mac' doesn't take value 'zz'"},
        {"netdev", "nope", VDS_VIRTIO_ERROR_BACKEND,
         "Property 'x-device.netdev' can't find value 'nope'"},
        {"netdev", "busy", VDS_VIRTIO_ERROR_BACKEND,
         "Property 'x-device.netdev' can't take value 'busy', it's in use"},
        {"chardev", "busy", VDS_VIRTIO_ERROR_BACKEND,
         "Property 'x-device.chardev' can't take value 'busy': Device 'busy' is in use"},
        {"rng", "nope", VDS_VIRTIO_ERROR_NO_OBJECT, "Device 'nope' not found"},
        {"iothread", "there", VDS_VIRTIO_ERROR_BACKEND,
         "Invalid parameter type for 'iothread', expected: iothread"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(parse(rows[i].name, rows[i].text, &error));
        assert_true(g_error_matches(error, VDS_VIRTIO_ERROR, (int)rows[i].code));
        assert_string_equal(error->message, rows[i].message);
    }
}

static void test_defaults_and_features(void **state)
{
    g_autoptr(VdsPropertySet) set = parse("packed", "on", NULL);
    VdsFeatures features = vds_property_set_features(set);

    assert_true(features.word[0] == (UINT64_C(1) << 34 | UINT64_C(1) << 29));
    assert_true(features.word[1] == 0);
    assert_int_equal(vds_property_set_get_uint(set, "u16"), 7);
    assert_true((int64_t)vds_property_set_get_uint(set, "i32") == -1);
    assert_null(vds_property_set_get_text(set, "str"));
    assert_false(vds_property_set_has(set, "u16"));
    assert_true(vds_property_set_get_bool(set, "packed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refusals_are_qemus),
        cmocka_unit_test(test_defaults_and_features),
    };

    return cmocka_run_group_tests_name("virtio-property", tests, NULL, NULL);
}
