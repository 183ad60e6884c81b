#!/usr/bin/env python3
"""The daemon is killed again and again while a driver of ours writes to its disk, with a
region for requests in flight: each daemon takes up what the one before had not given back.
Every write is answered once, no older one comes after it, and the disk has the last.

Each of the slots has one request at a time and a block of its own, whose content is the
number of the write.
"""

import contextlib
import pathlib
import random
import struct
import tempfile
import time

import front as fronts
import vds
from front import DATA, DESC, F_EVENT_IDX, F_PACKED, USED_AREA, WRITE, Front

SLOTS, PARTS, NUM = 16, 3, 64
BLOCK = 4096
LIVES, WRITES = 12, 3000  # kills; and at least so many writes after the last of them
OUT = 1
ROOM = 2 * BLOCK  # of a slot: header and status, then the data


@contextlib.contextmanager
def life(folder, killed):
    words = ["-blockdev", f"file,node-name=f0,filename={folder}/disk,aio=threads",
             "-device", f"virtio-blk-pci,id=blk0,drive=f0,vhost-user={folder}/blk0"]
    with vds.Daemon(*words, expect_exit=-9 if killed else 0) as daemon:
        yield daemon
        if killed:
            daemon.proc.kill()
            daemon.proc.wait()


class Writer:
    """A driver whose memory outlives its device's process."""

    def __init__(self, front, features):
        self.front, self.features = front, features
        self.region = None  # descriptor, and what SET_INFLIGHT_FD says of it
        self.sent, self.done = [0] * SLOTS, [0] * SLOTS
        self.seen = 0  # split: of used.idx; packed: the slot to look at
        self.wrap = True

    def connect(self, path):
        if self.region:
            self.front.sock = self.front.enter_context(vds.connect(path))
        self.front.negotiate(self.features)
        if not self.region:
            _, _, what, fds = self.ask_region()
            self.region = what, fds[0]
        self.front.send(fronts.SET_INFLIGHT_FD, self.region[0], [self.region[1]])
        self.front.share()
        self.front.start_ring(num=NUM, base=0x80008000 if self.front.packed else 0)
        self.front.kick()  # for what nobody has looked at yet

    def ask_region(self):
        self.front.send(fronts.GET_INFLIGHT_FD, struct.pack("=QQHH", 0, 0, 1, NUM))
        return self.front.receive()

    def content(self, slot, number):
        return struct.pack("<QQ", slot, number) * (BLOCK // 16)

    def write(self, slot):
        self.sent[slot] += 1
        at = DATA + ROOM * slot
        self.front.write(at, struct.pack("<IIQ", OUT, 0, slot * BLOCK // 512))
        self.front.write(at + 16, b"\xff")
        self.front.write(at + BLOCK, self.content(slot, self.sent[slot]))
        self.front.put(PARTS * slot, [(at, 16, 0), (at + BLOCK, BLOCK, 0), (at + 16, 1, WRITE)])

    def used_split(self):
        while self.seen != self.front.used_idx():
            at = USED_AREA + 4 + 8 * (self.seen % NUM)
            self.seen = (self.seen + 1) & 0xFFFF
            yield self.front.u16(at)

    def used_packed(self):
        while True:
            head, flags = struct.unpack("<HH", self.front.read(DESC + 16 * self.seen + 12, 4))
            if bool(flags & fronts.AVAIL) != self.wrap or bool(flags & fronts.USED) != self.wrap:
                return
            self.seen += PARTS
            if self.seen >= NUM:
                self.seen, self.wrap = self.seen - NUM, not self.wrap
            yield head

    def take(self):
        """Slots whose writes are done, each of which must have been under way."""
        for head in self.used_packed() if self.front.packed else self.used_split():
            slot = head // PARTS
            vds.equal(head % PARTS, 0, "a head")
            vds.equal(self.sent[slot], self.done[slot] + 1, f"writes of slot {slot} that are out")
            vds.equal(self.front.read(DATA + ROOM * slot + 16, 1), b"\0", "status")
            self.done[slot] += 1
            yield slot

    def work(self, enough):
        """Keeps all slots busy until enough() says so."""
        deadline = time.monotonic() + vds.TIMEOUT
        for slot in range(SLOTS):
            if self.sent[slot] == self.done[slot]:
                self.write(slot)
        self.front.kick()
        while not enough():
            for slot in self.take():
                self.write(slot)
                deadline = time.monotonic() + vds.TIMEOUT
            self.front.kick()
            assert time.monotonic() < deadline, "no write is answered any more"

    def finish(self):
        deadline = time.monotonic() + vds.TIMEOUT
        while self.done != self.sent:
            list(self.take())
            assert time.monotonic() < deadline, (self.sent, self.done)

    def check(self, disk, settled):
        """What was answered is there, or what was written after it."""
        with open(disk, "rb") as file:
            for slot in range(SLOTS):
                found = file.read(BLOCK)
                least = self.done[slot]
                numbers = range(least, least + 1 if settled else self.sent[slot] + 1)
                allowed = [self.content(slot, n) if n else bytes(BLOCK) for n in numbers]
                if not settled and least != self.sent[slot]:
                    # its blocks may be of both while it is being written
                    numbers = {found[i:i + 16] for i in range(0, BLOCK, 16)}
                    assert numbers <= {one[:16] for one in allowed}, (slot, numbers)
                else:
                    assert found in allowed, (slot, found[:16], allowed[0][:16])


def killed_again_and_again(features):
    seed = random.randrange(1 << 32)
    print(f"# seed {seed}")
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="vds-") as folder, contextlib.ExitStack() as stack:
        disk = pathlib.Path(folder) / "disk"
        disk.write_bytes(bytes(SLOTS * BLOCK))
        writer, redone = None, 0
        for n in range(LIVES + 1):
            killed = n < LIVES
            with life(folder, killed):
                if not writer:
                    writer = Writer(stack.enter_context(Front(f"{folder}/blk0")), features)
                writer.connect(f"{folder}/blk0")
                if killed:
                    end = time.monotonic() + dice.uniform(0.002, 0.05)
                    writer.work(lambda end=end: time.monotonic() > end)
                else:
                    goal = sum(writer.done) + WRITES
                    writer.work(lambda: sum(writer.done) >= goal)
                    writer.finish()
            if killed:
                list(writer.take())  # what it had answered
                redone += sum(a - b for a, b in zip(writer.sent, writer.done))
            writer.check(disk, not killed)
        print(f"# {sum(writer.done)} writes, {redone} under way at {LIVES} kills")
        assert redone > 0


def test_split():
    killed_again_and_again(0)


def test_split_with_event_index():
    killed_again_and_again(F_EVENT_IDX)


def test_packed():
    killed_again_and_again(F_PACKED)


vds.run(test_split, test_split_with_event_index, test_packed)
