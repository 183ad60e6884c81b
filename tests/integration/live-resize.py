#!/usr/bin/env python3
"""block_resize lets a disk grow under its driver, with its file, and never shrink."""

import tempfile
from pathlib import Path

from live import no_guest_errors, prop, until, wait_driven
from vds import Daemon, equal, refused, run

DISK = "/machine/peripheral/disk0/virtio-backend"
MIB = 1 << 20


def test_a_file_grows():
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "disk.img"
        image.write_bytes(b"x" * MIB)
        with Daemon("-blockdev", f"file,node-name=storage,filename={image}",
                    "-blockdev", '{"driver":"raw","node-name":"format","file":"storage"}',
                    "-device", "virtio-blk-pci,id=disk0,drive=format,workload=light,rate=1000"
                    ) as daemon:
            client = daemon.client()
            wait_driven(client)
            equal(prop(client, DISK, "capacity"), MIB)
            for node, size in (("format", 2 * MIB), ("storage", 3 * MIB), ("format", 3 * MIB)):
                client.command("block_resize", node_name=node, size=size)
                equal(prop(client, DISK, "capacity"), size)
                equal(image.stat().st_size, size)
                equal(client.command("query-block")[0]["inserted"]["image"]["virtual-size"], size)
            before = prop(client, DISK, "guest-requests")
            until(lambda: prop(client, DISK, "guest-requests") > before + 20, "requests")
            no_guest_errors(client)
            for size, why in ((MIB, "it cannot shrink"), (3 * MIB + 1,
                              "the size must be a number of sectors")):
                with refused(f"Failed to resize the disk: {why}"):
                    client.command("block_resize", node_name="format", size=size)
            equal(image.stat().st_size, 3 * MIB)


def test_what_cannot_grow():
    with Daemon("-blockdev", "null-co,node-name=fixed,read-only=on,size=1M",
                "-device", "virtio-blk-pci,id=disk0,drive=fixed",
                "-blockdev", "null-co,node-name=loose",
                "-drive", "id=ram,if=none", "-device", "virtio-blk-pci,id=disk1,drive=ram",
                "-S") as daemon:
        client = daemon.client()
        for where, size, why in (
                ({"node_name": "fixed"}, 2 * MIB, "Failed to resize the disk: it is read-only"),
                ({"device": "ram"}, 1 << 30, "Failed to resize the disk: it is memory"),
                ({"node_name": "fixed"}, -1, "Parameter 'size' expects a >0 size"),
                ({"node_name": "loose"}, MIB, "No disk is on 'loose'"),
                ({"node_name": "gone"}, MIB, "Cannot find 'gone'"),
                ({}, MIB, "Cannot find ''")):
            with refused(why):
                client.command("block_resize", size=size, **where)


if __name__ == "__main__":
    run(test_a_file_grows, test_what_cannot_grow)
