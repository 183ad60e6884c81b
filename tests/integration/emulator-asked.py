#!/usr/bin/env python3
"""What a manager of virtual machines asks an emulator, and that the answers are about what is
there: machines, KVM, I/O threads, character devices, block nodes, options."""

import os
import socket
import stat
import tempfile
import time
from pathlib import Path

from vds import Daemon, equal, refused, run


def by(rows, key):
    return {row[key]: row for row in rows}


def test_machines():
    with Daemon() as daemon:
        rows = by(daemon.client().command("query-machines"), "name")
        assert {"vds", "none", "pc-q35-8.2", "pc-i440fx-8.2", "pc-q35-7.2"} <= rows.keys()
        equal([n for n, row in rows.items() if row.get("is-default")], ["vds"])
        equal({n: row["alias"] for n, row in rows.items() if "alias" in row},
              {"pc-q35-8.2": "q35", "pc-i440fx-8.2": "pc"})
        equal(rows["pc-q35-8.2"]["default-ram-id"], "pc.ram")


def test_the_machine_asked_for_is_the_one_listed():
    with Daemon("-machine", "q35") as daemon:
        client = daemon.client()
        ram = client.command("qom-get", path="/machine", property="memory-backend")
        equal(ram, "/objects/pc.ram")
        assert client.command("qom-get", path="/machine", property="type").startswith("pc-q35-8.2")


def test_kvm_is_enabled_when_asked_for_and_there():
    there = os.access("/dev/kvm", os.R_OK | os.W_OK)
    for options, asked in (((), False), (("-machine", "vds,accel=tcg"), False),
                           (("-machine", "none,accel=kvm:tcg", "-device", "virtio-rng-pci"), True),
                           (("-accel", "kvm"), True), (("-accel", "tcg"), False),
                           (("-enable-kvm",), True)):
        with Daemon(*options) as daemon:
            equal(daemon.client().command("query-kvm"),
                  {"enabled": asked and there, "present": there}, options)


def test_io_threads_run_before_anybody_uses_them():
    with Daemon("-object", "iothread,id=io0", "-object", "iothread,id=io1",
                "-device", "virtio-blk-pci,id=blk0,iothread=io1") as daemon:
        rows = by(daemon.client().command("query-iothreads"), "id")
        equal(sorted(rows), ["io0", "io1"])
        tasks = {int(name) for name in os.listdir(f"/proc/{daemon.proc.pid}/task")}
        numbers = {row["thread-id"] for row in rows.values()}
        equal(len(numbers), 2)
        assert numbers <= tasks, f"{numbers} are no threads of {tasks}"


def test_character_devices():
    with tempfile.TemporaryDirectory() as folder:
        port = f"{folder}/port"
        with Daemon("-device", "virtio-serial-pci,id=vs0",
                    "-chardev", "null,id=nobody",
                    "-chardev", f"socket,id=sock,path={port},server=on,wait=off",
                    "-device", "virtserialport,bus=vs0.0,chardev=sock,name=a",
                    "-chardev", "pty,id=term",
                    "-device", "virtconsole,bus=vs0.0,chardev=term") as daemon:
            client = daemon.client()
            rows = by(client.command("query-chardev"), "label")
            monitor = rows.pop("compat_monitor0")
            equal(monitor["filename"], f"unix:{daemon.sock},server=on")
            equal(monitor["frontend-open"], True)
            equal(rows.pop("nobody"), {"label": "nobody", "filename": "null",
                                       "frontend-open": False})
            equal(rows["sock"]["filename"], f"disconnected:unix:{port},server=on")
            kind, name = rows["term"]["filename"].split(":", 1)
            equal(kind, "pty")
            assert stat.S_ISCHR(os.stat(name).st_mode)
            equal(rows["term"]["frontend-open"], True)


def test_a_connected_socket_is_shown_as_such():
    with tempfile.TemporaryDirectory() as folder:
        port = f"{folder}/port"
        with Daemon("-device", "virtio-serial-pci,id=vs0",
                    "-chardev", f"socket,id=sock,path={port},server=on,wait=off",
                    "-device", "virtserialport,bus=vs0.0,chardev=sock,name=a") as daemon:
            client = daemon.client()
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(port)
            deadline = time.monotonic() + 10
            wanted = f"unix:{port},server=on"
            while by(client.command("query-chardev"), "label")["sock"]["filename"] != wanted:
                assert time.monotonic() < deadline, "it is never shown as connected"
                time.sleep(0.01)


def test_block_nodes():
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "disk.img"
        image.write_bytes(bytes(8192))
        with Daemon("-blockdev", f"file,node-name=storage,filename={image}",
                    "-blockdev", '{"driver":"raw","node-name":"format","read-only":true,'
                                 '"file":"storage"}',
                    "-blockdev", "null-co,node-name=nothing,size=1M",
                    "-drive", f"file={image},id=old,format=raw,if=none,readonly=on",
                    "-device", "virtio-blk-pci,id=disk0,drive=format") as daemon:
            client = daemon.client()
            nodes = client.command("query-named-block-nodes", flat=True)
            equal([n["node-name"] for n in nodes], ["nothing", "format", "storage"])
            rows = by(nodes, "node-name")
            for name, driver, read_only in (("storage", "file", False), ("format", "raw", True)):
                row = rows[name]
                equal((row["drv"], row["ro"], row["file"]), (driver, read_only, str(image)))
                equal(row["image"]["virtual-size"], 8192)
                equal(row["image"]["actual-size"], image.stat().st_blocks * 512)
            equal(rows["nothing"]["image"]["virtual-size"], 1 << 20)
            assert "actual-size" not in rows["nothing"]["image"]
            with image.open("ab") as file:
                file.write(bytes(512))
            equal(by(client.command("query-named-block-nodes"),
                     "node-name")["storage"]["image"]["virtual-size"], 8704)

            disks = client.command("query-block")
            equal([(d["device"], d.get("qdev")) for d in disks],
                  [("", "/machine/peripheral/disk0/virtio-backend"), ("old", None)])
            equal(disks[0]["inserted"]["node-name"], "format")
            equal(disks[1]["inserted"]["ro"], True)


def test_options():
    with Daemon() as daemon:
        client = daemon.client()
        rows = by(client.command("query-command-line-options"), "option")
        assert {"device", "netdev", "object", "blockdev", "chardev", "name"} <= rows.keys()
        assert not {"S", "qmp", "pidfile", "nodefaults"} & rows.keys()
        equal(client.command("query-command-line-options", option="name"),
              [{"option": "name", "parameters": [
                  {"name": "guest", "type": "string"}, {"name": "process", "type": "string"},
                  {"name": "debug-threads", "type": "boolean"}]}])
        with refused("invalid option name: S"):
            client.command("query-command-line-options", option="S")


def test_capabilities_of_migration_are_remembered():
    with Daemon() as daemon:
        client = daemon.client()
        for state in (True, False):
            client.command("migrate-set-capabilities",
                           capabilities=[{"capability": "events", "state": state}])
            equal(daemon.client().command("query-migrate-capabilities"),
                  [{"capability": "events", "state": state}])
        with refused("Parameter 'capability' does not accept value 'xbzrle'"):
            client.command("migrate-set-capabilities",
                           capabilities=[{"capability": "xbzrle", "state": True}])


def test_types_that_are_there():
    with Daemon() as daemon:
        client = daemon.client()
        names = {row["name"] for row in client.command("qom-list-types")}
        assert {"tcg-accel", "rng-random", "memory-backend-memfd", "iothread", "secret",
                "virtio-net-pci", "virtio-blk-pci", "virtserialport"} <= names
        assert not {"sev-guest", "kvm-accel", "max-x86_64-cpu"} & names
        equal([row["name"] for row in client.command("qom-list-types", implements="accel")],
              ["accel", "tcg-accel"])


if __name__ == "__main__":
    run(test_machines, test_the_machine_asked_for_is_the_one_listed,
        test_kvm_is_enabled_when_asked_for_and_there,
        test_io_threads_run_before_anybody_uses_them, test_character_devices,
        test_a_connected_socket_is_shown_as_such, test_block_nodes, test_options,
        test_capabilities_of_migration_are_remembered, test_types_that_are_there)
