#!/usr/bin/env python3
"""libvirtd is restarted under a running domain: it finds it again, as it is."""

import os
import signal

from host import Host, equal, run, until


def again(host, stop, expected):
    pid, before = host.pid("plain"), host.monitor("plain", "x-query-virtio")
    stop()
    os.kill(pid, 0)
    host.start_libvirtd()
    equal((host.state("plain"), host.pid("plain")), (expected, pid))
    equal(host.monitor("plain", "x-query-virtio"), before)


def test_running():
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        again(host, host.stop_libvirtd, "running (booted)")
        host.virsh("suspend", "plain")
        equal(host.state("plain"), "paused (user)")
        again(host, host.stop_libvirtd, "paused (user)")
        host.virsh("resume", "plain")
        host.virsh("destroy", "plain")
        equal(host.emulators(), [])


def test_killed():
    """Without a farewell on the monitor."""
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")

        def kill():
            host.libvirtd.kill()
            equal(host.libvirtd.wait(), -signal.SIGKILL)
        again(host, kill, "running (booted)")


def test_ended_meanwhile():
    """It is told that there is nothing any more, and may start the domain again."""
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain")
        pid = host.pid("plain")
        host.stop_libvirtd()
        os.kill(pid, signal.SIGTERM)
        host.wait_for_end(pid)
        host.start_libvirtd()
        until(lambda: host.state("plain").startswith("shut off"), "libvirt finds nothing")
        host.virsh("start", "plain")
        equal(len(host.emulators()), 1)


run(test_running, test_killed, test_ended_meanwhile)
