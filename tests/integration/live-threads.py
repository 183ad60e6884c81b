#!/usr/bin/env python3
"""Threads: the main one, and those that -object iothread asked for; once the guest starts
also its own and the one that other devices share."""

import os
import pathlib

from live import no_guest_errors, prop, until, wait_driven
from vds import Daemon, equal, refused, run

LIGHT = ",workload=light,rate=500"
LINE = ["-object", "iothread,id=t0", "-object", "iothread,id=t1",
        "-device", f"virtio-blk-pci,id=blk0,iothread=t0{LIGHT}",
        "-device", f"virtio-rng-pci,id=rng0,iothread=t1{LIGHT}",
        "-device", f"virtio-rng-pci,id=rng1{LIGHT}", "-device", f"virtio-net-pci,id=net0{LIGHT}"]


def threads(daemon):
    return sorted((entry / "comm").read_text().strip()
                  for entry in pathlib.Path(f"/proc/{daemon.proc.pid}/task").iterdir())


def test_none_unasked_before_cont():
    with Daemon("-S", *LINE) as daemon:
        client = daemon.client()
        client.command("x-query-virtio")
        expected = ["io:t0", "io:t1", "virtio-debugd"]
        if os.environ.get("VDS_SANITIZED") == "thread":
            expected.append("virtio-debugd")  # ThreadSanitizer's own
        until(lambda: threads(daemon) == expected, expected)  # a thread names itself as it runs
        client.command("cont")
        wait_driven(client)
        found = threads(daemon)
        for name in ("guest", "t0", "t1"):
            equal(len([thread for thread in found if thread.endswith(name)]), 1, found)


def test_a_thread_of_its_own_serves():
    with Daemon(*LINE) as daemon:
        client = daemon.client()
        wait_driven(client)
        for name in ("blk0", "rng0", "rng1"):
            path = f"/machine/peripheral/{name}/virtio-backend"
            until(lambda p=path: prop(client, p, "guest-requests") > 20, name)
        no_guest_errors(client)
        client.command("device_del", id="blk0")
        client.command("device_add", driver="virtio-blk-pci", id="blk0", iothread="t1",
                       workload="light")
        path = "/machine/peripheral/blk0/virtio-backend"
        until(lambda: prop(client, path, "guest-requests") > 20, "again, elsewhere")
        no_guest_errors(client)


def test_it_must_be_one():
    with Daemon("-S", "-object", "rng-random,id=r,filename=/dev/urandom") as daemon:
        client = daemon.client()
        with refused("Device 'nope' not found", "DeviceNotFound"):
            client.command("device_add", driver="virtio-rng-pci", iothread="nope")
        with refused("Invalid parameter type for 'iothread', expected: iothread"):
            client.command("device_add", driver="virtio-net-pci", iothread="r")


if __name__ == "__main__":
    run(test_none_unasked_before_cont, test_a_thread_of_its_own_serves, test_it_must_be_one)
