#!/usr/bin/env python3
"""The built-in guest on an emulated socket device: its port 7 gives back to the host what it
gets, and under load it talks to that port of its neighbours and of the host."""

import socket
import threading

from live import backends, no_guest_errors, prop, queues, until, wait_driven
from vds import Daemon, connect, equal, run

ECHO = 7
CONTENT = bytes(range(251)) * 5000


def sockets(*extra):
    words = []
    for n, more in enumerate(extra):
        words += ["-device", f"vhost-vsock-pci,id=v{n},guest-cid={n + 3},uds-path={{dir}}/v{n}{more}"]
    return words


def path(n):
    return f"/machine/peripheral/v{n}/virtio-backend"


def call(daemon, port):
    """A connection to that port of the guest, and what was said first."""
    host = connect(daemon.dir / "v0")
    host.sendall(f"CONNECT {port}\n".encode())
    return host, host.recv(64)


def echo(daemon):
    host, line = call(daemon, ECHO)
    assert line.startswith(b"OK "), line
    with host:
        sender = threading.Thread(target=lambda: (host.sendall(CONTENT), host.shutdown(socket.SHUT_WR)))
        sender.start()
        got = bytearray()
        while piece := host.recv(1 << 16):
            got += piece
        sender.join()
    assert bytes(got) == CONTENT, len(got)


def test_host_calls():
    with Daemon(*sockets("")) as daemon:
        client = daemon.client()
        wait_driven(client)
        echo(daemon)
        callers = [threading.Thread(target=echo, args=(daemon,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        host, line = call(daemon, ECHO + 1)
        equal(line, b"", "of a port where nobody listens")
        host.close()
        assert prop(client, path(0), "guest-requests") > len(CONTENT) // 4096
        no_guest_errors(client)


def test_guest_calls():
    """An echo of the host's; each connection is of 256 KiB."""
    with Daemon(*sockets(",workload=light,rate=5000")) as daemon:
        client = daemon.client()
        wait_driven(client)
        until(lambda: prop(client, path(0), "guest-requests") > 20, "refusals are answers")
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(10)
        listener.bind(str(daemon.dir / f"v0_{ECHO}"))
        listener.listen(1)
        for _ in range(2):
            end, _ = listener.accept()
            with end:
                total = 0
                while piece := end.recv(1 << 16):
                    total += len(piece)
                    end.sendall(piece)
            equal(total, 256 << 10)
        listener.close()
        no_guest_errors(client)


def test_neighbours_call():
    with Daemon(*sockets(",workload=light,rate=5000", "", ",workload=light,rate=5000")) as daemon:
        client = daemon.client()
        wait_driven(client)
        for n in range(3):
            until(lambda p=path(n): prop(client, p, "guest-requests") > 2000, f"talk on v{n}")
        no_guest_errors(client)
        client.command("device_del", id="v1")
        before = prop(client, path(2), "guest-requests")
        until(lambda: prop(client, path(2), "guest-requests") > before + 500, "the others go on")
        no_guest_errors(client)


def test_idle():
    """As Linux leaves them: buffers wait for packets and for events, nothing is sent."""
    with Daemon(*sockets("")) as daemon:
        client = daemon.client()
        wait_driven(client)
        equal(len(backends(client)), 1)
        receive, transmit, event = queues(client, path(0))
        for queue in (receive, transmit, event):
            equal((queue["vring-num"], queue["used-idx"], queue["inuse"]), (128, 0, 0))

        def element_of(queue, index):
            return client.command("x-query-virtio-queue-element", path=path(0), queue=queue, index=index)

        until(lambda: element_of(0, 127)["avail"]["idx"] == 128 and element_of(2, 7)["avail"]["idx"] == 8,
              "buffers are posted, behind DRIVER_OK")
        element = element_of(0, 127)
        equal([(desc["len"], desc["flags"]) for desc in element["descs"]], [(4096, ["write"]), (44, ["write", "next"])])
        equal([desc["len"] for desc in element_of(2, 7)["descs"]], [4])
        equal(element_of(1, 0)["avail"]["idx"], 0)


if __name__ == "__main__":
    run(test_host_calls, test_guest_calls, test_neighbours_call, test_idle)
