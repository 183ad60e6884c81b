#!/usr/bin/env python3
"""A console for a front-end elsewhere.  No front-end in Debian drives one, so this is ours:
what it sends comes out of the port's socket, what is sent there comes to its buffers."""

import struct
import time

import front as fronts
import vds
from front import DATA, F_PACKED, WRITE, Front

RX, TX, NUM = 0, 1, 16
PATH = "/machine/peripheral/ser0/virtio-backend"


def daemon():
    return vds.Daemon("-chardev", "socket,id=c0,path={dir}/port,server=on,wait=off",
                      "-device", "virtio-serial-pci,id=ser0,max_ports=1,vhost-user={dir}/ser0",
                      "-device", "virtconsole,chardev=c0,bus=ser0.0")


def start(front, ring, features):
    front.negotiate(features)
    front.share()
    front.start_ring(ring, NUM, 0x80008000 if features & F_PACKED else 0)


def exchange(ours, features):
    with vds.connect(ours.dir / "port") as port:
        port.settimeout(20)
        for life in range(3):
            text = f"line {life}\n".encode()
            with Front(ours.dir / "ser0") as front:
                start(front, TX, features)
                front.write(DATA, text)
                front.put(0, [(DATA, len(text), 0)])
                front.kick()
                assert front.called(), "no interrupt"
                vds.equal(port.recv(64), text)
            with Front(ours.dir / "ser0") as front:
                start(front, RX, features)
                front.put(0, [(DATA, 64, WRITE)])
                front.kick()
                port.sendall(text)
                assert front.called(), "no interrupt"
                vds.equal(front.read(DATA, len(text)), text)


def test_lines_both_ways():
    for features in (0, F_PACKED):
        with daemon() as ours:
            exchange(ours, features)
            client = ours.client()
            status = client.command("x-query-virtio-status", path=PATH)
            vds.equal(status["broken"], False)
            vds.equal(client.command("qom-get", path=PATH, property="vhost-user-last-refusal"),
                      "")


def test_its_config_space():
    """One port, as the front-end reads it."""
    with daemon() as ours, Front(ours.dir / "ser0") as front:
        front.negotiate(0, fronts.P_CONFIG | fronts.P_REPLY_ACK)
        reply = front.ask(fronts.GET_CONFIG, struct.pack("<III8x", 0, 8, 0))
        vds.equal(reply[-4:], b"\1\0\0\0")


def get_base(front, ring):
    return struct.unpack("=II", front.ask(fronts.GET_VRING_BASE, struct.pack("=II", ring, 0)))[1]


def leave_a_rest(ours):
    """A buffer of which the port's socket took the first part before its ring was stopped; the
    rest stays in the port."""
    front = Front(ours.dir / "ser0", memory=8 << 20)
    start(front, TX, 0)
    front.put(0, [(DATA, 4 << 20, 0)])  # more than a socket takes
    front.kick()
    assert front.called(), "it was not looked at"  # as QEMU's: a call also without an answer
    vds.equal(front.used_idx(), 0)
    vds.equal(get_base(front, TX), 1)
    return front


def test_peer_leaves_while_the_rest_is_sent():
    """The write that finds the peer gone is about the rest that is dropped then."""
    for reset in (False, True):
        with daemon() as ours:
            port = vds.connect(ours.dir / "port")
            with leave_a_rest(ours) as front:
                if reset:
                    port.sendall(b"unread")  # by a closed port: the peer gets a reset
                before = accepted(ours)
                port.close()
                with vds.connect(ours.dir / "port") as port:
                    port.settimeout(20)
                    front.avail_idx = 0
                    front.write(fronts.USED_AREA, bytes(4))
                    front.write(fronts.AVAIL_AREA, bytes(4))
                    until(lambda: len(accepted(ours)) == 1 and not accepted(ours) & before)
                    front.start_ring(TX, NUM)
                    front.write(DATA, b"next")
                    front.put(0, [(DATA, 4, 0)])
                    front.kick()
                    vds.equal(port.recv(64), b"next")


def accepted(ours):
    """Inodes of the connections that the port's listener accepted."""
    path = str(ours.dir / "port").encode()
    with open("/proc/net/unix", "rb") as file:
        rows = [line.split() for line in file if line.rstrip().endswith(path)]
    return {row[6] for row in rows if row[5] == b"03"}


def until(condition):
    end = time.monotonic() + vds.TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


if __name__ == "__main__":
    vds.run(test_lines_both_ways, test_its_config_space, test_peer_leaves_while_the_rest_is_sent)
