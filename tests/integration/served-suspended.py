"""While all rings are stopped a device sends no message on the back-end's channel; what it has to
tell comes when a ring starts again (vhost-user: "Suspended device state")."""

import select
import socket
import struct

import front as fronts
import vds
from front import Front

CONFIG_CHANGE = 2


def taken(channel, seconds):
    """The number of the next message, or None."""
    if not select.select([channel], [], [], seconds)[0]:
        return None
    return struct.unpack("=III", channel.recv(12))[0]


def test_a_disk_that_grows_while_suspended():
    with vds.Daemon("-blockdev", "file,node-name=f0,filename={dir}/disk", "-device",
                    "virtio-blk-pci,id=blk0,drive=f0,vhost-user={dir}/blk0",
                    prepare=lambda folder: (folder / "disk").write_bytes(bytes(1 << 20))) as ours:
        client = ours.client()
        with Front(ours.dir / "blk0") as front:
            front.negotiate()
            front.share()
            mine, theirs = socket.socketpair()
            front.send(fronts.SET_BACKEND_REQ_FD, b"", [theirs.fileno()])
            front.start_ring()
            front.is_open()
            client.command("block_resize", node_name="f0", size=2 << 20)
            vds.equal(taken(mine, 10), CONFIG_CHANGE, "while a ring runs")
            front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0))
            for megabytes in (3, 4):
                client.command("block_resize", node_name="f0", size=megabytes << 20)
            vds.equal(taken(mine, 0.5), None, "while all are stopped")
            front.start_ring()
            vds.equal(taken(mine, 10), CONFIG_CHANGE, "one for all of them")
            vds.equal(taken(mine, 0.3), None)
            mine.close()
            theirs.close()


vds.run(test_a_disk_that_grows_while_suspended)
