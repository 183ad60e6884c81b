#!/usr/bin/env python3
"""Devices for vhost-user front-ends come and go as others do: a socket appears and goes with
its device, the machine's reset does not reach their driver, and what cannot be is refused."""

import os
import socket
import struct

from live import until
from vds import Daemon, QmpError, connect, equal, run

PATH = "/machine/peripheral/rng0/virtio-backend"
GET_FEATURES, SET_FEATURES = 1, 2
VERSION_1, PROTOCOL_FEATURES = 1 << 32, 1 << 30


def get(client, name):
    return client.command("qom-get", path=PATH, property=name)


def ask_features(front):
    front.sendall(struct.pack("<III", GET_FEATURES, 1, 0))
    request, flags, size, features = struct.unpack("<IIIQ", front.recv(20))
    equal((request, flags, size), (GET_FEATURES, 5, 8))
    return features


def test_a_socket_for_each_device():
    with Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as daemon:
        client = daemon.client()
        equal(os.stat(daemon.dir / "rng0").st_mode & 0o777, 0o600)
        client.command("device_add", driver="virtio-blk-pci", id="blk0",
                       **{"vhost-user": str(daemon.dir / "blk0")})
        equal(sorted(row["path"].split("/")[3] for row in client.command("x-query-virtio")),
              ["blk0", "rng0"])
        with connect(daemon.dir / "blk0") as front:
            assert ask_features(front) & VERSION_1
            client.command("device_del", id="blk0")
            equal(front.recv(1), b"")
        assert not (daemon.dir / "blk0").exists()
        daemon.stop()
        assert not (daemon.dir / "rng0").exists()


def test_connected():
    with Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as daemon:
        client = daemon.client()
        equal(get(client, "connected"), False)
        for life in range(1, 4):
            with connect(daemon.dir / "rng0") as front:
                assert ask_features(front) & PROTOCOL_FEATURES
                equal(get(client, "connected"), True)
                equal(get(client, "vhost-user-connections"), life)
            until(lambda: not get(client, "connected"), "it is gone")
        listed = [row["name"] for row in client.command("qom-list", path=PATH)]
        assert {"connected", "vhost-user-disconnect-reason"} <= set(listed), listed


def test_run_state():
    """stop and cont are the device's; a reset is its driver's alone."""
    with Daemon("-S", "-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as daemon:
        client = daemon.client()
        with connect(daemon.dir / "rng0") as front: # served before the machine runs
            features = ask_features(front)
            front.sendall(struct.pack("<IIIQ", SET_FEATURES, 1, 8, features))
            ask_features(front)
            before = client.command("x-query-virtio-status", path=PATH)
            assert before["guest-features"]["transports"], before
            client.command("cont")
            client.command("system_reset")
            client.command("stop")
            equal(client.command("x-query-virtio-status", path=PATH), before)
            client.command("cont")
            equal(get(client, "connected"), True)


def test_client_mode():
    """server=off connects, also to a front-end that comes later."""
    with Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/front,"
                "server=off,reconnect=1") as daemon:
        client = daemon.client()
        equal(get(client, "connected"), False)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(daemon.dir / "front"))
            listener.listen(1)
            listener.settimeout(20)
            front, _ = listener.accept()
            with front:
                assert ask_features(front) & VERSION_1


def test_refused():
    rows = [
        ({"driver": "virtio-rng-pci", "guest": "builtin"}, "exclude each other"),
        ({"driver": "virtio-rng-pci", "workload": "light"}, "exclude each other"),
        ({"driver": "virtio-gpu-pci"}, "has no request path"),
        ({"driver": "virtio-rng-pci", "vhost-user": "/" + "x" * 200}, "has 201 bytes"),
        ({"driver": "virtio-rng-pci", "vhost-user": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"driver": "virtio-rng-pci", "id": "rng0"}, "Duplicate device ID"),
        ({"driver": "virtio-rng-pci"}, "listens on"),
    ]
    with Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as daemon:
        client = daemon.client()
        for words, text in rows:
            words = {"vhost-user": str(daemon.dir / "rng0"), "id": "x", **words}
            try:
                client.command("device_add", **words)
            except QmpError as error:
                assert text in str(error), (words, error)
            else:
                raise AssertionError(f"{words} was taken")
            equal(len(client.command("x-query-virtio")), 1)
        with connect(daemon.dir / "rng0") as front: # still ours
            ask_features(front)


if __name__ == "__main__":
    run(test_a_socket_for_each_device, test_connected, test_run_state, test_client_mode,
        test_refused)
