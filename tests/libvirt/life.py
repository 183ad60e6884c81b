#!/usr/bin/env python3
"""A domain's life, from define to undefine, with the states and events on its way."""

from host import Host, contains, equal, run, until


def started(host, name="plain"):
    host.define(f"{name}.xml")
    host.virsh("start", name)


def test_states():
    with Host() as host:
        host.define("plain.xml")
        equal(host.state("plain"), "shut off (unknown)")
        host.virsh("start", "plain")
        equal(host.state("plain"), "running (booted)")
        host.virsh("suspend", "plain")
        equal(host.state("plain"), "paused (user)")
        equal(host.monitor("plain", "query-status")["status"], "paused")
        host.virsh("resume", "plain")
        equal(host.state("plain"), "running (unpaused)")
        equal(host.monitor("plain", "query-status")["running"], True)
        host.virsh("reset", "plain")
        equal(host.state("plain"), "running (unpaused)")
        host.virsh("destroy", "plain")
        equal(host.state("plain"), "shut off (destroyed)")
        equal(host.virsh("list", "--name", "--all"), "plain")
        host.virsh("undefine", "plain")
        equal(host.virsh("list", "--name", "--all"), "")


def test_events():
    """As `virsh qemu-monitor-event --loop` shows them."""
    with Host() as host:
        host.define("plain.xml")
        with host.events("plain") as events:
            host.virsh("start", "plain", "--paused")
            host.virsh("resume", "plain")
            host.virsh("suspend", "plain")
            host.virsh("reset", "plain")
            host.virsh("destroy", "plain")
            events.wait("RESUME", "STOP", "RESET", "SHUTDOWN")


def test_paused_at_first():
    """With -S the guest has not begun; devices say so, and resume starts it."""
    with Host() as host:
        host.define("plain.xml")
        host.virsh("start", "plain", "--paused")
        path = "/machine/peripheral/net0/virtio-backend"
        equal(host.monitor("plain", "query-status")["status"], "prelaunch")
        status = host.monitor("plain", "x-query-virtio-status", path=path)
        equal((status["status"]["statuses"], status["started"]), ([], False))
        host.virsh("resume", "plain")
        until(lambda: host.monitor("plain", "x-query-virtio-status", path=path)["started"],
              "the guest drives the interface")


def test_shutdown():
    """The power button: the guest ends. libvirt sees the machine stand still, and ends it."""
    with Host() as host:
        started(host)
        with host.events("plain") as events:
            host.virsh("shutdown", "plain")
            events.wait("POWERDOWN", "SHUTDOWN", "STOP")
            contains(events.text(), '"guest":true', "guest-shutdown")
        until(lambda: host.state("plain") == "shut off (shutdown)", "shut off")
        equal(host.emulators(), [])


def test_reboot():
    """libvirt's reboot: the power button, then, instead of an end, a reset."""
    with Host() as host:
        started(host)
        pid = host.pid("plain")
        with host.events("plain") as events:
            host.virsh("reboot", "plain", "--mode", "acpi")
            until(lambda: "RESUME" in events.names(), "the guest runs again")
            events.wait("POWERDOWN", "SHUTDOWN")
            contains(events.text(), "RESET")
        equal(host.pid("plain"), pid)
        until(lambda: host.state("plain").startswith("running"), "running")


def test_start_again():
    with Host() as host:
        started(host)
        first = host.pid("plain")
        host.virsh("destroy", "plain", "--graceful")
        host.virsh("start", "plain")
        assert host.pid("plain") != first
        equal(len(host.emulators()), 1)


run(test_states, test_events, test_paused_at_first, test_shutdown, test_reboot, test_start_again)
