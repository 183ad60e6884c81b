"""The built-in guest and a front-end start the I/O thread of their devices at the same time: it
is one thread, and the daemon ends as it should.
"""

import pathlib

import front as fronts
import vds
from front import Front

TRIES = 8


def count_io_threads(pid):
    names = [task.read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").glob("*/comm")]
    return names.count("io")


def test_a_front_end_and_the_guest_start_one_thread():
    for _ in range(TRIES):
        with vds.Daemon() as ours:
            client = ours.client()
            client.command("device_add", driver="virtio-rng-pci", id="served",
                           vhost_user=str(ours.dir / "served"))
            with Front(ours.dir / "served") as front:
                front.send(fronts.SET_OWNER)
                front.ask_u64(fronts.GET_FEATURES)
                client.send('{"execute": "device_add", "arguments": '
                            '{"driver": "virtio-rng-pci", "id": "emulated"}}\n')
                front.u64(fronts.SET_FEATURES, fronts.F_VERSION_1 | fronts.F_PROTOCOL)
                front.ask_u64(fronts.GET_FEATURES)
                client.reply()
                vds.equal(count_io_threads(ours.proc.pid), 1)


vds.run(test_a_front_end_and_the_guest_start_one_thread)
