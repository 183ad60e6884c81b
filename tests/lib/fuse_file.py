"""A file whose file system answers when a test lets it: what a disk on a lost server is.

    with StuckFile() as file:          # ends the test as skipped where FUSE cannot be had
        file.hold(WRITE)               # requests of this kind have no answer from now on
        file.wait_held(WRITE)          # until one of them is there
        file.release()                 # all are answered, and what comes later

A process of its own answers, so the test may open the file itself.
"""

import contextlib
import ctypes
import mmap
import os
import pathlib
import select
import signal
import struct
import tempfile
import time

import peers

LOOKUP, GETATTR, SETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT = (
    1, 3, 4, 14, 15, 16, 18, 20, 25, 26)
SIZE = 1 << 20
ROOT_INODE = 1
HELD, COUNT, RELEASED = 0, 64, 128  # offsets in the shared page: flags, counts, a flag
NEWNS, NEWUSER, REC_PRIVATE, DETACH = 0x20000, 0x10000000, (1 << 14) | (1 << 18), 2

libc = ctypes.CDLL(None, use_errno=True)


def own_mounts():
    """A mount name space of this process's own, as root or as root of a user name space."""
    ids = os.getuid(), os.getgid()
    if libc.unshare(NEWNS | (NEWUSER if ids[0] else 0)):
        peers.skip("no mount name space of one's own")
    if ids[0]:
        for name, line in (("setgroups", "deny"), ("uid_map", f"0 {ids[0]} 1"),
                           ("gid_map", f"0 {ids[1]} 1")):
            pathlib.Path(f"/proc/self/{name}").write_text(line, encoding="ascii")
    if libc.mount(b"none", b"/", None, REC_PRIVATE, None):
        peers.skip("no mounts of one's own")


def attributes(inode):
    mode, links = (0o40755, 2) if inode == ROOT_INODE else (0o100644, 1)
    return struct.pack("<6Q10I", inode, SIZE, SIZE // 512, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0,
                       4096, 0)


def answer(opcode, node, body):
    """What follows the header of a reply, or an errno."""
    forever, now = 1 << 30, 0
    if opcode == INIT:
        return struct.pack("<IIIIHHII", 7, 31, 65536, 0, 8, 8, 65536, 1) + bytes(32)
    if opcode == LOOKUP:
        return struct.pack("<QQQQII", 2, 0, forever, now, 0, 0) + attributes(2)
    if opcode in (GETATTR, SETATTR):
        return struct.pack("<QII", now, 0, 0) + attributes(node)
    if opcode == OPEN:
        return struct.pack("<QII", 1, 0, 0)
    if opcode in (READ, WRITE):
        size = struct.unpack_from("<QQI", body)[2]
        return bytes(size) if opcode == READ else struct.pack("<II", size, 0)
    return b"" if opcode in (FLUSH, FSYNC, RELEASE) else 38


def serve(fd, page, control):
    held = []

    def reply(opcode, unique, node, body):
        data = answer(opcode, node, body)
        error, data = (-data, b"") if isinstance(data, int) else (0, data)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            os.write(fd, struct.pack("<IiQ", 16 + len(data), error, unique) + data)

    while True:
        ready = select.select([fd, control], [], [])[0]
        if control in ready:
            if not os.read(control, 1):
                return
            for request in held:
                reply(*request)
            held.clear()
            page[RELEASED] = 1
        else:
            data = os.read(fd, 1 << 20)
            request = struct.unpack_from("<4xIQQ", data) + (data[40:],)
            if page[HELD + request[0] % 64]:
                held.append(request)
                page[COUNT + request[0] % 64] += 1
            else:
                reply(*request)


class StuckFile(contextlib.ExitStack):
    def __init__(self):
        super().__init__()
        own_mounts()
        try:
            fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            peers.skip(f"no FUSE: {error}")
        self.point = tempfile.mkdtemp(prefix="vds-fuse-")
        self.path = self.point + "/file"
        self.page = mmap.mmap(-1, 4096)
        options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
        if libc.mount(b"fuse", self.point.encode(), b"fuse", 0, options):
            os.rmdir(self.point)
            peers.skip("a FUSE file system cannot be mounted")
        control, self.control = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(self.control)
            with contextlib.suppress(OSError):
                serve(fd, self.page, control)
            os._exit(0)
        os.close(fd)
        os.close(control)
        self.callback(self.end)

    def end(self):
        os.close(self.control)
        os.waitpid(self.pid, 0)
        libc.umount2(self.point.encode(), DETACH)
        os.rmdir(self.point)

    def hold(self, *kinds):
        for kind in kinds:
            self.page[HELD + kind] = 1

    def wait_held(self, kind, seconds=peers.TIMEOUT_S):
        end = time.monotonic() + seconds
        while self.page[COUNT + kind] == 0:
            assert time.monotonic() < end, f"no request {kind} came"
            time.sleep(0.005)

    def release(self):
        self.page[HELD:HELD + 64] = bytes(64)
        self.page[RELEASED] = 0
        os.write(self.control, b".")
        while not self.page[RELEASED]:
            time.sleep(0.002)
        self.page[COUNT:COUNT + 64] = bytes(64)
