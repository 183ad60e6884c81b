#!/usr/bin/env python3
"""What x-query-virtio-queue-element must answer for every slot of a recorded packed ring.

    packed_decoder.py FILE.vds [--out FILE.json]

Written from the virtio specification (1.2, 2.8) and the rule below, not from the daemon,
which it checks.  Every device of the file whose driver negotiated VIRTIO_F_RING_PACKED,
every queue with a ring, first without an index and then slot by slot:

    The index is a slot of the descriptor ring, modulo num (default last-avail-idx).
    If that slot has INDIRECT: its table, len/16 entries, all of them, NEXT ignored.
    Otherwise consecutive slots while NEXT, at most num.
    Whether the slot is available or used does not matter.
    "index" is the id in the chain's last direct slot; avail.ring is the slot.
    avail.flags and avail.idx are the driver event area's flags and off_wrap words,
    used.flags and used.idx the device event area's.  descs: the tail first.
"""

import argparse
import collections
import json
import pathlib
import struct
import sys

RING_PACKED = 34
NEXT, INDIRECT = 1, 4
FLAGS = (("used", 1 << 15), ("avail", 1 << 7), ("indirect", 4), ("write", 2), ("next", 1))
NAMES = {1: "virtio-net", 2: "virtio-blk", 3: "virtio-serial", 4: "virtio-rng",
         5: "virtio-balloon"}

# le64 addr, le32 len, le16 id, le16 flags
Desc = collections.namedtuple("Desc", "addr len id flags")
DESC = struct.Struct("<QIHH")
EVENT = struct.Struct("<HH")  # off_wrap, flags


class Unmapped(Exception):
    pass


class Memory:
    def __init__(self, folder, regions):
        self.bytes = {}
        for region in regions:
            data = (folder / region["file"]).read_bytes()
            for i in range(region["len"]):
                self.bytes[region["gpa"] + i] = data[region["offset"] + i]

    def read(self, gpa, length, what):
        try:
            return bytes(self.bytes[gpa + i] for i in range(length))
        except KeyError:
            raise Unmapped(f"Cannot map {what}") from None


def shown(desc):
    return {"addr": desc.addr, "len": desc.len,
            "flags": [name for name, bit in FLAGS if desc.flags & bit]}


def table_of(memory, head):
    if head.len < DESC.size:
        raise Unmapped(f"Indirect table of {head.len} bytes is shorter than a descriptor "
                       f"of {DESC.size}")
    data = memory.read(head.addr, head.len, "indirect buffer")
    return [Desc(*DESC.unpack_from(data, DESC.size * i))
            for i in range(head.len // DESC.size)]


def decode(memory, queue, name, slot):
    num = queue["num"]
    ring = [Desc(*fields) for fields in DESC.iter_unpack(
        memory.read(queue["desc"], DESC.size * num, "descriptor ring"))]
    driver = EVENT.unpack(memory.read(queue["avail"], EVENT.size, "avail ring"))
    device = EVENT.unpack(memory.read(queue["used"], EVENT.size, "used ring"))

    direct = [ring[slot]]
    if ring[slot].flags & INDIRECT:
        descs = table_of(memory, ring[slot])
    else:
        while direct[-1].flags & NEXT and len(direct) < num:
            direct.append(ring[(slot + len(direct)) % num])
        descs = direct
    return {"name": name, "index": direct[-1].id,
            "avail": {"flags": driver[1], "idx": driver[0], "ring": slot},
            "used": {"flags": device[1], "idx": device[0]},
            "descs": [shown(desc) for desc in reversed(descs)]}


def pair(memory, queue, device, number, index):
    arguments = {"path": device["path"], "queue": number}
    slot = queue.get("last-avail-idx", 0)
    if index is not None:
        arguments["index"] = slot = index
    try:
        reply = {"return": decode(memory, queue, NAMES[device["device-id"]],
                                  slot % queue["num"])}
    except Unmapped as error:
        reply = {"error": {"class": "GenericError", "desc": str(error)}}
    return {"req": {"execute": "x-query-virtio-queue-element", "arguments": arguments},
            "rep": reply}


def pairs(path):
    snapshot = json.loads(path.read_text())
    memories = {memory["id"]: Memory(path.parent, memory["regions"])
                for memory in snapshot["memories"]}
    for device in snapshot["devices"]:
        if not device["guest-features"] >> RING_PACKED & 1:
            continue
        for number, queue in enumerate(device["queues"]):
            if queue.get("desc"):
                for index in (None, *range(queue["num"])):
                    yield pair(memories[device["memory"]], queue, device, number, index)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--out", type=argparse.FileType("w"), default=sys.stdout)
    options = parser.parse_args()
    lines = ",\n".join(json.dumps(row) for row in pairs(options.file))
    options.out.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
