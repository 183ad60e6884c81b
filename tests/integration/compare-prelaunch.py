#!/usr/bin/env python3
"""Twenty devices before a guest has started: what QEMU 7.2 answered for them, we answer.

tests/golden/q35-prelaunch.jsonl holds the requests and replies; the command line is QEMU's,
less what says how its guest runs. What may differ is in level.py.
"""

import json
import pathlib
import tempfile

from level import to_seven_two
from vds import Daemon, ROOT, equal, run

PARTS = """
-object memory-backend-memfd,id=ram0,share=on,size=512M
-netdev user,id=n0
-netdev user,id=n1,net=10.0.3.0/24
-blockdev file,node-name=f0,filename={disks}/d0.img
-blockdev file,node-name=f1,filename={disks}/d1.img
-blockdev file,node-name=f2,filename={disks}/d2.img
-blockdev file,node-name=f3,filename={disks}/d3.img
-blockdev file,node-name=f4,filename={disks}/d4.img
-blockdev file,node-name=f5,filename={disks}/d5.img
-chardev null,id=vc0
-chardev null,id=vp0
-object rng-random,id=rng0b,filename=/dev/urandom
-object cryptodev-backend-builtin,id=cb0
-object memory-backend-ram,id=vmem0,size=256M
-object memory-backend-file,id=pmem0,share=on,mem-path=pmem.img,size=128M
-fsdev local,id=fs0,path=share,security_model=none
"""

DEVICES = """
virtio-net-pci,id=net0,netdev=n0,mac=52:54:00:12:34:56
virtio-net-pci-non-transitional,netdev=n1,packed=on,mac=52:54:00:12:34:57
virtio-blk-pci,id=blk0,drive=f0,num-queues=2
virtio-blk-pci-non-transitional,drive=f1,packed=on,num-queues=1
virtio-blk-pci,id=blk2,drive=f2,iommu_platform=on,ats=on,disable-legacy=on,num-queues=1,queue-size=128
virtio-blk-pci-transitional,id=blk3,drive=f3,num-queues=1,indirect_desc=off,event_idx=off
virtio-blk-pci,id=blk4,drive=f4,disable-modern=on,num-queues=1
virtio-scsi-pci,id=scsi0,num_queues=2
scsi-hd,bus=scsi0.0,drive=f5
virtio-serial-pci,id=ser0,max_ports=4
virtconsole,chardev=vc0
virtserialport,chardev=vp0,name=org.example.port0
virtio-rng-pci,id=rng0,rng=rng0b
virtio-rng-pci,max-bytes=1024,period=1000
virtio-balloon-pci,id=bal0,free-page-reporting=on,deflate-on-oom=on
virtio-crypto-pci,id=cry0,cryptodev=cb0
virtio-gpu-pci,id=gpu0
virtio-keyboard-pci,id=kbd0
virtio-mouse-pci
virtio-tablet-pci,id=tab0
virtio-mem-pci,id=vmem,memdev=vmem0,requested-size=128M
virtio-pmem-pci,id=pm0,memdev=pmem0
virtio-9p-pci,id=p9,fsdev=fs0,mount_tag=tag9
"""


def command_line(disks):
    args = ["-S", "-m", "512M", "-machine", "q35"]
    for line in PARTS.split("\n"):
        args += line.replace("{disks}", disks).split()
    for line in DEVICES.split():
        args += ["-device", line]
    return args


def rows():
    path = ROOT / "tests" / "golden" / "q35-prelaunch.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_recorded_answer():
    recorded = rows()
    assert len(recorded) > 300, len(recorded)
    with tempfile.TemporaryDirectory(prefix="vds-disks-") as disks:
        for i in range(6):
            pathlib.Path(disks, f"d{i}.img").write_bytes(bytes(1 << 16))
        with Daemon(*command_line(disks)) as daemon:
            client = daemon.client()
            for row in recorded:
                equal(to_seven_two(client.ask(row["req"])), row["rep"], row["req"])


run(test_every_recorded_answer)
