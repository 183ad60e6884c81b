/*
 * devices: each kind as QEMU 7.2 showed it for the same words: id, offered features,
 * queues; and what an idle device costs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <malloc.h>
#include <string.h>

#include "vds/devices.h"
#include "vds/machine.h"

static VdsProps *props_from(const char *text)
{
    VdsProps *props = vds_props_new();
    g_auto(GStrv) pairs = g_strsplit(text, ",", 0);

    for (char **pair = pairs; *pair; pair++) {
        char *value = strchr(*pair, '=');

        if (value) {
            *value++ = '\0';
            vds_props_set_string(props, *pair, value);
        } else {
            vds_props_set_string(props, "driver", *pair);
        }
    }
    return props;
}

static VdsMachine *machine_with_parts(void)
{
    static const struct {
        const char *kind, *text;
    } parts[] = {
        {"netdev", "type=user,id=u0"},
        {"blockdev", "driver=null-co,node-name=b0"},
        {"blockdev", "driver=null-co,node-name=ro0,read-only=on"},
        {"chardev", "backend=null,id=c0"},
        {"object", "qom-type=rng-random,id=rg"},
        {"object", "qom-type=iothread,id=io0"},
        {"object", "qom-type=memory-backend-ram,id=m0,size=256M"},
        {"object", "qom-type=cryptodev-backend-builtin,id=cb0"},
        {"fsdev", "fsdriver=local,id=fs0"},
    };
    VdsMachine *machine = vds_machine_new("pc", vds_device_classes);

    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autoptr(VdsProps) props = props_from(parts[i].text);

        assert_true(vds_machine_backend_add(machine, parts[i].kind, props, NULL));
    }
    return machine;
}

static void add(VdsMachine *machine, const char *text)
{
    g_autoptr(VdsProps) props = props_from(text);
    g_autoptr(GError) error = NULL;

    if (!vds_machine_device_add(machine, props, &error)) {
        fail_msg("%s: %s", text, error->message);
    }
}

/* "256x2 64": sizes of the queues in a row. */
static char *queues_text(const VdsVirtioDevice *device)
{
    GString *text = g_string_new(NULL);
    VdsQueueState queue;
    unsigned run = 0, size = 0;

    for (unsigned i = 0; i <= VDS_VIRTIO_MAX_QUEUES; i++) {
        bool there = vds_virtio_device_get_queue(device, i, &queue);

        if (there && run > 0 && queue.num == size) {
            run++;
            continue;
        }
        if (run > 0) {
            g_string_append_printf(text, text->len ? " %ux%u" : "%ux%u", size, run);
        }
        if (!there) {
            break;
        }
        size = queue.num;
        run = 1;
    }
    return g_string_free(text, FALSE);
}

typedef struct {
    const char *text;
    const char *path; /* below /machine/ */
    uint16_t id;
    uint64_t features;
    const char *queues;
    const char *bus_name;
} Row;

static const Row rows[] = {
#define ANON "peripheral-anon/device[0]/virtio-backend"
    {"virtio-net-pci,netdev=u0", ANON, 1, 0x10179bf8064, "256x2 64x1", ""},
    {"virtio-net", ANON, 1, 0x10179bf8064, "256x2 64x1", ""},
    {"virtio-net-pci,mq=on,rx_queue_size=512,tx_queue_size=1024", ANON, 1, 0x10179ff8064,
     "512x1 256x1 64x1", ""},
    {"virtio-net-pci,mq=on,packed=on,host_mtu=1500,speed=1000,rss=on,hash=on,"
     "guest_rsc_ext=on,failover=on",
     ANON, 1, 0xf000010579ff806c, "256x2 64x1", ""},
    {"virtio-net-pci,duplex=half", ANON, 1, 0x8000010179bf8064, "256x2 64x1", ""},
    {"virtio-net-pci,disable-modern=on", ANON, 1, 0x10079bf8064, "256x2 64x1", ""},
    {"virtio-net-pci,iommu_platform=on,disable-legacy=on", ANON, 1, 0x10379bf8064,
     "256x2 64x1", ""},
    {"virtio-blk-pci,drive=b0", ANON, 2, 0x10179006e54, "256x1", ""},
    {"virtio-blk-pci,drive=ro0", ANON, 2, 0x10179006e74, "256x1", ""},
    {"virtio-blk-pci,num-queues=4,queue-size=64", ANON, 2, 0x10179007e54, "64x4", ""},
    {"virtio-blk-pci,num-queues=1024", ANON, 2, 0x10179007e54, "256x1024", ""},
    {"virtio-blk-pci,config-wce=off", ANON, 2, 0x10179006654, "256x1", ""},
    {"virtio-blk-pci,config-wce=off,write-cache=off", ANON, 2, 0x10179006454, "256x1",
     ""},
    {"virtio-blk-pci,disable-modern=on", ANON, 2, 0x10071006ed4, "256x1", ""},
    {"virtio-blk-pci-transitional,indirect_desc=off,event_idx=off", ANON, 2,
     0x10149006e54, "256x1", ""},
    {"virtio-scsi-pci,id=s", "peripheral/s/virtio-backend", 8, 0x10179000006, "256x3",
     "s.0"},
    {"virtio-scsi-pci,num_queues=4,virtqueue_size=128,hotplug=off", ANON, 8,
     0x10179000004, "128x6", ""},
    {"virtio-serial-pci,id=s", "peripheral/s/virtio-backend", 3, 0x10179000006,
     "128x2 32x2 128x60", "s.0"},
    {"virtio-serial-pci,max_ports=1", ANON, 3, 0x10179000004, "128x2 32x2", ""},
    {"virtio-serial-pci,max_ports=4,emergency-write=off", ANON, 3, 0x10179000002,
     "128x2 32x2 128x6", ""},
    {"virtio-rng-pci,rng=rg,max-bytes=1024,period=1000", ANON, 4, 0x10179000000, "8x1",
     ""},
    {"virtio-rng-pci-non-transitional,packed=on", ANON, 4, 0x10579000000, "8x1", ""},
    {"virtio-balloon-pci", ANON, 5, 0x10179000012, "128x3", ""},
    {"virtio-balloon-pci,free-page-hint=on,iothread=io0,free-page-reporting=on", ANON, 5,
     0x1017900003a, "128x3 1024x1 32x1", ""},
    {"virtio-9p-pci,fsdev=fs0,mount_tag=t", ANON, 9, 0x10179000001, "128x1", ""},
    {"virtio-gpu-pci", ANON, 16, 0x10179000002, "64x1 16x1", ""},
    {"virtio-vga", ANON, 16, 0x10179000002, "64x1 16x1", ""},
    {"virtio-gpu-pci,disable-modern=on,edid=off", ANON, 16, 0x10179000000, "64x1 16x1",
     ""},
    {"virtio-keyboard-pci", ANON, 18, 0x10179000000, "64x2", ""},
    {"virtio-mouse-pci,packed=on", ANON, 18, 0x10579000000, "64x2", ""},
    {"virtio-tablet-pci,iommu_platform=on", ANON, 18, 0x10379000000, "64x2", ""},
    {"virtio-crypto-pci,cryptodev=cb0", ANON, 20, 0x10179000000, "1024x2", ""},
    {"virtio-iommu-pci", ANON, 23, 0x10179000077, "256x2", ""},
    {"virtio-mem-pci,memdev=m0", ANON, 24, 0x10179000001, "128x1", ""},
    {"virtio-mem-pci,memdev=m0,unplugged-inaccessible=on", ANON, 24, 0x10179000003,
     "128x1", ""},
    {"virtio-pmem-pci,memdev=m0", ANON, 27, 0x10179000000, "128x1", ""},
    {"vhost-vsock-pci,guest-cid=3", ANON, 19, 0x179000002, "128x3", ""},
    {"virtio-generic-pci,virtio-id=40,num-queues=3,queue-size=512", ANON, 40,
     0x10179000000, "512x3", ""},
    /* Served: what a back-end offers, whatever the form. */
    {"virtio-net-pci,vhost-user=/s", ANON, 1, 0x539208048, "256x2", ""},
    {"virtio-blk-pci,vhost-user=/s,disable-modern=on", ANON, 2, 0x539007e54, "256x16",
     ""},
    {"virtio-blk-pci,vhost-user=/s,num-queues=1,packed=off", ANON, 2, 0x139006e54,
     "256x1", ""},
    {"virtio-rng-pci,vhost-user=/s,server=off,reconnect=1", ANON, 4, 0x539000000, "8x1",
     ""},
    {"virtio-serial-device,vhost-user=/s", "peripheral-anon/device[0]", 3, 0x539000006,
     "128x2 32x2 128x60", ""},
    /* virtio-mmio: the device is its own path, and no bit 30. */
    {"virtio-blk-device", "peripheral-anon/device[0]", 2, 0x10139006e54, "256x1", ""},
    {"virtio-serial-device,id=ss", "peripheral/ss", 3, 0x10139000006, "128x2 32x2 128x60",
     ""},
    {"virtio-pmem,memdev=m0", "peripheral-anon/device[0]", 27, 0x10139000000, "128x1",
     ""},
#undef ANON
};

static void test_rows(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const Row *row = &rows[i];
        g_autoptr(VdsMachine) machine = machine_with_parts();
        g_autofree char *path = g_strconcat("/machine/", row->path, NULL);
        g_autofree char *queues = NULL;
        VdsVirtioDevice *device;
        VdsDeviceState now;

        add(machine, row->text);
        device = vds_machine_find(machine, path, NULL);
        if (!device) {
            fail_msg("%s: nothing at %s", row->text, path);
        }
        vds_virtio_device_get_state(device, &now);
        queues = queues_text(device);
        if (now.device_id != row->id || now.host_features.word[0] != row->features ||
            now.host_features.word[1] != 0 || strcmp(queues, row->queues) != 0 ||
            strcmp(now.bus_name, row->bus_name) != 0) {
            fail_msg("%s: id %u features %#" PRIx64 " queues %s bus '%s'", row->text,
                     now.device_id, now.host_features.word[0], queues, now.bus_name);
        }
        assert_true(now.use_started && now.use_guest_notifier_mask);
        assert_false(now.disabled || now.broken || now.vhost_started || now.vm_running);
    }
}

static void test_common_words(void **state)
{
    g_autoptr(VdsMachine) machine = machine_with_parts();
    VdsDeviceState now;

    add(machine, "virtio-rng,id=r,use-started=off,x-disable-legacy-check=on,"
                 "any_layout=off,notify_on_empty=off,queue_reset=off,addr=05.0");
    vds_virtio_device_get_state(vds_machine_find(machine, "r/virtio-backend", NULL),
                                &now);
    assert_false(now.use_started);
    assert_true(now.disable_legacy_check);
    assert_true(now.host_features.word[0] == 0x170000000);
}

static void test_ports(void **state)
{
    g_autoptr(VdsMachine) machine = machine_with_parts();
    static const struct {
        const char *path, *nr;
    } ports[] = {{"con", "0"}, {"con2", "2"}, {"p1", "1"}, {"p3", "3"}};

    add(machine, "virtio-serial-pci,id=ser,max_ports=8");
    add(machine, "virtconsole,id=con,chardev=c0");
    add(machine, "virtserialport,id=p1,name=a");
    add(machine, "virtconsole,id=con2,nr=2");
    add(machine, "virtserialport,id=p3,bus=ser.0");
    for (size_t i = 0; i < G_N_ELEMENTS(ports); i++) {
        VdsProp value;

        assert_true(vds_machine_qom_get(machine, ports[i].path, "nr", &value, NULL));
        assert_string_equal(value.text, ports[i].nr);
        vds_prop_clear(&value);
    }
    assert_int_equal(vds_machine_count(machine), 1); /* ports are no virtio devices */
    assert_true(vds_machine_device_del(machine, "p1", NULL));
    add(machine, "virtserialport,id=again,name=a"); /* its number and name are free */
    assert_true(vds_machine_device_del(machine, "ser", NULL));
    assert_false(vds_machine_find(machine, "con", NULL));
}

static void test_disks(void **state)
{
    g_autoptr(VdsMachine) machine = machine_with_parts();

    add(machine, "virtio-scsi-pci,id=s0");
    add(machine, "scsi-hd,bus=s0.0,drive=b0,id=d");
    add(machine, "scsi-cd");
    assert_int_equal(vds_machine_count(machine), 1);
    assert_true(vds_machine_device_del(machine, "s0", NULL));
}

static void assert_on(VdsMachine *machine, const char *device, const char *bus)
{
    g_autofree char *path = g_strconcat("/machine/peripheral/", device, NULL);
    VdsProp value;

    assert_true(vds_machine_qom_get(machine, path, "parent_bus", &value, NULL));
    assert_string_equal(value.text, bus);
    vds_prop_clear(&value);
}

/* libvirt's: a bus bears its bridge's id, and a device without bus= goes on the root. */
static void test_bridges(void **state)
{
    g_autoptr(VdsMachine) machine = machine_with_parts();
    static const struct {
        const char *text, *id, *bus;
    } bridges[] = {
        {"pcie-root-port,id=pci.1,port=0x10,chassis=1,multifunction=on,addr=0x2", "pci.1",
         "/machine/pci/pci.0"},
        {"i82801b11-bridge,id=pci.2,addr=0x1e", "pci.2", "/machine/pci/pci.0"},
        {"pci-bridge,id=pci.3,chassis_nr=2,bus=pci.2,addr=0x0", "pci.3",
         "/machine/peripheral/pci.2/pci.2"},
        {"pcie-pci-bridge,id=pci.4,bus=pci.1", "pci.4",
         "/machine/peripheral/pci.1/pci.1"},
        {"qemu-xhci,id=usb,p2=8,p3=8,bus=pci.3", "usb",
         "/machine/peripheral/pci.3/pci.3"},
        {"virtio-rng-pci,id=r1,bus=pci.4,addr=0x1", "r1",
         "/machine/peripheral/pci.4/pci.4"},
        {"virtio-rng-pci,id=r2,bus=pci.1", "r2", "/machine/peripheral/pci.1/pci.1"},
        {"virtio-rng-pci,id=r3", "r3", "/machine/pci/pci.0"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bridges); i++) {
        add(machine, bridges[i].text);
        assert_on(machine, bridges[i].id, bridges[i].bus);
    }
    add(machine, "pci-bridge,chassis_nr=9"); /* QEMU's name for its bus, and ours */
    assert_int_equal(vds_machine_count(machine), 3);
    assert_true(vds_machine_device_del(machine, "pci.1", NULL)); /* with r1 and r2 */
    assert_int_equal(vds_machine_count(machine), 1);
}

/* DESIGN: at most 2 KiB an idle device, all told. */
static void test_idle_devices_are_small(void **state)
{
    static const char *const kinds[] = {"virtio-net-pci", "virtio-serial-pci",
                                        "virtio-blk-pci"};
    enum { N = 2000 };

    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
        g_autoptr(VdsMachine) machine = machine_with_parts();
        size_t before = mallinfo2().uordblks, each;

        for (int i = 0; i < N; i++) {
            g_autofree char *text =
                g_strdup_printf("%s,id=dev%d,event_idx=off", kinds[k], i);

            add(machine, text);
        }
        each = (mallinfo2().uordblks - before) / N;
        print_message("# %s: %zu bytes\n", kinds[k], each);
        assert_true(each <= 2048);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_common_words),
        cmocka_unit_test(test_ports),   cmocka_unit_test(test_disks),
        cmocka_unit_test(test_bridges), cmocka_unit_test(test_idle_devices_are_small),
    };

    return cmocka_run_group_tests_name("devices-kinds", tests, NULL, NULL);
}
