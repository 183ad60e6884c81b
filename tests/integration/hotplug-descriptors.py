#!/usr/bin/env python3
"""Descriptors that come with a request get a name, and what is added next takes them; none is
left open, whoever leaves."""

import json
import os
import socket
import tempfile
import time

from live import wait_driven
from vds import Daemon, equal, refused, run


def count(daemon):
    return len(os.listdir(f"/proc/{daemon.proc.pid}/fd"))


def settles(daemon, wanted):
    deadline = time.monotonic() + 10
    while count(daemon) != wanted:
        assert time.monotonic() < deadline, f"{count(daemon)} descriptors, expected {wanted}"
        time.sleep(0.01)


def send(client, request, *fds):
    socket.send_fds(client.sock, [json.dumps(request).encode() + b"\r\n"], list(fds))
    return client.reply()


def getfd(client, name, *fds):
    return send(client, {"execute": "getfd", "arguments": {"fdname": name}}, *fds)


def test_get_and_close():
    with Daemon() as daemon, open("/dev/null") as null:
        client = daemon.client()
        before = count(daemon)
        equal(getfd(client, "a", null.fileno()), {"return": {}})
        settles(daemon, before + 1)
        equal(getfd(client, "a", null.fileno()), {"return": {}})
        settles(daemon, before + 1)
        client.command("closefd", fdname="a")
        settles(daemon, before)
        with refused("File descriptor named 'a' not found"):
            client.command("closefd", fdname="a")
        with refused("No file descriptor supplied via SCM_RIGHTS"):
            client.command("getfd", fdname="a")


def test_names_are_refused_and_the_descriptor_closed():
    with Daemon() as daemon, open("/dev/null") as null:
        client = daemon.client()
        before = count(daemon)
        equal(getfd(client, "7", null.fileno())["error"]["desc"],
              "Parameter 'fdname' expects a name not starting with a digit")
        settles(daemon, before)


def test_what_nobody_takes_goes():
    with Daemon() as daemon, open("/dev/null") as null:
        client = daemon.client()
        before = count(daemon)
        many = [null.fileno()] * 40 # the kernel passes some of them on
        send(client, {"execute": "query-name"}, *many)
        assert before < count(daemon) <= before + 16
        send(client, {"execute": "query-name"}, null.fileno())
        settles(daemon, before + 1)
        client.close()
        settles(daemon, before - 1)


def test_one_client_does_not_get_anothers():
    with Daemon() as daemon, open("/dev/null") as null:
        one, other = daemon.client(), daemon.client()
        send(one, {"execute": "query-name"}, null.fileno())
        with refused("No file descriptor supplied via SCM_RIGHTS"):
            other.command("getfd", fdname="a")
        one.command("getfd", fdname="a")
        other.command("closefd", fdname="a") # a name is everybody's


def test_a_channel_on_a_socket_that_was_sent():
    with Daemon("-device", "virtio-serial-pci,id=vs0") as daemon, \
            tempfile.TemporaryDirectory() as folder:
        client = daemon.client()
        wait_driven(client)
        before = count(daemon)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{folder}/channel")
        listener.listen()
        backend = {"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "source"}},
                                              "wait": False, "server": True}}
        with refused("Failed to add chardev 'c1': "
                     "File descriptor named 'source' has not been found"):
            client.command("chardev-add", id="c1", backend=backend)
        equal(getfd(client, "source", listener.fileno()), {"return": {}})
        listener.close()
        client.command("chardev-add", id="c1", backend=backend)
        with refused("File descriptor named 'source' not found"):
            client.command("closefd", fdname="source")
        equal(client.ask({"execute": "device_add", "arguments": {
            "driver": "virtserialport", "bus": "vs0.0", "chardev": "c1", "id": "port1",
            "name": "org.x"}}), {"return": {}})
        equal([row["filename"] for row in client.command("query-chardev") if row["label"] == "c1"],
              [f"disconnected:unix:{folder}/channel,server=on"])
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(f"{folder}/channel")
        peer.close()
        client.command("device_del", id="port1")
        client.command("chardev-remove", id="c1")
        settles(daemon, before)


def test_a_network_of_a_name_that_nobody_sent():
    with Daemon() as daemon:
        client = daemon.client()
        with refused("File descriptor named 'tap1' has not been found"):
            client.command("netdev_add", type="tap", id="net1", fd="tap1")
        client.command("netdev_add", type="user", id="net1")


def test_a_number_is_no_name():
    """It would be any descriptor of the process: another client's connection, a device's tap."""
    with Daemon() as daemon:
        client = daemon.client()
        for n in (0, 1, *sorted(int(name) for name in os.listdir(f"/proc/{daemon.proc.pid}/fd"))):
            with refused(f"Failed to add chardev 'c1': "
                         f"File descriptor named '{n}' has not been found"):
                client.command("chardev-add", id="c1", backend={"type": "socket", "data": {
                    "addr": {"type": "fd", "data": {"str": str(n)}}}})
        for key in ("fd", "fds", "vhostfd", "vhostfds"):
            with refused("File descriptor named '3' has not been found"):
                client.command("netdev_add", type="tap", id="net1", **{key: "3"})


def test_a_pty_takes_no_name_of_a_clients():
    with Daemon() as daemon, open("/dev/null") as null:
        client = daemon.client()
        for name in ("chardev-add", "pty"):
            equal(getfd(client, name, null.fileno()), {"return": {}})
        client.command("chardev-add", id="c1", backend={"type": "pty", "data": {}})
        for name in ("chardev-add", "pty"):
            client.command("closefd", fdname=name)


if __name__ == "__main__":
    run(test_get_and_close, test_names_are_refused_and_the_descriptor_closed,
        test_what_nobody_takes_goes, test_one_client_does_not_get_anothers,
        test_a_channel_on_a_socket_that_was_sent, test_a_network_of_a_name_that_nobody_sent, test_a_number_is_no_name,
        test_a_pty_takes_no_name_of_a_clients)
