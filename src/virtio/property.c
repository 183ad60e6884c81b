/*
 * virtio: typed properties: how a value is read from text and shown, one row a type.
 * Refuses to know what a property means.  Texts of refusals are QEMU's.
 */
#include <errno.h>
#include <string.h>

#include "vds/virtio.h"

#define refuse(error, ...)                                                               \
    vds_refuse(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_PROPERTY, __VA_ARGS__)

/* ---- booleans and words ----------------------------------------------------------- */

static bool bool_parse(const VdsProperty *property, const VdsPropertyContext *context,
                       const char *text, VdsPropertyValue *value, GError **error)
{
    VdsProp prop = {(char *)property->name, VDS_PROP_STRING, (char *)text, {0}};
    bool on;

    if (!vds_prop_get_bool(&prop, &on, NULL)) {
        return refuse(error, "Parameter '%s' expects 'on' or 'off'", property->name);
    }
    value->number = on;
    return true;
}

static void bool_show(const VdsProperty *property, const VdsPropertyValue *value,
                      VdsProp *to)
{
    to->kind = VDS_PROP_BOOL;
    to->u.boolean = value->number != 0;
    to->text = g_strdup(to->u.boolean ? "true" : "false");
}

static bool word_parse(const VdsProperty *property, const VdsPropertyContext *context,
                       const char *text, VdsPropertyValue *value, GError **error)
{
    const char *const *words = property->type->words;

    for (uint64_t i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            value->number = i;
            return true;
        }
    }
    return refuse(error, "Parameter '%s' does not accept value '%.*s'", property->name,
                  vds_name_len(text), text);
}

static void word_show(const VdsProperty *property, const VdsPropertyValue *value,
                      VdsProp *to)
{
    to->kind = VDS_PROP_STRING;
    to->text = g_strdup(property->type->words[value->number]);
}

/* ---- numbers ---------------------------------------------------------------------- */

/* strtoull's grammar, as QEMU takes it: white space, a sign, 0x and leading-zero octal;
 * a negative number wraps. */
static bool uint_parse(const VdsProperty *property, const VdsPropertyContext *context,
                       const char *text, VdsPropertyValue *value, GError **error)
{
    const VdsPropertyType *type = property->type;
    char *end;

    errno = 0;
    value->number = g_ascii_strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0') {
        return refuse(error, "Parameter '%s' expects integer", property->name);
    }
    if (value->number < type->min || value->number > type->max) {
        return refuse(error, "Parameter '%s' expects %s_t", property->name, type->name);
    }
    return true;
}

static void uint_show(const VdsProperty *property, const VdsPropertyValue *value,
                      VdsProp *to)
{
    to->kind = value->number > INT64_MAX ? VDS_PROP_UINT : VDS_PROP_INT;
    to->u.uinteger = value->number;
    to->text = g_strdup_printf("%" PRIu64, value->number);
}

/* min and max hold the two's complement of the bounds. */
static bool int_parse(const VdsProperty *property, const VdsPropertyContext *context,
                      const char *text, VdsPropertyValue *value, GError **error)
{
    const VdsPropertyType *type = property->type;
    int64_t number;
    char *end;

    errno = 0;
    number = g_ascii_strtoll(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0') {
        return refuse(error, "Parameter '%s' expects integer", property->name);
    }
    if (number < (int64_t)type->min || number > (int64_t)type->max) {
        return refuse(error, "Parameter '%s' expects %s_t", property->name, type->name);
    }
    value->number = (uint64_t)number;
    return true;
}

static void int_show(const VdsProperty *property, const VdsPropertyValue *value,
                     VdsProp *to)
{
    to->kind = VDS_PROP_INT;
    to->u.integer = (int64_t)value->number;
    to->text = g_strdup_printf("%" PRId64, to->u.integer);
}

static bool size_parse(const VdsProperty *property, const VdsPropertyContext *context,
                       const char *text, VdsPropertyValue *value, GError **error)
{
    VdsProp prop = {(char *)property->name, VDS_PROP_STRING, (char *)text, {0}};

    if (!vds_prop_get_size(&prop, 1, &value->number, NULL)) {
        return refuse(error, "Parameter '%s' expects size", property->name);
    }
    return true;
}

/* ---- text ------------------------------------------------------------------------- */

static bool str_parse(const VdsProperty *property, const VdsPropertyContext *context,
                      const char *text, VdsPropertyValue *value, GError **error)
{
    value->text = g_strdup(text);
    return true;
}

static void str_show(const VdsProperty *property, const VdsPropertyValue *value,
                     VdsProp *to)
{
    to->kind = VDS_PROP_STRING;
    to->text = g_strdup(value->text ? value->text : "");
}

static bool refuse_text(const VdsProperty *property, const VdsPropertyContext *context,
                        const char *text, GError **error)
{
    return refuse(error, "Property '%s.%s' doesn't take value '%.*s'", context->owner,
                  property->name, vds_name_len(text), text);
}

/* Six bytes in hexadecimal, all separated by ':' or all by '-'. */
static bool mac_parse(const VdsProperty *property, const VdsPropertyContext *context,
                      const char *text, VdsPropertyValue *value, GError **error)
{
    if (strlen(text) != 17) {
        return refuse_text(property, context, text, error);
    }
    for (unsigned i = 0; i < 17; i++) {
        bool ok =
            i % 3 == 2 ? text[i] == ':' || text[i] == '-' : g_ascii_isxdigit(text[i]);

        if (!ok) {
            return refuse_text(property, context, text, error);
        }
    }
    value->text = g_ascii_strdown(text, -1);
    g_strdelimit(value->text, "-", ':');
    return true;
}

/* "slot[.function]" in hexadecimal, or the number slot * 8 + function. */
static bool pci_address_parse(const VdsProperty *property,
                              const VdsPropertyContext *context, const char *text,
                              VdsPropertyValue *value, GError **error)
{
    uint64_t slot, function = 0;
    char *end;

    slot = g_ascii_strtoull(text, &end, 16);
    if (end == text || !g_ascii_isxdigit(text[0])) {
        return refuse_text(property, context, text, error);
    }
    if (*end == '.') {
        const char *digits = end + 1;

        function = g_ascii_strtoull(digits, &end, 16);
        if (!g_ascii_isxdigit(*digits)) {
            return refuse_text(property, context, text, error);
        }
    }
    if (*end != '\0' || slot > 31 || function > 7) {
        return refuse_text(property, context, text, error);
    }
    value->number = slot << 3 | function;
    return true;
}

/* ---- parts ------------------------------------------------------------------------ */

/* -netdev, -chardev, -fsdev, a block node: looked for by the property, which names the
 * type that owns it.  `busy` is how a second user is refused. */
static bool part_parse(const VdsProperty *property, const VdsPropertyContext *context,
                       const char *text, const char *busy, VdsPropertyValue *value,
                       GError **error)
{
    const VdsDeviceHost *host = context->host;

    if (!host->find_backend(host, property->backend, text)) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                    "Property '%s.%s' can't find value '%.*s'", context->owner,
                    property->name, vds_name_len(text), text);
        return false;
    }
    if (property->exclusive && !host->claim_backend(host, property->backend, text)) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                    "Property '%s.%s' can't take value '%.*s'%s", context->owner,
                    property->name, vds_name_len(text), text, busy);
        return false;
    }
    value->text = g_strdup(text);
    return true;
}

static bool backend_parse(const VdsProperty *property, const VdsPropertyContext *context,
                          const char *text, VdsPropertyValue *value, GError **error)
{
    return part_parse(property, context, text, ", it's in use", value, error);
}

static bool chardev_parse(const VdsProperty *property, const VdsPropertyContext *context,
                          const char *text, VdsPropertyValue *value, GError **error)
{
    g_autofree char *busy =
        g_strdup_printf(": Device '%.*s' is in use", vds_name_len(text), text);

    return part_parse(property, context, text, busy, value, error);
}

/* true if an object of type `qom_type` may stand where "link<wanted>" is asked for:
 * QEMU's families share a prefix ("rng-random" is an "rng-backend"). */
static bool object_fits(const char *qom_type, const char *wanted)
{
    const char *dash = strrchr(wanted, '-');
    size_t family = dash ? (size_t)(dash - wanted) : strlen(wanted);

    return strncmp(qom_type, wanted, family) == 0 &&
           (dash ? qom_type[family] == '-' : qom_type[family] == '\0');
}

/* An -object, by id or by its path in /objects. */
static bool link_parse(const VdsProperty *property, const VdsPropertyContext *context,
                       const char *text, VdsPropertyValue *value, GError **error)
{
    const VdsDeviceHost *host = context->host;
    const char *id = g_str_has_prefix(text, "/objects/") ? text + 9 : text;
    const VdsProps *object = host->find_backend(host, property->backend, id);
    g_autofree char *wanted = NULL;
    const char *qom_type;

    if (!object) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_NO_OBJECT,
                    "Device '%.*s' not found", vds_name_len(text), text);
        return false;
    }
    qom_type = vds_props_get_string(object, "qom-type");
    wanted = g_strdup(property->type_name + strlen("link<"));
    wanted[strlen(wanted) - 1] = '\0';
    if (!qom_type || !object_fits(qom_type, wanted)) {
        g_set_error(error, VDS_VIRTIO_ERROR, VDS_VIRTIO_ERROR_BACKEND,
                    "Invalid parameter type for '%s', expected: %s", property->name,
                    wanted);
        return false;
    }
    value->text = g_strdup_printf("/objects/%s", id);
    return true;
}

/* ---- the rows --------------------------------------------------------------------- */

#define UINT_TYPE(bits)                                                                  \
    {                                                                                    \
        .name = "uint" #bits, .parse = uint_parse, .show = uint_show,                    \
        .max = UINT##bits##_MAX                                                          \
    }
#define INT_TYPE(bits)                                                                   \
    {                                                                                    \
        .name = "int" #bits, .parse = int_parse, .show = int_show,                       \
        .min = (uint64_t)INT##bits##_MIN, .max = INT##bits##_MAX                         \
    }

static const char *const on_off_auto_words[] = {"auto", "on", "off", NULL};
static const char *const guest_words[] = {"builtin", "none", NULL};
static const char *const workload_words[] = {"idle", "light", NULL};
static const char *const on_error_words[] = {"report", "ignore", "enospc",
                                             "stop",   "auto",   NULL};

static const char *const link_speed_words[] = {"2_5", "5", "8", "16", NULL};
static const char *const link_width_words[] = {"1",  "2",  "4",  "8",
                                               "12", "16", "32", NULL};

const VdsPropertyType vds_property_bool = {"bool", bool_parse, bool_show, 0, 0, NULL};
const VdsPropertyType vds_property_uint8 = UINT_TYPE(8);
const VdsPropertyType vds_property_uint16 = UINT_TYPE(16);
const VdsPropertyType vds_property_uint32 = UINT_TYPE(32);
const VdsPropertyType vds_property_uint64 = UINT_TYPE(64);
const VdsPropertyType vds_property_int32 = INT_TYPE(32);
const VdsPropertyType vds_property_int64 = INT_TYPE(64);
const VdsPropertyType vds_property_size = {"size", size_parse, uint_show, 0, 0, NULL};
const VdsPropertyType vds_property_str = {"str", str_parse, str_show, 0, 0, NULL};
const VdsPropertyType vds_property_mac = {"str", mac_parse, str_show, 0, 0, NULL};
const VdsPropertyType vds_property_pci_address = {
    "int32", pci_address_parse, int_show, 0, 0, NULL};
const VdsPropertyType vds_property_on_off_auto = {
    "OnOffAuto", word_parse, word_show, 0, 0, on_off_auto_words};
const VdsPropertyType vds_property_on_error = {
    "BlockdevOnError", word_parse, word_show, 0, 0, on_error_words};
const VdsPropertyType vds_property_link_speed = {
    "PCIELinkSpeed", word_parse, word_show, 0, 0, link_speed_words};
const VdsPropertyType vds_property_link_width = {
    "PCIELinkWidth", word_parse, word_show, 0, 0, link_width_words};
/* Ours: who drives a device, with what, and how many requests a second. */
const VdsPropertyType vds_property_guest = {"VdsGuest", word_parse, word_show,
                                            0,          0,          guest_words};
const VdsPropertyType vds_property_workload = {"VdsWorkload", word_parse, word_show, 0, 0,
                                               workload_words};
const VdsPropertyType vds_property_rate = {"uint32", uint_parse, uint_show,
                                           1,        1000000,    NULL};
const VdsPropertyType vds_property_backend = {"str", backend_parse, str_show, 0, 0, NULL};
const VdsPropertyType vds_property_chardev = {"str", chardev_parse, str_show, 0, 0, NULL};
const VdsPropertyType vds_property_link = {"link", link_parse, str_show, 0, 0, NULL};
