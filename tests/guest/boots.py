"""A Linux guest boots on served devices, split and packed, again and again, and probes the
disks anew after each boot: QEMU exchanges the call descriptor around the first requests
(it masks and unmasks the vector), so a lost interrupt shows as a probe that never ends.

    boots.py [BOOTS [PROBES [served|own]]]     2 boots, 10 probes of each disk after each

`own` is the control group: the same guest on QEMU's own devices, without the daemon.

One processor is kept busy by something else meanwhile.  When a boot or a probe is silent for
SILENT seconds, the state of both sides is printed: each queue as the daemon and as QEMU
report it, the eventfd counters of both processes, the processors of the guest with their
local interrupt controllers, and the last lines of the console.  The other boots go on.

A boot of QEMU under TCG can stand still by itself, with these devices and with QEMU's own: an
interrupt stays in service in the local APIC of a halted processor, so that none of the same or a
lower priority is delivered any more, the timer's included.  Such a boot is counted apart.
"""

import contextlib
import json
import pathlib
import re
import subprocess
import sys
import time

import guest as guests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import vds  # noqa: E402  pylint: disable=wrong-import-position

BOOTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
PROBES = int(sys.argv[2]) if len(sys.argv) > 2 else 10
OWN = len(sys.argv) > 3 and sys.argv[3] == "own"
SILENT = 120
DISK = 8 << 20
DISKS = {"blk0": ",packed=on", "blk1": ""}
QUEUES = {"blk0": 2, "blk1": 2, "net0": 2, "rng0": 1}
NO_VECTORS = ",vectors=0"  # QEMU 7.2 dies of vhost-user-net with MSI-X under TCG
OTHERS = ["-device", "virtio-balloon-pci", "-device", "virtio-serial-pci"]

REPROBE = """
set -e
for disk in vda vdb; do
    device=$(basename $(readlink -f /sys/block/$disk/device))
    echo $device > /sys/bus/virtio/drivers/virtio_blk/unbind
    echo $device > /sys/bus/virtio/drivers/virtio_blk/bind
    dd if=/dev/$disk of=/dev/null bs=64k iflag=direct 2>/dev/null
done
""".replace("\n", "; ").replace("do; ", "do ").strip("; ")


def path(name):
    return f"/machine/peripheral/{name}/virtio-backend"


def make_disks(folder):
    for name in DISKS:
        (folder / f"{name}.img").write_bytes(bytes(DISK))


def daemon_words():
    words = []
    for name in DISKS:
        words += ["-blockdev", f"file,node-name=f-{name},filename={{dir}}/{name}.img", "-device",
                  f"virtio-blk-pci,id={name},drive=f-{name},num-queues=2,vhost-user={{dir}}/{name}"]
    return words + ["-netdev", "hubport,id=h0,hubid=0",
                    "-device", "virtio-net-pci,id=net0,netdev=h0,vhost-user={dir}/net0",
                    "-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0"]


def own_words(folder):
    words = []
    for name, format_ in DISKS.items():
        words += ["-drive", f"if=none,id=d{name},format=raw,file={folder}/{name}.img",
                  "-device", f"virtio-blk-pci,id={name},drive=d{name},num-queues=2{format_}"]
    return words + ["-netdev", "hubport,id=n0,hubid=0",
                    "-device", "virtio-net-pci,netdev=n0,id=net0,packed=on" + NO_VECTORS,
                    "-device", "virtio-rng-pci,id=rng0,packed=on", *OTHERS]


def served_words(folder):
    words = []
    for name in QUEUES:
        words += ["-chardev", f"socket,id=c{name},path={folder / name}"]
    for name, format_ in DISKS.items():
        words += ["-device", f"vhost-user-blk-pci,id={name},chardev=c{name},num-queues=2{format_}"]
    return words + ["-netdev", "vhost-user,id=n0,chardev=cnet0",
                    "-device", "virtio-net-pci,netdev=n0,id=net0,packed=on" + NO_VECTORS,
                    "-device", "vhost-user-rng-pci,id=rng0,chardev=crng0,packed=on", *OTHERS]


def counters(pid):
    """The eventfds of a process whose counter is not 0: descriptor and count."""
    found = {}
    for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            count = re.search(r"^eventfd-count:\s*(\w+)$", info.read_text(), re.MULTILINE)
        except OSError:
            continue
        if count and int(count[1], 16):
            found[int(info.name)] = int(count[1], 16)
    return found


def ask(client, command, **arguments):
    try:
        return json.dumps(client.command(command, **arguments))
    except (vds.QmpError, OSError) as error:
        return str(error)


def is_stuck_in_service(guest):
    """Whether a halted processor has an interrupt in service, and others that wait for its end."""
    halted = [int(found[1]) for found in re.finditer(
        r"CPU#(\d+).*?HLT=(\d)", ask_human(guest, "info registers -a"), re.DOTALL) if found[2] == "1"]
    stuck = []
    for processor in halted:
        said = ask_human(guest, f"info lapic {processor}")
        in_service = re.search(r"^ISR\s+(\d+)", said, re.MULTILINE)
        waiting = re.search(r"^IRR\s+(\d+)", said, re.MULTILINE)
        if in_service and waiting:
            stuck.append(processor)
    return bool(stuck)


def ask_human(guest, line):
    try:
        return guest.qmp.command("human-monitor-command", **{"command-line": line}).replace("\r", "")
    except (vds.QmpError, OSError):
        return ""


def report_daemon(daemon):
    client = daemon.client()
    for name, queues in QUEUES.items():
        print(f"# daemon {name}:", ask(client, "x-query-virtio-status", path=path(name)))
        for fact in ("broken-reason", "last-refusal"):
            print(f"# daemon {name} {fact}:", ask(client, "qom-get", path=path(name), property=fact))
        for queue in range(queues):
            for command in ("queue-status", "vhost-queue-status", "queue-element"):
                print(f"# daemon {name} {queue} {command}:",
                      ask(client, f"x-query-virtio-{command}", path=path(name), queue=queue))
    print("# eventfds of the daemon:", counters(daemon.proc.pid))


def report_guest(guest):
    """What QEMU says; the query that stops a vhost-user ring is not asked."""
    for name, queues in QUEUES.items():
        print(f"# QEMU {name}:", ask(guest.qmp, "x-query-virtio-status", path=path(name)))
        for queue in range(queues):
            print(f"# QEMU {name} {queue}:", ask(guest.qmp, "x-query-virtio-vhost-queue-status",
                                                 path=path(name), queue=queue))
    print("# eventfds of QEMU:", counters(guest.proc.pid))
    for line in ("info cpus", "info lapic 0", "info lapic 1", "info registers -a"):
        for part in ask_human(guest, line).split("\n"):
            print(f"# QEMU {line}:", part)
    for line in guest.shell.seen.decode(errors="replace").splitlines()[-40:]:
        print("# console:", line)
    sys.stdout.flush()


@contextlib.contextmanager
def setting():
    """The daemon (none in the control group) and QEMU's arguments."""
    if OWN:
        with vds.peers.folder() as folder:
            make_disks(folder)
            yield None, own_words(folder)
        return
    with vds.Daemon(*daemon_words(), prepare=make_disks) as daemon:
        yield daemon, served_words(daemon.dir)


def life(times):
    """One boot of guest and daemon, and the probes after it: None, or what is silent: "QEMU" or
    "queue"."""
    with setting() as (daemon, words), guests.Guest(*words, boot=False) as guest:
        try:
            guest.boot()
            times.append(guest.boot_seconds)
            for _ in range(PROBES):
                guest.sh(REPROBE, SILENT)
        except RuntimeError as silence:
            print("# silent:", str(silence).splitlines()[0])
            if daemon:
                report_daemon(daemon)
            report_guest(guest)
            return "QEMU" if is_stuck_in_service(guest) else "queue"
        return None


def test_no_boot_is_silent():
    """Each boot reaches its shell, and each probe ends."""
    times, silent = [], []
    load = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    start = time.monotonic()
    try:
        for _ in range(BOOTS):
            silent.append(life(times))
    finally:
        load.kill()
        load.wait()
        print(f"# {BOOTS} boots: silent {silent.count('queue')}, and {silent.count('QEMU')} with an "
              f"interrupt in service for ever; {PROBES} probes of {len(DISKS)} disks after each; "
              f"{time.monotonic() - start:.0f} s; the longest boot took {max(times, default=0):.1f} s")
    vds.equal(silent.count("queue"), 0)
    assert times, "no boot ended"


vds.run(test_no_boot_is_silent)
