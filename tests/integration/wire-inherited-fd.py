"""fd=N is a listening socket that the parent made, as libvirt starts its monitor: clients
may be in its backlog before the daemon runs."""

import os
import socket
import subprocess
import tempfile
import time

from vds import daemon_path
from wire import Client, Daemon, equal, run


def test():
    with tempfile.TemporaryDirectory() as folder, \
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        path = os.path.join(folder, 'monitor')
        server.bind(path)
        server.listen(1)
        with Client.connect(path) as early:
            number = server.fileno()
            with Daemon('-chardev', f'socket,id=charmonitor,fd={number},server=on,wait=off',
                        '-mon', 'chardev=charmonitor,id=monitor,mode=control',
                        pass_fds=[number]):
                early.negotiate()
                with Client.connect(path) as late:
                    late.negotiate()
                    equal(late.execute('query-name'), {'return': {}})
                equal(early.execute('query-name'), {'return': {}})
        assert os.path.exists(path)


def refused(connect):
    """How long a start with a bad option takes; connect is done while it lasts."""
    with tempfile.TemporaryDirectory() as folder, \
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        path = os.path.join(folder, 'monitor')
        server.bind(path)
        server.listen(1)
        number = server.fileno()
        begun = time.monotonic()
        daemon = subprocess.Popen(
            [daemon_path(), '-chardev', f'socket,id=m,fd={number},server=on,wait=off',
             '-mon', 'chardev=m,mode=control', '-device', 'virtio-toaster-pci'],
            pass_fds=[number], stderr=subprocess.PIPE, text=True)
        server.close()
        said = daemon.stderr.readline()
        assert 'virtio-toaster-pci' in said, said
        if connect:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late:
                late.connect(path)
                equal(daemon.wait(20), 1)
        equal((daemon.wait(20), daemon.stderr.read()), (1, ''))
        daemon.stderr.close()
        return time.monotonic() - begun


def test_refused_after_the_peer_came():
    """Who passed the socket can connect even after the start has failed: libvirt would
    show a refused connection instead of our line."""
    refused(connect=True)


def test_refused_and_nobody_comes():
    took = refused(connect=False)
    assert 0.9 < took < 15, took


run(test, test_refused_after_the_peer_came, test_refused_and_nobody_comes)
