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


NAMES = ("poll-max-ns", "poll-grow", "poll-shrink")


def told(client, thread="t0"):
    row, = (row for row in client.command("query-iothreads") if row["id"] == thread)
    path = f"/objects/{thread}"
    equal([row[name] for name in NAMES], [prop(client, path, name) for name in NAMES])
    return tuple(row[name] for name in NAMES)


def test_polling_is_what_was_asked_for():
    with Daemon("-S", "-object", "iothread,id=t0,poll-max-ns=32768,poll-grow=3,poll-shrink=0x10",
                "-object", '{"qom-type":"iothread","id":"t1","poll-max-ns":5}',
                "-object", "iothread,id=t2,poll=7") as daemon:
        client = daemon.client()
        equal(told(client), (32768, 3, 16))
        equal(told(client, "t1"), (5, 0, 0))
        equal(told(client, "t2"), (7, 0, 0))
        client.command("object-add", qom_type="iothread", id="t3", poll_max_ns=9, poll_grow=1, poll_shrink=2)
        equal(told(client, "t3"), (9, 1, 2))
        for where in (client.command("qom-list", path="/objects/t0"),
                      client.command("qom-list-properties", typename="iothread")):
            equal({row["name"] for row in where if row["type"] == "int"}, set(NAMES))


def test_polling_changes_while_it_runs():
    with Daemon(*LINE) as daemon:
        client = daemon.client()
        wait_driven(client)
        path = "/machine/peripheral/blk0/virtio-backend"
        for values in ((32768, 0, 0), (2000000, 4, 2), (0, 0, 0), (32768, 1, 1)):
            for name, value in zip(NAMES, values):
                client.command("qom-set", path="/objects/t0", property=name, value=value)
            equal(told(client), values)
            before = prop(client, path, "guest-requests")
            until(lambda n=before: prop(client, path, "guest-requests") > n + 20, "requests")
        no_guest_errors(client)


def test_polling_refused():
    """In QEMU's words."""
    in_range = " value must be in range [0, 9223372036854775807]"
    with Daemon("-S", "-object", "iothread,id=t0") as daemon:
        client = daemon.client()
        for name in NAMES:
            with refused(name + in_range):
                client.command("qom-set", path="/objects/t0", property=name, value=-1)
            with refused("poll-max-ns" + in_range):
                client.command("object-add", qom_type="iothread", id="t1", poll_max_ns=-1)
            for value in ("7", True, 1.5, 1 << 63):
                with refused(f"Invalid parameter type for '{name}', expected: integer"):
                    client.command("qom-set", path="/objects/t0", property=name, value=value)
        for name in ("poll", "nope"):
            with refused(f"Property 'iothread.{name}' not found"):
                client.command("qom-set", path="/objects/t0", property=name, value=1)
        equal(told(client), (0, 0, 0))
        equal(len(client.command("query-iothreads")), 1)


if __name__ == "__main__":
    run(test_none_unasked_before_cont, test_a_thread_of_its_own_serves, test_it_must_be_one,
        test_polling_is_what_was_asked_for, test_polling_changes_while_it_runs, test_polling_refused)
