"""What a client sent before it closed is done, though no reply can be written: QMP and the
human monitor, over UNIX sockets and TCP, whether it left before the greeting or after."""

import signal
import socket

from wire import Client, Daemon, equal, run, until

QMP = '{"execute": "qmp_capabilities"}\n'
QUIT = '{"execute": "quit"}\n'


def listens(address):
    """Its file is there a moment before it does."""
    try:
        Client.connect(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    return True


def left(daemon, address, data, *, greeted):
    """Sends and closes: before the daemon looks, or with the greeting unread."""
    until(lambda: listens(address))
    if not greeted:
        daemon.proc.send_signal(signal.SIGSTOP)
    client = Client.connect(address)
    if greeted:
        client.sock.recv(1, socket.MSG_PEEK)
    client.send(data)
    client.close()
    if not greeted:
        daemon.proc.send_signal(signal.SIGCONT)


def test_quit():
    for greeted in (False, True):
        for words, data in (((), QMP + QUIT),
                            (('-monitor', 'unix:{dir}/mon,server=on,wait=off'), 'quit\n')):
            with Daemon(*words) as daemon:
                left(daemon, daemon.file('mon') if words else daemon.path, data, greeted=greeted)
                equal(daemon.status(), 0)


def test_quit_over_tcp():
    for greeted in (False, True):
        with socket.create_server(('127.0.0.1', 0)) as free:
            port = free.getsockname()[1]
        with Daemon('-qmp', f'tcp:127.0.0.1:{port},server=on,wait=off') as daemon:
            left(daemon, ('127.0.0.1', port), QMP + QUIT, greeted=greeted)
            equal(daemon.status(), 0)


def test_all_of_many():
    """More than one turn's requests, with more replies than a socket takes; the last one has
    an effect."""
    many = '{"execute": "query-qmp-schema"}\n' * 60
    last = '{"execute": "object-add", "arguments": {"qom-type": "rng-builtin", "id": "last"}}\n'
    with Daemon() as daemon, daemon.negotiated() as other:
        before = daemon.resident_kib()
        left(daemon, daemon.path, QMP + many + last, greeted=False)
        assert until(lambda: 'error' not in other.execute('qom-get', path='/objects/last',
                                                          property='type'))
        assert not daemon.has_grown(before, 8 << 10)
        equal(other.execute('object-del', id='last'), {'return': {}})
        fds = daemon.n_fds()
        left(daemon, daemon.path, QMP + last, greeted=True)
        assert until(lambda: 'error' not in other.execute('qom-get', path='/objects/last',
                                                          property='type'))
        assert until(lambda: daemon.n_fds() == fds), 'the session stays'


def test_one_that_only_talks():
    """Its reading half is shut: it is heard for as long as it likes."""
    with Daemon() as daemon, daemon.client() as client:
        client.sock.shutdown(socket.SHUT_RD)
        client.send(QMP)
        with daemon.negotiated() as other:
            equal(other.execute('query-name'), {'return': {}})
        client.send(QUIT)
        equal(daemon.status(), 0)


run(test_quit, test_quit_over_tcp, test_all_of_many, test_one_that_only_talks)
