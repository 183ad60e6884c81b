#!/usr/bin/env python3
"""The ends of a machine: the power button, -no-shutdown, -no-reboot, and a probe's."""

import os
import pathlib
import subprocess
import tempfile

from live import until, wait_driven
from vds import Client, Daemon, TIMEOUT, daemon_path, equal, run

GUEST_OFF = {"guest": True, "reason": "guest-shutdown"}
RESET = {"guest": False, "reason": "host-qmp-system-reset"}


def state(client):
    return client.command("query-status")["status"]


def events(client):
    """All of them up to now, without their times: each is there before a later reply."""
    client.command("query-status")
    seen, client.events = client.events, []
    return [event["event"] for event in seen]


def test_the_button():
    with Daemon("-device", "virtio-rng-pci,id=r0") as daemon:
        client = daemon.client()
        wait_driven(client)
        client.command("system_powerdown")
        equal(client.events, [])  # the reply comes first, as QEMU's
        client.event("POWERDOWN")
        equal(client.event("SHUTDOWN")["data"], GUEST_OFF)
        equal(client.line(), b"")
        equal(daemon.proc.wait(TIMEOUT), 0)


def test_no_shutdown():
    with Daemon("-no-shutdown", "-device", "virtio-rng-pci,id=r0") as daemon:
        client = daemon.client()
        wait_driven(client)
        client.command("system_powerdown")
        client.event("POWERDOWN")
        equal(client.event("SHUTDOWN")["data"], GUEST_OFF)
        client.event("STOP")
        equal(state(client), "shutdown")
        # What there was is still to be seen.
        status = client.command("x-query-virtio-status", path="r0/virtio-backend")
        equal((status["vm-running"], status["status"]["statuses"] != []), (False, True))
        equal(client.ask({"execute": "cont"})["error"]["desc"],
              "Resetting the Virtual Machine is required")
        client.command("system_powerdown")
        client.event("POWERDOWN")
        equal((state(client), events(client)), ("shutdown", []))
        client.command("system_reset")
        equal(state(client), "prelaunch")
        client.command("cont")
        wait_driven(client)
        client.command("quit")
        equal(client.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-qmp-quit"})
        equal(daemon.proc.wait(TIMEOUT), 0)


def test_a_paused_guest():
    with Daemon("-no-shutdown") as daemon:
        client = daemon.client()
        client.command("stop")
        client.command("system_powerdown")
        client.event("POWERDOWN")
        equal(state(client), "paused")
        client.command("cont")
        client.event("SHUTDOWN")
        client.event("STOP")
        equal(state(client), "shutdown")


def test_no_guest_yet():
    with Daemon("-S") as daemon:
        client = daemon.client()
        client.command("system_powerdown")
        client.event("POWERDOWN")
        client.command("cont")
        equal((state(client), events(client)), ("running", ["RESUME"]))


def test_no_reboot():
    with Daemon("-no-reboot") as daemon:
        client = daemon.client()
        client.command("system_reset")
        equal(client.event("SHUTDOWN")["data"], RESET)
        equal(daemon.proc.wait(TIMEOUT), 0)
    with Daemon("-no-reboot", "-no-shutdown") as daemon:
        client = daemon.client()
        client.command("system_reset")
        equal(client.event("SHUTDOWN")["data"], RESET)
        client.event("STOP")
        equal(state(client), "shutdown")


def test_the_human_monitor():
    with Daemon("-no-shutdown") as daemon:
        client = daemon.client()
        equal(client.command("human-monitor-command", **{"command-line": "system_powerdown"}),
              "")
        client.event("STOP")
        equal(client.command("human-monitor-command", **{"command-line": "info status"}),
              "VM status: paused (shutdown)\r\n")


def probe(folder, *more):
    subprocess.run([daemon_path(), "-S", "-machine", "none,accel=kvm:tcg", "-qmp",
                    f"unix:{folder}/qmp,server=on,wait=off", "-pidfile", f"{folder}/pid",
                    "-daemonize", *more], check=True, timeout=60)


def test_a_probe_is_its_clients():
    """Nobody may come to end it: libvirt can be killed while it asks."""
    with tempfile.TemporaryDirectory(prefix="vds-") as name:
        folder = pathlib.Path(name)
        probe(folder)
        first, second = Client(folder / "qmp"), Client(folder / "qmp")
        first.close()
        equal(state(second), "prelaunch")
        second.close()
        until(lambda: os.listdir(folder) == [], "nothing is left")


run(test_the_button, test_no_shutdown, test_a_paused_guest, test_no_guest_yet,
    test_no_reboot, test_the_human_monitor, test_a_probe_is_its_clients)
