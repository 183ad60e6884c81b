"""A monitor on TCP, for numeric addresses and for localhost."""

import socket

from wire import Client, Daemon, equal, run


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test():
    for host in ('127.0.0.1', 'localhost'):
        port = free_port()
        with Daemon('-qmp', f'tcp:{host}:{port},server=on,wait=off') as daemon:
            daemon.negotiated().close()  # all addresses are open by then
            with Client.connect(('127.0.0.1', port)) as client:
                client.negotiate()
                equal(client.execute('query-name'), {'return': {}})


run(test)
