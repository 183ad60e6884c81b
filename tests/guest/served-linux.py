"""A Linux guest drives disks, network cards of two pairs of queues and an entropy source of
ours, on split rings and on packed ones: its data is whole, queries in between cost it
nothing, and QEMU says of its half what we say of ours.

One boot for all of it.  QEMU's queue-status stops a vhost-user ring, so it is asked last.
"""

import hashlib
import os
import pathlib
import random
import sys
import threading
import time

import beside
import guest as guests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

DISK = 32 << 20
# ids are the same on both sides: so are the paths
SERVED = {"blk0": 2, "rng0": 1, "net0": 4, "net1": 4}  # rings that are the back-end's
PACKED = {"rng0", "net0"}  # the others are split


def path(name):
    return f"/machine/peripheral/{name}/virtio-backend"


def packed(name):
    return ",packed=on" if name in PACKED else ""


class Setting:
    """Our daemon with its devices, and the guest on them."""

    def __init__(self):
        self.daemon = vds.Daemon(
            "-blockdev", "file,node-name=f0,filename={dir}/disk",
            "-device", "virtio-blk-pci,id=blk0,drive=f0,num-queues=2,vhost-user={dir}/blk0",
            "-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0",
            "-netdev", "hubport,id=h0,hubid=0,queues=2", "-netdev", "hubport,id=h1,hubid=0,queues=2",
            "-device", "virtio-net-pci,id=net0,netdev=h0,mq=on,vhost-user={dir}/net0",
            "-device", "virtio-net-pci,id=net1,netdev=h1,mq=on,vhost-user={dir}/net1",
            prepare=self.make_disk)
        self.guest = None

    def make_disk(self, folder):
        self.content = random.Random(1).randbytes(DISK)
        (folder / "disk").write_bytes(self.content)

    def __enter__(self):
        self.daemon.__enter__()
        try:
            self.ours = self.daemon.client()
            self.guest = guests.Guest(*self.devices())
        except BaseException:
            self.daemon.__exit__(*sys.exc_info())
            raise
        return self

    def devices(self):
        words = []
        for name in SERVED:
            words += ["-chardev", f"socket,id=c{name},path={self.daemon.dir / name}"]
        # This QEMU dies of vhost-user-net with MSI-X under software emulation: vectors=0.
        for n in range(2):
            words += ["-netdev", f"vhost-user,id=n{n},chardev=cnet{n},queues=2",
                      "-device", f"virtio-net-pci,netdev=n{n},id=net{n},vectors=0,mq=on,"
                                 f"mac=52:54:00:00:00:0{n + 1}" + packed(f"net{n}")]
        return words + ["-device", "vhost-user-blk-pci,id=blk0,chardev=cblk0,num-queues=2" + packed("blk0"),
                        "-device", "vhost-user-rng-pci,id=rng0,chardev=crng0" + packed("rng0")]

    def __exit__(self, kind, value, trace):
        if self.guest:
            self.guest.__exit__(kind, value, trace)
        self.daemon.__exit__(kind, value, trace)


def check_disk(setting):
    """What is in the file is what the guest reads, and the other way round."""
    guest = setting.guest
    vds.equal(guest.sh("cat /sys/block/vda/size"), str(DISK // 512))
    vds.equal(guest.sh("md5sum < /dev/vda").split()[0], hashlib.md5(setting.content).hexdigest())
    guest.sh("dd if=/dev/urandom of=/tmp/w bs=64k count=64 2>/dev/null && "
             "dd if=/tmp/w of=/dev/vda bs=64k seek=100 conv=fsync 2>/dev/null")
    written = guest.sh("md5sum < /tmp/w").split()[0]
    disk = (setting.daemon.dir / "disk").read_bytes()
    start, length = 100 << 16, 64 << 16
    vds.equal(hashlib.md5(disk[start:start + length]).hexdigest(), written)
    vds.equal(disk[:start], setting.content[:start], "before what was written")
    vds.equal(disk[start + length:], setting.content[start + length:], "behind it")


def check_rng(setting):
    guest = setting.guest
    sums = {guest.sh("dd if=/dev/hwrng bs=512 count=8 2>/dev/null | md5sum") for _ in range(3)}
    vds.equal(len(sums), 3, "three reads of the entropy source")
    vds.equal(guest.sh("cat /sys/class/misc/hw_random/rng_current"), "virtio_rng.0")


def check_net(setting):
    """Two cards of one guest, the second in a network namespace of its own."""
    guest = setting.guest
    guest.sh("unshare -n sleep 1000 & echo $! > /tmp/ns; sleep 0.3; ip link set eth1 netns $(cat /tmp/ns); "
             "ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up")
    guest.sh("N='nsenter -t '$(cat /tmp/ns)' -n'; $N ip addr add 10.0.0.2/24 dev eth1; "
             "$N ip link set eth1 up; mkdir -p /tmp/www; cp /tmp/w /tmp/www/w; "
             "$N httpd -h /tmp/www; sleep 0.3")
    said = guest.sh("ping -c 20 -i 0.05 -s 1400 10.0.0.2")
    assert " 0% packet loss" in said, said
    guest.sh("wget -q -O /tmp/got http://10.0.0.2/w && cmp /tmp/got /tmp/www/w")


def moved(setting, line):
    """The rings of each network card that did something meanwhile."""
    def positions():
        return {(name, ring): setting.ours.command("x-query-virtio-queue-status", path=path(name),
                                                   queue=ring)["used-idx"]
                for name in ("net0", "net1") for ring in range(SERVED[name])}

    before = positions()
    said = setting.guest.sh(line)
    assert " 0% packet loss" in said, said
    return {ring for ring, position in positions().items() if position != before[ring]}


def check_pairs(setting):
    """Linux sends on the pair of the processor that it runs on, and the hub hands a frame to
    the same pair of the other card.  Answers take the pair of whoever got the interrupt."""
    guest = setting.guest
    there = ("net0", "net1", "taskset {} ping -c 5 -i 0.05 10.0.0.2")
    back = ("net1", "net0", "nsenter -t $(cat /tmp/ns) -n taskset {} ping -c 5 -i 0.05 10.0.0.1")

    for sender, receiver, line in (there, back):
        for pair in (0, 1):
            seen = moved(setting, line.format(1 << pair))
            assert {(sender, 2 * pair + 1), (receiver, 2 * pair)} <= seen, (line, pair, seen)
    vds.equal(guest.sh("in-guest-channels eth0 1"), "1 of 2")
    for sender, receiver, line in (there, back):
        seen = moved(setting, line.format(2))
        vds.equal({ring for ring in seen if ring[0] == "net0"}, {("net0", 0), ("net0", 1)})
    vds.equal(guest.sh("in-guest-channels eth0 2"), "2 of 2")
    sender, receiver, line = there
    seen = moved(setting, line.format(2))
    assert {("net0", 3), ("net1", 2)} <= seen, seen


class Asker(threading.Thread):
    """Asks the five commands at a rate, of every served ring, until it is told to stop."""

    def __init__(self, daemon, per_second):
        super().__init__()
        self.client = daemon.client()
        self.per_second = per_second
        self.ended = threading.Event()
        self.asked, self.bad = 0, []

    def requests(self):
        while True:
            yield "x-query-virtio", {}
            for name, rings in SERVED.items():
                yield "x-query-virtio-status", {"path": path(name)}
                for ring in range(rings):
                    where = {"path": path(name), "queue": ring}
                    yield "x-query-virtio-queue-status", where
                    yield "x-query-virtio-vhost-queue-status", where
                    yield "x-query-virtio-queue-element", where

    def run(self):
        start = time.monotonic()
        for command, arguments in self.requests():
            if self.ended.is_set():
                break
            reply = self.client.ask({"execute": command, "arguments": arguments})
            if "return" not in reply:
                self.bad.append((command, arguments, reply))
            self.asked += 1
            ahead = start + self.asked / self.per_second - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        self.seconds = time.monotonic() - start

    def stop(self):
        self.ended.set()
        self.join()


def work(setting):
    """Reads, writes and downloads, each checked by the guest; returns the rounds."""
    return int(setting.guest.sh(
        "n=0; end=$(($(cut -d. -f1 /proc/uptime) + 8)); "
        "while [ $(cut -d. -f1 /proc/uptime) -lt $end ]; do "
        "dd if=/tmp/w of=/dev/vda bs=64k seek=200 oflag=direct 2>/dev/null && "
        "dd if=/dev/vda of=/tmp/r bs=64k skip=200 count=64 iflag=direct 2>/dev/null && "
        "cmp /tmp/w /tmp/r && wget -q -O /tmp/got http://10.0.0.2/w && cmp /tmp/got /tmp/w && "
        "dd if=/dev/hwrng of=/dev/null bs=512 count=4 2>/dev/null || exit 1; n=$((n + 1)); done; echo $n",
        seconds=120))


def check_queries_under_load(setting):
    """1,000 questions a second: every one answered, every byte of the guest's right."""
    asker = Asker(setting.daemon, 1000)
    before = setting.ours.command("x-query-virtio-queue-status", path=path("blk0"), queue=0)
    asker.start()
    try:
        rounds = work(setting)
    finally:
        asker.stop()
    vds.equal(asker.bad[:3], [])
    assert rounds > 0
    rate = asker.asked / asker.seconds
    print(f"# {rounds} rounds, {rate:.0f} queries a second")
    if os.environ.get("VDS_SANITIZED", "none") == "none":
        assert rate > 500, f"only {rate:.0f} queries a second"
    after = setting.ours.command("x-query-virtio-queue-status", path=path("blk0"), queue=0)
    assert before["used-idx"] != after["used-idx"] or before["last-avail-idx"] != after["last-avail-idx"]


def both(setting, command, name, **arguments):
    return beside.both(setting.guest.qmp, setting.ours, command, path=path(name), **arguments)


# The control queue of a network card stays in QEMU, and what belongs to it.
NET_EXCUSED = {
    "num-vqs": "the control queue is QEMU's",
    "guest-features.*": "what the driver has of QEMU alone",
    "backend-features.*": "for vhost-net QEMU shows what back-end and it offer together",
    "vhost-dev.acked-features.dev-features.VHOST_USER_F_PROTOCOL_FEATURES":
        "a bit of the protocol, which QEMU counts for net and for no other device",
    "use-guest-notifier-mask": "how QEMU delivers interrupts",
    "vhost-dev.nvqs": "QEMU shows the first pair's half of the back-end alone",
}


def check_status(setting):
    bad = []
    for name in SERVED:
        excused = {**beside.STATUS_EXCUSED, **(NET_EXCUSED if name.startswith("net") else {})}
        found = list(beside.differences(*both(setting, "x-query-virtio-status", name)))
        lines, used = beside.compare(found, excused)
        bad += [f"{name}: {line}" for line in lines]
        print(f"# {name} differs in {', '.join(sorted(used))}")
    assert not bad, "\n".join(bad)


def check_vhost_queues(setting):
    bad = []
    for name, rings in SERVED.items():
        for ring in range(rings):
            theirs, ours = both(setting, "x-query-virtio-vhost-queue-status", name, queue=ring)
            if name.startswith("net") and ring >= 2:  # theirs is of the first pair alone
                vds.equal(theirs["error"]["desc"], f"Invalid vhost virtqueue number {ring}")
            else:
                bad += [f"{name} {ring}: {line}" for line in
                        beside.compare(beside.differences(theirs, ours), {"kick", "call"})[0]]
            # QEMU keeps no number of them; ours are descriptors of this process
            assert ours.get("kick", 0) > 2 and ours.get("call", 0) > 2, ours
    assert not bad, "\n".join(bad)


def guest_words(setting, kind, gpa, n):
    """Guest memory as QEMU prints it; kind: w is 32 bits, g is 64."""
    said = setting.guest.qmp.command("human-monitor-command", **{"command-line": f"xp /{n}x{kind} {gpa}"})
    return [int(word, 16) for line in said.splitlines() for word in line.split(":")[1].split()]


FLAGS = {"used": 1 << 15, "avail": 1 << 7, "indirect": 4, "write": 2, "next": 1}


def packed_descriptor(setting, gpa):
    addr, rest = guest_words(setting, "g", gpa, 2)
    flags = [name for name, bit in FLAGS.items() if rest >> 48 & bit]
    return {"addr": addr, "len": rest & 0xffffffff, "flags": flags}, rest >> 32 & 0xffff


def packed_element(setting, where, index):
    """What stands at a place of a packed ring, read with QEMU's eyes (virtio 1.2, 2.8)."""
    at, chain = index % where["num"], []
    while not chain or "next" in chain[-1]["flags"]:
        descriptor, number = packed_descriptor(setting, where["desc-phys"] + 16 * at)
        chain.append(descriptor)
        at = (at + 1) % where["num"]
    if "indirect" in descriptor["flags"]:
        table = range(descriptor["addr"], descriptor["addr"] + descriptor["len"], 16)
        chain = [packed_descriptor(setting, gpa)[0] for gpa in table]
    (driver,), (device,) = (guest_words(setting, "w", where[area], 1) for area in ("avail-phys", "used-phys"))
    return {"descs": chain[::-1], "index": number,
            "avail": {"flags": driver >> 16, "idx": driver & 0xffff, "ring": index % where["num"]},
            "used": {"flags": device >> 16, "idx": device & 0xffff}}


def check_elements(setting):
    bad = []
    for name, rings in SERVED.items():
        for ring in range(rings):
            where = setting.ours.command("x-query-virtio-vhost-queue-status", path=path(name), queue=ring)
            for index in (0, 1, 5):
                theirs, ours = both(setting, "x-query-virtio-queue-element", name, queue=ring, index=index)
                if name in PACKED:
                    vds.equal(theirs["error"]["desc"], "Packed ring not supported")
                    theirs = {"name": ours["name"], **packed_element(setting, where, index)}
                bad += [f"{name} {ring} [{index}]: {line}"
                        for line in beside.compare(beside.differences(theirs, ours), {})[0]]
    assert not bad, "\n".join(bad)


def check_queue_status(setting):
    """Last: afterwards QEMU's rings stand still, and ours still answer."""
    bad = []
    for name, rings in SERVED.items():
        for ring in range(rings):
            ours_before = setting.ours.command("x-query-virtio-queue-status", path=path(name), queue=ring)
            theirs, ours = both(setting, "x-query-virtio-queue-status", name, queue=ring)
            bad += [f"{name} {ring}: {line}" for line in
                    beside.compare(beside.differences(theirs, ours), beside.QUEUE_EXCUSED)[0]]
            vds.equal(ours["last-avail-idx"], ours_before["last-avail-idx"])
    assert not bad, "\n".join(bad)


def main():
    checks = [check_disk, check_rng, check_net, check_pairs, check_queries_under_load, check_status,
              check_vhost_queues, check_elements, check_queue_status]
    guests.images()  # skips here, where nothing runs yet
    with Setting() as setting:
        print(f"# up after {setting.guest.boot_seconds:.1f} s")
        good = vds.report(*[lambda check=check: check(setting) for check in checks],
                          names=[check.__name__.removeprefix("check_") for check in checks])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
