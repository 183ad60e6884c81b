"""A second process drives a served device and breaks the rules of rings, one at a time: the
device is broken and names the rule, its neighbour works on, and the next front-end finds a
device that works.
"""

import struct

import front as fronts
import vds
from front import (AVAIL_AREA, DATA, DESC, F_EVENT_IDX, F_INDIRECT, F_PACKED, INDIRECT, NEXT,
                   TABLES, USED_AREA, UVA, WRITE, Front)

GIB = 1 << 30


def path(name):
    return f"/machine/peripheral/{name}/virtio-backend"


def one_request(front):
    """A request that must work, on a ring that is set up."""
    if front.packed:
        slot = front.avail_idx
        front.put(3, [(DATA, 32, WRITE)])
        front.kick()
        assert front.called()
        return slot
    before = front.used_idx()
    front.write(DATA, bytes(64))
    front.put(0, [(DATA, 64, WRITE)])
    front.kick()
    front.used(before + 1)
    assert front.read(DATA, 64) != bytes(64)
    return before


# ---- what a hostile driver does: a function of a front whose ring runs ----

def head_outside(front):
    front.offer(999)


def next_outside(front):
    front.desc(0, DATA, 16, WRITE | NEXT, 999)
    front.offer(0)


def loop(front):
    front.desc(0, DATA, 16, WRITE | NEXT, 0)
    front.offer(0)


def jump(front):
    front.write(AVAIL_AREA + 2, struct.pack("<H", 100))


def backwards(front):
    one_request(front)
    front.write(AVAIL_AREA + 2, struct.pack("<H", 0))


def same_head_twice(front):
    front.put(0, [(DATA, 16, 0), (DATA + 512, 4096, WRITE), (DATA + 5000, 1, WRITE)])
    front.offer(0)


def parts(*rows):
    return lambda front: front.put(0, rows)


def table(length, rows=((DATA, 16, WRITE, 0),), flags=0, at=TABLES):
    def do(front):
        for i, (addr, size, bits, after) in enumerate(rows):
            front.desc(i, addr, size, bits, after, area=TABLES)
        front.put(0, [(at, length, INDIRECT | flags)])
    return do


def long_table(front):
    count = 1100
    for i in range(count):
        front.desc(i, DATA, 1, WRITE | (NEXT if i + 1 < count else 0), i + 1, area=TABLES)
    front.put(0, [(TABLES, 16 * count, INDIRECT)])


def event_word(flags, offset=0):
    def do(front):
        front.write(AVAIL_AREA, struct.pack("<HH", offset, flags))
        front.put(0, [(DATA, 32, WRITE)])
    return do


def packed_same_id(front, ident=2):
    for _ in range(2):
        front.put(ident, [(DATA, 16, 0), (DATA + 512, 4096, WRITE), (DATA + 5000, 1, WRITE)])


def packed_large_id(front):
    packed_same_id(front, 999)


def packed_list_breaks(front):
    front.desc(0, DATA, 16, front.packed_flags(WRITE | NEXT), 0)


# rule, name, what is done, features; and the device, where it must not answer at once
CASES = [
    ("S1", "head_outside", head_outside, 0),
    ("S2", "next_outside", next_outside, 0),
    ("S2", "next_outside_the_table", table(16, [(DATA, 16, WRITE | NEXT, 7)]), F_INDIRECT),
    ("S3", "loop", loop, 0),
    ("S3", "loop_in_a_table", table(32, [(DATA, 8, WRITE | NEXT, 1), (DATA, 8, WRITE | NEXT, 0)]), F_INDIRECT),
    ("S4", "jump", jump, 0),
    ("S4", "backwards", backwards, 0),
    ("S6", "same_head_twice", same_head_twice, 0, "blk0"),
    ("S9", "readable_after_writable", parts((DATA, 16, WRITE), (DATA, 16, 0)), 0),
    ("S10", "zero_length", parts((DATA, 0, WRITE)), 0),
    ("S11", "wraps", parts(((1 << 64) - 8, 64, WRITE)), 0),
    ("S12", "outside_memory", parts((1 << 40, 64, WRITE)), 0),
    ("S12", "end_outside_memory", parts((fronts.MEMORY - 8, 64, WRITE)), 0),
    ("S13", "more_than_4_gib", parts((DATA, 0xF0000000, WRITE), (DATA, 0xF0000000, WRITE)), 0),
    ("I1", "table_not_negotiated", table(16), 0),
    ("I2", "table_in_a_table", table(16, [(TABLES, 16, INDIRECT, 0)]), F_INDIRECT),
    ("I3", "empty_table", table(0), F_INDIRECT),
    ("I3", "odd_table", table(24), F_INDIRECT),
    ("I3", "giant_table", table(0xFFFFFFF0), F_INDIRECT),
    ("I4", "table_and_next", table(16, flags=NEXT), F_INDIRECT),
    ("I5", "table_outside_memory", table(16, at=1 << 40), F_INDIRECT),
    ("I6", "endless_table", long_table, F_INDIRECT),
    ("P3", "packed_large_id_twice", packed_large_id, F_PACKED, "blk0"),
    ("P3", "packed_id_twice", packed_same_id, F_PACKED, "blk0"),
    ("P4", "packed_list_breaks", packed_list_breaks, F_PACKED),
    ("P5", "packed_event_outside", event_word(2, 999), F_PACKED | F_EVENT_IDX),
    ("P6", "packed_event_reserved", event_word(3), F_PACKED),
    ("P7", "packed_event_not_negotiated", event_word(2), F_PACKED),
    ("S10", "packed_zero_length", parts((DATA, 0, WRITE)), F_PACKED),
    ("S12", "packed_outside_memory", parts((1 << 40, 64, WRITE)), F_PACKED),
    ("I1", "packed_table_not_negotiated", table(16), F_PACKED),
    ("I3", "packed_odd_table", table(24), F_PACKED | F_INDIRECT),
    ("I4", "packed_table_in_a_list", table(16, flags=NEXT), F_PACKED | F_INDIRECT),
]

# What is allowed though it is odd, and must work.
ODD = [
    ("S15", "buffer_in_the_ring", parts((DESC + 16 * 8, 32, WRITE)), 0),
    ("S16", "unknown_flags", parts((DATA, 64, WRITE | 0x7F00)), 0),
    ("S17", "unknown_avail_flags", lambda front: (front.write(AVAIL_AREA, b"\xf0\xff"),
                                                  front.put(0, [(DATA, 64, WRITE)])), 0),
    ("I4", "table_and_write", lambda front: (front.desc(0, DATA, 16, WRITE, area=TABLES),
                                             front.put(0, [(TABLES, 16, INDIRECT | WRITE)])), F_INDIRECT),
]

# Rings that are none: SET_VRING_ADDR and SET_VRING_NUM.
NO_RINGS = [
    ("C1", "num_0", {"num": 0}, {}),
    ("C1", "num_3", {"num": 3}, {}),
    ("C1", "num_65536", {"num": 65536}, {}),
    ("C2", "desc_unaligned", {}, {"desc": UVA + DESC + 8}),
    ("C2", "avail_unaligned", {}, {"avail": UVA + AVAIL_AREA + 1}),
    ("C2", "used_unaligned", {}, {"used": UVA + USED_AREA + 2}),
    ("C3", "desc_unmapped", {}, {"desc": 0x1000}),
    ("C3", "used_ends_outside", {}, {"used": UVA + fronts.MEMORY - 16}),
    ("C3", "avail_wraps", {}, {"avail": (1 << 64) - 16}),
    ("C4", "areas_overlap", {}, {"used": UVA + DESC}),
    # C5 says that the event word belongs to the area
    ("C3", "event_word_outside", {}, {"avail": UVA + fronts.MEMORY - 36}),
]


def wait_for_reason(client, name, rule):
    """broken-reason, or why a message was refused; of these the one that names the rule."""
    told = []
    for _ in range(500):
        told = [client.command("qom-get", path=path(name), property=prop)
                for prop in ("broken-reason", "vhost-user-last-refusal")]
        for text in told:
            if f"{rule}:" in text:
                return text
        vds.time.sleep(0.01)
    raise AssertionError(f"expected {rule}, found {told}")


class Bench:
    """The daemon with the device under attack and its neighbour, which works all the time."""

    def __enter__(self):
        self.daemon = vds.Daemon(
            "-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0",
            "-device", "virtio-blk-pci,id=blk0,vhost-user={dir}/blk0",
            "-device", "virtio-rng-pci,id=rng1,vhost-user={dir}/rng1").__enter__()
        self.client = self.daemon.client()
        self.neighbour = Front(self.daemon.dir / "rng1").start()
        return self

    def __exit__(self, *why):
        self.neighbour.close()
        self.daemon.__exit__(*why)

    def front(self, name="rng0", **how):
        return Front(self.daemon.dir / name, **how)

    def others_are_well(self):
        """The neighbour, every query, and a new front-end on the same device."""
        one_request(self.neighbour)
        vds.equal(self.client.command("qom-get", path=path("rng1"), property="broken-reason"), "")
        for command in ("x-query-virtio-status", "x-query-virtio-queue-status",
                        "x-query-virtio-vhost-queue-status", "x-query-virtio-queue-element"):
            where = {"path": path("rng0")}
            if command != "x-query-virtio-status":
                where["queue"] = 0
            self.client.ask({"execute": command, "arguments": where})
        with self.front() as front:
            front.start()
            one_request(front)

    def breaks(self, rule, do, features, name="rng0"):
        memory = 5 * GIB if rule == "S13" else fronts.MEMORY
        with self.front(name, memory=memory) as front:
            front.start(features)
            do(front)
            front.kick()
            assert wait_for_reason(self.client, name, rule).startswith(rule)
            status = self.client.command("x-query-virtio-status", path=path(name))
            vds.equal(status["broken"], True)
        self.others_are_well()

    def works(self, do, features):
        with self.front() as front:
            front.start(features)
            do(front)
            front.kick()
            front.used(1)
            vds.equal(self.client.command("qom-get", path=path("rng0"), property="broken-reason"), "")
        self.others_are_well()

    def no_ring(self, rule, numbers, addresses):
        with self.front() as front:
            front.negotiate(F_EVENT_IDX)
            front.share()
            try:
                front.ring(fronts.SET_VRING_NUM, 0, numbers.get("num", 16))
                front.ring(fronts.SET_VRING_BASE, 0, 0)
                front.address(0, **addresses)
                front.u64(fronts.SET_VRING_CALL, 0, [front.call_fd])
                front.u64(fronts.SET_VRING_KICK, 0, [front.kick_fd])
                front.ring(fronts.SET_VRING_ENABLE, 0, 1)
                front.kick()
            except fronts.Closed:
                pass
            wait_for_reason(self.client, "rng0", rule)
        self.others_are_well()


def cases(bench):
    for rule, name, do, features, *device in CASES:
        yield f"{rule}_{name}", lambda a=(rule, do, features, *device): bench.breaks(*a)
    for rule, name, do, features in ODD:
        yield f"{rule}_{name}_is_allowed", lambda a=(do, features): bench.works(*a)
    for rule, name, numbers, addresses in NO_RINGS:
        yield f"{rule}_{name}", lambda a=(rule, numbers, addresses): bench.no_ring(*a)


def main():
    with Bench() as bench:
        names, tests = zip(*cases(bench))
        good = vds.report(*tests, names=names)
    vds.sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
