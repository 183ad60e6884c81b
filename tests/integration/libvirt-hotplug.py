#!/usr/bin/env python3
"""attach-device and detach-device as libvirt 9.0 was seen to do them with QEMU 7.2, replayed
without libvirt: every request is answered, and nothing stays behind."""

import fcntl
import json
import os
import pathlib
import socket
import struct
import tempfile

from live import no_guest_errors, wait_driven
from vds import Daemon, ROOT, equal, run

STEPS = json.loads((ROOT / "tests" / "golden" / "libvirt" / "hotplug.json").read_text())
PORTS = [word for n in range(6, 10)
         for word in ("-device", f"pcie-root-port,id=pci.{n},chassis={n},bus=pcie.0")]
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 2, 0x1000, 0x4000


def open_tap(folder):
    """A descriptor of a new interface; None where this user may not make one."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"vdstap%d",
                                               IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    except OSError:
        os.close(fd)
        return None
    return fd


def open_socket(folder):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/channel")
    listener.listen()
    return listener.detach()


OPEN = {"tap": open_tap, "socket": open_socket}


def ask(client, folder, row, requests):
    for execute, arguments in requests:
        text = json.dumps({"execute": execute, "arguments": arguments})
        data = text.replace("{dir}", folder).encode() + b"\r\n"
        if execute == "getfd":
            fd = row["fd"]
            socket.send_fds(client.sock, [data], [fd])
            os.close(fd)
        else:
            client.send(data)
        reply = client.reply()
        assert "return" in reply, f"{row['name']}: {text}: {reply}"


def deleted(client, name):
    for path in (f"/machine/peripheral/{name}/virtio-backend", f"/machine/peripheral/{name}"):
        equal(client.event("DEVICE_DELETED")["data"]["path"], path)


def play(client, folder):
    """Everything comes, then everything goes, as often as is asked for."""
    played = []
    for row in STEPS:
        if "detach" not in row:
            continue
        if "descriptor" in row:
            row["fd"] = OPEN[row["descriptor"]](folder)
            if row["fd"] is None:
                print(f"# {row['name']}: not possible for this user")
                continue
        ask(client, folder, row, row["attach"])
        played.append(row)
    wait_driven(client)
    for row in played:
        ask(client, folder, row, row["detach"])
        deleted(client, row["detach"][0][1]["id"])
        ask(client, folder, row, row["after"])


def test_devices_come_and_go():
    with tempfile.TemporaryDirectory() as folder, Daemon("-machine", "q35", *PORTS) as daemon:
        pathlib.Path(folder, "b.img").write_bytes(bytes(1 << 20))
        client = daemon.client()
        play(client, folder)
        before = len(os.listdir(f"/proc/{daemon.proc.pid}/fd"))
        for _ in range(3):
            play(client, folder)
        equal(len(os.listdir(f"/proc/{daemon.proc.pid}/fd")), before)
        equal(client.command("x-query-virtio"), [])
        equal(client.command("query-named-block-nodes"), [])


def test_a_channel_comes():
    row = next(row for row in STEPS if row["name"] == "channel")
    with tempfile.TemporaryDirectory() as folder, \
            Daemon("-device", "virtio-serial-pci,id=virtio-serial0") as daemon:
        client = daemon.client()
        wait_driven(client)
        row["fd"] = open_socket(folder)
        ask(client, folder, row, row["attach"])
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(f"{folder}/channel")
        no_guest_errors(client)


if __name__ == "__main__":
    run(test_devices_come_and_go, test_a_channel_comes)
