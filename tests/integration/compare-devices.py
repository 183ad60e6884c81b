#!/usr/bin/env python3
"""The same -device lines, given to QEMU (-S) and to us: the same answers.

A line may use @netdev, @disk, @ro, @memory, @crypto, @console: each stands for a part of
that kind which nobody else uses. What may differ is in level.py. QEMU of another version
than 7 is skipped: the numbers are 7.2's (the rows say where 8.2 differs).
"""

import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

from level import to_seven_two
from vds import Client, Daemon, equal, need, run, skip

QEMU = "qemu-system-x86_64"
BASE = ["-accel", "tcg", "-m", "128M,slots=8,maxmem=8G", "-nodefaults", "-display", "none"]
MMIO = ["-global", "virtio-mmio.force-legacy=false"]

# @kind -> the option that makes one, {} being its name.
PARTS = {
    "netdev": ("-netdev", "user,id={}"),
    "disk": ("-blockdev", "null-co,node-name={},size=67108864"),
    "ro": ("-blockdev", "null-co,node-name={},size=1048576,read-only=on"),
    "memory": ("-object", "memory-backend-ram,id={},size=64M"),
    "crypto": ("-object", "cryptodev-backend-builtin,id={}"),
    "console": ("-chardev", "null,id={}"),
}
COMMON = ["-object", "iothread,id=io0", "-object", "rng-random,id=rg,filename=/dev/urandom",
          "-object", "rng-builtin,id=rb", "-fsdev", "local,id=fs0,path=/tmp,security_model=none",
          "-netdev", "user,id=used", "-device", "virtio-net-pci,id=user,netdev=used,addr=1e"]

# ---- lines that both take, a machine a table ---------------------------------------------

NET = """
virtio-net-pci,netdev=@netdev
virtio-net,id=net1
virtio-net-pci,mq=on,netdev=@netdev
virtio-net-pci,mq=on,rx_queue_size=512,tx_queue_size=1024
virtio-net-pci,packed=on,host_mtu=1500,speed=1000,duplex=full
virtio-net-pci,rss=on,hash=on,guest_rsc_ext=on,failover=on
virtio-net-pci,ctrl_vq=off
virtio-net-pci,ctrl_guest_offloads=off,guest_announce=off,status=off,mrg_rxbuf=off,gso=off
virtio-net-pci,ctrl_rx=off,ctrl_vlan=off,ctrl_rx_extra=off,ctrl_mac_addr=off
virtio-net-pci,event_idx=off,indirect_desc=off
virtio-net-pci,any_layout=off,notify_on_empty=off,queue_reset=off
virtio-net-pci,disable-legacy=on
virtio-net-pci,disable-legacy=off,disable-modern=off
virtio-net-pci,disable-modern=on
virtio-net-pci,disable-modern=on,packed=on
virtio-net-pci,iommu_platform=on,disable-legacy=on,ats=on
virtio-net-pci-transitional,netdev=@netdev
virtio-net-pci-non-transitional,packed=on,iommu_platform=on
virtio-net-pci,use-started=off,use-disabled-flag=off,x-disable-legacy-check=on
virtio-net-pci,csum=off,guest_csum=off,host_tso4=off,vectors=0,mac=52:54:00:12:34:56
virtio-net-pci,speed=10
virtio-net-pci,duplex=half,page-per-vq=on
"""

BLK = """
virtio-blk-pci,drive=@disk
virtio-blk,id=blk1,drive=@ro
virtio-blk-pci,drive=@disk,num-queues=4,queue-size=64
virtio-blk-pci,drive=@disk,num-queues=1,queue-size=1024
virtio-blk-pci,drive=@disk,num-queues=70
virtio-blk-pci,drive=@disk,config-wce=off
virtio-blk-pci,drive=@disk,config-wce=off,write-cache=off
virtio-blk-pci,drive=@disk,write-cache=off,x-enable-wce-if-config-wce=off
virtio-blk-pci,drive=@disk,discard=off,write-zeroes=off
virtio-blk-pci,drive=@disk,scsi=on,disable-modern=on
virtio-blk-pci,drive=@disk,seg-max-adjust=off,queue-size=4
virtio-blk-pci,drive=@disk,iommu_platform=on,ats=on,disable-legacy=on,packed=on
virtio-blk-pci-transitional,drive=@disk,indirect_desc=off,event_idx=off
virtio-blk-pci-non-transitional,drive=@disk,packed=on
virtio-blk-pci,drive=@disk,disable-modern=on
virtio-blk-pci,drive=@disk,iothread=io0,serial=abc,logical_block_size=512
virtio-scsi-pci
virtio-scsi,id=scsi1,num_queues=4,virtqueue_size=128
scsi-hd,drive=@disk,bus=scsi1.0
virtio-scsi-pci,hotplug=off,param_change=off
virtio-scsi-pci-transitional,event_idx=off
virtio-scsi-pci-non-transitional,packed=on,num_queues=1,virtqueue_size=1024
virtio-scsi-pci,disable-modern=on,iothread=io0
"""

SERIAL = """
virtio-serial-pci
virtio-serial,id=ser1
virtio-serial-pci,max_ports=1
virtio-serial-pci,max_ports=2
virtio-serial-pci,max_ports=4,emergency-write=off,id=ser4
virtconsole,chardev=@console,bus=ser4.0
virtserialport,chardev=@console,name=org.example,bus=ser4.0,nr=3
virtio-serial-pci-transitional,packed=on
virtio-serial-pci-non-transitional,id=ser5
virtserialport
virtio-serial-pci,disable-modern=on,class=0x0780
virtio-rng-pci
virtio-rng,id=rng1,rng=rg,max-bytes=1024,period=1000,packed=on
virtio-rng-pci-transitional,rng=rb
virtio-rng-pci-non-transitional,max-bytes=0x10,period=010
virtio-rng-pci,disable-modern=on,vectors=0
virtio-rng-pci,indirect_desc=off
"""

OTHERS = """
virtio-9p-pci,fsdev=fs0,mount_tag=t
virtio-9p,id=p9,fsdev=fs0,mount_tag=u,packed=on
virtio-9p-pci-non-transitional,fsdev=fs0,mount_tag=v
virtio-9p-pci-transitional,fsdev=fs0,mount_tag=w,event_idx=off
virtio-gpu-pci
virtio-gpu,max_outputs=2,edid=off,xres=640
virtio-gpu-pci,disable-modern=on,iommu_platform=on
virtio-vga,id=vga
virtio-keyboard-pci
virtio-keyboard,id=kbd,serial=abc
virtio-mouse-pci,packed=on,wheel-axis=off
virtio-tablet-pci,iommu_platform=on,indirect_desc=off
virtio-crypto-pci,cryptodev=@crypto
virtio-crypto-pci,cryptodev=@crypto,packed=on,disable-modern=on
virtio-iommu-pci,boot-bypass=off
virtio-mem-pci,memdev=@memory
virtio-mem-pci,memdev=@memory,requested-size=2M,unplugged-inaccessible=on
virtio-mem-pci,memdev=@memory,unplugged-inaccessible=off,node=0,block-size=4M
virtio-pmem-pci,memdev=@memory,id=pm0
virtio-pmem-pci,memdev=@memory,packed=on
"""

# QEMU has one balloon a machine.
BALLOONS = [
    "virtio-balloon-pci",
    "virtio-balloon,id=bal0,deflate-on-oom=on,free-page-reporting=on",
    "virtio-balloon-pci-non-transitional,free-page-hint=on,iothread=io0",
    "virtio-balloon-pci-transitional,free-page-hint=on,iothread=io0,free-page-reporting=on",
    "virtio-balloon-pci,page-poison=off,packed=on,disable-legacy=on",
    "virtio-balloon-pci,disable-modern=on",
]

ON_MMIO = """
virtio-blk-device,drive=@disk,num-queues=2
virtio-scsi-device,id=sc0
virtio-serial-device,id=ser0
virtconsole
virtio-gpu-device
virtio-keyboard-device,id=kbd
virtio-net-device,mq=on,netdev=@netdev
virtio-rng-device,iommu_platform=on,packed=on
virtio-crypto-device,cryptodev=@crypto
"""
ON_MMIO_TOO = """
virtio-9p-device,fsdev=fs0,mount_tag=t
virtio-pmem,memdev=@memory
virtio-balloon-device,id=b0,free-page-reporting=on
virtio-tablet-device
virtio-mouse-device,event_idx=off
virtio-rng-device,bus=virtio-mmio-bus.0
"""

# ---- what both refuse, in the same words, by device_add --------------------------------------

REFUSED = """
id=x
driver=nope
driver=nope,id=1x
driver=virtio-rng-pci,id=user
driver=virtio-rng-pci,id=a/b
driver=virtio-rng-pci,id=
driver=virtio-device
driver=virtio-net-pci-base
driver=q35
driver=virtio-rng-pci,foo=1
driver=virtio-rng,foo=1
driver=virtio-rng-pci,packed=maybe
driver=virtio-rng-pci,packed=1
driver=virtio-rng-pci,max-bytes=abc
driver=virtio-rng-pci,max-bytes=-1
driver=virtio-rng-pci,period=0
driver=virtio-rng-pci,period=8589934592
driver=virtio-rng-pci,vectors=99999999999
driver=virtio-rng-pci,vectors=abc
driver=virtio-rng-pci,rng=nope
driver=virtio-rng-pci,rng=io0
driver=virtio-rng-pci,disable-legacy=maybe
driver=virtio-rng-pci,disable-legacy=on,disable-modern=on
driver=virtio-rng-pci,iommu_platform=on
driver=virtio-rng-pci-transitional,disable-legacy=on
driver=virtio-rng-pci,addr=zz
driver=virtio-rng-pci,bus=nope
driver=virtio-rng-pci,bus=ser0.0
driver=virtserialport,bus=pci.0
driver=virtio-net-pci,netdev=nope
driver=virtio-net-pci,netdev=used
driver=virtio-net-pci,mac=zz
driver=virtio-net-pci,rx_queue_size=100
driver=virtio-net-pci,rx_queue_size=2048
driver=virtio-net-pci,tx_queue_size=8
driver=virtio-net-pci,tx_queue_size=100000
driver=virtio-net-pci,duplex=x
driver=virtio-net-pci,speed=-3
driver=virtio-blk-pci,drive=nope
driver=virtio-blk-pci,drive=@disk,num-queues=0
driver=virtio-blk-pci,drive=@disk,num-queues=65536
driver=virtio-blk-pci,drive=@disk,queue-size=100
driver=virtio-blk-pci,drive=@disk,queue-size=2048
driver=virtio-blk-pci,drive=@disk,queue-size=2
driver=virtio-blk-pci,drive=@disk,scsi=on
driver=virtio-blk-pci,drive=@disk,iothread=nope
driver=virtio-serial-pci,max_ports=0
driver=virtio-serial-pci,max_ports=512
driver=virtconsole,chardev=nope
driver=virtserialport,nr=0
driver=virtserialport,nr=1
driver=virtserialport,nr=99
driver=virtserialport,name=taken
driver=virtserialport,chardev=busy
driver=virtio-scsi-pci,num_queues=0
driver=virtio-scsi-pci,num_queues=2000
driver=virtio-crypto-pci
driver=virtio-crypto-pci,cryptodev=nope
driver=virtio-crypto-pci,cryptodev=rg
driver=virtio-9p-pci
driver=virtio-9p-pci,fsdev=nope
driver=virtio-9p-pci,fsdev=fs0
driver=virtio-9p-pci,fsdev=fs0,mount_tag=01234567890123456789012345678901
driver=virtio-mem-pci
driver=virtio-mem-pci,memdev=nope
driver=virtio-mem-pci,memdev=@memory,requested-size=1000
driver=virtio-mem-pci,memdev=@memory,block-size=3M
driver=virtio-pmem-pci
driver=virtio-pmem-pci,memdev=nope
driver=virtio-balloon-pci,iothread=nope
driver=virtio-balloon-pci,free-page-hint=on
driver=vhost-vsock-pci
driver=vhost-vsock-pci,guest-cid=2
"""

NOT_DELETED = ["zz", "/machine/peripheral/zz", "/machine/peripheral",
               "/machine/peripheral/user/virtio-backend", ""]

# ---- the two programs -------------------------------------------------------------------------


class Qemu:
    def __init__(self, *args):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="vds-qemu-"))
        path = self.dir / "qmp"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            argv = [QEMU, *BASE, "-S", *args, "-chardev",
                    f"socket,id=qmp,fd={listener.fileno()},server=on,wait=off",
                    "-mon", "chardev=qmp,mode=control"]
            self.proc = subprocess.Popen(argv, pass_fds=[listener.fileno()],
                                         stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(30)
            client.connect(str(path))
        self.socket = client

    def __enter__(self):
        try:
            self.client = Client(self.socket)
        except (OSError, TypeError, TimeoutError):
            self.proc.kill()
            raise RuntimeError(self.proc.stderr.read().decode()) from None
        return self.client

    def __exit__(self, *exc):
        self.client.close()
        self.proc.kill()
        self.proc.wait()
        self.proc.stderr.close()
        shutil.rmtree(self.dir)


def expand(lines):
    """(part options, lines): every @kind becomes a part of its own."""
    options, count = [], 0

    def make(match):
        nonlocal count
        count += 1
        option, text = PARTS[match.group(1)]
        options.extend([option, text.format(f"part{count}")])
        return f"part{count}"

    lines = [re.sub(r"@(\w+)", make, line) for line in lines]
    return options, lines


def answers(client):
    """Everything the five commands say of every device, queue by queue and one beyond."""
    devices = client.ask({"execute": "x-query-virtio"})
    found = {"x-query-virtio": devices}
    for device in devices["return"]:
        path, queue, more = device["path"], 0, True

        def ask(command, **arguments):
            request = {"execute": command, "arguments": {"path": path, **arguments}}
            reply = to_seven_two(client.ask(request))
            found[f"{command} {path} {arguments}"] = reply
            return "return" in reply

        ask("x-query-virtio-status")
        while more:
            more = ask("x-query-virtio-queue-status", queue=queue)
            if queue < 3 or not more:
                ask("x-query-virtio-vhost-queue-status", queue=queue)
                ask("x-query-virtio-queue-element", queue=queue)
                ask("x-query-virtio-queue-element", queue=queue, index=5)
            queue += 1
        ask("x-query-virtio-queue-status", queue=1024)
    for bad in ("", "/", "/nope", "/machine/peripheral/user"):
        for command in ("status", "queue-status", "vhost-queue-status", "queue-element"):
            request = {"execute": f"x-query-virtio-{command}", "arguments": {"path": bad}}
            if command != "status":
                request["arguments"]["queue"] = 0
            found[f"{command} {bad}"] = to_seven_two(client.ask(request))
    return found


def compare(machine, lines, extra=(), common=COMMON):
    parts, lines = expand(lines)
    devices = [arg for line in lines for arg in ("-device", line)]
    shared = [*parts, *common, *devices]
    ours = "vds" if machine == "microvm" else machine
    with Qemu("-machine", machine, *extra, *shared) as theirs, \
            Daemon("-S", "-machine", ours, *shared) as daemon:
        expected, found = answers(theirs), answers(daemon.client())
    assert len(expected["x-query-virtio"]["return"]) > 0
    equal(sorted(found), sorted(expected))
    for question, answer in expected.items():
        equal(found[question], answer, f"{machine}: {question}")


def test_net_on_q35():
    compare("q35", NET.split())


def test_blk_and_scsi_on_pc():
    compare("pc", BLK.split())


def test_blk_and_scsi_on_q35():
    compare("q35", BLK.split())


def test_serial_and_rng_on_pc():
    compare("pc", SERIAL.split())


def test_the_others_on_q35():
    compare("q35", OTHERS.split())


def test_balloons():
    for line in BALLOONS:
        compare("q35", [line])


def test_on_mmio():
    without_pci = COMMON[:-2]
    compare("microvm", ON_MMIO.split()[:8], MMIO, without_pci)
    compare("microvm", ON_MMIO_TOO.split() + ON_MMIO.split()[8:], MMIO, without_pci)


def test_the_tables_are_large_enough():
    lines = (NET + BLK + SERIAL + OTHERS + ON_MMIO + ON_MMIO_TOO).split() + BALLOONS
    assert len(lines) >= 90, len(lines)




def test_refusals():
    parts, lines = expand(REFUSED.split())
    shared = ["-machine", "pc", *parts, *COMMON, "-chardev", "null,id=busy",
              "-device", "virtio-serial-pci,id=ser0",
              "-device", "virtserialport,name=taken,chardev=busy"]
    with Qemu(*shared) as theirs, Daemon("-S", *shared) as daemon:
        ours = daemon.client()
        for line in lines:
            arguments = dict(pair.split("=", 1) for pair in line.split(","))
            request = {"execute": "device_add", "arguments": arguments}
            expected = theirs.ask(request)
            assert "error" in expected, (line, expected)
            equal(ours.ask(request), expected, line)
        for name in NOT_DELETED:
            request = {"execute": "device_del", "arguments": {"id": name}}
            equal(ours.ask(request), theirs.ask(request), name)
        question = {"execute": "x-query-virtio"}
        equal(ours.ask(question), theirs.ask(question))


# ---- properties, types and the tree ------------------------------------------------------------

# Rows of 8.2 that 7.2 has not; and what 7.2 has that means nothing here, beside the
# second spelling ("legacy-X") of some.
ONLY_OURS = {"guest_uso4", "guest_uso6", "host_uso", "dynamic-memslots"}
# Of a later one.
ONLY_OURS |= {"in_order"}
# Of the built-in guest and its threads.
ONLY_OURS |= {"guest", "workload", "rate", "iothread"}
# Of front-ends elsewhere.
ONLY_OURS |= {"vhost-user", "server", "reconnect"}
# Of sockets of the host.
ONLY_OURS |= {"uds-path"}
ONLY_THEIRS = {"guest-stats", "guest-stats-polling-interval", "size", "default-backend"}
# The parts that a USB host is made of.
ONLY_THEIRS |= {"host", "xhci-core"}
# Those of the boards' chips are shown as far as libvirt sets them.
PARTIAL = {"ICH9-LPC", "PIIX4_PM"}
UNKNOWN_TYPES = ["nope", "virtio-net", "virtio-device", "bus"]


def default_of(row):
    """Beyond the signed range our values of any type are doubles."""
    value = row.get("default-value")
    return float(value) if type(value) is int and value >= 1 << 63 else value


def properties(reply):
    return {p["name"]: (p["type"], default_of(p)) for p in reply}


def compare_properties(command):
    with Qemu("-machine", "q35") as theirs, Daemon("-S") as daemon:
        ours, compared = daemon.client(), 0
        for row in ours.command("qom-list-types", implements="device"):
            if row["name"] in ("virtio-replay", "virtio-generic-pci"):
                continue
            # This one loads the module that a type may live in.
            theirs.command("device-list-properties", typename=row["name"])
            expected, found = (properties(client.command(command, typename=row["name"]))
                               for client in (theirs, ours))
            expected = {name: row for name, row in expected.items()
                        if name not in ONLY_THEIRS and not name.startswith("legacy-")
                        and row[0] != "child<serial>"}
            if row["name"] in PARTIAL:
                assert {"disable_s3", "disable_s4"} <= found.keys() <= expected.keys()
                continue
            for name in ONLY_OURS - expected.keys():
                found.pop(name, None)
            equal(found, expected, f"{command} {row['name']}")
            compared += 1
        assert compared > 50, compared
        for name in UNKNOWN_TYPES:
            request = {"execute": command, "arguments": {"typename": name}}
            if command == "device-list-properties":
                equal(ours.ask(request), theirs.ask(request), f"{command} {name}")
            elif name in ("nope", "virtio-net"):
                # QEMU's DeviceNotFound kills libvirt: docs/compat.md.
                equal(ours.ask(request), {"return": []}, f"{command} {name}")


def test_properties_that_may_be_given():
    compare_properties("device-list-properties")


def test_properties_of_every_type():
    compare_properties("qom-list-properties")


def test_types_and_parents():
    request = {"execute": "qom-list-types", "arguments": {"abstract": True}}
    with Qemu("-machine", "q35") as theirs, Daemon("-S") as daemon:
        expected = {row["name"]: row for row in theirs.ask(request)["return"]}
        for row in daemon.client().ask(request)["return"]:
            if row["name"] in expected:
                equal(row, expected[row["name"]])
            else:
                assert re.match(r"virtio-(replay|generic)|vds-machine", row["name"]), row


def main():
    need(QEMU)
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    if " 7." not in version:
        skip(f"the tables are of QEMU 7.2; here is {version.splitlines()[0]}")
    run(test_net_on_q35, test_blk_and_scsi_on_pc, test_blk_and_scsi_on_q35,
        test_serial_and_rng_on_pc, test_the_others_on_q35, test_balloons, test_on_mmio,
        test_the_tables_are_large_enough, test_refusals, test_properties_that_may_be_given,
        test_properties_of_every_type, test_types_and_parents)


if __name__ == "__main__":
    main()
