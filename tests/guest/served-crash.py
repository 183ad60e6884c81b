"""The daemon is killed again and again while a Linux guest writes to two disks of ours, one
with split rings and one with packed ones: the guest waits, the next daemon takes up what was
in flight, and the data is whole.

QEMU connects again by itself (reconnect=1) and keeps the in-flight region between lives.
"""

import contextlib
import hashlib
import pathlib
import random
import sys
import tempfile
import time

import guest as guests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

DISK = 32 << 20
DISKS = {"blk0": "", "blk1": ",packed=on"}  # vda and vdb
WRITERS = [(q, "vdb" if q % 2 else "vda") for q in range(4)]  # and its quarter of the disk
LIVES = 6


def path(name):
    return f"/machine/peripheral/{name}/virtio-backend"


@contextlib.contextmanager
def life(folder, killed=True):
    words = []
    for name in DISKS:
        words += ["-blockdev", f"file,node-name=f-{name},filename={folder}/{name}.img", "-device",
                  f"virtio-blk-pci,id={name},drive=f-{name},num-queues=2,vhost-user={folder}/{name}"]
    with vds.Daemon(*words, expect_exit=-9 if killed else 0) as daemon:
        yield daemon
        if killed:
            daemon.proc.kill()
            daemon.proc.wait()


def connected(client):
    end = time.monotonic() + 30
    for name in DISKS:
        while not client.command("qom-get", path=path(name), property="connected"):
            assert time.monotonic() < end, "QEMU did not connect again"
            time.sleep(0.05)


def boot(folder):
    words = []
    for name, rings in DISKS.items():
        words += ["-chardev", f"socket,id=c-{name},path={folder}/{name},reconnect=1", "-device",
                  f"vhost-user-blk-pci,id={name},chardev=c-{name},num-queues=2{rings}"]
    return guests.Guest(*words)


def positions(client):
    return [client.command("x-query-virtio-queue-status", path=path(name), queue=queue)["used-idx"]
            for name in DISKS for queue in range(2)]


def is_packed(client, name):
    status = client.command("x-query-virtio-status", path=path(name))
    return any(text.startswith("VIRTIO_F_RING_PACKED:") for text in status["guest-features"]["transports"])


def test_data_is_whole():
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="vds-") as folder, contextlib.ExitStack() as stack:
        images = [pathlib.Path(folder) / f"{name}.img" for name in DISKS]
        for image in images:
            image.write_bytes(bytes(DISK))
        with life(folder) as daemon:
            guest = stack.enter_context(boot(folder))
            client = daemon.client()
            connected(client)
            vds.equal([is_packed(client, name) for name in DISKS], [False, True])
            guest.sh("dd if=/dev/urandom of=/tmp/w bs=64k count=128 2>/dev/null")
            # each writer has its own quarter: many small direct writes
            guest.sh("cat > /tmp/job <<'END'\n"
                     "n=0; while [ ! -e /tmp/stop ]; do\n"
                     "dd if=/tmp/w of=/dev/$2 bs=8k count=256 seek=$((1024 * $1)) skip=$((256 * $1)) "
                     "oflag=direct conv=notrunc 2>>/tmp/err || exit 1\n"
                     "n=$((n + 1)); done; echo $n > /tmp/done.$1\nEND\ntrue")
            for writer in WRITERS:
                guest.sh("sh /tmp/job {} {} & true".format(*writer))
            guest.sh("sleep 0.5")
            time.sleep(chance.uniform(0.2, 0.8))
        for _ in range(LIVES - 2):
            with life(folder) as daemon:
                connected(daemon.client())
                time.sleep(chance.uniform(0.1, 0.8))
        with life(folder, killed=False) as daemon:
            client = daemon.client()
            connected(client)
            before = positions(client)
            time.sleep(0.5)
            after = positions(client)
            guest.sh("touch /tmp/stop; for q in 0 1 2 3; do while [ ! -e /tmp/done.$q ]; do "
                     "sleep 0.1; done; done", seconds=60)
            for n, name in enumerate(DISKS):
                assert before[2 * n:2 * n + 2] != after[2 * n:2 * n + 2], f"{name} stood still in its last life"
            rounds = [int(guest.sh(f"cat /tmp/done.{q}")) for q in range(4)]
            assert min(rounds) > 0, rounds
            errors = guest.sh("dmesg | grep -iE 'i/o error|blk_update|timeout' || true")
            vds.equal(errors, "")
            expected = guest.sh("md5sum < /tmp/w").split()[0]
            guest.sh("sync; echo 3 > /proc/sys/vm/drop_caches")
            reads = [f"dd if=/dev/{disk} bs=8k count=256 skip={1024 * q} iflag=direct 2>/dev/null"
                     for q, disk in WRITERS]
            seen = guest.sh(f"({'; '.join(reads)}) | md5sum")
            vds.equal(seen.split()[0], expected, "as the guest reads it")
            data = [image.read_bytes() for image in images]
            quarters = b"".join(data[q % 2][q << 23:][:2 << 20] for q, _ in WRITERS)
            vds.equal(hashlib.md5(quarters).hexdigest(), expected, "in the file")
            print(f"# {sum(rounds)} rounds over {LIVES} lives")


if __name__ == "__main__":
    guests.images()
    vds.run(test_data_is_whole)
