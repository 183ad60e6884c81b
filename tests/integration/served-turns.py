"""A ring full of requests that each cost a lot takes nobody else's time: a turn of a device is 2 ms
long, however many bytes, pages or requests there are.
"""

import struct
import time

import front as fronts
import vds
from front import UVA, WRITE, Front

LIMIT_S = 0.5  # for a busy machine; a whole ring would last for several seconds
FRAMES = 65536
LIST, ROOM = 0x100000, 0x200000
NUM = 64


def path_of(name):
    return f"/machine/peripheral/{name}/virtio-backend"


def daemon(kind):
    return vds.Daemon("-device", f"virtio-{kind}-pci,id=dev0,vhost-user={{dir}}/dev0",
                      "-object", "iothread,id=t1", "-device", "virtio-rng-pci,id=other,iothread=t1")


def fill_ring(front, part, num=NUM):
    """The same part in each request."""
    front.num = num
    front.negotiate()
    front.share()
    front.start_ring(num=num)
    for slot in range(num):
        front.desc(slot, *part)
        front.offer(slot)
    front.kick()


def scattered_frames(front):
    """65536 pages, no two of them beside each other: a system call each."""
    front.write(LIST, b"".join(struct.pack("<I", 0x1000 + 2 * (n % 2048)) for n in range(FRAMES)))
    return (LIST, 4 * FRAMES, 0)


def answered(client, front):
    """How long a message for the device, and then a query about another one, take."""
    start = time.monotonic()
    front.u64(fronts.SET_VRING_CALL, 0, [front.call_fd])
    assert front.is_open()
    client.command("x-query-virtio-queue-status", path=path_of("other"), queue=0)
    return time.monotonic() - start


def check_answers(client, front):
    for _ in range(5):
        seconds = answered(client, front)
        assert seconds < LIMIT_S, f"{front.used_idx()} used, and an answer takes {seconds:.2f} s"


def test_balloon():
    with daemon("balloon") as ours, Front(ours.dir / "dev0", memory=64 << 20) as front:
        client = ours.client()
        fill_ring(front, scattered_frames(front))
        time.sleep(0.1)
        assert front.used_idx() < NUM, "the ring is done before anything was asked"
        check_answers(client, front)


def test_balloon_in_the_middle_of_a_request():
    """GET_VRING_BASE does not wait for it, and it is done again by who goes on."""
    with daemon("balloon") as ours, Front(ours.dir / "dev0", memory=64 << 20) as front:
        front.write(0x1000 * 4096, b"x" * 4096)
        fill_ring(front, scattered_frames(front), num=32)
        start = time.monotonic()
        base = struct.unpack("=II", front.ask(fronts.GET_VRING_BASE, struct.pack("=II", 0, 0)))[1]
        assert time.monotonic() - start < LIMIT_S
        vds.equal(base, front.used_idx(), "what is not used is to be done")
        front.start_ring(num=32, base=base)
        front.kick()
        front.used(32, seconds=60)
        vds.equal(front.read(0x1000 * 4096, 4096), bytes(4096))


def test_rng():
    """8192 requests of 64 KiB: half a gigabyte."""
    num, desc, avail, used = 8192, 0x10000, 0x40000, 0x50000
    with daemon("rng") as ours, Front(ours.dir / "dev0", memory=4 << 20) as front:
        client = ours.client()
        front.negotiate()
        front.share()
        front.ring(fronts.SET_VRING_NUM, 0, num)
        front.address(0, desc=UVA + desc, avail=UVA + avail, used=UVA + used)
        front.u64(fronts.SET_VRING_KICK, 0, [front.kick_fd])
        front.write(desc, b"".join(struct.pack("<QIHH", ROOM, 65536, WRITE, 0) for _ in range(num)))
        front.write(avail, struct.pack(f"<HH{num}H", 0, num, *range(num)))
        front.ring(fronts.SET_VRING_ENABLE, 0, 1)
        front.kick()
        time.sleep(0.05)
        assert front.u16(used + 2) < num, "the ring is done before anything was asked"
        for _ in range(3):
            seconds = answered(client, front)
            assert seconds < LIMIT_S, f"{front.u16(used + 2)} used, and an answer takes {seconds:.2f} s"


if __name__ == "__main__":
    vds.run(test_balloon, test_balloon_in_the_middle_of_a_request, test_rng)
