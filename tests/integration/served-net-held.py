"""A network card holds buffers for a frame that is larger than they are; its ring is stopped and
the memory is replaced and put back: nothing of the old ring is counted as room afterwards.
"""

import struct

import front as fronts
import vds
from front import BUFFERS, Front, Ring, WRITE

F_MRG_RXBUF = 1 << 15
RX, TX = 0, 1
FRAME = 12 + 1000


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
