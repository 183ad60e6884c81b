/*
 * virtio: what a driver may ask of a status and of a set of features, as pure functions
 * of both.  Refuses to know a device's state.  virtio 1.2, 2.1, 2.2 and 3.1.1.
 */
#include "device-priv.h"

/* A bit may be set when all it requires is set before, or by the same write in an
 * earlier row.  Rows are in the order of virtio 1.2, 3.1.1, but for FEATURES_OK: a driver
 * must have seen it accepted before it goes on. */
static const struct {
    uint8_t bit;
    uint8_t required;
    uint8_t required_modern; /* with VERSION_1 */
    const char *name;
} status_rules[] = {
    {VDS_STATUS_ACKNOWLEDGE, 0, 0, "ACKNOWLEDGE"},
    {VDS_STATUS_DRIVER, VDS_STATUS_ACKNOWLEDGE, 0, "DRIVER"},
    {VDS_STATUS_DRIVER_OK, VDS_STATUS_DRIVER, VDS_STATUS_FEATURES_OK, "DRIVER_OK"},
    {VDS_STATUS_FEATURES_OK, VDS_STATUS_DRIVER, 0, "FEATURES_OK"},
    {VDS_STATUS_FAILED, 0, 0, "FAILED"},
};

enum { KNOWN_BITS = 0xcf };

/* (nullable) the name of the first bit that comes too early */
static const char *first_unmet(uint8_t from, uint8_t to, bool version_1)
{
    uint8_t have = from;

    for (size_t i = 0; i < G_N_ELEMENTS(status_rules); i++) {
        uint8_t required = status_rules[i].required;

        if (version_1) {
            required |= status_rules[i].required_modern;
        }
        if ((to & ~from & status_rules[i].bit) && (required & ~have)) {
            return status_rules[i].name;
        }
        have |= to & status_rules[i].bit;
    }
    return NULL;
}

char *vds_status_refusal(uint8_t from, uint8_t to, bool version_1)
{
    uint8_t set = to & ~from;
    /* A driver that has not seen NEEDS_RESET yet writes it away without meaning it. */
    uint8_t cleared = from & ~to & ~VDS_STATUS_NEEDS_RESET;
    const char *unmet;

    if (cleared) {
        return g_strdup_printf("status 0x%02x to 0x%02x clears 0x%02x without a reset",
                               from, to, cleared);
    }
    if (set & ~KNOWN_BITS) {
        return g_strdup_printf("status 0x%02x sets reserved bits 0x%02x", to,
                               set & ~KNOWN_BITS);
    }
    if (set & VDS_STATUS_NEEDS_RESET) {
        return g_strdup_printf("status 0x%02x sets NEEDS_RESET, which is the device's",
                               to);
    }
    if (set && (from & VDS_STATUS_FAILED)) {
        return g_strdup_printf("status 0x%02x to 0x%02x goes on after FAILED", from, to);
    }
    unmet = first_unmet(from, to, version_1);
    return unmet ? g_strdup_printf("status 0x%02x to 0x%02x: too early for %s", from, to,
                                   unmet)
                 : NULL;
}

char *vds_features_refusal(const VdsFeatures *offered, const VdsFeatures *asked)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(asked->word); i++) {
        uint64_t extra = asked->word[i] & ~offered->word[i];

        if (extra) {
            return g_strdup_printf("feature bit %u was not offered",
                                   i * 64 + (unsigned)__builtin_ctzll(extra));
        }
    }
    if (vds_features_has(asked, VDS_F_BAD_FEATURE)) {
        return g_strdup_printf("feature bit %d is there to be left alone",
                               VDS_F_BAD_FEATURE);
    }
    /* FEATURES_OK is not a step of the legacy interface (virtio 1.2, 3.1.2). */
    if (!vds_features_has(asked, VDS_F_VERSION_1)) {
        return g_strdup("FEATURES_OK without VERSION_1");
    }
    return NULL;
}
