#!/usr/bin/env python3
"""A front-end that migrates: the pages that a device writes are in its log, and its own
descriptor (SET_LOG_FD) says when there are new ones: once a batch, never once a word, and
whatever became of that descriptor, requests are served."""

import os
import select
import struct

import front as fronts
import vds
from front import DATA, F_LOG_ALL, F_PACKED, WRITE, Front
from live import until

PATH = "/machine/peripheral/rng0/virtio-backend"
PAGE, PAGES, EACH = 4096, 256, 8
USED_LOGGED_AT = 0x80000


class Migrating(Front):
    def __init__(self, path, packed):
        super().__init__(path)
        self.start(F_PACKED if packed else 0)
        self.log_fd = os.memfd_create("log", os.MFD_CLOEXEC)
        self.callback(os.close, self.log_fd)
        os.ftruncate(self.log_fd, PAGES // 8)
        self.told_fd = self.event()
        self.sent = 0

    def tell_where(self, fd=None):
        self.send(fronts.SET_LOG_FD, fds=[self.told_fd if fd is None else fd])

    def begin(self):
        """The log, its feature and the ring's own bit, in QEMU's order."""
        self.ask(fronts.SET_LOG_BASE, struct.pack("=QQ", PAGES // 8, 0), [self.log_fd])
        self.u64(fronts.SET_FEATURES, self.features | F_LOG_ALL)
        self.address(flags=1, log=USED_LOGGED_AT)
        assert self.is_open()

    def marked(self):
        """The pages in the log, which is empty then."""
        bits = os.pread(self.log_fd, PAGES // 8, 0)
        os.pwrite(self.log_fd, bytes(PAGES // 8), 0)
        return {page for page in range(PAGES) if bits[page // 8] >> page % 8 & 1}

    def requests(self, count=EACH):
        """So many at once, a page each; waits until they are done."""
        self.write(DATA, bytes(PAGE * count))
        for n in range(count):
            self.put((self.sent + n) % 16, [(DATA + PAGE * n, 64, WRITE)])
        self.sent += count
        self.kick()
        until(lambda: all(any(self.read(DATA + PAGE * n, 64)) for n in range(count)), "bytes")

    def settled(self, client):
        until(lambda: client.command("x-query-virtio-queue-status", path=PATH,
                                              queue=0)["inuse"] == 0, "used")

    def times_told(self):
        """Waits for the first."""
        ready, _, _ = select.select([self.told_fd], [], [], 10)
        return os.eventfd_read(self.told_fd) if ready else 0

    def times_told_by_now(self):
        ready, _, _ = select.select([self.told_fd], [], [], 0)
        return os.eventfd_read(self.told_fd) if ready else 0


def ring_pages(packed):
    return {fronts.DESC // PAGE, fronts.USED_AREA // PAGE, USED_LOGGED_AT // PAGE} if packed else \
        {USED_LOGGED_AT // PAGE}


def told(packed, first):
    """`first`: the descriptor is known before the log is."""
    with vds.Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as ours, \
            Migrating(ours.dir / "rng0", packed) as front:
        client = ours.client()
        front.requests()
        if first:
            front.tell_where()
        front.begin()
        if not first:
            front.tell_where()
        front.settled(client)
        front.marked()
        front.requests()
        front.settled(client)
        times = front.times_told()
        assert 1 <= times <= EACH // 2, times
        pages = front.marked()
        buffers = {(DATA + PAGE * n) // PAGE for n in range(EACH)}
        vds.equal(pages - ring_pages(packed), buffers)
        # no log, nobody to tell
        front.u64(fronts.SET_FEATURES, front.features)
        front.address()
        assert front.is_open()  # it was done
        front.marked()
        front.times_told_by_now()
        front.requests()
        front.settled(client)
        vds.equal(front.marked(), set())
        vds.equal(select.select([front.told_fd], [], [], 0.1)[0], [])


def test_told():
    for packed in (False, True):
        for first in (False, True):
            told(packed, first)


def test_a_new_log_goes_on_telling():
    with vds.Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as ours, \
            Migrating(ours.dir / "rng0", False) as front:
        front.tell_where()
        for _ in range(3):
            front.begin()
            front.requests(1)
            assert front.times_told() > 0
            front.settled(ours.client())
        # another descriptor takes its place
        front.settled(ours.client())
        other = front.event()
        front.tell_where(other)
        assert front.is_open()
        front.times_told_by_now()
        front.requests(1)
        assert select.select([other], [], [], 10)[0]
        vds.equal(front.times_told_by_now(), 0)


def test_whatever_it_is():
    """A descriptor that is full, one whose other end is gone, one that cannot be written."""
    with vds.Daemon("-device", "virtio-rng-pci,id=rng0,vhost-user={dir}/rng0") as ours, \
            Migrating(ours.dir / "rng0", False) as front:
        front.begin()
        full = os.eventfd(0, os.EFD_CLOEXEC)  # and blocking
        os.eventfd_write(full, (1 << 64) - 2)
        end, gone = os.pipe()
        os.close(end)
        deaf, writer = os.pipe()  # the end that only reads
        for fd in (full, gone, deaf):
            front.tell_where(fd)
            os.close(fd)
            for _ in range(3):
                front.requests(1)
        os.close(writer)
        client = ours.client()
        front.settled(client)
        vds.equal(client.command("qom-get", path=PATH, property="broken-reason"), "")
        vds.equal(client.command("qom-get", path=PATH, property="vhost-user-last-refusal"), "")


if __name__ == "__main__":
    vds.run(test_told, test_a_new_log_goes_on_telling, test_whatever_it_is)
