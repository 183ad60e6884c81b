#!/usr/bin/env python3
"""Requests wait as long as limits and latency ask, with QEMU's names for both; meanwhile they are
in use, and a head that is posted again is an error."""

import struct
import time

from front import DATA, Front, GET_VRING_BASE, WRITE
from vds import Daemon, equal, run

T_IN, T_OUT = 0, 1
HOUR_NS = 3600 * 10**9
DISK = ["-device", "virtio-blk-pci,id=b0,drive=d,vhost-user={dir}/sock"]
PATH = "/machine/peripheral/b0/virtio-backend"
NULL = "null-co,node-name=n0,size=1048576,read-zeroes=on"


def request(front, head, kind=T_IN, size=512):
    at = DATA + head * 0x1000
    front.write(at, struct.pack("<IIQ", kind, 0, 0))
    front.put(head, [(at, 16, 0), (at + 512, size, WRITE if kind == T_IN else 0), (at + 8, 1, WRITE)])


def in_use(client):
    return client.command("x-query-virtio-queue-status", path=PATH, queue=0)["inuse"]


def used_after(front, seconds):
    time.sleep(seconds)
    return front.used_idx()


def paced(args, kinds=(T_IN, T_IN, T_IN), size=512):
    """How many of these are used at once, and after 0.4, 1.4 and 2.4 seconds."""
    with Daemon(*args, *DISK) as daemon, Front(daemon.dir / "sock") as front:
        front.start()
        client = daemon.client()
        for i, kind in enumerate(kinds):
            request(front, 3 * i, kind, size)
        front.kick()
        found = [used_after(front, 0.4)]
        equal(in_use(client), len(kinds) - found[0])
        found += [used_after(front, 1), used_after(front, 1)]
        return found


def test_limits_by_every_name():
    group = ["-blockdev", NULL, "-blockdev", "throttle,node-name=d,throttle-group=g,file=n0", "-object"]
    drive = "file=null-co://,id=d,if=none,"
    ways = [
        ["-drive", drive + "throttling.iops-total=1"],
        ["-drive", drive + "iops=1"],
        ["-drive", drive + "throttling.iops-read=1"],
        ["-drive", drive + "throttling.bps-total=512"],
        ["-drive", drive + "bps_rd=512"],
        ["-drive", drive + "iops=1,throttling.group=g"],
        group + ["throttle-group,id=g,x-iops-total=1"],
        group + ['{"qom-type":"throttle-group","id":"g","limits":{"bps-read":512}}'],
    ]
    for way in ways:
        equal(paced(way), [1, 2, 3], " ".join(way))


def test_limits_are_shown():
    with Daemon("-drive", "file=null-co://,id=d,if=none,throttling.bps-read=1M,iops_wr=7", *DISK) as daemon:
        shown = daemon.client().command("query-block")[0]["inserted"]
        equal([shown[k] for k in ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")],
              [0, 1 << 20, 0, 0, 0, 7])


def test_what_a_limit_is_not_about():
    drive = "file=null-co://,id=d,if=none,"
    equal(paced(["-drive", drive + "throttling.iops-write=1"])[0], 3, "reads")
    equal(paced(["-drive", drive + "bps_wr=512"], (T_OUT, T_IN, T_IN))[0], 3, "one write")
    equal(paced(["-drive", drive + "iops=1000"])[0], 3, "far below")
    equal(paced(["-drive", drive + "iops=1,iops_max=3"])[0], 3, "a burst")
    equal(paced(["-drive", drive + "iops=2,iops_size=512"], size=1024), [1, 2, 3], "two of 512 each")


def test_latency_and_a_head_posted_again():
    with Daemon("-blockdev", NULL.replace("n0", "d") + f",latency-ns={HOUR_NS}", *DISK) as daemon, \
            Front(daemon.dir / "sock") as front:
        front.start()
        client = daemon.client()
        request(front, 0)
        front.kick()
        equal((used_after(front, 0.3), in_use(client)), (0, 1))
        client.command("stop")
        client.command("cont")
        equal((used_after(front, 0.2), in_use(client)), (0, 1), "stop and cont change nothing")
        request(front, 0)
        front.kick()
        time.sleep(0.3)
        reason = client.command("qom-get", path=PATH, property="broken-reason")
        assert reason.startswith("S6"), reason


def test_latency_passes():
    with Daemon("-blockdev", NULL.replace("n0", "d") + ",latency-ns=300000000", *DISK) as daemon, \
            Front(daemon.dir / "sock") as front:
        front.start()
        begun = time.monotonic()
        request(front, 0)
        front.kick()
        front.used(1)
        passed = time.monotonic() - begun
        assert 0.3 <= passed < 2, passed


def test_more_than_a_device_holds():
    """All come back, although the device has room for 64 at once."""
    with Daemon("-blockdev", NULL.replace("n0", "d") + ",latency-ns=50000000", *DISK) as daemon, \
            Front(daemon.dir / "sock") as front:
        front.start(num=256)
        for i in range(80):
            request(front, 3 * i)
        front.kick()
        front.used(80)


def test_nobody_waits_for_what_is_held():
    for act in "base", "reset", "leave", "device_del":
        with Daemon("-blockdev", NULL.replace("n0", "d") + f",latency-ns={HOUR_NS}", *DISK) as daemon, \
                Front(daemon.dir / "sock") as front:
            front.start()
            client = daemon.client()
            request(front, 0)
            front.kick()
            equal(used_after(front, 0.2), 0)
            if act == "base":
                base = struct.unpack("=II", front.ask(GET_VRING_BASE, struct.pack("=II", 0, 0)))[1]
                equal((base, front.used_idx()), (1, 1))
            elif act == "reset":
                client.command("system_reset")
            elif act == "leave":
                front.sock.close()
            else:
                client.command("device_del", id="b0")
                client.event("DEVICE_DELETED")
            client.command("query-status")


def test_refused():
    import subprocess  # pylint: disable=import-outside-toplevel
    from vds import daemon_path  # pylint: disable=import-outside-toplevel
    for words, named in [("iops=1,iops_rd=1", "total values and read/write values"),
                         ("iops_max=3", "require corresponding"), ("iops=3,iops_max=1", "lower than"),
                         ("throttling.iops-total=x", "iops-total")]:
        done = subprocess.run([daemon_path(), "-drive", "file=null-co://,id=d,if=none," + words, "-device",
                               "virtio-blk-pci,drive=d"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and named in done.stderr, (words, done.stderr)


if __name__ == "__main__":
    run(test_limits_by_every_name, test_limits_are_shown, test_what_a_limit_is_not_about,
        test_latency_and_a_head_posted_again, test_latency_passes, test_more_than_a_device_holds,
        test_nobody_waits_for_what_is_held, test_refused)
