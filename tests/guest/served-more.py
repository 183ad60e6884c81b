#!/usr/bin/env python3
"""Two Linux guests at once on one daemon: a SCSI disk whose data is whole, and virtio sockets
between guest and guest, guest and host, each way; and QEMU says of its half what we say of ours.
"""

import concurrent.futures
import contextlib
import hashlib
import itertools
import pathlib
import random
import socket
import sys
import threading
import time

import beside
import guest as guests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

CONTENT = random.Random(2).randbytes(8 << 20)
HOST, HOST_PORT, GUEST_PORT, NOBODYS_PORT = 2, 1234, 70, 4321
CIDS = {"v0": 7, "v1": 8}
BYTES = 8 << 20
RINGS = {"s0": 4, "v0": 2, "v1": 2}  # those that are the back-end's


def start():
    sockets = []
    for name, cid in CIDS.items():
        sockets += ["-device", f"vhost-vsock-pci,id={name},guest-cid={cid},"
                               f"uds-path={{dir}}/host-{name},vhost-user={{dir}}/{name}"]
    return vds.Daemon(
        "-blockdev", "file,node-name=f0,filename={dir}/disk,discard=unmap",
        "-device", "virtio-scsi-pci,id=s0,vhost-user={dir}/scsi",
        "-device", "scsi-hd,drive=f0,bus=s0.0,serial=abc", *sockets,
        prepare=lambda folder: (folder / "disk").write_bytes(CONTENT))


@contextlib.contextmanager
def boot(daemon):
    """Both at the same time: the one with the disk, and one with nothing but its sockets."""
    def vsock(name):
        return ["-chardev", f"socket,id=c{name},path={daemon.dir / name}",
                "-device", f"vhost-user-vsock-pci,id={name},chardev=c{name}"]

    disk = ["-chardev", f"socket,id=c0,path={daemon.dir}/scsi",
            "-device", "vhost-user-scsi-pci,id=s0,chardev=c0,num_queues=2"]
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor() as pool:
        booting = [pool.submit(guests.Guest, *disk, *vsock("v0")),
                   pool.submit(guests.Guest, *vsock("v1"), smp=1)]
        concurrent.futures.wait(booting)
        for one in booting:  # what came up goes down, if its neighbour did not come up as well
            if not one.exception():
                stack.enter_context(one.result())
        yield [one.result() for one in booting]


def check_disk(daemon, guest):
    guest.sh("for i in $(seq 100); do [ -e /dev/sda ] && break; sleep 0.1; done")
    vds.equal(guest.sh("cat /sys/block/sda/size").strip(), str(len(CONTENT) // 512))
    vds.equal(guest.sh("cat /sys/block/sda/device/model").strip(), "virtual disk")
    vds.equal(guest.sh("md5sum < /dev/sda").split()[0], hashlib.md5(CONTENT).hexdigest())
    guest.sh("dd if=/dev/urandom of=/dev/sda bs=64k count=32 oflag=direct 2>/dev/null; sync")
    seen = guest.sh("dd if=/dev/sda bs=64k count=32 iflag=direct 2>/dev/null | md5sum").split()[0]
    now = (daemon.dir / "disk").read_bytes()
    vds.equal(seen, hashlib.md5(now[:2 << 20]).hexdigest())
    assert now[:2 << 20] != CONTENT[:2 << 20] and now[2 << 20:] == CONTENT[2 << 20:]


def echo_server(path):
    """The other end of in-guest-vsock's "ask", for one connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve():
        end, _ = listener.accept()
        total = 0
        with listener, end:
            while piece := end.recv(1 << 16):
                total += len(piece)
                end.sendall(piece)
            end.sendall(total.to_bytes(8, "little"))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def listen_in(guest):
    """Somebody answers on GUEST_PORT of the guest, once."""
    guest.sh(f"in-guest-vsock echo {GUEST_PORT} > /tmp/echo 2>&1 & true")


def ask(cid, port):
    """Tries again while the other guest's program does not listen yet."""
    return (f"for i in $(seq 100); do in-guest-vsock ask {cid} {port} {BYTES} 2>/tmp/asked && break; "
            "grep -q 'connect: Connection reset' /tmp/asked || break; sleep 0.1; done; "
            "cat /tmp/asked; [ ! -s /tmp/asked ]")


def check_guest_to_host(daemon, guest):
    server = echo_server(daemon.dir / f"host-v0_{HOST_PORT}")
    guest.sh(ask(HOST, HOST_PORT))
    server.join(20)
    assert not server.is_alive(), "the guest's end was not seen"


def check_guest_to_guest(daemon, first, second):
    """Each is the one that connects, while the first talks to the host as well."""
    listen_in(first)
    second.start(ask(CIDS["v0"], GUEST_PORT))
    check_guest_to_host(daemon, first)
    second.finish()
    listen_in(second)
    first.sh(ask(CIDS["v1"], GUEST_PORT))


def check_nobody_listens(guest):
    for cid in (HOST, CIDS["v1"], CIDS["v1"] + 1):
        output, status = guest.try_sh(f"in-guest-vsock ask {cid} {NOBODYS_PORT} 1 2>&1")
        assert status == 1 and "connect: Connection reset by peer" in output, (cid, status, output)


def greet(daemon):
    """A connection to the guest, once somebody listens there."""
    end = time.monotonic() + 30
    while True:
        host = vds.connect(daemon.dir / "host-v0")
        host.sendall(f"CONNECT {GUEST_PORT}\n".encode())
        line = host.recv(64)
        if line.startswith(b"OK "):
            return host
        host.close()
        assert time.monotonic() < end, line
        time.sleep(0.1)


def check_host_to_guest(daemon, guest):
    listen_in(guest)
    content, got = CONTENT[:BYTES], bytearray()
    with greet(daemon) as host:
        sender = threading.Thread(target=lambda: (host.sendall(content),
                                                  host.shutdown(socket.SHUT_WR)))
        sender.start()
        host.settimeout(60)
        while piece := host.recv(1 << 16):
            got += piece
        sender.join()
    assert bytes(got) == content + len(content).to_bytes(8, "little"), len(got)


def path(name):
    return f"/machine/peripheral/{name}/virtio-backend"


def check_sound(client):
    for name, rings in RINGS.items():
        status = client.command("x-query-virtio-status", path=path(name))
        assert status["started"] and not status["broken"], status
        assert status["vhost-started"], status
        vds.equal(client.command("qom-get", path=path(name), property="broken-reason"), "")
        for ring in range(rings):
            client.command("x-query-virtio-vhost-queue-status", path=path(name), queue=ring)


ASKED = (  # QEMU's queue-status stops the ring: that comes last
    ("x-query-virtio-vhost-queue-status", {"kick", "call"}, ({},)),
    ("x-query-virtio-queue-element", {}, ({"index": 0}, {"index": 1}, {"index": 5})),
    ("x-query-virtio-queue-status", beside.QUEUE_EXCUSED, ({},)))
STATUS_EXCUSED = {
    **beside.STATUS_EXCUSED,
    "vhost-dev.nvqs": "QEMU keeps the event queue to itself",
}


def check_sockets_beside_qemu(client, guests_of):
    """Not the disk: QEMU 7.2 dies when it is asked about a SCSI device."""
    bad = []
    for name, guest in guests_of.items():
        found = beside.differences(*beside.both(guest.qmp, client, "x-query-virtio-status", path=path(name)))
        bad += [f"{name}: {line}" for line in beside.compare(found, STATUS_EXCUSED)[0]]
        for command, excused, each in ASKED:
            for ring, words in itertools.product(range(RINGS[name]), each):
                found = beside.differences(
                    *beside.both(guest.qmp, client, command, path=path(name), queue=ring, **words))
                bad += [f"{command} {name} {ring}: {line}" for line in beside.compare(found, excused)[0]]
    assert not bad, "\n".join(bad)


def main():
    guests.images()  # skips here, where nothing runs yet
    with start() as daemon, boot(daemon) as (first, second):
        print(f"# up after {first.boot_seconds:.1f} and {second.boot_seconds:.1f} s")
        good = vds.report(
            lambda: check_disk(daemon, first), lambda: check_guest_to_guest(daemon, first, second),
            lambda: check_nobody_listens(first), lambda: check_host_to_guest(daemon, first),
            lambda: check_sound(daemon.client()),
            lambda: check_sockets_beside_qemu(daemon.client(), {"v0": first, "v1": second}),
            names=["disk", "guest to guest", "nobody listens", "host to guest", "sound", "sockets beside QEMU"])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
