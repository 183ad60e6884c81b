#!/usr/bin/env python3
"""A guest that moved here and does not say so: its front-end asks us to (SEND_RARP), and
whoever is on its network hears where its address is now."""

import struct

import vds
from front import (DATA, F_PACKED, GET_FEATURES, P_RARP, P_REPLY_ACK, SEND_RARP, WRITE, Closed, Front)

MAC = bytes.fromhex("525400abcdef")
HEADER, ROOM, SPACING = 12, 1526, 2048
PATH = "/machine/peripheral/{}/virtio-backend"


def daemon(*more):
    words = []
    for n in range(3):
        words += ["-netdev", f"hubport,id=h{n},hubid=0", "-device",
                  f"virtio-net-pci,id=net{n},netdev=h{n},vhost-user={{dir}}/net{n}"]
    return vds.Daemon(*words, *more)


class Listener(Front):
    """A driver with buffers for what comes."""

    def __init__(self, path, features=0):
        super().__init__(path)
        for n in range(8):
            self.write(DATA + SPACING * n, bytes(SPACING))
        self.start(features)
        for n in range(8):
            self.put(n, [(DATA + SPACING * n, ROOM, WRITE)])
        self.kick()
        self.ask_u64(GET_FEATURES)  # answered when all before it is done
        self.got = 0

    def frame(self):
        """The next one, without its padding."""
        assert self.called(), "nothing came"
        at = DATA + SPACING * self.got
        self.got += 1
        return self.read(at + HEADER, 60)

    def is_quiet(self):
        return not self.called(0.2)


def expected(mac):
    """RFC 903, as QEMU and DPDK have it."""
    ethernet = b"\xff" * 6 + mac + struct.pack("!H", 0x8035)
    return (ethernet + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 3) + mac + bytes(4) + mac + bytes(4)).ljust(60, b"\0")


def payload(mac):
    return mac + b"\xaa\xbb"  # of eight bytes six are the address


def test_heard_by_all_others():
    for features in (0, F_PACKED):
        with daemon() as ours, Front(ours.dir / "net0") as moved, \
                Listener(ours.dir / "net1", features) as one, Listener(ours.dir / "net2", features) as two:
            moved.start(features)
            for n in range(3):
                mac = MAC[:5] + bytes([n])
                assert moved.done(SEND_RARP, payload(mac))
                for listener in (one, two):
                    vds.equal(listener.frame(), expected(mac))
            client = ours.client()
            vds.equal(client.command("qom-get", path=PATH.format("net1"), property="rx-packets"), 3)
            vds.equal(client.command("qom-get", path=PATH.format("net0"), property="broken-reason"), "")


def test_not_by_itself():
    with daemon() as ours, Listener(ours.dir / "net0") as moved, Listener(ours.dir / "net1") as other:
        assert moved.done(SEND_RARP, payload(MAC))
        vds.equal(other.frame(), expected(MAC))
        assert moved.is_quiet()


def test_once_it_runs():
    """Before its rings are there, and while the machine stands still, it has no network."""
    with daemon() as ours, Front(ours.dir / "net0") as moved, Listener(ours.dir / "net1") as other:
        moved.negotiate()
        moved.share()
        assert moved.done(SEND_RARP, payload(MAC))
        assert other.is_quiet()
        moved.start_ring()
        vds.equal(other.frame(), expected(MAC))
        client = ours.client()
        client.command("stop")
        assert moved.done(SEND_RARP, payload(MAC))
        assert other.is_quiet()
        client.command("cont")
        vds.equal(other.frame(), expected(MAC))


def test_a_cable_that_is_pulled():
    with daemon() as ours, Front(ours.dir / "net0") as moved, Listener(ours.dir / "net1") as other:
        moved.start()
        client = ours.client()
        vds.equal(client.ask({"execute": "set_link", "arguments": {"name": "net0", "up": False}}), {"return": {}})
        assert moved.done(SEND_RARP, payload(MAC))
        assert other.is_quiet()
        vds.equal(client.command("qom-get", path=PATH.format("net0"), property="dropped"), 1)


def test_refused():
    more = ["-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0"]
    with daemon(*more) as ours:
        with Front(ours.dir / "net0") as front:
            front.start()
            assert not front.done(SEND_RARP, payload(b"\x01" + MAC[1:]))
            assert front.done(SEND_RARP, payload(MAC))
        for name, protocol in (("net1", P_REPLY_ACK), ("rng0", P_REPLY_ACK | P_RARP)):
            with Front(ours.dir / name) as front:
                front.negotiate(protocol=protocol)
                try:
                    front.done(SEND_RARP, payload(MAC))
                except Closed:
                    pass
                else:
                    raise AssertionError(f"{name}: taken without its feature")
        client = ours.client()
        for name, why in (("net0", "V1: SEND_RARP has the address of a group"),
                          ("net1", "V2: SEND_RARP needs protocol feature 2, which was not negotiated"),
                          ("rng0", "V2: SEND_RARP needs protocol feature 2, which was not negotiated")):
            vds.equal(client.command("qom-get", path=PATH.format(name), property="vhost-user-last-refusal"), why)


if __name__ == "__main__":
    vds.run(test_heard_by_all_others, test_not_by_itself, test_once_it_runs, test_a_cable_that_is_pulled,
            test_refused)
