#!/usr/bin/env python3
"""Descriptors of files whose file system does not answer: a front-end and a QMP client hand them
over in every message that takes one, and a query of another client has its answer within 100 ms.
Nothing asks such a file, not even close(), which would have it flush."""

import contextlib
import os
import socket
import struct
import time

import front as fronts
import vds
from front import DATA, Front, WRITE
from fuse_file import FLUSH, GETATTR, OPEN, READ, StuckFile, WRITE as WRITE_OP

POLL = 40
PATIENCE_S = 0.1
KEPT = 16  # descriptors that are being closed, at most, before a listener pauses


def answered(client, what):
    begun = time.monotonic()
    client.command("x-query-virtio-status", path="/machine/peripheral/rng0/virtio-backend")
    passed = time.monotonic() - begun
    assert passed < PATIENCE_S, f"{what}: another client waited {passed:.3f} s"


def table(front, fd):
    front.send(fronts.SET_MEM_TABLE, struct.pack("=II", 1, 0) + front.region(), [fd])


def kick(front, fd):
    front.share()
    front.ring(fronts.SET_VRING_NUM, 0, 16)
    front.address(0)
    front.u64(fronts.SET_VRING_KICK, 0, [fd])


def call(front, fd):
    front.share()
    front.start_ring()
    front.u64(fronts.SET_VRING_CALL, 0, [fd])
    front.put(0, [(DATA, 64, WRITE)])
    front.kick()


MESSAGES = {
    "SET_MEM_TABLE": table,
    "ADD_MEM_REG": lambda front, fd: front.send(fronts.ADD_MEM_REG, bytes(8) + front.region(), [fd]),
    "SET_LOG_BASE": lambda front, fd: front.send(fronts.SET_LOG_BASE, struct.pack("=QQ", 4096, 0), [fd]),
    "SET_LOG_FD": lambda front, fd: front.send(fronts.SET_LOG_FD, b"", [fd]),
    "SET_INFLIGHT_FD": lambda front, fd: front.send(
        fronts.SET_INFLIGHT_FD, struct.pack("=QQHH", 4096, 0, 1, 16), [fd]),
    "SET_VRING_KICK": kick,
    "SET_VRING_CALL": call,
    "SET_VRING_ERR": lambda front, fd: front.u64(fronts.SET_VRING_ERR, 0, [fd]),
    "SET_BACKEND_REQ_FD": lambda front, fd: front.send(fronts.SET_BACKEND_REQ_FD, b"", [fd]),
    "SET_OWNER": lambda front, fd: front.send(fronts.SET_OWNER, b"", [fd]),
    "eight of them": lambda front, fd: front.send(fronts.SET_MEM_TABLE, b"", [fd] * 8),
}


@contextlib.contextmanager
def stuck():
    with StuckFile() as file:
        fd = os.open(file.path, os.O_RDWR)
        file.hold(GETATTR, READ, WRITE_OP, FLUSH, POLL)
        try:
            yield fd
        finally:
            file.release()
            os.close(fd)


def daemon():
    return vds.Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0")


def test_messages_of_a_front_end():
    for name, send in MESSAGES.items():
        with daemon() as ours, stuck() as fd:
            client = ours.client()
            answered(client, "before")
            with Front(ours.dir / "rng0") as front:
                front.negotiate(fronts.F_LOG_ALL)
                with contextlib.suppress(OSError, EOFError):
                    send(front, fd)
                front.wait_closed()
                answered(client, name)
                said = client.command("qom-get", path="/machine/peripheral/rng0/virtio-backend",
                                      property="vhost-user-last-refusal")
                assert said.startswith("V3: descriptor of '"), said


def test_a_listener_pauses_while_files_cannot_be_closed():
    """A front-end that comes back again and again does not fill the process with files."""
    with daemon() as ours, stuck() as fd:
        client = ours.client()
        before = len(os.listdir(f"/proc/{ours.proc.pid}/fd"))
        end = time.monotonic() + 2
        while time.monotonic() < end:
            with contextlib.suppress(OSError, EOFError, AssertionError):
                with Front(ours.dir / "rng0") as front:
                    front.sock.settimeout(0.2)
                    front.send(fronts.SET_OWNER, b"", [fd] * 8)
                    front.wait_closed()
            answered(client, "lives")
        more = len(os.listdir(f"/proc/{ours.proc.pid}/fd")) - before
        assert more < KEPT + 16, f"{more} descriptors are kept"


def test_messages_of_a_client():
    with daemon() as ours, stuck() as fd:
        client, other = ours.client(), ours.client()
        for request in ('{"execute": "getfd", "arguments": {"fdname": "a"}}',
                        '{"execute": "getfd", "arguments": {"fdname": "a"}}',
                        '{"execute": "getfd", "arguments": {"fdname": "7"}}',
                        '{"execute": "query-status"}', '{"execute": "query-name"}'):
            socket.send_fds(client.sock, [request.encode() + b"\n"], [fd])
            client.reply()
            answered(other, request)
        client.command("closefd", fdname="a")
        answered(other, "closefd")
        for what in ("netdev_add", "chardev-add"):
            socket.send_fds(client.sock, [b'{"execute": "getfd", "arguments": {"fdname": "b"}}\n'], [fd])
            client.reply()
            with contextlib.suppress(vds.QmpError):
                if what == "netdev_add":
                    client.command(what, type="tap", id="n0", fd="b")
                    client.command("device_add", driver="virtio-net-pci", id="net1", netdev="n0")
                else:
                    client.command("device_add", driver="virtio-serial-pci", id="ser1")
                    client.command(what, id="c0", backend={"type": "socket", "data": {
                        "addr": {"type": "fd", "data": {"str": "b"}}, "server": False}})
                    client.command("device_add", driver="virtserialport", id="p1", bus="ser1.0",
                                   chardev="c0")
            answered(other, what)
        client.close()
        answered(other, "a client that left")


def test_files_that_a_client_names():
    """A chardev's file."""
    with StuckFile() as file:
        with vds.Daemon("-device", "virtio-rng-pci,id=rng0", "-device", "virtio-serial-pci,id=ser0") as ours:
            client, other = ours.client(), ours.client()
            file.hold(GETATTR, READ, WRITE_OP, FLUSH, POLL, OPEN)
            client.command("chardev-add", id="c0", backend={"type": "file", "data": {"out": file.path}})
            client.send('{"execute": "device_add", "arguments": {"driver": "virtserialport", '
                        '"id": "p0", "bus": "ser0.0", "chardev": "c0"}}\n')
            answered(other, "a port on a file")
            client.reply()
            file.release()


vds.run(test_messages_of_a_front_end, test_a_listener_pauses_while_files_cannot_be_closed,
        test_messages_of_a_client, test_files_that_a_client_names)
