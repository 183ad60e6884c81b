"""What the integration tests share: a daemon of one's own, and raw QMP clients.

    with Daemon("-device", "virtio-rng-pci,id=r0") as daemon:
        client = daemon.client()               # negotiated
        client.command("x-query-virtio-status", path="...")    # the value, or QmpError
        client.ask({"execute": "..."})         # the whole reply

A test file calls run(test_a, test_b, ...): TAP on stdout, exit status 1 when one fails.
skip("reason") ends the file with status 77, which the runner reports as skipped.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import peers  # noqa: E402  pylint: disable=wrong-import-position
from peers import ROOT, connect, skip  # noqa: E402,F401  pylint: disable=wrong-import-position,unused-import

TIMEOUT = peers.TIMEOUT_S


def daemon_path():
    return os.environ.get("VDS_DAEMON") or str(ROOT / "build" / "src" / "main" / "virtio-debugd")


def need(*programs):
    """Skips unless each program is installed."""
    for program in programs:
        peers.need_program(program)


class QmpError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.cls, self.desc = error["class"], error["desc"]


class Client(peers.Lines):
    """One connection. Events are kept apart in .events."""

    def __init__(self, where, negotiate=True):
        super().__init__(where)
        self.events = []
        self.greeting = None
        if negotiate:
            self.greeting = self.message()
            self.command("qmp_capabilities")

    def quiet(self, seconds=0.3):
        """True if nothing arrives for a while."""
        if self.pending:
            return False
        self.sock.settimeout(seconds)
        try:
            self.pending = self.sock.recv(1 << 16)
            return False
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(TIMEOUT)

    def message(self):
        """The next object, event or not; None at the end."""
        line = self.line()
        return json.loads(line) if line else None

    def reply(self):
        while True:
            message = self.message()
            if message is None:
                raise EOFError("the server closed the connection")
            if "event" not in message:
                return message
            self.events.append(message)

    def event(self, name):
        """The next event of that name, waiting for it."""
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(i)
            message = self.message()
            if message is None:
                raise EOFError(f"no {name} before the end")
            if "event" in message:
                self.events.append(message)

    def ask(self, request):
        self.send(json.dumps(request) + "\n")
        return self.reply()

    def command(self, name, **arguments):
        reply = self.ask(peers.request(name, arguments))
        if "error" in reply:
            raise QmpError(reply["error"])
        return reply["return"]

    def hmp(self, line):
        return self.command("human-monitor-command", command_line=line)


class Daemon:
    """The program with a QMP socket in a folder of its own, {dir} in its arguments; checks
    that it ends well."""

    def __init__(self, *args, qmp=True, env=None, stdin=subprocess.DEVNULL, stdout=None,
                 pass_fds=(), preexec_fn=None, expect_exit=0, prepare=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="vds-"))
        if prepare:
            prepare(self.dir)  # files that the arguments name
        self.sock = self.dir / "qmp"
        self.expect_exit = expect_exit
        self.argv = [daemon_path()]
        if qmp:
            self.argv += ["-qmp", f"unix:{self.sock},server=on,wait=off"]
        self.argv += [str(arg).replace("{dir}", str(self.dir)) for arg in args]
        self.stderr_file = open(self.dir / "stderr", "w+b")
        self.proc = subprocess.Popen(self.argv, stdin=stdin, stdout=stdout,
                                     stderr=self.stderr_file, pass_fds=pass_fds,
                                     preexec_fn=preexec_fn,
                                     env={**os.environ, **(env or {})})
        self.clients = []
        if qmp:
            self.wait_for(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
        finally:
            self.proc.kill()
            self.proc.wait()
            for client in self.clients:
                client.close()
            if kind is not None:
                sys.stderr.write(self.stderr())
            self.stderr_file.close()
            shutil.rmtree(self.dir, ignore_errors=True)

    def wait_for(self, path):
        peers.wait_for_path(self.proc, path, self.stderr)

    def client(self, negotiate=True):
        client = Client(self.sock, negotiate)
        self.clients.append(client)
        return client

    def stderr(self):
        self.stderr_file.flush()
        return (self.dir / "stderr").read_text(errors="replace")

    def alive(self):
        return self.proc.poll() is None

    def stop(self):
        """SIGTERM unless it ended by itself; the exit status must be the expected one."""
        if self.alive():
            self.proc.send_signal(signal.SIGTERM)
        status = self.proc.wait(TIMEOUT)
        if status != self.expect_exit:
            raise AssertionError(f"exit status {status}, expected {self.expect_exit}\n"
                                 + self.stderr())


def busy(pid, seconds=1.0):
    """The processor time that a process takes, as a share of the time that passes."""
    def taken():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    began, before = time.monotonic(), taken()
    time.sleep(seconds)
    return (taken() - before) / (time.monotonic() - began)


def idle(pid, what=""):
    """Nothing is to be done, so it sleeps."""
    share = busy(pid)
    assert share < 0.1, f"{what}: busy for {share:.0%} of the time"


def equal(found, expected, what=""):
    if found != expected:
        raise AssertionError(f"{what}\n  found    {found!r}\n  expected {expected!r}")


@contextlib.contextmanager
def refused(desc, cls="GenericError"):
    """The block must be answered by exactly this error."""
    try:
        yield
    except QmpError as error:
        equal((error.cls, error.desc), (cls, desc))
    else:
        raise AssertionError(f"not refused: expected {cls} {desc!r}")


def report(*tests, names=None):
    """TAP of each; True when none failed."""
    failed = 0
    print(f"1..{len(tests)}")
    for n, test in enumerate(tests, 1):
        name = names[n - 1] if names else test.__name__.removeprefix("test_")
        try:
            test()
            print(f"ok {n} - {name}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {n} - {name}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
    return failed == 0


def run(*tests):
    sys.exit(0 if report(*tests) else 1)
