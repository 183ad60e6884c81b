#!/usr/bin/env python3
"""A disk that is done with later requests first: its driver sees them in the order in which
it made them available if that was negotiated (VIRTIO_F_IN_ORDER), and as they came if not.

A flush goes to the file's own thread, what comes behind it is answered at once.
"""

import struct
import time

import front as fronts
import vds
from front import DATA, DESC, F_EVENT_IDX, F_IN_ORDER, F_PACKED, USED_AREA, WRITE, Front

PATH = "/machine/peripheral/blk0/virtio-backend"
FLUSH, GET_ID = 4, 8
F_FLUSH = 1 << 9
ROUNDS, EACH = 100, 4  # three descriptors a request at most, and the ring has 16
SLOT = 64


def disk(*words):
    device = ",".join(("virtio-blk-pci,id=blk0,drive=f0,serial=here,vhost-user={dir}/blk0", *words))
    return vds.Daemon("-blockdev", "file,node-name=f0,filename={dir}/disk", "-device", device,
                      prepare=lambda folder: (folder / "disk").write_bytes(bytes(1 << 20)))


def request(front, n, kind):
    """The nth of a round: its head, or buffer id, is 3 n."""
    at = DATA + SLOT * n
    front.write(at, struct.pack("<IIQ", kind, 0, 0) + b"\xff" * 48)
    answer = [(at + 16, 20, WRITE)] if kind == GET_ID else []
    front.put(3 * n, [(at, 16, 0), *answer, (at + 40, 1, WRITE)])


def used_split(front, count):
    front.used(count)
    slots = ((count - EACH + i) % front.num for i in range(EACH))
    return [front.u16(USED_AREA + 4 + 8 * slot) for slot in slots]


def used_packed(front, at, wrap, lengths):
    """The ids of a round whose first slot is `at`, read from slot to slot."""
    found, lengths = [], dict(lengths)
    end = time.monotonic() + 10
    while len(found) < EACH:
        buffer_id, flags = struct.unpack("<HH", front.read(DESC + 16 * at + 12, 4))
        if bool(flags & fronts.AVAIL) != wrap or bool(flags & fronts.USED) != wrap:
            assert time.monotonic() < end, (found, at, flags)
            continue
        found.append(buffer_id)
        at += lengths[buffer_id]
        if at >= front.num:
            at, wrap = at - front.num, not wrap
    return found


def rounds(front, kinds):
    """The order, by number in its round, in which each round's requests are used."""
    for n in range(ROUNDS):
        at, wrap = front.avail_idx, front.avail_wrap
        for i, kind in enumerate(kinds):
            request(front, i, kind)
        front.kick()
        if front.packed:
            found = used_packed(front, at, wrap,
                                {3 * i: 3 if kind == GET_ID else 2 for i, kind in enumerate(kinds)})
        else:
            found = used_split(front, EACH * (n + 1))
        for i in range(EACH):
            vds.equal(front.read(DATA + SLOT * i + 40, 1), b"\0", "status")
        yield [head // 3 for head in found]


def exchange(features, kinds, check):
    ordered = bool(features & F_IN_ORDER)
    with disk("in_order=on") as ours, Front(ours.dir / "blk0") as front:
        front.start(features | F_FLUSH)
        check(list(rounds(front, kinds)))
        client = ours.client()
        names = client.command("x-query-virtio-status", path=PATH)["guest-features"]["transports"]
        vds.equal(any(name.startswith("VIRTIO_F_IN_ORDER:") for name in names), ordered)
        status = client.command("x-query-virtio-queue-status", path=PATH, queue=0)
        vds.equal(status["inuse"], 0)
        if not front.packed:
            vds.equal((status["last-avail-idx"], status["used-idx"]), (ROUNDS * EACH,) * 2)
        vds.equal(client.command("qom-get", path=PATH, property="broken-reason"), "")
        # GET_VRING_BASE: nothing is held back any more
        base = struct.unpack("=II", front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0)))[1]
        vds.equal(base & 0x7FFF, front.avail_idx)


def as_they_come(found):
    """The device may look while a round is being written: then its flush may be first."""
    vds.equal({tuple(sorted(one)) for one in found}, {(0, 1, 2, 3)})
    late = found.count([1, 2, 3, 0])
    assert late > ROUNDS // 2, found


def in_order(found):
    vds.equal(found, [[0, 1, 2, 3]] * ROUNDS)


def test_as_they_come():
    for features in (0, F_PACKED, F_EVENT_IDX):
        exchange(features, [FLUSH, GET_ID, GET_ID, GET_ID], as_they_come)


def test_in_order():
    for features in (0, F_PACKED, F_EVENT_IDX, F_PACKED | F_EVENT_IDX):
        for kinds in ([FLUSH, GET_ID, GET_ID, GET_ID], [GET_ID, FLUSH, FLUSH, GET_ID]):
            exchange(features | F_IN_ORDER, kinds, in_order)


def test_offered_when_asked_for():
    for words, offered in ((["in_order=on"], True), (["in_order=off"], False), ([], False)):
        with disk(*words) as ours, Front(ours.dir / "blk0") as front:
            vds.equal(bool(front.negotiate() & F_IN_ORDER), offered)
            vds.equal(ours.client().command("qom-get", path=PATH, property="in_order"), offered)


if __name__ == "__main__":
    vds.run(test_as_they_come, test_in_order, test_offered_when_asked_for)
