/*
 * devices: what kinds refuse, in QEMU's words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "vds/devices.h"
#include "vds/machine.h"

static VdsProps *props_from(const char *text)
{
    VdsProps *props = vds_props_new();
    g_auto(GStrv) pairs = g_strsplit(text, ",", 0);

    for (char **pair = pairs; *pair; pair++) {
        char *value = strchr(*pair, '=');

        *value++ = '\0';
        vds_props_set_string(props, *pair, value);
    }
    return props;
}

static bool add(VdsMachine *machine, const char *text, GError **error)
{
    g_autofree char *full = g_strconcat("driver=", text, NULL);
    g_autoptr(VdsProps) props = props_from(full);

    return vds_machine_device_add(machine, props, error);
}

static VdsMachine *new_machine(void)
{
    static const char *const objects[] = {
        "qom-type=memory-backend-ram,id=m0", "qom-type=memory-backend-ram,id=m1",
        "qom-type=cryptodev-backend-builtin,id=cb0",
        "qom-type=cryptodev-backend,id=cbx,queues=65", "qom-type=iothread,id=io0"};
    VdsMachine *machine = vds_machine_new("pc", vds_device_classes);
    g_autoptr(VdsProps) fsdev = props_from("id=fs0");

    assert_true(vds_machine_backend_add(machine, "fsdev", fsdev, NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(objects); i++) {
        g_autoptr(VdsProps) object = props_from(objects[i]);

        assert_true(vds_machine_backend_add(machine, "object", object, NULL));
    }
    /* Two users of what only one may use, and a bus for the ports. */
    assert_true(add(machine, "virtio-mem-pci,id=mem,memdev=m1", NULL));
    assert_true(add(machine, "virtio-crypto-pci,id=cry,cryptodev=cb0", NULL));
    assert_true(add(machine, "virtio-serial-pci,id=ser,max_ports=3", NULL));
    assert_true(add(machine, "virtserialport,id=p1,name=a", NULL));
    return machine;
}

static const struct {
    const char *text, *message;
} rows[] = {
    {"virtio-rng-pci,vhost-user=", "'vhost-user' expects the path of a socket"},
    {"virtio-rng-pci,vhost-user=/s,guest=builtin",
     "'vhost-user' and 'guest' exclude each other: a device has one driver, a front-end "
     "or "
     "the built-in guest"},
    {"virtio-rng-pci,vhost-user=/s,workload=idle",
     "'vhost-user' and 'workload' exclude each other: a device has one driver, a "
     "front-end "
     "or the built-in guest"},
    {"virtio-rng-pci,vhost-user=/s,guest=none,rate=5",
     "'vhost-user' and 'rate' exclude each other: a device has one driver, a front-end "
     "or "
     "the built-in guest"},
    {"virtio-rng-pci,server=off", "'server' and 'reconnect' need 'vhost-user'"},
    {"virtio-rng-pci,vhost-user=/s,reconnect=1", "'reconnect' needs 'server=off'"},
    {"virtio-rng-pci,vhost-user=/s,iommu_platform=on",
     "'iommu_platform' cannot be had with 'vhost-user'"},
    {"virtio-gpu-pci,vhost-user=/s", "'virtio-gpu-pci' has no request path that a "
                                     "vhost-user front-end could use"},
    {"isa-serial", "Can't create serial device, empty char device"},
    {"ICH9-LPC", "Parameter 'driver' expects a pluggable device type"},
    {"PIIX4_PM", "Parameter 'driver' expects a pluggable device type"},
    {"pci-bridge", "Bridge chassis not specified. Each bridge is required to be assigned "
                   "a unique chassis id > 0."},
    {"pcie-root-port,chassis=256", "Parameter 'chassis' expects uint8_t"},
    {"pcie-root-port,modern-pio-notify=on",
     "Property 'pcie-root-port.modern-pio-notify' not found"},
    {"virtio-rng-pci,disable-legacy=on,disable-modern=on",
     "device cannot work as neither modern nor legacy mode is enabled"},
    {"virtio-rng-pci,iommu_platform=on",
     "VIRTIO_F_IOMMU_PLATFORM was supported by neither legacy nor transitional device"},
    {"virtio-net-pci-transitional,disable-legacy=on",
     "Property 'virtio-net-pci-transitional.disable-legacy' not found"},
    {"virtio-net,foo=1", "Property 'virtio-net-pci.foo' not found"},
    {"virtio-net-pci,rx_queue_size=100",
     "Invalid rx_queue_size (= 100), must be a power of 2 between 256 and 1024."},
    {"virtio-net-pci,rx_queue_size=2048",
     "Invalid rx_queue_size (= 2048), must be a power of 2 between 256 and 1024."},
    {"virtio-net-pci,tx_queue_size=8",
     "Invalid tx_queue_size (= 8), must be a power of 2 between 256 and 1024"},
    {"virtio-net-pci,duplex=x", "'duplex' must be 'half' or 'full'"},
    {"virtio-net-pci,speed=-3", "'speed' must be between 0 and INT_MAX"},
    {"virtio-blk-pci,num-queues=0", "num-queues property must be larger than 0"},
    {"virtio-blk-pci,num-queues=65536", "Parameter 'num-queues' expects uint16_t"},
    {"virtio-blk-pci,num-queues=1025", "num-queues property (1025) must be at most 1024"},
    {"virtio-blk-pci,queue-size=2", "invalid queue-size property (2), must be > 2"},
    {"virtio-blk-pci,queue-size=100",
     "invalid queue-size property (100), must be a power of 2 (max 1024)"},
    {"virtio-blk-pci,scsi=on",
     "Please set scsi=off for virtio-blk devices in order to use virtio 1.0"},
    {"virtio-scsi-pci,num_queues=0",
     "Invalid number of queues (= 0), must be a positive integer less than 1022."},
    {"virtio-scsi-pci,num_queues=2000",
     "Invalid number of queues (= 2000), must be a positive integer less than 1022."},
    {"virtio-scsi-pci,virtqueue_size=2000",
     "Invalid virtqueue_size (= 2000), must be 1 to 1024"},
    {"scsi-hd", "No 'SCSI' bus found for device 'scsi-hd'"},
    {"virtio-serial-pci,max_ports=0", "Maximum number of serial ports not specified"},
    {"virtio-serial-pci,max_ports=512", "maximum ports supported: 511"},
    {"virtserialport,nr=0", "Port number 0 on virtio-serial devices reserved for "
                            "virtconsole devices for backward compatibility."},
    {"virtserialport,nr=1", "virtio-serial-bus: A port already exists at id 1"},
    {"virtserialport,name=a", "virtio-serial-bus: A port already exists by name a"},
    {"virtserialport,nr=3",
     "virtio-serial-bus: Out-of-range port id specified, max. allowed: 2"},
    {"virtio-rng-pci,period=0", "'period' parameter expects a positive integer"},
    {"virtio-rng-pci,max-bytes=-1",
     "'max-bytes' parameter must be non-negative, and less than 2^63"},
    {"virtio-rng-pci,rng=io0", "Invalid parameter type for 'rng', expected: rng-backend"},
    {"virtio-balloon-pci,free-page-hint=on",
     "'free-page-hint' requires 'iothread' to be set"},
    {"virtio-balloon-pci,iothread=nope", "Device 'nope' not found"},
    {"virtio-9p-pci", "9pfs device couldn't find fsdev with the id = NULL"},
    {"virtio-9p-pci,fsdev=nope", "9pfs device couldn't find fsdev with the id = nope"},
    {"virtio-9p-pci,fsdev=fs0", "fsdev with id fs0 needs mount_tag arguments"},
    {"virtio-9p-pci,fsdev=fs0,mount_tag=01234567890123456789012345678901",
     "mount tag '01234567890123456789012345678901' (32 bytes) is longer than maximum (31 "
     "bytes)"},
    {"virtio-gpu-pci,max_outputs=17", "invalid max_outputs > 16"},
    {"virtio-gpu-pci,blob=on", "cannot enable blob resources without udmabuf"},
    {"virtio-crypto-pci", "'cryptodev' parameter expects a valid object"},
    {"virtio-crypto-pci,cryptodev=cb0", "can't use already used cryptodev backend: cb0"},
    {"virtio-crypto-pci,cryptodev=cbx",
     "Parameter 'queues' expects a number from 1 to 64, found '65'"},
    {"virtio-iommu-device", "VIRTIO-IOMMU is not attached to any PCI bus!"},
    {"virtio-mem-pci", "'memdev' property must be set"},
    {"virtio-mem-pci,memdev=m1", "'memdev' property specifies a busy memdev: m1"},
    {"virtio-mem-pci,memdev=m0,requested-size=1000",
     "'requested-size' property has to be multiples of 'block-size' (0x200000)"},
    {"virtio-mem-pci,memdev=m0,block-size=3M",
     "'block-size' property has to be a power of two"},
    {"virtio-mem-pci,memdev=m0,block-size=4K",
     "'block-size' property has to be at least 0x100000"},
    {"virtio-mem-pci,memdev=m0,node=1",
     "'node' property has value '1', which exceeds the number of numa nodes: 1"},
    {"virtio-pmem-pci,memdev=m1", "can't use already busy memdev: m1"},
    {"virtio-pmem-pci", "'memdev' property must be set"},
    {"vhost-vsock-pci", "guest-cid property must be greater than 2"},
    {"vhost-vsock-pci,guest-cid=4294967296",
     "guest-cid property must be a 32-bit number"},
    {"virtio-generic-pci", "virtio-id property must be larger than 0"},
    {"virtio-generic-pci,virtio-id=9,num-queues=2000",
     "num-queues property (2000) must be at most 1024"},
    {"virtio-generic-pci,virtio-id=9,queue-size=3",
     "invalid queue-size property (3), must be a power of 2 (max 32768)"},
};

static void test_rows(void **state)
{
    g_autoptr(VdsMachine) machine = new_machine();

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        if (add(machine, rows[i].text, &error)) {
            fail_msg("%s was taken", rows[i].text);
        }
        assert_string_equal(error->message, rows[i].message);
    }
    assert_int_equal(vds_machine_count(machine), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

    return cmocka_run_group_tests_name("devices-refusals", tests, NULL, NULL);
}
