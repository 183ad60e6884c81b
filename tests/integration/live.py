"""What the tests of running devices share: waiting, guest memory seen from outside this
program, and rings decoded from it with nothing but the specification in hand
(virtio 1.2, 2.7 and 2.8)."""

import mmap
import os
import struct
import time

NEXT, WRITE, INDIRECT, AVAIL, USED = 1, 2, 4, 1 << 7, 1 << 15


def until(condition, what, seconds=10):
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def backends(client):
    """Paths of the virtio devices, newest first."""
    return [row["path"] for row in client.command("x-query-virtio")]


def prop(client, path, name):
    return client.command("qom-get", path=path, property=name)


def statuses(client, path):
    """The words before the colons."""
    status = client.command("x-query-virtio-status", path=path)["status"]
    return {word.split(":")[0].removeprefix("VIRTIO_CONFIG_S_") for word in status["statuses"]}


def wait_driven(client, *paths):
    for path in paths or backends(client):
        until(lambda p=path: "DRIVER_OK" in statuses(client, p), f"{path} is driven")


def queues(client, path):
    """Every queue's status, from 0 up to the last."""
    count = client.command("x-query-virtio-status", path=path)["num-vqs"]
    return [client.command("x-query-virtio-queue-status", path=path, queue=n)
            for n in range(count)]


def no_guest_errors(client, *paths):
    for path in paths or backends(client):
        found = prop(client, path, "guest-errors")
        if found:
            raise AssertionError(f"{path}: {found} errors, the last: "
                                 + prop(client, path, "guest-last-error"))


def in_balance(queue):
    """An answer about a split queue is of one moment."""
    return (queue["used-idx"] + queue["inuse"] - queue["last-avail-idx"]) % 65536 == 0


class Memory:
    """Guest RAM, mapped by this process: gpa is the offset."""

    def __init__(self, client):
        self.backend = prop(client, "/machine", "memory-backend")
        self.path = prop(client, self.backend, "map-path")
        fd = os.open(self.path, os.O_RDONLY)
        try:
            self.size = os.fstat(fd).st_size
            self.map = mmap.mmap(fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)

    def read(self, gpa, length):
        assert gpa + length <= self.size, (gpa, length)
        return self.map[gpa:gpa + length]

    def u16(self, gpa):
        return struct.unpack("<H", self.read(gpa, 2))[0]

    def descriptor(self, table, n):
        """addr, len, flags, next (split) or addr, len, flags, id (packed)."""
        addr, length, third, fourth = struct.unpack("<QIHH", self.read(table + 16 * n, 16))
        return {"addr": addr, "len": length, "third": third, "fourth": fourth}

    def split_chain(self, queue, slot):
        """The head in that slot of the avail ring, and its descriptors in order."""
        num = queue["vring-num"]
        head = self.u16(queue["vring-avail"] + 4 + 2 * (slot % num))
        table, n = queue["vring-desc"], head
        descs = [self.descriptor(table, n)]
        if descs[0]["third"] & INDIRECT:
            table, num, n = descs[0]["addr"], descs[0]["len"] // 16, 0
            descs = [self.descriptor(table, 0)]
        while descs[-1]["third"] & NEXT and len(descs) < num:
            descs.append(self.descriptor(table, descs[-1]["fourth"]))
        return head, [(d["addr"], d["len"], d["third"]) for d in descs]

    def packed_chain(self, queue, slot):
        """The buffer id of the chain that starts there, and its descriptors in order."""
        num = queue["vring-num"]
        descs = [self.descriptor(queue["vring-desc"], slot % num)]
        while descs[-1]["fourth"] & NEXT and len(descs) < num:
            descs.append(self.descriptor(queue["vring-desc"], (slot + len(descs)) % num))
        head, identity = descs[0], descs[-1]["third"]
        if head["fourth"] & INDIRECT:
            descs = [self.descriptor(head["addr"], n) for n in range(head["len"] // 16)]
        return identity, [(d["addr"], d["len"], d["fourth"]) for d in descs]
