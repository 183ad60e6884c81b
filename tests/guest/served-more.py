#!/usr/bin/env python3
"""A Linux guest on a SCSI disk and virtio sockets of ours: sd attaches and its data is whole,
streams run both ways between the guest and sockets of the host.  One boot for all of it.
"""

import hashlib
import pathlib
import random
import socket
import sys
import threading
import time

import guest as guests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

CONTENT = random.Random(2).randbytes(8 << 20)
CID, HOST, HOST_PORT, GUEST_PORT = 7, 2, 1234, 70
BYTES = 1 << 20


def start():
    return vds.Daemon(
        "-blockdev", "file,node-name=f0,filename={dir}/disk,discard=unmap",
        "-device", "virtio-scsi-pci,id=s0,vhost-user={dir}/scsi",
        "-device", "scsi-hd,drive=f0,bus=s0.0,serial=abc",
        "-device", f"vhost-vsock-pci,id=v0,guest-cid={CID},uds-path={{dir}}/host,"
                   "vhost-user={dir}/vsock",
        prepare=lambda folder: (folder / "disk").write_bytes(CONTENT))


def boot(daemon):
    return guests.Guest(
        "-chardev", f"socket,id=c0,path={daemon.dir}/scsi",
        "-device", "vhost-user-scsi-pci,id=s0,chardev=c0,num_queues=2",
        "-chardev", f"socket,id=c1,path={daemon.dir}/vsock",
        "-device", "vhost-user-vsock-pci,id=v0,chardev=c1")


def check_disk(daemon, guest):
    guest.sh("modprobe virtio_scsi; modprobe sd_mod; "
             "for i in $(seq 100); do [ -e /dev/sda ] && break; sleep 0.1; done")
    vds.equal(guest.sh("cat /sys/block/sda/size").strip(), str(len(CONTENT) // 512))
    vds.equal(guest.sh("cat /sys/block/sda/device/model").strip(), "virtual disk")
    vds.equal(guest.sh("md5sum < /dev/sda").split()[0], hashlib.md5(CONTENT).hexdigest())
    guest.sh("dd if=/dev/urandom of=/dev/sda bs=64k count=32 oflag=direct 2>/dev/null; sync")
    seen = guest.sh("dd if=/dev/sda bs=64k count=32 iflag=direct 2>/dev/null | md5sum").split()[0]
    now = (daemon.dir / "disk").read_bytes()
    vds.equal(seen, hashlib.md5(now[:2 << 20]).hexdigest())
    assert now[:2 << 20] != CONTENT[:2 << 20] and now[2 << 20:] == CONTENT[2 << 20:]


def echo_server(path):
    """Gives back what one connection sends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve():
        end, _ = listener.accept()
        with listener, end:
            while piece := end.recv(1 << 16):
                end.sendall(piece)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def check_guest_connects(daemon, guest):
    server = echo_server(daemon.dir / f"host_{HOST_PORT}")
    guest.sh("modprobe vmw_vsock_virtio_transport")
    guest.sh(f"in-guest-vsock ask {HOST} {HOST_PORT} {BYTES}")
    server.join(20)
    assert not server.is_alive(), "the guest's end was not seen"
    output, status = guest.try_sh(f"in-guest-vsock ask {HOST} 4321 1 2>&1")
    assert status == 1 and "reset by peer" in output, (status, output)


def greet(daemon):
    """A connection to the guest, once somebody listens there."""
    end = time.monotonic() + 30
    while True:
        host = vds.connect(daemon.dir / "host")
        host.sendall(f"CONNECT {GUEST_PORT}\n".encode())
        line = host.recv(64)
        if line.startswith(b"OK "):
            return host
        host.close()
        assert time.monotonic() < end, line
        time.sleep(0.1)


def check_host_connects(daemon, guest):
    guest.sh(f"in-guest-vsock echo {GUEST_PORT} & true")
    content, got = CONTENT[:BYTES], bytearray()
    with greet(daemon) as host:
        sender = threading.Thread(target=lambda: (host.sendall(content),
                                                  host.shutdown(socket.SHUT_WR)))
        sender.start()
        host.settimeout(60)
        while piece := host.recv(1 << 16):
            got += piece
        sender.join()
    assert bytes(got) == content, len(got)


def check_answers(daemon):
    client = daemon.client()
    for name, num_vqs in (("s0", 4), ("v0", 2)):
        where = f"/machine/peripheral/{name}/virtio-backend"
        status = client.command("x-query-virtio-status", path=where)
        assert status["started"] and not status["broken"], status
        assert status["vhost-started"], status
        for queue in range(num_vqs):
            client.command("x-query-virtio-vhost-queue-status", path=where, queue=queue)
        vds.equal(client.command("qom-get", path=where, property="broken-reason"), "")


def test_scsi_and_sockets():
    with start() as daemon, boot(daemon) as guest:
        check_disk(daemon, guest)
        check_guest_connects(daemon, guest)
        check_host_connects(daemon, guest)
        check_answers(daemon)


if __name__ == "__main__":
    vds.run(test_scsi_and_sockets)
