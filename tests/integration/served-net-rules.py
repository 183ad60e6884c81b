"""What a network card owes its driver and its front-end: a disabled transmit ring is emptied and
what is on it is lost, packets keep the MTU, and flags are those that were negotiated.
"""

import struct

import front as fronts
import vds
from front import BUFFERS, Front, Ring, WRITE

F_MTU, F_GUEST_CSUM, F_CSUM = 1 << 3, 1 << 1, 1 << 0
RX, TX = 0, 1
HEADER, ETHERNET, VLAN = 12, 14, 4
NET_SET_MTU = 20
RECEIVED = BUFFERS + 0x40000


class Card:
    """A card whose frames come back to it."""

    def __init__(self, features=0, more="", mtu=None):
        self.ours = vds.Daemon("-netdev", "loop,id=n0", "-device",
                               "virtio-net-pci,id=net0,netdev=n0,vhost-user={dir}/net0" + more)
        self.front = Front(self.ours.dir / "net0", memory=1 << 20)
        self.front.negotiate(features)
        if mtu is not None:
            self.taken = self.front.done(NET_SET_MTU, struct.pack("=Q", mtu))
        self.front.share()
        self.receive, self.send = Ring(self.front, RX), Ring(self.front, TX)

    def __enter__(self):
        self.ours.__enter__()
        return self

    def __exit__(self, *why):
        self.front.__exit__(*why)
        self.ours.__exit__(*why)

    def frame(self, length, flags=0, gso=0, vlan=False):
        """Sends one of so many bytes behind the header; the room for it is there."""
        room = RECEIVED + 0x4000 * self.receive.idx
        self.receive.put(room, 0x4000, WRITE)
        header = struct.pack("<BBHHHHH", flags, gso, 0, 0, 0, 0, 0)
        kind = b"\x81\x00" if vlan else b"\x08\x00"
        self.front.write(BUFFERS, header + bytes(12) + kind + bytes(length - ETHERNET))
        self.send.put(BUFFERS, HEADER + length, 0)
        self.send.used_lengths(self.send.idx)
        return room

    def lengths(self, count):
        return [length - HEADER for length in self.receive.used_lengths(count)]


def test_a_disabled_ring_is_emptied():
    with Card() as card:
        card.receive.start()
        card.send.start(enable=False)
        card.frame(60)
        card.frame(60)
        card.send.enable()
        card.frame(100)
        vds.equal(card.lengths(1), [100], "what was sent while it was disabled is lost")
        card.send.enable(False)
        card.frame(200)
        card.send.enable()
        card.frame(300)
        vds.equal(card.lengths(2), [100, 300])
        base = card.front.ask(fronts.GET_VRING_BASE, struct.pack("=II", TX, 0))
        vds.equal(struct.unpack("=II", base), (TX, 5))


def test_a_disabled_ring_of_another_device_is_left_alone():
    with vds.Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as ours:
        with Front(ours.dir / "rng0", memory=1 << 20) as front:
            front.negotiate()
            front.share()
            ring = Ring(front, 0)
            ring.start(enable=False)
            ring.put(BUFFERS, 64, WRITE)
            vds.time.sleep(0.2)
            vds.equal(front.u16(ring.used + 2), 0)
            ring.enable()
            vds.equal(ring.used_lengths(1), [64])


def test_packets_keep_the_mtu():
    sizes = (1514, 1515, 8000, 1514)
    for features, more, mtu, passed in (
            (F_MTU, "", 1500, [1514, 1514]),
            (F_MTU, ",host_mtu=1500", None, [1514, 1514]),
            (F_MTU, ",host_mtu=9000", 1500, [1514, 1514]),
            (0, ",host_mtu=1500", None, list(sizes))):
        with Card(features, more, mtu) as card:
            assert mtu is None or card.taken
            card.receive.start()
            card.send.start()
            for size in sizes:
                card.frame(size)
            vds.equal(card.lengths(len(passed)), passed, (features, more, mtu))


def test_a_vlan_tag_is_no_part_of_the_mtu():
    with Card(F_MTU, mtu=1500) as card:
        card.receive.start()
        card.send.start()
        card.frame(1514 + VLAN, vlan=True)
        card.frame(1515 + VLAN, vlan=True)
        card.frame(60)
        vds.equal(card.lengths(2), [1518, 60])


def test_flags_are_those_of_features():
    for features, expected in ((F_CSUM, 0), (F_CSUM | F_GUEST_CSUM, 2)):
        with Card(features) as card:
            card.receive.start()
            card.send.start()
            room = card.frame(60, flags=0xFE)  # all but NEEDS_CSUM
            vds.equal(card.lengths(1), [60])
            vds.equal(card.front.read(room, 1)[0], expected, hex(features))


vds.run(test_a_disabled_ring_is_emptied, test_a_disabled_ring_of_another_device_is_left_alone,
        test_packets_keep_the_mtu, test_a_vlan_tag_is_no_part_of_the_mtu,
        test_flags_are_those_of_features)
