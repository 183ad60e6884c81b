"""The room that a ring's requests take for their spans is bounded: requests of 32,768 buffers each
that are done and wait, in order, for one that is not, cost little, and are all told of in the end.
"""

import pathlib
import struct

import front as fronts
import vds
from front import F_INDIRECT, Front, Ring, UVA, WRITE
from fuse_file import FSYNC, StuckFile

F_IN_ORDER, F_FLUSH = 1 << 35, 1 << 9
FLUSH, GET_ID, NEXT, INDIRECT = 4, 8, 1, 4
COUNT, SPANS, GROWTH_MIB = 400, 32768, 64
HEADERS, STATUS, TABLE = 0x100000, 0x101000, 0x200000
DESC, AVAIL, USED, NUM = 0x300000, 0x400000, 0x480000, 32768  # as many as a chain may have


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) // 1024


def write_table(front):
    entries = [struct.pack("<QIHH", HEADERS + 16, 16, NEXT, 1)]
    entries += [struct.pack("<QIHH", STATUS, 1, WRITE | (NEXT if i + 1 < SPANS else 0), i + 1)
                for i in range(1, SPANS)]
    front.write(TABLE, b"".join(entries))


class Wide(Ring):
    """As many descriptors as requests."""

    def __init__(self, front):
        super().__init__(front, 0)
        self.desc, self.avail, self.used = DESC, AVAIL, USED

    def start(self, enable=True):
        front = self.front
        front.ring(fronts.SET_VRING_NUM, 0, NUM)
        front.ring(fronts.SET_VRING_BASE, 0, 0)
        front.address(0, UVA + DESC, UVA + USED, UVA + AVAIL)
        front.u64(fronts.SET_VRING_KICK, 0, [front.kick_fd])
        self.enable(enable)

    def offer(self, slot, *descriptors):
        for i, (addr, length, flags, following) in enumerate(descriptors):
            self.front.write(DESC + 16 * (slot + i), struct.pack("<QIHH", addr, length, flags, following))
        self.front.write(AVAIL + 4 + 2 * (self.idx % NUM), struct.pack("<H", slot))
        self.idx += 1
        self.front.write(AVAIL + 2, struct.pack("<H", self.idx))


def test_spans_are_bounded():
    with StuckFile() as file:
        with vds.Daemon("-blockdev", f"file,node-name=n0,filename={file.path}", "-device",
                        "virtio-blk-pci,id=blk0,drive=n0,in_order=on,vhost-user={dir}/blk0") as ours:
            with Front(ours.dir / "blk0", memory=8 << 20) as front:
                front.negotiate(F_INDIRECT | F_IN_ORDER | F_FLUSH)
                front.share()
                ring = Wide(front)
                ring.start()
                front.write(HEADERS, struct.pack("<IIQIIQ", FLUSH, 0, 0, GET_ID, 0, 0))
                write_table(front)
                file.hold(FSYNC)
                before = resident_mib(ours.proc.pid)
                ring.offer(0, (HEADERS, 16, NEXT, 1), (STATUS, 1, WRITE, 0))
                for n in range(COUNT):
                    ring.offer(2 + n, (TABLE, 16 * SPANS, INDIRECT, 0))
                front.kick()
                file.wait_held(FSYNC)
                most = 0
                for _ in range(60):
                    vds.time.sleep(0.05)
                    most = max(most, resident_mib(ours.proc.pid) - before)
                early = front.u16(USED + 2)
                file.release()
                vds.equal(early, 0, "used before the oldest")
                assert most < GROWTH_MIB, f"{most} MiB more, {COUNT * SPANS * 16 >> 20} without a bound"
                for _ in range(4000):
                    if front.u16(USED + 2) == COUNT + 1:
                        break
                    vds.time.sleep(0.005)
                vds.equal(front.u16(USED + 2), COUNT + 1)


vds.run(test_spans_are_bounded)
