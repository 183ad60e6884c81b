"""What a front-end may do, in every order that real ones use: many lives on one connection
and on many, rings kicked before they are enabled, stopped and started where they were, and
memory that comes and goes.
"""

import os
import struct

import front as fronts
import vds
from front import (DATA, F_EVENT_IDX, F_INDIRECT, F_PACKED, MEMORY, UVA, WRITE, Front)

PATH = "/machine/peripheral/rng0/virtio-backend"


def daemon(*more):
    return vds.Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0", *more)


def connect(ours):
    return Front(ours.dir / "rng0")


def get(client, name):
    return client.command("qom-get", path=PATH, property=name)


def queue(client):
    return client.command("x-query-virtio-queue-status", path=PATH, queue=0)


def request(front):
    """One request, which must be answered with bytes."""
    before = front.used_idx()
    front.write(DATA, bytes(64))
    front.put(0, [(DATA, 64, WRITE)])
    front.kick()
    front.used(before + 1)
    assert front.read(DATA, 64) != bytes(64)


def test_one_life():
    with daemon() as ours, connect(ours) as front:
        front.start()
        for _ in range(100):
            request(front)
        client = ours.client()
        status = queue(client)
        vds.equal((status["last-avail-idx"], status["used-idx"], status["inuse"]), (100, 100, 0))
        vhost = client.command("x-query-virtio-vhost-queue-status", path=PATH, queue=0)
        vds.equal((vhost["desc"], vhost["desc-phys"]), (UVA + fronts.DESC, fronts.DESC))
        element = client.command("x-query-virtio-queue-element", path=PATH, queue=0)
        vds.equal(element["avail"]["idx"], 100)
        state = client.command("x-query-virtio-status", path=PATH)
        vds.equal(state["started"], True)
        vds.equal(state["vhost-dev"]["n-mem-sections"], 1)


def test_state_after_the_end():
    """Front-ends go; what was last can still be read."""
    with daemon() as ours:
        client = ours.client()
        vds.equal(get(client, "connected"), False)
        with connect(ours) as front:
            front.start()
            request(front)
            vds.equal(get(client, "connected"), True)
        while get(client, "connected"):
            vds.time.sleep(0.002)
        status = queue(client)
        vds.equal((status["last-avail-idx"], status["vring-num"], status["vring-desc"]), (1, 16, fronts.DESC))
        vds.equal(client.command("x-query-virtio-status", path=PATH)["vhost-dev"]["nvqs"], 1)


def test_kick_before_enable():
    """V9: it is remembered."""
    with daemon() as ours, connect(ours) as front:
        front.negotiate()
        front.share()
        front.put(0, [(DATA, 64, WRITE)])
        front.kick()
        front.start_ring(enable=False)
        vds.time.sleep(0.1)
        vds.equal(front.used_idx(), 0)
        front.ring(fronts.SET_VRING_ENABLE, 0, 1)
        front.used(1)


def test_enable_before_addresses():
    with daemon() as ours, connect(ours) as front:
        front.negotiate()
        front.ring(fronts.SET_VRING_ENABLE, 0, 1)
        front.share()
        front.start_ring(enable=False)
        request(front)


def test_without_protocol_features_rings_start_enabled():
    with daemon() as ours, connect(ours) as front:
        front.send(fronts.SET_OWNER)
        front.ask_u64(fronts.GET_FEATURES)
        front.u64(fronts.SET_FEATURES, fronts.F_VERSION_1)
        front.share()
        front.start_ring(enable=False)
        request(front)


def test_stop_keeps_the_position():
    """V10: GET_VRING_BASE stops the ring and tells where; the next life goes on there."""
    with daemon() as ours, connect(ours) as front:
        front.start()
        for _ in range(5):
            request(front)
        base = front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0))
        vds.equal(struct.unpack("=II", base), (0, 5))
        front.put(0, [(DATA, 64, WRITE)])
        front.kick()
        vds.time.sleep(0.1)
        vds.equal(front.used_idx(), 5, "a stopped ring")
        front.start_ring(base=5)
        front.kick()
        front.used(6)


def test_packed_base():
    """P10: indices and wrap bits in one word."""
    with daemon() as ours, connect(ours) as front:
        front.start(F_PACKED)
        for _ in range(20):  # once around a ring of 16, and 4
            slot = front.avail_idx
            front.put(1, [(DATA, 64, WRITE)])
            wrap = front.avail_wrap if front.avail_idx else not front.avail_wrap
            front.kick()
            for _ in range(2000):
                flags = front.u16(fronts.DESC + 16 * slot + 14)
                if bool(flags & fronts.AVAIL) == bool(flags & fronts.USED) == wrap:
                    break
                vds.time.sleep(0.002)
            else:
                raise AssertionError(f"slot {slot} is not used")
        _, word = struct.unpack("=II", front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0)))
        vds.equal(word, 4 | 4 << 16, "once around: both wraps are 0")


def test_packed_base_is_taken_as_told():
    """P10: both halves, slot 0 with wrap counter 0 included; only a fresh ring's used half may
    be left out, as DPDK's virtio-user does."""
    rows = ((0x8007_0003, 3, 7), (0x0001_0003, 3, 1), (0x0000_0003, 3, 0), (0x0000_0000, 0, 0),
            (0x0000_8000, 0, 0), (0x8000_8000, 0, 0))
    for base, avail, used in rows:
        with daemon() as ours, connect(ours) as front:
            front.negotiate(F_PACKED)
            front.share()
            front.start_ring(num=8, base=base)
            state = queue(ours.client())
            vds.equal((state["last-avail-idx"], state["used-idx"]), (avail, used), hex(base))
            _, word = struct.unpack("=II", front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0)))
            vds.equal(word, 0x8000_8000 if base == 0x8000 else base, hex(base))


def test_a_refused_ring_can_be_looked_at():
    """C1, C2: the element is read where it lies, and broken-reason says why nobody serves it."""
    def look(num, **areas):
        with daemon() as ours, connect(ours) as front:
            front.negotiate()
            front.share()
            front.write(fronts.DESC, struct.pack("<QIHH", DATA, 64, 2, 0))
            front.ring(fronts.SET_VRING_NUM, 0, num)
            front.ring(fronts.SET_VRING_BASE, 0, 0)
            front.address(0, **areas)
            front.u64(fronts.SET_VRING_KICK, 0, [front.kick_fd])
            front.done(fronts.SET_VRING_ENABLE, struct.pack("=II", 0, 1))
            client = ours.client()
            return (client.command("x-query-virtio-queue-element", path=PATH, queue=0),
                    get(client, "broken-reason"))

    def check(reason, num, **areas):
        found, broken = look(num, **areas)
        vds.equal(found["descs"], [{"addr": DATA, "len": 64, "flags": ["write"]}])
        assert broken.startswith(reason), broken

    check("C1: split ring of 6 descriptors: not a power of two", 6)
    check("C2: used area", 16, used=fronts.UVA + fronts.USED_AREA + 2)


GUESTS_MISTAKES = {  # rule, what the guest wrote
    "used_at_no_multiple_of_4": ("C2", 16, {"used": fronts.UVA + fronts.USED_AREA + 2}),
    "descriptors_at_an_odd_address": ("C2", 16, {"desc": fronts.UVA + fronts.DESC + 3}),
    "three_areas_at_one_address": ("C4", 16, {"used": UVA + fronts.DESC, "avail": UVA + fronts.DESC}),
    "split_ring_of_6": ("C1", 6, {}),
}


def test_a_guests_bad_ring_breaks_its_device_alone():
    """The front-end passes on what the guest wrote: it keeps the connection, and a reset mends
    the device; with NEED_REPLY it is told.  Also where the ring runs already."""
    for name, (rule, num, areas) in GUESTS_MISTAKES.items():
        with daemon() as ours, connect(ours) as front:
            client = ours.client()
            front.negotiate()
            front.share()
            front.ring(fronts.SET_VRING_NUM, 0, num)
            front.ring(fronts.SET_VRING_BASE, 0, 0)
            front.address(0, **areas)
            front.u64(fronts.SET_VRING_KICK, 0, [front.kick_fd])
            front.ring(fronts.SET_VRING_ENABLE, 0, 1)
            assert front.is_open(), name
            assert get(client, "broken-reason").startswith(rule), name
            vds.equal(front.ask_u64(fronts.GET_STATUS) & 0x40, 0x40, name)
            front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0))
            front.u64(fronts.SET_STATUS, 0)
            front.u64(fronts.SET_FEATURES, front.features)
            front.start_ring()
            request(front)
            vds.equal(get(client, "broken-reason"), "", name)
            if num == 16:
                front.address(0, **areas)
                assert front.is_open(), name
                assert get(client, "broken-reason").startswith(rule), name


def test_a_refused_table_leaves_the_old_one_in_force():
    """C3, C6, V7: memory without a ring that runs, whoever says so, and a log that is too short."""
    def table(front, *regions):
        payload = struct.pack("=II", len(regions), 0) + b"".join(regions)
        return front.done(fronts.SET_MEM_TABLE, payload, [front.memory_fd] * len(regions))

    with daemon() as ours, connect(ours) as front:
        front.start(fronts.F_LOG_ALL)
        client = ours.client()
        for enabled in (1, 0):
            front.ring(fronts.SET_VRING_ENABLE, 0, enabled)
            assert not table(front, front.region(gpa=1 << 33, uva=1 << 50))
            assert not table(front, front.region(), front.region(gpa=4096, uva=1 << 50))
            assert not front.done(fronts.REM_MEM_REG, bytes(8) + front.region())
            front.ring(fronts.SET_VRING_ENABLE, 0, 1)
            request(front)
            vds.equal(get(client, "broken-reason"), "")
        log = os.memfd_create("log")
        os.ftruncate(log, 4096)
        front.ask(fronts.SET_LOG_BASE, struct.pack("=QQ", 4096, 0), [log])
        far = front.region(gpa=1 << 40, uva=1 << 50)
        assert not front.done(fronts.ADD_MEM_REG, bytes(8) + far, [front.memory_fd])
        request(front)
        vds.equal(client.command("x-query-virtio-status", path=PATH)["vhost-dev"]["n-mem-sections"], 1)
        os.close(log)


def test_memory_at_other_guest_addresses():
    """The same user addresses, other guest addresses: the ring goes on, its base is counted on."""
    with daemon() as ours, connect(ours) as front:
        front.start()
        request(front)
        table = struct.pack("=II", 1, 0) + front.region(gpa=1 << 32)
        assert front.done(fronts.SET_MEM_TABLE, table, [front.memory_fd])
        front.put(0, [((1 << 32) + DATA, 64, WRITE)])
        front.kick()
        front.used(2)
        base = front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0))
        vds.equal(struct.unpack("=II", base), (0, 2))


def test_the_base_of_a_ring_that_was_never_enabled():
    with daemon() as ours, connect(ours) as front:
        front.negotiate()
        front.share()
        front.ring(fronts.SET_VRING_NUM, 0, 16)
        front.ring(fronts.SET_VRING_BASE, 0, 5)
        front.address(0)
        front.u64(fronts.SET_VRING_KICK, 0, [front.kick_fd])
        vds.equal(queue(ours.client())["last-avail-idx"], 5)
        base = front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0))
        vds.equal(struct.unpack("=II", base), (0, 5))


def test_notify_on_empty():
    """Legacy: the device that ran out of buffers interrupts a driver that asked for none."""
    no_interrupt, f_notify_on_empty = 1, 1 << 24
    for features, expected in ((0, 0), (f_notify_on_empty, 3), (f_notify_on_empty | F_EVENT_IDX, 3),
                               (f_notify_on_empty | F_PACKED, 0)):
        with daemon() as ours, connect(ours) as front:
            front.start(features)
            if features & F_PACKED:  # the event area of the driver: 1 is DISABLE
                front.write(fronts.AVAIL_AREA + 2, struct.pack("<H", 1))
            elif features & F_EVENT_IDX:
                front.write(fronts.AVAIL_AREA + 4 + 2 * 16, struct.pack("<H", 0x7000))
            else:
                front.write(fronts.AVAIL_AREA, struct.pack("<H", no_interrupt))
            os.set_blocking(front.call_fd, False)
            told = 0
            for n in range(4):  # with EVENT_IDX the first is told of in any case
                front.put(n, [(DATA, 64, WRITE)])
                front.kick()
                until_used(front, n + 1)
                vds.time.sleep(0.05)
                try:
                    told += n > 0 and os.eventfd_read(front.call_fd) > 0
                except BlockingIOError:
                    pass
            vds.equal(told, expected, hex(features))


def until_used(front, count):
    if not front.packed:
        front.used(count)


def test_features_again():
    """V11: SET_FEATURES does not disable rings."""
    with daemon() as ours, connect(ours) as front:
        front.start()
        request(front)
        front.u64(fronts.SET_FEATURES, front.features)
        request(front)
        front.u64(fronts.SET_FEATURES, front.features | fronts.F_LOG_ALL)
        request(front)
        front.u64(fronts.SET_FEATURES, front.features)
        request(front)


def test_two_drivers_on_one_connection():
    """A firmware's driver, then a kernel's, with other features and another place."""
    with daemon() as ours, connect(ours) as front:
        front.start()
        request(front)
        front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0))
        front.u64(fronts.SET_FEATURES, front.features | F_EVENT_IDX | F_INDIRECT)
        front.write(0, bytes(MEMORY))
        front.avail_idx = 0
        front.start_ring(num=8)
        request(front)
        vds.equal(queue(ours.client())["vring-num"], 8)


def test_reset_owner_and_device():
    for reset in (fronts.RESET_OWNER, fronts.RESET_DEVICE):
        with daemon() as ours, connect(ours) as front:
            front.start()
            request(front)
            front.send(reset)
            front.write(0, bytes(MEMORY))
            front.avail_idx = 0
            front.u64(fronts.SET_FEATURES, front.features)
            front.share()
            front.start_ring()
            request(front)


def test_memory_moves_under_a_ring():
    """ADD_MEM_REG and REM_MEM_REG while requests go on."""
    with daemon() as ours, connect(ours) as front:
        front.start()
        for i in range(40):
            region = front.region(gpa=(i + 1) << 32, uva=UVA + ((i + 1) << 32))
            assert front.done(fronts.ADD_MEM_REG, bytes(8) + region, [front.memory_fd])
            front.put(0, [(((i + 1) << 32) + DATA, 64, WRITE)])
            front.kick()
            front.used(i + 1)
        vds.equal(ours.client().command("x-query-virtio-status", path=PATH)["vhost-dev"]["n-mem-sections"], 41)
        for i in range(40):
            region = front.region(gpa=(i + 1) << 32, uva=UVA + ((i + 1) << 32))
            assert front.done(fronts.REM_MEM_REG, bytes(8) + region)
            request(front)
        vds.equal(ours.client().command("x-query-virtio-status", path=PATH)["vhost-dev"]["n-mem-sections"], 1)


def test_messages_in_single_bytes():
    with daemon() as ours, connect(ours) as front:
        plain = front.send_raw

        def slowly(data, fds=()):
            for i in range(len(data)):
                plain(data[i:i + 1], fds if i == 0 else ())

        front.send_raw = slowly
        front.start()
        request(front)


def test_memory_cut_short_under_load():
    """R6: that device is broken; the daemon and its other device live."""
    with daemon("-device", "virtio-rng-pci,id=rng1,vhost-user={dir}/rng1") as ours:
        client = ours.client()
        with Front(ours.dir / "rng1") as other, connect(ours) as front:
            other.start()
            front.start()
            request(front)
            request(other)
            front.put(0, [(DATA, 64, WRITE)])
            front.mem.close()
            os.ftruncate(front.memory_fd, 0)
            front.kick()
            end = vds.time.monotonic() + vds.TIMEOUT
            while not (reason := get(client, "broken-reason")):
                assert vds.time.monotonic() < end, "the device is not broken"
                vds.time.sleep(0.005)
            assert reason.startswith("R6:"), reason
            for command in ("queue-status", "vhost-queue-status", "queue-element"):
                client.ask({"execute": f"x-query-virtio-{command}",
                            "arguments": {"path": PATH, "queue": 0}})
            request(other)
        with connect(ours) as front:
            front.start()
            request(front)


def test_a_thousand_connections():
    """Descriptors and memory stay as they are."""
    count = int(os.environ.get("VDS_CONNECTIONS", "1000"))
    with daemon() as ours:
        client = ours.client()

        def round_trip(how):
            with connect(ours) as front:
                if how == 0:
                    front.start()
                    request(front)
                elif how == 1:
                    front.negotiate()
                    front.share()
                elif how == 2:
                    front.send_raw(b"\1\0\0\0")

        def sizes():
            while get(client, "connected"):
                vds.time.sleep(0.002)
            pages = int(open(f"/proc/{ours.proc.pid}/statm", encoding="ascii").read().split()[1])
            return len(os.listdir(f"/proc/{ours.proc.pid}/fd")), pages

        for i in range(100):
            round_trip(i % 4)
        before = sizes()
        for i in range(count):
            round_trip(i % 4)
        after = sizes()
        vds.equal(after[0], before[0], "descriptors")
        if os.environ.get("VDS_SANITIZED", "none") == "none":
            assert after[1] - before[1] < 256, f"{after[1] - before[1]} pages more"


def test_descriptors_that_block():
    """Flags are shared with whoever has the other side: the call descriptor's counter is
    full, it and the kick descriptor wait for ever, and the daemon does not."""
    with daemon("-device", "virtio-rng-pci,id=rng1,vhost-user={dir}/rng1") as ours:
        client = ours.client()
        with Front(ours.dir / "rng1") as other, connect(ours) as front:
            other.start()
            front.start()
            request(front)
            for fd in (front.call_fd, front.kick_fd):
                os.set_blocking(fd, True)
            assert front.called()
            os.write(front.call_fd, struct.pack("=Q", 2**64 - 2))
            for i in range(10):
                request(front)
                request(other)
                vds.equal(queue(client)["used-idx"], i + 2)
        with connect(ours) as front:
            front.start()
            request(front)


def test_floods():
    """A front-end that asks and never reads holds nobody up."""
    with daemon() as ours:
        client = ours.client()
        with connect(ours) as front:
            front.sock.setblocking(False)
            question = struct.pack("=III", fronts.GET_FEATURES, 1, 0) * 100
            sent = 0
            for _ in range(2000):
                try:
                    sent += front.sock.send(question)
                except BlockingIOError:
                    vds.time.sleep(0.001)
                start = vds.time.monotonic()
                client.command("x-query-virtio")
                assert vds.time.monotonic() - start < 5
            assert sent > 1000
        with connect(ours) as front:
            front.start()
            request(front)


def main():
    tests = [value for name, value in globals().items() if name.startswith("test_")]
    vds.run(*tests)


if __name__ == "__main__":
    main()
