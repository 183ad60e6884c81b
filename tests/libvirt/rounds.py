#!/usr/bin/env python3
"""Define, start, query, destroy, undefine; again and again: nothing is left behind.

usage: rounds.py [ROUNDS]       10 rounds
"""

import os
import sys

from host import Host, equal, run

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def one_round(host):
    host.define("plain.xml")
    host.virsh("start", "plain")
    equal(len(host.monitor("plain", "x-query-virtio")), 5)
    equal(len(host.emulators()), 1)
    host.virsh("destroy", "plain")
    host.virsh("undefine", "plain")


def test_rounds():
    with Host() as host:
        one_round(host)
        before = host.left(), descriptors(host.libvirtd.pid)
        for _ in range(ROUNDS - 1):
            one_round(host)
        equal((host.left(), descriptors(host.libvirtd.pid)), before)


run(test_rounds)
