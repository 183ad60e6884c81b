#!/usr/bin/env python3
"""The emulator is told to end, or killed, beside libvirt's back."""

import os
import signal

from host import Host, equal, run, until


def ended_by(number, expected):
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        pid = host.pid("plain")
        os.kill(pid, number)
        until(lambda: host.state("plain") == expected, expected)
        host.wait_for_end(pid)
        host.virsh("start", "plain")
        equal(host.state("plain"), "running (booted)")


def test_sigterm():
    """A farewell event, so it is a shutdown."""
    ended_by(signal.SIGTERM, "shut off (shutdown)")


def test_sigkill():
    """None, so it crashed; and the next start finds nothing in its way."""
    ended_by(signal.SIGKILL, "shut off (crashed)")


def test_quit():
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        # libvirt may see the end before it has read the reply.
        host.virsh("qemu-monitor-command", "plain", '{"execute": "quit"}', ok=None)
        until(lambda: host.state("plain").startswith("shut off"), "shut off")


run(test_sigterm, test_sigkill, test_quit)
