/*
 * main: devices that a vhost-user front-end drives, each with its back-end: neither the
 * machine nor the back-ends know the other.  Main loop.
 */
#include <string.h>

#include "main-priv.h"
#include "vds/vhost_user.h"

struct VdsMainServed {
    GMainContext *context; /* borrowed */
    VdsMailbox *mailbox;   /* borrowed: the machine's */
    VdsGuestQuota *quota;  /* owned: of what front-ends have mapped */
    VdsVhostUserNewsFunc news;
    void *news_user;
    GHashTable *backends; /* VdsVirtioDevice (borrowed) -> VdsVhostUserBackend */
};

static void backend_free(void *backend)
{
    vds_vhost_user_backend_free(backend);
}

VdsMainServed *vds_main_served_new(GMainContext *context, VdsMailbox *mailbox,
                                   VdsVhostUserNewsFunc news, void *news_user)
{
    VdsMainServed *served = g_new0(VdsMainServed, 1);

    served->context = context;
    served->mailbox = mailbox;
    served->quota = vds_guest_quota_new_of_process();
    served->news = news;
    served->news_user = news_user;
    served->backends = g_hash_table_new_full(NULL, NULL, NULL, backend_free);
    return served;
}

void vds_main_served_free(VdsMainServed *served)
{
    if (served) {
        g_hash_table_unref(served->backends);
        vds_guest_quota_unref(served->quota);
        g_free(served);
    }
}

/* ---- coming and going ----------------------------------------------------------------
 */

enum { NET = 1 }; /* a device id */

#define BIT(feature) (UINT64_C(1) << VDS_VHOST_USER_P_##feature)

/* What is no business of a front-end of that kind.  QEMU warns of a configuration space
 * for which it does not ask. */
static uint64_t withheld(uint16_t device_id)
{
    const uint64_t net_alone = BIT(NET_MTU) | BIT(RARP);
    const struct {
        uint16_t device_id;
        uint64_t features;
    } rows[] = {
        {NET, BIT(CONFIG)},           /* net: the front-end's */
        {4, BIT(CONFIG) | net_alone}, /* rng has none */
        {8, BIT(CONFIG) | net_alone}, /* scsi: the front-end's */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].device_id == device_id) {
            return rows[i].features;
        }
    }
    return net_alone;
}

bool vds_main_served_plug(VdsMainServed *served, VdsVirtioDevice *device,
                          const VdsPropertySet *properties, GError **error)
{
    const VdsVhostUserBackendConfig config = {
        .path = vds_property_set_get_text(properties, "vhost-user"),
        .server = vds_property_set_get_bool(properties, "server"),
        .reconnect_s = (unsigned)vds_property_set_get_uint(properties, "reconnect"),
        .rings_a_queue = vds_virtio_device_get_id(device) == NET ? 2 : 1, /* pairs */
        .protocol_features = withheld(vds_virtio_device_get_id(device)),
        .mailbox = served->mailbox,
        .context = served->context,
        .quota = served->quota,
        .news = served->news,
        .news_user = served->news_user,
    };
    VdsVhostUserBackend *backend = vds_vhost_user_backend_new(&config, device, error);

    if (backend) {
        g_hash_table_insert(served->backends, device, backend);
    }
    return backend != NULL;
}

bool vds_main_served_unplug(VdsMainServed *served, VdsVirtioDevice *device)
{
    return g_hash_table_remove(served->backends, device);
}

static const VdsVhostUserBackend *find(const VdsMainServed *served,
                                       const VdsVirtioDevice *device)
{
    return g_hash_table_lookup(served->backends, device);
}

bool vds_main_served_has(const VdsMainServed *served, const VdsVirtioDevice *device)
{
    return find(served, device) != NULL;
}

/* ---- what the back-ends know ---------------------------------------------------------
 */

void vds_main_served_show_connected(const VdsMainServed *served,
                                    const VdsVirtioDevice *device, VdsProp *value)
{
    bool connected = vds_vhost_user_backend_is_connected(find(served, device));

    vds_prop_show_bool(value, connected);
}

void vds_main_served_show_connections(const VdsMainServed *served,
                                      const VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_uint(value,
                       vds_vhost_user_backend_get_connections(find(served, device)));
}

void vds_main_served_show_messages(const VdsMainServed *served,
                                   const VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_uint(value, vds_vhost_user_backend_get_messages(find(served, device)));
}

void vds_main_served_show_reason(const VdsMainServed *served,
                                 const VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_string(
        value, g_strdup(vds_vhost_user_backend_get_reason(find(served, device))));
}

void vds_main_served_show_refusal(const VdsMainServed *served,
                                  const VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_string(
        value, g_strdup(vds_vhost_user_backend_get_refusal(find(served, device))));
}

void vds_main_served_show_waiting(const VdsMainServed *served,
                                  const VdsVirtioDevice *device, VdsProp *value)
{
    vds_prop_show_uint(value, vds_vhost_user_backend_count_waiting(find(served, device)));
}

void vds_main_served_show_hint(const VdsMainServed *served, const VdsVirtioDevice *device,
                               VdsProp *value)
{
    vds_prop_show_string(value, vds_vhost_user_backend_get_hint(find(served, device)));
}
