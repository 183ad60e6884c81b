#!/usr/bin/env python3
"""The file of a port's server socket follows the rules of monitors' and vhost-user's: its
owner's alone, nobody else's is removed, and without descriptors clients wait."""

import os
import resource
import socket
import stat

import vds
from front import DATA, WRITE, Front
from vds import Daemon, QmpError, connect, equal, idle, run

PORT = ("-chardev", "socket,id=c0,path={dir}/port,server=on,wait=off",
        "-device", "virtio-serial-pci,id=ser0,max_ports=1,vhost-user={dir}/ser0",
        "-device", "virtconsole,chardev=c0,bus=ser0.0,id=p0")


def test_mode():
    before = os.umask(0)
    try:
        with Daemon(*PORT) as ours:
            for name in ("port", "ser0", "qmp"):
                equal(stat.S_IMODE(os.stat(ours.dir / name).st_mode), 0o600, name)
    finally:
        os.umask(before)


def test_file_of_another_stays():
    for name, leave in (("port", ("device_del", {"id": "p0"})), ("ser0", ("quit", {})),
                        ("qmp", ("quit", {}))):
        with Daemon(*PORT) as ours, socket.socket(socket.AF_UNIX) as other:
            client = ours.client()
            path = ours.dir / name
            path.unlink()
            other.bind(str(path))
            other.listen(1)
            client.command(leave[0], **leave[1])
            if leave[0] == "quit":
                ours.proc.wait(vds.TIMEOUT)
            assert path.exists(), name


def test_live_socket_stays():
    with Daemon(*PORT) as ours:
        client = ours.client()
        client.command("chardev-add", id="c1", backend={"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": str(ours.dir / "ser0")}}, "server": True,
            "wait": False}})
        client.command("device_add", driver="virtio-serial-pci", id="ser1")
        try:
            client.command("device_add", driver="virtserialport", id="p1", bus="ser1.0", chardev="c1")
            raise AssertionError("took the socket of a device")
        except QmpError as error:
            assert "Another process listens" in error.desc, error.desc
        with Front(ours.dir / "ser0") as front:
            assert front.is_open()


def free_numbers(pid, count):
    """The limit that leaves exactly so many descriptors."""
    taken = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
    limit = 0
    while count > 0 or limit in taken:
        count -= limit not in taken
        limit += 1
    return limit


def test_without_descriptors_a_client_waits():
    """None is left, or just one, where a connection needs two."""
    for left in (0, 1):
        with Daemon(*PORT) as ours, Front(ours.dir / "ser0") as front:
            front.start()
            front.put(0, [(DATA, 16, WRITE)])
            front.kick()
            assert front.is_open()
            pid = ours.proc.pid
            limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (free_numbers(pid, left), limits[1]))
            with connect(ours.dir / "port") as port:
                port.sendall(b"hello")
                idle(pid, "a client and no descriptor")
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
                front.used(1)
                equal(front.read(DATA, 5), b"hello")


if __name__ == "__main__":
    run(test_mode, test_file_of_another_stays, test_live_socket_stays,
        test_without_descriptors_a_client_waits)
