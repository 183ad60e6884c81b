#!/usr/bin/env python3
"""Idle devices with the built-in guest beside those of a recorded Linux 6.1 in QEMU 7.2:
member by member, and every difference is listed with its reason.

tests/golden/q35-idle.jsonl holds requests and replies, tests/golden/idle.txt the differences:
DEVICE MEMBER REASON, DEVICE being "net0" or "blk0.1" (queue 1), "*" standing for any part.
A line that fits no difference is as wrong as a difference without a line.

usage: live-idle.py [--list]   (prints what differs)
"""

import fnmatch
import json
import pathlib
import sys
import tempfile

from level import to_seven_two
from live import prop, until, wait_driven
from vds import Daemon, ROOT, run

GOLDEN = ROOT / "tests" / "golden"
DISKS = ("f0", "f1", "f2", "f3", "f4", "f5")
DISK_BYTES = 8 << 20

# The recorded command line, as far as these devices go.
LINE = """
-m 512M -machine q35
-netdev user,id=n0 -netdev user,id=n1
-chardev null,id=vc0 -chardev null,id=vp0
-object rng-random,id=rng0b,filename=/dev/urandom
-device virtio-net-pci,id=net0,netdev=n0,mac=52:54:00:12:34:56
-device virtio-net-pci-non-transitional,netdev=n1,packed=on,mac=52:54:00:12:34:57
-device virtio-blk-pci,id=blk0,drive=f0,num-queues=2
-device virtio-blk-pci-non-transitional,drive=f1,packed=on,num-queues=1
-device virtio-blk-pci,id=blk2,drive=f2,iommu_platform=on,ats=on,disable-legacy=on,num-queues=1,queue-size=128
-device virtio-blk-pci-transitional,id=blk3,drive=f3,num-queues=1,indirect_desc=off,event_idx=off
-device virtio-blk-pci,id=blk4,drive=f4,disable-modern=on,num-queues=1
-device virtio-scsi-pci,id=scsi0,num_queues=2
-device scsi-hd,bus=scsi0.0,drive=f5
-device virtio-serial-pci,id=ser0,max_ports=4
-device virtconsole,chardev=vc0
-device virtserialport,chardev=vp0,name=org.example.port0
-device virtio-rng-pci,id=rng0,rng=rng0b
-device virtio-rng-pci,max-bytes=1024,period=1000
-device virtio-balloon-pci,id=bal0,free-page-reporting=on,deflate-on-oom=on
"""


def rows():
    return [json.loads(line) for line in (GOLDEN / "q35-idle.jsonl").read_text().splitlines()]


def exceptions():
    lines = (GOLDEN / "idle.txt").read_text().splitlines()
    return [tuple(line.split(None, 2)) for line in lines if line and not line.startswith("#")]


def place(request):
    """net0, or net0.2 for its queue 2."""
    arguments = request["arguments"]
    name = arguments["path"].split("/")[-2]
    return name + (f".{arguments['queue']}" if "queue" in arguments else "")


def leaves(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, json.dumps(sorted(value) if isinstance(value, list) else value)


def settle(client, paths):
    """What Linux does unasked is done: nothing moves for a while."""
    wait_driven(client, *paths)
    before = None

    def still():
        nonlocal before
        now = [prop(client, path, "guest-requests") for path in paths]
        before, was = now, before
        return now == was and client.quiet(0.2)
    until(still, "idle")


def ask(recorded):
    """(place, member, recorded, found) of all that differs."""
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        words = LINE.split()
        for disk in DISKS:
            path = pathlib.Path(folder) / disk
            path.write_bytes(bytes(DISK_BYTES))
            words = ["-blockdev", f"file,node-name={disk},filename={path}"] + words
        with Daemon(*words) as daemon:
            client = daemon.client()
            settle(client, {row["req"]["arguments"]["path"] for row in recorded})
            for row in recorded:
                found = to_seven_two(client.ask(row["req"]))
                ours, theirs = dict(leaves(found)), dict(leaves(row["rep"]))
                for member in sorted(ours.keys() | theirs.keys()):
                    if ours.get(member) != theirs.get(member):
                        yield (place(row["req"]), member.removeprefix("return."),
                               theirs.get(member), ours.get(member))


def fits(difference, line):
    # "[" is no pattern here
    return all(fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))
               for text, pattern in zip(difference, line[:2]))


def test_every_difference_has_its_reason():
    lines, unused = exceptions(), set(exceptions())
    assert all(len(line) == 3 for line in lines), lines
    for difference in ask(rows()):
        matching = [line for line in lines if fits(difference, line)]
        assert matching, "{} {}: recorded {}, found {}".format(*difference)
        unused -= set(matching)
    assert not unused, f"no difference any more: {sorted(unused)}"


def test_the_recording_is_large_enough():
    recorded = rows()
    assert len(recorded) > 30, len(recorded)
    queues = {place(row["req"]) for row in recorded if "queue" in row["req"]["arguments"]}
    assert {"net0.0", "net0.2", "ser0.2", "bal0.2", "blk0.1", "rng0.0", "scsi0.3"} <= queues


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        for row in ask(rows()):
            print("{:12} {:40} {} -> {}".format(*row))
    else:
        run(test_every_difference_has_its_reason, test_the_recording_is_large_enough)
