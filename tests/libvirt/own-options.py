#!/usr/bin/env python3
"""<qemu:commandline>: our own options, on the machine that has nothing else."""

import shutil

from host import ROOT, Host, equal, run, until
from vds import Client

RECORDED = ["rng0", "rng1", "blk0", "net0", "bal0", "ser0"]


def started(host):
    for name in ("split.vds", "split.bin"):
        shutil.copy(ROOT / "tests/golden/rings" / name, host.dir / name)
    host.own()
    host.define("own-options.xml")
    host.virsh("start", "own-options")


def index(host):
    return host.monitor("own-options", "x-query-virtio-queue-status", queue=0,
                        path="/machine/peripheral/busy0/virtio-backend")["used-idx"]


def test_recorded_and_busy():
    with Host() as host:
        started(host)
        paths = [row["path"] for row in host.monitor("own-options", "x-query-virtio")]
        equal(sorted(path.split("/")[3] for path in paths), sorted([*RECORDED, "busy0"]))
        element = host.monitor("own-options", "x-query-virtio-queue-element", queue=0,
                               path="/machine/peripheral/rng1/virtio-backend")
        equal(element["descs"], [{"addr": 41654032, "len": 64, "flags": ["write"]}])
        first = index(host)
        until(lambda: index(host) != first, "the workload moves its index")


def test_a_monitor_of_its_own():
    """Beside libvirt's; both see the same, and libvirt hears of what the other does."""
    with Host() as host:
        started(host)
        client = Client(host.dir / "own.qmp")
        equal(client.command("x-query-virtio"), host.monitor("own-options", "x-query-virtio"))
        client.command("stop")
        until(lambda: host.state("own-options") .startswith("paused"), "libvirt saw the STOP")
        client.command("cont")
        until(lambda: host.state("own-options").startswith("running"), "libvirt saw the RESUME")
        client.close()


run(test_recorded_and_busy, test_a_monitor_of_its_own)
