#!/usr/bin/env python3
"""The human monitor about what a machine is made of, in QEMU's layout."""

import os
import tempfile
from pathlib import Path

from live import until
from vds import Daemon, equal, run

NO_POLLING = "  poll-max-ns=0\r\n  poll-grow=0\r\n  poll-shrink=0\r\n  aio-max-batch=0\r\n"
UUID = "12345678-9abc-def0-1234-56789abcdef0"


def test_layouts():
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "disk.img"
        image.write_bytes(bytes(512))
        with Daemon("-uuid", UUID, "-object", "iothread,id=io0", "-chardev", "null,id=c0",
                    "-blockdev", f"raw,node-name=a,read-only=on,file.driver=file,"
                                 f"file.filename={image}",
                    "-device", "virtio-blk-pci,id=disk0,drive=a",
                    "-drive", f"file={image},id=b,if=none,format=raw") as daemon:
            client = daemon.client()
            equal(client.hmp("info uuid"), UUID + "\r\n")
            equal(client.hmp("info chardev"),
                  f"compat_monitor0: filename=unix:{daemon.sock},server=on\r\n"
                  "c0: filename=null\r\n")
            number = client.command("query-iothreads")[0]["thread-id"]
            equal(client.hmp("info iothreads"), f"io0:\r\n  thread_id={number}\r\n{NO_POLLING}")
            equal(client.hmp("info block"),
                  f"a: {image} (raw, read-only)\r\n"
                  "    Attached to:      /machine/peripheral/disk0/virtio-backend\r\n"
                  "    Cache mode:       writeback\r\n\r\n"
                  f"b: {image} (raw)\r\n    Cache mode:       writeback\r\n")
            there = os.access("/dev/kvm", os.R_OK | os.W_OK)
            equal(client.hmp("info kvm"),
                  f"kvm support: {'disabled' if there else 'not compiled'}\r\n")


def test_set_link():
    with Daemon("-device", "virtio-net-pci,id=net0") as daemon:
        client = daemon.client()
        up = {"path": "/machine/peripheral/net0", "property": "link-up"}
        for word, state in (("off", False), ("on", True)):
            equal(client.hmp(f"set_link net0 {word}"), "")
            equal(client.command("qom-get", **up), state)
        equal(client.hmp("set_link net0 maybe"),
              'Expected \'on\' or \'off\'\r\nTry "help set_link" for more information\r\n')
        equal(client.hmp("set_link nope on"), "Error: Device 'nope' not found\r\n")


def test_balloon():
    """In MiB, as QEMU's."""
    with Daemon("-m", "64", "-device", "virtio-balloon-pci,id=balloon0") as daemon:
        client = daemon.client()
        equal(client.hmp("balloon 32"), "")
        until(lambda: client.command("query-balloon")["actual"] == 32 << 20, "the guest gave it")
        equal(client.hmp("info balloon"), "balloon: actual=32\r\n")
    with Daemon() as daemon:
        equal(daemon.client().hmp("balloon 32"), "Error: No balloon device has been activated\r\n")


if __name__ == "__main__":
    run(test_layouts, test_set_link, test_balloon)
