"""A second daemon does not take a socket that is served: one line that names it, status 1,
and the first goes on."""

import os
import subprocess

from wire import Daemon, equal, run


def test():
    with Daemon() as daemon, daemon.negotiated() as client:
        second = subprocess.run(daemon.argv, stdin=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, timeout=10, check=False)
        equal(second.returncode, 1)
        equal(second.stderr.count(b'\n'), 1)
        assert daemon.path.encode() in second.stderr, second.stderr
        assert os.path.exists(daemon.path)
        equal(client.execute('query-name'), {'return': {}})
        with daemon.negotiated() as another:
            equal(another.execute('query-name'), {'return': {}})


run(test)
