"""The socket file is its owner's alone, whatever the umask."""

import os
import stat

from wire import Daemon, equal, run


def test():
    before = os.umask(0)
    try:
        with Daemon() as daemon:
            equal(stat.S_IMODE(os.stat(daemon.path).st_mode), 0o600)
    finally:
        os.umask(before)


run(test)
