/*
 * cli: command lines as they are met: libvirt's (9.0 and 11.3) and those of a QEMU with
 * every virtio device.  They must be taken as they stand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "vds/cli.h"

typedef struct {
    const char *line; /* words between blanks; ' keeps blanks together */
    unsigned n_devices, n_backends;
    const char *name, *machine;
    uint64_t memory_mib;
    bool paused, daemonize;
    const char *monitors; /* the transport of each: u)nix, f)d */
} Recorded;

static const Recorded libvirt[] = {
    {"-S -no-user-config -nodefaults -nographic -machine none,accel=kvm:tcg -qmp "
     "unix:/var/lib/qemu/qmp-X/qmp.monitor,server=on,wait=off -pidfile "
     "/var/lib/qemu/qmp-X/qmp.pid -daemonize",
     0, 0, NULL, "none", 64, true, true, "u"},
    {"-name guest=vdbg,debug-threads=on -S -object "
     "'{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"/"
     "m.aes\"}' "
     "-machine pc-i440fx-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram -accel "
     "tcg "
     "-cpu qemu64 -m 64 -object "
     "'{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":67108864}' "
     "-overcommit "
     "mem-lock=off -smp 1,sockets=1,cores=1,threads=1 -uuid "
     "11111111-2222-3333-4444-555555555555 -display none -no-user-config -nodefaults "
     "-chardev socket,id=charmonitor,fd=6,server=on,wait=off -mon "
     "chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown -no-acpi "
     "-boot strict=on -device "
     "'{\"driver\":\"piix3-usb-uhci\",\"id\":\"usb\",\"bus\":\"pci.0\",\"addr\":\"0x1."
     "0x2\"}' "
     "-audiodev '{\"id\":\"audio1\",\"driver\":\"none\"}' -sandbox "
     "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -msg "
     "timestamp=on",
     1, 3, "vdbg", "pc-i440fx-7.2", 64, true, false, "f"},
    {"-name guest=vdbg,debug-threads=on -S -object "
     "secret,id=masterKey0,format=raw,file=/m.aes -machine "
     "vds,usb=off,dump-guest-core=off -accel tcg -m 64 -overcommit mem-lock=off -smp "
     "1,sockets=1,cores=1,threads=1 -uuid 11111111-2222-3333-4444-555555555555 -display "
     "none -no-user-config -nodefaults -chardev "
     "socket,id=charmonitor,fd=6,server=on,wait=off -mon "
     "chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown -no-acpi "
     "-boot strict=on -audiodev '{\"id\":\"audio1\",\"driver\":\"none\"}' -msg "
     "timestamp=on",
     0, 2, "vdbg", "vds", 64, true, false, "f"},
    {"-name guest=vdbg,debug-threads=on -S -object "
     "'{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"/"
     "m.aes\"}' "
     "-machine vds,usb=off,dump-guest-core=off -accel tcg -m size=65536k -overcommit "
     "mem-lock=off -smp 1,sockets=1,cores=1,threads=1 -uuid "
     "11111111-2222-3333-4444-555555555555 -display none -no-user-config -nodefaults "
     "-chardev socket,id=charmonitor,fd=7,server=on,wait=off -mon "
     "chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown -no-acpi "
     "-boot strict=on -audiodev '{\"id\":\"audio1\",\"driver\":\"none\"}' -msg "
     "timestamp=on",
     0, 2, "vdbg", "vds", 64, true, false, "f"},
    {"-name guest=vdbgq,debug-threads=on -S -object "
     "secret,id=masterKey0,format=raw,file=/m.aes -machine "
     "pc-q35-7.2,usb=off,dump-guest-core=off -accel tcg -m 64 -overcommit mem-lock=off "
     "-smp 1,sockets=1,cores=1,threads=1 -uuid 2e1bf590-be07-457c-a182-445d9b952f9e "
     "-display none -no-user-config -nodefaults -chardev "
     "socket,id=charmonitor,fd=24,server=on,wait=off -mon "
     "chardev=charmonitor,id=monitor,mode=control -rtc base=utc -no-shutdown -no-acpi "
     "-boot strict=on -device i82801b11-bridge,id=pci.1,bus=pcie.0,addr=0x1e -device "
     "pci-bridge,chassis_nr=2,id=pci.2,bus=pci.1,addr=0x0 -device "
     "pcie-root-port,port=8,chassis=3,id=pci.3,bus=pcie.0,addr=0x1 -device "
     "virtio-serial-pci,id=virtio-serial0,bus=pci.2,addr=0x2 -blockdev "
     "'{\"driver\":\"file\",\"filename\":\"/"
     "disk.img\",\"node-name\":\"libvirt-1-storage\","
     "\"auto-read-only\":true,\"discard\":\"unmap\"}' -blockdev "
     "'{\"node-name\":\"libvirt-1-format\",\"read-only\":false,\"driver\":\"raw\","
     "\"file\":"
     "\"libvirt-1-storage\"}' -device "
     "virtio-blk-pci,bus=pci.2,addr=0x3,drive=libvirt-1-format,id=virtio-disk0,bootindex="
     "1 "
     "-netdev user,id=hostnet0 -device "
     "virtio-net-pci,netdev=hostnet0,id=net0,mac=52:54:00:00:00:01,bus=pci.2,addr=0x1 "
     "-chardev socket,id=charchannel0,fd=23,server=on,wait=off -device "
     "virtserialport,bus=virtio-serial0.0,nr=1,chardev=charchannel0,id=channel0,"
     "name=org.qemu.guest_agent.0 -audiodev '{\"id\":\"audio1\",\"driver\":\"none\"}' "
     "-object "
     "rng-random,id=objrng0,filename=/dev/urandom -device "
     "virtio-rng-pci,rng=objrng0,id=rng0,bus=pci.2,addr=0x4 -msg timestamp=on",
     8, 7, "vdbgq", "pc-q35-7.2", 64, true, false, "f"},
};

#define GUEST                                                                            \
    "-accel tcg -smp 2 -nodefaults -display none -no-reboot -qmp "                       \
    "unix:/d/qmp,server=on,wait=off -chardev "                                           \
    "socket,id=ser,path=/d/ser,server=on,wait=off -serial chardev:ser -kernel /k "       \
    "-initrd /i -append 'console=ttyS0 quiet' "

static const Recorded guests[] = {
    {GUEST
     "-m 512M,slots=4,maxmem=4G -object "
     "memory-backend-memfd,id=ram0,share=on,size=512M -machine q35,memory-backend=ram0 "
     "-S "
     "-netdev user,id=n0 -device virtio-net-pci,id=net0,netdev=n0,mac=52:54:00:12:34:56 "
     "-netdev user,id=n1,net=10.0.3.0/24 -device "
     "virtio-net-pci-non-transitional,netdev=n1,packed=on,mac=52:54:00:12:34:57 "
     "-blockdev "
     "file,node-name=f0,filename=/d/d0.img -device virtio-blk-pci,id=blk0,drive=f0,"
     "num-queues=2 -blockdev file,node-name=f2,filename=/d/d2.img -device "
     "virtio-blk-pci,id=blk2,drive=f2,iommu_platform=on,ats=on,disable-legacy=on,"
     "num-queues=1,queue-size=128 -device virtio-scsi-pci,id=scsi0,num_queues=2 -device "
     "scsi-hd,bus=scsi0.0,drive=f5 -chardev file,id=vc0,path=/d/vc0.out -device "
     "virtconsole,chardev=vc0 -object rng-random,id=rng0b,filename=/dev/urandom -device "
     "virtio-rng-pci,id=rng0,rng=rng0b -device virtio-rng-pci,max-bytes=1024,period=1000 "
     "-object cryptodev-backend-builtin,id=cb0 -device virtio-crypto-pci,id=cry0,"
     "cryptodev=cb0 -object memory-backend-ram,id=vmem0,size=256M -device "
     "virtio-mem-pci,id=vmem,memdev=vmem0,requested-size=128M -fsdev "
     "local,id=fs0,path=/d/share,security_model=none -device "
     "virtio-9p-pci,id=p9,fsdev=fs0,mount_tag=tag9",
     12, 11, NULL, "q35", 512, true, false, "u"},
    {GUEST "-m 256M -object memory-backend-memfd,id=ram0,share=on,size=256M -machine "
           "q35,memory-backend=ram0 -chardev socket,id=cn,path=/d/net-m.sock -netdev "
           "vhost-user,id=n0,chardev=cn,queues=2 -device "
           "virtio-net-pci,id=net0,netdev=n0,mq=on,vectors=0,mac=52:54:00:00:00:01",
     1, 4, NULL, "q35", 256, false, false, "u"},
};

static void check_monitors(const VdsOptions *options, const char *expected)
{
    assert_int_equal(options->mons->len, strlen(expected));
    for (unsigned i = 0; i < options->mons->len; i++) {
        const VdsMon *mon = g_ptr_array_index(options->mons, i);

        assert_int_equal(mon->mode, VDS_MON_CONTROL);
        assert_int_equal(mon->chardev->kind, expected[i] == 'f'
                                                 ? VDS_CHARDEV_SOCKET_FD
                                                 : VDS_CHARDEV_SOCKET_UNIX);
        assert_true(mon->chardev->server);
        assert_false(mon->chardev->wait);
    }
}

static void check(const Recorded *recorded)
{
    g_auto(GStrv) argv = NULL;
    g_autofree char *line = g_strconcat("virtio-debugd ", recorded->line, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(VdsOptions) options = NULL;
    int argc;

    assert_true(g_shell_parse_argv(line, &argc, &argv, NULL));
    options = vds_options_parse(argc, (const char *const *)argv, &error);
    if (error) {
        fail_msg("%s", error->message);
    }
    assert_int_equal(options->devices->len, recorded->n_devices);
    assert_int_equal(options->backends->len, recorded->n_backends);
    assert_string_equal(options->name ? options->name : "(none)",
                        recorded->name ? recorded->name : "(none)");
    assert_string_equal(options->machine, recorded->machine);
    assert_int_equal(options->memory_bytes, recorded->memory_mib << 20);
    assert_int_equal(options->paused, recorded->paused);
    assert_int_equal(options->daemonize, recorded->daemonize);
    check_monitors(options, recorded->monitors);
}

static void test_libvirt(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(libvirt); i++) {
        check(&libvirt[i]);
    }
}

static void test_guests(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(guests); i++) {
        check(&guests[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libvirt),
        cmocka_unit_test(test_guests),
    };

    return cmocka_run_group_tests_name("cli-recorded", tests, NULL, NULL);
}
