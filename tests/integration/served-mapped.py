"""However much a front-end wants mapped, by whatever message, room is left for the program, for
its clients and for other front-ends.  A sparse file costs the front-end nothing.
"""

import os
import struct

import front as fronts
import vds
from front import UVA, Front

HUGE = 1 << 46


def daemon(count=2):
    devices = []
    for n in range(count):
        devices += ["-device", f"virtio-rng-pci,id=rng{n},vhost-user={{dir}}/rng{n}"]
    return vds.Daemon(*devices)


def is_sanitized():
    return os.environ.get("VDS_SANITIZED", "none") != "none"


def sparse():
    fd = os.memfd_create("sparse")
    os.ftruncate(fd, HUGE)
    return fd


def add(front, fd, gpa, size):
    return front.done(fronts.ADD_MEM_REG, struct.pack("=QQQQQ", 0, gpa, size, UVA + gpa, 0), [fd])


def fill(front, fd, smallest=4096):
    """Regions until not even the smallest is granted.  How many bytes were."""
    size, gpa, count = HUGE, 1 << 40, 0
    while size >= smallest and count < 500:
        if add(front, fd, gpa, size):
            gpa, count = gpa + size, count + 1
        else:
            size //= 2
    return gpa - (1 << 40)


def test_regions():
    fd = sparse()
    with daemon() as ours, Front(ours.dir / "rng0") as greedy, Front(ours.dir / "rng1") as other:
        greedy.negotiate()
        granted = fill(greedy, fd)
        assert granted >= 1 << 40, granted  # large guests are served
        client = ours.client()
        refusal = client.command("qom-get", path="/machine/peripheral/rng0/virtio-backend",
                                 property="vhost-user-last-refusal")
        assert refusal.startswith("V5: ADD_MEM_REG") and "that other peers leave" in refusal, refusal
        for _ in range(100):
            ours.client().command("query-qmp-schema")
        other.start()  # a guest of usual size, beside it
        other.put(0, [(fronts.DATA, 64, fronts.WRITE)])
        other.kick()
        other.used(1)
    os.close(fd)


def test_the_next_front_end():
    """What a front-end had mapped can be looked at until the next one tells of memory, and does
    not count against that one."""
    fd = sparse()
    with daemon(1) as ours:
        for _ in range(5):
            with Front(ours.dir / "rng0") as front:
                front.negotiate()
                granted = fill(front, fd, smallest=1 << 40)
                assert granted >= 16 << 40, granted
        with Front(ours.dir / "rng0") as front:
            front.start()
            front.put(0, [(fronts.DATA, 64, fronts.WRITE)])
            front.kick()
            front.used(1)
    os.close(fd)


def test_tables_logs_and_in_flight():
    fd = sparse()
    with daemon(1) as ours, Front(ours.dir / "rng0") as front:
        front.negotiate()
        fill(front, fd)
        table = struct.pack("=IIQQQQ", 1, 0, 0, HUGE, UVA, 0)
        log = struct.pack("=QQ", HUGE, 0)
        in_flight = struct.pack("=QQHH", HUGE, 0, 1, 16)
        for request, payload in ((fronts.SET_MEM_TABLE, table), (fronts.SET_LOG_BASE, log),
                                 (fronts.SET_INFLIGHT_FD, in_flight)):
            assert not front.done(request, payload, [fd]), request
    os.close(fd)


if __name__ == "__main__":
    if is_sanitized():
        vds.skip("a sanitizer has an address space of its own")
    vds.run(test_regions, test_the_next_front_end, test_tables_logs_and_in_flight)
