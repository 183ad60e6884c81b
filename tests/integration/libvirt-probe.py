#!/usr/bin/env python3
"""What libvirt 9.0 and 11.3 ask of an emulator, replayed without libvirt: recorded requests
of probes, starts and reconnections, and of each reply whether it is of the class that libvirt
needs. What breaks libvirt is known from trying: a missing `package`, another error class, a
reply without CR."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile

from live import until
from vds import Client, Daemon, ROOT, daemon_path, equal, run

DIALOGUES = json.loads((ROOT / "tests" / "golden" / "libvirt" / "dialogues.json").read_text())
DEVICES = ["-S", "-no-shutdown", "-device", "virtio-balloon-pci,id=balloon0",
           "-device", "virtio-net-pci,id=net0", "-object", "iothread,id=iothread1"]
MAX_REPLY = 10 << 20  # libvirt drops a monitor that says more at once
PROCESSORS = "/machine/unattached/device[0]"


def command_not_found(reply):
    return "error" in reply and reply["error"]["class"] == "CommandNotFound"


def is_empty(value, _):
    return value == {}


def is_list(value, _):
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def names(key):
    """A list of objects that say a name."""
    return lambda value, _: (is_list(value, _)
                             and all(isinstance(item[key], str) for item in value))


def is_version(value, _):
    """7.2 is what the newest libvirt still takes; without `package` every one gives up."""
    level = (value["qemu"]["major"], value["qemu"]["minor"], value["qemu"]["micro"])
    return level >= (7, 2, 0) and isinstance(value["package"], str)


def is_kvm(value, dialogue):
    """Enabled exactly when the user of the process may open /dev/kvm and kvm was asked for:
    otherwise libvirt asks all this again at every use."""
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK) and "kvm" in dialogue.accel
    return value["enabled"] == usable and isinstance(value["present"], bool)


def is_types(value, _):
    """Without tcg-accel a domain of type qemu is refused."""
    listed = {row["name"] for row in value}
    wanted = {"tcg-accel", "virtio-net-pci", "virtio-blk-pci", "virtio-rng-pci", "rng-random",
              "virtio-serial-pci", "virtio-balloon-pci", "pcie-root-port", "pci-bridge",
              "i82801b11-bridge"}
    return wanted <= listed


def is_machines(value, _):
    """Ours, QEMU's by the aliases that descriptions have, and one that is the default."""
    aliases = {row.get("alias") for row in value}
    assert sum(row.get("is-default", False) for row in value) == 1, value
    return ("vds" in {row["name"] for row in value} and {"q35", "pc"} <= aliases
            and all(row["cpu-max"] >= 1 for row in value))


def is_status(value, _):
    return isinstance(value["running"], bool) and value["status"] in (
        "prelaunch", "running", "paused", "shutdown")


def is_listed_once(value, _):
    """What is listed is answered: every command here is also asked by every-command.py."""
    listed = [row["name"] for row in value]
    return len(listed) == len(set(listed)) and "x-query-virtio" in listed


# What a reply's value must be.
NEEDED = {
    "qmp_capabilities": is_empty,
    "query-version": is_version,
    "query-target": lambda value, _: value == {"arch": "x86_64"},
    "query-qmp-schema": names("name"),
    "query-commands": is_listed_once,
    "query-kvm": is_kvm,
    "qom-list-types": is_types,
    "device-list-properties": names("name"),
    "qom-list-properties": names("name"),
    "query-machines": is_machines,
    "query-command-line-options": names("option"),
    "query-migrate-capabilities": names("capability"),
    "migrate-set-capabilities": is_empty,
    "query-chardev": names("label"),
    "qom-list": names("name"),
    "query-iothreads": names("id"),
    "query-named-block-nodes": names("node-name"),
    "query-block": names("device"),
    "query-status": is_status,
    "query-cpu-definitions": lambda value, _: value == [],
    "query-jobs": is_list,
    "human-monitor-command": lambda value, _: isinstance(value, str),
    "balloon": is_empty,
    "query-balloon": lambda value, _: value["actual"] > 0,
    "query-blockstats": is_list,
    "query-cpus-fast": is_list,
    "query-tpm-models": is_list,
    "x-query-virtio": names("path"),
    "qom-get": lambda value, _: value is not None,
    "qom-set": is_empty, "cont": is_empty, "stop": is_empty,
    "system_reset": is_empty, "system_powerdown": is_empty,
}
# Those that may also be of class CommandNotFound.
MAY_FAIL = {"query-cpus-fast", "query-tpm-models", "query-blockstats"}
# Asked of an emulator that lists them. Answered by halves, each of these ends the probe.
UNKNOWN = {"query-tpm-types", "query-sev-capabilities",
           "query-sgx-capabilities", "query-hotpluggable-cpus", "query-stats",
           "query-stats-schemas", "query-dirty-rate"}
# The domain's state follows from these, and not from the replies.
EVENTS = {"cont": "RESUME", "stop": "STOP", "system_reset": "RESET",
          "system_powerdown": "POWERDOWN"}


class Dialogue:
    def __init__(self, row, sock, accel):
        self.row, self.accel = row, accel
        self.client = Client(sock, negotiate=False)
        greeting = self.client.message()["QMP"]
        assert is_version(greeting["version"], self), greeting
        assert isinstance(greeting["capabilities"], list), greeting
        self.running = row["phase"] == "reconnect"

    def ask(self, number, execute, arguments=None):
        request = {"execute": execute, "id": f"libvirt-{number}"}
        if arguments is not None:
            request["arguments"] = arguments
        self.client.send(json.dumps(request) + "\r\n")
        while True:
            line = self.client.line()
            assert line.endswith(b"\r\n") and len(line) < MAX_REPLY, (execute, line[-20:])
            reply = json.loads(line)
            if "event" not in reply:
                equal(reply.pop("id"), f"libvirt-{number}", execute)
                return reply
            self.client.events.append(reply)

    def check(self, execute, arguments, reply):
        what = f"{self.row['name']}, {self.row['phase']}: {execute} {arguments}: {reply}"
        if execute in UNKNOWN:
            assert command_not_found(reply), what
        elif execute in ("qom-list", "qom-get") and PROCESSORS in arguments.values():
            pass  # any answer will do: there is no processor
        elif execute == "device-list-properties" and "error" in reply:
            equal(reply["error"]["class"], "DeviceNotFound", what)
        elif not (execute in MAY_FAIL and command_not_found(reply)):
            assert "return" in reply, what
            assert NEEDED[execute](reply["return"], self), what
        self.follow(execute, what)

    def follow(self, execute, what):
        """The event, if the state changes."""
        changes = {"cont": not self.running, "stop": self.running}.get(execute, True)
        if execute in EVENTS and changes:
            assert self.client.event(EVENTS[execute]), what
        if execute in ("cont", "stop"):
            self.running = execute == "cont"

    def replay(self):
        for number, (execute, *arguments) in enumerate(self.row["requests"], 1):
            reply = self.ask(number, execute, *arguments)
            self.check(execute, *(arguments or [{}]), reply)


def rows(phase):
    found = [row for row in DIALOGUES if row["phase"] == phase]
    assert found, phase
    return found


def test_probes():
    """As libvirt runs them: in the background, ended by a signal, nothing left."""
    for row in rows("probe"):
        accel = "tcg" if row["name"].endswith("with tcg") else "kvm:tcg"
        with tempfile.TemporaryDirectory(prefix="vds-") as folder:
            # The end of standard error is waited for, as libvirt does.
            done = subprocess.run(
                [daemon_path(), "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine",
                 f"none,accel={accel}", "-qmp", f"unix:{folder}/qmp.monitor,server=on,wait=off",
                 "-pidfile", f"{folder}/qmp.pid", "-daemonize"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
            equal((done.returncode, done.stdout, done.stderr), (0, "", ""))
            pid = int(pathlib.Path(folder, "qmp.pid").read_text())
            dialogue = Dialogue(row, f"{folder}/qmp.monitor", accel)
            dialogue.replay()
            os.kill(pid, signal.SIGTERM)
            equal(dialogue.client.event("SHUTDOWN")["data"]["reason"], "host-signal")
            until(lambda f=folder: os.listdir(f) == [], "nothing is left")


def test_starts():
    for row in rows("start"):
        with Daemon(*DEVICES) as daemon:
            Dialogue(row, daemon.sock, "tcg").replay()


def test_reconnections():
    """libvirtd was restarted: another client, another greeting, the same machine."""
    for row in rows("reconnect"):
        with Daemon(*DEVICES) as daemon:
            first = daemon.client()
            first.command("cont")
            first.close()
            Dialogue(row, daemon.sock, "tcg").replay()


def test_every_command_occurs():
    """The tables hold for what was recorded, and for no more."""
    asked = {request[0] for row in DIALOGUES for request in row["requests"]}
    equal(asked, NEEDED.keys() | UNKNOWN)


run(test_probes, test_starts, test_reconnections, test_every_command_occurs)
