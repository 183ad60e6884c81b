#!/usr/bin/env python3
"""Command lines as libvirt wrote them: each starts us as it stands, every option is either
one without effect, by the table that -help prints, or its effect is looked at here."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile

from live import Memory, no_guest_errors, prop, statuses, until, wait_driven
from vds import Client, ROOT, daemon_path, equal, run

RECORDED = json.loads((ROOT / "tests" / "golden" / "libvirt" / "command-lines.json").read_text())
DISK_BYTES = {"disk.img": 8 << 20, "disk2.img": 4 << 20}


def options_without_effect():
    text = subprocess.run([daemon_path(), "-help"], capture_output=True, text=True,
                          check=True, timeout=60).stdout
    return set(re.findall(r"^  (-\S+)", text.split("without effect", 1)[1], re.M))


def pairs(argv):
    """(option, argument or None), in order."""
    found = []
    for word in argv:
        if word.startswith("-"):
            found.append((word, None))
        else:
            found[-1] = (found[-1][0], word)
    return found


def fields(argument):
    """A key=value argument or a JSON one, as an object."""
    if argument.startswith("{"):
        return json.loads(argument)
    first, *rest = argument.split(",")
    implied = [] if "=" in first else [("", first)]
    return dict(implied + [part.split("=", 1) for part in ([] if implied else [first]) + rest])


class Started:
    """One recorded line, started: its files, sockets and process."""

    def __init__(self, row):
        self.row, self.expect = row, row["expect"]
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="vds-"))
        self.fds = []
        for name, size in DISK_BYTES.items():
            with open(self.dir / name, "wb") as file:
                file.truncate(size)
        (self.dir / "master-key.aes").write_bytes(bytes(32))
        self.far = self.listen("none.sock")  # what a client chardev connects to
        self.argv = [self.fill(word) for word in row["argv"]]
        self.options = pairs(self.argv)
        self.proc = subprocess.Popen([daemon_path(), *self.argv], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     pass_fds=[fd for fd in self.fds if fd != self.far.fileno()],
                                     text=True)
        self.client = None

    def listen(self, name):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(self.dir / name))
        server.listen()
        self.fds.append(server.fileno())
        return server

    def fill(self, word):
        def descriptor(match):
            kind, name = match.groups()
            if kind == "LISTEN":
                return str(self.listen(name).detach())
            fd = os.open(self.dir / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self.fds.append(fd)
            return str(fd)
        word = re.sub(r"@(LISTEN|FILE):(\w+)@", descriptor, word)
        return word.replace("@DIR@", str(self.dir))

    def has(self, option):
        return any(given == option for given, _ in self.options)

    def argument(self, option):
        return next(arg for given, arg in self.options if given == option)

    def connect(self):
        """By the monitor that the line names."""
        name = "qmp.monitor" if self.has("-qmp") else "charmonitor"
        if self.has("-daemonize"):
            equal(self.proc.wait(60), 0, self.proc.stderr.read())
        self.client = Client(self.dir / name)
        return self.client

    def end(self):
        """As libvirt ends it: SIGTERM, whereupon all is gone."""
        pid = int((self.dir / "qmp.pid").read_text()) if self.has("-daemonize") else self.proc.pid
        os.kill(pid, signal.SIGTERM)
        equal(self.client.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-signal"})
        equal(self.client.line(), b"")
        if not self.has("-daemonize"):
            equal(self.proc.wait(60), 0, self.proc.stderr.read())
        until(lambda: not (self.dir / "qmp.pid").exists(), "the pidfile is removed")


@contextlib.contextmanager
def started(row):
    run_ = Started(row)
    try:
        yield run_
    finally:
        for fd in run_.fds:
            os.close(fd)
        run_.far.detach()
        if run_.client:
            run_.client.sock.close()
        if run_.proc.poll() is None:
            run_.proc.kill()
        run_.proc.communicate(timeout=60)
        subprocess.run(["rm", "-rf", run_.dir], check=True)


# ---- one function an option that has an effect ---------------------------------------------------

def paused(line, _):
    equal(line.client.command("query-status")["status"], "prelaunch")


def machine(line, _):
    equal(prop(line.client, "/machine", "type"), line.expect["machine"])


def memory(line, _):
    equal(Memory(line.client).size if line.shared else
          int(prop(line.client, line.ram, "size")), line.expect["memory"])


def name(line, _):
    equal(line.client.command("query-name")["name"], line.expect["guest"])


def uuid(line, _):
    equal(line.client.command("query-uuid")["UUID"], line.expect["uuid"])


def monitor(line, argument):
    """A second client is served as well, after the first or beside it."""
    second = Client(line.client.sock.getpeername())
    equal(second.command("query-status")["running"], False)
    second.close()


def pidfile(line, argument):
    pid = int(pathlib.Path(argument).read_text())
    assert pid != line.proc.pid
    equal(os.readlink(f"/proc/{pid}/fd/2"), "/dev/null")


def thing(line, argument):
    """An object is in the tree, of its type."""
    given = fields(argument)
    equal(prop(line.client, "/objects/" + given["id"], "type"),
          given.get("qom-type") or given.get(""))


def chardev(line, argument):
    given = fields(argument)
    equal(prop(line.client, "/chardevs/" + given["id"], "backend"),
          given.get("backend") or given.get(""))


def device(line, argument):
    given = fields(argument)
    kind = given.get("driver") or given.get("")
    equal(line.expect["peripheral"][given["id"]], kind)
    for key, value in line.expect.get("properties", {}).get(given["id"], {}).items():
        equal(prop(line.client, "/machine/peripheral/" + given["id"], key), value,
              f"{given['id']}.{key}")


def is_wired(line, ident):
    """Some device names it."""
    return any(ident in fields(arg).values() for option, arg in line.options
               if option == "-device")


def netdev(line, argument):
    assert is_wired(line, fields(argument)["id"])


def blockdev(line, argument):
    """The bytes are the file's: its size is the disk's capacity, see wiring below."""
    given = fields(argument)
    lower = [fields(arg).get("file") for option, arg in line.options if option == "-blockdev"]
    assert is_wired(line, given["node-name"]) or given["node-name"] in lower


def inherited(line, argument):
    assert f"/dev/fdset/{fields(argument)['set']}" in " ".join(line.argv)


def nothing_now(line, argument):
    """Looked at by tests of its own: cli-power.py, cli-daemonize.py; query-kvm's."""


EFFECTS = {
    "-S": paused, "-machine": machine, "-m": memory, "-name": name, "-uuid": uuid,
    "-mon": monitor, "-qmp": monitor, "-pidfile": pidfile, "-object": thing,
    "-chardev": chardev, "-device": device, "-netdev": netdev, "-blockdev": blockdev,
    "-add-fd": inherited, "-daemonize": nothing_now, "-no-shutdown": nothing_now,
    "-no-reboot": nothing_now, "-accel": nothing_now, "-global": nothing_now,
}


def test_each_option_has_its_effect_or_a_reason():
    without = options_without_effect()
    seen = set()
    for row in RECORDED:
        with started(row) as line:
            client = line.connect()
            line.ram = prop(client, "/machine", "memory-backend")
            line.shared = "map-path" in [p["name"]
                                         for p in client.command("qom-list", path=line.ram)]
            for option, argument in line.options:
                seen.add(option)
                if option in EFFECTS:
                    EFFECTS[option](line, argument)
                else:
                    assert option in without, f"{row['name']}: {option}"
            line.end()
    missing = EFFECTS.keys() - seen
    equal(missing, set(), "effects that no recorded line has")


def test_the_devices_are_there_and_work():
    for row in RECORDED:
        with started(row) as line:
            client = line.connect()
            listed = {p["name"]: p["type"] for p in
                      client.command("qom-list", path="/machine/peripheral")}
            equal(listed, {"type": "string", **{ident: f"child<{kind}>" for ident, kind
                                                in line.expect["peripheral"].items()}})
            client.command("cont")
            paths = [f"/machine/peripheral/{ident}/virtio-backend"
                     for ident in line.expect["driven"]]
            wait_driven(client, *paths)
            no_guest_errors(client, *paths)
            for row_ in client.command("x-query-virtio"):
                if row_["path"] not in paths:  # a type without a request path
                    equal("DRIVER_OK" in statuses(client, row_["path"]), False)
            line.end()


def test_what_they_are_wired_to():
    """The channel's listening socket, a file that was opened for us, and one we connect to."""
    for row in RECORDED:
        with started(row) as line:
            client = line.connect()
            client.command("cont")
            if "channel0" in line.expect["peripheral"] and (line.dir / "charchannel0").exists():
                with socket.socket(socket.AF_UNIX) as agent:
                    agent.connect(str(line.dir / "charchannel0"))
                    until(lambda c=client: prop(c, "/machine/peripheral/channel0", "host-connected"),
                          "the agent's end is open")
            if "channel1" in line.expect["peripheral"] and line.expect["guest"] in ("more", "vmore"):
                line.far.settimeout(60)
                line.far.accept()[0].close()
            line.end()


run(test_each_option_has_its_effect_or_a_reason, test_the_devices_are_there_and_work,
    test_what_they_are_wired_to)
