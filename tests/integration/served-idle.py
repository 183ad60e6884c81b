#!/usr/bin/env python3
"""Devices whose front-ends are there and ask for nothing take no processor: with threads that
sleep, and with threads that look for work before they do."""

import pathlib
import time

import vds
from front import DATA, F_EVENT_IDX, WRITE, Front

SECONDS = 1.0
MOST = 0.02  # seconds of a processor; a tick of the clock is as long as half of it
DEVICES = {
    "rng0": "virtio-rng-pci,iothread=t0",
    "blk0": "virtio-blk-pci,iothread=t0",
    "net0": "virtio-net-pci,iothread=t1,netdev=h0",
    "net1": "virtio-net-pci,netdev=h1",
}


def daemon(polling):
    words = []
    for name in ("t0", "t1"):
        words += ["-object", f"iothread,id={name}{polling}"]
    for n in range(2):
        words += ["-netdev", f"hubport,id=h{n},hubid=0"]
    for name, driver in DEVICES.items():
        words += ["-device", f"{driver},id={name},vhost-user={{dir}}/{name}"]
    return vds.Daemon(*words)


def seconds_run(ours):
    """Of all its threads, as the scheduler counts."""
    tasks = pathlib.Path(f"/proc/{ours.proc.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def busy(front, count):
    """Work, so that what looks for it has reason to."""
    for _ in range(count):
        before = front.used_idx()
        front.put(0, [(DATA, 64, WRITE)])
        front.kick()
        front.used(before + 1)


def idle(polling):
    with daemon(polling) as ours:
        fronts = {name: Front(ours.dir / name).start(F_EVENT_IDX) for name in DEVICES}
        for name in ("net0", "net1"):  # buffers that wait for a frame
            for slot in range(8):
                fronts[name].put(slot, [(DATA, 1600, WRITE)])
            fronts[name].kick()
        busy(fronts["rng0"], 200)
        time.sleep(0.3)
        before = seconds_run(ours)
        time.sleep(SECONDS)
        run = seconds_run(ours) - before
        assert run < MOST, f"{run:.3f} s of a processor in {SECONDS} s"
        busy(fronts["rng0"], 10)  # it was no dead one
        for front in fronts.values():
            front.close()


def test_threads_that_sleep():
    idle("")


def test_threads_that_look():
    idle(",poll-max-ns=2000000")


def test_threads_that_look_less_and_less():
    idle(",poll-max-ns=2000000,poll-grow=4,poll-shrink=2")


if __name__ == "__main__":
    vds.run(test_threads_that_sleep, test_threads_that_look, test_threads_that_look_less_and_less)
