#!/usr/bin/env python3
"""Guest RAM in a file that its owner cuts short under devices at work: each of them is
broken, with the reason; every question is answered, what lies elsewhere goes on, and a
reset after the memory came back starts them anew."""

import os

from live import backends, no_guest_errors, prop, statuses, until, wait_driven
from vds import Daemon, QmpError, ROOT, equal, run

MIB = 1 << 20
SIZE = 64 * MIB
RECORDED = ROOT / "tests" / "golden" / "rings" / "handmade.vds"
ELSEWHERE = "/machine/peripheral/hand0/virtio-backend"
GONE = "was cut short"
NO_RING = "Region caches not initialized"

COMMANDS = ("x-query-virtio-status", "x-query-virtio-queue-status",
            "x-query-virtio-queue-element", "x-query-virtio-vhost-queue-status")


def start(ring, rate=500):
    work = f"workload=light,rate={rate}{ring}"
    return Daemon(
        "-object", f"memory-backend-file,id=r,size={SIZE},share=on,mem-path={{dir}}/ram",
        "-machine", "vds,memory-backend=r",
        "-netdev", "hubport,id=h0,hubid=0", "-netdev", "hubport,id=h1,hubid=0",
        "-chardev", "null,id=c0",
        "-device", f"virtio-blk-pci,id=blk0,{work}",
        "-device", f"virtio-net-pci,id=net0,netdev=h0,{work}",
        "-device", f"virtio-net-pci,id=net1,netdev=h1,{work}",
        "-device", f"virtio-rng-pci,id=rng0,{work}",
        "-device", f"virtio-balloon-pci,id=bal0,{work}",
        "-device", f"virtio-serial-pci,id=ser0,{work}",
        "-device", "virtconsole,chardev=c0,bus=ser0.0",
        "-device", f"virtio-replay,id=old0,file={RECORDED}")


def at_work(client):
    paths = [path for path in backends(client) if path != ELSEWHERE]
    wait_driven(client, *paths)
    for path in paths:
        done = prop(client, path, "guest-requests")
        until(lambda p=path, n=done: prop(client, p, "guest-requests") > n + 5, f"{path} works")
    return paths


def everything_is_answered(client, also="vhost"):
    """How many answers were errors of memory that is gone."""
    gone = 0
    for path in backends(client):
        for n in range(client.command(COMMANDS[0], path=path)["num-vqs"]):
            for name in COMMANDS[1:]:
                try:
                    client.command(name, path=path, queue=n)
                except QmpError as error:
                    assert any(text in error.desc for text in (GONE, "vhost", also)), \
                        (path, n, error)
                    gone += GONE in error.desc
    return gone


def other_memory(client):
    return [client.command(name, path=ELSEWHERE, queue=0) for name in COMMANDS[1:3]]


def expect_broken(client, paths):
    for path in paths:
        reason = until(lambda p=path: prop(client, p, "broken-reason"), f"{path} is broken")
        assert reason.startswith("R6: ") and GONE in reason, (path, reason)
        assert "NEEDS_RESET" in statuses(client, path), statuses(client, path)
        assert client.command("x-query-virtio-status", path=path)["broken"], path


def cut_short(ring, length):
    with start(ring) as daemon:
        client = daemon.client()
        paths = at_work(client)
        before = other_memory(client)
        os.truncate(daemon.dir / "ram", length)
        expect_broken(client, paths)
        assert everything_is_answered(client) >= len(paths)
        equal(other_memory(client), before)
        equal(prop(client, ELSEWHERE, "broken-reason"), "")

        # the life of a machine goes on
        client.command("stop")
        client.command("cont")
        client.command("system_reset")
        everything_is_answered(client, NO_RING) # the guest finds no place for one
        client.command("device_del", id="rng0")
        client.command("device_add", driver="virtio-rng-pci", id="rng1")
        equal(client.command("query-status")["running"], True)

        # and with its memory it is as new
        os.truncate(daemon.dir / "ram", SIZE)
        client.command("system_reset")
        errors = {path: prop(client, path, "guest-errors") for path in at_work_again(client)}
        equal({path: prop(client, path, "broken-reason") for path in errors},
              {path: "" for path in errors})
        equal(everything_is_answered(client), 0)
        no_new_errors(client, errors)
        equal(other_memory(client), before)


def at_work_again(client):
    client.command("device_del", id="rng1") # which has no workload
    return at_work(client)


def no_new_errors(client, errors):
    equal({path: prop(client, path, "guest-errors") for path in errors}, errors)


def test_all_of_it_split():
    cut_short("", 0)


def test_all_of_it_packed():
    cut_short(",packed=on", 0)


def test_all_of_it_without_event_index():
    cut_short(",event_idx=off", 0)


def test_what_lies_before_the_end_goes_on():
    """The end is cut off, where nothing lies."""
    with start("") as daemon:
        client = daemon.client()
        paths = at_work(client)
        os.truncate(daemon.dir / "ram", SIZE // 2)
        at_work(client)
        no_guest_errors(client, *paths)
        equal({prop(client, path, "broken-reason") for path in paths}, {""})
        equal(everything_is_answered(client), 0)


def test_a_part():
    """The devices behind the cut are broken, those before it are not."""
    with start("") as daemon:
        client = daemon.client()
        paths = at_work(client)
        rings = {path: client.command("x-query-virtio-queue-status", path=path,
                                      queue=0)["vring-desc"] for path in paths}
        last = max(paths, key=rings.get)
        assert rings[last] % 4096 == 0
        os.truncate(daemon.dir / "ram", rings[last])
        expect_broken(client, [last])
        first = min(paths, key=rings.get)
        done = prop(client, first, "guest-requests")
        until(lambda: prop(client, first, "guest-requests") > done + 5, f"{first} works")
        equal(prop(client, first, "broken-reason"), "")
        everything_is_answered(client)


if __name__ == "__main__":
    run(test_all_of_it_split, test_all_of_it_packed, test_all_of_it_without_event_index,
        test_what_lies_before_the_end_goes_on, test_a_part)
