"""A file at the socket's path that is no socket is left alone."""

import subprocess
import tempfile

from vds import daemon_path
from wire import equal, run


def test():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'precious')
        file.flush()
        found = subprocess.run(
            [daemon_path(), '-qmp', f'unix:{file.name},server=on,wait=off'],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=10, check=False)
        equal(found.returncode, 1)
        assert file.name.encode() in found.stderr, found.stderr
        with open(file.name, 'rb') as again:
            equal(again.read(), b'precious')


run(test)
