#!/usr/bin/env python3
"""Rings that no sane driver writes: each is answered, with an error that has the numbers or
with what is there; QEMU aborts on some of them. The rules' ids are those of the unit tests."""

import pathlib
import tempfile

from recording import (AVAIL, DESC, DEVICE, DRIVER, INDIRECT, NEXT, TABLE, USED, VERSION_1,
                       WRITE, device, packed_ring, path, split_ring, write)
from vds import Daemon, QmpError, equal, run

FULL = 0xFFFF
LINE = [(0x1000 * i, i, NEXT, i + 1) for i in range(8)]


def indirect(length, table=((0x9000, 7, WRITE, 0),), flags=INDIRECT):
    return split_ring(8, {0: (TABLE, length, flags, 0)}, [0], table=list(table))


def packed_indirect(length, table=((0x9000, 7, WRITE, 5),)):
    return packed_ring(8, {0: (TABLE, length, INDIRECT | AVAIL, 3)}, table=list(table))


# name: ring, argument index (None: left out), what must come: an error's text, or the
# lengths of descs, tail first.
SPLIT = {
    "head of num": (split_ring(8, avail=[8]), 0, "Head descriptor 8 is outside the ring of 8"),
    "head 65535": (split_ring(8, avail=[FULL]), 0,
                   "Head descriptor 65535 is outside the ring of 8"),
    "table of 0": (indirect(0), 0,
                   "Indirect table of 0 bytes is shorter than a descriptor of 16"),
    "table of 15": (indirect(15), 0,
                    "Indirect table of 15 bytes is shorter than a descriptor of 16"),
    "table of 17": (indirect(17), 0, "Cannot map indirect buffer"),
    "table of 65537": (indirect(65537 * 16), 0,
                       "Indirect table of 65537 descriptors is longer than 65536"),
    "table of 4 GiB": (indirect(0xFFFFFFFF), 0,
                       "Indirect table of 268435455 descriptors is longer than 65536"),
    "unmapped table": (split_ring(8, {0: (1 << 40, 16, INDIRECT, 0)}, [0]), 0,
                       "Cannot map indirect buffer"),
    "table that wraps": (split_ring(8, {0: ((1 << 64) - 8, 16, INDIRECT, 0)}, [0]), 0,
                         "Cannot map indirect buffer"),
    "table in a table": (indirect(32, [(TABLE, 16, INDIRECT | NEXT, 1), (1, 9, 0, 0)]), 0,
                         [9, 16]),
    "loop in a table": (indirect(32, [(0, 1, NEXT, 1), (0, 2, NEXT, 0)]), 0, [2, 1]),
    "next leaves a table": (indirect(16, [(0, 1, NEXT, 1)]), 0, [1]),
    "loop": (split_ring(8, {0: (0, 1, NEXT, 1), 1: (0, 2, NEXT, 0)}, [0]), 0,
             [2, 1, 2, 1, 2, 1, 2, 1]),
    "next of itself": (split_ring(1, {0: (0, 1, NEXT, 0)}, [0]), 0, [1]),
    "next of num": (split_ring(8, {0: (0, 1, NEXT, 8)}, [0]), 0, [1]),
    "next 65535": (split_ring(8, {0: (0, 1, NEXT, FULL)}, [0]), 0, [1]),
    "the whole ring": (split_ring(8, dict(enumerate(LINE)), [0]), 0, [7, 6, 5, 4, 3, 2, 1, 0]),
    "index 65535 of 8": (split_ring(8, {5: (0, 55, 0, 0)}, [0] * 7 + [5]), FULL, [55]),
    "index 65535 of 3": (split_ring(3, {1: (0, 55, 0, 0)}, [1, 0, 0]), FULL, [55]),
    "never written": (split_ring(8), 3, [0]),
    "big": (split_ring(32768, {32767: (0, 1, NEXT, 32767)}, [32767]), 0, [1] * 32768),
}
PACKED = {
    "table of 0": (packed_indirect(0), 0,
                   "Indirect table of 0 bytes is shorter than a descriptor of 16"),
    "table of 15": (packed_indirect(15), 0,
                    "Indirect table of 15 bytes is shorter than a descriptor of 16"),
    "table of 65537": (packed_indirect(65537 * 16), 0,
                       "Indirect table of 65537 descriptors is longer than 65536"),
    "unmapped table": (packed_indirect(32), 0, "Cannot map indirect buffer"),
    "no next in a table": (packed_indirect(32, [(0, 1, NEXT, 0), (0, 2, 0, 0)]), 0, [2, 1]),
    "all next": (packed_ring(4, {i: (0, i, NEXT, 9) for i in range(4)}), 2, [1, 0, 3, 2]),
    "used and avail": (packed_ring(4, {0: (0, 44, AVAIL | USED, 1)}), 0, [44]),
    "index 65535 of 5": (packed_ring(5, {0: (0, 5, 0, 1)}), FULL, [5]),
}


def ask(client, name, index):
    arguments = {} if index is None else {"index": index}
    try:
        return client.command("x-query-virtio-queue-element", path=path(name), queue=0,
                              **arguments)
    except QmpError as error:
        equal(error.cls, "GenericError", name)
        return error.desc


def loaded(*devices):
    """A daemon with these; the files are gone when it answers, for all is read at load."""
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        file = write(pathlib.Path(folder), *devices)
        return Daemon("-device", f"virtio-replay,id=made,file={file}")


def check_rows(rows):
    devices = [device(f"q{i}", ring) for i, (ring, _, _) in enumerate(rows.values())]
    with loaded(*devices) as daemon:
        client = daemon.client()
        for i, (name, (_, index, expected)) in enumerate(rows.items()):
            found = ask(client, f"q{i}", index)
            if isinstance(found, dict):
                found = [desc["len"] for desc in found["descs"]]
            equal(found, expected, name)
            # By hand, the same: an error once, or as many lines.
            text = client.hmp(f"info virtio-queue-element {path(f'q{i}')} 0 {index}")
            equal(text.count(" len ") if isinstance(expected, list) else text,
                  len(expected) if isinstance(expected, list) else f"Error: {expected}\r\n",
                  name)


def test_split():
    check_rows(SPLIT)


def test_packed():
    check_rows(PACKED)


def without(ring, area):
    return {**ring, "pages": {gpa: data for gpa, data in ring["pages"].items() if gpa != area}}


def cut(ring, area):
    return {**ring, "pages": {gpa: data[:-1] if gpa == area else data
                              for gpa, data in ring["pages"].items()}}


def test_areas_that_are_not_mapped():
    areas = {DESC: "descriptor", DRIVER: "avail", DEVICE: "used"}
    rows = [(change(ring, area), f"Cannot map {name} ring")
            for ring in (split_ring(8), packed_ring(8))
            for area, name in areas.items() for change in (without, cut)
            # Without EVENT_IDX the last two bytes of a split ring's areas are nobody's.
            if not (change is cut and area != DESC and ring["features"] == VERSION_1)]
    equal(len(rows), 10)
    with loaded(*[device(f"q{i}", ring) for i, (ring, _) in enumerate(rows)]) as daemon:
        client = daemon.client()
        for i, (_, expected) in enumerate(rows):
            equal(ask(client, f"q{i}", 0), expected, i)
            # What needs no memory is answered all the same.
            equal(client.command("x-query-virtio-queue-status", path=path(f"q{i}"),
                                 queue=0)["vring-num"], 8)


def test_addresses():
    with loaded(device("none", split_ring(8), {"desc": 0}),
                device("wraps", split_ring(8), {"desc": (1 << 64) - 16}),
                device("last", split_ring(8), {"used": (1 << 64) - 1})) as daemon:
        client = daemon.client()
        equal(ask(client, "none", None), "Region caches not initialized")
        equal(ask(client, "wraps", None), "Cannot map descriptor ring")
        equal(ask(client, "last", None), "Cannot map used ring")


def test_indexes_at_their_limits():
    ring = split_ring(8, {7: (0x77, 7, WRITE, 0)}, [0] * 7 + [7], avail_idx=FULL,
                      used_idx=FULL, flags=(FULL, FULL))
    words = {"last-avail-idx": FULL, "shadow-avail-idx": FULL, "used-idx": FULL,
             "signalled-used": FULL, "inuse": 0xFFFFFFFF}
    with loaded(device("full", ring, words)) as daemon:
        client = daemon.client()
        status = client.command("x-query-virtio-queue-status", path=path("full"), queue=0)
        equal({name: status[name] for name in words}, words)
        found = ask(client, "full", None)
        equal((found["index"], found["descs"]), (7, [{"addr": 0x77, "len": 7,
                                                      "flags": ["write"]}]))
        equal(found["avail"], {"flags": FULL, "idx": FULL, "ring": 7})
        equal(found["used"], {"flags": FULL, "idx": FULL})


def test_unknown_indexes_are_absent_and_start_at_0():
    ring = split_ring(8, {3: (0, 33, 0, 0)}, [3])
    words = {"last-avail-idx": None, "shadow-avail-idx": None}
    with loaded(device("q", ring, words)) as daemon:
        client = daemon.client()
        status = client.command("x-query-virtio-queue-status", path=path("q"), queue=0)
        equal(set(words) & set(status), set())
        equal([desc["len"] for desc in ask(client, "q", None)["descs"]], [33])
        text = client.hmp(f"info virtio-queue-status {path('q')} 0")
        assert "avail_idx" not in text, text


def test_packed_words():
    ring = packed_ring(8, {6: (0, 1, NEXT, 11), 7: (0, 2, NEXT, 12), 0: (0, 3, 0, FULL)},
                       driver=(0x8003, 2), device=(0x7FFF, 3))
    with loaded(device("q", ring, {"last-avail-idx": 6})) as daemon:
        found = ask(daemon.client(), "q", None)
        equal([desc["len"] for desc in found["descs"]], [3, 2, 1])
        equal(found["index"], FULL)  # the last one's id, beyond the ring or not
        equal(found["avail"], {"flags": 2, "idx": 0x8003, "ring": 6})
        equal(found["used"], {"flags": 3, "idx": 0x7FFF})


def test_byte_order_is_the_guests_only_before_version_1():
    big = split_ring(8, {5: (0x1122334455667788, 0x01020304, WRITE, 0)}, [5], avail_idx=1,
                     used_idx=2, order=">")
    with loaded(device("legacy", {**big, "features": 0}, **{"device-endian": "big"}),
                device("modern", big, **{"device-endian": "big"})) as daemon:
        client = daemon.client()
        found = ask(client, "legacy", 0)
        equal(found["descs"], [{"addr": 0x1122334455667788, "len": 0x01020304,
                                "flags": ["write"]}])
        equal((found["index"], found["avail"]["idx"], found["used"]["idx"]), (5, 1, 2))
        equal(ask(client, "modern", 0), "Head descriptor 1280 is outside the ring of 8")


if __name__ == "__main__":
    run(test_split, test_packed, test_areas_that_are_not_mapped, test_addresses,
        test_indexes_at_their_limits, test_unknown_indexes_are_absent_and_start_at_0,
        test_packed_words, test_byte_order_is_the_guests_only_before_version_1)
