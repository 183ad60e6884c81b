"""fd=N is a listening socket that the parent made, as libvirt starts its monitor: clients
may be in its backlog before the daemon runs."""

import os
import socket
import tempfile

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


run(test)
