"""Raw bytes on a QMP connection: what the wire tests have beyond vds.py.

This client knows bytes and CR LF lines and hides nothing: what a test expects, it spells.
"""

import json
import os
import select
import signal
import socket
import time

import vds
from vds import equal, need, run  # noqa: F401: for the tests

PATIENCE = 10.0  # seconds that anything may take before it counts as never


def until(condition, seconds=PATIENCE):
    """Waits until the condition holds; says whether it does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Client:
    """One end of a stream: raw bytes out, CR LF lines in."""

    def __init__(self, sock):
        self.sock = sock
        self.pending = b''

    @classmethod
    def connect(cls, address):
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        sock.connect(address)
        return cls(sock)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, data):
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def bytes_until(self, end):
        """Everything up to and with `end`."""
        while end not in self.pending:
            more = self.sock.recv(65536)
            if not more:
                raise AssertionError(f'the stream ended after {self.pending!r}')
            self.pending += more
        at = self.pending.index(end) + len(end)
        found, self.pending = self.pending[:at], self.pending[at:]
        return found

    def line(self):
        """The next line, without its CR LF."""
        line = self.bytes_until(b'\n')
        if not line.endswith(b'\r\n'):
            raise AssertionError(f'no CR before LF: {line!r}')
        return line[:-2].decode('ascii')

    def message(self):
        return json.loads(self.line())

    def silent(self, seconds=0.2):
        """Nothing comes within this time."""
        return not self.pending and not select.select([self.sock], [], [], seconds)[0]

    def rest(self):
        """Everything up to the end of the stream."""
        data, self.pending = self.pending, b''
        try:
            while more := self.sock.recv(65536):
                data += more
        except ConnectionResetError:
            pass
        return data

    def negotiate(self):
        greeting = self.message()
        self.send('{"execute": "qmp_capabilities"}\n')
        equal(self.message(), {'return': {}})
        return greeting

    def execute(self, command, **arguments):
        """The reply; events before it are dropped."""
        request = {'execute': command}
        if arguments:
            request['arguments'] = arguments
        self.send(json.dumps(request) + '\n')
        while True:
            reply = self.message()
            if 'event' not in reply:
                return reply


class Daemon(vds.Daemon):
    """vds.Daemon with raw clients, and what /proc says of it."""

    @property
    def path(self):
        return str(self.sock)

    @property
    def pid(self):
        return self.proc.pid

    def file(self, name):
        """The path of a file in the daemon's folder, once it is there."""
        self.wait_for(self.dir / name)
        return str(self.dir / name)

    def status(self):
        return self.proc.wait(PATIENCE)

    def told(self, text):
        """Waits until standard error has it."""
        if not until(lambda: text in self.stderr()):
            raise AssertionError(f'{text!r} is not in {self.stderr()!r}')

    def kill(self):
        self.expect_exit = -signal.SIGKILL
        self.proc.kill()
        self.proc.wait()

    def client(self):
        """A connection, retried: the file is there a moment before anyone listens."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return Client.connect(self.path)
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.005)

    def negotiated(self):
        client = self.client()
        client.negotiate()
        return client

    def number(self, key):
        """A number of /proc/PID/status."""
        with open(f'/proc/{self.pid}/status') as file:
            for line in file:
                if line.startswith(key + ':'):
                    return int(line.split()[1])
        raise KeyError(key)

    def resident_kib(self):
        return self.number('VmRSS')

    def has_grown(self, before_kib, by_kib):
        """Resident memory is that much above what it was. AddressSanitizer, known by its
        terabytes of shadow, keeps what was freed, and is believed."""
        is_sanitized = self.number('VmSize') > 1 << 30
        return not is_sanitized and self.resident_kib() - before_kib > by_kib

    def n_fds(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))
