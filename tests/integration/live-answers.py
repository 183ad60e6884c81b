#!/usr/bin/env python3
"""Four devices and no further word: every command answers with live values."""

from live import backends, in_balance, no_guest_errors, queues, statuses, until, wait_driven
from vds import Daemon, equal, refused, run

LINE = ("-device virtio-net-pci,id=net0 -device virtio-blk-pci,id=blk0 "
        "-device virtio-rng-pci,id=rng0 -device virtio-serial-pci,id=ser0").split()
LIGHT = [word + ",workload=light,rate=500" if word.startswith("virtio") else word
         for word in LINE]
NET, BLK, RNG, SER = (f"/machine/peripheral/{name}/virtio-backend"
                      for name in ("net0", "blk0", "rng0", "ser0"))


def test_every_command():
    with Daemon(*LINE) as daemon:
        client = daemon.client()
        equal(backends(client), [SER, RNG, BLK, NET])
        wait_driven(client)
        for path in (SER, RNG, BLK, NET):
            status = client.command("x-query-virtio-status", path=path)
            equal((status["started"], status["vm-running"], status["broken"]),
                  (True, True, False), path)
            equal(statuses(client, path),
                  {"ACKNOWLEDGE", "DRIVER", "FEATURES_OK", "DRIVER_OK"}, path)
            for n, queue in enumerate(queues(client, path)):
                assert queue["vring-desc"] and in_balance(queue), (path, n, queue)
                with refused("Error: vhost device has not started yet"):
                    client.command("x-query-virtio-vhost-queue-status", path=path, queue=n)
        receive = client.command("x-query-virtio-queue-element", path=NET, queue=0)
        equal((receive["avail"]["idx"], receive["descs"][0]["flags"]), (256, ["write"]))
        equal(receive["descs"][0]["len"], 1536)
        control = client.command("x-query-virtio-queue-element", path=SER, queue=2)
        equal((control["avail"]["idx"], control["descs"][0]["len"]), (32, 4096))
        no_guest_errors(client)


def indices(client):
    return {(path, n): (queue["last-avail-idx"], queue["used-idx"])
            for path in (RNG, BLK, NET) for n, queue in enumerate(queues(client, path))
            if (path, n) in ((RNG, 0), (BLK, 0), (NET, 1))}


def test_indices_move():
    with Daemon(*LIGHT) as daemon:
        client = daemon.client()
        wait_driven(client)
        before = indices(client)
        until(lambda: all(now != before[key] for key, now in indices(client).items()),
              "requests on every device")
        no_guest_errors(client)


def test_nothing_starts_before_cont():
    with Daemon("-S", *LIGHT) as daemon:
        client = daemon.client()
        for path in (SER, RNG, BLK, NET):
            equal(statuses(client, path), set(), path)
            equal({queue["vring-desc"] for queue in queues(client, path)}, {0}, path)
        client.command("cont")
        wait_driven(client)


def test_stop_freezes_and_cont_goes_on():
    with Daemon(*LIGHT) as daemon:
        client = daemon.client()
        wait_driven(client)
        for _ in range(10):
            client.command("stop")
            before = {path: queues(client, path) for path in (SER, RNG, BLK, NET)}
            for path in before:
                assert client.quiet(0.02)
                equal(queues(client, path), before[path], path)
                assert not client.command("x-query-virtio-status", path=path)["vm-running"]
            still = indices(client)
            client.command("cont")
            until(lambda was=still: all(now != was[key]
                                        for key, now in indices(client).items()), "it goes on")
        no_guest_errors(client)


def test_reset_starts_again():
    with Daemon(*LIGHT) as daemon:
        client = daemon.client()
        for _ in range(10):
            wait_driven(client)
            client.command("system_reset")
            client.event("RESET")
        wait_driven(client)
        client.command("stop")
        client.command("system_reset")
        for path in (SER, RNG, BLK, NET):
            equal(statuses(client, path), set(), path)
            equal({queue["vring-desc"] for queue in queues(client, path)}, {0}, path)
        client.command("cont")
        wait_driven(client)
        no_guest_errors(client)


def test_nobody_drives_what_is_nobodys():
    with Daemon("-device", "virtio-rng-pci,id=a,guest=none",
                "-device", "virtio-gpu-pci,id=b", "-device", "virtio-rng-pci,id=c") as daemon:
        client = daemon.client()
        a, b, c = (f"/machine/peripheral/{name}/virtio-backend" for name in "abc")
        wait_driven(client, c)
        equal(statuses(client, a), set())
        equal(statuses(client, b), {"ACKNOWLEDGE"})


def test_too_little_memory_is_said():
    with Daemon("-m", "1", "-device", "virtio-rng-pci,id=rng0",
                *[word for n in range(4) for word in ("-device", f"virtio-net-pci,id=n{n}")]
                ) as daemon:
        client = daemon.client()
        last = "/machine/peripheral/n3/virtio-backend"
        wait_driven(client, RNG)

        def those_that_failed():
            failed = [path for path in backends(client) if "FAILED" in statuses(client, path)]
            return failed if last in failed or len(failed) > 1 else None

        failed = until(those_that_failed, "the last fails, or two")
        for path in failed:
            reason = client.command("qom-get", path=path, property="guest-last-error")
            assert "in guest RAM" in reason, reason
        assert RNG not in failed


if __name__ == "__main__":
    run(test_every_command, test_indices_move, test_nothing_starts_before_cont,
        test_stop_freezes_and_cont_goes_on, test_reset_starts_again,
        test_nobody_drives_what_is_nobodys, test_too_little_memory_is_said)
