/*
 * fuzz: the option grammar.  The input is argv, its words ended by NUL.  What is accepted
 * holds together; what is not has one error of the room; a property set prints to a text
 * that reads the same.
 */
#include <string.h>

#include "vds/cli.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 4096, MAX_WORDS = 64 };

/* ---- property sets ----------------------------------------------------------------- */

static char *props_print(const VdsProps *props)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < vds_props_count(props); i++) {
        const VdsProp *prop = vds_props_nth(props, i);

        g_string_append_printf(text, "%s%s=", i ? "," : "", prop->name);
        for (const char *c = prop->text; *c; c++) {
            g_string_append_printf(text, *c == ',' ? "%c," : "%c", *c);
        }
    }
    return g_string_free(text, FALSE);
}

static void require_equal(const VdsProps *a, const VdsProps *b)
{
    g_assert_cmpuint(vds_props_count(a), ==, vds_props_count(b));
    for (unsigned i = 0; i < vds_props_count(a); i++) {
        g_assert_cmpstr(vds_props_nth(a, i)->name, ==, vds_props_nth(b, i)->name);
        g_assert_cmpstr(vds_props_nth(a, i)->text, ==, vds_props_nth(b, i)->text);
    }
}

static void check_keyval(const char *text, const char *implied_key)
{
    g_autoptr(VdsProps) props = vds_keyval_parse(text, implied_key, NULL);
    g_autoptr(VdsProps) again = NULL;
    g_autofree char *printed = NULL;

    if (!props || text[0] == '{') { /* names in JSON may hold anything */
        return;
    }
    printed = props_print(props);
    if (printed[0] != '{') { /* "no{": the flag {=off */
        again = vds_keyval_parse(printed, NULL, NULL);
        g_assert_nonnull(again);
        require_equal(again, props);
    }
}

/* ---- options ----------------------------------------------------------------------- */

static void check_options(const VdsOptions *options)
{
    for (unsigned i = 0; i < options->mons->len; i++) {
        const VdsMon *mon = g_ptr_array_index(options->mons, i);

        g_assert_true(mon->chardev || options->show_help || options->show_version);
    }
    for (unsigned i = 0; i < options->chardevs->len; i++) {
        const VdsChardev *chardev = g_ptr_array_index(options->chardevs, i);

        g_assert_true(chardev->server || !chardev->wait);
        g_assert_true((chardev->kind == VDS_CHARDEV_SOCKET_FD) == (chardev->fd >= 0));
        g_assert_nonnull(chardev->origin);
    }
    for (unsigned i = 0; i < options->devices->len; i++) {
        const VdsDeviceOption *device = g_ptr_array_index(options->devices, i);

        g_assert_nonnull(vds_props_get_string(device->props, "driver"));
    }
    g_assert_cmpuint(options->memory_bytes, >, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_malloc0(MAX_BYTES + 1);
    const char *argv[MAX_WORDS + 1] = {"virtio-debugd"};
    g_autoptr(GError) error = NULL;
    g_autoptr(VdsOptions) options = NULL;
    int argc = 1;

    size = MIN(size, (size_t)MAX_BYTES);
    if (size > 0) {
        memcpy(text, data, size);
    }
    for (size_t at = 0; at < size && argc <= MAX_WORDS; at += strlen(text + at) + 1) {
        argv[argc++] = text + at;
        check_keyval(text + at, argc % 2 ? "driver" : NULL);
    }
    options = vds_options_parse(argc, argv, &error);
    if (options) {
        g_assert_no_error(error);
        check_options(options);
    } else {
        g_assert_true(error && error->domain == VDS_CLI_ERROR && error->message[0]);
    }
    return 0;
}
