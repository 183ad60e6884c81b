#!/usr/bin/env python3
"""query-blockstats counts what the guest asked a disk for, and agrees with the file."""

import tempfile
from pathlib import Path

from live import no_guest_errors, prop, until, wait_driven
from vds import Daemon, equal, run

DISK = "/machine/peripheral/disk0/virtio-backend"


def stats(client):
    return client.command("query-blockstats")[0]["stats"]


def test_requests_are_counted():
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "disk.img"
        image.write_bytes(bytes(1 << 20))
        with Daemon("-blockdev", f"file,node-name=storage,filename={image}",
                    "-blockdev", '{"driver":"raw","node-name":"format","file":"storage"}',
                    "-blockdev", "null-co,node-name=idle",
                    "-device", "virtio-blk-pci,id=disk0,drive=format,workload=light,rate=1000"
                    ) as daemon:
            client = daemon.client()
            wait_driven(client)
            until(lambda: stats(client)["wr_operations"] > 20 and
                  stats(client)["rd_operations"] > 20, "reads and writes")
            client.command("stop")
            entry = client.command("query-blockstats")[0]
            equal((entry["device"], entry["qdev"], entry["node-name"]), ("", DISK, "format"))
            found = entry["stats"]
            for kind in ("rd", "wr"):
                equal(found[f"{kind}_bytes"] % 512, 0)
                assert found[f"{kind}_bytes"] >= 512 * found[f"{kind}_operations"], found
                assert found[f"{kind}_total_time_ns"] > 0, found
                equal(found[f"failed_{kind}_operations"], 0)
                equal(found[f"invalid_{kind}_operations"], 0)
            written = image.read_bytes().rstrip(bytes(1))
            assert len(written) <= found["wr_highest_offset"] <= 1 << 20, found
            asked = sum(found[f"{kind}_operations"] for kind in ("rd", "wr", "flush", "unmap"))
            answered = prop(client, DISK, "guest-requests")
            assert 0 <= asked - answered <= 64, f"{asked} asked for, {answered} answered"
            equal(client.command("query-blockstats")[0]["stats"], found, "it stands still")
            no_guest_errors(client)

            nodes = {n["node-name"]: n["stats"]
                     for n in client.command("query-blockstats", query_nodes=True)}
            equal({name: s["wr_highest_offset"] for name, s in nodes.items()},
                  {"idle": 0, "format": found["wr_highest_offset"],
                   "storage": found["wr_highest_offset"]})
            equal({s["wr_operations"] for s in nodes.values()}, {0})


def test_refused_writes_are_invalid():
    with Daemon("-blockdev", "null-co,node-name=n,read-only=on",
                "-device", "virtio-blk-pci,id=disk0,drive=n,workload=light,rate=1000") as daemon:
        client = daemon.client()
        wait_driven(client)
        until(lambda: stats(client)["rd_operations"] > 20, "reads")
        equal(stats(client)["wr_operations"], 0)
        equal(stats(client)["wr_highest_offset"], 0)


if __name__ == "__main__":
    run(test_requests_are_counted, test_refused_writes_are_invalid)
