"""The daemon is killed again and again while a Linux guest writes to a disk of ours: the
guest waits, the next daemon takes up what was in flight, and the data is whole.

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
PATH = "/machine/peripheral/blk0/virtio-backend"
LIVES = 6


@contextlib.contextmanager
def life(folder, killed=True):
    with vds.Daemon(
            "-blockdev", f"file,node-name=f0,filename={folder}/disk",
            "-device", f"virtio-blk-pci,id=blk0,drive=f0,num-queues=2,vhost-user={folder}/blk0",
            expect_exit=-9 if killed else 0) as daemon:
        yield daemon
        if killed:
            daemon.proc.kill()
            daemon.proc.wait()


def connected(client):
    end = time.monotonic() + 30
    while not client.command("qom-get", path=PATH, property="connected"):
        assert time.monotonic() < end, "QEMU did not connect again"
        time.sleep(0.05)


def test_data_is_whole():
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="vds-") as folder:
        disk = pathlib.Path(folder) / "disk"
        disk.write_bytes(bytes(DISK))
        with life(folder) as daemon:
            guest = guests.Guest(
                "-chardev", f"socket,id=c0,path={folder}/blk0,reconnect=1",
                "-device", "vhost-user-blk-pci,id=blk0,chardev=c0,num-queues=2")
            connected(daemon.client())
            guest.sh("dd if=/dev/urandom of=/tmp/w bs=64k count=128 2>/dev/null")
            # four writers, each with its own quarter, many small direct writes
            guest.sh("cat > /tmp/job <<'END'\n"
                     "n=0; while [ ! -e /tmp/stop ]; do\n"
                     "dd if=/tmp/w of=/dev/vda bs=8k count=256 seek=$((1024 * $1)) skip=$((256 * $1)) "
                     "oflag=direct conv=notrunc 2>>/tmp/err || exit 1\n"
                     "n=$((n + 1)); done; echo $n > /tmp/done.$1\nEND\ntrue")
            guest.sh("for q in 0 1 2 3; do (sh /tmp/job $q &); done; sleep 0.5")
            time.sleep(chance.uniform(0.2, 0.8))
        with guest:
            for _ in range(LIVES - 2):
                with life(folder) as daemon:
                    connected(daemon.client())
                    time.sleep(chance.uniform(0.1, 0.8))
            with life(folder, killed=False) as daemon:
                client = daemon.client()
                connected(client)
                before = client.command("x-query-virtio-queue-status", path=PATH, queue=0)["used-idx"]
                time.sleep(0.5)
                after = client.command("x-query-virtio-queue-status", path=PATH, queue=0)["used-idx"]
                guest.sh("touch /tmp/stop; for q in 0 1 2 3; do while [ ! -e /tmp/done.$q ]; do "
                         "sleep 0.1; done; done", seconds=60)
                assert before != after, "the disk stood still in its last life"
                rounds = [int(guest.sh(f"cat /tmp/done.{q}")) for q in range(4)]
                assert min(rounds) > 0, rounds
                errors = guest.sh("dmesg | grep -iE 'i/o error|blk_update|timeout' || true")
                vds.equal(errors, "")
                expected = guest.sh("md5sum < /tmp/w").split()[0]
                guest.sh("sync; echo 3 > /proc/sys/vm/drop_caches")
                seen = guest.sh("for q in 0 1 2 3; do dd if=/dev/vda bs=8k count=256 "
                                "skip=$((1024 * q)) iflag=direct 2>/dev/null; done | md5sum")
                vds.equal(seen.split()[0], expected, "as the guest reads it")
                data = disk.read_bytes()
                quarters = b"".join(data[q << 23:][:2 << 20] for q in range(4))
                vds.equal(hashlib.md5(quarters).hexdigest(), expected, "in the file")
                print(f"# {sum(rounds)} rounds over {LIVES} lives")


if __name__ == "__main__":
    guests.images()
    vds.run(test_data_is_whole)
