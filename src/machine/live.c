/*
 * machine: what a virtio device tells as QOM properties because the five replies have no
 * member for it: what went wrong, where its indices come from, and what the guest that
 * main handed down found.
 */
#include <string.h>

#include "machine-priv.h"

static void show_index_source(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    static const char *const names[] = {
        [VDS_INDEX_OWNED] = "owned",
        [VDS_INDEX_RECORDED] = "recorded",
        [VDS_INDEX_INFERRED] = "inferred",
    };
    VdsQueueState queue = {
        .source =
            vds_virtio_device_is_recorded(virtio) ? VDS_INDEX_RECORDED : VDS_INDEX_OWNED,
    };

    vds_virtio_device_get_queue(virtio, 0, &queue);
    vds_prop_show_string(value, g_strdup(names[queue.source]));
}

static void show_broken_reason(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    vds_prop_show_string(value, vds_virtio_device_get_broken_reason(virtio));
}

static void show_last_refusal(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    vds_prop_show_string(value, vds_virtio_device_get_last_refusal(virtio));
}

static void show_torn_count(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    vds_prop_show_uint(value, vds_virtio_device_get_torn_count(virtio));
}

/* Feature words as numbers: bits 64 to 127 stand in no reply of this level. */
static void show_host_features(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(virtio, &state);
    vds_prop_show_uint(value, state.host_features.word[0]);
}

static void show_host_features_2(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(virtio, &state);
    vds_prop_show_uint(value, state.host_features.word[1]);
}

static void show_guest_features(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(virtio, &state);
    vds_prop_show_uint(value, state.guest_features.word[0]);
}

static void show_guest_features_2(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(virtio, &state);
    vds_prop_show_uint(value, state.guest_features.word[1]);
}

static void show_backend_features(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(virtio, &state);
    vds_prop_show_uint(value, state.backend_features.word[0]);
}

static void show_backend_features_2(void *user, VdsVirtioDevice *virtio, VdsProp *value)
{
    VdsDeviceState state;

    vds_virtio_device_get_state(virtio, &state);
    vds_prop_show_uint(value, state.backend_features.word[1]);
}

static const VdsLiveProperty own[] = {
    {"host-features", "uint64", show_host_features, NULL},
    {"host-features-2", "uint64", show_host_features_2, NULL},
    {"guest-features", "uint64", show_guest_features, NULL},
    {"guest-features-2", "uint64", show_guest_features_2, NULL},
    {"backend-features", "uint64", show_backend_features, NULL},
    {"backend-features-2", "uint64", show_backend_features_2, NULL},
    {"index-source", "str", show_index_source, NULL},
    {"broken-reason", "str", show_broken_reason, NULL},
    {"last-refusal", "str", show_last_refusal, NULL},
    {"torn-count", "uint64", show_torn_count, NULL},
    {NULL, NULL, NULL, NULL},
};

static const VdsLiveProperty *find(const VdsLiveProperty *row, const char *name)
{
    while (row && row->name && strcmp(row->name, name) != 0) {
        row++;
    }
    return row && row->name ? row : NULL;
}

static bool has(const VdsEntry *entry, const VdsLiveProperty *row)
{
    return !row->has || row->has(entry->machine->guest.user, entry->virtio);
}

static void list(const VdsEntry *entry, const VdsLiveProperty *row, VdsQomListFunc func,
                 void *user)
{
    for (; row && row->name; row++) {
        if (has(entry, row)) {
            func(row->name, row->type, user);
        }
    }
}

void vds_live_list(const VdsEntry *entry, VdsQomListFunc func, void *user)
{
    list(entry, own, func, user);
    list(entry, entry->machine->guest.properties, func, user);
}

/* (nullable) */
static const VdsLiveProperty *find_of(const VdsEntry *entry, const char *name)
{
    const VdsLiveProperty *row = find(own, name);

    if (!row) {
        row = find(entry->machine->guest.properties, name);
    }
    return row && has(entry, row) ? row : NULL;
}

bool vds_live_has(const VdsEntry *entry, const char *name)
{
    return find_of(entry, name) != NULL;
}

bool vds_live_get(const VdsEntry *entry, const char *name, VdsProp *value)
{
    const VdsLiveProperty *row = find_of(entry, name);

    if (row) {
        row->show(entry->machine->guest.user, entry->virtio, value);
    }
    return row != NULL;
}
