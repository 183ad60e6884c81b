"""A network card holds buffers for a frame that is larger than they are; its ring is stopped and
the memory is replaced and put back: nothing of the old ring is counted as room afterwards.
"""

import struct

import front as fronts
import vds
from front import Front, UVA, WRITE

F_MRG_RXBUF = 1 << 15
RX, TX, NUM = 0, 1, 16
FRAME = 12 + 1000
SPACING = 0x2000  # of the areas of two rings
BUFFERS = 0x10000


class Ring:
    """One of several rings of a front-end, split; areas at a place of its own."""

    def __init__(self, front, index):
        self.front, self.index, self.idx = front, index, 0
        self.desc = 0x4000 + index * SPACING
        self.avail, self.used = self.desc + 0x800, self.desc + 0x1000

    def start(self):
        front, u32s = self.front, struct.Struct("=II")
        self.idx = 0
        front.write(self.desc, bytes(SPACING))
        front.send(fronts.SET_VRING_NUM, u32s.pack(self.index, NUM))
        front.send(fronts.SET_VRING_BASE, u32s.pack(self.index, 0))
        front.address(self.index, UVA + self.desc, UVA + self.used, UVA + self.avail)
        front.u64(fronts.SET_VRING_KICK, 0x100 | self.index)  # looked at every millisecond
        assert front.done(fronts.SET_VRING_ENABLE, u32s.pack(self.index, 1))

    def put(self, addr, length, flags):
        front, slot = self.front, self.idx % NUM
        front.write(self.desc + 16 * slot, struct.pack("<QIHH", addr, length, flags, 0))
        front.write(self.avail + 4 + 2 * slot, struct.pack("<H", slot))
        self.idx += 1
        front.write(self.avail + 2, struct.pack("<H", self.idx))

    def used_lengths(self, count):
        for _ in range(2000):
            if self.front.u16(self.used + 2) >= count:
                break
            vds.time.sleep(0.002)
        n = self.front.u16(self.used + 2)
        return [struct.unpack("<II", self.front.read(self.used + 4 + 8 * i, 8))[1] for i in range(n)]


def test_buffers_of_a_ring_that_went_are_no_room():
    with vds.Daemon("-netdev", "loop,id=n0", "-device",
                    "virtio-net-pci,id=net0,netdev=n0,vhost-user={dir}/net0") as ours:
        with Front(ours.dir / "net0", memory=1 << 20) as front:
            front.negotiate(F_MRG_RXBUF)
            front.share()
            receive, send = rings = Ring(front, RX), Ring(front, TX)
            for ring in rings:
                ring.start()
            receive.put(BUFFERS, 100, WRITE)
            send.put(2 * BUFFERS, FRAME, 0)
            vds.equal(send.used_lengths(1), [0], "the frame is sent, and waits for room")
            for ring in rings:
                assert front.done(fronts.SET_VRING_ENABLE, struct.pack("=II", ring.index, 0))
            table = struct.pack("=II", 1, 0)
            front.done(fronts.SET_MEM_TABLE, table + front.region(gpa=1 << 33, uva=1 << 50),
                       [front.memory_fd])
            assert front.done(fronts.SET_MEM_TABLE, table + front.region(), [front.memory_fd])
            for ring in rings:
                front.ask(fronts.GET_VRING_BASE, struct.pack("=II", ring.index, 0))
                ring.start()
            receive.put(BUFFERS, 950, WRITE)
            receive.put(2 * BUFFERS, 950, WRITE)
            # The frame that waited has room now; it comes whole.
            vds.equal(sum(receive.used_lengths(2)), FRAME)


vds.run(test_buffers_of_a_ring_that_went_are_no_room)
