#!/usr/bin/env python3
"""Disks, networks, objects and character devices are added to a machine that runs, with a device
on each, and taken away again, in the order in which libvirt does it; a part in use stays."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from live import no_guest_errors, until, wait_driven
from vds import Daemon, equal, refused, run

ROOT = "/machine/peripheral/"


@contextlib.contextmanager
def machine(*args):
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "disk.img"
        image.write_bytes(bytes(1 << 20))
        with Daemon(*args) as daemon:
            yield daemon.client(), image


def plug(client, driver, name, **properties):
    client.command("device_add", driver=driver, id=name, **properties)
    wait_driven(client, f"{ROOT}{name}/virtio-backend")


def unplug(client, name):
    client.command("device_del", id=name)
    for path in (f"{ROOT}{name}/virtio-backend", ROOT + name):
        equal(client.event("DEVICE_DELETED")["data"]["path"], path)


def test_a_disk():
    with machine() as (client, image):
        client.command("blockdev-add", driver="file", node_name="storage", filename=str(image),
                       auto_read_only=True, discard="unmap")
        client.command("blockdev-add", driver="raw", node_name="format", read_only=False,
                       file="storage")
        with refused("Node storage is in use"):
            client.command("blockdev-del", node_name="storage")
        plug(client, "virtio-blk-pci", "disk1", drive="format")
        equal(client.command("query-block")[0]["qdev"], f"{ROOT}disk1/virtio-backend")
        for name in ("format", "storage"):
            with refused(f"Node {name} is in use"):
                client.command("blockdev-del", node_name=name)
        no_guest_errors(client)
        unplug(client, "disk1")
        client.command("blockdev-del", node_name="format")
        client.command("blockdev-del", node_name="storage")
        equal(client.command("query-named-block-nodes"), [])
        with refused("Failed to find node with node-name='format'"):
            client.command("blockdev-del", node_name="format")


def test_a_disk_in_one_piece():
    with machine() as (client, image):
        client.command("blockdev-add", driver="raw", node_name="whole",
                       file={"driver": "file", "filename": str(image)})
        plug(client, "virtio-blk-pci", "disk1", drive="whole")
        node = client.command("query-block")[0]["inserted"]
        equal((node["drv"], node["file"], node["image"]["virtual-size"]),
              ("raw", str(image), 1 << 20))


def test_disks_that_cannot_be():
    with machine() as (client, image):
        there = {"driver": "file", "node_name": "n", "filename": str(image)}
        client.command("blockdev-add", **there)
        for change, text in (
                ({}, "Duplicate nodes with node-name='n'"),
                ({"node_name": "9"}, "Invalid node-name: '9'"),
                ({"node_name": "x", "filename": "/nonesuch"},
                 "Could not open '/nonesuch': No such file or directory"),
                ({"node_name": "x", "filename": "/tmp"}, "Could not open '/tmp': Is a directory"),
                ({"node_name": "x", "driver": "qcow2"},
                 "Parameter 'driver' does not accept value 'qcow2'")):
            with refused(text):
                client.command("blockdev-add", **{**there, **change})
        with refused("'node-name' must be specified for the root node"):
            client.command("blockdev-add", driver="null-co")
        with refused("Cannot find device='gone' nor node-name='gone'"):
            client.command("blockdev-add", driver="raw", node_name="x", file="gone")
        image.chmod(0o400)
        equal(len(client.command("query-named-block-nodes")), 1)


def test_a_network():
    with machine() as (client, _):
        client.command("netdev_add", type="hubport", id="net1", hubid=0)
        plug(client, "virtio-net-pci", "nic1", netdev="net1")
        with refused("Duplicate ID 'net1'"):
            client.command("netdev_add", type="user", id="net1")
        with refused("Device 'net1' is in use"):
            client.command("netdev_del", id="net1")
        unplug(client, "nic1")
        client.command("netdev_del", id="net1")
        with refused("Device 'net1' not found", "DeviceNotFound"):
            client.command("netdev_del", id="net1")
        for wrong, text in (({"type": "user", "id": "a b"}, "Parameter 'id' expects an identifier"),
                            ({"type": "hubport", "id": "a"}, "Parameter 'hubid' is missing"),
                            ({"type": "vde", "id": "a"},
                             "Parameter 'type' does not accept value 'vde'")):
            with refused(text):
                client.command("netdev_add", **wrong)


def test_an_object():
    with machine() as (client, _):
        client.command("object-add", qom_type="rng-random", id="source", filename="/dev/urandom")
        with refused("attempt to add duplicate property 'source' to object (type 'container')"):
            client.command("object-add", qom_type="rng-random", id="source")
        plug(client, "virtio-rng-pci", "rng1", rng="source")
        with refused("object 'source' is in use, can not be deleted"):
            client.command("object-del", id="source")
        unplug(client, "rng1")
        client.command("object-del", id="source")
        with refused("object 'source' not found"):
            client.command("object-del", id="source")
        with refused("object 'vds.ram' is in use, can not be deleted"):
            client.command("object-del", id="vds.ram")
        with refused("Parameter 'qom-type' does not accept value 'sev-guest'"):
            client.command("object-add", qom_type="sev-guest", id="x")


def test_an_io_thread_with_several_users():
    with machine() as (client, _):
        client.command("object-add", qom_type="iothread", id="io1")
        equal([row["id"] for row in client.command("query-iothreads")], ["io1"])
        plug(client, "virtio-blk-pci", "one", iothread="io1")
        plug(client, "virtio-blk-pci", "two", iothread="io1")
        for name in ("one", "two"):
            with refused("object 'io1' is in use, can not be deleted"):
                client.command("object-del", id="io1")
            unplug(client, name)
        client.command("object-del", id="io1")
        equal(client.command("query-iothreads"), [])
        client.command("object-add", qom_type="iothread", id="io1")
        plug(client, "virtio-blk-pci", "one", iothread="io1")
        no_guest_errors(client)


def test_a_character_device():
    with machine("-device", "virtio-serial-pci,id=vs0") as (client, image):
        wait_driven(client)
        path = str(image.parent / "port")
        client.command("chardev-add", id="c1", backend={"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False}})
        for label in ("c1", "compat_monitor0"):
            with refused(f"Chardev with id '{label}' already exists"):
                client.command("chardev-add", id=label, backend={"type": "null", "data": {}})
        client.command("device_add", driver="virtserialport", bus="vs0.0", chardev="c1", id="port1")
        equal([row["filename"] for row in client.command("query-chardev") if row["label"] == "c1"],
              [f"disconnected:unix:{path},server=on"])
        for label in ("c1", "compat_monitor0"):
            with refused(f"Chardev '{label}' is busy"):
                client.command("chardev-remove", id=label)
        client.command("device_del", id="port1")
        client.command("chardev-remove", id="c1")
        with refused("Chardev 'c1' not found"):
            client.command("chardev-remove", id="c1")
        with refused("Parameter 'backend.data.out' is missing"):
            client.command("chardev-add", id="c2", backend={"type": "file", "data": {}})


def test_a_pseudo_terminal():
    with machine("-device", "virtio-serial-pci,id=vs0") as (client, _):
        wait_driven(client)
        path = client.command("chardev-add", id="c1", backend={"type": "pty", "data": {}})["pty"]
        assert stat.S_ISCHR(os.stat(path).st_mode)
        for _ in range(2):
            client.command("device_add", driver="virtconsole", bus="vs0.0", chardev="c1",
                           id="console1")
            equal([row["filename"] for row in client.command("query-chardev")
                   if row["label"] == "c1"], [f"pty:{path}"])
            equal(client.command("qom-get", path=ROOT + "console1", property="pty"), path)
            client.command("device_del", id="console1")
        client.command("chardev-remove", id="c1")
        until(lambda: not os.path.exists(path), "the terminal is gone")


def test_a_device_that_was_refused_uses_nothing():
    with machine() as (client, _):
        client.command("netdev_add", type="user", id="net1")
        with refused("Property 'virtio-net-device.mac' doesn't take value 'x'"):
            client.command("device_add", driver="virtio-net-pci", netdev="net1", mac="x")
        client.command("netdev_del", id="net1")


if __name__ == "__main__":
    run(test_a_disk, test_a_disk_in_one_piece, test_disks_that_cannot_be, test_a_network,
        test_an_object, test_an_io_thread_with_several_users, test_a_character_device,
        test_a_pseudo_terminal, test_a_device_that_was_refused_uses_nothing)
