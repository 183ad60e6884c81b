#!/usr/bin/env python3
"""Nobody waits for a disk that does not answer: a query of another client has its answer within
100 ms, whatever one client asked for and whatever the file system leaves without an answer.  A
device that was to go is there until its disk is done, and DEVICE_DELETED comes then."""

import contextlib
import struct
import time

from front import DATA, Front, WRITE
from vds import Daemon, QmpError, equal, run
import fuse_file
from fuse_file import FLUSH, GETATTR, OPEN, StuckFile

T_OUT, REQUEST_QUEUE = 1, 2
PATIENCE_S = 0.1
BLK = "virtio-blk-pci,id=b0,drive=n0,vhost-user={dir}/sock"


@contextlib.contextmanager
def served(file, *args):
    """A daemon whose file answers in the end, so that it can end whatever happens."""
    with Daemon(*args) as daemon:
        try:
            yield daemon
        finally:
            file.release()


def answered(client, what):
    begun = time.monotonic()
    client.command("query-status")
    passed = time.monotonic() - begun
    assert passed < PATIENCE_S, f"{what}: another client waited {passed:.3f} s"


def send(client, name, **arguments):
    import json  # pylint: disable=import-outside-toplevel
    client.send(json.dumps({"execute": name, "arguments": {
        key.replace("_", "-"): value for key, value in arguments.items()}}) + "\n")


def write_blk(front):
    front.write(DATA, struct.pack("<IIQ", T_OUT, 0, 0))
    front.put(0, [(DATA, 16, 0), (DATA + 512, 512, 0), (DATA + 2048, 1, WRITE)])
    front.kick()


def write_scsi(front):
    cdb = bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0])
    front.write(DATA, struct.pack("<8sQBBB", b"\1" + bytes(7), 1, 0, 0, 0) + cdb.ljust(32, b"\0"))
    front.put(0, [(DATA, 51, 0), (DATA + 512, 512, 0), (DATA + 2048, 108, WRITE)])
    front.kick()


def not_deleted(client):
    time.sleep(0.2)
    client.command("query-status")  # what was sent before is read with it
    equal([event for event in client.events if event["event"] == "DEVICE_DELETED"], [])


def deleted(client, device):
    while client.event("DEVICE_DELETED")["data"].get("device") != device:
        pass


def gone_when_done(daemon, file, what):
    client, other = daemon.client(), daemon.client()
    client.command("device_del", id=what)  # is answered
    answered(other, f"device_del of {what}")
    try:
        client.command("device_del", id=what)
    except QmpError as error:
        assert "already in the process of unplug" in error.desc, error.desc
    try:
        client.command("blockdev-del", node_name="n0")
        assert False, "the node of a disk that writes to it went"
    except QmpError as error:
        assert "in use" in error.desc, error.desc
    not_deleted(client)
    file.release()
    deleted(client, what)
    client.command("blockdev-del", node_name="n0")


def test_device_del_of_a_disk():
    for aio in "threads", "io_uring":
        with StuckFile() as file, served(
                file, "-blockdev", f"file,node-name=n0,filename={file.path},aio={aio}", "-device", BLK) as daemon:
            with Front(daemon.dir / "sock") as front:
                front.start()
                file.hold(fuse_file.WRITE)
                write_blk(front)
                file.wait_held(fuse_file.WRITE)
                gone_when_done(daemon, file, "b0")


def test_device_del_of_a_scsi_disk_and_its_adapter():
    for what in "d0", "s0":
        with StuckFile() as file, served(
                file, "-blockdev", f"file,node-name=n0,filename={file.path}",
                "-device", "virtio-scsi-pci,id=s0,vhost-user={dir}/sock",
                "-device", "scsi-hd,id=d0,bus=s0.0,drive=n0") as daemon:
            with Front(daemon.dir / "sock") as front:
                front.negotiate()
                front.share()
                front.start_ring(REQUEST_QUEUE)
                file.hold(fuse_file.WRITE)
                write_scsi(front)
                file.wait_held(fuse_file.WRITE)
                if what == "d0":
                    gone_when_done(daemon, file, what)
                    front.used(1)
                    equal(front.read(DATA + 2048 + 10, 2), b"\0\0", "what was begun was done")
                    continue
                client = daemon.client()
                client.command("device_del", id=what)
                answered(daemon.client(), "device_del of the adapter")
                not_deleted(client)
                file.release()
                deleted(client, "s0")


def test_questions_about_a_file():
    """Each without an answer of the file system; then the file system answers again."""
    rows = [
        (GETATTR, "query-block", {}),
        (GETATTR, "query-named-block-nodes", {}),
        (OPEN, "blockdev-add", {"driver": "file", "node_name": "n1"}),
        (OPEN, "device_add", {"driver": "virtio-blk-pci", "id": "b1", "drive": "n0"}),
        (FLUSH, "device_del", {"id": "b0"}),
        (fuse_file.SETATTR, "block_resize", {"node_name": "n0", "size": 2 << 20}),
    ]
    for kind, name, arguments in rows:
        with StuckFile() as file:
            device = [] if name == "device_add" else ["-device", BLK]
            with served(file, "-blockdev", f"file,node-name=n0,filename={file.path}", *device) as daemon:
                client, other = daemon.client(), daemon.client()
                if name == "blockdev-add":
                    arguments = {**arguments, "filename": file.path}
                file.hold(kind)
                for _ in range(2):
                    send(client, name, **arguments)
                    answered(other, name)
                    client.reply()
                file.release()
                answered(other, name)
                if name == "query-block":
                    time.sleep(0.1)
                    equal(client.command(name)[0]["inserted"]["image"]["virtual-size"], fuse_file.SIZE)


def test_the_end_comes_without_the_disk():
    with StuckFile() as file:
        with served(file, "-blockdev", f"file,node-name=n0,filename={file.path}", "-device", BLK,
                    "-pidfile", "{dir}/pid") as daemon:
            with Front(daemon.dir / "sock") as front:
                front.start()
                file.hold(fuse_file.WRITE)
                write_blk(front)
                file.wait_held(fuse_file.WRITE)
                daemon.client().command("quit")
                begun = time.monotonic()
                while (daemon.dir / "pid").exists():
                    assert time.monotonic() - begun < 5, "the end did not come"
                    time.sleep(0.01)
                file.release()  # the kernel keeps a thread that it is asked to end


if __name__ == "__main__":
    run(test_device_del_of_a_disk, test_device_del_of_a_scsi_disk_and_its_adapter,
        test_questions_about_a_file, test_the_end_comes_without_the_disk)
