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
    for make in (lambda: socket.socketpair(), os.pipe):
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


# ---- monitors ----

def leave(sock, half):
    """Half of it, or all."""
    if half is None:
        sock.close()
    else:
        sock.shutdown(half)


HALVES = (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR, None)


def test_monitors():
    """Sessions of each protocol that are left by halves, with something to say to each."""
    with Daemon("-monitor", "unix:{dir}/mon,server=on,wait=off", *RNG) as ours:
        for name, ask in (("qmp", b'{"execute": "qmp_capabilities"}'), ("mon", b"info version\n")):
            for half in HALVES:
                sock = connect(ours.dir / name)
                sock.sendall(ask * 3)
                leave(sock, half)
                ours.client().command("stop")
                idle(ours.proc.pid, f"{name}, shut down {half}")
                sock.close()


def test_monitor_without_descriptors():
    with Daemon(*RNG) as ours:
        with without_descriptors(ours), connect(ours.sock) as sock:
            idle(ours.proc.pid, "a client and no descriptor")
            del sock
        ours.client().command("query-name")


def test_monitor_in_client_mode():
    for half in HALVES:
        path = None

        def listen(folder):
            nonlocal path, listener
            path = str(folder / "there")
            listener.bind(path)
            listener.listen(1)

        with socket.socket(socket.AF_UNIX) as listener, \
                Daemon("-qmp", "unix:{dir}/there", prepare=listen) as ours:
            far = listener.accept()[0]
            leave(far, half)
            ours.client().command("stop")
            idle(ours.proc.pid, f"client mode, shut down {half}")
            far.close()
            idle(ours.proc.pid, "client mode, closed")


def test_monitor_on_standard_input_and_output():
    for ends in ("in", "out", "both"):
        in_reader, in_writer = os.pipe()
        out_reader, out_writer = os.pipe()
        with Daemon("-qmp", "stdio", stdin=in_reader, stdout=out_writer) as ours:
            os.close(in_reader)
            os.close(out_writer)
            left = {"in": [in_writer], "out": [out_reader], "both": [in_writer, out_reader]}[ends]
            for fd in left:
                os.close(fd)
            ours.client().command("stop")
            idle(ours.proc.pid, f"stdio, {ends} left")
            for fd in {in_writer, out_reader} - set(left):
                os.close(fd)


# ---- what ports are wired to ----

def console(chardev, *more):
    return ("-chardev", chardev, "-device", "virtio-serial-pci,id=d0,max_ports=1,vhost-user={dir}/d0",
            "-device", "virtconsole,chardev=c0,bus=d0.0,id=p0", *more)


def transmit(front, slots):
    """Starts the transmit queue with so many buffers of 64 KiB."""
    front.negotiate()
    front.share()
    front.start_ring(1)
    for slot in range(slots):
        front.put(slot, [(DATA, 1 << 16, 0)])
    front.kick()
    assert front.is_open()


def receive(front):
    front.negotiate()
    front.share()
    front.start_ring(0)
    front.put(0, [(DATA, 16, WRITE)])
    front.kick()
    assert front.is_open()


def test_port_of_a_server():
    """With nobody who reads, with a buffer to fill, and with more to send than fits."""
    begin = {"nothing": lambda front: None, "input": receive, "output": lambda front: transmit(front, 16)}
    for what, start in begin.items():
        for half in HALVES:
            with served(*console("socket,id=c0,path={dir}/port,server=on,wait=off")) as (ours, stack):
                front = stack.enter_context(Front(ours.dir / "d0"))
                sock = stack.enter_context(connect(ours.dir / "port"))
                start(front)
                leave(sock, half)
                idle(ours.proc.pid, f"port with {what}, shut down {half}")


def test_port_of_a_client():
    """Left by its server, which is gone: it connects again in vain, and then not."""
    for half in HALVES:
        with socket.socket(socket.AF_UNIX) as listener:
            def listen(folder):
                listener.bind(str(folder / "far"))
                listener.listen(1)
                disk(folder)

            with Daemon(*console("socket,id=c0,path={dir}/far,reconnect=1"), prepare=listen) as ours, \
                    Front(ours.dir / "d0") as front:
                receive(front)
                far = listener.accept()[0]
                listener.close()
                leave(far, half)
                idle(ours.proc.pid, f"client, shut down {half}")
                far.close()


def test_port_of_a_pty():
    """Its other end comes, goes, and is nobody."""
    with served(*console("pty,id=c0")) as (ours, stack):
        name = ours.client().command("query-chardev")
        path = next(row["filename"] for row in name if row["label"] == "c0").removeprefix("pty:")
        front = stack.enter_context(Front(ours.dir / "d0"))
        receive(front)
        idle(ours.proc.pid, "pty, nobody")
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
        idle(ours.proc.pid, "pty, somebody left")


def test_port_of_a_full_file():
    with served(*console("file,id=c0,path=/dev/full")) as (ours, stack):
        transmit(stack.enter_context(Front(ours.dir / "d0")), 16)
        idle(ours.proc.pid, "a full disk")


def test_port_of_standard_input_and_output():
    for begin in (receive, lambda front: transmit(front, 16)):
        in_reader, in_writer = os.pipe()
        out_reader, out_writer = os.pipe()
        with Daemon(*console("stdio,id=c0"), stdin=in_reader, stdout=out_writer) as ours:
            for fd in (in_reader, out_writer):
                os.close(fd)
            with Front(ours.dir / "d0") as front:
                begin(front)
                idle(ours.proc.pid, "stdio")
                os.close(in_writer)
                os.close(out_reader)
                idle(ours.proc.pid, "stdio, closed")


# ---- sockets of a vsock device ----

def test_vsock_host():
    """Callers in their greeting, and none left to accept with."""
    with Daemon("-device", "vhost-vsock-pci,id=v0,guest-cid=3,uds-path={dir}/v0") as ours:
        client = ours.client()
        client.command("query-name")
        for half in HALVES:
            with connect(ours.dir / "v0") as caller:
                caller.sendall(b"CONNECT 9")
                leave(caller, half)
                idle(ours.proc.pid, f"vsock greeting, shut down {half}")
        for half in HALVES:
            with connect(ours.dir / "v0") as caller:
                caller.sendall(b"CONNECT 7\n")  # an echo
                caller.settimeout(10)
                caller.recv(64)
                caller.sendall(b"x" * 1000)
                leave(caller, half)
                idle(ours.proc.pid, f"vsock stream, shut down {half}")
        with without_descriptors(ours), connect(ours.dir / "v0"):
            idle(ours.proc.pid, "vsock, no descriptor")


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
