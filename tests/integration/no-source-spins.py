#!/usr/bin/env python3
"""Every kind of descriptor that the daemon waits for, at its end, half-closed, with a peer that
takes no answer, and while no descriptor is left: the daemon sleeps, and serves who comes next.

A row leaves its source in one state and returns what must be true afterwards."""

import contextlib
import os
import pty
import resource
import socket

import front as fronts
from front import DATA, WRITE, Front
from vds import Daemon, connect, idle, run


# ---- a vhost-user front-end's: link, back-end channel, kick, call, error ----

RNG = ("-device", "virtio-rng-pci,id=d0,vhost-user={dir}/d0")


def disk(folder):
    (folder / "disk").write_bytes(bytes(1 << 20))


@contextlib.contextmanager
def served(*words):
    with Daemon(*(words or RNG), prepare=disk) as ours, contextlib.ExitStack() as stack:
        yield ours, stack
        stack.close()
        with Front(ours.dir / "d0") as front:
            assert front.is_open(), "the next front-end is not served"


def test_link_of_a_peer_that_takes_nothing():
    with served() as (ours, stack):
        front = stack.enter_context(Front(ours.dir / "d0"))
        assert front.is_open()
        front.sock.shutdown(socket.SHUT_RD)
        for _ in range(3):
            with contextlib.suppress(fronts.Closed):
                front.send(fronts.GET_FEATURES)
        idle(ours.proc.pid, "an answer that nobody takes")


def test_link_half_closed_with_answers_to_come():
    """More questions than answers fit, then the end of what is asked."""
    with served() as (ours, stack):
        front = stack.enter_context(Front(ours.dir / "d0"))
        front.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(100000):
                front.send(fronts.GET_FEATURES)
        front.sock.shutdown(socket.SHUT_WR)
        idle(ours.proc.pid, "answers that nobody reads")


def back_end_channel(front, end):
    front.negotiate(protocol=fronts.P_CONFIG | fronts.P_REPLY_ACK | 1 << 5)
    front.send(fronts.SET_BACKEND_REQ_FD, fds=[end.fileno()])
    assert front.is_open()


def test_back_end_channel():
    for half in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR, None):
        with served("-drive", "id=b0,if=none,format=raw,file={dir}/disk", "-device",
                    "virtio-blk-pci,id=d0,drive=b0,vhost-user={dir}/d0", ) as (ours, stack):
            front = stack.enter_context(Front(ours.dir / "d0"))
            ends = [stack.enter_context(end) for end in socket.socketpair()]
            back_end_channel(front, ends[1])
            ends[1].close()
            if half is None:
                ends[0].close()
            else:
                ends[0].shutdown(half)
            ours.client().command("block_resize", device="b0", size=1 << 21)
            idle(ours.proc.pid, f"back-end channel, shut down {half}")
            assert front.is_open()


def started(stack, ours):
    return stack.enter_context(Front(ours.dir / "d0")).start()


def test_kick_at_its_end():
    """After interrupts enough that errno of the thread was EAGAIN once."""
    with served() as (ours, stack):
        front = started(stack, ours)
        for n in range(1, 400):
            front.put(0, [(DATA, 8, WRITE)])
            front.kick()
            front.used(n)
        reader, writer = os.pipe()
        front.u64(fronts.SET_VRING_KICK, 0, [reader])
        os.close(reader)
        os.close(writer)
        assert front.is_open()
        idle(ours.proc.pid, "kick")


def test_kick_of_other_kinds():
    for make in (lambda: socket.socketpair(), os.pipe, pty.openpty):
        with served() as (ours, stack):
            front = started(stack, ours)
            ends = [end if isinstance(end, int) else end.detach() for end in make()]
            front.u64(fronts.SET_VRING_KICK, 0, [ends[0]])
            assert front.is_open()
            with contextlib.suppress(OSError):
                os.write(ends[1], b"part")
            for end in ends:
                os.close(end)
            idle(ours.proc.pid, "kick")


def test_call_and_error_that_nobody_reads():
    """Full, and without a reader."""
    for request in (fronts.SET_VRING_CALL, fronts.SET_VRING_ERR):
        for ends in (os.pipe(), socket.socketpair()):
            with served() as (ours, stack):
                front = started(stack, ours)
                reader, writer = (end if isinstance(end, int) else end.detach() for end in ends)
                front.u64(request, 0, [writer])
                os.close(reader)
                os.close(writer)
                front.put(0, [(DATA, 8, WRITE)])
                front.kick()
                front.used(1)
                front.offer(99)  # no such head: the device breaks, the error is signalled
                front.kick()
                assert front.is_open()
                idle(ours.proc.pid, "call" if request == fronts.SET_VRING_CALL else "error")


def test_listener_of_a_device_without_descriptors():
    with served() as (ours, stack), without_descriptors(ours):
        stack.enter_context(connect(ours.dir / "d0"))
        idle(ours.proc.pid, "a front-end and no descriptor")


@contextlib.contextmanager
def without_descriptors(ours):
    pid = ours.proc.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
    free = min(set(range(len(taken) + 1)) - taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


if __name__ == "__main__":
    run(*[test for name, test in list(globals().items()) if name.startswith("test_")])
