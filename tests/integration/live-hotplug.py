#!/usr/bin/env python3
"""Devices come and go while others work and a client asks: DEVICE_DELETED for each, nothing
left behind."""

import os
import random

from live import no_guest_errors, prop, until, wait_driven
from vds import Daemon, equal, run

LIGHT = {"workload": "light", "rate": 1000}
KINDS = ("virtio-blk-pci", "virtio-rng-pci", "virtio-balloon-pci", "virtio-serial-pci",
         "virtio-net-pci")
ROUNDS = 60
BUSY = "/machine/peripheral/busy/virtio-backend"


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.proc.pid}/fd"))


def add(client, kind, name):
    client.command("device_add", driver=kind, id=name, **LIGHT)
    return f"/machine/peripheral/{name}/virtio-backend"


def remove(client, name):
    client.command("device_del", id=name)
    until(lambda: any(event["event"] == "DEVICE_DELETED" and event["data"].get("device") == name
                      for event in client.events) or not client.command("query-status"),
          f"{name} is deleted")
    client.events.clear()


def start():
    return Daemon("-device", "virtio-blk-pci,id=busy,workload=light,rate=2000",
                  "-device", "virtio-rng-pci,id=calm,workload=light,rate=100")


def test_each_kind_comes_runs_and_goes():
    with start() as daemon:
        client = daemon.client()
        wait_driven(client)
        for kind in KINDS: # threads and pools that stay are there from now on
            remove_after = add(client, kind, "x")
            wait_driven(client, remove_after)
            remove(client, "x")
        before = descriptors(daemon)
        for kind in KINDS:
            path = add(client, kind, "x")
            wait_driven(client, path)
            if kind != "virtio-serial-pci": # no port, nobody to write to
                until(lambda p=path: prop(client, p, "guest-requests") > 5, kind)
            no_guest_errors(client, path)
            remove(client, "x")
        equal(descriptors(daemon), before)
        no_guest_errors(client)


def test_at_random():
    chance = random.Random(3)
    with start() as daemon:
        client, names = daemon.client(), []
        wait_driven(client)
        asked = prop(client, BUSY, "guest-requests")
        for n in range(ROUNDS):
            if len(names) > 5 or (names and chance.random() < 0.4):
                remove(client, names.pop(chance.randrange(len(names))))
            else:
                names.append(f"d{n}")
                add(client, chance.choice(KINDS), names[-1])
            if n % 7 == 0:
                client.command("stop")
                client.command("cont")
            for row in client.command("x-query-virtio"):
                client.command("x-query-virtio-queue-status", path=row["path"], queue=0)
        no_guest_errors(client)
        assert prop(client, BUSY, "guest-requests") > asked
        for name in names:
            remove(client, name)
        equal(len(client.command("x-query-virtio")), 2)


def test_added_to_a_stopped_machine():
    with start() as daemon:
        client = daemon.client()
        client.command("stop")
        path = add(client, "virtio-rng-pci", "late")
        assert client.quiet(0.05)
        equal(client.command("x-query-virtio-status", path=path)["status"], {"statuses": []})
        client.command("cont")
        wait_driven(client, path)
        client.command("stop")
        remove(client, "late")
        client.command("cont")
        no_guest_errors(client)


if __name__ == "__main__":
    run(test_each_kind_comes_runs_and_goes, test_at_random, test_added_to_a_stopped_machine)
