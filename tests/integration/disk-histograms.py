#!/usr/bin/env python3
"""block-latency-histogram-set and the histograms of query-blockstats: requests are counted in the
bins that a client chose, by kind, and bad boundaries are refused and change nothing."""

import time

from vds import Daemon, equal, refused, run

SLOW_NS = 20_000_000
PATH = "/machine/peripheral/b0"


def disk(latency=0):
    return Daemon("-blockdev", f"null-co,node-name=f0,size=1048576,latency-ns={latency}",
                  "-device", "virtio-blk-pci,id=b0,drive=f0,workload=light",
                  "-device", "virtio-rng-pci,id=rng0")


def stats(client):
    return client.command("query-blockstats")[0]["stats"]


def set_boundaries(client, disk_id="b0", **boundaries):
    arguments = {"boundaries" + key.replace("_", "-"): value for key, value in boundaries.items()}
    reply = client.command("block-latency-histogram-set", id=disk_id, **arguments)
    equal(reply, {})


def counted(client, kind, at_least=1):
    """Its histogram, once so many requests are in it."""
    for _ in range(500):
        found = stats(client).get(f"{kind}_latency_histogram")
        if found and sum(found["bins"]) >= at_least:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{kind}: {found}")


def test_requests_are_counted_by_how_long_they_took():
    with disk(SLOW_NS) as daemon:
        client = daemon.client()
        assert not any("histogram" in name for name in stats(client))
        set_boundaries(client, **{"": [SLOW_NS // 2, 1000 * SLOW_NS]})
        found = counted(client, "rd", 3)
        equal(found["boundaries"], [SLOW_NS // 2, 1000 * SLOW_NS])
        equal((found["bins"][0], found["bins"][2]), (0, 0))  # all took at least 20 ms
        equal(len(found["bins"]), 3)


def test_each_name_of_the_disk():
    for name in ("b0", PATH, PATH + "/virtio-backend"):
        with disk() as daemon:
            client = daemon.client()
            set_boundaries(client, name, _read=[10**12])
            equal(len(counted(client, "rd")["bins"]), 2)
            assert "wr_latency_histogram" not in stats(client)


def test_kinds_are_set_begun_anew_and_removed():
    with disk() as daemon:
        client = daemon.client()
        set_boundaries(client, **{"": [5], "_write": [7, 9]})
        equal(stats(client)["rd_latency_histogram"]["boundaries"], [5])
        equal(stats(client)["wr_latency_histogram"]["boundaries"], [7, 9])
        equal(stats(client)["flush_latency_histogram"]["boundaries"], [5])
        set_boundaries(client, _read=[10**15, 2**64 - 1])
        found = stats(client)
        equal(found["rd_latency_histogram"]["boundaries"], [10**15, 2**64 - 1])
        equal(found["wr_latency_histogram"]["boundaries"], [7, 9])
        set_boundaries(client)
        assert not any("histogram" in name for name in stats(client))


def test_refusals_change_nothing():
    with disk() as daemon:
        client = daemon.client()
        set_boundaries(client, _read=[5])
        for bad in ([0], [5, 5], [5, 4], list(range(1, 258))):
            with refused(r"Device 'b0' set rd boundaries fail: expected 1 to 256 numbers of "
                         "nanoseconds, each above the one before, the first above 0"):
                client.command("block-latency-histogram-set", id="b0", boundaries=bad)
        with refused("Device 'nobody' not found", "DeviceNotFound"):
            client.command("block-latency-histogram-set", id="nobody", boundaries=[5])
        with refused("Device 'rng0' has no disk"):
            client.command("block-latency-histogram-set", id="rng0", boundaries=[5])
        equal(stats(client)["rd_latency_histogram"]["boundaries"], [5])


run(test_requests_are_counted_by_how_long_they_took, test_each_name_of_the_disk,
    test_kinds_are_set_begun_anew_and_removed, test_refusals_change_nothing)
