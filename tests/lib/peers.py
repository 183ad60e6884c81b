"""Starts what the interop tests talk to, and leaves nothing behind.

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
START_TIMEOUT_S = 30
REPLY_TIMEOUT_S = 30


def skip(reason):
    print(reason)
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


def wait_for_socket(process, sock, name):
    deadline = time.monotonic() + START_TIMEOUT_S
    while not sock.is_socket():
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} does not listen on {sock}")
        time.sleep(0.01)


@contextlib.contextmanager
def server(argv, sock):
    """Runs argv, which must listen on `sock`, until the block ends; killed if need be.
    What it says on stderr is shown if it does not end as it should."""
    said = tempfile.TemporaryFile()
    process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stderr=said)
    try:
        wait_for_socket(process, sock, argv[0])
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


class Connection:
    """One QMP client that sends bytes and reads lines."""

    def __init__(self, sock):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(REPLY_TIMEOUT_S)
        self.socket.connect(os.fspath(sock))
        self.pending = b""

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def read_line(self):
        """The next line with its end; b"" when the server closed."""
        while b"\n" not in self.pending:
            data = self.socket.recv(1 << 16)
            if not data:
                line, self.pending = self.pending, b""
                return line
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        return line + b"\n"

    def negotiate(self):
        self.read_line()
        return self.call("qmp_capabilities")

    def call(self, command, **arguments):
        """The reply of one command; events before it are dropped."""
        request = {"execute": command}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(json.dumps(request).encode() + b"\n")
        while True:
            line = self.read_line()
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
