"""A socket file that a killed daemon left behind does not keep the next one away."""

import os
import subprocess

from wire import Client, Daemon, equal, run, until


def answers(path):
    try:
        with Client.connect(path) as client:
            return 'QMP' in client.message()
    except OSError:
        return False


def test():
    with Daemon() as daemon:
        daemon.kill()
        assert os.path.exists(daemon.path)
        second = subprocess.Popen(daemon.argv, stdin=subprocess.DEVNULL)
        try:
            assert until(lambda: answers(daemon.path))
        finally:
            second.terminate()
            equal(second.wait(10), 0)
        assert not os.path.exists(daemon.path)


run(test)
