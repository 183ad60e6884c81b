/*
 * devices: virtio-net's cable: pulled, it carries nothing, and a driver that asked to
 * know sees it in the configuration space (virtio 1.2, 5.1.4).  A reset does not plug it
 * in.
 */
#include <stdatomic.h>

#include "net-priv.h"

bool vds_net_link_is_up(const VdsNet *net)
{
    return !atomic_load_explicit(&net->link_down, memory_order_relaxed);
}

typedef struct {
    VdsNet *net;
    bool up;
} LinkChange;

/* On the I/O thread, where commands change the other bits of this word. */
static void change(void *user)
{
    const LinkChange *change = user;
    VdsVirtioDevice *device = change->net->state.device;
    uint8_t status[2];

    atomic_store_explicit(&change->net->link_down, !change->up, memory_order_relaxed);
    vds_virtio_device_get_config(device, VDS_NET_CONFIG_STATUS, status, sizeof(status));
    status[0] &= (uint8_t)~VDS_NET_S_LINK_UP;
    status[0] |= change->up ? VDS_NET_S_LINK_UP : 0;
    vds_virtio_device_set_config(device, VDS_NET_CONFIG_STATUS, status, sizeof(status));
}

bool vds_net_set_link(VdsNet *net, bool up, GError **error)
{
    VdsIoThread *thread = vds_virtio_device_get_io_thread(net->state.device);
    LinkChange request = {net, up};

    if (up == vds_net_link_is_up(net)) {
        return true;
    }
    if (!vds_io_thread_start(thread, error)) {
        return false;
    }
    vds_io_thread_call(thread, change, &request);
    return true;
}
