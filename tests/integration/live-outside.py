#!/usr/bin/env python3
"""Another process maps guest memory and reads the rings itself: it finds what the queries
say, split and packed, slot by slot."""

import time

from live import AVAIL, INDIRECT, Memory, NEXT, USED, WRITE, backends, queues, wait_driven
from vds import Daemon, equal, run

FLAGS = {"next": NEXT, "write": WRITE, "indirect": INDIRECT, "avail": AVAIL, "used": USED}
SLOTS = 40


def line(ring):
    extra = ",workload=light,rate=1000" + ("," + ring if ring else "")
    return ["-chardev", "null,id=c0",
            "-device", f"virtio-net-pci,id=net0{extra}", "-device", f"virtio-blk-pci,id=blk0{extra}",
            "-device", f"virtio-rng-pci,id=rng0{extra}",
            "-device", f"virtio-serial-pci,id=ser0,max_ports=2{extra}",
            "-device", "virtconsole,chardev=c0",
            "-device", f"virtio-balloon-pci,id=bal0{extra}"]


def said(element):
    """What a reply says, first descriptor first; flags as bits."""
    return element["index"], [(desc["addr"], desc["len"], sum(FLAGS[flag] for flag in desc["flags"]))
                              for desc in reversed(element["descs"])]


def compare(ring, *more):
    seen = 0
    with Daemon(*more, *line(ring)) as daemon:
        client = daemon.client()
        wait_driven(client)
        time.sleep(0.5)
        client.command("stop")
        memory = Memory(client)
        for path in backends(client):
            packed = client.command("qom-get", path=path, property="packed")
            for n, queue in enumerate(queues(client, path)):
                if not packed:
                    equal(memory.u16(queue["vring-used"] + 2), queue["used-idx"], (path, n))
                for slot in range(min(queue["vring-num"], SLOTS)):
                    element = client.command("x-query-virtio-queue-element", path=path, queue=n,
                                             index=slot)
                    read = memory.packed_chain if packed else memory.split_chain
                    head, descs = read(queue, slot)
                    mask = sum(FLAGS.values())
                    equal(said(element), (head, [(a, l, f & mask) for a, l, f in descs]),
                          (path, n, slot))
                    seen += 1
    assert seen > 300, seen


def test_split():
    compare("")


def test_split_without_indirect_tables():
    compare("indirect_desc=off,event_idx=off")


def test_packed():
    compare("packed=on")


def test_a_file():
    compare("packed=on", "-object", "memory-backend-file,id=r,size=64M,share=on,mem-path={dir}/ram",
            "-machine", "vds,memory-backend=r")


if __name__ == "__main__":
    run(test_split, test_split_without_indirect_tables, test_packed, test_a_file)
