/*
 * virtio: the names of device ids and of bits, in the order in which QEMU lists them.
 *
 * The names are data: qapi/features.json, made into virtio-features.c.  This file walks
 * those tables.  Knows no reply and no device.
 */
#include "vds/virtio.h"

#include "virtio-features.h"

G_STATIC_ASSERT(sizeof(((VdsBitNames *)0)->names) / sizeof(const char *) == 64);

/* The transport's names come first and take their bits away (bit 27 is ANY_LAYOUT on
 * every device); no table names a bit twice, so 64 names always suffice. */
static unsigned table_decode(const VdsBitTable *table, uint64_t *word, const char **names)
{
    const uint64_t named = *word & table->mask;
    unsigned n = 0;

    for (unsigned i = 0; named && i < table->n; i++) {
        if ((named >> table->bits[i].bit) & 1) {
            names[n++] = table->bits[i].text;
        }
    }
    *word &= ~named;
    return n;
}

static const VdsDeviceNames *device_names(uint16_t device_id)
{
    static const VdsDeviceNames unnamed = {.name = NULL};

    return device_id < VDS_N_DEVICE_NAMES ? &vds_device_names[device_id] : &unnamed;
}

const char *vds_virtio_id_name(uint16_t device_id)
{
    const char *name = device_names(device_id)->name;

    return name ? name : "virtio-device";
}

void vds_virtio_features_decode(uint16_t device_id, const VdsFeatures *features,
                                VdsFeatureNames *names)
{
    const VdsBitTable *own = device_names(device_id)->features;
    uint64_t word = features->word[0];

    names->n_transports = table_decode(&vds_transport_bits, &word, names->transports);
    names->n_dev_features = own ? table_decode(own, &word, names->dev_features) : 0;
    names->unknown = word;
}

static void bits_decode(const VdsBitTable *table, uint64_t word, VdsBitNames *names)
{
    names->n = table_decode(table, &word, names->names);
    names->unknown = word;
}

void vds_virtio_status_decode(uint8_t status, VdsBitNames *names)
{
    bits_decode(&vds_status_bits, status, names);
}

void vds_virtio_protocols_decode(uint64_t protocol_features, VdsBitNames *names)
{
    bits_decode(&vds_protocol_bits, protocol_features, names);
}

void vds_virtio_desc_flags_decode(uint16_t flags, VdsBitNames *names)
{
    bits_decode(&vds_desc_flag_bits, flags, names);
    names->unknown = 0;
}
