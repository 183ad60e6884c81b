/*
 * cmds: the five virtio queries as `info` prints them, in QEMU's layout.
 */
#include "hmp-priv.h"

static const char *yes_no(bool value)
{
    return value ? "true" : "false";
}

/* One string a line behind a tab, joined by commas; an empty list is an empty line. */
static void print_list(GString *out, const QapiStrList *list)
{
    for (size_t i = 0; i < list->n; i++) {
        g_string_append_printf(out, "%s\t%s", i > 0 ? ",\n" : "", list->items[i]);
    }
    g_string_append_c(out, '\n');
}

static void print_features(GString *out, const char *title,
                           const QapiVirtioDeviceFeatures *features)
{
    g_string_append_printf(out, "%s:\n", title);
    print_list(out, &features->transports);
    if (features->dev_features.n > 0) {
        print_list(out, &features->dev_features);
    }
    if (features->has_unknown_dev_features) {
        g_string_append_printf(out, "  unknown-features(0x%016" PRIx64 ")\n",
                               features->unknown_dev_features);
    }
}

/* Takes the queue number as 32 bits, which QEMU cuts to 16 without a word. */
static bool queue_fits(const HmpArg *arg, GError **error)
{
    if (arg->number > UINT16_MAX) {
        g_set_error(error, VDS_CMDS_ERROR, VDS_CMDS_ERROR_QUEUE,
                    "Invalid virtqueue number %u", arg->number);
        return false;
    }
    return true;
}

void hmp_info_virtio(VdsCmds *cmds, const HmpArg *args, GString *out, GError **error)
{
    const QapiVirtioInfoList *list = qmp_x_query_virtio(cmds, cmds->hmp_arena, error);

    for (size_t i = 0; i < list->n; i++) {
        g_string_append_printf(out, "%s [%s]\n", list->items[i].path,
                               list->items[i].name);
    }
    if (list->n == 0) {
        g_string_append(out, "No VirtIO devices\n");
    }
}

/* ---- info virtio-status ------------------------------------------------------------ */

static void print_vhost(GString *out, const QapiVhostStatus *vhost)
{
    g_string_append(out, "  VHost:\n");
    g_string_append_printf(out, "    nvqs:           %u\n", vhost->nvqs);
    g_string_append_printf(out, "    vq_index:       %" PRId64 "\n", vhost->vq_index);
    g_string_append_printf(out, "    max_queues:     %" PRIu64 "\n", vhost->max_queues);
    g_string_append_printf(out, "    n_mem_sections: %" PRId64 "\n",
                           vhost->n_mem_sections);
    g_string_append_printf(out, "    n_tmp_sections: %" PRId64 "\n",
                           vhost->n_tmp_sections);
    g_string_append_printf(out, "    backend_cap:    %" PRIu64 "\n", vhost->backend_cap);
    g_string_append_printf(out, "    log_enabled:    %s\n", yes_no(vhost->log_enabled));
    g_string_append_printf(out, "    log_size:       %" PRIu64 "\n", vhost->log_size);
    print_features(out, "    Features", &vhost->features);
    print_features(out, "    Acked features", &vhost->acked_features);
    print_features(out, "    Backend features", &vhost->backend_features);
    g_string_append(out, "    Protocol features:\n");
    print_list(out, &vhost->protocol_features.protocols);
    if (vhost->protocol_features.has_unknown_protocols) {
        g_string_append_printf(out, "  unknown-protocols(0x%016" PRIx64 ")\n",
                               vhost->protocol_features.unknown_protocols);
    }
}

static void print_flags(GString *out, const QapiVirtioStatus *status)
{
    const struct {
        const char *name;
        bool value;
    } flags[] = {
        {"broken", status->broken},
        {"disabled", status->disabled},
        {"disable_legacy_check", status->disable_legacy_check},
        {"started", status->started},
        {"use_started", status->use_started},
        {"start_on_kick", status->start_on_kick},
        {"use_guest_notifier_mask", status->use_guest_notifier_mask},
        {"vm_running", status->vm_running},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        g_string_append_printf(out, "  %s:%*s%s\n", flags[i].name,
                               24 - (int)strlen(flags[i].name), "",
                               yes_no(flags[i].value));
    }
}

void hmp_info_virtio_status(VdsCmds *cmds, const HmpArg *args, GString *out,
                            GError **error)
{
    const QapiVirtioStatus *status =
        qmp_x_query_virtio_status(cmds, cmds->hmp_arena, args[0].text, error);

    if (!status) {
        return;
    }
    g_string_append_printf(out, "%s:\n", args[0].text);
    g_string_append_printf(out, "  device_name:             %s %s\n", status->name,
                           status->vhost_dev ? "(vhost)" : "");
    g_string_append_printf(out, "  device_id:               %u\n", status->device_id);
    g_string_append_printf(out, "  vhost_started:           %s\n",
                           yes_no(status->vhost_started));
    g_string_append_printf(out, "  bus_name:                %s\n", status->bus_name);
    print_flags(out, status);
    g_string_append_printf(out, "  num_vqs:                 %" PRId64 "\n",
                           status->num_vqs);
    g_string_append_printf(out, "  queue_sel:               %u\n", status->queue_sel);
    g_string_append_printf(out, "  isr:                     %u\n", status->isr);
    g_string_append_printf(out, "  endianness:              %s\n", status->device_endian);
    g_string_append(out, "  status:\n");
    print_list(out, &status->status.statuses);
    if (status->status.has_unknown_statuses) {
        g_string_append_printf(out, "  unknown-statuses(0x%016x)\n",
                               status->status.unknown_statuses);
    }
    print_features(out, "  Guest features", &status->guest_features);
    print_features(out, "  Host features", &status->host_features);
    print_features(out, "  Backend features", &status->backend_features);
    if (status->vhost_dev) {
        print_vhost(out, status->vhost_dev);
    }
}

/* ---- info virtio-queue-status ------------------------------------------------------ */

void hmp_info_virtio_queue_status(VdsCmds *cmds, const HmpArg *args, GString *out,
                                  GError **error)
{
    const QapiVirtQueueStatus *status =
        queue_fits(&args[1], error)
            ? qmp_x_query_virtio_queue_status(cmds, cmds->hmp_arena, args[0].text,
                                              (uint16_t)args[1].number, error)
            : NULL;

    if (!status) {
        return;
    }
    g_string_append_printf(out, "%s:\n", args[0].text);
    g_string_append_printf(out, "  device_name:          %s\n", status->name);
    g_string_append_printf(out, "  queue_index:          %u\n", status->queue_index);
    g_string_append_printf(out, "  inuse:                %u\n", status->inuse);
    g_string_append_printf(out, "  used_idx:             %u\n", status->used_idx);
    g_string_append_printf(out, "  signalled_used:       %u\n", status->signalled_used);
    g_string_append_printf(out, "  signalled_used_valid: %s\n",
                           yes_no(status->signalled_used_valid));
    if (status->has_last_avail_idx) {
        g_string_append_printf(out, "  last_avail_idx:       %u\n",
                               status->last_avail_idx);
    }
    if (status->has_shadow_avail_idx) {
        g_string_append_printf(out, "  shadow_avail_idx:     %u\n",
                               status->shadow_avail_idx);
    }
    g_string_append(out, "  VRing:\n");
    g_string_append_printf(out, "    num:          %u\n", status->vring_num);
    g_string_append_printf(out, "    num_default:  %u\n", status->vring_num_default);
    g_string_append_printf(out, "    align:        %u\n", status->vring_align);
    g_string_append_printf(out, "    desc:         0x%016" PRIx64 "\n",
                           status->vring_desc);
    g_string_append_printf(out, "    avail:        0x%016" PRIx64 "\n",
                           status->vring_avail);
    g_string_append_printf(out, "    used:         0x%016" PRIx64 "\n",
                           status->vring_used);
}

/* ---- info virtio-vhost-queue-status ------------------------------------------------ */

void hmp_info_virtio_vhost_queue_status(VdsCmds *cmds, const HmpArg *args, GString *out,
                                        GError **error)
{
    const QapiVirtVhostQueueStatus *status =
        queue_fits(&args[1], error)
            ? qmp_x_query_virtio_vhost_queue_status(cmds, cmds->hmp_arena, args[0].text,
                                                    (uint16_t)args[1].number, error)
            : NULL;

    if (!status) {
        return;
    }
    g_string_append_printf(out, "%s:\n", args[0].text);
    g_string_append_printf(out, "  device_name:          %s (vhost)\n", status->name);
    g_string_append_printf(out, "  kick:                 %" PRId64 "\n", status->kick);
    g_string_append_printf(out, "  call:                 %" PRId64 "\n", status->call);
    g_string_append(out, "  VRing:\n");
    g_string_append_printf(out, "    num:         %" PRId64 "\n", status->num);
    g_string_append_printf(out, "    desc:        0x%016" PRIx64 "\n", status->desc);
    g_string_append_printf(out, "    desc_phys:   0x%016" PRIx64 "\n", status->desc_phys);
    g_string_append_printf(out, "    desc_size:   %u\n", status->desc_size);
    g_string_append_printf(out, "    avail:       0x%016" PRIx64 "\n", status->avail);
    g_string_append_printf(out, "    avail_phys:  0x%016" PRIx64 "\n",
                           status->avail_phys);
    g_string_append_printf(out, "    avail_size:  %u\n", status->avail_size);
    g_string_append_printf(out, "    used:        0x%016" PRIx64 "\n", status->used);
    g_string_append_printf(out, "    used_phys:   0x%016" PRIx64 "\n", status->used_phys);
    g_string_append_printf(out, "    used_size:   %u\n", status->used_size);
}

/* ---- info virtio-queue-element ----------------------------------------------------- */

static void print_desc(GString *out, const QapiVirtioRingDesc *desc, bool last)
{
    g_string_append_printf(out, "        addr 0x%" PRIx64 " len %d", desc->addr,
                           (int32_t)desc->len);
    for (size_t i = 0; i < desc->flags.n; i++) {
        g_string_append_printf(out, "%s%s", i > 0 ? ", " : " (", desc->flags.items[i]);
    }
    g_string_append_printf(out, "%s%s\n", desc->flags.n > 0 ? ")" : "", last ? "" : ",");
}

void hmp_info_virtio_queue_element(VdsCmds *cmds, const HmpArg *args, GString *out,
                                   GError **error)
{
    const QapiVirtioQueueElement *element =
        queue_fits(&args[1], error)
            ? qmp_x_query_virtio_queue_element(cmds, cmds->hmp_arena, args[0].text,
                                               (uint16_t)args[1].number, args[2].present,
                                               /* a position modulo num: the low bits */
                                               (uint16_t)args[2].number, error)
            : NULL;

    if (!element) {
        return;
    }
    g_string_append_printf(out, "%s:\n", args[0].text);
    g_string_append_printf(out, "  device_name: %s\n", element->name);
    g_string_append_printf(out, "  index:   %u\n", element->index);
    g_string_append(out, "  desc:\n    descs:\n");
    for (size_t i = 0; i < element->descs.n; i++) {
        print_desc(out, &element->descs.items[i], i + 1 == element->descs.n);
    }
    g_string_append_printf(out, "  avail:\n    flags: %u\n    idx:   %u\n    ring:  %u\n",
                           element->avail.flags, element->avail.idx, element->avail.ring);
    g_string_append_printf(out, "  used:\n    flags: %u\n    idx:   %u\n",
                           element->used.flags, element->used.idx);
}
