#!/usr/bin/env python3
"""Devices under load, each kind with each kind of ring, while clients ask: every answer
about a queue is of one moment, and no device is wrong."""

import threading
import time

from live import backends, in_balance, no_guest_errors, prop, queues, until, wait_driven
from vds import Daemon, QmpError, equal, run

RINGS = ("", "packed=on", "event_idx=off", "indirect_desc=off", "packed=on,event_idx=off", "in_order=on",
         "packed=on,in_order=on")
KINDS = ("virtio-blk-pci", "virtio-rng-pci", "virtio-balloon-pci", "virtio-serial-pci", "virtio-scsi-pci")
FIRST_CID = 3
SECONDS = 3


def devices():
    """Every kind with every ring, two network devices on one hub, and one that hashes."""
    words, names = ["-netdev", "loop,id=l0,queues=2"], ["loop"]
    words += ["-device", "virtio-net-pci,id=loop,netdev=l0,mq=on,rss=on,hash=on,workload=light,rate=2000"]
    for i, ring in enumerate(RINGS):
        extra = "".join("," + word for word in ("workload=light,rate=2000", ring) if word)
        for kind in KINDS:
            names.append(f"{kind.split('-')[1]}{i}")
            words += ["-device", f"{kind},id={names[-1]}{extra}"]
        words += ["-chardev", f"null,id=c{i}", "-device", f"virtconsole,bus=serial{i}.0,chardev=c{i}"]
        words += ["-blockdev", f"file,node-name=f{i},filename={{dir}}/disk{i}",
                  "-device", f"scsi-hd,bus=scsi{i}.0,drive=f{i},scsi-id={i}"]
        names.append(f"vsock{i}")
        words += ["-device", f"vhost-vsock-pci,id={names[-1]},guest-cid={FIRST_CID + i}{extra}"]
        for end in "ab":
            names.append(f"net{i}{end}")
            words += ["-netdev", f"hubport,id=h{i}{end},hubid={i}",
                      "-device", f"virtio-net-pci,id={names[-1]},netdev=h{i}{end}{extra}"]
    return words, names


def make_disks(folder):
    for i in range(len(RINGS)):
        (folder / f"disk{i}").write_bytes(bytes(1 << 20))


class Asker(threading.Thread):
    """Asks for every queue, again and again, over a connection of its own."""

    def __init__(self, daemon, paths, packed):
        super().__init__()
        self.client, self.paths, self.packed = daemon.client(), paths, packed
        self.done, self.asked, self.fault = False, 0, None

    def run(self):
        try:
            while not self.done:
                for path in self.paths:
                    self.ask(path)
        except Exception as fault: # for the test to raise
            self.fault = fault

    def ask(self, path):
        for n, queue in enumerate(queues(self.client, path)):
            self.asked += 1
            if path not in self.packed:
                assert in_balance(queue), (path, queue)
            try:
                self.client.command("x-query-virtio-queue-element", path=path, queue=n)
            except QmpError as error:
                # a slot that is being written may name a table that is no more
                assert "indirect" in error.desc, error


def test_load():
    words, names = devices()
    with Daemon("-m", "256", *words, prepare=make_disks) as daemon:
        client = daemon.client()
        paths = backends(client)
        equal(len(paths), len(names))
        wait_driven(client)
        packed = {path for path in paths if prop(client, path, "packed")}
        askers = [Asker(daemon, paths, packed) for _ in range(2)]
        for asker in askers:
            asker.start()
        time.sleep(SECONDS)
        for path in paths:
            until(lambda p=path: prop(client, p, "guest-requests") > 50, f"requests on {path}")
        for asker in askers:
            asker.done = True
            asker.join()
            if asker.fault:
                raise asker.fault
            assert asker.asked > 100, asker.asked
        no_guest_errors(client)
        equal({prop(client, path, "broken-reason") for path in paths}, {""})


def test_stop_cont_and_reset_under_load():
    words, _ = devices()
    with Daemon("-m", "256", *words, prepare=make_disks) as daemon:
        client = daemon.client()
        for i in range(12):
            time.sleep(0.05)
            client.command("stop")
            client.command("system_reset" if i % 4 == 3 else "query-status")
            client.command("cont")
        wait_driven(client)
        no_guest_errors(client)


if __name__ == "__main__":
    run(test_load, test_stop_cont_and_reset_under_load)
