/*
 * cmds: the five x-query-virtio commands.
 *
 * Status and queue status need the device's private words only; an element needs one
 * chain as well.  None of them changes anything, and none waits.
 */
#include "cmds-priv.h"

#include "vds/inspect.h"

/* ---- names to lists ------------------------------------------------------------------
 */

static QapiStrList str_list(VdsArena *arena, const char *const *names, unsigned n)
{
    QapiStrList list = {.n = n, .items = vds_arena_alloc_n(arena, n, sizeof(char *))};

    for (unsigned i = 0; i < n; i++) {
        list.items[i] = names[i];
    }
    return list;
}

static QapiVirtioDeviceFeatures device_features(VdsArena *arena, uint16_t device_id,
                                                const VdsFeatures *features)
{
    VdsFeatureNames names;

    vds_virtio_features_decode(device_id, features, &names);
    return (QapiVirtioDeviceFeatures){
        .transports = str_list(arena, names.transports, names.n_transports),
        /* Optional in the schema, but QEMU always sends it. */
        .has_dev_features = true,
        .dev_features = str_list(arena, names.dev_features, names.n_dev_features),
        .has_unknown_dev_features = names.unknown != 0,
        .unknown_dev_features = names.unknown,
    };
}

static QapiVirtioDeviceStatus device_status(VdsArena *arena, uint8_t status)
{
    VdsBitNames names;

    vds_virtio_status_decode(status, &names);
    return (QapiVirtioDeviceStatus){
        .statuses = str_list(arena, names.names, names.n),
        .has_unknown_statuses = names.unknown != 0,
        .unknown_statuses = (uint8_t)names.unknown,
    };
}

static QapiVhostDeviceProtocols device_protocols(VdsArena *arena, uint64_t protocols)
{
    VdsBitNames names;

    vds_virtio_protocols_decode(protocols, &names);
    return (QapiVhostDeviceProtocols){
        .protocols = str_list(arena, names.names, names.n),
        .has_unknown_protocols = names.unknown != 0,
        .unknown_protocols = names.unknown,
    };
}

/* ---- x-query-virtio ---------------------------------------------------------------- */

static void add_info(const char *path, VdsVirtioDevice *device, void *user)
{
    QapiVirtioInfoList *list = user;

    list->items[list->n++] = (QapiVirtioInfo){
        .path = path,
        .name = vds_virtio_id_name(vds_virtio_device_get_id(device)),
    };
}

QapiVirtioInfoList *qmp_x_query_virtio(VdsCmds *ctx, VdsArena *arena, GError **error)
{
    QapiVirtioInfoList *list = vds_arena_alloc(arena, sizeof(*list));

    list->items =
        vds_arena_alloc_n(arena, vds_machine_count(ctx->machine), sizeof(QapiVirtioInfo));
    vds_machine_foreach(ctx->machine, add_info, list);
    return list;
}

/* ---- x-query-virtio-status --------------------------------------------------------- */

static const char *const endian_names[] = {
    [VDS_ENDIAN_LITTLE] = "little",
    [VDS_ENDIAN_BIG] = "big",
    [VDS_ENDIAN_UNKNOWN] = "unknown",
};

/* The error text differs from command to command, as QEMU's does; format takes the length
 * and the text of the path. */
static VdsVirtioDevice *find_device(VdsCmds *ctx, const char *path, const char *what,
                                    GError **error)
{
    VdsVirtioDevice *device = vds_machine_find(ctx->machine, path, NULL);

    if (!device) {
        g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_PATH, "Path %.*s is not a %s",
                    vds_name_len(path), path, what);
    }
    return device;
}

static QapiVhostStatus *vhost_status(VdsArena *arena, const VdsDeviceState *state)
{
    const VdsVhostState *vhost = &state->vhost;
    QapiVhostStatus *status = vds_arena_alloc(arena, sizeof(*status));

    *status = (QapiVhostStatus){
        .n_mem_sections = vhost->n_mem_sections,
        .n_tmp_sections = vhost->n_tmp_sections,
        .nvqs = vhost->nvqs,
        .vq_index = vhost->vq_index,
        .features = device_features(arena, state->device_id, &vhost->features),
        .acked_features =
            device_features(arena, state->device_id, &vhost->acked_features),
        .backend_features =
            device_features(arena, state->device_id, &vhost->backend_features),
        .protocol_features = device_protocols(arena, vhost->protocol_features),
        .max_queues = vhost->max_queues,
        .backend_cap = vhost->backend_cap,
        .log_enabled = vhost->log_enabled,
        .log_size = vhost->log_size,
    };
    return status;
}

QapiVirtioStatus *qmp_x_query_virtio_status(VdsCmds *ctx, VdsArena *arena,
                                            const char *path, GError **error)
{
    VdsVirtioDevice *device = find_device(ctx, path, "realized VirtIODevice", error);
    QapiVirtioStatus *status;
    VdsDeviceState state;

    if (!device) {
        return NULL;
    }
    vds_virtio_device_get_state(device, &state);
    status = vds_arena_alloc(arena, sizeof(*status));
    *status = (QapiVirtioStatus){
        .name = vds_virtio_id_name(state.device_id),
        .device_id = state.device_id,
        .vhost_started = state.vhost_started,
        .device_endian = endian_names[state.endian],
        .guest_features = device_features(arena, state.device_id, &state.guest_features),
        .host_features = device_features(arena, state.device_id, &state.host_features),
        .backend_features =
            device_features(arena, state.device_id, &state.backend_features),
        .num_vqs = state.num_vqs,
        .status = device_status(arena, state.status),
        .isr = state.isr,
        .queue_sel = state.queue_sel,
        .vm_running = state.vm_running,
        .broken = state.broken,
        .disabled = state.disabled,
        .use_started = state.use_started,
        .started = state.started,
        .start_on_kick = state.start_on_kick,
        .disable_legacy_check = state.disable_legacy_check,
        .bus_name = state.bus_name,
        .use_guest_notifier_mask = state.use_guest_notifier_mask,
        .vhost_dev = state.vhost_started ? vhost_status(arena, &state) : NULL,
    };
    return status;
}

/* ---- x-query-virtio-queue-status --------------------------------------------------- */

static bool find_queue(VdsVirtioDevice *device, uint16_t queue, VdsQueueState *state,
                       GError **error)
{
    if (!vds_virtio_device_get_queue(device, queue, state)) {
        g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_QUEUE,
                    "Invalid virtqueue number %u", queue);
        return false;
    }
    return true;
}

static const char *device_name(VdsVirtioDevice *device)
{
    return vds_virtio_id_name(vds_virtio_device_get_id(device));
}

QapiVirtQueueStatus *qmp_x_query_virtio_queue_status(VdsCmds *ctx, VdsArena *arena,
                                                     const char *path, uint16_t queue,
                                                     GError **error)
{
    VdsVirtioDevice *device = find_device(ctx, path, "VirtIODevice", error);
    QapiVirtQueueStatus *status;
    VdsQueueState state;

    if (!device || !find_queue(device, queue, &state, error)) {
        return NULL;
    }
    status = vds_arena_alloc(arena, sizeof(*status));
    *status = (QapiVirtQueueStatus){
        .name = device_name(device),
        .queue_index = queue,
        .inuse = state.inuse,
        .vring_num = state.num,
        .vring_num_default = state.num_default,
        .vring_align = state.align,
        .vring_desc = state.desc,
        .vring_avail = state.avail,
        .vring_used = state.used,
        .has_last_avail_idx = state.has_last_avail,
        .last_avail_idx = state.last_avail_idx,
        .has_shadow_avail_idx = state.has_shadow_avail,
        .shadow_avail_idx = state.shadow_avail_idx,
        .used_idx = state.used_idx,
        .signalled_used = state.signalled_used,
        .signalled_used_valid = state.signalled_used_valid,
    };
    return status;
}

/* ---- x-query-virtio-vhost-queue-status --------------------------------------------- */

QapiVirtVhostQueueStatus *
qmp_x_query_virtio_vhost_queue_status(VdsCmds *ctx, VdsArena *arena, const char *path,
                                      uint16_t queue, GError **error)
{
    VdsVirtioDevice *device = find_device(ctx, path, "VirtIODevice", error);
    QapiVirtVhostQueueStatus *status;
    VdsDeviceState device_state;
    VdsQueueState state;

    if (!device) {
        return NULL;
    }
    vds_virtio_device_get_state(device, &device_state);
    if (!device_state.vhost_started) {
        g_set_error_literal(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_VHOST,
                            "Error: vhost device has not started yet");
        return NULL;
    }
    if (!vds_virtio_device_get_vhost_queue(device, queue, &state)) {
        g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_QUEUE,
                    "Invalid vhost virtqueue number %u", queue);
        return NULL;
    }
    status = vds_arena_alloc(arena, sizeof(*status));
    *status = (QapiVirtVhostQueueStatus){
        .name = device_name(device),
        .kick = state.vhost.kick,
        .call = state.vhost.call,
        .desc = state.vhost.desc,
        .avail = state.vhost.avail,
        .used = state.vhost.used,
        .num = state.num,
        .desc_phys = state.desc,
        .desc_size = vds_queue_desc_size(&state),
        .avail_phys = state.avail,
        .avail_size = vds_queue_avail_size(&state),
        .used_phys = state.used,
        .used_size = vds_queue_used_size(&state),
    };
    return status;
}

/* ---- x-query-virtio-queue-element -------------------------------------------------- */

static QapiVirtioRingDescList element_descs(VdsArena *arena, const VdsElement *element)
{
    QapiVirtioRingDescList list = {
        .n = element->n,
        .items = vds_arena_alloc_n(arena, element->n, sizeof(QapiVirtioRingDesc)),
    };

    for (size_t i = 0; i < list.n; i++) {
        const VdsDesc *desc = vds_element_desc(element, i);
        VdsBitNames flags;

        vds_virtio_desc_flags_decode(desc->flags, &flags);
        list.items[i] = (QapiVirtioRingDesc){
            .addr = desc->addr,
            .len = desc->len,
            .flags = str_list(arena, flags.names, flags.n),
        };
    }
    return list;
}

static bool has_moved(const VdsQueueState *before, const VdsQueueState *after)
{
    return before->last_avail_idx != after->last_avail_idx ||
           before->used_idx != after->used_idx || before->desc != after->desc ||
           before->last_avail_wrap != after->last_avail_wrap ||
           before->used_wrap != after->used_wrap;
}

/* A ring's memory is read without a lock: when the queue's own words have changed
 * meanwhile, the chain may be of no single moment, so it is read again.  A queue that
 * never stands still is answered all the same, and that is counted. */
static VdsChain *read_chain(VdsVirtioDevice *device, unsigned n,
                            const VdsQueueState *state, bool has_index, uint16_t index,
                            GError **error)
{
    enum { RETAKES = 3 };
    VdsQueueState before, after = *state;
    VdsChain *chain = NULL;
    unsigned taken = 0;

    do {
        vds_chain_free(chain);
        g_clear_error(error);
        before = after;
        chain = vds_chain_read(&before, has_index, index, error);
    } while (vds_virtio_device_get_queue(device, n, &after) &&
             has_moved(&before, &after) && taken++ < RETAKES);
    if (taken > RETAKES) {
        vds_virtio_device_count_torn(device);
    }
    return chain;
}

QapiVirtioQueueElement *qmp_x_query_virtio_queue_element(VdsCmds *ctx, VdsArena *arena,
                                                         const char *path, uint16_t queue,
                                                         bool has_index, uint16_t index,
                                                         GError **error)
{
    VdsVirtioDevice *device = find_device(ctx, path, "VirtIO device", error);
    g_autoptr(VdsChain) chain = NULL;
    QapiVirtioQueueElement *reply;
    VdsQueueState state;
    VdsElement element;

    if (!device || !find_queue(device, queue, &state, error)) {
        return NULL;
    }
    chain = read_chain(device, queue, &state, has_index, index, error);
    if (!chain) {
        return NULL;
    }
    vds_element_init(&element, chain);
    reply = vds_arena_alloc(arena, sizeof(*reply));
    *reply = (QapiVirtioQueueElement){
        .name = device_name(device),
        .index = element.index,
        .descs = element_descs(arena, &element),
        .avail = {.flags = element.avail_flags,
                  .idx = element.avail_idx,
                  .ring = element.avail_ring},
        .used = {.flags = element.used_flags, .idx = element.used_idx},
    };
    return reply;
}
