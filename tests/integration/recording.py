"""Recordings made by hand: rings with any content, for tests that a real guest's never help.

    ring = split_ring(8, descs={0: (0x5000, 16, WRITE, 0)}, avail=[0])
    write(folder, device("q0", ring), device("q1", other))     # -> the .vds file

Everything of one device lies in a memory of its own, at the addresses that the ring says.
"""

import json
import struct

NEXT, WRITE, INDIRECT, AVAIL, USED = 1, 2, 4, 1 << 7, 1 << 15
VERSION_1, PACKED, EVENT_IDX = 1 << 32, 1 << 34, 1 << 29
DESC, DRIVER, DEVICE, TABLE = 0x10000, 0x200000, 0x300000, 0x400000


def split_desc(entry, order="<"):
    """addr, len, flags, next: struct virtq_desc."""
    return struct.pack(order + "QIHH", *entry)


def packed_desc(entry, order="<"):
    """addr, len, flags, id: struct pvirtq_desc."""
    addr, length, flags, ident = entry
    return struct.pack(order + "QIHH", addr, length, ident, flags)


def split_ring(num, descs=None, avail=(), avail_idx=0, used_idx=0, table=None, order="<",
               flags=(0, 0)):
    """descs: slot -> entry; avail: heads, the rest 0; table: entries of an indirect table."""
    slots = [(descs or {}).get(i, (0, 0, 0, 0)) for i in range(num)]
    heads = list(avail) + [0] * (num - len(avail))
    pages = {
        DESC: b"".join(split_desc(slot, order) for slot in slots),
        DRIVER: struct.pack(f"{order}HH{num + 1}H", flags[0], avail_idx, *heads, 0),
        DEVICE: struct.pack(order + "HH", flags[1], used_idx) + bytes(8 * num + 2),
    }
    if table:
        pages[TABLE] = b"".join(split_desc(entry, order) for entry in table)
    return {"num": num, "pages": pages, "features": VERSION_1}


def packed_ring(num, descs=None, table=None, driver=(0, 0), device=(0, 0)):
    """driver, device: off_wrap and flags of the event areas."""
    slots = [(descs or {}).get(i, (0, 0, 0, 0)) for i in range(num)]
    pages = {
        DESC: b"".join(packed_desc(slot) for slot in slots),
        DRIVER: struct.pack("<HH", *driver),
        DEVICE: struct.pack("<HH", *device),
    }
    if table:
        pages[TABLE] = b"".join(packed_desc(entry) for entry in table)
    return {"num": num, "pages": pages, "features": VERSION_1 | PACKED}


def device(name, ring, queue=None, **members):
    """`queue` changes members of the queue, `members` those of the device; None takes one
    away."""
    row = {
        "num": ring["num"], "num-default": ring["num"], "align": 4096,
        "desc": DESC, "avail": DRIVER, "used": DEVICE,
        "last-avail-idx": 0, "shadow-avail-idx": 0, "used-idx": 0, "inuse": 0,
        "signalled-used": 0, "signalled-used-valid": False, **(queue or {}),
    }
    body = {
        "path": path(name), "device-id": 4, "host-features": ring["features"],
        "guest-features": ring["features"], "backend-features": 0, "device-endian": "little",
        "status": 15, "isr": 0, "queue-sel": 0, "bus-name": "", "vm-running": False,
        "broken": False, "disabled": False, "use-started": True, "started": True,
        "start-on-kick": False, "disable-legacy-check": False,
        "use-guest-notifier-mask": True,
        "queues": [{k: v for k, v in row.items() if v is not None}], **members,
    }
    return {"name": name, "pages": ring["pages"], "body": body}


def path(name):
    return f"/machine/peripheral/{name}/virtio-backend"


def write(folder, *devices):
    """made.vds and its page file; returns the former's path."""
    memories, blob = [], b""
    for one in devices:
        regions = []
        for gpa, content in one["pages"].items():
            regions.append({"gpa": gpa, "len": len(content), "file": "made.bin",
                            "offset": len(blob)})
            blob += content
        memories.append({"id": one["name"], "regions": regions})
    (folder / "made.bin").write_bytes(blob)
    recorded = {"format": "vds-snapshot", "version": 1, "memories": memories,
                "devices": [{**one["body"], "memory": one["name"]} for one in devices]}
    (folder / "made.vds").write_text(json.dumps(recorded))
    return folder / "made.vds"
