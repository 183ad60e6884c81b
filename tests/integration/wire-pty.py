"""A monitor on a pseudo terminal: its name is told, and clients come and go."""

import os
import re
import select
import subprocess

from wire import PATIENCE, Client, Daemon, equal, run


class Terminal:
    """A pty's descriptor with the two calls that Client makes."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)

    def recv(self, size):
        assert select.select([self.fd], [], [], PATIENCE)[0], 'nothing came'
        return os.read(self.fd, size)

    def sendall(self, data):
        os.write(self.fd, data)

    def close(self):
        os.close(self.fd)


def test():
    with Daemon('-chardev', 'pty,id=c0', '-mon', 'chardev=c0,mode=control',
                stdout=subprocess.PIPE) as daemon:
        told = daemon.proc.stdout.readline().decode()
        name = re.search(r'/dev/pts/\d+', told)[0]
        with Client(Terminal(name)) as client:
            client.negotiate()
        with Client(Terminal(name)) as client:
            equal(client.execute('query-name'), {'return': {}})


run(test)
