#!/usr/bin/env python3
"""A SCSI disk comes and goes under the built-in guest's load: what it wrote is in the file,
and a disk that is gone is no mistake of anybody's."""

from live import no_guest_errors, prop, queues, until, wait_driven
from vds import Daemon, equal, run

PATH = "/machine/peripheral/s0/virtio-backend"
SIZE = 4 << 20


def start():
    return Daemon("-blockdev", "file,node-name=f0,filename={dir}/disk",
                  "-device", "virtio-scsi-pci,id=s0,num_queues=3,workload=light,rate=3000",
                  prepare=lambda folder: (folder / "disk").write_bytes(bytes(SIZE)))


def plug(client, target, lun, more={}):
    reply = client.ask({"execute": "device_add", "arguments": {
        "driver": "scsi-hd", "id": "hd0", "drive": "f0", "bus": "s0.0", "scsi-id": target, "lun": lun, **more}})
    equal(reply, {"return": {}})


def test_disk_comes_and_goes():
    with start() as daemon:
        client = daemon.client()
        wait_driven(client)
        until(lambda: queues(client, PATH)[2]["used-idx"] == 256, "every target was asked")
        for target, lun in ((0, 0), (255, 0), (7, 300)):
            plug(client, target, lun)
            before = prop(client, PATH, "guest-requests")
            until(lambda: prop(client, PATH, "guest-requests") > before + 500, f"work on {target}:{lun}")
            moved = [queue["used-idx"] for queue in queues(client, PATH)[2:]]
            assert min(moved) > 0, moved
            client.command("device_del", id="hd0")
            client.event("DEVICE_DELETED")  # once its requests are done
            no_guest_errors(client)
        equal(prop(client, PATH, "broken-reason"), "")
        written = (daemon.dir / "disk").read_bytes()
        blocks = [at for at in range(0, SIZE, 4096) if any(written[at:at + 4096])]
        equal(blocks, list(range(0, SIZE, SIZE // 64)))


def test_large_blocks():
    with start() as daemon:
        client = daemon.client()
        wait_driven(client)
        plug(client, 0, 0, {"logical_block_size": 4096, "physical_block_size": 4096})
        until(lambda: prop(client, PATH, "guest-requests") > 1000, "work")
        no_guest_errors(client)


if __name__ == "__main__":
    run(test_disk_comes_and_goes, test_large_blocks)
