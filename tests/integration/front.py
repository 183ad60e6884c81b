"""A vhost-user front-end with a driver's hands, for tests that need to do things wrong.

    with Front(path) as front:
        front.start(packed=False)                  # the whole handshake, one ring
        front.put(0, [(front.data, 64, WRITE)])    # a chain in the ring, available
        front.kick()
        front.used(1)                              # waits until so many are used

Owns the socket, the memory and the event descriptors.  Every step can be done by itself,
in any order, with any content: nothing is checked here.
"""

import array
import contextlib
import fcntl
import mmap
import os
import select
import socket
import struct
import time

import vds

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE, SET_LOG_FD,
 SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL,
 SET_VRING_ERR, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE,
 SEND_RARP, NET_SET_MTU, SET_BACKEND_REQ_FD, IOTLB_MSG, SET_VRING_ENDIAN, GET_CONFIG,
 SET_CONFIG) = range(1, 26)
(GET_INFLIGHT_FD, SET_INFLIGHT_FD, GPU_SET_SOCKET, RESET_DEVICE, VRING_KICK, GET_MAX_MEM_SLOTS,
 ADD_MEM_REG, REM_MEM_REG, SET_STATUS, GET_STATUS) = range(31, 41)

VERSION, REPLY, NEED_REPLY = 1, 4, 8
NO_FD = 0x100
P_MQ, P_LOG_SHMFD, P_RARP, P_REPLY_ACK, P_CONFIG, P_INFLIGHT, P_RESET, P_SLOTS, P_STATUS = (
    1 << bit for bit in (0, 1, 2, 3, 9, 12, 13, 15, 16))
F_LOG_ALL, F_INDIRECT, F_EVENT_IDX, F_PROTOCOL, F_VERSION_1, F_PACKED, F_IN_ORDER = (
    1 << bit for bit in (26, 28, 29, 30, 32, 34, 35))
NEXT, WRITE, INDIRECT = 1, 2, 4
AVAIL, USED = 1 << 7, 1 << 15

UVA = 0x7F0000000000  # where our memory is said to be
MEMORY = 1 << 20
DESC, AVAIL_AREA, USED_AREA, TABLES, DATA = 0x1000, 0x2000, 0x3000, 0x4000, 0x10000


class Closed(Exception):
    """The back-end left."""


class Front(contextlib.ExitStack):
    def __init__(self, path, memory=MEMORY, gpa=0):
        super().__init__()
        self.sock = self.enter_context(vds.connect(path))
        self.memory_fd = os.memfd_create("front", os.MFD_CLOEXEC)
        self.callback(os.close, self.memory_fd)
        os.ftruncate(self.memory_fd, memory)
        self.mem = self.enter_context(mmap.mmap(self.memory_fd, memory))
        self.gpa = gpa
        self.kick_fd = self.event()
        self.call_fd = self.event()
        self.num, self.packed = 16, False
        self.avail_idx = 0  # packed: the slot to fill next
        self.avail_wrap = True

    def event(self):
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.callback(os.close, fd)
        return fd

    # ---- messages ----

    def send_raw(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.sock.sendmsg([data], control)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def send(self, request, payload=b"", fds=(), flags=VERSION, size=None):
        size = len(payload) if size is None else size
        self.send_raw(struct.pack("=III", request, flags, size) + payload, fds)

    def receive(self):
        """(request, flags, payload, descriptors) of a reply."""
        head, fds, _, _ = socket.recv_fds(self.sock, 12, 8)
        if not head:
            raise Closed
        for fd in fds:
            self.callback(os.close, fd)
        request, flags, size = struct.unpack("=III", head)
        payload = b""
        while len(payload) < size:
            piece = self.sock.recv(size - len(payload))
            if not piece:
                raise Closed
            payload += piece
        return request, flags, payload, fds

    def ask(self, request, payload=b"", fds=(), flags=VERSION):
        self.send(request, payload, fds, flags)
        try:
            reply = self.receive()
        except ConnectionResetError:
            raise Closed from None
        vds.equal(reply[0], request, "the reply's request")
        return reply[2]

    def ask_u64(self, request, payload=b"", fds=()):
        return struct.unpack("=Q", self.ask(request, payload, fds))[0]

    def done(self, request, payload=b"", fds=()):
        """With NEED_REPLY: whether it went well."""
        return struct.unpack("=Q", self.ask(request, payload, fds, VERSION | NEED_REPLY))[0] == 0

    def u64(self, request, value, fds=()):
        self.send(request, struct.pack("=Q", value), fds)

    def ring(self, request, index, num):
        self.send(request, struct.pack("=II", index, num))

    def is_open(self):
        """A question that every back-end answers."""
        try:
            self.ask_u64(GET_FEATURES)
            return True
        except (Closed, ConnectionResetError):
            return False

    def wait_closed(self):
        """True once the other end has left; what it says until then is dropped."""
        self.sock.settimeout(vds.TIMEOUT)
        try:
            while self.sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return True

    # ---- the handshake ----

    def negotiate(self, features=0, protocol=None):
        """Version 1 and what is asked; returns what is offered."""
        self.send(SET_OWNER)
        offered = self.ask_u64(GET_FEATURES)
        mine = self.ask_u64(GET_PROTOCOL_FEATURES)
        self.u64(SET_PROTOCOL_FEATURES, mine & (mine if protocol is None else protocol))
        self.features = F_VERSION_1 | F_PROTOCOL | features
        self.u64(SET_FEATURES, self.features)
        self.packed = bool(features & F_PACKED)
        return offered

    def region(self, gpa=None, size=None, uva=UVA, offset=0):
        return struct.pack("=QQQQ", self.gpa if gpa is None else gpa,
                           len(self.mem) if size is None else size, uva, offset)

    def share(self, *regions, fds=None):
        regions = regions or (self.region(),)
        fds = [self.memory_fd] * len(regions) if fds is None else fds
        self.send(SET_MEM_TABLE, struct.pack("=II", len(regions), 0) + b"".join(regions), fds)

    def address(self, index=0, desc=UVA + DESC, used=UVA + USED_AREA, avail=UVA + AVAIL_AREA,
                flags=0, log=0):
        self.send(SET_VRING_ADDR, struct.pack("=IIQQQQ", index, flags, desc, used, avail, log))

    def start_ring(self, index=0, num=None, base=0, enable=True):
        self.num = self.num if num is None else num
        self.ring(SET_VRING_NUM, index, self.num)
        self.ring(SET_VRING_BASE, index, base)
        self.address(index)
        self.u64(SET_VRING_CALL, index, [self.call_fd])
        self.u64(SET_VRING_KICK, index, [self.kick_fd])
        if enable:
            self.ring(SET_VRING_ENABLE, index, 1)

    def start(self, features=0, num=16, protocol=None):
        self.negotiate(features, protocol)
        self.share()
        self.start_ring(num=num, base=0x80008000 if self.packed else 0)
        return self

    # ---- the ring ----

    def write(self, at, data):
        self.mem[at:at + len(data)] = data

    def read(self, at, count):
        return self.mem[at:at + count]

    def u16(self, at):
        return struct.unpack("<H", self.mem[at:at + 2])[0]

    def desc(self, slot, addr, length, flags=0, last=0, area=DESC):
        """A descriptor; `last` is next, or the packed buffer id."""
        tail = (last, flags) if self.packed else (flags, last)
        self.write(area + 16 * slot, struct.pack("<QIHH", addr, length, *tail))

    def packed_flags(self, flags):
        return flags | (AVAIL if self.avail_wrap else USED)

    def offer(self, head):
        """The chain that begins at `head` is available (split)."""
        self.write(AVAIL_AREA + 4 + 2 * (self.avail_idx % self.num), struct.pack("<H", head))
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        self.write(AVAIL_AREA + 2, struct.pack("<H", self.avail_idx))

    def put(self, head, parts, area=None):
        """A chain of (address, length, flags), made available."""
        if self.packed:
            self.put_packed(head, parts)
            return
        for i, (addr, length, flags) in enumerate(parts):
            more = i + 1 < len(parts)
            self.desc(head + i, addr, length, flags | (NEXT if more else 0), head + i + 1 if more else 0)
        self.offer(head)

    def put_packed(self, buffer_id, parts):
        """The first descriptor last: with it a device sees them all."""
        slots = []
        for i, (addr, length, flags) in enumerate(parts):
            more = i + 1 < len(parts)
            slots.append((self.avail_idx, addr, length,
                          self.packed_flags(flags | (NEXT if more else 0)), buffer_id))
            self.avail_idx += 1
            if self.avail_idx == self.num:
                self.avail_idx, self.avail_wrap = 0, not self.avail_wrap
        for slot in reversed(slots):
            self.desc(*slot)

    def kick(self):
        os.eventfd_write(self.kick_fd, 1)

    def used_idx(self):
        return self.u16(USED_AREA + 2)

    def used(self, count, seconds=10):
        """Waits until used.idx is `count` (split)."""
        end = time.monotonic() + seconds
        while self.used_idx() != count & 0xFFFF:
            if time.monotonic() > end:
                raise AssertionError(f"used.idx is {self.used_idx()}, expected {count}")
            time.sleep(0.002)

    def called(self, seconds=10):
        """Waits for an interrupt."""
        ready, _, _ = select.select([self.call_fd], [], [], seconds)
        return bool(ready) and os.eventfd_read(self.call_fd) > 0


def raise_descriptor_limit(count):
    import resource  # pylint: disable=import-outside-toplevel
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count), hard), hard))


def pipe_of_size(size):
    """A descriptor that cannot be mapped."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, size)
    return read, write


RING_NUM = 16
SPACING = 0x2000  # of the areas of two rings
BUFFERS = 0x10000


class Ring:
    """One of several rings of a front-end, split; areas at a place of its own."""

    def __init__(self, front, index):
        self.front, self.index, self.idx = front, index, 0
        self.desc = 0x4000 + index * SPACING
        self.avail, self.used = self.desc + 0x800, self.desc + 0x1000

    def start(self, enable=True):
        front, u32s = self.front, struct.Struct("=II")
        self.idx = 0
        front.write(self.desc, bytes(SPACING))
        front.send(SET_VRING_NUM, u32s.pack(self.index, RING_NUM))
        front.send(SET_VRING_BASE, u32s.pack(self.index, 0))
        front.address(self.index, UVA + self.desc, UVA + self.used, UVA + self.avail)
        front.u64(SET_VRING_KICK, 0x100 | self.index)  # looked at every millisecond
        self.enable(enable)

    def enable(self, on=True):
        assert self.front.done(SET_VRING_ENABLE, struct.pack("=II", self.index, on))

    def put(self, addr, length, flags):
        front, slot = self.front, self.idx % RING_NUM
        front.write(self.desc + 16 * slot, struct.pack("<QIHH", addr, length, flags, 0))
        front.write(self.avail + 4 + 2 * slot, struct.pack("<H", slot))
        self.idx += 1
        front.write(self.avail + 2, struct.pack("<H", self.idx))

    def used_lengths(self, count):
        for _ in range(2000):
            if self.front.u16(self.used + 2) >= count:
                break
            time.sleep(0.002)
        n = self.front.u16(self.used + 2)
        return [struct.unpack("<II", self.front.read(self.used + 4 + 8 * i, 8))[1] for i in range(n)]
