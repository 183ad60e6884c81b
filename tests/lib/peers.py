"""Starts what tests talk to, and leaves nothing behind; what those of integration/ (vds.py)
and of interop/ and bench/ have in common.

Owns processes, sockets in a private folder, and a raw QMP connection that shows bytes as
they came.  Knows nothing of what a test expects.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECORDING = ROOT / "tests" / "golden" / "rings" / "split.vds"
QEMU = "qemu-system-x86_64"
TIMEOUT_S = 60  # generous: sanitizers, and machines that do other things


def skip(reason):
    """Ends the file with status 77, and says so in TAP, which others read, too."""
    print(f"1..0 # SKIP {reason}")
    sys.exit(77)


def has_program(name):
    return shutil.which(name) is not None


def need_program(name):
    if not has_program(name):
        skip(f"{name} is not installed")
    return shutil.which(name)


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix="vds-") as path:
        yield pathlib.Path(path)


def wait_for_path(process, path, said=lambda: ""):
    """Until it is there; `said` is what the process has to say if it ends before."""
    end = time.monotonic() + TIMEOUT_S
    while not path.exists():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}: {said()}")
        if time.monotonic() > end:
            raise RuntimeError(f"{path} did not appear")
        time.sleep(0.005)


def connect(path):
    """The file is there a moment before its socket listens: until then, again."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT_S)
        try:
            sock.connect(os.fspath(path))
            return sock
        except ConnectionRefusedError:
            sock.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


@contextlib.contextmanager
def server(argv, sock):
    """Runs argv, which must listen on `sock`, until the block ends; killed if need be.
    What it says on stderr is shown if it does not end as it should."""
    said = tempfile.TemporaryFile()
    process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stderr=said)
    try:
        wait_for_path(process, sock)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"{argv[0]} did not end on SIGTERM") from None
        finally:
            if process.returncode not in (0, -15):
                said.seek(0)
                sys.stderr.write(said.read().decode(errors="replace"))
            said.close()
        if process.returncode not in (0, -15):
            raise RuntimeError(f"{argv[0]} ended with status {process.returncode}")


def debugd_argv(program, sock, *more):
    return [program, "-qmp", f"unix:{sock},server=on,wait=off", *more]


def qemu_argv(sock, *more):
    machine = ["-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg", "-m", "64M"]
    return [need_program(QEMU), *machine, "-qmp", f"unix:{sock},server=on,wait=off", *more]


class Lines:
    """A socket (or where one listens) that is sent bytes and read by lines."""

    def __init__(self, where):
        self.sock = where if isinstance(where, socket.socket) else connect(where)
        self.sock.settimeout(TIMEOUT_S)
        self.pending = b""

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def line(self):
        """The next one with its end; b"" when the server has closed."""
        while b"\n" not in self.pending:
            piece = self.sock.recv(1 << 16)
            if not piece:
                rest, self.pending = self.pending, b""
                return rest
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        return line + b"\n"


def request(command, arguments):
    """As it is sent, of a command with arguments in Python's spelling."""
    words = {"execute": command}
    if arguments:
        words["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
    return words


class Connection(Lines):
    """One QMP client that shows what came."""

    def negotiate(self):
        self.line()
        return self.call("qmp_capabilities")

    def call(self, command, **arguments):
        """The reply of one command; events before it are dropped."""
        self.send(json.dumps(request(command, arguments)) + "\n")
        while True:
            line = self.line()
            if not line:
                raise RuntimeError(f"the server closed instead of answering {command}")
            reply = json.loads(line)
            if "event" not in reply:
                return reply


@contextlib.contextmanager
def connection(sock, negotiated=True):
    with contextlib.closing(Connection(sock)) as conn:
        if negotiated:
            conn.negotiate()
        yield conn
