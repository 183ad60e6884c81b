/*
 * devices: what a device is whose driver is a vhost-user front-end (property
 * "vhost-user"): which properties go with it, and which features a back-end offers.  The
 * transport is the front-end's, so nothing of the form's is left.  Refuses to know
 * sockets and messages.
 */
#include "kind-priv.h"

bool vds_kind_is_served(const VdsDeviceArgs *args)
{
    return vds_property_set_get_text(args->properties, "vhost-user") != NULL;
}

/* One driver a device: the built-in guest's words make no sense beside a front-end's. */
static const struct {
    const char *name;
    bool any; /* whatever its value; else: unless it is 1 ("none") */
} guests_words[] = {{"guest", false}, {"workload", true}, {"rate", true}};

static bool check_driver(const VdsPropertySet *set, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(guests_words); i++) {
        const char *name = guests_words[i].name;

        if (vds_property_set_has(set, name) &&
            (guests_words[i].any || vds_property_set_get_uint(set, name) != 1)) {
            return vds_kind_refuse(error,
                                   "'vhost-user' and '%s' exclude each other: a device "
                                   "has one driver, a front-end or the built-in guest",
                                   name);
        }
    }
    return true;
}

static bool check_socket(const VdsPropertySet *set, GError **error)
{
    const char *path = vds_property_set_get_text(set, "vhost-user");
    bool server = vds_property_set_get_bool(set, "server");

    if (!path) {
        return (!vds_property_set_has(set, "server") &&
                !vds_property_set_has(set, "reconnect")) ||
               vds_kind_refuse(error, "'server' and 'reconnect' "
                                      "need 'vhost-user'");
    }
    if (path[0] == '\0') {
        return vds_kind_refuse(error, "'vhost-user' expects the path of a socket");
    }
    if (server && vds_property_set_get_uint(set, "reconnect") != 0) {
        return vds_kind_refuse(error, "'reconnect' needs 'server=off'");
    }
    return true;
}

/* RING_RESET has no message of its own, ACCESS_PLATFORM would need an IOTLB; the packed
 * ring is offered unless it was refused: who has it and who not is the front-end's
 * choice.
 */
static void offer(const VdsPropertySet *set, VdsFeatures *features)
{
    bool packed =
        !vds_property_set_has(set, "packed") || vds_property_set_get_bool(set, "packed");

    vds_features_set(features, VDS_F_VERSION_1, true);
    vds_features_set(features, VDS_F_BAD_FEATURE, false);
    vds_features_set(features, VDS_F_RING_PACKED, packed);
    vds_features_set(features, VDS_F_RING_RESET, false);
}

bool vds_kind_serve(const VdsDeviceArgs *args, VdsFeatures *features, GError **error)
{
    const VdsPropertySet *set = args->properties;

    if (!check_socket(set, error)) {
        return false;
    }
    if (!vds_kind_is_served(args)) {
        return true;
    }
    if (!check_driver(set, error)) {
        return false;
    }
    if (vds_features_has(features, VDS_F_ACCESS_PLATFORM)) {
        return vds_kind_refuse(error, "'iommu_platform' cannot be had with 'vhost-user'");
    }
    offer(set, features);
    return true;
}
