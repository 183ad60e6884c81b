"""A connection is greeted at once, byte for byte as QEMU would, in our own name."""

import re

from wire import Daemon, run


def test():
    with Daemon() as daemon, daemon.client() as client:
        greeting = client.bytes_until(b'\n')
        assert re.fullmatch(
            rb'\{"QMP": \{"version": \{"qemu": \{"major": 8, "minor": 2, "micro": 0\}, '
            rb'"package": "[^"]*virtio-debugd[^"]*"\}, "capabilities": \["oob"\]\}\}\r\n',
            greeting), greeting


run(test)
