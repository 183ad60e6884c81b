"""A front-end that breaks the rules of the protocol, one at a time: it is left, the reason
can be read, nothing leaks, and the device takes the next one.
"""

import os
import struct

import front as fronts
import vds
from front import MEMORY, NO_FD, UVA, Front

PATH = "/machine/peripheral/rng0/virtio-backend"
U64 = struct.Struct("=Q")


def header(request, flags, size):
    return struct.pack("=III", request, flags, size)


def raw(data, fds=0):
    """Sends these bytes, with so many descriptors, after the handshake."""
    return lambda front: front.send_raw(data, [front.call_fd] * fds)


def message(request, payload=b"", fds=0):
    return raw(header(request, 1, len(payload)) + payload, fds)


def table(*rows, fds=None, count=None):
    """SET_MEM_TABLE of (gpa, size, uva, offset)."""
    def do(front):
        regions = b"".join(struct.pack("=QQQQ", *row) for row in rows)
        front.send(fronts.SET_MEM_TABLE,
                   struct.pack("=II", len(rows) if count is None else count, 0) + regions,
                   [front.memory_fd] * (len(rows) if fds is None else fds))
    return do


def pipe_as_memory(front):
    read, write = os.pipe()
    front.callback(os.close, read)
    front.callback(os.close, write)
    front.share(front.region(), fds=[read])


def inflight(size=4096, offset=0, queues=1, num=16, file_size=4096, fds=1):
    def do(front):
        fd = os.memfd_create("inflight", os.MFD_CLOEXEC)
        front.callback(os.close, fd)
        os.ftruncate(fd, file_size)
        front.send(fronts.SET_INFLIGHT_FD, struct.pack("=QQHH", size, offset, queues, num), [fd] * fds)
    return do


def log_base(size, offset, file_size):
    def do(front):
        fd = os.memfd_create("log", os.MFD_CLOEXEC)
        front.callback(os.close, fd)
        os.ftruncate(fd, file_size)
        front.send(fronts.SET_LOG_BASE, struct.pack("=QQ", size, offset), [fd])
    return do


def twice(first, second):
    def do(front):
        first(front)
        second(front)
    return do


SMALL = (0, MEMORY, UVA, 0)
# rule, name, what is done after the handshake; the connection must be closed
CASES = [
    ("V1", "payload_too_long", raw(header(fronts.SET_OWNER, 1, 8) + bytes(8))),
    ("V1", "payload_too_short", raw(header(fronts.SET_FEATURES, 1, 4) + bytes(4))),
    ("V1", "payload_giant", raw(header(fronts.SET_MEM_TABLE, 1, 0xFFFFFFFF))),
    ("V1", "table_shorter_than_it_says", table(SMALL, count=3, fds=1)),
    ("V1", "table_count_giant", table(SMALL, count=0xFFFFFFFF, fds=1)),
    ("V1", "config_beyond", message(fronts.GET_CONFIG, struct.pack("=III", 0, 0xFFFF, 0))),
    ("V2", "version_0", raw(header(fronts.SET_OWNER, 0, 0))),
    ("V2", "version_2", raw(header(fronts.SET_OWNER, 2, 0))),
    ("V2", "reply_flag", raw(header(fronts.SET_OWNER, 5, 0))),
    ("V2", "request_0", raw(header(0, 1, 0))),
    ("V2", "request_unknown", raw(header(4711, 1, 0))),
    ("V3", "descriptor_too_many", message(fronts.SET_OWNER, b"", 1)),
    ("V3", "descriptor_missing", table(SMALL, fds=0)),
    ("V3", "two_for_one_region", table(SMALL, fds=2)),
    ("V3", "eight_for_none", message(fronts.GET_FEATURES, b"", 8)),
    ("V3", "kick_with_two", message(fronts.SET_VRING_KICK, U64.pack(0), 2)),
    ("V3", "kick_says_none_and_has_one", message(fronts.SET_VRING_KICK, U64.pack(NO_FD), 1)),
    ("V3", "inflight_without", inflight(fds=0)),
    ("V4", "num_of_ring_99", message(fronts.SET_VRING_NUM, struct.pack("=II", 99, 16))),
    ("V4", "num_of_ring_max", message(fronts.SET_VRING_NUM, struct.pack("=II", 0xFFFFFFFF, 16))),
    ("V4", "base_of_ring_99", message(fronts.SET_VRING_BASE, struct.pack("=II", 99, 0))),
    ("V4", "get_base_of_ring_99", message(fronts.GET_VRING_BASE, struct.pack("=II", 99, 0))),
    ("V4", "address_of_ring_99", lambda front: front.address(99)),
    ("V4", "enable_of_ring_99", message(fronts.SET_VRING_ENABLE, struct.pack("=II", 99, 1))),
    ("V4", "kick_of_ring_255", message(fronts.SET_VRING_KICK, U64.pack(255), 1)),
    ("V4", "call_of_ring_255", message(fronts.SET_VRING_CALL, U64.pack(255), 1)),
    ("V4", "err_of_ring_255", message(fronts.SET_VRING_ERR, U64.pack(255), 1)),
    ("V5", "region_wraps", table(((1 << 64) - 4096, MEMORY, UVA, 0))),
    ("V5", "region_uva_wraps", table((0, MEMORY, (1 << 64) - 4096, 0))),
    ("V5", "offset_wraps", table((0, MEMORY, UVA, (1 << 64) - 4096))),
    ("V5", "region_empty", table((0, 0, UVA, 0))),
    ("V5", "no_memory_at_all", pipe_as_memory),
    ("C6", "file_too_short", table((0, 2 * MEMORY, UVA, 0))),
    ("C6", "offset_beyond_the_file", table((0, MEMORY, UVA, MEMORY))),
    ("C6", "regions_overlap", table((0, MEMORY, UVA, 0), (4096, MEMORY, UVA + (1 << 32), 0))),
    ("C6", "remove_what_is_not_there", message(
        fronts.REM_MEM_REG, U64.pack(0) + struct.pack("=QQQQ", 1 << 40, 4096, UVA, 0))),
    ("C6", "added_once_more_elsewhere", twice(
        lambda f: f.send(fronts.ADD_MEM_REG, U64.pack(0) + f.region(gpa=1 << 32, uva=UVA + (1 << 40)), [f.memory_fd]),
        lambda f: f.send(fronts.ADD_MEM_REG, U64.pack(0) + f.region(gpa=1 << 32, uva=UVA + (2 << 40)), [f.memory_fd]))),
    ("C6", "added_more_often_than_there_are_rings", lambda front: [front.send(
        fronts.ADD_MEM_REG, U64.pack(0) + front.region(gpa=1 << 32, uva=UVA + (1 << 40)), [front.memory_fd])
        for _ in range(300)]),
    ("C6", "removed_more_often_than_added", lambda front: (
        [front.send(fronts.ADD_MEM_REG, U64.pack(0) + front.region(gpa=1 << 32, uva=UVA + (1 << 40)),
                    [front.memory_fd]) for _ in range(2)],
        [front.send(fronts.REM_MEM_REG, U64.pack(0) + front.region(gpa=1 << 32, uva=UVA + (1 << 40)))
         for _ in range(3)])),
    ("C3", "kick_where_the_addresses_are_no_more", twice(
        message(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0)),
        lambda f: (f.share(f.region(gpa=1 << 33, uva=1 << 50)), f.u64(fronts.SET_VRING_KICK, 0, [f.kick_fd])))),
    ("C8", "packed_while_it_runs", lambda f: f.u64(fronts.SET_FEATURES, f.features | fronts.F_PACKED)),
    ("V7", "log_wraps", log_base(4096, (1 << 64) - 4096, 4096)),
    ("V7", "log_beyond_its_file", log_base(1 << 20, 0, 4096)),
    ("V8", "inflight_wraps", inflight(size=4096, offset=(1 << 64) - 4096)),
    ("V8", "inflight_beyond_its_file", inflight(size=1 << 20)),
    ("V8", "inflight_too_small", inflight(size=64, num=1024)),
    ("V8", "inflight_of_99_rings", inflight(queues=99)),
    ("V12", "ends_in_a_header", lambda f: (f.send_raw(b"\1\0\0"), f.sock.shutdown(1))),
    ("V12", "ends_in_a_payload", lambda f: (f.send_raw(header(fronts.SET_FEATURES, 1, 8) + b"abc"),
                                            f.sock.shutdown(1))),
    ("V12", "descriptor_amid_a_message", twice(raw(header(fronts.SET_FEATURES, 1, 8) + b"abc"),
                                               raw(b"defgh", 1))),
]


class Bench:
    def __enter__(self):
        self.daemon = vds.Daemon(
            "-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0",
            "-device", "virtio-rng-pci,id=rng1,vhost-user={dir}/rng1").__enter__()
        self.client = self.daemon.client()
        self.neighbour = Front(self.daemon.dir / "rng1").start()
        self.request(self.neighbour)
        self.new_front()
        self.descriptors = self.count()
        return self

    def __exit__(self, *why):
        self.neighbour.close()
        self.daemon.__exit__(*why)

    def count(self):
        return len(os.listdir(f"/proc/{self.daemon.proc.pid}/fd"))

    def get(self, name):
        return self.client.command("qom-get", path=PATH, property=name)

    def gone(self):
        """Waits until our device has no front-end."""
        end = vds.time.monotonic() + vds.TIMEOUT
        while self.get("connected"):
            assert vds.time.monotonic() < end, "the front-end is not left"
            vds.time.sleep(0.002)

    @staticmethod
    def request(front):
        before = front.used_idx()
        front.put(0, [(fronts.DATA, 64, fronts.WRITE)])
        front.kick()
        front.used(before + 1)

    def new_front(self):
        with Front(self.daemon.dir / "rng0") as front:
            front.start()
            self.request(front)
        self.gone()

    def left(self, rule, do):
        with Front(self.daemon.dir / "rng0") as front:
            front.start()
            try:
                do(front)
            except fronts.Closed:
                pass
            assert front.wait_closed()
        self.gone()
        reason = self.get("vhost-user-disconnect-reason")
        assert rule in reason, f"expected {rule}, found {reason!r}"
        vds.equal(self.count(), self.descriptors, "descriptors")
        self.request(self.neighbour)
        self.new_front()
        vds.equal(self.count(), self.descriptors, "descriptors")


def main():
    with Bench() as bench:
        names = [f"{rule}_{name}" for rule, name, _ in CASES]
        good = vds.report(*[lambda a=(rule, do): bench.left(*a) for rule, _, do in CASES], names=names)
    vds.sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
